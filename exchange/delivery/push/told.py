"""What gateways are told of push subscriptions, and what they say of them: who delivers, how far it has come.

Owns the lease by which one gateway at a time delivers a subscription, however many serve its agreement.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, exists, select
from sqlalchemy.orm import Session

from app.identity.models import Client
from app.kernel.actor import Actor
from app.kernel.clock import now
from app.kernel.seal import Seal
from exchange.agreements.models import Agreement
from exchange.delivery import protocol
from exchange.delivery.models import GrantIssued
from exchange.delivery.push.models import PushSubscription
from exchange.delivery.push.states import ACTIVE

LEASE = timedelta(seconds=60)
SLUG_LIMIT = 100


def is_told() -> ColumnElement[bool]:
    """The condition under which a subscription is delivered: it is active, and so is the client that set it up."""
    calls = exists().where(
        GrantIssued.id == PushSubscription.grant_id, GrantIssued.revoked_at.is_(None),
        Client.id == PushSubscription.client_id, Client.active,
    )  # fmt: skip
    return (PushSubscription.state == ACTIVE) & calls


def open_subscription(row: PushSubscription, seal: Seal) -> protocol.Subscription:
    """A subscription as a gateway needs it, credentials opened."""
    secrets = json.loads(seal.decrypt(row.credentials)) if row.credentials else {}
    target = msgspec.convert({**row.target, **secrets}, protocol.HttpTarget | protocol.S3Target)
    return protocol.Subscription(
        id=str(row.id), agreement_id=str(row.agreement_id), resource_id=str(row.resource_id),
        grant_id=str(row.grant_id), client_id=str(row.client_id), agency_id=str(row.agency_id),
        purpose=row.purpose, items=None if row.items is None else tuple(row.items), filter=row.filter,
        mode="full" if row.mode == "full" else "changes", form="csv" if row.form == "csv" else "ndjson",
        every_s=row.every_minutes * 60.0, target=target,
    )  # fmt: skip


def lease(
    session: Session, places: Sequence[protocol.PushPlace], served: ColumnElement[bool], *, by: Actor
) -> list[protocol.PushPlace]:
    """Take a gateway's word on the subscriptions that it holds, and let it hold those that nobody else does; `served`
    is the condition on their agreements. Returns the places of those it holds, as they stand now."""

    said = {id: place for place in places if (id := _uuid(place.subscription_id)) is not None}
    rows = session.scalars(
        select(PushSubscription)
        .join(Agreement, Agreement.id == PushSubscription.agreement_id)
        .where(PushSubscription.id.in_(said), served, is_told())
        .order_by(PushSubscription.id)
        .with_for_update(of=PushSubscription)
    )
    held, moment = [], now()
    for row in rows:
        if row.gateway_id not in (None, by.id) and row.leased_until is not None and row.leased_until > moment:
            continue
        row.gateway_id, row.leased_until = by.id, moment + LEASE
        _take(row, said[row.id])
        held.append(
            protocol.PushPlace(subscription_id=str(row.id), runs=row.runs, mark=row.mark, basis=row.basis,
                               finished_at="" if row.delivered_at is None else row.delivered_at.isoformat())
        )  # fmt: skip
    session.flush()
    return held


def _take(row: PushSubscription, place: protocol.PushPlace) -> None:
    row.problem = None if place.problem is None else place.problem.replace("\x00", "")[:SLUG_LIMIT]
    if place.runs > row.runs:
        row.runs, row.mark, row.basis = place.runs, place.mark[:200], place.basis[:64]
        row.delivered_at = _moment(place.finished_at)


def _moment(written: str) -> datetime:
    try:
        return datetime.fromisoformat(written)
    except ValueError:
        return now()


def _uuid(written: str) -> UUID | None:
    try:
        return UUID(written)
    except ValueError:
        return None
