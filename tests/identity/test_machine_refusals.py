"""What a machine client is refused, each case named after the clause it comes from.

FAPI: FAPI 2.0 Security Profile. BCP: RFC 9700, OAuth 2.0 security best current practice. Every case changes
one fact of a request that is granted otherwise.
"""

from __future__ import annotations

import json
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from starlette.testclient import TestClient

from app.identity.clients import PublishedKeys, fetch_by
from app.kernel.actor import Role
from app.kernel.clock import frozen, now
from app.kernel.db import Database
from app.kernel.keys import ServiceKeys
from app.kernel.outbound import Outbound
from app.main import create_app
from app.settings import Settings
from tests.conftest import PUBLIC_URL
from tests.factories import Town
from tests.identity.machines import TOKEN_URL, Machine, encode, hash_of, proof, register

ED = OKPKey.generate_key("Ed25519")
OTHER = OKPKey.generate_key("Ed25519")
EC = ECKey.generate_key("P-256")
RSA = RSAKey.generate_key(2048)
ME = f"{PUBLIC_URL}/api/v1/me"


@pytest.fixture
def machine(client: TestClient, town: Town) -> Machine:
    return register(client, town, ED)


def later(seconds: int) -> int:
    return int(now().timestamp()) + seconds


def bare(part: bytes) -> str:
    return urlsafe_b64encode(part).rstrip(b"=").decode()


ASSERTIONS: dict[str, Callable[[Machine], str]] = {
    "FAPI 5.3.2.1 private_key_jwt: signed with another key": lambda m: m.assertion(key=OTHER),
    "FAPI 5.3.2.1 private_key_jwt: a client that is not registered": lambda m: m.assertion(sub="nobody", iss="nobody"),
    "FAPI 5.3.2.1 private_key_jwt: issued by another": lambda m: m.assertion(iss="someone"),
    "FAPI 5.3.2.1 private_key_jwt: of another subject": lambda m: m.assertion(sub="someone"),
    "FAPI 5.3.2.1 private_key_jwt: no subject": lambda m: m.assertion(sub=None),
    "FAPI 5.3.2.1 private_key_jwt: a key id that is not registered": lambda m: m.assertion({"kid": "another"}),
    "FAPI 5.3.2.1 private_key_jwt: not a JWT": lambda m: "a.b.c",
    "FAPI 5.3.2.1 private_key_jwt: claims that are no object": lambda m: ".".join(
        [m.assertion().split(".")[0], bare(b'["x"]'), m.assertion().split(".")[2]]
    ),
    "FAPI 5.3.2.1 aud: the token endpoint": lambda m: m.assertion(aud=TOKEN_URL),
    "FAPI 5.3.2.1 aud: a list of the issuer alone": lambda m: m.assertion(aud=[PUBLIC_URL]),
    "FAPI 5.3.2.1 aud: other servers beside the issuer": lambda m: m.assertion(aud=[PUBLIC_URL, "https://other.test"]),
    "FAPI 5.3.2.1 aud: another server": lambda m: m.assertion(aud="https://other.test"),
    "FAPI 5.3.2.1 aud: a slash too many": lambda m: m.assertion(aud=PUBLIC_URL + "/"),
    "FAPI 5.3.2.1 aud: none": lambda m: m.assertion(aud=None),
    "FAPI 5.3.2.1 iat: more than a minute ahead": lambda m: m.assertion(iat=later(90), exp=later(150)),
    "FAPI 5.3.2.1 nbf: more than a minute ahead": lambda m: m.assertion(nbf=later(90)),
    "FAPI 5.4.1 algorithms: none": lambda m: ".".join(
        [bare(b'{"alg":"none"}'), m.assertion().split(".")[1], ""]
    ),
    "FAPI 5.4.1 algorithms: HMAC": lambda m: m.assertion(
        {"alg": "HS256"}, OctKey.import_key(secrets.token_bytes(32))
    ),
    "FAPI 5.4.1 algorithms: HMAC keyed with the public key": lambda m: m.assertion(
        {"alg": "HS256"}, OctKey.import_key(ED.public_key.public_bytes_raw())
    ),
    "FAPI 5.4.1 signature: left out": lambda m: m.assertion().rsplit(".", 1)[0] + ".",
    "FAPI 5.4.1 signature: of other claims": lambda m: ".".join(
        [*m.assertion().split(".")[:2], m.assertion().split(".")[2]]
    ),
    "BCP 2.5 assertion lifetime: ten years": lambda m: m.assertion(exp=later(10 * 365 * 86400)),
    "BCP 2.5 assertion lifetime: six minutes": lambda m: m.assertion(exp=later(360)),
    "BCP 2.5 assertion lifetime: over": lambda m: m.assertion(iat=later(-600), exp=later(-300)),
    "BCP 2.5 assertion lifetime: no end": lambda m: m.assertion(exp=None),
    "BCP 2.5 assertion lifetime: no beginning": lambda m: m.assertion(iat=None),
    "BCP 2.5 assertion lifetime: ends before it begins": lambda m: m.assertion(iat=later(20), exp=later(10)),
    "BCP 2.5 assertion lifetime: not a number": lambda m: m.assertion(exp=str(later(60))),
    "BCP 2.5 jti: none": lambda m: m.assertion(jti=None),
    "BCP 2.5 jti: one that can be guessed": lambda m: m.assertion(jti="1"),
    "BCP 2.5 jti: not a text": lambda m: m.assertion(jti=12345678),
}  # fmt: skip


@pytest.mark.parametrize("clause", ASSERTIONS)
def test_an_assertion_is_refused(machine: Machine, clause: str) -> None:
    refused = machine.ask(assertion=ASSERTIONS[clause](machine))
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_client"), refused.text
    assert machine.ask().status_code == 200


def test_fapi_5_4_1_algorithms_rs256(client: TestClient, town: Town) -> None:
    rsa = register(client, town, RSA, "PS256")
    assert rsa.ask(assertion=rsa.assertion({"alg": "RS256"})).json()["error"] == "invalid_client"
    assert rsa.ask().status_code == 200


def test_bcp_2_5_jti_used_before(machine: Machine) -> None:
    assertion = machine.assertion()
    assert machine.ask(assertion=assertion).status_code == 200
    assert machine.ask(assertion=assertion).json()["error"] == "invalid_client"


REQUESTS: dict[str, tuple[dict[str, str | None], str | None]] = {
    "BCP 2.4 grants: resource owner password": ({"grant_type": "password"}, "unsupported_grant_type"),
    "BCP 2.1.2 grants: implicit": ({"grant_type": "implicit"}, "unsupported_grant_type"),
    "FAPI 5.3.2.1 grants: authorization code": ({"grant_type": "authorization_code"}, "unsupported_grant_type"),
    "FAPI 5.3.2.1 confidential clients: no assertion": ({"client_assertion": None}, None),
    "FAPI 5.3.2.1 authentication: SAML assertion": (
        {"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"}, "invalid_client"
    ),
    "FAPI 5.3.2.1 authentication: client secret": (
        {"client_assertion": None, "client_id": "x", "client_secret": "y"}, None
    ),
    "BCP 2.3 privileges: a scope the client lacks": ({"scope": "catalog pull"}, "invalid_scope"),
    "BCP 2.3 privileges: a scope that does not exist": ({"scope": "everything"}, "invalid_scope"),
    "BCP 2.3 privileges: no scope at all": ({"scope": " "}, "invalid_scope"),
}  # fmt: skip


@pytest.mark.parametrize("clause", REQUESTS)
def test_a_token_request_is_refused(machine: Machine, clause: str) -> None:
    changes, error = REQUESTS[clause]
    form: dict[str, str | None] = {
        "grant_type": "client_credentials", "client_assertion": machine.assertion(),
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", **changes,
    }  # fmt: skip
    answer = machine.http.post("/oauth/token", data={k: v for k, v in form.items() if v is not None})
    assert answer.status_code in (400, 422)
    assert answer.json().get("error") == error
    assert "access_token" not in answer.json()


