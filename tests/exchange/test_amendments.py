"""Amendment and renewal: a negotiated version supersedes the one in force, and the history stays readable."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.kernel.actor import ActorKind, Role, Scope
from app.kernel.keys import ServiceKeys
from exchange.agreements import service
from exchange.agreements.models import Agreement
from exchange.delivery import gateways
from tests.delivery.systems import system
from tests.exchange.world import START, Json, World, terms, to

CLERK, APPROVER, MEDIATOR = Role.CLERK, Role.APPROVER, Role.MEDIATOR
CITY = "city_authority"


def resource_of(agreement: Json) -> UUID:
    return UUID(agreement["terms"]["resources"][0]["resource_id"])


def asked(world: World, agreement: Json, *, expect: int = 201, agency: str = "health", **changes: Any) -> Any:
    """A drafted request to amend the agreement."""
    body = {
        "title": "变更协议",
        "terms": terms(resource_of(agreement), **changes),
        "amends": agreement["id"],
    }
    return world.call("POST", "/requests", agency, CLERK, body=body, expect=expect)


def negotiated(world: World, agreement: Json, **changes: Any) -> Json:
    request = world.act(asked(world, agreement, **changes), "file", "health", APPROVER)
    return world.read("negotiations", request["negotiations"][0]["id"], "civil")


def amended(world: World, agreement: Json, **changes: Any) -> Json:
    case = negotiated(world, agreement, **changes)
    done = world.act(case, "agree", "civil", APPROVER, to(case["terms"]))
    return world.read("agreements", done["agreement_id"], "health")


def test_the_agreed_amendment_supersedes_the_version_in_force(world: World) -> None:
    first = world.agreed()
    case = negotiated(world, first, retention_days=10)
    assert case["amends_id"] == first["id"]
    assert world.read("agreements", first["id"], "civil")["state"] == "IN_FORCE"
    world.act(case, "agree", "civil", APPROVER, to(case["terms"]))
    former = world.read("agreements", first["id"], "civil")
    assert (former["state"], former["allowed"], former["deadlines"]) == ("SUPERSEDED", [], [])
    assert former["terms"] == first["terms"]
    history = world.call("GET", f"/agreements/{first['id']}/versions", "health", CLERK)
    assert [(v["number"], v["state"]) for v in history] == [(1, "SUPERSEDED"), (2, "IN_FORCE")]
    assert history[0]["changes"] == []
    assert [change["path"] for change in history[1]["changes"]] == ["/retention_days"]
    newest = world.read("agreements", history[1]["id"], "health")
    assert (newest["supersedes_id"], newest["number"]) == (first["id"], 2)
    assert world.events("agreement", first["id"])[-1] == "supersede"
    third = amended(world, newest, retention_days=5)
    assert third["number"] == 3
    world.call("GET", f"/agreements/{first['id']}/versions", "market", CLERK, expect=404)


def test_until_it_is_agreed_nothing_changes(world: World) -> None:
    first = world.agreed()
    case = negotiated(world, first, retention_days=10)
    world.act(case, "refuse", "civil", APPROVER, {"ground": "exceeds_need", "reason": "不必要"})
    assert world.read("agreements", first["id"], "civil")["state"] == "IN_FORCE"


def test_renewal_prolongs_and_revives(world: World) -> None:
    first = world.agreed()
    renewed = amended(world, first, valid_until="2028-09-17")
    assert renewed["valid_until"] == "2028-09-17"
    with world.at(START + timedelta(days=731)):
        service.expire_due(world.session)
        world.session.expire_all()
        assert world.read("agreements", renewed["id"], "civil")["state"] == "EXPIRED"
        revived = amended(world, renewed, valid_from="2028-09-19", valid_until="2029-09-18")
        assert (revived["number"], revived["state"]) == (3, "IN_FORCE")
        assert world.read("agreements", renewed["id"], "civil")["state"] == "EXPIRED"


def test_who_may_ask_and_for_what(world: World) -> None:
    first = world.agreed()
    asked(world, first, agency="market", expect=422)
    for faulty in ({"valid_from": "2026-10-01"}, {"valid_until": "2026-09-17", "valid_from": "2026-09-16"}):
        asked(world, first, expect=422, **faulty)
    other = world.publish("market")
    body = {"title": "变更协议", "terms": terms(other), "amends": first["id"]}
    world.call("POST", "/requests", "health", CLERK, body=body, expect=422)
    world.act(first, "complete", "health", APPROVER, {})
    asked(world, first, expect=422)


def test_an_old_version_is_not_amended_again(world: World) -> None:
    first = world.agreed()
    meanwhile = negotiated(world, first, retention_days=20)
    amended(world, first, retention_days=10)
    asked(world, first, expect=422)
    # What was asked before then supersedes the version that is in force when it is agreed.
    world.act(meanwhile, "agree", "civil", APPROVER, to(meanwhile["terms"]))
    history = world.call("GET", f"/agreements/{first['id']}/versions", "health", CLERK)
    assert [v["state"] for v in history] == ["SUPERSEDED", "SUPERSEDED", "IN_FORCE"]


def test_it_stays_with_the_provider(world: World) -> None:
    case = negotiated(world, world.agreed(), retention_days=10)
    assert "transfer" not in world.read("negotiations", case["id"], "civil", CLERK)["allowed"]
    body = {"to_agency_id": str(world.town.id("market")), "reason": "x"}
    world.act(case, "transfer", "civil", CLERK, body, expect=409)


def test_the_parties_do_not_lift_the_authoritys_suspension(world: World) -> None:
    first = world.agreed()
    case = negotiated(world, first, retention_days=10)
    suspended = world.act(first, "suspend", CITY, MEDIATOR, {"reason": "超范围使用"})
    world.act(case, "agree", "civil", APPROVER, to(case["terms"]), expect=409)
    world.act(suspended, "resume", CITY, MEDIATOR, {})
    world.act(case, "agree", "civil", APPROVER, to(case["terms"]))


def test_the_gateway_gets_the_new_version_under_the_same_mask_key(world: World, keys: ServiceKeys) -> None:
    first = world.agreed()
    client = system(world, "civil", Scope.GATEWAY)
    gateway = replace(
        world.town.actor("civil", CLERK),
        id=client.id,
        kind=ActorKind.CLIENT,
        scopes=frozenset({Scope.GATEWAY}),
    )
    before = gateways.read_state(world.session, gateway, keys, since=None)
    assert before is not None
    (old,) = before.agreements
    newest = amended(world, first, retention_days=10)
    after = gateways.read_state(world.session, gateway, keys, since=before.version)
    assert after is not None
    told = {entry.agreement_id: entry for entry in after.agreements}
    assert {i: entry.state for i, entry in told.items()} == {
        first["id"]: "superseded",
        newest["id"]: "in_force",
    }
    assert told[newest["id"]].version_hash == newest["terms_hash"] != old.version_hash
    assert told[newest["id"]].mask_key == old.mask_key


@pytest.mark.parametrize("change", ["number = 7", "series_id = gen_random_uuid()", "supersedes_id = id"])
def test_the_database_keeps_the_order_of_versions(world: World, change: str) -> None:
    world.agreed()
    with pytest.raises(DBAPIError, match="never changed"), world.session.begin_nested():
        world.session.execute(text(f"UPDATE agreement SET {change}"))


def test_the_database_holds_one_version_in_force(world: World, session: Session) -> None:
    first = world.agreed()
    newest = amended(world, first, retention_days=10)
    row = session.get_one(Agreement, UUID(newest["id"]))
    assert row.series_id == UUID(first["id"])
    with pytest.raises(DBAPIError), session.begin_nested():
        session.execute(text("UPDATE agreement SET state = 'IN_FORCE' WHERE number = 1"))
