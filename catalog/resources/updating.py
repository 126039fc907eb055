"""The duty to update a published record after a change of law or duty (809-17): its clock, the extension the
authority may grant, and the reports that the data themselves were updated.

Owns the clock `catalog.update`; what is changed is written in a working copy (`revisions`).
"""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from pydantic import AwareDatetime, Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.identity.profiles import profile_for, rules_for, start_clock
from app.kernel import deadlines, history
from app.kernel.actor import Actor, system_actor
from app.kernel.calendar import Calendar
from app.kernel.clock import now
from app.kernel.deadlines import Consequence, DeadlineRow
from app.kernel.errors import Fault, Invalid, WrongMoment
from app.kernel.history import Event
from app.kernel.machine import Party
from app.kernel.text import Text
from app.kernel.wire import LongText, ShortText, Wire
from catalog.resources.models import Resource
from catalog.resources.states import RESOURCE, UPDATE

KIND = RESOURCE.kind
DATA_UPDATED, UPDATE_OVERDUE = "data_updated", "update_overdue"
ARTICLE_17 = Text("809 第十七条 更新期限的延长", "Decree 809 Art. 17, extension of the time to update")


class ChangeNoted(Wire):
    """What changed: a law or the agency's duty, where it stands, and what it means for the record."""

    change: Literal["law", "duty"]
    citation: ShortText
    reason: LongText


class Extension(Wire):
    """How many working days more are asked for, and why."""

    working_days: Annotated[int, Field(ge=1, le=100)]
    reason: LongText


class DataUpdated(Wire):
    """The data were updated: when, and how many records they hold, where that is known."""

    at: AwareDatetime | None = None
    records: Annotated[int, Field(ge=0, le=10**12)] | None = None


def hindrance(session: Session, resource: Resource, act: str) -> Text | None:
    """Why the moment does not allow an act of this duty, or None."""
    if act not in ("ask_extension", "extend", "refuse_extension"):
        return None
    clock = running(session, resource.id)
    if clock is None:
        return Text("没有正在计算的目录更新期限。", "No time to update is running.")
    asked = _asked(session, clock)
    if act == "ask_extension":
        told = Text("延长只能申请一次。", "An extension is asked for once.")
        return told if asked else None
    if asked is None or asked.act != "ask_extension":
        return Text("没有待决定的延长申请。", "No extension is waiting for a decision.")
    return None


def note_change(
    session: Session,
    resource: Resource,
    noted: ChangeNoted,
    *,
    expected_version: int,
    by: Actor,
    parties: frozenset[Party],
) -> None:
    """A law or a duty changed: the record is due to be updated; the clock of an earlier change runs on.
    Errors: StaleVersion, WrongMoment, NotPermitted."""
    data = {"change": noted.change, "citation": noted.citation}
    history.advance(
        session, resource, RESOURCE, "note_change", by=by, parties=parties, expected_version=expected_version,
        reason=noted.reason, data=data,
    )  # fmt: skip
    if running(session, resource.id) is None:
        start_clock(session, whose=resource.jurisdiction_id, kind=KIND, subject_id=resource.id, duty=UPDATE)


def ask_extension(
    session: Session,
    resource: Resource,
    asked: Extension,
    *,
    expected_version: int,
    by: Actor,
    parties: frozenset[Party],
) -> None:
    """Ask the authority for more time, once. Errors: StaleVersion, WrongMoment, NotPermitted, Invalid."""
    most = profile_for(session, resource.jurisdiction_id).duties[UPDATE].extension
    if asked.working_days > most:
        message = Text(
            "申请延长 {n} 个工作日，最多 {most} 个",
            "{n} working days asked for, at most {most} may be granted",
        )
        raise Invalid(
            faults=[Fault("/working_days", message.with_(n=asked.working_days, most=most), ARTICLE_17)]
        )
    _act(session, resource, "ask_extension", asked.reason, expected_version, by, parties, asked.working_days)


def decide_extension(
    session: Session,
    resource: Resource,
    act: Literal["extend", "refuse_extension"],
    *,
    reason: str,
    expected_version: int,
    by: Actor,
    parties: frozenset[Party],
) -> None:
    """The authority grants what was asked for, or refuses it. Errors: StaleVersion, WrongMoment, NotPermitted."""
    clock = running(session, resource.id)
    asked = _asked(session, clock) if clock else None
    days = int(asked.data["working_days"]) if asked and "working_days" in asked.data else None
    _act(session, resource, act, reason, expected_version, by, parties, days)
    if act == "extend":
        assert clock is not None and days is not None
        deadlines.extend(session, clock, days, _calendar(session, resource))


def report_update(
    session: Session, resource: Resource, told: DataUpdated, *, by: Actor, party: Party
) -> None:
    """The agency tells that the data were updated; quality compares it with the update cycle.
    Errors: Invalid (a moment to come)."""
    at = told.at or now()
    if at > now():
        message = Text("更新时间 {at} 尚未到来", "{at} is still to come").with_(at=at.isoformat())
        rule = Text("已完成的更新", "an update that has been made")
        raise Invalid(faults=[Fault("/at", message, rule)])
    resource.data_updated_at = max(filter(None, (at, resource.data_updated_at)))
    data = {"at": at.isoformat(), "records": told.records}
    history.record(
        session, kind=KIND, subject_id=resource.id, act=DATA_UPDATED, by=by, party=party, basis="REG-17", data=data
    )  # fmt: skip


def pause(session: Session, resource: Resource) -> None:
    """While the authority reviews, the agency's time stands still."""
    deadlines.pause(session, KIND, resource.id, UPDATE, _calendar(session, resource))


def resume(session: Session, resource: Resource) -> None:
    deadlines.resume(session, KIND, resource.id, UPDATE, _calendar(session, resource))


def meet(session: Session, resource: Resource) -> None:
    deadlines.end(session, KIND, resource.id, outcome="met", duty=UPDATE)


def running(session: Session, resource_id: UUID) -> DeadlineRow | None:
    """The clock of the duty, where it runs."""
    return next(iter(deadlines.running(session, KIND, resource_id, UPDATE)), None)


def mark_overdue(session: Session, clock: DeadlineRow) -> None:
    """The record was not updated in time: recorded, for supervision."""
    history.record(
        session, kind=KIND, subject_id=clock.subject_id, act=UPDATE_OVERDUE, by=system_actor("clock"),
        party="clock", basis=clock.legal_basis, data={"due_on": clock.due_on.isoformat()},
    )  # fmt: skip


CONSEQUENCES: dict[str, Consequence] = {UPDATE: mark_overdue}


def _act(
    session: Session,
    resource: Resource,
    act: str,
    reason: str,
    expected_version: int,
    by: Actor,
    parties: frozenset[Party],
    days: int | None,
) -> None:
    why = hindrance(session, resource, act)
    history.advance(
        session, resource, RESOURCE, act, by=by, parties=parties, expected_version=expected_version, reason=reason,
        data={} if days is None else {"working_days": days},
    )  # fmt: skip
    if why:
        raise WrongMoment(why, state=resource.state, basis="809-17")


def _asked(session: Session, clock: DeadlineRow) -> Event | None:
    """The last word on more time since the clock started."""
    query = select(Event).where(
        Event.kind == KIND,
        Event.subject_id == clock.subject_id,
        Event.act.in_(("ask_extension", "extend", "refuse_extension")),
        Event.at >= clock.started_at,
    )
    return session.scalar(query.order_by(Event.position.desc()).limit(1))


def _calendar(session: Session, resource: Resource) -> Calendar:
    return rules_for(session, resource.jurisdiction_id).calendar
