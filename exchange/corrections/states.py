"""Correction (校核): an error in delivered data is reported, verified at its source, corrected or rejected.

Pure. Source: Decree 809 Art. 26; what is rejected or left unanswered may go to the authority (Art. 28).
"""

from __future__ import annotations

from app.kernel.actor import Role
from app.kernel.machine import By, Machine, Transition
from app.kernel.text import Text

UNDER_VERIFICATION, CORRECTED, REJECTED = "UNDER_VERIFICATION", "CORRECTED", "REJECTED"
BEFORE_AUTHORITY, DISMISSED, WITHDRAWN = "BEFORE_AUTHORITY", "DISMISSED", "WITHDRAWN"

ANSWER = "correction.answer"

_REPORTER: By = ("requester", Role.CLERK)
_REQUESTER: By = ("requester", Role.APPROVER)
_PROVIDER: By = ("provider", Role.APPROVER)
_AUTHORITY: By = ("authority", Role.MEDIATOR)
_CLOCK: By = ("clock", None)

CORRECTION = Machine(
    "correction",
    states={
        UNDER_VERIFICATION: Text("核实中", "under verification"),
        CORRECTED: Text("已更正", "corrected"),
        REJECTED: Text("未予更正", "rejected"),
        BEFORE_AUTHORITY: Text("已报主管部门", "before the authority"),
        DISMISSED: Text("主管部门未支持", "dismissed"),
        WITHDRAWN: Text("已撤回", "withdrawn"),
    },
    acts={
        "report": Text("提出校核", "report an error"),
        "correct": Text("确认并更正", "correct"),
        "reject": Text("不予更正", "reject"),
        "escalate": Text("报主管部门", "take it to the authority"),
        "order": Text("责令更正", "order the correction"),
        "dismiss": Text("不予支持", "dismiss"),
        "withdraw": Text("撤回", "withdraw"),
        "mark_overdue": Text("标记逾期", "mark overdue"),
    },
    rows=(
        Transition(None, "report", (_REPORTER,), UNDER_VERIFICATION, "809-26", ANSWER),
        Transition(UNDER_VERIFICATION, "correct", (_PROVIDER,), CORRECTED, "809-26"),
        Transition(UNDER_VERIFICATION, "reject", (_PROVIDER,), REJECTED, "809-26"),
        Transition(UNDER_VERIFICATION, "withdraw", (_REPORTER,), WITHDRAWN, "809-26"),
        Transition(UNDER_VERIFICATION, "mark_overdue", (_CLOCK,), UNDER_VERIFICATION, "809-26"),
        *(
            Transition(state, "escalate", (_REQUESTER,), BEFORE_AUTHORITY, "809-26, 809-28")
            for state in (UNDER_VERIFICATION, REJECTED)  # of the first only when it is overdue
        ),
        Transition(BEFORE_AUTHORITY, "order", (_AUTHORITY,), UNDER_VERIFICATION, "809-28", ANSWER),
        Transition(BEFORE_AUTHORITY, "dismiss", (_AUTHORITY,), DISMISSED, "809-28"),
    ),
)


def hindrance(state: str, act: str, *, overdue: bool) -> Text | None:
    """Why the moment does not allow an act that the state does; None where it does."""
    if act == "escalate" and state == UNDER_VERIFICATION and not overdue:
        return Text("提供方答复期限未到。", "The provider's time to answer still runs.")
    return None
