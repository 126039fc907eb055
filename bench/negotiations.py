"""Negotiation commands: drafts, offers and counter-offers a second, each with its terms, consent, clock, event and
ledger entry, beside plain transactions that write as many rows.
"""

from __future__ import annotations

from datetime import date
from itertools import chain, product
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.identity import agencies, sessions
from app.kernel.actor import Actor, Role, system_actor
from app.kernel.db import Database
from bench.commands import THREADS, Decide, repeat
from bench.measure import show
from catalog.resources.importing import Incoming, upsert_imported
from catalog.resources.models import Resource
from catalog.resources.record import ResourceRecord
from exchange.negotiations import case, service
from exchange.negotiations.models import Negotiation, TermsVersion
from exchange.requests.service import Content, draft_request, file_request
from exchange.terms import ItemTerm, Method, Purpose, Quota, ResourceTerms, Terms

SLICES = 8
_OPERATOR = system_actor("operator")
_TURNS = tuple(product(("provider", "requester"), (Role.CLERK, Role.APPROVER)))


def run(database: Database, *, seconds: float) -> None:
    """Print commands a second, and transactions of as many rows, by 1 and by 4 threads."""
    bargaining = _Bargaining(database)
    plain = _Plain(database.url, bargaining.decide)
    rows: list[tuple[str | float, ...]] = []
    for threads in THREADS:
        slices = [  # in turn, so that other work on the machine falls on both
            [repeat(one, threads, seconds / SLICES) for one in (bargaining.decide, plain.write)]
            for _ in range(SLICES)
        ]
        command, reference = (sum(rates) / SLICES for rates in zip(*slices, strict=True))
        of = f"{threads} thread{'s' * (threads > 1)}"
        rows += [
            (f"negotiation command, {of}", command, 1000 * threads / command, command / reference),
            (f"plain transaction (reference), {of}", reference, 1000 * threads / reference, 1.0),
        ]
    plain.close()
    show(
        f"negotiations: committed commands of {plain.rows:g} rows, fsync on",
        ("command", "per second", "ms each", "ratio"),
        rows,
        "Draft, offer, draft, counter-offer in turn. Reference: psycopg alone writes the same rows into tables of the"
        " same columns and indexes: no checks, no triggers, no hashes.",
    )


class _Bargaining:
    """Draft, offer, draft, counter-offer, and again; each thread in a negotiation of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database
        with database.transaction() as session:
            parties = _parties(session)
            self._people = {turn: _person(session, parties[turn[0]], turn[1]) for turn in _TURNS}
            self._terms = _terms(_published(session, parties["provider"]))
            self._cases = [self._filed(session) for _ in range(max(THREADS))]
        self._turns = [0] * max(THREADS)

    def decide(self, number: int) -> None:
        """The next command in the thread's negotiation."""
        turn, self._turns[number] = self._turns[number], self._turns[number] + 1
        side, role = _TURNS[turn % len(_TURNS)]
        by = self._people[side, role]
        with self._database.transaction() as session:
            asked = case.find_negotiation(session, self._cases[number], by=by)
            if role is Role.CLERK:
                wanted = self._terms.model_copy(update={"retention_days": 1 + turn % 300})
                service.draft_terms(session, asked, terms=wanted, note=None, by=by, version=asked.version)
            else:
                put = service.offer if side == "provider" else service.counter_offer
                draft = session.get_one(TermsVersion, asked.draft_terms_id)
                put(session, asked, to_hash=draft.terms_hash, reason="补充", by=by, version=asked.version)

    def _filed(self, session: Session) -> UUID:
        clerk, approver = (self._people["requester", role] for role in (Role.CLERK, Role.APPROVER))
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


class _Plain:
    """Transactions that write the rows the commands wrote, into tables of the same columns and indexes."""

    def __init__(self, url: str, decide: Decide) -> None:
        with psycopg.connect(url, autocommit=True, row_factory=dict_row) as connection:
            self._rounds = [self._observed(connection, decide) for _ in _TURNS]
            connection.execute("CREATE SCHEMA plain")
            for table in _TABLES:
                connection.execute(f"CREATE TABLE plain.{table} (LIKE {table} INCLUDING ALL)".encode())
        self._connections = [psycopg.connect(url) for _ in range(max(THREADS))]
        self._turns = [0] * max(THREADS)
        self._standing = [
            {table: self._insert(connection, table, row) for _, table, row in chain(*self._rounds) if table in _CHANGED}
            for connection in self._connections
        ]  # fmt: skip

    @property
    def rows(self) -> float:
        """Rows of one transaction, on average."""
        return sum(len(written) for written in self._rounds) / len(self._rounds)

    def write(self, number: int) -> None:
        """The rows of one command again, under new identifiers."""
        turn, self._turns[number] = self._turns[number], self._turns[number] + 1
        connection = self._connections[number]
        with connection.transaction():
            for changed, table, row in self._rounds[turn % len(self._rounds)]:
                if changed:
                    names = _CHANGED[table]
                    sets = ", ".join(f"{name} = %s" for name in names)
                    values = [*(row[name] for name in names), self._standing[number][table]]
                    connection.execute(f"UPDATE plain.{table} SET {sets} WHERE id = %s".encode(), values)
                else:
                    self._insert(connection, table, row)

    @staticmethod
    def _observed(connection: psycopg.Connection[_Row], decide: Decide) -> list[tuple[bool, str, _Row]]:
        decide(0)
        newest = "SELECT (transaction::text::bigint % 4294967296)::text AS own FROM event ORDER BY position DESC LIMIT 1"
        own = connection.execute(newest).fetchall()[0]["own"]
        written = []
        for table in _TABLES:
            for row in connection.execute(f"SELECT * FROM {table} WHERE xmin::text = %s".encode(), (own,)):
                changed = table == "negotiation" or row.get("ended_at") is not None
                written.append((changed, table, {k: v for k, v in row.items() if k not in _FILLED}))
        return written

    @staticmethod
    def _insert(connection: psycopg.Connection[Any], table: str, row: _Row) -> UUID:
        values = [
            uuid4() if isinstance(value, UUID) else Jsonb(value) if isinstance(value, dict) else value
            for value in row.values()
        ]
        places = ", ".join(["%s"] * len(values))
        connection.execute(f"INSERT INTO plain.{table} ({', '.join(row)}) VALUES ({places})".encode(), values)
        return UUID(str(values[list(row).index("id")])) if "id" in row else uuid4()

    def close(self) -> None:
        for connection in self._connections:
            connection.close()
