"""REST of machine clients: their tokens, their keys, and what the security administrator does with them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Form, Request, Response
from pydantic import Field
from sqlalchemy import Uuid, any_, literal, select

from app.identity import clients, tokens
from app.identity.agencies import agencies_within, require_agency_within
from app.identity.models import Agency, Client, Jurisdiction
from app.identity.permissions import permit, permitted
from app.kernel.actor import Actor, Role, Scope
from app.kernel.db import DbSession
from app.kernel.errors import Fault, Invalid, NotFound
from app.kernel.idempotency import ONCE, CreatingRoute
from app.kernel.text import Text
from app.kernel.wire import Cursor, Limit, LongText, Page, ShortText, Wire, encode_cursor, read_cursor

router = APIRouter(tags=["identity"], route_class=CreatingRoute)

permit("token.issue", "token.metadata", "token.keys", anonymous=True)
permit(
    "client.register", "client.add_key", "client.remove_key", "client.suspend", "client.resume",
    roles=(Role.SECURITY_ADMINISTRATOR,), authority=True,
)  # fmt: skip
permit(
    "client.list", "client.keys",
    roles=(Role.SECURITY_ADMINISTRATOR, Role.AUDIT_ADMINISTRATOR), authority=True,
)  # fmt: skip


class ClientOut(Wire):
    id: UUID
    name: str
    title: str
    agency_id: UUID
    scopes: list[Scope]
    active: bool
    jwks_uri: str | None
    dpop_bound: bool


class NewClient(Wire):
    """A client with its first key, or with the address where it publishes its keys."""

    name: ShortText
    title: ShortText
    agency_id: UUID
    scopes: list[Scope] = Field(min_length=1, max_length=len(Scope))
    jwk: dict[str, Any] | None = Field(default=None, max_length=20)
    jwks_uri: Annotated[str, Field(max_length=2000)] | None = None
    dpop_bound: bool = False


class NewKey(Wire):
    jwk: dict[str, Any] = Field(max_length=20)


class Key(Wire):
    kid: str


class KeyOut(Wire):
    kid: str
    jwk: dict[str, Any]
    active: bool
    created_at: datetime


class Why(Wire):
    reason: LongText


# RFC 6749 §5.2, RFC 9449 §5
REFUSED: dict[int | str, dict[str, Any]] = {
    "4XX": {
        "description": "拒绝 / refused",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["error"],
                    "properties": {"error": {"type": "string"}, "error_description": {"type": "string"}},
                }
            }
        },
    }
}


@router.post(
    "/oauth/token", operation_id="token.issue", dependencies=[permitted("token.issue")], responses=REFUSED
)
def issue_token(
    request: Request,
    response: Response,
    grant_type: Annotated[str, Form(max_length=100)],
    client_assertion: Annotated[str, Form(max_length=8192)],
    client_assertion_type: Annotated[str, Form(max_length=200)],
    scope: Annotated[str | None, Form(max_length=500)] = None,
) -> dict[str, Any]:
    """client_credentials with private_key_jwt (RFC 6749 §4.4, RFC 7523). With a proof in the `DPoP` header the
    token is bound to its key (RFC 9449)."""
    state = request.app.state
    response.headers["Cache-Control"] = "no-store"
    wanted = tokens.Wanted(
        grant_type, client_assertion_type, client_assertion, scope, request.headers.getlist("dpop")
    )
    return tokens.issue(state.database, state.tokens, state.published_keys, wanted)


@router.get(
    "/.well-known/oauth-authorization-server", operation_id="token.metadata",
    dependencies=[permitted("token.metadata")],
)  # fmt: skip
def metadata(request: Request) -> dict[str, Any]:
    """Authorization server metadata (RFC 8414)."""
    issuer: tokens.TokenIssuer = request.app.state.tokens
    return issuer.metadata()


@router.get("/.well-known/jwks.json", operation_id="token.keys", dependencies=[permitted("token.keys")])
def key_set(request: Request) -> dict[str, Any]:
    """The keys that access tokens and grants are signed with (RFC 7517)."""
    issuer: tokens.TokenIssuer = request.app.state.tokens
    return issuer.key_set()


@router.get("/api/v1/clients", operation_id="client.list")
def list_clients(
    actor: Annotated[Actor, permitted("client.list")],
    session: DbSession,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[ClientOut]:
    """Clients of the agencies in one's own jurisdiction and below."""
    query = (
        select(Client)
        .join(Agency, Agency.id == Client.agency_id)
        .join(Jurisdiction, Jurisdiction.id == Agency.jurisdiction_id)
        .where(literal(actor.jurisdiction_id, Uuid) == any_(Jurisdiction.path))
        .order_by(Client.name)
        .limit(limit + 1)
    )
    if cursor:
        query = query.where(Client.name > read_cursor(cursor, str))
    rows = list(session.scalars(query))
    page = [ClientOut.model_validate(row) for row in rows[:limit]]
    return Page(items=page, next=encode_cursor(page[-1].name) if len(rows) > limit else None)


