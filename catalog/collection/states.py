"""Collection plan (采集计划), finding (重复采集), audit (全目录审计) and its findings: who may do what when, as tables.

Pure. Nothing is refused automatically: the check flags, the agency answers, the authority decides.
Sources: Regulation Art. 17, 46(1); Decree 809 Art. 19.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.kernel.actor import Role
from app.kernel.machine import By, Machine, Transition
from app.kernel.text import Text

DRAFT, FILED, CLEARED, BLOCKED = "draft", "filed", "cleared", "blocked"
COLLECTING, CLOSED, EXPIRED = "collecting", "closed", "expired"

FLAGGED, WITHDRAWN, JUSTIFIED, ACCEPTED = "flagged", "withdrawn", "justified", "accepted"
UPHELD, APPEALED, SHARED_INSTEAD, NOTICED = "upheld", "appealed", "shared_instead", "noticed"

ASKED, UNDER_AUDIT, FINISHED, FAILED, CANCELLED = "asked", "running", "finished", "failed", "cancelled"

JUSTIFY = "finding.justify"  # the agency's answer: to the flag, and to the decision that upheld it
DECIDE = "finding.decide"

_CLERK: By = ("owner", Role.CLERK)
_APPROVER: By = ("owner", Role.APPROVER)
_DECIDERS: tuple[By, ...] = (("authority", Role.CATALOG_ADMINISTRATOR), ("authority", Role.MEDIATOR))
_SIGNATORY: By = ("authority", Role.APPROVER)
_SYSTEM: By = ("system", None)
_WORKER: By = ("worker", None)
_CLOCK: By = ("clock", None)

PLAN = Machine(
    "plan",
    states={
        DRAFT: Text("草稿", "draft"),
        FILED: Text("已报送，比对中", "filed, being checked"),
        CLEARED: Text("可以采集", "cleared"),
        BLOCKED: Text("有未了结的重复采集", "blocked by open findings"),
        COLLECTING: Text("采集中", "collecting"),
        CLOSED: Text("已结束", "closed"),
        EXPIRED: Text("已到期", "expired"),
    },
    acts={
        "draft": Text("编制采集计划", "draft"),
        "edit": Text("修改", "edit"),
        "file": Text("报送比对", "file for the check"),
        "clear": Text("准予采集", "clear"),
        "block": Text("暂不得采集", "block"),
        "permit": Text("准予先行采集", "let it collect all the same"),
        "collect": Text("开始采集", "begin collecting"),
        "close": Text("结束", "close"),
        "expire": Text("到期", "expire"),
        "renew": Text("续期", "renew"),
        "amend": Text("变更", "amend"),
        "supersede": Text("由变更后的计划取代", "supersede"),
    },
    rows=(
        Transition(None, "draft", (_CLERK,), DRAFT, "REG-17"),
        Transition(None, "renew", (_CLERK,), DRAFT, "REG-17"),
        Transition(None, "amend", (_CLERK,), DRAFT, "REG-17"),
        Transition(DRAFT, "edit", (_CLERK,), DRAFT, "REG-17"),
        Transition(DRAFT, "file", (_APPROVER,), FILED, "REG-17, 809-19"),
        Transition(FILED, "clear", (_SYSTEM,), CLEARED, "REG-17"),
        Transition(FILED, "block", (_SYSTEM,), BLOCKED, "REG-17, 809-19"),
        Transition(BLOCKED, "clear", (_SYSTEM,), CLEARED, "REG-17"),
        Transition(BLOCKED, "permit", (_SIGNATORY,), CLEARED, "REG-17"),
        Transition(CLEARED, "block", (_SYSTEM,), BLOCKED, "REG-17, 809-19"),
        Transition(CLEARED, "collect", (_APPROVER,), COLLECTING, "REG-17"),
        Transition(CLEARED, "close", (_APPROVER,), CLOSED, "REG-17"),
        Transition(COLLECTING, "block", (_SYSTEM,), BLOCKED, "REG-17, 809-19"),
        Transition(COLLECTING, "close", (_APPROVER,), CLOSED, "REG-17"),
        *(
            Transition(state, "expire", (_CLOCK,), EXPIRED, "REG-17")
            for state in (CLEARED, BLOCKED, COLLECTING)
        ),
        *(
            Transition(state, "supersede", (_SYSTEM,), CLOSED, "REG-17")
            for state in (CLEARED, BLOCKED, COLLECTING)
        ),
    ),
)
RUNNING = (CLEARED, BLOCKED, COLLECTING)
# What may be drafted after a plan, by the act that makes the draft.
AMENDABLE = RUNNING
RENEWABLE = (CLEARED, COLLECTING, CLOSED, EXPIRED)

FINDING = Machine(
    "finding",
    states={
        FLAGGED: Text("疑似重复", "flagged"),
        WITHDRAWN: Text("已放弃采集", "item withdrawn"),
        JUSTIFIED: Text("已说明理由，待审查", "justified"),
        ACCEPTED: Text("理由成立", "justification accepted"),
        UPHELD: Text("认定重复采集", "upheld"),
        APPEALED: Text("已提出异议", "appealed"),
        SHARED_INSTEAD: Text("改为共享取得", "shared instead"),
        NOTICED: Text("已通报批评", "notice of criticism issued"),
    },
    acts={
        "flag": Text("标记疑似重复", "flag"),
        "withdraw": Text("放弃采集该信息项", "withdraw the item"),
        "justify": Text("说明理由", "justify"),
        "accept": Text("认可理由", "accept the justification"),
        "uphold": Text("认定重复采集", "uphold"),
        "appeal": Text("提出异议", "appeal"),
        "share_instead": Text("改为申请共享", "share instead"),
        "notice": Text("通报批评", "issue a notice of criticism"),
        "mark_overdue": Text("标记逾期", "mark overdue"),
        "lapse": Text("认可期限届满", "let the acceptance lapse"),
    },
    rows=(
        Transition(None, "flag", (_SYSTEM,), FLAGGED, "REG-17, 809-19", JUSTIFY),
        Transition(FLAGGED, "withdraw", (_CLERK, _APPROVER), WITHDRAWN, "809-19"),
        Transition(FLAGGED, "justify", (_CLERK,), JUSTIFIED, "REG-46(1)", DECIDE),
        Transition(FLAGGED, "uphold", _DECIDERS, UPHELD, "REG-17, 809-19", JUSTIFY),
        Transition(JUSTIFIED, "withdraw", (_CLERK, _APPROVER), WITHDRAWN, "809-19"),
        Transition(JUSTIFIED, "accept", _DECIDERS, ACCEPTED, "REG-17"),
        Transition(JUSTIFIED, "uphold", _DECIDERS, UPHELD, "REG-17, 809-19", JUSTIFY),
        Transition(ACCEPTED, "lapse", (_CLOCK,), FLAGGED, "REG-17", JUSTIFY),
        Transition(UPHELD, "appeal", (_APPROVER,), APPEALED, "REG-17", DECIDE),
        Transition(UPHELD, "share_instead", (_CLERK, _APPROVER), SHARED_INSTEAD, "809-19"),
        Transition(UPHELD, "notice", (_SIGNATORY,), NOTICED, "REG-46(1)"),
        Transition(APPEALED, "accept", _DECIDERS, ACCEPTED, "REG-17"),
        Transition(APPEALED, "uphold", _DECIDERS, UPHELD, "REG-17, 809-19", JUSTIFY),
        *(
            Transition(state, "mark_overdue", (_CLOCK,), state, "REG-17")
            for state in (FLAGGED, JUSTIFIED, UPHELD, APPEALED)
        ),
    ),
)

OPEN, ASSIGNED, CONFIRMED, DISMISSED, GONE = "open", "assigned", "confirmed", "dismissed", "gone"

AUDIT_FINDING = Machine(
    "audit_finding",
    states={
        OPEN: Text("待核", "open"),
        ASSIGNED: Text("核查中", "assigned"),
        CONFIRMED: Text("确认重复", "confirmed as duplicate"),
        DISMISSED: Text("并非重复", "not a duplicate"),
        GONE: Text("已不存在", "no longer found"),
    },
    acts={
        "find": Text("审计发现", "find"),
        "find_again": Text("再次发现", "find again"),
        "assign": Text("分派", "assign"),
        "confirm": Text("确认重复", "confirm"),
        "dismiss": Text("认定并非重复", "dismiss"),
        "reopen": Text("重新核查", "reopen"),
        "vanish": Text("不再发现", "no longer find"),
    },
    rows=(
        Transition(None, "find", (_SYSTEM,), OPEN, "REG-17, 809-19"),
        *(Transition(state, "assign", _DECIDERS, ASSIGNED, "REG-17") for state in (OPEN, ASSIGNED)),
        *(Transition(state, "confirm", _DECIDERS, CONFIRMED, "809-19") for state in (OPEN, ASSIGNED)),
        *(Transition(state, "dismiss", _DECIDERS, DISMISSED, "809-19") for state in (OPEN, ASSIGNED)),
        *(Transition(state, "reopen", _DECIDERS, OPEN, "REG-17") for state in (CONFIRMED, DISMISSED)),
        *(Transition(state, "vanish", (_SYSTEM,), GONE, "REG-17") for state in (OPEN, ASSIGNED)),
        Transition(GONE, "find_again", (_SYSTEM,), OPEN, "REG-17, 809-19"),
    ),
)
UNDECIDED = (OPEN, ASSIGNED)

CATALOG_AUDIT = Machine(
    "catalog_audit",
    states={
        ASKED: Text("待开始", "waiting to begin"),
        UNDER_AUDIT: Text("审计中", "under way"),
        FINISHED: Text("已完成", "finished"),
        FAILED: Text("未能完成", "failed"),
        CANCELLED: Text("已取消", "cancelled"),
    },
    acts={
        "ask": Text("发起审计", "ask for an audit"),
        "begin": Text("开始", "begin"),
        "finish": Text("完成", "finish"),
        "fail": Text("未能完成", "fail"),
        "cancel": Text("取消", "cancel"),
    },
    rows=(
        Transition(None, "ask", _DECIDERS, ASKED, "REG-17, 809-19"),
        Transition(ASKED, "begin", (_WORKER,), UNDER_AUDIT, "REG-17, 809-19"),
        Transition(UNDER_AUDIT, "finish", (_WORKER,), FINISHED, "REG-17, 809-19"),
        Transition(UNDER_AUDIT, "fail", (_WORKER,), FAILED, "REG-17, 809-19"),
        *(Transition(state, "cancel", _DECIDERS, CANCELLED, "REG-17") for state in (ASKED, UNDER_AUDIT)),
    ),
)
UNDER_WAY = (ASKED, UNDER_AUDIT)

# An item with such a finding is not collected: it was given up, is had by sharing, or was criticised.
STRUCK = (WITHDRAWN, SHARED_INSTEAD, NOTICED)
AGENCYS_TURN = (FLAGGED, UPHELD)
AUTHORITYS_TURN = (JUSTIFIED, APPEALED)


def blocks(state: str, band: str) -> bool:
    """Whether a finding keeps its plan from collecting: one that expects reuse until it is settled, one that
    only asked for review from the moment the authority upheld it."""
    open_ = state in (*AGENCYS_TURN, *AUTHORITYS_TURN)
    return open_ and (band == "reuse_expected" or state in (UPHELD, APPEALED))


def hindrance(state: str, act: str, *, overdue: bool, appealed: bool) -> Text | None:
    """Why the moment does not allow an act that the table does, or None."""
    if act == "uphold" and state == FLAGGED and not overdue:
        return Text("单位说明理由的期限未到。", "The agency still has time to answer.")
    if act == "appeal" and appealed:
        return Text("异议只能提出一次。", "A finding is appealed once.")
    if act == "notice" and not (appealed or overdue):
        return Text(
            "单位仍可提出异议或改为共享；期满未办或异议不成立的，方可通报批评。",
            "The agency may still appeal or share instead; a notice follows its silence or a failed appeal.",
        )
    return None


@dataclass(frozen=True, slots=True)
class Ground:
    """A reason (正当理由) for collecting what the catalog seems to hold, and the article it leans on. One that
    `separates` says that what the catalog holds is another element: accepted, it teaches the check so."""

    label: Text
    basis: str
    separates: bool = False


# Regulation Art. 46(1) punishes collecting again "without justification"; 809-19 where sharing would suffice.
GROUNDS: dict[str, Ground] = {
    "required_by_law": Ground(
        Text("法律、行政法规规定须由本单位直接采集", "the law has this agency collect it itself"), "REG-17"
    ),
    "different_meaning": Ground(
        Text("含义不同，目录中并无该信息", "it means something else; the catalog does not hold it"), "REG-17", separates=True
    ),
    "other_population": Ground(
        Text("采集对象不同，现有信息不能覆盖", "another population, which what exists does not cover"), "809-19", separates=True
    ),
    "finer_detail": Ground(
        Text("现有信息的粒度或口径不能满足", "what exists is too coarse or counted differently"), "809-19"
    ),
    "more_current": Ground(
        Text("现有信息的更新周期不能满足", "what exists is not current enough"), "809-19"
    ),
    "poor_quality": Ground(
        Text("现有信息有误或缺失，已提出校核", "what exists is wrong or missing; a correction was asked for"), "809-26"
    ),
    "not_shared": Ground(
        Text("现有信息依法不予共享，或申请未获同意", "what exists is not shared by law, or was refused"), "809-15"
    ),
    "emergency": Ground(
        Text("应对突发事件，来不及申请共享", "an emergency leaves no time to ask for sharing"), "809-19"
    ),
}  # fmt: skip
