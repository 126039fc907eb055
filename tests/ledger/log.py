"""A log of attested decisions, numbered in batches of uneven sizes."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import uuid4

from sqlalchemy.orm import Session

from app.kernel import history, ledger
from app.kernel.actor import Actor
from app.kernel.checkpoint import Signer
from app.kernel.history import Event
from tests.factories import OPERATOR


def attest(session: Session, signer: Signer, batches: Iterable[int], *, by: Actor = OPERATOR) -> list[Event]:
    """Record so many decisions and number them, batch by batch: each ends in a checkpoint."""
    events: list[Event] = []
    for count in batches:
        batch = [
            history.record(
                session, kind="test", subject_id=uuid4(), act="decide", by=by, party="authority",
                transition=("filed", "published", n + 1), reason="符合要求", basis="809-16", data={"n": n},
            )
            for n in range(count)
        ]  # fmt: skip
        session.flush()
        while ledger.sequence(session, signer):
            pass
        events += batch
    return events
