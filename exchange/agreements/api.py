"""REST of agreements: the register, one agreement with its terms, every act on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field
from sqlalchemy.orm import Session

from app.identity.cases import AgencyRef, Asked, DeadlineOut, EventOut, deadlines_out, events_out, guarded
from app.identity.permissions import permit, permit_acts, permitted
from app.kernel.actor import Actor, Role, Scope
from app.kernel.db import DbSession
from app.kernel.idempotency import CreatingRoute
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
from exchange import paper, printing
from exchange.agreements import document, odrl, service, succession
from exchange.agreements.models import Agreement
from exchange.agreements.states import AGREEMENT, NOTES, ORIGINS
from exchange.agreements.versions import versions_of
from exchange.delivery.uses import require_receipts
from exchange.negotiations import consents
from exchange.parties import names_of, parties_of
from exchange.terms import Terms
from exchange.told import changes_between, records_of
from exchange.wire import ChangeOut, ConsentOut, OptionalReason, Reason

router = APIRouter(prefix="/api/v1/agreements", tags=["agreements"], route_class=CreatingRoute)

permit_acts(AGREEMENT)
permit(
    "agreement.list",
    "agreement.read",
    "agreement.events",
    "agreement.versions",
    "agreement.odrl",
    "agreement.document",
    "agreement.disposal",
    roles=(Role.CLERK, Role.APPROVER, Role.MEDIATOR, Role.AUDIT_ADMINISTRATOR),
    scope=(Scope.PULL, Scope.CLERK),  # who fetches data, or works for a clerk, knows the agency's agreements
)


class AgreementSummary(Wire):
    """One line of the register."""

    id: UUID
    requester: AgencyRef
    provider: AgencyRef
    state: str
    state_name: Label
    origin: str
    resource_ids: list[UUID]
    valid_from: date
    valid_until: date
    terms_hash: str


class AgreementOut(Wire):
    """An agreement: its terms, who consented, how it came about, and what the reader may do now."""

    id: UUID
    negotiation_id: UUID
    ruling_id: UUID | None
    number: int
    supersedes_id: UUID | None
    succession: str | None
    requester: AgencyRef
    provider: AgencyRef
    authority: AgencyRef
    state: str
    state_name: Label
    version: int
    origin: str
    origin_name: Label
    terms: Terms
    terms_hash: str
    content_hash: str
    consents: list[ConsentOut]
    valid_from: date
    valid_until: date
    in_force_at: datetime
    supply_overdue: bool
    suspended_by: str | None
    end_announced_at: datetime | None
    reason: str | None
    mending: str | None
    disposal_overdue: bool
    disposed_on: date | None
    disposal: str | None
    disposed_receipts: list[UUID]
    deadlines: list[DeadlineOut]
    allowed: list[str]


class AgreementVersion(Wire):
    """One version of the agreement, with what it changed of the version before."""

    id: UUID
    number: int
    state: str
    state_name: Label
    origin: str
    terms_hash: str
    valid_from: date
    valid_until: date
    in_force_at: datetime
    changes: list[ChangeOut]


class Chosen(Paging):
    """Filters of the register. `q`: words in parties, resources, purposes or the number."""

    state: Annotated[str | None, one_of(AGREEMENT.states)] = None
    resource: UUID | None = None
    agency: UUID | None = None
    q: Annotated[str | None, Field(max_length=200)] = None
    ends_by: date | None = None


class Suspension(Wire):
    """Why, and what must be mended before supply is resumed."""

    reason: LongText
    mending: LongText | None = None


class Disposal(Wire):
    """When and how what was received was disposed of; `receipts` name what, all of it where none is named."""

    disposed_on: date
    disposal: LongText
    receipts: Annotated[list[UUID], Field(max_length=1000)] = Field(default_factory=list)


class Transfer(Wire):
    """Which party's duties passed to whom, and the document that decided so."""

    side: succession.Side
    to_agency_id: UUID
    document: ShortText
    reason: LongText


def _asked(act: str) -> Any:
    return guarded(f"agreement.{act}", service.find_agreement)


@router.get("", operation_id="agreement.list")
def list_agreements(
    session: DbSession,
    actor: Annotated[Actor, permitted("agreement.list")],
    chosen: Annotated[Chosen, Query()],
) -> Page[AgreementSummary]:
    """The register as far as the reader may see it, newest first."""
    rows = service.list_agreements(
        session,
        by=actor,
        state=chosen.state,
        resource_id=chosen.resource,
        agency_id=chosen.agency,
        words=chosen.q,
        ends_by=chosen.ends_by,
        before=chosen.before,
        limit=chosen.fetch,
    )
    return page(rows, chosen.limit, lambda shown: _summaries(session, shown))


def _summaries(session: Session, rows: Sequence[Agreement]) -> list[AgreementSummary]:
    names = names_of(session, {i for row in rows for i in (row.requester_id, row.provider_id)})
    return [
        AgreementSummary(
            id=row.id, requester=AgencyRef.of(row.requester_id, names), provider=AgencyRef.of(row.provider_id, names),
            state=row.state, state_name=Label.of(AGREEMENT.states[row.state]), origin=row.origin,
            resource_ids=row.resource_ids, valid_from=row.valid_from, valid_until=row.valid_until,
            terms_hash=row.terms_hash,
        )
        for row in rows
    ]  # fmt: skip


@router.get("/{id}", operation_id="agreement.read")
def read_agreement(asked: Annotated[Asked[Agreement], _asked("read")]) -> AgreementOut:
    """One agreement with its terms."""
    return represent(asked)


@router.get("/{id}/events", operation_id="agreement.events")
def list_events(asked: Annotated[Asked[Agreement], _asked("events")]) -> list[EventOut]:
    """The agreement's history, oldest first."""
    return events_out(
        asked.session, AGREEMENT, asked.case.id, sides=parties_of(asked.by, asked.case), notes=NOTES
    )


@router.get("/{id}/versions", operation_id="agreement.versions")
def list_versions(asked: Annotated[Asked[Agreement], _asked("versions")]) -> list[AgreementVersion]:
    """变更历史: every version of the agreement, the first one first."""
    found: list[AgreementVersion] = []
    before: Terms | None = None
    rows = versions_of(asked.session, asked.case)
    records = records_of(asked.session, {resource_id for row in rows for resource_id in row.resource_ids})
    for row in rows:
        changed = changes_between(before, row.typed, records) if before else []
        changes = [ChangeOut.of(change) for change in changed]
        before = row.typed
        found.append(
            AgreementVersion(
                id=row.id, number=row.number, state=row.state, state_name=Label.of(AGREEMENT.states[row.state]),
                origin=row.origin, terms_hash=row.terms_hash, valid_from=row.valid_from,
                valid_until=row.valid_until, in_force_at=row.in_force_at, changes=changes,
            )
        )  # fmt: skip
    return found


@router.get(
    "/{id}/odrl", operation_id="agreement.odrl", response_class=Response, responses={200: {"content": {odrl.MEDIA_TYPE: {}}}}
)  # fmt: skip
def read_odrl(asked: Annotated[Asked[Agreement], _asked("odrl")]) -> Response:
    """The agreement as an ODRL 2.2 Agreement (JSON-LD)."""
    return JSONResponse(odrl.to_odrl(asked.case), media_type=odrl.MEDIA_TYPE)


@router.get(
    "/{id}/document", operation_id="agreement.document", response_class=Response,
    responses={200: {"content": {"text/html": {}, paper.PDF: {}, odrl.MEDIA_TYPE: {}}}},
)  # fmt: skip
def read_document(asked: Annotated[Asked[Agreement], _asked("document")], request: Request) -> Response:
    """The agreement in the language asked for (`Accept-Language`): as a page to read and print, as PDF
    (`Accept: application/pdf`) or as ODRL (`Accept: application/ld+json`). Errors: NotAcceptable."""
    if (wanted := printing.wanted(request, paper.PDF, odrl.MEDIA_TYPE)) == odrl.MEDIA_TYPE:
        return JSONResponse(odrl.to_odrl(asked.case), media_type=odrl.MEDIA_TYPE, headers={"Vary": "Accept"})
    written = document.agreement_paper(asked.session, asked.case, request.state.locale)
    return printing.on_paper(written, wanted, f"agreement-{asked.case.id}")


@router.get(
    "/{id}/disposal", operation_id="agreement.disposal", response_class=Response,
    responses={200: {"content": {"text/html": {}, paper.PDF: {}}}},
)  # fmt: skip
def read_disposal(asked: Annotated[Asked[Agreement], _asked("disposal")], request: Request) -> Response:
    """处置证明: the certificate of disposal, as a page or as PDF. Errors: NotFound before it is given."""
    written = document.disposal_paper(asked.session, asked.case, request.state.locale)
    return printing.on_paper(written, printing.wanted(request, paper.PDF), f"disposal-{asked.case.id}")


@router.post("/{id}/suspend", operation_id="agreement.suspend")
def suspend(
    asked: Annotated[Asked[Agreement], _asked("suspend")], body: Suspension, version: ExpectedVersion
) -> AgreementOut:
    """暂停: stop delivery at once, with the reason and what must be mended before it is resumed (809-27)."""
    return _change(asked, "suspend", body.reason, version, body.mending)


@router.post("/{id}/resume", operation_id="agreement.resume")
def resume(
    asked: Annotated[Asked[Agreement], _asked("resume")], body: OptionalReason, version: ExpectedVersion
) -> AgreementOut:
    """恢复: deliver again."""
    return _change(asked, "resume", body.reason, version)


