"""The index kept up with the catalog, and searches answered from both.

Owns the way from a resource to its search document, and the indexer that follows the change log. The
index finds; what is shown comes from PostgreSQL, through the same door as everything else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Select, select, text
from sqlalchemy.orm import Session, selectinload

from app.identity.models import Agency, Jurisdiction
from app.kernel import history
from app.kernel.actor import Actor, ActorKind
from app.kernel.db import Database, lift_statement_timeout
from catalog.resources import service
from catalog.resources.models import Resource
from catalog.resources.record import ResourceRecord
from catalog.resources.states import PUBLISHED
from catalog.search.document import SearchDocument
from catalog.search.index import CatalogIndex, SearchResult, Sort
from catalog.search.query import Filters
from catalog.text import bigrams, fold

EVENTS_AT_ONCE = 2_000
_REBUILD_ROWS = 1_000
_ITEMS_SHOWN = 5

_Row = tuple[Resource, str, str]  # with the names of its agency and the code of its jurisdiction


def to_document(resource: Resource, agency_name: str, jurisdiction_code: str) -> SearchDocument:
    """The resource as search sees it."""
    record = ResourceRecord.model_validate(resource.record)
    items = dict.fromkeys(name for item in record.items for name in (item.name, item.name_en) if name)
    published = resource.state == PUBLISHED
    return SearchDocument(
        id=str(resource.id),
        title=record.title,
        title_en=record.title_en or "",
        code=resource.code,
        abstract=record.summary,
        items=tuple(items),
        keywords=(*record.keywords, *record.categories),
        agency_id=str(resource.agency_id),
        agency_name=agency_name,
        jurisdiction=jurisdiction_code,
        published=published,
        open=published and resource.is_open,
        updated_at=resource.updated_at,
        sharing_type=resource.sharing_type or "",
        openness=resource.openness,
        themes=tuple(resource.themes),
        base_library=resource.base_library or "",
        update_cycle=resource.update_cycle or "",
        format=resource.format_class or "",
        state=resource.state,
    )


def run_once(database: Database, index: CatalogIndex, *, batch: int = EVENTS_AT_ONCE) -> int:
    """Bring the index up to what is committed; returns how many resources were written to it.

    Follows the change log in commit order. The position is committed with the documents, so a kill
    repeats a batch and skips none. An index that was never filled is built whole. Safe to call at any
    time; one process of a node writes. `batch` is in events. Errors: IndexBusy.
    """
    written = 0
    while True:
        position = index.position()  # anew for each batch: a rebuild elsewhere may have set it back
        if position is None:
            return reindex(database, index)
        cursor = _read_position(position)
        with database.transaction() as session:
            events = history.events_after(session, cursor, limit=batch)
            if not events:
                return written
            changed = {event.subject_id for event in events if event.kind == service.KIND}
            documents = list(_documents(session, _rows().where(Resource.id.in_(changed)))) if changed else []
        cursor = (int(events[-1].transaction), events[-1].position)
        index.apply(documents, (), _write_position(cursor))
        written += len(documents)


def reindex(database: Database, index: CatalogIndex) -> int:
    """Build the index anew beside the old one; returns how many resources it holds. Errors: IndexBusy."""
    with database.transaction() as session:
        # Whatever is running now, or starts later, is read from the log once more.
        start = int(
            session.execute(text("SELECT pg_snapshot_xmin(pg_current_snapshot())::text")).scalar_one()
        )
    with database.transaction() as session:
        lift_statement_timeout(session)
        rows = _rows().execution_options(yield_per=_REBUILD_ROWS)
        return index.rebuild(_documents(session, rows), _write_position((start, 0)))


def _rows() -> Select[Resource, str, str]:
    query = select(Resource, Agency.name, Jurisdiction.code).join(Agency, Agency.id == Resource.agency_id)
    return query.join(Jurisdiction, Jurisdiction.id == Resource.jurisdiction_id)


def _documents(session: Session, rows: Select[Resource, str, str]) -> Iterator[SearchDocument]:
    for resource, agency_name, jurisdiction_code in session.execute(rows):
        yield to_document(resource, agency_name, jurisdiction_code)


def _read_position(position: str) -> tuple[int, int]:
    transaction, _, place = position.partition(":")
    return int(transaction), int(place)


def _write_position(cursor: tuple[int, int]) -> str:
    return f"{cursor[0]}:{cursor[1]}"


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


def _matching_items(resource: Resource, typed: str) -> tuple[str, ...]:
    """The names of items that hold one of the words typed, the first few."""
    words = [word for word in fold(typed).split(" ") if bigrams(word)]
    names: Iterable[str] = (item["name"] for item in resource.record.get("items", ()))
    return tuple([name for name in names if any(word in fold(name) for word in words)][:_ITEMS_SHOWN])


def suggest(session: Session, index: CatalogIndex, prefix: str, *, by: Actor, limit: int) -> list[str]:
    """Titles and item names that `by` may see and that begin with `prefix` or with its pinyin initials."""
    return index.suggest(prefix, visible=audience(session, by), limit=limit)
