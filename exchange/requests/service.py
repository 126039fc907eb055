"""Share requests (共享申请): drafted by a clerk, filed by the approver, split into one negotiation for
each provider. Owns the request; what follows is `exchange.negotiations`'."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from uuid import UUID

from sqlalchemy import ColumnElement, false, select, true
from sqlalchemy.orm import Session

from app.kernel import history
from app.kernel.actor import Actor, ActorKind
from app.kernel.calendar import legal_date
from app.kernel.clock import now
from app.kernel.errors import Fault, Invalid, NotFound, NotPermitted, SameHand, WrongMoment
from app.kernel.machine import Party
from app.kernel.text import Text
from exchange import holdings
from exchange.agreements.models import Agreement
from exchange.agreements.versions import amendable, require_fit
from exchange.negotiations.models import Negotiation, TermsVersion
from exchange.negotiations.service import offer_amendment, open_negotiation
from exchange.requests.models import ShareRequest
from exchange.requests.question_sets import questions_of
from exchange.requests.questions import Answer, answered, check_answers, unanswered
from exchange.requests.states import REQUEST
from exchange.terms import Terms, terms_hash


class Incomplete(Invalid):
    """The request does not say yet what it must say when it is filed."""

    slug = "incomplete"
    title = Text("申请尚不完整", "The request is not complete")


def parties_of(actor: Actor, request: ShareRequest) -> frozenset[Party]:
    """A request is its requester's alone; providers see the negotiations it becomes."""
    return frozenset({"requester"}) if actor.agency_id == request.requester_id else frozenset()


def find_request(session: Session, request_id: UUID, *, by: Actor) -> ShareRequest:
    """The request, if the actor may know of it. Errors: NotFound."""
    request = session.scalar(select(ShareRequest).where(ShareRequest.id == request_id, visible_to(by)))
    if request is None:
        raise NotFound()
    return request


def list_requests(
    session: Session, *, by: Actor, state: str | None = None, before: UUID | None = None, limit: int = 50
) -> list[ShareRequest]:
    """The requests of the actor's agency, newest first; `before` is the last id of the page before."""
    query = select(ShareRequest).where(visible_to(by))
    if state is not None:
        query = query.where(ShareRequest.state == state)
    if before is not None:
        query = query.where(ShareRequest.id < before)
    return list(session.scalars(query.order_by(ShareRequest.id.desc()).limit(limit)))


def visible_to(actor: Actor) -> ColumnElement[bool]:
    """The SQL condition under which the actor may know of a request."""
    if actor.kind is ActorKind.SYSTEM:
        return true()
    return ShareRequest.requester_id == actor.agency_id if actor.agency_id else false()


@dataclass(frozen=True, slots=True)
class Content:
    """What a request says. `answers` may be missing in a draft, and are complete when it is filed."""

    title: str
    terms: Terms
    need_by: date | None = None
    answers: tuple[Answer, ...] = ()


def draft_request(
    session: Session,
    content: Content,
    *,
    by: Actor,
    amends_id: UUID | None = None,
    reuses_id: UUID | None = None,
) -> ShareRequest:
    """Write a request down for the approver. Terms may name resources of several providers, or of the one
    agreement `amends_id` that they are to amend or renew. What a draft says keeps every rule already; what
    it does not say yet, `incomplete` names. Errors: Invalid, NotPermitted."""
    if by.agency_id is None or by.id is None:
        raise NotPermitted()
    request = ShareRequest(
        requester_id=by.agency_id, amends_id=amends_id, reuses_id=reuses_id, author_id=by.id
    )
    _write(session, request, content, by)
    data = {"terms_hash": request.terms_hash}
    history.create(session, request, REQUEST, "draft", by=by, parties=frozenset({"requester"}), data=data)
    return request


def _write(session: Session, request: ShareRequest, content: Content, by: Actor) -> None:
    _require_sound(session, content.terms, request.amends_id, by)
    put = questions_of(session, [part.resource_id for part in content.terms.resources])
    faults = check_answers(put, content.answers)
    if content.need_by is not None and content.need_by < legal_date(now()):
        faults.append(Fault("/need_by", Text("所需日期已过", "The day has passed")))
    if faults:
        raise Invalid(faults=faults)
    request.title, request.need_by = content.title, content.need_by
    request.terms, request.terms_hash = content.terms.model_dump(mode="json"), terms_hash(content.terms)
    request.answers = [answer.model_dump(mode="json") for answer in content.answers]


def amend_request(
    session: Session, request: ShareRequest, content: Content, *, by: Actor, version: int
) -> None:
    """Rewrite a draft; who rewrites it is its author from then on. Errors: Invalid."""
    _step(session, request, "amend", by, version, {"terms_hash": terms_hash(content.terms)})
    _write(session, request, content, by)
    assert by.id is not None
    request.author_id = by.id


def reuse_request(session: Session, earlier: ShareRequest, *, by: Actor) -> ShareRequest:
    """A new draft that says what an earlier request said, for as long a time from today. Errors: Invalid
    where the catalog no longer holds it."""
    content = content_of(earlier)
    return draft_request(
        session, replace(content, terms=_from_today(content.terms), need_by=None), by=by, reuses_id=earlier.id
    )


