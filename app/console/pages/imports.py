"""The import wizard: send a file, watch its rehearsal, look at new, changed and rejected, confirm or give up."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Response

from app.console.acts import Case, act_routes, offered
from app.console.forms import Act, Form, Sent
from app.console.pages.resources import STATEMENT
from app.console.sheets import Cell, Link, Register, Table, onward
from app.console.view import Seen, View, looking, looking_at, permit_page
from app.kernel.errors import Fault, Invalid, Problem
from app.kernel.text import Text
from app.kernel.wire import Cursor
from catalog.imports import api, mappings_api, service
from catalog.imports.models import ImportJob
from catalog.imports.states import COMMITTING, IMPORT, RECEIVED
from catalog.resources.labels import label
from catalog.resources.review import FilingStatement

router = APIRouter(include_in_schema=False)
permit_page("console.imports", like="import.list")
permit_page("console.import", like="import.read")
permit_page("console.import_form", like="import.submit")
permit_page("console.submit_import", like="import.submit")
permit_page("console.import_rejected", like="import.rejected")
permit_page("console.import_template", like="import.template")

OUTCOMES = {
    "new": Text("新增", "new"),
    "changed": Text("变更", "changed"),
    "unchanged": Text("无变化", "unchanged"),
    "rejected": Text("不能导入", "rejected"),
}
AS_STATES = {
    "draft": Text("草稿", "drafts"),
    "filed": Text("已报送，待审核", "filed"),
    "published": Text("直接发布", "published"),
}
ACTS = {
    "commit": Act(
        api.commit, says=Text("可导入的写入目录，不能导入的留在外面；离开页面不影响。", "What can come in is brought in, what was rejected stays out; you may leave the page.")
    ),
    "file": Act(
        api.file_import, FilingStatement, STATEMENT,
        says=Text("一份声明覆盖全部可导入的资源，随后送主管部门审核。", "One statement for all that can come in; the authority then reviews it."),
    ),
    "cancel": Act(api.cancel, grave=True),
}  # fmt: skip


@router.get("/imports", operation_id="console.imports")
def list_imports(view: Annotated[View, looking("console.imports")], cursor: Cursor = None) -> Response:
    """The imports of one's agency."""
    found = api.list_imports(view.actor, view.session, 20, cursor)
    rows = [
        [Cell(row.file_name, f"/imports/{row.id}"), Cell(row.file_size), Cell(Text(row.state_name.zh, row.state_name.en), state=row.state), Cell(row.created_at)]
        for row in found.items
    ]  # fmt: skip
    title = Text("批量导入", "Imports")
    columns = (Text("文件", "File"), Text("字节", "Bytes"), Text("状态", "State"), Text("提交", "Sent"))
    links = (Link("/imports/new", Text("导入文件", "Import a file"), main=True), Link("/imports/template.xlsx", Text("下载模板", "The template")))  # fmt: skip
    table = Table(columns, rows, title, Text("还没有导入。", "Nothing was imported yet."))
    return view.page(
        "list.html", register=Register(title, table, links=links, more=onward("/imports", found.next))
    )


@router.get("/imports/new", operation_id="console.import_form")
def import_form(view: Annotated[View, looking("console.import_form")]) -> Response:
    """The form for a file."""
    return _form(view, None)


def _form(view: View, problem: Problem | None) -> Response:
    known = mappings_api.list_mappings(view.actor, view.session).items if view.may("mapping.list") else []
    return view.page(
        "imports/new.html", status=problem.status if problem else 200, here="/imports/new", problem=problem,
        mappings={one.name: Text(one.name, one.name) for one in known}, as_states=AS_STATES,
    )  # fmt: skip


@router.post("/imports/new", operation_id="console.submit_import")
def submit_import(view: Annotated[View, looking("console.submit_import")], form: Sent) -> Response:
    """Send the file; it is rehearsed whether one stays or not."""
    file = form.file("file")
    chosen: Any = {
        name: form.text(name) or None for name in ("mapping", "agency", "jurisdiction", "encoding")
    }
    try:
        if file is None:
            raise Invalid(faults=[Fault("/file", Text("没有选择文件", "no file was chosen"))])
        as_state: Any = form.text("as") if form.text("as") in AS_STATES else "draft"
        with view.session.begin_nested():
            made = api.submit(view.actor, view.session, Response(), file, **chosen, as_state=as_state)  # type: ignore[arg-type]  # Starlette's file is what FastAPI hands on
    except Problem as problem:
        return _form(view, problem)
    return view.to(f"/imports/{made.id}")


@router.get("/imports/template.xlsx", operation_id="console.import_template")
def import_template(view: Annotated[View, looking("console.import_template")]) -> Response:
    """The empty workbook, its drop-downs in the reader's language."""
    return api.template(view.request, view.actor)


@router.get("/imports/{id:uuid}", operation_id="console.import")
def import_page(
    seen: Annotated[Seen[ImportJob], looking_at("console.import", service.find_import)],
    outcome: str | None = None,
    cursor: Cursor = None,
) -> Response:
    """How far an import is; once rehearsed, what would come of each resource."""
    told = api.represent(seen.asked)
    chosen: Any = outcome if outcome in OUTCOMES else None
    rows = api.rows(seen.asked, chosen, 20, cursor) if told.preview else None
    here = f"/imports/{told.id}"
    return seen.view.page(
        "imports/one.html", job=told, rows=rows, outcomes=OUTCOMES, outcome=chosen, field_label=lambda name: label(f"/{name}"),
        running=told.state in (RECEIVED, COMMITTING), offers=offered(_case(seen, "", Form()), ACTS), act_names=IMPORT.acts,
        events=api.events(seen.asked), more=onward(here, rows.next, outcome=chosen) if rows else None,
        done=seen.view.request.query_params.get("done"),
    )  # fmt: skip


@router.get("/imports/{id:uuid}/rejected.xlsx", operation_id="console.import_rejected")
def import_rejected(
    seen: Annotated[Seen[ImportJob], looking_at("console.import_rejected", service.find_import)],
) -> Response:
    """What cannot come in, each fault beside its cell."""
    return api.rejected(seen.asked, seen.view.request)


def _case(seen: Seen[ImportJob], act: str, _form: Form) -> Case:
    told = api.represent(seen.asked)
    title = Text(told.file_name, told.file_name)
    return Case(f"/imports/{told.id}", title, IMPORT, told.state, told.version, told.allowed)


act_routes(router, "/imports", "import", service.find_import, ACTS, _case)
