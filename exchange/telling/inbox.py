"""The inbox (待办): what waits for an actor or its agency, overdue first, and what it waits for.

Owns the gathering over all kinds of case. What may be done is asked of each feature.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Select, Uuid, any_, literal, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from app.identity.permissions import may
from app.kernel.actor import Actor, Role
from app.kernel.clock import now
from app.kernel.deadlines import DeadlineRow
from app.kernel.machine import Machine
from app.kernel.text import Text
from catalog.collection import findings
from catalog.collection.states import FINDING
from catalog.resources import service as resources
from catalog.resources.models import Resource
from catalog.resources.states import FILED, RESOURCE, RETURNED
from exchange.corrections import service as corrections
from exchange.corrections.states import BEFORE_AUTHORITY, CORRECTION, UNDER_VERIFICATION
from exchange.disputes import service as disputes
from exchange.disputes.states import DISPUTE, UNDECIDED
from exchange.negotiations import case as negotiations
from exchange.negotiations.states import NEGOTIATION, OPEN
from exchange.parties import Bilateral, names_of
from exchange.policies import service as policies
from exchange.policies.models import SharingPolicy
from exchange.policies.rule import PolicyRule
from exchange.policies.states import DRAFT as POLICY_DRAFT
from exchange.policies.states import POLICY
from exchange.requests import service as requests
from exchange.requests.states import DRAFT, REQUEST

SHOWN = 100  # of each kind
_NEVER = datetime.max.replace(tzinfo=UTC)

# What a side may do at any time is not what it is waited for.
_NEVER_AWAITED = frozenset(
    {"withdraw", "open_dispute", "transfer", "discard", "record_settlement", "suspend", "comment", "attach"}
)


@dataclass(frozen=True, slots=True)
class Matter:
    """One thing to do or to wait for: which case, what of it, what the actor may do, until when."""

    machine: Machine
    id: UUID
    title: Text
    state: str
    acts: tuple[str, ...]  # of the actor itself; none where others of its agency, or the other side, act
    overdue: bool = False
    due: DeadlineRow | None = None
    within: UUID | None = None  # the plan of a finding

    @property
    def urgency(self) -> tuple[bool, datetime, UUID]:
        """Overdue first, then by due date; what has none, or stands still, comes last."""
        running = self.due is not None and self.due.paused_at is None
        return (not self.overdue, self.due.due_at if self.due and running else _NEVER, self.id)


@dataclass(frozen=True, slots=True)
class Inbox:
    """What waits for the actor's agency, and what the agency waits for; each the most urgent first."""

    waiting: list[Matter]
    awaited: list[Matter]


def read_inbox(session: Session, *, by: Actor) -> Inbox:
    """Everything that is open between the actor's agency and others, as far as the actor may know of it."""
    waiting, awaited = [], []
    for gather in (_negotiations, _disputes, _corrections, _requests, _policies, _resources, _findings):
        mine, theirs = gather(session, by)
        waiting += mine
        awaited += theirs
    return Inbox(
        sorted(_dated(session, waiting), key=lambda one: one.urgency),
        sorted(_dated(session, awaited), key=lambda one: one.urgency),
    )


_Gathered = tuple[list[Matter], list[Matter]]


def _negotiations(session: Session, by: Actor) -> _Gathered:
    if not may(by, "negotiation.list"):
        return [], []
    waiting = negotiations.list_negotiations(session, by=by, waiting=True, limit=SHOWN)
    others = negotiations.list_negotiations(session, by=by, states=OPEN, limit=SHOWN)
    names = _names(session, [*waiting, *others])
    seen = {row.id for row in waiting}
    mine = [
        _matter(NEGOTIATION, row, names, negotiations.allowed_acts(session, row, by=by), row.overdue)
        for row in waiting
    ]
    theirs = [
        _matter(NEGOTIATION, row, names, (), row.overdue)
        for row in others
        if row.id not in seen and _is_party(row, by)
    ]
    return mine, theirs


def _disputes(session: Session, by: Actor) -> _Gathered:
    if not may(by, "dispute.list"):
        return [], []
    waiting = disputes.list_disputes(session, by=by, waiting=True, limit=SHOWN)
    others = disputes.list_disputes(session, by=by, limit=SHOWN)
    names = _names(session, [*waiting, *others])
    seen = {row.id for row in waiting}
    mine = [
        _matter(DISPUTE, row, names, disputes.allowed_acts(session, row, by=by), row.overdue)
        for row in waiting
    ]
    theirs = [
        _matter(DISPUTE, row, names, (), row.overdue)
        for row in others
        if row.id not in seen and _is_party(row, by) and row.state in UNDECIDED
    ]
    return mine, theirs


def _corrections(session: Session, by: Actor) -> _Gathered:
    if not may(by, "correction.list"):
        return [], []
    waiting = corrections.list_corrections(session, by=by, waiting=True, limit=SHOWN)
    others = corrections.list_corrections(session, by=by, limit=SHOWN)
    names = _names(session, [*waiting, *others])
    seen = {row.id for row in waiting}
    mine = [
        _matter(CORRECTION, row, names, corrections.allowed_acts(row, by=by), row.overdue) for row in waiting
    ]
    theirs = [
        _matter(CORRECTION, row, names, (), row.overdue)
        for row in others
        if row.id not in seen and _is_party(row, by) and row.state in (UNDER_VERIFICATION, BEFORE_AUTHORITY)
    ]
    return mine, theirs


