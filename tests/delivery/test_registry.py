"""Gateways registered, reviewed and suspended: who exchanges at all, and whose address a grant names."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from app.kernel import clock
from app.kernel.actor import Role, Scope
from exchange.delivery.protocol import GatewayHealth
from tests.delivery.systems import (
    GATEWAY_URL,
    HEALTH,
    HTTP_SOURCE,
    System,
    resource_of,
    state_of,
    suspend,
    system,
)
from tests.delivery.world import running_world
from tests.exchange.world import START, World

OWN_URL = "https://gateway.civil.example.gov.cn"
SECURITY = ("city_authority", Role.SECURITY_ADMINISTRATOR)


def registered(world: World, gateway: System, *, url: str = OWN_URL, expect: int = 201) -> dict[str, Any]:
    wanted = {"client_id": str(gateway.id), "url": url}
    made: dict[str, Any] = world.call("POST", "/gateways", "civil", Role.CLERK, body=wanted, expect=expect)
    return made


def decided(
    world: World, row: dict[str, Any], act: str, *by: Any, reason: str = "安全评估"
) -> dict[str, Any]:
    path = f"/gateways/{row['id']}/{act}"
    body = {"url": OWN_URL + "/2"} if act == "amend" else {"reason": reason}
    done: dict[str, Any] = world.call("POST", path, *(by or SECURITY), body=body, version=row["version"])
    return done


def address(world: World, agreement: dict[str, Any]) -> str:
    wanted = {"agreement_id": agreement["id"], "purpose": "check"}
    return str(system(world, "health", Scope.PULL).call("POST", "/grants", wanted, expect=201)["gateway"])


def test_what_is_not_approved_is_told_of_no_agreement(world: World, agreement: dict[str, Any]) -> None:
    path = f"/resources/{resource_of(agreement)}/source"
    world.call("PUT", path, "civil", Role.CLERK, body=HTTP_SOURCE)
    gateway = system(world, "civil", Scope.GATEWAY, approved=False)
    told = [state_of(gateway)]
    row = registered(world, gateway)
    assert (row["state"], row["allowed"]) == ("registered", ["amend", "withdraw"])
    told.append(state_of(gateway))
    assert not any(state.approved or state.agreements for state in told)
    row = decided(world, row, "return", reason="没有等级保护备案证明")
    row = decided(world, row, "amend", "civil", Role.CLERK)
    row = decided(world, row, "approve")
    approved = state_of(gateway)
    assert approved.approved and len(approved.agreements) == 1
    row = decided(world, row, "report_incident", "civil", Role.CLERK, reason="私钥可能泄露")
    stopped = state_of(gateway)
    assert (stopped.approved, stopped.agreements) == (False, [])
    row = decided(world, row, "resume")
    assert state_of(gateway).approved
    history = world.call("GET", f"/gateways/{row['id']}/history", *SECURITY)
    assert [(event["act"], event["legal_basis"]) for event in history] == [
        ("register", "REG-29"), ("return", "REG-29"), ("amend", "REG-29"), ("approve", "REG-29"),
        ("report_incident", "REG-34"), ("resume", "REG-34"),
    ]  # fmt: skip
    versions = [state.version for state in (*told, approved, stopped)]
    assert len(set(versions)) == 4, "a gateway that knows the version hears of each change"


def test_a_grant_names_the_providers_own_gateway_while_it_is_heard(
    world: World, agreement: dict[str, Any]
) -> None:
    central = system(world, "city_authority", Scope.GATEWAY)
    assert address(world, agreement) == GATEWAY_URL
    own = system(world, "civil", Scope.GATEWAY, approved=False)
    row = registered(world, own)
    assert address(world, agreement) == GATEWAY_URL, "it is not approved yet"
    row = decided(world, row, "approve")
    assert address(world, agreement) == OWN_URL
    central.call("POST", "/gateway/health", msgspec.to_builtins(HEALTH), expect=204)
    assert address(world, agreement) == GATEWAY_URL, "the other was never heard"
    own.call("POST", "/gateway/health", msgspec.to_builtins(HEALTH), expect=204)
    assert address(world, agreement) == OWN_URL
    shown = world.call("GET", f"/gateways/{row['id']}", "civil", Role.CLERK)
    assert msgspec.convert(shown["health"], GatewayHealth) == HEALTH
    with clock.frozen(START + timedelta(minutes=4)):
        central.call("POST", "/gateway/health", msgspec.to_builtins(HEALTH), expect=204)
        assert address(world, agreement) == GATEWAY_URL, "it has fallen silent"
    elsewhere = system(world, "market", Scope.GATEWAY)
    elsewhere.call("POST", "/gateway/health", msgspec.to_builtins(HEALTH), expect=204)
    assert address(world, agreement) == OWN_URL, "another provider's gateway serves nobody else"
    suspend(world, agreement)


@pytest.mark.parametrize(
    ("scope", "url", "field"),
    [
        (Scope.PULL, OWN_URL, "/client_id"),
        (None, OWN_URL, "/client_id"),
        (Scope.GATEWAY, "ftp://gateway.example", "/url"),
        (Scope.GATEWAY, "https://user:secret@gateway.example", "/url"),
        (Scope.GATEWAY, "https://169.254.169.254/", "/url"),
    ],
)
def test_what_cannot_be_registered_is_told_why(
    world: World, scope: Scope | None, url: str, field: str
) -> None:
    id = uuid4() if scope is None else system(world, "civil", scope, approved=False).id
    wanted = {"client_id": str(id), "url": url}
    problem = world.call("POST", "/gateways", "civil", Role.CLERK, body=wanted, expect=422)
    (fault,) = problem["errors"]
    assert fault["field"] == field and fault["rule"]


def test_another_agencys_system_is_not_ones_own(world: World) -> None:
    theirs = system(world, "market", Scope.GATEWAY, approved=False)
    registered(world, theirs, expect=422)
    mine = system(world, "civil", Scope.GATEWAY, approved=False)
    registered(world, mine)
    registered(world, mine, expect=409)


def test_a_gateway_that_is_no_longer_approved_says_so_and_delivers_nothing(tmp_path: Any) -> None:
    with running_world(tmp_path) as world:
        world.centre.is_approved = False
        world.centre.publish()
        world.gateway.wait_for_readiness(503)
        answer = world.gateway.get(str(uuid4()), uuid4(), "any")
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/gateway-not-approved")
        world.centre.is_approved = True
        world.centre.publish()
        world.gateway.wait_for_readiness(200)
        assert world.centre.health is not None
