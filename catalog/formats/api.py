"""REST of imports: send a file, read what came of it, fetch the rejected rows and the template."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, File, Form, Request, Response, UploadFile

from app.identity.permissions import permit, permitted
from app.kernel.actor import Actor, Role
from app.kernel.db import DbSession
from app.kernel.text import negotiate_locale
from catalog.formats.imports import (
    ImportOptions,
    ImportReport,
    RejectedEntry,
    find_run,
    report_of,
    run_import,
)
from catalog.formats.sheets import write_rejected
from catalog.formats.template import write_template
from catalog.resources.importing import ImportState

router = APIRouter(prefix="/api/v1/imports", tags=["imports"])

permit(
    "import.create", "import.read", "import.rejected", "import.template", roles={Role.CATALOG_ADMINISTRATOR}
)

WORKBOOK_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_WORKBOOK_RESPONSE: dict[int | str, dict[str, Any]] = {
    200: {"content": {WORKBOOK_TYPE: {}}, "description": "xlsx"}
}
Short = Annotated[str | None, Form(max_length=64)]


@router.post("", operation_id="import.create", status_code=201)
def create(
    actor: Annotated[Actor, permitted("import.create")],
    session: DbSession,
    file: Annotated[
        UploadFile, File(description="xlsx, CSV 或 DCAT-US data.json / xlsx, CSV or DCAT-US data.json")
    ],
    mapping: Short = None,
    agency: Short = None,
    jurisdiction: Short = None,
    as_state: Annotated[ImportState, Form(alias="as")] = "draft",
    dry_run: Annotated[bool, Form()] = False,
) -> ImportReport:
    """Bring in a file, or rehearse it (`dry_run`). An agency imports for itself, an authority for all under it."""
    options = ImportOptions(
        mapping=mapping,
        agency_code=agency,
        jurisdiction_code=jurisdiction,
        as_state=as_state,
        dry_run=dry_run,
    )
    # Starlette has spooled the body to a temporary file, which goes with the request.
    return run_import(session, file.file, options, by=actor)


@router.get(
    "/template.xlsx", operation_id="import.template", responses=_WORKBOOK_RESPONSE, response_class=Response
)
def template(request: Request, _: Annotated[Actor, permitted("import.template")]) -> Response:
    """The empty workbook, its drop-downs in the language asked for."""
    return _workbook(write_template(_locale(request)), "zhengtong-template.xlsx")


@router.get("/{import_id}", operation_id="import.read")
def read(
    import_id: UUID, actor: Annotated[Actor, permitted("import.read")], session: DbSession
) -> ImportReport:
    """What came of an import of your agency."""
    return report_of(find_run(session, import_id, actor))


@router.get(
    "/{import_id}/rejected.xlsx",
    operation_id="import.rejected",
    responses=_WORKBOOK_RESPONSE,
    response_class=Response,
)
def rejected(
    import_id: UUID,
    request: Request,
    actor: Annotated[Actor, permitted("import.rejected")],
    session: DbSession,
) -> Response:
    """The rows that were not brought in, each fault beside its cell; mend them and send the workbook again."""
    run = find_run(session, import_id, actor)
    entries = [RejectedEntry.model_validate(entry).as_rejected() for entry in run.rejected_rows]
    return _workbook(write_rejected(entries, _locale(request)), f"rejected-{import_id}.xlsx")


def _locale(request: Request) -> str:
    return getattr(request.state, "locale", None) or negotiate_locale(request.headers.get("accept-language"))


def _workbook(content: bytes, name: str) -> Response:
    return Response(
        content, media_type=WORKBOOK_TYPE, headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )
