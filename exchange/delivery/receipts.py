"""Receipts (回执) at the centre: taken from gateways, kept unchanged, attested in the ledger, counted.

Refuses receipts that no issued grant covers, and a second receipt of one id with other content.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.kernel import history, ledger
from app.kernel.actor import Actor
from app.kernel.calendar import legal_date
from app.kernel.canonical import EXACT_INTEGER
from app.kernel.clock import now
from app.kernel.errors import Fault, Invalid, NotFound, NotPermitted
from app.kernel.history import Event
from app.kernel.text import Text
from exchange.agreements.models import Agreement
from exchange.agreements.service import note_supplied
from exchange.delivery.gateways import served_by
from exchange.delivery.models import GrantIssued, ReceiptRow
from exchange.delivery.protocol import Receipt
from exchange.parties import visible_to

log = logging.getLogger(__name__)

LEDGER_KIND = "delivery.receipt"
KIND = "receipt"  # of the events that report a refused one


def take_receipts(session: Session, receipts: Sequence[Receipt], *, by: Actor) -> list[str]:
    """Store what a gateway shipped; returns the ids that the centre holds when the transaction commits.

    A receipt that comes again is acknowledged again. One that the centre cannot believe is not: it is
    reported as an event, once, and stands in the log. Errors: Invalid where a receipt cannot be read.
    """
    if by.id is None:
        raise NotPermitted()
    rows = [_row(receipt, position, by.id) for position, receipt in enumerate(receipts)]
    covered = _covered(session, rows, by)
    # In one order everywhere: two deliveries of the same batch then wait for each other, not in a circle.
    new = {row.id: row for row in reversed(rows) if row.id in covered}
    values = [_columns(new[i]) for i in sorted(new)]
    inserted: set[UUID] = set()
    if values:
        statement = insert(ReceiptRow).on_conflict_do_nothing().returning(ReceiptRow.id)
        inserted = set(session.scalars(statement, values))
    attested = [(i, LEDGER_KIND, new[i].agreement_id, new[i].content()) for i in sorted(inserted)]
    ledger.append_many(session, attested)
    for agreement_id in sorted({new[i].agreement_id for i in inserted if new[i].result == "delivered"}):
        note_supplied(session, agreement_id)
    held = {
        row.id: row.content() for row in session.scalars(select(ReceiptRow).where(ReceiptRow.id.in_(new)))
    }
    acknowledged = []
    for row in rows:
        if held.get(row.id) == row.content():
            acknowledged.append(str(row.id))
        else:
            _report(session, row, "contradicts" if row.id in held else "not_covered", by)
    return acknowledged


def _covered(session: Session, rows: Sequence[ReceiptRow], by: Actor) -> set[UUID]:
    """The receipts whose grant was issued, for that agreement, to that client of its requester. What was
    delivered must be of an agreement that the gateway serves; any gateway may have refused a call."""
    query = (
        select(GrantIssued, Agreement.requester_id, served_by(by).label("served"))
        .join(Agreement, Agreement.id == GrantIssued.agreement_id)
        .where(GrantIssued.id.in_({row.grant_id for row in rows}))
    )
    grants = {grant.id: (grant, requester, served) for grant, requester, served in session.execute(query)}
    covered = set()
    for row in rows:
        grant, requester, served = grants.get(row.grant_id, (None, None, False))
        same = grant and (grant.agreement_id, grant.client_id) == (row.agreement_id, row.client_id)
        if same and requester == row.agency_id and (served or row.result == "refused"):
            covered.add(row.id)
    return covered


def _report(session: Session, row: ReceiptRow, why: str, by: Actor) -> None:
    """Note a receipt that was not taken: one event for each content, however often it is sent."""
    digest = ledger.content_hash(row.content()).hex()
    log.error("gateway %s: receipt %s not taken: %s", by.name, row.id, why)
    known = select(Event.data).where(Event.kind == KIND, Event.subject_id == row.id, Event.act == "refuse")
    if all(data.get("content_sha256") != digest for data in session.scalars(known)):
        data = {"why": why, "content_sha256": digest, "agreement": str(row.agreement_id)}
        history.record(session, kind=KIND, subject_id=row.id, act="refuse", by=by, data=data)


def _row(receipt: Receipt, position: int, gateway_id: UUID) -> ReceiptRow:
    call, outcome = receipt.call, receipt.outcome
    try:
        row = ReceiptRow(
            id=UUID(call.id), created_at=now(), gateway_id=gateway_id, at=datetime.fromisoformat(call.at).astimezone(UTC),
            day=date.fromisoformat(call.day), agreement_id=UUID(call.agreement_id),
            agreement_hash=_text(call.agreement_hash), resource_id=_text(call.resource_id),
            client_id=UUID(call.client_id), agency_id=UUID(call.agency_id), grant_id=UUID(call.grant_id),
            purpose=_text(call.purpose), method=_text(call.method), items=[_text(code) for code in call.items],
            rows_reserved=call.rows_reserved, result=outcome.result, status=outcome.status,
            problem=outcome.problem and _text(outcome.problem), rows=outcome.rows, bytes=outcome.bytes,
            sha256=outcome.sha256 and _text(outcome.sha256), duration_ms=outcome.duration_ms,
        )  # fmt: skip
        numbers = (row.rows_reserved, row.rows, row.bytes, row.duration_ms)
        if not 0 <= row.status < 1000 or not all(0 <= number < EXACT_INTEGER for number in numbers):
            raise ValueError(call.id)
    except ValueError:
        message = Text("不是可读的回执", "not a receipt that can be read")
        raise Invalid(faults=[Fault(f"/receipts/{position}", message)]) from None
    return row


def _text(value: str) -> str:
    """The text as PostgreSQL can hold it: a caller may have written NUL into an address."""
    return value.replace("\x00", "\ufffd")


def _columns(row: ReceiptRow) -> dict[str, Any]:
    return {column.key: getattr(row, column.key) for column in ReceiptRow.__table__.columns}


def ledgered_contents(session: Session) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The id of every receipt with the content that its ledger entry attests."""
    query = select(ReceiptRow).order_by(ReceiptRow.id)
    for row in session.scalars(query.execution_options(yield_per=2000)):
        yield str(row.id), row.content()


