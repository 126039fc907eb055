"""Disputes (争议): from the requester's report to the authority to a ruling that stands.

Owns the case, statements, proposals and rulings. A ruling that grants takes effect when it is signed; a
review that is asked for suspends its agreement until decided; a remand takes effect when final.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from app.identity.profiles import start_clock
from app.kernel import deadlines, history
from app.kernel.actor import Actor, system_actor
from app.kernel.clock import new_id, now
from app.kernel.errors import Fault, Invalid, SameHand, WrongMoment
from app.kernel.history import Event
from app.kernel.machine import Party
from app.kernel.sight import seeing_all
from app.kernel.text import Text
from exchange import attachments, holdings
from exchange.agreements.models import Agreement
from exchange.agreements.service import EXCHANGE, change_agreement, conclude, live_agreement_of
from exchange.agreements.states import AGREEMENT
from exchange.agreements.versions import require_fit
from exchange.disputes.models import Dispute, Ruling, Statement
from exchange.disputes.states import (
    DISPUTE,
    GRANTS,
    HEARD,
    HEARING,
    OUTCOMES,
    PROPOSED,
    REVIEW_WINDOW,
    RULING,
    STATEMENT,
    UNDECIDED,
)
from exchange.negotiations import consents
from exchange.negotiations.models import Consent, Negotiation, TermsVersion
from exchange.negotiations.service import hand_over_to_dispute, reopen_negotiation
from exchange.parties import (
    SYSTEM_PARTIES,
    ConflictOfInterest,
    deciding_authority,
    find,
    parties_of,
    visible_to,
)
from exchange.terms import Terms

KIND = DISPUTE.kind
BY_RULING = system_actor("ruling")
_RULING_PARTY: frozenset[Party] = frozenset({"ruling"})


def open_dispute(
    session: Session, negotiation: Negotiation, *, reason: str, by: Actor, version: int
) -> Dispute:
    """Report a negotiation that failed to the authority between the parties (Regulation Art. 21, 809-28).

    `version` is the negotiation's. Errors: WrongMoment where the law does not open the way yet.
    """
    cause = hand_over_to_dispute(session, negotiation, reason=reason, by=by, version=version)
    dispute = Dispute(
        negotiation_id=negotiation.id, requester_id=negotiation.requester_id,
        provider_id=negotiation.provider_id, cause=cause, reason=reason, overdue=False,
        authority_id=deciding_authority(session, negotiation.requester_id, negotiation.provider_id),
    )  # fmt: skip
    data = {"negotiation": str(negotiation.id), "cause": cause, "authority": str(dispute.authority_id)}
    parties: frozenset[Party] = frozenset({"requester"})
    history.create(session, dispute, DISPUTE, "open", by=by, parties=parties, reason=reason, data=data)
    return dispute


def find_dispute(session: Session, dispute_id: UUID, *, by: Actor) -> Dispute:
    """The dispute, if the actor may know of it. Errors: NotFound."""
    return find(session, Dispute, dispute_id, by=by)


def list_disputes(
    session: Session,
    *,
    by: Actor,
    waiting: bool = False,
    state: str | None = None,
    before: UUID | None = None,
    limit: int = 50,
) -> list[Dispute]:
    """Disputes the actor may know of, newest first; `waiting` keeps those where its agency has to act."""
    query = select(Dispute).where(visible_to(by, Dispute))
    if waiting:
        party = (Dispute.requester_id == by.agency_id) | (Dispute.provider_id == by.agency_id)
        query = query.where(
            and_(
                Dispute.authority_id == by.agency_id,
                Dispute.state.in_([*UNDECIDED, "REVIEW"]) | Dispute.noncompliance_at.is_not(None),
            )
            | and_(party, Dispute.state.in_(HEARD))
        )
    if state is not None:
        query = query.where(Dispute.state == state)
    if before is not None:
        query = query.where(Dispute.id < before)
    return list(session.scalars(query.order_by(Dispute.id.desc()).limit(limit)))


def allowed_acts(session: Session, dispute: Dispute, *, by: Actor) -> list[str]:
    """The acts that the actor may do now."""
    acts = DISPUTE.allowed(dispute.state, parties_of(by, dispute), by.roles)
    acts = [act for act in acts if hindrance(session, dispute, act) is None]
    if "rule" in acts and session.get_one(Ruling, dispute.draft_ruling_id).drafted_by == by.id:
        acts.remove("rule")
    if "accept" in acts and parties_of(by, dispute) & _accepted(session, dispute).keys():
        acts.remove("accept")
    return sorted(acts, key=list(DISPUTE.acts).index)


def hindrance(session: Session, dispute: Dispute, act: str) -> Text | None:
    """Why the moment does not allow an act that the state does; None where it does."""
    if act == "rule" and dispute.draft_ruling_id is None:
        return Text("裁决尚未拟定。", "No ruling is drafted yet.")
    if act == "report_noncompliance" and dispute.noncompliance_at:
        return Text("未履行情况已经报告。", "It is reported already.")
    if act == "report_noncompliance":
        ruling = ruling_in_effect(session, dispute)
        if ruling is None or ruling.outcome == "deny":
            return Text("裁决没有要求提供方履行的内容。", "The ruling asks nothing of the provider.")
    if act == "order_compliance" and not dispute.noncompliance_at:
        return Text("没有人报告裁决未得到履行。", "Nobody has reported that the ruling is not carried out.")
    return None


def step(
    session: Session,
    dispute: Dispute,
    act: str,
    *,
    by: Actor,
    version: int | None = None,
    parties: frozenset[Party] | None = None,
    reason: str | None = None,
    data: Mapping[str, Any] | None = None,
) -> Event:
    """One act on a dispute. Errors: ConflictOfInterest, StaleVersion, WrongMoment, NotPermitted."""
    if by.agency_id in (dispute.requester_id, dispute.provider_id):
        sides = {party for party, _ in DISPUTE.by_whom(act)}
        if sides == {"authority"}:
            raise ConflictOfInterest(basis="809-28")
    return history.advance(
        session, dispute, DISPUTE, act, by=by, parties=parties_of(by, dispute) if parties is None else parties,
        expected_version=version, reason=reason, data=data,
    )  # fmt: skip


# --- Admission


def admit(session: Session, dispute: Dispute, *, by: Actor, version: int) -> None:
    """Hear the dispute: the clocks for statements and for the ruling start."""
    step(session, dispute, "admit", by=by, version=version)
    for duty in (STATEMENT, RULING):
        _start(session, dispute, duty)


def decline(session: Session, dispute: Dispute, *, reason: str, by: Actor, version: int) -> None:
    """Close the dispute as inadmissible, with reasons."""
    step(session, dispute, "decline", by=by, version=version, reason=reason)
    dispute.closing_reason = reason


def refer(session: Session, dispute: Dispute, *, reason: str, by: Actor, version: int) -> None:
    """Send the dispute to the authority that is competent now, where agencies have moved since it was
    opened. Errors: Invalid where that is the one that holds it."""
    step(session, dispute, "refer", by=by, version=version, reason=reason)
    competent = deciding_authority(session, dispute.requester_id, dispute.provider_id)
    if competent == dispute.authority_id:
        message = Text("本主管部门即有管辖权", "this authority is the competent one")
        raise Invalid(faults=[Fault("/authority_id", message, Text("809 第二十八条", "Decree 809 Art. 28"))])
    with seeing_all(session):  # the dispute passes out of the sight of who hands it on
        dispute.authority_id = competent
        session.flush()


def withdraw(session: Session, dispute: Dispute, *, reason: str | None, by: Actor, version: int) -> None:
    """The requester gives the dispute up."""
    step(session, dispute, "withdraw", by=by, version=version, reason=reason)
    dispute.closing_reason = reason
    deadlines.end(session, KIND, dispute.id, outcome="cancelled")


def record_settlement(
    session: Session, dispute: Dispute, *, agreement_id: UUID, by: Actor, version: int
) -> None:
    """The parties have agreed by themselves: name the agreement in force between them. Errors: Invalid."""
    data = {"agreement": str(agreement_id)}
    step(session, dispute, "record_settlement", by=by, version=version, data=data)
    agreement = session.get(Agreement, agreement_id)
    sides = (dispute.requester_id, dispute.provider_id)
    if (
        agreement is None
        or agreement.state != "IN_FORCE"
        or (agreement.requester_id, agreement.provider_id) != sides
    ):
        message = Text("双方之间没有这份生效协议", "no agreement in force between the parties")
        raise Invalid(faults=[Fault("/agreement_id", message)])
    deadlines.end(session, KIND, dispute.id, outcome="cancelled")


# --- Hearing


def make_statement(session: Session, dispute: Dispute, *, body: str, by: Actor, version: int) -> Statement:
    """A party tells the authority its view."""
    event = step(session, dispute, "state", by=by, version=version)
    assert event.party is not None and by.id is not None
    statement = Statement(
        id=new_id(), created_at=now(), dispute_id=dispute.id, party=event.party, author_id=by.id, body=body
    )
    session.add(statement)
    return statement


def attach_evidence(
    session: Session, dispute: Dispute, *, name: str, content: bytes, by: Actor, version: int
) -> None:
    """A party puts a file before the authority; the ledger has its hash. Errors: Invalid, TooLarge."""
    data = {"name": name, "size": len(content), "sha256": attachments.hash_of(content)}
    event = step(session, dispute, "attach", by=by, version=version, data=data)
    assert event.party is not None
    attachments.attach(
        session, kind=KIND, subject_id=dispute.id, field="", name=name, content=content, party=event.party, by=by
    )  # fmt: skip


def statements_of(session: Session, dispute: Dispute) -> list[Statement]:
    """What was stated, oldest first."""
    query = select(Statement).where(Statement.dispute_id == dispute.id)
    return list(session.scalars(query.order_by(Statement.id)))


def propose(
    session: Session, dispute: Dispute, *, terms: Terms, reason: str | None, by: Actor, version: int
) -> TermsVersion:
    """The mediator puts terms to both sides. Errors: Invalid."""
    step(session, dispute, "propose", by=by, version=version, reason=reason)
    proposal = _write_terms(session, dispute, terms, by, reason)
    dispute.proposal_id = proposal.id
    return proposal


def accept_proposal(
    session: Session, dispute: Dispute, *, to_hash: str, by: Actor, version: int
) -> Agreement | None:
    """One side's approver accepts; with the second the dispute is settled and the agreement, a negotiated
    one, in force. Errors: OtherTerms, WrongMoment where its side has accepted already."""
    event = step(session, dispute, "accept", by=by, version=version, data={"terms_hash": to_hash})
    assert dispute.proposal_id is not None
    proposal = session.get_one(TermsVersion, dispute.proposal_id)
    given = _accepted(session, dispute)
    side: consents.Side = "requester" if event.party == "requester" else "provider"
    if side in given:
        raise WrongMoment(Text("本方已经接受。", "Your side has accepted already."), state=PROPOSED)
    consents.consent(session, proposal, side, by=by, to_hash=to_hash)
    if not given:
        return None
    negotiation = session.get_one(Negotiation, dispute.negotiation_id)
    _require_sound(session, dispute, proposal.typed)
    agreement = conclude(session, negotiation=negotiation, version=proposal, origin="negotiated")
    data = {"agreement": str(agreement.id)}
    step(session, dispute, "settle", by=EXCHANGE, parties=SYSTEM_PARTIES, data=data)
    deadlines.end(session, KIND, dispute.id, outcome="met")
    return agreement


def _accepted(session: Session, dispute: Dispute) -> Mapping[str, Consent]:
    """The consents to the mediator's proposal, by side."""
    of = dispute.proposal_id
    return consents.consents_to(session, {of})[of] if of else {}


