"""Collection plans (采集计划): drafted, filed and checked, cleared or blocked by findings, collected, ended,
renewed and amended.

Owns plans, who may know of them, and the clocks. How findings are answered and decided is `findings`'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Uuid, and_, any_, false, func, literal, or_, select, true
from sqlalchemy.orm import Session

from app.identity import agencies
from app.identity.models import Agency, Jurisdiction
from app.identity.profiles import profile_for, rules_for
from app.kernel import calendar, deadlines, history, jobs
from app.kernel.actor import Actor, ActorKind, system_actor
from app.kernel.calendar import BEIJING, legal_date
from app.kernel.clock import now
from app.kernel.db import advisory_lock
from app.kernel.deadlines import Consequence, DeadlineRow
from app.kernel.errors import Fault, Invalid, NotFound, NotPermitted, SameHand
from app.kernel.jobs import Task
from app.kernel.machine import Party, may
from app.kernel.text import Text
from catalog.collection import checking
from catalog.collection.matching import PlanCheck
from catalog.collection.models import Finding, Plan
from catalog.collection.record import Candidate, PlannedItemRecord, PlanRecord, check_plan_record
from catalog.collection.states import (
    ACCEPTED,
    AMENDABLE,
    BLOCKED,
    CLEARED,
    COLLECTING,
    DECIDE,
    DRAFT,
    FILED,
    FINDING,
    JUSTIFY,
    PLAN,
    RENEWABLE,
    RUNNING,
    blocks,
)

EXPIRE = "plans.expire"
NUMBER = "number"  # no act of the machine: what a plan that is cleared is given
NOTES = {NUMBER: Text("编列管理编号", "give the control number")}
CHECK = system_actor("check")
CLOCK = system_actor("clock")
_SYSTEM: frozenset[Party] = frozenset({"system"})
_CLOCK: frozenset[Party] = frozenset({"clock"})


def draft_plan(session: Session, *, record: PlanRecord, by: Actor) -> Plan:
    """A new plan of the actor's agency. Errors: NotPermitted, Invalid."""
    if by.agency_id is None or by.id is None:
        raise NotPermitted()
    return _draft(session, record, "draft", by=by)


def amend_plan(session: Session, plan: Plan, *, record: PlanRecord, by: Actor) -> Plan:
    """变更: a draft of what the plan is to become; once cleared it takes the plan's place. Errors: WrongMoment."""
    _require_state(plan, "amend", AMENDABLE, by)
    return _draft(session, record, "amend", by=by, follows=plan, follows_as="amendment")


def renew_plan(session: Session, plan: Plan, *, period_from: date, period_until: date, by: Actor) -> Plan:
    """续期: a draft of the same plan for another period, checked again when filed. Errors: WrongMoment, Invalid."""
    _require_state(plan, "renew", RENEWABLE, by)
    record = plan.typed.model_copy(update={"period_from": period_from, "period_until": period_until})
    return _draft(session, record, "renew", by=by, follows=plan, follows_as="renewal")


def _draft(
    session: Session,
    record: PlanRecord,
    act: str,
    *,
    by: Actor,
    follows: Plan | None = None,
    follows_as: str | None = None,
) -> Plan:
    _require(check_plan_record(record))
    assert by.agency_id is not None
    agency = agencies.agency(session, by.agency_id)
    plan = Plan(
        agency_id=agency.id, jurisdiction_id=agency.jurisdiction_id,
        authority_id=_deciding_authority(session, agency).id, follows_id=follows.id if follows else None,
        follows_as=follows_as,
    )  # fmt: skip
    _write(plan, record, by)
    data = _attested(plan) | ({"follows": str(follows.id)} if follows else {})
    parties = parties_of(by, follows) if follows else frozenset({"owner"})
    history.create(session, plan, PLAN, act, by=by, parties=parties, data=data)
    return plan


def _require_state(plan: Plan, act: str, states: Sequence[str], by: Actor) -> None:
    if plan.state not in states:
        raise history.wrong_moment(PLAN, plan.state, act, by, parties_of(by, plan))


def edit_plan(session: Session, plan: Plan, *, record: PlanRecord, by: Actor, version: int) -> None:
    """Replace a draft's content; who rewrites it is its author from then on. Errors: Invalid."""
    _step(session, plan, "edit", by=by, version=version, data={"content_sha256": record.content_hash})
    _require(check_plan_record(record))
    _write(plan, record, by)


