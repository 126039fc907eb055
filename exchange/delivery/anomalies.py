"""Anomalies (异常用量): use that is allowed and yet unlike what was before, told to both sides of an agreement.

Owns what is unusual and that it is told once a day. Refuses and stops nothing: that is for people to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.kernel import history
from app.kernel.actor import system_actor
from app.kernel.calendar import legal_date
from app.kernel.clock import now
from app.kernel.history import Event
from exchange.agreements.states import AGREEMENT, DORMANT_USE, PROBING, SCANNING, SUDDEN_BULK
from exchange.delivery.models import ReceiptRow

LOOK_BACK = timedelta(hours=1)
DORMANT_AFTER = timedelta(days=60)
COMPARED_DAYS = 30
LEAST_DAYS = 3  # of use, before a day can be called unusual
TIMES_USUAL = 10
LEAST_ROWS = 1000
REFUSED_IN_AN_HOUR = 20
FULL_IN_AN_HOUR = 50


@dataclass(frozen=True, slots=True)
class Pattern:
    """How one agreement was used: in the last hour, today, and before."""

    last_before: datetime | None  # the last use before the hour
    first_in_hour: datetime
    rows_today: int
    rows_a_day: float  # on days of use within the last month
    days_of_use: int
    refused: int  # in the hour
    full: int  # calls in the hour that took as many records as they could


def marks_of(pattern: Pattern) -> list[str]:
    """What is unusual about it."""
    idle = pattern.last_before is not None and pattern.first_in_hour - pattern.last_before > DORMANT_AFTER
    usual = max(LEAST_ROWS, TIMES_USUAL * pattern.rows_a_day)
    bulk = pattern.days_of_use >= LEAST_DAYS and pattern.rows_today > usual
    found = {
        DORMANT_USE: idle, SUDDEN_BULK: bulk, PROBING: pattern.refused >= REFUSED_IN_AN_HOUR,
        SCANNING: pattern.full >= FULL_IN_AN_HOUR,
    }  # fmt: skip
    return [mark for mark, holds in found.items() if holds]


def mark_anomalies(session: Session) -> int:
    """Look at every agreement used within the hour, note what is unusual; returns how many marks are new today."""
    since, today = now() - LOOK_BACK, legal_date(now())
    recent_days = ReceiptRow.day >= today - timedelta(days=1)  # of any time zone: the index is by day
    used = session.scalars(
        select(ReceiptRow.agreement_id).where(recent_days, ReceiptRow.at >= since).distinct()
    )
    marked = 0
    for agreement_id in sorted(used):
        pattern = _pattern(session, agreement_id, since)
        for mark in marks_of(pattern):
            known = select(Event.data).where(
                Event.kind == AGREEMENT.kind, Event.subject_id == agreement_id, Event.act == mark
            )
            if any(data.get("day") == today.isoformat() for data in session.scalars(known)):
                continue
            data = {
                "day": today.isoformat(), "rows_today": pattern.rows_today, "rows_a_day": round(pattern.rows_a_day),
                "refused": pattern.refused, "full": pattern.full,
            }  # fmt: skip
            history.record(
                session, kind=AGREEMENT.kind, subject_id=agreement_id, act=mark, by=system_actor("gateways"),
                basis="809-25", data=data,
            )  # fmt: skip
            marked += 1
    return marked


def _pattern(session: Session, agreement_id: UUID, since: datetime) -> Pattern:
    today = legal_date(now())
    row, recent = ReceiptRow, ReceiptRow.at >= since
    admitted = row.result != "refused"
    before = (row.day < today) & (row.day >= today - timedelta(days=COMPARED_DAYS)) & admitted
    # Bounded by days, so that an agreement's whole past is not read again and again; all that may lie further
    # back is its last use.
    known = row.day >= today - max(DORMANT_AFTER, timedelta(days=COMPARED_DAYS)) - timedelta(days=2)
    older = select(row.at).where(row.agreement_id == agreement_id, ~known).order_by(row.day.desc()).limit(1)
    query = select(
        func.coalesce(func.max(row.at).filter(~recent), older.scalar_subquery()),
        func.min(row.at).filter(recent),
        func.coalesce(func.sum(row.rows).filter(row.day == today), 0),
        func.coalesce(func.sum(row.rows).filter(before), 0),
        func.count(row.day.distinct()).filter(before),
        func.count().filter(recent & ~admitted),
        func.count().filter(recent & (row.rows > 0) & (row.rows == row.rows_reserved)),
    ).where(row.agreement_id == agreement_id, known)
    last, first, rows_today, rows_before, days, refused, full = session.execute(query).one()
    return Pattern(last, first, int(rows_today), int(rows_before) / max(1, days), days, refused, full)
