"""REST of one's own sessions and second factor, of what the security administrator does with people, and of
acting for another agency."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import Field

from app.identity import delegations, second_factor, sessions
from app.identity.agencies import person_within
from app.identity.models import Person
from app.identity.permissions import WHILE_LACKING, permit, permitted
from app.kernel.actor import Actor, Role
from app.kernel.db import DbSession
from app.kernel.errors import NotFound
from app.kernel.idempotency import ONCE, CreatingRoute
from app.kernel.text import Locale
from app.kernel.wire import LongText, Wire

router = APIRouter(prefix="/api/v1", tags=["identity"], route_class=CreatingRoute)

permit(
    "me.set_language", "me.sessions", "me.end_session", "me.begin_second_factor", "me.confirm_second_factor"
)
permit(
    "person.suspend", "person.resume", "person.end_sessions", "person.reset_second_factor",
    roles=(Role.SECURITY_ADMINISTRATOR,), authority=True,
)  # fmt: skip
permit("delegation.give", "delegation.end", roles=(Role.APPROVER,))
permit("delegation.list", roles=(Role.CLERK, Role.APPROVER, Role.AUDIT_ADMINISTRATOR))
WHILE_LACKING.update({
    "me.read", "me.set_password", "me.set_language", "me.sessions", "me.end_session", "me.begin_second_factor",
    "me.confirm_second_factor", "session.end",
})  # fmt: skip


class Language(Wire):
    """The language that one is answered in where a request asks for none."""

    locale: Locale


class SessionOut(Wire):
    """Where one is signed in; `device` is what the browser or program calls itself."""

    id: UUID
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    device: str | None
    is_this: bool


class AuthenticatorKey(Wire):
    """A key for an authenticator, told this once: as text, and as the address that a QR code carries."""

    key: str
    address: str


class Code(Wire):
    code: str = Field(max_length=40)


class RecoveryCodes(Wire):
    """Each signs in once in place of a code from the authenticator; told this once."""

    recovery_codes: list[str]


class Why(Wire):
    reason: LongText


class Ended(Wire):
    ended: int


class PersonState(Wire):
    id: UUID
    login: str
    active: bool


class NewDelegation(Wire):
    """People of `to_agency_id` may act for one's own agency in these roles, up to and on the day `until`."""

    to_agency_id: UUID
    roles: list[Role] = Field(min_length=1, max_length=len(Role))
    until: date
    reason: LongText


class DelegationOut(Wire):
    id: UUID
    for_agency_id: UUID
    to_agency_id: UUID
    roles: list[Role]
    until: date
    reason: str
    ended_at: datetime | None


@router.put("/me/language", status_code=204, operation_id="me.set_language")
def set_language(
    body: Language, actor: Annotated[Actor, permitted("me.set_language")], session: DbSession
) -> Response:
    """Keep the language one reads: of pages, mails and answers."""
    session.get_one(Person, actor.id).locale = body.locale
    return Response(status_code=204)


@router.get("/me/sessions", operation_id="me.sessions")
def list_sessions(
    actor: Annotated[Actor, permitted("me.sessions")], request: Request, session: DbSession
) -> list[SessionOut]:
    """Where one is signed in now."""
    assert actor.id is not None
    this = sessions.digest(sessions.session_token(request))
    return [
        SessionOut(
            id=row.id, created_at=row.created_at, last_seen_at=row.last_seen_at, expires_at=row.expires_at,
            device=row.device, is_this=row.token_hash == this,
        )
        for row in sessions.sessions_of(session, actor.id)
    ]  # fmt: skip


@router.delete("/me/sessions/{session_id}", status_code=204, operation_id="me.end_session")
def end_one_session(
    session_id: UUID,
    actor: Annotated[Actor, permitted("me.end_session")],
    request: Request,
    session: DbSession,
) -> Response:
    """Sign out elsewhere, within ten minutes of signing in here."""
    assert actor.id is not None
    sessions.require_fresh(session, sessions.session_token(request))
    if not sessions.end_sessions(session, actor.id, only=session_id):
        raise NotFound()
    return Response(status_code=204)


