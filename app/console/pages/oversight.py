"""The authority's view: the audit desk, notices, accepted justifications, figures of sharing and collection with
their charts, workbook and yearly report, and who shares with whom."""

from __future__ import annotations

import io
from collections import defaultdict
from datetime import date
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse
from openpyxl import Workbook
from sqlalchemy import select

from app.console import charts
from app.console.acts import Case, act_routes, offered, refused
from app.console.forms import REASON, Act, Field, Form, validated
from app.console.sheets import Cell, Choice, Link, Register, Sheet, Tab, Table, Value, onward
from app.console.view import Seen, View, looking, looking_at, permit_page
from app.identity.models import Person
from app.kernel.calendar import legal_date
from app.kernel.clock import now
from app.kernel.text import Text
from app.kernel.wire import Cursor, Label
from catalog.collection import api as collection
from catalog.collection import desk, findings, notices, oversight_api
from catalog.collection.audited import RELATIONS
from catalog.collection.models import AuditFinding, Notice
from catalog.collection.states import AUDIT_FINDING, GROUNDS
from catalog.collection.wire import Because, ChosenNotices
from exchange.supervision import api as supervision

router = APIRouter(include_in_schema=False)
permit_page("console.audit", like="audit_finding.list")
permit_page("console.audit_finding", like="audit_finding.read")
permit_page("console.notices", like="notice.list")
permit_page("console.notice", like="notice.read")
permit_page("console.precedents", like="collection.precedents")
permit_page("console.supervision", like="supervision.figures")
permit_page("console.supervision_workbook", like="supervision.figures")
permit_page("console.report", like="supervision.figures")
permit_page("console.sharing", like="supervision.sharing")

GRAPHED = 24
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
RELATION_NAMES = {
    "same_element": Text("同一数据元", "one data element"),
    "copy": Text("整体重复", "a copy"),
    "subset": Text("部分重复", "a part"),
    "overlap": Text("部分交叉", "overlapping"),
}


def _colleagues(view: View) -> dict[str, Text]:
    rows = view.session.execute(
        select(Person.id, Person.name).where(Person.agency_id == view.actor.agency_id, Person.active)
    )
    return {str(row.id): Text(row.name, row.name) for row in rows}


AUDIT_ACTS = {
    "assign": Act(oversight_api.assign, oversight_api.Assignment, (Field("person_id", Text("交给", "To"), "select", options=_colleagues),)),
    "confirm": Act(oversight_api.confirm, Because, (REASON,), says=Text("查重由此学会：它们是同一项。", "The check learns that they are the same.")),
    "dismiss": Act(oversight_api.dismiss, Because, (REASON,), says=Text("以后的审计不再提出。", "Later audits do not bring it again.")),
    "reopen": Act(oversight_api.reopen, Because, (REASON,)),
}  # fmt: skip


