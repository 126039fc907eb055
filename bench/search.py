"""Search: the catalog's index beside PostgreSQL full text, on the same resources and the same searches.

Both match the same tokens (`catalog.text.bigrams`), and a run ends if they find different numbers.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import cycle
from pathlib import Path

import psycopg

from app.kernel.db import Database
from bench.catalog_like import ITEMS, documents, prefixes, queries
from bench.measure import Clock, Samples, server_cpu, show, timed
from catalog.search.document import SearchDocument
from catalog.search.index import CatalogIndex
from catalog.text import bigrams, fold

EACH = 40  # searches of a kind
SAMPLE = 500  # resources that searches are made from
REFERENCE_WORK = 8_000_000  # searches of a kind x resources: at a million PostgreSQL is asked the first 8
LIMIT = 20
FACETS = ("jurisdiction", "agency", "sharing_type", "openness", "theme", "update_cycle", "format")
VISIBLE = ({"published": True},)
THREADS = 2
_GENERATED = 20_000  # resources by which the cost of generating them is told
_LAST_POSITION = 16_383  # of a word in a tsvector

Ask = Callable[[str], int]
"""Ask for a text; gives the number found."""


def run(database: Database, folder: Path, *, resources: int, seconds: float) -> None:
    """Print build and search figures for `resources` generated resources of ITEMS items; `seconds` for each
    line of searches a second. What the index does alone is printed as soon as it stands, so that a run that is cut
    off while PostgreSQL is still being filled has told something."""
    index = CatalogIndex.open(folder / "index")
    generated, building = Samples(), Samples()
    few = min(resources, _GENERATED)
    generated.take(lambda: sum(1 for _ in documents(few)))
    without = generated.wall[0] / few * resources, 1000 * generated.cpu / few
    known: list[SearchDocument] = []
    # Both are built at the same time, each by a process of its own: what else runs falls on both alike.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as other:
        filling = other.submit(_fill_table, database.url, resources)
        building.take(lambda: index.rebuild(_sampled(documents(resources), resources, known), "0"))
        asked = queries(known, EACH) | {"suggestions": prefixes(known, EACH)}
        size = _index_bytes(folder / "index")
        ours = building.wall[0] - without[0], 1000 * building.cpu / resources - without[1], size / 1e6
        _alone(index, asked, ours, resources)
        spent = filling.result()
    with ExitStack() as stack:
        connections = [
            stack.enter_context(psycopg.connect(database.url, autocommit=True)) for _ in range(THREADS)
        ]
        server = server_cpu(connections[0])
        table = _table_bytes(connections[0])
        theirs = spent[0] - without[0], 1000 * spent[1] / resources - without[1], table / 1e6
        show(
            f"search: building both at once, {resources:,} resources of {ITEMS} items (without generating them)",
            ("engine", "seconds", "CPU ms each", "MB", "seconds ratio", "MB ratio"),
            [
                ("catalog index (tantivy)", *ours, ours[0] / theirs[0], size / table),
                ("PostgreSQL full text (reference)", *theirs, 1.0, 1.0),
            ],
        )
        reference_each = max(4, min(EACH, REFERENCE_WORK // resources))
        _compare(index, connections[0], asked, reference_each, server)
        _rates(index, connections, asked, seconds)
    _visible(index, known)
    index.close()


def _sampled(
    stream: Iterator[SearchDocument], count: int, known: list[SearchDocument]
) -> Iterator[SearchDocument]:
    """The stream, of which SAMPLE documents, evenly apart, are kept in `known`."""
    for number, document in enumerate(stream):
        if number % max(1, count // SAMPLE) == 0:
            known.append(document)
        yield document


def _alone(
    index: CatalogIndex,
    asked: Mapping[str, Sequence[str]],
    built: tuple[float, float, float],
    resources: int,
) -> None:
    """The index by itself, while PostgreSQL may still be filled: the same searches as are compared later."""
    everything = [typed for kind, searches in asked.items() if kind != "suggestions" for typed in searches]
    rows = []
    for name, ask, searches in (
        ("hits", _asks_index(index, False), everything),
        ("hits + facets", _asks_index(index, True), everything),
        ("suggestions", _suggests_index(index), asked["suggestions"]),
    ):
        samples = Samples()
        for typed in searches:
            samples.take(partial(ask, typed))
        rows.append((name, samples.cpu_ms, samples.percentile_ms(50), samples.percentile_ms(99)))
    seconds, cpu_ms, megabytes = built
    show(
        f"search: the index alone, {resources:,} resources",
        ("searches", "CPU ms", "p50 ms", "p99 ms"),
        rows,
        f"Built in {seconds:,.0f} s, {cpu_ms:.2f} CPU ms a resource, {megabytes:,.1f} MB; "
        f"memory of this process {_memory_bytes() / 1e6:,.0f} MB.",
    )


def _compare(
    index: CatalogIndex,
    connection: psycopg.Connection,
    asked: Mapping[str, Sequence[str]],
    reference_each: int,
    server: Clock,
) -> None:
    """Each kind, with and without facets; the ratio is of the searches that both were asked, in turns."""
    rows: list[tuple[str | float, ...]] = []
    for faceted in (False, True):
        all_ours, all_theirs = Samples(), Samples()
        for kind, searches in asked.items():
            if kind == "suggestions":
                continue
            ours, theirs = Samples(), Samples()
            for n, typed in enumerate(searches):
                found = ours.take(partial(_asks_index(index, faceted), typed))
                if n < reference_each:
                    there = theirs.take(partial(_asks_table(connection, faceted), typed), server)
                    assert found == there, (typed, found, there)
            for total, part in ((all_ours, ours), (all_theirs, theirs)):
                total.wall += part.wall
                total.cpu += part.cpu
            rows.append(_line(f"{kind}, hits{' + facets' if faceted else ''}", ours, theirs))
        rows.append(_line(f"all kinds, hits{' + facets' if faceted else ''}", all_ours, all_theirs))
    ours, theirs = Samples(), Samples()
    for n, typed in enumerate(asked["suggestions"]):
        ours.take(partial(_suggests_index(index), typed))
        if n < reference_each:
            theirs.take(partial(_suggests_table(connection), typed), server)
    rows.append(_line("suggestions", ours, theirs))
    show(
        f"search: {EACH} of each kind ({reference_each} for PostgreSQL), first {LIMIT} of all found, {len(FACETS)} facets",
        ("searches", "CPU ms", "PostgreSQL", "times less", "p50 ms", "p99 ms", "PostgreSQL p50", "p99"),
        rows,
        "Reference: PostgreSQL, one connection, tsvector of bigrams under GIN, ts_rank; its CPU is the server's and ours.",
    )


def _line(name: str, ours: Samples, theirs: Samples) -> tuple[str | float, ...]:
    return (
        name, ours.cpu_ms, theirs.cpu_ms, theirs.cpu_ms / ours.cpu_ms, ours.percentile_ms(50),
        ours.percentile_ms(99), theirs.percentile_ms(50), theirs.percentile_ms(99),
    )  # fmt: skip


def _rates(
    index: CatalogIndex,
    connections: Sequence[psycopg.Connection],
    asked: Mapping[str, Sequence[str]],
    seconds: float,
) -> None:
    everything = [typed for kind, searches in asked.items() if kind != "suggestions" for typed in searches]
    everything.sort(key=fold)  # mixes the kinds
    rows = []
    for name, typed, ours, theirs in (
        ("hits", everything, _asks_index(index, False), [_asks_table(c, False) for c in connections]),
        ("hits + facets", everything, _asks_index(index, True), [_asks_table(c, True) for c in connections]),
        (
            "suggestions",
            asked["suggestions"],
            _suggests_index(index),
            [_suggests_table(c) for c in connections],
        ),
    ):
        rates = _rate([ours] * THREADS, typed, seconds), _rate(theirs, typed, seconds)
        rows.append((name, *rates, rates[0] / rates[1]))
    show(
        f"search: a second, {THREADS} threads",
        ("searches", "catalog index", "PostgreSQL", "ratio"),
        rows,
        f"Memory of this process with the index open: {_memory_bytes() / 1e6:,.0f} MB.",
    )


def _rate(asks: Sequence[Ask], searches: Sequence[str], seconds: float) -> float:
    """Searches answered in a second by as many threads as there are askers."""

    def work(number: int) -> tuple[int, float]:
        started, done = time.perf_counter(), 0
        for typed in cycle(searches[number::THREADS]):
            asks[number](typed)
            done += 1
            if time.perf_counter() - started > seconds:
                break
        return done, time.perf_counter() - started

    with ThreadPoolExecutor(len(asks)) as pool:
        return sum(done / taken for done, taken in pool.map(work, range(len(asks))))


def _visible(index: CatalogIndex, known: Sequence[SearchDocument]) -> None:
    """How long a committed change takes to be found (the indexer looks about once a second besides)."""
    one, many = Samples(), Samples()
    for n, document in enumerate(known[:20]):
        one.take(partial(index.apply, [document], [], str(n + 1)))
    batch = (list(known) * 2)[:1000]
    _, seconds = timed(lambda: many.take(partial(index.apply, batch, [], "99")))
    show(
        "search: a change made visible",
        ("changed at once", "p50 ms", "p99 ms", "CPU ms"),
        [
            ("1", one.percentile_ms(50), one.percentile_ms(99), one.cpu_ms),
            (f"{len(batch):,}", 1000 * seconds, 1000 * seconds, many.cpu_ms),
        ],
    )


def _asks_index(index: CatalogIndex, faceted: bool) -> Ask:
    facets = FACETS if faceted else ()
    return lambda typed: index.search(typed, visible=VISIBLE, facets=facets, limit=LIMIT).total


def _suggests_index(index: CatalogIndex) -> Ask:
    return lambda typed: len(index.suggest(typed, visible=VISIBLE).names)


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


def _asks_table(connection: psycopg.Connection, faceted: bool) -> Ask:
    connection.execute("SET max_parallel_workers_per_gather = 0")  # its CPU is read of one process
    statement = (_COUNTED if faceted else _FOUND).encode()

    def ask(typed: str) -> int:
        query = " & ".join(f"'{token}'" for token in dict.fromkeys(bigrams(typed)))
        row = connection.execute(statement, {"query": query}).fetchone()
        assert row is not None
        return int(row[0])

    return ask


def _suggests_table(connection: psycopg.Connection) -> Ask:
    """Names by prefix, counted beforehand for everybody: simpler than what the index is asked."""
    statement = b"SELECT name FROM bench_name WHERE name LIKE %s ORDER BY held DESC LIMIT 8"
    return lambda typed: len(connection.execute(statement, (fold(typed) + "%",)).fetchall())


def _fill_table(url: str, resources: int) -> tuple[float, float]:
    """Fill PostgreSQL in a process of its own; gives seconds and CPU seconds, the server's among them."""
    filling = Samples()
    with psycopg.connect(url, autocommit=True) as connection:
        filling.take(lambda: _fill(connection, documents(resources)), server_cpu(connection))
    return filling.wall[0], filling.cpu