def decline_proposal(
    session: Session, dispute: Dispute, *, reason: str | None, by: Actor, version: int
) -> None:
    """One side does not accept; the hearing goes on."""
    step(session, dispute, "decline_proposal", by=by, version=version, reason=reason)
    dispute.proposal_id = None


# --- Ruling


def draft_ruling(
    session: Session,
    dispute: Dispute,
    *,
    outcome: str,
    reasons: str,
    legal_basis: str,
    directions: str | None,
    terms: Terms | None,
    by: Actor,
    version: int,
) -> Ruling:
    """One mediator writes the ruling that another signs; a later draft replaces it. Errors: Invalid."""
    _require_whole(outcome, terms, directions)
    step(session, dispute, "draft_ruling", by=by, version=version, data={"outcome": outcome})
    ruling = _write_ruling(session, dispute, outcome, reasons, legal_basis, directions, terms, by, None)
    dispute.draft_ruling_id = ruling.id
    return ruling


def rule(session: Session, dispute: Dispute, *, ruling_id: UUID, by: Actor, version: int) -> Ruling:
    """A second mediator signs the draft that it read (`ruling_id`): the ruling stands, and a granted one is an
    agreement in force at once. Errors: SameHand, WrongMoment where it is not the latest draft."""
    ruling = session.get(Ruling, dispute.draft_ruling_id) if dispute.draft_ruling_id else None
    data = {"ruling": str(ruling_id), "outcome": ruling.outcome if ruling else None}
    step(session, dispute, "rule", by=by, version=version, data=data)
    if ruling is None or ruling.id != ruling_id:
        raise WrongMoment(Text("这不是最新的裁决草稿。", "This is not the latest draft."), state=HEARING)
    if ruling.drafted_by == by.id:
        raise SameHand(basis="809-28")
    deadlines.end(session, KIND, dispute.id, outcome="met")
    dispute.proposal_id = None
    _sign(session, dispute, ruling, by)
    _start(session, dispute, REVIEW_WINDOW)
    return ruling


