"""Grants over HTTP, and what the centre tells its gateways."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from joserfc import jwt
from joserfc.jwk import OKPKey
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import func, select, update

from app.identity.models import Client
from app.kernel import clock
from app.kernel.actor import Role, Scope
from app.kernel.db import Database
from app.kernel.keys import ServiceKeys
from app.settings import Settings
from exchange.agreements.models import Agreement
from exchange.agreements.service import change_agreement
from exchange.delivery import gateways
from exchange.delivery.admission import Agreement as EnforcedAgreement
from exchange.delivery.changes import EVENT, Changes
from exchange.delivery.models import GrantIssued
from exchange.delivery.protocol import (
    AgreementEntry,
    HttpSource,
    TableSource,
)
from exchange.delivery.sources import Providers
from tests.conftest import PUBLIC_URL
from tests.delivery.systems import (
    GATEWAY_URL,
    HTTP_SOURCE,
    SECRET,
    TABLE_SOURCE,
    grant,
    resource_of,
    state_of,
    suspend,
    system,
)
from tests.exchange.world import START, World, slug
from tests.identity.machines import proof

# --- Grants


def test_a_grant_says_who_may_fetch_what_for_which_purpose(
    world: World, agreement: dict[str, Any], keys: ServiceKeys
) -> None:
    puller = system(world, "health", Scope.PULL)
    wanted = {"agreement_id": agreement["id"], "purpose": "check", "items": ["name"]}
    granted = puller.call("POST", "/grants", wanted, expect=201)
    decoded = jwt.decode(granted["token"], keys.token.signing(), algorithms=["Ed25519"])
    assert decoded.header["typ"] == "grant+jwt"
    claims = decoded.claims
    assert claims | {"iat": 0} == {
        "iss": PUBLIC_URL, "aud": "gateway", "sub": str(puller.id), "agency": str(world.town.id("health")),
        "jti": granted["id"], "iat": 0, "exp": int(START.timestamp()) + 300, "agreement": agreement["id"],
        "agreement_hash": agreement["terms_hash"], "purpose": "check", "method": "api", "items": ["name"],
        "limits": {"calls_per_day": 1000, "rows_per_call": 100, "rows_per_day": 10_000},
    }  # fmt: skip
    resource = resource_of(agreement)
    url = f"{GATEWAY_URL}/v1/data/{agreement['id']}/{resource}?purpose=check&items=name"
    assert granted["resources"] == [{"resource_id": resource, "url": url, "items": ["name"]}]
    row = world.session.get_one(GrantIssued, UUID(granted["id"]))
    assert (row.purpose, row.client_id, row.revoked_at) == ("check", puller.id, None)
    kept = {column.key: getattr(row, column.key) for column in GrantIssued.__table__.columns}
    assert granted["token"] not in str(kept)


def test_a_grant_is_bound_to_the_key_of_the_token_it_was_asked_for_with(
    world: World, agreement: dict[str, Any], keys: ServiceKeys
) -> None:
    puller, key = system(world, "health", Scope.PULL), OKPKey.generate_key("Ed25519")
    token_url, grants_url = f"{PUBLIC_URL}/oauth/token", f"{PUBLIC_URL}/api/v1/grants"
    answer = puller.http.post(
        "/oauth/token", data=puller.form(), headers={"DPoP": proof(key, "POST", token_url)}
    )
    token = answer.json()["access_token"]
    headers = {"Authorization": f"DPoP {token}", "DPoP": proof(key, "POST", grants_url, token=token)}
    wanted = {"agreement_id": agreement["id"], "purpose": "check"}
    granted = puller.http.post("/api/v1/grants", json=wanted, headers=headers).json()
    claims = jwt.decode(granted["token"], keys.token.signing(), algorithms=["Ed25519"]).claims
    assert (granted["token_type"], claims["cnf"]) == ("DPoP", {"jkt": key.thumbprint()})


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
    (entry,) = gateway.call("GET", "/gateway/state")["agreements"]  # to deliver by itself
    assert entry["agreement_id"] == done["agreement_id"]


def test_without_a_gateway_there_is_nothing_to_grant(
    world: World, settings: Settings, agreement: dict[str, Any]
) -> None:
    app = cast(Any, world.client.app)
    app.state.settings = Settings(data=settings.data, database_url="", public_url=PUBLIC_URL)
    wanted = {"agreement_id": agreement["id"], "purpose": "check"}
    system(world, "health", Scope.PULL).call("POST", "/grants", wanted, expect=503)


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


def test_a_change_that_commits_late_is_told_after_later_ones(committed: World, database: Database) -> None:
    early, later = committed.agreed(), committed.agreed()
    for agreement in (early, later):
        path = f"/resources/{resource_of(agreement)}/source"
        committed.call("PUT", path, "civil", Role.CLERK, body=HTTP_SOURCE)
    gateway = system(committed, "city_authority", Scope.GATEWAY)
    by = committed.town.actor("civil", Role.APPROVER)
    committed.session.commit()

    def states() -> tuple[int, dict[str, str]]:
        told = state_of(gateway)
        return told.version, {entry.agreement_id: entry.state for entry in told.agreements}

    with database.transaction() as slow:
        change_agreement(slow, slow.get_one(Agreement, UUID(early["id"])), "suspend", by=by, reason="慢")
        with database.transaction() as quick:
            change_agreement(
                quick, quick.get_one(Agreement, UUID(later["id"])), "suspend", by=by, reason="快"
            )
        between, told = states()
        assert told == {early["id"]: "in_force", later["id"]: "suspended"}
    after, told = states()
    assert told == {early["id"]: "suspended", later["id"]: "suspended"}
    assert after != between


def test_a_connected_gateway_hears_of_a_change_when_it_is_committed(
    committed: World, database: Database
) -> None:
    agreement = committed.agreed()

    async def hear() -> list[bytes]:
        followed = Changes(database.url, stream_s=20).follow()
        heard = [
            await anext(followed),
            await anext(followed),
        ]  # at the start, and once the database is listened to
        suspending = asyncio.ensure_future(asyncio.to_thread(suspend, committed, agreement))
        heard.append(await anext(followed))
        await suspending
        await followed.aclose()
        return heard

    assert asyncio.run(asyncio.wait_for(hear(), 15)) == [EVENT] * 3
