"""REST of resources: lists, one resource, its items, versions and what changed between them, its events, who
uses it, and every act on it. Filings, defects and working copies are `review_api`'s."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import Field
from sqlalchemy import Select, any_, literal, select
from sqlalchemy.orm import selectinload

from app.identity.cases import AgencyRef, Asked, DeadlineOut, EventOut, deadlines_out, events_out, guarded
from app.identity.models import Agency
from app.identity.permissions import permit, permit_acts, permitted
from app.kernel.actor import Actor, Role, Scope
from app.kernel.db import DbSession
from app.kernel.errors import NotFound, NotPermitted
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
from catalog.resources import revisions, service, updating
from catalog.resources.changes import Change, changes_between
from catalog.resources.codes import BaseLibrary, Openness, SharingType, Theme, UpdateCycle
from catalog.resources.models import Resource, ResourceVersion
from catalog.resources.record import ItemRecord, ResourceRecord
from catalog.resources.review import Defects, FilingStatement
from catalog.resources.service import Reason
from catalog.resources.states import RESOURCE, STATES
from catalog.resources.updating import ChangeNoted, DataUpdated, Extension
from catalog.resources.use import use_of

router = APIRouter(prefix="/api/v1/resources", tags=["resources"], route_class=CreatingRoute)

permit_acts(RESOURCE)
permit(
    "resource.list",
    "resource.read",
    "resource.items",
    "resource.versions",
    "resource.changes",
    anonymous=True,
    scope=Scope.CATALOG,
)
permit("resource.events", "resource.use", scope=Scope.CATALOG)
permit("resource.report_update", roles=(Role.CLERK, Role.APPROVER), scope=Scope.CLERK)

NOTES = {  # what the history tells beside acts
    "review_overdue": Text("审核逾期", "review overdue"),
    updating.UPDATE_OVERDUE: Text("目录更新逾期", "update of the record overdue"),
    updating.DATA_UPDATED: Text("报告数据已更新", "data reported as updated"),
    "set_questions": Text("设定申请问题", "set the questions to applicants"),
}


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
    data_updated_at: datetime | None
    revision_id: UUID | None  # the open working copy; told to who handles the resource
    deadlines: list[DeadlineOut]  # the same
    allowed: list[str]


class ChangeOut(Wire):
    """One difference between two records, in words."""

    path: str
    kind: Literal["added", "removed", "changed"]
    label: Label
    before: Label | None
    after: Label | None

    @classmethod
    def of(cls, change: Change) -> ChangeOut:
        return cls(
            path=change.path, kind=change.kind, label=Label.of(change.label),
            before=Label.of(change.before) if change.before else None,
            after=Label.of(change.after) if change.after else None,
        )  # fmt: skip


class Versions(Wire):
    """Which two published versions are compared."""

    before: Annotated[int, Field(ge=1, le=1_000_000)]
    after: Annotated[int, Field(ge=1, le=1_000_000)]


class UseOut(Wire):
    """What depends on the resource now. `requesters` and `items` are told to its provider and its authority
    alone (809-29)."""

    agreements: int
    delivered_at: datetime | None
    open_corrections: int
    requesters: list[AgencyRef] | None
    items: list[str] | None


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


@router.get("/{id}/changes", operation_id="resource.changes")
def list_changes(
    asked: Annotated[Asked[Resource], _asked("changes")], chosen: Annotated[Versions, Query()]
) -> list[ChangeOut]:
    """What changed between two published versions, field by field, in words."""
    wanted = ResourceVersion.number.in_((chosen.before, chosen.after))
    query = select(ResourceVersion).where(ResourceVersion.resource_id == asked.case.id, wanted)
    known = {row.number: ResourceRecord.model_validate(row.record) for row in asked.session.scalars(query)}
    if chosen.before not in known or chosen.after not in known:
        raise NotFound()
    return [ChangeOut.of(change) for change in changes_between(known[chosen.before], known[chosen.after])]


@router.get("/{id}/use", operation_id="resource.use")
def read_use(asked: Annotated[Asked[Resource], _asked("use")]) -> UseOut:
    """Who uses the resource: how many agreements, and for its provider and authority whose."""
    use = use_of(asked.session, [asked.case.id])[asked.case.id]
    told = bool(service.parties_of(asked.session, asked.by, asked.case))
    named = asked.session.scalars(select(Agency).where(Agency.id.in_(use.requesters)).order_by(Agency.name))
    return UseOut(
        agreements=use.agreements, delivered_at=use.delivered_at if told else None,
        open_corrections=use.open_corrections,
        requesters=[AgencyRef.of_agency(agency) for agency in named] if told else None,
        items=sorted(use.items) if told else None,
    )  # fmt: skip


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


@router.post("/{id}/note_change", operation_id="resource.note_change")
def note_change(
    asked: Annotated[Asked[Resource], _asked("note_change")], body: ChangeNoted, version: ExpectedVersion
) -> ResourceOut:
    """登记法律或职责变化: from today the record is due to be updated (809-17)."""
    parties = service.parties_of(asked.session, asked.by, asked.case)
    updating.note_change(
        asked.session, asked.case, body, expected_version=version, by=asked.by, parties=parties
    )
    return represent(asked)


@router.post("/{id}/ask_extension", operation_id="resource.ask_extension")
def ask_extension(
    asked: Annotated[Asked[Resource], _asked("ask_extension")], body: Extension, version: ExpectedVersion
) -> ResourceOut:
    """申请延长更新期限, once."""
    parties = service.parties_of(asked.session, asked.by, asked.case)
    updating.ask_extension(
        asked.session, asked.case, body, expected_version=version, by=asked.by, parties=parties
    )
    return represent(asked)


@router.post("/{id}/extend", operation_id="resource.extend")
def extend_update(
    asked: Annotated[Asked[Resource], _asked("extend")], body: Reason, version: ExpectedVersion
) -> ResourceOut:
    """同意延长: the authority grants the time asked for."""
    return _decide_extension(asked, "extend", body, version)


@router.post("/{id}/refuse_extension", operation_id="resource.refuse_extension")
def refuse_extension(
    asked: Annotated[Asked[Resource], _asked("refuse_extension")], body: Reason, version: ExpectedVersion
) -> ResourceOut:
    """不同意延长, with the reason."""
    return _decide_extension(asked, "refuse_extension", body, version)


@router.post("/{id}/updates", operation_id="resource.report_update", status_code=201, openapi_extra=ONCE)
def report_update(
    asked: Annotated[Asked[Resource], _asked("report_update")], body: DataUpdated
) -> ResourceOut:
    """报告数据已更新: the provider's people or systems tell that the data were updated."""
    if "owner" not in service.parties_of(asked.session, asked.by, asked.case):
        raise NotPermitted(Text("由提供方报告数据更新。", "The provider reports its updates."))
    updating.report_update(asked.session, asked.case, body, by=asked.by, party="owner")
    return represent(asked)


def _decide_extension(
    asked: Asked[Resource], act: Literal["extend", "refuse_extension"], body: Reason, version: int
) -> ResourceOut:
    parties = service.parties_of(asked.session, asked.by, asked.case)
    updating.decide_extension(
        asked.session, asked.case, act, reason=body.reason, expected_version=version, by=asked.by, parties=parties
    )  # fmt: skip
    return represent(asked)


def _take_out(asked: Asked[Resource], act: str, body: Reason, version: int) -> ResourceOut:
    service.take_out(
        asked.session, asked.case, act, reason=body.reason, expected_version=version, by=asked.by
    )
    return represent(asked)


def represent(asked: Asked[Resource]) -> ResourceOut:
    """The resource as it is told to who asks, its version in ETag."""
    resource = asked.case
    set_version(asked.response, resource.version)
    handled = bool(service.parties_of(asked.session, asked.by, resource))
    revision = revisions.revision_of(asked.session, resource.id) if handled else None
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
        data_updated_at=resource.data_updated_at,
        revision_id=revision.id if revision else None,
        deadlines=deadlines_out(asked.session, RESOURCE.kind, resource.id) if handled else [],
        allowed=service.allowed_acts(asked.session, resource, asked.by),
    )
