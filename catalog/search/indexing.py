"""The index kept up with the catalog: resources become search documents as the change log tells.

Owns the way from a committed change to the index; runs in the worker. Answers no searches.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, select, text
from sqlalchemy.orm import Session

from app.identity.models import Agency, Jurisdiction
from app.kernel import history
from app.kernel.db import Database, lift_statement_timeout
from catalog.resources.codes import Channel
from catalog.resources.models import Resource
from catalog.resources.states import PUBLISHED, RESOURCE
from catalog.search.document import SearchDocument
from catalog.search.index import CatalogIndex

EVENTS_AT_ONCE = 2_000
_REBUILD_ROWS = 1_000

_COLUMNS = (
    Resource.id, Resource.code, Resource.title, Resource.title_en, Resource.state, Resource.updated_at,
    Resource.is_open, Resource.openness, Resource.sharing_type, Resource.themes, Resource.base_library,
    Resource.update_cycle, Resource.format_class, Resource.grade, Resource.agency_id, Resource.record,
    Agency.name.label("agency_name"), Jurisdiction.code.label("jurisdiction"),
)  # fmt: skip


def to_document(row: Row[Any]) -> SearchDocument:
    """A resource, as `_rows` reads it, as search sees it. The record is read as it is stored: to check it again
    would cost more than all the rest."""
    record = row.record
    items = dict.fromkeys(
        name for item in record.get("items", ()) for name in (item["name"], item.get("name_en")) if name
    )
    mode = record.get("sharing", {}).get("mode") or {}
    published = row.state == PUBLISHED
    return SearchDocument(
        id=str(row.id),
        title=row.title,
        title_en=row.title_en or "",
        code=row.code,
        abstract=record.get("description") or record.get("abstract") or "",
        items=tuple(items),
        keywords=(*record.get("keywords", ()), *record.get("categories", ())),
        agency_id=str(row.agency_id),
        agency_name=row.agency_name,
        jurisdiction=row.jurisdiction,
        published=published,
        open=published and row.is_open,
        updated_at=row.updated_at,
        sharing_type=row.sharing_type or "",
        openness=row.openness,
        themes=tuple(row.themes),
        base_library=row.base_library or "",
        update_cycle=row.update_cycle or "",
        format=row.format_class or "",
        mode=mode.get("type") or mode.get("channel", Channel.PLATFORM) if mode else "",
        grade=row.grade or "",
        state=row.state,
    )


def document_of(session: Session, resource_id: UUID) -> SearchDocument:
    """One resource as search sees it, as it stands in the transaction."""
    return to_document(session.execute(_rows().where(Resource.id == resource_id)).one())


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


def _rows() -> Select[Any]:
    query = select(*_COLUMNS).select_from(Resource).join(Agency, Agency.id == Resource.agency_id)
    return query.join(Jurisdiction, Jurisdiction.id == Resource.jurisdiction_id)


def _documents(session: Session, rows: Select[Any]) -> Iterator[SearchDocument]:
    return map(to_document, session.execute(rows))


def _read_position(position: str) -> tuple[int, int]:
    transaction, _, place = position.partition(":")
    return int(transaction), int(place)


def _write_position(cursor: tuple[int, int]) -> str:
    return f"{cursor[0]}:{cursor[1]}"
