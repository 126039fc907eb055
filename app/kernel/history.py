"""What happened to every entity, and the only function that changes a state.

Owns the `event` table (history, change log and event feed in one) and `advance`. Holds no rules:
they are the machines of the features.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from operator import attrgetter
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnExpressionArgument,
    Identity,
    Index,
    Insert,
    Integer,
    String,
    Table,
    Uuid,
    bindparam,
    delete,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, Session, mapped_column
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.types import UserDefinedType

from app.kernel import ledger
from app.kernel.actor import ROLE_NAMES, Actor
from app.kernel.clock import new_id, now
from app.kernel.db import Base, Stateful, copy_rows, table_of
from app.kernel.errors import NotPermitted, StaleVersion, WrongMoment
from app.kernel.machine import Machine, Party, Transition, may
from app.kernel.text import Text


class Xid8(UserDefinedType[int]):
    """PostgreSQL's 64-bit transaction id."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "xid8"


class Event(Base):
    """One thing that happened to one entity. Rows are never changed or removed (trigger)."""

    __tablename__ = "event"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    position: Mapped[int] = mapped_column(BigInteger, Identity(always=True), unique=True)
    transaction: Mapped[int] = mapped_column(Xid8(), server_default=text("pg_current_xact_id()"))
    at: Mapped[datetime] = mapped_column(default=now)
    kind: Mapped[str]  # of the entity: "resource", "negotiation", …
    subject_id: Mapped[UUID]
    act: Mapped[str]
    state_from: Mapped[str | None]
    state_to: Mapped[str | None]
    version: Mapped[int | None]
    party: Mapped[str | None]
    actor_kind: Mapped[str]
    actor_id: Mapped[UUID | None]
    actor_name: Mapped[str]
    agency_id: Mapped[UUID | None]
    reason: Mapped[str | None]
    legal_basis: Mapped[str | None]
    data: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict)
    ledgered: Mapped[bool]  # whether an entry of the same id stands in the ledger
    erased_by: Mapped[UUID | None]  # the decision that removed the name of who acted (app.kernel.erasure)

    __table_args__ = (
        Index("ix_event_subject", "kind", "subject_id", "position"),
        Index("ix_event_transaction", "transaction", "position"),
        Index("ix_event_erased_by", "erased_by", postgresql_where=text("erased_by IS NOT NULL")),
    )

    def content(self) -> dict[str, Any]:
        """What the ledger entry's hash is taken of: everything a later reader could be told otherwise."""
        return {
            "id": str(self.id),
            "at": self.at.isoformat(),
            "kind": self.kind,
            "subject": str(self.subject_id),
            "act": self.act,
            "from": self.state_from,
            "to": self.state_to,
            "version": self.version,
            "party": self.party,
            "actor": [self.actor_kind, str(self.actor_id) if self.actor_id else None, self.actor_name],
            "agency": str(self.agency_id) if self.agency_id else None,
            "reason": self.reason,
            "basis": self.legal_basis,
            "data": self.data,
        }


_EVENT = table_of(Event)
# All but what the database fills.
_COLUMNS = tuple(
    column.name for column in _EVENT.columns if column.name not in ("position", "transaction", "erased_by")
)
_ATTESTED = tuple(
    column.cast(String).label(column.name) if isinstance(column.type, Uuid) else column
    for column in (_EVENT.c[name] for name in _COLUMNS if name != "ledgered")
)


class StateTransition(Base):
    """The machines' rows as the guarding trigger reads them; written by `sync_transitions` at migration."""

    __tablename__ = "state_transition"

    kind: Mapped[str] = mapped_column(primary_key=True)
    source: Mapped[str] = mapped_column(primary_key=True, default="")  # "" is creation
    target: Mapped[str] = mapped_column(primary_key=True)


def sync_transitions(session: Session, machines: Iterable[Machine]) -> None:
    """Bring the guarding table up to the code's machines."""
    for machine in machines:
        session.execute(delete(StateTransition).where(StateTransition.kind == machine.kind))
        rows = {(row.source or "", row.target) for row in machine.rows}
        session.execute(
            insert(StateTransition),
            [{"kind": machine.kind, "source": source, "target": target} for source, target in sorted(rows)],
        )


