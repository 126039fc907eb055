"""What follows when a dispute's clock runs out: silence is recorded, a late ruling marked, an open one becomes final."""

from __future__ import annotations

from sqlalchemy.orm import Session

from app.kernel import history
from app.kernel.actor import system_actor
from app.kernel.deadlines import Consequence, DeadlineRow
from exchange.disputes.models import Dispute
from exchange.disputes.service import KIND, remand_if_so, statements_of, step
from exchange.disputes.states import REVIEW_WINDOW, RULING, STATEMENT

CLOCK = system_actor("clock")


def _silence(session: Session, deadline: DeadlineRow) -> None:
    """No statement stops nothing: who kept silent is recorded and the hearing goes on."""
    dispute = session.get_one(Dispute, deadline.subject_id)
    heard = {statement.party for statement in statements_of(session, dispute)}
    silent = sorted({"requester", "provider"} - heard)
    if silent:
        data = {"silent": silent}
        history.record(
            session, kind=KIND, subject_id=dispute.id, act="silence", by=CLOCK, party="clock", data=data
        )


def _ruling_overdue(session: Session, deadline: DeadlineRow) -> None:
    dispute = session.get_one(Dispute, deadline.subject_id)
    step(session, dispute, "mark_overdue", by=CLOCK, parties=frozenset({"clock"}))
    dispute.overdue = True


def _window_ends(session: Session, deadline: DeadlineRow) -> None:
    dispute = session.get_one(Dispute, deadline.subject_id)
    step(session, dispute, "become_final", by=CLOCK, parties=frozenset({"clock"}))
    remand_if_so(session, dispute)


CONSEQUENCES: dict[str, Consequence] = {
    STATEMENT: _silence,
    RULING: _ruling_overdue,
    REVIEW_WINDOW: _window_ends,
}
