"""Collection plans: the list, writing and importing one, one plan with what the catalog holds already item by item,
and every act on plans and findings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Response

from app.console.acts import Case, act_routes, names, offered, refused
from app.console.due import clocks_of
from app.console.forms import REASON, Act, Entered, Field, Form, Sent, validated
from app.console.sheets import Cell, Link, Register, Tab, Table, onward, state_tabs
from app.console.view import Seen, View, looking, looking_at, permit_page
from app.kernel.errors import Fault, Invalid, NotPermitted, Problem, WrongMoment
from app.kernel.text import Text
from app.kernel.wire import Cursor
from catalog.collection import api, findings, import_api, service
from catalog.collection.models import Finding, Plan
from catalog.collection.record import MEANS, CheckRecord, PlanRecord
from catalog.collection.states import FINDING, GROUNDS, PLAN
from catalog.collection.wire import (
    Acceptance,
    Because,
    ChosenFindings,
    ChosenPlans,
    Justification,
    MaybeBecause,
    Period,
    Permission,
    PlanOut,
    finding_out,
    plan_out,
)
from catalog.resources.codes import DATA_TYPES, SHARING_TYPES, UPDATE_CYCLES

router = APIRouter(include_in_schema=False)
permit_page("console.plans", like="plan.list")
permit_page("console.plan", like="plan.read")
permit_page("console.findings", like="finding.list")
permit_page("console.new_plan", like="plan.draft")
permit_page("console.draft_plan", like="plan.draft")
permit_page("console.amend_plan_form", like="plan.amend")
permit_page("console.amend_plan", like="plan.amend")
permit_page("console.edit_plan_form", like="plan.edit")
permit_page("console.edit_plan", like="plan.edit")
permit_page("console.plan_file", like="plan_import.create")
permit_page("console.import_plan", like="plan_import.create")
permit_page("console.plan_template", like="plan_import.template")

ITEM_ROWS = 6  # blank rows beneath the items there are
_ITEM = ("name", "name_en", "definition", "data_type", "code_list")
_PLAIN = (
    "title", "title_en", "population", "means", "purpose", "business_matter", "legal_basis", "update_cycle", "period_from",
    "period_until", "respondents", "minutes_per_respondent", "project_reference",
)  # fmt: skip

MAYBE = Field("reason", Text("理由", "Reason"), required=False)
PLAN_ACTS = {
    "file": Act(api.file_plan, says=Text("逐项与目录比对；疑似重复的须先了结。", "Every item is checked against the catalog; what seems to exist is settled first.")),
    "collect": Act(api.collect),
    "close": Act(api.close_plan, grave=True),
    "renew": Act(
        lambda asked, body, _version: api.renew_plan(asked, body), Period,
        (Field("period_from", Text("开始日期", "First day"), "date"), Field("period_until", Text("结束日期", "Last day"), "date")),
        says=Text("按同样内容生成新一期的草稿，报送后重新比对。", "A draft of the same for another period; once filed it is checked again."),
    ),
    "permit": Act(api.permit_plan, Permission, (REASON, Field("until", Text("至", "Until"), "date"))),
}  # fmt: skip
FINDING_ACTS = {
    "withdraw": Act(api.withdraw, MaybeBecause, (MAYBE,), says=Text("该信息项不再采集，可直接申请共享。", "The item is not collected; it can be requested instead.")),
    "justify": Act(api.justify, Justification, (
        Field("ground", Text("理由类别", "Ground"), "select", options={c: Text(f"{g.label.zh}（{g.basis}）", f"{g.label.en} ({g.basis})") for c, g in GROUNDS.items()}),
        Field("text", Text("说明", "In words")),
    )),
    "accept": Act(api.accept, Acceptance, (
        REASON, Field("scope", Text("认可的采集范围", "Accepted scope")), Field("until", Text("有效至", "Until"), "date"),
    )),
    "uphold": Act(api.uphold, Because, (REASON,)),
    "appeal": Act(api.appeal, Because, (REASON,)),
    "share_instead": Act(api.share_instead, MaybeBecause, (MAYBE,)),
    "notice": Act(api.issue_notice, says=Text("向采集单位通报批评（条例第四十六条第一项）。", "A notice of criticism goes to the agency (Regulation Art. 46(1))."), grave=True),
}  # fmt: skip


@router.get("/plans", operation_id="console.plans")
def list_plans(
    view: Annotated[View, looking("console.plans")], state: str | None = None, cursor: Cursor = None
) -> Response:
    """Plans that the reader may know of."""
    state = state if state in PLAN.states else None
    found = api.list_plans(view.session, view.actor, ChosenPlans(state=state, cursor=cursor))
    rows = [
        [
            Cell(row.title, f"/plans/{row.id}", below=row.control_number), Cell(row.agency.name),
            Cell(row.state_name, state=row.state), Cell(row.period_until),
        ]
        for row in found.items
    ]  # fmt: skip
    title = Text("采集计划", "Collection plans")
    columns = (Text("计划", "Plan"), Text("单位", "Agency"), Text("状态", "State"), Text("采集至", "Until"))
    links = (
        Link("/plans/new", Text("编制计划", "Write a plan"), main=True),
        Link("/plans/import", Text("从文件导入", "Import from a file")),
    )
    table = Table(columns, rows, title, Text("没有采集计划。", "No collection plans."))
    register = Register(
        title, table, state_tabs("/plans", PLAN.states, state), links=links if view.may("plan.draft") else (),
        more=onward("/plans", found.next, state=state),
    )  # fmt: skip
    return view.page("list.html", register=register)


@router.get("/findings", operation_id="console.findings")
def list_findings(
    view: Annotated[View, looking("console.findings")],
    state: str | None = None,
    all: bool = False,
    cursor: Cursor = None,
) -> Response:
    """Findings of duplicate collection: what waits for the reader's agency, or all that it may see."""
    state = state if state in FINDING.states else None
    waiting = not all and state is None
    chosen = ChosenFindings(waiting=waiting, state=state, cursor=cursor)
    found = api.list_findings(view.session, view.actor, chosen)
    rows = [
        [
            Cell(row.item, f"/plans/{row.plan_id}#finding-{row.id}", below=row.plan_title, late=row.overdue), Cell(row.agency.name),
            Cell(row.best.item_name, f"/catalog/{row.best.resource_id}", below=f"{row.best.agency_name} · {row.best.resource_title}"),
            Cell(row.state_name, state=row.state), Cell(row.updated_at),
        ]
        for row in found.items
    ]  # fmt: skip
    title = Text("重复采集", "Duplicate collection")
    columns = (Text("计划的信息项", "Planned item"), Text("采集单位", "Agency"), Text("目录中已有", "In the catalog"), Text("状态", "State"), Text("最近变化", "Last change"))  # fmt: skip
    tabs = [
        Tab("/findings", Text("待本单位办理", "Waiting for us"), waiting),
        Tab("/findings?all=true", Text("全部", "All"), all and state is None),
        *state_tabs("/findings", FINDING.states, state)[1:],
    ]
    table = Table(columns, rows, title, Text("没有疑似重复采集。", "No findings."))
    more = onward("/findings", found.next, state=state, all="true" if all else None)
    return view.page("list.html", register=Register(title, table, tabs, more=more))


