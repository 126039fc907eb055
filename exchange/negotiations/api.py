"""REST of negotiations: lists, one case with the terms on the table, every act on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, File, Form, Query, Response, UploadFile
from sqlalchemy.orm import Session

from app.identity.cases import AgencyRef, Asked, EventOut, deadlines_out, events_out, guarded
from app.identity.permissions import permit, permit_acts, permitted
from app.kernel.actor import Actor, Role, Scope
from app.kernel.db import DbSession
from app.kernel.errors import NotFound
from app.kernel.idempotency import CreatingRoute
from app.kernel.wire import (
    ExpectedVersion,
    Label,
    Page,
    page,
    set_version,
)
from exchange.agreements.service import live_agreement_of
from exchange.attachments import Quarantine, attachments_of, download
from exchange.negotiations import case, consents, discussion, reply_time, service
from exchange.negotiations.discussion import OpenPoint
from exchange.negotiations.models import Negotiation
from exchange.negotiations.states import GROUNDS, NEGOTIATION, TERMINATION_REASONS
from exchange.negotiations.wire import (
    Chosen,
    CommentOut,
    DraftTerms,
    Extension,
    GroundOut,
    InPrinciple,
    NegotiationOut,
    NegotiationSummary,
    NewComment,
    Refusal,
    Refuse,
    Transfer,
    Versions,
)
from exchange.parties import names_of, parties_of
from exchange.requests.questions import Answered
from exchange.told import changes_between, records_of
from exchange.wire import ChangeOut, OptionalReason, Reason, ToTerms, VersionOut

router = APIRouter(prefix="/api/v1/negotiations", tags=["negotiations"], route_class=CreatingRoute)

READERS = (Role.CLERK, Role.APPROVER, Role.MEDIATOR, Role.AUDIT_ADMINISTRATOR)

permit_acts(NEGOTIATION)
permit(
    "negotiation.list",
    "negotiation.read",
    "negotiation.versions",
    "negotiation.changes",
    "negotiation.events",
    "negotiation.attachment",
    "negotiation.grounds",
    roles=READERS,
    scope=Scope.CLERK,
)


def _asked(act: str) -> Any:
    return guarded(f"negotiation.{act}", case.find_negotiation)


@router.get("", operation_id="negotiation.list")
def list_negotiations(
    session: DbSession,
    actor: Annotated[Actor, permitted("negotiation.list")],
    chosen: Annotated[Chosen, Query()],
) -> Page[NegotiationSummary]:
    """Negotiations of one's own agency, or under one's authority, newest first."""
    rows = case.list_negotiations(
        session, by=actor, waiting=chosen.waiting, state=chosen.state, request_id=chosen.request,
        before=chosen.before, limit=chosen.fetch,
    )  # fmt: skip
    return page(rows, chosen.limit, lambda shown: _summaries(session, shown))


def _summaries(session: Session, rows: Sequence[Negotiation]) -> list[NegotiationSummary]:
    names = names_of(session, {i for row in rows for i in (row.requester_id, row.provider_id)})
    return [
        NegotiationSummary(
            id=row.id, request_id=row.request_id, requester=AgencyRef.of(row.requester_id, names),
            provider=AgencyRef.of(row.provider_id, names), state=row.state,
            state_name=Label.of(NEGOTIATION.states[row.state]), sharing=row.sharing, overdue=row.overdue,
            waiting_for_material=row.waiting_for_material, updated_at=row.updated_at,
        )
        for row in rows
    ]  # fmt: skip


@router.get("/grounds", operation_id="negotiation.grounds", dependencies=[permitted("negotiation.grounds")])
def list_grounds() -> list[GroundOut]:
    """The coded grounds of refusal."""
    return [GroundOut(code=c, label=Label.of(g.label), legal_basis=g.basis) for c, g in GROUNDS.items()]


@router.get("/{id}", operation_id="negotiation.read")
def read_negotiation(asked: Annotated[Asked[Negotiation], _asked("read")]) -> NegotiationOut:
    """One negotiation."""
    return represent(asked)


@router.get("/{id}/versions", operation_id="negotiation.versions")
def list_versions(asked: Annotated[Asked[Negotiation], _asked("versions")]) -> list[VersionOut]:
    """The versions of the terms that the reader may know, oldest first."""
    return _versions(asked)


@router.get("/{id}/changes", operation_id="negotiation.changes")
def list_changes(
    asked: Annotated[Asked[Negotiation], _asked("changes")], chosen: Annotated[Versions, Query()]
) -> list[ChangeOut]:
    """What changed between two versions, field by field."""
    known = {version.number: version.terms for version in _versions(asked)}
    if chosen.before not in known or chosen.after not in known:
        raise NotFound()
    before, after = known[chosen.before], known[chosen.after]
    named = {part.resource_id for terms in (before, after) for part in terms.resources}
    records = records_of(asked.session, named)
    return [ChangeOut.of(change) for change in changes_between(before, after, records)]


@router.get("/{id}/events", operation_id="negotiation.events")
def list_events(asked: Annotated[Asked[Negotiation], _asked("events")]) -> list[EventOut]:
    """The negotiation's history, oldest first; what the other side drafts is not in it."""
    sides = parties_of(asked.by, asked.case)
    private = frozenset({"draft_terms"})
    return events_out(asked.session, NEGOTIATION, asked.case.id, sides=sides, private=private)


