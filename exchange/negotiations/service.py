"""Negotiations (协商): every act of the table, from the filed request to the agreement in force.

Owns the case and its clocks. Terms and consents are written by `consents`, agreements by
`exchange.agreements`; what follows a dispute is `exchange.disputes`'.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from app.identity.profiles import profile_for, start_clock
from app.kernel import deadlines, history
from app.kernel.actor import Actor, system_actor
from app.kernel.clock import now
from app.kernel.errors import Fault, Invalid, NotFound, WrongMoment
from app.kernel.history import Event
from app.kernel.machine import Party
from app.kernel.text import Text
from exchange import holdings
from exchange.agreements.models import Agreement
from exchange.agreements.service import EXCHANGE, conclude
from exchange.agreements.versions import require_fit
from exchange.negotiations import consents
from exchange.negotiations.models import Consent, Negotiation, TermsVersion
from exchange.negotiations.states import (
    ACCEPTED,
    CONFIRM,
    GROUNDS,
    NEGOTIATION,
    OFFERED,
    REPLY_CONDITIONAL,
    REPLY_UNCONDITIONAL,
    REQUESTED,
    RESPOND,
    Moment,
    hindrance,
)
from exchange.parties import (
    SYSTEM_PARTIES,
    calendar_for,
    deciding_authority,
    jurisdiction_of,
    parties_of,
    visible_to,
)
from exchange.terms import Terms, terms_hash

KIND = NEGOTIATION.kind
CLOCK = system_actor("clock")
POLICY = system_actor("policy")
RULING = system_actor("ruling")


def open_negotiation(
    session: Session,
    *,
    request_id: UUID,
    requester_id: UUID,
    provider_id: UUID,
    terms: Terms,
    author_id: UUID,
    by: Actor,
    amends_id: UUID | None = None,
) -> Negotiation:
    """Bring a filed request before one provider; `by` is the requester's approver, whose filing is its
    consent. What is shared unconditionally is agreed by policy at once. Errors: Invalid, SameHand."""
    found = holdings.require_sound(session, terms, requester_id=requester_id, provider_id=provider_id)
    negotiation = _case(session, request_id, requester_id, provider_id, holdings.sharing_class(terms, found))
    negotiation.amends_id = amends_id
    data = {"terms_hash": terms_hash(terms), "request": str(request_id)}
    history.create(
        session, negotiation, NEGOTIATION, "file", by=by, parties=frozenset({"requester"}), data=data
    )
    version = consents.write_version(session, negotiation, terms, party="requester", author_id=author_id)
    consents.consent(session, version, "requester", by=by)
    negotiation.current_terms_id = version.id
    _await_reply(session, negotiation)
    if holdings.agrees_by_policy(terms, found):
        agree_by_rule(session, negotiation, "policy")
    return negotiation


def reopen_negotiation(session: Session, former: Negotiation, *, directions: str) -> Negotiation:
    """Send the parties back to negotiate under a ruling's directions (remand), from the requester's last
    terms and its approver's consent to them."""
    stood_by = (
        select(TermsVersion, Consent)
        .join(Consent, Consent.terms_version_id == TermsVersion.id)
        .where(TermsVersion.negotiation_id == former.id)
        .where(TermsVersion.party == "requester", Consent.party == "requester")
    )
    version, given = session.execute(stood_by.order_by(TermsVersion.number.desc()).limit(1)).one()
    negotiation = _case(session, former.request_id, former.requester_id, former.provider_id, former.sharing)
    negotiation.follows_id, negotiation.directions = former.id, directions
    negotiation.amends_id = former.amends_id
    data = {"terms_hash": version.terms_hash, "follows": str(former.id)}
    history.create(
        session, negotiation, NEGOTIATION, "remand", by=RULING, parties=frozenset({"ruling"}), data=data
    )
    again = consents.write_version(
        session, negotiation, version.typed, party="requester", author_id=version.author_id
    )
    consents.carry_over(session, given, again)
    negotiation.current_terms_id = again.id
    _await_reply(session, negotiation)
    return negotiation


def _case(
    session: Session, request_id: UUID, requester_id: UUID, provider_id: UUID, sharing: str
) -> Negotiation:
    return Negotiation(
        request_id=request_id, requester_id=requester_id, provider_id=provider_id,
        authority_id=deciding_authority(session, requester_id, provider_id), sharing=sharing,
        rounds=0, waiting_for_material=False, extended=False, overdue=False, reminded=False, disputed=False,
    )  # fmt: skip


# --- Who may know, and what may be done now


def find_negotiation(session: Session, negotiation_id: UUID, *, by: Actor) -> Negotiation:
    """The negotiation, if the actor may know of it. Errors: NotFound."""
    query = select(Negotiation).where(Negotiation.id == negotiation_id, visible_to(by, Negotiation))
    negotiation = session.scalar(query)
    if negotiation is None:
        raise NotFound()
    return negotiation