def file_plan(session: Session, plan: Plan, *, by: Actor, version: int) -> list[Finding]:
    """报送: the approver, who did not write it, files the plan. Every item is checked against the published
    catalog; what comes back is flagged, best candidates first. Where reuse is expected the plan is blocked
    and the agency's clock starts; what is only for review is shown. Of an amendment, an item that stays as it
    was keeps the acceptance it has. Errors: SameHand, Invalid, WrongMoment."""
    _step(session, plan, "file", by=by, version=version, data=_attested(plan))
    if by.id == plan.author_id:
        raise SameHand(basis="REG-17")
    record = plan.typed
    _require(check_plan_record(record, today=legal_date(now())))
    accepted = _accepted_before(session, plan, by)
    check = checking.check_items(session, record.items, record.context)
    plan.coverage = checking.coverage(check).model_dump(mode="json")
    plan.model_version = check.model_version
    told = checking.candidates(session, check, record.wanted, asking=plan.agency_id)
    found = [
        _flag(session, plan, record, check, position, told[position])
        for position, item in enumerate(check.items)
        if item.band != "new" and record.items[position] not in accepted
    ]
    _start_answers(session, plan, [finding for finding in found if finding.blocks])
    settle(session, plan)
    wake_after(session, plan.period_until)
    return found


def predecessor(session: Session, plan: Plan) -> Plan | None:
    """The plan that this one renews or amends. Who may know of one may know of the other: one agency's."""
    return session.get_one(Plan, plan.follows_id) if plan.follows_id else None


def _accepted_before(session: Session, plan: Plan, by: Actor) -> frozenset[PlannedItemRecord]:
    """The items whose collection was accepted in the plan that this one amends, as long as the acceptance holds."""
    if plan.follows_as != "amendment":
        return frozenset()
    amended = predecessor(session, plan)
    assert amended is not None
    _require_state(amended, "amend", AMENDABLE, by)
    standing = select(Finding).where(
        Finding.plan_id == amended.id, Finding.state == ACCEPTED, Finding.accepted_until >= legal_date(now())
    )
    return frozenset(finding.typed_item for finding in session.scalars(standing))


def wake_after(session: Session, day: date) -> None:
    """Have what ends with that day looked at when it is over."""
    jobs.enqueue(session, EXPIRE, at=datetime.combine(day + timedelta(days=1), time(), BEIJING))


def _flag(
    session: Session,
    plan: Plan,
    record: PlanRecord,
    check: PlanCheck,
    position: int,
    candidates: Sequence[Candidate],
) -> Finding:
    best = candidates[0]
    finding = Finding(
        plan_id=plan.id, position=position, band=check.items[position].band,
        item=record.items[position].model_dump(mode="json", exclude_defaults=True),
        candidates=[candidate.model_dump(mode="json") for candidate in candidates],
        model_version=check.model_version, overdue=False,
    )  # fmt: skip
    data = {
        "plan": str(plan.id), "position": position, "band": finding.band, "resource": str(best.resource_id),
        "item": best.item_code, "score": best.score, "model": check.model_version,
    }  # fmt: skip
    history.create(session, finding, FINDING, "flag", by=CHECK, parties=_SYSTEM, data=data)
    return finding


def _start_answers(session: Session, plan: Plan, found: Sequence[Finding]) -> None:
    """Start the agency's clock on each finding; profile and calendar are read once for all of them."""
    rules = rules_for(session, plan.jurisdiction_id)
    duty = rules.profile.duties[JUSTIFY]
    for finding in found:
        deadlines.start(
            session, kind=FINDING.kind, subject_id=finding.id, duty=JUSTIFY, working_days=duty.working_days,
            calendar=rules.calendar, legal_basis=duty.basis,
        )  # fmt: skip


