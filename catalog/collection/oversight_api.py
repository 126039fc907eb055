"""REST of the authority's view of duplicate collection: figures, precedents, the audit desk, proposed sources."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import Field
from sqlalchemy.orm import Session

from app.identity.cases import AgencyRef, Asked, EventOut, events_out, guarded
from app.identity.permissions import permit, permit_acts, permitted
from app.kernel.actor import Actor, Role
from app.kernel.calendar import legal_date
from app.kernel.clock import now
from app.kernel.db import DbSession
from app.kernel.errors import Fault, Invalid
from app.kernel.idempotency import CreatingRoute
from app.kernel.text import Text
from app.kernel.wire import (
    ExpectedVersion,
    Label,
    Page,
    Paging,
    Wire,
    decode_cursor,
    encode_cursor,
    set_version,
)
from catalog.collection import desk, oversight
from catalog.collection.audited import RELATIONS, AuditedMember, AuditedRecord, Relation
from catalog.collection.models import AuditFinding
from catalog.collection.oversight import AgencyFigures, Proposal
from catalog.collection.record import Burden, Candidate
from catalog.collection.states import AUDIT_FINDING, GROUNDS
from catalog.collection.wire import Because, GroundOut, agencies_out, ground_out

router = APIRouter(prefix="/api/v1", tags=["collection"], route_class=CreatingRoute)

permit_acts(AUDIT_FINDING)
permit(
    "collection.figures",
    "collection.precedents",
    "collection.sources",
    "audit_finding.list",
    "audit_finding.progress",
    "audit_finding.read",
    "audit_finding.events",
    roles=(Role.APPROVER, Role.CATALOG_ADMINISTRATOR, Role.MEDIATOR, Role.AUDIT_ADMINISTRATOR),
    authority=True,
)


def _finding(act: str) -> Any:
    return guarded(f"audit_finding.{act}", desk.find_audit_finding)


# --- Figures and precedents


class FiguresOut(Wire):
    """Duplicate collection of one agency, or of all. `items` planned, `findings` of them flagged, `open` blocking;
    `burden_avoided` is what people were spared by items that are not collected: respondents of those plans, and
    their minutes (respondents × minutes ÷ items of the form, for each item)."""

    plans: int
    items: int
    findings: int
    withdrawn: int
    shared_instead: int
    accepted: int
    upheld: int
    noticed: int
    open: int
    burden_avoided: Burden


class AgencyFiguresOut(FiguresOut):
    """`repeats`: at least two findings were upheld in the period (屡次重复采集)."""

    agency: AgencyRef
    repeats: bool


class CollectionFigures(Wire):
    """Figures of the plans filed in a period, together and by agency, most upheld first."""

    since: date
    until: date
    total: FiguresOut
    agencies: list[AgencyFiguresOut]


class Days(Wire):
    """A period; without days the current year up to today."""

    since: date | None = None
    until: date | None = None


_COUNTS = tuple(name for name in FiguresOut.model_fields if name != "burden_avoided")


@router.get("/collection/figures", operation_id="collection.figures")
def read_figures(
    session: DbSession,
    actor: Annotated[Actor, permitted("collection.figures")],
    days: Annotated[Days, Query()],
) -> CollectionFigures:
    """重复采集统计: what was planned, flagged, given up, accepted and upheld, who repeats it, what people were spared."""
    until = days.until or legal_date(now())
    since = days.since or until.replace(month=1, day=1)
    if since > until:
        raise Invalid(faults=[Fault("/since", Text("晚于截止日期", "after `until`"))])
    rows = oversight.figures(session, by=actor, since=since, until=until)
    names = agencies_out(session, (row.agency_id for row in rows))
    return CollectionFigures(
        since=since, until=until, total=_total(rows),
        agencies=[
            AgencyFiguresOut(agency=names[row.agency_id], repeats=row.repeats, **_counts(row)) for row in rows
        ],
    )  # fmt: skip


def _counts(row: AgencyFigures) -> dict[str, Any]:
    return {name: getattr(row, name) for name in (*_COUNTS, "burden_avoided")}


def _total(rows: list[AgencyFigures]) -> FiguresOut:
    spared = Burden(
        people=sum(row.burden_avoided.people for row in rows),
        minutes=sum(row.burden_avoided.minutes for row in rows),
    )
    return FiguresOut(
        burden_avoided=spared, **{name: sum(getattr(r, name) for r in rows) for name in _COUNTS}
    )


class ChosenPrecedents(Paging):
    """Filters of the precedents: `q` stands in the item's name, what it was held to be, the reasons or the decision."""

    q: Annotated[str | None, Field(max_length=200)] = None
    ground: Annotated[str | None, Field(pattern="^(" + "|".join(GROUNDS) + ")$")] = None