@router.get("/plans/{id:uuid}", operation_id="console.plan")
def plan_page(seen: Annotated[Seen[Plan], looking_at("console.plan", service.find_plan)]) -> Response:
    """One plan with its findings."""
    view, asked, told = seen.view, seen.asked, plan_out(seen.asked)
    rows = findings.findings_of(view.session, seen.case)
    found = [finding_out(view.asked((row, seen.case))) for row in rows]
    cases = {row.id: _finding_case_of(view, row, seen.case, told) for row in rows}
    case = _plan_case(seen, "", Form())
    return view.page(
        "plans/one.html", plan=told, findings=found, clocks={row.id: clocks_of(view, row.deadlines) for row in found},
        offers=offered(case, PLAN_ACTS), refused=refused(view, case),
        finding_offers={row.id: offered(cases[row.id], FINDING_ACTS) for row in found},
        finding_refused={row.id: refused(view, cases[row.id]) for row in found},
        act_names={**FINDING.acts, **PLAN.acts}, means=MEANS, sharing=SHARING_TYPES, events=api.list_plan_events(asked),
        changes=api.plan_changes(asked) if told.follows else None,
        may_request=view.may("request.draft") and told.agency.id == view.actor.agency_id,
        done=view.request.query_params.get("done"),
    )  # fmt: skip


