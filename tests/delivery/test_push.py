"""Push through a real gateway process: what was agreed, all of it, to an endpoint or a bucket, and nothing lost."""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import msgspec
import psycopg
import pytest

from app.kernel.clock import new_id
from exchange.delivery.protocol import HttpSource, HttpTarget, S3Target, Source, Subscription, TableSource
from exchange.delivery.push.targets import signed
from exchange.scope import parse_scope
from exchange.terms import ItemTerm, LastN, Method, Quota
from tests.delivery.agreed import RECORDS, RESOURCE, agreed
from tests.delivery.world import MASK_KEY, Receiver, World, paged, running_world
from tests.exchange.reference import reference_covers, reference_mask

QUOTA = Quota(calls_per_day=10_000, rows_per_day=100_000, rows_per_call=50)
ITEMS = (ItemTerm(code="n"), ItemTerm(code="name"), ItemTerm(code="id_number", mask=LastN(keep=4)))
SCOPE = "status = 'valid'"
HEADERS = {"X-Receiver-Key": "of-the-requester"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running_world(tmp_path_factory.mktemp("gateway")) as running:
        yield running


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    taking = Receiver()
    yield taking
    taking.close()


class Register:
    """A provider's table, and what the slow reference says of it."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.name = f"register_{uuid4().hex[:8]}"
        self.connection = psycopg.connect(dsn, autocommit=True)
        self.run(f"CREATE TABLE {self.name} (n int PRIMARY KEY, name text, id_number text, status text)")

    def run(self, statement: str) -> None:
        self.connection.execute(statement.encode())

    def add(self, first: int, last: int) -> None:
        self.run(
            f"INSERT INTO {self.name} SELECT n, 'person ' || n, '99010119900101' || lpad(n::text, 4, '0'),"
            f" CASE WHEN n % 5 = 0 THEN 'void' ELSE 'valid' END FROM generate_series({first}, {last}) AS n"
        )

    def source(self) -> TableSource:
        return TableSource(dsn=self.dsn, table=self.name, key=("n",))

    def expected(self) -> dict[int, dict[str, Any]]:
        rows = self.connection.execute(
            f"SELECT n, name, id_number, status FROM {self.name}".encode()
        ).fetchall()
        records = [dict(zip(("n", "name", "id_number", "status"), row, strict=True)) for row in rows]
        kept = [row for row in records if reference_covers(parse_scope(SCOPE), row) is True]
        key = bytes.fromhex(MASK_KEY)
        return {
            row["n"]: {item.code: reference_mask(item.mask, row[item.code], key) for item in ITEMS}
            for row in kept
        }


@pytest.fixture
def register(server: str) -> Iterator[Register]:
    table = Register(server)
    yield table
    table.connection.close()


def subscribe(
    world: World, source: Source, target: HttpTarget | S3Target, *, quota: Quota = QUOTA, items: Any = ITEMS,
    scope: str | None = SCOPE, **more: Any,
) -> Subscription:  # fmt: skip
    terms = agreed(items=items, scope=scope, method=Method.PUSH, quota=quota)
    agreement = world.centre.agree(terms, {str(RESOURCE): source})
    subscription = Subscription(
        id=str(new_id()), agreement_id=agreement, resource_id=str(RESOURCE), grant_id=str(new_id()),
        client_id="permits-app", agency_id="housing", purpose="P1", target=target,
        mode="changes", form="ndjson", every_s=0.1,
    )  # fmt: skip
    subscription = msgspec.structs.replace(subscription, **more)
    world.centre.subscriptions = [subscription]
    world.centre.publish()
    return subscription


def test_changes_come_once_they_are_there_and_all_of_them(
    world: World, receiver: Receiver, register: Register
) -> None:
    register.add(1, 300)
    subscription = subscribe(
        world, register.source(), HttpTarget(url=receiver.url + "/in?x=1", headers=HEADERS)
    )
    receiver.until(lambda: receiver.rows() == register.expected())
    first = len(receiver.taken)
    assert first == 5  # 240 records in parts of at most 50
    # A transaction that began before the next run and commits after it
    with psycopg.connect(register.dsn) as late:
        late.execute(f"INSERT INTO {register.name} VALUES (1001, 'late', '1', 'valid')".encode())
        register.add(301, 310)
        register.run(f"UPDATE {register.name} SET name = 'changed' WHERE n = 7")
        receiver.until(lambda: receiver.rows() == register.expected())
        place = world.centre.until_pushed(subscription.id, lambda place: place.runs > 2)
        late.commit()
    receiver.until(lambda: 1001 in receiver.rows())
    assert receiver.rows() == register.expected()
    world.centre.until_pushed(subscription.id, lambda found: found.runs > place.runs + 2)
    rest = receiver.taken[first:]
    assert sum(len(body.splitlines()) for _, _, body in rest) < 60  # increments, not everything again
    path, headers, body = receiver.taken[0]
    assert (path, headers["x-receiver-key"], headers["zhengtong-part"]) == (
        "/in?x=1",
        "of-the-requester",
        "1/5",
    )
    digest = headers["content-digest"].removeprefix("sha-256=:").removesuffix(":")
    assert b64decode(digest) == hashlib.sha256(body).digest()
    previous = [headers["zhengtong-previous"] for _, headers, _ in receiver.taken]
    assert previous == ["none", *(headers["idempotency-key"] for _, headers, _ in receiver.taken[:-1])]
    receipt = world.centre.receipt(headers["zhengtong-receipt"])
    assert (receipt.call.method, receipt.call.client_id) == ("push", "permits-app")
    told = (receipt.outcome.result, receipt.outcome.rows, receipt.outcome.bytes, receipt.outcome.sha256)
    assert told == ("delivered", 50, len(body), hashlib.sha256(body).hexdigest())


def test_a_part_that_is_not_taken_comes_again_with_its_id_and_counts_once(
    world: World, receiver: Receiver, register: Register
) -> None:
    register.add(1, 30)
    receiver.refuses_with = 503
    quota = Quota(calls_per_day=100, rows_per_day=24, rows_per_call=24)  # as many as there are
    subscription = subscribe(world, register.source(), HttpTarget(url=receiver.url), quota=quota)
    receiver.until(lambda: receiver.attempts > 1)
    world.centre.until_pushed(subscription.id, lambda place: place.problem == "target-failed")
    world.gateway.kill()
    world.gateway.start()
    receiver.refuses_with = None
    receiver.until(lambda: receiver.rows() == register.expected())
    world.centre.until_pushed(subscription.id, lambda place: place.runs == 1 and place.problem is None)
    attempts = [r for r in world.centre.receipts.values() if r.call.agreement_id == subscription.agreement_id]
    assert sum(receipt.outcome.rows for receipt in attempts) == 24
    register.add(100, 104)  # more than the day's quota
    world.centre.until_pushed(subscription.id, lambda place: place.problem == "quota-used-up")
    assert len(receiver.rows()) == 24


def test_what_is_suspended_is_not_pushed_and_nothing_is_lost_by_it(
    world: World, receiver: Receiver, register: Register
) -> None:
    register.add(1, 20)
    subscription = subscribe(world, register.source(), HttpTarget(url=receiver.url))
    world.centre.until_pushed(subscription.id, lambda place: place.runs > 0)
    terms = agreed(items=ITEMS, scope=SCOPE, method=Method.PUSH, quota=QUOTA)
    sources: dict[str, Source] = {str(RESOURCE): register.source()}
    world.centre.set(subscription.agreement_id, terms, sources, state="suspended")
    world.centre.until_pushed(subscription.id, lambda place: place.problem == "agreement-not-in-force")
    before = len(receiver.taken)
    register.add(21, 40)
    assert len(receiver.taken) == before
    world.centre.set(subscription.agreement_id, terms, sources)
    receiver.until(lambda: receiver.rows() == register.expected())


def test_another_table_is_delivered_whole(world: World, receiver: Receiver, register: Register) -> None:
    register.add(1, 10)
    subscription = subscribe(world, register.source(), HttpTarget(url=receiver.url))
    receiver.until(lambda: receiver.rows() == register.expected())
    register.run(f"CREATE TABLE {register.name}_new AS SELECT * FROM {register.name}")
    register.run(f"ALTER TABLE {register.name} RENAME TO {register.name}_old")
    register.run(f"ALTER TABLE {register.name}_new RENAME TO {register.name}")
    before = len(receiver.taken)
    receiver.until(lambda: len(receiver.taken) > before)
    assert len(receiver.taken[-1][2].splitlines()) == 8
    assert world.centre.until_pushed(subscription.id, lambda place: True).problem is None


def test_a_view_cannot_tell_changes_and_an_api_is_delivered_whole(
    world: World, receiver: Receiver, register: Register
) -> None:
    register.run(f"CREATE VIEW {register.name}_v AS SELECT * FROM {register.name}")
    view = TableSource(dsn=register.dsn, table=f"{register.name}_v", key=("n",))
    subscription = subscribe(world, view, HttpTarget(url=receiver.url))
    world.centre.until_pushed(subscription.id, lambda place: place.problem == "changes-not-told")
    api = HttpSource(url=world.provider.serves("/all", paged(RECORDS)), records_path="data")
    items = (ItemTerm(code="name"), ItemTerm(code="legal_person_id", mask=LastN(keep=4)))
    whole = subscribe(
        world,
        api,
        HttpTarget(url=receiver.url),
        items=items,
        scope=None,
        mode="full",
        form="csv",
        every_s=3600,
    )
    world.centre.until_pushed(whole.id, lambda place: place.runs == 1)
    ((_, headers, body),) = receiver.taken
    assert headers["content-type"].startswith("text/csv")
    assert body.decode().splitlines()[:2] == ['"name","legal_person_id"', '"企业1","**************0001"']
    assert (headers["zhengtong-rows"], b"never" in body) == ("20", False)


def test_a_bucket_gets_objects_signed_and_a_manifest_when_they_are_all_there(
    world: World, receiver: Receiver, register: Register
) -> None:
    register.add(1, 100)
    target = S3Target(
        endpoint=receiver.url, bucket="incoming", prefix="civil 册/", region="us-east-1",
        access_key="AKIDEXAMPLE", secret_key="wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
    )  # fmt: skip
    subscription = subscribe(world, register.source(), target)
    world.centre.until_pushed(subscription.id, lambda place: place.runs > 0)
    *parts, manifest = receiver.taken[:3]
    run = json.loads(manifest[2])
    assert (run["run"], run["rows"], manifest[0]) == (
        1,
        80,
        "/incoming/civil%20%E5%86%8C/00000001/manifest.json",
    )
    for number, ((path, headers, body), told) in enumerate(zip(parts, run["parts"], strict=True), 1):
        assert path == f"/incoming/civil%20%E5%86%8C/00000001/0000{number}-{told['id']}.ndjson"
        assert hashlib.sha256(body).hexdigest() == told["sha256"] == headers["x-amz-content-sha256"]
        at = datetime.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        again = signed(target, "PUT", headers["host"], path, told["sha256"], at)
        assert headers["authorization"] == again["Authorization"]


def test_the_signature_is_the_one_that_the_algorithm_gives() -> None:
    """The example of the vendor's documentation (Signature Version 4, PUT Object), its signed headers reduced to ours;
    the expected value was computed with botocore 1.44.5."""
    target = S3Target(
        endpoint="https://examplebucket.s3.amazonaws.com", bucket="b", prefix="", region="us-east-1",
        access_key="AKIAIOSFODNN7EXAMPLE", secret_key="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    )  # fmt: skip
    body = hashlib.sha256(b"Welcome to Amazon S3.").hexdigest()
    at = datetime(2013, 5, 24, tzinfo=UTC)
    told = signed(target, "PUT", "examplebucket.s3.amazonaws.com", "/test%24file.text", body, at)
    assert told["Authorization"].endswith(
        "Signature=1e15d288c066d54cc20d8f664ade3fa96e6744b2861304671f6eb633045a2d4a"
    )
