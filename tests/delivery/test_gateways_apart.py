"""Gateways beside two providers, one of the authority, and the centre, each a process: the scenario as it runs in a
city. Suspension under load, the centre killed and back again, and every receipt where it belongs."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx2
import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.demo import provider_api
from app.kernel.actor import Role, Scope
from app.kernel.db import Database
from app.settings import Settings, keys_of
from exchange.delivery.models import ReceiptRow
from tests.delivery.systems import System, register
from tests.delivery.test_end_to_end import ledger_differences, until
from tests.delivery.world import Centre, GatewayProcess, free_port
from tests.exchange.world import World
from tests.factories import Town

LOST_TOUCH_AFTER_S = 6.0
CALLERS = 6
SUSPENDED_WITHIN_S = 2.0
AGREED: list[dict[str, Any]] = [
    {"code": "name"},
    {"code": "id_number", "mask": {"kind": "last_n", "keep": 4}},
]
QUOTA = {"calls_per_day": 10**7, "rows_per_day": 10**9, "rows_per_call": 20}


class CentreProcess:
    """The control plane, to be killed and started again on the same port."""

    def __init__(self, database: Database, data: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.settings = Settings(data=data, database_url=database.url, public_url=self.url)
        keys_of(self.settings)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {
            "ZHENGTONG_DATA": str(self.settings.data),
            "ZHENGTONG_DATABASE_URL": self.settings.database_url,
            "ZHENGTONG_PUBLIC_URL": self.url,
        }

    def start(self) -> None:
        command = [sys.executable, "-m", "app.api", "127.0.0.1", str(self.port)]
        self._process = subprocess.Popen(command, env=self.environment)
        self.wait_for_readiness()

    def wait_for_readiness(self) -> None:

        def ready() -> bool:
            with suppress(httpx2.HTTPError):
                return httpx2.get(f"{self.url}/readyz", trust_env=False).status_code == 200
            return False

        until(ready, "the centre did not start", within_s=240)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@contextmanager
def provider_system(folder: Path, name: str) -> Iterator[dict[str, Any]]:
    """A provider's own API as a process; gives how it is registered."""
    port, secret = free_port(), f"secret-of-{name}"
    secret_file = folder / f"{name}.secret"
    secret_file.write_text(secret)
    command = [
        sys.executable,
        "-m",
        "app.demo.provider_api",
        "--port",
        str(port),
        "--secret-file",
        str(secret_file),
    ]
    process = subprocess.Popen(command)
    url = f"http://127.0.0.1:{port}"
    try:

        def ready() -> bool:
            with suppress(httpx2.HTTPError):
                return httpx2.get(f"{url}/health", trust_env=False).status_code == 200
            return False

        until(ready, "the provider did not start", within_s=60)
        yield {
            "kind": "http", "url": url + provider_api.PATH, "headers": {"Authorization": f"Bearer {secret}"},
            "records_path": "rows", "page_parameter": "page", "size_parameter": "size",
            "page_size": provider_api.PAGE_SIZE_LIMIT,
        }  # fmt: skip
    finally:
        process.kill()
        process.wait()


@dataclass
class City:
    """`gateways` by the agency that runs them."""

    centre: CentreProcess
    world: World
    puller: System
    gateways: dict[str, GatewayProcess]

    def agreement(
        self, provider: str, source: dict[str, Any], items: list[dict[str, Any]] = AGREED, **changes: Any
    ) -> dict[str, Any]:
        """In force over one resource of a provider, connected."""
        resource = self.world.publish(provider)
        today = datetime.now(UTC).date()
        part = {"resource_id": str(resource), "items": items}
        negotiation = self.world.filed(
            resource, provider=provider, resources=[part], valid_from=str(today - timedelta(days=1)),
            valid_until=str(today + timedelta(days=30)), **{"quota": QUOTA, **changes},
        )  # fmt: skip
        consent = {"terms_hash": negotiation["terms"]["terms_hash"]}
        done = self.world.act(negotiation, "agree", provider, Role.APPROVER, consent)
        self.world.call("PUT", f"/resources/{resource}/source", provider, Role.CLERK, body=source)
        made: dict[str, Any] = self.world.read("agreements", done["agreement_id"], provider)
        return made

    def grant(self, agreement: dict[str, Any]) -> tuple[str, dict[str, str]]:
        wanted = {"agreement_id": agreement["id"], "purpose": "check"}
        granted = self.puller.call("POST", "/grants", wanted, expect=201)
        return granted["resources"][0]["url"], {"Authorization": f"Bearer {granted['token']}"}


