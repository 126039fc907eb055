"""People: the second factor, sessions, lockout and expiry by profile, suspension, contractors, delegation."""

from __future__ import annotations

import json
from base64 import b32decode
from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.identity import sessions
from app.identity.passwords import password_fault
from app.kernel.actor import Role
from app.kernel.clock import frozen, now
from tests.conftest import PUBLIC_URL
from tests.factories import Town

CLERK, APPROVER, SECURITY = Role.CLERK, Role.APPROVER, Role.SECURITY_ADMINISTRATOR
PASSWORD = "Yun-Jiang-2026"


@pytest.fixture
def moment() -> Any:
    with frozen(now()):
        yield now()


def set_security(session: Session, **rules: Any) -> None:
    """Change the rules of the profile in force for everybody."""
    statement = text(
        "UPDATE rule_profile SET profile = jsonb_set(profile, '{security}', CAST(:rules AS jsonb))"
    )
    session.execute(statement, {"rules": json.dumps(rules)})
    session.flush()


def code_of(key: str, at: datetime) -> str:
    return TOTP(b32decode(key), 6, SHA1(), 30).generate(int(at.timestamp())).decode()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def sign_in(client: TestClient, login: str, secret: str, **more: str) -> Any:
    return client.post("/api/v1/sessions", json={"login": login, "secret": secret, **more})


def with_password(client: TestClient, town: Town, agency: str, role: Role) -> tuple[str, dict[str, str]]:
    """Login and headers of somebody who has set a password."""
    headers = town.headers(agency, role)
    answer = client.put("/api/v1/me/password", json={"password": PASSWORD}, headers=headers)
    assert answer.status_code == 204, answer.text
    return town.person(agency, role).login, headers


def test_totp_is_the_published_one() -> None:
    """RFC 6238, appendix B (SHA-1), the last six digits."""
    totp = TOTP(b"12345678901234567890", 6, SHA1(), 30)
    assert [totp.generate(at) for at in (59, 1111111109, 20000000000)] == [b"287082", b"081804", b"353130"]


def test_an_approver_without_a_second_factor_opens_nothing_until_one_counts(
    client: TestClient, session: Session, town: Town, moment: datetime
) -> None:
    login, _ = with_password(client, town, "civil", APPROVER)
    clerk, _ = with_password(client, town, "civil", CLERK)
    set_security(session, second_factor_roles=["approver"])
    assert sign_in(client, clerk, PASSWORD).json()["lacks"] is None
    opened = sign_in(client, login, PASSWORD).json()
    headers = bearer(opened["token"])
    assert opened["lacks"] == "second_factor"
    refused = client.get("/api/v1/requests", headers=headers)
    assert (refused.status_code, refused.json()["type"]) == (403, "/problems/second-factor-missing")
    key = client.post("/api/v1/me/second-factor", headers=headers).json()
    assert key["address"].startswith("otpauth://totp/Zhengtong")
    path = "/api/v1/me/second-factor/confirm"
    assert client.post(path, json={"code": "000000"}, headers=headers).status_code == 422
    confirmed = client.post(path, json={"code": code_of(key["key"], moment)}, headers=headers)
    assert client.get("/api/v1/requests", headers=headers).status_code == 200
    assert client.post("/api/v1/me/second-factor", headers=headers).status_code == 409

    needed = sign_in(client, login, PASSWORD)
    assert (needed.status_code, needed.json()["type"]) == (401, "/problems/second-factor-needed")
    assert sign_in(client, login, PASSWORD, code=code_of(key["key"], moment)).status_code == 401, "taken once"
    assert sign_in(client, login, "wrong", code="123456").json()["type"] == "/problems/not-signed-in"
    with frozen(moment + timedelta(seconds=30)):
        good = sign_in(client, login, PASSWORD, code=code_of(key["key"], now()))
        assert (good.status_code, good.json()["lacks"]) == (201, None)
    recovery = confirmed.json()["recovery_codes"]
    assert len(set(recovery)) == 10
    assert sign_in(client, login, PASSWORD, code=recovery[0].lower()).status_code == 201
    assert sign_in(client, login, PASSWORD, code=recovery[0]).status_code == 401