@router.post("/me/second-factor", status_code=201, operation_id="me.begin_second_factor")
def begin_second_factor(
    actor: Annotated[Actor, permitted("me.begin_second_factor")], request: Request, session: DbSession
) -> AuthenticatorKey:
    """A key for one's authenticator (TOTP, RFC 6238), within ten minutes of signing in; it counts once a first
    code is confirmed."""
    sessions.require_fresh(session, sessions.session_token(request))
    person = session.get_one(Person, actor.id)
    key, address = second_factor.begin(session, person, request.app.state.keys.seal)
    return AuthenticatorKey(key=key, address=address)


@router.post("/me/second-factor/confirm", operation_id="me.confirm_second_factor")
def confirm_second_factor(
    body: Code,
    actor: Annotated[Actor, permitted("me.confirm_second_factor")],
    request: Request,
    session: DbSession,
) -> RecoveryCodes:
    """Put the authenticator in use; from now on a code is asked for at sign-in."""
    sessions.require_fresh(session, sessions.session_token(request))
    person = session.get_one(Person, actor.id)
    codes = second_factor.confirm(session, person, body.code, request.app.state.keys.seal, by=actor)
    sessions.settle(session, sessions.session_token(request))
    return RecoveryCodes(recovery_codes=codes)


@router.post("/people/{person_id}/suspend", operation_id="person.suspend")
def suspend_person(
    person_id: UUID, body: Why, actor: Annotated[Actor, permitted("person.suspend")], session: DbSession
) -> PersonState:
    """Stop a person: every session ends now."""
    person = person_within(session, actor, person_id)
    sessions.set_active(session, person, False, reason=body.reason, by=actor)
    return PersonState.model_validate(person)


@router.post("/people/{person_id}/resume", operation_id="person.resume")
def resume_person(
    person_id: UUID, body: Why, actor: Annotated[Actor, permitted("person.resume")], session: DbSession
) -> PersonState:
    """Let a suspended person sign in again."""
    person = person_within(session, actor, person_id)
    sessions.set_active(session, person, True, reason=body.reason, by=actor)
    return PersonState.model_validate(person)


@router.post("/people/{person_id}/end-sessions", operation_id="person.end_sessions")
def end_sessions(
    person_id: UUID, actor: Annotated[Actor, permitted("person.end_sessions")], session: DbSession
) -> Ended:
    """Sign a person out everywhere."""
    return Ended(ended=sessions.end_sessions(session, person_within(session, actor, person_id).id))


@router.post("/people/{person_id}/reset-second-factor", operation_id="person.reset_second_factor")
def reset_second_factor(
    person_id: UUID, actor: Annotated[Actor, permitted("person.reset_second_factor")], session: DbSession
) -> PersonState:
    """Take a lost authenticator away; the person enrols a new one at the next sign-in."""
    person = person_within(session, actor, person_id)
    second_factor.reset(session, person, by=actor)
    sessions.end_sessions(session, person.id)
    return PersonState.model_validate(person)


@router.get("/delegations", operation_id="delegation.list")
def list_delegations(
    actor: Annotated[Actor, permitted("delegation.list")], session: DbSession
) -> list[DelegationOut]:
    """Those that one's own agency gave or was given."""
    assert actor.agency_id is not None
    return [DelegationOut.model_validate(row) for row in delegations.of_agency(session, actor.agency_id)]


@router.post("/delegations", status_code=201, operation_id="delegation.give", openapi_extra=ONCE)
def give_delegation(
    body: NewDelegation, actor: Annotated[Actor, permitted("delegation.give")], session: DbSession
) -> DelegationOut:
    """Let people of another agency act for one's own, with the header `Acting-For` and its id."""
    row = delegations.give(
        session,
        to_agency_id=body.to_agency_id,
        roles=body.roles,
        until=body.until,
        reason=body.reason,
        by=actor,
    )
    return DelegationOut.model_validate(row)


@router.post("/delegations/{delegation_id}/end", operation_id="delegation.end")
def end_delegation(
    delegation_id: UUID, actor: Annotated[Actor, permitted("delegation.end")], session: DbSession
) -> DelegationOut:
    """Take a delegation back before its day."""
    row = delegations.find(session, delegation_id, by=actor)
    delegations.end(session, row, by=actor)
    return DelegationOut.model_validate(row)
