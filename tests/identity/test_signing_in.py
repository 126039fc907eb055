"""Sign-in, machine tokens and registration over HTTP."""

from __future__ import annotations

import secrets
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.identity import sessions
from app.identity.tokens import ASSERTION_TYPE
from app.kernel.actor import Role
from app.kernel.clock import now
from tests.conftest import PUBLIC_URL
from tests.factories import OPERATOR, Town, credit_code

SECURITY = Role.SECURITY_ADMINISTRATOR
SYSTEM = Role.SYSTEM_ADMINISTRATOR


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_a_one_time_secret_signs_in_once(client: TestClient, session: Session, town: Town) -> None:
    person = town.person("civil", Role.CLERK)
    body = {"login": person.login, "secret": sessions.issue_one_time_secret(session, person, by=OPERATOR)}
    session.flush()
    first = client.post("/api/v1/sessions", json=body)
    assert first.status_code == 201
    assert first.json()["must_set_password"]
    me = client.get("/api/v1/me", headers=bearer(first.json()["token"]))
    assert me.json()["roles"] == ["clerk"]
    again = client.post("/api/v1/sessions", json=body)
    assert (again.status_code, again.json()["type"]) == (401, "/problems/not-signed-in")


def test_a_password_is_set_used_and_locked_after_five_failures(
    client: TestClient, session: Session, town: Town
) -> None:
    headers = town.headers("civil", Role.CLERK)
    login = town.person("civil", Role.CLERK).login
    weak = client.put("/api/v1/me/password", json={"password": "alllowercase"}, headers=headers)
    assert (weak.status_code, weak.json()["errors"][0]["field"]) == (422, "/password")
    assert (
        client.put("/api/v1/me/password", json={"password": "Yun-Jiang-2026"}, headers=headers).status_code
        == 204
    )
    good = {"login": login, "secret": "Yun-Jiang-2026"}
    assert client.post("/api/v1/sessions", json=good).status_code == 201
    for _ in range(5):
        assert client.post("/api/v1/sessions", json={"login": login, "secret": "wrong"}).status_code == 401
    assert client.post("/api/v1/sessions", json=good).status_code == 401


def test_signing_out_ends_the_session(client: TestClient, town: Town) -> None:
    headers = town.headers("civil", Role.CLERK)
    assert client.get("/api/v1/me", headers=headers).status_code == 200
    assert client.delete("/api/v1/sessions/current", headers=headers).status_code == 204
    assert client.get("/api/v1/me", headers=headers).status_code == 401


def test_a_cookie_does_not_carry_another_sites_change(client: TestClient, town: Town) -> None:
    token = town.headers("civil", Role.CLERK)["Authorization"].removeprefix("Bearer ")
    client.cookies.set(sessions.HOST_COOKIE, token)
    assert client.get("/api/v1/me").status_code == 200
    evil = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.test"}
    assert client.delete("/api/v1/sessions/current", headers=evil).status_code == 403
    assert (
        client.delete("/api/v1/sessions/current", headers={"Sec-Fetch-Site": "same-origin"}).status_code
        == 204
    )


def register(client: TestClient, town: Town, key: Any, scopes: list[str]) -> str:
    name = f"system-{secrets.token_hex(4)}"
    body = {
        "name": name,
        "title": "业务系统",
        "agency_id": str(town.id("health")),
        "scopes": scopes,
        "jwk": key.as_dict(private=False),
    }
    answer = client.post("/api/v1/clients", json=body, headers=town.headers("city_authority", SECURITY))
    assert answer.status_code == 201, answer.text
    return name


def claims(name: str, **changes: Any) -> dict[str, Any]:
    moment = int(now().timestamp())
    base = {
        "iss": name,
        "sub": name,
        "aud": PUBLIC_URL,
        "iat": moment,
        "exp": moment + 60,
        "jti": secrets.token_hex(8),
    }
    return {k: v for k, v in {**base, **changes}.items() if v is not None}


def ask(client: TestClient, assertion: str, **changes: str) -> Any:
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": assertion,
        **changes,
    }
    return client.post("/oauth/token", data=form)


