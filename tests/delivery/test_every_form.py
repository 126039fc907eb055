"""Random terms over random answers of a provider, in every form that leaves: nothing but what the slow reference says."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from exchange.compiler import CompiledTerms, compile_terms
from exchange.delivery.extracts import FORMS, Extracts, Form
from exchange.delivery.file_provider import FileCopy, FileProvider
from exchange.delivery.formats import CSV, JSON, NDJSON, format_for
from exchange.delivery.pages import Page, Projected
from exchange.delivery.parquet_copy import ParquetCopy
from exchange.delivery.protocol import FileSource
from exchange.terms import ItemTerm
from tests.exchange.reference import reference
from tests.exchange.test_compiler import KEY, RESOURCE, agreed, items, records, scopes


def pages_of(compiled: CompiledTerms, held: list[dict[str, Any]]) -> AsyncGenerator[Page]:
    """The provider's answer in two pages, as the gateway reads them."""

    async def pages() -> AsyncGenerator[Page]:
        half = len(held) // 2
        for part, is_last in ((held[:half], False), (held[half:], True)):
            projection = compiled.json_projection()
            admitted, _ = projection.read(json.dumps(part, ensure_ascii=False).encode())
            yield Projected(projection, admitted, is_last)

    return pages()


async def told(compiled: CompiledTerms, held: list[dict[str, Any]], media_type: str) -> bytes:
    """The body of an answer to a call."""
    form = format_for(media_type, compiled.items)
    return form.begin() + b"".join([form.page(page) async for page in pages_of(compiled, held)]) + form.end()


def extracted(folder: Path, compiled: CompiledTerms, held: list[dict[str, Any]], form: Form) -> bytes:
    extracts = Extracts(folder)
    made = asyncio.run(
        extracts.make(compiled, None, lambda: pages_of(compiled, held), form, "none", limit=10**6, offset=0)
    )
    body = (made.folder / "data").read_bytes()
    extracts.drop(made)
    return body


def texts(compiled: CompiledTerms, expected: list[dict[str, Any]]) -> list[list[Any]]:
    """The reference as rows of texts: what is no text stands as its JSON value, absent is null."""
    return [[row.get(code) for code in compiled.items] for row in json.loads(json.dumps(expected))]


def same(cell: str | None, wanted: Any) -> bool:
    return cell == wanted if wanted is None or isinstance(wanted, str) else json.loads(cell or "") == wanted


def assert_same(rows: list[list[Any]], wanted: list[list[Any]]) -> None:
    assert len(rows) == len(wanted)
    for row, expected in zip(rows, wanted, strict=True):
        assert len(row) == len(expected)
        assert all(same(cell, value) for cell, value in zip(row, expected, strict=True)), (row, expected)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("extracts")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(items, st.none() | scopes(), st.lists(records, max_size=6))
def test_nothing_outside_the_terms_leaves_in_any_form(
    folder: Path, chosen: list[ItemTerm], scope: str | None, held: list[dict[str, Any]]
) -> None:
    terms = agreed(tuple(chosen), scope)
    compiled = compile_terms(terms, RESOURCE, mask_key=KEY)
    expected = json.loads(json.dumps(reference(terms, held, KEY)))
    wanted = texts(compiled, expected)
    heading = list(compiled.items)

    assert json.loads(asyncio.run(told(compiled, held, JSON))) == expected
    for lines in (asyncio.run(told(compiled, held, NDJSON)), extracted(folder, compiled, held, "ndjson")):
        assert [json.loads(line) for line in lines.split(b"\n") if line] == expected

    # In CSV nothing and the empty text look alike to this reader, and one item of nothing is an empty line.
    plain = [[None if value == "" else value for value in row] for row in wanted]
    for body in (asyncio.run(told(compiled, held, CSV)), extracted(folder, compiled, held, "csv")):
        first, *rows = csv.reader(io.StringIO(body.decode(), newline=""))
        assert first == heading
        assert_same([[cell or None for cell in row or [""]] for row in rows], plain)

    arrow = pa.ipc.open_stream(extracted(folder, compiled, held, "arrow")).read_all()
    table = parquet.read_table(pa.BufferReader(extracted(folder, compiled, held, "parquet")))
    for found in (arrow, table):
        assert found.column_names == heading
        assert_same([list(row.values()) for row in found.to_pylist()], wanted)


