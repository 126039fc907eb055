"""Providers' data where it is: an HTTP API or a PostgreSQL table, read page by page.

Owns limits against slow, oversized, endless and malformed answers. Lets nothing through but what a
CompiledTerms admits; the rest is dropped here and never seen above.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol, assert_never

import msgspec
import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from app.kernel.outbound import EVERYWHERE, Network, Outbound
from app.kernel.text import Text
from exchange.compiler import CompiledTerms
from exchange.delivery import protocol
from exchange.delivery.file_provider import FileProvider
from exchange.delivery.http_provider import HttpProvider
from exchange.delivery.masked_sql import rows_wanted
from exchange.delivery.pages import ChangesNotTold, Fetch, Lines, Page, ProviderFailed, ProviderTooSlow
from exchange.delivery.table_copy import TableCopy
from exchange.scope import quote_identifier

PAGE_LIMIT_BYTES = 8 << 20
ROWS_PER_FETCH = 500
CONNECT_TIMEOUT_S = 5.0
CONNECTIONS_PER_DATABASE = 8


class Provider(Protocol):
    """A source made ready. `prepare` is done once per compiled terms, the fetch it gives once per call."""

    def prepare(self, compiled: CompiledTerms) -> Fetch:
        """A function of `limit` and `offset`, both counted in admitted records, giving at least one page.

        Iterating raises ProviderFailed or ProviderTooSlow.
        """
        ...


class Database(Provider, Protocol):
    """A provider that holds connections until it is closed."""

    def close(self) -> None: ...


Databases = Callable[[protocol.SqlSource, Outbound, Path | None], Database]


class Providers:
    """The providers of one gateway, one per source; holds their connections."""

    def __init__(
        self,
        page_limit_bytes: int = PAGE_LIMIT_BYTES,
        private: tuple[Network, ...] = EVERYWHERE,
        files: Path | None = None,
        databases: Databases | None = None,
    ) -> None:
        """`private` are the networks, beside the public ones, in which providers may be; `files` the folder that their
        files may lie in; `databases` opens those that are no PostgreSQL, None where this gateway reads none."""
        self._databases = databases
        self._closing: list[Database] = []
        self._files = files
        self._page_limit_bytes = page_limit_bytes
        self._outbound = Outbound(private)
        self._http: list[HttpProvider] = []
        self._by_source: dict[bytes, Provider] = {}
        self._pools: list[AsyncConnectionPool] = []

    def provider_of(self, source: protocol.Source) -> Provider:
        """The provider that reads `source`; the same one for the same source."""
        key = msgspec.json.encode(source)
        if key not in self._by_source:
            self._by_source[key] = self._open(source)
        return self._by_source[key]

    def paused(self) -> list[str]:
        """The hosts that have failed too often just now."""
        return sorted({http.upstream.host for http in self._http if http.upstream.breaker.is_open})

    async def close(self) -> None:
        for pool in self._pools:
            await pool.close()
        for provider in self._http:
            provider.close()
        for database in self._closing:
            database.close()

    def _open(self, source: protocol.Source) -> Provider:
        match source:
            case protocol.HttpSource():
                http = HttpProvider(source, self._outbound, self._page_limit_bytes)
                self._http.append(http)
                return http
            case protocol.TableSource():
                provider = TableProvider(source)
                self._pools.append(provider.pool)
                return provider
            case protocol.FileSource():
                return FileProvider(source, self._files)
            case protocol.SqlSource():
                if self._databases is None:
                    raise ValueError("this gateway reads no databases but PostgreSQL")
                database = self._databases(source, self._outbound, self._files)
                self._closing.append(database)
                return database
            case _:
                assert_never(source)


class _RawJson(Loader):
    """Leaves a JSON column as the bytes it is, so that no number in it changes."""

    def load(self, data: Buffer) -> msgspec.Raw:
        return msgspec.Raw(bytes(data))


class _FiniteNumber(Loader):
    """Exact numbers; NaN and infinities, which JSON cannot say, as null."""

    def load(self, data: Buffer) -> Decimal | None:
        number = Decimal(bytes(data).decode())
        return number if number.is_finite() else None


async def _as_gateway_reads(connection: psycopg.AsyncConnection[Any]) -> None:
    connection.adapters.register_loader("numeric", _FiniteNumber)
    for name in ("json", "jsonb"):
        connection.adapters.register_loader(name, _RawJson)


class TableProvider:
    """A PostgreSQL table: projection, scope, order and limit are done by the database, rows are streamed."""

    def __init__(self, source: protocol.TableSource) -> None:
        if not source.key:
            raise ValueError("a table source needs a key to order its rows by")
        self._source = source
        milliseconds = int(source.timeout_s * 1000)
        options = f"-c default_transaction_read_only=on -c TimeZone=UTC -c statement_timeout={milliseconds}"
        self.pool = AsyncConnectionPool(
            source.dsn,
            min_size=0,
            max_size=CONNECTIONS_PER_DATABASE,
            timeout=source.timeout_s,
            kwargs={"options": options, "connect_timeout": int(CONNECT_TIMEOUT_S)},
            configure=_as_gateway_reads,
            check=AsyncConnectionPool.check_connection,  # a provider that restarted leaves dead ones behind
            open=False,
        )
        self._encode = msgspec.json.Encoder(decimal_format="number", enc_hook=str).encode

    def prepare(self, compiled: CompiledTerms) -> Fetch:
        source = self._source
        columns = ", ".join(quote_identifier(source.columns.get(code, code)) for code in compiled.items)
        rest, values = rows_wanted(compiled, source)
        statement = f"SELECT {columns}{rest}"  # quoted names

        def fetch(limit: int, offset: int) -> AsyncGenerator[Page]:
            return self._pages(compiled, statement.encode(), (*values, limit, offset))

        return fetch

    def copied(self, compiled: CompiledTerms) -> TableCopy:
        """The same records, written by the database itself."""
        return TableCopy(self._source, compiled)

    def changes(self, compiled: CompiledTerms, since: str) -> TableChanges:
        """The agreed records that changed after the mark `since`; all of them for none, or one of another table."""
        return TableChanges(self, compiled, since)

    async def _pages(
        self, compiled: CompiledTerms, statement: bytes, values: tuple[object, ...]
    ) -> AsyncGenerator[Page]:
        async with self.reading() as connection:
            async for page in self.read(connection, compiled, statement, values):
                yield page

    async def read(
        self,
        connection: psycopg.AsyncConnection[Any],
        compiled: CompiledTerms,
        statement: bytes,
        values: tuple[object, ...],
    ) -> AsyncGenerator[Page]:
        """The records that a statement selects, in the connection's transaction."""
        encode, codes, project = self._encode, compiled.items, compiled.project
        async with connection.cursor(name="delivery") as cursor:
            await cursor.execute(statement, values)
            is_last = False
            while not is_last:
                rows = await cursor.fetchmany(ROWS_PER_FETCH)
                is_last = len(rows) < ROWS_PER_FETCH
                yield Lines([encode(project(dict(zip(codes, row, strict=True)))) for row in rows], is_last)

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[psycopg.AsyncConnection[Any]]:
        """A connection in a transaction that only reads. Raises ProviderFailed, ProviderTooSlow for what fails in it."""
        try:
            await self.pool.open()  # opens once; later calls return at once
            async with self.pool.connection() as connection:
                yield connection
        except (psycopg.errors.QueryCanceled, PoolTimeout):
            raise ProviderTooSlow() from None
        except psycopg.errors.UndefinedFunction:
            raise ProviderFailed(
                Text(
                    "条件与数据表的列类型不符", "The condition does not fit the types of the table's columns"
                )
            ) from None
        except psycopg.Error as error:
            raise ProviderFailed(
                Text("读取提供方数据表失败（{e}）", "The provider's table cannot be read ({e})").with_(
                    e=type(error).__name__
                )
            ) from None

    @property
    def source(self) -> protocol.TableSource:
        return self._source


