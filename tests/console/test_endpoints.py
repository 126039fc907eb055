"""A provider's source through pages alone: seen, tried, and what was found."""

from __future__ import annotations

from app.kernel.actor import Role, Scope
from tests.console.conftest import Desks
from tests.delivery.systems import HTTP_SOURCE, SECRET, state_of, system


def test_a_source_is_tried_from_its_page(desks: Desks) -> None:
    resource = desks.world.publish()
    address, clerk = f"/endpoints/{resource}", desks.of("civil", Role.CLERK)
    assert "未接入" in clerk.open("/endpoints")
    clerk.open(address, expect=404)
    desks.world.call("PUT", f"/resources/{resource}/source", "civil", Role.CLERK, body=HTTP_SOURCE)
    assert address in clerk.open("/endpoints")
    clerk.open(address)
    assert HTTP_SOURCE["url"] in clerk.page and SECRET not in clerk.page
    clerk.send(f"{address}/test", expect=409)
    assert "没有已核准的网关" in clerk.page

    gateway = system(desks.world, "city_authority", Scope.GATEWAY)
    clerk.send(f"{address}/test")
    assert clerk.address == address and "测试中" in clerk.page
    (test,) = state_of(gateway).tests
    told = {"id": test.id, "records": 3, "carried": ["name"], "missing": ["amount"], "duration_ms": 8.4}
    gateway.call("POST", "/gateway/source_tests", told, expect=204)
    assert "缺少信息项" in clerk.open(address) and "amount" in clerk.page
    assert "test failed" in clerk.open(f"{address}?lang=en")
    desks.of("market", Role.CLERK).open(address, expect=404)
