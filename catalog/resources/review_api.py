"""REST of review: what was filed and what changed since, the threads of defects, and working copies with every
act on them. For the agency whose resource it is and the authority that reviews it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import Field
from sqlalchemy.orm import Session

from app.identity.cases import AgencyRef, Asked, DeadlineOut, EventOut, deadlines_out, events_out, guarded
from app.identity.permissions import permit, permit_acts, permitted
from app.kernel import history
from app.kernel.actor import Actor, Scope
from app.kernel.db import DbSession
from app.kernel.errors import NotFound
from app.kernel.idempotency import ONCE, CreatingRoute
from app.kernel.wire import ExpectedVersion, Label, LongText, Page, Paging, Wire, page, set_version
from catalog.resources import review, revisions, service
from catalog.resources.api import NOTES, ChangeOut, NewResource
from catalog.resources.changes import changes_between
from catalog.resources.labels import label
from catalog.resources.models import Defect, Resource, Revision
from catalog.resources.record import ResourceRecord
from catalog.resources.review import Answer, Case, Defects, FilingStatement
from catalog.resources.service import Reason
from catalog.resources.states import DEFECT, REVISION, defect_hindrance

router = APIRouter(prefix="/api/v1", tags=["review"], route_class=CreatingRoute)

permit_acts(REVISION)
permit_acts(DEFECT)
permit(
    "resource.filings",
    "resource.defects",
    "revision.list",
    "revision.read",
    "revision.changes",
    "revision.filings",
    "revision.defects",
    "revision.events",
    scope=Scope.CATALOG,
)


class FilingOut(Wire):
    """A record as it was filed and signed. `changes` since the filing before, or of the first filing of a working
    copy since what is published."""

    number: int
    filed_at: datetime
    signed_name: str
    statement: FilingStatement
    content_sha256: str
    changes: list[ChangeOut]


class Said(Wire):
    """One thing said in a thread."""

    at: datetime
    act: str
    act_name: Label
    party: str | None
    actor_name: str
    text: str | None


class DefectOut(Wire):
    """A thread: the defect, everything said in it, and what the reader may do now."""

    id: UUID
    resource_id: UUID
    revision_id: UUID | None
    state: str
    state_name: Label
    version: int
    field: str
    field_name: Label
    message: str
    said: list[Said]
    allowed: list[str]


class RevisionSummary(Wire):
    """One line of a list."""

    id: UUID
    resource_id: UUID
    code: str
    title: str
    agency: AgencyRef
    state: str
    state_name: Label
    reason: str
    updated_at: datetime


class RevisionOut(RevisionSummary):
    """A working copy with its record, and what the reader may do with it now."""

    version: int
    base_version: int
    record: ResourceRecord
    content_sha256: str
    created_at: datetime
    deadlines: list[DeadlineOut]
    allowed: list[str]


class NewRevision(Wire):
    """Why a working copy is opened: which change of law or duty, or what else."""

    reason: LongText


class OptionalReason(Wire):
    reason: LongText | None = None


class Chosen(Paging):
    """Filters of the list; each narrows it."""

    resource: UUID | None = None
    state: Annotated[str | None, Field(pattern="^(" + "|".join(REVISION.states) + ")$")] = None


def _handled(session: Session, resource_id: UUID, *, by: Actor) -> Resource:
    resource = service.find(session, resource_id, by=by)
    if not service.parties_of(session, by, resource):
        raise NotFound()
    return resource


def _of_resource(operation: str) -> Any:
    return guarded(operation, _handled)


def _asked(act: str) -> Any:
    return guarded(f"revision.{act}", revisions.find_revision)


def _thread(act: str) -> Any:
    return guarded(f"defect.{act}", revisions.find_defect)


@router.get("/resources/{id}/filings", operation_id="resource.filings")
def list_filings(asked: Annotated[Asked[Resource], _of_resource("resource.filings")]) -> list[FilingOut]:
    """Every filing of a new record, oldest first, with what changed since the one before."""
    return _filings(asked.session, asked.case, None)


@router.get("/resources/{id}/defects", operation_id="resource.defects")
def list_defects(asked: Annotated[Asked[Resource], _of_resource("resource.defects")]) -> list[DefectOut]:
    """The threads of a new record, oldest first."""
    return _threads(asked.session, asked.case, asked.by)


@router.post("/resources/{id}/revisions", operation_id="revision.open", status_code=201, openapi_extra=ONCE)
def open_revision(
    asked: Annotated[Asked[Resource], _of_resource("revision.open")], body: NewRevision
) -> RevisionOut:
    """开始修订: a working copy of what is published; the published record stays as it is until then."""
    made = revisions.open_revision(asked.session, asked.case, reason=body.reason, by=asked.by)
    found = revisions.find_revision(asked.session, made.id, by=asked.by)
    return _represent(Asked(asked.session, found, asked.by, asked.response))


@router.get("/revisions", operation_id="revision.list")
def list_revisions(
    session: DbSession,
    actor: Annotated[Actor, permitted("revision.list")],
    chosen: Annotated[Chosen, Query()],
) -> Page[RevisionSummary]:
    """Working copies of one's own agency, or under one's authority, newest first."""
    rows = revisions.list_revisions(
        session, by=actor, resource_id=chosen.resource, state=chosen.state, before=chosen.before, limit=chosen.fetch
    )  # fmt: skip
    return page(rows, chosen.limit, lambda shown: [RevisionSummary(**_summary(row)) for row in shown])


@router.get("/revisions/{id}", operation_id="revision.read")
def read_revision(asked: Annotated[Asked[Revision], _asked("read")]) -> RevisionOut:
    """One working copy with its record."""
    return _represent(asked)


@router.get("/revisions/{id}/changes", operation_id="revision.changes")
def list_changes(asked: Annotated[Asked[Revision], _asked("changes")]) -> list[ChangeOut]:
    """What the working copy changes in what is published, field by field, in words."""
    published = ResourceRecord.model_validate(asked.case.resource.record)
    revised = ResourceRecord.model_validate(asked.case.record)
    return [ChangeOut.of(change) for change in changes_between(published, revised)]


@router.get("/revisions/{id}/filings", operation_id="revision.filings")
def list_revision_filings(asked: Annotated[Asked[Revision], _asked("filings")]) -> list[FilingOut]:
    """Every filing of the working copy, oldest first, with what changed since the one before."""
    return _filings(
        asked.session,
        asked.case,
        service.published_record(asked.session, asked.case.resource_id, asked.case.base_version),
    )


@router.get("/revisions/{id}/defects", operation_id="revision.defects")
def list_revision_defects(asked: Annotated[Asked[Revision], _asked("defects")]) -> list[DefectOut]:
    """The threads of the working copy, oldest first."""
    return _threads(asked.session, asked.case, asked.by)


@router.get("/revisions/{id}/events", operation_id="revision.events")
def list_events(asked: Annotated[Asked[Revision], _asked("events")]) -> list[EventOut]:
    """The working copy's history, oldest first."""
    return events_out(asked.session, REVISION, asked.case.id, notes=NOTES)


