"""The audit desk's work-list: duplicates that audits of the whole catalog found, assigned to and decided by people.

Owns audit findings and who may know of them. Finding them is the audit's; it hands them to `take_in`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Uuid, any_, false, func, literal, or_, select, true, tuple_
from sqlalchemy.orm import Session

from app.identity import agencies
from app.identity.models import Agency, Jurisdiction, Person
from app.kernel import history
from app.kernel.actor import Actor, ActorKind, Role, system_actor
from app.kernel.errors import Fault, Invalid, NotFound
from app.kernel.machine import Party
from app.kernel.text import Text
from catalog.collection import links
from catalog.collection.audited import AuditedRecord, Relation
from catalog.collection.links import Named
from catalog.collection.models import AuditFinding
from catalog.collection.states import AUDIT_FINDING, GONE, UNDECIDED

AUDIT = system_actor("audit")
_SYSTEM: frozenset[Party] = frozenset({"system"})
_BATCH = 500


def take_in(
    session: Session,
    found: Sequence[AuditedRecord],
    *,
    model_version: str,
    examined: Collection[UUID] | None = None,
) -> Mapping[str, int]:
    """Bring the work-list up to what an audit found: how many are new, known, found again, and gone.

    `examined` are the resources an incremental audit looked at (None: the whole catalog). What stood undecided
    and is not found again among them is gone; what people have decided stays as they decided it.
    """
    counts = {"new": 0, "known": 0, "found_again": 0, "gone": 0}
    by_key = {record.key: record for record in found}
    keys, places = list(by_key), _Places(session, found)
    for start in range(0, len(keys), _BATCH):
        batch = keys[start : start + _BATCH]
        rows = session.scalars(select(AuditFinding).where(AuditFinding.key.in_(batch)))
        known = {row.key: row for row in rows}
        for key in batch:
            outcome = _take(session, known.get(key), by_key[key], places, model_version)
            counts[outcome] += 1
    undecided = select(AuditFinding).where(AuditFinding.state.in_(UNDECIDED))
    for row in session.scalars(undecided.execution_options(yield_per=_BATCH)).all():
        members = {member.resource_id for member in row.typed.members}
        if row.key not in by_key and (examined is None or not members.isdisjoint(examined)):
            history.advance(session, row, AUDIT_FINDING, "vanish", by=AUDIT, parties=_SYSTEM)
            counts["gone"] += 1
    return counts


def _take(
    session: Session, row: AuditFinding | None, record: AuditedRecord, places: _Places, model_version: str
) -> str:
    if row is not None and row.state not in (*UNDECIDED, GONE):
        return "known"
    told: dict[str, Any] = {
        "relation": record.relation, "band": record.band, "score": record.score,
        "record": record.model_dump(mode="json"), "model_version": model_version,
    }  # fmt: skip
    data = {"relation": record.relation, "band": record.band, "score": record.score, "model": model_version}
    if row is None:
        jurisdiction_id, authority_id = places.of(record)
        row = AuditFinding(key=record.key, jurisdiction_id=jurisdiction_id, authority_id=authority_id, **told)
        history.create(session, row, AUDIT_FINDING, "find", by=AUDIT, parties=_SYSTEM, data=data)
        return "new"
    again = row.state == GONE
    if again:
        history.advance(session, row, AUDIT_FINDING, "find_again", by=AUDIT, parties=_SYSTEM, data=data)
    for name, value in told.items():
        setattr(row, name, value)
    return "found_again" if again else "known"


class _Places:
    """Where each finding belongs: the lowest jurisdiction above all its agencies, and the authority there."""

    def __init__(self, session: Session, found: Sequence[AuditedRecord]) -> None:
        self._session = session
        held = {member.agency_id for record in found for member in record.members}
        rows = session.execute(
            select(Agency.id, Jurisdiction.path)
            .join(Jurisdiction, Jurisdiction.id == Agency.jurisdiction_id)
            .where(Agency.id.in_(held))
        )
        self._paths: dict[UUID, tuple[UUID, ...]] = {row.id: tuple(row.path) for row in rows}
        self._authorities: dict[UUID, UUID | None] = {}

    def of(self, record: AuditedRecord) -> tuple[UUID, UUID]:
        """Jurisdiction and deciding authority: that above all agencies, else that above the first, else, for
        agencies of others' catalogs that stand under no authority, the highest that is registered."""
        paths = [self._paths[member.agency_id] for member in record.members]
        common = [steps[0] for steps in zip(*paths, strict=False) if len(set(steps)) == 1]
        assert common, "the tree has one root"
        return common[-1], self._authority(common[-1]) or self._authority(paths[0][-1]) or self._highest()

    def _authority(self, jurisdiction_id: UUID) -> UUID | None:
        if jurisdiction_id not in self._authorities:
            try:
                self._authorities[jurisdiction_id] = agencies.authority_of(self._session, jurisdiction_id).id
            except NotFound:
                self._authorities[jurisdiction_id] = None
        return self._authorities[jurisdiction_id]

    def _highest(self) -> UUID:
        registered = select(Jurisdiction.authority_id).where(Jurisdiction.authority_id.is_not(None))
        found = self._session.scalar(registered.order_by(Jurisdiction.level, Jurisdiction.code).limit(1))
        if found is None:
            raise NotFound(Text("尚未登记任何主管部门。", "No authority is registered yet."))
        return found


# --- The list


