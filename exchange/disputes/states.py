"""Dispute (争议): who may do what when before the authority, as a table.

Pure. A ruling that grants takes effect when it is signed; a review that is asked for stays it until
decided. Source: Regulation Art. 21, Decree 809 Art. 28.
"""

from __future__ import annotations

from app.kernel.actor import Role
from app.kernel.machine import By, Machine, Transition
from app.kernel.text import Text

OPENED, HEARING, PROPOSED, SETTLED = "OPENED", "HEARING", "PROPOSED", "SETTLED"
RULED, REVIEW, FINAL, CLOSED = "RULED", "REVIEW", "FINAL", "CLOSED"
UNDECIDED = (OPENED, HEARING, PROPOSED)
HEARD = (HEARING, PROPOSED)

STATEMENT = "dispute.statement"
RULING = "dispute.ruling"
REVIEW_WINDOW = "dispute.review"

_REQUESTER: By = ("requester", Role.APPROVER)
_PROVIDER: By = ("provider", Role.APPROVER)
_CLERKS: tuple[By, ...] = (("requester", Role.CLERK), ("provider", Role.CLERK))
_MEDIATOR: By = ("authority", Role.MEDIATOR)
# The government decides a review on paper; its authority's approver enters the decision with the document number.
_REGISTRAR: By = ("authority", Role.APPROVER)
_CLOCK: By = ("clock", None)
_SYSTEM: By = ("system", None)

STATES = {
    OPENED: Text("待受理", "opened"),
    HEARING: Text("协调中", "hearing"),
    PROPOSED: Text("已提出调解方案", "terms proposed"),
    SETTLED: Text("达成一致", "settled"),
    RULED: Text("已裁决", "ruled"),
    REVIEW: Text("本级政府复核中", "under review"),
    FINAL: Text("裁决终局", "final"),
    CLOSED: Text("已结案", "closed"),
}

ACTS = {
    "open": Text("提出争议", "open"),
    "admit": Text("受理", "admit"),
    "decline": Text("不予受理", "decline to hear"),
    "refer": Text("移送有管辖权的主管部门", "refer to the competent authority"),
    "state": Text("提交陈述", "make a statement"),
    "attach": Text("提交证据材料", "attach evidence"),
    "propose": Text("提出调解方案", "propose terms"),
    "accept": Text("接受调解方案", "accept the proposal"),
    "decline_proposal": Text("不接受调解方案", "decline the proposal"),
    "settle": Text("达成一致", "settle"),
    "record_settlement": Text("报告已自行达成协议", "report an agreement reached by the parties"),
    "draft_ruling": Text("拟定裁决", "draft the ruling"),
    "rule": Text("签发裁决", "sign the ruling"),
    "ask_review": Text("申请本级政府复核", "ask the government for review"),
    "confirm": Text("复核维持", "ruling confirmed"),
    "change": Text("复核变更", "ruling changed"),
    "become_final": Text("复核期满", "review window ends"),
    "report_noncompliance": Text("报告裁决未获执行", "report that the ruling is not complied with"),
    "order_compliance": Text("责令执行裁决", "order compliance with the ruling"),
    "mark_overdue": Text("标记裁决逾期", "mark the ruling overdue"),
    "withdraw": Text("撤回争议", "withdraw"),
}

ROWS = (
    Transition(None, "open", (_REQUESTER,), OPENED, "REG-21, 809-28"),
    Transition(OPENED, "admit", (_MEDIATOR,), HEARING, "REG-21", STATEMENT),
    Transition(OPENED, "decline", (_MEDIATOR,), CLOSED, "REG-21"),
    Transition(OPENED, "refer", (_MEDIATOR,), OPENED, "809-28"),
    Transition(HEARING, "propose", (_MEDIATOR,), PROPOSED, "REG-21"),
    Transition(PROPOSED, "accept", (_REQUESTER, _PROVIDER), PROPOSED, "REG-21"),
    Transition(PROPOSED, "decline_proposal", (_REQUESTER, _PROVIDER), HEARING, "REG-21"),
    Transition(PROPOSED, "settle", (_SYSTEM,), SETTLED, "REG-21"),
    *(Transition(state, "state", _CLERKS, state, "REG-21") for state in HEARD),
    *(Transition(state, "attach", _CLERKS, state, "REG-21") for state in HEARD),
    *(Transition(state, "draft_ruling", (_MEDIATOR,), state, "REG-21, 809-28") for state in HEARD),
    *(Transition(state, "rule", (_MEDIATOR,), RULED, "REG-21, 809-28", REVIEW_WINDOW) for state in HEARD),
    *(Transition(state, "mark_overdue", (_CLOCK,), state, "REG-21") for state in HEARD),
    Transition(RULED, "ask_review", (_REQUESTER, _PROVIDER), REVIEW, "809-28"),
    Transition(RULED, "become_final", (_CLOCK,), FINAL, "809-28"),
    *(
        row
        for state in (RULED, FINAL)
        for row in (
            Transition(state, "report_noncompliance", (_REQUESTER,), state, "809-28"),
            Transition(state, "order_compliance", (_MEDIATOR,), state, "809-28, 809-40"),
        )
    ),
    Transition(REVIEW, "confirm", (_REGISTRAR,), FINAL, "809-28"),
    Transition(REVIEW, "change", (_REGISTRAR,), FINAL, "809-28"),
    *(Transition(state, "withdraw", (_REQUESTER,), CLOSED, "REG-21") for state in UNDECIDED),
    *(Transition(state, "record_settlement", (_REQUESTER,), SETTLED, "REG-21") for state in UNDECIDED),
)

DISPUTE = Machine("dispute", states=STATES, acts=ACTS, rows=ROWS)

CAUSES = {
    "refused": Text("提供方不予同意", "refused"),
    "overdue": Text("提供方逾期未答复", "no reply in time"),
    "stalemate": Text("多轮协商未果", "stalemate"),
}

OUTCOMES = {
    "grant": Text("支持申请", "grant"),
    "grant_in_part": Text("部分支持", "grant in part"),
    "deny": Text("不支持申请", "deny"),
    "remand": Text("责令重新协商", "remand with directions"),
}
GRANTS = ("grant", "grant_in_part")
