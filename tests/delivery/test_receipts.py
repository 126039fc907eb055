"""Receipts at the centre: taken once, attested, told to those concerned, counted."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from sqlalchemy import func, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.kernel import history, ledger
from app.kernel.actor import Actor, ActorKind, Role, Scope
from app.kernel.db import Database
from exchange.agreements.states import SUPPLY
from exchange.delivery import receipts
from exchange.delivery.models import ReceiptRow
from exchange.delivery.protocol import (
    Receipt,
    ReceiptBatch,
)
from tests.delivery.systems import (
    Calls,
    system,
)
from tests.exchange.world import World


def count(session: Session) -> int:
    return session.scalar(select(func.count()).select_from(ReceiptRow)) or 0


def test_a_receipt_is_kept_once_however_often_it_comes(world: World, calls: Calls) -> None:
    first, second = calls.receipt(), calls.receipt("refused", rows=0)
    assert calls.ship(first, second) == [first.call.id, second.call.id]
    assert calls.ship(second, first, first) == [second.call.id, first.call.id, first.call.id]
    assert count(world.session) == 2
    entries = world.session.scalars(
        select(ledger.LedgerEntry).where(ledger.LedgerEntry.kind == "delivery.receipt")
    ).all()
    assert {str(entry.id) for entry in entries} == {first.call.id, second.call.id}
    contents = dict(receipts.ledgered_contents(world.session))
    assert {str(entry.id): entry.content_hash for entry in entries} == {
        i: ledger.content_hash(content) for i, content in contents.items()
    }


def test_a_second_story_about_one_call_is_refused_and_reported_once(world: World, calls: Calls) -> None:
    told = calls.receipt()
    assert calls.ship(told) == [told.call.id]
    other = Receipt(call=told.call, outcome=msgspec.structs.replace(told.outcome, rows=2))
    honest = calls.receipt()
    assert calls.ship(other, honest) == [honest.call.id]
    assert calls.ship(other) == []
    row = world.session.get_one(ReceiptRow, UUID(told.call.id))
    assert row.rows == 3
    (event,) = history.events_of(world.session, "receipt", row.id)
    assert (event.act, event.data["why"], event.actor_name) == ("refuse", "contradicts", calls.gateway.name)


def test_a_receipt_needs_a_grant_that_covers_it(world: World, calls: Calls) -> None:
    other = system(world, "health", Scope.PULL)
    made_up = [
        calls.receipt(grant_id=str(uuid4())),
        calls.receipt(client_id=str(other.id)),
        calls.receipt(agency_id=str(world.town.id("market"))),
        calls.receipt(agreement_id=world.agreed()["id"]),
    ]
    assert calls.ship(*made_up) == []
    assert count(world.session) == 0
    for receipt in made_up:
        (event,) = history.events_of(world.session, "receipt", UUID(receipt.call.id))
        assert event.data["why"] == "not_covered"


def test_a_gateway_reports_deliveries_of_its_own_provider_only(
    world: World, agreement: dict[str, Any]
) -> None:
    calls = Calls(world, agreement, system(world, "market", Scope.GATEWAY))
    delivered, refused = calls.receipt(), calls.receipt("refused", rows=0)
    assert calls.ship(delivered, refused) == [refused.call.id]


def test_what_a_caller_wrote_cannot_block_the_receipts(world: World, calls: Calls) -> None:
    odd = calls.receipt(
        "refused",
        rows=0,
        resource_id="a\x00b",
        purpose="",
        items=("x\x00", "名" * 3000),
        at="2026-09-18T09:00:00+08:00",
    )
    assert calls.ship(odd) == calls.ship(odd) == [odd.call.id]
    read = world.call("GET", f"/receipts/{odd.call.id}", "health", Role.CLERK)
    assert (read["resource_id"], read["at"]) == ("a\ufffdb", "2026-09-18T01:00:00Z")


def test_a_wide_batch_fits(calls: Calls) -> None:
    items = tuple(f"item_with_a_long_code_{n:04d}" for n in range(200))
    batch = [calls.receipt(items=items) for _ in range(500)]
    assert len(msgspec.json.encode(ReceiptBatch(receipts=batch))) > 1 << 20
    assert len(calls.ship(*batch)) == 500


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b'{"receipts": 1}', 422),
        (b"[]", 422),
    ],
)
def test_a_batch_that_cannot_be_read_is_refused(calls: Calls, body: bytes, status: int) -> None:
    answer = calls.gateway.http.post(
        "/api/v1/gateway/receipts", content=body, headers=calls.gateway.headers()
    )
    assert answer.status_code == status


@pytest.mark.parametrize(
    "changes",
    [{"id": "1"}, {"at": "yesterday"}, {"rows_reserved": -1}, {"rows_reserved": 2**60}, {"day": ""}],
)
def test_one_unreadable_receipt_refuses_its_batch(
    world: World, calls: Calls, changes: dict[str, Any]
) -> None:
    problem = calls.ship(calls.receipt(), calls.receipt(**changes), expect=422)
    assert problem["errors"][0]["field"] == "/receipts/1"
    assert count(world.session) == 0


def test_receipts_are_never_changed(world: World, calls: Calls) -> None:
    calls.ship(calls.receipt())
    with pytest.raises(DBAPIError, match="never changed"):
        world.session.execute(update(ReceiptRow).values(rows=0))


def test_the_first_delivery_meets_the_supply_clock(world: World, calls: Calls) -> None:
    id = calls.agreement["id"]
    calls.ship(calls.receipt("refused", rows=0), calls.receipt("failed", rows=1))
    assert SUPPLY in world.clocks(id)
    calls.ship(calls.receipt())
    world.session.expire_all()
    assert SUPPLY not in world.clocks(id)


def test_each_side_and_the_authority_read_the_receipts(world: World, calls: Calls) -> None:
    shipped = [calls.receipt() for _ in range(3)]
    calls.ship(*shipped)
    newest = sorted((receipt.call.id for receipt in shipped), reverse=True)
    id = calls.agreement["id"]
    readers = [
        ("health", Role.CLERK),
        ("civil", Role.APPROVER),
        ("city_authority", Role.MEDIATOR),
        ("province_authority", Role.AUDIT_ADMINISTRATOR),
    ]
    for agency, role in readers:
        page = world.call("GET", f"/receipts?agreement_id={id}&limit=2", agency, role)
        rest = world.call("GET", f"/receipts?agreement_id={id}&limit=2&cursor={page['next']}", agency, role)
        assert [item["id"] for item in page["items"] + rest["items"]] == newest
        assert rest["next"] is None
        one = world.call("GET", f"/receipts/{newest[0]}", agency, role)
        assert (one["rows"], one["sha256"], one["agency"]["id"]) == (3, "ab" * 32, calls.agency)
    assert calls.puller.call("GET", f"/receipts?agreement_id={id}&result=refused")["items"] == []
    for path in (f"/receipts?agreement_id={id}", f"/receipts/{newest[0]}", f"/agreements/{id}/use"):
        world.call("GET", path, "market", Role.CLERK, expect=404)
        world.call("GET", path, "east_authority", Role.AUDIT_ADMINISTRATOR, expect=404)
        world.call("GET", path, "health", Role.SECURITY_ADMINISTRATOR, expect=403)
    world.call("GET", f"/receipts/{uuid4()}", "health", Role.CLERK, expect=404)


def test_use_is_counted_as_the_quota_counts_it(world: World, calls: Calls) -> None:
    calls.ship(
        calls.receipt(rows=5),
        calls.receipt("interrupted", rows=100),
        calls.receipt(rows=7, day="2026-09-17"),
        calls.receipt("refused", rows=0, purpose="whatever the caller wrote"),
    )
    use = world.call("GET", f"/agreements/{calls.agreement['id']}/use", "civil", Role.CLERK)
    assert use["total"] == {"calls": 3, "rows": 112, "bytes": 1120, "refused": 1}
    assert (use["day"], use["today"]) == (
        "2026-09-18",
        {"calls": 2, "rows": 105, "bytes": 1050, "refused": 1},
    )
    assert use["by_purpose"] == {"check": {"calls": 3, "rows": 112, "bytes": 1120, "refused": 0}}
    assert use["quota"]["calls_per_day"] == 1000


def test_an_unused_agreement_says_so(world: World, agreement: dict[str, Any]) -> None:
    use = world.call("GET", f"/agreements/{agreement['id']}/use", "health", Role.CLERK)
    assert use["total"] == use["today"] == {"calls": 0, "rows": 0, "bytes": 0, "refused": 0}
    assert (use["by_purpose"], use["last_at"]) == ({}, None)


def test_a_batch_sent_twice_at_once_is_stored_once(committed: World, database: Database) -> None:
    calls = Calls(committed, committed.agreed())
    shipped = [calls.receipt() for _ in range(20)]
    committed.session.commit()
    by = Actor(
        ActorKind.CLIENT, calls.gateway.id, committed.town.id("city_authority"),
        committed.town.places["city"].id, is_authority=True,
    )  # fmt: skip

    def deliver(batch: list[Receipt]) -> list[str]:
        with database.transaction() as own:
            return receipts.take_receipts(own, batch, by=by)

    with ThreadPoolExecutor(2) as pool:
        taken = list(pool.map(deliver, [shipped, shipped[::-1]]))
    ids = sorted(receipt.call.id for receipt in shipped)
    assert [sorted(held) for held in taken] == [ids, ids]
    assert count(committed.session) == 20
    attested = select(func.count()).select_from(ledger.LedgerEntry)
    assert committed.session.scalar(attested.where(ledger.LedgerEntry.kind == "delivery.receipt")) == 20