@router.get("/audit", operation_id="console.audit")
def audit_desk(
    view: Annotated[View, looking("console.audit")],
    state: str | None = None,
    relation: str | None = None,
    mine: bool = False,
    cursor: Cursor = None,
) -> Response:
    """The audit desk: duplicates in the whole catalog, grouped by relation, the surest first."""
    asked = {
        "state": state if state in AUDIT_FINDING.states else None, "mine": mine, "cursor": cursor,
        "relation": relation if relation in RELATIONS else None,
    }  # fmt: skip
    chosen = validated(oversight_api.ChosenAuditFindings, asked)
    found = oversight_api.list_audit_findings(view.session, view.actor, chosen)
    progress = oversight_api.read_progress(view.session, view.actor)
    rows = [
        [
            Cell(_members(row.found), f"/audit/{row.id}"), Cell(RELATION_NAMES[row.found.relation]),
            Cell(len({member.agency_id for member in row.found.members})), Cell(round(row.found.score * 100)),
            Cell(row.state_name, state=row.state),
        ]
        for row in found.items
    ]  # fmt: skip
    columns = (Text("重复的内容", "What is held twice"), Text("关系", "Relation"), Text("单位数", "Agencies"), Text("把握", "Sureness"), Text("状态", "State"))  # fmt: skip
    tabs = [Tab("/audit", Text("全部关系", "All"), not chosen.relation)] + [
        Tab(f"/audit?relation={one.relation}", Text("{a}（{n}/{m}）", "{a} ({n}/{m})").with_(a=RELATION_NAMES[one.relation], n=one.decided, m=one.total), one.relation == chosen.relation)
        for one in progress
    ]  # fmt: skip
    title = Text("全目录重复审计", "Audit of the whole catalog")
    choices = (Choice("state", Text("状态", "State"), state or "", AUDIT_FINDING.states),)
    table = Table(columns, rows, title, Text("没有待核的重复。可在“全目录审计”发起一次。", "No duplicates to look at. Ask for an audit under “Audits”."))  # fmt: skip
    register = Register(
        title, table, tabs, choices, intro=Text("括号内为已处理数和总数。", "In brackets: decided of all."),
        more=onward("/audit", found.next, state=state, relation=relation, mine="true" if mine else None),
    )  # fmt: skip
    return view.page("list.html", register=register)


def _members(found: Any) -> str:
    first = found.members[0]
    words = first.item_name or first.resource_title
    return f"{words} · {'、'.join(dict.fromkeys(member.agency_name for member in found.members))}"


@router.get("/audit/{id:uuid}", operation_id="console.audit_finding")
def audit_finding_page(
    seen: Annotated[Seen[AuditFinding], looking_at("console.audit_finding", desk.find_audit_finding)],
) -> Response:
    """One duplicate: its members, the reasons, the decision."""
    told = oversight_api.read_audit_finding(seen.asked)
    members = [
        [Cell(member.resource_title, f"/catalog/{member.resource_id}"), Cell(member.item_name or "—"), Cell(member.agency_name)]
        for member in told.found.members
    ]  # fmt: skip
    reasons = [[Cell(reason.text), Cell(round(reason.weight, 2))] for reason in told.found.reasons]
    facts = [
        (Text("关系", "Relation"), Cell(RELATION_NAMES[told.found.relation])),
        (Text("把握", "Sureness"), Cell(f"{told.found.score:.0%}")),
        (Text("主管部门", "Authority"), Cell(told.authority.name)),
    ]
    ids = list(dict.fromkeys(member.resource_id for member in told.found.members))
    links = [Link(f"/compare?resource={ids[0]}&resource={ids[1]}", Text("比较两项资源", "Compare the two"))] if len(ids) > 1 else []  # fmt: skip
    sheet = Sheet(
        _members(told.found), Link("/audit", Text("审计台", "Audit desk")), facts, (told.state, told.state_name),
        [Table((Text("资源", "Resource"), Text("信息项", "Item"), Text("单位", "Agency")), members, Text("重复的各方", "Who holds it")),
         Table((Text("理由", "Reason"), Text("权重", "Weight")), reasons, Text("为什么认为重复", "Why it seems the same"))],
        words=[(Text("处理意见", "Decision"), told.decision)] if told.decision else (), links=links,
    )  # fmt: skip
    case = _audit_case(seen, "", Form())
    return seen.view.page(
        "sheet.html", sheet=sheet, clocks=[], events=oversight_api.list_audit_finding_events(seen.asked),
        offers=offered(case, AUDIT_ACTS), refused=refused(seen.view, case), changes=None, act_names=AUDIT_FINDING.acts,
        done=seen.view.request.query_params.get("done"),
    )  # fmt: skip


def _audit_case(seen: Seen[AuditFinding], act: str, _form: Form) -> Case:
    told = oversight_api.read_audit_finding(seen.asked)
    title = _members(told.found)
    return Case(
        f"/audit/{told.id}", Text(title, title), AUDIT_FINDING, told.state, told.version, told.allowed,
        parties=desk.parties_of(seen.view.actor, seen.case),
    )  # fmt: skip


