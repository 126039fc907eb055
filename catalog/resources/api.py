"""REST of resources: lists, one resource, its items, versions and events, and every act on it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response
from pydantic import Field
from sqlalchemy import Select, any_, literal, select
from sqlalchemy.orm import Session, selectinload

from app.identity.permissions import AnyActor, permit, permit_acts, permitted
from app.kernel import history
from app.kernel.actor import Actor, Scope
from app.kernel.db import DbSession
from app.kernel.errors import NotPermitted
from app.kernel.text import Text
from app.kernel.wire import (
    Cursor,
    ExpectedVersion,
    Label,
    Limit,
    Page,
    Wire,
    decode_cursor,
    encode_cursor,
    set_version,
)  # fmt: skip
from catalog.resources import service
from catalog.resources.codes import BaseLibrary, Openness, SharingType, Theme, UpdateCycle
from catalog.resources.models import Resource, ResourceVersion
from catalog.resources.record import ItemRecord, ResourceRecord
from catalog.resources.service import Defects, FilingStatement, Reason
from catalog.resources.states import RESOURCE, STATES

router = APIRouter(prefix="/api/v1/resources", tags=["resources"])

permit_acts(RESOURCE)
permit(
    "resource.list",
    "resource.read",
    "resource.items",
    "resource.versions",
    anonymous=True,
    scope=Scope.CATALOG,
)
permit("resource.events", scope=Scope.CATALOG)


class AgencyRef(Wire):
    """The providing agency (提供方) by id and name."""

    id: UUID
    name: str
    name_en: str | None


class ResourceSummary(Wire):
    """One line of a list."""

    id: UUID
    code: str
    title: str
    title_en: str | None
    agency: AgencyRef
    state: str
    sharing_type: SharingType | None
    openness: Openness
    themes: list[Theme]
    base_library: BaseLibrary | None
    update_cycle: UpdateCycle | None
    updated_at: datetime


class ResourceOut(Wire):
    """A resource with its whole record, what the reader may do with it now, and its version for If-Match."""

    id: UUID
    code: str
    agency: AgencyRef
    jurisdiction_id: UUID
    state: str
    state_name: Label
    version: int
    published_version: int
    is_open: bool
    record: ResourceRecord
    content_sha256: str
    created_at: datetime
    updated_at: datetime
    allowed: list[str]


class NewResource(Wire):
    """A record to file with; it belongs to the agency of whoever sends it."""

    record: ResourceRecord


class VersionOut(Wire):
    """A record as it was published."""

    number: int
    published_at: datetime
    content_sha256: str
    record: ResourceRecord


class EventOut(Wire):
    """One thing that happened to the resource."""

    id: UUID
    at: datetime
    act: str
    state_from: str | None
    state_to: str | None
    version: int | None
    party: str | None
    actor_name: str
    agency_id: UUID | None
    reason: str | None
    legal_basis: str | None
    data: dict[str, Any]


class Chosen(Wire):
    """Filters of the list; each narrows it."""

    agency: UUID | None = None
    jurisdiction: UUID | None = None
    state: Annotated[str | None, Field(pattern="^(" + "|".join(STATES) + ")$")] = None
    sharing_type: SharingType | None = None
    openness: Openness | None = None
    theme: Theme | None = None
    base_library: BaseLibrary | None = None
    update_cycle: UpdateCycle | None = None
    limit: Limit = 20
    cursor: Cursor = None


def load(resource_id: UUID, session: DbSession, actor: AnyActor) -> Resource:
    """The resource of the path, as far as the actor may know of it. Errors: NotFound."""
    return service.find(session, resource_id, actor)


Loaded = Annotated[Resource, Depends(load, scope="function")]


@router.get("", operation_id="resource.list")
def list_resources(
    session: DbSession,
    actor: Annotated[Actor, permitted("resource.list")],
    chosen: Annotated[Chosen, Query()],
) -> Page[ResourceSummary]:
    """Resources the reader may see, newest first."""
    query = _narrowed(select(Resource).options(selectinload(Resource.agency)), chosen)
    query = query.where(service.visible_to(actor))
    if chosen.cursor:
        query = query.where(Resource.id < UUID(str(decode_cursor(chosen.cursor, 1)[0])))
    rows = list(session.scalars(query.order_by(Resource.id.desc()).limit(chosen.limit + 1)))
    shown = [ResourceSummary.model_validate(row) for row in rows[: chosen.limit]]
    return Page(items=shown, next=encode_cursor(shown[-1].id) if len(rows) > chosen.limit else None)


def _narrowed(query: Select[Resource], chosen: Chosen) -> Select[Resource]:
    wanted = {
        Resource.agency_id: chosen.agency,
        Resource.jurisdiction_id: chosen.jurisdiction,
        Resource.state: chosen.state,
        Resource.sharing_type: chosen.sharing_type,
        Resource.openness: chosen.openness,
        Resource.base_library: chosen.base_library,
        Resource.update_cycle: chosen.update_cycle,
    }
    query = query.where(*(column == value for column, value in wanted.items() if value is not None))
    return query.where(literal(chosen.theme.value) == any_(Resource.themes)) if chosen.theme else query


@router.post("", operation_id="resource.create", status_code=201)
def create_resource(
    body: NewResource,
    session: DbSession,
    actor: Annotated[Actor, permitted("resource.create")],
    response: Response,
) -> ResourceOut:
    """Write a new record, in draft, for one's own agency."""
    if actor.agency_id is None:
        raise NotPermitted()
    resource = service.create_draft(session, agency_id=actor.agency_id, record=body.record, by=actor)
    return represent(session, service.find(session, resource.id, actor), actor, response)