def list_negotiations(
    session: Session,
    *,
    by: Actor,
    waiting: bool = False,
    state: str | None = None,
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
    moment = moment_of(session, negotiation, negotiation.state)
    return [act for act in acts if hindrance(moment, act) is None]


def moment_of(session: Session, negotiation: Negotiation, state: str) -> Moment:
    """What `states.hindrance` needs to know of the negotiation while it is, or was, in `state`."""
    # The profile is asked only where rounds count: before the first there is no stalemate anywhere.
    options = None
    if negotiation.rounds:
        options = profile_for(session, jurisdiction_of(session, negotiation.requester_id)).options
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
        amends=negotiation.amends_id is not None,
    )


def _step(
    session: Session,
    negotiation: Negotiation,
    act: str,
    *,
    by: Actor,
    version: int | None = None,
    parties: frozenset[Party] | None = None,
    reason: str | None = None,
    data: Mapping[str, Any] | None = None,
) -> Event:
    """One act: state table, then the moment. Raising undoes what was written (one request, one transaction)."""
    parties = parties_of(by, negotiation) if parties is None else parties
    event = history.advance(
        session, negotiation, NEGOTIATION, act, by=by, parties=parties, expected_version=version,
        reason=reason, data=data,
    )  # fmt: skip
    assert event.state_from is not None
    if why := hindrance(moment_of(session, negotiation, event.state_from), act):
        raise WrongMoment(why, state=event.state_from, allowed=[])
    return event


# --- Clocks


def _await(session: Session, negotiation: Negotiation, duty: str, agency_id: UUID) -> None:
    """It is the agency's turn: what ran before is met, its clock starts."""
    deadlines.end(session, KIND, negotiation.id, outcome="met")
    negotiation.overdue = negotiation.reminded = False
    start_clock(
        session, jurisdiction_id=jurisdiction_of(session, agency_id), kind=KIND, subject_id=negotiation.id, duty=duty
    )  # fmt: skip


def _await_reply(session: Session, negotiation: Negotiation) -> None:
    _await(session, negotiation, reply_duty(negotiation), negotiation.provider_id)


def reply_duty(negotiation: Negotiation) -> str:
    """The duty by which the provider has to reply (809-21)."""
    return REPLY_UNCONDITIONAL if negotiation.sharing == "unconditional" else REPLY_CONDITIONAL


# --- Missing material, extension, transfer


def ask_material(session: Session, negotiation: Negotiation, *, notice: str, by: Actor, version: int) -> None:
    """Give the one notice of missing material (补正通知); the reply clock stands still until it comes."""
    _step(session, negotiation, "ask_material", by=by, version=version, reason=notice)
    negotiation.material_asked_at, negotiation.waiting_for_material = now(), True
    calendar = calendar_for(session, negotiation.provider_id)
    deadlines.pause(session, KIND, negotiation.id, reply_duty(negotiation), calendar)


def supply_material(
    session: Session, negotiation: Negotiation, *, material: str, by: Actor, version: int
) -> None:
    """Answer the notice; the reply clock runs on with the working days it had left."""
    _step(session, negotiation, "supply_material", by=by, version=version, reason=material)
    negotiation.waiting_for_material = False
    calendar = calendar_for(session, negotiation.provider_id)
    deadlines.resume(session, KIND, negotiation.id, reply_duty(negotiation), calendar)


def ask_extension(
    session: Session, negotiation: Negotiation, *, working_days: int, reason: str, by: Actor, version: int
) -> None:
    """Ask the authority for more time to reply, within the profile's limit (809-21). Errors: Invalid."""
    _step(session, negotiation, "ask_extension", by=by, version=version, reason=reason)
    profile = profile_for(session, jurisdiction_of(session, negotiation.provider_id))
    limit = profile.duties[reply_duty(negotiation)].extension
    if not 1 <= working_days <= limit:
        message = Text("须为 1 至 {n} 个工作日", "must be 1 to {n} working days").with_(n=limit)
        if limit == 0:
            message = Text("此项答复不得延期", "this reply is not extended")
        rule = Text("809 第二十一条", "Decree 809 Art. 21")
        raise Invalid(faults=[Fault("/working_days", message, rule)])
    negotiation.extension_asked = working_days


def answer_extension(
    session: Session, negotiation: Negotiation, *, consent: bool, reason: str | None, by: Actor, version: int
) -> None:
    """The authority consents to the extension, or refuses it; the requester reads it in the history."""
    days = negotiation.extension_asked
    act = "extend" if consent else "refuse_extension"
    _step(session, negotiation, act, by=by, version=version, reason=reason, data={"working_days": days})
    if consent:
        assert negotiation.extension_asked is not None
        for row in deadlines.running(session, KIND, negotiation.id, reply_duty(negotiation)):
            deadlines.extend(row, negotiation.extension_asked, calendar_for(session, negotiation.provider_id))
        negotiation.extended = True
    negotiation.extension_asked = None


