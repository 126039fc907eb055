"""Commands: decisions a second, each with its event and ledger entry, beside plain transactions of as many rows.

One decision is one committed transaction, as it is one request.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from uuid import UUID, uuid4

import psycopg
from sqlalchemy import select

from app.identity import agencies
from app.kernel import history
from app.kernel.actor import Actor, ActorKind, Role, system_actor
from app.kernel.clock import new_id
from app.kernel.db import Database
from bench.measure import show
from catalog.resources.importing import Incoming, upsert_imported
from catalog.resources.models import Resource
from catalog.resources.record import ResourceRecord
from catalog.resources.states import PUBLISHED, RESOURCE

THREADS = (1, 4)
SLICES = 8
RESOURCES = 64  # no two threads decide about the same one
_OPERATOR = system_actor("operator")
_AUTHORITY = Actor(
    ActorKind.PERSON, id=new_id(), agency_id=new_id(), name="bench", is_authority=True,
    roles=frozenset({Role.CATALOG_ADMINISTRATOR}),
)  # fmt: skip

Decide = Callable[[int], None]
"""One decision by the thread of this number."""


def run(database: Database, *, seconds: float) -> None:
    """Print decisions a second, each kind repeated for `seconds` by 1 and by 4 threads."""
    resources = _published(database)
    plain = _Plain(database.url)
    rows: list[tuple[str | float, ...]] = []
    for threads in THREADS:
        kinds = {
            "advance: state, event, ledger (4 rows)": _advance(database, resources),
            "plain transaction of 4 rows (reference)": plain.write,
            "record: event, ledger (3 rows)": _record(database),
        }
        rates = dict(zip(kinds, in_turn(list(kinds.values()), threads, seconds), strict=True))
        reference = rates["plain transaction of 4 rows (reference)"]
        rows += [
            (f"{name}, {threads} thread{'s' * (threads > 1)}", rate, 1000 * threads / rate, rate / reference)
            for name, rate in rates.items()
        ]
    plain.close()
    show(
        "commands: committed decisions, fsync on",
        ("decision", "per second", "ms each", "ratio"),
        rows,
        "Reference: psycopg alone, one UPDATE and INSERTs of about the same width, no checks, no hashes.",
    )


def in_turn(kinds: Sequence[Decide], threads: int, seconds: float) -> list[float]:
    """How often a second each was done: in slices, so that other work on the machine falls on all."""
    slices = [[repeat(decide, threads, seconds / SLICES) for decide in kinds] for _ in range(SLICES)]
    return [sum(each) / SLICES for each in zip(*slices, strict=True)]


def repeat(decide: Decide, threads: int, seconds: float) -> float:
    """How often a second it was done."""
    counts = [0] * threads
    errors: list[BaseException] = []
    ends = time.perf_counter() + seconds

    def work(number: int) -> None:
        try:
            while time.perf_counter() < ends:
                decide(number)
                counts[number] += 1
        except BaseException as error:
            errors.append(error)
            raise

    decide(0)  # the first one compiles statements
    started = time.perf_counter()
    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if errors:
        raise errors[0]
    return sum(counts) / (time.perf_counter() - started)


def _published(database: Database) -> list[UUID]:
    with database.transaction() as session:
        place = agencies.register_jurisdiction(
            session, code="999900", name="测试市", name_en="Test", by=_OPERATOR,
            parent_code=agencies.root_jurisdiction(session).code,
        )  # fmt: skip
        agency = agencies.register_agency(
            session, name="测试市民政局", jurisdiction_id=place.id, verified=False, by=_OPERATOR
        )
        incoming = [
            Incoming(agency, ResourceRecord(title=f"婚姻登记信息{number}", source_id=str(number)))
            for number in range(RESOURCES)
        ]
        upsert_imported(session, incoming, source="bench", as_state="published", by=_OPERATOR)
        session.flush()
        return list(session.scalars(select(Resource.id)))


def _advance(database: Database, resources: Sequence[UUID]) -> Decide:
    """Suspend and resume in turn, each thread on a resource of its own."""

    def decide(number: int) -> None:
        with database.transaction() as session:
            resource = session.get_one(Resource, resources[number])
            act = "suspend" if resource.state == PUBLISHED else "resume"
            history.advance(
                session, resource, RESOURCE, act, by=_AUTHORITY, parties=frozenset({"authority"}),
                expected_version=resource.version, reason="数据质量核查",
            )  # fmt: skip

    return decide


def _record(database: Database) -> Decide:
    def decide(_: int) -> None:
        with database.transaction() as session:
            history.record(session, kind="bench", subject_id=new_id(), act="noted", by=_AUTHORITY)

    return decide


class _Plain:
    """Transactions that only write: a row changed, three added, of about the width of what a decision writes."""

    def __init__(self, url: str) -> None:
        self._connections = [psycopg.connect(url) for _ in range(max(THREADS))]
        self._ids = [uuid4() for _ in self._connections]
        with self._connections[0].transaction():
            self._connections[0].execute(
                "CREATE TABLE bench_plain (id uuid PRIMARY KEY, number bigint NOT NULL, words text)"
            )
            for row in self._ids:
                self._connections[0].execute("INSERT INTO bench_plain VALUES (%s, 0, '')", (row,))

    def write(self, number: int) -> None:
        connection = self._connections[number]
        with connection.transaction():
            connection.execute(
                "UPDATE bench_plain SET number = number + 1 WHERE id = %s", (self._ids[number],)
            )
            for width in (400, 160, 0):
                connection.execute("INSERT INTO bench_plain VALUES (%s, 0, %s)", (uuid4(), "x" * width))

    def close(self) -> None:
        for connection in self._connections:
            connection.close()
