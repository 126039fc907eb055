"""Findings (重复采集): answered by the agency, decided by the authority, ended by sharing or by a notice.

Owns the acts on a finding, the share request it offers, and notices of criticism (通报批评).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from app.identity import agencies
from app.identity.models import Agency
from app.identity.profiles import start_clock
from app.kernel import deadlines, history
from app.kernel.actor import Actor
from app.kernel.calendar import legal_date
from app.kernel.clock import new_id, now
from app.kernel.db import advisory_lock
from app.kernel.errors import Fault, Invalid, NotFound, SameHand, WrongMoment
from app.kernel.history import Event
from app.kernel.text import Text
from catalog.collection import links, notices, service
from catalog.collection.links import Named, Verdict
from catalog.collection.models import Finding, Notice, Plan
from catalog.collection.record import Candidate, burden_of
from catalog.collection.service import parties_of, visible_to
from catalog.collection.share_request import Askable, ShareRequestBody, fill_in, wanted_of
from catalog.collection.states import (
    AGENCYS_TURN,
    APPEALED,
    AUTHORITYS_TURN,
    FINDING,
    FLAGGED,
    GROUNDS,
    NOTICED,
    RUNNING,
    SHARED_INSTEAD,
    UPHELD,
    WITHDRAWN,
    hindrance,
)
from catalog.resources.codes import PlatformMode, SharingType
from catalog.resources.models import Item, Resource
from catalog.resources.states import PUBLISHED

KIND = FINDING.kind
OFFERS_REQUEST = (WITHDRAWN, UPHELD, SHARED_INSTEAD, NOTICED)


def find_finding(session: Session, finding_id: UUID, *, by: Actor) -> tuple[Finding, Plan]:
    """The finding and its plan, if the actor may know of the plan. Errors: NotFound."""
    query = select(Finding, Plan).join(Plan, Plan.id == Finding.plan_id)
    row = session.execute(query.where(Finding.id == finding_id, visible_to(by))).first()
    if row is None:
        raise NotFound()
    return row[0], row[1]


def findings_of(session: Session, plan: Plan) -> list[Finding]:
    """The plan's findings in the order of its items."""
    return list(session.scalars(select(Finding).where(Finding.plan_id == plan.id).order_by(Finding.position)))


def list_findings(
    session: Session,
    *,
    by: Actor,
    waiting: bool,
    state: str | None = None,
    before: UUID | None = None,
    limit: int = 50,
) -> list[tuple[Finding, Plan]]:
    """Findings the actor may know of, newest first; `waiting` keeps those where its agency has to act: its own
    that ask for an answer, and as authority those answered, or not answered in time."""
    query = select(Finding, Plan).join(Plan, Plan.id == Finding.plan_id).where(visible_to(by))
    if waiting:
        unanswered = and_(Finding.state.in_(AGENCYS_TURN), Finding.overdue)
        refused_appeal = and_(Finding.state == UPHELD, Finding.appeal.is_not(None))
        decide = or_(Finding.state.in_(AUTHORITYS_TURN), unanswered, refused_appeal)
        query = query.where(
            or_(
                and_(
                    Plan.agency_id == by.agency_id, Plan.state.in_(RUNNING), Finding.state.in_(AGENCYS_TURN)
                ),
                and_(Plan.authority_id == by.agency_id, Plan.agency_id != by.agency_id, decide),
            )
        )
    if state is not None:
        query = query.where(Finding.state == state)
    if before is not None:
        query = query.where(Finding.id < before)
    return [
        (finding, plan) for finding, plan in session.execute(query.order_by(Finding.id.desc()).limit(limit))
    ]


def obstacle(finding: Finding, act: str) -> Text | None:
    """Why the moment does not allow an act on the finding that its state does; None where it does."""
    return hindrance(finding.state, act, overdue=finding.overdue, appealed=finding.appeal is not None)


def allowed_acts(finding: Finding, plan: Plan, *, by: Actor) -> list[str]:
    """The acts that the actor may do now."""
    return [
        act
        for act in FINDING.allowed(finding.state, parties_of(by, plan), by.roles)
        if obstacle(finding, act) is None and not (finding.state == APPEALED and finding.decided_by == by.id)
    ]


