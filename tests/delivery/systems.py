"""Agencies' systems as clients of the real centre: registered with a key, in with an assertion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import httpx2
from joserfc import jwt
from joserfc.jwk import OKPKey
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.identity import tokens
from app.kernel.actor import Scope
from app.kernel.clock import now
from tests.factories import OPERATOR, Town


@dataclass
class System:
    """One client, and how it calls the centre with the scope it was registered for."""

    id: UUID
    name: str
    scope: Scope
    key: OKPKey
    http: TestClient | httpx2.Client
    issuer: str

    def headers(self) -> dict[str, str]:
        """With a fresh access token, got as any client gets one."""
        issued_at = int(now().timestamp())
        claims = {
            "iss": self.name, "sub": self.name, "aud": self.issuer, "jti": uuid4().hex,
            "iat": issued_at, "exp": issued_at + 60,
        }  # fmt: skip
        assertion = jwt.encode(
            {"alg": "Ed25519", "kid": self.key.kid}, claims, self.key, algorithms=["Ed25519"]
        )
        form = {
            "grant_type": "client_credentials", "client_assertion_type": tokens.ASSERTION_TYPE,
            "client_assertion": assertion, "scope": self.scope,
        }  # fmt: skip
        answer = self.http.post("/oauth/token", data=form)
        assert answer.status_code == 200, answer.text
        return {"Authorization": f"Bearer {answer.json()['access_token']}"}

    def call(self, method: str, path: str, body: Any = None, *, expect: int = 200) -> Any:
        """What the centre answers; fails unless its status is `expect`."""
        answer = self.http.request(method, f"/api/v1{path}", json=body, headers=self.headers())
        assert answer.status_code == expect, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None


def register(
    session: Session, town: Town, agency: str, scope: Scope, http: TestClient | httpx2.Client, issuer: str
) -> System:
    """A client of an agency with one scope and one key."""
    name = f"{agency}-{scope}-{uuid4().hex[:6]}"
    client = tokens.register_client(
        session, name=name, title=name, agency_id=town.id(agency), scopes=frozenset({scope}), by=OPERATOR
    )
    key = OKPKey.generate_key("Ed25519", parameters={"kid": name})
    tokens.add_client_key(session, client, key.as_dict(private=False), by=OPERATOR)
    session.flush()
    return System(client.id, name, scope, key, http, issuer)
