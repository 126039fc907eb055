"""What the exchange's interfaces share: the guarded way to a case, and the shapes that appear in several."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from types import MappingProxyType
from typing import Annotated, Any, Generic, Literal, Protocol, TypeVar
from uuid import UUID

from fastapi import Depends, Query, Response
from pydantic import BaseModel, StringConstraints
from sqlalchemy.orm import Session

from app.identity.permissions import permitted
from app.kernel import deadlines, history
from app.kernel.actor import Actor
from app.kernel.db import DbSession, Identified
from app.kernel.errors import Fault, Invalid
from app.kernel.machine import Machine, Party
from app.kernel.text import Text
from app.kernel.wire import (
    Cursor,
    Label,
    Limit,
    LongText,
    Page,
    Wire,
    decode_cursor,
    encode_cursor,
)
from exchange.negotiations.models import Consent, TermsVersion
from exchange.terms import Terms, TermsChange

E_co = TypeVar("E_co", covariant=True)
Row = TypeVar("Row", bound=Identified)
Out = TypeVar("Out", bound=BaseModel)


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


class Paging(Wire):
    """How a list is asked for."""

    limit: Limit = 20
    cursor: Cursor = None

    @property
    def before(self) -> UUID | None:
        """The last id of the page before."""
        if self.cursor is None:
            return None
        try:
            return UUID(str(decode_cursor(self.cursor, 1)[0]))
        except ValueError:
            message = Text("不是本服务给出的翻页标记", "not a cursor this service gave")
            raise Invalid(faults=[Fault("/cursor", message)]) from None

    @property
    def fetch(self) -> int:
        """One row more than is shown tells whether there is a next page."""
        return self.limit + 1


def page(rows: Sequence[Row], limit: int, shown: Callable[[Sequence[Row]], list[Out]]) -> Page[Out]:
    """The page of what was fetched with `Paging.fetch`."""
    following = encode_cursor(rows[limit - 1].id) if len(rows) > limit else None
    return Page(items=shown(rows[:limit]), next=following)


Waiting = Annotated[bool, Query(description="只列出等待本单位处理的 / only those waiting for my agency")]
Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class AgencyRef(Wire):
    """An agency by id and name."""

    id: UUID
    name: Label

    @classmethod
    def of(cls, agency_id: UUID, names: dict[UUID, Text]) -> AgencyRef:
        return cls(id=agency_id, name=Label.of(names[agency_id]))


class Reason(Wire):
    reason: LongText


class OptionalReason(Wire):
    reason: LongText | None = None


class ToTerms(Wire):
    """Consent to the terms with this hash, as the approver read them."""

    terms_hash: Hash
    reason: LongText | None = None


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


class ConsentOut(Wire):
    """Who stands by the terms: an approver, a policy, or silence."""

    party: str
    kind: str
    person_id: UUID | None
    terms_hash: str
    at: datetime


class VersionOut(Wire):
    """One version of the terms with the consents to it."""

    id: UUID
    number: int
    party: str
    author_id: UUID
    terms: Terms
    terms_hash: str
    note: str | None
    created_at: datetime
    consents: list[ConsentOut]

    @classmethod
    def of(cls, version: TermsVersion, given: Iterable[Consent]) -> VersionOut:
        return cls(
            id=version.id, number=version.number, party=version.party, author_id=version.author_id,
            terms=version.typed, terms_hash=version.terms_hash, note=version.note, created_at=version.created_at,
            consents=[ConsentOut.model_validate(consent) for consent in given],
        )  # fmt: skip


class ChangeOut(Wire):
    """One difference between two versions of the terms."""

    path: str
    kind: Literal["added", "removed", "changed"]
    label: Label
    before: Label | None
    after: Label | None

    @classmethod
    def of(cls, change: TermsChange) -> ChangeOut:
        return cls(
            path=change.path, kind=change.kind, label=Label.of(change.label),
            before=Label.of(change.before) if change.before else None,
            after=Label.of(change.after) if change.after else None,
        )  # fmt: skip


class EventOut(Wire):
    """One thing that happened to the case; `id` finds its entry in the ledger."""

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


def events_out(
    session: Session,
    machine: Machine,
    subject_id: UUID,
    *,
    sides: frozenset[Party],
    private: frozenset[str] = frozenset(),
    notes: Mapping[str, Text] = MappingProxyType({}),
) -> list[EventOut]:
    """The history, oldest first; of `private` acts only those of one's own side. `notes` names what is no act."""
    found = []
    for event in history.events_of(session, machine.kind, subject_id):
        if event.act in private and event.party not in sides:
            continue
        name = machine.acts.get(event.act) or notes.get(event.act) or Text(event.act, event.act)
        found.append(
            EventOut(
                id=event.id, at=event.at, act=event.act, act_name=Label.of(name), state_from=event.state_from,
                state_to=event.state_to, version=event.version, party=event.party, actor_name=event.actor_name,
                agency_id=event.agency_id, reason=event.reason, legal_basis=event.legal_basis, data=event.data,
            )
        )  # fmt: skip
    return found
