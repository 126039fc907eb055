"""A gateway killed again and again under load: no byte without an intent, no receipt lost, nothing counted twice."""

from __future__ import annotations

import json
import os
import random
import threading
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import psycopg
import pytest

from app.kernel.clock import new_id
from exchange.delivery.protocol import HttpSource, HttpTarget, Subscription, TableSource
from exchange.terms import ItemTerm, Method, Quota
from tests.delivery.agreed import QUOTA, RECORDS, RESOURCE, agreed
from tests.delivery.world import Receiver, World, paged, running_world

KILLS = int(os.environ.get("ZHENGTONG_SOAK_KILLS", "12"))
CALLERS = 6


class _Caller(threading.Thread):
    """Calls until it is told to stop; remembers each call of which it has seen a byte."""

    def __init__(self, world: World, agreement: str, token: str, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.seen: dict[str, int] = {}  # bytes by receipt; -1 where the answer broke off
        self._world, self._agreement, self._token, self._stopped = world, agreement, token, stop

    def run(self) -> None:
        headers = {"authorization": f"Bearer {self._token}"}
        path = f"/v1/data/{self._agreement}/{RESOURCE}?purpose=P1"
        with httpx2.Client(timeout=5, trust_env=False, headers=headers) as client:
            while not self._stopped.is_set():
                receipt = ""
                with (
                    suppress(httpx2.HTTPError),
                    client.stream("GET", self._world.gateway.url + path) as answer,
                ):
                    if answer.status_code != 200:
                        continue  # started, and not in touch with the centre yet
                    receipt = answer.headers["zhengtong-receipt"]
                    self.seen[receipt] = -1
                    self.seen[receipt] = sum(map(len, answer.iter_bytes()))
                if not receipt:
                    self._stopped.wait(0.01)  # the gateway is down


@pytest.mark.soak
def test_no_kill_loses_a_receipt_or_lets_a_byte_out_unaccounted(tmp_path: Path) -> None:
    rng = random.Random(20)
    with running_world(tmp_path) as world:
        source = HttpSource(
            url=world.provider.serves("/companies", paged(RECORDS)), records_path="data", page_size=4,
            page_parameter="page", size_parameter="size",
        )  # fmt: skip
        quota = QUOTA.model_copy(update={"calls_per_day": 10**6, "rows_per_day": 10**9})
        agreement = world.centre.agree(agreed(quota=quota), {str(RESOURCE): source})
        stop = threading.Event()
        callers = [_Caller(world, agreement, world.centre.grant(agreement), stop) for _ in range(CALLERS)]
        for caller in callers:
            caller.start()
        port = urlsplit(world.gateway.url).port
        for _ in range(KILLS):
            threading.Event().wait(rng.uniform(0.05, 0.5))  # the length of the load, not a wait for anything
            world.centre.takes_receipts = rng.random() < 0.7
            world.gateway.kill()
            world.gateway.start(port)
        stop.set()
        for caller in callers:
            caller.join()
        world.centre.takes_receipts = True
        seen = {receipt: size for caller in callers for receipt, size in caller.seen.items()}
        assert len(seen) > KILLS
        for receipt, size in seen.items():
            outcome = world.centre.receipt(receipt).outcome  # none is missing
            assert outcome.result in ("delivered", "interrupted", "failed")
            if outcome.result == "delivered" and size >= 0:
                assert (outcome.bytes, outcome.rows) == (size, 10)
        assert world.centre.contradictions == []


def _is_whole(receiver: Receiver, expected: set[int]) -> bool:
    return expected <= {n for n, _ in _rows_of(receiver)}


def _rows_of(receiver: Receiver) -> list[tuple[int, str]]:
    """Every record in the order of its first arrival, parts that came again left out."""
    bodies = {headers["idempotency-key"]: body for _, headers, body in receiver.taken}
    return [(row["n"], row["name"]) for body in bodies.values() for row in map(json.loads, body.splitlines())]


@pytest.mark.soak
def test_no_kill_leaves_a_gap_in_a_push_or_counts_a_record_twice(tmp_path: Path, server: str) -> None:
    """A table that keeps growing is pushed while the gateway is killed: every record arrives, in a chain of parts
    without a missing link, and the quota holds each part's records once."""
    rng = random.Random(21)
    table, receiver = f"growing_{rng.randrange(10**9)}", Receiver()
    with psycopg.connect(server, autocommit=True) as register, running_world(tmp_path) as world:
        register.execute(f"CREATE TABLE {table} (n serial PRIMARY KEY, name text)".encode())
        quota = Quota(calls_per_day=10**6, rows_per_day=10**9, rows_per_call=20)
        terms = agreed(
            items=(ItemTerm(code="n"), ItemTerm(code="name")), scope=None, method=Method.PUSH, quota=quota
        )
        source = TableSource(dsn=server, table=table, key=("n",))
        agreement = world.centre.agree(terms, {str(RESOURCE): source})
        subscription = Subscription(
            id=str(new_id()), agreement_id=agreement, resource_id=str(RESOURCE), grant_id=str(new_id()),
            client_id="permits-app", agency_id="housing", purpose="P1", mode="changes", form="ndjson", every_s=0.05,
            target=HttpTarget(url=receiver.url),
        )  # fmt: skip
        world.centre.subscriptions = [subscription]
        world.centre.publish()
        port, written = urlsplit(world.gateway.url).port, 0
        for _ in range(KILLS):
            written += 200
            grow = f"INSERT INTO {table} (name) SELECT 'a' FROM generate_series(1, 200)"
            register.execute(grow.encode())
            receiver.refuses_with = 503 if rng.random() < 0.3 else None
            threading.Event().wait(rng.uniform(0.05, 0.6))  # the length of the load, not a wait for anything
            world.gateway.kill()
            world.gateway.start(port)
        receiver.refuses_with = None
        receiver.until(lambda: _is_whole(receiver, set(range(1, written + 1))))
        chain = list(
            dict.fromkeys((h["zhengtong-previous"], h["idempotency-key"]) for _, h, _ in receiver.taken)
        )
        assert [before for before, _ in chain] == ["none", *(part for _, part in chain[:-1])]
        for _, headers, _ in receiver.taken:
            assert world.centre.receipt(headers["zhengtong-receipt"]).call.method == "push"
        runs = world.centre.places[subscription.id].runs
        world.centre.until_pushed(subscription.id, lambda place: place.runs > runs + 1)
        counted = sum(
            r.outcome.rows for r in world.centre.receipts.values() if r.call.agreement_id == agreement
        )
        assert counted == len(_rows_of(receiver))
        assert world.centre.contradictions == []
    receiver.close()
