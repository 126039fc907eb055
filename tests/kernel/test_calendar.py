"""Counting of working days: the golden cases of the default profile on the shipped calendar."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from importlib.resources import files

import pytest

from app.kernel.calendar import Calendar


def shipped() -> Calendar:
    raw = json.loads((files("app.identity") / "data" / "calendar-cn.json").read_text("utf-8"))
    days = {date.fromisoformat(d): False for lists in raw["years"].values() for d in lists["off"]}
    days |= {date.fromisoformat(d): True for lists in raw["years"].values() for d in lists["work"]}
    return Calendar(days, frozenset(int(year) for year in raw["years"]))


@pytest.mark.parametrize(
    ("start", "working_days", "due"),
    [
        ("2026-09-18", 10, "2026-10-09"),
        ("2026-09-18", 1, "2026-09-20"),  # a Sunday, worked to make up
        ("2026-09-30", 20, "2026-11-03"),
        ("2026-04-30", 2, "2026-05-07"),
    ],
)
def test_golden_cases(start: str, working_days: int, due: str) -> None:
    deadline = shipped().after(date.fromisoformat(start), working_days)
    assert (deadline.on.isoformat(), deadline.provisional) == (due, False)


def test_a_deadline_in_a_year_without_calendar_is_provisional() -> None:
    assert shipped().after(date(2026, 12, 30), 10).provisional
    assert not shipped().after(date(2026, 12, 1), 10).provisional


def test_the_due_day_ends_at_midnight_in_beijing() -> None:
    assert shipped().after(date(2026, 9, 18), 1).at == datetime(2026, 9, 20, 16, tzinfo=UTC)


def test_days_between_are_counted_as_after_counts_them() -> None:
    calendar = shipped()
    start = date(2026, 9, 1)
    for count in range(1, 60):
        assert calendar.between(start, calendar.after(start, count).on) == count
