"""What the interface of collection says: the shapes of plans, findings, checks and notices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.identity.cases import AgencyRef, Asked, DeadlineOut, deadlines_out
from app.identity.models import Agency
from app.kernel.wire import Label, LongText, Paging, Wire, set_version
from catalog.collection import findings, service
from catalog.collection.knowledge import Band
from catalog.collection.models import Finding, Notice, Plan
from catalog.collection.record import Candidate, CoverageRecord, PlannedItemRecord, PlanRecord
from catalog.collection.share_request import ShareRequestBody
from catalog.collection.states import FINDING, GROUNDS, PLAN, STRUCK

FLAGGING: tuple[Band, ...] = ("reuse_expected", "review")  # bands that make a finding


class ChosenPlans(Paging):
    """Filters of the list of plans."""

    state: Annotated[str | None, Field(pattern="^(" + "|".join(PLAN.states) + ")$")] = None


class ChosenNotices(Paging):
    """Filters of the register of notices."""

    year: Annotated[int | None, Field(ge=2000, le=9999)] = None
    agency_id: UUID | None = None


class ChosenFindings(Paging):
    """Filters of the work-list: what waits for the reader's agency, or with `waiting=false` all it may see."""

    waiting: bool = True
    state: Annotated[str | None, Field(pattern="^(" + "|".join(FINDING.states) + ")$")] = None


class Because(Wire):
    reason: LongText


class MaybeBecause(Wire):
    reason: LongText | None = None


class Justification(Wire):
    """`ground` is a code of GET /api/v1/collection/grounds."""

    ground: Annotated[str, Field(pattern="^(" + "|".join(GROUNDS) + ")$")]
    text: LongText


class Acceptance(Wire):
    """What is accepted: for which collecting (`scope`) and until which day."""

    reason: LongText
    scope: LongText
    until: date


class Permission(Wire):
    """Why a plan may collect with open findings, and until which day."""

    reason: LongText
    until: date


class Period(Wire):
    """The days of a renewal's collecting."""

    period_from: date
    period_until: date


class GroundOut(Wire):
    """A reason that a justification may give."""

    code: str
    label: Label
    legal_basis: str


class PlanSummary(Wire):
    """One line of a list."""

    id: UUID
    title: str
    agency: AgencyRef
    state: str
    state_name: Label
    period_until: date
    control_number: str | None
    expires_on: date | None
    updated_at: datetime


class Follows(Wire):
    """The plan that another one renews or amends; GET /api/v1/plans/{id}/changes tells what is new."""

    plan_id: UUID
    follows_as: Literal["renewal", "amendment"]


class PermissionOut(Permission):
    by: UUID


class PlanOut(Wire):
    """A plan, what the check said of it, and what the reader may do now. Items at the positions `struck` are not
    to be collected. `share_request` asks for the few resources that hold what the plan is not to collect. The
    `control_number` stands on every form; it is good until `expires_on`."""

    id: UUID
    agency: AgencyRef
    authority: AgencyRef
    author_id: UUID
    state: str
    state_name: Label
    version: int
    control_number: str | None
    expires_on: date | None
    follows: Follows | None
    permission: PermissionOut | None
    record: PlanRecord
    content_sha256: str
    model_version: str | None
    coverage: CoverageRecord | None
    findings: dict[Band, int]
    blocked_by: list[UUID]
    struck: list[int]
    share_request: ShareRequestBody | None
    created_at: datetime
    updated_at: datetime
    allowed: list[str]


class FindingSummary(Wire):
    """One line of the work-list, with the best candidate."""

    id: UUID
    plan_id: UUID
    plan_title: str
    agency: AgencyRef
    item: str
    band: Band
    blocks: bool
    state: str
    state_name: Label
    overdue: bool
    best: Candidate
    updated_at: datetime


class JustificationOut(Wire):
    ground: GroundOut
    text: str