def _fill(connection: psycopg.Connection, known: Iterator[SearchDocument]) -> None:
    columns = ", ".join(f"{name} text" for name in FACETS)
    connection.execute("SET statement_timeout = 0; SET maintenance_work_mem = '256MB'")
    connection.execute(
        f"CREATE TABLE bench_document (id text PRIMARY KEY, published bool, {columns}, words tsvector)".encode()
    )
    connection.execute("CREATE TABLE bench_name (name text, held int)")
    names: Counter[str] = Counter()
    with connection.cursor() as cursor, cursor.copy("COPY bench_document FROM STDIN") as copy:
        for document in known:
            facets = [_facet(document, name) for name in FACETS]
            copy.write_row([document.id, document.published, *facets, _vector(document)])
            names.update((document.title, *document.items))
    with connection.cursor() as cursor, cursor.copy("COPY bench_name FROM STDIN") as copy:
        for name, held in names.items():
            copy.write_row([fold(name), held])
    connection.execute("CREATE INDEX ON bench_document USING gin (words)")
    connection.execute("CREATE INDEX ON bench_name (name text_pattern_ops)")
    connection.execute("VACUUM ANALYZE bench_document")
    connection.execute("ANALYZE bench_name")


def _facet(document: SearchDocument, name: str) -> str:
    if name == "theme":
        return document.themes[0]
    return str(getattr(document, "agency_id" if name == "agency" else name))


def _vector(document: SearchDocument) -> str:
    """The document as a tsvector: title, items and the rest with the weights A, B and D."""
    places: dict[str, list[str]] = {}
    position = 0
    body = (document.abstract, document.agency_name, document.code)
    for weight, texts in (("A", (document.title, document.title_en)), ("B", document.items), ("", body)):
        for text in texts:
            for token in bigrams(text):
                position = min(position + 1, _LAST_POSITION)
                places.setdefault(token, []).append(f"{position}{weight}")
    return " ".join([f"'{token}':{','.join(at)}" for token, at in places.items()])


def _memory_bytes() -> int:
    """Memory of this process that is in use, mapped files of the index among it."""
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if status.exists() else 0


def _index_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _table_bytes(connection: psycopg.Connection) -> int:
    row = connection.execute("SELECT pg_total_relation_size('bench_document')").fetchone()
    assert row is not None
    return int(row[0])
