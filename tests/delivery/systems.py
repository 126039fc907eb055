"""Agencies' systems as clients of the real centre: registered with a key, in with an assertion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import httpx2
import msgspec
from joserfc import jwt
from joserfc.jwk import OKPKey
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.identity import clients, tokens
from app.kernel.actor import Role, Scope
from app.kernel.clock import new_id, now
from exchange.delivery import registry
from exchange.delivery.protocol import (
    Call,
    GatewayHealth,
    GatewayState,
    Outcome,
    Receipt,
    ReceiptBatch,
    Result,
)
from tests.conftest import PUBLIC_URL
from tests.exchange.world import World
from tests.factories import OPERATOR, Town

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


@dataclass
class System:
    """One client, and how it calls the centre with the scope it was registered for."""

    id: UUID
    name: str
    scope: Scope
    key: OKPKey
    http: TestClient | httpx2.Client
    issuer: str

    def form(self) -> dict[str, str]:
        """A token request with a fresh assertion."""
        issued_at = int(now().timestamp())
        claims = {
            "iss": self.name, "sub": self.name, "aud": self.issuer, "jti": uuid4().hex,
            "iat": issued_at, "exp": issued_at + 60,
        }  # fmt: skip
        assertion = jwt.encode(
            {"alg": "Ed25519", "kid": self.key.kid}, claims, self.key, algorithms=["Ed25519"]
        )
        return {
            "grant_type": "client_credentials", "client_assertion_type": tokens.ASSERTION_TYPE,
            "client_assertion": assertion, "scope": self.scope,
        }  # fmt: skip

    def headers(self) -> dict[str, str]:
        """With a fresh access token, got as any client gets one."""
        answer = self.http.post("/oauth/token", data=self.form())
        assert answer.status_code == 200, answer.text
        return {"Authorization": f"Bearer {answer.json()['access_token']}"}

    def call(self, method: str, path: str, body: Any = None, *, expect: int = 200) -> Any:
        """What the centre answers; fails unless its status is `expect`."""
        answer = self.http.request(method, f"/api/v1{path}", json=body, headers=self.headers())
        assert answer.status_code == expect, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None


def register(
    session: Session,
    town: Town,
    agency: str,
    scope: Scope,
    http: TestClient | httpx2.Client,
    issuer: str,
    *,
    gateway_url: str | None = GATEWAY_URL,
) -> System:
    """A client of an agency with one scope and one key; a gateway with an address is approved."""
    name = f"{agency}-{scope}-{uuid4().hex[:6]}"
    client = clients.register_client(
        session, name=name, title=name, agency_id=town.id(agency), scopes=frozenset({scope}), by=OPERATOR
    )
    key = OKPKey.generate_key("Ed25519", parameters={"kid": name})
    clients.add_client_key(session, client, key.as_dict(private=False), by=OPERATOR)
    if scope is Scope.GATEWAY and gateway_url is not None:
        registry.stand_for_centre(session, client, gateway_url)
    session.commit()  # the session of a rolled back test only releases a savepoint
    return System(client.id, name, scope, key, http, issuer)


def system(world: World, agency: str, scope: Scope, *, approved: bool = True) -> System:
    url = GATEWAY_URL if approved else None
    return register(world.session, world.town, agency, scope, world.client, PUBLIC_URL, gateway_url=url)


def resource_of(agreement: dict[str, Any]) -> str:
    return str(agreement["terms"]["resources"][0]["resource_id"])


def suspend(world: World, agreement: dict[str, Any]) -> None:
    world.act(agreement, "suspend", "civil", Role.APPROVER, {"reason": "数据质量整改"})


def grant(puller: System, agreement: dict[str, Any]) -> str:
    wanted = {"agreement_id": agreement["id"], "purpose": "check"}
    return str(puller.call("POST", "/grants", wanted, expect=201)["id"])


def state_of(gateway: System) -> GatewayState:
    answer = gateway.http.get("/api/v1/gateway/state", headers=gateway.headers())
    return msgspec.json.decode(answer.content, type=GatewayState)


HEALTH = GatewayHealth(
    release="0.1", started_at="2026-09-18T00:00:00+00:00", calls_running=0, receipts_waiting=0,
    calls={"delivered": 3}, problems={}, paused_providers=[],
)  # fmt: skip


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
