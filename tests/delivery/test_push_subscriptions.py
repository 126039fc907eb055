"""Push subscriptions at the centre: who sets them up, what gateways are told, which one delivers."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx2
import msgspec
import pytest

from app.kernel import clock
from app.kernel.actor import Role, Scope
from app.kernel.clock import now
from exchange.delivery.protocol import HttpTarget, PushLeases, PushPlace, PushPlaces
from tests.delivery.systems import (
    HTTP_SOURCE,
    SECRET,
    TABLE_SOURCE,
    System,
    resource_of,
    state_of,
    suspend,
    system,
)
from tests.exchange.world import World


@pytest.fixture
def agreement(world: World) -> dict[str, Any]:
    """In force, to be delivered by push: name and date of registration, purpose `check`."""
    return world.agreed(method="push")


def wanted(agreement: dict[str, Any], **changed: Any) -> dict[str, Any]:
    target = {"kind": "http", "url": "https://10.9.8.7/in", "headers": {"Authorization": f"Bearer {SECRET}"}}
    return {
        "agreement_id": agreement["id"], "resource_id": resource_of(agreement), "purpose": "check",
        "target": target, **changed,
    }  # fmt: skip


def hold(gateway: System, subscription: str, *, expect: int = 200, **place: Any) -> PushLeases:
    body = PushPlaces(places=[PushPlace(subscription_id=subscription, **place)])
    answer = gateway.http.post(
        "/api/v1/gateway/pushes", content=msgspec.json.encode(body), headers=gateway.headers()
    )
    assert answer.status_code == expect, answer.text
    assert isinstance(answer, httpx2.Response)
    return msgspec.json.decode(answer.content, type=PushLeases)


def test_a_subscription_reaches_the_gateway_and_its_secret_nobody_else(
    world: World, agreement: dict[str, Any]
) -> None:
    puller, gateway = system(world, "health", Scope.PULL), system(world, "civil", Scope.GATEWAY)
    before = state_of(gateway).version
    made = puller.call("POST", "/pushes", wanted(agreement, every_minutes=5), expect=201)
    assert (made["state"], made["has_credentials"], made["allowed"]) == ("ACTIVE", True, ["pause", "end"])
    state = state_of(gateway)
    (told,) = state.subscriptions
    assert isinstance(told.target, HttpTarget)
    assert (told.id, told.every_s, told.target.headers) == (
        made["id"],
        300.0,
        {"Authorization": f"Bearer {SECRET}"},
    )
    assert state.version != before
    for side in ("civil", "health"):
        (listed,) = world.call("GET", f"/pushes?agreement_id={agreement['id']}", side, Role.APPROVER)["items"]
        assert listed["target"]["url"] == "https://10.9.8.7/in"
        assert SECRET not in str(listed)
    path = f"/pushes/{made['id']}/pause"
    world.call("POST", path, "health", Role.APPROVER, body={}, version=made["version"])
    assert state_of(gateway).subscriptions == []


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"purpose": "something else"}, "/purpose"),
        ({"items": ["secret"]}, "/items"),
        ({"filter": "nonsense ("}, "/filter"),
        ({"target": {"kind": "http", "url": "http://169.254.169.254/latest"}}, "/target/url"),
        (
            {"target": {"kind": "http", "url": "https://a.gov.cn", "headers": {"Host": "b"}}},
            "/target/headers/Host",
        ),
    ],
)
def test_what_the_agreement_does_not_cover_is_refused(
    world: World, agreement: dict[str, Any], changed: dict[str, Any], field: str
) -> None:
    puller = system(world, "health", Scope.PULL)
    problem = puller.call("POST", "/pushes", wanted(agreement, **changed), expect=422)
    assert [fault["field"] for fault in problem["errors"]] == [field]


def test_only_a_client_of_the_requester_subscribes_and_only_under_push(world: World) -> None:
    puller, stranger = system(world, "health", Scope.PULL), system(world, "civil", Scope.PULL)
    by_api = world.agreed()
    problem = puller.call("POST", "/pushes", wanted(by_api), expect=422)
    assert problem["errors"][0]["field"] == "/agreement_id"
    stranger.call("POST", "/pushes", wanted(by_api), expect=404)


def test_changes_are_told_by_tables_alone(world: World, agreement: dict[str, Any]) -> None:
    puller = system(world, "health", Scope.PULL)
    resource = resource_of(agreement)
    world.call("PUT", f"/resources/{resource}/source", "civil", Role.CLERK, body=HTTP_SOURCE)
    problem = puller.call("POST", "/pushes", wanted(agreement), expect=422)
    assert problem["errors"][0]["field"] == "/mode"
    puller.call("POST", "/pushes", wanted(agreement, mode="full"), expect=201)
    world.call("PUT", f"/resources/{resource}/source", "civil", Role.CLERK, body=TABLE_SOURCE)
    puller.call("POST", "/pushes", wanted(agreement), expect=201)


def test_one_gateway_at_a_time_delivers_and_its_word_counts(world: World, agreement: dict[str, Any]) -> None:
    puller = system(world, "health", Scope.PULL)
    own, central = (system(world, agency, Scope.GATEWAY) for agency in ("civil", "city_authority"))
    other = system(world, "health", Scope.GATEWAY)
    made = puller.call("POST", "/pushes", wanted(agreement), expect=201)
    id, at = made["id"], now().isoformat()
    assert [place.runs for place in hold(own, id).places] == [0]
    hold(own, id, runs=3, mark="m:3", basis="b", finished_at=at, problem="target-failed")
    assert hold(central, id, runs=9, mark="m:9").places == []  # another holds it
    assert hold(other, id).places == []  # not of its provider
    told = puller.call("GET", f"/pushes/{id}")
    assert (told["runs"], told["problem"], told["delivered_at"][:19]) == (3, "target-failed", at[:19])
    with clock.frozen(now() + timedelta(seconds=61)):
        (place,) = hold(central, id, runs=1, mark="m:1").places
        assert (place.runs, place.mark, place.basis) == (3, "m:3", "b")
        assert hold(own, id).places == []
    suspend(world, agreement)
    assert puller.call("POST", "/pushes", wanted(agreement), expect=409)["type"] == "/problems/no-grant-now"
