"""REST of imports: send a file, look at what it would do, confirm, fetch what was refused; mappings; the template."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, File, Form, Query, Request, Response, UploadFile
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.identity.cases import Asked, EventOut, events_out, guarded
from app.identity.permissions import permit, permit_acts, permitted
from app.kernel.actor import Actor, Role
from app.kernel.db import DbSession
from app.kernel.text import negotiate_locale
from app.kernel.wire import (
    Cursor,
    ExpectedVersion,
    Limit,
    LinkedRoute,
    Page,
    encode_cursor,
    id_in_cursor,
    read_cursor,
    set_version,
)
from catalog.formats.reading import Rejected, SourceRow
from catalog.formats.sheets import write_rejected
from catalog.formats.template import write_template
from catalog.imports import service
from catalog.imports.models import ImportJob, ImportRow, ImportRun
from catalog.imports.run import ImportOptions
from catalog.imports.states import IMPORT
from catalog.imports.wire import (
    ImportOut,
    ImportSummary,
    PreviewRow,
    ProblemOut,
    RejectedCells,
    Remark,
    RowOutcome,
    Tally,
)
from catalog.resources.importing import ImportState
from catalog.resources.review import FilingStatement

router = APIRouter(prefix="/api/v1/imports", tags=["imports"], route_class=LinkedRoute)

permit_acts(IMPORT)
permit(
    "import.list", "import.read", "import.rows", "import.events", "import.rejected", "import.template",
    roles={Role.CATALOG_ADMINISTRATOR, Role.APPROVER},
)  # fmt: skip

WORKBOOK_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
WORKBOOK_RESPONSE: dict[int | str, dict[str, Any]] = {
    200: {"content": {WORKBOOK_TYPE: {}}, "description": "xlsx"}
}
REJECTED_LIMIT = 20_000  # resources in the workbook of what was refused
Short = Annotated[str | None, Form(max_length=64)]
Import = Asked[ImportJob]


def _asked(operation: str) -> Any:
    return guarded(operation, service.find_import)


@router.post("", operation_id="import.submit", status_code=201)
def submit(
    actor: Annotated[Actor, permitted("import.submit")],
    session: DbSession,
    response: Response,
    file: Annotated[
        UploadFile,
        File(description="xlsx, CSV, DCAT-US data.json, DCAT-AP (Turtle, JSON-LD, RDF/XML)"),
    ],
    mapping: Short = None,
    agency: Short = None,
    jurisdiction: Short = None,
    encoding: Short = None,
    as_state: Annotated[ImportState, Form(alias="as")] = "draft",
) -> ImportOut:
    """Send a file. It is rehearsed in the background, whether you stay or not; nothing is brought in before you
    confirm the preview (`commit`). An agency imports for itself, an authority for all under it."""
    options = ImportOptions(
        mapping=mapping,
        agency_code=agency,
        jurisdiction_code=jurisdiction,
        encoding=encoding,
        as_state=as_state,
    )
    # Starlette has spooled the body to a temporary file, which goes with the request.
    job = service.submit(session, file.file, file.filename or "", options, by=actor)
    response.headers["Location"] = f"{router.prefix}/{job.id}"
    return represent(Asked(session, job, actor, response))


@router.get("", operation_id="import.list")
def list_imports(
    actor: Annotated[Actor, permitted("import.list")],
    session: DbSession,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> Page[ImportSummary]:
    """The imports of your agency, newest first."""
    query = select(ImportJob).where(ImportJob.agency_id == actor.agency_id).order_by(ImportJob.id.desc())
    if cursor:
        query = query.where(ImportJob.id < id_in_cursor(cursor))
    rows = list(session.scalars(query.limit(limit + 1)))
    following = encode_cursor(rows[limit - 1].id) if len(rows) > limit else None
    return Page(items=[ImportSummary(**_summary(row)) for row in rows[:limit]], next=following)


@router.get(
    "/template.xlsx", operation_id="import.template", responses=WORKBOOK_RESPONSE, response_class=Response
)
def template(request: Request, _: Annotated[Actor, permitted("import.template")]) -> Response:
    """The empty workbook, its drop-downs in the language asked for."""
    return _workbook(write_template(_locale(request)), "zhengtong-template.xlsx")


@router.get("/{id}", operation_id="import.read")
def read(asked: Annotated[Import, _asked("import.read")]) -> ImportOut:
    """How far an import is, what its rehearsal found, and what came of it."""
    return represent(asked)


@router.get("/{id}/rows", operation_id="import.rows")
def rows(
    asked: Annotated[Import, _asked("import.rows")],
    outcome: Annotated[RowOutcome | None, Query(description="只看一种结果 / only this outcome")] = None,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> Page[PreviewRow]:
    """What the rehearsal found, resource by resource: new, changed (and how), unchanged, rejected (and why)."""
    query = select(ImportRow).where(ImportRow.run_id == asked.case.preview_id).order_by(ImportRow.number)
    if outcome:
        query = query.where(ImportRow.outcome == outcome)
    if cursor:
        query = query.where(ImportRow.number > read_cursor(cursor, int))
    found = list(asked.session.scalars(query.limit(limit + 1)))
    following = encode_cursor(found[limit - 1].number) if len(found) > limit else None
    return Page(items=[_preview_row(row) for row in found[:limit]], next=following)


@router.get("/{id}/events", operation_id="import.events")
def events(asked: Annotated[Import, _asked("import.events")]) -> list[EventOut]:
    """The history, oldest first."""
    return events_out(asked.session, IMPORT, asked.case.id)


@router.get(
    "/{id}/rejected.xlsx",
    operation_id="import.rejected",
    responses=WORKBOOK_RESPONSE,
    response_class=Response,
)
def rejected(asked: Annotated[Import, _asked("import.rejected")], request: Request) -> Response:
    """The rows that cannot come in, each fault beside its cell; mend them and send the workbook again."""
    entries = list(_rejected(asked.session, asked.case))
    return _workbook(write_rejected(entries, _locale(request)), f"rejected-{asked.case.id}.xlsx")


@router.post("/{id}/commit", operation_id="import.commit")
def commit(asked: Annotated[Import, _asked("import.commit")], version: ExpectedVersion) -> ImportOut:
    """Confirm the preview: what can come in is brought in, what was rejected stays out."""
    service.commit(asked.session, asked.case, by=asked.by, expected_version=version)
    return represent(asked)


@router.post("/{id}/file", operation_id="import.file")
def file_import(
    asked: Annotated[Import, _asked("import.file")], statement: FilingStatement, version: ExpectedVersion
) -> ImportOut:
    """Sign what was sent `as=filed`: it is brought in and goes to the authority, with your statement for all of it."""
    service.file(asked.session, asked.case, statement=statement, by=asked.by, expected_version=version)
    return represent(asked)


@router.post("/{id}/cancel", operation_id="import.cancel")
def cancel(asked: Annotated[Import, _asked("import.cancel")], version: ExpectedVersion) -> ImportOut:
    """Give the import up; its file and its preview are removed."""
    service.cancel(asked.session, asked.case, by=asked.by, expected_version=version)
    return represent(asked)


def represent(asked: Import) -> ImportOut:
    """The import as its agency sees it."""
    job = asked.case
    set_version(asked.response, job.version)
    runs = {
        run.id: run
        for run in asked.session.scalars(
            select(ImportRun).where(ImportRun.id.in_((job.preview_id, job.run_id)))
        )
    }
    return ImportOut(
        **_summary(job), version=job.version, resources_read=job.resources_read, mapping=job.options["mapping"],
        agency=job.options["agency_code"], as_state=job.options["as_state"],
        preview=_tally(runs, job.preview_id), result=_tally(runs, job.run_id),
        problem=ProblemOut.model_validate(job.problem) if job.problem else None,
        allowed=_allowed(asked),
    )  # fmt: skip


def _allowed(asked: Import) -> list[str]:
    job = asked.case
    allowed = IMPORT.allowed(job.state, service.parties_of(job, asked.by), asked.by.roles)
    return [act for act in allowed if act != ("commit" if service.files(job) else "file")]


def _summary(job: ImportJob) -> dict[str, Any]:
    told = {name: getattr(job, name) for name in ImportSummary.model_fields if name != "state_name"}
    name = IMPORT.states[job.state]
    return {**told, "state_name": {"zh": name.zh, "en": name.en}}


def _tally(runs: Mapping[UUID, ImportRun], run_id: UUID | None) -> Tally | None:
    if run_id is None:
        return None
    return Tally.model_validate({name: getattr(runs[run_id], name) for name in Tally.model_fields})


def _preview_row(row: ImportRow) -> PreviewRow:
    told = {
        name: getattr(row, name)
        for name in ("number", "outcome", "place", "title", "source_id", "resource_id")
    }
    detail = {name: row.detail.get(name, []) for name in ("notes", "faults")}
    return PreviewRow(**told, **detail, differences=row.detail.get("differences", {}))


def _rejected(session: Session, job: ImportJob) -> Iterator[Rejected]:
    query = (
        select(ImportRow)
        .where(ImportRow.run_id == job.preview_id, ImportRow.outcome == "rejected")
        .order_by(ImportRow.number)
        .limit(REJECTED_LIMIT)
    )
    for row in session.scalars(query):
        faults = [Remark.model_validate(fault).as_fault() for fault in row.detail["faults"]]
        cells: Sequence[RejectedCells] = [RejectedCells.model_validate(cell) for cell in row.detail["rows"]]
        yield Rejected(
            row.place, tuple(faults), tuple(SourceRow(cell.number, dict(cell.cells)) for cell in cells)
        )


def _locale(request: Request) -> str:
    return getattr(request.state, "locale", None) or negotiate_locale(request.headers.get("accept-language"))


def _workbook(content: bytes, name: str) -> Response:
    return Response(
        content, media_type=WORKBOOK_TYPE, headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )
