"""Access tokens for machine clients: client_credentials with private_key_jwt (RFC 7523, RFC 9068).

Owns assertions, access tokens and clients' keys. Built on joserfc: every claim is checked here, by name.
"""

from __future__ import annotations

import json
import secrets
import warnings
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey, import_key
from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.identity.models import Agency, Client, ClientKey, Jurisdiction, UsedAssertion
from app.kernel import history
from app.kernel.actor import Actor, ActorKind, Role, Scope
from app.kernel.clock import new_id, now
from app.kernel.errors import Conflict, Fault, Invalid, Problem
from app.kernel.text import Text

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ALGORITHMS = ["ES256", "PS256", "EdDSA", "Ed25519"]  # asymmetric only; RS256 is left out (FAPI 2.0 §5.4)
ASSERTION_LIFETIME = timedelta(minutes=5)
TOKEN_LIFETIME = timedelta(minutes=5)
SKEW = timedelta(seconds=30)

# RFC 9864 renames EdDSA to Ed25519; clients and verifiers in the field know the old name.
warnings.filterwarnings("ignore", "EdDSA is deprecated")


class TokenRefused(Problem):
    """An OAuth error (RFC 6749 §5.2). `error` is its code; the body has that standard's shape."""

    status, slug = 400, "token-refused"
    title = Text("令牌申请被拒绝", "Token request refused")

    def __init__(self, error: str, detail: Text) -> None:
        super().__init__(detail, error=error, error_description=detail.en)


@dataclass(frozen=True, slots=True)
class TokenIssuer:
    """Who issues: `issuer` is this service's public URL, `key` signs."""

    issuer: str
    key: OKPKey

    @property
    def token_endpoint(self) -> str:
        return f"{self.issuer}/oauth/token"

    def sign(self, claims: dict[str, Any], *, typ: str) -> str:
        """A signed JWT of media type `typ` over `claims`, which are taken as they are."""
        return jwt.encode(
            {"alg": "Ed25519", "typ": typ, "kid": self.key.kid}, claims, self.key, algorithms=["Ed25519"]
        )

    def key_set(self) -> dict[str, Any]:
        """The public keys (RFC 7517)."""
        return dict(KeySet([self.key]).as_dict(private=False))


def register_client(
    session: Session, *, name: str, title: str, agency_id: UUID, scopes: frozenset[Scope], by: Actor
) -> Client:
    """Register an agency's system. Errors: Conflict, Invalid."""
    if session.scalar(select(Client.id).where(Client.name == name)):
        raise Conflict(Text("客户端标识已被使用：{name}", "The client id is taken: {name}").with_(name=name))
    if session.get(Agency, agency_id) is None:
        raise Invalid(faults=[Fault("/agency_id", Text("没有这个单位", "no such agency"))])
    client = Client(id=new_id(), name=name, title=title, agency_id=agency_id, scopes=sorted(scopes))
    session.add(client)
    session.flush()
    history.record(
        session, kind="client", subject_id=client.id, act="register", by=by,
        data={"name": name, "agency": str(agency_id), "scopes": sorted(scopes)},
    )  # fmt: skip
    return client


def add_client_key(session: Session, client: Client, jwk: dict[str, Any], *, by: Actor) -> ClientKey:
    """Let a client sign with one more key; only its public part is accepted. Errors: Invalid, Conflict."""
    rule = Text(
        "ES256、PS256 或 EdDSA 的公钥（RFC 7517）", "a public key for ES256, PS256 or EdDSA (RFC 7517)"
    )
    if {"d", "p", "q", "k"} & jwk.keys():
        raise Invalid(
            faults=[
                Fault(
                    "/jwk",
                    Text(
                        "含有私钥，请立即作废并只提交公钥",
                        "holds a private key: destroy it, send the public part",
                    ),
                    rule,
                )
            ]
        )
    try:
        key = import_key(jwk)
    except (JoseError, ValueError, TypeError, KeyError):
        raise Invalid(
            faults=[Fault("/jwk", Text("不是可用的公钥", "not a usable public key"), rule)]
        ) from None
    if not isinstance(key, (OKPKey, ECKey, RSAKey)):
        raise Invalid(faults=[Fault("/jwk", Text("不支持的密钥类型", "key type not supported"), rule)])
    kid = str(jwk.get("kid") or key.thumbprint())
    if session.scalar(select(ClientKey.id).where(ClientKey.client_id == client.id, ClientKey.kid == kid)):
        raise Conflict(Text("该密钥已登记。", "This key is registered."))
    row = ClientKey(client_id=client.id, kid=kid, jwk={**key.as_dict(private=False), "kid": kid})
    session.add(row)
    history.record(session, kind="client", subject_id=client.id, act="add_key", by=by, data={"kid": kid})
    return row