def signed(**changes: Any) -> Callable[[], str]:
    return lambda: proof(ED, "POST", TOKEN_URL, **changes)


SYMMETRIC = OctKey.import_key(secrets.token_bytes(32))
PROOFS: dict[str, Callable[[], str]] = {
    "RFC 9449 4.3 (2) form: not a JWT": lambda: "not.a.proof",
    "RFC 9449 4.3 (3) claims: no jti": signed(jti=None),
    "RFC 9449 4.3 (3) claims: no htm": signed(htm=None),
    "RFC 9449 4.3 (3) claims: no htu": signed(htu=None),
    "RFC 9449 4.3 (3) claims: no iat": signed(iat=None),
    "RFC 9449 4.3 (4) typ: a plain JWT": signed(header={"typ": "JWT"}),
    "RFC 9449 4.3 (4) typ: none": signed(header={"typ": None}),
    "RFC 9449 4.3 (5) alg: symmetric": lambda: encode(
        {"typ": "dpop+jwt", "alg": "HS256", "jwk": SYMMETRIC.as_dict()},
        {"jti": "12345678", "htm": "POST", "htu": TOKEN_URL, "iat": later(0)}, SYMMETRIC,
    ),
    "FAPI 5.4.1 alg of a proof: RS256": lambda: proof(RSA, "POST", TOKEN_URL, alg="RS256"),
    "FAPI 5.4.1 key of a proof: RSA of 1024 bits": lambda: ".".join(
        [bare(f'{{"typ":"dpop+jwt","alg":"PS256","jwk":{{"kty":"RSA","e":"AQAB","n":"{bare(secrets.token_bytes(128))}"}}}}'.encode()), bare(b"{}"), bare(b"x")]
    ),
    "RFC 9449 4.3 (6) signature: by another key": signed(signed_by=OTHER),
    "RFC 9449 4.3 (6) key: none in the header": signed(header={"jwk": None}),
    "RFC 9449 4.3 (7) key: the private one in the header": signed(header={"jwk": ED.as_dict(private=True)}),
    "RFC 9449 4.3 (8) htm: another method": signed(htm="GET"),
    "RFC 9449 4.3 (9) htu: another address": signed(htu=ME),
    "RFC 9449 4.3 (9) htu: another host": signed(htu="https://other.test/oauth/token"),
    "RFC 9449 4.3 (9) htu: another scheme": signed(htu=TOKEN_URL.replace("https", "http")),
    "RFC 9449 4.3 (11) iat: two minutes ago": lambda: proof(ED, "POST", TOKEN_URL, iat=later(-120)),
    "RFC 9449 4.3 (11) iat: two minutes ahead": lambda: proof(ED, "POST", TOKEN_URL, iat=later(120)),
    "RFC 9449 4.3 (11) iat: not a number": signed(iat="now"),
}  # fmt: skip


@pytest.mark.parametrize("clause", PROOFS)
def test_a_proof_at_the_token_endpoint_is_refused(machine: Machine, clause: str) -> None:
    refused = machine.ask(proofs=[PROOFS[clause]()])
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_dpop_proof"), refused.text


def test_rfc_9449_4_3_1_two_proofs(machine: Machine) -> None:
    two = [proof(ED, "POST", TOKEN_URL), proof(ED, "POST", TOKEN_URL)]
    assert machine.ask(proofs=two).json()["error"] == "invalid_dpop_proof"


def test_rfc_9449_11_1_a_proof_used_before(machine: Machine) -> None:
    once = proof(ED, "POST", TOKEN_URL)
    assert machine.ask(proofs=[once]).status_code == 200
    assert machine.ask(proofs=[once]).json()["error"] == "invalid_client"


def test_rfc_9449_5_2_a_client_of_bound_tokens_without_a_proof(client: TestClient, town: Town) -> None:
    strict = register(client, town, ED, dpop_bound=True)
    assert strict.ask().json()["error"] == "invalid_dpop_proof"
    assert strict.token(ED)


Use = Callable[[str], dict[str, str]]


