"""REST of disputes: opening one, the docket, every act on it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, File, Query, Request, Response, UploadFile
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
from exchange import printing
from exchange.agreements.service import live_agreement_of
from exchange.attachments import AttachmentOut, Quarantine, attachments_of, download
from exchange.disputes import compliance, docket, service
from exchange.disputes.models import Dispute, Ruling, Statement
from exchange.disputes.states import CAUSES, DISPUTE, OUTCOMES
from exchange.negotiations.case import find_negotiation
from exchange.negotiations.consents import consents_to, versions_for
from exchange.negotiations.models import Negotiation, TermsVersion
from exchange.paper import PDF
from exchange.parties import names_of, parties_of
from exchange.terms import Terms
from exchange.wire import OptionalReason, Reason, ToTerms, VersionOut, Waiting

router = APIRouter(prefix="/api/v1", tags=["disputes"], route_class=CreatingRoute)

permit_acts(DISPUTE)
permit(
    "dispute.list",
    "dispute.read",
    "dispute.events",
    "dispute.attachment",
    "dispute.document",
    roles=(Role.CLERK, Role.APPROVER, Role.MEDIATOR, Role.AUDIT_ADMINISTRATOR),
    scope=Scope.CLERK,
)


class DisputeSummary(Wire):
    """One line of the docket."""

    id: UUID
    negotiation_id: UUID
    requester: AgencyRef
    provider: AgencyRef
    authority: AgencyRef
    state: str
    state_name: Label
    cause: str
    overdue: bool
    updated_at: datetime


class StatementOut(Wire):
    party: str
    author_id: UUID
    body: str
    created_at: datetime


class RulingOut(Wire):
    """A ruling, or for the authority its draft. `terms` are those a grant makes an agreement of."""

    id: UUID
    number: int
    outcome: str
    outcome_name: Label
    reasons: str
    legal_basis: str
    directions: str | None
    terms: Terms | None
    document: str | None
    drafted_by: UUID
    signed_by: UUID | None
    signed_at: datetime | None


class DisputeOut(Wire):
    """A dispute with what was stated, proposed and ruled, and what the reader may do now. `offers` are all the
    terms that were on the table, oldest first, with the consents to them."""

    id: UUID
    negotiation_id: UUID
    requester: AgencyRef
    provider: AgencyRef
    authority: AgencyRef
    state: str
    state_name: Label
    version: int
    cause: str
    cause_name: Label
    reason: str
    overdue: bool
    closing_reason: str | None
    noncompliance_at: datetime | None
    statements: list[StatementOut]
    attachments: list[AttachmentOut]
    offers: list[VersionOut]
    proposal: VersionOut | None
    rulings: list[RulingOut]
    agreement_id: UUID | None
    deadlines: list[DeadlineOut]
    created_at: datetime
    updated_at: datetime
    allowed: list[str]


class NewStatement(Wire):
    body: LongText


class Proposal(Wire):
    terms: Terms
    reason: LongText | None = None


class Settlement(Wire):
    agreement_id: UUID


class NewRuling(Wire):
    """`terms` for a grant, `directions` for a remand."""

    outcome: ShortText
    reasons: LongText
    legal_basis: ShortText
    directions: LongText | None = None
    terms: Terms | None = None


class Signature(Wire):
    """The draft that the signing mediator has read."""

    ruling_id: UUID


class Confirmation(Wire):
    """The government's decision on review, by its document number (文号)."""

    document: ShortText
    reason: LongText


class ChangedRuling(NewRuling):
    document: ShortText


class Chosen(Paging):
    """Filters of the docket."""

    waiting: Waiting = False
    state: Annotated[str | None, one_of(DISPUTE.states)] = None


def _asked(act: str) -> Any:
    return guarded(f"dispute.{act}", service.find_dispute)


@router.post(
    "/negotiations/{id}/open_dispute",
    operation_id="negotiation.open_dispute",
    status_code=201,
    openapi_extra=ONCE,
)
def open_dispute(
    asked: Annotated[Asked[Negotiation], guarded("negotiation.open_dispute", find_negotiation)],
    body: Reason,
    version: ExpectedVersion,
) -> DisputeOut:
    """报请协调: take a refused, overdue or stalled negotiation to the authority. If-Match is the negotiation's."""
    dispute = service.open_dispute(
        asked.session, asked.case, reason=body.reason, by=asked.by, version=version
    )
    asked.response.headers["Location"] = f"{router.prefix}/disputes/{dispute.id}"
    return represent(Asked(asked.session, dispute, asked.by, asked.response))


