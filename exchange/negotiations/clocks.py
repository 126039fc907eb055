"""What follows when a negotiation's clock runs out: silence agrees, opens the way to dispute, or lapses."""

from __future__ import annotations

from sqlalchemy.orm import Session

from app.identity.profiles import profile_for, start_clock
from app.kernel import history
from app.kernel.deadlines import Consequence, DeadlineRow
from app.kernel.errors import Invalid
from exchange.agreements.versions import require_fit
from exchange.holdings import require_sound
from exchange.negotiations.case import KIND, current_terms
from exchange.negotiations.models import Negotiation
from exchange.negotiations.service import CLOCK, agree_by_rule
from exchange.negotiations.states import (
    CONFIRM,
    NEGOTIATION,
    REPLY_CONDITIONAL,
    REPLY_UNCONDITIONAL,
    RESPOND,
)

_CLOCK_PARTY = frozenset({"clock"})


def _overdue(session: Session, deadline: DeadlineRow) -> None:
    negotiation = _of(session, deadline)
    history.advance(session, negotiation, NEGOTIATION, "mark_overdue", by=CLOCK, parties=_CLOCK_PARTY)
    negotiation.overdue, negotiation.extension_asked = True, None


def _silence_on_unconditional(session: Session, deadline: DeadlineRow) -> None:
    negotiation = _of(session, deadline)
    options = profile_for(session, negotiation.provider_id).options
    if options.deemed_consent_unconditional and _can_be_agreed(session, negotiation):
        agree_by_rule(session, negotiation, "deemed")
    else:
        _overdue(session, deadline)


def _can_be_agreed(session: Session, negotiation: Negotiation) -> bool:
    """Whether nothing of what is on the table has left the catalog since."""
    terms = current_terms(session, negotiation).typed
    try:
        require_fit(session, negotiation.amends_id, terms)
        require_sound(
            session, terms, requester_id=negotiation.requester_id, provider_id=negotiation.provider_id
        )
    except Invalid:
        return False
    return True


def _no_response(session: Session, deadline: DeadlineRow) -> None:
    """The requester did not answer an offer: it is reminded once with a second term, then the offer lapses."""
    negotiation = _of(session, deadline)
    if negotiation.reminded:
        history.advance(session, negotiation, NEGOTIATION, "lapse", by=CLOCK, parties=_CLOCK_PARTY)
        negotiation.termination_reason, negotiation.draft_terms_id = "lapsed", None
        return
    history.advance(session, negotiation, NEGOTIATION, "remind", by=CLOCK, parties=_CLOCK_PARTY)
    negotiation.reminded = True
    start_clock(
        session, whose=negotiation.requester_id,
        kind=KIND, subject_id=negotiation.id, duty=RESPOND,
    )  # fmt: skip


def _of(session: Session, deadline: DeadlineRow) -> Negotiation:
    return session.get_one(Negotiation, deadline.subject_id)


CONSEQUENCES: dict[str, Consequence] = {
    REPLY_CONDITIONAL: _overdue,
    REPLY_UNCONDITIONAL: _silence_on_unconditional,
    RESPOND: _no_response,
    CONFIRM: _overdue,
}