def visible_to(by: Actor) -> ColumnElement[bool]:
    """Which audit findings `by` may know of: an authority's own, and those of the jurisdictions below it."""
    if by.kind is ActorKind.SYSTEM:
        return true()
    if not by.is_authority:
        return false()
    below = select(Jurisdiction.id).where(literal(by.jurisdiction_id, Uuid) == any_(Jurisdiction.path))
    return or_(AuditFinding.authority_id == by.agency_id, AuditFinding.jurisdiction_id.in_(below))


def find_audit_finding(session: Session, finding_id: UUID, *, by: Actor) -> AuditFinding:
    """The audit finding, if the actor may know of it. Errors: NotFound."""
    row = session.scalar(select(AuditFinding).where(AuditFinding.id == finding_id, visible_to(by)))
    if row is None:
        raise NotFound()
    return row


def list_audit_findings(
    session: Session,
    *,
    by: Actor,
    state: str | None = None,
    relation: Relation | None = None,
    assignee_id: UUID | None = None,
    after: tuple[float, UUID] | None = None,
    limit: int = 50,
) -> list[AuditFinding]:
    """The surest first; `after` is score and id of the last on the page before. Without `state`: undecided ones."""
    query = select(AuditFinding).where(visible_to(by))
    query = query.where(AuditFinding.state == state if state else AuditFinding.state.in_(UNDECIDED))
    if relation is not None:
        query = query.where(AuditFinding.relation == relation)
    if assignee_id is not None:
        query = query.where(AuditFinding.assignee_id == assignee_id)
    if after is not None:
        query = query.where(follows(after))
    return list(session.scalars(query.order_by(*SUREST_FIRST).limit(limit)))


SUREST_FIRST = (AuditFinding.score.desc(), AuditFinding.id.desc())


def follows(after: tuple[float, UUID]) -> ColumnElement[bool]:
    """What comes after a finding with this score and id where the surest stand first."""
    return tuple_(AuditFinding.score, AuditFinding.id) < after


def progress(session: Session, *, by: Actor) -> dict[tuple[str, str], int]:
    """How many findings stand in each state, by relation."""
    query = select(AuditFinding.relation, AuditFinding.state, func.count()).where(visible_to(by))
    rows = session.execute(query.group_by(AuditFinding.relation, AuditFinding.state))
    return {(relation, state): count for relation, state, count in rows}


def parties_of(by: Actor, finding: AuditFinding) -> frozenset[Party]:
    return frozenset({"authority"}) if by.agency_id == finding.authority_id else frozenset()


def allowed_acts(finding: AuditFinding, *, by: Actor) -> list[str]:
    """The acts that the actor may do now."""
    return AUDIT_FINDING.allowed(finding.state, parties_of(by, finding), by.roles)


# --- Acts


def assign(session: Session, finding: AuditFinding, *, person_id: UUID, by: Actor, version: int) -> None:
    """分派: give it to somebody of the authority who may decide. Errors: Invalid."""
    _step(session, finding, "assign", by=by, version=version, data={"assignee": str(person_id)})
    person = session.get(Person, person_id)
    may_decide = {Role.CATALOG_ADMINISTRATOR, Role.MEDIATOR}
    if (
        person is None
        or person.agency_id != by.agency_id
        or not person.active
        or not may_decide & {Role(role) for role in person.roles}
    ):
        told = Text(
            "须为本主管部门的目录管理员或协调员", "not a catalog administrator or mediator of this authority"
        )
        raise Invalid(faults=[Fault("/person_id", told)])
    finding.assignee_id = person_id


def confirm(session: Session, finding: AuditFinding, *, reason: str, by: Actor, version: int) -> None:
    """确认重复: the members hold the same; of items, the check takes their names for one element from now on."""
    _decide(session, finding, "confirm", reason, by, version)


def dismiss(session: Session, finding: AuditFinding, *, reason: str, by: Actor, version: int) -> None:
    """认定并非重复: later audits do not bring it again; of two items, the check keeps their names apart. Of more it
    learns nothing: that they are not all one element does not say which of them differ."""
    _decide(session, finding, "dismiss", reason, by, version)


def reopen(session: Session, finding: AuditFinding, *, reason: str, by: Actor, version: int) -> None:
    """重新核查: a decision is looked at again; what it taught the check stands until the next one."""
    _step(session, finding, "reopen", by=by, version=version, reason=reason)


def _decide(session: Session, finding: AuditFinding, act: str, reason: str, by: Actor, version: int) -> None:
    _step(session, finding, act, by=by, version=version, reason=reason)
    finding.decision, finding.decided_by = reason, by.id
    members = finding.typed.members
    if finding.relation != "same_element" or (act == "dismiss" and len(members) > 2):
        return
    first, *others = [Named(m.item_name or "", m.resource_title) for m in members]
    links.decide(
        session, [(first, other) for other in others], "same" if act == "confirm" else "different",
        source="audit_finding", source_id=finding.id, by=by,
    )  # fmt: skip


def _step(
    session: Session,
    finding: AuditFinding,
    act: str,
    *,
    by: Actor,
    version: int,
    reason: str | None = None,
    data: Mapping[str, Any] | None = None,
) -> None:
    history.advance(
        session, finding, AUDIT_FINDING, act, by=by, parties=parties_of(by, finding), expected_version=version,
        reason=reason, data=data,
    )  # fmt: skip