def record(
    session: Session,
    *,
    kind: str,
    subject_id: UUID,
    act: str,
    by: Actor,
    party: Party | None = None,
    transition: tuple[str | None, str, int] | None = None,
    reason: str | None = None,
    basis: str | None = None,
    data: Mapping[str, Any] | None = None,
    ledgered: bool = True,
) -> Event:
    """Write one event (and its ledger entry) in the caller's transaction.

    `transition` is (from, to, version) where a state changed with it. `data` is plain JSON.
    """
    entry = Event(**_told(kind, subject_id, act, by, party, transition, reason, basis, data, ledgered))
    _tell(session, entry)
    return entry


def record_many(
    session: Session,
    *,
    machine: Machine,
    act: str,
    subjects: Sequence[tuple[UUID, Mapping[str, Any]]],
    by: Actor,
    parties: frozenset[Party],
) -> None:
    """The events and ledger entries of many entities that the creating row `act` of the machine has brought into
    being, each with its data, as `create` writes them, in three statements. Errors: NotPermitted."""
    row = machine.find(None, act)
    if row is None:
        raise AssertionError(f"{machine.kind} has no creating act {act}")
    _require_may(machine, row, by, parties)
    party = _party(row, by, parties)
    events = [
        # Only what an event's columns hold: an object of the session for each would cost as much as writing it.
        SimpleNamespace(**_told(
            machine.kind, subject_id, act, by, party, (None, row.target, 1), None, row.basis, data, True
        ))
        for subject_id, data in subjects
    ]  # fmt: skip
    plain = [name for name in _COLUMNS if name != "data"]
    read = attrgetter(*plain)
    copy_rows(session, Event, (*plain, "data"), ((*read(event), json.dumps(event.data)) for event in events))
    entries = [
        (event.id, f"{event.kind}.{act}", event.subject_id, Event.content(cast(Event, event)))
        for event in events
    ]
    ledger.append_many(session, entries)


def _told(
    kind: str,
    subject_id: UUID,
    act: str,
    by: Actor,
    party: Party | None,
    transition: tuple[str | None, str, int] | None,
    reason: str | None,
    basis: str | None,
    data: Mapping[str, Any] | None,
    ledgered: bool,
) -> dict[str, Any]:
    """The columns of a new event."""
    return {
        "id": new_id(),
        "at": now(),
        "kind": kind,
        "subject_id": subject_id,
        "act": act,
        "state_from": transition[0] if transition else None,
        "state_to": transition[1] if transition else None,
        "version": transition[2] if transition else None,
        "party": party,
        "actor_kind": by.kind.value,  # as it is read again, and a plain text is hashed ten times faster
        "actor_id": by.id,
        "actor_name": by.name,
        "agency_id": by.agency_id,
        "reason": reason,
        "legal_basis": basis,
        "data": dict(data or {}),
        "ledgered": ledgered,
    }


def _tell(
    session: Session, entry: Event, moving: Table | None = None, changes: Mapping[str, Any] | None = None
) -> bool:
    """Write the event, its ledger entry and, in `moving`, the entity's new state and `changes` in one statement;
    False where the entity is no longer in the state and version that were decided on, and nothing is written."""
    values: dict[str, Any] = {f"event_{name}": getattr(entry, name) for name in _COLUMNS}
    if entry.ledgered:
        values |= ledger.entry_values(
            entry.id, entry.at, f"{entry.kind}.{entry.act}", entry.subject_id, entry.content()
        )
    if moving is not None:
        assert entry.version is not None
        values["version_before"] = entry.version - 1
    changes = changes or {}
    values |= {f"change_{name}": value for name, value in changes.items()}
    # On the connection: a session's own way adds to a plain statement half of what it costs.
    return session.connection().execute(_telling(moving, entry.ledgered, *changes), values).rowcount == 1


