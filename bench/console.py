"""Pages of the console on a full exchange: the server's time for every page that somebody can open.

One of every case is made through the real operations (the estate of the authorisation tests), then multiplied in the
database with new ids; the ledger is a tree of so many leaves.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx2
import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy.orm import Session
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.kernel import clock
from app.kernel.checkpoint import Signer
from app.kernel.db import Database
from app.kernel.keys import load_keys
from app.main import create_app
from app.settings import Settings
from bench.ledger import simulate
from bench.measure import Samples, show, timed
from catalog.search import indexing
from tests.conftest import PUBLIC_URL, OneTransaction
from tests.console.routes import OF_A_CASE, OF_NO_CASE, address_of, rows_of
from tests.delivery.systems import GATEWAY_URL
from tests.estate import Estate
from tests.exchange.world import START, World
from tests.factories import Town
from tests.stage import Stage

CASES = (
    "share_request", "negotiation", "terms_version", "negotiation_comment", "consent", "agreement", "dispute",
    "statement", "ruling", "correction", "deadline", "event",
)  # fmt: skip
RECORDS = ("resource", "resource_version", "item")
SLOWEST = 12
AGENCIES = ("provider", "requester", "authority")
# Clerk, approver; of the authority who reviews, mediates, keeps people's accounts and audits.
READERS = {
    "requester 0",
    "requester 1",
    "provider 1",
    "authority 2",
    "authority 3",
    "authority 5",
    "authority 6",
}
SEARCH = "?q=婚姻"
ANSWERED_OTHERWISE = ("/corrections/report", "/compare")  # ask for something of a case
ALLOWED_MS = 200.0
ONE_FACTOR = "UPDATE rule_profile SET profile = jsonb_set(profile, '{security,second_factor_roles}', '[]')"


def run(
    database: Database, folder: Path, *, resources: int, negotiations: int, entries: int, rounds: int
) -> None:
    """Print the slowest pages and the 95th percentile over all of them, each opened `rounds` times."""
    keys = load_keys(folder / "keys", "bench.test/ledger")
    with clock.frozen(START):
        with psycopg.connect(database.url, autocommit=True) as connection:
            connection.execute(ONE_FACTOR)
        pages, built_s = timed(lambda: _built(database, folder))
        print(f"one of every case: {built_s:.0f} s", flush=True)
        started = time.perf_counter()
        with psycopg.connect(database.url, autocommit=True) as connection:
            multiply(connection, RECORDS, "resource", resources)
            multiply(connection, CASES, "negotiation", negotiations)
            connection.execute("TRUNCATE ledger_leaf, ledger_tile, ledger_checkpoint, ledger_pending CASCADE")
            connection.execute("ANALYZE")
        print(f"multiplied: {time.perf_counter() - started:.0f} s", flush=True)
        signer = Signer("bench.test/ledger", Ed25519PrivateKey.generate())
        proved, tree_s = timed(lambda: simulate(database, signer, entries))
        print(f"ledger: {tree_s:.0f} s", flush=True)
        settings = Settings(data=folder, database_url="", public_url=PUBLIC_URL, gateway_url=GATEWAY_URL)
        app = create_app(settings, database, keys)
        _, indexed_s = timed(lambda: indexing.reindex(database, app.state.index))
        print(f"indexed: {indexed_s:.0f} s", flush=True)
        watch = Watch(app)
        pages += [Page(f"/ledger?entry={one}", {}) for one in proved[:3]]
        with TestClient(watch, base_url=PUBLIC_URL, headers={"accept": "text/html"}) as client:

            def status(page: Page) -> int:
                watch.address = page.address
                return client.get(page.address, headers=page.credential, follow_redirects=False).status_code

            shown = [page for page in pages if status(page) == httpx2.codes.OK]  # others refuse this reader
            watch.samples.clear()
            for _ in range(rounds):
                for page in shown:
                    status(page)
    slowest = sorted(watch.samples.items(), key=lambda one: -one[1].percentile_ms(95))
    everything = Samples([took for samples in watch.samples.values() for took in samples.wall])
    over = sum(samples.percentile_ms(95) > ALLOWED_MS for samples in watch.samples.values())
    show(
        f"console: server time of {len(slowest)} pages, {resources:,} resources, {negotiations:,} negotiations, "
        f"{entries:,} ledger entries",
        ("page", "p50 ms", "p95 ms"),
        [
            *((address, samples.percentile_ms(50), samples.percentile_ms(95)) for address, samples in slowest[:SLOWEST]),
            ("all pages", everything.percentile_ms(50), everything.percentile_ms(95)),
        ],
        f"{over} pages with a 95th percentile over {ALLOWED_MS:g} ms, of {rounds} times each.",
    )  # fmt: skip


class Watch:
    """The application with a watch on it: from a request's arrival to the last byte of its answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app, self.address = app, ""
        self.samples: dict[str, Samples] = defaultdict(Samples)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()

        async def sending(message: Message) -> None:
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                self.samples[self.address].wall.append(time.perf_counter() - started)

        await self._app(scope, receive, sending)


