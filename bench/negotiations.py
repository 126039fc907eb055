"""Negotiation commands: drafts, offers and counter-offers a second, each with its terms, consent, clock, event and
ledger entry, beside plain transactions of as many rows: through the same sessions, and by the driver alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import date
from functools import partial
from itertools import chain, product
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from sqlalchemy import Executable, bindparam, column, func, insert, select, table, update
from sqlalchemy.orm import Session

from app.identity import agencies, sessions
from app.kernel import history, sight
from app.kernel.actor import Actor, Role, system_actor
from app.kernel.db import Base, Database
from app.kernel.ledger import LedgerEntry
from app.kernel.postgres_files import SERVICE_ROLE
from bench.commands import THREADS, Decide, in_turn
from bench.console import multiply
from bench.measure import Samples, show
from catalog.resources.importing import Incoming, upsert_imported
from catalog.resources.models import Resource
from catalog.resources.record import ResourceRecord
from exchange.negotiations import case, service
from exchange.negotiations.models import Negotiation
from exchange.requests.service import Content, draft_request, file_request
from exchange.terms import ItemTerm, Method, Purpose, Quota, ResourceTerms, Terms

AT_A_TIME = 16
NEGOTIATIONS = 20_000
_OPERATOR = system_actor("operator")
_TURNS = tuple(product(("provider", "requester"), (Role.CLERK, Role.APPROVER)))


def run(database: Database, *, seconds: float) -> None:
    """Print commands a second, and transactions of as many rows, by 1 and by 4 threads."""
    bargaining = _Bargaining(database)
    plain = _Plain(database, bargaining.decide)
    kinds = {
        "negotiation command": bargaining.decide,
        "plain transaction, the same sessions": plain.write,
        "plain transaction, the driver alone": plain.write_bare,
    }
    rows: list[tuple[str | float, ...]] = []
    for threads in THREADS:
        rates = in_turn(list(kinds.values()), threads, seconds)
        of = f"{threads} thread{'s' * (threads > 1)}"
        rows += [
            (f"{name}, {of}", rate, 1000 * threads / rate, rates[0] / rate)
            for name, rate in zip(kinds, rates, strict=True)
        ]
    plain.close()
    show(
        f"negotiations: committed commands of {plain.rows:g} rows, fsync on",
        ("transaction", "per second", "ms each", "command's share"),
        rows,
        "Draft, offer, draft, counter-offer in turn. Plain: the same rows, one statement each, into tables of the same"
        " columns and indexes; nothing is read, checked, guarded or hashed.",
    )
    _appending(database, bargaining.decide, seconds)


def _appending(database: Database, decide: Decide, seconds: float) -> None:
    """Print what the ledger's part costs of one command: the entry, hashed and written with the event."""
    commands, attested, plain = Samples(), Samples(), Samples()
    entries, ends = _entries(database), time.perf_counter() + seconds
    while time.perf_counter() < ends:  # in turn, as above
        for _ in range(AT_A_TIME):
            commands.take(partial(decide, 0))
        with database.transaction() as session:
            for _ in range(4 * AT_A_TIME):
                attested.take(partial(_record, session, True))
                plain.take(partial(_record, session, False))
    each = (_entries(database) - entries - len(attested.wall)) / len(commands.wall)
    # Other work on the machine is in the slower calls: the quickest quarter tells the costs apart.
    command, entry = commands.percentile_ms(25), attested.percentile_ms(25) - plain.percentile_ms(25)
    show(
        "negotiations: what appending to the ledger costs",
        ("", "entries a command", "command p25 ms", "an entry p25 ms", "share %"),
        [("as committed", each, command, entry, 100 * each * entry / command)],
        "An entry: an event recorded with one less an event recorded without, both without the commit.",
    )


def run_seeing(database: Database, *, seconds: float) -> None:
    """Print what row-level security costs of reads: as the control plane reads, and as the owner of the tables.
    The database is one without negotiations: these have one version of terms each."""
    bargaining = _Bargaining(database)
    with psycopg.connect(database.url, autocommit=True) as connection:
        multiply(connection, ("share_request", "negotiation", "terms_version"), "negotiation", NEGOTIATIONS)
        connection.execute("ANALYZE")
    by, case_id = bargaining.people["provider", Role.CLERK], bargaining.cases[0]
    reads: dict[str, Callable[[Session], object]] = {
        "one negotiation with its terms": lambda session: case.current_terms(
            session, case.find_negotiation(session, case_id, by=by)
        ),
        "21 negotiations, newest first": lambda session: case.list_negotiations(session, by=by, limit=21),
        "how many there are": lambda session: session.scalar(select(func.count()).select_from(Negotiation)),
    }
    bound = Database(database.url, pool_size=1, role=SERVICE_ROLE)
    taken = {(name, of): Samples() for name in reads for of in (database, bound)}
    ends = time.perf_counter() + seconds
    while time.perf_counter() < ends:  # in turn, as above
        for (name, of), samples in taken.items():
            with of.transaction() as session:
                sight.see_as(session, by)
                samples.take(partial(reads[name], session))
    bound.close()
    times = {key: samples.percentile_ms(25) for key, samples in taken.items()}
    show(
        f"negotiations: what row-level security costs, at {NEGOTIATIONS:,} negotiations",
        ("read", "p25 ms", "without it", "ratio"),
        [
            (name, times[name, bound], times[name, database], times[name, bound] / times[name, database])
            for name in reads
        ],
        "One transaction a read; saying as whom one reads is part of every transaction of either kind.",
    )


