"""Sign-in of people at an identity provider: OpenID Connect with PKCE, against any provider.

Owns the request, the callback and the reading of claims. State, nonce and verifier stay here and serve once;
the answer must name its issuer (RFC 9207). The provider's word stands for who somebody is, never for more
roles than the mapping of this deployment has.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.identity import agencies, sessions
from app.identity.models import Person, ProviderSignIn
from app.kernel import history
from app.kernel.actor import Role, system_actor
from app.kernel.clock import now
from app.kernel.db import Database
from app.kernel.dpop import WideHeaders
from app.kernel.errors import NotSignedIn
from app.kernel.outbound import NotReachable, Outbound
from app.kernel.text import Text

UNDER_WAY = timedelta(minutes=10)
SKEW_S = 30
# What providers sign with. RS256 is what OpenID Connect makes them all know; none and HMAC are refused.
_ALGORITHMS = ("ES256", "PS256", "EdDSA", "Ed25519", "RS256")
_HEADERS = WideHeaders(algorithms=list(_ALGORITHMS))
T = TypeVar("T")

_BY = system_actor("identity-provider")


class SignInRefused(NotSignedIn):
    """The answer of the provider does not hold, or says nobody that this deployment knows what to do with."""

    slug = "provider-sign-in-refused"
    title = Text("统一身份认证登录未成功", "Sign-in at the identity provider did not succeed")

    def __init__(self, zh: str, why: str) -> None:
        super().__init__(Text(zh, why))


class IdentityProvider(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One provider, as the operator's file describes it.

    `secret_file` holds the client secret. The claim `agency` carries a credit code or local code; `roles` maps
    the values of the claim `roles` to roles. `two_factors` are the values of `acr` or `amr` that stand for a
    second factor.
    """

    issuer: str
    client_id: str
    secret_file: str
    scope: str = "openid profile"
    login_claim: str = "preferred_username"
    name_claim: str = "name"
    agency_claim: str = "agency"
    roles_claim: str = "roles"
    roles: dict[str, Role] = msgspec.field(default_factory=dict)
    two_factors: tuple[str, ...] = ("mfa", "otp", "hwk")


def read_provider(path: Path) -> IdentityProvider:
    """The provider in an operator's file. Errors: OSError, ValueError naming what is wrong with it."""
    return msgspec.json.decode(path.read_bytes(), type=IdentityProvider)


class _Discovered(msgspec.Struct, frozen=True):
    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    authorization_response_iss_parameter_supported: bool = False


class _Keys(msgspec.Struct, frozen=True):
    keys: list[dict[str, Any]]


class _Tokens(msgspec.Struct, frozen=True):
    id_token: str


@dataclass(frozen=True, slots=True)
class Begun:
    """Where to send the browser, and what its cookie must bring back."""

    address: str
    binding: str