@router.post("/{id}/ask_material", operation_id="negotiation.ask_material")
def ask_material(
    asked: Annotated[Asked[Negotiation], _asked("ask_material")], body: Reason, version: ExpectedVersion
) -> NegotiationOut:
    """补正通知: say once what is missing."""
    reply_time.ask_material(asked.session, asked.case, notice=body.reason, by=asked.by, version=version)
    return represent(asked)


@router.post("/{id}/supply_material", operation_id="negotiation.supply_material")
def supply_material(
    asked: Annotated[Asked[Negotiation], _asked("supply_material")], body: Reason, version: ExpectedVersion
) -> NegotiationOut:
    """补正: supply what was missing."""
    reply_time.supply_material(asked.session, asked.case, material=body.reason, by=asked.by, version=version)
    return represent(asked)


@router.post("/{id}/ask_extension", operation_id="negotiation.ask_extension")
def ask_extension(
    asked: Annotated[Asked[Negotiation], _asked("ask_extension")], body: Extension, version: ExpectedVersion
) -> NegotiationOut:
    """申请延期: ask the authority for more time to reply."""
    reply_time.ask_extension(
        asked.session,
        asked.case,
        working_days=body.working_days,
        reason=body.reason,
        by=asked.by,
        version=version,
    )
    return represent(asked)


@router.post("/{id}/extend", operation_id="negotiation.extend")
def extend(
    asked: Annotated[Asked[Negotiation], _asked("extend")], body: OptionalReason, version: ExpectedVersion
) -> NegotiationOut:
    """同意延期: the authority consents."""
    reply_time.answer_extension(
        asked.session, asked.case, consent=True, reason=body.reason, by=asked.by, version=version
    )
    return represent(asked)


@router.post("/{id}/refuse_extension", operation_id="negotiation.refuse_extension")
def refuse_extension(
    asked: Annotated[Asked[Negotiation], _asked("refuse_extension")], body: Reason, version: ExpectedVersion
) -> NegotiationOut:
    """不同意延期: the authority does not consent."""
    reply_time.answer_extension(
        asked.session, asked.case, consent=False, reason=body.reason, by=asked.by, version=version
    )
    return represent(asked)


@router.post("/{id}/transfer", operation_id="negotiation.transfer")
def transfer(
    asked: Annotated[Asked[Negotiation], _asked("transfer")], body: Transfer, version: ExpectedVersion
) -> dict[str, UUID]:
    """转送: hand the request to the agency that holds the data; from then on the case is its."""
    reply_time.transfer(
        asked.session,
        asked.case,
        to_agency_id=body.to_agency_id,
        reason=body.reason,
        by=asked.by,
        version=version,
    )
    return {"id": asked.case.id, "provider_id": asked.case.provider_id}