# --- Acts


def withdraw(
    session: Session, finding: Finding, plan: Plan, *, reason: str | None, by: Actor, version: int
) -> None:
    """放弃采集: the agency gives the item up; the share request for it is offered."""
    _step(session, finding, plan, "withdraw", by=by, version=version, reason=reason)


def justify(
    session: Session, finding: Finding, plan: Plan, *, ground: str, text: str, by: Actor, version: int
) -> None:
    """说明理由: why the item is to be collected all the same; the authority's clock starts."""
    data = {"ground": ground}
    _step(session, finding, plan, "justify", by=by, version=version, reason=text, data=data)
    finding.ground, finding.justification = ground, text


def accept(
    session: Session,
    finding: Finding,
    plan: Plan,
    *,
    reason: str,
    scope: str,
    until: date,
    by: Actor,
    version: int,
) -> None:
    """认可理由: the item may be collected within `scope`, until that day. Errors: SameHand, Invalid."""
    data = {"scope": scope, "until": until.isoformat()}
    event = _step(session, finding, plan, "accept", by=by, version=version, reason=reason, data=data)
    if until < legal_date(now()):
        raise Invalid(faults=[Fault("/until", Text("认可期限已过", "the day has passed"))])
    _decide(finding, event, reason, by)
    finding.accepted_scope, finding.accepted_until = scope, until
    service.wake_after(session, until)
    if finding.ground is not None and GROUNDS[finding.ground].separates:
        _teach(session, finding, plan, finding.typed_candidates, "different", by)


def uphold(session: Session, finding: Finding, plan: Plan, *, reason: str, by: Actor, version: int) -> None:
    """认定重复采集: the justification does not hold, or none was given in time. The agency's clock starts, to
    share instead or to appeal. Errors: SameHand, WrongMoment."""
    event = _step(session, finding, plan, "uphold", by=by, version=version, reason=reason)
    _decide(finding, event, reason, by)
    _teach(session, finding, plan, finding.typed_candidates[:1], "same", by)


def appeal(session: Session, finding: Finding, plan: Plan, *, reason: str, by: Actor, version: int) -> None:
    """提出异议: once; another person of the authority decides. Errors: WrongMoment."""
    _step(session, finding, plan, "appeal", by=by, version=version, reason=reason)
    finding.appeal = reason


def share_instead(
    session: Session, finding: Finding, plan: Plan, *, reason: str | None, by: Actor, version: int
) -> None:
    """改为共享取得: the agency drops the item and asks for what exists."""
    _step(session, finding, plan, "share_instead", by=by, version=version, reason=reason)


def issue_notice(session: Session, finding: Finding, plan: Plan, *, by: Actor, version: int) -> Notice:
    """通报批评: the authority's approver signs the notice written from the record; the item is not collected.
    Errors: WrongMoment while the agency may still appeal or share instead."""
    year = legal_date(now()).year
    authority, agency = (agencies.agency(session, i) for i in (plan.authority_id, plan.agency_id))
    advisory_lock(session, f"notice {authority.id} {year}")
    numbered = select(func.max(Notice.sequence)).where(
        Notice.authority_id == authority.id, Notice.year == year
    )
    sequence = (session.scalar(numbered) or 0) + 1
    notice = Notice(id=new_id(), created_at=now(), finding_id=finding.id, authority_id=authority.id)
    notice.number = notices.number_of(authority.name, year, sequence)
    data = {"notice": str(notice.id), "number": notice.number}
    _step(session, finding, plan, "notice", by=by, version=version, data=data)
    assert by.id is not None and finding.decision is not None
    upheld = [e.reason for e in history.events_of(session, KIND, finding.id) if e.act == "uphold"]
    first, last = upheld[-2:][0] if finding.appeal else finding.decision, finding.decision
    facts = notices.Facts(
        authority=_name(authority), agency=_name(agency), plan=plan.title, item=finding.typed_item.name,
        found=finding.typed_candidates[0], model_version=finding.model_version, ground=finding.ground,
        justification=finding.justification, decision=first or last, appeal=finding.appeal, decided_again=last,
        on=legal_date(now()),
    )  # fmt: skip
    written = notices.write(facts)
    notice.agency_id, notice.year, notice.sequence = agency.id, year, sequence
    notice.legal_basis, notice.signed_by = notices.LEGAL_BASIS, by.id
    notice.text_zh, notice.text_en = written.zh, written.en
    session.add(notice)
    session.flush()
    return notice


