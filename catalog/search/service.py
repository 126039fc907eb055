"""Searches answered: the index finds, what is shown comes from PostgreSQL through the same door as
everything else. Owns who may find what. Writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row, select
from sqlalchemy.orm import Session, selectinload

from app.identity.models import Jurisdiction
from app.kernel.actor import Actor, ActorKind
from catalog.resources import service
from catalog.resources.models import Resource
from catalog.search.index import After, CatalogIndex, SearchResult, Sort
from catalog.search.query import Filters
from catalog.text import begins, bigrams, fold, fold_in_place, token_spans

SUMMARY_LENGTH = 200  # characters of an abstract on a result page
_ITEMS_SHOWN = 5

Span = tuple[int, int]


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
    """A resource found, those of its items that the search names, and where its texts hold what was typed."""

    resource: Resource
    matching_items: tuple[str, ...]
    marked: dict[str, tuple[Span, ...]]


def search(
    session: Session,
    index: CatalogIndex,
    typed: str,
    *,
    by: Actor,
    filters: Filters,
    facets: Sequence[str],
    limit: int,
    sort: Sort,
    after: After | None = None,
) -> tuple[list[Found], SearchResult]:
    """One page of what `by` may find. A resource that was taken out since the index last looked is left out
    of the page, though it may still stand in the counts for a moment. Errors: UnknownFilter."""
    result = index.search(
        typed,
        visible=audience(session, by),
        filters=filters,
        facets=facets,
        limit=limit,
        after=after,
        sort=sort,
    )
    ids = [UUID(hit) for hit in result.hits]
    query = select(Resource).options(selectinload(Resource.agency))
    rows = {row.id: row for row in session.scalars(query.where(Resource.id.in_(ids), service.visible_to(by)))}
    wanted = {fold(item) for item in filters.get("item", ())}  # type: ignore[union-attr]  # always a sequence
    return [_found(rows[i], typed, wanted) for i in ids if i in rows], result


def matching(session: Session, index: CatalogIndex, typed: str, *, by: Actor) -> list[UUID]:
    """The resources `by` may find that hold every word typed, best first, the first ten thousand."""
    return [UUID(found) for found in index.match(typed, visible=audience(session, by))]


def suggest(session: Session, index: CatalogIndex, prefix: str, *, by: Actor, limit: int) -> list[str]:
    """Names of items and titles that `by` may see and that begin with `prefix` or with its pinyin initials, as
    they are written where they stand. Names come first, and leave half of the places to titles if there are any."""
    visible = audience(session, by)
    found = index.suggest(prefix, visible=visible, limit=limit)
    rows = _rows(session, [*(holder for _, holder in found.names), *found.titles], by)
    names: dict[str, None] = {}
    for name, holder in found.names:
        written = _written(rows.get(UUID(holder)), name)
        if written is None and (other := index.holder(name, visible=visible)):
            written = _written(_rows(session, [other], by).get(UUID(other)), name)
        if written is not None:
            names[written] = None
    typed = fold(prefix)
    titles: dict[str, str] = {}
    for row in (rows[key] for one in found.titles if (key := UUID(one)) in rows):
        for title in filter(None, (row.title, row.title_en, row.code if fold(row.code) == typed else None)):
            if begins(fold(title), typed):
                titles.setdefault(fold(title), title)
    kept = list(names)[: limit - min(len(titles), limit // 2)]
    return list(dict.fromkeys([*kept, *titles.values()]))[:limit]


def _rows(session: Session, ids: Sequence[str], by: Actor) -> dict[UUID, Row[Any]]:
    """Of these resources what suggestions are written from, if `by` may see them."""
    query = select(Resource.id, Resource.title, Resource.title_en, Resource.code, Resource.record)
    return {row.id: row for row in session.execute(query.where(Resource.id.in_(ids), service.visible_to(by)))}


def _written(row: Row[Any] | None, name: str) -> str | None:
    """How the resource writes the item of this folded name; None where it has none."""
    if row is None:
        return None
    items = (item.get(key) for item in row.record.get("items", ()) for key in ("name", "name_en"))
    return next((as_is for as_is in items if as_is and fold(as_is) == name), None)


def summary_of(resource: Resource) -> str:
    """The first part of what the record says about itself."""
    summary: str = resource.record.get("abstract") or resource.record.get("description") or ""
    return summary[:SUMMARY_LENGTH]


def _found(resource: Resource, typed: str, wanted: AbstractSet[str]) -> Found:
    tokens = frozenset(bigrams(typed))
    marked = {
        "title": marks(resource.title, tokens),
        "title_en": marks(resource.title_en or "", tokens),
        "summary": marks(summary_of(resource), tokens),
    }
    words = [word for word in fold(typed).split(" ") if bigrams(word)]
    names: Iterable[str] = (item["name"] for item in resource.record.get("items", ()))
    named = [name for name in names if fold(name) in wanted or any(word in fold(name) for word in words)]
    return Found(
        resource, tuple(named[:_ITEMS_SHOWN]), {field: spans for field, spans in marked.items() if spans}
    )


def marks(text: str, tokens: AbstractSet[str]) -> tuple[Span, ...]:
    """Where `text` holds any of the tokens, in either script: [from, to) in characters, joined where they touch."""
    folded, places = fold_in_place(text)
    spans: list[Span] = []
    for token, start, end in token_spans(folded):
        if token not in tokens:
            continue
        first, last = places[start], places[end - 1] + 1
        if spans and first <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(last, spans[-1][1]))
        else:
            spans.append((first, last))
    return tuple(spans)