@router.put("/revisions/{id}", operation_id="revision.edit")
def edit_revision(
    asked: Annotated[Asked[Revision], _asked("edit")], body: NewResource, version: ExpectedVersion
) -> RevisionOut:
    """Replace the record of the working copy."""
    revisions.edit(asked.session, asked.case, record=body.record, expected_version=version, by=asked.by)
    return _represent(asked)


@router.post("/revisions/{id}/file", operation_id="revision.file")
def file_revision(
    asked: Annotated[Asked[Revision], _asked("file")], body: FilingStatement, version: ExpectedVersion
) -> RevisionOut:
    """报送: file the working copy with the authority."""
    revisions.file(asked.session, asked.case, statement=body, expected_version=version, by=asked.by)
    return _represent(asked)


@router.post("/revisions/{id}/publish", operation_id="revision.publish")
def publish_revision(
    asked: Annotated[Asked[Revision], _asked("publish")], version: ExpectedVersion
) -> RevisionOut:
    """审核发布: what was filed becomes the next published version."""
    revisions.publish(asked.session, asked.case, expected_version=version, by=asked.by)
    return _represent(asked)


@router.post("/revisions/{id}/return", operation_id="revision.return")
def return_revision(
    asked: Annotated[Asked[Revision], _asked("return")], body: Defects, version: ExpectedVersion
) -> RevisionOut:
    """退回: send it back with every defect at once."""
    revisions.return_with_defects(
        asked.session, asked.case, defects=body.defects, expected_version=version, by=asked.by
    )
    return _represent(asked)


@router.post("/revisions/{id}/discard", operation_id="revision.discard")
def discard_revision(
    asked: Annotated[Asked[Revision], _asked("discard")], body: OptionalReason, version: ExpectedVersion
) -> RevisionOut:
    """放弃修订."""
    revisions.discard(asked.session, asked.case, reason=body.reason, expected_version=version, by=asked.by)
    return _represent(asked)