def issue(
    session: Session,
    issuer: TokenIssuer,
    *,
    grant_type: str,
    assertion_type: str,
    assertion: str,
    scope: str | None,
) -> dict[str, Any]:
    """The token response to a client_credentials request (RFC 6749 §4.4, RFC 7523 §2.2).

    The client's row is read each time, so that suspending it works at once. A scope the client lacks is
    refused, not silently dropped. Errors: TokenRefused.
    """
    if grant_type != "client_credentials":
        raise TokenRefused(
            "unsupported_grant_type", Text("仅支持 client_credentials。", "Only client_credentials.")
        )
    if assertion_type != ASSERTION_TYPE:
        raise TokenRefused("invalid_client", Text("仅支持 private_key_jwt。", "Only private_key_jwt."))
    client = _authenticate(session, issuer, assertion)
    wanted = (scope or " ".join(client.scopes)).split()
    if not wanted or not set(wanted) <= set(client.scopes):
        raise TokenRefused(
            "invalid_scope", Text("请求了未授予的范围。", "A scope was asked for that the client lacks.")
        )
    issued_at = int(now().timestamp())
    claims = {
        "iss": issuer.issuer, "aud": issuer.issuer, "sub": client.name, "client_id": client.name,
        "scope": " ".join(wanted), "iat": issued_at, "exp": issued_at + int(TOKEN_LIFETIME.total_seconds()),
        "jti": secrets.token_urlsafe(12),
    }  # fmt: skip
    return {
        "access_token": issuer.sign(claims, typ="at+jwt"),
        "token_type": "Bearer",
        "expires_in": int(TOKEN_LIFETIME.total_seconds()),
        "scope": claims["scope"],
    }


def _authenticate(session: Session, issuer: TokenIssuer, assertion: str) -> Client:
    refused = TokenRefused("invalid_client", Text("客户端身份验证失败。", "Client authentication failed."))
    try:
        # Read the subject unverified only to find the key; nothing is believed before the signature holds.
        claimed = jws.extract_compact(assertion.encode())
        subject = json.loads(claimed.payload).get("sub")
    except (JoseError, ValueError, AttributeError):
        raise refused from None
    if not isinstance(subject, str):
        raise refused
    client = session.scalar(select(Client).where(Client.name == subject, Client.active))
    if client is None:
        raise refused
    keys = session.scalars(select(ClientKey).where(ClientKey.client_id == client.id, ClientKey.active)).all()
    header = claimed.headers()
    candidates = [k for k in keys if header.get("kid") in (None, k.kid)]
    claims = next((c for k in candidates if (c := _verified_claims(assertion, k.jwk)) is not None), None)
    if claims is None or not _claims_hold(claims, client.name, issuer):
        raise refused
    expires_at = now() + ASSERTION_LIFETIME + SKEW
    session.execute(delete(UsedAssertion).where(UsedAssertion.expires_at < now()))
    used = session.execute(
        insert(UsedAssertion)
        .values(client_id=client.id, jti=claims["jti"], expires_at=expires_at)
        .on_conflict_do_nothing()
        .returning(UsedAssertion.jti)
    ).first()
    if used is None:  # presented before, here or in another process
        raise refused
    return client


def _verified_claims(assertion: str, jwk: dict[str, Any]) -> dict[str, Any] | None:
    try:
        return dict(jwt.decode(assertion, import_key(jwk), algorithms=ALGORITHMS).claims)
    except (JoseError, ValueError, TypeError):
        return None


def _claims_hold(claims: dict[str, Any], client_name: str, issuer: TokenIssuer) -> bool:
    """Each claim of an assertion: iss and sub the client, aud exactly us, short-lived, with a jti (RFC 7523 §3)."""
    moment = now().timestamp()
    expires, issued, jti = claims.get("exp"), claims.get("iat"), claims.get("jti")
    if not isinstance(expires, (int, float)) or not isinstance(issued, (int, float)):
        return False
    return (
        claims.get("iss") == client_name
        and claims.get("sub") == client_name
        and claims.get("aud") in (issuer.issuer, [issuer.issuer], issuer.token_endpoint)
        and moment - SKEW.total_seconds() <= expires <= moment + (ASSERTION_LIFETIME + SKEW).total_seconds()
        and expires - issued <= ASSERTION_LIFETIME.total_seconds()
        and issued <= moment + SKEW.total_seconds()
        and claims.get("nbf", issued) <= moment + SKEW.total_seconds()
        and isinstance(jti, str)
        and 8 <= len(jti) <= 200
    )


def actor_of_token(session: Session, issuer: TokenIssuer, token: str) -> Actor | None:
    """The client an access token speaks for, with what it may do now; None where the token does not hold."""
    try:
        decoded = jwt.decode(token, issuer.key, algorithms=["Ed25519"])
    except (JoseError, ValueError, TypeError):
        return None
    claims = decoded.claims
    expires = claims.get("exp")
    if (
        decoded.header.get("typ") != "at+jwt"
        or claims.get("iss") != issuer.issuer
        or claims.get("aud") != issuer.issuer
        or not isinstance(expires, int)
        or expires <= now().timestamp()
    ):
        return None
    row = session.execute(
        select(Client, Agency.jurisdiction_id, Jurisdiction.authority_id)
        .join(Agency, Agency.id == Client.agency_id)
        .join(Jurisdiction, Jurisdiction.id == Agency.jurisdiction_id)
        .where(Client.name == claims.get("client_id"), Client.active)
    ).first()
    if row is None:
        return None
    client: Client = row[0]
    scopes = frozenset(Scope(s) for s in str(claims.get("scope", "")).split() if s in client.scopes)
    roles = frozenset({Role.CLERK}) if Scope.CLERK in scopes else frozenset[Role]()
    return Actor(
        ActorKind.CLIENT, client.id, client.agency_id, row[1], row[2] == client.agency_id,
        roles=roles, scopes=scopes, name=client.name,
    )  # fmt: skip
