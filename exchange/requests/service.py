"""Share requests (共享申请): drafted by a clerk, filed by the approver, split into one negotiation for
each provider. Owns the request; what follows is `exchange.negotiations`'."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import ColumnElement, false, select, true
from sqlalchemy.orm import Session

from app.kernel import history
from app.kernel.actor import Actor, ActorKind
from app.kernel.errors import NotFound, NotPermitted, SameHand
from app.kernel.machine import Party
from exchange import holdings
from exchange.agreements.versions import amendable, require_fit
from exchange.negotiations.models import Negotiation
from exchange.negotiations.service import open_negotiation
from exchange.requests.models import ShareRequest
from exchange.requests.states import REQUEST
from exchange.terms import Terms, terms_hash


def parties_of(actor: Actor, request: ShareRequest) -> frozenset[Party]:
    """A request is its requester's alone; providers see the negotiations it becomes."""
    return frozenset({"requester"}) if actor.agency_id == request.requester_id else frozenset()


def find_request(session: Session, request_id: UUID, *, by: Actor) -> ShareRequest:
    """The request, if the actor may know of it. Errors: NotFound."""
    request = session.scalar(select(ShareRequest).where(ShareRequest.id == request_id, _visible_to(by)))
    if request is None:
        raise NotFound()
    return request


def list_requests(
    session: Session, *, by: Actor, state: str | None = None, before: UUID | None = None, limit: int = 50
) -> list[ShareRequest]:
    """The requests of the actor's agency, newest first; `before` is the last id of the page before."""
    query = select(ShareRequest).where(_visible_to(by))
    if state is not None:
        query = query.where(ShareRequest.state == state)
    if before is not None:
        query = query.where(ShareRequest.id < before)
    return list(session.scalars(query.order_by(ShareRequest.id.desc()).limit(limit)))


def _visible_to(actor: Actor) -> ColumnElement[bool]:
    if actor.kind is ActorKind.SYSTEM:
        return true()
    return ShareRequest.requester_id == actor.agency_id if actor.agency_id else false()


def draft_request(
    session: Session, *, title: str, terms: Terms, by: Actor, amends_id: UUID | None = None
) -> ShareRequest:
    """Write a request down for the approver. Terms may name resources of several providers, or of the one
    whose agreement `amends_id` they are to amend or renew; a draft already keeps every rule a filed request
    must. Errors: Invalid, NotPermitted."""
    if by.agency_id is None or by.id is None:
        raise NotPermitted()
    _require_sound(session, terms, by.agency_id, amends_id, by)
    request = ShareRequest(
        requester_id=by.agency_id, amends_id=amends_id, title=title, author_id=by.id,
        terms=terms.model_dump(mode="json"), terms_hash=terms_hash(terms),
    )  # fmt: skip
    data = {"terms_hash": request.terms_hash}
    history.create(session, request, REQUEST, "draft", by=by, parties=frozenset({"requester"}), data=data)
    return request


def amend_request(
    session: Session, request: ShareRequest, *, title: str, terms: Terms, by: Actor, version: int
) -> None:
    """Rewrite a draft; who rewrites it is its author from then on. Errors: Invalid."""
    _step(session, request, "amend", by, version, {"terms_hash": terms_hash(terms)})
    _require_sound(session, terms, request.requester_id, request.amends_id, by)
    assert by.id is not None
    request.title, request.author_id = title, by.id
    request.terms, request.terms_hash = terms.model_dump(mode="json"), terms_hash(terms)


def discard_request(session: Session, request: ShareRequest, *, by: Actor, version: int) -> None:
    """Give a draft up."""
    _step(session, request, "discard", by, version, {})


def file_request(session: Session, request: ShareRequest, *, by: Actor, version: int) -> list[Negotiation]:
    """The approver, who is not the author, files: one negotiation for each provider opens, with the part of
    the terms that is about its resources. Errors: SameHand, Invalid."""
    _step(session, request, "file", by, version, {"terms_hash": request.terms_hash})
    if by.id == request.author_id:
        raise SameHand(basis="809-20")
    terms = Terms.model_validate(request.terms)
    found = _require_sound(session, terms, request.requester_id, request.amends_id, by)
    providers = dict.fromkeys(found[part.resource_id].agency_id for part in terms.resources)
    return [
        open_negotiation(
            session, request_id=request.id, requester_id=request.requester_id, provider_id=provider_id,
            terms=_part_of(terms, {i for i, held in found.items() if held.agency_id == provider_id}),
            author_id=request.author_id, by=by, amends_id=request.amends_id,
        )
        for provider_id in providers
    ]  # fmt: skip


def _require_sound(
    session: Session, terms: Terms, requester_id: UUID, amends_id: UUID | None, by: Actor
) -> dict[UUID, holdings.Holding]:
    if amends_id is None:
        return holdings.require_sound(session, terms, requester_id=requester_id)
    provider_id = amendable(session, amends_id, by=by).provider_id
    require_fit(session, amends_id, terms)
    return holdings.require_sound(session, terms, requester_id=requester_id, provider_id=provider_id)


def _part_of(terms: Terms, resource_ids: set[UUID]) -> Terms:
    mine = tuple(part for part in terms.resources if part.resource_id in resource_ids)
    return terms.model_copy(update={"resources": mine})


def allowed_acts(request: ShareRequest, *, by: Actor) -> list[str]:
    """The acts that the actor may do now. An approver who wrote the request itself does not file it."""
    acts = REQUEST.allowed(request.state, parties_of(by, request), by.roles)
    return [act for act in acts if act != "file" or by.id != request.author_id]


def _step(
    session: Session, request: ShareRequest, act: str, by: Actor, version: int, data: dict[str, str]
) -> None:
    history.advance(
        session, request, REQUEST, act, by=by, parties=parties_of(by, request), expected_version=version, data=data
    )  # fmt: skip