def transfer(
    session: Session, negotiation: Negotiation, *, to_agency_id: UUID, reason: str, by: Actor, version: int
) -> None:
    """Hand the request to the agency that the catalog now names as holder of all its resources; its reply
    clock starts anew. Errors: Invalid."""
    if to_agency_id in (negotiation.requester_id, negotiation.provider_id):
        raise Invalid(faults=[Fault("/to_agency_id", Text("不得转送当事双方", "is a party already"))])
    data = {"from": str(negotiation.provider_id), "to": str(to_agency_id)}
    _step(session, negotiation, "transfer", by=by, version=version, reason=reason, data=data)
    terms = current_terms(session, negotiation).typed
    found = holdings.require_sound(
        session, terms, requester_id=negotiation.requester_id, provider_id=to_agency_id
    )
    negotiation.provider_id = to_agency_id
    negotiation.authority_id = deciding_authority(session, negotiation.requester_id, to_agency_id)
    negotiation.sharing = holdings.sharing_class(terms, found)
    negotiation.draft_terms_id = negotiation.extension_asked = None
    _await_reply(session, negotiation)


# --- Terms: draft, offer, counter-offer, accept


def current_terms(session: Session, negotiation: Negotiation) -> TermsVersion:
    """The version on the table."""
    return session.get_one(TermsVersion, negotiation.current_terms_id)


def draft_terms(
    session: Session, negotiation: Negotiation, *, terms: Terms, note: str | None, by: Actor, version: int
) -> TermsVersion:
    """A clerk writes what its approver may offer; the other side does not see it. Errors: Invalid."""
    event = _step(
        session, negotiation, "draft_terms", by=by, version=version, data={"terms_hash": terms_hash(terms)}
    )
    _require_sound(session, negotiation, terms)
    assert by.id is not None
    side: Literal["requester", "provider"] = "provider" if event.state_from == REQUESTED else "requester"
    draft = consents.write_version(session, negotiation, terms, party=side, author_id=by.id, note=note)
    negotiation.draft_terms_id = draft.id
    return draft


def offer(
    session: Session, negotiation: Negotiation, *, to_hash: str, reason: str | None, by: Actor, version: int
) -> None:
    """The provider's approver puts its clerk's draft on the table. Errors: SameHand, OtherTerms, Invalid."""
    _table_draft(session, negotiation, "offer", to_hash, reason, by, version)
    _await(session, negotiation, RESPOND, negotiation.requester_id)


def counter_offer(
    session: Session, negotiation: Negotiation, *, to_hash: str, reason: str | None, by: Actor, version: int
) -> None:
    """The requester's approver answers an offer with its clerk's draft. Errors as `offer`."""
    _table_draft(session, negotiation, "counter_offer", to_hash, reason, by, version)
    negotiation.rounds += 1
    _await_reply(session, negotiation)


def _table_draft(
    session: Session,
    negotiation: Negotiation,
    act: Literal["offer", "counter_offer"],
    to_hash: str,
    reason: str | None,
    by: Actor,
    version: int,
) -> None:
    _step(session, negotiation, act, by=by, version=version, reason=reason, data={"terms_hash": to_hash})
    draft = session.get_one(TermsVersion, negotiation.draft_terms_id)
    found = _require_sound(session, negotiation, draft.typed)
    if act == "counter_offer":
        negotiation.sharing = holdings.sharing_class(draft.typed, found)
    side: Literal["requester", "provider"] = "provider" if act == "offer" else "requester"
    consents.consent(session, draft, side, by=by, to_hash=to_hash)
    negotiation.current_terms_id, negotiation.draft_terms_id = draft.id, None
    negotiation.extension_asked, negotiation.waiting_for_material = None, False


def accept(session: Session, negotiation: Negotiation, *, to_hash: str, by: Actor, version: int) -> None:
    """The requester's approver accepts the offer; the provider confirms next. Errors: OtherTerms, Invalid."""
    _step(session, negotiation, "accept", by=by, version=version, data={"terms_hash": to_hash})
    terms = current_terms(session, negotiation)
    _require_sound(session, negotiation, terms.typed)
    consents.consent(session, terms, "requester", by=by, to_hash=to_hash)
    negotiation.draft_terms_id = None
    _await(session, negotiation, CONFIRM, negotiation.provider_id)


