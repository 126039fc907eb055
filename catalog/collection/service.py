"""Collection plans (采集计划): drafted, filed and checked, cleared or blocked by findings, collected, ended.

Owns plans, who may know of them, and the clocks. How findings are answered and decided is `findings`'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, time, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Uuid, and_, any_, false, literal, or_, select, true
from sqlalchemy.orm import Session

from app.identity import agencies
from app.identity.models import Agency, Jurisdiction
from app.identity.profiles import rules_for
from app.kernel import deadlines, history, jobs
from app.kernel.actor import Actor, ActorKind, system_actor
from app.kernel.calendar import BEIJING, legal_date
from app.kernel.clock import now
from app.kernel.deadlines import Consequence, DeadlineRow
from app.kernel.errors import Fault, Invalid, NotFound, NotPermitted, SameHand
from app.kernel.jobs import Task
from app.kernel.machine import Party
from catalog.collection import checking
from catalog.collection.matching import PlanCheck
from catalog.collection.models import Finding, Plan
from catalog.collection.record import PlanRecord, check_plan_record
from catalog.collection.states import (
    BLOCKED,
    CLEARED,
    DECIDE,
    DRAFT,
    FILED,
    FINDING,
    JUSTIFY,
    PLAN,
    RUNNING,
    blocks,
)

EXPIRE = "plans.expire"
CHECK = system_actor("check")
CLOCK = system_actor("clock")
_SYSTEM: frozenset[Party] = frozenset({"system"})
_CLOCK: frozenset[Party] = frozenset({"clock"})


def draft_plan(session: Session, *, record: PlanRecord, by: Actor) -> Plan:
    """A new plan of the actor's agency. Errors: NotPermitted, Invalid."""
    if by.agency_id is None or by.id is None:
        raise NotPermitted()
    _require(check_plan_record(record))
    agency = agencies.agency(session, by.agency_id)
    plan = Plan(
        agency_id=agency.id, jurisdiction_id=agency.jurisdiction_id,
        authority_id=_deciding_authority(session, agency).id,
    )  # fmt: skip
    _write(plan, record, by)
    history.create(session, plan, PLAN, "draft", by=by, parties=frozenset({"owner"}), data=_attested(plan))
    return plan


def edit_plan(session: Session, plan: Plan, *, record: PlanRecord, by: Actor, version: int) -> None:
    """Replace a draft's content; who rewrites it is its author from then on. Errors: Invalid."""
    _step(session, plan, "edit", by=by, version=version, data={"content_sha256": record.content_hash})
    _require(check_plan_record(record))
    _write(plan, record, by)


def file_plan(session: Session, plan: Plan, *, by: Actor, version: int) -> list[Finding]:
    """报送: the approver, who did not write it, files the plan. Every item is checked against the published
    catalog; what comes back is flagged, best candidates first. Where reuse is expected the plan is blocked
    and the agency's clock starts; what is only for review is shown. Errors: SameHand, Invalid."""
    _step(session, plan, "file", by=by, version=version, data=_attested(plan))
    if by.id == plan.author_id:
        raise SameHand(basis="REG-17")
    record = plan.typed
    _require(check_plan_record(record, today=legal_date(now())))
    check = checking.check_items(session, record.items, record.context)
    plan.coverage = checking.coverage(check).model_dump(mode="json")
    plan.model_version = check.model_version
    found = [
        _flag(session, plan, record, check, position)
        for position, item in enumerate(check.items)
        if item.band != "new"
    ]
    _start_answers(session, plan, [finding for finding in found if finding.blocks])
    settle(session, plan)
    ends_at = datetime.combine(plan.period_until + timedelta(days=1), time(), BEIJING)
    jobs.enqueue(session, EXPIRE, at=ends_at)
    return found


def _flag(session: Session, plan: Plan, record: PlanRecord, check: PlanCheck, position: int) -> Finding:
    candidates = checking.candidates(check, position, asking=plan.agency_id)
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
    """Clear the plan when no finding blocks it, block it when one does."""
    session.flush()
    session.refresh(plan, with_for_update=True)  # one of two findings decided at once sees the other
    standing = session.execute(select(Finding.state, Finding.band).where(Finding.plan_id == plan.id)).all()
    open_ = sum(blocks(row.state, row.band) for row in standing)
    act = "block" if open_ else "clear"
    if plan.state in (FILED, CLEARED if open_ else BLOCKED):
        data = {"findings": len(standing), "open": open_}
        history.advance(session, plan, PLAN, act, by=CHECK, parties=_SYSTEM, data=data)


def collect(session: Session, plan: Plan, *, by: Actor, version: int) -> None:
    """开始采集. Errors: WrongMoment while findings block the plan."""
    _step(session, plan, "collect", by=by, version=version)


def close_plan(session: Session, plan: Plan, *, by: Actor, version: int) -> None:
    """结束: the collection is done, or given up."""
    _step(session, plan, "close", by=by, version=version)


def expire_due(session: Session, _args: Mapping[str, Any] | None = None) -> None:
    """End every plan whose period has passed; `period_until` is the truth, the job only the wake-up."""
    due = select(Plan).where(Plan.state.in_(RUNNING), Plan.period_until < legal_date(now()))
    for plan in session.scalars(due.with_for_update(skip_locked=True)).all():
        history.advance(session, plan, PLAN, "expire", by=CLOCK, parties=_CLOCK)


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
    acts = PLAN.allowed(plan.state, parties_of(by, plan), by.roles)
    return [act for act in acts if act != "file" or by.id != plan.author_id]


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
    session: Session, plan: Plan, act: str, *, by: Actor, version: int, data: Mapping[str, Any] | None = None
) -> None:
    history.advance(
        session, plan, PLAN, act, by=by, parties=parties_of(by, plan), expected_version=version, data=data
    )  # fmt: skip


def _require(faults: list[Fault]) -> None:
    if faults:
        raise Invalid(faults=faults)