def bound(key: OKPKey = ED, method: str = "GET", url: str = ME, **changes: Any) -> Use:
    """Headers of a request with the token and one changed fact of its proof."""
    return lambda token: {
        "Authorization": f"DPoP {token}", "DPoP": proof(key, method, url, **{"token": token, **changes}),
    }  # fmt: skip


USES: dict[str, Use] = {
    "RFC 9449 7.2 a bound token as Bearer": lambda t: {"Authorization": f"Bearer {t}"},
    "RFC 9449 7.2 a bound token as Bearer with a proof": lambda t: {
        "Authorization": f"Bearer {t}", "DPoP": proof(ED, "GET", ME, token=t)
    },
    "RFC 9449 7.1 no proof": lambda t: {"Authorization": f"DPoP {t}"},
    "BCP 2.2.1 a stolen token with a proof of another key": bound(key=OTHER),
    "RFC 9449 7.1 ath: none": bound(token=None),
    "RFC 9449 7.1 ath: of another token": bound(ath=hash_of("another")),
    "RFC 9449 7.1 htm: of a change": bound(method="POST"),
    "RFC 9449 7.1 htu: of another operation": bound(url=f"{PUBLIC_URL}/api/v1/agencies"),
    "RFC 9449 7.1 signature: by another key": bound(signed_by=OTHER),
    "RFC 9449 7.1 iat: from yesterday": bound(iat=1),
    "BCP 4.3.2 a token in the address": lambda t: {},
    "BCP 4.10 a token altered": lambda t: bound(token=t)(t) | {"Authorization": f"DPoP {t[:-6]}AAAAAA"},
    "RFC 6750 3.1 an unknown scheme": lambda t: {"Authorization": f"Basic {t}"},
}  # fmt: skip


@pytest.mark.parametrize("clause", USES)
def test_the_use_of_a_bound_token_is_refused(machine: Machine, clause: str) -> None:
    token = machine.token(ED)
    query = {"access_token": token} if "address" in clause else {}
    refused = machine.http.get("/api/v1/me", headers=USES[clause](token), params=query)
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"].startswith(("DPoP", "Bearer"))
    right = {"Authorization": f"DPoP {token}", "DPoP": proof(ED, "GET", ME, token=token)}
    assert machine.http.get("/api/v1/me", headers=right).json()["name"] == machine.name
    again = machine.http.get("/api/v1/me", headers=right)
    assert (again.status_code, "used" in again.json()["detail"]) == (401, True)


def test_rfc_9449_7_1_an_unbound_token_as_dpop(machine: Machine) -> None:
    token = machine.token()
    headers = {"Authorization": f"DPoP {token}", "DPoP": proof(ED, "GET", ME, token=token)}
    assert machine.http.get("/api/v1/me", headers=headers).status_code == 401
    assert machine.http.get("/api/v1/me", headers={"Authorization": f"Bearer {token}"}).status_code == 200


def test_fapi_5_3_4_expiry_of_a_token(machine: Machine) -> None:
    headers = {"Authorization": f"Bearer {machine.token()}"}
    with frozen(now() + timedelta(minutes=5)):
        assert machine.http.get("/api/v1/me", headers=headers).status_code == 401


def forged(keys: ServiceKeys, **changes: Any) -> str:
    """An access token that this service could have signed, but for one fact."""
    moment = int(now().timestamp())
    key, typ = changes.pop("key", keys.token.signing()), changes.pop("typ", "at+jwt")
    claims = {
        "iss": PUBLIC_URL, "aud": PUBLIC_URL, "sub": "x", "client_id": "x", "scope": "catalog", "iat": moment,
        "exp": moment + 300, **changes,
    }  # fmt: skip
    return encode({"alg": "Ed25519", "typ": typ, "kid": keys.token.signing().kid}, claims, key)


TOKENS: dict[str, dict[str, Any]] = {
    "BCP 2.3 audience: a token for a gateway": {"aud": "gateway"},
    "BCP 2.3 audience: a token for another server": {"aud": "https://other.test"},
    "RFC 9068 4 iss: another issuer": {"iss": "https://other.test"},
    "RFC 9068 2.1 typ: a grant taken for a token": {"typ": "grant+jwt"},
    "RFC 9068 2.1 typ: an id token taken for a token": {"typ": "JWT"},
    "FAPI 5.3.4 integrity: signed by another": {"key": OTHER},
    "FAPI 5.3.4 expiry: none": {"exp": None},
}


