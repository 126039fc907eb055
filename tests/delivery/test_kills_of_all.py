"""Gateway, control plane, worker and database killed at random under API, bulk and push delivery at once, each started
again as its supervisor would: no byte without an intent, no receipt lost, nothing counted twice, no gap."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import httpx2
import psycopg
import pytest
from sqlalchemy import select
from sqlalchemy.engine import make_url

from app.kernel.db import Database
from app.migrate import migrate
from app.serve import HeldDatabase
from app.settings import keys_of
from exchange.delivery.journal import Journal, open_journal
from exchange.delivery.models import ReceiptRow
from tests.conftest import execute
from tests.delivery.test_end_to_end import RECORDS, ledger_differences, until
from tests.delivery.test_gateways_apart import City, running_city
from tests.delivery.world import ProviderSystem, Receiver, paged

KILLS = int(os.environ.get("ZHENGTONG_SOAK_KILLS", "6"))
VICTIMS = ["gateway", "control plane", "gateway", "database", "worker", "connection"]
RECOVERED_WITHIN_S = 120.0
PLAIN = [{"code": "name"}, {"code": "amount"}]
QUOTA = {"calls_per_day": 10**7, "rows_per_day": 10**9, "rows_per_call": 10}
BULK_ROWS = 500
PUSHED_PER_KILL = 1500  # more than leave between two kills


_What = tuple[int, int]  # bytes and rows that came


class _Requester(threading.Thread):
    """Asks again and again, under the newest grant, until it is told to stop."""

    def __init__(self, ask: Callable[[httpx2.Client], None], load: _Load) -> None:
        super().__init__(daemon=True)
        self._ask, self._load = ask, load

    def run(self) -> None:
        with httpx2.Client(timeout=10, trust_env=False) as client:
            while not self._load.stop.is_set():
                with suppress(httpx2.HTTPError):
                    self._ask(client)
                self._load.stop.wait(0.01)


class _Load:
    """Calls of an API and extracts, all at once; `renew` gets fresh grants where the centre gives them."""

    def __init__(self, city: City, api: dict[str, Any], bulk: dict[str, Any]) -> None:
        self.seen: dict[str, _What | None] = {}  # by receipt; None where the answer broke off
        self.changed: list[str] = []  # extracts whose bytes are not those of their manifest
        self.stop = threading.Event()
        self._city, self._api, self._bulk = city, api, bulk
        self._gateway = city.gateways["civil"]
        self.renew()
        asked = [self._call_api] * 4 + [self._extract] * 2
        self._requesters = [_Requester(ask, self) for ask in asked]

    def renew(self) -> None:
        (self._url, self._headers), (_, self._bulk_headers) = map(self._city.grant, (self._api, self._bulk))

    def __enter__(self) -> Self:
        for requester in self._requesters:
            requester.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        self.stop.set()
        for requester in self._requesters:
            requester.join()

    def _call_api(self, client: httpx2.Client) -> None:
        with client.stream("GET", self._url, headers=self._headers) as answer:
            if answer.status_code == 200:
                body = self._whole(answer)
                self.seen[answer.headers["zhengtong-receipt"]] = len(body), len(json.loads(body))

    def _extract(self, client: httpx2.Client) -> None:
        agreement, (part,) = self._bulk["id"], self._bulk["terms"]["resources"]
        path = f"/v1/extracts/{agreement}/{part['resource_id']}?purpose=check&form=ndjson"
        made = client.post(self._gateway.url + path, headers=self._bulk_headers)
        if made.status_code != 201:
            return
        manifest = made.json()
        with client.stream(
            "GET", f"{self._gateway.url}/v1/extracts/{manifest['id']}/data", headers=self._bulk_headers
        ) as answer:
            if answer.status_code == 200:
                body = self._whole(answer)
                self.seen[answer.headers["zhengtong-receipt"]] = len(body), 0
                if hashlib.sha256(body).hexdigest() != manifest["sha256"]:
                    self.changed.append(manifest["id"])

    def _whole(self, answer: httpx2.Response) -> bytes:
        self.seen[answer.headers["zhengtong-receipt"]] = None  # its first byte has come
        return b"".join(answer.iter_bytes())


class _Parts:
    """The processes of a city beside its gateway, each of which may die."""

    def __init__(self, city: City, held: HeldDatabase, database: Database) -> None:
        self.city, self._held, self._database = city, held, database
        self._port = urlsplit(city.gateways["civil"].url).port

    def __enter__(self) -> Self:
        self._start_worker()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_worker()

    def kill(self, victim: str) -> None:
        match victim:
            case "gateway":
                self.city.gateways["civil"].kill()
            case "control plane":
                self.city.centre.kill()
            case "worker":
                self._stop_worker()
            case "database":
                os.kill(_parent_of(self._some_connection()), signal.SIGKILL)
            case "connection":  # PostgreSQL ends all others then, and recovers from its log
                os.kill(self._some_connection(), signal.SIGKILL)

    def start_again(self, victim: str) -> None:
        match victim:
            case "gateway":
                self.city.gateways["civil"].start(self._port)
            case "control plane":
                self.city.centre.start()
            case "worker":
                self._start_worker()
            case "database":
                until(lambda: not self._database_lives(), "the database did not end")
                until(self._is_kept, "the database did not come back", within_s=RECOVERED_WITHIN_S)
        self.city.centre.wait_for_readiness()

    def _stop_worker(self) -> None:
        self._worker.kill()
        self._worker.wait()

    def _start_worker(self) -> None:
        command = [sys.executable, "-m", "app.cli", "worker"]
        self._worker = subprocess.Popen(command, env=self.city.centre.environment)

    def _some_connection(self) -> int:
        """The process of any connection to the database but our own."""
        with psycopg.connect(self._database.url) as connection:
            found = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
                " ORDER BY random() LIMIT 1"
            ).fetchone()
        assert found is not None, "nobody is connected"
        return int(found[0])

    def _is_kept(self) -> bool:
        """Look after it as the service does every second: that it ended is not always seen at once."""
        self._held.keep()
        return self._database_lives()

    def _database_lives(self) -> bool:
        with suppress(psycopg.OperationalError), psycopg.connect(self._database.url, connect_timeout=5):
            return True
        return False


def _parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@contextmanager
def _durable_database(folder: Path) -> Iterator[tuple[HeldDatabase, Database]]:
    """A database that keeps what it acknowledged, unlike the other tests'."""
    with HeldDatabase(folder) as held:
        migrate(held.url)
        execute(
            held.url,
            "UPDATE rule_profile SET profile = jsonb_set(profile, '{security,second_factor_roles}', '[]')",
        )
        database = Database(held.url, pool_size=4)
        yield held, database
        database.close()