def settle(session: Session, plan: Plan) -> None:
    """Clear the plan when no finding blocks it or the authority permits it all the same, block it otherwise. The
    first time it is cleared it gets its control number, and takes the place of the plan that it amends."""
    session.flush()
    session.refresh(plan, with_for_update=True)  # one of two findings decided at once sees the other
    standing = session.execute(select(Finding.state, Finding.band).where(Finding.plan_id == plan.id)).all()
    open_ = sum(blocks(row.state, row.band) for row in standing)
    held = open_ > 0 and not plan.permitted_on(legal_date(now()))
    if plan.state in (FILED, *((CLEARED, COLLECTING) if held else (BLOCKED,))):
        data = {"findings": len(standing), "open": open_}
        history.advance(
            session, plan, PLAN, "block" if held else "clear", by=CHECK, parties=_SYSTEM, data=data
        )
    _enter_register(session, plan)


def _enter_register(session: Session, plan: Plan) -> None:
    """Give a plan that is cleared for the first time its control number (管理编号) and the day it expires."""
    if plan.state != CLEARED or plan.control_number is not None:
        return
    today = legal_date(now())
    advisory_lock(session, f"plan {plan.authority_id} {today.year}")
    numbered = select(func.max(Plan.control_sequence)).where(
        Plan.authority_id == plan.authority_id, Plan.control_year == today.year
    )
    plan.control_year, plan.control_sequence = today.year, (session.scalar(numbered) or 0) + 1
    authority = agencies.agency(session, plan.authority_id)
    plan.control_number = f"{authority.name}采〔{plan.control_year}〕{plan.control_sequence}号"
    years = profile_for(session, plan.jurisdiction_id).options.plan_years
    plan.expires_on = min(plan.period_until, calendar.years_after(today, years))
    wake_after(session, plan.expires_on)
    data = {"control_number": plan.control_number, "expires_on": plan.expires_on.isoformat()}
    history.record(
        session, kind=PLAN.kind, subject_id=plan.id, act=NUMBER, by=CHECK, party="system", data=data
    )
    before = predecessor(session, plan) if plan.follows_as == "amendment" else None
    if before is not None and before.state in RUNNING:
        data = {"by": str(plan.id), "control_number": plan.control_number}
        history.advance(session, before, PLAN, "supersede", by=CHECK, parties=_SYSTEM, data=data)


def permit(session: Session, plan: Plan, *, reason: str, until: date, by: Actor, version: int) -> None:
    """准予先行采集: the authority's approver lets the plan collect until that day although findings are open; they
    are answered and decided all the same. Errors: WrongMoment, Invalid."""
    data = {"until": until.isoformat()}
    _step(session, plan, "permit", by=by, version=version, reason=reason, data=data)
    if not legal_date(now()) <= until <= plan.period_until:
        told = Text("须在今日与采集结束日之间", "not between today and the last day of collecting")
        raise Invalid(faults=[Fault("/until", told)])
    plan.permission, plan.permitted_until, plan.permitted_by = reason, until, by.id
    session.flush()
    _enter_register(session, plan)
    wake_after(session, until)


def collect(session: Session, plan: Plan, *, by: Actor, version: int) -> None:
    """开始采集. Errors: WrongMoment while findings block the plan."""
    _step(session, plan, "collect", by=by, version=version)


def close_plan(session: Session, plan: Plan, *, by: Actor, version: int) -> None:
    """结束: the collection is done, or given up."""
    _step(session, plan, "close", by=by, version=version)


def expire_due(session: Session, _args: Mapping[str, Any] | None = None) -> None:
    """End every plan whose period or control number has run out, every permission and every acceptance whose day
    has passed; the days in the rows are the truth, the job only the wake-up."""
    today = legal_date(now())
    running = select(Plan).where(Plan.state.in_(RUNNING)).with_for_update(skip_locked=True)
    for plan in session.scalars(running.where(or_(Plan.period_until < today, Plan.expires_on < today))).all():
        history.advance(session, plan, PLAN, "expire", by=CLOCK, parties=_CLOCK)
    lapsed = (
        select(Finding, Plan)
        .join(Plan, Plan.id == Finding.plan_id)
        .where(Finding.state == ACCEPTED, Finding.accepted_until < today, Plan.state.in_(RUNNING))
        .with_for_update(skip_locked=True)
    )
    for finding, plan in session.execute(lapsed).all():
        history.advance(session, finding, FINDING, "lapse", by=CLOCK, parties=_CLOCK)
        _start_answers(session, plan, [finding])
        settle(session, plan)
    for plan in session.scalars(running.where(Plan.permitted_until < today)).all():
        settle(session, plan)


