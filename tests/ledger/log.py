"""A log of attested decisions, numbered in batches of uneven sizes."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import uuid4

from sqlalchemy.orm import Session

from app.kernel import history, ledger
from app.kernel.checkpoint import Signer
from app.kernel.history import Event
from tests.factories import OPERATOR


def attest(session: Session, signer: Signer, batches: Iterable[int]) -> list[Event]:
    """Record so many decisions and number them, batch by batch: each ends in a checkpoint."""
    events: list[Event] = []
    for count in batches:
        batch = [
            history.record(session, kind="test", subject_id=uuid4(), act="decide", by=OPERATOR, data={"n": n})
            for n in range(count)
        ]
        session.flush()
        while ledger.sequence(session, signer):
            pass
        events += batch
    return events
