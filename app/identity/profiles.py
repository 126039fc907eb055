"""Rule profiles (规则方案) and calendars: which duty takes how long, on what basis, from when, where.

Owns the typed profile, its look-up along the jurisdiction tree and the import of a year's calendar.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from typing import Literal
from uuid import UUID

from pydantic import Field
from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.identity.models import CalendarYear, Jurisdiction, RuleProfileRow
from app.kernel import deadlines
from app.kernel.actor import Role
from app.kernel.calendar import Calendar, legal_date
from app.kernel.clock import new_id, now
from app.kernel.errors import Unavailable
from app.kernel.text import Text
from app.kernel.wire import Label, Wire


class Duty(Wire):
    """One statutory duty: how many working days it takes and the article that says so (None: no article,
    a default of the profile). `extension` is the most it can be extended by."""

    working_days: int = Field(ge=0, le=1000)
    extension: int = Field(default=0, ge=0, le=1000)
    remind: int = Field(default=2, ge=0, le=1000)  # working days before its end; none where that is its start
    basis: str | None
    label: Label


class Options(Wire):
    """Consequences a profile chooses where the law leaves a choice."""

    deemed_consent_unconditional: bool  # silence on an unconditional resource agrees (809-21)
    stalemate_rounds: int = Field(ge=1, le=100)  # rounds after which a dispute may be opened
    material_clock: Literal["pause", "restart"] = (
        "pause"  # while missing material is awaited (809-21 is silent)
    )
    record_years: int = Field(ge=1, le=100)  # how long use records are kept (809-29)
    plan_years: int = Field(
        default=3, ge=1, le=100
    )  # how long a collection plan's control number is good for
    renewal_reminder_days: int = Field(default=30, ge=0, le=1000)  # before the last day of an agreement


class Security(Wire):
    """How people prove who they are (GB/T 22239 level 3). People in `second_factor_roles` need a second one."""

    lock_after: int = Field(default=5, ge=1, le=100)  # failures
    lock_minutes: int = Field(default=30, ge=1, le=1440)
    password_length: int = Field(default=8, ge=8, le=64)
    password_kinds: int = Field(default=3, ge=1, le=4)  # of capitals, small letters, digits, signs
    password_days: int = Field(default=90, ge=1, le=3650)
    idle_minutes: int = Field(default=30, ge=1, le=480)
    session_hours: int = Field(default=8, ge=1, le=24)
    second_factor_roles: tuple[Role, ...] = ()
    two_person_roles: tuple[Role, ...] = ()  # granted by one administrator, confirmed by another


class RuleProfile(Wire):
    """The rules of one jurisdiction from `effective_from` on."""

    name: str
    calendar: str
    effective_from: date
    duties: dict[str, Duty]
    options: Options
    security: Security = Security()


@dataclass(frozen=True, slots=True)
class Rules:
    """The profile in force in a jurisdiction, and the calendar it counts by, as imported so far."""

    profile: RuleProfile
    calendar: Calendar


def rules_for(session: Session, of: UUID) -> Rules:
    """The rules in force today in a jurisdiction, or in that of an agency: its own, or of the nearest one above
    it that has its own.

    Read ones are kept by the digest of what was read, so that a new profile or an imported year counts at
    once, in every process. Errors: Unavailable before the first profile is installed.
    """
    row = session.connection().execute(_IN_FORCE, {"of": of, "today": legal_date(now())}).first()
    if row is None:
        raise Unavailable(Text("尚未安装规则方案。", "No rule profile is installed."))
    digest: str = row.digest
    if digest not in _read:
        if len(_read) >= _KEPT:
            _read.clear()
        stored = session.scalars(select(RuleProfileRow.profile).where(RuleProfileRow.id == row.id)).one()
        profile = RuleProfile.model_validate(stored)
        _read[digest] = Rules(profile, calendar_named(session, profile.calendar))
    return _read[digest]


_KEPT = 64
_read: dict[str, Rules] = {}
_IN_FORCE = text(
    """
    SELECT p.id, md5(p.profile::text || coalesce((
        SELECT string_agg(year || days::text, '' ORDER BY year) FROM calendar_year
        WHERE calendar = p.profile ->> 'calendar'), '')) AS digest
    FROM rule_profile p LEFT JOIN jurisdiction j
        ON j.id = coalesce((SELECT jurisdiction_id FROM agency WHERE id = :of), :of)
    WHERE p.effective_from <= :today AND (p.jurisdiction_id IS NULL OR p.jurisdiction_id = ANY (j.path))
    ORDER BY array_position(j.path, p.jurisdiction_id) DESC NULLS LAST, p.effective_from DESC LIMIT 1
    """
)


def profile_for(session: Session, of: UUID) -> RuleProfile:
    """The profile of `rules_for`."""
    return rules_for(session, of).profile


def calendar_named(session: Session, name: str) -> Calendar:
    """The calendar as imported so far."""
    query = select(CalendarYear.year, CalendarYear.days).where(CalendarYear.calendar == name)
    rows = session.execute(query).all()
    days = {date.fromisoformat(day): worked for row in rows for day, worked in row.days.items()}
    return Calendar(days, frozenset(row.year for row in rows), name)


def start_clock(
    session: Session, *, whose: UUID, kind: str, subject_id: UUID, duty: str, instead: bool = False
) -> None:
    """Start the clock of `duty` for an entity by the profile and calendar of the agency or jurisdiction
    `whose` time it is, `instead` of the entity's other clocks, which are met, or beside them."""
    rules = rules_for(session, whose)
    rule = rules.profile.duties[duty]
    deadlines.start(
        session, kind=kind, subject_id=subject_id, duty=duty, working_days=rule.working_days,
        calendar=rules.calendar, legal_basis=rule.basis, remind=rule.remind, instead=instead,
    )  # fmt: skip


