"""A negotiation as a case: who may know of it, what may be done now, whose turn it is and until when.

Owns the one way an act is done and the clocks. What the acts mean is `service`'s and `reply_time`'s.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from app.identity.profiles import profile_for, start_clock
from app.kernel import deadlines, history
from app.kernel.actor import Actor
from app.kernel.errors import WrongMoment
from app.kernel.history import Event
from app.kernel.machine import Party
from exchange import holdings
from exchange.agreements.versions import is_held, require_fit
from exchange.negotiations.models import Negotiation, TermsVersion
from exchange.negotiations.states import (
    ACCEPTED,
    NEGOTIATION,
    OFFERED,
    ON_TERMS,
    REPLY_CONDITIONAL,
    REPLY_UNCONDITIONAL,
    REQUESTED,
    Moment,
    hindrance,
)
from exchange.parties import find, parties_of, visible_to
from exchange.terms import Terms

KIND = NEGOTIATION.kind


def find_negotiation(session: Session, negotiation_id: UUID, *, by: Actor) -> Negotiation:
    """The negotiation, if the actor may know of it. Errors: NotFound."""
    return find(session, Negotiation, negotiation_id, by=by)


def list_negotiations(
    session: Session,
    *,
    by: Actor,
    waiting: bool = False,
    state: str | None = None,
    states: Collection[str] = (),
    request_id: UUID | None = None,
    before: UUID | None = None,
    limit: int = 50,
) -> list[Negotiation]:
    """Negotiations the actor may know of, newest first; `waiting` keeps those where its agency's act is
    awaited. `before` is the last id of the page before."""
    query = select(Negotiation).where(visible_to(by, Negotiation))
    if waiting:
        query = query.where(_awaits(by.agency_id))
    if state is not None:
        query = query.where(Negotiation.state == state)
    if states:
        query = query.where(Negotiation.state.in_(states))
    if request_id is not None:
        query = query.where(Negotiation.request_id == request_id)
    if before is not None:
        query = query.where(Negotiation.id < before)
    return list(session.scalars(query.order_by(Negotiation.id.desc()).limit(limit)))


def _awaits(agency_id: UUID | None) -> Any:
    asked = and_(Negotiation.state == REQUESTED, Negotiation.waiting_for_material)
    return or_(
        and_(Negotiation.provider_id == agency_id, Negotiation.state == REQUESTED, ~asked),
        and_(Negotiation.provider_id == agency_id, Negotiation.state == ACCEPTED),
        and_(Negotiation.requester_id == agency_id, or_(Negotiation.state == OFFERED, asked)),
        and_(Negotiation.authority_id == agency_id, Negotiation.extension_asked.is_not(None)),
    )


def allowed_acts(session: Session, negotiation: Negotiation, *, by: Actor) -> list[str]:
    """The acts that the actor may do now."""
    acts = NEGOTIATION.allowed(negotiation.state, parties_of(by, negotiation), by.roles)
    moment = moment_of(session, negotiation, negotiation.state, acts)
    return [act for act in acts if hindrance(moment, act) is None]


def moment_of(session: Session, negotiation: Negotiation, state: str, acts: Collection[str]) -> Moment:
    """What `states.hindrance` needs to know for these acts while the negotiation is, or was, in `state`."""
    # The profile is asked only where rounds count: before the first there is no stalemate anywhere.
    options = None
    if negotiation.rounds and "open_dispute" in acts:
        options = profile_for(session, negotiation.requester_id).options
    return Moment(
        state=state,
        waiting_for_material=negotiation.waiting_for_material,
        material_asked=negotiation.material_asked_at is not None,
        extension_asked=negotiation.extension_asked is not None,
        extended=negotiation.extended,
        overdue=negotiation.overdue,
        drafted=negotiation.draft_terms_id is not None,
        rounds=negotiation.rounds,
        stalemate_rounds=options.stalemate_rounds if options else 1,
        termination_reason=negotiation.termination_reason,
        disputed=negotiation.disputed,
        in_principle=negotiation.open_points is not None,
        amends=negotiation.amends_id is not None,
        held=not ON_TERMS.isdisjoint(acts) and is_held(session, negotiation.amends_id),
    )


def step(
    session: Session,
    negotiation: Negotiation,
    act: str,
    *,
    by: Actor,
    version: int | None = None,
    parties: frozenset[Party] | None = None,
    reason: str | None = None,
    data: Mapping[str, Any] | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Event:
    """One act: state table, then the moment; what it `changes` of the case is written with it."""
    parties = parties_of(by, negotiation) if parties is None else parties
    return history.advance(
        session, negotiation, NEGOTIATION, act, by=by, parties=parties, expected_version=version,
        reason=reason, data=data, changes=changes, unless=lambda: _require_moment(session, negotiation, act),
    )  # fmt: skip


def require_possible(
    session: Session, negotiation: Negotiation, act: str, *, by: Actor, version: int
) -> None:
    """What `step` will ask, before anything is read for the act. Errors as `step`."""
    history.require(
        negotiation, NEGOTIATION, act, by=by, parties=parties_of(by, negotiation), expected_version=version
    )
    _require_moment(session, negotiation, act)


def _require_moment(session: Session, negotiation: Negotiation, act: str) -> None:
    if why := hindrance(moment_of(session, negotiation, negotiation.state, (act,)), act):
        raise WrongMoment(why, state=negotiation.state, allowed=[])


def current_terms(session: Session, negotiation: Negotiation) -> TermsVersion:
    """The version on the table."""
    return session.get_one(TermsVersion, negotiation.current_terms_id)


def refusal_reason(session: Session, negotiation: Negotiation) -> str | None:
    """Why the provider refused, in its words, as the history has it."""
    refused = select(Event.reason).where(
        Event.kind == KIND, Event.subject_id == negotiation.id, Event.act == "refuse"
    )
    return session.scalar(refused)


PUNCTUAL = {"overdue": False, "reminded": False}
"""What changes of a case with whose turn it is."""


def await_turn(session: Session, negotiation: Negotiation, duty: str, agency_id: UUID) -> None:
    """It is the agency's turn: what ran before is met, its clock starts."""
    if negotiation.overdue or negotiation.reminded:
        negotiation.overdue = negotiation.reminded = False
    start_clock(
        session, whose=agency_id, kind=KIND, subject_id=negotiation.id, duty=duty,
        instead=True,
    )  # fmt: skip


def await_reply(session: Session, negotiation: Negotiation) -> None:
    await_turn(session, negotiation, reply_duty(negotiation), negotiation.provider_id)


def reply_duty(negotiation: Negotiation) -> str:
    """The duty by which the provider has to reply (809-21)."""
    return REPLY_UNCONDITIONAL if negotiation.sharing == "unconditional" else REPLY_CONDITIONAL


def require_sound(
    session: Session, negotiation: Negotiation, terms: Terms, member: str = "terms"
) -> Mapping[UUID, holdings.Holding]:
    require_fit(session, negotiation.amends_id, terms)
    return holdings.require_sound(
        session,
        terms,
        requester_id=negotiation.requester_id,
        provider_id=negotiation.provider_id,
        member=member,
    )


def close(session: Session, negotiation: Negotiation, outcome: str) -> None:
    deadlines.end(session, KIND, negotiation.id, outcome=outcome)
    negotiation.draft_terms_id = negotiation.extension_asked = None
    negotiation.waiting_for_material = False
