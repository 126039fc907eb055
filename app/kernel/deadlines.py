"""Clocks of the law (期限): due dates that start, pause, are met, or fire their consequence once.

Owns the `deadline` table, whose `due_at` is the truth; jobs only wake the sweep. How long a duty takes
is the rule profile's, what follows when it is missed the feature's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Index, select, text, update
from sqlalchemy.orm import Mapped, Session

from app.kernel import history, jobs
from app.kernel.actor import system_actor
from app.kernel.calendar import Calendar, legal_date
from app.kernel.clock import new_id, now
from app.kernel.db import Base, Identified
from app.kernel.text import Text

log = logging.getLogger(__name__)

WAKE = "deadlines.sweep"
SWEEP_BATCH = 200
REMIND, RECOUNT = "remind_deadline", "recount_deadline"
# What the history of any case tells of its clocks.
NOTES = {
    REMIND: Text("期限将至", "the time runs out soon"),
    RECOUNT: Text("按新公布的工作日历重新计算期限", "counted again by the calendar published since"),
}
_CLOCK = system_actor("clock")


class DeadlineRow(Base, Identified):
    """One running, met, cancelled or fired clock of one entity."""

    __tablename__ = "deadline"

    kind: Mapped[str]  # of the entity, as in its machine
    subject_id: Mapped[UUID]
    duty: Mapped[str]  # key in the rule profile
    legal_basis: Mapped[str | None]
    started_at: Mapped[datetime]
    due_on: Mapped[date]
    due_at: Mapped[datetime]
    working_days: Mapped[int]
    provisional: Mapped[bool]  # leans on a year whose calendar is not published
    paused_at: Mapped[datetime | None]
    left_on_pause: Mapped[int | None]  # working days left when it was paused
    ended_at: Mapped[datetime | None]
    outcome: Mapped[str | None]  # met | cancelled | fired
    remind_at: Mapped[datetime | None]  # None once reminded
    calendar: Mapped[str]
    counted_from: Mapped[date]  # `due_on` is so many working days after this day
    counted_days: Mapped[int]

    __table_args__ = (
        Index("ix_deadline_due", "due_at", postgresql_where=text("ended_at IS NULL AND paused_at IS NULL")),
        Index(
            "ix_deadline_remind", "remind_at",
            postgresql_where=text("remind_at IS NOT NULL AND ended_at IS NULL AND paused_at IS NULL"),
        ),
        # One running clock of a duty for one entity: what is started twice is a programming error.
        Index(
            "uq_deadline_running", "kind", "subject_id", "duty",
            unique=True, postgresql_where=text("ended_at IS NULL"),
        ),
    )  # fmt: skip


Consequence = Callable[[Session, DeadlineRow], None]
"""What follows when a duty is missed; runs once, in the sweep's transaction."""


def start(
    session: Session,
    *,
    kind: str,
    subject_id: UUID,
    duty: str,
    working_days: int,
    calendar: Calendar,
    legal_basis: str | None,
    remind: int = 0,
    instead: bool = False,
) -> None:
    """Start a clock of `working_days` from today (the starting day does not count, Civil Code art. 201).
    `remind`: so many working days before its end it is told that it runs out. `instead`: the entity's other
    running clocks are met with it."""
    moment = now()
    remind_at = None
    if 0 < remind < working_days:
        remind_at = calendar.after(legal_date(moment), working_days - remind).at
    due = calendar.after(legal_date(moment), working_days)
    session.connection().execute(
        _START_INSTEAD if instead else _START,
        {
            "id": new_id(), "kind": kind, "subject_id": subject_id, "duty": duty, "legal_basis": legal_basis,
            "now": moment, "due_on": due.on, "due_at": due.at, "working_days": working_days,
            "provisional": due.provisional, "remind_at": remind_at, "calendar": calendar.name,
            "counted_from": legal_date(moment), **_waking(due.at),
        },
    )  # fmt: skip


_INSERT = f"""
    started AS (
        INSERT INTO deadline (id, created_at, kind, subject_id, duty, legal_basis, started_at, due_on, due_at,
            working_days, provisional, remind_at, calendar, counted_from, counted_days)
        SELECT CAST(:id AS uuid), CAST(:now AS timestamptz), :kind, CAST(:subject_id AS uuid), :duty,
            CAST(:legal_basis AS varchar), CAST(:now AS timestamptz), CAST(:due_on AS date),
            CAST(:due_at AS timestamptz), CAST(:working_days AS integer), CAST(:provisional AS boolean),
            CAST(:remind_at AS timestamptz), :calendar, CAST(:counted_from AS date), CAST(:working_days AS integer)
            {{after}}
    ) {jobs.DEFER}"""
_START = text("WITH" + _INSERT.format(after=""))
# The count makes the new clock wait until the others have ended: of one duty only one may run.
_START_INSTEAD = text(
    """WITH ended AS (
        UPDATE deadline SET ended_at = :now, outcome = 'met'
        WHERE kind = :kind AND subject_id = :subject_id AND ended_at IS NULL RETURNING id
    ),"""
    + _INSERT.format(after="FROM (SELECT count(*) FROM ended) AS before")
)


def _waking(due_at: datetime) -> dict[str, Any]:
    """One job for all clocks that end at the same moment: most end with the same working day."""
    return jobs.deferred(WAKE, at=due_at, once=f"{WAKE} {due_at.isoformat()}")


def running(session: Session, kind: str, subject_id: UUID, duty: str | None = None) -> list[DeadlineRow]:
    """The clocks of an entity that have not ended, earliest first."""
    query = select(DeadlineRow).where(
        DeadlineRow.kind == kind, DeadlineRow.subject_id == subject_id, DeadlineRow.ended_at.is_(None)
    )
    if duty is not None:
        query = query.where(DeadlineRow.duty == duty)
    return list(session.scalars(query.order_by(DeadlineRow.due_at)))


def end(session: Session, kind: str, subject_id: UUID, *, outcome: str, duty: str | None = None) -> None:
    """End the entity's running clocks (of one duty, or all) as "met" or "cancelled"."""
    ending = update(DeadlineRow).where(
        DeadlineRow.kind == kind, DeadlineRow.subject_id == subject_id, DeadlineRow.ended_at.is_(None)
    )
    if duty is not None:
        ending = ending.where(DeadlineRow.duty == duty)
    session.execute(
        ending.values(ended_at=now(), outcome=outcome), execution_options={"synchronize_session": "evaluate"}
    )


def pause(session: Session, kind: str, subject_id: UUID, duty: str, calendar: Calendar) -> None:
    """Stop a clock while the other side has to do something; the working days left are kept."""
    for row in running(session, kind, subject_id, duty):
        if row.paused_at is None:
            row.paused_at = now()
            row.left_on_pause = calendar.between(legal_date(row.paused_at), row.due_on)


def resume(session: Session, kind: str, subject_id: UUID, duty: str, calendar: Calendar) -> None:
    """Let a paused clock run on with the working days it had left (at least one)."""
    for row in running(session, kind, subject_id, duty):
        if row.paused_at is not None:
            row.counted_from, row.counted_days = legal_date(now()), max(1, row.left_on_pause or 0)
            row.paused_at = row.left_on_pause = None
            _count(session, row, calendar)


def extend(session: Session, row: DeadlineRow, working_days: int, calendar: Calendar) -> None:
    """Move a running clock's end by `working_days` counted from its present end."""
    row.working_days += working_days
    row.counted_days += working_days
    _count(session, row, calendar)


def recount(session: Session, calendar: Calendar) -> int:
    """Compute every running clock that is provisional under this calendar again, now that more of it is known;
    tell the history of each case whose date moves. Returns how many moved. A paused one is counted when it
    runs on."""
    leaning = select(DeadlineRow).where(
        DeadlineRow.provisional, DeadlineRow.calendar == calendar.name, DeadlineRow.ended_at.is_(None),
        DeadlineRow.paused_at.is_(None),
    )  # fmt: skip
    moved = 0
    for row in session.scalars(leaning.order_by(DeadlineRow.id).with_for_update()).all():
        before = row.due_on
        _count(session, row, calendar)
        if row.due_on != before:
            moved += 1
            data = {"duty": row.duty, "from": before.isoformat(), "to": row.due_on.isoformat()}
            history.record(
                session, kind=row.kind, subject_id=row.subject_id, act=RECOUNT, by=_CLOCK, basis=row.legal_basis,
                data=data,
            )  # fmt: skip
    return moved


def _count(session: Session, row: DeadlineRow, calendar: Calendar) -> None:
    due = calendar.after(row.counted_from, row.counted_days)
    if row.remind_at is not None:
        row.remind_at += due.at - row.due_at
    row.due_on, row.due_at, row.provisional = due.on, due.at, due.provisional
    session.execute(text(jobs.DEFER), _waking(row.due_at))


def _remind(session: Session) -> None:
    """Tell the history of each case, once, that a clock of it runs out soon."""
    near = select(DeadlineRow).where(
        DeadlineRow.ended_at.is_(None), DeadlineRow.paused_at.is_(None), DeadlineRow.remind_at <= now(),
        DeadlineRow.due_at > now(),
    )  # fmt: skip
    for row in session.scalars(near.limit(SWEEP_BATCH).with_for_update(skip_locked=True)).all():
        data = {"duty": row.duty, "due_on": row.due_on.isoformat()}
        history.record(
            session,
            kind=row.kind,
            subject_id=row.subject_id,
            act=REMIND,
            by=_CLOCK,
            data=data,
            ledgered=False,
        )
        row.remind_at = None


def sweep(session: Session, consequences: Mapping[str, Consequence]) -> int:
    """Fire every clock that is due, each once, and remind of those that run out soon; returns how many were
    fired. Safe to run in several workers at once.

    A consequence that fails is logged and tried again at the next sweep; the others are not lost.
    """
    _remind(session)
    due = select(DeadlineRow).where(
        DeadlineRow.ended_at.is_(None), DeadlineRow.paused_at.is_(None), DeadlineRow.due_at <= now()
    )
    rows = session.scalars(
        due.order_by(DeadlineRow.due_at).limit(SWEEP_BATCH).with_for_update(skip_locked=True)
    ).all()
    fired = 0
    for row in rows:
        try:
            with session.begin_nested():
                row.ended_at, row.outcome = now(), "fired"
                session.flush()
                consequences[row.duty](session, row)
                fired += 1
        except Exception:
            log.exception("consequence of %s for %s %s failed", row.duty, row.kind, row.subject_id)
    return fired
