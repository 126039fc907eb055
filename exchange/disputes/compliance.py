"""Rulings that a provider does not comply with: reported by the requester, ordered by the authority."""

from __future__ import annotations

from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.kernel.clock import now
from app.kernel.errors import WrongMoment
from app.kernel.text import Text
from exchange.disputes.models import Dispute
from exchange.disputes.service import ruling_in_effect, step


def report_noncompliance(session: Session, dispute: Dispute, *, reason: str, by: Actor, version: int) -> None:
    """The requester reports that the provider does not do what the ruling says. Errors: WrongMoment where it
    has to do nothing, or was reported and the authority has not answered."""
    step(session, dispute, "report_noncompliance", by=by, version=version, reason=reason)
    ruling = ruling_in_effect(session, dispute)
    if ruling is None or ruling.outcome == "deny":
        message = Text("裁决没有要求提供方履行的内容。", "The ruling asks nothing of the provider.")
        raise WrongMoment(message, state=dispute.state)
    if dispute.noncompliance_at is not None:
        message = Text("已经报告，主管部门尚未处理。", "It is reported, and the authority has yet to act.")
        raise WrongMoment(message, state=dispute.state)
    dispute.noncompliance_at = now()


def order_compliance(session: Session, dispute: Dispute, *, reason: str, by: Actor, version: int) -> None:
    """责令改正: the authority orders the provider to comply (809-40). Errors: WrongMoment where nothing is reported."""
    step(session, dispute, "order_compliance", by=by, version=version, reason=reason)
    if dispute.noncompliance_at is None:
        raise WrongMoment(Text("没有待处理的报告。", "Nothing is reported."), state=dispute.state)
    dispute.noncompliance_at = None
