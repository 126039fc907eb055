"""Searches answered: the index finds, what is shown comes from PostgreSQL through the same door as
everything else. Owns who may find what. Writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from app.identity.models import Jurisdiction
from app.kernel.actor import Actor, ActorKind
from catalog.resources import service
from catalog.resources.models import Resource
from catalog.search.index import CatalogIndex, SearchResult, Sort
from catalog.search.query import Filters
from catalog.text import bigrams, fold

_ITEMS_SHOWN = 5


def audience(session: Session, by: Actor) -> list[Filters]:
    """What `by` may find, as alternatives for the index; says the same as `resources.service.visible_to`."""
    if by.kind is ActorKind.SYSTEM:
        return [{}]
    if not service.reads_for_agency(by):
        return [{"open": True}]
    alternatives: list[Filters] = [{"published": True}]
    if by.agency_id is not None:
        alternatives.append({"agency": str(by.agency_id)})
    if service.reviews(by):
        reviewed = select(Jurisdiction.code).where(Jurisdiction.id.in_(service.reviewed_jurisdictions(by)))
        alternatives.append({"jurisdiction": list(session.scalars(reviewed))})
    return alternatives


@dataclass(frozen=True, slots=True)
class Found:
    """A resource found, and those of its items that the search text names."""

    resource: Resource
    matching_items: tuple[str, ...]


def search(
    session: Session,
    index: CatalogIndex,
    typed: str,
    *,
    by: Actor,
    filters: Filters,
    facets: Sequence[str],
    limit: int,
    offset: int,
    sort: Sort,
) -> tuple[list[Found], SearchResult]:
    """One page of what `by` may find. A resource that was taken out since the index last looked is left out
    of the page, though it may still stand in the counts for a moment. Errors: UnknownFilter."""
    result = index.search(
        typed,
        visible=audience(session, by),
        filters=filters,
        facets=facets,
        limit=limit,
        offset=offset,
        sort=sort,
    )
    ids = [UUID(hit.id) for hit in result.hits]
    query = select(Resource).options(selectinload(Resource.agency))
    rows = {row.id: row for row in session.scalars(query.where(Resource.id.in_(ids), service.visible_to(by)))}
    return [Found(rows[i], _matching_items(rows[i], typed)) for i in ids if i in rows], result


def matching(session: Session, index: CatalogIndex, typed: str, *, by: Actor) -> list[UUID]:
    """The resources `by` may find that hold every word typed, best first, the first ten thousand."""
    return [UUID(found) for found in index.match(typed, visible=audience(session, by))]


def _matching_items(resource: Resource, typed: str) -> tuple[str, ...]:
    """The names of items that hold one of the words typed, the first few."""
    words = [word for word in fold(typed).split(" ") if bigrams(word)]
    names: Iterable[str] = (item["name"] for item in resource.record.get("items", ()))
    return tuple([name for name in names if any(word in fold(name) for word in words)][:_ITEMS_SHOWN])


def suggest(session: Session, index: CatalogIndex, prefix: str, *, by: Actor, limit: int) -> list[str]:
    """Titles and item names that `by` may see and that begin with `prefix` or with its pinyin initials."""
    return index.suggest(prefix, visible=audience(session, by), limit=limit)
