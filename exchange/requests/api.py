"""REST of share requests."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response
from sqlalchemy import select

from app.identity.cases import AgencyRef, Asked, EventOut, events_out, guarded
from app.identity.permissions import permit, permit_acts, permitted
from app.kernel.actor import Actor, Role, Scope
from app.kernel.db import DbSession
from app.kernel.idempotency import ONCE, CreatingRoute
from app.kernel.wire import ExpectedVersion, Label, Page, Paging, ShortText, Wire, page, set_version
from exchange.negotiations.models import Negotiation
from exchange.parties import names_of
from exchange.requests import service
from exchange.requests.models import ShareRequest
from exchange.requests.states import REQUEST
from exchange.terms import Terms

router = APIRouter(prefix="/api/v1/requests", tags=["requests"], route_class=CreatingRoute)

permit_acts(REQUEST)
permit(
    "request.list",
    "request.read",
    "request.events",
    roles=(Role.CLERK, Role.APPROVER, Role.AUDIT_ADMINISTRATOR),
    scope=Scope.CLERK,
)


class NewRequest(Wire):
    """What is asked for; the terms may name resources of several providers."""

    title: ShortText
    terms: Terms


class Drafted(NewRequest):
    """A new request; with `amends` it is to amend or renew that agreement, with the same provider."""

    amends: UUID | None = None


class RequestSummary(Wire):
    """One line of a list."""

    id: UUID
    title: str
    state: str
    created_at: datetime
    updated_at: datetime


class NegotiationRef(Wire):
    """A negotiation that the request became."""

    id: UUID
    provider: AgencyRef
    state: str


class RequestOut(Wire):
    """A request, what it became, and what the reader may do with it now."""

    id: UUID
    title: str
    state: str
    state_name: Label
    version: int
    requester: AgencyRef
    author_id: UUID
    amends_id: UUID | None
    terms: Terms
    terms_hash: str
    created_at: datetime
    updated_at: datetime
    negotiations: list[NegotiationRef]
    allowed: list[str]


class Chosen(Paging):
    """Filters of the list."""

    state: str | None = None


def _asked(act: str) -> Any:
    return guarded(f"request.{act}", service.find_request)


@router.get("", operation_id="request.list")
def list_requests(
    session: DbSession, actor: Annotated[Actor, permitted("request.list")], chosen: Annotated[Chosen, Query()]
) -> Page[RequestSummary]:
    """The requests of one's own agency, newest first."""
    rows = service.list_requests(
        session, by=actor, state=chosen.state, before=chosen.before, limit=chosen.fetch
    )
    return page(rows, chosen.limit, _summaries)


def _summaries(rows: Sequence[ShareRequest]) -> list[RequestSummary]:
    return [RequestSummary.model_validate(row) for row in rows]


@router.post("", operation_id="request.draft", status_code=201, openapi_extra=ONCE)
def draft_request(
    body: Drafted,
    session: DbSession,
    actor: Annotated[Actor, permitted("request.draft")],
    response: Response,
) -> RequestOut:
    """拟定: write a request for the approver to file."""
    request = service.draft_request(
        session, title=body.title, terms=body.terms, by=actor, amends_id=body.amends
    )
    response.headers["Location"] = f"{router.prefix}/{request.id}"
    return represent(Asked(session, request, actor, response))


@router.get("/{id}", operation_id="request.read")
def read_request(asked: Annotated[Asked[ShareRequest], _asked("read")]) -> RequestOut:
    """One request."""
    return represent(asked)


@router.get("/{id}/events", operation_id="request.events")
def list_events(asked: Annotated[Asked[ShareRequest], _asked("events")]) -> list[EventOut]:
    """The request's history, oldest first."""
    return events_out(asked.session, REQUEST, asked.case.id, sides=service.parties_of(asked.by, asked.case))


@router.post("/{id}/amend", operation_id="request.amend")
def amend_request(
    asked: Annotated[Asked[ShareRequest], _asked("amend")], body: NewRequest, version: ExpectedVersion
) -> RequestOut:
    """修改: rewrite a draft."""
    service.amend_request(
        asked.session, asked.case, title=body.title, terms=body.terms, by=asked.by, version=version
    )
    return represent(asked)


@router.post("/{id}/file", operation_id="request.file")
def file_request(
    asked: Annotated[Asked[ShareRequest], _asked("file")], version: ExpectedVersion
) -> RequestOut:
    """提出: approve and file; one negotiation for each provider opens."""
    service.file_request(asked.session, asked.case, by=asked.by, version=version)
    return represent(asked)


@router.post("/{id}/discard", operation_id="request.discard")
def discard_request(
    asked: Annotated[Asked[ShareRequest], _asked("discard")], version: ExpectedVersion
) -> RequestOut:
    """作废: give a draft up."""
    service.discard_request(asked.session, asked.case, by=asked.by, version=version)
    return represent(asked)


def represent(asked: Asked[ShareRequest]) -> RequestOut:
    """The request as it is told to the asking actor, its version in ETag."""
    request = asked.case
    set_version(asked.response, request.version)
    became = asked.session.execute(
        select(Negotiation.id, Negotiation.provider_id, Negotiation.state)
        .where(Negotiation.request_id == request.id)
        .order_by(Negotiation.id)
    ).all()
    names = names_of(asked.session, {request.requester_id, *(row.provider_id for row in became)})
    return RequestOut(
        id=request.id,
        title=request.title,
        state=request.state,
        state_name=Label.of(REQUEST.states[request.state]),
        version=request.version,
        requester=AgencyRef.of(request.requester_id, names),
        author_id=request.author_id,
        amends_id=request.amends_id,
        terms=Terms.model_validate(request.terms),
        terms_hash=request.terms_hash,
        created_at=request.created_at,
        updated_at=request.updated_at,
        negotiations=[
            NegotiationRef(id=row.id, provider=AgencyRef.of(row.provider_id, names), state=row.state)
            for row in became
        ],
        allowed=service.allowed_acts(request, by=asked.by),
    )
