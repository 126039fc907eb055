"""Grants bound to a key at a real gateway: with a proof they deliver, without one that holds nothing leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from joserfc.jwk import OKPKey, RSAKey

from exchange.delivery.protocol import HttpSource
from tests.delivery.agreed import RECORDS, RESOURCE, agreed
from tests.delivery.world import World, paged, running_world
from tests.identity.machines import proof

KEY, OTHER = (OKPKey.generate_key("Ed25519") for _ in range(2))
WIDE = RSAKey.generate_key(3072)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running_world(tmp_path_factory.mktemp("gateway")) as running:
        yield running


@pytest.fixture(scope="module")
def agreement(world: World) -> str:
    source = HttpSource(url=world.provider.serves("/companies", paged(RECORDS)), records_path="data")
    return world.centre.agree(agreed(), {str(RESOURCE): source})


def address(world: World, agreement: str) -> str:
    return f"{world.gateway.url}/v1/data/{agreement}/{RESOURCE}"


def bound(world: World, agreement: str, key: OKPKey | RSAKey = KEY) -> str:
    return world.centre.grant(agreement, cnf={"jkt": key.thumbprint()})


@pytest.mark.parametrize(("key", "alg"), [(KEY, "EdDSA"), (WIDE, "PS256")], ids=["EdDSA", "PS256"])
def test_a_bound_grant_delivers_with_a_proof_once(
    world: World, agreement: str, key: OKPKey | RSAKey, alg: str
) -> None:
    token, url = bound(world, agreement, key), address(world, agreement)
    headers = {"authorization": f"DPoP {token}", "dpop": proof(key, "GET", url, token=token, alg=alg)}
    assert world.gateway.get(agreement, RESOURCE, None, **headers).status_code == 200
    again = world.gateway.get(agreement, RESOURCE, None, **headers)
    assert (again.status_code, again.json()["type"]) == (401, "/problems/grant-not-proved")
    assert "invalid_dpop_proof" in again.headers["www-authenticate"]


Headers = Callable[[str, str], dict[str, str]]
REFUSED: dict[str, Headers] = {
    "RFC 9449 7.2 a bound grant as Bearer": lambda t, u: {"authorization": f"Bearer {t}"},
    "RFC 9449 7.1 no proof": lambda t, u: {"authorization": f"DPoP {t}"},
    "BCP 2.2.1 a stolen grant with a proof of another key": lambda t, u: {
        "authorization": f"DPoP {t}", "dpop": proof(OTHER, "GET", u, token=t)
    },
    "RFC 9449 7.1 ath: of another grant": lambda t, u: {
        "authorization": f"DPoP {t}", "dpop": proof(KEY, "GET", u, token="another")
    },
    "RFC 9449 7.1 htu: of another resource": lambda t, u: {
        "authorization": f"DPoP {t}", "dpop": proof(KEY, "GET", u + "0", token=t)
    },
    "RFC 9449 7.1 htu: of another gateway": lambda t, u: {
        "authorization": f"DPoP {t}", "dpop": proof(KEY, "GET", u.replace("127.0.0.1", "gateway.test"), token=t)
    },
    "RFC 9449 11.1 a proof older than the gateway's memory": lambda t, u: {
        "authorization": f"DPoP {t}",
        "dpop": proof(KEY, "GET", u, token=t, iat=int(datetime.now(UTC).timestamp()) - 50),
    },
}  # fmt: skip


@pytest.mark.parametrize("clause", REFUSED)
def test_a_bound_grant_is_refused(world: World, agreement: str, clause: str) -> None:
    token = bound(world, agreement)
    headers = REFUSED[clause](token, address(world, agreement))
    answer = world.gateway.get(agreement, RESOURCE, None, **headers)
    assert (answer.status_code, answer.json()["type"]) == (401, "/problems/grant-not-proved"), answer.text


def test_an_unbound_grant_is_no_bound_one(world: World, agreement: str) -> None:
    token = world.centre.grant(agreement)
    proved = proof(KEY, "GET", address(world, agreement), token=token)
    answer = world.gateway.get(agreement, RESOURCE, None, authorization=f"DPoP {token}", dpop=proved)
    assert answer.status_code == 401