def sign(key: Any, body: dict[str, Any], alg: str) -> str:
    return jwt.encode({"alg": alg}, body, key, algorithms=[alg])


@pytest.mark.parametrize(
    ("key", "alg"),
    [
        (OKPKey.generate_key("Ed25519"), "EdDSA"),
        (ECKey.generate_key("P-256"), "ES256"),
        (RSAKey.generate_key(2048), "PS256"),
    ],
    ids=["EdDSA", "ES256", "PS256"],
)
def test_a_client_gets_a_token_and_is_recognised(client: TestClient, town: Town, key: Any, alg: str) -> None:
    name = register(client, town, key, ["catalog", "clerk"])
    answer = ask(client, sign(key, claims(name), alg))
    assert answer.status_code == 200, answer.text
    assert answer.json()["expires_in"] == 300
    me = client.get("/api/v1/me", headers=bearer(answer.json()["access_token"])).json()
    assert (me["kind"], me["name"], me["scopes"], me["roles"]) == (
        "client",
        name,
        ["catalog", "clerk"],
        ["clerk"],
    )


def test_assertions_that_do_not_hold_are_refused(client: TestClient, town: Town) -> None:
    key = OKPKey.generate_key("Ed25519")
    name = register(client, town, key, ["catalog"])
    moment = int(now().timestamp())
    used = claims(name)
    assert ask(client, sign(key, used, "EdDSA")).status_code == 200
    refused = {
        "used before": sign(key, used, "EdDSA"),
        "another's key": sign(OKPKey.generate_key("Ed25519"), claims(name), "EdDSA"),
        "unknown client": sign(key, claims("nobody-here"), "EdDSA"),
        "audience with others": sign(key, claims(name, aud=[PUBLIC_URL, "https://other.test"]), "EdDSA"),
        "other audience": sign(key, claims(name, aud="https://other.test"), "EdDSA"),
        "ten years": sign(key, claims(name, exp=moment + 10 * 365 * 86400), "EdDSA"),
        "expired": sign(key, claims(name, iat=moment - 600, exp=moment - 300), "EdDSA"),
        "no expiry": sign(key, claims(name, exp=None), "EdDSA"),
        "no jti": sign(key, claims(name, jti=None), "EdDSA"),
        "not yet": sign(key, claims(name, iat=moment + 300, exp=moment + 360), "EdDSA"),
        "other issuer": sign(key, claims(name, iss="someone"), "EdDSA"),
        "symmetric": sign(OctKey.import_key(secrets.token_bytes(32)), claims(name), "HS256"),
        "no signature": sign(key, claims(name), "EdDSA").rsplit(".", 1)[0] + ".",
        "nonsense": "a.b.c",
    }
    for why, assertion in refused.items():
        answer = ask(client, assertion)
        assert (answer.status_code, answer.json().get("error")) == (400, "invalid_client"), why


def test_a_scope_the_client_lacks_is_refused_not_dropped(client: TestClient, town: Town) -> None:
    key = OKPKey.generate_key("Ed25519")
    name = register(client, town, key, ["catalog"])
    answer = ask(client, sign(key, claims(name), "EdDSA"), scope="catalog pull")
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_scope")


def test_an_altered_access_token_is_refused(client: TestClient, town: Town) -> None:
    key = OKPKey.generate_key("Ed25519")
    token = ask(client, sign(key, claims(register(client, town, key, ["catalog"])), "EdDSA")).json()[
        "access_token"
    ]
    head, body, signature = token.split(".")
    forged = f"{head}.{body[:-2]}{'A' if body[-2] != 'A' else 'B'}{body[-1]}.{signature}"
    assert client.get("/api/v1/me", headers=bearer(forged)).status_code == 401
    assert client.get("/api/v1/me", headers=bearer("nonsense")).status_code == 401


def test_a_private_key_is_never_registered(client: TestClient, town: Town) -> None:
    key = OKPKey.generate_key("Ed25519")
    body = {
        "name": "leaky-system",
        "title": "x",
        "agency_id": str(town.id("health")),
        "scopes": ["catalog"],
        "jwk": key.as_dict(private=True),
    }
    answer = client.post("/api/v1/clients", json=body, headers=town.headers("city_authority", SECURITY))
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "/jwk")