def request_narrower(session: Session, negotiation: Negotiation, *, by: Actor) -> ShareRequest:
    """A new draft for what a provider said, with its refusal, that it could share. Errors: WrongMoment
    where it said nothing of the kind, Invalid."""
    if by.agency_id != negotiation.requester_id:
        raise NotPermitted(Text("由需求方再次申请。", "For the requester."))
    if negotiation.narrower_terms_id is None:
        raise WrongMoment(Text("提供方没有提出较小范围的方案。", "The provider named nothing narrower."))
    earlier = session.get_one(ShareRequest, negotiation.request_id)
    terms = session.get_one(TermsVersion, negotiation.narrower_terms_id).typed
    asked_of = {part.resource_id for part in terms.resources}
    answers = tuple(a for a in content_of(earlier).answers if a.resource_id in asked_of)
    content = Content(earlier.title, _from_today(terms), answers=answers)
    return draft_request(session, content, by=by, amends_id=earlier.amends_id, reuses_id=earlier.id)


def content_of(request: ShareRequest) -> Content:
    """What the request says."""
    answers = tuple(Answer.model_validate(answer) for answer in request.answers)
    return Content(request.title, Terms.model_validate(request.terms), request.need_by, answers)


def _from_today(terms: Terms) -> Terms:
    today = legal_date(now())
    until = max(terms.valid_until, today + (terms.valid_until - terms.valid_from))
    return terms.model_copy(update={"valid_from": today, "valid_until": until})


def incomplete(session: Session, content: Content) -> list[Fault]:
    """What a request has to say before it is filed (809-20), beside what a draft must already."""
    found = holdings.holdings_of(session, {part.resource_id for part in content.terms.resources})
    faults = unanswered(questions_of(session, found), content.answers)
    sensitive = any(
        part.resource_id in found
        and item.code in (held := found[part.resource_id].items)
        and held[item.code].sensitive
        for part in content.terms.resources
        for item in part.items
    )
    if sensitive and not content.terms.security_measures:
        message = Text("申请敏感信息项须说明安全保障措施", "Sensitive items need security measures")
        rule = Text("《个人信息保护法》第二十八条", "Personal Information Protection Law Art. 28")
        faults.append(Fault("/terms/security_measures", message, rule))
    return faults


def discard_request(session: Session, request: ShareRequest, *, by: Actor, version: int) -> None:
    """Give a draft up."""
    _step(session, request, "discard", by, version, {})


def check_content(session: Session, content: Content, *, by: Actor, amends_id: UUID | None) -> list[Fault]:
    """Everything that stands between this content and its filing. Nothing is written."""
    trial = ShareRequest(requester_id=by.agency_id, amends_id=amends_id)
    try:
        _write(session, trial, content, by)
    except Invalid as problem:
        return [*problem.faults, *incomplete(session, content)]
    return incomplete(session, content)


def file_request(session: Session, request: ShareRequest, *, by: Actor, version: int) -> list[Negotiation]:
    """The approver, who is not the author, files: one negotiation for each provider opens, with the part of
    the terms that is about its resources; what a provider files is its offer to amend. Errors: SameHand, Invalid, Incomplete."""
    _step(session, request, "file", by, version, {"terms_hash": request.terms_hash})
    if by.id == request.author_id:
        raise SameHand(basis="809-20")
    content = content_of(request)
    terms = content.terms
    found = _require_sound(session, terms, request.amends_id, by)
    if _is_providers(session, request):
        assert request.amends_id is not None
        return [
            offer_amendment(
                session, request_id=request.id, agreement=session.get_one(Agreement, request.amends_id), terms=terms,
                author_id=request.author_id, by=by,
            )
        ]  # fmt: skip
    if faults := incomplete(session, content):
        raise Incomplete(faults=faults, basis="809-20")
    put = answered(questions_of(session, found), content.answers)
    providers = dict.fromkeys(found[part.resource_id].agency_id for part in terms.resources)
    return [
        open_negotiation(
            session, request_id=request.id, requester_id=request.requester_id, provider_id=provider_id,
            terms=_part_of(terms, {i for i, held in found.items() if held.agency_id == provider_id}),
            author_id=request.author_id, by=by, amends_id=request.amends_id, need_by=request.need_by,
            questions=[one for one in put if found[one.resource_id].agency_id == provider_id],
        )
        for provider_id in providers
    ]  # fmt: skip


def _require_sound(
    session: Session, terms: Terms, amends_id: UUID | None, by: Actor
) -> dict[UUID, holdings.Holding]:
    if amends_id is None:
        assert by.agency_id is not None
        return holdings.require_sound(session, terms, requester_id=by.agency_id)
    agreement = amendable(session, amends_id, by=by)
    require_fit(session, amends_id, terms)
    return holdings.require_sound(
        session, terms, requester_id=agreement.requester_id, provider_id=agreement.provider_id
    )


def _is_providers(session: Session, request: ShareRequest) -> bool:
    """Whether it is the provider that wants its agreement changed."""
    if request.amends_id is None:
        return False
    return session.get_one(Agreement, request.amends_id).provider_id == request.requester_id


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
