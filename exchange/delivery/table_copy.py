"""A PostgreSQL table's agreed records as CSV by COPY: projected, chosen, ordered and masked by the database.

Owns reading COPY's stream in pieces. Refuses (CannotCopy) items whose masks SQL cannot say.
"""

from __future__ import annotations

import select
from collections.abc import Generator, Mapping
from typing import Any

import psycopg
from psycopg.pq import ExecStatus

from app.kernel.text import Text
from exchange.compiler import CompiledTerms
from exchange.delivery import protocol
from exchange.delivery.extracts import PIECE_BYTES, CannotCopy
from exchange.delivery.masked_sql import KINDS, masked_columns, rows_wanted
from exchange.delivery.pages import ProviderFailed, ProviderTooSlow
from exchange.scope import quote_identifier

CONNECT_TIMEOUT_S = 5
COPY_TIMEOUT_S = 600


class TableCopy:
    """One resource's COPY. `kinds` are the items' types as the masks see them, once rows have come."""

    def __init__(self, source: protocol.TableSource, compiled: CompiledTerms) -> None:
        self.kinds: Mapping[str, str | None] = {}
        self._source = source
        self._compiled = compiled

    def run(self, limit: int, offset: int) -> Generator[tuple[int, bytes]]:
        """Whole lines, many at a time, with how many they are. Blocks: for a thread of its own.

        Raises CannotCopy before the first row, ProviderFailed, ProviderTooSlow.
        """
        options = (
            "-c default_transaction_read_only=on -c TimeZone=UTC -c DateStyle=ISO"
            f" -c statement_timeout={COPY_TIMEOUT_S * 1000}"
        )
        try:
            with psycopg.connect(
                self._source.dsn,
                options=options,
                connect_timeout=CONNECT_TIMEOUT_S,
                autocommit=True,
                client_encoding="utf8",
            ) as connection:
                statement = self._statement(connection, limit, offset)
                yield from _pieces(connection, statement)
        except psycopg.errors.QueryCanceled:
            raise ProviderTooSlow() from None
        except psycopg.Error as error:
            message = Text("读取提供方数据表失败（{e}）", "The provider's table cannot be read ({e})")
            raise ProviderFailed(message.with_(e=type(error).__name__)) from None

    def _statement(self, connection: psycopg.Connection[Any], limit: int, offset: int) -> bytes:
        source, compiled = self._source, self._compiled
        rest, values = rows_wanted(compiled, source)
        plain = ", ".join(quote_identifier(source.columns.get(code, code)) for code in compiled.items)
        described = connection.execute(f"SELECT {plain}{rest}".encode(), (*values, 0, 0)).description or []
        kinds = {
            code: KINDS.get(column.type_display.partition("(")[0])
            for code, column in zip(compiled.items, described, strict=True)
        }
        columns = masked_columns(compiled, kinds, source.columns)
        if columns is None:
            raise CannotCopy
        self.kinds = kinds
        query = f"COPY (SELECT {', '.join(columns)}{rest}) TO STDOUT (FORMAT csv, FORCE_QUOTE *)"
        with psycopg.ClientCursor(connection) as cursor:
            return cursor.mogrify(query.encode(), (*values, limit, offset)).encode()


def _pieces(connection: psycopg.Connection[Any], statement: bytes) -> Generator[tuple[int, bytes]]:
    """libpq's own calls: psycopg's COPY costs several times as much for each row."""
    pgconn = connection.pgconn
    begun = pgconn.exec_(statement)
    if begun.status != ExecStatus.COPY_OUT:
        raise psycopg.errors.error_from_result(begun)
    held: list[memoryview] = []
    size = 0
    while True:
        length, line = pgconn.get_copy_data(1)
        if length > 0:
            held.append(line)
            size += length
            if size < PIECE_BYTES:
                continue
        elif length == 0:
            select.select(
                [pgconn.socket], [], []
            )  # waits without the interpreter's lock, as blocking libpq may not
            pgconn.consume_input()
            continue
        if held:
            yield len(held), b"".join(held)
            held.clear()
            size = 0
        if length < 0:
            break
    while (ended := pgconn.get_result()) is not None:
        if ended.status != ExecStatus.COMMAND_OK:
            raise psycopg.errors.error_from_result(ended)
