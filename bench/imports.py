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
from typing import NamedTuple, cast

import psycopg
from sqlalchemy import select

from app.identity import agencies
from app.identity.models import Agency
from app.kernel.actor import system_actor
from app.kernel.db import Database
from bench.catalog_like import ITEMS, records
from bench.measure import Samples, server_cpu, show
from catalog.resources.importing import BATCH, Incoming, upsert_imported
from catalog.resources.record import ResourceRecord
from catalog.text import initials

PROCESSES = 2
AGENCIES = 200
_OPERATOR = system_actor("operator")


def run(database: Database, *, resources: int) -> None:
    """Print resources a second of `resources` generated ones, by one and by PROCESSES processes, each with half;
    leaves them in the database."""
    register(database)
    rows: list[tuple[str | float, ...]] = []
    for processes, count in ((1, resources // 4), (PROCESSES, resources)):
        started = time.perf_counter()
        spent = fill(database, count, processes)
        rows.append(
            (
                f"upsert_imported, {processes} process{'es' * (processes > 1)}", count,
                count / max(one.seconds for one in spent),
                *(1000 * sum(cpu) / count for cpu in zip(*(one.cpu for one in spent), strict=True)),
                max(one.memory_mb for one in spent), time.perf_counter() - started,
            )
        )  # fmt: skip
    few = resources // 4
    rate, own = _copied(database, few)
    rows.append(("COPY into two plain tables (reference), 1 process", few, rate, 0.0, own, 0.0, 0.0, 0.0))
    show(
        f"imports: resources of {ITEMS} items, {BATCH} in a transaction, validated, fsync on",
        (
            "way", "resources", "per second", "generate, validate: CPU ms each", "bring in: client CPU ms",
            "PostgreSQL CPU ms", "peak MB of a process", "seconds, with starting",
        ),
        rows,
        "Each with its items, published version, event and ledger entry. The reference writes the same texts only; "
        "its client CPU holds generating.",
    )  # fmt: skip


class Spent(NamedTuple):
    """What one process took: seconds of wall time, CPU seconds of generating and validating, of the rest of the
    client and of its server process, and the peak of its memory."""

    seconds: float
    cpu: tuple[float, float, float]
    memory_mb: float


def fill(database: Database, count: int, processes: int) -> list[Spent]:
    """Bring in `count` resources by so many processes at once; what each of them took."""
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        tasks = [(database.url, count, part, processes, f"bench-{processes}") for part in range(processes)]
        return pool.starmap(bring_in, tasks)


def bring_in(url: str, count: int, part: int, parts: int, source: str) -> Spent:
    """Bring in one part of `count` resources. Dictionaries that a process reads once are read before the clock."""
    initials("预热")
    database = Database(url, pool_size=1)
    with database.transaction() as session:
        known = list(session.scalars(select(Agency).order_by(Agency.name).limit(AGENCIES)))
        connection = cast(psycopg.Connection, session.connection().connection.driver_connection)
    server, generating = server_cpu(connection), Samples()
    own, both, started = time.process_time(), server(), time.perf_counter()
    batches = _batches(records(count, part=part, parts=parts))
    while batch := generating.take(lambda: next(batches, None)):
        incoming = [Incoming(known[zlib.crc32(one.title[:3].encode()) % len(known)], one) for one in batch]
        with database.transaction() as session:
            upsert_imported(session, incoming, source=f"{source}-{part}", as_state="published", by=_OPERATOR)
    seconds, own, both = time.perf_counter() - started, time.process_time() - own, server() - both
    database.close()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    return Spent(seconds, (generating.cpu, own - generating.cpu, both - own), memory)


def _batches(stream: Iterator[ResourceRecord]) -> Iterator[list[ResourceRecord]]:
    while batch := list(islice(stream, BATCH)):
        yield batch


def register(database: Database) -> None:
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