@router.post("/{id}/draft_terms", operation_id="negotiation.draft_terms")
def draft_terms(
    asked: Annotated[Asked[Negotiation], _asked("draft_terms")], body: DraftTerms, version: ExpectedVersion
) -> NegotiationOut:
    """拟定条款: a clerk writes the terms that its approver may offer."""
    service.draft_terms(
        asked.session, asked.case, terms=body.terms, note=body.note, by=asked.by, version=version
    )
    return represent(asked)


@router.post("/{id}/offer", operation_id="negotiation.offer")
def offer(
    asked: Annotated[Asked[Negotiation], _asked("offer")], body: ToTerms, version: ExpectedVersion
) -> NegotiationOut:
    """要约: the provider's approver offers the drafted terms."""
    service.offer(
        asked.session, asked.case, to_hash=body.terms_hash, reason=body.reason, by=asked.by, version=version
    )
    return represent(asked)


@router.post("/{id}/counter_offer", operation_id="negotiation.counter_offer")
def counter_offer(
    asked: Annotated[Asked[Negotiation], _asked("counter_offer")], body: ToTerms, version: ExpectedVersion
) -> NegotiationOut:
    """反要约: the requester's approver answers with the drafted terms."""
    service.counter_offer(
        asked.session, asked.case, to_hash=body.terms_hash, reason=body.reason, by=asked.by, version=version
    )
    return represent(asked)


@router.post("/{id}/accept", operation_id="negotiation.accept")
def accept(
    asked: Annotated[Asked[Negotiation], _asked("accept")], body: ToTerms, version: ExpectedVersion
) -> NegotiationOut:
    """接受: the requester's approver accepts the offer."""
    service.accept(asked.session, asked.case, to_hash=body.terms_hash, by=asked.by, version=version)
    return represent(asked)


@router.post("/{id}/agree", operation_id="negotiation.agree")
def agree(
    asked: Annotated[Asked[Negotiation], _asked("agree")], body: ToTerms, version: ExpectedVersion
) -> NegotiationOut:
    """同意: the provider's approver agrees; the agreement comes into force."""
    service.agree(asked.session, asked.case, to_hash=body.terms_hash, by=asked.by, version=version)
    return represent(asked)


@router.post("/{id}/agree_in_principle", operation_id="negotiation.agree_in_principle")
def agree_in_principle(
    asked: Annotated[Asked[Negotiation], _asked("agree_in_principle")],
    body: InPrinciple,
    version: ExpectedVersion,
) -> NegotiationOut:
    """原则同意: yes but for the points named. The reply clock runs on."""
    discussion.agree_in_principle(
        asked.session, asked.case, points=body.points, reason=body.reason, by=asked.by, version=version
    )
    return represent(asked)


@router.post("/{id}/comment", operation_id="negotiation.comment")
def comment(
    asked: Annotated[Asked[Negotiation], _asked("comment")], body: NewComment, version: ExpectedVersion
) -> NegotiationOut:
    """意见: say something of one term, to the other side."""
    discussion.comment(
        asked.session, asked.case, field=body.field, body=body.body, by=asked.by, version=version
    )
    return represent(asked)


@router.post("/{id}/attach", operation_id="negotiation.attach")
def attach(
    asked: Annotated[Asked[Negotiation], _asked("attach")],
    version: ExpectedVersion,
    file: Annotated[UploadFile, File()],
    field: Annotated[str, Form(max_length=500)] = "",
) -> NegotiationOut:
    """附件: put a file beside a term, or the whole; the ledger has its SHA-256."""
    discussion.attach(
        asked.session, asked.case, field=field, name=file.filename or "", content=file.file.read(),
        by=asked.by, version=version,
    )  # fmt: skip
    return represent(asked)