@cache
def _telling(moving: Table | None, ledgered: bool, *changed: str) -> Insert:
    value = {name: bindparam(f"event_{name}", type_=_EVENT.c[name].type) for name in _COLUMNS}
    moved: CTE | None = None
    if moving is not None:
        seen = (
            moving.c.id == value["subject_id"],
            moving.c.state == value["state_from"],
            moving.c.version == bindparam("version_before", type_=Integer),
        )
        becomes = {"state": value["state_to"], "version": value["version"], "updated_at": value["at"]}
        becomes |= {name: bindparam(f"change_{name}", type_=moving.c[name].type) for name in changed}
        moved = update(moving).where(*seen).values(becomes).returning(moving.c.id).cte("moved")
    row = select(*value.values()) if moved is None else select(*value.values()).select_from(moved)
    told = insert(_EVENT).from_select(list(value), row, include_defaults=False)
    whole = ledger.appending(moved).add_cte(told.cte("told")) if ledgered else told
    return whole.execution_options(preserve_rowcount=True)


def create(
    session: Session,
    entity: Stateful,
    machine: Machine,
    act: str,
    *,
    by: Actor,
    parties: frozenset[Party],
    reason: str | None = None,
    data: Mapping[str, Any] | None = None,
) -> Event:
    """Bring an entity into being in the state the machine's creating row `act` leads to.

    The entity's `state` must not be set by the caller. Errors: NotPermitted.
    """
    row = machine.find(None, act)
    if row is None:
        raise AssertionError(f"{machine.kind} has no creating act {act}")
    _require_may(machine, row, by, parties)
    entity.id = entity.id or new_id()
    entity.state, entity.version = row.target, 1
    entity.created_at = entity.updated_at = now()
    session.add(entity)
    session.flush()
    return record(
        session, kind=machine.kind, subject_id=entity.id, act=act, by=by, party=_party(row, by, parties),
        transition=(None, row.target, 1), reason=reason, basis=row.basis, data=data,
    )  # fmt: skip


def advance(
    session: Session,
    entity: Stateful,
    machine: Machine,
    act: str,
    *,
    by: Actor,
    parties: frozenset[Party],
    expected_version: int | None = None,
    reason: str | None = None,
    data: Mapping[str, Any] | None = None,
    changes: Mapping[str, Any] | None = None,
    unless: Callable[[], None] | None = None,
) -> Event:
    """Do `act` to `entity`: check the client's version, look the transition up, check that `by` may, write
    state, version, `changes` of other columns, event and ledger entry together, provided that nobody has moved
    the entity since it was read; the row is locked from then on.

    `parties` says what `by` is to the entity. `expected_version` comes from If-Match; None only for
    the service's own acts. `unless` raises where the entity as it is decided on does not allow the act although
    its state does. Errors: StaleVersion, WrongMoment (naming what is allowed), NotPermitted.
    """
    session.flush()
    while True:
        row = require(entity, machine, act, by=by, parties=parties, expected_version=expected_version)
        if unless is not None:
            unless()
        others = {name: value for name, value in (changes or {}).items() if getattr(entity, name) != value}
        before, version = entity.state, entity.version + 1
        entry = Event(**_told(
            machine.kind, entity.id, act, by, _party(row, by, parties), (before, row.target, version), reason,
            row.basis, data, True,
        ))  # fmt: skip
        if _tell(session, entry, table_of(type(entity)), others):
            break
        # Another transaction was first. Under the lock this one decides again, on what is there now.
        session.refresh(entity, with_for_update=True)
    others |= {"state": row.target, "version": version, "updated_at": entry.at}
    for name, value in others.items():
        set_committed_value(entity, name, value)
    return entry


