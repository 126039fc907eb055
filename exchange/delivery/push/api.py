"""REST of push subscriptions, and of the gateways that deliver them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import TypeAdapter

from app.identity.cases import Asked, EventOut, events_out, guarded
from app.identity.permissions import permit, permitted
from app.kernel.actor import Actor, Role, Scope
from app.kernel.db import DbSession
from app.kernel.errors import Fault, Invalid, MalformedBody
from app.kernel.idempotency import ONCE, CreatingRoute
from app.kernel.text import Text
from app.kernel.wire import ExpectedVersion, Label, Page, Paging, Wire, page, set_version
from exchange.agreements.service import find_agreement
from exchange.delivery.gateways import served_by
from exchange.delivery.protocol import PushLeases, PushPlaces
from exchange.delivery.push import service, told
from exchange.delivery.push.models import PushSubscription
from exchange.delivery.push.states import PUSH
from exchange.delivery.registry import is_approved
from exchange.wire import OptionalReason

router = APIRouter(prefix="/api/v1", tags=["delivery"], route_class=CreatingRoute)

permit("push.subscribe", roles=(), scope=Scope.PULL)
permit("push.pause", "push.resume", "push.end", roles=(Role.APPROVER,), scope=Scope.PULL)
permit(
    "push.list",
    "push.read",
    "push.events",
    roles=(Role.CLERK, Role.APPROVER, Role.MEDIATOR, Role.AUDIT_ADMINISTRATOR),
    scope=Scope.PULL,
)
permit("gateway.pushes", roles=(), scope=Scope.GATEWAY)


class PushOut(Wire):
    """推送订阅, and how far it has come: `runs` are whole deliveries, `problem` names what hinders the next. Credentials
    are never told."""

    id: UUID
    agreement_id: UUID
    resource_id: UUID
    client_id: UUID
    purpose: str
    items: list[str] | None
    filter: str | None
    mode: str
    form: str
    every_minutes: int
    target: service.Target
    has_credentials: bool
    state: str
    state_name: Label
    version: int
    runs: int
    delivered_at: datetime | None
    problem: str | None
    created_at: datetime
    allowed: list[str]


class ChosenPushes(Paging):
    """Of which agreement."""

    agreement_id: UUID


def _asked(act: str) -> Any:
    return guarded(f"push.{act}", service.find_subscription)


@router.post("/pushes", operation_id="push.subscribe", status_code=201, openapi_extra=ONCE)
def subscribe(
    body: service.PushWanted,
    session: DbSession,
    actor: Annotated[Actor, permitted("push.subscribe")],
    request: Request,
    response: Response,
) -> PushOut:
    """订阅推送: have agreed records delivered to one's endpoint or bucket from now on."""
    row = service.subscribe(
        session,
        body,
        seal=request.app.state.keys.seal,
        private=request.app.state.settings.private_sources,
        by=actor,
    )
    response.headers["Location"] = f"{router.prefix}/pushes/{row.id}"
    return represent(Asked(session, row, actor, response))


@router.get("/pushes", operation_id="push.list")
def list_subscriptions(
    session: DbSession,
    actor: Annotated[Actor, permitted("push.list")],
    chosen: Annotated[ChosenPushes, Query()],
) -> Page[PushOut]:
    """The push subscriptions of an agreement, newest first."""
    agreement = find_agreement(session, chosen.agreement_id, by=actor)
    rows = service.list_subscriptions(session, agreement, before=chosen.before, limit=chosen.fetch)
    return page(rows, chosen.limit, lambda shown: [_told(session, row, actor) for row in shown])


@router.get("/pushes/{id}", operation_id="push.read")
def read_subscription(asked: Annotated[Asked[PushSubscription], _asked("read")]) -> PushOut:
    """One push subscription."""
    return represent(asked)


@router.get("/pushes/{id}/events", operation_id="push.events")
def list_events(asked: Annotated[Asked[PushSubscription], _asked("events")]) -> list[EventOut]:
    """Its history, oldest first."""
    return events_out(asked.session, PUSH, asked.case.id)


@router.post("/pushes/{id}/pause", operation_id="push.pause")
def pause(
    asked: Annotated[Asked[PushSubscription], _asked("pause")], body: OptionalReason, version: ExpectedVersion
) -> PushOut:
    """暂停推送: it goes on from where it stopped when resumed."""
    return _change(asked, "pause", body.reason, version)


@router.post("/pushes/{id}/resume", operation_id="push.resume")
def resume(
    asked: Annotated[Asked[PushSubscription], _asked("resume")],
    body: OptionalReason,
    version: ExpectedVersion,
) -> PushOut:
    """恢复推送."""
    return _change(asked, "resume", body.reason, version)


@router.post("/pushes/{id}/end", operation_id="push.end")
def end(
    asked: Annotated[Asked[PushSubscription], _asked("end")], body: OptionalReason, version: ExpectedVersion
) -> PushOut:
    """结束推送: for good."""
    return _change(asked, "end", body.reason, version)


async def _places(request: Request) -> PushPlaces:
    try:
        return msgspec.json.decode(await request.body(), type=PushPlaces)
    except msgspec.ValidationError as error:
        message = Text("不是推送进度：{e}", "not the places of pushes: {e}").with_(e=error)
        raise Invalid(faults=[Fault("/places", message)]) from None
    except msgspec.DecodeError:
        raise MalformedBody() from None


@router.post("/gateway/pushes", operation_id="gateway.pushes", response_class=Response)
def hold_pushes(
    session: DbSession,
    actor: Annotated[Actor, permitted("gateway.pushes")],
    told_places: Annotated[PushPlaces, Depends(_places)],
) -> Response:
    """How far pushes have come, from the gateway that delivers them; in the answer those it holds for a minute more."""
    approved = is_approved(session, actor)  # one that is not exchanges nothing
    held = told.lease(session, told_places.places, served_by(actor), by=actor) if approved else []
    leases = PushLeases(seconds=told.LEASE.total_seconds(), places=held)
    return Response(msgspec.json.encode(leases), media_type="application/json")


def _change(asked: Asked[PushSubscription], act: str, reason: str | None, version: int) -> PushOut:
    service.change(asked.session, asked.case, act, reason=reason, version=version, by=asked.by)
    return represent(asked)


def represent(asked: Asked[PushSubscription]) -> PushOut:
    """The subscription as it is told to the asking actor, its version in ETag."""
    set_version(asked.response, asked.case.version)
    return _told(asked.session, asked.case, asked.by)


_TARGET: TypeAdapter[service.HttpTarget | service.S3Target] = TypeAdapter(service.Target)


def _told(session: DbSession, row: PushSubscription, actor: Actor) -> PushOut:
    plain = PushOut.model_fields.keys() - {"target", "has_credentials", "state_name", "allowed"}
    return PushOut(
        target=_TARGET.validate_python(row.target),
        has_credentials=row.credentials is not None,
        state_name=Label.of(PUSH.states[row.state]),
        allowed=service.allowed_acts(session, row, by=actor),
        **{name: getattr(row, name) for name in plain},
    )
