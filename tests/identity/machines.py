"""A machine client under test: its keys, its assertions and its proofs, right unless told otherwise."""

from __future__ import annotations

import hashlib
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey
from starlette.testclient import TestClient

from app.identity.tokens import ASSERTION_TYPE
from app.kernel.actor import Role
from app.kernel.clock import now
from app.kernel.dpop import WideHeaders
from tests.conftest import PUBLIC_URL
from tests.factories import Town

Key = OKPKey | ECKey | RSAKey
TOKEN_URL = f"{PUBLIC_URL}/oauth/token"


def encode(header: dict[str, Any], claims: dict[str, Any], key: Any) -> str:
    """A JWT by joserfc, its cap on headers lifted and every algorithm it knows allowed."""
    registry = WideHeaders(algorithms=[header["alg"]], strict_check_header=False)
    return jwt.encode(header, claims, key, registry=registry)


def without_nothing(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


@dataclass
class Machine:
    """One registered client. Claims and header members are changed by name; None leaves one out."""

    http: TestClient
    name: str
    key: Key
    alg: str = "EdDSA"

    def assertion(self, header: dict[str, Any] | None = None, key: Any = None, **changes: Any) -> str:
        moment = int(now().timestamp())
        claims = {
            "iss": self.name, "sub": self.name, "aud": PUBLIC_URL, "iat": moment, "exp": moment + 60,
            "jti": secrets.token_hex(8),
        }  # fmt: skip
        head = without_nothing({"alg": self.alg, **(header or {})})
        return encode(head, without_nothing({**claims, **changes}), key or self.key)

    def ask(self, *, proofs: list[str] | None = None, **form: str | None) -> Any:
        """The answer of the token endpoint; form members are changed by name."""
        sent = {
            "grant_type": "client_credentials", "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": form.pop("assertion", None) or self.assertion(), **form,
        }  # fmt: skip
        headers = [("DPoP", proof) for proof in proofs or []]
        return self.http.post("/oauth/token", data=without_nothing(sent), headers=headers)

    def token(self, proof_key: Key | None = None, alg: str = "EdDSA") -> str:
        """An access token, bound to a key if one is given."""
        proofs = [proof(proof_key, "POST", TOKEN_URL, alg=alg)] if proof_key else []
        answer = self.ask(proofs=proofs)
        assert answer.status_code == 200, answer.text
        assert answer.json()["token_type"] == ("DPoP" if proof_key else "Bearer")
        return str(answer.json()["access_token"])


def proof(
    key: Key,
    method: str,
    url: str,
    *,
    token: str | None = None,
    alg: str = "EdDSA",
    header: dict[str, Any] | None = None,
    signed_by: Any = None,
    **changes: Any,
) -> str:
    """A DPoP proof for one request."""
    head = {"typ": "dpop+jwt", "alg": alg, "jwk": key.as_dict(private=False), **(header or {})}
    claims: dict[str, Any] = {
        "jti": secrets.token_hex(8), "htm": method, "htu": url, "iat": int(now().timestamp()),
        "ath": token and hash_of(token),
    }  # fmt: skip
    return encode(without_nothing(head), without_nothing({**claims, **changes}), signed_by or key)


def hash_of(token: str) -> str:
    return urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).rstrip(b"=").decode()


def register(
    http: TestClient, town: Town, key: Key, alg: str = "EdDSA", *, agency: str = "health", **more: Any
) -> Machine:
    """A client registered over the API by the city's security administrator."""
    name = f"system-{secrets.token_hex(4)}"
    body = {
        "name": name, "title": "业务系统", "agency_id": str(town.id(agency)), "scopes": ["catalog"],
        "jwk": key.as_dict(private=False), **more,
    }  # fmt: skip
    security = town.headers("city_authority", Role.SECURITY_ADMINISTRATOR)
    answer = http.post("/api/v1/clients", json=without_nothing(body), headers=security)
    assert answer.status_code == 201, answer.text
    return Machine(http, name, key, alg)