@router.get("/disputes", operation_id="dispute.list")
def list_disputes(
    session: DbSession, actor: Annotated[Actor, permitted("dispute.list")], chosen: Annotated[Chosen, Query()]
) -> Page[DisputeSummary]:
    """The docket as far as the reader may see it, newest first."""
    rows = service.list_disputes(
        session,
        by=actor,
        waiting=chosen.waiting,
        state=chosen.state,
        before=chosen.before,
        limit=chosen.fetch,
    )
    return page(rows, chosen.limit, lambda shown: _summaries(session, shown))


def _summaries(session: Session, rows: Sequence[Dispute]) -> list[DisputeSummary]:
    names = names_of(session, {i for r in rows for i in (r.requester_id, r.provider_id, r.authority_id)})
    return [
        DisputeSummary(
            id=row.id, negotiation_id=row.negotiation_id, requester=AgencyRef.of(row.requester_id, names),
            provider=AgencyRef.of(row.provider_id, names), authority=AgencyRef.of(row.authority_id, names),
            state=row.state, state_name=Label.of(DISPUTE.states[row.state]), cause=row.cause, overdue=row.overdue,
            updated_at=row.updated_at,
        )
        for row in rows
    ]  # fmt: skip


@router.get("/disputes/{id}", operation_id="dispute.read")
def read_dispute(asked: Annotated[Asked[Dispute], _asked("read")]) -> DisputeOut:
    """One dispute."""
    return represent(asked)


@router.get("/disputes/{id}/events", operation_id="dispute.events")
def list_events(asked: Annotated[Asked[Dispute], _asked("events")]) -> list[EventOut]:
    """The dispute's history, oldest first; the authority's drafting is its own."""
    sides = parties_of(asked.by, asked.case)
    return events_out(asked.session, DISPUTE, asked.case.id, sides=sides, private=docket.PRIVATE)


@router.get(
    "/disputes/{id}/document", operation_id="dispute.document", response_class=Response,
    responses={200: {"content": {"text/html": {}, PDF: {}}}},
)  # fmt: skip
def read_document(asked: Annotated[Asked[Dispute], _asked("document")], request: Request) -> Response:
    """案卷: the whole docket in the language asked for, as a page or as PDF. Errors: NotAcceptable."""
    written = docket.docket_paper(asked.session, asked.case, request.state.locale, by=asked.by)
    return printing.on_paper(written, printing.wanted(request, PDF), f"dispute-{asked.case.id}")


@router.post("/disputes/{id}/admit", operation_id="dispute.admit")
def admit(asked: Annotated[Asked[Dispute], _asked("admit")], version: ExpectedVersion) -> DisputeOut:
    """受理: hear the dispute."""
    service.admit(asked.session, asked.case, by=asked.by, version=version)
    return represent(asked)


@router.post("/disputes/{id}/decline", operation_id="dispute.decline")
def decline(
    asked: Annotated[Asked[Dispute], _asked("decline")], body: Reason, version: ExpectedVersion
) -> DisputeOut:
    """不予受理: close it as inadmissible, with reasons."""
    service.decline(asked.session, asked.case, reason=body.reason, by=asked.by, version=version)
    return represent(asked)


@router.post("/disputes/{id}/refer", operation_id="dispute.refer")
def refer(
    asked: Annotated[Asked[Dispute], _asked("refer")], body: Reason, version: ExpectedVersion
) -> DisputeOut:
    """移送: send it to the competent authority."""
    service.refer(asked.session, asked.case, reason=body.reason, by=asked.by, version=version)
    return represent(asked)


@router.post("/disputes/{id}/state", operation_id="dispute.state")
def make_statement(
    asked: Annotated[Asked[Dispute], _asked("state")], body: NewStatement, version: ExpectedVersion
) -> DisputeOut:
    """陈述: tell the authority one's view."""
    service.make_statement(asked.session, asked.case, body=body.body, by=asked.by, version=version)
    return represent(asked)


@router.post("/disputes/{id}/propose", operation_id="dispute.propose")
def propose(
    asked: Annotated[Asked[Dispute], _asked("propose")], body: Proposal, version: ExpectedVersion
) -> DisputeOut:
    """调解方案: the mediator proposes terms to both."""
    service.propose(
        asked.session, asked.case, terms=body.terms, reason=body.reason, by=asked.by, version=version
    )
    return represent(asked)


