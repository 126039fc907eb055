"""The database: engine, the declarative base, and one transaction for each request or job.

Owns connections and commits. Features never commit; they are handed a session and raise.
"""

from __future__ import annotations

import select
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Annotated, Any, ClassVar, cast
from uuid import UUID

import msgspec
import psycopg
from fastapi import Depends, Request
from psycopg import sql
from sqlalchemy import DateTime, Engine, MetaData, String, Table, create_engine, event, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from app.kernel.clock import new_id, now

STATEMENT_TIMEOUT_MS = 30_000
POOL_SIZE = 10  # of 100 connections: API, worker and gateway processes stay far below together


class Base(DeclarativeBase):
    """Base of every table. Names of constraints are stable, so that migrations can address them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: DateTime(timezone=True),
        dict: JSONB,
        list: JSONB,
        str: String,
    }


class Identified:
    """Mixin: a UUID made by the service and the moment of creation."""

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    created_at: Mapped[datetime] = mapped_column(default=now)


class Stateful(Identified):
    """Mixin of an entity with a state table. `state` and `version` are written by
    `app.kernel.history.advance` alone; a database trigger refuses moves the table does not hold."""

    state: Mapped[str]
    version: Mapped[int] = mapped_column(default=1)
    updated_at: Mapped[datetime] = mapped_column(default=now)


def table_of(model: type[Any]) -> Table:
    """The table of a mapped class, for statements that go past the unit of work."""
    return cast(Table, model.__table__)


def sqlalchemy_url(url: str) -> str:
    """A libpq URL (`postgresql://…`) as SQLAlchemy names it with the psycopg driver."""
    return make_url(url).set(drivername="postgresql+psycopg").render_as_string(hide_password=False)


class Database:
    """One engine on one PostgreSQL. `url` is a libpq URL; `role` is taken on by every connection."""

    def __init__(self, url: str, *, pool_size: int = POOL_SIZE, role: str | None = None) -> None:
        self.url = url
        self.engine: Engine = create_engine(
            sqlalchemy_url(url),
            pool_size=pool_size,
            max_overflow=pool_size,
            connect_args={"application_name": "zhengtong"},
            json_deserializer=msgspec.json.decode,  # a tenth of the standard decoder's time, in every JSONB read
        )
        event.listen(self.engine, "connect", partial(_set_limits, role))
        event.listen(self.engine, "checkout", _refuse_closed)
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A session whose work is committed at the end of the block, or rolled back whole."""
        with self._sessions.begin() as session:
            yield session

    def close(self) -> None:
        self.engine.dispose()


def _set_limits(role: str | None, connection: object, _record: object) -> None:
    cursor = connection.cursor()  # type: ignore[attr-defined]  # a DB-API connection, untyped by SQLAlchemy
    cursor.execute(f"SET statement_timeout = {STATEMENT_TIMEOUT_MS}; SET timezone = 'UTC'")
    if role is not None:
        cursor.execute(f"SET ROLE {role}")
    cursor.close()
    connection.commit()  # type: ignore[attr-defined]


def _refuse_closed(connection: Any, _record: object, _proxy: object) -> None:
    """Have the pool replace a connection that the server has closed. Such a socket can be read from: this asks
    the machine, where a ping would ask the server, in every transaction."""
    readable, _, _ = select.select([connection.fileno()], [], [], 0)
    if readable:
        raise DisconnectionError


def lift_statement_timeout(session: Session) -> None:
    """Let the current transaction run long: bulk import, verification, rebuilds."""
    session.execute(text("SET LOCAL statement_timeout = 0"))


def copy_rows(
    session: Session, model: type[Any], columns: Sequence[str], rows: Iterable[Sequence[object]]
) -> None:
    """Write many rows of `columns` in the session's transaction by one COPY, at a third of what INSERT costs;
    triggers and constraints hold as ever. JSON is given as text. What the session holds must be flushed."""
    named = sql.SQL(", ").join(map(sql.Identifier, columns))
    into = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table_of(model).name), named)
    connection = cast(psycopg.Connection, session.connection().connection.driver_connection)
    with connection.cursor() as cursor, cursor.copy(into) as copy:
        for row in rows:
            copy.write_row(row)


def _request_session(request: Request) -> Iterator[Session]:
    database: Database = request.app.state.database
    with database.transaction() as session:
        yield session


# scope="function": the commit happens before the response is sent, so a failing commit reaches the
# client as an error instead of following a 200.
DbSession = Annotated[Session, Depends(_request_session, scope="function")]


def advisory_lock(session: Session | Connection, name: str) -> None:
    """Hold the lock `name` until the transaction ends; one holder in the whole database."""
    session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": name})
