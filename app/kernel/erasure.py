"""Erasure: the names of the people who acted, removed from the history at the end of their term, proofs unharmed.

Owns the decision to erase and its proof. An entry attests the hash of an event with its name; once the name is gone,
the decision to erase attests what remained. Refuses everything that is still to be kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.kernel import history
from app.kernel.actor import Actor, ActorKind
from app.kernel.canonical import canonical
from app.kernel.clock import new_id
from app.kernel.db import lift_statement_timeout
from app.kernel.history import Event
from app.kernel.text import Text

KIND = "erasure"
BASIS = "PIPL-47"  # 个人信息保护法 第四十七条: to be deleted once the term of keeping has ended
AT_ONCE = 1_000  # events that one decision erases the names of


def erase_names(session: Session, *, before: datetime, by: Actor, reason: str) -> int:
    """Remove the names and ids of people from events before a moment, at most AT_ONCE, with one decision that attests
    what remains; returns how many. The caller knows which term has ended."""
    query = select(Event.id).where(
        Event.actor_kind == ActorKind.PERSON, Event.erased_by.is_(None), Event.at < before
    )
    ids = list(session.scalars(query.order_by(Event.position).limit(AT_ONCE).with_for_update()))
    if not ids:
        return 0
    decision = new_id()
    session.execute(
        update(Event).where(Event.id.in_(ids)).values(actor_id=None, actor_name="", erased_by=decision)
    )
    remains = list(history.contents(session, Event.id.in_(ids)))
    data = {"events": len(ids), "before": before.isoformat(), "remaining_sha256": _digest(remains)}
    history.record(
        session, kind=KIND, subject_id=decision, act="erase", by=by, reason=reason, basis=BASIS, data=data
    )
    return len(ids)


def _digest(contents: Iterable[tuple[str, dict[str, Any]]]) -> str:
    """SHA-256 over the canonical form of each content, in the order of the history."""
    whole = hashlib.sha256()
    for _, content in contents:
        whole.update(canonical(content))
    return whole.hexdigest()


def differing(session: Session) -> Iterator[tuple[UUID, Text]]:
    """Decisions to erase that do not match what remains, each with what is wrong: (decision, what)."""
    lift_statement_timeout(session)
    decided = {e.subject_id: e.data for e in session.scalars(select(Event).where(Event.kind == KIND))}
    erased = (
        select(Event.erased_by, func.count()).where(Event.erased_by.is_not(None)).group_by(Event.erased_by)
    )
    counts = {decision: count for decision, count in session.execute(erased) if decision}
    for decision in counts.keys() - decided.keys():
        yield decision, Text("姓名被删除而没有决定", "names were erased without a decision")
    for decision, data in decided.items():
        remains = history.contents(session, Event.erased_by == decision)
        if (data["events"], data["remaining_sha256"]) != (counts.get(decision, 0), _digest(remains)):
            yield decision, Text("删除后所余与所存证的不符", "what remains is not what was attested")
