"""Rulings that a provider does not comply with: reported by the requester, ordered by the authority."""

from __future__ import annotations

from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.kernel.clock import now
from app.kernel.errors import WrongMoment
from exchange.disputes.models import Dispute
from exchange.disputes.service import hindrance, step


def report_noncompliance(session: Session, dispute: Dispute, *, reason: str, by: Actor, version: int) -> None:
    """The requester reports that the provider does not do what the ruling says. Errors: WrongMoment where it
    has to do nothing, or was reported and the authority has not answered."""
    step(session, dispute, "report_noncompliance", by=by, version=version, reason=reason)
    _require_possible(session, dispute, "report_noncompliance")
    dispute.noncompliance_at = now()


def order_compliance(session: Session, dispute: Dispute, *, reason: str, by: Actor, version: int) -> None:
    """责令改正: the authority orders the provider to comply (809-40). Errors: WrongMoment where nothing is reported."""
    step(session, dispute, "order_compliance", by=by, version=version, reason=reason)
    _require_possible(session, dispute, "order_compliance")
    dispute.noncompliance_at = None


def _require_possible(session: Session, dispute: Dispute, act: str) -> None:
    if why := hindrance(session, dispute, act):
        raise WrongMoment(why, state=dispute.state)