@router.post("/api/v1/clients", status_code=201, operation_id="client.register", openapi_extra=ONCE)
def register_client(
    body: NewClient, actor: Annotated[Actor, permitted("client.register")], session: DbSession
) -> ClientOut:
    """Register an agency's system with its first public key, or the https address of its key set."""
    require_agency_within(session, actor, body.agency_id)
    if body.jwk is None and body.jwks_uri is None:
        raise Invalid(
            faults=[Fault("/jwk", Text("须提交公钥或公钥集地址", "a key or the address of a key set"))]
        )
    client = clients.register_client(
        session, name=body.name, title=body.title, agency_id=body.agency_id, scopes=frozenset(body.scopes),
        jwks_uri=body.jwks_uri, dpop_bound=body.dpop_bound, by=actor,
    )  # fmt: skip
    if body.jwk is not None:
        clients.add_client_key(session, client, body.jwk, by=actor)
    return ClientOut.model_validate(client)


@router.get("/api/v1/clients/{client_id}/keys", operation_id="client.keys")
def list_client_keys(
    client_id: UUID, actor: Annotated[Actor, permitted("client.keys")], session: DbSession
) -> list[KeyOut]:
    """The keys that were uploaded for a client, those taken back among them."""
    client = _client(session, client_id, actor)
    return [KeyOut.model_validate(row) for row in clients.keys_of(session, client.id)]


@router.post(
    "/api/v1/clients/{client_id}/keys", status_code=201, operation_id="client.add_key", openapi_extra=ONCE
)
def add_client_key(
    client_id: UUID, body: NewKey, actor: Annotated[Actor, permitted("client.add_key")], session: DbSession
) -> Key:
    """Register one more public key of a client, so that it can change keys without a pause."""
    client = _client(session, client_id, actor)
    return Key(kid=clients.add_client_key(session, client, body.jwk, by=actor).kid)


@router.delete("/api/v1/clients/{client_id}/keys/{kid}", status_code=204, operation_id="client.remove_key")
def remove_client_key(
    client_id: UUID,
    kid: ShortText,
    actor: Annotated[Actor, permitted("client.remove_key")],
    session: DbSession,
) -> Response:
    """Take a key back: what it signs is refused from now on."""
    clients.remove_client_key(session, _client(session, client_id, actor), kid, by=actor)
    return Response(status_code=204)


@router.post("/api/v1/clients/{client_id}/suspend", operation_id="client.suspend")
def suspend_client(
    client_id: UUID, body: Why, actor: Annotated[Actor, permitted("client.suspend")], session: DbSession
) -> ClientOut:
    """Stop a client: its tokens are refused with their next use, its grants within seconds."""
    client = _client(session, client_id, actor)
    clients.set_active(session, client, False, reason=body.reason, by=actor)
    return ClientOut.model_validate(client)


@router.post("/api/v1/clients/{client_id}/resume", operation_id="client.resume")
def resume_client(
    client_id: UUID, body: Why, actor: Annotated[Actor, permitted("client.resume")], session: DbSession
) -> ClientOut:
    """Let a suspended client work again."""
    client = _client(session, client_id, actor)
    clients.set_active(session, client, True, reason=body.reason, by=actor)
    return ClientOut.model_validate(client)


def _client(session: DbSession, client_id: UUID, actor: Actor) -> Client:
    """A client of an agency in the actor's jurisdiction or below. Errors: NotFound."""
    query = select(Client).where(Client.id == client_id, Client.agency_id.in_(agencies_within(actor)))
    client = session.scalar(query)
    if client is None:
        raise NotFound()
    return client
