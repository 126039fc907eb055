"""REST of corrections: report an error in delivered data, answer it, take it to the authority."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import Field
from sqlalchemy.orm import Session

from app.identity.cases import AgencyRef, Asked, DeadlineOut, EventOut, deadlines_out, events_out, guarded
from app.identity.permissions import permit, permit_acts, permitted
from app.kernel.actor import Actor, Role, Scope
from app.kernel.db import DbSession
from app.kernel.idempotency import ONCE, CreatingRoute
from app.kernel.wire import (
    ExpectedVersion,
    Label,
    LongText,
    Page,
    Paging,
    ShortText,
    Wire,
    one_of,
    page,
    set_version,
)
from exchange.agreements.service import find_agreement
from exchange.corrections import service
from exchange.corrections.models import Correction
from exchange.corrections.states import CORRECTION
from exchange.parties import names_of, parties_of
from exchange.wire import OptionalReason, Reason, Waiting

router = APIRouter(prefix="/api/v1/corrections", tags=["corrections"], route_class=CreatingRoute)

permit_acts(CORRECTION)
permit(
    "correction.list",
    "correction.read",
    "correction.events",
    roles=(Role.CLERK, Role.APPROVER, Role.MEDIATOR, Role.AUDIT_ADMINISTRATOR),
    scope=Scope.CLERK,
)


class NewCorrection(Wire):
    """An error in delivered data: which items of which records, what is wrong, and what shows it."""

    agreement_id: UUID
    resource_id: UUID
    items: list[ShortText] = Field(min_length=1, max_length=100)
    records: LongText
    error: LongText
    evidence: LongText | None = None


class CorrectionSummary(Wire):
    """One line of a list."""

    id: UUID
    agreement_id: UUID
    resource_id: UUID
    requester: AgencyRef
    provider: AgencyRef
    state: str
    state_name: Label
    overdue: bool
    updated_at: datetime


class CorrectionOut(CorrectionSummary):
    """A correction, and what the reader may do with it now."""

    authority: AgencyRef
    version: int
    items: list[str]
    records: str
    error: str
    evidence: str | None
    answer: str | None
    created_at: datetime
    deadlines: list[DeadlineOut]
    allowed: list[str]


class Chosen(Paging):
    """Filters of the list."""

    waiting: Waiting = False
    state: Annotated[str | None, one_of(CORRECTION.states)] = None


def _asked(act: str) -> Any:
    return guarded(f"correction.{act}", service.find_correction)


@router.post("", operation_id="correction.report", status_code=201, openapi_extra=ONCE)
def report_error(
    body: NewCorrection,
    session: DbSession,
    actor: Annotated[Actor, permitted("correction.report")],
    response: Response,
) -> CorrectionOut:
    """提出校核: the user reports an error; the source agency answers within its clock (809-26)."""
    agreement = find_agreement(session, body.agreement_id, by=actor)
    correction = service.report_error(
        session, agreement, resource_id=body.resource_id, items=list(body.items), records=body.records,
        error=body.error, evidence=body.evidence, by=actor,
    )  # fmt: skip
    response.headers["Location"] = f"{router.prefix}/{correction.id}"
    return represent(Asked(session, correction, actor, response))


@router.get("", operation_id="correction.list")
def list_corrections(
    session: DbSession,
    actor: Annotated[Actor, permitted("correction.list")],
    chosen: Annotated[Chosen, Query()],
) -> Page[CorrectionSummary]:
    """Corrections of one's own agency, or under one's authority, newest first."""
    rows = service.list_corrections(
        session, by=actor, waiting=chosen.waiting, state=chosen.state, before=chosen.before, limit=chosen.fetch
    )  # fmt: skip
    return page(rows, chosen.limit, lambda shown: _summaries(session, shown))


def _summaries(session: Session, rows: Sequence[Correction]) -> list[CorrectionSummary]:
    names = names_of(session, {i for row in rows for i in (row.requester_id, row.provider_id)})
    return [
        CorrectionSummary(
            id=row.id, agreement_id=row.agreement_id, resource_id=row.resource_id,
            requester=AgencyRef.of(row.requester_id, names), provider=AgencyRef.of(row.provider_id, names),
            state=row.state, state_name=Label.of(CORRECTION.states[row.state]), overdue=row.overdue,
            updated_at=row.updated_at,
        )
        for row in rows
    ]  # fmt: skip


@router.get("/{id}", operation_id="correction.read")
def read_correction(asked: Annotated[Asked[Correction], _asked("read")]) -> CorrectionOut:
    """One correction."""
    return represent(asked)


@router.get("/{id}/events", operation_id="correction.events")
def list_events(asked: Annotated[Asked[Correction], _asked("events")]) -> list[EventOut]:
    """The correction's history, oldest first."""
    return events_out(asked.session, CORRECTION, asked.case.id, sides=parties_of(asked.by, asked.case))


