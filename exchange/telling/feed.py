"""The event feed (事件流): what happened to the cases an actor may know of, in commit order, none skipped.

Owns who may read which event. The order and the guarantee are `app.kernel.history.events_after`'s.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session

from app.identity.cases import EventOut
from app.kernel import history
from app.kernel.actor import Actor
from app.kernel.history import Event
from app.kernel.machine import Machine
from app.kernel.text import Text
from catalog.collection import service as plans
from catalog.collection.models import Finding, Plan
from catalog.collection.states import FINDING, PLAN
from catalog.following import service as following
from catalog.resources import service as resources
from catalog.resources.models import Resource
from catalog.resources.states import RESOURCE
from exchange.agreements.models import Agreement
from exchange.agreements.states import AGREEMENT
from exchange.corrections.models import Correction
from exchange.corrections.states import CORRECTION
from exchange.disputes.models import Dispute
from exchange.disputes.states import DISPUTE
from exchange.negotiations.models import Negotiation
from exchange.negotiations.states import NEGOTIATION
from exchange.parties import visible_to
from exchange.policies import service as policies
from exchange.policies.models import SharingPolicy
from exchange.policies.states import POLICY
from exchange.requests import service as requests
from exchange.requests.models import ShareRequest
from exchange.requests.states import REQUEST

Cursor = tuple[int, int]  # transaction, position
START: Cursor = (0, 0)
FOLLOWED = (
    "followed"  # the kind of what happened to a resource that the agency follows and does not administer
)
SCANNED_AT_ONCE = 1000
SCANS = 5  # of one reading, so that what an actor may not know costs nobody minutes

# Drafts are their own side's until they are put forward.
_OWN_SIDE = {("negotiation", "draft_terms"), ("dispute", "draft_ruling")}


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of case whose events are told: where it is read, and the cases an actor gets events of."""

    machine: Machine
    path: str
    known: Callable[[Actor], Any]  # the ids, as a query

    def ids(self, session: Session, ids: Collection[UUID], by: Actor) -> set[UUID]:
        query = self.known(by)
        (column,) = query.selected_columns
        return set(session.scalars(query.where(column.in_(ids))))


def _of_parties(model: type[Any]) -> Callable[[Actor], Any]:
    return lambda by: select(model.id).where(visible_to(by, model))


def _administered(by: Actor) -> ColumnElement[bool]:
    """Resources whose history is the actor's: its agency's own, and those it reviews."""
    own = Resource.agency_id == by.agency_id
    return (
        or_(own, Resource.jurisdiction_id.in_(resources.reviewed_jurisdictions(by)))
        if resources.reviews(by)
        else own
    )


KINDS: dict[str, _Kind] = {
    kind.machine.kind: kind
    for kind in (
        _Kind(REQUEST, "requests", lambda by: select(ShareRequest.id).where(requests.visible_to(by))),
        _Kind(NEGOTIATION, "negotiations", _of_parties(Negotiation)),
        _Kind(AGREEMENT, "agreements", _of_parties(Agreement)),
        _Kind(DISPUTE, "disputes", _of_parties(Dispute)),
        _Kind(CORRECTION, "corrections", _of_parties(Correction)),
        _Kind(POLICY, "policies", lambda by: select(SharingPolicy.id).where(policies.visible_to(by))),
        _Kind(RESOURCE, "resources", lambda by: select(Resource.id).where(_administered(by))),
        _Kind(PLAN, "plans", lambda by: select(Plan.id).where(plans.visible_to(by))),
        _Kind(
            FINDING, "findings",
            lambda by: select(Finding.id).join(Plan, Plan.id == Finding.plan_id).where(plans.visible_to(by)),
        ),
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reading:
    """Some events and the place up to which the feed was read; `more` where it goes on right away. `followed` are
    those that are told only because the agency follows what they are about."""

    events: list[Event]
    followed: frozenset[UUID]
    cursor: Cursor
    more: bool


def read_feed(
    session: Session, after: Cursor, *, by: Actor, kinds: Collection[str] = (), limit: int
) -> Reading:
    """Up to `limit` events after `after` that the actor may know of, of these kinds of case (none named:
    all). A transaction that commits late is still ahead of every cursor handed out before it."""
    found: list[Event] = []
    followed: set[UUID] = set()
    cursor = after
    for _ in range(SCANS):
        batch = history.events_after(session, cursor, limit=SCANNED_AT_ONCE)
        told = _told(session, batch, by, kinds or KINDS)
        if not kinds or FOLLOWED in kinds:
            followed |= following.followed(session, batch, agency_id=by.agency_id) - told
        for event in batch:
            if event.id in told or event.id in followed:
                if len(found) == limit:
                    return Reading(found, frozenset(followed), cursor, more=True)
                found.append(event)
            cursor = (int(event.transaction), event.position)
        if len(batch) < SCANNED_AT_ONCE:
            return Reading(found, frozenset(followed), cursor, more=False)
    return Reading(found, frozenset(followed), cursor, more=True)


def _told(session: Session, events: Iterable[Event], by: Actor, kinds: Collection[str]) -> set[UUID]:
    subjects: dict[str, set[UUID]] = defaultdict(set)
    for event in events:
        if event.kind in kinds and event.kind in KINDS:
            subjects[event.kind].add(event.subject_id)
    known = {kind: KINDS[kind].ids(session, ids, by) for kind, ids in subjects.items()}
    return {
        event.id
        for event in events
        if event.subject_id in known.get(event.kind, ())
        and ((event.kind, event.act) not in _OWN_SIDE or event.agency_id == by.agency_id)
    }


class FeedEvent(EventOut):
    """One event of a case; `id` is stable, the same in webhooks and in the ledger."""

    kind: str
    subject_id: UUID
    href: str


def as_told(event: Event, reading: Reading) -> FeedEvent:
    """The event as the feed and webhooks carry it. Of what the agency only follows it says what happened, not who
    did it nor why: that is for its provider and its authority."""
    kind = KINDS[event.kind]
    name = kind.machine.acts.get(event.act) or Text(event.act, event.act)
    href = f"/api/v1/{kind.path}/{event.subject_id}"
    told = FeedEvent.of(event, name, kind=event.kind, subject_id=event.subject_id, href=href)
    return told.model_copy(update=_UNTOLD) if event.id in reading.followed else told


_UNTOLD: dict[str, Any] = {
    "kind": FOLLOWED, "party": None, "actor_name": "", "agency_id": None, "reason": None, "data": {}, "content": None,
}  # fmt: skip
