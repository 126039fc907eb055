"""Gateways as the authority knows them: registered, reviewed, approved, suspended; their health; where to call.

Owns which gateways exchange at all, and which one a resource is fetched from. What passes through one is
`gateways`' and the agreements'.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, Select, func, literal, or_, select
from sqlalchemy.orm import Session

from app.identity.agencies import agencies_within, is_within
from app.identity.models import Agency, Client, Jurisdiction
from app.kernel import history
from app.kernel.actor import Actor, Scope, system_actor
from app.kernel.clock import now
from app.kernel.errors import Conflict, Fault, Invalid, NotFound, NotPermitted
from app.kernel.machine import Party
from app.kernel.text import Text
from exchange.delivery.models import RegisteredGateway
from exchange.delivery.protocol import GatewayHealth
from exchange.delivery.providers import url_faults
from exchange.delivery.states import APPROVED, GATEWAY, REGISTERED

HEARD_WITHIN = timedelta(
    seconds=60
)  # a gateway that said nothing for so long is called only if there is no other


def parties_of(session: Session, actor: Actor, agency_id: UUID) -> frozenset[Party]:
    """What the actor is to a gateway of the agency: `owner`, of the `authority` over it, both or neither."""
    parties = {"owner"} if actor.agency_id == agency_id else set()
    place = session.get_one(Agency, agency_id).jurisdiction_id
    if actor.is_authority and actor.jurisdiction_id and is_within(session, place, actor.jurisdiction_id):
        parties.add("authority")
    return frozenset(parties)


def register(session: Session, *, client_id: UUID, url: str, private: bool, by: Actor) -> RegisteredGateway:
    """登记网关: one client of one's own agency, with scope `gateway`, at the address where requesters reach it.
    `private` allows addresses in private networks. It exchanges nothing until it is approved.
    Errors: Invalid, Conflict, NotPermitted."""
    client = session.get(Client, client_id)
    own = client is not None and client.agency_id == by.agency_id
    if client is None or not own or Scope.GATEWAY not in client.scopes:
        message = Text("不是本单位的网关系统", "not a gateway system of one's own agency")
        rule = Text("须为本单位登记、授权范围为 gateway 的系统", "a client of the agency with scope gateway")
        raise Invalid(faults=[Fault("/client_id", message, rule)])
    _require_address(url, private)
    if session.scalar(select(RegisteredGateway.id).where(RegisteredGateway.client_id == client.id)):
        raise Conflict(Text("该网关已登记。", "This gateway is registered."))
    gateway = RegisteredGateway(client_id=client.id, agency_id=client.agency_id, url=url.rstrip("/"))
    parties = parties_of(session, by, client.agency_id)
    data = {"client": str(client.id), "agency": str(client.agency_id), "url": gateway.url}
    history.create(session, gateway, GATEWAY, "register", by=by, parties=parties, data=data)
    return gateway


def amend(
    session: Session, gateway: RegisteredGateway, *, url: str, private: bool, by: Actor, expected_version: int
) -> None:
    """变更登记: another address, reviewed anew. Errors: Invalid, as `history.advance`."""
    _require_address(url, private)
    history.advance(
        session, gateway, GATEWAY, "amend", by=by, parties=parties_of(session, by, gateway.agency_id),
        expected_version=expected_version, data={"url": url.rstrip("/")}, changes={"url": url.rstrip("/")},
    )  # fmt: skip


def decide(
    session: Session,
    gateway: RegisteredGateway,
    act: str,
    *,
    reason: str | None,
    by: Actor,
    expected_version: int,
) -> None:
    """Any act that changes only the standing. Errors: as `history.advance`."""
    history.advance(
        session, gateway, GATEWAY, act, by=by, parties=parties_of(session, by, gateway.agency_id),
        expected_version=expected_version, reason=reason,
    )  # fmt: skip


def stand_for_centre(session: Session, client: Client, url: str) -> RegisteredGateway:
    """The centre's own gateway at `url`, there and approved by rule, unless somebody has decided otherwise."""
    by, parties = system_actor("serve"), frozenset({"system"})
    gateway = session.scalar(select(RegisteredGateway).where(RegisteredGateway.client_id == client.id))
    if gateway is None:
        gateway = RegisteredGateway(client_id=client.id, agency_id=client.agency_id, url=url.rstrip("/"))
        history.create(
            session, gateway, GATEWAY, "register", by=by, parties=parties, data={"url": gateway.url}
        )
    elif gateway.url != url.rstrip("/") and GATEWAY.find(gateway.state, "amend"):
        changes = {"url": url.rstrip("/")}
        history.advance(
            session, gateway, GATEWAY, "amend", by=by, parties=parties, data=changes, changes=changes
        )
    if gateway.state == REGISTERED:
        reason = "中心自有网关，随平台启动 the centre's own gateway"
        history.advance(session, gateway, GATEWAY, "approve", by=by, parties=parties, reason=reason)
    return gateway