class _Held(FileProvider):
    """Rows as a file gives them: each column in every row, two rows at a time."""

    def __init__(self, held: list[dict[str, Any]]) -> None:
        super().__init__(FileSource(path="rows.csv", format="csv"), None)
        self._held = held

    def columns(self, codes: list[str]) -> Generator[list[list[object]]]:
        for start in range(0, len(self._held), 2):
            part = self._held[start : start + 2]
            yield [[row.get(code) for row in part] for code in codes]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(items, st.none() | scopes(), st.lists(records, max_size=6), st.integers(0, 3), st.integers(1, 3))
def test_nothing_outside_the_terms_leaves_of_a_file(
    chosen: list[ItemTerm], scope: str | None, held: list[dict[str, Any]], offset: int, limit: int
) -> None:
    terms = agreed(tuple(chosen), scope)
    compiled = compile_terms(terms, RESOURCE, mask_key=KEY)
    named = {*compiled.items, *compiled.looks_at}
    whole = [dict.fromkeys(named) | row for row in held]
    wanted = texts(compiled, json.loads(json.dumps(reference(terms, whole, KEY))))[offset : offset + limit]
    pieces = list(_Held(whole).copied(compiled).run(limit, offset))
    rows = csv.reader(io.StringIO(b"".join(piece for _, piece in pieces).decode(), newline=""))
    plain = [[None if value == "" else value for value in row] for row in wanted]
    assert_same([[cell or None for cell in row or [""]] for row in rows], plain)
    assert sum(count for count, _ in pieces) == len(wanted)


_KINDS: dict[pa.DataType, st.SearchStrategy[Any]] = {
    pa.string(): st.sampled_from(["", "a", '"', "110101199003074512", "2024-05-06", "11010119", "张三,李四", "12", "-3.5"]) | st.text(max_size=6),
    pa.large_string(): st.text(max_size=3),
    pa.int64(): st.integers(-(10**6), 10**6),
    pa.int16(): st.integers(-300, 300),
    pa.bool_(): st.booleans(),
    pa.float64(): st.floats(width=32),
    pa.date32(): st.dates(),
    pa.decimal128(9, 2): st.decimals(-1000, 1000, places=2),
    pa.timestamp("us"): st.datetimes(),
}  # fmt: skip


@st.composite
def tables(draw: st.DrawFn, names: list[str]) -> pa.Table:
    rows = draw(st.integers(0, 7))
    kinds = draw(st.lists(st.sampled_from(list(_KINDS)), min_size=len(names), max_size=len(names)))
    columns = [
        draw(st.lists(st.none() | _KINDS[kind].filter(_is_text), min_size=rows, max_size=rows))
        for kind in kinds
    ]
    arrays = [pa.array(values, kind) for values, kind in zip(columns, kinds, strict=True)]
    return pa.table(arrays, names=names)


def _is_text(value: object) -> bool:
    return not isinstance(value, str) or value.isprintable()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(items, st.none() | scopes(), st.integers(0, 3), st.integers(1, 9), st.data())
def test_a_parquet_file_by_whole_columns_is_what_it_is_value_by_value(
    folder: Path, chosen: list[ItemTerm], scope: str | None, offset: int, limit: int, data: st.DataObject
) -> None:
    compiled = compile_terms(agreed(tuple(chosen), scope), RESOURCE, mask_key=KEY)
    table = data.draw(tables(sorted({*compiled.items, *compiled.looks_at})))
    parquet.write_table(table, folder / "rows.parquet")
    provider = FileProvider(FileSource(path="rows.parquet", format="parquet"), folder)
    by_columns, by_values = (
        [piece for _, piece in copied.run(limit, offset)]
        for copied in (provider.copied(compiled), FileCopy(provider, compiled))
    )
    assert isinstance(provider.copied(compiled), ParquetCopy)
    assert b"".join(by_columns) == b"".join(by_values)


def test_every_form_is_there() -> None:
    assert set(FORMS) == {"csv", "ndjson", "parquet", "arrow"}
