"""Use is noted against the receipts of what was received: by the requester alone, seen by both, never changed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError

from app.kernel import clock, history, ledger
from app.kernel.actor import Role, Scope
from exchange.delivery.models import ReceiptUse
from tests.delivery.systems import Calls, system
from tests.exchange.world import START, World

LATER = START + timedelta(hours=2)


def use_of(receipt: Any, **changes: Any) -> dict[str, Any]:
    used_at = (START + timedelta(hours=1)).isoformat()
    told = {"receipt_id": receipt.call.id, "purpose": "check", "matter": "〔2026〕7号", "unit": "审批处"}
    return {**told, "used_at": used_at, **changes}


def test_uses_are_noted_once_and_for_all_and_read_by_both_sides(world: World, calls: Calls) -> None:
    first, second = calls.receipt(), calls.receipt("interrupted", rows=100)
    calls.ship(first, second)
    path = f"/agreements/{calls.agreement['id']}/receipt_uses"
    with clock.frozen(LATER):
        noted = calls.puller.call("POST", path, {"uses": [use_of(first), use_of(second)]}, expect=201)["uses"]
        more = world.call("POST", path, "health", Role.CLERK, body={"uses": [use_of(first)]}, expect=201)
        for agency, role in (
            ("health", Role.APPROVER),
            ("civil", Role.CLERK),
            ("city_authority", Role.MEDIATOR),
            ("province_authority", Role.AUDIT_ADMINISTRATOR),
        ):
            listed = world.call("GET", path, agency, role)["items"]
            assert [use["id"] for use in listed] == [*more["uses"], *reversed(noted)]
            assert (listed[1]["matter"], listed[1]["rows"], listed[1]["purpose"]) == (
                "〔2026〕7号",
                100,
                "check",
            )
        of_second = world.call("GET", f"{path}?receipt_id={second.call.id}", "civil", Role.CLERK)["items"]
        assert [use["id"] for use in of_second] == noted[1:]
        paged = world.call("GET", f"{path}?limit=2", "civil", Role.CLERK)
        rest = world.call("GET", f"{path}?limit=2&cursor={paged['next']}", "civil", Role.CLERK)
        assert [use["id"] for use in rest["items"]] == noted[:1]
    (event,) = history.events_of(world.session, "receipt", UUID(second.call.id))
    assert (event.act, event.party, event.data["use"]) == ("use", "requester", noted[1])
    entry = world.session.get_one(ledger.LedgerEntry, event.id)
    assert entry.content_hash == ledger.content_hash(event.content())


def test_nobody_else_notes_or_learns_of_use(world: World, calls: Calls) -> None:
    receipt = calls.receipt()
    calls.ship(receipt)
    path, body = f"/agreements/{calls.agreement['id']}/receipt_uses", {"uses": [use_of(receipt)]}
    with clock.frozen(LATER):
        for agency in ("civil", "city_authority"):
            world.call("POST", path, agency, Role.CLERK, body=body, expect=403)
        for agency, role in (("market", Role.CLERK), ("east_authority", Role.AUDIT_ADMINISTRATOR)):
            world.call("GET", path, agency, role, expect=404)
        world.call("POST", path, "market", Role.CLERK, body=body, expect=404)
        nowhere = f"/agreements/{uuid4()}/receipt_uses"
        world.call("POST", nowhere, "market", Role.CLERK, body=body, expect=404)
        system(world, "market", Scope.PULL).call("GET", path, expect=404)
    assert world.session.scalar(select(func.count()).select_from(ReceiptUse)) == 0


def test_a_batch_names_each_line_that_cannot_be_and_notes_nothing(world: World, calls: Calls) -> None:
    good, refused = calls.receipt(), calls.receipt("refused", rows=0)
    others = Calls(world, world.agreed())
    elsewhere = others.receipt()
    calls.ship(good, refused)
    others.ship(elsewhere)
    path = f"/agreements/{calls.agreement['id']}/receipt_uses"
    lines = [
        use_of(good),
        use_of(refused),
        use_of(elsewhere),
        use_of(good, receipt_id=str(uuid4())),
        use_of(good, purpose="other"),
        use_of(good, used_at=(START - timedelta(days=1)).isoformat()),
        use_of(good, used_at=(LATER + timedelta(seconds=1)).isoformat()),
    ]
    with clock.frozen(LATER):
        problem = calls.puller.call("POST", path, {"uses": lines}, expect=422)
        assert [fault["field"] for fault in problem["errors"]] == [
            "/uses/1/receipt_id",
            "/uses/2/receipt_id",
            "/uses/3/receipt_id",
            "/uses/4/purpose",
            "/uses/5/used_at",
            "/uses/6/used_at",
        ]
        unknown, others_own = problem["errors"][2], problem["errors"][1]
        assert unknown | {"field": ""} == others_own | {"field": ""}  # not yours equals not there
        for line in ({"matter": ""}, {"unit": "x" * 300}, {"used_at": "2026-09-18T10:00:00"}, {"more": 1}):
            calls.puller.call("POST", path, {"uses": [use_of(good) | line]}, expect=422)
        calls.puller.call("POST", path, {"uses": []}, expect=422)
    assert world.session.scalar(select(func.count()).select_from(ReceiptUse)) == 0


def test_what_was_noted_stays(world: World, calls: Calls) -> None:
    receipt = calls.receipt()
    calls.ship(receipt)
    path = f"/agreements/{calls.agreement['id']}/receipt_uses"
    with clock.frozen(LATER):
        calls.puller.call("POST", path, {"uses": [use_of(receipt)]}, expect=201)
    for statement in ("UPDATE receipt_use SET matter = 'x'", "DELETE FROM receipt_use"):
        with pytest.raises(DBAPIError), world.session.begin_nested():
            world.session.execute(text(statement))


def test_a_certificate_of_disposal_names_receipts_of_its_agreement(world: World, calls: Calls) -> None:
    receipt = calls.receipt()
    others = Calls(world, world.agreed())
    elsewhere = others.receipt()
    calls.ship(receipt)
    others.ship(elsewhere)
    ended = world.act(calls.agreement, "complete", "health", Role.APPROVER, {"reason": "办结"})
    body = {"disposed_on": "2026-09-18", "disposal": "粉碎", "receipts": [elsewhere.call.id, receipt.call.id]}
    refused = world.act(ended, "certify_disposal", "health", Role.APPROVER, body, expect=422)
    assert [fault["field"] for fault in refused["errors"]] == ["/receipts/0"]
    named = body | {"receipts": [receipt.call.id, receipt.call.id]}
    done = world.act(ended, "certify_disposal", "health", Role.APPROVER, named)
    assert done["disposed_receipts"] == [receipt.call.id]
    event = history.events_of(world.session, "agreement", UUID(done["id"]))[-1]
    assert event.data["receipts"] == [receipt.call.id]
    page = world.client.get(
        f"/api/v1/agreements/{done['id']}/disposal",
        headers=calls.puller.headers() | {"Accept": "text/html"},
    )
    assert page.status_code == 200 and receipt.call.id in page.text
