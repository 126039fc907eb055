"""Due dates as a reader is told them: the day, the working days left, the duty and its article."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Protocol
from uuid import UUID

from app.console.view import View
from app.identity.profiles import profile_for
from app.kernel.calendar import Calendar, legal_date
from app.kernel.clock import now
from app.kernel.deadlines import DeadlineRow
from app.kernel.wire import Label
from exchange.parties import calendar_for


@dataclass(frozen=True, slots=True)
class Due:
    """When it has to be done; `days_left` are working days, negative where it is overdue."""

    on: date
    days_left: int
    paused: bool

    @property
    def overdue(self) -> bool:
        return self.days_left < 0


@dataclass(frozen=True, slots=True)
class Clock:
    """A running clock of a case."""

    duty: Label
    due: Due
    legal_basis: str | None
    provisional: bool


class Running(Protocol):
    """A clock as the representations of cases carry it."""

    @property
    def duty(self) -> str: ...
    @property
    def due_on(self) -> date: ...
    @property
    def legal_basis(self) -> str | None: ...
    @property
    def provisional(self) -> bool: ...


def clocks_of(view: View, running: Iterable[Running]) -> list[Clock]:
    """The clocks of a case, named as the reader's rule profile names them."""
    if view.actor.agency_id is None or view.actor.jurisdiction_id is None:
        return []
    calendar = calendar_for(view.session, view.actor.agency_id)
    duties = profile_for(view.session, view.actor.jurisdiction_id).duties
    return [
        Clock(
            duties[row.duty].label if row.duty in duties else Label(zh=row.duty, en=row.duty),
            due(row.due_on, getattr(row, "paused", False), calendar), row.legal_basis, row.provisional,
        )
        for row in running
    ]  # fmt: skip


def due_at(view: View, running: Mapping[UUID, DeadlineRow | None]) -> dict[UUID, Due]:
    """The due date of each case that has a clock, counted in the reader's own working days."""
    dated = {case_id: row for case_id, row in running.items() if row is not None}
    if not dated or view.actor.agency_id is None:
        return {}
    calendar = calendar_for(view.session, view.actor.agency_id)
    return {case_id: due(row.due_on, row.paused_at is not None, calendar) for case_id, row in dated.items()}


def due(on: date, paused: bool, calendar: Calendar) -> Due:
    """A due date as of today."""
    today = legal_date(now())
    left = calendar.between(today, on) if on >= today else -max(1, calendar.between(on, today))
    return Due(on, left, paused)
