"""Figures of sharing in a period: requests and replies against the law, refusals, disputes, deliveries, who shares
with whom. Counts what the reader may know of, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, func, or_, select
from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.kernel.calendar import BEIJING
from app.kernel.deadlines import DeadlineRow
from exchange.agreements.models import Agreement
from exchange.agreements.states import LIVE
from exchange.delivery.models import ReceiptRow
from exchange.disputes.models import Dispute
from exchange.negotiations.models import Negotiation
from exchange.parties import visible_to

PAIRS_LIMIT = 500


@dataclass(frozen=True, slots=True)
class Month:
    """What happened in one month, by the first day of it."""

    month: date
    requests: int = 0
    agreements: int = 0
    refusals: int = 0
    disputes: int = 0
    calls: int = 0
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Kept:
    """How a statutory duty was kept in the period: ended in time, missed, running, running and past its end."""

    duty: str
    legal_basis: str | None
    met: int
    missed: int
    running: int
    overdue: int


@dataclass(frozen=True, slots=True)
class Pair:
    """How many live agreements one agency supplies another under."""

    provider_id: UUID
    requester_id: UUID
    agreements: int


def months(session: Session, *, by: Actor, since: date, until: date) -> list[Month]:
    """One row for each month of the period, also where nothing happened."""
    counted: dict[str, Mapping[date, Sequence[int]]] = {
        "requests": _monthly(session, Negotiation.created_at, visible_to(by, Negotiation), since, until),
        "refusals": _monthly(
            session, Negotiation.updated_at,
            and_(visible_to(by, Negotiation), Negotiation.termination_reason == "refused"), since, until,
        ),
        "agreements": _monthly(session, Agreement.in_force_at, visible_to(by, Agreement), since, until),
        "disputes": _monthly(session, Dispute.created_at, visible_to(by, Dispute), since, until),
    }  # fmt: skip
    known = select(Agreement.id).where(visible_to(by, Agreement))
    delivered = and_(ReceiptRow.agreement_id.in_(known), ReceiptRow.result == "delivered")
    calls = _monthly(
        session, ReceiptRow.at, delivered, since, until, func.coalesce(func.sum(ReceiptRow.rows), 0)
    )
    return [
        Month(
            month, **{name: (rows.get(month) or (0,))[0] for name, rows in counted.items()},
            calls=(calls.get(month) or (0, 0))[0], rows=int((calls.get(month) or (0, 0))[1]),
        )
        for month in _each_month(since, until)
    ]  # fmt: skip


def _monthly(
    session: Session, at: Any, which: ColumnElement[bool], since: date, until: date, *more: Any
) -> dict[date, tuple[int, ...]]:
    month = func.date_trunc("month", func.timezone("Asia/Shanghai", at))
    query = select(month, func.count(), *more).where(which, *_within(at, since, until)).group_by(month)
    return {row[0].date(): tuple(row[1:]) for row in session.execute(query)}


def _within(at: Any, since: date, until: date) -> tuple[ColumnElement[bool], ...]:
    start = datetime.combine(since, time.min, BEIJING)
    return at >= start, at < datetime.combine(until + timedelta(days=1), time.min, BEIJING)


def _each_month(since: date, until: date) -> list[date]:
    found, month = [], since.replace(day=1)
    while month <= until:
        found.append(month)
        month = (month + timedelta(days=32)).replace(day=1)
    return found


def duties(session: Session, *, by: Actor, since: date, until: date, now: datetime) -> list[Kept]:
    """How each duty of sharing was kept; of clocks that ended in the period, and of those that run."""
    ended, run = DeadlineRow.ended_at.is_not(None), DeadlineRow.ended_at.is_(None)
    in_period = and_(ended, *_within(DeadlineRow.ended_at, since, until))
    past = and_(run, DeadlineRow.paused_at.is_(None), DeadlineRow.due_at <= now)
    query = (
        select(
            DeadlineRow.duty,
            func.max(DeadlineRow.legal_basis),
            func.count().filter(in_period, DeadlineRow.outcome == "met"),
            func.count().filter(in_period, DeadlineRow.outcome == "fired"),
            func.count().filter(run),
            func.count().filter(past),
        )
        .where(or_(*(_of(kind, model, by) for kind, model in _KINDS)), or_(run, in_period))
        .group_by(DeadlineRow.duty)
        .order_by(DeadlineRow.duty)
    )
    return [Kept(*row) for row in session.execute(query)]


_KINDS: tuple[tuple[str, Any], ...] = (
    ("negotiation", Negotiation),
    ("agreement", Agreement),
    ("dispute", Dispute),
)


def _of(kind: str, model: Any, by: Actor) -> ColumnElement[bool]:
    known: Select[Any] = select(model.id).where(visible_to(by, model))
    return and_(DeadlineRow.kind == kind, DeadlineRow.subject_id.in_(known))


def refusals(session: Session, *, by: Actor, since: date, until: date) -> dict[str, int]:
    """How often each ground of refusal was given, the most frequent first."""
    given = (
        select(Negotiation.refusal_ground, func.count())
        .where(
            visible_to(by, Negotiation), Negotiation.refusal_ground.is_not(None),
            *_within(Negotiation.updated_at, since, until),
        )
        .group_by(Negotiation.refusal_ground)
        .order_by(func.count().desc())
    )  # fmt: skip
    return {ground: count for ground, count in session.execute(given) if ground is not None}


def pairs(session: Session, *, by: Actor) -> list[Pair]:
    """Who supplies whom now, by the number of live agreements."""
    query = (
        select(Agreement.provider_id, Agreement.requester_id, func.count())
        .where(visible_to(by, Agreement), Agreement.state.in_(LIVE))
        .group_by(Agreement.provider_id, Agreement.requester_id)
        .order_by(func.count().desc(), Agreement.provider_id, Agreement.requester_id)
        .limit(PAIRS_LIMIT)
    )
    return [Pair(*row) for row in session.execute(query)]