@router.post("/disputes/{id}/accept", operation_id="dispute.accept")
def accept(
    asked: Annotated[Asked[Dispute], _asked("accept")], body: ToTerms, version: ExpectedVersion
) -> DisputeOut:
    """接受调解方案: with the second side's the dispute is settled."""
    service.accept_proposal(asked.session, asked.case, to_hash=body.terms_hash, by=asked.by, version=version)
    return represent(asked)


@router.post("/disputes/{id}/decline_proposal", operation_id="dispute.decline_proposal")
def decline_proposal(
    asked: Annotated[Asked[Dispute], _asked("decline_proposal")],
    body: OptionalReason,
    version: ExpectedVersion,
) -> DisputeOut:
    """不接受调解方案: the hearing goes on."""
    service.decline_proposal(asked.session, asked.case, reason=body.reason, by=asked.by, version=version)
    return represent(asked)


@router.post("/disputes/{id}/draft_ruling", operation_id="dispute.draft_ruling")
def draft_ruling(
    asked: Annotated[Asked[Dispute], _asked("draft_ruling")], body: NewRuling, version: ExpectedVersion
) -> DisputeOut:
    """拟定裁决: one mediator writes what another signs."""
    service.draft_ruling(
        asked.session, asked.case, outcome=body.outcome, reasons=body.reasons, legal_basis=body.legal_basis,
        directions=body.directions, terms=body.terms, by=asked.by, version=version,
    )  # fmt: skip
    return represent(asked)


@router.post("/disputes/{id}/rule", operation_id="dispute.rule")
def rule(
    asked: Annotated[Asked[Dispute], _asked("rule")], body: Signature, version: ExpectedVersion
) -> DisputeOut:
    """签发裁决: another mediator signs; a granted agreement is in force at once."""
    service.rule(asked.session, asked.case, ruling_id=body.ruling_id, by=asked.by, version=version)
    return represent(asked)


@router.post("/disputes/{id}/ask_review", operation_id="dispute.ask_review")
def ask_review(
    asked: Annotated[Asked[Dispute], _asked("ask_review")], body: Reason, version: ExpectedVersion
) -> DisputeOut:
    """申请复核: ask the authority's government; delivery under the ruling is stayed."""
    service.ask_review(asked.session, asked.case, reason=body.reason, by=asked.by, version=version)
    return represent(asked)


@router.post("/disputes/{id}/confirm", operation_id="dispute.confirm")
def confirm(
    asked: Annotated[Asked[Dispute], _asked("confirm")], body: Confirmation, version: ExpectedVersion
) -> DisputeOut:
    """复核维持: enter the government's decision that the ruling stands."""
    service.confirm_ruling(
        asked.session, asked.case, document=body.document, reason=body.reason, by=asked.by, version=version
    )
    return represent(asked)


@router.post("/disputes/{id}/change", operation_id="dispute.change")
def change(
    asked: Annotated[Asked[Dispute], _asked("change")], body: ChangedRuling, version: ExpectedVersion
) -> DisputeOut:
    """复核变更: enter the government's decision that replaces the ruling."""
    service.change_ruling(
        asked.session, asked.case, document=body.document, outcome=body.outcome, reasons=body.reasons,
        legal_basis=body.legal_basis, directions=body.directions, terms=body.terms, by=asked.by, version=version,
    )  # fmt: skip
    return represent(asked)


@router.post("/disputes/{id}/record_settlement", operation_id="dispute.record_settlement")
def record_settlement(
    asked: Annotated[Asked[Dispute], _asked("record_settlement")], body: Settlement, version: ExpectedVersion
) -> DisputeOut:
    """自行达成协议: name the agreement that the parties reached by themselves."""
    service.record_settlement(
        asked.session, asked.case, agreement_id=body.agreement_id, by=asked.by, version=version
    )
    return represent(asked)


@router.post("/disputes/{id}/attach", operation_id="dispute.attach")
def attach(
    asked: Annotated[Asked[Dispute], _asked("attach")],
    version: ExpectedVersion,
    file: Annotated[UploadFile, File()],
) -> DisputeOut:
    """证据材料: put a file before the authority; the ledger has its SHA-256."""
    service.attach_evidence(
        asked.session, asked.case, name=file.filename or "", content=file.file.read(), by=asked.by, version=version
    )  # fmt: skip
    return represent(asked)