@router.get("/{resource_id}", operation_id="resource.read")
def read_resource(
    resource: Loaded,
    session: DbSession,
    actor: Annotated[Actor, permitted("resource.read")],
    response: Response,
) -> ResourceOut:
    """One resource with its record."""
    return represent(session, resource, actor, response)


@router.get("/{resource_id}/items", operation_id="resource.items", dependencies=[permitted("resource.items")])
def list_items(resource: Loaded) -> list[ItemRecord]:
    """The information items of the record in force, in order."""
    return list(ResourceRecord.model_validate(resource.record).items)


@router.get(
    "/{resource_id}/versions", operation_id="resource.versions", dependencies=[permitted("resource.versions")]
)
def list_versions(
    resource: Loaded, session: DbSession, limit: Limit = 20, cursor: Cursor = None
) -> Page[VersionOut]:
    """What was published, newest first; these never change."""
    query = select(ResourceVersion).where(ResourceVersion.resource_id == resource.id)
    if cursor:
        query = query.where(ResourceVersion.number < int(decode_cursor(cursor, 1)[0]))
    rows = list(session.scalars(query.order_by(ResourceVersion.number.desc()).limit(limit + 1)))
    shown = [
        VersionOut(
            number=row.number, published_at=row.published_at, content_sha256=row.content_hash.hex(),
            record=ResourceRecord.model_validate(row.record),
        )
        for row in rows[:limit]
    ]  # fmt: skip
    return Page(items=shown, next=encode_cursor(shown[-1].number) if len(rows) > limit else None)


@router.get("/{resource_id}/events", operation_id="resource.events")
def list_events(
    resource: Loaded, session: DbSession, actor: Annotated[Actor, permitted("resource.events")]
) -> list[EventOut]:
    """The resource's history, oldest first; for its agency and its authority."""
    if not service.parties_of(session, actor, resource):
        raise NotPermitted(Text("由提供方和主管部门查阅。", "For the provider and its authority."))
    return [EventOut.model_validate(row) for row in history.events_of(session, service.KIND, resource.id)]