def _table(server: str, name: str, rows: int) -> dict[str, Any]:
    """A provider's table of so many rows, and how it is registered."""
    execute(server, f"CREATE TABLE {name} (name text, amount int PRIMARY KEY)")
    execute(server, f"INSERT INTO {name} SELECT '甲' || n, n FROM generate_series(1, {rows}) AS n")
    url = make_url(server)
    return {
        "kind": "table", "host": url.host or url.query["host"], "port": url.port or int(str(url.query["port"])),
        "database": url.database, "user": url.username, "password": url.password, "table": f"public.{name}",
        "key": ["amount"],
    }  # fmt: skip


def _subscribe(city: City, agreement: dict[str, Any], receiver: Receiver) -> None:
    (part,) = agreement["terms"]["resources"]
    wanted = {
        "agreement_id": agreement["id"], "resource_id": part["resource_id"], "purpose": "check", "every_minutes": 1,
        "mode": "changes", "form": "ndjson", "target": {"kind": "http", "url": receiver.url},
    }  # fmt: skip
    city.puller.call("POST", "/pushes", wanted, expect=201)


def _received(receiver: Receiver) -> list[int]:
    """Every record in the order of its first arrival, parts that came again left out."""
    bodies = {headers["idempotency-key"]: body for _, headers, body in receiver.taken}
    return [json.loads(line)["amount"] for body in bodies.values() for line in body.splitlines()]


def _lines(receiver: Receiver) -> int:
    return sum(
        {headers["idempotency-key"]: body.count(b"\n") for _, headers, body in receiver.taken}.values()
    )


def _sum(receipts: Iterable[tuple[str, str, int]], day: str) -> dict[str, tuple[int, int]]:
    """Calls and rows of a day by agreement, from (agreement, day, rows) of each receipt."""
    calls, rows = Counter[str](), Counter[str]()
    for agreement, of_day, left in receipts:
        if of_day == day:
            calls[agreement] += 1
            rows[agreement] += left
    return {agreement: (calls[agreement], rows[agreement]) for agreement in calls}


