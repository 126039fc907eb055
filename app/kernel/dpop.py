"""Proofs of possession (DPoP, RFC 9449): whether a request was signed with the key its token is bound to.

Owns the reading of one proof. Pure: that a proof is used once is kept by whoever asks (a table in the
centre, memory at a gateway).
"""

from __future__ import annotations

import hashlib
import hmac
import warnings
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey, import_key

ALGORITHMS = ("ES256", "PS256", "EdDSA", "Ed25519")  # FAPI 2.0 §5.4.1: RS256, none and HMAC are left out
ACCEPTED_FOR = timedelta(seconds=60)  # after its `iat`; as long must a used proof be remembered
AHEAD = timedelta(seconds=30)  # a client's clock may run fast by so much
PRIVATE_PARTS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
LEAST_RSA_BITS = 2048
LONGEST_PROOF = 8192

# RFC 9864 renames EdDSA to Ed25519; clients and verifiers in the field know the old name.
warnings.filterwarnings("ignore", "EdDSA is deprecated")

SigningKey = OKPKey | ECKey | RSAKey


class ProofInvalid(Exception):
    """The proof does not hold; the message names the first thing that fails, for the developer of the client."""


class WideHeaders(jws.JWSRegistry):
    """joserfc stops at headers of 512 bytes; the RSA key in a proof's header alone takes more."""

    max_header_length = 4096


_HEADERS = WideHeaders(algorithms=list(ALGORITHMS))


@dataclass(frozen=True, slots=True)
class Proof:
    """A proof that holds: `thumbprint` is its key's (RFC 7638), `jti` may be accepted once until `until`."""

    thumbprint: str
    jti: str
    until: datetime


def signing_key(jwk: dict[str, object]) -> SigningKey:
    """A public key that may sign ES256, PS256 or EdDSA. Errors: ValueError naming what it lacks."""
    if PRIVATE_PARTS & jwk.keys():
        raise ValueError("holds a private key")
    modulus = jwk.get("n")  # measured before it is imported: joserfc warns of a short one and takes it
    if isinstance(modulus, str) and len(modulus) * 6 < LEAST_RSA_BITS:
        raise ValueError("RSA of fewer than 2048 bits")
    try:
        key = import_key(jwk)  # type: ignore[arg-type]  # a dictionary of strings, as JSON gave it
    except (JoseError, ValueError, TypeError, KeyError, AttributeError):
        raise ValueError("not a usable public key") from None
    match key:
        case RSAKey() if key.public_key.key_size >= LEAST_RSA_BITS:
            return key
        case ECKey() if key.curve_name == "P-256":
            return key
        case OKPKey() if key.curve_name == "Ed25519":
            return key
    raise ValueError("not RSA of 2048 bits or more, P-256 or Ed25519")


def read_proof(
    proof: str,
    *,
    method: str,
    url: str,
    at: datetime,
    token: str | None = None,
    bound_to: str | None = None,
    not_before: datetime | None = None,
) -> Proof:
    """The proof sent with a request of `method` to `url` at `at` (RFC 9449 §4.3, checks in its order).

    With an access token it must name that token's hash and be signed with the key `bound_to`. `not_before`: who
    remembers used proofs only since then takes none that are older.
    Errors: ProofInvalid.
    """
    _, thumbprint, claims = _opened(proof)
    jti, issued = claims.get("jti"), claims.get("iat")
    if isinstance(issued, bool) or not isinstance(issued, (int, float)):
        raise ProofInvalid("iat is not a number")
    age = at.timestamp() - issued
    for holds, otherwise in (
        (isinstance(jti, str) and 8 <= len(jti) <= 200, "jti is not a text of 8 to 200 characters"),
        (claims.get("htm") == method, "htm is not the request's method"),
        (_address(claims.get("htu")) == _address(url), "htu is not the request's address"),
        (-AHEAD.total_seconds() <= age <= ACCEPTED_FOR.total_seconds(), "iat is not now"),
        (not_before is None or issued >= int(not_before.timestamp()), "iat lies before this gateway's start"),
        (token is None or _same(claims.get("ath"), _digest(token)), "ath is not the hash of the token"),
        (bound_to is None or _same(thumbprint, bound_to), "signed with another key than the token's"),
    ):
        if not holds:
            raise ProofInvalid(otherwise)
    return Proof(thumbprint, str(jti), at + ACCEPTED_FOR + AHEAD)


def _opened(proof: str) -> tuple[SigningKey, str, dict[str, Any]]:
    """The key in a proof's header, its thumbprint and the claims it signed."""
    if not proof.isascii() or len(proof) > LONGEST_PROOF or "," in proof:
        raise ProofInvalid("one DPoP header with one proof")
    key, thumbprint = _key_of(proof.partition(".")[0])
    try:
        return key, thumbprint, jwt.decode(proof, key, registry=_HEADERS).claims
    except (JoseError, ValueError, TypeError, RecursionError) as error:
        raise ProofInvalid(f"jwk or signature: {error}") from None


@lru_cache(maxsize=4096)
def _key_of(written: str) -> tuple[SigningKey, str]:
    """The key in a header and its thumbprint. A client writes the same header each time, so reading it once saves
    most of what a proof costs beside its signature."""
    try:
        header = jws.extract_compact(f"{written}.e30.".encode(), registry=_HEADERS).headers()
    except (JoseError, ValueError, AttributeError, TypeError, RecursionError):
        raise ProofInvalid("not a JWT") from None
    if header.get("typ") != "dpop+jwt":
        raise ProofInvalid("typ is not dpop+jwt")
    if header.get("alg") not in ALGORITHMS:
        raise ProofInvalid("alg is not ES256, PS256 or EdDSA")
    jwk = header.get("jwk")
    if not isinstance(jwk, dict):
        raise ProofInvalid("no jwk in the header")
    try:
        key = signing_key(jwk)
    except ValueError as error:
        raise ProofInvalid(f"jwk or signature: {error}") from None
    return key, key.thumbprint()


def _digest(token: str) -> str:
    return urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).rstrip(b"=").decode()


def _same(claimed: object, expected: str) -> bool:
    return isinstance(claimed, str) and hmac.compare_digest(claimed.encode(), expected.encode())


def _address(url: object) -> tuple[str, str, int, str] | None:
    """Scheme, host, port and path: without query and fragment, the default port as good as none."""
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    except (ValueError, KeyError):
        return None
    return parts.scheme, (parts.hostname or "").lower(), port, parts.path or "/"
