"""REST of share requests."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import Field
from sqlalchemy import select

from app.identity.cases import AgencyRef, Asked, EventOut, events_out, guarded
from app.identity.permissions import permit, permit_acts, permitted
from app.kernel.actor import Actor, Role, Scope
from app.kernel.db import DbSession
from app.kernel.errors import Fault
from app.kernel.idempotency import ONCE, CreatingRoute
from app.kernel.wire import ExpectedVersion, Label, Page, Paging, ShortText, Wire, one_of, page, set_version
from exchange.negotiations.case import find_negotiation
from exchange.negotiations.models import Negotiation
from exchange.parties import names_of
from exchange.requests import service
from exchange.requests.models import ShareRequest
from exchange.requests.question_sets import questions_of
from exchange.requests.questions import Answer, Answered, answered
from exchange.requests.service import Content
from exchange.requests.states import DRAFT, REQUEST
from exchange.terms import Terms

router = APIRouter(prefix="/api/v1/requests", tags=["requests"], route_class=CreatingRoute)

narrower = APIRouter(prefix="/api/v1/negotiations", tags=["requests"], route_class=CreatingRoute)

permit_acts(REQUEST)
permit(
    "request.check",
    "request.reuse",
    "negotiation.request_narrower",
    roles=(Role.CLERK,),
    scope=Scope.CLERK,
)
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
    need_by: date | None = None
    answers: Annotated[tuple[Answer, ...], Field(max_length=500)] = ()

    @property
    def content(self) -> Content:
        return Content(self.title, self.terms, self.need_by, self.answers)


class Drafted(NewRequest):
    """A new request; with `amends` it is to amend or renew that agreement, with the same provider."""

    amends: UUID | None = None


class FaultOut(Wire):
    """What is wrong or missing: the field as a JSON pointer, the fault, the rule."""

    field: str
    message: Label
    rule: Label | None

    @classmethod
    def of(cls, fault: Fault) -> FaultOut:
        return cls(
            field=fault.field, message=Label.of(fault.message), rule=Label.of(fault.rule) if fault.rule else None
        )  # fmt: skip


class Completeness(Wire):
    """Whether a request could be filed as it is."""

    complete: bool
    faults: list[FaultOut]


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
    """A request, what it became, and what the reader may do with it now. `incomplete` is what a draft has to
    say before it can be filed; `questions` are those that its resources' providers put, with the answers."""

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
    need_by: date | None
    questions: list[Answered]
    incomplete: list[FaultOut]
    reuses_id: UUID | None
    created_at: datetime
    updated_at: datetime
    negotiations: list[NegotiationRef]
    allowed: list[str]


class Chosen(Paging):
    """Filters of the list."""

    state: Annotated[str | None, one_of(REQUEST.states)] = None


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
    request = service.draft_request(session, body.content, by=actor, amends_id=body.amends)
    return _created(Asked(session, request, actor, response), request)


@router.post("/check", operation_id="request.check")
def check_request(
    body: Drafted, session: DbSession, actor: Annotated[Actor, permitted("request.check")]
) -> Completeness:
    """完整性检查: whether this could be filed; nothing of it is kept."""
    faults = service.check_content(session, body.content, by=actor, amends_id=body.amends)
    return Completeness(complete=not faults, faults=[FaultOut.of(fault) for fault in faults])


@router.get("/{id:uuid}", operation_id="request.read")
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
    service.amend_request(asked.session, asked.case, body.content, by=asked.by, version=version)
    return represent(asked)


@router.post("/{id}/reuse", operation_id="request.reuse", status_code=201, openapi_extra=ONCE)
def reuse_request(asked: Annotated[Asked[ShareRequest], _asked("reuse")]) -> RequestOut:
    """再次申请: a new draft that says what this request said, from today."""
    return _created(asked, service.reuse_request(asked.session, asked.case, by=asked.by))


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


@narrower.post(
    "/{id}/request_narrower",
    operation_id="negotiation.request_narrower",
    status_code=201,
    openapi_extra=ONCE,
)
def request_narrower(
    asked: Annotated[Asked[Negotiation], guarded("negotiation.request_narrower", find_negotiation)],
) -> RequestOut:
    """按较小范围申请: a new draft for what the provider, refusing, said it could share."""
    return _created(asked, service.request_narrower(asked.session, asked.case, by=asked.by))


def _created(asked: Asked[Any], request: ShareRequest) -> RequestOut:
    asked.response.headers["Location"] = f"{router.prefix}/{request.id}"
    return represent(Asked(asked.session, request, asked.by, asked.response))


def represent(asked: Asked[ShareRequest]) -> RequestOut:
    """The request as it is told to the asking actor, its version in ETag."""
    request, content = asked.case, service.content_of(asked.case)
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
        terms=content.terms,
        terms_hash=request.terms_hash,
        need_by=request.need_by,
        questions=answered(
            questions_of(asked.session, [part.resource_id for part in content.terms.resources]),
            content.answers,
        ),
        incomplete=[FaultOut.of(fault) for fault in service.incomplete(asked.session, content)]
        if request.state == DRAFT
        else [],
        reuses_id=request.reuses_id,
        created_at=request.created_at,
        updated_at=request.updated_at,
        negotiations=[
            NegotiationRef(id=row.id, provider=AgencyRef.of(row.provider_id, names), state=row.state)
            for row in became
        ],
        allowed=service.allowed_acts(request, by=asked.by),
    )
