"""Agencies' systems (clients) and the public keys they sign with, uploaded or published at an address.

Owns registration, keys and suspension, which work from the next token on. What a client may do with a
token is `tokens`' and the registry's.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.identity.models import Agency, Client, ClientKey
from app.kernel import history
from app.kernel.actor import Actor, Scope
from app.kernel.clock import new_id, now
from app.kernel.dpop import PRIVATE_PARTS, signing_key
from app.kernel.errors import Conflict, Fault, Invalid, NotFound, WrongMoment
from app.kernel.outbound import NotReachable, Outbound
from app.kernel.text import Text

log = logging.getLogger(__name__)

KEYS_OF_A_CLIENT = 20
KEPT_FOR = timedelta(minutes=10)  # a published key set
ASKED_AGAIN_AFTER = timedelta(seconds=30)  # for a key that was not in it
_KEY_RULE = Text(
    "ES256、PS256 或 EdDSA 的公钥（RFC 7517）", "a public key for ES256, PS256 or EdDSA (RFC 7517)"
)


def register_client(
    session: Session,
    *,
    name: str,
    title: str,
    agency_id: UUID,
    scopes: frozenset[Scope],
    by: Actor,
    jwks_uri: str | None = None,
    dpop_bound: bool = False,
) -> Client:
    """Register an agency's system. `jwks_uri` is where it publishes its keys; `dpop_bound` lets it have
    bound tokens alone (RFC 9449 §5.2). Errors: Conflict, Invalid."""
    if jwks_uri is not None:
        _require_https(jwks_uri)
    if session.scalar(select(Client.id).where(Client.name == name)):
        raise Conflict(Text("客户端标识已被使用：{name}", "The client id is taken: {name}").with_(name=name))
    if session.get(Agency, agency_id) is None:
        raise Invalid(faults=[Fault("/agency_id", Text("没有这个单位", "no such agency"))])
    client = Client(
        id=new_id(), name=name, title=title, agency_id=agency_id, scopes=sorted(scopes), jwks_uri=jwks_uri,
        dpop_bound=dpop_bound,
    )  # fmt: skip
    session.add(client)
    session.flush()
    history.record(
        session, kind="client", subject_id=client.id, act="register", by=by,
        data={"name": name, "agency": str(agency_id), "scopes": sorted(scopes), "jwks_uri": jwks_uri,
              "dpop_bound": dpop_bound},
    )  # fmt: skip
    return client


def add_client_key(session: Session, client: Client, jwk: dict[str, Any], *, by: Actor) -> ClientKey:
    """Let a client sign with one more key; only its public part is accepted. Errors: Invalid, Conflict."""
    if PRIVATE_PARTS & jwk.keys():
        leaked = Text(
            "含有私钥，请立即作废并只提交公钥", "holds a private key: destroy it, send the public part"
        )
        raise Invalid(faults=[Fault("/jwk", leaked, _KEY_RULE)])
    try:
        key = signing_key(jwk)
    except ValueError as error:
        message = Text("不是可用的公钥（RSA 须 2048 位以上，椭圆曲线须 P-256 或 Ed25519）", str(error))
        raise Invalid(faults=[Fault("/jwk", message, _KEY_RULE)]) from None
    kid = str(jwk.get("kid") or key.thumbprint())
    held = {
        row.kid: row for row in session.scalars(select(ClientKey).where(ClientKey.client_id == client.id))
    }
    if kid in held:
        raise Conflict(Text("该密钥已登记。", "This key is registered."))
    if sum(row.active for row in held.values()) >= KEYS_OF_A_CLIENT:
        raise Conflict(
            Text("每个系统至多 {n} 个密钥。", "A client has at most {n} keys.").with_(n=KEYS_OF_A_CLIENT)
        )
    row = ClientKey(client_id=client.id, kid=kid, jwk={**key.as_dict(private=False), "kid": kid})
    session.add(row)
    history.record(session, kind="client", subject_id=client.id, act="add_key", by=by, data={"kid": kid})
    return row


def keys_of(session: Session, client_id: UUID) -> list[ClientKey]:
    """The keys that were uploaded for a client, those taken back among them, oldest first."""
    return list(
        session.scalars(select(ClientKey).where(ClientKey.client_id == client_id).order_by(ClientKey.id))
    )


def remove_client_key(session: Session, client: Client, kid: str, *, by: Actor) -> None:
    """Take a key back: assertions signed with it stop working now, and it is never registered again.
    Errors: NotFound."""
    row = session.scalar(
        select(ClientKey).where(ClientKey.client_id == client.id, ClientKey.kid == kid, ClientKey.active)
    )
    if row is None:
        raise NotFound()
    row.active = False
    history.record(session, kind="client", subject_id=client.id, act="remove_key", by=by, data={"kid": kid})


def set_active(session: Session, client: Client, active: bool, *, reason: str, by: Actor) -> None:
    """Suspend a client, or let it work again: its tokens and grants stop with the next use.
    Errors: WrongMoment where it already is so."""
    session.refresh(client, with_for_update=True)
    if client.active == active:
        raise WrongMoment(
            Text("该系统已在使用中。", "The client is in use.")
            if active
            else Text("该系统已被停用。", "The client is suspended.")
        )
    client.active = active
    act = "resume" if active else "suspend"
    history.record(session, kind="client", subject_id=client.id, act=act, by=by, reason=reason)


def _require_https(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or parts.username or parts.fragment:
        rule = Text("OAuth 2.0 动态注册（RFC 7591 §2）", "RFC 7591 §2")
        raise Invalid(faults=[Fault("/jwks_uri", Text("须为 https 地址", "must be an https address"), rule)])


@dataclass(slots=True)
class _Published:
    keys: list[dict[str, Any]]
    fetched_at: datetime


@dataclass
class PublishedKeys:
    """Key sets that clients publish (`jwks_uri`), kept for ten minutes in this process.

    `fetch` gets an address by the deployment's rules for outbound requests, or raises NotReachable. A set that cannot be fetched again is not used longer than it may be kept.
    """

    fetch: Callable[[str], bytes]
    _known: dict[str, _Published] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def keys_at(self, url: str, kid: object) -> list[dict[str, Any]]:
        """The keys published at `url`; fetched where they are old, or lack the `kid` that is looked for."""
        with self._lock:
            known = self._known.get(url)
        age = now() - known.fetched_at if known else None
        if (
            known is None
            or age is None
            or age >= KEPT_FOR
            or (age >= ASKED_AGAIN_AFTER and kid not in {key.get("kid") for key in known.keys})
        ):
            known = _Published(self._fetched(url), now())
            with self._lock:
                self._known[url] = known
        return known.keys

    def _fetched(self, url: str) -> list[dict[str, Any]]:
        try:
            keys = msgspec.json.decode(self.fetch(url), type=_KeySet).keys
        except (NotReachable, msgspec.DecodeError) as error:
            log.warning("key set of a client cannot be read: %s", type(error).__name__)
            return []
        return keys[:KEYS_OF_A_CLIENT]


def fetch_by(outbound: Outbound) -> Callable[[str], bytes]:
    """How this deployment fetches key sets."""

    def fetch(url: str) -> bytes:
        answer = outbound.send("GET", url, headers={"Accept": "application/jwk-set+json, application/json"})
        if not answer.ok:
            raise NotReachable()
        return answer.body

    return fetch


class _KeySet(msgspec.Struct):
    keys: list[dict[str, Any]]