# --- Notices and precedents


@router.get("/notices", operation_id="console.notices")
def list_notices(
    view: Annotated[View, looking("console.notices")], year: int | None = None, cursor: Cursor = None
) -> Response:
    """The register of notices of criticism."""
    chosen = validated(ChosenNotices, {"year": year, "cursor": cursor})
    found = collection.list_notices(view.session, view.actor, chosen)
    rows = [
        [
            Cell(row.number, f"/notices/{row.id}"), Cell(row.agency.name),
            Cell(row.item, f"/plans/{row.plan_id}", below=row.plan_title), Cell(row.authority.name), Cell(row.issued_at),
        ]
        for row in found.items
    ]  # fmt: skip
    title = Text("通报登记", "Register of notices")
    columns = (Text("文号", "Number"), Text("被通报单位", "Agency"), Text("重复采集的信息项", "Item collected again"), Text("通报机关", "Authority"), Text("签发", "Issued"))  # fmt: skip
    table = Table(columns, rows, title, Text("没有通报。", "No notices."))
    register = Register(title, table, more=onward("/notices", found.next, year=year))
    return view.page("list.html", register=register)


@router.get("/notices/{id:uuid}", operation_id="console.notice")
def notice_page(
    seen: Annotated[Seen[Notice], looking_at("console.notice", findings.find_notice)],
) -> Response:
    """One notice as the official document, in the reader's language."""
    page = findings.notice_document(seen.view.session, seen.case, seen.view.locale)
    headers = {"Content-Language": seen.view.locale, "Content-Security-Policy": notices.POLICY}
    return HTMLResponse(page, headers=headers)


@router.get("/precedents", operation_id="console.precedents")
def list_precedents(
    view: Annotated[View, looking("console.precedents")], q: str = "", ground: str = "", cursor: Cursor = None
) -> Response:
    """Justifications that an authority accepted."""
    asked = {"q": q[:200] or None, "ground": ground if ground in GROUNDS else None, "cursor": cursor}
    found = oversight_api.list_precedents(
        view.session, view.actor, validated(oversight_api.ChosenPrecedents, asked)
    )
    rows = [
        [
            Cell(row.item, below=row.plan_title), Cell(row.held_to_be.item_name, below=row.held_to_be.resource_title),
            Cell(row.ground.label if row.ground else "", below=row.justification), Cell(row.decision or "", below=row.scope), Cell(row.until),
        ]
        for row in found.items
    ]  # fmt: skip
    title = Text("正当理由先例", "Accepted justifications")
    columns = (Text("信息项", "Item"), Text("曾认为相同的", "Held to be"), Text("理由", "Ground"), Text("审查意见", "Decision"), Text("至", "Until"))  # fmt: skip
    choices = (
        Choice("q", Text("词", "Word"), q),
        Choice("ground", Text("理由类别", "Ground"), ground, {code: g.label for code, g in GROUNDS.items()}),
    )
    table = Table(columns, rows, title, Text("没有先例。", "No precedents."))
    more = onward("/precedents", found.next, q=q, ground=ground)
    return view.page("list.html", register=Register(title, table, choices=choices, more=more))


# --- Figures


def _period(since: str, until: str) -> dict[str, Any]:
    days = {"since": since, "until": until}
    return {name: value for name, value in days.items() if value}


def _figures(view: View, since: str, until: str) -> tuple[supervision.FiguresOut, Any]:
    shared = supervision.read_figures(
        view.session, view.actor, validated(supervision.Period, _period(since, until))
    )
    days = oversight_api.Days(since=shared.since, until=shared.until)
    return shared, oversight_api.read_figures(view.session, view.actor, days)