def test_nobody_is_two_of_the_three_administrators(client: TestClient, town: Town) -> None:
    body = {
        "login": "both",
        "name": "both",
        "agency_id": str(town.id("city_authority")),
        "roles": ["system_administrator", "audit_administrator"],
    }
    answer = client.post("/api/v1/people", json=body, headers=town.headers("city_authority", SECURITY))
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "/roles")


def test_agencies_are_registered_within_ones_own_jurisdiction(client: TestClient, town: Town) -> None:
    body = {
        "name": "新单位",
        "jurisdiction_code": "990102",
        "credit_code": credit_code(77),
        "responsible_leader": "分管负责人",
        "internal_office": "信息科",
    }
    elsewhere = client.post("/api/v1/agencies", json=body, headers=town.headers("west_authority", SYSTEM))
    assert elsewhere.status_code == 403
    own = client.post("/api/v1/agencies", json=body, headers=town.headers("east_authority", SYSTEM))
    assert own.status_code == 201
    wrong = client.post(
        "/api/v1/agencies",
        json={**body, "name": "另一单位", "credit_code": credit_code(78)[:-1] + "!"},
        headers=town.headers("city_authority", SYSTEM),
    )
    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "/credit_code")


def test_a_stranger_authority_cannot_tell_whether_an_agency_exists(client: TestClient, town: Town) -> None:
    headers = town.headers("west_authority", SECURITY)
    body = {"login": "someone", "name": "x", "agency_id": str(town.id("east_health")), "roles": ["clerk"]}
    hidden = client.post("/api/v1/people", json=body, headers=headers)
    absent = client.post(
        "/api/v1/people", json={**body, "agency_id": "00000000-0000-7000-8000-000000000000"}, headers=headers
    )
    assert hidden.status_code == absent.status_code == 404
    assert hidden.json()["detail"] == absent.json()["detail"]


def test_problems_speak_the_callers_language(client: TestClient) -> None:
    chinese = client.get("/api/v1/me", headers={"Accept-Language": "zh-CN"}).json()
    english = client.get("/api/v1/me", headers={"Accept-Language": "en-GB,en;q=0.9"}).json()
    assert chinese["type"] == english["type"] == "/problems/not-signed-in"
    assert chinese["title"] == "未登录或凭证无效"
    assert english["title"].startswith("Not signed in")


def test_malformed_and_oversized_bodies_get_their_problem(client: TestClient) -> None:
    malformed = client.post("/api/v1/sessions", content=b"{", headers={"Content-Type": "application/json"})
    assert (malformed.status_code, malformed.json()["type"]) == (400, "/problems/malformed-body")
    unknown = client.post("/api/v1/sessions", json={"login": "a", "secret": "b", "extra": 1})
    assert (unknown.status_code, unknown.json()["errors"][0]["field"]) == (422, "/extra")

    def flood() -> Any:
        for _ in range(200):
            yield b"x" * (1 << 20)

    large = client.post("/api/v1/sessions", content=flood(), headers={"Content-Type": "application/json"})
    assert (large.status_code, large.json()["type"]) == (413, "/problems/too-large")


def test_every_answer_protects_its_reader(client: TestClient) -> None:
    headers = client.get("/livez").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert "default-src 'self'; object-src 'none'" in headers["content-security-policy"]
    assert headers["request-id"]


def test_people_and_clients_are_listed_within_ones_jurisdiction(client: TestClient, town: Town) -> None:
    name = register(client, town, OKPKey.generate_key("Ed25519"), ["catalog"])
    near = town.person("east_health", Role.CLERK).login
    city = town.headers("city_authority", SECURITY)
    assert near in {row["login"] for row in client.get("/api/v1/people", headers=city).json()["items"]}
    assert name in {row["name"] for row in client.get("/api/v1/clients", headers=city).json()["items"]}
    west = town.headers("west_authority", SECURITY)
    assert near not in {row["login"] for row in client.get("/api/v1/people", headers=west).json()["items"]}
    assert name not in {row["name"] for row in client.get("/api/v1/clients", headers=west).json()["items"]}
