"""REST of plans that come as files: the template, the import of any of the formats, the rows that were refused."""

from __future__ import annotations

import json
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, File, Form, Request, Response, UploadFile
from pydantic import JsonValue

from app.identity.permissions import permit, permitted
from app.kernel.actor import Actor, Role, Scope
from app.kernel.db import DbSession
from app.kernel.errors import Fault, Invalid
from app.kernel.text import Text
from app.kernel.wire import Label, Wire
from catalog.collection import service
from catalog.collection.reading.files import Incomplete, Outcome, PlanFormat, read_plans
from catalog.collection.reading.plan_sheet import write_plan_template
from catalog.collection.reading.read import ReadPlan
from catalog.collection.record import PlannedItemRecord, PlanRecord
from catalog.formats.reading import Rejected
from catalog.formats.sheets import write_rejected

router = APIRouter(prefix="/api/v1/plan-imports", tags=["collection"])

permit(
    "plan_import.template",
    "plan_import.create",
    "plan_import.rejected",
    roles={Role.CLERK},
    scope=Scope.CLERK,
)

_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_WORKBOOK: dict[int | str, dict[str, Any]] = {200: {"content": {_TYPE: {}}, "description": "xlsx"}}
PlanFile = Annotated[
    UploadFile,
    File(
        description="模板、JSON Schema、XForm、XLSForm、CREATE TABLE 或 information_schema 的 CSV / the template,"
        " a JSON Schema, an XForm or XLSForm, CREATE TABLE, or information_schema.columns as CSV"
    ),
]
Given = Annotated[
    str,
    Form(
        alias="plan", max_length=100_000,
        description="JSON：文件没有说明的计划内容（目的、依据、期间…） / what the file does not say of the plan",
    ),
]  # fmt: skip


class FaultOut(Wire):
    field: str
    message: Label
    rule: Label | None


class PlanEntry(Wire):
    """One plan of the file: drafted (`plan_id`), readable (`record`), or with what is missing or wrong."""

    place: str
    title: str
    plan_id: UUID | None = None
    record: PlanRecord | None = None
    items: tuple[PlannedItemRecord, ...] = ()
    notes: tuple[Label, ...] = ()
    faults: tuple[FaultOut, ...] = ()


class PlanImportReport(Wire):
    """What came of a file. With `dry_run` nothing is kept."""

    format: PlanFormat
    dry_run: bool
    drafted: int
    rejected: int
    plans: list[PlanEntry]


@router.get(
    "/template.xlsx", operation_id="plan_import.template", responses=_WORKBOOK, response_class=Response
)
def template(request: Request, _: Annotated[Actor, permitted("plan_import.template")]) -> Response:
    """The empty workbook, its drop-downs in the language asked for."""
    return _workbook(write_plan_template(request.state.locale), "plans-template.xlsx")


@router.post("", operation_id="plan_import.create", status_code=201)
def create(
    session: DbSession,
    actor: Annotated[Actor, permitted("plan_import.create")],
    file: PlanFile,
    given: Given = "{}",
    dry_run: Annotated[bool, Form()] = False,
) -> PlanImportReport:
    """Draft a plan of each that the file holds, or tell what would be drafted (`dry_run`). Plans with faults are
    told and left out; the others are drafted."""
    form, outcomes = read_plans(file.file, _given(given))
    entries = [_entry(outcome) for outcome in outcomes]
    if not dry_run:
        entries = [
            entry.model_copy(
                update={"plan_id": service.draft_plan(session, record=entry.record, by=actor).id}
            )
            if entry.record
            else entry
            for entry in entries
        ]
    return PlanImportReport(
        format=form, dry_run=dry_run, drafted=sum(entry.plan_id is not None for entry in entries),
        rejected=sum(entry.record is None for entry in entries), plans=entries,
    )  # fmt: skip


@router.post(
    "/rejected.xlsx", operation_id="plan_import.rejected", responses=_WORKBOOK, response_class=Response
)
def rejected(
    request: Request,
    _actor: Annotated[Actor, permitted("plan_import.rejected")],
    file: PlanFile,
    given: Given = "{}",
) -> Response:
    """The rows of this file that would be refused, each fault beside its cell; nothing is kept."""
    outcomes = read_plans(file.file, _given(given))[1]
    refused = [
        o.rejected if isinstance(o, Incomplete) else o for o in outcomes if not isinstance(o, ReadPlan)
    ]
    return _workbook(write_rejected(refused, request.state.locale), "rejected.xlsx")


def _given(text: str) -> dict[str, JsonValue]:
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict) or "items" in given:
        told = Text("须为不含 items 的 JSON 对象", "not a JSON object without items")
        raise Invalid(faults=[Fault("/plan", told)])
    return given


def _entry(outcome: Outcome) -> PlanEntry:
    if isinstance(outcome, ReadPlan):
        record = outcome.record
        return PlanEntry(
            place=outcome.place, title=record.title, record=record, items=record.items,
            notes=tuple(Label.of(note) for note in outcome.notes),
        )  # fmt: skip
    if isinstance(outcome, Rejected):
        return PlanEntry(place=outcome.place, title="", faults=_faults(outcome))
    return PlanEntry(
        place=outcome.rejected.place, title=outcome.title, items=outcome.items,
        notes=tuple(Label.of(note) for note in outcome.notes), faults=_faults(outcome.rejected),
    )  # fmt: skip


def _faults(refused: Rejected) -> tuple[FaultOut, ...]:
    return tuple(
        FaultOut(field=f.field, message=Label.of(f.message), rule=Label.of(f.rule) if f.rule else None)
        for f in refused.faults
    )


def _workbook(content: bytes, name: str) -> Response:
    return Response(
        content, media_type=_TYPE, headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )
