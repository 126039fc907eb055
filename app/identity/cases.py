"""What the interfaces of all cases share: the guarded way to one, and agencies, clocks and history as told.

Owns these shapes. Who may know of a case is asked of the feature whose case it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from types import MappingProxyType
from typing import Any, Generic, Protocol, Self, TypeVar
from uuid import UUID

from fastapi import Depends, Response
from sqlalchemy.orm import Session

from app.identity.models import Agency
from app.identity.permissions import permitted
from app.kernel import deadlines, history
from app.kernel.actor import Actor
from app.kernel.db import DbSession
from app.kernel.history import Event
from app.kernel.machine import Machine, Party
from app.kernel.text import Text
from app.kernel.wire import Label, Wire

E_co = TypeVar("E_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Asked(Generic[E_co]):
    """A case that the asking actor may know of and whose operation it may call."""

    session: Session
    case: E_co
    by: Actor
    response: Response


class Find(Protocol[E_co]):
    def __call__(self, session: Session, case_id: UUID, /, *, by: Actor) -> E_co: ...


def guarded(operation: str, find: Find[E_co]) -> Any:
    """Dependency of a route on `/{id}`: the operation's door, then `find`, which knows who may know.
    A case that is not there and one that is not the actor's give the same answer."""

    def load(
        id: UUID, session: DbSession, response: Response, actor: Actor = permitted(operation)
    ) -> Asked[E_co]:
        return Asked(session, find(session, id, by=actor), actor, response)

    return Depends(load, scope="function")


class AgencyRef(Wire):
    """An agency by id and name; one without an English name goes by its Chinese one."""

    id: UUID
    name: Label

    @classmethod
    def of(cls, agency_id: UUID, names: Mapping[UUID, Text]) -> AgencyRef:
        return cls(id=agency_id, name=Label.of(names[agency_id]))

    @classmethod
    def of_agency(cls, agency: Agency) -> AgencyRef:
        return cls(id=agency.id, name=Label(zh=agency.name, en=agency.name_en or agency.name))


class DeadlineOut(Wire):
    """A running clock. Provisional where it leans on a year whose calendar is not published."""

    duty: str
    legal_basis: str | None
    due_on: date
    due_at: datetime
    provisional: bool
    paused: bool


def deadlines_out(session: Session, kind: str, subject_id: UUID) -> list[DeadlineOut]:
    """The case's running clocks, earliest first."""
    return [
        DeadlineOut(
            duty=row.duty, legal_basis=row.legal_basis, due_on=row.due_on, due_at=row.due_at,
            provisional=row.provisional, paused=row.paused_at is not None,
        )
        for row in deadlines.running(session, kind, subject_id)
    ]  # fmt: skip


class EventOut(Wire):
    """One thing that happened to the case; `id` finds its entry in the ledger, which attests `content`: the SHA-256
    of its canonical form (RFC 8785) is the entry's. None where there is no entry, or a name was erased."""

    id: UUID
    at: datetime
    act: str
    act_name: Label
    state_from: str | None
    state_to: str | None
    version: int | None
    party: str | None
    actor_name: str
    agency_id: UUID | None
    reason: str | None
    legal_basis: str | None
    data: dict[str, Any]
    content: dict[str, Any] | None

    @classmethod
    def of(cls, event: Event, name: Text, **more: Any) -> Self:
        """The event as it is told; `more` are the members that a subclass adds."""
        plain = EventOut.model_fields.keys() - {"act_name", "content"}
        members = {member: getattr(event, member) for member in plain}
        content = event.content() if event.ledgered and event.erased_by is None else None
        return cls(act_name=Label.of(name), content=content, **members, **more)


def events_out(
    session: Session,
    machine: Machine,
    subject_id: UUID,
    *,
    sides: frozenset[Party] = frozenset(),
    private: frozenset[str] = frozenset(),
    notes: Mapping[str, Text] = MappingProxyType({}),
) -> list[EventOut]:
    """The history, oldest first; of `private` acts only those of one's own side. `notes` names what is no act."""
    found = []
    for event in history.events_of(session, machine.kind, subject_id):
        if event.act in private and event.party not in sides:
            continue
        known = {**deadlines.NOTES, **notes, **machine.acts}
        found.append(EventOut.of(event, known.get(event.act, Text(event.act, event.act))))
    return found
