"""REST of harvests: other catalogs that an agency has fetched on a schedule."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Request, Response
from sqlalchemy import select

from app.identity.cases import Asked, EventOut, events_out, guarded
from app.identity.permissions import permit, permit_acts, permitted
from app.kernel.actor import Actor, Role
from app.kernel.db import DbSession
from app.kernel.idempotency import ONCE, CreatingRoute
from app.kernel.outbound import Outbound
from app.kernel.wire import (
    Cursor,
    ExpectedVersion,
    Label,
    Limit,
    Page,
    encode_cursor,
    id_in_cursor,
    set_version,
)
from catalog.harvest import service
from catalog.harvest.models import Harvest
from catalog.harvest.service import HarvestSpec
from catalog.harvest.states import HARVEST
from catalog.imports.models import ImportJob
from catalog.imports.wire import ProblemOut

router = APIRouter(prefix="/api/v1/harvests", tags=["imports"], route_class=CreatingRoute)

permit_acts(HARVEST)
permit("harvest.list", "harvest.read", "harvest.events", roles={Role.CATALOG_ADMINISTRATOR})

Case = Asked[Harvest]


class HarvestOut(HarvestSpec):
    """A harvest, when it was fetched and will be, and what the reader may do with it now."""

    id: UUID
    state: str
    state_name: Label
    version: int
    next_at: datetime | None
    last_at: datetime | None
    last_import: UUID | None
    problem: ProblemOut | None
    allowed: list[str]


def _asked(act: str) -> Any:
    return guarded(f"harvest.{act}", service.find_harvest)


def _outbound(request: Request) -> Outbound:
    outbound: Outbound = request.app.state.settings.outbound
    return outbound


@router.post("", operation_id="harvest.add", status_code=201, openapi_extra=ONCE)
def add(
    body: HarvestSpec,
    request: Request,
    actor: Annotated[Actor, permitted("harvest.add")],
    session: DbSession,
    response: Response,
) -> HarvestOut:
    """Have another catalog fetched, by its CKAN API or as a DCAT feed: at once and then on schedule."""
    harvest = service.add(session, body, outbound=_outbound(request), by=actor)
    response.headers["Location"] = f"{router.prefix}/{harvest.id}"
    return represent(Asked(session, harvest, actor, response))


@router.get("", operation_id="harvest.list")
def list_harvests(
    actor: Annotated[Actor, permitted("harvest.list")],
    session: DbSession,
    response: Response,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> Page[HarvestOut]:
    """The harvests of your agency, newest first."""
    query = select(Harvest).where(Harvest.agency_id == actor.agency_id).order_by(Harvest.id.desc())
    if cursor:
        query = query.where(Harvest.id < id_in_cursor(cursor))
    rows = list(session.scalars(query.limit(limit + 1)))
    following = encode_cursor(rows[limit - 1].id) if len(rows) > limit else None
    shown = [represent(Asked(session, row, actor, Response())) for row in rows[:limit]]
    return Page(items=shown, next=following)


@router.get("/{id}", operation_id="harvest.read")
def read(asked: Annotated[Case, _asked("read")]) -> HarvestOut:
    """One harvest."""
    return represent(asked)


@router.get("/{id}/events", operation_id="harvest.events")
def events(asked: Annotated[Case, _asked("events")]) -> list[EventOut]:
    """The history, oldest first."""
    return events_out(asked.session, HARVEST, asked.case.id)


@router.put("/{id}", operation_id="harvest.edit")
def edit(
    body: HarvestSpec, request: Request, asked: Annotated[Case, _asked("edit")], version: ExpectedVersion
) -> HarvestOut:
    """Change what is fetched and how; from now on it imports in your name."""
    service.edit(
        asked.session, asked.case, body, outbound=_outbound(request), by=asked.by, expected_version=version
    )
    return represent(asked)


@router.post("/{id}/run", operation_id="harvest.run")
def run(asked: Annotated[Case, _asked("run")], version: ExpectedVersion) -> HarvestOut:
    """Fetch now."""
    return _act(asked, "run", version)


@router.post("/{id}/pause", operation_id="harvest.pause")
def pause(asked: Annotated[Case, _asked("pause")], version: ExpectedVersion) -> HarvestOut:
    """Fetch no more until it is resumed."""
    return _act(asked, "pause", version)


@router.post("/{id}/resume", operation_id="harvest.resume")
def resume(asked: Annotated[Case, _asked("resume")], version: ExpectedVersion) -> HarvestOut:
    """Fetch at once, and on schedule again."""
    return _act(asked, "resume", version)


@router.post("/{id}/remove", operation_id="harvest.remove")
def remove(asked: Annotated[Case, _asked("remove")], version: ExpectedVersion) -> HarvestOut:
    """Fetch no more; what was imported stays."""
    return _act(asked, "remove", version)


def _act(asked: Case, name: Literal["run", "pause", "resume", "remove"], version: int) -> HarvestOut:
    service.act(asked.session, asked.case, name, by=asked.by, expected_version=version)
    return represent(asked)


def represent(asked: Case) -> HarvestOut:
    """The harvest as its agency sees it."""
    harvest = asked.case
    set_version(asked.response, harvest.version)
    imported = select(ImportJob.id).where(ImportJob.harvest_id == harvest.id).order_by(ImportJob.id.desc())
    return HarvestOut(
        **service.spec_of(harvest).model_dump(), id=harvest.id, state=harvest.state,
        state_name=Label.of(HARVEST.states[harvest.state]), version=harvest.version,
        next_at=harvest.next_at if harvest.state == "active" else None, last_at=harvest.last_at,
        last_import=asked.session.scalar(imported.limit(1)),
        problem=ProblemOut.model_validate(harvest.problem) if harvest.problem else None,
        allowed=HARVEST.allowed(harvest.state, service.parties_of(harvest, asked.by), asked.by.roles),
    )  # fmt: skip