@router.get(
    "/{id}/attachments/{attachment_id}", operation_id="negotiation.attachment", response_class=Response
)
def read_attachment(
    asked: Annotated[Asked[Negotiation], _asked("attachment")], attachment_id: UUID, quarantine: Quarantine
) -> Response:
    """The content of an attachment, as a download."""
    return download(asked.session, NEGOTIATION.kind, asked.case.id, attachment_id, quarantine=quarantine)


@router.post("/{id}/refuse", operation_id="negotiation.refuse")
def refuse(
    asked: Annotated[Asked[Negotiation], _asked("refuse")], body: Refuse, version: ExpectedVersion
) -> NegotiationOut:
    """不予同意: refuse on a coded ground, with reasons."""
    service.refuse(
        asked.session, asked.case, ground=body.ground, reason=body.reason, narrower=body.narrower,
        by=asked.by, version=version,
    )  # fmt: skip
    return represent(asked)


@router.post("/{id}/withdraw", operation_id="negotiation.withdraw")
def withdraw(
    asked: Annotated[Asked[Negotiation], _asked("withdraw")], body: OptionalReason, version: ExpectedVersion
) -> NegotiationOut:
    """撤回: the requester takes its request back."""
    service.withdraw(asked.session, asked.case, reason=body.reason, by=asked.by, version=version)
    return represent(asked)


def _versions(asked: Asked[Negotiation]) -> list[VersionOut]:
    rows = consents.versions_for(asked.session, asked.case, by=asked.by)
    given = consents.consents_to(asked.session, {row.id for row in rows})
    return [VersionOut.of(row, given[row.id].values()) for row in rows]


def _refusal(session: Session, row: Negotiation) -> Refusal | None:
    if row.refusal_ground is None:
        return None
    ground, reason = GROUNDS[row.refusal_ground], case.refusal_reason(session, row)
    return Refusal(
        ground=row.refusal_ground, label=Label.of(ground.label), legal_basis=ground.basis, reason=reason
    )


def represent(asked: Asked[Negotiation]) -> NegotiationOut:
    """The negotiation as it is told to the asking actor, its version in ETag."""
    row = asked.case
    set_version(asked.response, row.version)
    names = names_of(asked.session, {row.requester_id, row.provider_id, row.authority_id})
    versions = {version.id: version for version in _versions(asked)}
    assert row.current_terms_id is not None
    reason = row.termination_reason
    agreement = live_agreement_of(asked.session, row.id)
    return NegotiationOut(
        id=row.id,
        request_id=row.request_id,
        follows_id=row.follows_id,
        amends_id=row.amends_id,
        requester=AgencyRef.of(row.requester_id, names),
        provider=AgencyRef.of(row.provider_id, names),
        authority=AgencyRef.of(row.authority_id, names),
        state=row.state,
        state_name=Label.of(NEGOTIATION.states[row.state]),
        version=row.version,
        sharing=row.sharing,
        terms=versions[row.current_terms_id],
        draft=versions.get(row.draft_terms_id) if row.draft_terms_id else None,
        narrower=versions.get(row.narrower_terms_id) if row.narrower_terms_id else None,
        rounds=row.rounds,
        waiting_for_material=row.waiting_for_material,
        extension_asked=row.extension_asked,
        overdue=row.overdue,
        termination_reason=reason,
        termination_reason_name=Label.of(TERMINATION_REASONS[reason]) if reason else None,
        refusal=_refusal(asked.session, row),
        disputed=row.disputed,
        directions=row.directions,
        deadlines=deadlines_out(asked.session, NEGOTIATION.kind, row.id),
        need_by=row.need_by,
        questions=[Answered.model_validate(one) for one in row.questions],
        open_points=[OpenPoint.model_validate(one) for one in row.open_points] if row.open_points else None,
        policy_ids=row.policy_ids,
        comments=[CommentOut.model_validate(one) for one in discussion.comments_of(asked.session, row.id)],
        attachments=attachments_of(asked.session, NEGOTIATION.kind, row.id),
        agreement_id=agreement.id if agreement else None,
        created_at=row.created_at,
        updated_at=row.updated_at,
        allowed=case.allowed_acts(asked.session, row, by=asked.by),
    )