class FindingOut(Wire):
    """A finding with what was found, said and decided, and what the reader may do now. `share_request` is the
    filled-in body for POST /api/v1/requests, once the item is given up or upheld."""

    id: UUID
    plan_id: UUID
    plan_title: str
    agency: AgencyRef
    position: int
    item: PlannedItemRecord
    band: Band
    blocks: bool
    state: str
    state_name: Label
    version: int
    candidates: tuple[Candidate, ...]
    model_version: str
    justification: JustificationOut | None
    decision: str | None
    accepted_scope: str | None
    accepted_until: date | None
    appeal: str | None
    overdue: bool
    deadlines: list[DeadlineOut]
    notice_id: UUID | None
    share_request: ShareRequestBody | None
    created_at: datetime
    updated_at: datetime
    allowed: list[str]


class CheckedItem(Wire):
    """The answer for one item: what the score asks for and the best candidates."""

    item: PlannedItemRecord
    band: Band
    candidates: tuple[Candidate, ...]


class CheckOut(Wire):
    """What the check says; nothing of it is kept."""

    items: list[CheckedItem]
    coverage: CoverageRecord
    model_version: str


class NoticeSummary(Wire):
    """One line of the register of notices (通报登记)."""

    id: UUID
    number: str
    authority: AgencyRef
    agency: AgencyRef
    plan_id: UUID
    plan_title: str
    finding_id: UUID
    item: str
    issued_at: datetime


class NoticeOut(Wire):
    """A notice of criticism (通报批评). `text` has the title first, then a paragraph a line."""

    id: UUID
    number: str
    finding_id: UUID
    authority: AgencyRef
    agency: AgencyRef
    legal_basis: str
    signed_by: UUID
    issued_at: datetime
    text: Label


def ground_out(code: str) -> GroundOut:
    ground = GROUNDS[code]
    return GroundOut(code=code, label=Label.of(ground.label), legal_basis=ground.basis)


def agencies_out(session: Session, agency_ids: Iterable[UUID]) -> dict[UUID, AgencyRef]:
    """The agencies by id."""
    rows = session.scalars(select(Agency).where(Agency.id.in_(set(agency_ids))))
    return {row.id: AgencyRef.of_agency(row) for row in rows}


def plan_summaries(session: Session, plans: list[Plan]) -> list[PlanSummary]:
    agencies = agencies_out(session, (plan.agency_id for plan in plans))
    return [
        PlanSummary(
            id=plan.id, title=plan.title, agency=agencies[plan.agency_id], state=plan.state,
            state_name=Label.of(PLAN.states[plan.state]), period_until=plan.period_until,
            control_number=plan.control_number, expires_on=plan.expires_on, updated_at=plan.updated_at,
        )
        for plan in plans
    ]  # fmt: skip


def plan_out(asked: Asked[Plan]) -> PlanOut:
    """The plan as it is told to the asking actor, its version in ETag."""
    session, plan = asked.session, asked.case
    set_version(asked.response, plan.version)
    agencies = agencies_out(session, (plan.agency_id, plan.authority_id))
    found = findings.findings_of(session, plan)
    return PlanOut(
        id=plan.id,
        agency=agencies[plan.agency_id],
        authority=agencies[plan.authority_id],
        author_id=plan.author_id,
        state=plan.state,
        state_name=Label.of(PLAN.states[plan.state]),
        version=plan.version,
        control_number=plan.control_number,
        expires_on=plan.expires_on,
        follows=_follows(plan),
        permission=_permission(plan),
        record=plan.typed,
        content_sha256=plan.typed.content_hash,
        model_version=plan.model_version,
        coverage=plan.typed_coverage,
        findings={band: sum(finding.band == band for finding in found) for band in FLAGGING},
        blocked_by=[finding.id for finding in found if finding.blocks],
        struck=[finding.position for finding in found if finding.state in STRUCK],
        share_request=findings.share_request_of_plan(session, plan, found),
        created_at=plan.created_at,
        updated_at=plan.updated_at,
        allowed=service.allowed_acts(plan, by=asked.by),
    )