class ProviderLink:
    """The provider of this deployment. `callback` is where it sends people back to."""

    def __init__(
        self, provider: IdentityProvider, callback: str, database: Database, outbound: Outbound
    ) -> None:
        self.provider, self.callback = provider, callback
        self._database, self._outbound = database, outbound

    def begin(self, back: str) -> Begun:
        """Send somebody to the provider; `back` is the page they came from. Errors: NotReachable."""
        found = self._discover()
        state, nonce, verifier, binding = (secrets.token_urlsafe(32) for _ in range(4))
        row = ProviderSignIn(
            state_hash=_digest(state), binding_hash=_digest(binding), nonce=nonce, verifier=verifier, back=back,
            expires_at=now() + UNDER_WAY,
        )  # fmt: skip
        with self._database.transaction() as session:
            session.add(row)
        query = {
            "response_type": "code", "client_id": self.provider.client_id, "redirect_uri": self.callback,
            "scope": self.provider.scope, "state": state, "nonce": nonce, "code_challenge": _challenge(verifier),
            "code_challenge_method": "S256",
        }  # fmt: skip
        return Begun(f"{found.authorization_endpoint}?{urlencode(query)}", binding)

    def finish(
        self, query: Mapping[str, str], binding: str | None, device: str | None
    ) -> tuple[sessions.Opened, str]:
        """A session for whom the provider sent back, and the page they came from.
        Errors: SignInRefused, NotReachable."""
        begun = self._take(query.get("state", ""), binding)
        found = self._discover()
        claimed = query.get("iss")
        if claimed is None and found.authorization_response_iss_parameter_supported:
            raise SignInRefused("应答没有说明其签发者。", "The answer does not name its issuer (RFC 9207).")
        if claimed is not None and claimed != self.provider.issuer:
            raise SignInRefused("应答来自其他签发者。", "The answer is of another issuer (RFC 9207).")
        if "error" in query or not query.get("code"):
            raise SignInRefused("认证方没有给出授权码。", "The provider gave no code.")
        claims = self._claims(self._exchange(found, query["code"], begun.verifier), found, begun.nonce)
        with self._database.transaction() as session:
            opened = sessions.open_session(
                session, self._person(session, claims), device=device, two_factors=self._two_factors(claims)
            )
        return opened, begun.back

    def _take(self, state: str, binding: str | None) -> ProviderSignIn:
        """What was begun with this state in this browser; it serves once, whatever follows."""
        with self._database.transaction() as session:
            query = delete(ProviderSignIn).where(ProviderSignIn.state_hash == _digest(state))
            row = session.scalars(query.returning(ProviderSignIn)).first()
            if row is not None:
                session.expunge(row)
        if row is None or row.expires_at <= now():
            raise SignInRefused("登录已超时或已使用，请重新登录。", "This sign-in is over, or has been used.")
        if binding is None or not secrets.compare_digest(row.binding_hash, _digest(binding)):
            raise SignInRefused("登录不是在本浏览器中发起的。", "The sign-in was not begun in this browser.")
        return row

    def _discover(self) -> _Discovered:
        found = self._json(
            f"{self.provider.issuer.rstrip('/')}/.well-known/openid-configuration", _Discovered
        )
        if found.issuer != self.provider.issuer:
            raise SignInRefused("认证方元数据的签发者不符。", "The provider's metadata is of another issuer.")
        return found

    def _exchange(self, found: _Discovered, code: str, verifier: str) -> str:
        secret = Path(self.provider.secret_file).read_text("utf-8").strip()
        credential = f"{quote(self.provider.client_id, safe='')}:{quote(secret, safe='')}"
        form = {
            "grant_type": "authorization_code", "code": code, "redirect_uri": self.callback,
            "code_verifier": verifier,
        }  # fmt: skip
        answer = self._outbound.send(
            "POST", found.token_endpoint, content=urlencode(form).encode(),
            headers={
                "Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json",
                "Authorization": "Basic " + _basic(credential),
            },
        )  # fmt: skip
        if not answer.ok:
            raise SignInRefused("认证方拒绝了授权码。", "The provider refused the code.")
        return _decoded(answer.body, _Tokens).id_token

    def _claims(self, id_token: str, found: _Discovered, nonce: str) -> dict[str, Any]:
        """Every claim of an id token that says to whom, by whom and when (OpenID Connect Core §3.1.3.7)."""
        refused = SignInRefused("身份令牌无效。", "The id token does not hold.")
        try:
            keys = [key for key in self._json(found.jwks_uri, _Keys).keys if key.get("use") in (None, "sig")]
            claims = jwt.decode(id_token, KeySet.import_key_set({"keys": keys}), registry=_HEADERS).claims
        except (JoseError, ValueError, TypeError, RecursionError):
            raise refused from None
        audience, moment = claims.get("aud"), now().timestamp()
        several = isinstance(audience, list) and len(audience) > 1
        expires, issued = claims.get("exp"), claims.get("iat")
        holds = (
            claims.get("iss") == self.provider.issuer
            and self.provider.client_id in (audience if isinstance(audience, list) else [audience])
            and (claims.get("azp") == self.provider.client_id or (not several and "azp" not in claims))
            and isinstance(expires, (int, float))
            and expires > moment - SKEW_S
            and isinstance(issued, (int, float))
            and abs(moment - issued) <= UNDER_WAY.total_seconds()
            and claims.get("nonce") == nonce
            and isinstance(claims.get("sub"), str)
        )
        if not holds:
            raise refused
        return dict(claims)

    def _person(self, session: Session, claims: dict[str, Any]) -> Person:
        """The person the claims say, registered at the first sign-in; agency and roles as they say today."""
        provider = self.provider
        subject = json.dumps([provider.issuer, claims["sub"]])
        agency = agencies.find_agency(session, str(claims.get(provider.agency_claim, "")))
        given = claims.get(provider.roles_claim, [])
        named = [given] if isinstance(given, str) else given if isinstance(given, list) else []
        roles = frozenset(provider.roles[value] for value in named if value in provider.roles)
        if agency is None or not agency.verified or not roles:
            raise SignInRefused(
                "您的单位或角色尚未在本平台登记。", "Your agency or role is not registered on this platform."
            )
        person = session.scalar(select(Person).where(Person.provider_subject == subject).with_for_update())
        if person is None:
            return sessions.register_person(
                session, login=str(claims.get(provider.login_claim, claims["sub"]))[:256],
                name=str(claims.get(provider.name_claim, claims["sub"]))[:256], agency_id=agency.id, roles=roles,
                provider_subject=subject, by=_BY,
            )  # fmt: skip
        if not person.active:
            raise SignInRefused("该账号已被停用。", "The account is suspended.")
        if person.agency_id != agency.id or set(person.roles) != roles:
            before = {"agency": str(person.agency_id), "roles": person.roles}
            person.agency_id, person.roles = agency.id, sorted(roles)
            sessions.end_sessions(session, person.id)
            history.record(
                session, kind="person", subject_id=person.id, act="map_claims", by=_BY,
                data={"before": before, "agency": str(agency.id), "roles": person.roles},
            )  # fmt: skip
        return person

    def _two_factors(self, claims: dict[str, Any]) -> bool:
        methods = claims.get("amr", [])
        said = {claims.get("acr"), *(methods if isinstance(methods, list) else [])}
        return bool(said & set(self.provider.two_factors))

    def _json(self, url: str, kind: type[T]) -> T:
        answer = self._outbound.send("GET", url, headers={"Accept": "application/json"})
        if not answer.ok:
            raise NotReachable(
                Text("认证方没有正常应答。", "The identity provider does not answer as it should.")
            )
        return _decoded(answer.body, kind)


def _decoded(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError:
        raise NotReachable(Text("认证方的应答无法理解。", "The identity provider answers oddly.")) from None


def _basic(credential: str) -> str:
    return b64encode(credential.encode()).decode()


def _challenge(verifier: str) -> str:
    return urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