def mark_overdue(session: Session, clock: DeadlineRow) -> None:
    """A side let its clock run out: the other may go on (uphold what was not answered, issue the notice)."""
    finding = session.get_one(Finding, clock.subject_id)
    data = {"duty": clock.duty, "due_on": clock.due_on.isoformat()}
    history.advance(session, finding, FINDING, "mark_overdue", by=CLOCK, parties=_CLOCK, data=data)
    finding.overdue = True


CONSEQUENCES: dict[str, Consequence] = {JUSTIFY: mark_overdue, DECIDE: mark_overdue}
TASKS: dict[str, Task] = {EXPIRE: expire_due}


def visible_to(by: Actor) -> ColumnElement[bool]:
    """Which plans `by` may know of: its own agency's; once filed, those of the jurisdiction that its authority
    is in and of those below."""
    if by.kind is ActorKind.SYSTEM:
        return true()
    if by.agency_id is None:
        return false()
    own = Plan.agency_id == by.agency_id
    if not by.is_authority:
        return own
    below = select(Jurisdiction.id).where(literal(by.jurisdiction_id, Uuid) == any_(Jurisdiction.path))
    return or_(own, and_(Plan.jurisdiction_id.in_(below), Plan.state != DRAFT))


def find_plan(session: Session, plan_id: UUID, *, by: Actor) -> Plan:
    """The plan, if the actor may know of it. Errors: NotFound."""
    plan = session.scalar(select(Plan).where(Plan.id == plan_id, visible_to(by)))
    if plan is None:
        raise NotFound()
    return plan


def list_plans(
    session: Session, *, by: Actor, state: str | None = None, before: UUID | None = None, limit: int = 50
) -> list[Plan]:
    """Plans the actor may know of, newest first; `before` is the last id of the page before."""
    query = select(Plan).where(visible_to(by))
    if state is not None:
        query = query.where(Plan.state == state)
    if before is not None:
        query = query.where(Plan.id < before)
    return list(session.scalars(query.order_by(Plan.id.desc()).limit(limit)))


def parties_of(by: Actor, plan: Plan) -> frozenset[Party]:
    """What `by` is to the plan and its findings: owner, deciding authority, or neither."""
    if by.agency_id is None:
        return frozenset()
    if by.agency_id == plan.agency_id:
        return frozenset({"owner"})
    return frozenset({"authority"}) if by.agency_id == plan.authority_id else frozenset()


def allowed_acts(plan: Plan, *, by: Actor) -> list[str]:
    """The acts that the actor may do now. An approver who wrote the plan itself does not file it."""
    parties = parties_of(by, plan)
    acts = PLAN.allowed(plan.state, parties, by.roles)
    drafting = [("amend", AMENDABLE), ("renew", RENEWABLE)] if may(_AMEND, parties, by.roles) else []
    following = [act for act, states in drafting if plan.state in states]
    return [act for act in acts if act != "file" or by.id != plan.author_id] + following


_AMEND = next(row for row in PLAN.rows if row.act == "amend")


def _deciding_authority(session: Session, agency: Agency) -> Agency:
    """The agency's authority; of an authority's own plans the next one above. At the top of the tree nobody is
    above: then it is named all the same, and can decide nothing."""
    authority = agencies.authority_of(session, agency.jurisdiction_id)
    if authority.id == agency.id:
        return agencies.authority_above(session, authority) or authority
    return authority


def _write(plan: Plan, record: PlanRecord, by: Actor) -> None:
    assert by.id is not None
    plan.author_id = by.id
    plan.title, plan.period_until = record.title, record.period_until
    plan.record = record.model_dump(mode="json", exclude_defaults=True)


def _attested(plan: Plan) -> dict[str, Any]:
    return {"content_sha256": plan.typed.content_hash}


def _step(
    session: Session,
    plan: Plan,
    act: str,
    *,
    by: Actor,
    version: int,
    reason: str | None = None,
    data: Mapping[str, Any] | None = None,
) -> None:
    history.advance(
        session, plan, PLAN, act, by=by, parties=parties_of(by, plan), expected_version=version, reason=reason,
        data=data,
    )  # fmt: skip


def _require(faults: list[Fault]) -> None:
    if faults:
        raise Invalid(faults=faults)
