"""Grants (授权凭证): short-lived, for one client, one agreement and one purpose.

Owns their issue and revocation. A grant decides nothing new: the agreement did, and the gateway tests it
anew on every call.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Literal
from urllib.parse import urlencode
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session

from app.identity.models import Client
from app.identity.tokens import TokenIssuer
from app.kernel.actor import Actor, ActorKind
from app.kernel.calendar import BEIJING, legal_date
from app.kernel.clock import new_id, now
from app.kernel.errors import Fault, Invalid, NotFound, NotPermitted, Unavailable, WrongMoment
from app.kernel.text import Text
from exchange.agreements.models import Agreement
from exchange.agreements.states import AGREEMENT, IN_FORCE
from exchange.delivery.admission import SERVED
from exchange.delivery.models import GrantIssued
from exchange.delivery.protocol import GRANT_AUDIENCE, GRANT_TYPE, Confirmation, Grant
from exchange.delivery.registry import address_for
from exchange.parties import visible_to
from exchange.terms import METHOD_NAMES, Method, Quota, Terms

Scheme = Literal["Bearer", "DPoP"]
GRANT_LIFETIME = timedelta(minutes=5)
DATA_PATH = "/v1/data/{agreement}/{resource}"  # at a gateway
VERIFY_PATH = "/v1/verify/{agreement}/{resource}"
TOLD_SCOPE = 1000  # characters of it in a grant


class NoGrantNow(WrongMoment):
    """The agreement is theirs, but nothing may be fetched under it now; `basis` and `reason` say why."""

    slug = "no-grant-now"
    title = Text("目前不能签发授权凭证", "No grant can be issued now")


class NoGateway(Unavailable):
    slug = "no-gateway"
    title = Text("没有可用的数据网关", "No gateway serves this provider")


@dataclass(frozen=True, slots=True)
class DataAddress:
    """Where the records of one resource are fetched with a grant, and which items they carry."""

    resource_id: UUID
    url: str
    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Granted:
    """A grant as its client gets it; the token is told this once."""

    id: UUID
    token: str
    token_type: Scheme
    agreement_id: UUID
    purpose: str
    expires_at: datetime
    gateway: str
    quota: Quota
    resources: list[DataAddress]


def issue_grant(
    session: Session,
    issuer: TokenIssuer,
    *,
    agreement_id: UUID,
    purpose: str,
    items: tuple[str, ...] | None,
    central: str | None,
    by: Actor,
) -> Granted:
    """Let the client `by` fetch under an agreement of its agency for at most five minutes, at a gateway that serves
    the provider (`central` where none is registered).

    `items` narrow what the agreement covers. A client whose token is bound to a key gets a grant bound to the
    same key (RFC 9449). Errors: NotFound, NoGrantNow, NoGateway, Invalid.
    """
    agreement = requested_by(session, agreement_id, by)
    terms = agreement.typed
    moment = now()
    require_in_force(agreement, moment)
    _require_served(agreement, terms)
    _require_agreed(terms, purpose, items)
    gateway_url = address_for(session, agreement.provider_id) or central
    if gateway_url is None:
        raise NoGateway()
    assert by.id is not None
    last_use = datetime.combine(agreement.valid_until + timedelta(days=1), time(), BEIJING)
    issued_at = moment.replace(microsecond=0)
    row = GrantIssued(
        id=new_id(), created_at=moment, agreement_id=agreement.id, client_id=by.id, purpose=purpose,
        items=None if items is None else list(items), expires_at=min(issued_at + GRANT_LIFETIME, last_use.astimezone(UTC)),
    )  # fmt: skip
    session.add(row)
    session.flush()
    claims = Grant(
        iss=issuer.issuer, aud=GRANT_AUDIENCE, sub=str(by.id), agency=str(by.agency_id), jti=str(row.id),
        iat=int(issued_at.timestamp()), exp=int(row.expires_at.timestamp()), agreement=str(agreement.id),
        agreement_hash=agreement.terms_hash, purpose=purpose, method=terms.method, items=items,
        scope=_scope_of(terms), limits=terms.quota.model_dump(exclude_none=True),
        cnf=None if by.bound_to is None else Confirmation(jkt=by.bound_to),
    )  # fmt: skip
    token = issuer.sign(msgspec.to_builtins(claims), typ=GRANT_TYPE)
    addresses = _addresses(gateway_url, agreement, terms, purpose, items)
    scheme: Scheme = "Bearer" if by.bound_to is None else "DPoP"
    return Granted(
        row.id, token, scheme, agreement.id, purpose, row.expires_at, gateway_url, terms.quota, addresses
    )


def _scope_of(terms: Terms) -> dict[str, str] | None:
    """The scope by resource, if it is short enough for a header that comes with every call."""
    scope = {str(part.resource_id): part.scope for part in terms.resources if part.scope is not None}
    return scope if 0 < sum(map(len, scope.values())) <= TOLD_SCOPE else None


def requested_by(session: Session, agreement_id: UUID, by: Actor) -> Agreement:
    """The agreement, if the actor is a client of its requester. Errors: NotPermitted, NotFound."""
    if by.kind is not ActorKind.CLIENT or by.agency_id is None:
        raise NotPermitted(Text("授权凭证只签发给应用系统。", "Grants are issued to clients only."))
    own = select(Agreement).where(Agreement.id == agreement_id, Agreement.requester_id == by.agency_id)
    agreement = session.scalar(own)
    if agreement is None:
        raise NotFound()
    return agreement


def require_in_force(agreement: Agreement, moment: datetime) -> None:
    """Nothing where data may go out under it. Errors: NoGrantNow."""
    if agreement.state != IN_FORCE:
        basis = next(row.basis for row in AGREEMENT.rows if row.target == agreement.state)
        state = AGREEMENT.states[agreement.state]
        detail = Text("共享协议现为“{state}”。", "The agreement is {state}.").with_(state=state)
        raise NoGrantNow(detail, basis=basis, state=agreement.state, reason=agreement.reason)
    if not agreement.valid_from <= legal_date(moment) <= agreement.valid_until:
        detail = Text("协议有效期为 {a} 至 {b}。", "The agreement is valid from {a} to {b}.")
        detail = detail.with_(a=agreement.valid_from, b=agreement.valid_until)
        raise NoGrantNow(detail, basis="809-20", state=agreement.state)


def _require_served(agreement: Agreement, terms: Terms) -> None:
    if terms.method not in SERVED:
        method = METHOD_NAMES[terms.method]
        detail = Text(
            "协议约定的共享方式是{method}，不凭授权凭证取数。",
            "The agreed method is {method}, which needs no grant.",
        )
        raise NoGrantNow(detail.with_(method=method), basis="809-20", state=agreement.state)


def _require_agreed(terms: Terms, purpose: str, items: tuple[str, ...] | None) -> None:
    faults = []
    if purpose not in {agreed.code for agreed in terms.purposes}:
        codes = "、".join(agreed.code for agreed in terms.purposes)
        rule = Text("约定的用途：{codes}", "agreed purposes: {codes}").with_(codes=codes)
        faults.append(Fault("/purpose", Text("用途不在约定之内", "not an agreed purpose"), rule))
    agreed_items = {item.code for part in terms.resources for item in part.items}
    faults += [
        Fault(f"/items/{position}", Text("信息项不在约定之内", "not an agreed item"))
        for position, code in enumerate(items or ())
        if code not in agreed_items
    ]
    if faults:
        raise Invalid(faults=faults, basis="809-20")


def _addresses(
    gateway_url: str, agreement: Agreement, terms: Terms, purpose: str, items: tuple[str, ...] | None
) -> list[DataAddress]:
    """An address that works as it stands for each resource that the grant reaches."""
    addresses = []
    for part in terms.resources:
        carried = tuple(item.code for item in part.items if items is None or item.code in items)
        if not carried:
            continue
        query = {"purpose": purpose} | ({} if items is None else {"items": ",".join(carried)})
        asks = terms.method is Method.VERIFICATION  # the purpose goes into the body
        path = (VERIFY_PATH if asks else DATA_PATH).format(agreement=agreement.id, resource=part.resource_id)
        url = f"{gateway_url.rstrip('/')}{path}" + ("" if asks else f"?{urlencode(query)}")
        addresses.append(DataAddress(part.resource_id, url, carried))
    return addresses


def find_grant(session: Session, grant_id: UUID, /, *, by: Actor) -> GrantIssued:
    """The grant, if the actor may know of its agreement. Errors: NotFound."""
    query = select(GrantIssued).join(Agreement, Agreement.id == GrantIssued.agreement_id)
    grant = session.scalar(query.where(GrantIssued.id == grant_id, visible_to(by, Agreement)))
    if grant is None:
        raise NotFound()
    return grant


def revoke_grant(session: Session, grant: GrantIssued, *, by: Actor) -> None:
    """Let gateways refuse the grant from their next word from the centre on. Safe to call again."""
    if by.id is None:
        raise NotPermitted()
    session.refresh(grant, with_for_update=True)
    if grant.revoked_at is None:
        grant.revoked_at, grant.revoked_by = now(), by.id
        session.flush()


def is_called_back() -> ColumnElement[bool]:
    """The condition on `GrantIssued` joined to `Client` under which gateways must refuse a grant that has
    not expired: it was revoked, or its client was suspended."""
    return (GrantIssued.expires_at > now()) & or_(GrantIssued.revoked_at.is_not(None), ~Client.active)