class TableChanges:
    """The records of a table that changed since a mark, read in one snapshot; `mark` is the next one, known with the
    first page.

    The mark is PostgreSQL's own: every transaction before the oldest one still running has ended, so what those
    wrote is in this snapshot, and what any later one writes bears a number at or above it and is found next
    time, however late it commits and whatever times it wrote. A record may come twice, and none is left out.
    Numbers mean nothing in another cluster, timeline or table: then everything comes again. Removed records do
    not come. Raises ChangesNotTold where the source is no table.
    """

    def __init__(self, provider: TableProvider, compiled: CompiledTerms, since: str) -> None:
        self.mark = ""
        self._provider = provider
        self._compiled = compiled
        self._since = since

    async def pages(self) -> AsyncGenerator[Page]:
        async with self._provider.reading() as connection:
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            since = await self._place(connection)
            source, compiled = self._provider.source, self._compiled
            columns = ", ".join(quote_identifier(source.columns.get(code, code)) for code in compiled.items)
            also = None if since is None else "age(kept.xmin) <= age(%s::xid)"
            rest, values = rows_wanted(compiled, source, also)
            bound = values if since is None else (*values, str(since % 2**32))
            statement = f"SELECT {columns}{rest}".encode()
            async for page in self._provider.read(connection, compiled, statement, (*bound, None, 0)):
                yield page

    async def _place(self, connection: psycopg.AsyncConnection[Any]) -> int | None:
        """Set the next mark; the transaction number from which on records are wanted, None for all."""
        source = self._provider.source
        table = ".".join(quote_identifier(part) for part in source.table.split(".")).replace("%%", "%")
        cursor = await connection.execute(
            "SELECT (SELECT system_identifier FROM pg_control_system()),"
            " (SELECT timeline_id FROM pg_control_checkpoint()), oid::bigint, relkind::text,"
            " pg_snapshot_xmin(pg_current_snapshot())::text::bigint,"
            " pg_snapshot_xmax(pg_current_snapshot())::text::bigint FROM pg_class WHERE oid = %s::regclass",
            (table,),
        )
        found = await cursor.fetchone()
        if found is None or found[3] not in ("r", "m", "p"):
            raise ChangesNotTold()
        cluster, timeline, oid, _, oldest, following = found
        columns = hashlib.sha256(msgspec.json.encode(sorted(source.columns.items()))).hexdigest()[:16]
        of = f"{cluster}.{timeline}.{oid}.{columns}:"
        self.mark = f"{of}{oldest}"
        before, _, since = self._since.rpartition(":")
        if f"{before}:" != of or not 0 <= following - int(since) < 2**31 - 1:
            return None
        return int(since)
