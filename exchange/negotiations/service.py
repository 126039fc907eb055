"""Negotiations (协商): every act of the table, from the filed request to the agreement in force.

Owns the case and its clocks. Terms and consents are written by `consents`, agreements by
`exchange.agreements`; what follows a dispute is `exchange.disputes`'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kernel import deadlines, history, ledger
from app.kernel.actor import Actor, system_actor
from app.kernel.errors import Fault, Invalid
from app.kernel.text import Text
from exchange import holdings
from exchange.agreements.models import Agreement
from exchange.agreements.service import EXCHANGE, conclude
from exchange.negotiations import consents
from exchange.negotiations.case import (
    PUNCTUAL,
    await_reply,
    await_turn,
    close,
    current_terms,
    require_possible,
    require_sound,
    step,
)
from exchange.negotiations.models import Consent, Negotiation, TermsVersion
from exchange.negotiations.states import (
    CONFIRM,
    GROUNDS,
    NEGOTIATION,
    REQUESTED,
    RESPOND,
)
from exchange.parties import (
    SYSTEM_PARTIES,
    deciding_authority,
)
from exchange.policies.service import covering
from exchange.requests.questions import Answered
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
    need_by: date | None = None,
    questions: Sequence[Answered] = (),
) -> Negotiation:
    """Bring a filed request before one provider; `by` is the requester's approver, whose filing is its
    consent. What is shared unconditionally is agreed by policy at once. Errors: Invalid, SameHand."""
    found = holdings.require_sound(session, terms, requester_id=requester_id, provider_id=provider_id)
    negotiation = _case(session, request_id, requester_id, provider_id, holdings.sharing_class(terms, found))
    negotiation.amends_id, negotiation.need_by = amends_id, need_by
    negotiation.questions = [question.model_dump(mode="json") for question in questions]
    data = {
        "terms_hash": terms_hash(terms), "request": str(request_id), "need_by": need_by and need_by.isoformat(),
        "answers_hash": ledger.content_hash({"answers": negotiation.questions}).hex(),
    }  # fmt: skip
    history.create(
        session, negotiation, NEGOTIATION, "file", by=by, parties=frozenset({"requester"}), data=data
    )
    version = consents.write_version(session, negotiation, terms, party="requester", author_id=author_id)
    consents.consent(session, version, "requester", by=by)
    negotiation.current_terms_id = version.id
    await_reply(session, negotiation)
    policies = _agreeing_policies(session, negotiation, terms, found)
    if policies is not None:
        negotiation.policy_ids = policies
        agree_by_rule(session, negotiation, "policy")
    return negotiation


def _agreeing_policies(
    session: Session, negotiation: Negotiation, terms: Terms, found: Mapping[UUID, holdings.Holding]
) -> list[UUID] | None:
    """The policies by which all is agreed that publication as unconditional does not agree already; None
    where a person has to."""
    agreeing: list[UUID] = []
    for part in terms.resources:
        if holdings.agrees_by_publication(part, found[part.resource_id]):
            continue
        policy_id = covering(
            session, requester_id=negotiation.requester_id, provider_id=negotiation.provider_id, terms=terms, part=part
        )  # fmt: skip
        if policy_id is None:
            return None
        agreeing.append(policy_id)
    return agreeing


def offer_amendment(
    session: Session, *, request_id: UUID, agreement: Agreement, terms: Terms, author_id: UUID, by: Actor
) -> Negotiation:
    """The provider's approver offers to change an agreement; the requester accepts, counters, or lets it lapse,
    and then all stays as it was agreed. Errors: Invalid, SameHand."""
    found = holdings.require_sound(
        session, terms, requester_id=agreement.requester_id, provider_id=agreement.provider_id
    )
    sharing = holdings.sharing_class(terms, found)
    negotiation = _case(session, request_id, agreement.requester_id, agreement.provider_id, sharing)
    negotiation.amends_id = agreement.id
    data = {"terms_hash": terms_hash(terms), "request": str(request_id), "amends": str(agreement.id)}
    history.create(
        session,
        negotiation,
        NEGOTIATION,
        "offer_amendment",
        by=by,
        parties=frozenset({"provider"}),
        data=data,
    )
    version = consents.write_version(session, negotiation, terms, party="provider", author_id=author_id)
    consents.consent(session, version, "provider", by=by)
    negotiation.current_terms_id = version.id
    await_turn(session, negotiation, RESPOND, negotiation.requester_id)
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
    negotiation.amends_id, negotiation.need_by = former.amends_id, former.need_by
    negotiation.questions = former.questions
    data = {"terms_hash": version.terms_hash, "follows": str(former.id)}
    history.create(
        session, negotiation, NEGOTIATION, "remand", by=RULING, parties=frozenset({"ruling"}), data=data
    )
    again = consents.write_version(
        session, negotiation, version.typed, party="requester", author_id=version.author_id
    )
    consents.carry_over(session, given, again)
    negotiation.current_terms_id = again.id
    await_reply(session, negotiation)
    return negotiation


def _case(
    session: Session, request_id: UUID, requester_id: UUID, provider_id: UUID, sharing: str
) -> Negotiation:
    return Negotiation(
        request_id=request_id, requester_id=requester_id, provider_id=provider_id,
        authority_id=deciding_authority(session, requester_id, provider_id), sharing=sharing,
        rounds=0, waiting_for_material=False, extended=False, overdue=False, reminded=False, disputed=False,
        questions=[], policy_ids=[],
    )  # fmt: skip


# --- Terms: draft, offer, counter-offer, accept


def draft_terms(
    session: Session, negotiation: Negotiation, *, terms: Terms, note: str | None, by: Actor, version: int
) -> TermsVersion:
    """A clerk writes what its approver may offer; the other side does not see it. Errors: Invalid."""
    require_possible(session, negotiation, "draft_terms", by=by, version=version)
    require_sound(session, negotiation, terms)
    assert by.id is not None
    side: Literal["requester", "provider"] = "provider" if negotiation.state == REQUESTED else "requester"
    hashed = terms_hash(terms)
    draft = consents.write_version(
        session, negotiation, terms, party=side, author_id=by.id, note=note, hashed=hashed
    )
    step(
        session, negotiation, "draft_terms", by=by, version=version, data={"terms_hash": hashed},
        changes={"draft_terms_id": draft.id},
    )  # fmt: skip
    return draft


def offer(
    session: Session, negotiation: Negotiation, *, to_hash: str, reason: str | None, by: Actor, version: int
) -> None:
    """The provider's approver puts its clerk's draft on the table. Errors: SameHand, OtherTerms, Invalid."""
    _table_draft(session, negotiation, "offer", to_hash, reason, by, version)
    await_turn(session, negotiation, RESPOND, negotiation.requester_id)


def counter_offer(
    session: Session, negotiation: Negotiation, *, to_hash: str, reason: str | None, by: Actor, version: int
) -> None:
    """The requester's approver answers an offer with its clerk's draft. Errors as `offer`."""
    _table_draft(session, negotiation, "counter_offer", to_hash, reason, by, version)
    await_reply(session, negotiation)


def _table_draft(
    session: Session,
    negotiation: Negotiation,
    act: Literal["offer", "counter_offer"],
    to_hash: str,
    reason: str | None,
    by: Actor,
    version: int,
) -> None:
    require_possible(session, negotiation, act, by=by, version=version)
    draft = session.get_one(TermsVersion, negotiation.draft_terms_id)
    terms = draft.typed
    found = require_sound(session, negotiation, terms)
    changes: dict[str, Any] = {
        "current_terms_id": draft.id, "draft_terms_id": None, "open_points": None, "extension_asked": None,
        "waiting_for_material": False, **PUNCTUAL,
    }  # fmt: skip
    side: Literal["requester", "provider"] = "provider"
    if act == "counter_offer":
        side = "requester"
        changes |= {"rounds": negotiation.rounds + 1, "sharing": holdings.sharing_class(terms, found)}
    data = {"terms_hash": to_hash}
    step(session, negotiation, act, by=by, version=version, reason=reason, data=data, changes=changes)
    consents.consent(session, draft, side, by=by, to_hash=to_hash)


def accept(session: Session, negotiation: Negotiation, *, to_hash: str, by: Actor, version: int) -> None:
    """The requester's approver accepts the offer; the provider confirms next. Errors: OtherTerms, Invalid."""
    require_possible(session, negotiation, "accept", by=by, version=version)
    terms = current_terms(session, negotiation)
    require_sound(session, negotiation, terms.typed)
    step(
        session, negotiation, "accept", by=by, version=version, data={"terms_hash": to_hash},
        changes={"draft_terms_id": None, **PUNCTUAL},
    )  # fmt: skip
    consents.consent(session, terms, "requester", by=by, to_hash=to_hash)
    await_turn(session, negotiation, CONFIRM, negotiation.provider_id)