def _sign(session: Session, dispute: Dispute, ruling: Ruling, by: Actor) -> None:
    ruling.signed_by, ruling.signed_at = by.id, now()
    session.flush()
    if ruling.outcome in GRANTS:
        negotiation = session.get_one(Negotiation, dispute.negotiation_id)
        version = session.get_one(TermsVersion, ruling.terms_version_id)
        _require_sound(session, dispute, version.typed)
        conclude(session, negotiation=negotiation, version=version, origin="ruling", ruling_id=ruling.id)


def rulings_of(session: Session, dispute: Dispute, *, by: Actor) -> list[Ruling]:
    """The rulings, oldest first; drafts only for the authority."""
    query = select(Ruling).where(Ruling.dispute_id == dispute.id)
    if "authority" not in parties_of(by, dispute):
        query = query.where(Ruling.signed_at.is_not(None))
    return list(session.scalars(query.order_by(Ruling.number)))


def ruling_in_effect(session: Session, dispute: Dispute) -> Ruling | None:
    """The ruling signed last."""
    query = select(Ruling).where(Ruling.dispute_id == dispute.id, Ruling.signed_at.is_not(None))
    return session.scalar(query.order_by(Ruling.number.desc()).limit(1))


# --- Review by the authority's government


def ask_review(session: Session, dispute: Dispute, *, reason: str, by: Actor, version: int) -> None:
    """A party asks the government for review; delivery under the ruling is stayed."""
    step(session, dispute, "ask_review", by=by, version=version, reason=reason)
    deadlines.end(session, KIND, dispute.id, outcome="met")
    _change_ruled_agreement(session, dispute, "suspend", reason)