def find_notice(session: Session, notice_id: UUID, *, by: Actor) -> Notice:
    """The notice, if the actor may know of the plan it is about. Errors: NotFound."""
    query = (
        select(Notice).join(Finding, Finding.id == Notice.finding_id).join(Plan, Plan.id == Finding.plan_id)
    )
    notice = session.scalar(query.where(Notice.id == notice_id, visible_to(by)))
    if notice is None:
        raise NotFound()
    return notice


def list_notices(
    session: Session,
    *,
    by: Actor,
    year: int | None = None,
    agency_id: UUID | None = None,
    before: UUID | None = None,
    limit: int = 50,
) -> list[tuple[Notice, Finding, Plan]]:
    """The register of notices the actor may know of, newest first."""
    query = (
        select(Notice, Finding, Plan)
        .join(Finding, Finding.id == Notice.finding_id)
        .join(Plan, Plan.id == Finding.plan_id)
        .where(visible_to(by))
    )
    if year is not None:
        query = query.where(Notice.year == year)
    if agency_id is not None:
        query = query.where(Notice.agency_id == agency_id)
    if before is not None:
        query = query.where(Notice.id < before)
    rows = session.execute(query.order_by(Notice.id.desc()).limit(limit))
    return [(notice, finding, plan) for notice, finding, plan in rows]


def notice_document(session: Session, notice: Notice, locale: str) -> str:
    """The notice as a page of its own, with what was found and what was spared beside its text."""
    finding = session.get_one(Finding, notice.finding_id)
    plan, item, found = (
        session.get_one(Plan, finding.plan_id),
        finding.typed_item,
        finding.typed_candidates[0],
    )
    authority, agency = (agencies.agency(session, i) for i in (notice.authority_id, notice.agency_id))
    burden, record = burden_of(plan.typed, 1), plan.typed
    signed = select(Event.id).where(Event.kind == KIND, Event.subject_id == finding.id, Event.act == "notice")
    facts: list[tuple[Text, str | Text]] = [
        (Text("采集计划", "Collection plan"), plan.title),
        (Text("拟采集的信息项", "Item to be collected"), item.name),
        (Text("采集对象", "Population"), record.population),
        (Text("目录已有信息项", "Held by the catalog as"), found.item_name),
        (Text("所在信息资源", "In the resource"), found.resource_title),
        (Text("提供方", "Provider"), found.agency_name),
        (
            Text("重复采集的负担", "Burden of collecting again"),
            Text("{p} 人（户），{m} 分钟", "{p} respondents, {m} minutes").with_(
                p=burden.people, m=burden.minutes
            ),
        ),
    ]
    return notices.as_document(
        notices.Registered(
            id=notice.id, number=notice.number, authority=_name(authority), agency=_name(agency),
            text=Text(notice.text_zh, notice.text_en), legal_basis=notice.legal_basis,
            facts=[(label, v if isinstance(v, Text) else Text(v, v)) for label, v in facts],
            ledger_entry=session.scalar(signed),
        ),
        locale,
    )  # fmt: skip


def notice_ids(session: Session, finding_ids: Iterable[UUID]) -> dict[UUID, UUID]:
    """The notice of each finding that has one."""
    query = select(Notice.finding_id, Notice.id).where(Notice.finding_id.in_(list(finding_ids)))
    return {row.finding_id: row.id for row in session.execute(query)}


def _name(agency: Agency) -> Text:
    return Text(agency.name, agency.name_en or agency.name)


def _decide(finding: Finding, event: Event, reason: str, by: Actor) -> None:
    if event.state_from == APPEALED and finding.decided_by == by.id:
        raise SameHand(basis="REG-17")
    finding.decision, finding.decided_by = reason, by.id
    finding.accepted_scope = finding.accepted_until = None


