"""Acting for another agency (授权代办): recorded, in named roles, until a day at most a year away.

Owns who may act for whom now. What the acting person may then do is the registry's and the objects' as ever.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date, timedelta
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from app.identity.models import Agency, Delegation, Jurisdiction
from app.kernel import history
from app.kernel.actor import Actor, ActorKind, Role
from app.kernel.calendar import legal_date
from app.kernel.clock import new_id, now
from app.kernel.errors import Fault, Invalid, NotFound, NotPermitted, WrongMoment
from app.kernel.text import Text

HEADER = "Acting-For"
LONGEST = timedelta(days=366)
MAY_BE_GIVEN = frozenset({Role.CLERK, Role.APPROVER})  # administration and mediation are never handed on


def give(
    session: Session, *, to_agency_id: UUID, roles: Iterable[Role], until: date, reason: str, by: Actor
) -> Delegation:
    """Let people of another agency act for the actor's own. Errors: Invalid."""
    assert by.agency_id is not None
    assert by.id is not None
    given, today, faults = frozenset(roles), legal_date(now()), []
    if beyond := sorted(given - MAY_BE_GIVEN):
        message = Text("只可代办经办与审核", "only the work of clerks and approvers can be handed on")
        faults.append(
            Fault("/roles", message, Text(f"不得代办：{'、'.join(beyond)}", f"not: {', '.join(beyond)}"))
        )
    if not today <= until <= today + LONGEST:
        faults.append(Fault("/until", Text("须在今日起一年之内", "within a year from today")))
    if to_agency_id == by.agency_id or session.get(Agency, to_agency_id) is None:
        faults.append(Fault("/to_agency_id", Text("没有这个其他单位", "no such other agency")))
    if faults:
        raise Invalid(faults=faults)
    row = Delegation(
        id=new_id(), for_agency_id=by.agency_id, to_agency_id=to_agency_id, roles=sorted(given), reason=reason,
        until=until, given_by=by.id,
    )  # fmt: skip
    session.add(row)
    session.flush()
    history.record(
        session, kind="delegation", subject_id=row.id, act="give", by=by, reason=reason,
        data={"for": str(row.for_agency_id), "to": str(to_agency_id), "roles": row.roles, "until": until.isoformat()},
    )  # fmt: skip
    return row


def end(session: Session, delegation: Delegation, *, by: Actor) -> None:
    """Take a delegation back, with effect from the next request. Errors: NotPermitted, WrongMoment."""
    if delegation.for_agency_id != by.agency_id:
        raise NotPermitted(Text("由授权单位收回。", "The agency that gave it takes it back."))
    session.refresh(delegation, with_for_update=True)
    if delegation.ended_at is not None:
        raise WrongMoment(Text("该授权已收回。", "It has been taken back already."))
    delegation.ended_at = now()
    history.record(session, kind="delegation", subject_id=delegation.id, act="end", by=by)


def find(session: Session, delegation_id: UUID, *, by: Actor) -> Delegation:
    """A delegation by or to the actor's own agency. Errors: NotFound."""
    row = session.get(Delegation, delegation_id)
    if row is None or by.agency_id not in (row.for_agency_id, row.to_agency_id):
        raise NotFound()
    return row


def of_agency(session: Session, agency_id: UUID) -> list[Delegation]:
    """Those that an agency gave or was given, newest first."""
    either = or_(Delegation.for_agency_id == agency_id, Delegation.to_agency_id == agency_id)
    return list(session.scalars(select(Delegation).where(either).order_by(Delegation.id.desc()).limit(500)))


def acting_for(session: Session, actor: Actor, agency: str) -> Actor:
    """The person as somebody of the agency they act for, in the roles they have and were handed.
    Errors: NotPermitted where no delegation in force says so."""
    refused = NotPermitted(
        Text("没有有效的代办授权。", "No delegation in force lets you act for this agency.")
    )
    try:
        agency_id = UUID(agency)
    except ValueError:
        raise refused from None
    if actor.kind is not ActorKind.PERSON:
        raise refused
    query = (
        select(Delegation.roles, Agency.jurisdiction_id, Jurisdiction.authority_id)
        .join(Agency, Agency.id == Delegation.for_agency_id)
        .join(Jurisdiction, Jurisdiction.id == Agency.jurisdiction_id)
        .where(
            Delegation.for_agency_id == agency_id, Delegation.to_agency_id == actor.agency_id,
            Delegation.ended_at.is_(None), Delegation.until >= legal_date(now()),
        )
    )  # fmt: skip
    rows = session.execute(query).all()
    if not rows:
        raise refused
    handed = {Role(role) for row in rows for role in row.roles}
    return replace(
        actor, agency_id=agency_id, jurisdiction_id=rows[0].jurisdiction_id,
        is_authority=rows[0].authority_id == agency_id, roles=actor.roles & handed,
    )  # fmt: skip
