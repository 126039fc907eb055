"""What PostgreSQL takes for the questions that readers of the catalog ask, at any size: EXPLAIN ANALYZE of the
statements that the product itself sends. Owns no query of the catalog."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy import event, func, select
from sqlalchemy.orm import Session

from app.identity.models import Agency
from app.kernel import history
from app.kernel.actor import ANONYMOUS, Actor, ActorKind, Role
from app.kernel.clock import new_id
from app.kernel.db import Database
from app.kernel.wire import encode_cursor
from bench.imports import PROCESSES, fill, register
from bench.measure import show
from catalog.following import service as following
from catalog.interop import entries
from catalog.resources import service
from catalog.resources.api import Chosen, list_resources
from catalog.resources.models import Resource

Noted = list[tuple[str, Any]]


def run(database: Database, *, resources: int) -> None:
    """Bring in `resources`, then print rows, pages touched and time of each question's statements."""
    register(database)
    fill(database, resources, PROCESSES)
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
    rows = []
    with database.transaction() as session:
        for name, ask in _questions(session).items():
            with _noting(database) as noted:
                ask()
            rows.append((name, float(len(noted)), *_explained(session, noted)))
            session.expunge_all()
    show(
        f"queries of the catalog, {resources:,} resources",
        ("question", "statements", "pages touched", "planning ms", "execution ms"),
        rows,
        "Sums of the statements of a question, each explained right after it was asked: the pages are in memory.",
    )


def _questions(session: Session) -> dict[str, Callable[[], object]]:
    total = session.scalar(select(func.count()).select_from(Resource)) or 0
    middle = session.scalars(select(Resource).order_by(Resource.id).offset(total // 2).limit(1)).one()
    owner = session.get_one(Agency, middle.agency_id)
    reader = Actor(
        ActorKind.PERSON, id=new_id(), name="reader", agency_id=owner.id, jurisdiction_id=owner.jurisdiction_id,
        roles=frozenset({Role.CATALOG_ADMINISTRATOR}),
    )  # fmt: skip

    def listed(by: Actor, **chosen: Any) -> Callable[[], object]:
        return lambda: list_resources(session, by, Chosen(**chosen))

    position = session.execute(
        select(history.Event.transaction, history.Event.position)
        .where(history.Event.subject_id == middle.id, history.Event.kind == service.KIND)
    ).one()  # fmt: skip
    session.expunge_all()
    return {
        "first page of the list": listed(reader),
        "a page from the middle": listed(reader, cursor=encode_cursor(middle.id)),
        "page of one agency": listed(reader, agency=owner.id),
        "page of one sharing type and theme": listed(
            reader, sharing_type=middle.sharing_type, theme=middle.themes[0]
        ),
        "first page, not signed in": listed(ANONYMOUS),
        "one resource by id (its items with it)": lambda: service.find(session, middle.id, by=reader),
        "one resource by code": lambda: entries.find_entry(session, reader, Resource.code == middle.code),
        "1,000 events of the change log, from the middle": lambda: history.events_after(
            session, (int(position[0]), position[1])
        ),
        "100 entries of an export, from the middle": lambda: entries.page_of(
            session, reader, after=middle.id, limit=100
        ),
        "followings of a person": lambda: following.list_followings(session, by=reader),
        "what followings told": lambda: following.changes_told(
            session, by=reader, unread=True, before=None, limit=20
        ),
    }


@contextmanager
def _noting(database: Database) -> Iterator[Noted]:
    """The statements that are sent while the block lasts."""
    noted: Noted = []

    def note(_c: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        noted.append((statement, parameters))

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield noted
    finally:
        event.remove(database.engine, "before_cursor_execute", note)


def _explained(session: Session, noted: Sequence[tuple[str, Any]]) -> tuple[float, float, float]:
    """Pages touched, planning and execution ms of all these statements."""
    pages = planning = execution = 0.0
    for statement, parameters in noted:
        explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}"
        plan = session.connection().exec_driver_sql(explain, parameters).scalar_one()[0]
        pages += plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"]
        planning += plan["Planning Time"]
        execution += plan["Execution Time"]
    return pages, planning, execution