def _plan_case(seen: Seen[Plan], act: str, _form: Form) -> Case:
    told = plan_out(seen.asked)
    other = told.authority if told.agency.id == seen.view.actor.agency_id else told.agency
    return Case(
        f"/plans/{told.id}", Text(told.record.title, told.record.title_en or told.record.title), PLAN, told.state,
        told.version, told.allowed, () if act == "renew" else names(other.name),
        parties=service.parties_of(seen.view.actor, seen.case),
    )  # fmt: skip


def _then(seen: Seen[Plan], act: str, done: Any) -> str:
    """Where an act leads: a renewal to its draft."""
    return f"/plans/{done.id if act == 'renew' else seen.case.id}"


def _finding_case_of(view: View, row: Finding, plan: Plan, told_plan: PlanOut) -> Case:
    told = finding_out(view.asked((row, plan)))
    return Case(
        f"/findings/{told.id}", Text(told.item.name, told.item.name_en or told.item.name), FINDING, told.state,
        told.version, told.allowed, (), {"finding": told},
        {"until": told_plan.record.period_until.isoformat()}, f"/plans/{plan.id}#finding-{told.id}",
        service.parties_of(view.actor, plan), lambda act: findings.obstacle(row, act),
    )  # fmt: skip


def _finding_case(seen: Seen[tuple[Finding, Plan]], act: str, _form: Form) -> Case:
    row, plan = seen.case
    told = plan_out(seen.view.asked(plan))
    other = told.authority if told.agency.id == seen.view.actor.agency_id else told.agency
    return replace(_finding_case_of(seen.view, row, plan, told), told=names(other.name))


# --- Writing a plan


@router.get("/plans/new", operation_id="console.new_plan")
def new_plan(view: Annotated[View, looking("console.new_plan")]) -> Response:
    """The form for a new plan."""
    return _editor(view, {}, [], "/plans/new")


@router.post("/plans/new", operation_id="console.draft_plan")
def draft_plan(view: Annotated[View, looking("console.draft_plan")], form: Sent) -> Response:
    """Draft the plan; with `check` only look its items up in the catalog."""
    values = _values(form)
    if form.text("check"):
        return _looked_up(view, form, "/plans/new")
    try:
        with view.session.begin_nested():
            made = api.draft_plan(validated(PlanRecord, values), view.session, view.actor, Response())
    except Problem as problem:
        return _editor(view, values, values["items"], "/plans/new", problem=problem)
    return view.to(f"/plans/{made.id}?done=draft")


@router.get("/plans/{id:uuid}/edit", operation_id="console.edit_plan_form")
def edit_plan_form(
    seen: Annotated[Seen[Plan], looking_at("console.edit_plan_form", service.find_plan)],
) -> Response:
    """The form over a draft."""
    values = plan_out(seen.asked).record.model_dump(mode="json")
    here = f"/plans/{seen.case.id}/edit"
    return _editor(seen.view, values, values["items"], here, version=seen.case.version)


@router.post("/plans/{id:uuid}/edit", operation_id="console.edit_plan")
def edit_plan(
    seen: Annotated[Seen[Plan], looking_at("console.edit_plan", service.find_plan)], form: Sent
) -> Response:
    """Rewrite a draft; with `check` only look its items up in the catalog."""
    view, here, values = seen.view, f"/plans/{seen.case.id}/edit", _values(form)
    if form.text("check"):
        return _looked_up(view, form, here)
    try:
        with view.session.begin_nested():
            api.edit_plan(seen.asked, validated(PlanRecord, values), form.version)
    except Problem as problem:
        return _editor(view, values, values["items"], here, version=seen.case.version, problem=problem)
    return view.to(f"/plans/{seen.case.id}?done=edit")


@router.get("/plans/{id:uuid}/amend", operation_id="console.amend_plan_form")
def amend_plan_form(
    seen: Annotated[Seen[Plan], looking_at("console.amend_plan_form", service.find_plan)],
) -> Response:
    """The form over a running plan, for what it is to become."""
    told = plan_out(seen.asked)
    if "amend" not in told.allowed:
        mine = service.parties_of(seen.view.actor, seen.case)
        raise WrongMoment(state=told.state) if "owner" in mine else NotPermitted()
    values = told.record.model_dump(mode="json")
    return _editor(seen.view, values, values["items"], f"/plans/{told.id}/amend")