def test_a_lost_authenticator_is_taken_away_by_the_security_administrator(
    client: TestClient, town: Town, moment: datetime
) -> None:
    login, headers = with_password(client, town, "civil", CLERK)
    key = client.post("/api/v1/me/second-factor", headers=headers).json()["key"]
    body = {"code": code_of(key, moment)}
    assert client.post("/api/v1/me/second-factor/confirm", json=body, headers=headers).status_code == 200
    assert sign_in(client, login, PASSWORD).json()["type"] == "/problems/second-factor-needed"
    path = f"/api/v1/people/{town.person('civil', CLERK).id}/reset-second-factor"
    assert client.post(path, headers=town.headers("city_authority", SECURITY)).status_code == 200
    assert client.get("/api/v1/me", headers=headers).status_code == 401, "the sessions ended too"
    assert sign_in(client, login, PASSWORD).status_code == 201


def test_lockout_and_expiry_are_the_profiles(
    client: TestClient, session: Session, town: Town, moment: datetime
) -> None:
    login, _ = with_password(client, town, "civil", CLERK)
    set_security(session, lock_after=2, lock_minutes=10, password_days=30, idle_minutes=5, session_hours=1)
    for _ in range(2):
        assert sign_in(client, login, "wrong").status_code == 401
    assert sign_in(client, login, PASSWORD).status_code == 401
    with frozen(moment + timedelta(minutes=10)):
        headers = bearer(sign_in(client, login, PASSWORD).json()["token"])
    with frozen(moment + timedelta(minutes=14)):
        assert client.get("/api/v1/me", headers=headers).status_code == 200
    with frozen(moment + timedelta(minutes=20)):
        assert client.get("/api/v1/me", headers=headers).status_code == 401, "idle for too long"
    with frozen(moment + timedelta(days=30)):
        opened = sign_in(client, login, PASSWORD).json()
        assert opened["lacks"] == "password"
        headers = bearer(opened["token"])
        late = client.get("/api/v1/requests", headers=headers)
        assert late.json()["type"] == "/problems/password-too-old"
        same = client.put(
            "/api/v1/me/password", json={"password": PASSWORD, "current": PASSWORD}, headers=headers
        )
        assert same.status_code == 422
        blind = client.put("/api/v1/me/password", json={"password": "Hai-Feng-2027"}, headers=headers)
        assert blind.json()["errors"][0]["field"] == "/current"
        fresh = client.put(
            "/api/v1/me/password", json={"password": "Hai-Feng-2027", "current": PASSWORD}, headers=headers
        )
        assert fresh.status_code == 204
        assert client.get("/api/v1/requests", headers=headers).status_code == 200


def test_a_session_ends_after_eight_hours_however_busy(
    client: TestClient, town: Town, moment: datetime
) -> None:
    headers = town.headers("civil", CLERK)
    for minutes in range(0, 480, 20):
        with frozen(moment + timedelta(minutes=minutes)):
            assert client.get("/api/v1/me", headers=headers).status_code == 200
    with frozen(moment + timedelta(hours=8)):
        assert client.get("/api/v1/me", headers=headers).status_code == 401


def test_sessions_are_listed_and_ended_one_by_one(client: TestClient, town: Town) -> None:
    login, _ = with_password(client, town, "civil", CLERK)
    here, there = (bearer(sign_in(client, login, PASSWORD).json()["token"]) for _ in range(2))
    listed = client.get("/api/v1/me/sessions", headers=here).json()
    assert len(listed) == 3
    assert sum(row["is_this"] for row in listed) == 1
    other = next(row for row in client.get("/api/v1/me/sessions", headers=there).json() if row["is_this"])
    assert client.delete(f"/api/v1/me/sessions/{other['id']}", headers=here).status_code == 204
    assert client.get("/api/v1/me", headers=there).status_code == 401
    assert client.get("/api/v1/me", headers=here).status_code == 200
    strangers = town.headers("health", CLERK)
    mine = next(row for row in client.get("/api/v1/me/sessions", headers=here).json() if row["is_this"])
    assert client.delete(f"/api/v1/me/sessions/{mine['id']}", headers=strangers).status_code == 404
    assert (
        client.put(
            "/api/v1/me/password", json={"password": "Hai-Feng-2027", "current": PASSWORD}, headers=here
        ).status_code
        == 204
    )
    assert len(client.get("/api/v1/me/sessions", headers=here).json()) == 1, "a new password ends the others"


