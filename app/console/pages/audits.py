"""Audits of the whole catalog: asked for, watched, given up; what they found is the audit desk's."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Response

from app.console.acts import Case, Making, act_routes, make_routes, offered, refused
from app.console.forms import Act, Field, Form, validated
from app.console.sheets import Cell, Link, Register, Sheet, Table, onward
from app.console.view import Seen, View, looking, looking_at, permit_page
from app.kernel.text import Text
from app.kernel.wire import Cursor, Paging
from catalog.collection import audit_runs
from catalog.collection import audit_runs_api as api
from catalog.collection.models import CatalogAudit
from catalog.collection.states import CATALOG_AUDIT, UNDER_WAY

router = APIRouter(include_in_schema=False)
permit_page("console.catalog_audits", like="catalog_audit.list")
permit_page("console.catalog_audit", like="catalog_audit.read")

TITLE = Text("全目录审计", "Audits of the catalog")
ALL, CHANGES = (
    Text("全目录", "the whole catalog"),
    Text("上次审计以来的变化", "what changed since the last audit"),
)
COUNTS = {
    "new": Text("新发现", "New"),
    "known": Text("已在清单", "On the list already"),
    "found_again": Text("再次发现", "Found again"),
    "gone": Text("已消失", "Gone"),
}
ACTS = {
    "cancel": Act(api.cancel, says=Text("已比较的结果不进入核查清单。", "Nothing of what was compared comes to the work-list."), grave=True),
}  # fmt: skip


@router.get("/audits", operation_id="console.catalog_audits")
def list_audits(view: Annotated[View, looking("console.catalog_audits")], cursor: Cursor = None) -> Response:
    """The audits that people asked for."""
    found = api.list_audits(view.session, view.actor, validated(Paging, {"cursor": cursor}))
    rows = [
        [
            Cell(row.created_at, f"/audits/{row.id}"), Cell(row.agency.name), Cell(ALL if row.whole else CHANGES),
            Cell(row.state_name, state=row.state), Cell(row.counts["new"] if row.counts else None),
        ]
        for row in found.items
    ]  # fmt: skip
    columns = (
        Text("发起", "Asked for"), Text("单位", "Agency"), Text("范围", "What"), Text("状态", "State"),
        Text("新发现的重复", "Duplicates found"),
    )  # fmt: skip
    links = [Link("/audit", Text("核查清单", "The work-list"))]
    if view.may("catalog_audit.ask"):
        links.insert(0, Link("/audits/new", Text("发起审计", "Ask for an audit"), main=True))
    table = Table(columns, rows, TITLE, Text("还没有发起过审计。", "No audit was asked for yet."))
    return view.page(
        "list.html", register=Register(TITLE, table, links=links, more=onward("/audits", found.next))
    )


@router.get("/audits/{id:uuid}", operation_id="console.catalog_audit")
def audit_page(
    seen: Annotated[Seen[CatalogAudit], looking_at("console.catalog_audit", audit_runs.find_audit)],
) -> Response:
    """One audit: how far it is, or what it brought to the work-list."""
    told = api.represent(seen.asked)
    facts = [
        (Text("范围", "What"), Cell(ALL if told.whole else CHANGES)),
        (Text("发起单位", "Asked for by"), Cell(told.agency.name)),
        (Text("发起时间", "At"), Cell(told.created_at)),
    ]
    tables = []
    if told.counts is not None:
        examined = Text("全部", "all") if told.examined is None else told.examined
        facts.append((Text("查看的资源", "Resources looked at"), Cell(examined)))
        rows = [[Cell(name), Cell(told.counts[count])] for count, name in COUNTS.items()]
        columns = (Text("核查清单", "Work-list"), Text("条数", "Findings"))
        tables.append(Table(columns, rows, Text("结果", "What it brought")))
    case, running = _case(seen, "", Form()), told.state in UNDER_WAY
    sheet = Sheet(
        TITLE, Link("/audits", TITLE), facts, (told.state, told.state_name), tables,
        notes=[("", _how_far(told))] if running else (),
        links=[] if running else [Link("/audit", Text("查看核查清单", "See the work-list"), main=True)], running=running,
    )  # fmt: skip
    return seen.view.page(
        "sheet.html", sheet=sheet, clocks=[], events=api.events(seen.asked), offers=offered(case, ACTS),
        refused=refused(seen.view, case), changes=None, act_names=CATALOG_AUDIT.acts,
        done=seen.view.request.query_params.get("done"),
    )  # fmt: skip


def _how_far(told: api.CatalogAuditOut) -> Text:
    stay = Text("可以离开本页，审计不会中断。", "You may leave this page; the work goes on.")
    if told.stage is None:
        now = Text("等待处理。", "Waiting for a worker. ")
    elif told.total:
        part = f"{told.done / told.total:.0%}"
        now = Text("正在{zh}：{part}。", "Now {en}: {part}. ").with_(
            zh=told.stage.zh, en=told.stage.en, part=part
        )
    else:
        now = Text("正在{zh}。", "Now {en}. ").with_(zh=told.stage.zh, en=told.stage.en)
    return Text(now.zh + stay.zh, now.en + stay.en)


def _case(seen: Seen[CatalogAudit], act: str, _form: Form) -> Case:
    told = api.represent(seen.asked)
    return Case(
        f"/audits/{told.id}", TITLE, CATALOG_AUDIT, told.state, told.version, told.allowed,
        parties=audit_runs.parties_of(seen.view.actor, seen.case),
    )  # fmt: skip


def _ask(view: View, body: api.AuditWanted) -> str:
    made = api.ask(body, view.session, view.actor, Response())
    return f"/audits/{made.id}"


act_routes(router, "/audits", "catalog_audit", audit_runs.find_audit, ACTS, _case)
make_routes(
    router, Making("/audits", TITLE), "new", "new_catalog_audit", Text("发起审计", "ask for an audit"),
    Act(_ask, api.AuditWanted, (
        Field("whole", Text("范围", "What is compared"), "select", options={"false": CHANGES, "true": ALL}),
    ), says=Text("在后台逐项比较已发布的资源，结果列入核查清单，由人认定；离开页面不影响。", "Published resources are compared in the background; what is found comes to the work-list for people to decide. You may leave the page.")),
    like="catalog_audit.ask",
)  # fmt: skip
