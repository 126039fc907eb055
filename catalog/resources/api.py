"""REST of resources: lists, one resource, its items, versions and events, and every act on it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import Field
from sqlalchemy import Select, any_, literal, select
from sqlalchemy.orm import selectinload

from app.identity.cases import AgencyRef, Asked, EventOut, events_out, guarded
from app.identity.permissions import permit, permit_acts, permitted
from app.kernel.actor import Actor, Scope
from app.kernel.db import DbSession
from app.kernel.errors import NotPermitted
from app.kernel.idempotency import ONCE, CreatingRoute
from app.kernel.text import Text
from app.kernel.wire import (
    Cursor,
    ExpectedVersion,
    Label,
    Limit,
    Page,
    Paging,
    Wire,
    encode_cursor,
    page,
    read_cursor,
    set_version,
)  # fmt: skip
from catalog.resources import service
from catalog.resources.codes import BaseLibrary, Openness, SharingType, Theme, UpdateCycle
from catalog.resources.models import Resource, ResourceVersion
from catalog.resources.record import ItemRecord, ResourceRecord
from catalog.resources.service import Defects, FilingStatement, Reason
from catalog.resources.states import RESOURCE, STATES

router = APIRouter(prefix="/api/v1/resources", tags=["resources"], route_class=CreatingRoute)

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

NOTES = {"review_overdue": Text("审核逾期", "review overdue")}  # the clock's note, no act of the table


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


def summary_of(resource: Resource) -> dict[str, Any]:
    """The members of a ResourceSummary."""
    plain = {name: getattr(resource, name) for name in ResourceSummary.model_fields if name != "agency"}
    return {**plain, "agency": AgencyRef.of_agency(resource.agency)}


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


class Chosen(Paging):
    """Filters of the list; each narrows it."""

    agency: UUID | None = None
    jurisdiction: UUID | None = None
    state: Annotated[str | None, Field(pattern="^(" + "|".join(STATES) + ")$")] = None
    sharing_type: SharingType | None = None
    openness: Openness | None = None
    theme: Theme | None = None
    base_library: BaseLibrary | None = None
    update_cycle: UpdateCycle | None = None


def _asked(act: str) -> Any:
    return guarded(f"resource.{act}", service.find)


@router.get("", operation_id="resource.list")
def list_resources(
    session: DbSession,
    actor: Annotated[Actor, permitted("resource.list")],
    chosen: Annotated[Chosen, Query()],
) -> Page[ResourceSummary]:
    """Resources the reader may see, newest first."""
    query = _narrowed(select(Resource).options(selectinload(Resource.agency)), chosen)
    query = query.where(service.visible_to(actor))
    if chosen.before:
        query = query.where(Resource.id < chosen.before)
    rows = list(session.scalars(query.order_by(Resource.id.desc()).limit(chosen.fetch)))
    return page(rows, chosen.limit, lambda shown: [ResourceSummary(**summary_of(row)) for row in shown])


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


@router.post("", operation_id="resource.create", status_code=201, openapi_extra=ONCE)
def create_resource(
    body: NewResource,
    session: DbSession,
    actor: Annotated[Actor, permitted("resource.create")],
    response: Response,
) -> ResourceOut:
    """Write a new record, in draft, for one's own agency."""
    if actor.agency_id is None:
        raise NotPermitted()
    created = service.create_draft(session, agency_id=actor.agency_id, record=body.record, by=actor)
    return represent(Asked(session, service.find(session, created.id, by=actor), actor, response))


@router.get("/{id}", operation_id="resource.read")
def read_resource(asked: Annotated[Asked[Resource], _asked("read")]) -> ResourceOut:
    """One resource with its record."""
    return represent(asked)


@router.get("/{id}/items", operation_id="resource.items")
def list_items(asked: Annotated[Asked[Resource], _asked("items")]) -> list[ItemRecord]:
    """The information items of the record in force, in order."""
    return list(ResourceRecord.model_validate(asked.case.record).items)