def test_the_cookie_is_this_hosts_alone_and_new_with_each_sign_in(client: TestClient, town: Town) -> None:
    login, _ = with_password(client, town, "civil", CLERK)
    own = {"Origin": PUBLIC_URL, "Sec-Fetch-Site": "same-origin"}
    form = {"login": login, "secret": PASSWORD}
    first = client.post("/sign-in", data=form, headers=own, follow_redirects=False)
    cookie = first.headers["set-cookie"]
    assert cookie.startswith("__Host-zhengtong-session=zts_")
    assert {"HttpOnly", "Secure", "Path=/", "SameSite=lax"} <= set(cookie.split("; "))
    assert "Domain" not in cookie
    held = client.cookies[sessions.HOST_COOKIE]
    client.post("/sign-in", data=form, headers=own, follow_redirects=False)
    assert client.cookies[sessions.HOST_COOKIE] != held
    assert client.get("/api/v1/me", headers=bearer(held)).status_code == 401, "the earlier one is over"


FOREIGN: dict[str, dict[str, str]] = {
    "BCP 4.7 another site, by fetch metadata": {"Sec-Fetch-Site": "cross-site"},
    "BCP 4.7 a sibling host, by fetch metadata": {"Sec-Fetch-Site": "same-site"},
    "BCP 4.7 another origin, by an old browser": {"Origin": "https://evil.test"},
    "BCP 4.7 an opaque origin": {"Origin": "null"},
    "BCP 4.7 another scheme": {"Origin": PUBLIC_URL.replace("https", "http")},
    "BCP 4.7 another port": {"Origin": PUBLIC_URL + ":8443"},
}


@pytest.mark.parametrize("clause", FOREIGN)
def test_a_change_that_another_site_sends_with_our_cookie_is_refused(
    client: TestClient, town: Town, clause: str
) -> None:
    client.cookies.set(sessions.HOST_COOKIE, town.headers("civil", CLERK)["Authorization"].split()[1])
    refused = client.post("/api/v1/me/second-factor", headers=FOREIGN[clause])
    assert refused.status_code == 403
    assert client.post("/api/v1/me/second-factor", headers={"Origin": PUBLIC_URL}).status_code == 201


SESSIONS: dict[str, str] = {
    "ASVS 7.2.2 a session that never was": "zts_" + "x" * 43,
    "ASVS 7.2.2 a session token without its mark": "x" * 43,
    "ASVS 7.4.1 a session that was ended": "ended",
    "ASVS 7.4.2 a session of a suspended person": "suspended",
    "RFC 9449 7.1 a session under the scheme DPoP": "dpop",
}


@pytest.mark.parametrize("clause", SESSIONS)
def test_a_session_is_refused(client: TestClient, town: Town, clause: str) -> None:
    headers = town.headers("civil", CLERK)
    match SESSIONS[clause]:
        case "ended":
            client.delete("/api/v1/sessions/current", headers=headers)
        case "suspended":
            person = town.person("civil", CLERK)
            path = f"/api/v1/people/{person.id}/suspend"
            security = town.headers("city_authority", SECURITY)
            assert client.post(path, json={"reason": "离职"}, headers=security).status_code == 200
        case "dpop":
            headers = {"Authorization": headers["Authorization"].replace("Bearer", "DPoP")}
        case token:
            headers = bearer(token)
    assert client.get("/api/v1/me", headers=headers).status_code == 401


def test_nobody_suspends_themselves(client: TestClient, town: Town) -> None:
    own = town.person("city_authority", SECURITY)
    headers = town.headers("city_authority", SECURITY)
    answer = client.post(f"/api/v1/people/{own.id}/suspend", json={"reason": "x"}, headers=headers)
    assert answer.status_code == 403


