"""What an audit of the whole catalog says of one duplicate, and who should be the authoritative source of it.

Pure. Finding duplicates is the audit's, deciding on them the audit desk's (`desk`).
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal, get_args
from uuid import UUID

from pydantic import Field

from app.kernel.wire import Wire
from catalog.collection.knowledge import Band
from catalog.collection.record import ReasonRecord

# of items: one data element held several times; of resources: the first is a copy of the second, a part of it,
# or shares items with it
Relation = Literal["same_element", "copy", "subset", "overlap"]
RELATIONS: tuple[Relation, ...] = get_args(Relation)


class AuditedMember(Wire):
    """One of those that hold the same: an item (with code and name) or a whole resource (without)."""

    resource_id: UUID
    resource_title: str
    agency_id: UUID
    agency_name: str
    item_code: str | None = None
    item_name: str | None = None


class AuditedPair(Wire):
    """Of two resources: two items by which they are the same, named in the order of the members."""

    left: str
    right: str
    score: float


class AuditedRecord(Wire):
    """One duplicate as an audit found it. `containment` is the share of the first resource's items that the second
    holds, 0-1. Of a pair that is a subset the part stands first."""

    relation: Relation
    band: Band
    score: Annotated[float, Field(ge=0, le=1)]
    members: Annotated[tuple[AuditedMember, ...], Field(min_length=2, max_length=500)]
    pairs: Annotated[tuple[AuditedPair, ...], Field(max_length=500)] = ()
    containment: float | None = None
    reasons: tuple[ReasonRecord, ...] = ()

    @property
    def key(self) -> str:
        """Names the same duplicate in every audit: the same members, held to be items or resources alike."""
        members = sorted(f"{member.resource_id}/{member.item_code or ''}" for member in self.members)
        kind = "items" if self.relation == "same_element" else "resources"
        return f"{kind} {hashlib.sha256(' '.join(members).encode()).hexdigest()}"
