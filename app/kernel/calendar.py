"""Working days (工作日): counting them by an imported calendar, saying when the calendar runs out.

Pure. Owns the arithmetic of Civil Code art. 201 and 203; which calendar applies is `app.identity.profiles`'.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone

BEIJING = timezone(timedelta(hours=8), "CST")
"""Legal time of the whole jurisdiction: China has one time zone without summer time."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """A computed due date. Provisional when it leans on a year whose calendar is not published yet."""

    on: date
    provisional: bool

    @property
    def at(self) -> datetime:
        """The last moment of the due date, in UTC (Civil Code art. 203: the day ends at 24:00)."""
        return datetime.combine(self.on + timedelta(days=1), time(), BEIJING).astimezone(UTC)


@dataclass(frozen=True, slots=True)
class Calendar:
    """Days that differ from Monday-to-Friday: `days[date]` is True for a make-up working day (调休),
    False for a holiday. `years` are those whose arrangement has been published and imported."""

    days: Mapping[date, bool]
    years: frozenset[int]
    name: str = ""

    def is_working_day(self, day: date) -> bool:
        return self.days.get(day, day.weekday() < 5)

    def after(self, start: date, working_days: int) -> Deadline:
        """The day `working_days` working days after `start`; the starting day does not count (art. 201).

        The result is always a working day, so an end on a holiday has rolled forward (art. 203).
        """
        if working_days < 0:
            raise ValueError("a deadline cannot lie before its start")
        day, left = start, working_days
        while left > 0 or not self.is_working_day(day):
            day += timedelta(days=1)
            if self.is_working_day(day):
                left -= 1
        return Deadline(day, not {*range(start.year, day.year + 1)} <= self.years)

    def between(self, start: date, end: date) -> int:
        """Working days after `start` up to and including `end`; 0 where end is not later."""
        span = (end - start).days
        return sum(self.is_working_day(start + timedelta(days=n)) for n in range(1, span + 1))


def years_after(day: date, years: int) -> date:
    """The same day so many years later; 28 February where that year has no 29th."""
    try:
        return day.replace(year=day.year + years)
    except ValueError:
        return day.replace(year=day.year + years, day=28)


def legal_date(moment: datetime) -> date:
    """The calendar date of an aware moment where the law counts days."""
    return moment.astimezone(BEIJING).date()
