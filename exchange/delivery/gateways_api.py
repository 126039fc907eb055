"""REST of gateways: their registration and review by people, and the channel by which they hear and report."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, TypeVar
from uuid import UUID

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse

from app.identity.cases import AgencyRef, Asked, EventOut, events_out, guarded
from app.identity.permissions import permit, permit_acts, permitted
from app.kernel.actor import Actor, Role, Scope
from app.kernel.db import DbSession
from app.kernel.errors import Fault, Invalid, MalformedBody
from app.kernel.idempotency import ONCE, CreatingRoute
from app.kernel.text import Text
from app.kernel.wire import ExpectedVersion, Label, LongText, Page, Paging, ShortText, Wire, page, set_version
from exchange.delivery import gateways, leases, receipts, registry, source_tests
from exchange.delivery.changes import Changes
from exchange.delivery.models import RegisteredGateway
from exchange.delivery.protocol import Acknowledgement, GatewayHealth, LeaseWanted, ReceiptBatch, SourceTested
from exchange.delivery.states import GATEWAY
from exchange.parties import names_of

router = APIRouter(prefix="/api/v1", tags=["delivery"], route_class=CreatingRoute)

permit_acts(GATEWAY)
permit(
    "gateway.list",
    "gateway.read",
    "gateway.history",
    roles=(Role.CLERK, Role.CATALOG_ADMINISTRATOR, Role.SECURITY_ADMINISTRATOR, Role.AUDIT_ADMINISTRATOR),
    scope=Scope.CLERK,
)
permit(
    "gateway.state",
    "gateway.changes",
    "gateway.receipts",
    "gateway.health",
    "gateway.lease",
    "gateway.source_tested",
    roles=(),
    scope=Scope.GATEWAY,
)

# --- Registration and review


class GatewayWanted(Wire):
    """A client of one's own agency with scope `gateway`, and the address at which requesters reach it."""

    client_id: UUID
    url: ShortText


class GatewayAddress(Wire):
    url: ShortText


class Why(Wire):
    reason: LongText


class Perhaps(Wire):
    reason: LongText | None = None


class GatewayOut(Wire):
    """网关: `health` is what it last told of itself, at `seen_at`; None where it has not been heard."""

    id: UUID
    client_id: UUID
    agency: AgencyRef
    url: str
    state: str
    state_name: Label
    version: int
    created_at: datetime
    updated_at: datetime
    seen_at: datetime | None
    health: dict[str, Any] | None
    allowed: list[str]


class ChosenGateways(Paging):
    """Which gateways: in one state."""

    state: ShortText | None = None


def _shown(asked: Asked[RegisteredGateway]) -> GatewayOut:
    set_version(asked.response, asked.case.version)
    (out,) = _all_shown(asked.session, [asked.case], asked.by)
    return out


def _all_shown(session: DbSession, rows: list[RegisteredGateway], actor: Actor) -> list[GatewayOut]:
    names = names_of(session, {row.agency_id for row in rows})
    return [
        GatewayOut(
            id=row.id, client_id=row.client_id, agency=AgencyRef.of(row.agency_id, names), url=row.url,
            state=row.state, state_name=Label.of(GATEWAY.states[row.state]), version=row.version,
            created_at=row.created_at, updated_at=row.updated_at, seen_at=row.seen_at, health=row.health,
            allowed=GATEWAY.allowed(row.state, registry.parties_of(session, actor, row.agency_id), actor.roles),
        )
        for row in rows
    ]  # fmt: skip


@router.post("/gateways", operation_id="gateway.register", status_code=201, openapi_extra=ONCE)
def register_gateway(
    body: GatewayWanted,
    session: DbSession,
    actor: Annotated[Actor, permitted("gateway.register")],
    request: Request,
    response: Response,
) -> GatewayOut:
    """登记网关: it may exchange once the authority has approved it (Regulation Art. 29)."""
    private = request.app.state.settings.private_sources
    gateway = registry.register(session, client_id=body.client_id, url=body.url, private=private, by=actor)
    return _shown(Asked(session, gateway, actor, response))


@router.get("/gateways", operation_id="gateway.list")
def list_gateways(
    session: DbSession,
    actor: Annotated[Actor, permitted("gateway.list")],
    chosen: Annotated[ChosenGateways, Query()],
) -> Page[GatewayOut]:
    """Gateways of one's own agency, and for an authority those in its jurisdiction and below, newest first."""
    rows = registry.list_gateways(
        session, by=actor, state=chosen.state, before=chosen.before, limit=chosen.fetch
    )
    return page(rows, chosen.limit, lambda shown: _all_shown(session, list(shown), actor))


@router.get("/gateways/{id}", operation_id="gateway.read")
def read_gateway(
    asked: Annotated[Asked[RegisteredGateway], guarded("gateway.read", registry.find_gateway)],
) -> GatewayOut:
    """One gateway, its standing and its health."""
    return _shown(asked)


@router.get("/gateways/{id}/history", operation_id="gateway.history")
def history_of_gateway(
    asked: Annotated[Asked[RegisteredGateway], guarded("gateway.history", registry.find_gateway)],
) -> list[EventOut]:
    """What was decided about a gateway, oldest first."""
    return events_out(asked.session, GATEWAY, asked.case.id)


@router.post("/gateways/{id}/amend", operation_id="gateway.amend")
def amend_gateway(
    asked: Annotated[Asked[RegisteredGateway], guarded("gateway.amend", registry.find_gateway)],
    body: GatewayAddress,
    expected: ExpectedVersion,
    request: Request,
) -> GatewayOut:
    """变更登记: another address. It exchanges nothing until it is approved again."""
    registry.amend(
        asked.session, asked.case, url=body.url, private=request.app.state.settings.private_sources,
        by=asked.by, expected_version=expected,
    )  # fmt: skip
    return _shown(asked)


def _decided(asked: Asked[RegisteredGateway], act: str, reason: str | None, expected: int) -> GatewayOut:
    registry.decide(asked.session, asked.case, act, reason=reason, by=asked.by, expected_version=expected)
    return _shown(asked)


@router.post("/gateways/{id}/approve", operation_id="gateway.approve")
def approve_gateway(
    asked: Annotated[Asked[RegisteredGateway], guarded("gateway.approve", registry.find_gateway)],
    body: Perhaps,
    expected: ExpectedVersion,
) -> GatewayOut:
    """核准接入: from now on it is told of the agreements it serves, and grants name its address."""
    return _decided(asked, "approve", body.reason, expected)


@router.post("/gateways/{id}/return", operation_id="gateway.return")
def return_gateway(
    asked: Annotated[Asked[RegisteredGateway], guarded("gateway.return", registry.find_gateway)],
    body: Why,
    expected: ExpectedVersion,
) -> GatewayOut:
    """退回: the reason says what to mend."""
    return _decided(asked, "return", body.reason, expected)


@router.post("/gateways/{id}/report_incident", operation_id="gateway.report_incident")
def report_incident(
    asked: Annotated[Asked[RegisteredGateway], guarded("gateway.report_incident", registry.find_gateway)],
    body: Why,
    expected: ExpectedVersion,
) -> GatewayOut:
    """报告安全事件: whoever runs the gateway reports it; it delivers nothing until the authority resumes it."""
    return _decided(asked, "report_incident", body.reason, expected)


@router.post("/gateways/{id}/suspend", operation_id="gateway.suspend")
def suspend_gateway(
    asked: Annotated[Asked[RegisteredGateway], guarded("gateway.suspend", registry.find_gateway)],
    body: Why,
    expected: ExpectedVersion,
) -> GatewayOut:
    """暂停接入: it delivers nothing from its next word from the centre on."""
    return _decided(asked, "suspend", body.reason, expected)


@router.post("/gateways/{id}/resume", operation_id="gateway.resume")
def resume_gateway(
    asked: Annotated[Asked[RegisteredGateway], guarded("gateway.resume", registry.find_gateway)],
    body: Why,
    expected: ExpectedVersion,
) -> GatewayOut:
    """恢复接入."""
    return _decided(asked, "resume", body.reason, expected)