def _requests(session: Session, by: Actor) -> _Gathered:
    """Drafts: for the approver to file, for the clerk to wait for."""
    if not may(by, "request.list"):
        return [], []
    rows = requests.list_requests(session, by=by, state=DRAFT, limit=SHOWN)
    drafts = [
        Matter(
            REQUEST,
            row.id,
            Text(row.title, row.title),
            row.state,
            _awaited(requests.allowed_acts(row, by=by)),
        )
        for row in rows
    ]
    return _split(drafts, "file")


def _policies(session: Session, by: Actor) -> _Gathered:
    if not may(by, "policy.list"):
        return [], []
    query = select(SharingPolicy).where(policies.visible_to(by), SharingPolicy.state == POLICY_DRAFT)
    drafts = []
    for row in session.scalars(query.order_by(SharingPolicy.id).limit(SHOWN)):
        title = PolicyRule.model_validate(row.rule).title
        acts = _awaited(policies.allowed_acts(row, by=by))
        drafts.append(Matter(POLICY, row.id, Text(title, title), row.state, acts))
    return _split(drafts, "adopt")


def _resources(session: Session, by: Actor) -> _Gathered:
    """Records filed for the authority to review, and those returned to their agency."""
    query = select(Resource).where(resources.visible_to(by))
    own = Resource.agency_id == by.agency_id
    returned = query.where(Resource.state == RETURNED, own)
    filed = query.where(Resource.state == FILED)
    mine: list[Matter] = []
    if resources.reviews(by):
        reviewed = filed.where(Resource.jurisdiction_id.in_(resources.reviewed_jurisdictions(by)))
        mine += _records(session, reviewed, ("publish", "return"))
    elif by.roles & {Role.CLERK, Role.APPROVER}:
        mine += _records(session, returned, ("edit",) if Role.CLERK in by.roles else ("file",))
    theirs = [] if by.agency_id is None else _records(session, filed.where(own), ())
    return mine, theirs


def _records(session: Session, query: Select[Resource], acts: tuple[str, ...]) -> list[Matter]:
    rows = session.scalars(query.order_by(Resource.updated_at).limit(SHOWN))
    return [
        Matter(RESOURCE, row.id, Text(row.title, row.title_en or row.title), row.state, acts) for row in rows
    ]


def _findings(session: Session, by: Actor) -> _Gathered:
    """Findings that wait for the actor's agency: to answer, or to decide."""
    if not may(by, "finding.list"):
        return [], []
    return [
        Matter(
            FINDING,
            finding.id,
            Text("{plan}：{item}", "{plan}: {item}").with_(plan=plan.title, item=finding.typed_item.name),
            finding.state,
            tuple(findings.allowed_acts(finding, plan, by=by)),
            finding.overdue,
            within=plan.id,
        )
        for finding, plan in findings.list_findings(session, by=by, waiting=True, limit=SHOWN)
    ], []


def _matter(
    machine: Machine, row: Any, names: dict[UUID, Text], acts: Iterable[str], overdue: bool
) -> Matter:
    between = Text("{a} → {b}", "{a} → {b}").with_(a=names[row.requester_id], b=names[row.provider_id])
    return Matter(machine, row.id, between, row.state, _awaited(acts), overdue)


def _is_party(row: Bilateral, by: Actor) -> bool:
    """The authority knows of cases that it does not wait for."""
    return by.agency_id in (row.requester_id, row.provider_id)


def _awaited(acts: Iterable[str]) -> tuple[str, ...]:
    return tuple(act for act in acts if act not in _NEVER_AWAITED)


def _split(drafts: Sequence[Matter], act: str) -> _Gathered:
    return [one for one in drafts if act in one.acts], [one for one in drafts if act not in one.acts]


def _names(session: Session, rows: Sequence[Bilateral]) -> dict[UUID, Text]:
    return names_of(session, {i for row in rows for i in (row.requester_id, row.provider_id)})


def _dated(session: Session, matters: Collection[Matter]) -> list[Matter]:
    """The matters with their earliest running clock."""
    named = literal([one.id for one in matters], ARRAY(Uuid))  # one statement, however many they are
    query = (
        select(DeadlineRow)
        .ext(distinct_on(DeadlineRow.subject_id))
        .where(DeadlineRow.subject_id == any_(named), DeadlineRow.ended_at.is_(None))
        .order_by(DeadlineRow.subject_id, DeadlineRow.due_at)
    )
    due = {row.subject_id: row for row in session.scalars(query)}
    return [
        replace(one, due=found, overdue=one.overdue or _is_past(found))
        for one in matters
        for found in (due.get(one.id),)
    ]


def _is_past(clock: DeadlineRow | None) -> bool:
    return clock is not None and clock.paused_at is None and clock.due_at <= now()
