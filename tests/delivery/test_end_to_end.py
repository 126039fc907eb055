"""The whole way with nothing replaced: centre and gateway as servers, a provider with records, people who agree."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import httpx2
import pytest
import uvicorn
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from app.kernel import history, ledger, verification
from app.kernel.actor import Role, Scope
from app.kernel.db import Database
from app.kernel.keys import ServiceKeys
from app.main import create_app
from app.settings import Settings
from exchange.agreements.states import SUPPLY
from exchange.delivery import receipts
from tests.delivery.systems import System, register
from tests.delivery.world import PATIENCE_S, Centre, GatewayProcess, ProviderSystem, free_port, paged
from tests.exchange.world import World
from tests.factories import Town

API_KEY = "provider-key"
GATEWAY_URL = "http://gateway.test"  # where the centre says that it is; the real one gets a free port
RECORDS: list[dict[str, Any]] = [
    {
        "name": f"张{n}",
        "id_number": f"99010119900101{n:04d}",
        "registered_on": f"2026-0{1 + n % 2}-01",
        "amount": n * 100,
        "note": "内部",
    }
    for n in range(1, 11)
]
AGREED_ITEMS = [{"code": "name"}, {"code": "id_number", "mask": {"kind": "last_n", "keep": 4}}]
EXPECTED = [
    {"name": record["name"], "id_number": "*" * 14 + record["id_number"][-4:]}
    for record in RECORDS
    if record["amount"] > 500
]


@contextmanager
def serving(settings: Settings, database: Database, keys: ServiceKeys, port: int) -> Iterator[None]:
    """The centre over HTTP until the block ends."""
    config = uvicorn.Config(
        create_app(settings, database, keys), port=port, ws="none", lifespan="off", log_config=None
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started, "the centre did not start")
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(PATIENCE_S)


def until(holds: Callable[[], object], otherwise: str, *, within_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, otherwise
        threading.Event().wait(0.01)


@dataclass
class Exchange:
    """The real centre, a real gateway, a provider; civil provides, health asks."""

    world: World
    provider: ProviderSystem
    gateway: GatewayProcess
    puller: System

    def agreement(self, **changes: Any) -> dict[str, Any]:
        """In force: names and the ends of identity numbers, where the amount is over 500."""
        resource = self.world.publish()
        today = datetime.now(UTC).date()
        part = {"resource_id": str(resource), "items": AGREED_ITEMS, "scope": "amount > 500"}
        negotiation = self.world.filed(
            resource, resources=[part], valid_from=str(today - timedelta(days=1)),
            valid_until=str(today + timedelta(days=30)), **changes,
        )  # fmt: skip
        consent = {"terms_hash": negotiation["terms"]["terms_hash"]}
        done = self.world.act(negotiation, "agree", "civil", Role.APPROVER, consent)
        agreement: dict[str, Any] = self.world.read("agreements", done["agreement_id"], "civil")
        return agreement

    def connect(self, agreement: dict[str, Any], source: dict[str, Any]) -> None:
        (part,) = agreement["terms"]["resources"]
        self.world.call("PUT", f"/resources/{part['resource_id']}/source", "civil", Role.CLERK, body=source)

    def http_source(self, path: str, behaviour: Any, **more: Any) -> dict[str, Any]:
        url = self.provider.serves(path, behaviour)
        return {
            "kind": "http",
            "url": url,
            "records_path": "data",
            "headers": {"X-Api-Key": API_KEY},
            **more,
        }

    def grant(self, agreement: dict[str, Any]) -> tuple[str, dict[str, str]]:
        """The data URL that the centre gives, at the real gateway, and the headers to call it with."""
        wanted = {"agreement_id": agreement["id"], "purpose": "check"}
        granted = self.puller.call("POST", "/grants", wanted, expect=201)
        url = str(granted["resources"][0]["url"]).replace(GATEWAY_URL, self.gateway.url)
        return url, {"Authorization": f"Bearer {granted['token']}"}

    def fetch(self, address: tuple[str, dict[str, str]]) -> httpx2.Response:
        return self.gateway.client.get(address[0], headers=address[1])

    def await_delivery(self, address: tuple[str, dict[str, str]]) -> httpx2.Response:
        """The first delivery: the gateway has heard of the agreement and its source."""
        answers: list[httpx2.Response] = []

        def delivered() -> bool:
            answers.append(self.fetch(address))
            return answers[-1].status_code == 200

        until(delivered, "nothing was delivered")
        return answers[-1]

    def receipt(self, id: str) -> dict[str, Any]:
        """A receipt as the provider reads it at the centre, once it has arrived."""
        headers = self.world.headers("civil", Role.CLERK)
        self.world.session.commit()
        found: list[httpx2.Response] = []

        def arrived() -> bool:
            found.append(self.puller.http.get(f"/api/v1/receipts/{id}", headers=headers))
            return found[-1].status_code == 200

        until(arrived, "the receipt did not arrive")
        receipt: dict[str, Any] = found[-1].json()
        return receipt


@contextmanager
def running(database: Database, keys: ServiceKeys, folder: Path, poll_s: float) -> Iterator[Exchange]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    settings = Settings(
        data=folder / "centre",
        database_url=database.url,
        public_url=url,
        gateway_url=GATEWAY_URL,
    )
    provider = ProviderSystem()
    with (
        Session(database.engine, expire_on_commit=False) as session,
        httpx2.Client(base_url=url, timeout=PATIENCE_S, trust_env=False) as http,
        serving(settings, database, keys, port),
    ):
        town = Town(session)
        puller = register(session, town, "health", Scope.PULL, http, url)
        registered = register(
            session, town, "city_authority", Scope.GATEWAY, http, url, gateway_url=GATEWAY_URL
        )
        session.commit()
        centre = cast(Centre, SimpleNamespace(url=url, gateway_key=registered.key))
        gateway = GatewayProcess(
            centre, folder / "gateway", client_id=registered.name, poll_s=poll_s, url=GATEWAY_URL
        )
        world = World(session, town, cast(Any, http), hand_over=session.commit)
        try:
            gateway.start()
            yield Exchange(world, provider, gateway, puller)
        finally:
            gateway.close()
            provider.close()


@pytest.fixture
def exchange(database: Database, keys: ServiceKeys, tmp_path: Path) -> Iterator[Exchange]:
    with running(database, keys, tmp_path, poll_s=0.02) as own:
        yield own


def test_agreed_rows_of_an_api_arrive_masked_and_leave_a_receipt(
    exchange: Exchange, database: Database, keys: ServiceKeys
) -> None:
    agreement = exchange.agreement()
    asked_with: list[str | None] = []

    def behave(handler: Any, query: dict[str, list[str]]) -> None:
        asked_with.append(handler.headers["X-Api-Key"])
        paged(RECORDS)(handler, query)

    exchange.connect(agreement, exchange.http_source("/marriages", behave))
    address = exchange.grant(agreement)
    answer = exchange.await_delivery(address)
    assert answer.json() == EXPECTED
    assert asked_with == [API_KEY]

    receipt = exchange.receipt(answer.headers["zhengtong-receipt"])
    assert receipt["sha256"] == hashlib.sha256(answer.content).hexdigest()
    assert (receipt["result"], receipt["rows"], receipt["bytes"]) == ("delivered", 5, len(answer.content))
    assert (receipt["purpose"], receipt["client_id"]) == ("check", str(exchange.puller.id))
    assert SUPPLY not in exchange.world.clocks(agreement["id"])

    refused = exchange.gateway.client.get(f"{address[0]}&items=amount", headers=address[1])
    assert refused.status_code == 403
    receipt = exchange.receipt(refused.json()["receipt"])
    assert (receipt["result"], receipt["problem"], receipt["rows"]) == ("refused", "item-not-agreed", 0)

    use = exchange.world.call("GET", f"/agreements/{agreement['id']}/use", "health", Role.CLERK)
    assert (use["today"]["calls"], use["today"]["rows"]) == (1, 5)
    assert ledger_differences(database, keys) == []


def test_a_source_is_tried_by_the_gateway_before_anybody_agrees(exchange: Exchange) -> None:
    world, path = exchange.world, f"/resources/{exchange.world.publish()}/source"

    def tried(source: dict[str, Any]) -> dict[str, Any]:
        world.call("PUT", path, "civil", Role.CLERK, body=source)
        assert world.call("POST", f"{path}/test", "civil", Role.CLERK)["test"]["outcome"] == "waiting"
        answers: list[dict[str, Any]] = []

        def answered() -> bool:
            answers.append(world.call("GET", path, "civil", Role.CLERK)["test"])
            return bool(answers[-1]["outcome"] != "waiting")

        until(answered, "the gateway told nothing")
        return answers[-1]

    whole = [{**record, "status": "1"} for record in RECORDS]
    found = tried(exchange.http_source("/whole", paged(whole)))
    assert (found["outcome"], found["found"]["records"], found["found"]["missing"]) == ("passed", 5, [])
    assert "张" not in str(found), "no value is told"
    found = tried(exchange.http_source("/lacking", paged([{"name": "张三"}])))
    assert (found["outcome"], found["found"]["carried"], found["message"]["en"]) == (
        "failed", ["name"], "Records can be fetched, and items are missing",
    )  # fmt: skip

    def refuse(handler: Any, _query: object) -> None:
        handler.reply(401)

    found = tried(exchange.http_source("/refusing", refuse))
    assert (found["outcome"], found["found"]["problem"]) == ("failed", "provider-failed")
    assert "401" in found["message"]["zh"]


def ledger_differences(database: Database, keys: ServiceKeys) -> list[str]:
    with database.transaction() as session:
        while ledger.sequence(session, keys.ledger):
            pass
        signer = keys.ledger
        contents = chain(history.ledgered_contents(session), receipts.ledgered_contents(session))
        size, differences = verification.verify(session, key=signer.verifier_key, contents=contents)
        assert size > 0
        return [str(difference) for difference in differences]


def test_agreed_rows_of_a_table_arrive_masked(exchange: Exchange, database: Database) -> None:
    with database.transaction() as session:
        session.execute(text("CREATE TABLE marriage (full_name text, id_number text, amount int, note text)"))
        insert = text("INSERT INTO marriage VALUES (:name, :id_number, :amount, :note)")
        session.execute(insert, RECORDS)
    url = make_url(database.url)
    agreement = exchange.agreement()
    exchange.connect(
        agreement,
        {
            "kind": "table",
            "host": url.host or url.query["host"],
            "port": url.port or int(str(url.query["port"])),
            "database": url.database,
            "user": url.username,
            "password": url.password,
            "table": "public.marriage",
            "key": ["id_number"],
            "columns": {"name": "full_name"},
        },
    )
    assert exchange.await_delivery(exchange.grant(agreement)).json() == EXPECTED


def test_a_suspended_agreement_is_refused_within_two_seconds(
    database: Database, keys: ServiceKeys, tmp_path: Path
) -> None:
    with running(database, keys, tmp_path, poll_s=1.0) as exchange:
        agreement = exchange.agreement()
        exchange.connect(agreement, exchange.http_source("/marriages", paged(RECORDS)))
        address = exchange.grant(agreement)
        exchange.await_delivery(address)
        current = exchange.world.read("agreements", agreement["id"], "civil")
        exchange.world.act(current, "suspend", "civil", Role.APPROVER, {"reason": "数据质量整改"})
        suspended_at = time.monotonic()
        refused: list[httpx2.Response] = []

        def is_refused() -> bool:
            refused.append(exchange.fetch(address))
            return refused[-1].status_code != 200

        until(is_refused, "a suspended agreement was still served")
        assert time.monotonic() - suspended_at < 2.0
        assert (refused[-1].status_code, refused[-1].json()["type"]) == (
            403,
            "/problems/agreement-not-in-force",
        )


def test_a_killed_gateway_loses_no_receipt(exchange: Exchange, database: Database, keys: ServiceKeys) -> None:
    agreement = exchange.agreement()
    release, waiting = threading.Event(), threading.Event()

    def behave(handler: Any, query: dict[str, list[str]]) -> None:
        if query["page"] == ["2"]:
            waiting.set()
            release.wait(PATIENCE_S)
        paged([record | {"amount": 1000} for record in RECORDS])(handler, query)

    paging = {"page_parameter": "page", "size_parameter": "size", "page_size": 5}
    exchange.connect(agreement, exchange.http_source("/gated", behave, **paging))
    url, headers = exchange.grant(agreement)
    done = exchange.await_delivery((f"{url}&limit=3", headers)).headers["zhengtong-receipt"]
    with exchange.gateway.client.stream("GET", url, headers=headers) as answer:
        assert next(answer.iter_bytes()).startswith(b'[{"name":"')  # data has left
        cut = answer.headers["zhengtong-receipt"]
        assert waiting.wait(PATIENCE_S)
        exchange.gateway.kill()
    release.set()
    exchange.gateway.start()
    assert exchange.receipt(done)["rows"] == 3
    interrupted = exchange.receipt(cut)
    limit = agreement["terms"]["quota"]["rows_per_call"]
    assert (interrupted["result"], interrupted["rows"]) == ("interrupted", limit)
    with database.transaction() as session:
        held = session.execute(text("SELECT count(*) FROM receipt WHERE result <> 'refused'")).scalar()
    assert held == 2
    assert ledger_differences(database, keys) == []


def test_the_identifiers_of_a_receipt_are_those_of_its_ledger_entry(
    exchange: Exchange, database: Database, keys: ServiceKeys
) -> None:
    agreement = exchange.agreement()
    exchange.connect(agreement, exchange.http_source("/marriages", paged(RECORDS)))
    id = exchange.await_delivery(exchange.grant(agreement)).headers["zhengtong-receipt"]
    exchange.receipt(id)
    assert ledger_differences(database, keys) == []
    proof = exchange.puller.http.get(f"/api/v1/ledger/entries/{id}/proof").json()
    assert (proof["kind"], proof["subject_id"]) == ("delivery.receipt", agreement["id"])
    assert UUID(proof["entry_id"]) == UUID(id)