@router.post("/{id}/announce_end", operation_id="agreement.announce_end")
def announce_end(
    asked: Annotated[Asked[Agreement], _asked("announce_end")], body: Reason, version: ExpectedVersion
) -> AgreementOut:
    """提出停止提供: the provider proposes to stop supply and files its reason with the authority (809-27)."""
    return _change(asked, "announce_end", body.reason, version)


@router.post("/{id}/agree_end", operation_id="agreement.agree_end")
def agree_end(
    asked: Annotated[Asked[Agreement], _asked("agree_end")], body: OptionalReason, version: ExpectedVersion
) -> AgreementOut:
    """同意停止提供: the requester agrees, and the agreement ends."""
    return _change(asked, "agree_end", body.reason, version)


@router.post("/{id}/terminate", operation_id="agreement.terminate")
def terminate(
    asked: Annotated[Asked[Agreement], _asked("terminate")], body: Reason, version: ExpectedVersion
) -> AgreementOut:
    """责令终止: the authority ends it, on a violation or on the provider's filed reason."""
    return _change(asked, "terminate", body.reason, version)


@router.post("/{id}/complete", operation_id="agreement.complete")
def complete(
    asked: Annotated[Asked[Agreement], _asked("complete")], body: OptionalReason, version: ExpectedVersion
) -> AgreementOut:
    """用途完成: the requester's purpose is met."""
    return _change(asked, "complete", body.reason, version)


@router.post("/{id}/transfer", operation_id="agreement.transfer")
def transfer(
    asked: Annotated[Asked[Agreement], _asked("transfer")], body: Transfer, version: ExpectedVersion
) -> AgreementOut:
    """移交继任单位: one party was merged or dissolved, and its successor takes its place (Civil Code Art. 98).
    Answers with the new version, on the same terms."""
    successor = succession.transfer(
        asked.session,
        asked.case,
        side=body.side,
        to_agency_id=body.to_agency_id,
        document=body.document,
        reason=body.reason,
        by=asked.by,
        expected_version=version,
    )
    return represent(replace(asked, case=successor))


@router.post("/{id}/certify_disposal", operation_id="agreement.certify_disposal")
def certify_disposal(
    asked: Annotated[Asked[Agreement], _asked("certify_disposal")], body: Disposal, version: ExpectedVersion
) -> AgreementOut:
    """出具处置证明: the requester's approver answers for the disposal of what was received (809-27)."""
    receipts = list(dict.fromkeys(body.receipts))
    require_receipts(asked.session, asked.case, receipts, "/receipts")
    service.certify_disposal(
        asked.session,
        asked.case,
        receipts=receipts,
        on=body.disposed_on,
        how=body.disposal,
        by=asked.by,
        expected_version=version,
    )
    return represent(asked)


def _change(
    asked: Asked[Agreement], act: str, reason: str | None, version: int, mending: str | None = None
) -> AgreementOut:
    service.change_agreement(
        asked.session, asked.case, act, by=asked.by, reason=reason, mending=mending, expected_version=version
    )
    return represent(asked)


def represent(asked: Asked[Agreement]) -> AgreementOut:
    """The agreement as it is told to the asking actor, its version in ETag."""
    case = asked.case
    set_version(asked.response, case.version)
    names = names_of(asked.session, {case.requester_id, case.provider_id, case.authority_id})
    given = consents.consents_to(asked.session, {case.terms_version_id})[case.terms_version_id]
    return AgreementOut(
        id=case.id,
        negotiation_id=case.negotiation_id,
        ruling_id=case.ruling_id,
        number=case.number,
        supersedes_id=case.supersedes_id,
        succession=case.succession,
        requester=AgencyRef.of(case.requester_id, names),
        provider=AgencyRef.of(case.provider_id, names),
        authority=AgencyRef.of(case.authority_id, names),
        state=case.state,
        state_name=Label.of(AGREEMENT.states[case.state]),
        version=case.version,
        origin=case.origin,
        origin_name=Label.of(ORIGINS[case.origin]),
        terms=case.typed,
        terms_hash=case.terms_hash,
        content_hash=case.content_hash,
        consents=[ConsentOut.model_validate(consent) for consent in given.values()],
        valid_from=case.valid_from,
        valid_until=case.valid_until,
        in_force_at=case.in_force_at,
        supply_overdue=case.supply_overdue,
        suspended_by=case.suspended_by,
        end_announced_at=case.end_announced_at,
        reason=case.reason,
        mending=case.mending,
        disposal_overdue=case.disposal_overdue,
        disposed_on=case.disposed_on,
        disposal=case.disposal,
        disposed_receipts=case.disposed_receipts,
        deadlines=deadlines_out(asked.session, AGREEMENT.kind, case.id),
        allowed=service.allowed_acts(case, by=asked.by),
    )