def _require_sound(
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


# --- The end: agreement, refusal, withdrawal, dispute


def agree(session: Session, negotiation: Negotiation, *, to_hash: str, by: Actor, version: int) -> Agreement:
    """The provider's approver agrees to the terms on the table; the agreement is in force with this act.
    Errors: OtherTerms, SameHand, Invalid."""
    _step(session, negotiation, "agree", by=by, version=version, data={"terms_hash": to_hash})
    terms = current_terms(session, negotiation)
    _require_sound(session, negotiation, terms.typed)
    consents.consent(session, terms, "provider", by=by, to_hash=to_hash)
    return _finalize(session, negotiation, terms, "negotiated")


def agree_by_rule(session: Session, negotiation: Negotiation, kind: Literal["policy", "deemed"]) -> Agreement:
    """Agree without a person of the provider: the resources are shared unconditionally (809-14), or the
    provider kept silent about such (809-21)."""
    terms = current_terms(session, negotiation)
    act, by, party = ("agree", POLICY, "policy") if kind == "policy" else ("deem_consent", CLOCK, "clock")
    data = {"terms_hash": terms.terms_hash}
    _step(session, negotiation, act, by=by, parties=frozenset({party}), data=data)
    consents.consent_by_rule(session, terms, kind)
    return _finalize(session, negotiation, terms, "policy")


def _finalize(
    session: Session, negotiation: Negotiation, version: TermsVersion, origin: Literal["negotiated", "policy"]
) -> Agreement:
    """AGREED → VERIFIED → FINALIZED: the hash is computed again from the terms as stored and compared with
    what the requester's approver consented to, then the agreement comes into force."""
    deadlines.end(session, KIND, negotiation.id, outcome="met")
    negotiation.draft_terms_id = negotiation.extension_asked = None
    negotiation.waiting_for_material = negotiation.overdue = False
    given = consents.consents_to(session, {version.id})[version.id]["requester"]
    if not given.terms_hash == version.terms_hash == terms_hash(version.typed):
        raise consents.OtherTerms(terms_hash=version.terms_hash)
    data: dict[str, Any] = {"terms_hash": version.terms_hash, "consent": str(given.id)}
    _step(session, negotiation, "verify", by=EXCHANGE, parties=SYSTEM_PARTIES, data=data)
    agreement = conclude(session, negotiation=negotiation, version=version, origin=origin)
    data = {"agreement": str(agreement.id), "content_hash": agreement.content_hash}
    _step(session, negotiation, "finalize", by=EXCHANGE, parties=SYSTEM_PARTIES, data=data)
    return agreement


def refuse(
    session: Session,
    negotiation: Negotiation,
    *,
    ground: str,
    reason: str,
    narrower: Terms | None,
    by: Actor,
    version: int,
) -> None:
    """Refuse on a coded ground with reasons (809-21); `narrower` is what a new request could start from.
    Errors: Invalid."""
    if ground not in GROUNDS:
        message = Text("没有这种理由代码", "no such ground")
        rule = Text("取值：" + "、".join(GROUNDS), "one of: " + ", ".join(GROUNDS))
        raise Invalid(faults=[Fault("/ground", message, rule)])
    data = {"ground": ground, "basis": GROUNDS[ground].basis}
    _step(session, negotiation, "refuse", by=by, version=version, reason=reason, data=data)
    negotiation.termination_reason, negotiation.refusal_ground = "refused", ground
    if narrower is not None:
        _require_sound(session, negotiation, narrower, "narrower")
        assert by.id is not None
        named = consents.write_version(session, negotiation, narrower, party="provider", author_id=by.id)
        negotiation.narrower_terms_id = named.id
    _close(session, negotiation, "met")


def withdraw(
    session: Session, negotiation: Negotiation, *, reason: str | None, by: Actor, version: int
) -> None:
    """The requester takes its request back."""
    _step(session, negotiation, "withdraw", by=by, version=version, reason=reason)
    negotiation.termination_reason = "withdrawn"
    _close(session, negotiation, "cancelled")


def hand_over_to_dispute(
    session: Session, negotiation: Negotiation, *, reason: str, by: Actor, version: int
) -> str:
    """The requester turns to the authority; returns why it may: refused, overdue or stalemate. A refused
    negotiation stays refused, any other ends as disputed."""
    _step(session, negotiation, "open_dispute", by=by, version=version, reason=reason)
    overdue, refused = negotiation.overdue, negotiation.termination_reason == "refused"
    negotiation.disputed = True
    negotiation.termination_reason = negotiation.termination_reason or "disputed"
    _close(session, negotiation, "cancelled")
    return "refused" if refused else "overdue" if overdue else "stalemate"


def _close(session: Session, negotiation: Negotiation, outcome: str) -> None:
    deadlines.end(session, KIND, negotiation.id, outcome=outcome)
    negotiation.draft_terms_id = negotiation.extension_asked = None
    negotiation.waiting_for_material = False