@router.get("/{id}/versions", operation_id="resource.versions")
def list_versions(
    asked: Annotated[Asked[Resource], _asked("versions")], limit: Limit = 20, cursor: Cursor = None
) -> Page[VersionOut]:
    """What was published, newest first; these never change."""
    query = select(ResourceVersion).where(ResourceVersion.resource_id == asked.case.id)
    if cursor:
        query = query.where(ResourceVersion.number < read_cursor(cursor, int))
    rows = list(asked.session.scalars(query.order_by(ResourceVersion.number.desc()).limit(limit + 1)))
    shown = [
        VersionOut(
            number=row.number,
            published_at=row.published_at,
            content_sha256=row.content_hash.hex(),
            record=ResourceRecord.model_validate(row.record),
        )
        for row in rows[:limit]
    ]
    return Page(items=shown, next=encode_cursor(shown[-1].number) if len(rows) > limit else None)


@router.get("/{id}/events", operation_id="resource.events")
def list_events(asked: Annotated[Asked[Resource], _asked("events")]) -> list[EventOut]:
    """The resource's history, oldest first; for its agency and its authority."""
    if not service.parties_of(asked.session, asked.by, asked.case):
        raise NotPermitted(Text("由提供方和主管部门查阅。", "For the provider and its authority."))
    return events_out(asked.session, RESOURCE, asked.case.id, notes=NOTES)


@router.put("/{id}", operation_id="resource.edit")
def edit_resource(
    asked: Annotated[Asked[Resource], _asked("edit")], body: NewResource, version: ExpectedVersion
) -> ResourceOut:
    """Replace the record of a draft or of one that was returned."""
    service.edit_draft(asked.session, asked.case, record=body.record, expected_version=version, by=asked.by)
    return represent(asked)


@router.post("/{id}/file", operation_id="resource.file")
def file_resource(
    asked: Annotated[Asked[Resource], _asked("file")], body: FilingStatement, version: ExpectedVersion
) -> ResourceOut:
    """报送: file the record with the authority."""
    service.file(asked.session, asked.case, statement=body, expected_version=version, by=asked.by)
    return represent(asked)


@router.post("/{id}/publish", operation_id="resource.publish")
def publish_resource(
    asked: Annotated[Asked[Resource], _asked("publish")], version: ExpectedVersion
) -> ResourceOut:
    """审核发布: publish what was filed."""
    service.publish(asked.session, asked.case, expected_version=version, by=asked.by)
    return represent(asked)


@router.post("/{id}/return", operation_id="resource.return")
def return_resource(
    asked: Annotated[Asked[Resource], _asked("return")], body: Defects, version: ExpectedVersion
) -> ResourceOut:
    """退回: send it back with every defect at once."""
    service.return_with_defects(
        asked.session, asked.case, defects=body.defects, expected_version=version, by=asked.by
    )
    return represent(asked)


@router.post("/{id}/suspend", operation_id="resource.suspend")
def suspend_resource(
    asked: Annotated[Asked[Resource], _asked("suspend")], body: Reason, version: ExpectedVersion
) -> ResourceOut:
    """暂停: take a published resource out of use for a time."""
    return _take_out(asked, "suspend", body, version)


@router.post("/{id}/resume", operation_id="resource.resume")
def resume_resource(
    asked: Annotated[Asked[Resource], _asked("resume")], body: Reason, version: ExpectedVersion
) -> ResourceOut:
    """恢复发布: put a suspended resource back."""
    return _take_out(asked, "resume", body, version)


@router.post("/{id}/withdraw", operation_id="resource.withdraw")
def withdraw_resource(
    asked: Annotated[Asked[Resource], _asked("withdraw")], body: Reason, version: ExpectedVersion
) -> ResourceOut:
    """撤销: take a resource out of the catalog for good."""
    return _take_out(asked, "withdraw", body, version)


def _take_out(asked: Asked[Resource], act: str, body: Reason, version: int) -> ResourceOut:
    service.take_out(
        asked.session, asked.case, act, reason=body.reason, expected_version=version, by=asked.by
    )
    return represent(asked)


def represent(asked: Asked[Resource]) -> ResourceOut:
    """The resource as it is told to who asks, its version in ETag."""
    resource = asked.case
    set_version(asked.response, resource.version)
    parties = service.parties_of(asked.session, asked.by, resource)
    return ResourceOut(
        id=resource.id,
        code=resource.code,
        agency=AgencyRef.of_agency(resource.agency),
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
        allowed=RESOURCE.allowed(resource.state, parties, asked.by.roles),
    )
