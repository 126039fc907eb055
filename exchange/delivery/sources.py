"""Providers' data where it is: an HTTP API or a PostgreSQL table, read page by page.

Owns limits against slow, oversized, endless and malformed answers. Lets nothing through but what a
CompiledTerms admits; the rest is dropped here and never seen above.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from decimal import Decimal
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
from exchange.delivery.http_provider import HttpProvider
from exchange.delivery.masked_sql import rows_wanted
from exchange.delivery.pages import Fetch, Lines, Page, ProviderFailed, ProviderTooSlow
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


class Providers:
    """The providers of one gateway, one per source; holds their connections."""

    def __init__(
        self, page_limit_bytes: int = PAGE_LIMIT_BYTES, private: tuple[Network, ...] = EVERYWHERE
    ) -> None:
        """`private` are the networks, beside the public ones, in which providers may be."""
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

    async def _pages(
        self, compiled: CompiledTerms, statement: bytes, values: tuple[object, ...]
    ) -> AsyncGenerator[Page]:
        encode, codes, project = self._encode, compiled.items, compiled.project
        try:
            await self.pool.open()  # opens once; later calls return at once
            async with self.pool.connection() as connection, connection.cursor(name="delivery") as cursor:
                await cursor.execute(statement, values)
                is_last = False
                while not is_last:
                    rows = await cursor.fetchmany(ROWS_PER_FETCH)
                    is_last = len(rows) < ROWS_PER_FETCH
                    yield Lines(
                        [encode(project(dict(zip(codes, row, strict=True)))) for row in rows], is_last
                    )
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