def import_calendar(session: Session, name: str, year: int, days: Mapping[date, bool]) -> int:
    """Store a year's published arrangement; imported again it replaces what was there. Clocks that leaned on
    the year are counted again; returns how many end on another day now."""
    values = {day.isoformat(): worked for day, worked in sorted(days.items())}
    session.execute(
        insert(CalendarYear)
        .values(calendar=name, year=year, days=values, imported_at=now())
        .on_conflict_do_update(
            index_elements=["calendar", "year"], set_={"days": values, "imported_at": now()}
        )
    )
    return deadlines.recount(session, calendar_named(session, name))


def install_profile(session: Session, profile: RuleProfile, jurisdiction_id: UUID | None) -> None:
    """Put a profile in force from its date on; what stood for the same place and date is kept as it was."""
    session.execute(
        insert(RuleProfileRow)
        .values(
            id=new_id(), created_at=now(), jurisdiction_id=jurisdiction_id,
            effective_from=profile.effective_from, profile=profile.model_dump(mode="json"),
        )
        .on_conflict_do_nothing()
    )  # fmt: skip


ROOT_CODE = "100000"  # the nation, as GB 32100 writes it


def install_defaults(session: Session) -> None:
    """The root of the jurisdiction tree, the profile `cn-809` and the published calendar years that ship
    with the product; what stands already is kept."""
    if session.scalar(select(Jurisdiction.id).limit(1)) is None:
        root = Jurisdiction(id=new_id(), code=ROOT_CODE, name="全国", name_en="Nation", level=0)
        root.path = [root.id]
        session.add(root)
    shipped = files("app.identity") / "data"
    install_profile(
        session, RuleProfile.model_validate_json((shipped / "cn-809.json").read_text("utf-8")), None
    )
    calendar = json.loads((shipped / "calendar-cn.json").read_text("utf-8"))
    present = set(
        session.scalars(select(CalendarYear.year).where(CalendarYear.calendar == calendar["calendar"]))
    )
    for year, lists in calendar["years"].items():
        if int(year) not in present:
            days = {date.fromisoformat(d): False for d in lists["off"]}
            days |= {date.fromisoformat(d): True for d in lists["work"]}
            import_calendar(session, calendar["calendar"], int(year), days)