def _tables(shared: supervision.FiguresOut, collected: Any) -> dict[str, Table]:
    months: list[list[Value]] = [
        [f"{m.month:%Y-%m}", m.requests, m.agreements, m.refusals, m.disputes, m.calls, m.rows]
        for m in shared.months
    ]
    duties: list[list[Value]] = [
        [one.label, one.working_days or 0, one.met, one.missed, one.running, one.overdue]
        for one in shared.duties
    ]
    total = collected.total
    spared: list[list[Value]] = [
        [Text("计划的信息项", "items planned"), total.items],
        [Text("疑似重复", "flagged"), total.findings], [Text("放弃采集", "given up"), total.withdrawn],
        [Text("改为共享", "shared instead"), total.shared_instead], [Text("理由成立", "justified"), total.accepted],
        [Text("认定重复", "upheld"), total.upheld], [Text("通报", "notices"), total.noticed],
        [Text("减少填报人次", "respondents spared"), total.burden_avoided.people],
        [Text("减少填报分钟", "minutes spared"), total.burden_avoided.minutes],
    ]  # fmt: skip
    agencies: list[list[Value]] = [
        [one.agency.name, one.plans, one.findings, one.upheld, one.noticed, one.burden_avoided.minutes]
        for one in collected.agencies
    ]
    return {
        "months": _of(Text("逐月情况", "Month by month"), ("月份", "Month"), ("申请", "Requests"), ("达成协议", "Agreements"), ("不予同意", "Refusals"), ("争议", "Disputes"), ("取数次数", "Calls"), ("提供记录", "Rows"), rows=months),
        "duties": _of(Text("法定期限履行", "Duties against the law"), ("事项", "Duty"), ("法定工作日", "Working days"), ("按期", "In time"), ("逾期办结", "Missed"), ("在办", "Running"), ("已逾期", "Overdue"), rows=duties),
        "refusals": _of(Text("不予同意的理由", "Refusals by ground"), ("理由", "Ground"), ("次数", "Times"), rows=[[one.label, one.count] for one in shared.refusals]),
        "collection": _of(Text("重复采集治理", "Duplicate collection avoided"), ("指标", "Figure"), ("数量", "Count"), rows=spared),
        "agencies": _of(Text("各单位采集情况", "Collection by agency"), ("单位", "Agency"), ("计划", "Plans"), ("疑似重复", "Flagged"), ("认定", "Upheld"), ("通报", "Notices"), ("减少分钟", "Minutes spared"), rows=agencies),
    }  # fmt: skip


def _of(title: Text, *columns: tuple[str, str], rows: list[list[Value]]) -> Table:
    cells = [[Cell(value) for value in row] for row in rows]
    return Table(
        [Text(*column) for column in columns], cells, title, Text("这一期间没有。", "None in this period.")
    )


@router.get("/supervision", operation_id="console.supervision")
def figures_page(
    view: Annotated[View, looking("console.supervision")], since: str = "", until: str = ""
) -> Response:
    """Figures over time, each as a chart and a table."""
    shared, collected = _figures(view, since, until)
    en = view.locale == "en"
    tables = _tables(shared, collected)
    labels = [f"{m.month:%y-%m}" for m in shared.months]
    flow = charts.columns(
        labels,
        {"Requests" if en else "申请": [m.requests for m in shared.months], "Agreements" if en else "达成协议": [m.agreements for m in shared.months], "Refusals" if en else "不予同意": [m.refusals for m in shared.months]},
        tables["months"].title.in_(view.locale),
    )  # fmt: skip
    grounds = charts.bars(
        [((one.label.en if en else one.label.zh), one.count) for one in shared.refusals], tables["refusals"].title.in_(view.locale),
    )  # fmt: skip
    kept = charts.columns(
        [(one.label.en if en else one.label.zh) for one in shared.duties],
        {"In time" if en else "按期": [one.met for one in shared.duties], "Overdue" if en else "逾期": [one.missed + one.overdue for one in shared.duties]},
        tables["duties"].title.in_(view.locale),
    )  # fmt: skip
    delivered = charts.columns(labels, {"Calls" if en else "取数次数": [m.calls for m in shared.months]}, "Deliveries" if en else "提供情况")  # fmt: skip
    return view.page(
        "supervision/figures.html", shared=shared, collected=collected, tables=tables, flow=flow, grounds=grounds,
        kept=kept, delivered=delivered,
    )  # fmt: skip