@pytest.mark.parametrize(
    "password", ["Passw0rd!", "Admin@123", "Qwerty2026#", "P@ssword1", "Aa1!Aa1!", "x-Wang-1-login"]
)
def test_a_password_that_everybody_tries_is_refused(password: str) -> None:
    assert password_fault(password, "wang", 8, 3) is not None


@pytest.mark.parametrize("password", ["Yun-Jiang-2026", "晨光 Harbour 7 lamps", "correct Horse 9 battery"])
def test_a_password_that_will_do(password: str) -> None:
    assert password_fault(password, "wang", 8, 3) is None


def test_a_contractor_has_no_rights_to_data(client: TestClient, session: Session, town: Town) -> None:
    headers = town.headers("city_authority", SECURITY)
    body = {
        "login": "supplier",
        "name": "驻场工程师",
        "agency_id": str(town.id("city_authority")),
        "contractor": True,
    }
    refused = client.post("/api/v1/people", json={**body, "roles": ["clerk"]}, headers=headers)
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "/roles")
    taken = client.post("/api/v1/people", json={**body, "roles": ["system_administrator"]}, headers=headers)
    assert taken.status_code == 201
    with pytest.raises(IntegrityError, match="ck_person_contractor"), session.begin_nested():
        session.execute(text("UPDATE person SET roles = '{clerk}' WHERE login = 'supplier'"))


def test_acting_for_another_agency_takes_a_delegation_in_force(
    client: TestClient, town: Town, moment: datetime
) -> None:
    """West's approver hands the clerk's work of west to east's people until a day."""
    handed = {
        "to_agency_id": str(town.id("east_health")), "roles": ["clerk"], "reason": "两局合署办公",
        "until": (moment + timedelta(days=30)).date().isoformat(),
    }  # fmt: skip
    approver = town.headers("west_civil", APPROVER)
    acting = {**town.headers("east_health", CLERK), "Acting-For": str(town.id("west_civil"))}

    def whose() -> Any:
        answer = client.get("/api/v1/me", headers=acting)
        return answer.json()["agency_id"] if answer.status_code == 200 else answer.status_code

    assert whose() == 403
    for wrong in (
        {"roles": ["mediator"]},
        {"until": "2020-01-01"},
        {"until": "2099-01-01"},
        {"to_agency_id": str(town.id("west_civil"))},
    ):
        assert (
            client.post("/api/v1/delegations", json={**handed, **wrong}, headers=approver).status_code == 422
        )
    given = client.post("/api/v1/delegations", json=handed, headers=approver)
    assert given.status_code == 201, given.text
    assert whose() == str(town.id("west_civil"))
    other_role = {**town.headers("east_health", APPROVER), "Acting-For": str(town.id("west_civil"))}
    assert client.get("/api/v1/me", headers=other_role).status_code == 403
    stranger = {**town.headers("health", CLERK), "Acting-For": str(town.id("west_civil"))}
    assert client.get("/api/v1/me", headers=stranger).status_code == 403
    with frozen(moment + timedelta(days=32)):
        late = {**town.headers("east_health", CLERK), "Acting-For": str(town.id("west_civil"))}
        assert client.get("/api/v1/me", headers=late).status_code == 403
    path = f"/api/v1/delegations/{given.json()['id']}/end"
    assert client.post(path, headers=town.headers("east_health", APPROVER)).status_code == 403
    assert client.post(path, headers=approver).status_code == 200
    assert whose() == 403


def test_signing_in_is_on_record(client: TestClient, session: Session, town: Town) -> None:
    login, _ = with_password(client, town, "civil", CLERK)
    sign_in(client, login, PASSWORD)
    for _ in range(5):
        sign_in(client, login, "wrong")
    query = text("SELECT act FROM event WHERE kind = 'person' AND subject_id = :id ORDER BY position")
    acts = list(session.scalars(query, {"id": town.person("civil", CLERK).id}))
    assert acts[-2:] == ["sign_in", "lock"]
