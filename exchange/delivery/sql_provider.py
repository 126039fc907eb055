"""A provider's database of any kind that SQLAlchemy speaks to: one table or view, its rows streamed.

Owns what of the terms is said in SQL. The database leaves out columns that are not agreed and rows that the scope
cannot cover; what leaves is still judged and masked by the compiler, record by record, because collations and types mean
something else in each database. SQLAlchemy and the drivers are loaded by the first call that needs them.
"""

from __future__ import annotations

import asyncio
import math
import operator as operators
import sqlite3
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from decimal import Decimal
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any

import msgspec

from app.kernel.outbound import NotReachable, Outbound
from app.kernel.text import Text
from exchange.compiler import CompiledTerms
from exchange.delivery import protocol
from exchange.delivery.pages import Fetch, Lines, Page, ProviderFailed, ProviderTooSlow
from exchange.scope import Both, Comparison, Condition, Either
from exchange.terms import Constant, Full

ROWS_PER_PAGE = 500
CONNECTIONS = 8  # at once to one database
_FAILED = Text("读取提供方数据库失败（{e}）", "The provider's database cannot be read ({e})")

_COMPARED: dict[str, Callable[[Any, Any], Any]] = {
    "=": operators.eq, "<>": operators.ne, "<": operators.lt, "<=": operators.le,
    ">": operators.gt, ">=": operators.ge,
}  # fmt: skip


class SqlProvider:
    """One table; `files` is the folder below which a file of SQLite may lie, None where this gateway reads none."""

    def __init__(self, source: protocol.SqlSource, outbound: Outbound, files: Path | None) -> None:
        if not source.key:
            raise ValueError("a table needs a key to order its rows by")
        self._source = source
        self._outbound = outbound
        self._files = files
        self._threads = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="database")
        self._opening = Lock()
        self._engine: Any = None
        self._encode = msgspec.json.Encoder(decimal_format="number", enc_hook=str).encode

    def prepare(self, compiled: CompiledTerms) -> Fetch:
        def fetch(limit: int, offset: int) -> AsyncGenerator[Page]:
            return self._pages(compiled, limit, offset)

        return fetch

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._engine is not None:
            self._engine.dispose()

    async def _pages(self, compiled: CompiledTerms, limit: int, offset: int) -> AsyncGenerator[Page]:
        loop, reading = asyncio.get_running_loop(), Lock()
        records = self._lines(compiled, limit, offset)

        def read() -> list[bytes]:
            with reading:
                return list(islice(records, ROWS_PER_PAGE))

        def leave() -> None:  # after the read that may still be under way
            with reading:
                records.close()

        is_last = False
        try:
            while not is_last:
                async with asyncio.timeout(self._source.timeout_s):
                    lines = await loop.run_in_executor(self._threads, read)
                is_last = len(lines) < ROWS_PER_PAGE
                yield Lines(lines, is_last)
        except TimeoutError:
            raise ProviderTooSlow() from None
        finally:
            with suppress(RuntimeError):  # of a gateway that has stopped
                self._threads.submit(leave)

    def _lines(self, compiled: CompiledTerms, limit: int, offset: int) -> Generator[bytes]:
        """What leaves, each record as JSON. Blocks. Raises ProviderFailed."""
        from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 - other gateways do without

        codes = read_of(compiled)
        try:
            statement = self._statement(compiled, codes)
            if not compiled.looks_at:
                statement, offset = statement.limit(limit).offset(offset), 0
            with self._opened().connect() as connection:
                rows = connection.execution_options(yield_per=ROWS_PER_PAGE).execute(statement)
                yield from islice(self._admitted(compiled, codes, rows), offset, offset + limit)
        except NotReachable as error:
            raise ProviderFailed(_FAILED.with_(e=error.detail)) from None
        # drivers raise what SQLAlchemy does not know where it has none, cannot be loaded or gets odd bytes
        except (SQLAlchemyError, ImportError, OSError, ValueError) as error:
            raise ProviderFailed(_FAILED.with_(e=type(error).__name__)) from None

    def _admitted(self, compiled: CompiledTerms, codes: list[str], rows: Any) -> Generator[bytes]:
        unread = dict.fromkeys(compiled.items)  # what a mask hides whole is never fetched
        for row in rows:
            record = unread | dict(zip(codes, map(_value, row), strict=True))
            if compiled.admits(record):
                yield self._encode(compiled.project(record))

    def _statement(self, compiled: CompiledTerms, codes: list[str]) -> Any:
        import sqlalchemy as sa  # noqa: PLC0415

        source = self._source
        schema, _, name = source.table.rpartition(".")
        columns: dict[str, Any] = {
            code: sa.column(source.columns.get(code, code)) for code in [*codes, *compiled.looks_at]
        }
        chosen: list[Any] = [columns[code].label(f"c{n}") for n, code in enumerate(codes)]
        table = sa.table(name, schema=schema or None)
        statement = sa.select(*(chosen or [sa.literal(1)])).select_from(table)
        if compiled.condition is not None:
            where = implied_by(compiled.condition, columns)
            statement = statement if where is None else statement.where(where)
        return statement.order_by(*(sa.column(column) for column in source.key))

    def _opened(self) -> Any:
        import sqlalchemy as sa  # noqa: PLC0415

        url = sa.make_url(self._source.url)
        if url.get_backend_name() != "sqlite":
            assert url.host is not None, "judged at registration"
            self._outbound.addresses(url.host, url.port or 0)  # raises where no provider's data can be
        with self._opening:
            if self._engine is None:
                self._engine = self._engine_of(url)
        return self._engine

    def _engine_of(self, url: Any) -> Any:
        import sqlalchemy as sa  # noqa: PLC0415

        if url.get_backend_name() != "sqlite":
            return sa.create_engine(
                url, pool_size=CONNECTIONS, max_overflow=0, pool_timeout=self._source.timeout_s,
                pool_pre_ping=True, hide_parameters=True,
            )  # fmt: skip
        folder = self._files.resolve() if self._files is not None else None
        path = None if folder is None else (folder / (url.database or "")).resolve()
        if folder is None or path is None or not path.is_relative_to(folder) or not path.is_file():
            raise ProviderFailed(Text("网关上没有该文件", "There is no such file at the gateway"))
        address = f"{path.as_uri()}?mode=ro"

        def connect() -> sqlite3.Connection:
            return sqlite3.connect(address, uri=True, check_same_thread=False, timeout=self._source.timeout_s)

        return sa.create_engine("sqlite://", creator=connect, poolclass=sa.NullPool)