@router.get("/supervision.xlsx", operation_id="console.supervision_workbook")
def figures_workbook(
    view: Annotated[View, looking("console.supervision_workbook")], since: str = "", until: str = ""
) -> Response:
    """The same tables as a workbook, one sheet each."""
    shared, collected = _figures(view, since, until)
    book = Workbook()
    book.remove(book.worksheets[0])
    for table in _tables(shared, collected).values():
        sheet = book.create_sheet(table.title.in_(view.locale)[:31])
        sheet.append([name.in_(view.locale) for name in table.columns])
        for row in table.rows:
            sheet.append([_plain(cell.value, view.locale) for cell in row])
        sheet.freeze_panes = "A2"
        sheet.column_dimensions["A"].width = 36
    out = io.BytesIO()
    book.save(out)
    name = f"supervision-{shared.since}-{shared.until}.xlsx"
    return Response(
        out.getvalue(), media_type=XLSX, headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )


def _plain(value: Value, locale: str) -> Any:
    if isinstance(value, int | float) or value is None:
        return value
    if isinstance(value, Text | Label):
        return value.en if locale == "en" else value.zh
    return str(value)


@router.get("/report", operation_id="console.report")
def yearly_report(view: Annotated[View, looking("console.report")], year: int | None = None) -> Response:
    """The year as a document to print."""
    today = legal_date(now())
    chosen = year if year is not None and 2000 <= year <= today.year else today.year
    last = min(date(chosen, 12, 31), today)
    shared, collected = _figures(view, date(chosen, 1, 1).isoformat(), last.isoformat())
    return view.page(
        "supervision/report.html", year=chosen, years=range(today.year, today.year - 5, -1), shared=shared,
        tables=_tables(shared, collected), requests=sum(m.requests for m in shared.months),
        agreements=sum(m.agreements for m in shared.months), refusals=sum(m.refusals for m in shared.months),
        disputes=sum(m.disputes for m in shared.months), rows=sum(m.rows for m in shared.months),
        missed=sum(one.missed + one.overdue for one in shared.duties), met=sum(one.met for one in shared.duties),
        collected=collected,
    )  # fmt: skip


@router.get("/sharing", operation_id="console.sharing")
def sharing_page(view: Annotated[View, looking("console.sharing")]) -> Response:
    """Who shares with whom, as a graph and as a matrix."""
    pairs = supervision.read_sharing(view.session, view.actor)
    weight: dict[UUID, int] = defaultdict(int)
    names: dict[UUID, Any] = {}
    for pair in pairs:
        for one in (pair.provider, pair.requester):
            weight[one.id] += pair.agreements
            names[one.id] = one.name
    shown = sorted(weight, key=lambda one: (-weight[one], str(one)))[:GRAPHED]
    place = {one: n for n, one in enumerate(shown)}
    edges = {
        (place[pair.provider.id], place[pair.requester.id]): pair.agreements
        for pair in pairs
        if pair.provider.id in place and pair.requester.id in place
    }
    labels = [names[one].en if view.locale == "en" else names[one].zh for one in shown]
    picture = charts.graph(labels, edges, Text("共享关系", "Who shares with whom").in_(view.locale))
    matrix = [[edges.get((row, column), 0) for column in range(len(shown))] for row in range(len(shown))]
    return view.page(
        "supervision/sharing.html", picture=picture, labels=labels, matrix=matrix, pairs=pairs, left=len(weight) - len(shown)
    )  # fmt: skip


act_routes(router, "/audit", "audit_finding", desk.find_audit_finding, AUDIT_ACTS, _audit_case)
