"""The duplicate check and the audit over a large generated catalog, beside pg_trgm and rapidfuzz over the same names.

Owns what is measured: an agency that files a plan of 30 items, a clerk who types one item, a resource published
meanwhile, and the audit of everything. What is found is the evaluation's matter, not this one's.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from multiprocessing import get_context
from random import Random

import psycopg

from bench.catalog_like import SEED, documents
from bench.measure import Samples, show, timed
from catalog.collection.audit import audit
from catalog.collection.engines import duck
from catalog.collection.matching import CatalogProfiles, PlanContext, PlannedItem
from catalog.collection.meaning import SentenceEncoder, available
from catalog.collection.profiles import CatalogIndex, ItemProfile

_PLANS, _TYPED, _ITEMS = 30, 100, 30


def profiles(resources: int) -> Iterator[ItemProfile]:
    """The items of so many resources, ITEMS each."""
    for number, document in enumerate(documents(resources)):
        key, title, agency = str(number), document.title, document.agency_name
        for position, name in enumerate(document.items):
            yield ItemProfile(
                id=f"{key}/{position}", name=name, resource_id=key, resource_title=title, agency_id=agency,
                agency_name=agency, sharing_type=document.sharing_type,
            )  # fmt: skip


def run(server: str, *, resources: int, audited: int, embeddings: bool) -> None:
    """All of it. `audited` resources go through the audit in a process of its own, so that memory can be told."""
    for work in (_check, _audit):
        context = get_context("spawn")
        process = context.Process(
            target=work, args=(server, resources if work is _check else audited, embeddings)
        )
        process.start()
        process.join()
        if process.exitcode:
            raise SystemExit(process.exitcode)


def _check(server: str, resources: int, embeddings: bool) -> None:
    encoder = SentenceEncoder() if embeddings and available() else None
    index, seconds = timed(lambda: CatalogIndex(profiles(resources), encoder))
    held = CatalogProfiles(index)
    rows: list[tuple[str, str | float]] = [
        ("items", len(held)), ("distinct names", len(index.names)), ("build, s", seconds), ("memory, GB", _memory()),
    ]  # fmt: skip
    random = Random(SEED)
    plans, typed, changed = Samples(), Samples(), Samples()
    names = [random.sample(index.names, _ITEMS) for _ in range(_PLANS)]
    titles = [random.choice(index.contexts).title for _ in range(_PLANS)]
    for title, asked in zip(titles, names, strict=True):
        items = [PlannedItem(name=_varied(random, name)) for name in asked]
        plans.take(partial(held.check_plan, items, PlanContext(title=title)))
    for _ in range(_TYPED):
        item, title = PlannedItem(name=_varied(random, random.choice(index.names))), random.choice(titles)
        typed.take(partial(held.check, item, PlanContext(title=title)))
    some = list(profiles(5))
    for _ in range(5):
        changed.take(lambda: held.with_changes([some[0].resource_id], some[:40]))
    for name, samples in (
        ("plan of 30 items", plans),
        ("one item", typed),
        ("a resource published", changed),
    ):
        rows += [
            (f"{name}: p50, ms", samples.percentile_ms(50)),
            (f"{name}: p95, ms", samples.percentile_ms(95)),
        ]
    show(f"check {'with' if encoder else 'without'} embeddings", ("", "figure"), rows)
    _beside(server, index.names, names)


def _varied(random: Random, name: str) -> str:
    """As another agency may write it."""
    return random.choice((name, f"{name}（必填）", f"{name[:-1]}的{name[-1:]}", name[1:] or name))


def _beside(server: str, names: list[str], plans: list[list[str]]) -> None:
    """The ten most alike of all names, for the same plans, by what is usually taken for it."""
    rows: list[tuple[str | float, ...]] = []

    def measure(what: str, alike: Callable[[str], object]) -> None:
        samples = Samples()
        for plan in plans[:10]:
            samples.take(partial(list, map(alike, plan)))
        rows.append((what, samples.percentile_ms(50), samples.percentile_ms(95)))

    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
        connection.execute("CREATE TEMP TABLE held (name text)")
        with connection.cursor().copy("COPY held FROM STDIN") as copy:
            for name in names:
                copy.write_row([name])
        connection.execute("CREATE INDEX ON held USING gist (name gist_trgm_ops)")
        connection.execute("ANALYZE held")
        nearest = "SELECT name FROM held ORDER BY name <-> %s LIMIT 10"
        measure("pg_trgm (GiST, ten nearest)", lambda name: connection.execute(nearest, [name]).fetchall())
    if find_spec("rapidfuzz"):
        from rapidfuzz import fuzz, process  # noqa: PLC0415 - only measured against

        measure(
            "rapidfuzz ratio over all names",
            lambda name: process.extract(name, names, scorer=fuzz.ratio, limit=10),
        )
    show(
        f"names alone, plan of {_ITEMS} items, {len(names)} names", ("", "p50 ms", "p95 ms"), rows,
        "" if find_spec("rapidfuzz") else "rapidfuzz is not installed",
    )  # fmt: skip


def _audit(_: str, resources: int, __: bool) -> None:
    with duck() as engine:
        found, seconds = timed(lambda: audit(profiles(resources), engine))
    show(
        "audit on DuckDB", ("", "figure"),
        [
            ("resources", resources), ("seconds", seconds), ("memory, GB", _memory()),
            ("pairs of items shown", len(found.items)), ("pairs of resources", len(found.resources)),
            ("clusters", len(found.clusters)),
        ],
    )  # fmt: skip


def _memory() -> float:
    """The most that this process and any one process it started ever held."""
    unit = 1 if sys.platform == "darwin" else 1024
    return (
        sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        * unit
        / 1e9
    )
