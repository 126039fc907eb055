"""REST of identity: sign-in, jurisdictions, agencies, people."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import Field
from sqlalchemy import select

from app.identity import agencies, grants, sessions
from app.identity.models import Agency, Jurisdiction, Person
from app.identity.permissions import permit, permitted
from app.kernel.actor import Actor, ActorKind, Lacking, Role, Scope
from app.kernel.db import DbSession
from app.kernel.errors import NotSignedIn
from app.kernel.http import respond
from app.kernel.idempotency import ONCE, CreatingRoute
from app.kernel.wire import Cursor, Limit, Page, ShortText, Wire, encode_cursor, id_in_cursor, read_cursor

router = APIRouter(tags=["identity"], route_class=CreatingRoute)

SYSTEM = (Role.SYSTEM_ADMINISTRATOR,)
SECURITY = (Role.SECURITY_ADMINISTRATOR,)
permit("session.create", anonymous=True)
permit("session.end", "me.set_password")  # a system has neither
permit("me.read", "jurisdiction.list", "agency.list", "agency.read", scope=Scope.CATALOG)
permit("jurisdiction.register", "agency.register", roles=SYSTEM, authority=True)
permit(
    "person.register",
    "person.issue_secret",
    roles=SECURITY,
    authority=True,
)
permit("person.list", roles=(*SECURITY, Role.AUDIT_ADMINISTRATOR), authority=True)


class SignIn(Wire):
    """`code` is the authenticator's, or a recovery code, of who has a second factor."""

    login: ShortText
    secret: ShortText
    code: Annotated[str, Field(max_length=40)] | None = None


class SignedIn(Wire):
    token: str
    person_id: UUID
    must_set_password: bool
    lacks: Lacking | None  # what must be seen to before anything else


class Me(Wire):
    kind: ActorKind
    id: UUID | None
    name: str
    agency_id: UUID | None
    jurisdiction_id: UUID | None
    is_authority: bool
    roles: list[Role]
    scopes: list[Scope]


class NewPassword(Wire):
    password: str = Field(max_length=128)
    current: Annotated[str, Field(max_length=128)] | None = None  # the one that is replaced


class JurisdictionOut(Wire):
    id: UUID
    code: str
    name: str
    name_en: str
    level: int
    parent_id: UUID | None
    authority_id: UUID | None


class NewJurisdiction(Wire):
    code: ShortText
    name: ShortText
    name_en: ShortText
    parent_code: ShortText | None = None


class AgencyOut(Wire):
    id: UUID
    name: str
    name_en: str | None
    credit_code: str | None
    local_code: str | None
    jurisdiction_id: UUID
    responsible_leader: str | None
    internal_office: str | None
    verified: bool


class NewAgency(Wire):
    name: ShortText
    name_en: ShortText | None = None
    jurisdiction_code: ShortText
    credit_code: ShortText
    responsible_leader: ShortText
    internal_office: ShortText
    authority: bool = False
    replaces: UUID | None = None  # the authority until now, where there is one


class PersonOut(Wire):
    id: UUID
    login: str
    name: str
    agency_id: UUID
    roles: list[Role]
    active: bool


class NewPerson(Wire):
    login: ShortText
    name: ShortText
    agency_id: UUID
    roles: list[Role] = Field(max_length=len(Role))
    contractor: bool = False  # staff of a supplier: no rights to data


class Secret(Wire):
    login: str
    one_time_secret: str


class NewcomerSecret(Secret):
    awaiting: list[Role]  # what another administrator has to confirm


Signed = Annotated[Actor, permitted("me.read")]


@router.post(
    "/api/v1/sessions", status_code=201, operation_id="session.create", response_model=SignedIn,
    dependencies=[permitted("session.create")],
)  # fmt: skip
def create_session(body: SignIn, request: Request, session: DbSession) -> SignedIn | Response:
    """Sign in with a one-time secret or a password. The token is sent back as `Authorization: Bearer …`."""
    opened = sessions.sign_in(
        session, login=body.login, secret=body.secret, code=body.code, seal=request.app.state.keys.seal,
        device=request.headers.get("user-agent"),
    )  # fmt: skip
    if opened is None:  # answered, not raised: the count of failures must be committed
        return respond(request, NotSignedIn(sessions.SIGN_IN_REFUSED))
    person = opened.person
    return SignedIn(
        token=opened.token, person_id=person.id, must_set_password=person.password_hash is None,
        lacks=opened.lacks,
    )  # fmt: skip


@router.delete("/api/v1/sessions/current", status_code=204, operation_id="session.end")
def end_session(
    actor: Annotated[Actor, permitted("session.end")], request: Request, session: DbSession
) -> Response:
    """Sign out."""
    sessions.sign_out(session, sessions.session_token(request))
    return Response(status_code=204, headers=sessions.FORGET)


@router.get("/api/v1/me", operation_id="me.read")
def me(actor: Signed) -> Me:
    """Who the caller is, as the service sees them."""
    return Me(
        kind=actor.kind, id=actor.id, name=actor.name, agency_id=actor.agency_id,
        jurisdiction_id=actor.jurisdiction_id, is_authority=actor.is_authority,
        roles=sorted(actor.roles), scopes=sorted(actor.scopes),
    )  # fmt: skip


@router.put("/api/v1/me/password", status_code=204, operation_id="me.set_password")
def set_password(
    body: NewPassword,
    actor: Annotated[Actor, permitted("me.set_password")],
    request: Request,
    session: DbSession,
) -> Response:
    """Set one's own password; one's other sessions end."""
    keep = sessions.session_token(request)
    breached = request.app.state.settings.breached_passwords
    sessions.set_password(
        session, password=body.password, current=body.current, by=actor, keep=keep, breached=breached
    )
    return Response(status_code=204)