def confirm_ruling(
    session: Session, dispute: Dispute, *, document: str, reason: str, by: Actor, version: int
) -> None:
    """Enter the government's decision that the ruling stands; `document` numbers it."""
    step(session, dispute, "confirm", by=by, version=version, reason=reason, data={"document": document})
    _change_ruled_agreement(session, dispute, "resume", reason)
    remand_if_so(session, dispute)


def change_ruling(
    session: Session,
    dispute: Dispute,
    *,
    document: str,
    outcome: str,
    reasons: str,
    legal_basis: str,
    directions: str | None,
    terms: Terms | None,
    by: Actor,
    version: int,
) -> Ruling:
    """Enter the government's decision that replaces the ruling; the agreement made by it ends. Errors: Invalid."""
    _require_whole(outcome, terms, directions)
    data = {"document": document, "outcome": outcome}
    step(session, dispute, "change", by=by, version=version, reason=reasons, data=data)
    _change_ruled_agreement(session, dispute, "terminate", reasons)
    ruling = _write_ruling(session, dispute, outcome, reasons, legal_basis, directions, terms, by, document)
    _sign(session, dispute, ruling, by)
    remand_if_so(session, dispute)
    return ruling


def _change_ruled_agreement(
    session: Session, dispute: Dispute, act: Literal["suspend", "resume", "terminate"], reason: str
) -> None:
    agreement = live_agreement_of(session, dispute.negotiation_id)
    if agreement is None or AGREEMENT.find(agreement.state, act) is None:
        return  # nothing was granted, or it has ended or is suspended for another reason
    if act == "resume" and agreement.suspended_by != "ruling":
        return
    change_agreement(session, agreement, act, by=BY_RULING, reason=reason, parties=_RULING_PARTY)


