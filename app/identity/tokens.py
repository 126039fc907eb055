"""Access tokens for machine clients: client_credentials with private_key_jwt (RFC 7523, RFC 9068), bound
to a key where the client proves one (DPoP, RFC 9449).

Owns assertions and access tokens. Built on joserfc: every claim is checked here, by name.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.identity.clients import PublishedKeys
from app.identity.models import Agency, Client, ClientKey, Jurisdiction, UsedAssertion, UsedProof
from app.kernel.actor import Actor, ActorKind, Role, Scope
from app.kernel.clock import now
from app.kernel.db import Database
from app.kernel.dpop import ALGORITHMS, Proof, ProofInvalid, WideHeaders, read_proof, signing_key
from app.kernel.errors import Problem
from app.kernel.keys import TokenKeys
from app.kernel.text import Text

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_LIFETIME = timedelta(minutes=5)
TOKEN_LIFETIME = timedelta(minutes=5)
SKEW = timedelta(seconds=30)
_HEADERS = WideHeaders(algorithms=list(ALGORITHMS))


class TokenRefused(Problem):
    """An OAuth error (RFC 6749 §5.2). `error` is its code; the body has that standard's shape."""

    status, slug = 400, "token-refused"
    title = Text("令牌申请被拒绝", "Token request refused")

    def __init__(self, error: str, detail: Text) -> None:
        super().__init__(detail, error=error, error_description=detail.en)


@dataclass(frozen=True, slots=True)
class TokenIssuer:
    """Who issues: `issuer` is this service's public URL; `keys` sign."""

    issuer: str
    keys: TokenKeys

    @property
    def token_endpoint(self) -> str:
        return f"{self.issuer}/oauth/token"

    def sign(self, claims: dict[str, Any], *, typ: str) -> str:
        """A signed JWT of media type `typ` over `claims`, which are taken as they are."""
        key = self.keys.signing()
        return jwt.encode({"alg": "Ed25519", "typ": typ, "kid": key.kid}, claims, key, algorithms=["Ed25519"])

    def key_set(self) -> dict[str, Any]:
        """The public keys (RFC 7517): the one that signs, those before it, and the next."""
        return dict(KeySet([*self.keys.accepted()]).as_dict(private=False))

    def metadata(self) -> dict[str, Any]:
        """Authorization server metadata (RFC 8414)."""
        algorithms = [name for name in ALGORITHMS if name != "Ed25519"]
        return {
            "issuer": self.issuer,
            "token_endpoint": self.token_endpoint,
            "jwks_uri": f"{self.issuer}/.well-known/jwks.json",
            "grant_types_supported": ["client_credentials"],
            "token_endpoint_auth_methods_supported": ["private_key_jwt"],
            "token_endpoint_auth_signing_alg_values_supported": algorithms,
            "dpop_signing_alg_values_supported": algorithms,
            "scopes_supported": [scope.value for scope in Scope],
            "response_types_supported": [],
        }


@dataclass(frozen=True, slots=True)
class Wanted:
    """A token request as it arrived; `proofs` are its DPoP headers."""

    grant_type: str
    assertion_type: str
    assertion: str
    scope: str | None
    proofs: list[str]


@dataclass(frozen=True, slots=True)
class _Claimed:
    """The client an assertion says it is of, before anything is believed."""

    id: UUID
    name: str
    keys: list[dict[str, Any]]
    jwks_uri: str | None


def issue(
    database: Database, issuer: TokenIssuer, published: PublishedKeys, wanted: Wanted
) -> dict[str, Any]:
    """The token response to a client_credentials request (RFC 6749 §4.4, RFC 7523 §2.2).

    The client's row is read each time, so that suspending it works at once. A scope the client lacks is
    refused, not silently dropped. Transactions of its own: between them keys may be fetched, and a `jti`
    stays used whatever is refused after it. Errors: TokenRefused.
    """
    if wanted.grant_type != "client_credentials":
        raise TokenRefused(
            "unsupported_grant_type", Text("仅支持 client_credentials。", "Only client_credentials.")
        )
    if wanted.assertion_type != ASSERTION_TYPE:
        raise TokenRefused("invalid_client", Text("仅支持 private_key_jwt。", "Only private_key_jwt."))
    proof = _proof_of(issuer, wanted.proofs)
    name, kid = _claimed(wanted.assertion)
    with database.transaction() as session:
        claimed = _find(session, name)
    keys = list(claimed.keys)
    if claimed.jwks_uri is not None:
        keys += published.keys_at(claimed.jwks_uri, kid)
    jti = _authenticate(wanted.assertion, kid, keys, claimed.name, issuer)
    with database.transaction() as session:
        fresh = _use_assertion(session, claimed.id, jti) and (proof is None or use_proof(session, proof))
        client = session.scalar(select(Client).where(Client.id == claimed.id, Client.active))
    if not fresh or client is None:  # presented before, here or in another process; or suspended meanwhile
        raise _not_authenticated()
    return _respond(issuer, client, wanted.scope, proof)