def _record(session: Session, ledgered: bool) -> None:
    history.record(
        session, kind="bench", subject_id=uuid4(), act="noted", by=_OPERATOR, reason="补充", ledgered=ledgered,
        data={"terms_hash": "0" * 64},
    )  # fmt: skip


def _entries(database: Database) -> int:
    with database.transaction() as session:
        return session.scalar(select(func.count()).select_from(LedgerEntry)) or 0


class _Bargaining:
    """Draft, offer, draft, counter-offer, and again; each thread in a negotiation of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database
        with database.transaction() as session:
            parties = _parties(session)
            self.people = {turn: _person(session, parties[turn[0]], turn[1]) for turn in _TURNS}
            self._terms = _terms(_published(session, parties["provider"]))
            self.cases = [self._filed(session) for _ in range(max(THREADS))]
        self._turns = [0] * max(THREADS)
        self._drafted = [""] * max(THREADS)

    def decide(self, number: int) -> None:
        """The next command in the thread's negotiation."""
        turn, self._turns[number] = self._turns[number], self._turns[number] + 1
        side, role = _TURNS[turn % len(_TURNS)]
        by = self.people[side, role]
        with self._database.transaction() as session:
            asked = case.find_negotiation(session, self.cases[number], by=by)
            if role is Role.CLERK:
                wanted = self._terms.model_copy(update={"retention_days": 1 + turn % 300})
                draft = service.draft_terms(
                    session, asked, terms=wanted, note=None, by=by, version=asked.version
                )
                self._drafted[number] = draft.terms_hash  # as the answer tells it to the approver
            else:
                put = service.offer if side == "provider" else service.counter_offer
                hashed = self._drafted[number]
                put(session, asked, to_hash=hashed, reason="补充", by=by, version=asked.version)

    def _filed(self, session: Session) -> UUID:
        clerk, approver = (self.people["requester", role] for role in (Role.CLERK, Role.APPROVER))
        request = draft_request(session, Content("核验登记信息", self._terms), by=clerk)
        file_request(session, request, by=approver, version=request.version)
        return session.scalars(select(Negotiation.id).where(Negotiation.request_id == request.id)).one()


def _parties(session: Session) -> dict[str, UUID]:
    place = agencies.register_jurisdiction(
        session, code="999800", name="协商市", name_en="Bargain", by=_OPERATOR,
        parent_code=agencies.root_jurisdiction(session).code,
    )  # fmt: skip
    registered = {
        side: agencies.register_agency(
            session, name=f"协商市{name}", jurisdiction_id=place.id, authority=side == "authority", verified=False,
            by=_OPERATOR,
        )
        for side, name in [("authority", "数据局"), ("provider", "民政局"), ("requester", "卫生健康委员会")]
    }  # fmt: skip
    return {side: agency.id for side, agency in registered.items()}


def _person(session: Session, agency_id: UUID, role: Role) -> Actor:
    person = sessions.register_person(
        session, login=f"bench-{uuid4().hex}", name="某人", agency_id=agency_id, roles=frozenset({role}), by=_OPERATOR
    )  # fmt: skip
    return sessions.actor_of(session, person)


def _published(session: Session, agency_id: UUID) -> UUID:
    items = [{"name": f"信息项{n}", "code": f"item_{n}", "data_type": "C"} for n in range(20)]
    record = ResourceRecord.model_validate(
        {"title": "婚姻登记", "source_id": "1", "items": items, "sharing": {"type": "conditional"}}
    )
    incoming = Incoming(agencies.agency(session, agency_id), record)
    upsert_imported(session, [incoming], source="bench-negotiations", as_state="published", by=_OPERATOR)
    session.flush()
    return session.scalars(select(Resource.id).where(Resource.source == "bench-negotiations")).one()


def _terms(resource_id: UUID) -> Terms:
    today = date.today()  # noqa: DTZ011 - the term only has to lie ahead
    items = tuple(ItemTerm(code=f"item_{n}") for n in range(8))
    return Terms(
        resources=(ResourceTerms(resource_id=resource_id, items=items, scope="item_1 = '1'"),),
        purposes=(Purpose(code="check", text="核验", business_matter="登记", legal_basis="某条例第八条"),),
        method=Method.API, valid_from=today, valid_until=today.replace(year=today.year + 1, day=1),
        quota=Quota(calls_per_day=100, rows_per_day=1000, rows_per_call=100), retention_days=30,
    )  # fmt: skip