@contextmanager
def running_city(
    database: Database, folder: Path, agencies: tuple[str, ...] = ("civil", "market", "city_authority")
) -> Iterator[City]:
    """The centre, and a gateway of each of these agencies."""
    centre = CentreProcess(database, folder / "centre")
    with ExitStack() as open_things:
        open_things.callback(centre.kill)
        centre.start()
        session = open_things.enter_context(Session(database.engine, expire_on_commit=False))
        http = open_things.enter_context(httpx2.Client(base_url=centre.url, timeout=60, trust_env=False))
        town = Town(session)
        world = World(session, town, cast(Any, http), hand_over=session.commit)
        puller = register(session, town, "health", Scope.PULL, http, centre.url)
        session.commit()
        gateways, rows = {}, {}
        for agency in agencies:
            own = register(session, town, agency, Scope.GATEWAY, http, centre.url, gateway_url=None)
            port = free_port()
            gateway = GatewayProcess(
                cast(Centre, SimpleNamespace(url=centre.url, gateway_key=own.key)), folder / agency,
                client_id=own.name, poll_s=1.0, lost_touch_after_s=LOST_TOUCH_AFTER_S,
                url=f"http://127.0.0.1:{port}",
            )  # fmt: skip
            open_things.callback(gateway.close)
            gateway.start(port, ready=503)  # it is not approved
            wanted = {"client_id": str(own.id), "url": gateway.url}
            row = world.call("POST", "/gateways", agency, Role.CLERK, body=wanted, expect=201)
            security = ("city_authority", Role.SECURITY_ADMINISTRATOR)
            world.call("POST", f"/gateways/{row['id']}/approve", *security, body={}, version=row["version"])
            gateway.wait_for_readiness(200)
            gateways[agency], rows[agency] = gateway, row["id"]
        for agency, row_id in rows.items():  # each says every ten seconds that it is there
            until(partial(_is_heard, world, agency, row_id), "a gateway was not heard", within_s=60)
        yield City(centre, world, puller, gateways)


def _is_heard(world: World, agency: str, gateway_id: str) -> bool:
    return world.read("gateways", gateway_id, agency, Role.CLERK)["seen_at"] is not None


@dataclass
class Caller(threading.Thread):
    """Calls one address again and again; remembers when it got what."""

    url: str
    headers: dict[str, str]
    stop: threading.Event
    delivered: list[tuple[float, str]] = field(default_factory=list)  # when, receipt
    refused: list[tuple[float, int, str]] = field(default_factory=list)  # when, status, type of problem

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        with httpx2.Client(timeout=20, trust_env=False, headers=self.headers) as client:
            while not self.stop.is_set():
                answer = client.get(self.url)
                at = time.monotonic()
                if answer.status_code == 200:
                    self.delivered.append((at, answer.headers["zhengtong-receipt"]))
                else:
                    self.refused.append((at, answer.status_code, answer.json()["type"]))
                    self.stop.wait(0.02)


@contextmanager
def calling(addresses: list[tuple[str, dict[str, str]]]) -> Iterator[list[Caller]]:
    stop = threading.Event()
    callers = [Caller(url, headers, stop) for url, headers in addresses]
    for caller in callers:
        caller.start()
    try:
        yield callers
    finally:
        stop.set()
        for caller in callers:
            caller.join()