def _respond(issuer: TokenIssuer, client: Client, scope: str | None, proof: Proof | None) -> dict[str, Any]:
    if proof is None and client.dpop_bound:
        raise TokenRefused(
            "invalid_dpop_proof",
            Text("该系统只能使用绑定密钥的令牌（DPoP）。", "This client takes bound tokens alone (DPoP)."),
        )
    scopes = (scope or " ".join(client.scopes)).split()
    if not scopes or not set(scopes) <= set(client.scopes):
        raise TokenRefused(
            "invalid_scope", Text("请求了未授予的范围。", "A scope was asked for that the client lacks.")
        )
    issued_at = int(now().timestamp())
    lifetime = int(TOKEN_LIFETIME.total_seconds())
    claims: dict[str, Any] = {
        "iss": issuer.issuer, "aud": issuer.issuer, "sub": client.name, "client_id": client.name,
        "scope": " ".join(scopes), "iat": issued_at, "exp": issued_at + lifetime, "jti": secrets.token_urlsafe(16),
    }  # fmt: skip
    if proof is not None:
        claims["cnf"] = {"jkt": proof.thumbprint}
    return {
        "access_token": issuer.sign(claims, typ="at+jwt"),
        "token_type": "Bearer" if proof is None else "DPoP",
        "expires_in": lifetime,
        "scope": claims["scope"],
    }


def _proof_of(issuer: TokenIssuer, proofs: list[str]) -> Proof | None:
    if not proofs:
        return None
    try:
        if len(proofs) > 1:
            raise ProofInvalid("one DPoP header with one proof")
        return read_proof(proofs[0], method="POST", url=issuer.token_endpoint, at=now())
    except ProofInvalid as error:
        raise TokenRefused(
            "invalid_dpop_proof", Text("DPoP 证明无效：{why}。", "DPoP proof: {why}.").with_(why=str(error))
        ) from None


def _not_authenticated() -> TokenRefused:
    """One answer for every cause, so that nobody learns which clients there are."""
    return TokenRefused("invalid_client", Text("客户端身份验证失败。", "Client authentication failed."))


def _claimed(assertion: str) -> tuple[str, object]:
    """The subject and key id an assertion names, read unverified only to find the key."""
    try:
        unverified = jws.extract_compact(assertion.encode(), registry=_HEADERS)
        subject = json.loads(unverified.payload).get("sub")
    except (JoseError, ValueError, AttributeError, TypeError, RecursionError):
        raise _not_authenticated() from None
    if not isinstance(subject, str) or "\0" in subject:
        raise _not_authenticated()
    return subject, unverified.headers().get("kid")


def _find(session: Session, name: str) -> _Claimed:
    client = session.scalar(select(Client).where(Client.name == name, Client.active))
    if client is None:
        raise _not_authenticated()
    keys = session.scalars(select(ClientKey).where(ClientKey.client_id == client.id, ClientKey.active))
    return _Claimed(client.id, client.name, [row.jwk for row in keys], client.jwks_uri)


def _authenticate(
    assertion: str, kid: object, keys: list[dict[str, Any]], name: str, issuer: TokenIssuer
) -> str:
    """The assertion's `jti`, once its signature and every claim hold."""
    for jwk in keys:
        if kid not in (None, jwk.get("kid")):
            continue
        claims = _verified_claims(assertion, jwk)
        if claims is not None and _claims_hold(claims, name, issuer):
            return str(claims["jti"])
    raise _not_authenticated()


def _use_assertion(session: Session, client_id: UUID, jti: str) -> bool:
    """Whether an assertion is presented for the first time, in whichever process."""
    return _once(
        session, UsedAssertion(client_id=client_id, jti=jti, expires_at=now() + ASSERTION_LIFETIME + SKEW)
    )