@pytest.mark.parametrize("clause", TOKENS)
def test_an_access_token_is_refused(machine: Machine, keys: ServiceKeys, clause: str) -> None:
    good = {"sub": machine.name, "client_id": machine.name}
    bad = {"Authorization": f"Bearer {forged(keys, **good, **TOKENS[clause])}"}
    assert machine.http.get("/api/v1/me", headers=bad).status_code == 401
    right = {"Authorization": f"Bearer {forged(keys, **good)}"}
    assert machine.http.get("/api/v1/me", headers=right).status_code == 200


def test_fapi_5_3_4_revocation_a_suspended_client_stops_at_once(machine: Machine, town: Town) -> None:
    headers = {"Authorization": f"Bearer {machine.token()}"}
    security = town.headers("city_authority", Role.SECURITY_ADMINISTRATOR)
    listed = machine.http.get("/api/v1/clients?limit=100", headers=security).json()["items"]
    (own,) = [row["id"] for row in listed if row["name"] == machine.name]

    def act(name: str, expect: int) -> None:
        answer = machine.http.post(
            f"/api/v1/clients/{own}/{name}", json={"reason": "密钥外泄"}, headers=security
        )
        assert answer.status_code == expect, answer.text

    act("suspend", 200)
    assert machine.http.get("/api/v1/me", headers=headers).status_code == 401
    assert machine.ask().json()["error"] == "invalid_client"
    act("suspend", 409)
    act("resume", 200)
    assert machine.http.get("/api/v1/me", headers=headers).status_code == 200


def test_keys_are_changed_without_a_pause_and_one_taken_back_never_returns(
    machine: Machine, town: Town
) -> None:
    security = town.headers("city_authority", Role.SECURITY_ADMINISTRATOR)
    listed = machine.http.get("/api/v1/clients?limit=100", headers=security).json()["items"]
    (own,) = [row["id"] for row in listed if row["name"] == machine.name]
    path = f"/api/v1/clients/{own}/keys"
    assert (
        machine.http.post(path, json={"jwk": EC.as_dict(private=False)}, headers=security).status_code == 201
    )
    newer = Machine(machine.http, machine.name, EC, "ES256")
    assert machine.ask().status_code == newer.ask().status_code == 200
    first = ED.thumbprint()
    assert machine.http.delete(f"{path}/{first}", headers=security).status_code == 204
    assert machine.ask().json()["error"] == "invalid_client"
    assert newer.ask().status_code == 200
    back = machine.http.post(path, json={"jwk": ED.as_dict(private=False)}, headers=security)
    assert back.status_code == 409
    states = {row["kid"]: row["active"] for row in machine.http.get(path, headers=security).json()}
    assert states == {first: False, EC.thumbprint(): True}


WEAK = {
    "RSA of 1024 bits": {"kty": "RSA", "e": "AQAB", "n": bare(b"\xff" + secrets.token_bytes(127))},
    "P-384": ECKey.generate_key("P-384").as_dict(private=False),
    "X25519": OKPKey.generate_key("X25519").as_dict(private=False),
    "symmetric": SYMMETRIC.as_dict(),
    "private": ED.as_dict(private=True),
    "nonsense": {"kty": "RSA"},
}


@pytest.mark.parametrize("kind", WEAK)
def test_fapi_5_4_1_keys_that_are_not_registered(client: TestClient, town: Town, kind: str) -> None:
    body = {
        "name": "weak-system", "title": "x", "agency_id": str(town.id("health")), "scopes": ["catalog"],
        "jwk": WEAK[kind],
    }  # fmt: skip
    security = town.headers("city_authority", Role.SECURITY_ADMINISTRATOR)
    answer = client.post("/api/v1/clients", json=body, headers=security)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "/jwk")