def remand_if_so(session: Session, dispute: Dispute) -> None:
    """Reopen the negotiation where the ruling that now stands sends the parties back to it."""
    ruling = ruling_in_effect(session, dispute)
    if ruling is not None and ruling.outcome == "remand":
        assert ruling.directions is not None
        former = session.get_one(Negotiation, dispute.negotiation_id)
        reopen_negotiation(session, former, directions=ruling.directions)


# --- Parts


def _write_terms(
    session: Session, dispute: Dispute, terms: Terms, by: Actor, note: str | None
) -> TermsVersion:
    negotiation = session.get_one(Negotiation, dispute.negotiation_id, with_for_update=True)
    _require_sound(session, dispute, terms)
    require_fit(session, negotiation.amends_id, terms)
    assert by.id is not None
    return consents.write_version(session, negotiation, terms, party="authority", author_id=by.id, note=note)


def _require_sound(session: Session, dispute: Dispute, terms: Terms) -> None:
    holdings.require_sound(session, terms, requester_id=dispute.requester_id, provider_id=dispute.provider_id)


def _require_whole(outcome: str, terms: Terms | None, directions: str | None) -> None:
    faults = []
    if outcome not in OUTCOMES:
        rule_text = Text("取值：" + "、".join(OUTCOMES), "one of: " + ", ".join(OUTCOMES))
        faults.append(Fault("/outcome", Text("没有这种裁决结果", "no such outcome"), rule_text))
    if (outcome in GRANTS) != (terms is not None):
        message = Text(
            "支持申请须载明条款，其他结果不载条款", "terms are for a grant, and a grant needs them"
        )
        faults.append(Fault("/terms", message))
    if outcome == "remand" and not directions:
        faults.append(Fault("/directions", Text("责令重新协商须有指示", "a remand gives directions")))
    if faults:
        raise Invalid(faults=faults)


def _write_ruling(
    session: Session,
    dispute: Dispute,
    outcome: str,
    reasons: str,
    legal_basis: str,
    directions: str | None,
    terms: Terms | None,
    by: Actor,
    document: str | None,
) -> Ruling:
    version = _write_terms(session, dispute, terms, by, None) if terms is not None else None
    highest = session.scalar(select(func.max(Ruling.number)).where(Ruling.dispute_id == dispute.id))
    assert by.id is not None
    ruling = Ruling(
        id=new_id(), created_at=now(), dispute_id=dispute.id, number=(highest or 0) + 1, outcome=outcome,
        reasons=reasons, legal_basis=legal_basis, directions=directions, document=document,
        terms_version_id=version.id if version else None, drafted_by=by.id,
    )  # fmt: skip
    session.add(ruling)
    session.flush()
    return ruling


def _start(session: Session, dispute: Dispute, duty: str) -> None:
    start_clock(session, whose=dispute.authority_id, kind=KIND, subject_id=dispute.id, duty=duty)