def require(
    entity: Stateful,
    machine: Machine,
    act: str,
    *,
    by: Actor,
    parties: frozenset[Party],
    expected_version: int | None,
) -> Transition:
    """The row of the machine that `act` takes, for what wants to know before it writes; `advance` asks again.
    Errors: StaleVersion, WrongMoment, NotPermitted."""
    if expected_version is not None and entity.version != expected_version:
        raise StaleVersion(
            Text(
                "您依据的是第 {seen} 版，当前为第 {now} 版。请重新读取后再操作。",
                "You read version {seen}; the current one is {now}. Read it again, then act.",
            ).with_(seen=expected_version, now=entity.version),
            current_version=entity.version,
        )
    row = machine.find(entity.state, act)
    if row is None:
        raise wrong_moment(machine, entity.state, act, by, parties)
    _require_may(machine, row, by, parties)
    return row


def wrong_moment(machine: Machine, state: str, act: str, by: Actor, parties: frozenset[Party]) -> WrongMoment:
    """The refusal of an act that the state does not allow, naming the state and what is allowed instead."""
    return WrongMoment(
        Text("“{act}”不能在“{state}”状态下进行。", "“{act}” cannot be done in the state “{state}”.").with_(
            act=machine.acts.get(act, Text(act, act)), state=machine.states[state]
        ),
        state=state,
        allowed=machine.allowed(state, parties, by.roles),
    )


def events_of(session: Session, kind: str, subject_id: UUID, *, limit: int = 500) -> list[Event]:
    """The history of one entity, oldest first."""
    query = select(Event).where(Event.kind == kind, Event.subject_id == subject_id)
    return list(session.scalars(query.order_by(Event.position).limit(limit)))


def events_after(session: Session, cursor: tuple[int, int], *, limit: int = 1000) -> list[Event]:
    """Events of committed transactions after `cursor` = (transaction, position), in a stable order.

    Identity numbers are not handed out in commit order, so a reader that keeps the last number would
    miss a transaction that commits late. Reading by transaction id, and only those older than every
    running one, misses none.
    """
    query = (
        select(Event)
        .where(text("(event.transaction, event.position) > (CAST(CAST(:xid AS text) AS xid8), :position)"))
        .where(text("event.transaction < pg_snapshot_xmin(pg_current_snapshot())"))
        .order_by(Event.transaction, Event.position)
        .limit(limit)
    )
    return list(session.scalars(query, {"xid": str(cursor[0]), "position": cursor[1]}))


def _require_may(machine: Machine, row: Transition, by: Actor, parties: frozenset[Party]) -> None:
    if may(row, parties, by.roles):
        return
    needed = "、".join(sorted({ROLE_NAMES[role].zh for _, role in row.by if role}))
    needed_en = ", ".join(sorted({ROLE_NAMES[role].en for _, role in row.by if role}))
    raise NotPermitted(
        Text(
            "“{act}”须由规定的一方以规定的角色（{zh}）进行。",
            "“{act}” is for the named party in the named role ({en}).",
        ).with_(act=machine.acts[row.act], zh=needed, en=needed_en),
        basis=row.basis,
        by=[{"party": party, "role": role} for party, role in row.by],
    )


def _party(row: Transition, by: Actor, parties: frozenset[Party]) -> Party:
    for party, role in row.by:
        if party in parties and (role is None or role in by.roles):
            return party
    raise AssertionError("checked by _require_may")


def ledgered_contents(session: Session) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """The id of every event that has a ledger entry, with the content its entry attests; None where a name was
    erased."""
    yield from contents(session, Event.ledgered, Event.erased_by.is_(None))
    erased = select(_EVENT.c.id.cast(String)).where(Event.ledgered, Event.erased_by.is_not(None))
    yield from ((entry_id, None) for entry_id in session.scalars(erased.execution_options(yield_per=2000)))


def contents(
    session: Session, *where: ColumnExpressionArgument[bool]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The events that are chosen, in order, each with its content as it is now. Verification reads all there are:
    plain rows, with ids as the texts that the content tells, take half the time of the model's."""
    session.flush()
    query = select(*_ATTESTED).where(*where).order_by(_EVENT.c.position)
    for row in session.connection().execute(query.execution_options(yield_per=2000)):
        yield row.id, Event.content(row)  # type: ignore[arg-type]  # the row has the members that are told
