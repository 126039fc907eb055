"""What people decided of two names: the same data element (别名), or different ones that must not be linked.

Owns writing such decisions with their provenance. How the check uses them is `matching`'s.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.kernel.clock import new_id, now
from catalog.collection.models import ItemLink

Verdict = Literal["same", "different"]


@dataclass(frozen=True, slots=True)
class Named:
    """An item by its name and what it is about: title and population, as they were written."""

    name: str
    topic: str


def decide(
    session: Session,
    pairs: Iterable[tuple[Named, Named]],
    verdict: Verdict,
    *,
    source: Literal["finding", "audit_finding"],
    source_id: UUID,
    by: Actor,
) -> None:
    """Keep a verdict on each pair, with the decision it comes from; the next check sees it."""
    assert by.id is not None and by.agency_id is not None
    for left, right in pairs:
        session.add(
            ItemLink(
                id=new_id(), created_at=now(), left_name=left.name, left_topic=left.topic,
                right_name=right.name, right_topic=right.topic, verdict=verdict, source=source,
                source_id=source_id, agency_id=by.agency_id, decided_by=by.id,
            )
        )  # fmt: skip
    session.flush()


def decided(session: Session) -> list[ItemLink]:
    """Every decision, oldest first: of two on one pair the later one counts."""
    return list(session.scalars(select(ItemLink).order_by(ItemLink.id)))
