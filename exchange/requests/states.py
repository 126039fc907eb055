"""Share request (共享申请): a clerk drafts it, another person, the approver, files it. Pure."""

from __future__ import annotations

from app.kernel.actor import Role
from app.kernel.machine import By, Machine, Transition
from app.kernel.text import Text

DRAFT, FILED, DISCARDED = "DRAFT", "FILED", "DISCARDED"

_CLERK: By = ("requester", Role.CLERK)
_APPROVER: By = ("requester", Role.APPROVER)

REQUEST = Machine(
    "request",
    states={
        DRAFT: Text("草稿", "draft"),
        FILED: Text("已提出", "filed"),
        DISCARDED: Text("已作废", "discarded"),
    },
    acts={
        "draft": Text("拟定申请", "draft"),
        "amend": Text("修改草稿", "amend the draft"),
        "file": Text("审核并提出", "approve and file"),
        "discard": Text("作废", "discard"),
    },
    rows=(
        Transition(None, "draft", (_CLERK,), DRAFT, "809-20"),
        Transition(DRAFT, "amend", (_CLERK,), DRAFT, "809-20"),
        Transition(DRAFT, "file", (_APPROVER,), FILED, "REG-21, 809-20"),
        Transition(DRAFT, "discard", (_CLERK,), DISCARDED, "809-20"),
    ),
)