class Precedent(Wire):
    """A justification that an authority accepted: for what, why, in what scope and until when."""

    finding_id: UUID
    plan_title: str
    agency: AgencyRef
    item: str
    held_to_be: Candidate
    ground: GroundOut | None
    justification: str | None
    decision: str | None
    scope: str | None
    until: date | None


@router.get("/collection/precedents", operation_id="collection.precedents")
def list_precedents(
    session: DbSession,
    actor: Annotated[Actor, permitted("collection.precedents")],
    chosen: Annotated[ChosenPrecedents, Query()],
) -> Page[Precedent]:
    """先例: accepted justifications, newest first."""
    rows = oversight.precedents(
        session, by=actor, text=chosen.q, ground=chosen.ground, before=chosen.before, limit=chosen.fetch
    )
    names = agencies_out(session, (plan.agency_id for _, plan in rows))
    shown = [
        Precedent(
            finding_id=finding.id, plan_title=plan.title, agency=names[plan.agency_id],
            item=finding.typed_item.name, held_to_be=finding.typed_candidates[0],
            ground=ground_out(finding.ground) if finding.ground else None, justification=finding.justification,
            decision=finding.decision, scope=finding.accepted_scope, until=finding.accepted_until,
        )
        for finding, plan in rows[: chosen.limit]
    ]  # fmt: skip
    more = len(rows) > chosen.limit
    return Page(items=shown, next=encode_cursor(shown[-1].finding_id) if more else None)


# --- The audit desk


class ChosenAuditFindings(Paging):
    """Filters of the audit desk's work-list; without `state` what is not decided."""

    state: Annotated[str | None, Field(pattern="^(" + "|".join(AUDIT_FINDING.states) + ")$")] = None
    relation: Relation | None = None
    mine: bool = False  # assigned to the reader

    @property
    def after(self) -> tuple[float, UUID] | None:
        """Score and id of the last finding of the page before. Errors: Invalid."""
        return _position(self.cursor)


def _position(cursor: str | None) -> tuple[float, UUID] | None:
    if cursor is None:
        return None
    score, id_ = decode_cursor(cursor, 2)
    try:
        return float(score), UUID(str(id_))
    except (ValueError, TypeError):
        raise Invalid(
            faults=[Fault("/cursor", Text("不是本列表给出的翻页标记", "not a cursor of this list"))]
        ) from None


class AuditFindingOut(Wire):
    """Items or resources that several agencies seem to hold twice, and what the reader may do now."""

    id: UUID
    state: str
    state_name: Label
    version: int
    found: AuditedRecord
    model_version: str
    authority: AgencyRef
    assignee_id: UUID | None
    decision: str | None
    decided_by: UUID | None
    created_at: datetime
    updated_at: datetime
    allowed: list[str]


class ProgressOut(Wire):
    """How far the desk has come with findings of one relation; `decided` of `total`, 0-1, is `share`."""

    relation: Relation
    states: dict[str, int]
    total: int
    decided: int
    share: float


class Assignment(Wire):
    person_id: UUID


@router.get("/audit/findings", operation_id="audit_finding.list")
def list_audit_findings(
    session: DbSession,
    actor: Annotated[Actor, permitted("audit_finding.list")],
    chosen: Annotated[ChosenAuditFindings, Query()],
) -> Page[AuditFindingOut]:
    """审计清单: duplicates found in the whole catalog, the surest first."""
    rows = desk.list_audit_findings(
        session, by=actor, state=chosen.state, relation=chosen.relation,
        assignee_id=actor.id if chosen.mine else None, after=chosen.after, limit=chosen.fetch,
    )  # fmt: skip
    shown = _audit_findings_out(session, rows[: chosen.limit], actor)
    more = (
        encode_cursor(rows[chosen.limit - 1].score, rows[chosen.limit - 1].id)
        if len(rows) > chosen.limit
        else None
    )
    return Page(items=shown, next=more)


@router.get("/audit/progress", operation_id="audit_finding.progress")
def read_progress(
    session: DbSession, actor: Annotated[Actor, permitted("audit_finding.progress")]
) -> list[ProgressOut]:
    """How far the desk has come, by relation."""
    counted = desk.progress(session, by=actor)
    told = []
    for relation in RELATIONS:
        states = {state: counted.get((relation, state), 0) for state in AUDIT_FINDING.states}
        total, decided = sum(states.values()) - states["gone"], states["confirmed"] + states["dismissed"]
        told.append(
            ProgressOut(
                relation=relation, states=states, total=total, decided=decided,
                share=decided / total if total else 1.0,
            )
        )  # fmt: skip
    return told


