"""Sign-in at an identity provider: what its answer must say, each refusal named after its clause.

The provider here answers as the standard says, but for the one fact that a case changes; that a real one is
understood is tested with one that others wrote (tests/npm).
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from joserfc.jwk import OctKey, OKPKey
from sqlalchemy import text
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.identity import sessions
from app.identity.provider import IdentityProvider, ProviderLink, read_provider
from app.kernel.actor import Role
from app.kernel.clock import frozen, now
from app.kernel.outbound import Answer, NotReachable, Outbound
from tests.conftest import PUBLIC_URL, OneTransaction
from tests.factories import Town
from tests.identity.machines import encode

ISSUER = "https://login.example.test"
KEY, OTHER = (OKPKey.generate_key("Ed25519", auto_kid=True) for _ in range(2))
Json = dict[str, Any]


@dataclass(frozen=True)
class Provider(Outbound):
    """The provider as the service reaches it. `claims`, `metadata` and the rest change one fact of its answers."""

    agency: str = ""
    metadata: Json = field(default_factory=dict)
    claims: Json = field(default_factory=dict)
    header: Json = field(default_factory=dict)
    sent: Json = field(default_factory=dict)  # what it was last asked for
    key: list[Any] = field(default_factory=lambda: [KEY])
    token_status: list[int] = field(default_factory=lambda: [200])

    def send(self, method: str, url: str, **more: Any) -> Answer:
        match urlsplit(url).path:
            case "/.well-known/openid-configuration":
                found = {
                    "issuer": ISSUER, "authorization_endpoint": f"{ISSUER}/auth", "token_endpoint": f"{ISSUER}/token",
                    "jwks_uri": f"{ISSUER}/jwks", "authorization_response_iss_parameter_supported": True,
                }  # fmt: skip
                return self._answer(found | self.metadata)
            case "/jwks":
                return self._answer({"keys": [KEY.as_dict(private=False)]})
            case "/token":
                assert method == "POST"
                self.sent.update(
                    dict(parse_qsl(more["content"].decode())), authorization=more["headers"]["Authorization"]
                )
                return self._answer({"id_token": self._id_token()}, self.token_status[0])
        raise AssertionError(url)

    def _answer(self, body: Json, status: int = 200) -> Answer:
        return Answer(status, {}, json.dumps(body).encode())

    def _id_token(self) -> str:
        moment = int(now().timestamp())
        claims = {
            "iss": ISSUER, "aud": "zhengtong", "sub": "p-1", "exp": moment + 300, "iat": moment,
            "nonce": self.sent.get("nonce"), "preferred_username": "li.min", "name": "李敏", "agency": self.agency,
            "roles": ["office-clerks", "canteen"],
        } | self.claims  # fmt: skip
        kept = {name: value for name, value in claims.items() if value is not None}
        return encode({"alg": "EdDSA", "kid": KEY.kid, **self.header}, kept, self.key[0])


@dataclass
class Desk:
    """A browser on its way through the provider and back."""

    client: TestClient
    provider: Provider

    def begin(self, back: str = "/agreements") -> Json:
        answer = self.client.get("/sign-in/provider", params={"next": back}, follow_redirects=False)
        assert answer.status_code == 303
        query = {
            name: value[0] for name, value in parse_qs(urlsplit(answer.headers["location"]).query).items()
        }
        self.provider.sent["nonce"] = query["nonce"]
        return query

    def finish(self, **answer: str | None) -> Any:
        query = {name: value for name, value in answer.items() if value is not None}
        return self.client.get("/sign-in/provider/callback", params=query, follow_redirects=False)

    def there_and_back(self, **changes: str | None) -> Any:
        begun = self.begin()
        return self.finish(**{"code": "c-1", "state": begun["state"], "iss": ISSUER, **changes})

    def me(self) -> Any:
        return self.client.get("/api/v1/me")


@pytest.fixture
def desk(client: TestClient, town: Town, one_transaction: OneTransaction, tmp_path: Path) -> Desk:
    secret = tmp_path / "client.secret"
    secret.write_text("s:e/cret\n")
    described = tmp_path / "provider.json"
    described.write_text(
        json.dumps(
            {
                "issuer": ISSUER, "client_id": "zhengtong", "secret_file": str(secret),
                "roles": {"office-clerks": "clerk", "heads": "approver"},
            }
        )
    )  # fmt: skip
    provider = Provider(agency=str(town.agencies["civil"].credit_code))
    callback = f"{PUBLIC_URL}/sign-in/provider/callback"
    link = ProviderLink(read_provider(described), callback, one_transaction, provider)
    client.app.state.provider = link  # type: ignore[attr-defined]
    return Desk(client, provider)


def test_somebody_signs_in_and_comes_back_to_where_they_were(desk: Desk, town: Town) -> None:
    begun = desk.begin()
    assert (begun["response_type"], begun["code_challenge_method"]) == ("code", "S256")
    answer = desk.finish(code="c-1", state=begun["state"], iss=ISSUER)
    assert (answer.status_code, answer.headers["location"]) == (303, "/agreements"), answer.text
    assert desk.provider.sent["redirect_uri"] == begun["redirect_uri"]
    assert len(desk.provider.sent["code_verifier"]) >= 43
    assert desk.provider.sent["authorization"].startswith("Basic ")
    me = desk.me().json()
    assert (me["name"], me["agency_id"], me["roles"]) == ("李敏", str(town.id("civil")), ["clerk"])


def test_roles_and_agency_follow_the_claims_and_earlier_sessions_end(desk: Desk, town: Town) -> None:
    desk.there_and_back()
    earlier = desk.client.cookies[sessions.HOST_COOKIE]
    desk.provider.claims.update(roles="heads", agency=town.agencies["health"].credit_code)
    desk.there_and_back()
    me = desk.me().json()
    assert (me["agency_id"], me["roles"]) == (str(town.id("health")), ["approver"])
    headers = {"Authorization": f"Bearer {earlier}"}
    assert desk.client.get("/api/v1/me", headers=headers).status_code == 401


def test_the_providers_second_factor_stands_for_ours(desk: Desk, session: Session) -> None:
    rules = "UPDATE rule_profile SET profile = jsonb_set(profile, '{security,second_factor_roles}', '[\"clerk\"]')"
    session.execute(text(rules))
    session.flush()
    desk.there_and_back()
    assert desk.client.get("/api/v1/requests").json()["type"] == "/problems/second-factor-missing"
    desk.provider.claims.update(amr=["pwd", "otp"])
    desk.there_and_back()
    assert desk.client.get("/api/v1/requests").status_code == 200


Change = Callable[[Desk], Any]


def claim(**changes: Any) -> Change:
    def act(desk: Desk) -> Any:
        desk.provider.claims.update(changes)
        return desk.there_and_back()

    return act


def state_again(desk: Desk) -> Any:
    begun = desk.begin()
    desk.finish(code="c-1", state=begun["state"], iss=ISSUER)
    desk.client.cookies.clear()
    return desk.finish(code="c-1", state=begun["state"], iss=ISSUER)


def other_browser(desk: Desk) -> Any:
    begun = desk.begin()
    desk.client.cookies.clear()
    return desk.finish(code="c-1", state=begun["state"], iss=ISSUER)


def another_sign_ins_cookie(desk: Desk) -> Any:
    begun = desk.begin()
    desk.begin()
    return desk.finish(code="c-1", state=begun["state"], iss=ISSUER)


def too_late(desk: Desk) -> Any:
    begun = desk.begin()
    with frozen(now() + timedelta(minutes=10)):
        return desk.finish(code="c-1", state=begun["state"], iss=ISSUER)


def signed(key: Any, **header: Any) -> Change:
    def act(desk: Desk) -> Any:
        desk.provider.key[0] = key
        desk.provider.header.update(header)
        return desk.there_and_back()

    return act


def other_metadata(desk: Desk) -> Any:
    begun = desk.begin()
    desk.provider.metadata.update(issuer="https://evil.test")
    return desk.finish(code="c-1", state=begun["state"], iss=ISSUER)


def refused_code(desk: Desk) -> Any:
    desk.provider.token_status[0] = 400
    return desk.there_and_back()


CALLBACKS: dict[str, Change] = {
    "BCP 4.7.1 state: none": lambda d: d.there_and_back(state=None),
    "BCP 4.7.1 state: one that never was": lambda d: d.there_and_back(state=secrets.token_urlsafe(32)),
    "BCP 4.7.1 state: used before": state_again,
    "BCP 4.7.1 state: begun in another browser": other_browser,
    "BCP 4.7.1 state: of another sign-in of this browser": another_sign_ins_cookie,
    "BCP 4.7.1 state: ten minutes ago": too_late,
    "RFC 9207 2.4 iss: another issuer": lambda d: d.there_and_back(iss="https://evil.test"),
    "RFC 9207 2.4 iss: a slash too many": lambda d: d.there_and_back(iss=ISSUER + "/"),
    "RFC 9207 2.4 iss: none, though the provider sends it": lambda d: d.there_and_back(iss=None),
    "BCP 4.4 mix-up: metadata of another issuer": other_metadata,
    "RFC 6749 4.1.2.1 an error": lambda d: d.there_and_back(error="access_denied", code=None),
    "RFC 6749 4.1.2.1 an error with a code": lambda d: d.there_and_back(error="access_denied"),
    "RFC 6749 4.1.2 no code": lambda d: d.there_and_back(code=None),
    "RFC 6749 5.2 a code that the provider refuses": refused_code,
    "OIDC 3.1.3.7 (2) iss of the id token": claim(iss="https://evil.test"),
    "OIDC 3.1.3.7 (3) aud of the id token: another client": claim(aud="another"),
    "OIDC 3.1.3.7 (3) aud of the id token: none": claim(aud=None),
    "OIDC 3.1.3.7 (4) several audiences without azp": claim(aud=["zhengtong", "another"]),
    "OIDC 3.1.3.7 (5) azp: another client": claim(azp="another"),
    "OIDC 3.1.3.7 (6) signature: by another key": signed(OTHER),
    "OIDC 3.1.3.7 (7) alg: symmetric": signed(OctKey.import_key(b"s" * 32), alg="HS256"),
    "OIDC 3.1.3.7 (9) exp: over": claim(exp=1),
    "OIDC 3.1.3.7 (9) exp: none": claim(exp=None),
    "OIDC 3.1.3.7 (10) iat: long ago": claim(iat=1),
    "OIDC 3.1.3.7 (11) nonce: of another sign-in": claim(nonce="another"),
    "OIDC 3.1.3.7 (11) nonce: none": claim(nonce=None),
    "OIDC 2 sub: none": claim(sub=None),
    "claims: an agency that is not registered": claim(agency="nobody"),
    "claims: no agency": claim(agency=None),
    "claims: no role that is mapped": claim(roles=["canteen"]),
    "claims: roles that are no list": claim(roles={"not": "a list"}),
}  # fmt: skip


@pytest.mark.parametrize("clause", CALLBACKS)
def test_an_answer_of_the_provider_is_refused(desk: Desk, clause: str) -> None:
    refused = CALLBACKS[clause](desk)
    assert refused.status_code == 401, refused.text
    assert refused.json()["type"] == "/problems/provider-sign-in-refused"
    assert sessions.HOST_COOKIE not in desk.client.cookies
    assert desk.me().status_code == 401


@pytest.mark.parametrize("back", ["https://evil.test/", "//evil.test", "/\\evil.test", "javascript:alert(1)"])
def test_bcp_4_11_sign_in_leads_to_no_other_site(desk: Desk, back: str) -> None:
    begun = desk.begin(back)
    answer = desk.finish(code="c-1", state=begun["state"], iss=ISSUER)
    assert answer.headers["location"] == "/"


def test_a_suspended_person_does_not_come_in_by_the_provider(desk: Desk, session: Session) -> None:
    desk.there_and_back()
    session.execute(text("UPDATE person SET active = false WHERE login = 'li.min'"))
    session.flush()
    desk.client.cookies.clear()
    assert desk.there_and_back().json()["type"] == "/problems/provider-sign-in-refused"


def test_a_provider_that_cannot_be_reached_is_said_so(desk: Desk, town: Town) -> None:
    provider = IdentityProvider(
        issuer="https://10.0.0.5", client_id="x", secret_file="/nowhere", roles={"x": Role.CLERK}
    )
    link = desk.client.app.state.provider  # type: ignore[attr-defined]
    guarded = ProviderLink(provider, link.callback, link._database, Outbound())
    with pytest.raises(NotReachable):
        guarded.begin("/")