_TABLES = ("negotiation", "terms_version", "consent", "deadline", "event", "ledger_entry", "ledger_pending")
_FILLED = {"position", "transaction"}  # columns of which the database makes the values
_CHANGED = {"negotiation": ("state", "version", "updated_at", "rounds"), "deadline": ("ended_at", "outcome")}
_Row = dict[str, Any]


class _Written:
    """One row that a command wrote, and the statements that write it again."""

    def __init__(self, name: str, row: _Row, *, changed: bool) -> None:
        self.row, self.changed = row, name if changed else None
        own = table(name, *(column(c.name, c.type) for c in Base.metadata.tables[name].c), schema="plain")
        self.adding = insert(own).values({column: bindparam(column) for column in row})
        names, places = ", ".join(row), ", ".join(f"%({column})s" for column in row)
        self.statement: Executable = self.adding
        self.bare = f"INSERT INTO plain.{name} ({names}) VALUES ({places})".encode()
        if changed:
            self.row = {column: row[column] for column in _CHANGED[name]}
            sets = ", ".join(f"{column} = %({column})s" for column in self.row)
            self.statement = update(own).where(own.c.id == bindparam("standing")).values(
                {column: bindparam(column) for column in self.row}
            )  # fmt: skip
            self.bare = f"UPDATE plain.{name} SET {sets} WHERE id = %(standing)s".encode()

    def values(self, standing: Mapping[str, UUID]) -> _Row:
        """What the statement binds: the row under new identifiers, or what changes of the one that stands."""
        if self.changed:
            return {**self.row, "standing": standing[self.changed]}
        return renamed(self.row)


def renamed(row: _Row) -> _Row:
    return {name: uuid4() if isinstance(value, UUID) else value for name, value in row.items()}


class _Plain:
    """Transactions that write the rows the commands wrote, into tables of the same columns and indexes."""

    def __init__(self, database: Database, decide: Decide) -> None:
        self._database = database
        with psycopg.connect(database.url, autocommit=True, row_factory=dict_row) as connection:
            connection.execute("CREATE SCHEMA plain")
            for name in _TABLES:
                connection.execute(f"CREATE TABLE plain.{name} (LIKE {name} INCLUDING ALL)".encode())
            observed = [self._observed(connection, decide) for _ in _TURNS]
        self._rounds = [
            [_Written(name, row, changed=changed) for name, row, changed in turn] for turn in observed
        ]
        self._connections = [psycopg.connect(database.url) for _ in range(max(THREADS))]
        self._turns = [0] * max(THREADS)
        self._standing: list[dict[str, UUID]] = [{} for _ in range(max(THREADS))]
        with database.transaction() as session:
            for standing, (name, row, changed) in product(self._standing, chain(*observed)):
                if changed and name not in standing:
                    new = renamed(row)
                    session.execute(_Written(name, row, changed=False).adding, new)
                    standing[name] = new["id"]

    @property
    def rows(self) -> float:
        """Rows of one transaction, on average."""
        return sum(len(written) for written in self._rounds) / len(self._rounds)

    def write(self, number: int) -> None:
        """The rows of one command again, as an application writes them: through a session."""
        with self._database.transaction() as session:
            for written in self._next(number):
                session.execute(written.statement, written.values(self._standing[number]))

    def write_bare(self, number: int) -> None:
        """The same without SQLAlchemy."""
        connection = self._connections[number]
        with connection.transaction():
            for written in self._next(number):
                values = written.values(self._standing[number])
                bound = {k: Jsonb(v) if isinstance(v, dict) else v for k, v in values.items()}
                connection.execute(written.bare, bound)

    def _next(self, number: int) -> list[_Written]:
        turn, self._turns[number] = self._turns[number], self._turns[number] + 1
        return self._rounds[turn % len(self._rounds)]

    @staticmethod
    def _observed(connection: psycopg.Connection[_Row], decide: Decide) -> list[tuple[str, _Row, bool]]:
        """The rows that the next command writes: table, row, and whether it stood there before."""
        decide(0)
        newest = "SELECT (transaction::text::bigint % 4294967296)::text AS own FROM event ORDER BY position DESC LIMIT 1"
        own = connection.execute(newest).fetchall()[0]["own"]
        written = []
        for name in _TABLES:
            for row in connection.execute(f"SELECT * FROM {name} WHERE xmin::text = %s".encode(), (own,)):
                changed = name == "negotiation" or row.get("ended_at") is not None
                written.append((name, {k: v for k, v in row.items() if k not in _FILLED}, changed))
        return written

    def close(self) -> None:
        for connection in self._connections:
            connection.close()
