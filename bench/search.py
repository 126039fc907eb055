"""Search: the catalog's index beside PostgreSQL full text, on the same resources and the same searches.

Both match the same tokens (`catalog.text.bigrams`), and a run ends if they find different numbers.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import psycopg

from app.kernel.db import Database
from bench.catalog_like import ITEMS, documents, queries
from bench.measure import Clock, Samples, show, timed
from catalog.search.document import SearchDocument
from catalog.search.index import CatalogIndex
from catalog.text import bigrams

EACH = 40  # searches of a kind
LIMIT = 20
FACETS = ("jurisdiction", "agency", "sharing_type", "openness", "theme", "update_cycle", "format")
_LAST_POSITION = 16_383  # of a word in a tsvector

Ask = Callable[[str, bool], int]
"""Search for a text, with or without facets; gives the number found."""


def run(database: Database, folder: Path, *, resources: int) -> None:
    """Print build and search figures for `resources` generated resources of ITEMS items."""
    known, generated_s = timed(lambda: list(documents(resources)))
    index = CatalogIndex.open(folder / "index")
    _, index_s = timed(lambda: index.rebuild(known, "0"))
    with psycopg.connect(database.url, autocommit=True) as connection:
        _, table_s = timed(lambda: _fill(connection, known))
        sizes = _index_bytes(folder / "index"), _table_bytes(connection)
        show(
            f"search: building, {resources:,} resources of {ITEMS} items (generated in {generated_s:.0f} s)",
            ("engine", "seconds", "MB", "seconds ratio", "MB ratio"),
            [
                ("catalog index (tantivy)", index_s, sizes[0] / 1e6, index_s / table_s, sizes[0] / sizes[1]),
                ("PostgreSQL full text (reference)", table_s, sizes[1] / 1e6, 1.0, 1.0),
            ],
        )
        _compare(
            {
                "catalog index": (_asks_index(index), time.process_time),
                "PostgreSQL": (_asks_table(connection), _server_cpu(connection)),
            },
            queries(known, EACH),
        )
    index.close()


def _compare(engines: dict[str, tuple[Ask, Clock]], kinds: dict[str, list[str]]) -> None:
    everything = [typed for kind in kinds.values() for typed in kind]
    sets: list[tuple[str, list[str], bool]] = [
        ("all kinds, hits", everything, False),
        ("all kinds, hits + facets", everything, True),
        *((f"{kind}, hits + facets", typed, True) for kind, typed in kinds.items()),
    ]
    rows: list[tuple[str | float, ...]] = []
    for name, searches, faceted in sets:
        taken = {engine: Samples() for engine in engines}
        for typed in searches:  # one engine after the other on each search, so that load falls on both alike
            found = {
                engine: taken[engine].take(partial(ask, typed, faceted), cpu)
                for engine, (ask, cpu) in engines.items()
            }
            assert len(set(found.values())) == 1, (typed, found)
        reference = taken["PostgreSQL"]
        for engine, samples in taken.items():
            rows.append(
                (
                    f"{name}: {engine}", samples.cpu_ms, samples.percentile_ms(50), samples.percentile_ms(99),
                    samples.cpu_ms / reference.cpu_ms, samples.percentile_ms(50) / reference.percentile_ms(50),
                )
            )  # fmt: skip
    show(
        f"search: {EACH} searches of each kind, first {LIMIT} of all found, {len(FACETS)} facets",
        ("searches", "CPU ms", "p50 ms", "p99 ms", "CPU ratio", "p50 ratio"),
        rows,
        "Reference: PostgreSQL, one connection, tsvector of bigrams under GIN, ts_rank; its CPU is the server's and ours.",
    )


def _asks_index(index: CatalogIndex) -> Ask:
    def ask(typed: str, faceted: bool) -> int:
        facets = FACETS if faceted else ()
        return index.search(typed, visible=[{"published": True}], facets=facets, limit=LIMIT).total

    return ask


_FOUND = f"""
WITH found AS MATERIALIZED (
    SELECT id, ts_rank(words, %(query)s::tsquery) AS score, {", ".join(FACETS)}
    FROM bench_document WHERE words @@ %(query)s::tsquery AND published
), first AS (SELECT id, score FROM found ORDER BY score DESC, id LIMIT {LIMIT})
SELECT (SELECT count(*) FROM found), (SELECT json_agg(first) FROM first)"""
_COUNTED = f"""{_FOUND},
(SELECT json_agg(counted) FROM (
    SELECT {", ".join(FACETS)}, count(*) FROM found GROUP BY GROUPING SETS ({", ".join(f"({f})" for f in FACETS)})
) counted)"""


def _asks_table(connection: psycopg.Connection) -> Ask:
    connection.execute("SET max_parallel_workers_per_gather = 0")  # its CPU is read of one process

    def ask(typed: str, faceted: bool) -> int:
        query = " & ".join(f"'{token}'" for token in dict.fromkeys(bigrams(typed)))
        row = connection.execute((_COUNTED if faceted else _FOUND).encode(), {"query": query}).fetchone()
        assert row is not None
        return int(row[0])

    return ask


def _fill(connection: psycopg.Connection, known: Sequence[SearchDocument]) -> None:
    columns = ", ".join(f"{name} text" for name in FACETS)
    connection.execute(
        f"CREATE TABLE bench_document (id text PRIMARY KEY, published bool, {columns}, words tsvector)".encode()
    )
    with connection.cursor() as cursor, cursor.copy("COPY bench_document FROM STDIN") as copy:
        for document in known:
            facets = [_facet(document, name) for name in FACETS]
            copy.write_row([document.id, document.published, *facets, _vector(document)])
    connection.execute("CREATE INDEX ON bench_document USING gin (words)")
    connection.execute("VACUUM ANALYZE bench_document")


def _facet(document: SearchDocument, name: str) -> str:
    if name == "theme":
        return document.themes[0]
    return str(getattr(document, "agency_id" if name == "agency" else name))


def _vector(document: SearchDocument) -> str:
    """The document as a tsvector: title, items and the rest with the weights A, B and D."""
    places: dict[str, list[str]] = {}
    position = 0
    title = f"{document.title} {document.title_en}"
    body = " ".join((document.abstract, document.agency_name, document.code))
    for weight, text in (("A", title), ("B", " ".join(document.items)), ("", body)):
        for token in bigrams(text):
            position = min(position + 1, _LAST_POSITION)
            places.setdefault(token, []).append(f"{position}{weight}")
    return " ".join(f"'{token}':{','.join(at)}" for token, at in places.items())


def _server_cpu(connection: psycopg.Connection) -> Clock:
    """CPU seconds of the connection's server process and our own; where there is no /proc, of ours alone."""
    ticks = os.sysconf("SC_CLK_TCK")
    exact = Path(f"/proc/{connection.info.backend_pid}/schedstat")
    coarse = Path(f"/proc/{connection.info.backend_pid}/stat")

    def cpu() -> float:
        used = 0.0
        if exact.exists():
            used = int(exact.read_text().split()[0]) / 1e9
        elif coarse.exists():
            used = sum(map(int, coarse.read_text().rpartition(")")[2].split()[11:13])) / ticks
        return used + time.process_time()

    return cpu


def _index_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _table_bytes(connection: psycopg.Connection) -> int:
    row = connection.execute("SELECT pg_total_relation_size('bench_document')").fetchone()
    assert row is not None
    return int(row[0])