def find_gateway(session: Session, gateway_id: UUID, /, *, by: Actor) -> RegisteredGateway:
    """A gateway of the actor's agency, or within its jurisdiction. Errors: NotFound."""
    gateway = session.scalar(_visible(by).where(RegisteredGateway.id == gateway_id))
    if gateway is None:
        raise NotFound()
    return gateway


def list_gateways(
    session: Session, *, by: Actor, state: str | None, before: UUID | None, limit: int
) -> list[RegisteredGateway]:
    """The gateways that the actor may know of, newest first."""
    query = _visible(by)
    if state is not None:
        query = query.where(RegisteredGateway.state == state)
    if before is not None:
        query = query.where(RegisteredGateway.id < before)
    return list(session.scalars(query.order_by(RegisteredGateway.id.desc()).limit(limit)))


def _visible(by: Actor) -> Select[RegisteredGateway]:
    """An agency's own, those that serve it, and those of the agencies under an authority."""
    seen = [RegisteredGateway.agency_id == by.agency_id]
    if by.agency_id is not None:
        seen.append(serving(by.agency_id))
    if by.is_authority:
        seen.append(RegisteredGateway.agency_id.in_(agencies_within(by)))
    return select(RegisteredGateway).where(or_(*seen))


def is_approved(session: Session, gateway: Actor) -> bool:
    """Whether the gateway that asks may exchange now."""
    approved = (RegisteredGateway.client_id == gateway.id, RegisteredGateway.state == APPROVED)
    return session.scalar(select(literal(True)).where(*approved).select_from(RegisteredGateway)) is True


def note_health(session: Session, health: GatewayHealth, *, by: Actor) -> None:
    """What a gateway says of itself, kept as last told. One that is not registered is not kept.
    Errors: NotPermitted."""
    if by.id is None:
        raise NotPermitted()
    gateway = session.scalar(select(RegisteredGateway).where(RegisteredGateway.client_id == by.id))
    if gateway is not None:
        gateway.seen_at, gateway.health = now(), msgspec.to_builtins(health)
        session.flush()


def serving(provider_id: UUID) -> ColumnElement[bool]:
    """The condition on `RegisteredGateway` under which it serves a provider: its own, or that of an authority over
    it (the reverse of `gateways.served_by`)."""
    path = (
        select(func.unnest(Jurisdiction.path))
        .join(Agency, Agency.jurisdiction_id == Jurisdiction.id)
        .where(Agency.id == provider_id)
    )
    over = select(Jurisdiction.authority_id).where(Jurisdiction.id.in_(path))
    return or_(RegisteredGateway.agency_id == provider_id, RegisteredGateway.agency_id.in_(over))


def count_serving(session: Session, provider_id: UUID) -> int:
    """How many approved gateways serve a provider."""
    query = select(func.count()).select_from(RegisteredGateway)
    return session.scalar(query.where(RegisteredGateway.state == APPROVED, serving(provider_id))) or 0


def address_for(session: Session, provider_id: UUID) -> str | None:
    """Where to call for resources of a provider; None where no approved gateway serves it."""
    best = gateway_for(session, provider_id)
    return None if best is None else best.url


def gateway_for(session: Session, provider_id: UUID) -> RegisteredGateway | None:
    """The approved gateway that serves a provider: one that was heard of lately before one that was not, its own before
    an authority's."""
    query = select(RegisteredGateway).where(RegisteredGateway.state == APPROVED, serving(provider_id))
    heard_after = now() - HEARD_WITHIN
    return max(
        session.scalars(query),
        key=lambda g: (g.seen_at is not None and g.seen_at > heard_after, g.agency_id == provider_id, g.id),
        default=None,
    )


def _require_address(url: str, private: bool) -> None:
    if faults := url_faults("/url", url, private=private):
        raise Invalid(faults=faults)
