"""The centre's half of delivery over HTTP: sources, grants, what gateways are told, receipts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, cast
from uuid import UUID, uuid4

import msgspec
import pytest
from joserfc import jwt
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import func, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.identity.models import Client
from app.kernel import clock, history, ledger
from app.kernel.actor import Role, Scope
from app.kernel.clock import new_id
from app.kernel.history import Event
from app.kernel.keys import ServiceKeys
from app.settings import Settings
from exchange.agreements.states import SUPPLY
from exchange.delivery import gateways, receipts
from exchange.delivery.admission import Agreement as EnforcedAgreement
from exchange.delivery.models import GrantIssued, ProviderSource, ReceiptRow
from exchange.delivery.protocol import (
    AgreementEntry,
    Call,
    GatewayState,
    HttpSource,
    Outcome,
    Receipt,
    ReceiptBatch,
    Result,
    TableSource,
)
from exchange.delivery.sources import Providers
from tests.conftest import PUBLIC_URL
from tests.delivery.systems import System, register
from tests.exchange.world import START, World, slug
from tests.factories import Town

GATEWAY_URL = "https://gateway.test"
SECRET = "k3y-of-the-provider"
HTTP_SOURCE: dict[str, Any] = {
    "kind": "http",
    "url": "http://10.1.2.3:8080/marriages",
    "records_path": "data",
    "page_parameter": "page",
    "headers": {"X-Api-Key": SECRET},
}
TABLE_SOURCE: dict[str, Any] = {
    "kind": "table",
    "host": "db.civil.local",
    "database": "register",
    "user": "reader",
    "password": SECRET,
    "table": "public.marriage",
    "key": ["id_number"],
    "columns": {"name": "full_name"},
}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path, database_url="", public_url=PUBLIC_URL, gateway_url=GATEWAY_URL)


@pytest.fixture
def world(session: Session, town: Town, client: TestClient) -> Iterator[World]:
    """Health asks civil; the clock stands."""
    with clock.frozen(START):
        yield World(session, town, client)


@pytest.fixture
def agreement(world: World) -> dict[str, Any]:
    """In force: name and date of registration, purpose `check`."""
    return world.agreed()


def system(world: World, agency: str, scope: Scope) -> System:
    return register(world.session, world.town, agency, scope, world.client, PUBLIC_URL)


def resource_of(agreement: dict[str, Any]) -> str:
    return str(agreement["terms"]["resources"][0]["resource_id"])


def suspend(world: World, agreement: dict[str, Any]) -> None:
    world.act(agreement, "suspend", "civil", Role.APPROVER, {"reason": "数据质量整改"})


# --- Providers' sources


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


# --- Grants


def test_a_grant_says_who_may_fetch_what_for_which_purpose(
    world: World, agreement: dict[str, Any], keys: ServiceKeys
) -> None:
    puller = system(world, "health", Scope.PULL)
    wanted = {"agreement_id": agreement["id"], "purpose": "check", "items": ["name"]}
    granted = puller.call("POST", "/grants", wanted, expect=201)
    decoded = jwt.decode(granted["token"], keys.token, algorithms=["Ed25519"])
    assert decoded.header["typ"] == "grant+jwt"
    claims = decoded.claims
    assert claims | {"iat": 0} == {
        "iss": PUBLIC_URL, "aud": "gateway", "sub": str(puller.id), "agency": str(world.town.id("health")),
        "jti": granted["id"], "iat": 0, "exp": int(START.timestamp()) + 300, "agreement": agreement["id"],
        "agreement_hash": agreement["terms_hash"], "purpose": "check", "method": "api", "items": ["name"],
    }  # fmt: skip
    resource = resource_of(agreement)
    url = f"{GATEWAY_URL}/v1/data/{agreement['id']}/{resource}?purpose=check&items=name"
    assert granted["resources"] == [{"resource_id": resource, "url": url, "items": ["name"]}]
    row = world.session.get_one(GrantIssued, UUID(granted["id"]))
    assert (row.purpose, row.client_id, row.revoked_at) == ("check", puller.id, None)
    kept = {column.key: getattr(row, column.key) for column in GrantIssued.__table__.columns}
    assert granted["token"] not in str(kept)


def test_a_grant_is_for_clients_of_the_requester_alone(world: World, agreement: dict[str, Any]) -> None:
    wanted = {"agreement_id": agreement["id"], "purpose": "check"}
    for stranger in ("civil", "market", "city_authority"):
        system(world, stranger, Scope.PULL).call("POST", "/grants", wanted, expect=404)
    puller = system(world, "health", Scope.PULL)
    puller.call("POST", "/grants", wanted | {"agreement_id": str(uuid4())}, expect=404)
    system(world, "health", Scope.CATALOG).call("POST", "/grants", wanted, expect=403)
    world.call("POST", "/grants", "health", Role.CLERK, body=wanted, expect=403)
    assert world.client.post("/api/v1/grants", json=wanted).status_code == 401
    assert world.session.scalar(select(func.count()).select_from(GrantIssued)) == 0


def test_a_suspended_agreement_grants_nothing_and_says_why(world: World, agreement: dict[str, Any]) -> None:
    suspend(world, agreement)
    wanted = {"agreement_id": agreement["id"], "purpose": "check"}
    problem = system(world, "health", Scope.PULL).call("POST", "/grants", wanted, expect=409)
    assert slug(problem) == "no-grant-now"
    assert (problem["legal_basis"], problem["reason"]) == ("809-27", "数据质量整改")
    assert problem["state"] == "SUSPENDED"


@pytest.mark.parametrize("away", [timedelta(days=-1), timedelta(days=366)])
def test_nothing_is_granted_outside_the_agreed_dates(
    world: World, agreement: dict[str, Any], away: timedelta
) -> None:
    wanted = {"agreement_id": agreement["id"], "purpose": "check"}
    puller = system(world, "health", Scope.PULL)
    with clock.frozen(START + away):
        problem = puller.call("POST", "/grants", wanted, expect=409)
    assert "2027-09-17" in problem["detail"]
    assert problem["legal_basis"] == "809-20"


def test_a_grant_ends_with_the_last_day_of_use(world: World, agreement: dict[str, Any]) -> None:
    puller = system(world, "health", Scope.PULL)
    with clock.frozen(START.replace(year=2027, month=9, day=17, hour=23, minute=58)):
        granted = puller.call(
            "POST", "/grants", {"agreement_id": agreement["id"], "purpose": "check"}, expect=201
        )
    assert granted["expires_at"] == "2027-09-17T16:00:00Z"


def test_purpose_and_items_must_be_agreed(world: World, agreement: dict[str, Any]) -> None:
    puller = system(world, "health", Scope.PULL)
    wanted = {"agreement_id": agreement["id"], "purpose": "marketing", "items": ["name", "id_number"]}
    problem = puller.call("POST", "/grants", wanted, expect=422)
    assert [fault["field"] for fault in problem["errors"]] == ["/purpose", "/items/1"]
    assert "check" in problem["errors"][0]["rule"]


def test_push_goes_without_grants(world: World) -> None:
    negotiation = world.filed(world.publish(), method="push")
    consent = {"terms_hash": negotiation["terms"]["terms_hash"]}
    done = world.act(negotiation, "agree", "civil", Role.APPROVER, consent)
    wanted = {"agreement_id": done["agreement_id"], "purpose": "check"}
    system(world, "health", Scope.PULL).call("POST", "/grants", wanted, expect=409)
    gateway = system(world, "city_authority", Scope.GATEWAY)
    assert gateway.call("GET", "/gateway/state")["agreements"] == []


def test_without_a_gateway_there_is_nothing_to_grant(
    world: World, settings: Settings, agreement: dict[str, Any]
) -> None:
    app = cast(Any, world.client.app)
    app.state.settings = Settings(data=settings.data, database_url="", public_url=PUBLIC_URL)
    wanted = {"agreement_id": agreement["id"], "purpose": "check"}
    system(world, "health", Scope.PULL).call("POST", "/grants", wanted, expect=503)


def grant(puller: System, agreement: dict[str, Any]) -> str:
    wanted = {"agreement_id": agreement["id"], "purpose": "check"}
    return str(puller.call("POST", "/grants", wanted, expect=201)["id"])


def test_a_grant_can_be_revoked_by_those_concerned(world: World, agreement: dict[str, Any]) -> None:
    puller = system(world, "health", Scope.PULL)
    gateway = system(world, "city_authority", Scope.GATEWAY)
    first, second, third = (grant(puller, agreement) for _ in range(3))
    before = gateway.call("GET", "/gateway/state")
    assert before["revoked_grants"] == []
    system(world, "market", Scope.PULL).call("POST", f"/grants/{first}/revoke", expect=404)
    puller.call("POST", f"/grants/{uuid4()}/revoke", expect=404)
    revoked = puller.call("POST", f"/grants/{first}/revoke")
    assert puller.call("POST", f"/grants/{first}/revoke") == revoked
    world.call("POST", f"/grants/{second}/revoke", "civil", Role.APPROVER)
    world.call("POST", f"/grants/{third}/revoke", "health", Role.CLERK, expect=403)
    after = gateway.call("GET", "/gateway/state")
    assert sorted(after["revoked_grants"]) == sorted([first, second])
    assert after["version"] != before["version"]
    with clock.frozen(START + timedelta(minutes=6)):
        assert gateway.call("GET", "/gateway/state")["revoked_grants"] == []


def test_a_suspended_clients_grants_are_called_back(world: World, agreement: dict[str, Any]) -> None:
    puller = system(world, "health", Scope.PULL)
    jti = grant(puller, agreement)
    world.session.execute(update(Client).where(Client.id == puller.id).values(active=False))
    world.session.flush()
    gateway = system(world, "city_authority", Scope.GATEWAY)
    assert gateway.call("GET", "/gateway/state")["revoked_grants"] == [jti]


# --- What gateways are told


def state_of(gateway: System) -> GatewayState:
    answer = gateway.http.get("/api/v1/gateway/state", headers=gateway.headers())
    return msgspec.json.decode(answer.content, type=GatewayState)


def test_a_gateway_gets_what_it_needs_to_enforce_an_agreement(
    world: World, agreement: dict[str, Any], keys: ServiceKeys
) -> None:
    resource = resource_of(agreement)
    world.call("PUT", f"/resources/{resource}/source", "civil", Role.CLERK, body=HTTP_SOURCE)
    (entry,) = state_of(system(world, "city_authority", Scope.GATEWAY)).agreements
    assert (entry.agreement_id, entry.state) == (agreement["id"], "in_force")
    enforced = EnforcedAgreement.of(entry, Providers())  # refuses terms that do not have the agreement's hash
    assert enforced.is_in_force
    assert enforced.hash == agreement["terms_hash"]
    assert entry.sources == {
        resource: HttpSource(
            url=HTTP_SOURCE["url"], headers={"X-Api-Key": SECRET}, records_path="data", page_parameter="page"
        )
    }
    assert bytes.fromhex(entry.mask_key) == gateways.mask_key(keys.mask, UUID(agreement["id"]))
    assert entry.mask_key != gateways.mask_key(keys.mask, uuid4()).hex()


def test_a_tables_address_becomes_a_connection_string(world: World, agreement: dict[str, Any]) -> None:
    resource = resource_of(agreement)
    quoted = TABLE_SOURCE | {"password": "it's a \\secret host=evil"}
    world.call("PUT", f"/resources/{resource}/source", "civil", Role.CLERK, body=quoted)
    (entry,) = state_of(system(world, "city_authority", Scope.GATEWAY)).agreements
    source = entry.sources[resource]
    assert isinstance(source, TableSource)
    assert conninfo_to_dict(source.dsn) == {
        "host": "db.civil.local", "port": "5432", "dbname": "register", "user": "reader", "sslmode": "prefer",
        "password": quoted["password"],
    }  # fmt: skip
    assert (source.table, source.key, source.columns) == (
        "public.marriage",
        ("id_number",),
        {"name": "full_name"},
    )


def test_the_version_changes_with_every_change_and_with_nothing_else(
    world: World, agreement: dict[str, Any]
) -> None:
    gateway = system(world, "city_authority", Scope.GATEWAY)
    seen = [state_of(gateway).version]
    known = gateway.call("GET", f"/gateway/state?since={seen[0]}", expect=304)
    assert known is None
    grant(system(world, "health", Scope.PULL), agreement)
    assert state_of(gateway).version == seen[0]
    path = f"/resources/{resource_of(agreement)}/source"
    for source in (HTTP_SOURCE, HTTP_SOURCE | {"headers": {"X-Api-Key": "another"}}):
        world.call("PUT", path, "civil", Role.CLERK, body=source)
        seen.append(state_of(gateway).version)
    suspend(world, agreement)
    seen.append(state_of(gateway).version)
    world.agreed()
    seen.append(state_of(gateway).version)
    assert len(set(seen)) == 5
    world.call("PUT", f"/resources/{world.publish('market')}/source", "market", Role.CLERK, body=HTTP_SOURCE)
    assert state_of(gateway).version == seen[-1]  # a source that no agreement names


def test_what_is_not_in_force_is_told_without_sources_and_then_forgotten(
    world: World, agreement: dict[str, Any]
) -> None:
    path = f"/resources/{resource_of(agreement)}/source"
    world.call("PUT", path, "civil", Role.CLERK, body=HTTP_SOURCE)
    gateway = system(world, "city_authority", Scope.GATEWAY)
    suspend(world, agreement)
    (entry,) = state_of(gateway).agreements
    assert (entry.state, entry.sources) == ("suspended", {})
    suspended = world.read("agreements", agreement["id"], "health")
    world.act(suspended, "complete", "health", Role.APPROVER, {})
    assert [entry.state for entry in state_of(gateway).agreements] == ["completed"]
    with clock.frozen(START + timedelta(days=2)):
        assert state_of(gateway).agreements == []


def test_a_gateway_beside_a_provider_gets_that_providers_agreements_alone(
    world: World, agreement: dict[str, Any]
) -> None:
    path = f"/resources/{resource_of(agreement)}/source"
    world.call("PUT", path, "civil", Role.CLERK, body=HTTP_SOURCE)

    def told(agency: str) -> list[AgreementEntry]:
        return state_of(system(world, agency, Scope.GATEWAY)).agreements

    assert len(told("civil")) == len(told("city_authority")) == len(told("province_authority")) == 1
    assert told("market") == told("health") == told("east_authority") == []


def test_the_control_channel_is_for_gateways(world: World) -> None:
    for scope in (Scope.PULL, Scope.CLERK):
        client = system(world, "city_authority", scope)
        client.call("GET", "/gateway/state", expect=403)
        client.call("POST", "/gateway/receipts", {"receipts": []}, expect=403)
    world.call("GET", "/gateway/state", "city_authority", Role.SYSTEM_ADMINISTRATOR, expect=403)


# --- Receipts


class Calls:
    """A gateway that reports calls made under one grant."""

    def __init__(self, world: World, agreement: dict[str, Any], gateway: System | None = None) -> None:
        self.agreement = agreement
        self.gateway = gateway or system(world, "city_authority", Scope.GATEWAY)
        self.puller = system(world, "health", Scope.PULL)
        self.agency = str(world.town.id("health"))
        self.grant_id = grant(self.puller, agreement)

    def receipt(self, result: Result = "delivered", *, rows: int = 3, **changes: Any) -> Receipt:
        size = rows * 10
        outcome = Outcome(
            result=result, status=200 if result == "delivered" else 403, rows=rows, bytes=size,
            problem=None if result == "delivered" else "item-not-agreed", sha256="ab" * 32 if size else None,
            duration_ms=12.345,
        )  # fmt: skip
        call = {
            "id": str(new_id()), "at": "2026-09-18T01:00:00.123456+00:00", "day": "2026-09-18",
            "agreement_id": self.agreement["id"], "agreement_hash": self.agreement["terms_hash"],
            "resource_id": resource_of(self.agreement), "client_id": str(self.puller.id), "agency_id": self.agency,
            "grant_id": self.grant_id, "purpose": "check", "method": "api", "items": ("name",), "rows_reserved": 100,
        }  # fmt: skip
        return Receipt(call=Call(**{**call, **changes}), outcome=outcome)

    def ship(self, *shipped: Receipt, expect: int = 200) -> Any:
        body = msgspec.to_builtins(ReceiptBatch(receipts=list(shipped)))
        answer = self.gateway.call("POST", "/gateway/receipts", body, expect=expect)
        return answer["acknowledged"] if expect == 200 else answer


@pytest.fixture
def calls(world: World, agreement: dict[str, Any]) -> Calls:
    return Calls(world, agreement)


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
    assert {entry.id: entry.content_hash for entry in entries} == {
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