@router.get(
    "/disputes/{id}/attachments/{attachment_id}", operation_id="dispute.attachment", response_class=Response
)
def read_attachment(
    asked: Annotated[Asked[Dispute], _asked("attachment")], attachment_id: UUID, quarantine: Quarantine
) -> Response:
    """The content of an attachment, as a download."""
    return download(asked.session, DISPUTE.kind, asked.case.id, attachment_id, quarantine=quarantine)


@router.post("/disputes/{id}/report_noncompliance", operation_id="dispute.report_noncompliance")
def report_noncompliance(
    asked: Annotated[Asked[Dispute], _asked("report_noncompliance")], body: Reason, version: ExpectedVersion
) -> DisputeOut:
    """报告未执行: the provider does not do what the ruling says."""
    compliance.report_noncompliance(
        asked.session, asked.case, reason=body.reason, by=asked.by, version=version
    )
    return represent(asked)


@router.post("/disputes/{id}/order_compliance", operation_id="dispute.order_compliance")
def order_compliance(
    asked: Annotated[Asked[Dispute], _asked("order_compliance")], body: Reason, version: ExpectedVersion
) -> DisputeOut:
    """责令改正: the authority orders the provider to comply."""
    compliance.order_compliance(asked.session, asked.case, reason=body.reason, by=asked.by, version=version)
    return represent(asked)


@router.post("/disputes/{id}/withdraw", operation_id="dispute.withdraw")
def withdraw(
    asked: Annotated[Asked[Dispute], _asked("withdraw")], body: OptionalReason, version: ExpectedVersion
) -> DisputeOut:
    """撤回: the requester gives the dispute up."""
    service.withdraw(asked.session, asked.case, reason=body.reason, by=asked.by, version=version)
    return represent(asked)


def represent(asked: Asked[Dispute]) -> DisputeOut:
    """The dispute as it is told to the asking actor, its version in ETag."""
    session, case = asked.session, asked.case
    set_version(asked.response, case.version)
    names = names_of(session, {case.requester_id, case.provider_id, case.authority_id})
    agreement = live_agreement_of(session, case.negotiation_id)
    return DisputeOut(
        id=case.id,
        negotiation_id=case.negotiation_id,
        requester=AgencyRef.of(case.requester_id, names),
        provider=AgencyRef.of(case.provider_id, names),
        authority=AgencyRef.of(case.authority_id, names),
        state=case.state,
        state_name=Label.of(DISPUTE.states[case.state]),
        version=case.version,
        cause=case.cause,
        cause_name=Label.of(CAUSES[case.cause]),
        reason=case.reason,
        overdue=case.overdue,
        closing_reason=case.closing_reason,
        noncompliance_at=case.noncompliance_at,
        statements=[_statement(row) for row in service.statements_of(session, case)],
        attachments=attachments_of(session, DISPUTE.kind, case.id),
        offers=_offers(asked),
        proposal=_proposal(session, case),
        rulings=[_ruling(session, row) for row in service.rulings_of(session, case, by=asked.by)],
        agreement_id=agreement.id if agreement else None,
        deadlines=deadlines_out(session, DISPUTE.kind, case.id),
        created_at=case.created_at,
        updated_at=case.updated_at,
        allowed=service.allowed_acts(session, case, by=asked.by),
    )


def _offers(asked: Asked[Dispute]) -> list[VersionOut]:
    negotiation = asked.session.get_one(Negotiation, asked.case.negotiation_id)
    rows = versions_for(asked.session, negotiation, by=asked.by)
    given = consents_to(asked.session, {row.id for row in rows})
    return [VersionOut.of(row, given[row.id].values()) for row in rows]


def _statement(row: Statement) -> StatementOut:
    return StatementOut(party=row.party, author_id=row.author_id, body=row.body, created_at=row.created_at)


def _proposal(session: Session, case: Dispute) -> VersionOut | None:
    if case.proposal_id is None:
        return None
    version = session.get_one(TermsVersion, case.proposal_id)
    return VersionOut.of(version, consents_to(session, {version.id})[version.id].values())


def _ruling(session: Session, row: Ruling) -> RulingOut:
    version = session.get(TermsVersion, row.terms_version_id) if row.terms_version_id else None
    return RulingOut(
        id=row.id, number=row.number, outcome=row.outcome, outcome_name=Label.of(OUTCOMES[row.outcome]),
        reasons=row.reasons, legal_basis=row.legal_basis, directions=row.directions,
        terms=version.typed if version else None, document=row.document, drafted_by=row.drafted_by,
        signed_by=row.signed_by, signed_at=row.signed_at,
    )  # fmt: skip