def find_receipt(session: Session, receipt_id: UUID, /, *, by: Actor) -> ReceiptRow:
    """The receipt, if the actor may know of its agreement. Errors: NotFound."""
    query = select(ReceiptRow).join(Agreement, Agreement.id == ReceiptRow.agreement_id)
    receipt = session.scalar(query.where(ReceiptRow.id == receipt_id, visible_to(by, Agreement)))
    if receipt is None:
        raise NotFound()
    return receipt


def list_receipts(
    session: Session,
    agreement: Agreement,
    *,
    result: str | None = None,
    before: UUID | None = None,
    limit: int = 50,
) -> list[ReceiptRow]:
    """The receipts of an agreement, newest first; `before` is the last id of the page before."""
    query = select(ReceiptRow).where(ReceiptRow.agreement_id == agreement.id)
    if result is not None:
        query = query.where(ReceiptRow.result == result)
    if before is not None:
        query = query.where(ReceiptRow.id < before)
    return list(session.scalars(query.order_by(ReceiptRow.id.desc()).limit(limit)))


@dataclass(frozen=True, slots=True)
class Use:
    """Calls that were admitted, however they ended, and what left with them; `refused` ones got nothing."""

    calls: int = 0
    rows: int = 0
    bytes: int = 0
    refused: int = 0

    def __add__(self, other: Use) -> Use:
        return Use(
            self.calls + other.calls, self.rows + other.rows,
            self.bytes + other.bytes, self.refused + other.refused,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class UseOfAgreement:
    """How an agreement has been used, as far as its receipts have reached the centre."""

    total: Use
    day: date
    today: Use
    by_purpose: dict[str, Use]
    last_at: datetime | None


def use_of(session: Session, agreement: Agreement) -> UseOfAgreement:
    """Count the receipts of an agreement; calls as its quota counts them."""
    today = legal_date(now())
    admitted = ReceiptRow.result != "refused"
    query = (
        select(
            ReceiptRow.purpose,
            (ReceiptRow.day == today).label("is_today"),
            func.count().filter(admitted),
            func.coalesce(func.sum(ReceiptRow.rows), 0),
            func.coalesce(func.sum(ReceiptRow.bytes), 0),
            func.count().filter(~admitted),
            func.max(ReceiptRow.at).filter(admitted),
        )
        .where(ReceiptRow.agreement_id == agreement.id)
        .group_by(ReceiptRow.purpose, "is_today")
    )
    total, by_day, by_purpose, last_at = Use(), Use(), dict[str, Use](), None
    agreed = {purpose.code for purpose in agreement.typed.purposes}
    for purpose, is_today, calls, rows, size, refused, at in session.execute(query):
        use = Use(calls, int(rows), int(size), refused)
        total += use
        by_day = by_day + use if is_today else by_day
        if purpose in agreed:  # of a refused call it is whatever the caller wrote
            by_purpose[purpose] = by_purpose.get(purpose, Use()) + use
        last_at = max(filter(None, (last_at, at)), default=None)
    return UseOfAgreement(total, today, by_day, by_purpose, last_at)