def _follows(plan: Plan) -> Follows | None:
    if plan.follows_id is None:
        return None
    return Follows(
        plan_id=plan.follows_id, follows_as="renewal" if plan.follows_as == "renewal" else "amendment"
    )


def _permission(plan: Plan) -> PermissionOut | None:
    if plan.permission is None or plan.permitted_until is None or plan.permitted_by is None:
        return None
    return PermissionOut(reason=plan.permission, until=plan.permitted_until, by=plan.permitted_by)


def finding_summaries(session: Session, rows: list[tuple[Finding, Plan]]) -> list[FindingSummary]:
    agencies = agencies_out(session, (plan.agency_id for _, plan in rows))
    return [
        FindingSummary(
            id=finding.id, plan_id=plan.id, plan_title=plan.title, agency=agencies[plan.agency_id],
            item=finding.typed_item.name, band=finding.typed_band, blocks=finding.blocks, state=finding.state,
            state_name=Label.of(FINDING.states[finding.state]), overdue=finding.overdue,
            best=finding.typed_candidates[0], updated_at=finding.updated_at,
        )
        for finding, plan in rows
    ]  # fmt: skip


def finding_out(asked: Asked[tuple[Finding, Plan]]) -> FindingOut:
    """The finding as it is told to the asking actor, its version in ETag."""
    session, (finding, plan) = asked.session, asked.case
    set_version(asked.response, finding.version)
    agencies = agencies_out(session, (plan.agency_id,))
    noticed: Mapping[UUID, UUID] = findings.notice_ids(session, (finding.id,))
    return FindingOut(
        id=finding.id,
        plan_id=plan.id,
        plan_title=plan.title,
        agency=agencies[plan.agency_id],
        position=finding.position,
        item=finding.typed_item,
        band=finding.typed_band,
        blocks=finding.blocks,
        state=finding.state,
        state_name=Label.of(FINDING.states[finding.state]),
        version=finding.version,
        candidates=finding.typed_candidates,
        model_version=finding.model_version,
        justification=JustificationOut(ground=ground_out(finding.ground), text=finding.justification)
        if finding.ground and finding.justification
        else None,
        decision=finding.decision,
        accepted_scope=finding.accepted_scope,
        accepted_until=finding.accepted_until,
        appeal=finding.appeal,
        overdue=finding.overdue,
        deadlines=deadlines_out(session, FINDING.kind, finding.id),
        notice_id=noticed.get(finding.id),
        share_request=findings.share_request_for(session, finding, plan),
        created_at=finding.created_at,
        updated_at=finding.updated_at,
        allowed=findings.allowed_acts(finding, plan, by=asked.by),
    )


def notice_summaries(session: Session, rows: Sequence[tuple[Notice, Finding, Plan]]) -> list[NoticeSummary]:
    agencies = agencies_out(session, (i for n, _, _ in rows for i in (n.authority_id, n.agency_id)))
    return [
        NoticeSummary(
            id=notice.id, number=notice.number, authority=agencies[notice.authority_id],
            agency=agencies[notice.agency_id], plan_id=plan.id, plan_title=plan.title, finding_id=finding.id,
            item=finding.typed_item.name, issued_at=notice.created_at,
        )
        for notice, finding, plan in rows
    ]  # fmt: skip


def notice_out(session: Session, notice: Notice) -> NoticeOut:
    agencies = agencies_out(session, (notice.authority_id, notice.agency_id))
    return NoticeOut(
        id=notice.id, number=notice.number, finding_id=notice.finding_id,
        authority=agencies[notice.authority_id], agency=agencies[notice.agency_id],
        legal_basis=notice.legal_basis, signed_by=notice.signed_by, issued_at=notice.created_at,
        text=Label(zh=notice.text_zh, en=notice.text_en),
    )  # fmt: skip