@router.put("/{resource_id}", operation_id="resource.edit")
def edit_resource(
    body: NewResource,
    resource: Loaded,
    session: DbSession,
    actor: Annotated[Actor, permitted("resource.edit")],
    version: ExpectedVersion,
    response: Response,
) -> ResourceOut:
    """Replace the record of a draft or of one that was returned."""
    service.edit_draft(session, resource, record=body.record, expected_version=version, by=actor)
    return represent(session, resource, actor, response)


@router.post("/{resource_id}/file", operation_id="resource.file")
def file_resource(
    body: FilingStatement,
    resource: Loaded,
    session: DbSession,
    actor: Annotated[Actor, permitted("resource.file")],
    version: ExpectedVersion,
    response: Response,
) -> ResourceOut:
    """报送: file the record with the authority."""
    service.file(session, resource, statement=body, expected_version=version, by=actor)
    return represent(session, resource, actor, response)


@router.post("/{resource_id}/publish", operation_id="resource.publish")
def publish_resource(
    resource: Loaded,
    session: DbSession,
    actor: Annotated[Actor, permitted("resource.publish")],
    version: ExpectedVersion,
    response: Response,
) -> ResourceOut:
    """审核发布: publish what was filed."""
    service.publish(session, resource, expected_version=version, by=actor)
    return represent(session, resource, actor, response)


@router.post("/{resource_id}/return", operation_id="resource.return")
def return_resource(
    body: Defects,
    resource: Loaded,
    session: DbSession,
    actor: Annotated[Actor, permitted("resource.return")],
    version: ExpectedVersion,
    response: Response,
) -> ResourceOut:
    """退回: send it back with every defect at once."""
    service.return_with_defects(session, resource, defects=body.defects, expected_version=version, by=actor)
    return represent(session, resource, actor, response)


@router.post("/{resource_id}/suspend", operation_id="resource.suspend")
def suspend_resource(
    body: Reason,
    resource: Loaded,
    session: DbSession,
    actor: Annotated[Actor, permitted("resource.suspend")],
    version: ExpectedVersion,
    response: Response,
) -> ResourceOut:
    """暂停: take a published resource out of use for a time."""
    service.take_out(session, resource, "suspend", reason=body.reason, expected_version=version, by=actor)
    return represent(session, resource, actor, response)


@router.post("/{resource_id}/resume", operation_id="resource.resume")
def resume_resource(
    body: Reason,
    resource: Loaded,
    session: DbSession,
    actor: Annotated[Actor, permitted("resource.resume")],
    version: ExpectedVersion,
    response: Response,
) -> ResourceOut:
    """恢复发布: put a suspended resource back."""
    service.take_out(session, resource, "resume", reason=body.reason, expected_version=version, by=actor)
    return represent(session, resource, actor, response)


@router.post("/{resource_id}/withdraw", operation_id="resource.withdraw")
def withdraw_resource(
    body: Reason,
    resource: Loaded,
    session: DbSession,
    actor: Annotated[Actor, permitted("resource.withdraw")],
    version: ExpectedVersion,
    response: Response,
) -> ResourceOut:
    """撤销: take a resource out of the catalog for good."""
    service.take_out(session, resource, "withdraw", reason=body.reason, expected_version=version, by=actor)
    return represent(session, resource, actor, response)


def represent(session: Session, resource: Resource, actor: Actor, response: Response) -> ResourceOut:
    """The resource as it is told to `actor`, its version in ETag."""
    set_version(response, resource.version)
    parties = service.parties_of(session, actor, resource)
    return ResourceOut(
        id=resource.id,
        code=resource.code,
        agency=AgencyRef.model_validate(resource.agency),
        jurisdiction_id=resource.jurisdiction_id,
        state=resource.state,
        state_name=Label.of(STATES[resource.state]),
        version=resource.version,
        published_version=resource.published_version,
        is_open=resource.is_open,
        record=ResourceRecord.model_validate(resource.record),
        content_sha256=resource.content_hash.hex(),
        created_at=resource.created_at,
        updated_at=resource.updated_at,
        allowed=RESOURCE.allowed(resource.state, parties, actor.roles),
    )
