"""Gateways: registered by whoever runs them, reviewed and watched by the authority."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Response
from sqlalchemy import select

from app.console.acts import Case, Making, act_routes, make_routes, offered, refused
from app.console.forms import NOTE, REASON, Act, Field, Form, Options
from app.console.sheets import Cell, Link, Register, Sheet, Table, onward, state_tabs
from app.console.view import Seen, View, looking, looking_at, permit_page
from app.identity.models import Client
from app.kernel.actor import Scope
from app.kernel.text import Text
from app.kernel.wire import Cursor
from exchange.delivery import gateways_api as api
from exchange.delivery import registry
from exchange.delivery.models import RegisteredGateway
from exchange.delivery.states import GATEWAY

router = APIRouter(include_in_schema=False)
permit_page("console.gateways", like="gateway.list")
permit_page("console.gateway", like="gateway.read")

TITLE = Text("网关", "Gateways")
ACTS = {
    "approve": Act(api.approve_gateway, api.Perhaps, (NOTE,), says=Text("核准后网关即获知其协议并开始交付。", "It is then told of its agreements and delivers.")),
    "return": Act(api.return_gateway, api.Why, (REASON,)),
    "report_incident": Act(api.report_incident, api.Why, (REASON,), says=Text("网关立即停止交付，主管部门恢复后方可继续。", "It stops delivering at once, until the authority resumes it.")),
    "suspend": Act(api.suspend_gateway, api.Why, (REASON,), says=Text("网关立即停止交付。", "It stops delivering at once.")),
    "resume": Act(api.resume_gateway, api.Why, (REASON,)),
    "withdraw": Act(api.withdraw_gateway, api.Why, (REASON,), grave=True),
}  # fmt: skip
RESULTS = {
    "delivered": Text("已交付", "delivered"), "refused": Text("已拒绝", "refused"),
    "failed": Text("失败", "failed"), "interrupted": Text("中断", "interrupted"),
}  # fmt: skip


@router.get("/gateways", operation_id="console.gateways")
def list_gateways(
    view: Annotated[View, looking("console.gateways")], state: str | None = None, cursor: Cursor = None
) -> Response:
    """The gateways that the reader may know of, with what was last heard of each."""
    state = state if state in GATEWAY.states else None
    found = api.list_gateways(view.session, view.actor, api.ChosenGateways(state=state, cursor=cursor))
    rows = [
        [
            Cell(row.url, f"/gateways/{row.id}", code=True), Cell(row.agency.name),
            Cell(row.state_name, state=row.state), Cell(row.seen_at),
            Cell(row.health["receipts_waiting"] if row.health else None),
        ]
        for row in found.items
    ]  # fmt: skip
    columns = (
        Text("地址", "Address"), Text("单位", "Agency"), Text("状态", "State"), Text("最近联系", "Last heard"),
        Text("待报回执", "Receipts waiting"),
    )  # fmt: skip
    intro = Text(
        "网关经主管部门审核后方可接入交付（《信息化促进条例》第二十九条）。",
        "A gateway exchanges once the authority has approved it (Regulation Art. 29).",
    )
    links = (
        [Link("/gateways/new", Text("登记网关", "Register a gateway"))]
        if view.may("gateway.register")
        else []
    )
    table = Table(columns, rows, TITLE, Text("没有网关。", "No gateways."))
    tabs, more = state_tabs("/gateways", GATEWAY.states, state), onward("/gateways", found.next, state=state)
    return view.page("list.html", register=Register(TITLE, table, tabs, links=links, intro=intro, more=more))


@router.get("/gateways/{id:uuid}", operation_id="console.gateway")
def gateway_page(
    seen: Annotated[Seen[RegisteredGateway], looking_at("console.gateway", registry.find_gateway)],
) -> Response:
    """One gateway: its standing and its health."""
    view, told = seen.view, api.read_gateway(seen.asked)
    facts: list[tuple[Text, Any]] = [
        (Text("地址", "Address"), Cell(told.url, code=True)),
        (Text("单位", "Agency"), Cell(told.agency.name)),
        (Text("最近联系", "Last heard"), Cell(told.seen_at)),
    ]
    tables = []
    if told.health is not None:
        facts += [
            (Text("版本", "Release"), Cell(told.health["release"])),
            (Text("启动时间", "Started"), Cell(datetime.fromisoformat(told.health["started_at"]))),
            (Text("进行中的调用", "Calls under way"), Cell(told.health["calls_running"])),
            (Text("待报中心的回执", "Receipts the centre lacks"), Cell(told.health["receipts_waiting"])),
            (Text("暂停访问的提供方", "Providers left alone"), [Cell(host, code=True) for host in told.health["paused_providers"]] or Cell(Text("无", "none"))),
        ]  # fmt: skip
        counts = [
            *((RESULTS[name], number) for name, number in told.health["calls"].items()),
            *((name, number) for name, number in told.health["problems"].items()),
        ]
        title = Text("启动以来的调用", "Calls since it started")
        columns = (Text("结果", "Result"), Text("次数", "Calls"))
        tables.append(Table(columns, [[Cell(name), Cell(number)] for name, number in counts], title))
    case = _case(seen, "", Form())
    sheet = Sheet(told.url, Link("/gateways", TITLE), facts, (told.state, told.state_name), tables)
    return view.page(
        "sheet.html", sheet=sheet, clocks=[], events=api.history_of_gateway(seen.asked),
        offers=offered(case, ACTS), refused=refused(view, case), changes=None, act_names=GATEWAY.acts,
        done=view.request.query_params.get("done"),
    )  # fmt: skip


def _case(seen: Seen[RegisteredGateway], act: str, _form: Form) -> Case:
    told = api.read_gateway(seen.asked)
    others = [told.agency.name] if told.agency.id != seen.view.actor.agency_id else []
    return Case(
        f"/gateways/{told.id}", Text(told.url, told.url), GATEWAY, told.state, told.version, told.allowed, others,
        parties=registry.parties_of(seen.view.session, seen.view.actor, seen.case.agency_id),
    )  # fmt: skip


def _own_systems(view: View) -> Options:
    """The agency's gateway systems that are not registered yet, by id."""
    registered = select(RegisteredGateway.client_id)
    query = select(Client).where(Client.agency_id == view.actor.agency_id, Client.id.not_in(registered))
    rows = [row for row in view.session.scalars(query.order_by(Client.name)) if Scope.GATEWAY in row.scopes]
    return {str(row.id): Text(f"{row.title}（{row.name}）", f"{row.title} ({row.name})") for row in rows}


def _register(view: View, body: api.GatewayWanted) -> str:
    made = api.register_gateway(body, view.session, view.actor, view.request, Response())
    return f"/gateways/{made.id}"


act_routes(router, "/gateways", "gateway", registry.find_gateway, ACTS, _case)
make_routes(
    router, Making("/gateways", TITLE), "new", "new_gateway", Text("登记网关", "register a gateway"),
    Act(_register, api.GatewayWanted, (
        Field("client_id", Text("应用系统", "System"), "select", options=_own_systems, hint=Text("本单位登记的、授权范围为 gateway 的系统", "a system of your agency with scope gateway")),
        Field("url", Text("需求方访问的地址", "Address where requesters reach it"), "line"),
    )), like="gateway.register",
)  # fmt: skip
