"""Bulk: extracts of one table made and fetched over HTTP at a real gateway, beside COPY of the same query.

Projection, row filter and masks are on. Memory is the gateway's peak, read from the system.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import psycopg

from app.kernel.db import Database
from bench.measure import show
from exchange.delivery.protocol import FileSource, Source, TableSource
from exchange.terms import ItemTerm, LastN, Mask, Method, RegionOnly, Unmasked, YearOnly
from tests.delivery.agreed import QUOTA, RESOURCE, agreed
from tests.delivery.world import World, running_world

CHUNK = 16 << 20  # bytes of a range
KEPT = ("name", "credit_code", "status", "capital", "legal_person_id", "founded", "district", "employees")
MASKED: dict[str, Mask] = {
    "legal_person_id": LastN(keep=4),
    "founded": YearOnly(),
    "district": RegionOnly(keep=4),
}
SCOPE = "status = 'valid'"
# The same by hand, as a provider's administrator would write it.
_PLAIN = ", ".join(KEPT)
_BY_HAND = (
    "name, credit_code, status, capital, repeat('*', length(legal_person_id) - 4) || right(legal_person_id, 4),"
    " extract(year FROM founded)::text, left(district, 4), employees"
)
_TABLE = """
CREATE TABLE company AS SELECT
    n AS id, 'Shenzhen Example Trading Company Limited ' || lpad(n::text, 7, '0') AS name,
    '9144030' || lpad(n::text, 11, '0') AS credit_code, CASE n % 6 WHEN 5 THEN 'revoked' ELSE 'valid' END AS status,
    n * 1000::bigint AS capital, '44030519900101' || lpad((n % 10000)::text, 4, '0') AS legal_person_id,
    date '2009-11-05' + (n % 4000)::int AS founded, '440305' AS district, 'No. ' || n || ' Keyuan Road' AS address,
    '13800138000' AS phone, (n % 300)::int AS employees, 'I6510' AS industry
