"""Providers' data where it is: an HTTP API or a PostgreSQL table, read page by page.

Owns limits against slow, oversized, endless and malformed answers. Lets nothing through but what a
CompiledTerms admits; the rest is dropped here and never seen above.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any, Protocol, assert_never
from urllib.parse import urlsplit

import msgspec
import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg_pool import AsyncConnectionPool, PoolTimeout
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import PyreqwestError, RequestTimeoutError

from app.kernel.errors import Problem
from app.kernel.text import Text
from exchange.compiler import CompiledTerms, JsonProjection
from exchange.delivery import protocol
from exchange.scope import equalities_of, quote_identifier

PAGE_LIMIT_BYTES = 8 << 20
PAGES_PER_CALL = 10_000
ROWS_PER_FETCH = 500
CONNECT_TIMEOUT_S = 5.0
CONNECTIONS_PER_DATABASE = 8


class ProviderFailed(Problem):
    """The provider's system refused, answered with something else than records, or broke off."""

    status, slug = 502, "provider-failed"
    title = Text("提供方系统返回异常", "The provider's system failed")


class ProviderTooSlow(Problem):
    status, slug = 504, "provider-too-slow"
    title = Text("提供方系统响应超时", "The provider's system did not answer in time")


@dataclass(frozen=True, slots=True)
class Page:
    """Records that may leave, each as one line of JSON; `is_last` when nothing follows."""

    records: list[bytes]
    is_last: bool


Fetch = Callable[[int, int], AsyncGenerator[Page]]


class Provider(Protocol):
    """A source made ready. `prepare` is done once per compiled terms, the fetch it gives once per call."""

    def prepare(self, compiled: CompiledTerms) -> Fetch:
        """A function of `limit` and `offset`, both counted in admitted records, giving at least one page.

        Iterating raises ProviderFailed or ProviderTooSlow.
        """
        ...


class Providers:
    """The providers of one gateway, one per source; holds their connections."""

    def __init__(self, page_limit_bytes: int = PAGE_LIMIT_BYTES) -> None:
        self._page_limit_bytes = page_limit_bytes
        self._client: Client | None = None
        self._by_source: dict[bytes, Provider] = {}
        self._pools: list[AsyncConnectionPool] = []

    def provider_of(self, source: protocol.Source) -> Provider:
        """The provider that reads `source`; the same one for the same source."""
        key = msgspec.json.encode(source)
        if key not in self._by_source:
            self._by_source[key] = self._open(source)
        return self._by_source[key]

    async def close(self) -> None:
        for pool in self._pools:
            await pool.close()
        if self._client is not None:
            await self._client.close()

    def _open(self, source: protocol.Source) -> Provider:
        match source:
            case protocol.HttpSource():
                if self._client is None:
                    self._client = _http_client()
                return HttpProvider(self._client, source, self._page_limit_bytes)
            case protocol.TableSource():
                provider = TableProvider(source)
                self._pools.append(provider.pool)
                return provider
            case _:
                assert_never(source)


def _http_client() -> Client:
    builder = (
        ClientBuilder()
        .follow_redirects(False)  # a redirect could lead anywhere, with the provider's credentials
        .no_proxy()
        .gzip(False)  # a page's limit must hold for what it unpacks to
        .brotli(False)
        .zstd(False)
        .deflate(False)
        .referer(False)
        .connect_timeout(timedelta(seconds=CONNECT_TIMEOUT_S))
        .user_agent("zhengtong-gateway")
    )
    return builder.build()


class HttpProvider:
    """A provider's HTTP API that answers with JSON records, page after page."""

    def __init__(self, client: Client, source: protocol.HttpSource, page_limit_bytes: int) -> None:
        if urlsplit(source.url).scheme not in ("http", "https"):
            raise ValueError("a provider's address must be http or https")
        self._client = client
        self._source = source
        self._page_limit_bytes = page_limit_bytes

    def prepare(self, compiled: CompiledTerms) -> Fetch:
        projection = compiled.json_projection(self._source.records_path)
        fixed = {} if compiled.condition is None else equalities_of(compiled.condition)
        passed_on = [
            (parameter, str(value).lower() if isinstance(value, bool) else str(value))
            for item, parameter in self._source.parameters.items()
            if (value := fixed.get(item)) is not None
        ]

        def fetch(limit: int, offset: int) -> AsyncGenerator[Page]:
            return self._pages(projection, passed_on, limit, offset)

        return fetch

    async def _pages(
        self, projection: JsonProjection, passed_on: list[tuple[str, str]], limit: int, offset: int
    ) -> AsyncGenerator[Page]:
        source = self._source
        before = b""
        for number in range(source.first_page, source.first_page + PAGES_PER_CALL):
            query = list(passed_on)
            if source.page_parameter is not None:
                query.append((source.page_parameter, str(number)))
            if source.size_parameter is not None:
                query.append((source.size_parameter, str(source.page_size)))
            body = await self._get(query)
            try:
                records, held = projection.records(body)
            except msgspec.DecodeError as error:
                raise ProviderFailed(
                    Text("提供方返回的内容无法解析：{e}", "The provider's answer cannot be read: {e}").with_(
                        e=error
                    )
                ) from None
            if held and body == before:  # a provider that ignores the page number would never end
                raise ProviderFailed(Text("提供方重复返回同一页", "The provider repeats one page"))
            before = body
            skipped = min(offset, len(records))
            offset -= skipped
            records = records[skipped : skipped + limit]
            limit -= len(records)
            is_last = limit == 0 or source.page_parameter is None or held < source.page_size
            yield Page(records, is_last)
            if is_last:
                return
        raise ProviderFailed(Text("提供方的分页没有尽头", "The provider's pages do not end"))

    async def _get(self, query: list[tuple[str, str]]) -> bytes:
        source = self._source
        request = (
            self._client.get(source.url)
            .headers({"Accept": "application/json", **source.headers})
            .query(query)
            .timeout(timedelta(seconds=source.timeout_s))
            .build_streamed()
        )
        try:
            async with request as response:
                if response.status != 200:
                    raise ProviderFailed(
                        Text("提供方返回状态码 {n}", "The provider answered {n}").with_(n=response.status)
                    )
                received = bytearray()
                while (chunk := await response.body_reader.read_chunk()) is not None:
                    received += chunk
                    if len(received) > self._page_limit_bytes:
                        raise ProviderFailed(
                            Text("提供方单页超过 {n} 字节", "The provider's page exceeds {n} bytes").with_(
                                n=self._page_limit_bytes
                            )
                        )
                return bytes(received)
        except RequestTimeoutError:
            raise ProviderTooSlow() from None
        except PyreqwestError as error:
            raise ProviderFailed(
                Text("与提供方的连接失败（{e}）", "The connection to the provider failed ({e})").with_(
                    e=type(error).__name__
                )
            ) from None


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
        table = ".".join(quote_identifier(part) for part in source.table.split("."))
        order = ", ".join(map(quote_identifier, source.key))
        where = compiled.sql_where(source.columns)
        condition = "" if where is None else f" WHERE {where.text}"
        statement = (
            f"SELECT {columns} FROM {table}{condition} ORDER BY {order} LIMIT %s OFFSET %s"  # quoted names
        )
        values: Sequence[object] = () if where is None else where.values

        def fetch(limit: int, offset: int) -> AsyncGenerator[Page]:
            return self._pages(compiled, statement.encode(), (*values, limit, offset))

        return fetch

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
                    yield Page([encode(project(dict(zip(codes, row, strict=True)))) for row in rows], is_last)
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