@router.post("/gateways/{id}/withdraw", operation_id="gateway.withdraw")
def withdraw_gateway(
    asked: Annotated[Asked[RegisteredGateway], guarded("gateway.withdraw", registry.find_gateway)],
    body: Why,
    expected: ExpectedVersion,
) -> GatewayOut:
    """注销: for good."""
    return _decided(asked, "withdraw", body.reason, expected)


# --- The gateways' own channel: shapes are `exchange.delivery.protocol`'s


@router.get("/gateway/state", operation_id="gateway.state", response_class=Response)
def gateway_state(
    session: DbSession,
    actor: Annotated[Actor, permitted("gateway.state")],
    request: Request,
    since: Annotated[int | None, Query(description="网关已有的版本 / the version the gateway has")] = None,
) -> Response:
    """The agreements that this gateway serves; 304 where they are still those of version `since`."""
    state = gateways.read_state(session, actor, request.app.state.keys, since=since)
    if state is None:
        return Response(status_code=304)
    return Response(msgspec.json.encode(state), media_type="application/json")


@router.get("/gateway/changes", operation_id="gateway.changes", response_class=StreamingResponse)
async def gateway_changes(
    actor: Annotated[Actor, permitted("gateway.changes")], request: Request
) -> StreamingResponse:
    """Server-sent events, one for each change that a gateway should ask for its state about."""
    changes: Changes = request.app.state.changes
    return StreamingResponse(changes.follow(), media_type="text/event-stream")


T = TypeVar("T")


async def _read(request: Request, shape: type[T], field: str) -> T:
    body = await request.body()
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        message = Text("内容不合约定：{e}", "not what it should be: {e}").with_(e=error)
        raise Invalid(faults=[Fault(field, message)]) from None
    except msgspec.DecodeError:
        raise MalformedBody() from None


async def _batch(request: Request) -> ReceiptBatch:
    return await _read(request, ReceiptBatch, "/receipts")


async def _health(request: Request) -> GatewayHealth:
    return await _read(request, GatewayHealth, "/")


async def _tested(request: Request) -> SourceTested:
    told = await _read(request, SourceTested, "/")
    try:
        UUID(told.id)
    except ValueError:
        raise Invalid(faults=[Fault("/id", Text("不是 UUID", "not a UUID"))]) from None
    return told


async def _lease(request: Request) -> LeaseWanted:
    return await _read(request, LeaseWanted, "/")


@router.post("/gateway/receipts", operation_id="gateway.receipts", response_class=Response)
def take_receipts(
    session: DbSession,
    actor: Annotated[Actor, permitted("gateway.receipts")],
    batch: Annotated[ReceiptBatch, Depends(_batch)],
) -> Response:
    """Receipts in; the ids in the answer are committed before it is sent."""
    taken = receipts.take_receipts(session, batch.receipts, by=actor)
    return Response(msgspec.json.encode(Acknowledgement(acknowledged=taken)), media_type="application/json")


@router.post("/gateway/health", operation_id="gateway.health", status_code=204)
def note_health(
    session: DbSession,
    actor: Annotated[Actor, permitted("gateway.health")],
    health: Annotated[GatewayHealth, Depends(_health)],
) -> None:
    """What a gateway says of itself; the last is kept."""
    registry.note_health(session, health, by=actor)


@router.post("/gateway/source_tests", operation_id="gateway.source_tested", status_code=204)
def take_test(
    session: DbSession,
    actor: Annotated[Actor, permitted("gateway.source_tested")],
    told: Annotated[SourceTested, Depends(_tested)],
) -> None:
    """What the gateway found when it tried a source that it was asked to try."""
    source_tests.take(session, told, by=actor)


@router.post("/gateway/leases", operation_id="gateway.lease", response_class=Response)
def lease_quota(
    session: DbSession,
    actor: Annotated[Actor, permitted("gateway.lease")],
    wanted: Annotated[LeaseWanted, Depends(_lease)],
) -> Response:
    """A part of a day's quota for this gateway, where several serve an agreement; together never more than agreed."""
    leased = leases.lease(session, wanted, by=actor)
    return Response(msgspec.json.encode(leased), media_type="application/json")