def _teach(
    session: Session,
    finding: Finding,
    plan: Plan,
    candidates: Sequence[Candidate],
    verdict: Verdict,
    by: Actor,
) -> None:
    """Have the check know from now on what was decided of the planned item and these candidates."""
    context = plan.typed.context
    planned = Named(finding.typed_item.name, f"{context.title} {context.population}")
    pairs = [(planned, Named(candidate.item_name, candidate.resource_title)) for candidate in candidates]
    links.decide(session, pairs, verdict, source="finding", source_id=finding.id, by=by)


def _step(
    session: Session,
    finding: Finding,
    plan: Plan,
    act: str,
    *,
    by: Actor,
    version: int,
    reason: str | None = None,
    data: Mapping[str, Any] | None = None,
) -> Event:
    """Advance the finding, turn its clocks over, and clear or block its plan."""
    parties = parties_of(by, plan)
    event = history.advance(
        session, finding, FINDING, act, by=by, parties=parties, expected_version=version, reason=reason, data=data
    )  # fmt: skip
    assert event.state_from is not None
    moment = {"overdue": finding.overdue, "appealed": finding.appeal is not None}
    if why := hindrance(event.state_from, act, **moment):
        raise WrongMoment(why, state=event.state_from)
    finding.overdue = False
    deadlines.end(session, KIND, finding.id, outcome="met")
    row = FINDING.find(event.state_from, act)
    assert row is not None
    if row.duty is not None:
        start_clock(session, whose=plan.jurisdiction_id, kind=KIND, subject_id=finding.id, duty=row.duty)
    service.settle(session, plan)
    return event


# --- The share request offered instead


def share_request_for(session: Session, finding: Finding, plan: Plan) -> ShareRequestBody | None:
    """The request for the best candidate that can be asked for, once the item is given up or upheld."""
    if finding.state not in OFFERS_REQUEST:
        return None
    candidates = finding.typed_candidates
    askable = _askable(session, {candidate.resource_id for candidate in candidates})
    wanted = ({candidate.resource_id: [candidate.item_code]} for candidate in candidates)
    return next((body for one in wanted if (body := _fill_in(plan, one, askable))), None)


def share_request_of_plan(session: Session, plan: Plan, found: Sequence[Finding]) -> ShareRequestBody | None:
    """One request for the few resources that together supply what the plan is not to collect."""
    coverage = plan.typed_coverage
    if coverage is None:
        return None
    positions = frozenset(f.position for f in found if f.state in (FLAGGED, *OFFERS_REQUEST))
    wanted = wanted_of(coverage, positions)
    return _fill_in(plan, wanted, _askable(session, set(wanted)))


def _fill_in(
    plan: Plan, wanted: Mapping[UUID, list[str]], askable: Mapping[UUID, Askable]
) -> ShareRequestBody | None:
    return fill_in(plan.typed, plan.id, plan.agency_id, wanted, askable, today=legal_date(now()))


def _askable(session: Session, resource_ids: set[UUID]) -> dict[UUID, Askable]:
    """Those of the resources that are still published."""
    if not resource_ids:
        return {}
    query = select(
        Resource.id, Resource.agency_id, Resource.sharing_type, Resource.record["sharing"]["mode"]["type"]
    )
    rows = session.execute(query.where(Resource.id.in_(resource_ids), Resource.state == PUBLISHED)).all()
    items: dict[UUID, dict[str, SharingType | None]] = {row[0]: {} for row in rows}
    whole = {row[0]: SharingType(row[2]) if row[2] else None for row in rows}
    held = select(Item.resource_id, Item.code, Item.sharing_type).where(Item.resource_id.in_(items))
    for resource_id, code, own in session.execute(held):
        none_of_it = whole[resource_id] is SharingType.NOT_SHARED
        items[resource_id][code] = SharingType(own) if own and not none_of_it else whole[resource_id]
    return {
        resource_id: Askable(resource_id, agency_id, PlatformMode(mode) if mode else None, items[resource_id])
        for resource_id, agency_id, _, mode in rows
    }
