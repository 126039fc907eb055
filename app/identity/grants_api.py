"""REST of what watches over people's rights: roles that take two people, and who read personal data."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import Field

from app.identity import grants, reads
from app.identity.agencies import person_within
from app.identity.grants import GRANT, RoleGrant
from app.identity.permissions import permit, permitted
from app.kernel import history
from app.kernel.actor import Actor, Role
from app.kernel.db import DbSession
from app.kernel.idempotency import ONCE, CreatingRoute
from app.kernel.wire import ExpectedVersion, LongText, Page, Paging, ShortText, Wire, page, set_version

router = APIRouter(prefix="/api/v1", tags=["identity"], route_class=CreatingRoute)

AUDIT = Role.AUDIT_ADMINISTRATOR
permit("role_grant.ask", roles=(Role.SECURITY_ADMINISTRATOR,), authority=True)
permit("role_grant.confirm", "role_grant.refuse", roles=grants.ADMINISTRATORS, authority=True)
permit("role_grant.list", "role_grant.events", roles=(*grants.ADMINISTRATORS, AUDIT), authority=True)
permit("personal_read.list", roles=(AUDIT,), authority=True)


class RolesAsked(Wire):
    roles: list[Role] = Field(min_length=1, max_length=len(Role))
    reason: LongText


class Answer(Wire):
    reason: LongText | None = None


class GrantOut(Wire):
    """Roles for a person; they count in state `granted`."""

    id: UUID
    person_id: UUID
    roles: list[Role]
    state: str
    version: int
    created_at: datetime
    asked_by: UUID | None
    answered_by: UUID | None
    allowed: list[str]

    @classmethod
    def of(cls, session: DbSession, grant: RoleGrant, actor: Actor) -> GrantOut:
        own = actor.id in (grant.asked_by, grant.person_id)
        acts = GRANT.allowed(grant.state, grants.parties_of(session, actor, grant), actor.roles)
        return cls(
            id=grant.id, person_id=grant.person_id, roles=[Role(role) for role in grant.roles], state=grant.state,
            version=grant.version, created_at=grant.created_at, asked_by=grant.asked_by,
            answered_by=grant.answered_by, allowed=[] if own else acts,
        )  # fmt: skip


class GrantEvent(Wire):
    at: datetime
    act: str
    actor_name: str
    reason: str | None
    alone: bool  # confirmed by rule, because there was no second administrator


class ReadOut(Wire):
    """One call that showed personal data; `request_id` finds it in the logs."""

    id: UUID
    created_at: datetime
    operation: str
    path: str
    actor_kind: str
    actor_id: UUID
    actor_name: str
    agency_id: UUID | None
    request_id: str


class Chosen(Paging):
    """Which grants: in one state."""

    state: ShortText | None = None


class ChosenReads(Paging):
    """Whose calls, and of which operation."""

    actor_id: UUID | None = None
    operation: ShortText | None = None


@router.post("/people/{person_id}/roles", status_code=201, operation_id="role_grant.ask", openapi_extra=ONCE)
def ask(
    person_id: UUID,
    body: RolesAsked,
    actor: Annotated[Actor, permitted("role_grant.ask")],
    session: DbSession,
    response: Response,
) -> GrantOut:
    """Ask that a person have more roles. Those that take two people (rule profile) wait for another
    administrator; others count at once."""
    person = person_within(session, actor, person_id, lock=True)
    grant = grants.ask(session, person, body.roles, reason=body.reason, by=actor)
    set_version(response, grant.version)
    return GrantOut.of(session, grant, actor)


@router.get("/role-grants", operation_id="role_grant.list")
def list_grants(
    actor: Annotated[Actor, permitted("role_grant.list")],
    session: DbSession,
    chosen: Annotated[Chosen, Query()],
) -> Page[GrantOut]:
    """Roles that were asked for in one's own jurisdiction and below, newest first."""
    rows = grants.list_grants(session, by=actor, state=chosen.state, before=chosen.before, limit=chosen.fetch)
    return page(rows, chosen.limit, lambda shown: [GrantOut.of(session, row, actor) for row in shown])


@router.get("/role-grants/{id}/events", operation_id="role_grant.events")
def events(
    id: UUID, actor: Annotated[Actor, permitted("role_grant.events")], session: DbSession
) -> list[GrantEvent]:
    """What happened to a grant, oldest first."""
    grant = grants.find(session, id, by=actor)
    return [
        GrantEvent(
            at=event.at, act=event.act, actor_name=event.actor_name, reason=event.reason,
            alone=bool(event.data.get("alone")),
        )
        for event in history.events_of(session, GRANT.kind, grant.id)
    ]  # fmt: skip


@router.post("/role-grants/{id}/confirm", operation_id="role_grant.confirm")
def confirm(
    id: UUID,
    body: Answer,
    expected: ExpectedVersion,
    actor: Annotated[Actor, permitted("role_grant.confirm")],
    session: DbSession,
    response: Response,
) -> GrantOut:
    """The second person agrees: the roles count from now on, and the person signs in anew."""
    return _answered(session, response, id, "confirm", body, expected, actor)


@router.post("/role-grants/{id}/refuse", operation_id="role_grant.refuse")
def refuse(
    id: UUID,
    body: Answer,
    expected: ExpectedVersion,
    actor: Annotated[Actor, permitted("role_grant.refuse")],
    session: DbSession,
    response: Response,
) -> GrantOut:
    """The second person does not agree."""
    return _answered(session, response, id, "refuse", body, expected, actor)


def _answered(
    session: DbSession, response: Response, id: UUID, act: str, body: Answer, expected: int, actor: Actor
) -> GrantOut:
    grant = grants.find(session, id, by=actor)
    grants.answer(session, grant, act, reason=body.reason, by=actor, expected_version=expected)
    set_version(response, grant.version)
    return GrantOut.of(session, grant, actor)


@router.get("/personal-reads", operation_id="personal_read.list")
def list_reads(
    actor: Annotated[Actor, permitted("personal_read.list")],
    session: DbSession,
    chosen: Annotated[ChosenReads, Query()],
) -> Page[ReadOut]:
    """查阅个人信息的记录: who was shown personal data, newest first, in one's own jurisdiction and below."""
    rows = reads.list_reads(
        session, by=actor, of=chosen.actor_id, operation=chosen.operation, before=chosen.before,
        limit=chosen.fetch,
    )  # fmt: skip
    return page(rows, chosen.limit, lambda shown: [ReadOut.model_validate(row) for row in shown])
