"""Bulk import: resources a second, read from a file of JSON lines, validated and brought in by `upsert_imported`,
beside COPY of as many rows.

Each batch is one committed transaction with its events, versions and ledger entries. Owns no rule of importing.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import time
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
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
        f"imports: resources of {ITEMS} items, {BATCH} in a transaction, read from JSON lines, validated, fsync on",
        (
            "way", "resources", "per second", "read, validate: CPU ms each", "bring in: client CPU ms",
            "PostgreSQL CPU ms", "peak MB of a process", "seconds, with starting",
        ),
        rows,
        "Each with its items, published version, event and ledger entry. The reference writes the same texts and the "
        "names of the items only; it validates nothing.",
    )  # fmt: skip


class Spent(NamedTuple):
    """What one process took: seconds of wall time, CPU seconds of reading and validating, of the rest of the
    client and of its server process, and the peak of its memory."""

    seconds: float
    cpu: tuple[float, float, float]
    memory_mb: float


def fill(database: Database, count: int, processes: int) -> list[Spent]:
    """Bring in `count` resources by so many processes at once; what each of them took."""
    with (
        TemporaryDirectory(prefix="zhengtong-bench-") as folder,
        multiprocessing.get_context("spawn").Pool(processes) as pool,
    ):
        files = [Path(folder) / f"{part}.jsonl" for part in range(processes)]
        pool.starmap(write, [(file, count, part, processes) for part, file in enumerate(files)])
        return pool.starmap(bring_in, [(database.url, file, f"bench-{processes}") for file in files])


def write(file: Path, count: int, part: int, parts: int) -> None:
    """Write one part of `count` resources as lines of JSON, and read what a process reads once: dictionaries."""
    initials("预热")
    with file.open("w", encoding="utf-8") as lines:
        lines.writelines(
            f"{one.model_dump_json(exclude_defaults=True)}\n"
            for one in records(count, part=part, parts=parts)
        )


def bring_in(url: str, file: Path, source: str) -> Spent:
    """Read a file, validate and bring in what it holds."""
    database = Database(url, pool_size=1)
    with database.transaction() as session:
        known = list(session.scalars(select(Agency).order_by(Agency.name).limit(AGENCIES)))
        connection = cast(psycopg.Connection, session.connection().connection.driver_connection)
    server, reading = server_cpu(connection), Samples()
    own, both, started = time.process_time(), server(), time.perf_counter()
    with file.open(encoding="utf-8") as lines:
        batches = _batches(map(ResourceRecord.model_validate_json, lines))
        while batch := reading.take(lambda: next(batches, None)):
            _bring_in(database, known, batch, f"{source}-{file.stem}")
    seconds, own, both = time.perf_counter() - started, time.process_time() - own, server() - both
    database.close()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    return Spent(seconds, (reading.cpu, own - reading.cpu, both - own), memory)


def _bring_in(database: Database, known: list[Agency], batch: list[ResourceRecord], source: str) -> None:
    incoming = [Incoming(known[zlib.crc32(one.title[:3].encode()) % len(known)], one) for one in batch]
    with database.transaction() as session:
        upsert_imported(session, incoming, source=source, as_state="published", by=_OPERATOR)


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
    """Resources a second, and our CPU ms of each, where texts and item names only go into plain tables."""
    with TemporaryDirectory(prefix="zhengtong-bench-") as folder, psycopg.connect(database.url) as connection:
        file = Path(folder) / "0.jsonl"
        write(file, count, 0, 1)
        connection.execute("CREATE TABLE bench_record (id text PRIMARY KEY, record jsonb)")
        connection.execute(
            "CREATE TABLE bench_item (id text, position int, name text, PRIMARY KEY (id, position))"
        )
        connection.commit()
        started, cpu = time.perf_counter(), time.process_time()
        with file.open(encoding="utf-8") as lines, connection.cursor() as cursor:
            while batch := list(islice(lines, BATCH)):
                known = [(json.loads(line), line) for line in batch]
                with cursor.copy("COPY bench_record FROM STDIN") as copy:
                    for one, line in known:
                        copy.write_row([one["source_id"], line])
                with cursor.copy("COPY bench_item FROM STDIN") as copy:
                    for one, _ in known:
                        for position, item in enumerate(one["items"]):
                            copy.write_row([one["source_id"], position, item["name"]])
                connection.commit()
        return count / (time.perf_counter() - started), 1000 * (time.process_time() - cpu) / count
