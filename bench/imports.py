"""Bulk import: resources a second as `upsert_imported` brings them in, beside COPY of as many rows.

Each batch is one committed transaction with its events, versions and ledger entries. Owns no rule of importing.
"""

from __future__ import annotations

import multiprocessing
import resource
import time
import zlib
from collections.abc import Iterator
from itertools import islice

import psycopg
from sqlalchemy import select

from app.identity import agencies
from app.identity.models import Agency
from app.kernel.actor import system_actor
from app.kernel.db import Database
from bench.catalog_like import ITEMS, records
from bench.measure import show
from catalog.resources.importing import BATCH, Incoming, upsert_imported
from catalog.resources.record import ResourceRecord

PROCESSES = 2
AGENCIES = 200
_OPERATOR = system_actor("operator")


def run(database: Database, *, resources: int) -> None:
    """Print resources a second of `resources` generated ones, by one and by PROCESSES processes, each with half;
    leaves them in the database."""
    _register(database)
    rows: list[tuple[str | float, ...]] = []
    context = multiprocessing.get_context("spawn")
    for processes, count in ((1, resources // 4), (PROCESSES, resources)):
        started = time.perf_counter()
        with context.Pool(processes) as pool:
            tasks = [
                (database.url, count, part, processes, f"bench-{processes}") for part in range(processes)
            ]
            spent = pool.starmap(bring_in, tasks)
        seconds = max(wall for wall, _, _ in spent)
        rows.append(
            (
                f"upsert_imported, {processes} process{'es' * (processes > 1)}", count, count / seconds,
                1000 * sum(cpu for _, cpu, _ in spent) / count, max(memory for *_, memory in spent),
                time.perf_counter() - started,
            )
        )  # fmt: skip
    rows.append(
        (
            "COPY into two plain tables (reference), 1 process",
            resources // 4,
            *_copied(database, resources // 4),
            0.0,
            0.0,
        )
    )
    show(
        f"imports: resources of {ITEMS} items, {BATCH} in a transaction, validated, fsync on",
        (
            "way",
            "resources",
            "per second",
            "client CPU ms each",
            "peak MB of a process",
            "seconds, with starting",
        ),
        rows,
        "Each with its items, published version, event and ledger entry. The reference writes the same texts only.",
    )


def bring_in(url: str, count: int, part: int, parts: int, source: str) -> tuple[float, float, float]:
    """Bring in one part of `count` resources; gives seconds, CPU seconds and the peak of memory in MB."""
    database = Database(url)
    with database.transaction() as session:
        known = list(session.scalars(select(Agency).order_by(Agency.name).limit(AGENCIES)))
    started, cpu = time.perf_counter(), time.process_time()
    for batch in _batches(records(count, part=part, parts=parts)):
        incoming = [Incoming(known[zlib.crc32(one.title[:3].encode()) % len(known)], one) for one in batch]
        with database.transaction() as session:
            upsert_imported(session, incoming, source=f"{source}-{part}", as_state="published", by=_OPERATOR)
    spent = time.perf_counter() - started, time.process_time() - cpu
    database.close()
    return (*spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000)


def _batches(stream: Iterator[ResourceRecord]) -> Iterator[list[ResourceRecord]]:
    while batch := list(islice(stream, BATCH)):
        yield batch


def _register(database: Database) -> None:
    with database.transaction() as session:
        place = agencies.register_jurisdiction(
            session, code="999900", name="测试市", name_en="Test", by=_OPERATOR,
            parent_code=agencies.root_jurisdiction(session).code,
        )  # fmt: skip
        for number in range(AGENCIES):
            agencies.register_agency(
                session, name=f"测试局{number}", jurisdiction_id=place.id, verified=False, by=_OPERATOR
            )


def _copied(database: Database, count: int) -> tuple[float, float]:
    """Resources a second, and our CPU ms of each, where records and items only go into plain tables."""
    started, cpu = time.perf_counter(), time.process_time()
    with psycopg.connect(database.url) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE bench_record (id text PRIMARY KEY, record jsonb)")
        cursor.execute(
            "CREATE TABLE bench_item (id text, position int, name text, PRIMARY KEY (id, position))"
        )
        for batch in _batches(records(count)):
            with cursor.copy("COPY bench_record FROM STDIN") as copy:
                for one in batch:
                    copy.write_row([one.source_id, one.model_dump_json(exclude_defaults=True)])
            with cursor.copy("COPY bench_item FROM STDIN") as copy:
                for one in batch:
                    for position, item in enumerate(one.items):
                        copy.write_row([one.source_id, position, item.name])
            connection.commit()
    return count / (time.perf_counter() - started), 1000 * (time.process_time() - cpu) / count