class KeyHost:
    """A place where a client publishes its keys; counts how often it is asked."""

    def __init__(self, *keys: Any) -> None:
        self.keys, self.asked = keys, 0

    def __call__(self, url: str) -> bytes:
        assert url == "https://keys.example.test/jwks.json"
        self.asked += 1
        return json.dumps({"keys": [key.as_dict(private=False) for key in self.keys]}).encode()


def test_published_keys_are_fetched_kept_and_changed(client: TestClient, town: Town) -> None:
    old, new = (OKPKey.generate_key("Ed25519", auto_kid=True) for _ in range(2))
    host = KeyHost(old)
    client.app.state.published_keys = PublishedKeys(host)  # type: ignore[attr-defined]
    uri = "https://keys.example.test/jwks.json"
    machine = register(client, town, old, jwk=None, jwks_uri=uri)
    for _ in range(3):
        assert machine.ask(assertion=machine.assertion({"kid": old.kid})).status_code == 200
    assert host.asked == 1
    host.keys = (new,)
    with frozen(now() + timedelta(seconds=31)):
        changed = machine.assertion({"kid": new.kid}, new)
        assert machine.ask(assertion=changed).status_code == 200
        assert machine.ask(assertion=machine.assertion({"kid": old.kid})).json()["error"] == "invalid_client"
    assert host.asked == 2


@pytest.mark.parametrize(
    "uri", ["http://keys.example.test/jwks.json", "https://u:p@keys.example.test/", "file:///etc/passwd"]
)
def test_bcp_4_12_a_key_set_address_that_is_not_https(client: TestClient, town: Town, uri: str) -> None:
    body = {
        "name": "odd",
        "title": "x",
        "agency_id": str(town.id("health")),
        "scopes": ["catalog"],
        "jwks_uri": uri,
    }
    security = town.headers("city_authority", Role.SECURITY_ADMINISTRATOR)
    answer = client.post("/api/v1/clients", json=body, headers=security)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "/jwks_uri")


def test_a_key_set_in_a_private_network_is_not_fetched(client: TestClient, town: Town) -> None:
    outbound = Outbound(resolve=lambda host, port: ["10.0.0.5"])
    client.app.state.published_keys = PublishedKeys(fetch_by(outbound))  # type: ignore[attr-defined]
    machine = register(client, town, ED, jwk=None, jwks_uri="https://keys.example.test/jwks.json")
    assert machine.ask().json()["error"] == "invalid_client"


def test_a_jti_is_used_once_whichever_process_is_asked_and_whatever_is_refused_after_it(
    database: Database, keys: ServiceKeys, settings: Settings
) -> None:
    with database.transaction() as session:
        town = Town(session)
        security = town.headers("city_authority", Role.SECURITY_ADMINISTRATOR)
        agency = str(town.id("health"))
    other = Database(database.url, pool_size=2)
    with (
        TestClient(create_app(settings, database, keys), base_url=PUBLIC_URL) as here,
        TestClient(create_app(settings, other, keys), base_url=PUBLIC_URL) as there,
    ):
        body = {
            "name": "twice", "title": "x", "agency_id": agency, "scopes": ["catalog"],
            "jwk": ED.as_dict(private=False),
        }  # fmt: skip
        assert here.post("/api/v1/clients", json=body, headers=security).status_code == 201
        one, two = Machine(here, "twice", ED), Machine(there, "twice", ED)
        assertion, once = one.assertion(), proof(ED, "POST", TOKEN_URL)
        assert one.ask(assertion=assertion, scope="pull").json()["error"] == "invalid_scope"
        assert two.ask(assertion=assertion).json()["error"] == "invalid_client"
        token = one.ask(proofs=[once]).json()["access_token"]
        assert two.ask(proofs=[once]).json()["error"] == "invalid_client"
        use = {
            "Authorization": f"DPoP {token}",
            "DPoP": proof(ED, "GET", f"{PUBLIC_URL}/api/v1/people", token=token),
        }
        assert here.get("/api/v1/people", headers=use).status_code == 403
        assert there.get("/api/v1/people", headers=use).status_code == 401
    other.close()
