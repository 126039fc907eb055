"""Providers' sources over HTTP: registered by their owner, sealed, at addresses where data can be."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any, cast

import pytest
from sqlalchemy import select

from app.kernel import clock
from app.kernel.actor import Role, Scope
from app.kernel.history import Event
from app.kernel.keys import ServiceKeys
from app.settings import Settings
from exchange.delivery.models import ProviderSource
from exchange.delivery.protocol import HttpSource
from tests.conftest import PUBLIC_URL
from tests.delivery.systems import (
    GATEWAY_URL,
    HTTP_SOURCE,
    SECRET,
    TABLE_SOURCE,
    state_of,
    system,
)
from tests.exchange.world import START, World


def test_a_source_is_told_without_its_credentials_and_to_its_owner_alone(world: World) -> None:
    path = f"/resources/{world.publish()}/source"
    world.call("GET", path, "civil", Role.CLERK, expect=404)
    for source in (HTTP_SOURCE, TABLE_SOURCE):
        told = world.call("PUT", path, "civil", Role.CLERK, body=source)
        assert told["has_credentials"]
        assert SECRET not in json.dumps(told)
    read = world.call("GET", path, "civil", Role.CATALOG_ADMINISTRATOR)
    assert read["version"] == 2
    assert read["connection"]["columns"] == {"name": "full_name"}
    assert SECRET not in json.dumps(read)
    world.call("GET", path, "health", Role.CLERK, expect=404)
    world.call("PUT", path, "market", Role.CLERK, body=HTTP_SOURCE, expect=404)
    world.call("PUT", path, "civil", Role.AUDIT_ADMINISTRATOR, body=HTTP_SOURCE, expect=403)


def test_credentials_are_sealed_at_rest_and_never_carried_over_to_another_address(
    world: World, keys: ServiceKeys
) -> None:
    resource = world.publish()
    path = f"/resources/{resource}/source"
    world.call("PUT", path, "civil", Role.CLERK, body=HTTP_SOURCE)
    row = world.session.get_one(ProviderSource, resource)
    assert row.credentials is not None
    assert SECRET.encode() not in row.credentials
    assert SECRET not in json.dumps(row.options)
    assert SECRET.encode() in keys.seal.decrypt(row.credentials)
    elsewhere = {"kind": "http", "url": "http://10.9.9.9/mine"}
    assert not world.call("PUT", path, "civil", Role.CLERK, body=elsewhere)["has_credentials"]
    events = world.session.scalars(select(Event).where(Event.kind == "source")).all()
    assert [event.data["version"] for event in events] == [1, 2]
    assert SECRET not in json.dumps([event.data for event in events])


@pytest.mark.parametrize("source", [HTTP_SOURCE, TABLE_SOURCE])
def test_the_providers_names_of_items_are_registered_alike_for_apis_and_tables(
    world: World, source: dict[str, Any]
) -> None:
    path = f"/resources/{world.publish()}/source"
    named = source | {"columns": {"name": "entName"}}
    assert world.call("PUT", path, "civil", Role.CLERK, body=named)["connection"]["columns"] == {
        "name": "entName"
    }
    for columns, field in (
        ({"name": ""}, "/columns/name"),
        ({"name": "a\x00"}, "/columns/name"),
        ([], "/columns"),
    ):
        problem = world.call("PUT", path, "civil", Role.CLERK, body=source | {"columns": columns}, expect=422)
        assert field in problem["errors"][0]["field"]


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://10.1.2.3/x",
        "http://169.254.169.254/latest/meta-data",
        "http://[fe80::1]/",
        "http://[::ffff:169.254.169.254]/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://metadata.google.internal/",
        "http://2852039166/",
        "http://0xa9.0xfe.0xa9.0xfe/",
        "http://%31%36%39.254.169.254/",
        "http://0.0.0.0/",
        "http://user:word@10.1.2.3/",
        "http://10.1.2.3:99999/",
        "http://",
        "http://[",
        "http://a]b/",
    ],
)
def test_an_address_where_no_provider_can_be_is_refused(world: World, url: str) -> None:
    path = f"/resources/{world.publish()}/source"
    problem = world.call("PUT", path, "civil", Role.CLERK, body={"kind": "http", "url": url}, expect=422)
    assert problem["errors"][0]["field"] == "/url"
    world.call("GET", path, "civil", Role.CLERK, expect=404)


@pytest.mark.parametrize(
    ("field", "changed"),
    [
        ("/host", {"host": "169.254.169.254"}),
        ("/host", {"host": "db.civil.local,169.254.169.254"}),
        ("/host", {"host": "db options=-cdefault_transaction_read_only=off"}),
    ],
)
def test_a_tables_host_is_one_host_and_nothing_else(
    world: World, field: str, changed: dict[str, str]
) -> None:
    path = f"/resources/{world.publish()}/source"
    problem = world.call("PUT", path, "civil", Role.CLERK, body=TABLE_SOURCE | changed, expect=422)
    assert problem["errors"][0]["field"] == field


@pytest.mark.parametrize("headers", [{"Host": "elsewhere"}, {"X-Key": "a\r\nX-Other: b"}, {"X Key": "a"}])
def test_headers_carry_credentials_and_no_framing(world: World, headers: dict[str, str]) -> None:
    path = f"/resources/{world.publish()}/source"
    world.call("PUT", path, "civil", Role.CLERK, body=HTTP_SOURCE | {"headers": headers}, expect=422)


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1/", "http://10.1.2.3/", "http://localhost/", "http://[::1]/"]
)
def test_private_addresses_are_for_the_operator_to_allow(
    world: World, settings: Settings, address: str
) -> None:
    path = f"/resources/{world.publish()}/source"
    body = {"kind": "http", "url": address}
    world.call("PUT", path, "civil", Role.CLERK, body=body)
    app = cast(Any, world.client.app)
    app.state.settings = Settings(
        data=settings.data, database_url="", public_url=PUBLIC_URL, private_sources=False
    )
    world.call("PUT", path, "civil", Role.CLERK, body=body, expect=422)
    world.call("PUT", path, "civil", Role.CLERK, body=TABLE_SOURCE | {"host": "/run/postgresql"}, expect=422)


def test_a_test_is_asked_of_an_approved_gateway_and_answered_by_that_one_alone(world: World) -> None:
    resource = world.publish()
    path = f"/resources/{resource}/source"
    world.call("POST", f"{path}/test", "civil", Role.CLERK, expect=404)
    world.call("PUT", path, "civil", Role.CLERK, body=HTTP_SOURCE)
    world.call("POST", f"{path}/test", "civil", Role.CLERK, expect=409)
    gateway, other = system(world, "city_authority", Scope.GATEWAY), system(world, "market", Scope.GATEWAY)
    assert state_of(gateway).tests == []
    asked = world.call("POST", f"{path}/test", "civil", Role.CLERK)
    assert (asked["test"]["outcome"], asked["test"]["gateway"]) == ("waiting", GATEWAY_URL)
    (test,) = state_of(gateway).tests
    assert isinstance(test.source, HttpSource) and test.source.headers == {"X-Api-Key": SECRET}
    assert state_of(other).tests == []
    told = {"id": test.id, "records": 5, "carried": ["name"], "missing": [], "duration_ms": 12.5}
    other.call("POST", "/gateway/source_tests", told, expect=204)
    assert world.call("GET", path, "civil", Role.CLERK)["test"]["outcome"] == "waiting"
    gateway.call("POST", "/gateway/source_tests", told, expect=204)
    gateway.call("POST", "/gateway/source_tests", told | {"records": 0}, expect=204)
    read = world.call("GET", path, "civil", Role.CLERK)["test"]
    assert (read["outcome"], read["found"]["records"]) == ("passed", 5)
    assert state_of(gateway).tests == []
    gateway.call("POST", "/gateway/source_tests", told | {"id": "1"}, expect=422)
    assert world.call("PUT", path, "civil", Role.CLERK, body=HTTP_SOURCE)["test"] is None
    world.call("POST", f"{path}/test", "civil", Role.CLERK)
    with clock.frozen(START + timedelta(minutes=3)):
        assert world.call("GET", path, "civil", Role.CLERK)["test"]["outcome"] == "unanswered"
    acts = [event.act for event in world.session.scalars(select(Event).where(Event.kind == "source"))]
    assert acts == ["connect", "test", "connect", "test"]