# --- The end: agreement, refusal, withdrawal, dispute


def agree(session: Session, negotiation: Negotiation, *, to_hash: str, by: Actor, version: int) -> Agreement:
    """The provider's approver agrees to the terms on the table; the agreement is in force with this act.
    Errors: OtherTerms, SameHand, Invalid."""
    step(session, negotiation, "agree", by=by, version=version, data={"terms_hash": to_hash})
    terms = current_terms(session, negotiation)
    require_sound(session, negotiation, terms.typed)
    consents.consent(session, terms, "provider", by=by, to_hash=to_hash)
    return _finalize(session, negotiation, terms, "negotiated")


def agree_by_rule(session: Session, negotiation: Negotiation, kind: Literal["policy", "deemed"]) -> Agreement:
    """Agree without a person of the provider: the resources are shared unconditionally (809-14), or the
    provider kept silent about such (809-21)."""
    terms = current_terms(session, negotiation)
    act, by, party = ("agree", POLICY, "policy") if kind == "policy" else ("deem_consent", CLOCK, "clock")
    data = {"terms_hash": terms.terms_hash, "policies": [str(policy) for policy in negotiation.policy_ids]}
    step(session, negotiation, act, by=by, parties=frozenset({party}), data=data)
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
    step(session, negotiation, "verify", by=EXCHANGE, parties=SYSTEM_PARTIES, data=data)
    agreement = conclude(session, negotiation=negotiation, version=version, origin=origin)
    data = {"agreement": str(agreement.id), "content_hash": agreement.content_hash}
    step(session, negotiation, "finalize", by=EXCHANGE, parties=SYSTEM_PARTIES, data=data)
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
    step(session, negotiation, "refuse", by=by, version=version, reason=reason, data=data)
    negotiation.termination_reason, negotiation.refusal_ground = "refused", ground
    if narrower is not None:
        require_sound(session, negotiation, narrower, "narrower")
        assert by.id is not None
        named = consents.write_version(session, negotiation, narrower, party="provider", author_id=by.id)
        negotiation.narrower_terms_id = named.id
    close(session, negotiation, "met")


def withdraw(
    session: Session, negotiation: Negotiation, *, reason: str | None, by: Actor, version: int
) -> None:
    """The requester takes its request back."""
    step(session, negotiation, "withdraw", by=by, version=version, reason=reason)
    negotiation.termination_reason = "withdrawn"
    close(session, negotiation, "cancelled")


def hand_over_to_dispute(
    session: Session, negotiation: Negotiation, *, reason: str, by: Actor, version: int
) -> str:
    """The requester turns to the authority; returns why it may: refused, overdue or stalemate. A refused
    negotiation stays refused, any other ends as disputed."""
    step(session, negotiation, "open_dispute", by=by, version=version, reason=reason)
    overdue, refused = negotiation.overdue, negotiation.termination_reason == "refused"
    negotiation.disputed = True
    negotiation.termination_reason = negotiation.termination_reason or "disputed"
    close(session, negotiation, "cancelled")
    return "refused" if refused else "overdue" if overdue else "stalemate"