@router.post("/defects/{id}/answer", operation_id="defect.answer")
def answer_defect(
    asked: Annotated[Asked[Defect], _thread("answer")], body: Answer, version: ExpectedVersion
) -> DefectOut:
    """答复: say how the defect was mended."""
    return _say(asked, "answer", body.text, version)


@router.post("/defects/{id}/confirm", operation_id="defect.confirm")
def confirm_defect(
    asked: Annotated[Asked[Defect], _thread("confirm")], body: Answer, version: ExpectedVersion
) -> DefectOut:
    """确认已整改: the thread is closed."""
    return _say(asked, "confirm", body.text, version)


@router.post("/defects/{id}/reopen", operation_id="defect.reopen")
def reopen_defect(
    asked: Annotated[Asked[Defect], _thread("reopen")], body: Answer, version: ExpectedVersion
) -> DefectOut:
    """未整改到位: the same thread goes back with the next return."""
    return _say(asked, "reopen", body.text, version)


@router.post("/defects/{id}/drop", operation_id="defect.drop")
def drop_defect(
    asked: Annotated[Asked[Defect], _thread("drop")], body: Reason, version: ExpectedVersion
) -> DefectOut:
    """撤回问题: it was none."""
    return _say(asked, "drop", body.reason, version)


def _say(asked: Asked[Defect], act: str, text: str, version: int) -> DefectOut:
    revisions.say(asked.session, asked.case, act, text=text, expected_version=version, by=asked.by)
    set_version(asked.response, asked.case.version)
    case = asked.case.revision or asked.case.resource
    return _thread_out(asked.session, asked.case, case, asked.by)


def _filings(session: Session, case: Case, published: ResourceRecord | None) -> list[FilingOut]:
    told, before = [], published
    for filing in review.filings_of(session, case):
        record = ResourceRecord.model_validate(filing.record)
        changes = changes_between(before, record) if before else []
        told.append(
            FilingOut(
                number=filing.number, filed_at=filing.created_at, signed_name=filing.signed_name,
                statement=FilingStatement.model_validate(filing.statement),
                content_sha256=filing.content_hash.hex(), changes=[ChangeOut.of(change) for change in changes],
            )
        )  # fmt: skip
        before = record
    return told


def _threads(session: Session, case: Case, by: Actor) -> list[DefectOut]:
    return [_thread_out(session, thread, case, by) for thread in review.threads_of(session, case)]


def _thread_out(session: Session, thread: Defect, case: Case, by: Actor) -> DefectOut:
    resource = case if isinstance(case, Resource) else case.resource
    acts = DEFECT.allowed(thread.state, service.parties_of(session, by, resource), by.roles)
    return DefectOut(
        id=thread.id, resource_id=thread.resource_id, revision_id=thread.revision_id, state=thread.state,
        state_name=Label.of(DEFECT.states[thread.state]), version=thread.version, field=thread.field,
        field_name=Label.of(label(thread.field)), message=thread.message,
        said=[
            Said(
                at=event.at, act=event.act, act_name=Label.of(DEFECT.acts[event.act]), party=event.party,
                actor_name=event.actor_name, text=event.reason,
            )
            for event in history.events_of(session, DEFECT.kind, thread.id)
        ],
        allowed=[act for act in acts if defect_hindrance(act, case.state) is None],
    )  # fmt: skip


def _summary(revision: Revision) -> dict[str, Any]:
    resource = revision.resource
    return {
        "id": revision.id, "resource_id": resource.id, "code": resource.code, "title": resource.title,
        "agency": AgencyRef.of_agency(resource.agency), "state": revision.state,
        "state_name": Label.of(REVISION.states[revision.state]), "reason": revision.reason,
        "updated_at": revision.updated_at,
    }  # fmt: skip


def _represent(asked: Asked[Revision]) -> RevisionOut:
    revision = asked.case
    set_version(asked.response, revision.version)
    return RevisionOut(
        **_summary(revision), version=revision.version, base_version=revision.base_version,
        record=ResourceRecord.model_validate(revision.record), content_sha256=revision.content_hash.hex(),
        created_at=revision.created_at, deadlines=deadlines_out(asked.session, REVISION.kind, revision.id),
        allowed=revisions.allowed_acts(asked.session, revision, asked.by),
    )  # fmt: skip