@dataclass(frozen=True, slots=True)
class Page:
    """A page that somebody can open."""

    address: str
    credential: dict[str, str]


def _built(database: Database, folder: Path) -> list[Page]:
    """The estate, committed; every page of the console, each with the credential of one who may open it. The pages
    of no case are opened by a reader of each role."""
    settings = Settings(data=folder, database_url="", public_url=PUBLIC_URL, gateway_url=GATEWAY_URL)
    keys = load_keys(folder / "keys", "bench.test/ledger")
    with database.engine.connect() as connection:
        outer = connection.begin()
        in_it = OneTransaction(database, connection)
        with (
            Session(connection, join_transaction_mode="create_savepoint", expire_on_commit=False) as session,
            TestClient(create_app(settings, in_it, keys), base_url=PUBLIC_URL) as client,
        ):
            stage = Stage(Estate(World(session, Town(session), client), keys.ledger))
            client.app.state.index.close()  # type: ignore[attr-defined]  # a FastAPI app
        outer.commit()
    told = stage.of(*AGENCIES)
    found = [
        Page(f"{path}{SEARCH if path == '/catalog' else ''}", told[who])
        for path in (route.path for route in OF_NO_CASE if route.path not in ANSWERED_OTHERWISE)
        for who in READERS
    ]
    for route in OF_A_CASE:
        if "GET" in (route.methods or ()):
            for key in rows_of(route):
                call = stage.estate.calls[key]
                found.append(Page(address_of(route, key, call), stage.credential(key)))
    return found


def multiply(connection: psycopg.Connection, tables: Sequence[str], measure: str, wanted: int) -> None:
    """Copy the rows of `tables` until `measure` has `wanted`; every copy has its own ids, and refers to copies."""
    for table in tables:
        _let_in(connection, table)
    present = connection.execute(f"SELECT count(*) FROM {measure}".encode()).fetchone()
    assert present is not None
    copies = max(0, -(-(wanted - present[0]) // present[0]))
    connection.execute("DROP TABLE IF EXISTS known; CREATE TEMP TABLE known (id uuid PRIMARY KEY)")
    for table in tables:
        if "id" in _columns(connection, table):
            connection.execute(f"INSERT INTO known SELECT id FROM {table} ON CONFLICT DO NOTHING".encode())
    for table in tables:
        columns = _columns(connection, table)
        values = ", ".join(_copied(name, kind, table) for name, kind in columns.items())
        of_them = "WHERE t.subject_id IN (SELECT id FROM known)" if "subject_id" in columns else ""
        connection.execute(
            f"INSERT INTO {table} ({', '.join(columns)}) "
            f"SELECT {values} FROM {table} t, generate_series(1, {copies}) n {of_them}".encode()
        )


def _let_in(connection: psycopg.Connection, table: str) -> None:
    """Take away what would check each copy against its own history: triggers and references."""
    connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER".encode())
    references = connection.execute(
        "SELECT conname FROM pg_constraint WHERE contype = 'f' AND conrelid = %s::regclass", (table,)
    )
    for (name,) in references.fetchall():
        connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}".encode())


def _columns(connection: psycopg.Connection, table: str) -> dict[str, str]:
    """The columns that a row brings itself, and their types."""
    found = connection.execute(
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = 'public' AND table_name = %s"
        " AND is_identity = 'NO' AND is_generated = 'NEVER' AND data_type <> 'xid8'",
        (table,),
    )
    return dict(found.fetchall())


def _copied(name: str, kind: str, table: str) -> str:
    if kind == "uuid":
        return f"CASE WHEN t.{name} IN (SELECT id FROM known) THEN md5(t.{name}::text || n)::uuid ELSE t.{name} END"
    if (table, name) in (("resource", "code"), ("resource", "source_id")):
        return f"t.{name} || '-' || n"
    return f"t.{name}"
