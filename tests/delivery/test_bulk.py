"""Extracts through a real gateway process: every form holds what the slow reference says, and comes by ranges."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
import json
from collections.abc import AsyncGenerator, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import httpx2
import psycopg
import pyarrow as pa
import pytest
from pyarrow import parquet

from exchange.compiler import compile_terms
from exchange.delivery.extracts import Extracts, Form
from exchange.delivery.pages import Page
from exchange.delivery.protocol import TableSource
from exchange.masks import HIDDEN
from exchange.scope import parse_scope
from exchange.terms import ItemTerm, LastN, Method, Quota, Range, RegionOnly, SmallCount, YearOnly
from tests.delivery.agreed import RESOURCE, agreed
from tests.delivery.world import MASK_KEY, World, running_world
from tests.exchange.reference import reference_covers, reference_mask

SCOPE = "status = '在营' AND n < 400"
QUOTA = Quota(calls_per_day=1000, rows_per_day=100_000, rows_per_call=5000)
NAMES = ['企业"甲"', "a,b\nc", "", None, "100%", "\\.", "ab"]
ITEMS = (
    ItemTerm(code="name"),
    ItemTerm(code="n"),
    ItemTerm(code="tail", mask=LastN(keep=2)),
    ItemTerm(code="capital", mask=Range(width=1000)),
    ItemTerm(code="region", mask=RegionOnly(keep=2)),
    ItemTerm(code="born", mask=YearOnly()),
    ItemTerm(code="counted", mask=SmallCount(below=5)),
)
ROWS: list[dict[str, Any]] = [
    {
        "n": n,
        "name": NAMES[n % len(NAMES)],
        "tail": NAMES[(n + 3) % len(NAMES)],
        "capital": [n * 37 - 5000, None, 0][n % 3],
        "region": ["440305", "四四03", None][n % 3],
        "born": ["2001-05-06", "１９９９-01-01", "1999", "19990101", "99-1-1", None][n % 6],
        "counted": (n % 9) - 1,
        "status": ["在营", "注销"][n % 5 == 0],
        "secret": "never",
    }
    for n in range(600)
]


def expected() -> list[list[str | None]]:
    """As text, by the reference alone."""
    scope, key = parse_scope(SCOPE), bytes.fromhex(MASK_KEY)
    kept = [row for row in ROWS if reference_covers(scope, row) is True]
    shown = [[reference_mask(item.mask, row[item.code], key) for item in ITEMS] for row in kept]
    return [[None if value is None else str(value) for value in row] for row in shown]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running_world(tmp_path_factory.mktemp("gateway")) as running:
        yield running


@pytest.fixture(scope="module")
def table(server: str) -> TableSource:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE bulk_records (n int PRIMARY KEY, name text, tail text, capital bigint, region text,"
            " born text, counted int, status text, secret text)"
        )
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO bulk_records (n, name, tail, capital, region, born, counted, status, secret) VALUES"
                " (%(n)s, %(name)s, %(tail)s, %(capital)s, %(region)s, %(born)s, %(counted)s, %(status)s, %(secret)s)",
                ROWS,
            )
    return TableSource(dsn=server, table="bulk_records", key=("n",))


def call(world: World, method: str, path: str, token: str, **headers: str) -> httpx2.Response:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    sent["authorization"] = f"Bearer {token}"
    return world.gateway.client.request(method, world.gateway.url + path, headers=sent)


def agree(world: World, table: TableSource, **changed: Any) -> tuple[str, str]:
    terms = agreed(**({"items": ITEMS, "scope": SCOPE, "method": Method.BULK, "quota": QUOTA} | changed))
    agreement = world.centre.agree(terms, {str(RESOURCE): table})
    return agreement, world.centre.grant(agreement)


def made(world: World, agreement: str, token: str, query: str = "") -> httpx2.Response:
    return call(world, "POST", f"/v1/extracts/{agreement}/{RESOURCE}?purpose=P1{query}", token)


def rows_of(form: str, body: bytes) -> list[list[str | None]]:
    if form == "csv":
        quoted = [list(row) for row in csv.reader(io.StringIO(body.decode(), newline=""))][1:]
        return [[value or None for value in row] for row in quoted]
    if form == "ndjson":
        read = [list(json.loads(line).values()) for line in body.splitlines()]
    else:
        source = pa.BufferReader(body)
        found = parquet.read_table(source) if form == "parquet" else pa.ipc.open_stream(source).read_all()
        read = [list(row.values()) for row in found.to_pylist()]
    return [[None if value is None else str(value) for value in row] for row in read]


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
@pytest.mark.parametrize("form", ["csv", "ndjson", "parquet", "arrow"])
def test_an_extract_holds_what_was_agreed(
    world: World, table: TableSource, form: str, compression: str
) -> None:
    agreement, token = agree(world, table)
    answer = made(world, agreement, token, f"&form={form}&compression={compression}")
    assert answer.status_code == 201, answer.text
    manifest = answer.json()
    body = call(world, "GET", answer.headers["location"] + "/data", token)
    assert hashlib.sha256(body.content).hexdigest() == manifest["sha256"]
    plain = body.content
    if compression != "none" and (form in ("csv", "ndjson") or (form, compression) == ("arrow", "gzip")):
        plain = pa.CompressedInputStream(pa.BufferReader(plain), compression).read()
    want = expected()
    if form == "csv":  # this reader cannot tell the empty text from null; the other forms can
        want = [[value or None for value in row] for row in want]
    assert rows_of(form, plain) == want
    assert (manifest["rows"], manifest["is_last"]) == (len(want), True)
    assert b"never" not in plain
    receipt = world.centre.receipt(manifest["receipt"])
    assert (receipt.outcome.rows, receipt.outcome.sha256) == (len(want), manifest["sha256"])
    sent = world.centre.receipt(body.headers["zhengtong-receipt"]).outcome
    assert (sent.result, sent.rows, sent.bytes) == ("delivered", 0, len(body.content))


def test_a_table_is_written_in_many_batches(tmp_path: Path) -> None:
    """Pieces of whole lines larger than a batch, and an end of lines inside a value."""

    class Pieces:
        def __init__(self) -> None:
            self.kinds: Mapping[str, str | None] = {"n": "whole", "name": "text"}

        def run(self, limit: int, offset: int) -> Generator[tuple[int, bytes]]:
            for n in range(offset, limit):
                yield 2, f'"{n}",\n"{-n}","{n}\n{"甲" * 200_000}"\n'.encode()

    terms = agreed(items=(ItemTerm(code="n"), ItemTerm(code="name")), method=Method.BULK)
    compiled = compile_terms(terms, RESOURCE, mask_key=bytes(16))
    extracts = Extracts(tmp_path)

    async def never() -> AsyncGenerator[Page]:
        raise AssertionError
        yield

    for form in get_args(Form)[2:]:
        making = extracts.make(compiled, Pieces(), never, form, "none", limit=20, offset=0)
        made = asyncio.run(making)
        source = pa.BufferReader((made.folder / "data").read_bytes())
        found = parquet.read_table(source) if form == "parquet" else pa.ipc.open_stream(source).read_all()
        assert found["n"].to_pylist() == [number for n in range(20) for number in (n, -n)]
        assert found["name"].to_pylist()[:3] == [None, "0\n" + "甲" * 200_000, None]
        assert found["n"].num_chunks > 1
        assert (made.rows, [column.type for column in made.columns]) == (40, ["int64", "string"])


def test_years_of_dates_at_the_ends_of_time(world: World, server: str) -> None:
    told = ["0001-01-01", "9999-12-31", "10000-01-01", "infinity", "-infinity", "0044-03-15 BC", None]
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("CREATE TABLE bulk_days (n int PRIMARY KEY, born date)")
        for n, day in enumerate(told):
            connection.execute("INSERT INTO bulk_days VALUES (%s, %s)", (n, day))
    items = (ItemTerm(code="born", mask=YearOnly()),)
    agreement, token = agree(
        world, TableSource(dsn=server, table="bulk_days", key=("n",)), items=items, scope=None
    )
    answer = made(world, agreement, token, "&form=parquet")
    body = call(world, "GET", answer.headers["location"] + "/data", token).content
    assert rows_of("parquet", body) == [["0001"], ["9999"], *[[HIDDEN]] * 4, [None]]


def test_an_extract_comes_by_ranges_and_survives_a_kill(world: World, table: TableSource) -> None:
    agreement, token = agree(world, table)
    manifest = made(world, agreement, token).json()
    path, size = f"/v1/extracts/{manifest['id']}/data", manifest["bytes"]
    first = call(world, "GET", path, token, range="bytes=0-999")
    assert (first.status_code, first.headers["content-range"]) == (206, f"bytes 0-999/{size}")
    world.gateway.kill()
    world.gateway.start()
    rest = call(world, "GET", path, token, range="bytes=1000-", if_range=first.headers["etag"])
    assert hashlib.sha256(first.content + rest.content).hexdigest() == manifest["sha256"]
    beyond = call(world, "GET", path, token, range=f"bytes={size}-")
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{size}")


def test_only_who_may_fetch_today_has_the_extract(world: World, table: TableSource) -> None:
    agreement, token = agree(world, table)
    path = f"/v1/extracts/{made(world, agreement, token).json()['id']}/data"
    other = world.centre.grant(agreement, agency="somebody")
    assert call(world, "GET", path, other).status_code == 404
    assert call(world, "GET", path, world.centre.grant(agreement, items=["name"])).status_code == 404
    entry = world.centre.entries[agreement]
    terms = agreed(items=ITEMS, scope=SCOPE, method=Method.BULK, quota=QUOTA)
    world.centre.set(agreement, terms, dict(entry.sources), state="suspended")
    refused = call(world, "GET", path, token)
    assert (refused.status_code, refused.json()["type"]) == (403, "/problems/agreement-not-in-force")


def test_what_is_not_agreed_is_not_extracted(world: World, table: TableSource) -> None:
    agreement, token = agree(world, table)
    beyond = made(world, agreement, token, "&items=secret")
    assert beyond.json()["type"] == "/problems/item-not-agreed"
    assert world.centre.receipt(beyond.json()["receipt"]).outcome.result == "refused"
    assert made(world, agreement, token, "&form=pdf").status_code == 422
    agreement, token = agree(world, table, method=Method.API)
    assert made(world, agreement, token).json()["type"] == "/problems/method-not-agreed"


def test_rows_of_an_extract_count_once(world: World, table: TableSource) -> None:
    rows = len(expected())
    quota = Quota(calls_per_day=1000, rows_per_day=rows + 10, rows_per_call=rows + 10)
    agreement, token = agree(world, table, quota=quota)
    manifest = made(world, agreement, token).json()
    for _ in range(2):
        assert call(world, "GET", f"/v1/extracts/{manifest['id']}/data", token).status_code == 200
    assert made(world, agreement, token).json()["rows"] == 10
    assert made(world, agreement, token).json()["type"] == "/problems/quota-used-up"


def test_a_key_makes_one_extract_however_often_it_is_asked_for(world: World, table: TableSource) -> None:
    agreement, token = agree(world, table)
    path = f"/v1/extracts/{agreement}/{RESOURCE}?purpose=P1"
    first = call(world, "POST", path, token, idempotency_key="k1")
    assert call(world, "POST", path, token, idempotency_key="k1").json() == first.json()
    world.gateway.kill()
    world.gateway.start()
    again = call(world, "POST", path, world.centre.grant(agreement), idempotency_key="k1")
    assert (again.status_code, again.json()) == (201, first.json())
    other = call(world, "POST", path + "&form=ndjson", token, idempotency_key="k1")
    assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-key-reused")
    somebody = world.centre.grant(agreement, sub="another-app")
    assert call(world, "POST", path, somebody, idempotency_key="k1").json()["id"] != first.json()["id"]
    assert call(world, "POST", path, token, idempotency_key="k" * 201).status_code == 422
