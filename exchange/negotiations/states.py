"""Negotiation (协商): who may do what when, as one table of the Dataspace Protocol's states.

Pure. Owns the table, what the moment allows beside it, and the coded grounds of refusal.
Source: Regulation Art. 21, Decree 809 Art. 20-22, 28; Dataspace Protocol 2025-1 §7.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from app.kernel.actor import Role
from app.kernel.machine import By, Machine, Transition
from app.kernel.text import Text

REQUESTED, OFFERED, ACCEPTED, AGREED = "REQUESTED", "OFFERED", "ACCEPTED", "AGREED"
VERIFIED, FINALIZED, TERMINATED = "VERIFIED", "FINALIZED", "TERMINATED"
OPEN = (REQUESTED, OFFERED, ACCEPTED)  # where somebody's answer is awaited

REPLY_UNCONDITIONAL = "negotiation.reply.unconditional"
REPLY_CONDITIONAL = "negotiation.reply.conditional"
RESPOND = "negotiation.respond"
CONFIRM = "negotiation.confirm"

_REQUESTER_CLERK: By = ("requester", Role.CLERK)
_REQUESTER_APPROVER: By = ("requester", Role.APPROVER)
_PROVIDER_CLERK: By = ("provider", Role.CLERK)
_PROVIDER_APPROVER: By = ("provider", Role.APPROVER)
_SIDES = (_REQUESTER_CLERK, _REQUESTER_APPROVER, _PROVIDER_CLERK, _PROVIDER_APPROVER)
_AUTHORITY: By = ("authority", Role.MEDIATOR)
_CLOCK: By = ("clock", None)
_POLICY: By = ("policy", None)
_RULING: By = ("ruling", None)
_SYSTEM: By = ("system", None)

STATES = {
    REQUESTED: Text("待提供方答复", "requested"),
    OFFERED: Text("提供方已要约，待需求方回应", "offered"),
    ACCEPTED: Text("需求方已接受，待提供方确认", "accepted"),
    AGREED: Text("双方一致", "agreed"),
    VERIFIED: Text("已核对", "verified"),
    FINALIZED: Text("协议已生效", "finalized"),
    TERMINATED: Text("已终止", "terminated"),
}

ACTS = {
    "file": Text("提出共享申请", "file the request"),
    "remand": Text("按裁决重新协商", "negotiate again as the ruling directs"),
    "offer_amendment": Text("提供方提出变更要约", "offer to amend the agreement"),
    "ask_material": Text("发出补正通知", "give notice of missing material"),
    "supply_material": Text("提交补正材料", "supply the missing material"),
    "ask_extension": Text("申请延长答复期限", "ask to extend the time for reply"),
    "extend": Text("同意延期", "consent to the extension"),
    "refuse_extension": Text("不同意延期", "refuse the extension"),
    "transfer": Text("转送数据持有单位", "transfer to the agency that holds the data"),
    "draft_terms": Text("拟定条款", "draft terms"),
    "offer": Text("提出要约", "make an offer"),
    "counter_offer": Text("提出反要约", "make a counter-offer"),
    "accept": Text("接受要约", "accept the offer"),
    "agree": Text("同意共享", "agree"),
    "deem_consent": Text("逾期未答复视为同意", "consent deemed by silence"),
    "agree_in_principle": Text("原则同意，列明待商事项", "agree in principle, with open points"),
    "comment": Text("就条款发表意见", "comment on a term"),
    "attach": Text("提交附件", "attach a file"),
    "refuse": Text("不予同意", "refuse"),
    "withdraw": Text("撤回申请", "withdraw"),
    "mark_overdue": Text("标记逾期", "mark overdue"),
    "remind": Text("催告", "remind"),
    "lapse": Text("要约失效", "lapse"),
    "open_dispute": Text("报请主管部门协调", "open a dispute"),
    "verify": Text("核对协议与所同意条款一致", "verify that the agreement is what was consented to"),
    "finalize": Text("协议生效", "finalize"),
}

ROWS = (
    Transition(None, "file", (_REQUESTER_APPROVER,), REQUESTED, "REG-21, 809-20"),
    Transition(None, "remand", (_RULING,), REQUESTED, "REG-21, 809-28"),
    Transition(None, "offer_amendment", (_PROVIDER_APPROVER,), OFFERED, "REG-21, 809-27", RESPOND),
    Transition(REQUESTED, "ask_material", (_PROVIDER_CLERK,), REQUESTED, "809-21"),
    Transition(REQUESTED, "supply_material", (_REQUESTER_CLERK,), REQUESTED, "809-21"),
    Transition(REQUESTED, "ask_extension", (_PROVIDER_APPROVER,), REQUESTED, "809-21"),
    Transition(REQUESTED, "extend", (_AUTHORITY,), REQUESTED, "809-21"),
    Transition(REQUESTED, "refuse_extension", (_AUTHORITY,), REQUESTED, "809-21"),
    Transition(REQUESTED, "transfer", (_PROVIDER_CLERK,), REQUESTED, "REG-21"),
    Transition(REQUESTED, "draft_terms", (_PROVIDER_CLERK,), REQUESTED, "REG-21"),
    Transition(REQUESTED, "offer", (_PROVIDER_APPROVER,), OFFERED, "REG-21", RESPOND),
    Transition(REQUESTED, "agree", (_PROVIDER_APPROVER, _POLICY), AGREED, "809-20"),
    Transition(REQUESTED, "agree_in_principle", (_PROVIDER_APPROVER,), REQUESTED, "REG-21, 809-21"),
    Transition(REQUESTED, "deem_consent", (_CLOCK,), AGREED, "809-21"),
    Transition(REQUESTED, "refuse", (_PROVIDER_APPROVER,), TERMINATED, "809-21"),
    Transition(REQUESTED, "mark_overdue", (_CLOCK,), REQUESTED, "REG-21"),
    Transition(OFFERED, "draft_terms", (_REQUESTER_CLERK,), OFFERED, "REG-21"),
    Transition(OFFERED, "counter_offer", (_REQUESTER_APPROVER,), REQUESTED, "REG-21", REPLY_CONDITIONAL),
    Transition(OFFERED, "accept", (_REQUESTER_APPROVER,), ACCEPTED, "809-20", CONFIRM),
    Transition(OFFERED, "remind", (_CLOCK,), OFFERED, "REG-21", RESPOND),
    Transition(OFFERED, "lapse", (_CLOCK,), TERMINATED, "REG-21"),
    Transition(ACCEPTED, "agree", (_PROVIDER_APPROVER, _POLICY), AGREED, "809-20"),
    Transition(ACCEPTED, "mark_overdue", (_CLOCK,), ACCEPTED, "REG-21"),
    Transition(AGREED, "verify", (_SYSTEM,), VERIFIED, "DSP-7"),
    Transition(VERIFIED, "finalize", (_SYSTEM,), FINALIZED, "809-22", "agreement.supply"),
    *(Transition(state, act, _SIDES, state, "REG-21") for state in OPEN for act in ("comment", "attach")),
    *(Transition(state, "withdraw", (_REQUESTER_CLERK,), TERMINATED, "REG-21") for state in OPEN),
    *(
        Transition(state, "open_dispute", (_REQUESTER_APPROVER,), TERMINATED, "REG-21, 809-28")
        for state in (*OPEN, TERMINATED)  # after a refusal it stays terminated, and is disputed
    ),
)

NEGOTIATION = Machine("negotiation", states=STATES, acts=ACTS, rows=ROWS)

TERMINATION_REASONS = {
    "refused": Text("不予同意", "refused"),
    "withdrawn": Text("需求方撤回", "withdrawn"),
    "lapsed": Text("要约失效", "lapsed"),
    "disputed": Text("已报请协调", "disputed"),
}


@dataclass(frozen=True, slots=True)
class Ground:
    """A coded ground of refusal (不予同意的理由) and the article it rests on."""

    label: Text
    basis: str


GROUNDS: dict[str, Ground] = {
    "not_shared_by_law": Ground(
        Text("法律、行政法规或者国务院决定规定不予共享", "a law, regulation or State Council decision forbids sharing"),
        "809-15",
    ),
    "purpose_outside_duties": Ground(
        Text("用途超出需求方履行职责所需", "the purpose lies outside the requester's duties"), "809-20"
    ),
    "exceeds_need": Ground(
        Text("内容或者范围超出用途所需", "content or scope exceeds what the purpose needs"), "809-25"
    ),
    "conditions_not_met": Ground(
        Text("不符合目录载明的共享条件", "the conditions stated in the catalog are not met"), "809-14"
    ),
    "security_insufficient": Ground(
        Text("安全保障措施不足", "the security measures are insufficient"), "809-25"
    ),
    "data_absent": Ground(
        Text("不掌握所申请的数据", "the agency does not hold the data"), "809-21"
    ),
    "obtainable_elsewhere": Ground(
        Text("应当向数源部门申请", "the authoritative source is another agency"), "809-19"
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Moment:
    """What an act may depend on beside the state."""

    state: str
    waiting_for_material: bool = False
    material_asked: bool = False
    extension_asked: bool = False
    extended: bool = False
    overdue: bool = False
    drafted: bool = False  # the side whose turn it is has terms drafted
    rounds: int = 0
    stalemate_rounds: int = 3
    termination_reason: str | None = None
    disputed: bool = False
    in_principle: bool = False
    amends: bool = False  # an agreement that stands, with this provider
    held: bool = False  # that agreement, by the authority, which suspended it


def disputable(moment: Moment) -> bool:
    """Whether the law lets the requester turn to the authority: refused, overdue, or stalemate."""
    if moment.state == TERMINATED:
        return moment.termination_reason == "refused"
    return moment.overdue or moment.rounds >= moment.stalemate_rounds


_TOO_LATE = Text("期限已过，不能再延长。", "The time has run out and cannot be extended.")
_NO_DRAFT = Text("须先由经办人拟定条款。", "A clerk drafts the terms first.")
_NOT_EXTENDING = Text("没有待定的延期申请。", "No extension is asked for.")

ON_TERMS = frozenset({"draft_terms", "offer", "counter_offer", "accept", "agree"})
"""The acts that lead to other terms."""

# (act, the moments in which it is not possible although the state allows it, why)
_HINDRANCES: tuple[tuple[str, Callable[[Moment], bool], Text], ...] = (
    (
        "ask_material",
        lambda m: m.material_asked,
        Text("补正通知只能发出一次。", "Notice of missing material is given once."),
    ),
    (
        "supply_material",
        lambda m: not m.waiting_for_material,
        Text("提供方没有要求补正。", "No material is asked for."),
    ),
    (
        "ask_extension",
        lambda m: m.extended or m.extension_asked,
        Text("延期只能申请一次。", "An extension is asked for once."),
    ),
    ("ask_extension", lambda m: m.overdue, _TOO_LATE),
    ("transfer", lambda m: m.amends, Text("协议由原提供方变更。", "The agreement's own provider amends it.")),
    ("extend", lambda m: not m.extension_asked, _NOT_EXTENDING),
    ("refuse_extension", lambda m: not m.extension_asked, _NOT_EXTENDING),
    (
        "agree_in_principle",
        lambda m: m.in_principle,
        Text("已经原则同意。", "It is agreed in principle already."),
    ),
    *(
        (
            act,
            lambda m: m.held,
            Text("协议由主管部门暂停，恢复后方可变更。", "Suspended by the authority; it is resumed first."),
        )
        for act in sorted(ON_TERMS)
    ),
    ("offer", lambda m: not m.drafted, _NO_DRAFT),
    ("counter_offer", lambda m: not m.drafted, _NO_DRAFT),
    (
        "open_dispute",
        lambda m: m.disputed,
        Text("争议已经提出。", "The dispute has been opened."),
    ),
    (
        "open_dispute",
        lambda m: not disputable(m),
        Text(
            "仅在被拒绝、逾期未答复或者多轮协商未果时可报请协调。",
            "A dispute may be opened on refusal, silence past the deadline, or stalemate.",
        ),
    ),
)


def hindrance(moment: Moment, act: str) -> Text | None:
    """Why the moment does not allow an act that the state does; None where it does."""
    return next((why for name, hinders, why in _HINDRANCES if name == act and hinders(moment)), None)
