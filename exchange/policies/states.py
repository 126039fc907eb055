"""Sharing policy (自动同意规则): a clerk drafts it, another person, the approver, adopts and revokes it. Pure."""

from __future__ import annotations

from app.kernel.actor import Role
from app.kernel.machine import By, Machine, Transition
from app.kernel.text import Text

DRAFT, IN_FORCE, ENDED = "DRAFT", "IN_FORCE", "ENDED"

_CLERK: By = ("provider", Role.CLERK)
_APPROVER: By = ("provider", Role.APPROVER)

POLICY = Machine(
    "policy",
    states={
        DRAFT: Text("草稿", "draft"),
        IN_FORCE: Text("生效", "in force"),
        ENDED: Text("已终止", "ended"),
    },
    acts={
        "draft": Text("拟定自动同意规则", "draft"),
        "adopt": Text("批准自动同意规则", "adopt"),
        "discard": Text("作废草稿", "discard the draft"),
        "revoke": Text("撤销自动同意规则", "revoke"),
    },
    rows=(
        Transition(None, "draft", (_CLERK,), DRAFT, "809-20"),
        Transition(DRAFT, "adopt", (_APPROVER,), IN_FORCE, "809-20"),
        Transition(DRAFT, "discard", (_CLERK,), ENDED, "809-20"),
        Transition(IN_FORCE, "revoke", (_APPROVER,), ENDED, "809-20"),
    ),
)