def read_of(compiled: CompiledTerms) -> list[str]:
    """The items to be read: agreed ones, but for those that a mask hides whole, and those that the scope looks at."""
    shown = [code for code, mask in compiled.masks.items() if not isinstance(mask, Full | Constant)]
    return list(dict.fromkeys([*shown, *sorted(compiled.looks_at)]))


def implied_by(condition: Condition, columns: dict[str, Any]) -> Any:
    """A condition in SQL that holds of every record that `condition` covers, in any database; None where there is
    nothing to say. Texts that are equal are equal under every collation, and whole numbers are ordered alike; of order
    among texts, of dates, patterns and negations databases think differently."""
    import sqlalchemy as sa  # noqa: PLC0415

    match condition:
        case Comparison("=", item, str(value)):
            return columns[item] == sa.bindparam(None, value, sa.String)
        case Comparison(operator, item, int(value)) if not isinstance(value, bool):
            return _COMPARED[operator](columns[item], sa.bindparam(None, value, sa.BigInteger))
        case Both(parts):
            told = [found for part in parts if (found := implied_by(part, columns)) is not None]
            return sa.and_(*told) if told else None
        case Either(parts):
            told = [implied_by(part, columns) for part in parts]
            return None if not told or any(found is None for found in told) else sa.or_(*told)
        case _:
            return None


def _value(held: Any) -> object:
    """A number that JSON cannot say is null everywhere."""
    if isinstance(held, Decimal):
        return held if held.is_finite() else None
    return None if isinstance(held, float) and not math.isfinite(held) else held