@router.get(
    "/api/v1/jurisdictions", operation_id="jurisdiction.list", dependencies=[permitted("jurisdiction.list")]
)
def list_jurisdictions(
    session: DbSession, limit: Limit = 100, cursor: Cursor = None
) -> Page[JurisdictionOut]:
    """The tree, by division code."""
    query = select(Jurisdiction).order_by(Jurisdiction.code).limit(limit + 1)
    if cursor:
        query = query.where(Jurisdiction.code > read_cursor(cursor, str))
    rows = list(session.scalars(query))
    page = [JurisdictionOut.model_validate(row) for row in rows[:limit]]
    return Page(items=page, next=encode_cursor(page[-1].code) if len(rows) > limit else None)


@router.post(
    "/api/v1/jurisdictions", status_code=201, operation_id="jurisdiction.register", openapi_extra=ONCE
)
def register_jurisdiction(
    body: NewJurisdiction, actor: Annotated[Actor, permitted("jurisdiction.register")], session: DbSession
) -> JurisdictionOut:
    """Add a jurisdiction below one of one's own."""
    parent = agencies.jurisdiction_by_code(session, body.parent_code) if body.parent_code else None
    agencies.require_within(session, actor, parent.id if parent else None)
    row = agencies.register_jurisdiction(
        session, code=body.code, name=body.name, name_en=body.name_en, parent_code=body.parent_code, by=actor
    )
    return JurisdictionOut.model_validate(row)


@router.get("/api/v1/agencies", operation_id="agency.list", dependencies=[permitted("agency.list")])
def list_agencies(session: DbSession, limit: Limit = 100, cursor: Cursor = None) -> Page[AgencyOut]:
    """Registered agencies, oldest first."""
    query = select(Agency).order_by(Agency.id).limit(limit + 1)
    if cursor:
        query = query.where(Agency.id > id_in_cursor(cursor))
    rows = list(session.scalars(query))
    page = [AgencyOut.model_validate(row) for row in rows[:limit]]
    return Page(items=page, next=encode_cursor(page[-1].id) if len(rows) > limit else None)


@router.get(
    "/api/v1/agencies/{agency_id}", operation_id="agency.read", dependencies=[permitted("agency.read")]
)
def read_agency(agency_id: UUID, session: DbSession) -> AgencyOut:
    """One agency."""
    return AgencyOut.model_validate(agencies.agency(session, agency_id))


@router.post("/api/v1/agencies", status_code=201, operation_id="agency.register", openapi_extra=ONCE)
def register_agency(
    body: NewAgency, actor: Annotated[Actor, permitted("agency.register")], session: DbSession
) -> AgencyOut:
    """Register an agency of one's own jurisdiction or one below (Regulation Art. 40: leader and office)."""
    jurisdiction = agencies.jurisdiction_by_code(session, body.jurisdiction_code)
    agencies.require_within(session, actor, jurisdiction.id)
    row = agencies.register_agency(
        session, name=body.name, name_en=body.name_en, jurisdiction_id=jurisdiction.id,
        credit_code=body.credit_code, responsible_leader=body.responsible_leader,
        internal_office=body.internal_office, authority=body.authority, replaces=body.replaces, by=actor,
    )  # fmt: skip
    return AgencyOut.model_validate(row)


@router.get("/api/v1/people", operation_id="person.list")
def list_people(
    actor: Annotated[Actor, permitted("person.list")],
    session: DbSession,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[PersonOut]:
    """People of the agencies in one's own jurisdiction and below."""
    query = (
        select(Person)
        .where(Person.agency_id.in_(agencies.agencies_within(actor)))
        .order_by(Person.login)
        .limit(limit + 1)
    )
    if cursor:
        query = query.where(Person.login > read_cursor(cursor, str))
    rows = list(session.scalars(query))
    page = [PersonOut.model_validate(row) for row in rows[:limit]]
    return Page(items=page, next=encode_cursor(page[-1].login) if len(rows) > limit else None)


@router.post("/api/v1/people", status_code=201, operation_id="person.register")
def register_person(
    body: NewPerson, actor: Annotated[Actor, permitted("person.register")], session: DbSession
) -> NewcomerSecret:
    """Register a person and give their first one-time secret, shown this once. Roles that take two people wait
    for another administrator (`role_grant.confirm`)."""
    agencies.require_agency_within(session, actor, body.agency_id)
    roles = frozenset(body.roles)
    waits = roles & grants.two_person_roles(session, body.agency_id)
    sessions.require_separated(roles, body.contractor)
    person = sessions.register_person(
        session, login=body.login, name=body.name, agency_id=body.agency_id, roles=roles - waits,
        contractor=body.contractor, by=actor,
    )  # fmt: skip
    if waits:
        grants.ask(session, person, waits, reason=None, by=actor)
    return NewcomerSecret(
        login=person.login,
        one_time_secret=sessions.issue_one_time_secret(session, person, by=actor),
        awaiting=sorted(waits - set(person.roles)),
    )


@router.post(
    "/api/v1/people/{person_id}/one-time-secret", status_code=201, operation_id="person.issue_secret"
)
def issue_secret(
    person_id: UUID, actor: Annotated[Actor, permitted("person.issue_secret")], session: DbSession
) -> Secret:
    """A new one-time secret for a person who cannot sign in."""
    person = agencies.person_within(session, actor, person_id)
    return Secret(
        login=person.login, one_time_secret=sessions.issue_one_time_secret(session, person, by=actor)
    )
