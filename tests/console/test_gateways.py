"""A gateway through pages alone: its owner registers it, the authority reviews it, an incident stops it."""

from __future__ import annotations

import re

import msgspec

from app.kernel.actor import Role, Scope
from tests.console.conftest import Desks
from tests.delivery.systems import HEALTH, state_of, system

SECURITY = Role.SECURITY_ADMINISTRATOR


def test_a_gateway_is_registered_reviewed_and_stopped(desks: Desks) -> None:
    gateway = system(desks.world, "civil", Scope.GATEWAY, approved=False)
    clerk = desks.of("civil", Role.CLERK)
    clerk.open("/gateways")
    assert "没有网关" in clerk.page
    clerk.open("/gateways/new")
    clerk.send("/gateways/new", expect=422, client_id=str(gateway.id), url="ftp://gateway.example")
    assert "http 或 https 地址" in clerk.page
    clerk.send("/gateways/new", client_id=str(gateway.id), url="https://gateway.civil.example.gov.cn")
    address = clerk.address
    assert "待审核" in clerk.page
    assert "/gateways/new" in clerk.open("/gateways") and address in clerk.page

    authority = desks.of("city_authority", SECURITY)
    authority.open(f"{address}/approve")
    assert "第二十九条" in authority.page
    authority.send(f"{address}/approve", reason="等级保护备案已核")
    assert "已核准" in authority.page
    gateway.call("POST", "/gateway/health", msgspec.to_builtins(HEALTH), expect=204)
    assert "启动以来的调用" in authority.open(address)
    assert state_of(gateway).approved

    clerk.open(f"{address}/report_incident")
    clerk.send(f"{address}/report_incident", reason="私钥可能泄露")
    assert "已暂停" in clerk.page
    assert not state_of(gateway).approved
    assert "suspended" in clerk.open(f"{address}?lang=en")
    desks.of("market", Role.CLERK).open(address, expect=404)


def test_an_agency_sees_the_authoritys_gateway_that_serves_it_and_does_nothing_to_it(desks: Desks) -> None:
    gateway = system(desks.world, "city_authority", Scope.GATEWAY)
    gateway.call("POST", "/gateway/health", msgspec.to_builtins(HEALTH), expect=204)
    seen = desks.of("civil", SECURITY)
    seen.open("/gateways")
    (address,) = set(re.findall(r"/gateways/[0-9a-f-]{36}", seen.page))
    assert "启动以来的调用" in seen.open(address) and f"{address}/" not in seen.page
    seen.open(f"{address}/suspend", expect=409)