@router.post("/plans/{id:uuid}/amend", operation_id="console.amend_plan")
def amend_plan(
    seen: Annotated[Seen[Plan], looking_at("console.amend_plan", service.find_plan)], form: Sent
) -> Response:
    """Draft the amendment; with `check` only look its items up in the catalog."""
    view, here, values = seen.view, f"/plans/{seen.case.id}/amend", _values(form)
    if form.text("check"):
        return _looked_up(view, form, here)
    try:
        with view.session.begin_nested():
            made = api.amend_plan(seen.asked, validated(PlanRecord, values))
    except Problem as problem:
        return _editor(view, values, values["items"], here, problem=problem)
    return view.to(f"/plans/{made.id}?done=amend")


def _values(form: Form) -> dict[str, Any]:
    """The plan's record as the form gives it; rows without a name are left out."""
    columns = [form.all(f"item_{name}") for name in _ITEM]
    items = [dict(zip(_ITEM, row, strict=True)) for row in zip(*columns, strict=False)]
    kept = [{name: value for name, value in item.items() if value} for item in items if item["name"]]
    places = [
        place for place in form.text("jurisdictions").replace("、", " ").replace(",", " ").split() if place
    ]
    return {
        **{name: form.text(name) for name in _PLAIN if form.text(name)},
        "jurisdictions": places, "items": kept,
    }  # fmt: skip


def _looked_up(view: View, form: Form, here: str) -> Response:
    """The form again, with what the catalog holds of each item. Errors shown at the form."""
    values = _values(form)
    try:
        asked = {
            "title": values.get("title", ""),
            "population": values.get("population", ""),
            "items": values["items"],
        }
        checked = api.check(validated(CheckRecord, asked), view.session, view.actor)
    except Problem as problem:
        return _editor(view, values, values["items"], here, problem=problem, version=_version(form))
    return _editor(view, values, values["items"], here, checked=checked, version=_version(form))


def _version(form: Form) -> int:
    return int(form.text("version")) if form.text("version").isdigit() else 0


def _editor(
    view: View,
    values: Mapping[str, Any],
    items: list[dict[str, Any]],
    here: str,
    *,
    version: int = 0,
    problem: Problem | None = None,
    checked: Any = None,
) -> Response:
    rows = [Entered(item) for item in [*items, *({} for _ in range(ITEM_ROWS))]]
    return view.page(
        "plans/edit.html", status=problem.status if problem else 200, here=here, action=here, record=Entered(values), rows=rows,
        version=version, amends=here.endswith("/amend"), problem=problem, checked=checked, means=MEANS, update_cycles=UPDATE_CYCLES, data_types=DATA_TYPES,
    )  # fmt: skip


# --- From a file


@router.get("/plans/import", operation_id="console.plan_file")
def plan_file(view: Annotated[View, looking("console.plan_file")]) -> Response:
    """The form for a file with plans."""
    return view.page("plans/import.html", report=None, problem=None, here="/plans/import")


@router.post("/plans/import", operation_id="console.import_plan")
def import_plan(view: Annotated[View, looking("console.import_plan")], form: Sent) -> Response:
    """Draft what the file holds, or tell what would be drafted."""
    given = {name: form.text(name) for name in _PLAIN if form.text(name)}
    file = form.file("file")
    try:
        if file is None:
            raise Invalid(faults=[Fault("/file", Text("没有选择文件", "no file was chosen"))])
        with view.session.begin_nested():
            report = import_api.create(
                view.session, view.actor, file, json.dumps(given), not form.text("draft")  # type: ignore[arg-type]  # Starlette's file is what FastAPI hands on
            )  # fmt: skip
    except Problem as problem:
        return view.page(
            "plans/import.html", status=problem.status, here="/plans/import", report=None, problem=problem
        )
    return view.page("plans/import.html", here="/plans/import", report=report, problem=None)


@router.get("/plans/template.xlsx", operation_id="console.plan_template")
def plan_template(view: Annotated[View, looking("console.plan_template")]) -> Response:
    """The empty workbook, its drop-downs in the reader's language."""
    return import_api.template(view.request, view.actor)


act_routes(router, "/plans", "plan", service.find_plan, PLAN_ACTS, _plan_case, then=_then)
act_routes(router, "/findings", "finding", findings.find_finding, FINDING_ACTS, _finding_case)
