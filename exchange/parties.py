"""The two sides of an exchange and the authority over both: who an actor is to it, who may know of it.

Owns the routing of Regulation Art. 21 and Decree 809 Art. 28. Refuses an authority that is itself a party.
"""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    ForeignKey,
    Select,
    Uuid,
    any_,
    bindparam,
    exists,
    false,
    literal,
    or_,
    select,
    true,
)
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.identity import agencies, profiles
from app.identity.models import Agency, Jurisdiction
from app.kernel.actor import Actor, ActorKind, Role
from app.kernel.calendar import Calendar
from app.kernel.errors import NotFound, NotPermitted
from app.kernel.machine import Party
from app.kernel.text import Text

SYSTEM_PARTIES: frozenset[Party] = frozenset({"system"})


class ConflictOfInterest(NotPermitted):
    """回避: a mediator whose agency is a party does not act for the authority."""

    slug = "conflict-of-interest"
    title = Text("本单位是当事一方，应当回避", "Your agency is a party and may not decide")


class Bilateral:
    """Mixin: requester (需求方), provider (提供方) and the authority competent between them."""

    requester_id: Mapped[UUID] = mapped_column(ForeignKey("agency.id"), index=True)
    provider_id: Mapped[UUID] = mapped_column(ForeignKey("agency.id"), index=True)
    authority_id: Mapped[UUID] = mapped_column(ForeignKey("agency.id"), index=True)


def parties_of(actor: Actor, case: Bilateral) -> frozenset[Party]:
    """What the actor's agency is to the case. An authority that is a party is only that."""
    if actor.agency_id is None:
        return frozenset()
    sides = {"requester": case.requester_id, "provider": case.provider_id}
    parties = frozenset(party for party, agency_id in sides.items() if agency_id == actor.agency_id)
    if not parties and actor.agency_id == case.authority_id:
        return frozenset({"authority"})
    return parties


def visible_to(actor: Actor, model: Any) -> ColumnElement[bool]:
    """The SQL condition under which the actor may know of a row of `model` (a Bilateral table): both
    parties, the authority between them, and audit administrators of that authority or one above it."""
    if actor.kind is ActorKind.SYSTEM:
        return true()
    if actor.agency_id is None:
        return false()
    return _known(model, literal(actor.agency_id, Uuid), literal(actor.jurisdiction_id, Uuid), _audits(actor))


def _audits(actor: Actor) -> bool:
    return Role.AUDIT_ADMINISTRATOR in actor.roles and actor.is_authority


def _known(
    model: Any, agency: BindParameter[UUID], place: BindParameter[UUID], audited: bool
) -> ColumnElement[bool]:
    own = or_(*(c == agency for c in (model.requester_id, model.provider_id, model.authority_id)))
    if not audited:
        return own
    below = exists().where(Agency.id == model.authority_id, Jurisdiction.id == Agency.jurisdiction_id)
    return or_(own, below.where(place == any_(Jurisdiction.path)))


Case = TypeVar("Case", bound=Bilateral)


def find(session: Session, model: type[Case], id: UUID, *, by: Actor) -> Case:
    """The row of `model`, if the actor may know of it. Errors: NotFound, for both reasons the same."""
    if by.kind is ActorKind.SYSTEM:
        found = session.get(model, id)
    else:
        values = {"id": id, "agency": by.agency_id, "place": by.jurisdiction_id}
        known: Any = model
        found = session.scalar(_finding(known, _audits(by)), values)
    if found is None:
        raise NotFound()
    return found


@cache  # every command begins with it, and a statement is built as slowly as it is answered
def _finding(model: Any, audited: bool) -> Select[Any]:
    known = _known(model, bindparam("agency", type_=Uuid), bindparam("place", type_=Uuid), audited)
    return select(model).where(model.id == bindparam("id", type_=Uuid), known)


def deciding_authority(session: Session, requester_id: UUID, provider_id: UUID) -> UUID:
    """The authority between two agencies; where it is itself one of them, the next one above that is not.

    At the top of the tree nobody is above: then it is named all the same, and can decide nothing.
    """
    requester, provider = agencies.agency(session, requester_id), agencies.agency(session, provider_id)
    authority = agencies.competent_authority(session, requester, provider)
    while authority.id in (requester_id, provider_id):
        above = agencies.authority_above(session, authority)
        if above is None:
            break
        authority = above
    return authority.id


def calendar_for(session: Session, agency_id: UUID) -> Calendar:
    """The working-day calendar by which the agency's time is counted."""
    return profiles.rules_for(session, agency_id).calendar


def names_of(session: Session, agency_ids: set[UUID]) -> dict[UUID, Text]:
    """The agencies' names; an agency without an English name goes by its Chinese one."""
    rows = session.execute(select(Agency.id, Agency.name, Agency.name_en).where(Agency.id.in_(agency_ids)))
    return {row.id: Text(row.name, row.name_en or row.name) for row in rows}
