"""REST of calendars (工作日历): which years are published, and the import of a year's arrangement."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated
from uuid import UUID, uuid5

from fastapi import APIRouter, Path
from pydantic import Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.identity import agencies
from app.identity.models import CalendarYear
from app.identity.permissions import permit, permitted
from app.identity.profiles import import_calendar
from app.kernel import history
from app.kernel.actor import Actor, Role
from app.kernel.db import DbSession
from app.kernel.errors import Fault, Invalid, NotPermitted
from app.kernel.text import Text
from app.kernel.wire import Wire

router = APIRouter(prefix="/api/v1/calendars", tags=["calendars"])

permit("calendar.list")
permit("calendar.import", roles=(Role.SYSTEM_ADMINISTRATOR,), authority=True)

_CALENDARS = UUID("6f3b8a52-2c0e-5d0b-9a51-0f3d7d6c1c11")  # with a calendar's name: where its history is kept
Days = Annotated[list[date], Field(max_length=366)]


class Arrangement(Wire):
    """A year as published: weekdays that are off, days of rest that are worked (调休)."""

    off: Days
    work: Days


class PublishedYear(Arrangement):
    calendar: str
    year: int
    imported_at: datetime


class Imported(Wire):
    """How many running clocks end on another day now."""

    moved: int


def publish_year(session: Session, name: str, year: int, arrangement: Arrangement, *, by: Actor) -> int:
    """Store the year, count the clocks that leaned on it again, and write both down; returns how many moved.
    Errors: Invalid for days of another year, or both off and worked."""
    faults = [
        Fault(f"/{member}/{n}", Text("不是该年的日期", "not a day of that year"))
        for member, days in (("off", arrangement.off), ("work", arrangement.work))
        for n, day in enumerate(days)
        if day.year != year
    ]
    if both := sorted(set(arrangement.off) & set(arrangement.work)):
        faults.append(
            Fault("/work", Text("{day} 既放假又上班", "{day} is both off and worked").with_(day=both[0]))
        )
    if faults:
        raise Invalid(faults=faults)
    days: Mapping[date, bool] = dict.fromkeys(arrangement.off, False) | dict.fromkeys(arrangement.work, True)
    moved = import_calendar(session, name, year, days)
    data = {"calendar": name, "year": year, "moved": moved, **arrangement.model_dump(mode="json")}
    history.record(
        session, kind="calendar", subject_id=uuid5(_CALENDARS, name), act="import", by=by, data=data
    )
    return moved


@router.get("", operation_id="calendar.list")
def list_calendars(
    session: DbSession, _actor: Annotated[Actor, permitted("calendar.list")]
) -> list[PublishedYear]:
    """Every published year; a deadline that leans on any other is provisional."""
    rows = session.scalars(select(CalendarYear).order_by(CalendarYear.calendar, CalendarYear.year))
    return [
        PublishedYear(
            calendar=row.calendar, year=row.year, imported_at=row.imported_at,
            off=[date.fromisoformat(day) for day, worked in sorted(row.days.items()) if not worked],
            work=[date.fromisoformat(day) for day, worked in sorted(row.days.items()) if worked],
        )
        for row in rows
    ]  # fmt: skip


@router.put("/{name}/{year}", operation_id="calendar.import")
def put_year(
    name: Annotated[str, Path(pattern=r"^[a-z0-9-]{1,40}$")],
    year: Annotated[int, Path(ge=2000, le=2200)],
    body: Arrangement,
    session: DbSession,
    actor: Annotated[Actor, permitted("calendar.import")],
) -> Imported:
    """Import a year's arrangement as published, for the topmost authority: every clock below counts by it. The same
    again changes nothing. Provisional deadlines are counted again, and each case whose deadline moves says so in
    its history. Errors: NotPermitted."""
    assert actor.agency_id is not None
    if agencies.authority_above(session, agencies.agency(session, actor.agency_id)) is not None:
        raise NotPermitted(
            Text("工作日历由最上级主管部门导入。", "Calendars are imported by the topmost authority.")
        )
    return Imported(moved=publish_year(session, name, year, body, by=actor))