@pytest.mark.soak
def test_gateways_beside_their_providers_outlive_the_centre_and_hear_of_a_suspension_at_once(
    database: Database, tmp_path: Path
) -> None:
    with (
        provider_system(tmp_path, "civil") as of_civil,
        provider_system(tmp_path, "market") as of_market,
        running_city(database, tmp_path) as city,
    ):
        agreements = {
            "civil": city.agreement("civil", of_civil),
            "market": city.agreement("market", of_market),
        }
        addresses = {name: city.grant(agreement) for name, agreement in agreements.items()}
        for name, (url, _) in addresses.items():
            assert url.startswith(city.gateways[name].url), "the provider's own gateway comes first"
        url, headers = addresses["civil"]
        central = url.replace(city.gateways["civil"].url, city.gateways["city_authority"].url), headers
        every = [addresses["civil"], addresses["market"], central]
        until(lambda: all(httpx2.get(u, headers=h).status_code == 200 for u, h in every), "no delivery")
        receipts: set[str] = set()

        # One agreement is suspended while every gateway is busy.
        with calling(every * (CALLERS // 3)) as callers:
            until(lambda: all(len(caller.delivered) > 20 for caller in callers), "no load")
            current = city.world.read("agreements", agreements["civil"]["id"], "civil")
            city.world.act(current, "suspend", "civil", Role.APPROVER, {"reason": "数据质量整改"})
            suspended_at = time.monotonic()
            of_it = [caller for caller in callers if caller.url != addresses["market"][0]]
            until(lambda: all(caller.refused for caller in of_it), "it was still served")
            until(lambda: time.monotonic() > suspended_at + 3, "")  # what comes later still counts
        last = max(at for caller in of_it for at, _ in caller.delivered)
        assert last - suspended_at < SUSPENDED_WITHIN_S
        assert {kind for caller in of_it for _, _, kind in caller.refused} == {
            "/problems/agreement-not-in-force"
        }
        assert all(not caller.refused for caller in callers if caller not in of_it), (
            "the other agreement is served on"
        )
        print(f"last delivery {last - suspended_at:+.3f} s after the suspension was answered")
        receipts |= {receipt for caller in callers for _, receipt in caller.delivered}

        # The centre is killed: what was granted is served until the configured time.
        market = city.grant(agreements["market"])
        with calling([market] * 2) as callers:
            until(lambda: all(len(caller.delivered) > 5 for caller in callers), "no load")
            city.centre.kill()
            killed_at = time.monotonic()
            until(lambda: all(caller.refused for caller in callers), "it was served for ever")
        served = max(at for caller in callers for at, _ in caller.delivered) - killed_at
        assert LOST_TOUCH_AFTER_S - 2.5 < served < LOST_TOUCH_AFTER_S + 2
        assert {kind for caller in callers for _, _, kind in caller.refused} == {"/problems/out-of-touch"}
        print(f"served for {served:.1f} s without the centre, {LOST_TOUCH_AFTER_S:.0f} s are configured")
        receipts |= {receipt for caller in callers for _, receipt in caller.delivered}

        # It returns: every receipt arrives, once, and the ledger attests it.
        city.centre.start()
        city.gateways["market"].wait_for_readiness(200)
        held = select(func.count()).select_from(ReceiptRow).where(ReceiptRow.result == "delivered")

        def arrived() -> bool:
            with database.transaction() as session:
                return (session.scalar(held) or 0) >= len(receipts)

        until(arrived, "receipts are missing", within_s=60)
        with database.transaction() as session:
            known = {str(id) for id in session.scalars(select(ReceiptRow.id))}
        assert receipts <= known
        assert ledger_differences(database, keys_of(city.centre.settings)) == []
        print(f"{len(receipts)} deliveries, each with its receipt at the centre")
