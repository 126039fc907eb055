"""What the exchange tells the catalog of a resource's use: agreements, corrections, deliveries.

Owns the answer to `catalog.resources.use`. Names no agency to anyone: who may read it is the catalog's question.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, func, literal, select
from sqlalchemy.orm import Session

from app.kernel.sight import seeing_all
from catalog.resources.use import Use
from exchange.agreements.models import Agreement
from exchange.agreements.states import LIVE
from exchange.corrections.models import Correction
from exchange.corrections.states import BEFORE_AUTHORITY, UNDER_VERIFICATION
from exchange.delivery.models import ReceiptRow


def use_of(session: Session, resource_ids: Collection[UUID]) -> Mapping[UUID, Use]:
    """The use of those of these resources that are used at all, in three statements."""
    with seeing_all(session):
        return _use_of(session, resource_ids)


def _use_of(session: Session, resource_ids: Collection[UUID]) -> Mapping[UUID, Use]:
    wanted = literal(list(resource_ids), ARRAY(Uuid))
    live = session.scalars(
        select(Agreement).where(Agreement.resource_ids.overlap(wanted), Agreement.state.in_(LIVE))
    )
    agreements: dict[UUID, list[Agreement]] = {}
    for agreement in live:
        for resource_id in agreement.resource_ids:
            agreements.setdefault(resource_id, []).append(agreement)
    counted = (
        select(Correction.resource_id, func.count())
        .where(
            Correction.resource_id.in_(resource_ids),
            Correction.state.in_((UNDER_VERIFICATION, BEFORE_AUTHORITY)),
        )
        .group_by(Correction.resource_id)
    )
    corrections = {row[0]: row[1] for row in session.execute(counted)}
    # A receipt names its resource as the caller wrote it; its agreement is what is indexed.
    last = (
        select(ReceiptRow.resource_id, func.max(ReceiptRow.at))
        .where(
            ReceiptRow.agreement_id.in_({row.id for rows in agreements.values() for row in rows}),
            ReceiptRow.resource_id.in_([str(resource_id) for resource_id in resource_ids]),
            ReceiptRow.result == "delivered",
        )
        .group_by(ReceiptRow.resource_id)
    )
    delivered = {UUID(resource_id): at for resource_id, at in session.execute(last)}
    return {
        resource_id: Use(
            agreements=len(agreements.get(resource_id, ())),
            requesters=tuple(sorted({row.requester_id for row in agreements.get(resource_id, ())})),
            items=frozenset(_items_in(agreements.get(resource_id, ()), resource_id)),
            open_corrections=corrections.get(resource_id, 0),
            delivered_at=delivered.get(resource_id),
        )
        for resource_id in {*agreements, *corrections, *delivered} & set(resource_ids)
    }


def _items_in(agreements: Collection[Agreement], resource_id: UUID) -> set[str]:
    parts = [agreement.typed.resource(resource_id) for agreement in agreements]
    return {item.code for part in parts if part for item in part.items}
