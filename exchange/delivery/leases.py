"""Quotas over several gateways, at the centre: each gateway leases a part of the day's calls and rows.

Owns who holds how much. What is leased together is never more than agreed; what a gateway leases and does not
use it gives back, so that no part is lost to the others for long.
"""

from __future__ import annotations

from datetime import date, timedelta
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.kernel.calendar import legal_date
from app.kernel.clock import now
from app.kernel.db import advisory_lock
from app.kernel.errors import Conflict, Fault, Invalid, NotFound
from app.kernel.text import Text
from exchange.agreements.models import Agreement
from exchange.agreements.states import IN_FORCE
from exchange.delivery.gateways import served_by
from exchange.delivery.models import QuotaLease, ReceiptRow, RegisteredGateway
from exchange.delivery.protocol import Lease, LeaseWanted
from exchange.delivery.registry import is_approved, serving
from exchange.delivery.states import APPROVED


def lease(session: Session, wanted: LeaseWanted, *, by: Actor) -> Lease:
    """What the gateway holds from now on: what it says that it holds, and of what nobody else holds as much as it
    wants, or its share if that is more. Errors: NotFound, Invalid, Conflict where a later word was heard before."""
    agreement_id, day = _read(wanted)
    query = select(Agreement).where(Agreement.id == agreement_id, served_by(by), Agreement.state == IN_FORCE)
    agreement = session.scalar(query) if is_approved(session, by) else None
    if agreement is None or by.id is None:
        raise NotFound()
    advisory_lock(session, f"quota {agreement_id} {day}")
    held = {
        row.client_id: row
        for row in session.scalars(select(QuotaLease).filter_by(agreement_id=agreement_id, day=day))
    }
    own = held.pop(by.id, None)
    if own is not None and wanted.sequence <= own.sequence:
        raise Conflict(Text("已有更新的租用请求。", "A later lease has been taken."))
    gateways = sorted(
        session.scalars(
            select(RegisteredGateway.client_id).where(
                RegisteredGateway.state == APPROVED, serving(agreement.provider_id)
            )
        )
    )
    others = _held_by_others(session, agreement_id, day, by.id, list(held.values()))
    quota = agreement.typed.quota
    calls = wanted.held_calls + _more(
        quota.calls_per_day - others[0] - wanted.held_calls, wanted.calls, len(gateways)
    )
    rows = wanted.held_rows + _more(
        quota.rows_per_day - others[1] - wanted.held_rows, wanted.rows, len(gateways)
    )
    values = {"calls": calls, "rows": rows, "sequence": wanted.sequence}
    row = insert(QuotaLease).values(agreement_id=agreement_id, day=day, client_id=by.id, **values)
    session.execute(
        row.on_conflict_do_update(index_elements=["agreement_id", "day", "client_id"], set_=values)
    )
    past = (QuotaLease.agreement_id == agreement_id, QuotaLease.day < day - timedelta(days=1))
    session.execute(delete(QuotaLease).where(*past))
    return Lease(calls=calls, rows=rows, concurrent=_share(quota.concurrent_calls, gateways, by.id))


def _read(wanted: LeaseWanted) -> tuple[UUID, date]:
    try:
        agreement_id, day = UUID(wanted.agreement_id), date.fromisoformat(wanted.day)
        amounts = (wanted.held_calls, wanted.held_rows, wanted.calls, wanted.rows, wanted.sequence)
        if abs(day - legal_date(now())) > timedelta(days=1) or not all(0 <= n < 2**62 for n in amounts):
            raise ValueError(wanted.day)
    except ValueError:
        message = Text("不是可读的租用请求", "not a lease that can be read")
        raise Invalid(
            faults=[Fault("/", message, Text("当日、非负数量", "of today, amounts of 0 or more"))]
        ) from None
    return agreement_id, day


def _held_by_others(
    session: Session, agreement_id: UUID, day: date, own: UUID, held: list[QuotaLease]
) -> tuple[int, int]:
    """Calls and rows that other gateways hold, or have reported where that is more: before there were several, one
    leased nothing."""
    query = (
        select(ReceiptRow.gateway_id, func.count(), func.coalesce(func.sum(ReceiptRow.rows), 0))
        .where(ReceiptRow.agreement_id == agreement_id, ReceiptRow.day == day, ReceiptRow.gateway_id != own)
        .where(ReceiptRow.result != "refused")
        .group_by(ReceiptRow.gateway_id)
    )
    amounts = {row.client_id: (row.calls, row.rows) for row in held}
    for gateway, calls, rows in session.execute(query):
        before = amounts.get(gateway, (0, 0))
        amounts[gateway] = max(before[0], calls), max(before[1], int(rows))
    return sum(calls for calls, _ in amounts.values()), sum(rows for _, rows in amounts.values())


def _more(free: int, wanted: int, gateways: int) -> int:
    """Of what is free, what is wanted, or half of an equal share if that is more; nothing where nothing is."""
    return max(0, min(free, max(wanted, free // (2 * max(1, gateways))))) if wanted else 0


def _share(concurrent: int | None, gateways: list[UUID], own: UUID) -> int | None:
    """Of calls at the same moment each gateway has an equal part; the first ones have what is over."""
    if concurrent is None:
        return None
    whole, over = divmod(concurrent, len(gateways))
    return whole + (gateways.index(own) < over)
