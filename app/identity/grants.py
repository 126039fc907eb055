"""Roles that take two people (双人复核): one administrator asks, another confirms, and only then the role counts.

Owns the states of a grant. Which roles take two is the rule profile's.
"""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from sqlalchemy import ARRAY, CheckConstraint, ForeignKey, Select, String, any_, literal, or_, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.identity import sessions
from app.identity.agencies import agencies_within, is_within
from app.identity.models import Agency, Jurisdiction, Person
from app.identity.profiles import profile_for
from app.kernel import history
from app.kernel.actor import Actor, ActorKind, Role, system_actor
from app.kernel.db import Base, Stateful
from app.kernel.errors import Fault, Invalid, NotFound, NotPermitted
from app.kernel.machine import Machine, Party, Transition
from app.kernel.text import Text

BASIS = "GB/T 22239"
ASKED, GRANTED, REFUSED = "asked", "granted", "refused"
ADMINISTRATORS = (Role.SECURITY_ADMINISTRATOR, Role.SYSTEM_ADMINISTRATOR)
_SECURITY = (("authority", Role.SECURITY_ADMINISTRATOR),)
_SECOND = (*_SECURITY, ("authority", Role.SYSTEM_ADMINISTRATOR))

GRANT = Machine(
    "role_grant",
    states={
        ASKED: Text("待复核", "waits for a second person"),
        GRANTED: Text("已授予", "granted"),
        REFUSED: Text("已驳回", "refused"),
    },
    acts={
        "ask": Text("提请授予角色", "ask for roles"),
        "confirm": Text("复核通过", "confirm"),
        "refuse": Text("驳回", "refuse"),
    },
    rows=(
        Transition(None, "ask", _SECURITY, ASKED, BASIS),
        # The system: where there is no second administrator yet (the first ones of a deployment).
        Transition(ASKED, "confirm", (*_SECOND, ("system", None)), GRANTED, BASIS),
        Transition(ASKED, "refuse", _SECOND, REFUSED, BASIS),
    ),
)


class RoleGrant(Base, Stateful):
    """授权: roles for a person, asked for by one administrator and answered by another."""

    __tablename__ = "role_grant"

    person_id: Mapped[UUID] = mapped_column(ForeignKey("person.id"), index=True)
    roles: Mapped[list[str]] = mapped_column(ARRAY(String))
    asked_by: Mapped[UUID | None]
    answered_by: Mapped[UUID | None]

    __table_args__ = (
        CheckConstraint("answered_by <> asked_by AND answered_by <> person_id", name="two_people"),
    )


class SecondPersonNeeded(NotPermitted):
    """Whoever asked for roles, or is to have them, does not confirm them."""

    slug = "second-person-needed"
    title = Text("须由另一名管理员复核", "Another administrator has to confirm it")


def parties_of(session: Session, actor: Actor, grant: RoleGrant) -> frozenset[Party]:
    """What the actor is to a grant: of the `authority` in whose jurisdiction the person works, or nothing."""
    agency_id = session.scalar(select(Person.agency_id).where(Person.id == grant.person_id))
    place = session.scalar(select(Agency.jurisdiction_id).where(Agency.id == agency_id))
    if place is None or actor.jurisdiction_id is None or not actor.is_authority:
        return frozenset()
    return frozenset({"authority"}) if is_within(session, place, actor.jurisdiction_id) else frozenset()


def two_person_roles(session: Session, agency_id: UUID) -> frozenset[Role]:
    """The roles that take two people where the agency belongs."""
    place = session.get_one(Agency, agency_id).jurisdiction_id
    return frozenset(profile_for(session, place).security.two_person_roles)


def ask(
    session: Session, person: Person, roles: Iterable[Role], *, reason: str | None, by: Actor
) -> RoleGrant:
    """Ask that a person have these roles too. Where nobody else could confirm it they count at once, and the
    history says so. Errors: Invalid, as `sessions.register_person`."""
    wanted = frozenset(roles) - set(person.roles)
    if not wanted:
        message = Text("此人已有这些角色", "the person has these roles already")
        raise Invalid(faults=[Fault("/roles", message)])
    sessions.require_separated(wanted | {Role(role) for role in person.roles}, person.contractor)
    grant = RoleGrant(person_id=person.id, roles=sorted(wanted), asked_by=by.id)
    history.create(
        session, grant, GRANT, "ask", by=by, parties=parties_of(session, by, grant), reason=reason,
        data={"person": str(person.id), "roles": grant.roles},
    )  # fmt: skip
    takes_two = wanted & two_person_roles(session, person.agency_id)
    if not takes_two or not _others(session, person, by):
        alone = {"alone": True} if takes_two else {}
        history.advance(
            session,
            grant,
            GRANT,
            "confirm",
            by=system_actor("rule"),
            parties=frozenset({"system"}),
            data=alone,
        )
        _give(session, person, grant)
    return grant


def _others(session: Session, person: Person, by: Actor) -> bool:
    """Whether another administrator could confirm it: of an authority over the person's agency."""
    path = (
        select(Jurisdiction.path)
        .join(Agency, Agency.jurisdiction_id == Jurisdiction.id)
        .where(Agency.id == person.agency_id)
    )
    query = (
        select(Person.id)
        .join(Jurisdiction, Jurisdiction.authority_id == Person.agency_id)
        .where(Jurisdiction.id.in_(session.scalar(path) or ()), Person.active)
        .where(
            Person.id.not_in([person.id, by.id]),
            or_(*(literal(role.value) == any_(Person.roles) for role in ADMINISTRATORS)),
        )
    )
    return session.scalar(query.limit(1)) is not None


def answer(
    session: Session, grant: RoleGrant, act: str, *, reason: str | None, by: Actor, expected_version: int
) -> None:
    """`confirm` or `refuse`. Errors: SecondPersonNeeded, Invalid, as `sessions.register_person`."""
    if by.kind is ActorKind.PERSON and by.id in (grant.asked_by, grant.person_id):
        raise SecondPersonNeeded()
    history.advance(
        session, grant, GRANT, act, by=by, parties=parties_of(session, by, grant), reason=reason,
        expected_version=expected_version,
    )  # fmt: skip
    grant.answered_by = by.id
    if act == "confirm":
        _give(session, session.get_one(Person, grant.person_id, with_for_update=True), grant)


def _give(session: Session, person: Person, grant: RoleGrant) -> None:
    roles = {*person.roles, *grant.roles}
    sessions.require_separated({Role(role) for role in roles}, person.contractor)
    person.roles = sorted(roles)
    # Signed in anew, they are asked for what the new roles want: a second factor.
    sessions.end_sessions(session, person.id)


def _visible(by: Actor) -> Select[RoleGrant]:
    people = select(Person.id).where(Person.agency_id.in_(agencies_within(by)))
    return select(RoleGrant).where(RoleGrant.person_id.in_(people))


def find(session: Session, grant_id: UUID, *, by: Actor) -> RoleGrant:
    """The grant of a person in the actor's jurisdiction or below. Errors: NotFound."""
    grant = session.scalar(_visible(by).where(RoleGrant.id == grant_id))
    if grant is None:
        raise NotFound()
    return grant


def list_grants(
    session: Session, *, by: Actor, state: str | None, before: UUID | None, limit: int
) -> list[RoleGrant]:
    """Grants in the actor's jurisdiction and below, newest first."""
    query = _visible(by)
    if state is not None:
        query = query.where(RoleGrant.state == state)
    if before is not None:
        query = query.where(RoleGrant.id < before)
    return list(session.scalars(query.order_by(RoleGrant.id.desc()).limit(limit)))
