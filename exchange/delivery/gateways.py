"""What the centre tells its gateways: the agreements each one serves, with terms, keys and sources.

Owns which gateway serves which agreement, and the version by which a gateway knows that nothing changed.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import ColumnElement, Select, Uuid, any_, exists, false, func, literal, or_, select
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.identity.models import Agency, Client, Jurisdiction
from app.kernel.actor import Actor
from app.kernel.clock import now
from app.kernel.keys import ServiceKeys
from exchange.agreements.models import Agreement
from exchange.agreements.states import IN_FORCE, LIVE
from exchange.delivery.admission import TOLD
from exchange.delivery.grants import is_called_back
from exchange.delivery.models import GrantIssued, ProviderSource, RegisteredGateway
from exchange.delivery.protocol import AgreementEntry, GatewayState
from exchange.delivery.providers import open_sources
from exchange.delivery.push.models import PushSubscription
from exchange.delivery.push.told import is_told, open_subscription
from exchange.delivery.registry import count_serving, is_approved
from exchange.delivery.source_tests import is_wanted_of, wanted_of
from exchange.delivery.states import APPROVED
from exchange.terms import canonical

TOLD_AFTER_END = timedelta(days=1)  # so long a gateway can say that an agreement has ended


def served_by(gateway: Actor) -> ColumnElement[bool]:
    """Which agreements a gateway serves: those of its own agency as provider; an authority's gateway those of
    every provider in its jurisdiction and below."""
    if gateway.agency_id is None:
        return false()
    own = Agreement.provider_id == gateway.agency_id
    if not gateway.is_authority:
        return own
    below = exists().where(
        Agency.id == Agreement.provider_id, Jurisdiction.id == Agency.jurisdiction_id,
        literal(gateway.jurisdiction_id, Uuid) == any_(Jurisdiction.path),
    )  # fmt: skip
    return or_(own, below)


def read_state(
    session: Session, gateway: Actor, keys: ServiceKeys, *, since: int | None
) -> GatewayState | None:
    """The whole table of `gateway`, empty while it is not approved; None where it is still that of version `since`."""
    # The version is read first: what changes between the two statements is then told again, never missed.
    version = _version(session, gateway)
    if version == since:
        return None
    if not is_approved(session, gateway):
        return GatewayState(version=version, approved=False, agreements=[])
    agreements = session.scalars(_told(gateway).order_by(Agreement.id)).all()
    in_force = [agreement for agreement in agreements if agreement.state == IN_FORCE]
    sources = open_sources(session, (i for agreement in in_force for i in agreement.resource_ids), keys.seal)
    shared = {
        provider: count_serving(session, provider) > 1
        for provider in {agreement.provider_id for agreement in in_force}
    }
    entries = [
        AgreementEntry(
            agreement_id=str(agreement.id),
            version_hash=agreement.terms_hash,
            state=agreement.state.lower(),
            terms=msgspec.Raw(canonical(agreement.typed)),
            mask_key=mask_key(keys.mask, agreement.series_id).hex(),
            sources={
                str(i): sources[i]
                for i in agreement.resource_ids
                if agreement.state == IN_FORCE and i in sources
            },
            shared=shared.get(agreement.provider_id, False),
        )
        for agreement in agreements
    ]
    revoked = session.scalars(select(GrantIssued.id).join(Client).where(is_called_back()))
    pushed = session.scalars(
        select(PushSubscription)
        .where(PushSubscription.agreement_id.in_([agreement.id for agreement in agreements]), is_told())
        .order_by(PushSubscription.id)
    )
    return GatewayState(
        version=version, agreements=entries, revoked_grants=[str(jti) for jti in revoked],
        subscriptions=[open_subscription(row, keys.seal) for row in pushed],
        tests=wanted_of(session, gateway, keys.seal),
    )  # fmt: skip


def mask_key(secret: bytes, series_id: UUID) -> bytes:
    """The agreement's own key for keyed hashes, the same for all its versions, derived and stored nowhere
    (HKDF, RFC 5869)."""
    return HKDF(SHA256(), 32, salt=None, info=b"mask " + series_id.bytes).derive(secret)


def _told(gateway: Actor) -> Select[Agreement]:
    """The agreements that go through `gateway`: live ones, and for a day those that ended."""
    live = or_(Agreement.state.in_(LIVE), Agreement.updated_at > now() - TOLD_AFTER_END)
    return select(Agreement).where(served_by(gateway), live, Agreement.terms["method"].astext.in_(TOLD))


def _version(session: Session, gateway: Actor) -> int:
    """A number that differs whenever what `read_state` tells differs.

    A digest of the versions of all that is told, in one snapshot: a transaction that commits late changes
    it when it commits, which the highest number so far would not.
    """
    told = (
        _told(gateway).with_only_columns(Agreement.id, Agreement.version, Agreement.resource_ids).cte("told")
    )
    named = select(func.unnest(told.c.resource_ids))
    told_sources = ProviderSource.resource_id.in_(named)
    parts = (
        select(_digest(told.c.id, told.c.version)),
        select(_digest(ProviderSource.resource_id, ProviderSource.version)).where(told_sources),
        select(_digest(GrantIssued.id)).join(Client).where(is_called_back()),
        select(RegisteredGateway.version).where(RegisteredGateway.client_id == gateway.id),
        select(_digest(RegisteredGateway.id)).where(RegisteredGateway.state == APPROVED),
        select(_digest(ProviderSource.test_id)).where(is_wanted_of(gateway.id)),
        select(_digest(PushSubscription.id, PushSubscription.version)).where(
            PushSubscription.agreement_id.in_(select(told.c.id)), is_told()
        ),
    )
    marks = session.execute(select(*(part.scalar_subquery() for part in parts))).one()
    return int(hashlib.sha256(repr(tuple(marks)).encode()).hexdigest()[:15], 16)


def _digest(*columns: ColumnElement[Any] | InstrumentedAttribute[Any]) -> ColumnElement[str]:
    """MD5 of all rows in the order of the first column; no secret depends on it."""
    row = func.concat_ws(":", *columns)
    return func.md5(func.string_agg(row, aggregate_order_by(literal(","), columns[0])))
