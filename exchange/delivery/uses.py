"""Use (使用记录): what the requester did with what a receipt says it got, noted receipt by receipt.

Owns the notes and what makes one believable. They are never changed; each is an event of its receipt, in the ledger.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.kernel import history
from app.kernel.actor import Actor
from app.kernel.clock import now
from app.kernel.errors import Fault, Invalid, NotPermitted
from app.kernel.text import Text
from exchange.agreements.models import Agreement
from exchange.delivery.models import ReceiptRow, ReceiptUse
from exchange.delivery.receipts import KIND
from exchange.parties import parties_of

_UNKNOWN = Text("本协议没有该回执", "the agreement has no such receipt")


@dataclass(frozen=True, slots=True)
class Used:
    """One use: under which agreed purpose, for which matter (事项、案号), by which unit (处室), when."""

    receipt_id: UUID
    purpose: str
    matter: str
    unit: str
    used_at: datetime


def note_uses(session: Session, agreement: Agreement, uses: Sequence[Used], *, by: Actor) -> list[ReceiptUse]:
    """Note what was used, all of it or nothing, each in the history of its receipt.

    For the requester alone, however the agreement stands: data outlives it until it is disposed of. Errors:
    NotPermitted; Invalid with a fault for each line (`/uses/3/receipt_id`) that cannot be so.
    """
    if by.id is None or "requester" not in parties_of(by, agreement):
        raise NotPermitted()
    if faults := _faults(session, agreement, uses):
        raise Invalid(faults=faults)
    noted = []
    for use in uses:
        row = ReceiptUse(
            agreement_id=agreement.id, receipt_id=use.receipt_id, purpose=use.purpose, matter=use.matter,
            unit=use.unit, used_at=use.used_at, noted_by=by.id,
        )  # fmt: skip
        session.add(row)
        session.flush()
        data = {
            "use": str(row.id), "purpose": use.purpose, "matter": use.matter, "unit": use.unit,
            "used_at": use.used_at.isoformat(),
        }  # fmt: skip
        history.record(
            session, kind=KIND, subject_id=use.receipt_id, act="use", by=by, party="requester", data=data
        )
        noted.append(row)
    return noted


def _faults(session: Session, agreement: Agreement, uses: Sequence[Used]) -> list[Fault]:
    held = _receipts(session, agreement, {use.receipt_id for use in uses})
    agreed = {purpose.code for purpose in agreement.typed.purposes}
    faults, latest = [], now()
    for line, use in enumerate(uses):
        receipt = held.get(use.receipt_id)
        if receipt is None:
            faults.append(Fault(f"/uses/{line}/receipt_id", _UNKNOWN))
        elif receipt.result == "refused":
            message = Text("该次调用被拒绝，没有取得数据", "that call was refused: nothing was received")
            faults.append(Fault(f"/uses/{line}/receipt_id", message))
        elif not receipt.at <= use.used_at <= latest:
            rule = Text("取得之后、此刻之前", "after it was received, now at the latest")
            faults.append(Fault(f"/uses/{line}/used_at", Text("使用时间不成立", "not a time of use"), rule))
        if use.purpose not in agreed:
            message = Text("不是协议约定的用途", "not a purpose of the agreement")
            faults.append(Fault(f"/uses/{line}/purpose", message))
    return faults


def _receipts(session: Session, agreement: Agreement, ids: Iterable[UUID]) -> dict[UUID, ReceiptRow]:
    query = select(ReceiptRow).where(ReceiptRow.id.in_(set(ids)), ReceiptRow.agreement_id == agreement.id)
    return {row.id: row for row in session.scalars(query)}


def require_receipts(session: Session, agreement: Agreement, ids: Sequence[UUID], field: str) -> None:
    """Nothing where all of these are receipts of the agreement. Errors: Invalid, naming each that is not."""
    held = _receipts(session, agreement, ids)
    if faults := [Fault(f"{field}/{n}", _UNKNOWN) for n, id in enumerate(ids) if id not in held]:
        raise Invalid(faults=faults)


def list_uses(
    session: Session,
    agreement: Agreement,
    *,
    receipt_id: UUID | None = None,
    before: UUID | None = None,
    limit: int = 50,
) -> list[tuple[ReceiptUse, ReceiptRow]]:
    """What was noted under an agreement, the newest first, each with its receipt."""
    query = (
        select(ReceiptUse, ReceiptRow)
        .join(ReceiptRow, ReceiptRow.id == ReceiptUse.receipt_id)
        .where(ReceiptUse.agreement_id == agreement.id)
    )
    if receipt_id is not None:
        query = query.where(ReceiptUse.receipt_id == receipt_id)
    if before is not None:
        query = query.where(ReceiptUse.id < before)
    rows = session.execute(query.order_by(ReceiptUse.id.desc()).limit(limit))
    return [(use, receipt) for use, receipt in rows]


def counts_of(session: Session, receipt_ids: Iterable[UUID]) -> dict[UUID, int]:
    """How many uses are noted of each receipt that has any."""
    query = select(ReceiptUse.receipt_id, func.count()).where(ReceiptUse.receipt_id.in_(set(receipt_ids)))
    return {row[0]: row[1] for row in session.execute(query.group_by(ReceiptUse.receipt_id))}