@router.get("/audit/findings/{id}", operation_id="audit_finding.read")
def read_audit_finding(asked: Annotated[Asked[AuditFinding], _finding("read")]) -> AuditFindingOut:
    """One duplicate as the last audit found it."""
    return _audit_finding_out(asked)


@router.get("/audit/findings/{id}/events", operation_id="audit_finding.events")
def list_audit_finding_events(asked: Annotated[Asked[AuditFinding], _finding("events")]) -> list[EventOut]:
    """Its history, oldest first."""
    return events_out(asked.session, AUDIT_FINDING, asked.case.id)


@router.post("/audit/findings/{id}/assign", operation_id="audit_finding.assign")
def assign(
    asked: Annotated[Asked[AuditFinding], _finding("assign")], body: Assignment, version: ExpectedVersion
) -> AuditFindingOut:
    """分派: give it to somebody of the authority."""
    desk.assign(asked.session, asked.case, person_id=body.person_id, by=asked.by, version=version)
    return _audit_finding_out(asked)


@router.post("/audit/findings/{id}/confirm", operation_id="audit_finding.confirm")
def confirm(
    asked: Annotated[Asked[AuditFinding], _finding("confirm")], body: Because, version: ExpectedVersion
) -> AuditFindingOut:
    """确认重复: the members hold the same; the check learns it of items."""
    desk.confirm(asked.session, asked.case, reason=body.reason, by=asked.by, version=version)
    return _audit_finding_out(asked)


@router.post("/audit/findings/{id}/dismiss", operation_id="audit_finding.dismiss")
def dismiss(
    asked: Annotated[Asked[AuditFinding], _finding("dismiss")], body: Because, version: ExpectedVersion
) -> AuditFindingOut:
    """认定并非重复: it does not come back; the check learns it of items."""
    desk.dismiss(asked.session, asked.case, reason=body.reason, by=asked.by, version=version)
    return _audit_finding_out(asked)


@router.post("/audit/findings/{id}/reopen", operation_id="audit_finding.reopen")
def reopen(
    asked: Annotated[Asked[AuditFinding], _finding("reopen")], body: Because, version: ExpectedVersion
) -> AuditFindingOut:
    """重新核查: look at a decision again."""
    desk.reopen(asked.session, asked.case, reason=body.reason, by=asked.by, version=version)
    return _audit_finding_out(asked)


def _audit_finding_out(asked: Asked[AuditFinding]) -> AuditFindingOut:
    set_version(asked.response, asked.case.version)
    return _audit_findings_out(asked.session, [asked.case], asked.by)[0]


def _audit_findings_out(session: Session, rows: list[AuditFinding], by: Actor) -> list[AuditFindingOut]:
    names = agencies_out(session, (row.authority_id for row in rows))
    return [
        AuditFindingOut(
            id=row.id, state=row.state, state_name=Label.of(AUDIT_FINDING.states[row.state]), version=row.version,
            found=row.typed, model_version=row.model_version, authority=names[row.authority_id],
            assignee_id=row.assignee_id, decision=row.decision, decided_by=row.decided_by,
            created_at=row.created_at, updated_at=row.updated_at, allowed=desk.allowed_acts(row, by=by),
        )
        for row in rows
    ]  # fmt: skip


# --- Authoritative sources


class HolderOut(Wire):
    """An agency that holds the element, and what speaks for it."""

    holder: AuditedMember
    score: int
    reasons: list[Label]


class ProposalOut(Wire):
    """An element that several agencies hold; the first is proposed as its authoritative source."""

    audit_finding_id: UUID
    state: str
    score: float
    holders: list[HolderOut]

    @classmethod
    def of(cls, proposal: Proposal) -> ProposalOut:
        return cls(
            audit_finding_id=proposal.finding.id, state=proposal.finding.state, score=proposal.finding.score,
            holders=[
                HolderOut(holder=h.member, score=h.score, reasons=[Label.of(reason) for reason in h.reasons])
                for h in proposal.holders
            ],
        )  # fmt: skip


@router.get("/collection/sources", operation_id="collection.sources")
def list_sources(
    session: DbSession,
    actor: Annotated[Actor, permitted("collection.sources")],
    chosen: Annotated[Paging, Query()],
) -> Page[ProposalOut]:
    """数源部门建议: who should be the authoritative source of what several agencies hold (Decree 809 Art. 19)."""
    rows = oversight.proposals(session, by=actor, after=_position(chosen.cursor), limit=chosen.fetch)
    shown = [ProposalOut.of(row) for row in rows[: chosen.limit]]
    last = rows[chosen.limit - 1].finding if len(rows) > chosen.limit else None
    return Page(items=shown, next=encode_cursor(last.score, last.id) if last else None)