def use_proof(session: Session, proof: Proof) -> bool:
    """Whether a DPoP proof is presented for the first time, in whichever process (RFC 9449 §11.1)."""
    return _once(session, UsedProof(thumbprint=proof.thumbprint, jti=proof.jti, expires_at=proof.until))


def _once(session: Session, used: UsedAssertion | UsedProof) -> bool:
    table = type(used)
    values = {column.key: getattr(used, column.key) for column in table.__table__.columns}
    statement = insert(table).values(values).on_conflict_do_nothing().returning(table.jti)
    return session.execute(statement).first() is not None


def _verified_claims(assertion: str, jwk: dict[str, Any]) -> dict[str, Any] | None:
    try:
        return dict(jwt.decode(assertion, signing_key(jwk), registry=_HEADERS).claims)
    except (JoseError, ValueError, TypeError, RecursionError):
        return None


def _claims_hold(claims: dict[str, Any], client_name: str, issuer: TokenIssuer) -> bool:
    """Each claim of an assertion: iss and sub the client, aud our issuer and nobody else's, short-lived, with
    a jti (RFC 7523 §3, FAPI 2.0 §5.3.2.1)."""
    moment = now().timestamp()
    expires, issued, jti = claims.get("exp"), claims.get("iat"), claims.get("jti")
    begins = claims.get("nbf", issued)
    for moment_claimed in (expires, issued, begins):
        if isinstance(moment_claimed, bool) or not isinstance(moment_claimed, (int, float)):
            return False
    assert expires is not None
    assert issued is not None
    assert begins is not None
    return (
        claims.get("iss") == client_name
        and claims.get("sub") == client_name
        and claims.get("aud") == issuer.issuer
        and moment - SKEW.total_seconds() <= expires <= moment + (ASSERTION_LIFETIME + SKEW).total_seconds()
        and 0 < expires - issued <= ASSERTION_LIFETIME.total_seconds()
        and issued <= moment + SKEW.total_seconds()
        and begins <= moment + SKEW.total_seconds()
        and isinstance(jti, str)
        and 8 <= len(jti) <= 200
        and "\0" not in jti
    )


@dataclass(frozen=True, slots=True)
class AccessToken:
    """An access token whose signature and claims hold; `bound_to` is the thumbprint of its key, if it has one."""

    client: str
    scopes: frozenset[str]
    bound_to: str | None


def read_token(issuer: TokenIssuer, token: str, at: datetime) -> AccessToken | None:
    """What an access token says (RFC 9068 §4); None where it does not hold. Asks no database."""
    try:
        decoded = jwt.decode(token, KeySet([*issuer.keys.accepted()]), algorithms=["Ed25519"])
    except (JoseError, ValueError, TypeError, RecursionError):
        return None
    claims = decoded.claims
    expires, confirmed = claims.get("exp"), claims.get("cnf")
    if (
        decoded.header.get("typ") != "at+jwt"
        or claims.get("iss") != issuer.issuer
        or claims.get("aud") != issuer.issuer
        or not isinstance(expires, int)
        or expires <= at.timestamp()
    ):
        return None
    bound_to = str(confirmed["jkt"]) if isinstance(confirmed, dict) else None
    return AccessToken(
        str(claims.get("client_id")), frozenset(str(claims.get("scope", "")).split()), bound_to
    )


def actor_of_token(session: Session, token: AccessToken) -> Actor | None:
    """The client an access token speaks for, with what it may do now; None where it is suspended or gone."""
    row = session.execute(
        select(Client, Agency.jurisdiction_id, Jurisdiction.authority_id)
        .join(Agency, Agency.id == Client.agency_id)
        .join(Jurisdiction, Jurisdiction.id == Agency.jurisdiction_id)
        .where(Client.name == token.client, Client.active)
    ).first()
    if row is None or (row[0].dpop_bound and token.bound_to is None):
        return None
    client: Client = row[0]
    scopes = frozenset(Scope(s) for s in token.scopes if s in client.scopes)
    roles = frozenset({Role.CLERK}) if Scope.CLERK in scopes else frozenset[Role]()
    return Actor(
        ActorKind.CLIENT, client.id, client.agency_id, row[1], row[2] == client.agency_id,
        roles=roles, scopes=scopes, name=client.name, bound_to=token.bound_to,
    )  # fmt: skip
