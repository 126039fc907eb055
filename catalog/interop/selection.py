"""Which published resources a reader asks for: conditions, words, order and page, answered from the database.

Owns how words and conditions meet. Words are looked up in the index; everything is shown from the database
through `entries.published_to`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Uuid, any_, func, literal, select
from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from catalog.interop.entries import Entry, entries, published_to, read
from catalog.resources.models import Resource
from catalog.search import service
from catalog.search.index import CatalogIndex

Order = ColumnElement[Any]


@dataclass(frozen=True, slots=True)
class Selection:
    """What was asked for. `found` lists what the words match, best first; None where there are no words."""

    by: Actor
    conditions: tuple[ColumnElement[bool], ...] = ()
    found: tuple[UUID, ...] | None = None

    @property
    def where(self) -> list[ColumnElement[bool]]:
        """The conditions together, with what `by` may see."""
        conditions = [published_to(self.by), *self.conditions]
        if self.found is not None:
            conditions.append(Resource.id == any_(literal(list(self.found), ARRAY(Uuid))))
        return conditions


def select_by(
    session: Session, index: CatalogIndex, by: Actor, *, words: str, conditions: Sequence[ColumnElement[bool]]
) -> Selection:
    """The selection of what holds every one of `words` and meets the conditions."""
    found = tuple(service.matching(session, index, words, by=by)) if words.strip() else None
    return Selection(by, tuple(conditions), found)


def count(session: Session, selection: Selection) -> int:
    return session.scalar(select(func.count()).select_from(Resource).where(*selection.where)) or 0


def page(
    session: Session, selection: Selection, order: Sequence[Order], *, limit: int, offset: int
) -> list[Entry]:
    """One page; without an order the best match first, else the one that changed last."""
    if not order and selection.found:
        order = [func.array_position(literal(list(selection.found), ARRAY(Uuid)), Resource.id)]
    latest: list[Order] = [Resource.updated_at.desc()]
    query = entries().where(*selection.where).order_by(*(order or latest), Resource.id)
    return read(session, query.limit(limit).offset(offset))