@router.post("/{id}/correct", operation_id="correction.correct")
def correct(
    asked: Annotated[Asked[Correction], _asked("correct")], body: Reason, version: ExpectedVersion
) -> CorrectionOut:
    """更正: the source agency has corrected its data, and says what it did."""
    return _change(asked, "correct", body.reason, version)


@router.post("/{id}/reject", operation_id="correction.reject")
def reject(
    asked: Annotated[Asked[Correction], _asked("reject")], body: Reason, version: ExpectedVersion
) -> CorrectionOut:
    """不予更正: the data is right, for these reasons."""
    return _change(asked, "reject", body.reason, version)


@router.post("/{id}/escalate", operation_id="correction.escalate")
def escalate(
    asked: Annotated[Asked[Correction], _asked("escalate")], body: Reason, version: ExpectedVersion
) -> CorrectionOut:
    """报主管部门: what was rejected, or not answered in time, goes to the authority."""
    return _change(asked, "escalate", body.reason, version)


@router.post("/{id}/order", operation_id="correction.order")
def order(
    asked: Annotated[Asked[Correction], _asked("order")], body: Reason, version: ExpectedVersion
) -> CorrectionOut:
    """责令更正: the authority sends it back to the source agency with a new clock."""
    return _change(asked, "order", body.reason, version)


@router.post("/{id}/dismiss", operation_id="correction.dismiss")
def dismiss(
    asked: Annotated[Asked[Correction], _asked("dismiss")], body: Reason, version: ExpectedVersion
) -> CorrectionOut:
    """不予支持: the authority finds the data right."""
    return _change(asked, "dismiss", body.reason, version)


@router.post("/{id}/withdraw", operation_id="correction.withdraw")
def withdraw(
    asked: Annotated[Asked[Correction], _asked("withdraw")], body: OptionalReason, version: ExpectedVersion
) -> CorrectionOut:
    """撤回: the user takes its report back."""
    return _change(asked, "withdraw", body.reason, version)


def _change(asked: Asked[Correction], act: str, reason: str | None, version: int) -> CorrectionOut:
    service.change_correction(asked.session, asked.case, act, reason=reason, by=asked.by, version=version)
    return represent(asked)


def represent(asked: Asked[Correction]) -> CorrectionOut:
    """The correction as it is told to the asking actor, its version in ETag."""
    case = asked.case
    set_version(asked.response, case.version)
    (summary,) = _summaries(asked.session, [case])
    names = names_of(asked.session, {case.authority_id})
    return CorrectionOut(
        **dict(summary), authority=AgencyRef.of(case.authority_id, names), version=case.version, items=case.items,
        records=case.records, error=case.error, evidence=case.evidence, answer=case.answer,
        created_at=case.created_at, deadlines=deadlines_out(asked.session, CORRECTION.kind, case.id),
        allowed=service.allowed_acts(case, by=asked.by),
    )  # fmt: skip
