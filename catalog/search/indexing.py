"""The index kept up with the catalog: resources become search documents as the change log tells.

Owns the way from a committed change to the index; runs in the worker. Answers no searches.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Select, select, text
from sqlalchemy.orm import Session

from app.identity.models import Agency, Jurisdiction
from app.kernel import history
from app.kernel.db import Database, lift_statement_timeout
from catalog.resources.models import Resource
from catalog.resources.record import ResourceRecord
from catalog.resources.states import PUBLISHED, RESOURCE
from catalog.search.document import SearchDocument
from catalog.search.index import CatalogIndex

EVENTS_AT_ONCE = 2_000
_REBUILD_ROWS = 1_000

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
            changed = {event.subject_id for event in events if event.kind == RESOURCE.kind}
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