FROM generate_series(1, $ROWS) AS n
"""


def run(database: Database, folder: Path, *, rows: int) -> None:
    """Print seconds and ratios for a table of so many rows × 12 columns, and as many in a Parquet file."""
    url = database.url
    with psycopg.connect(url) as connection:
        connection.execute(_TABLE.replace("$ROWS", str(rows)))
        connection.execute("ALTER TABLE company ADD PRIMARY KEY (id)")
        connection.commit()
        connection.autocommit = True
        connection.execute("VACUUM ANALYZE company")
    files = folder / "files"
    files.mkdir()
    parquet, whole = files / "company.parquet", folder / "whole.csv"
    _copy(url, "COPY company TO STDOUT (FORMAT csv, HEADER)", whole)
    texts = ", ".join(
        f"'{name}': 'VARCHAR'" for name in ("credit_code", "legal_person_id", "district", "phone")
    )
    _duckdb(f"COPY (FROM read_csv('{whole}', types = {{{texts}}})) TO '{parquet}'")
    whole.unlink()
    out = folder / "out.csv"
    masked = f"COPY (SELECT {_BY_HAND} FROM company WHERE {SCOPE}) TO STDOUT (FORMAT csv)"
    plain = f"COPY (SELECT {_PLAIN} FROM company WHERE {SCOPE}) TO STDOUT (FORMAT csv)"
    table = TableSource(dsn=url, table="public.company", key=("id",), timeout_s=3000)
    held = FileSource(path="company.parquet", format="parquet")
    with _gateway(folder, files, rows) as (world, grant):
        references = {
            "COPY, masked": _timed(lambda: _copy(url, masked, out)),
            "COPY, unmasked": _timed(lambda: _copy(url, plain, out)),
            "DuckDB to CSV, masked": _timed(
                lambda: _duckdb(f"COPY (SELECT {_BY_HAND} FROM '{parquet}' WHERE {SCOPE}) TO '{out}'")
            ),
        }
        lines: list[tuple[str | float, ...]] = [
            (name, took, 1.0, "", 0.0) for name, took in references.items()
        ]
        for form, source, beside in (
            ("csv", table, "COPY, masked"),
            ("csv, by ranges", table, "COPY, masked"),
            ("arrow", table, "COPY, unmasked"),
            ("parquet", table, "COPY, unmasked"),
            ("csv", held, "DuckDB to CSV, masked"),
        ):
            extract = _Extract(world, grant, source)
            took = _timed(lambda: extract.fetch(form.partition(",")[0], "ranges" in form))  # noqa: B023
            kind = "table" if source is table else "Parquet file"
            lines.append((f"{form}, from a {kind}", took, references[beside] / took, beside, extract.peak_mb))
            extract.close()
    show(
        f"bulk: {rows:,} rows × 12 columns, projection, row filter, masks",
        ("", "seconds", "speed of the reference", "reference", "gateway's peak MB"),
        lines,
        "An extract is made, kept as a file, and fetched over HTTP; the reference writes one file.",
    )


class _Extract:
    """A gateway started anew, so that its peak of memory is this extract's."""

    def __init__(self, world: World, grant: Callable[[Source], tuple[str, str]], source: Source) -> None:
        self._world = world
        self._path, token = grant(source)
        world.gateway.stop()
        world.gateway.start()
        self._client = httpx2.Client(
            base_url=world.gateway.url,
            timeout=3000,
            trust_env=False,
            headers={"Authorization": f"Bearer {token}"},
        )
        self.peak_mb = 0.0

    def fetch(self, form: str, by_ranges: bool) -> None:
        made = self._client.post(self._path, params={"purpose": "P1", "form": form})
        if made.status_code != 201:
            raise RuntimeError(made.text)
        manifest = made.json()
        path, received = f"/v1/extracts/{manifest['id']}/data", 0
        while received < manifest["bytes"]:
            until = min(received + CHUNK, manifest["bytes"]) - 1
            headers = {"Range": f"bytes={received}-{until}"} if by_ranges else {}
            with self._client.stream("GET", path, headers=headers) as answer:
                received += sum(len(part) for part in answer.iter_raw())
        assert received == manifest["bytes"], "every byte came"
        status = Path(f"/proc/{self._world.gateway.pid}/status").read_text()
        self.peak_mb = int(status.split("VmHWM:")[1].split()[0]) / 1024

    def close(self) -> None:
        self._client.close()


@contextmanager
def _gateway(
    folder: Path, files: Path, rows: int
) -> Iterator[tuple[World, Callable[[Source], tuple[str, str]]]]:
    quota = QUOTA.model_copy(
        update={"calls_per_day": 10**6, "rows_per_day": 10**12, "rows_per_call": max(rows, 1)}
    )
    items = tuple(ItemTerm(code=code, mask=MASKED.get(code, Unmasked())) for code in KEPT)
    with running_world(folder / "gateway", call_timeout_s=3000.0, files=str(files)) as world:

        def grant(source: Source) -> tuple[str, str]:
            terms = agreed(items=items, scope=SCOPE, quota=quota, method=Method.BULK)
            agreement = world.centre.agree(terms, {str(RESOURCE): source})
            token = world.centre.grant(agreement, exp=int(time.time()) + 36_000, method="bulk")
            return f"/v1/extracts/{agreement}/{RESOURCE}", token

        yield world, grant


def _timed(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _copy(url: str, statement: str, file: Path) -> None:
    """What `psql` does with COPY … TO STDOUT: the bytes as they come, into a file."""
    with (
        psycopg.connect(url) as connection,
        connection.cursor().copy(statement) as copy,
        file.open("wb") as out,
    ):
        for part in copy:
            out.write(part)


def _duckdb(*statements: str) -> None:
    """In a process of its own, on one thread, as the gateway reads files."""
    program = "import duckdb, sys\nheld = duckdb.connect()\nfor one in sys.argv[1:]: held.execute(one)"
    subprocess.run([sys.executable, "-c", program, *statements], check=True)