def _require_quota_counted_once(folder: Path, rows: dict[str, ReceiptRow]) -> None:
    """What a stopped gateway counted against each agreement is the sum of the receipts, the centre's and those that
    it still owes."""

    async def read() -> Journal:
        journal = await open_journal(folder)
        journal.close()
        return journal

    journal = asyncio.run(read())
    owed = [receipt for receipt in journal.unshipped(10**6) if receipt.call.id not in rows]
    receipts = [
        (str(r.agreement_id), r.day.isoformat(), r.rows) for r in rows.values() if r.result != "refused"
    ]
    receipts += [
        (r.call.agreement_id, r.call.day, r.outcome.rows) for r in owed if r.outcome.result != "refused"
    ]
    day = max(of_day for _, of_day, _ in receipts)  # what an earlier day used is forgotten
    for agreement, (calls, left) in _sum(receipts, day).items():
        used = journal.used(agreement, day)
        assert (used.calls, used.rows) == (calls, left)


def _require_no_gap(receiver: Receiver, pushed: int) -> None:
    """Each record came, in a chain of parts without a missing link."""
    assert sorted(_received(receiver)) == list(range(1, pushed + 1))
    chain = list(dict.fromkeys((h["zhengtong-previous"], h["idempotency-key"]) for _, h, _ in receiver.taken))
    assert [before for before, _ in chain] == ["none", *(part for _, part in chain[:-1])]


def _require_receipts(database: Database, receipts: dict[str, _What | None]) -> dict[str, ReceiptRow]:
    """Every receipt that a requester saw is at the centre and tells what came; gives all that are there."""

    def held() -> dict[str, ReceiptRow]:
        with database.transaction() as session:
            rows = {str(row.id): row for row in session.scalars(select(ReceiptRow))}
            session.expunge_all()
            return rows

    until(lambda: receipts.keys() <= held().keys(), "a receipt is missing", within_s=RECOVERED_WITHIN_S)
    rows = held()
    for receipt, what in receipts.items():
        row = rows[receipt]
        assert row.result in ("delivered", "interrupted", "failed")
        if what is not None and row.result == "delivered":
            assert (row.bytes, row.rows) == what
    return rows


def _kill_at_random(parts: _Parts, load: _Load) -> Counter[str]:
    dice, killed = random.Random(22), Counter[str]()
    for _ in range(-(-KILLS // len(VICTIMS))):
        for victim in dice.sample(VICTIMS, len(VICTIMS)):
            threading.Event().wait(dice.uniform(0.1, 1.2))  # the length of the load, not a wait for anything
            parts.kill(victim)
            killed[victim] += 1
            parts.start_again(victim)
            load.renew()
    return killed


@pytest.mark.soak
def test_whatever_is_killed_no_receipt_is_lost_and_nothing_counts_twice(tmp_path: Path, server: str) -> None:
    receiver, provider, pushed = Receiver(), ProviderSystem(), KILLS * PUSHED_PER_KILL
    with (
        _durable_database(tmp_path / "held") as (held, database),
        running_city(database, tmp_path, ("civil",)) as city,
    ):
        source = {
            "kind": "http", "url": provider.serves("/marriages", paged(RECORDS)), "records_path": "data",
            "page_parameter": "page", "size_parameter": "size", "page_size": 4,
        }  # fmt: skip
        by_api = city.agreement("civil", source, PLAIN, quota=QUOTA)
        table = _table(server, "killed_bulk", BULK_ROWS)
        by_bulk = city.agreement(
            "civil", table, PLAIN, method="bulk", quota=QUOTA | {"rows_per_call": BULK_ROWS}
        )
        table = _table(server, "killed_push", pushed)
        by_push = city.agreement("civil", table, PLAIN, method="push", quota=QUOTA)
        city.world.session.close()
        database.engine.dispose()  # connections that would die
        _subscribe(city, by_push, receiver)
        load = _Load(city, by_api, by_bulk)
        with _Parts(city, held, database) as parts, load:
            killed = _kill_at_random(parts, load)
            load.end()
            until(
                lambda: _lines(receiver) >= pushed,
                "not all was pushed",
                within_s=RECOVERED_WITHIN_S + 5 * KILLS,
            )
        print(f"{dict(killed)}, {len(load.seen)} answers, {len(receiver.taken)} parts pushed")
        assert load.changed == []
        assert len(load.seen) > KILLS
        _require_no_gap(receiver, pushed)
        of_parts = dict.fromkeys(headers["zhengtong-receipt"] for _, headers, _ in receiver.taken)
        _require_receipts(database, {**of_parts, **load.seen})
        assert city.gateways["civil"].stop() == 0
        rows = _require_receipts(database, {})
        _require_quota_counted_once(city.gateways["civil"].folder / "receipts", rows)
        assert sum(row.rows for row in rows.values() if str(row.agreement_id) == by_push["id"]) == pushed
        assert ledger_differences(database, keys_of(city.centre.settings)) == []
    receiver.close()
    provider.close()
