"""Data sources: where the records of one's own agency's resources are fetched from, and whether that works."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Response
from sqlalchemy import select

from app.console.acts import AGENCIES_OFFERED
from app.console.sheets import Cell, Link, Register, Sheet, Table
from app.console.view import Seen, View, looking, looking_at, permit_page
from app.kernel.errors import NotFound, Problem
from app.kernel.text import Text
from catalog.resources.models import Resource
from exchange.delivery import api, providers

router = APIRouter(include_in_schema=False)
permit_page("console.endpoints", like="source.read")
permit_page("console.endpoint", like="source.read")
permit_page("console.endpoint_test", like="source.test")

TITLE = Text("数据源", "Data sources")
KINDS = {
    "http": Text("接口", "API"),
    "table": Text("数据库表", "database table"),
    "file": Text("文件", "file"),
    "sql": Text("数据库", "database"),
}
OUTCOMES = {
    "passed": (Text("测试通过", "test passed"), "active"), "failed": (Text("测试未通过", "test failed"), "stopped"),
    "waiting": (Text("测试中", "being tested"), "filed"), "unanswered": (Text("网关未答复", "gateway silent"), "stopped"),
}  # fmt: skip


@router.get("/endpoints", operation_id="console.endpoints")
def endpoints_page(view: Annotated[View, looking("console.endpoints")]) -> Response:
    """The resources of one's own agency, each with its source and how its last test went."""
    own = select(Resource).where(Resource.agency_id == view.actor.agency_id)
    resources = view.session.scalars(own.order_by(Resource.title).limit(AGENCIES_OFFERED)).all()
    columns = (
        Text("资源", "Resource"),
        Text("状态", "State"),
        Text("地址", "Address"),
        Text("更新", "Updated"),
    )
    intro = Text("数据由网关从这里读取；凭据加密保存，不再显示。由接口 PUT /api/v1/resources/{id}/source 登记。", "The gateway reads from here; credentials are sealed and never shown. Registered by PUT /api/v1/resources/{id}/source.")  # fmt: skip
    table = Table(
        columns,
        [_row(view, resource) for resource in resources],
        TITLE,
        Text("本单位没有资源。", "Your agency has no resources."),
    )
    return view.page("list.html", register=Register(TITLE, table, intro=intro))


def _row(view: View, resource: Resource) -> list[Cell]:
    try:
        source = api.read_source(view.asked(resource))
    except NotFound:
        none = Cell(Text("未接入", "not connected"), state="draft")
        return [Cell(_title(resource), f"/catalog/{resource.id}"), none, Cell(""), Cell(None)]
    said, state = OUTCOMES[source.test.outcome] if source.test else (Text("已接入", "connected"), "active")
    credentials = Text("有凭据", "with credentials") if source.has_credentials else None
    return [
        Cell(_title(resource), f"/endpoints/{resource.id}"), Cell(said, state=state),
        Cell(_where(source.connection), below=credentials), Cell(source.updated_at),
    ]  # fmt: skip


@router.get("/endpoints/{id:uuid}", operation_id="console.endpoint")
def endpoint_page(
    seen: Annotated[Seen[Resource], looking_at("console.endpoint", providers.find_own_resource)],
) -> Response:
    """One source: where it is, and what the last test found."""
    return _page(seen, None)


@router.post("/endpoints/{id:uuid}/test", operation_id="console.endpoint_test")
def test_endpoint(
    seen: Annotated[Seen[Resource], looking_at("console.endpoint_test", providers.find_own_resource)],
) -> Response:
    """Have the gateway try the source."""
    try:
        api.test_source(seen.asked)
    except Problem as problem:
        return _page(seen, problem)
    return seen.view.to(f"/endpoints/{seen.case.id}")


def _page(seen: Seen[Resource], problem: Problem | None) -> Response:
    view, source = seen.view, api.read_source(seen.asked)
    test, here = source.test, f"/endpoints/{seen.case.id}"
    facts: list[tuple[Text, Any]] = [
        (Text("资源", "Resource"), Cell(_title(seen.case), f"/catalog/{seen.case.id}")),
        (Text("方式", "Kind"), Cell(KINDS[source.connection.kind])),
        (Text("地址", "Address"), Cell(_where(source.connection), code=True)),
        (
            Text("字段对应", "Fields of items"),
            [Cell(f"{code} ← {name}", code=True) for code, name in source.connection.columns.items()]
            or Cell(Text("与信息项代码相同", "as the items' codes")),
        ),
        (Text("凭据", "Credentials"), Cell(Text("已加密保存", "sealed") if source.has_credentials else Text("无", "none"))),
        (Text("更新", "Updated"), Cell(source.updated_at)),
    ]  # fmt: skip
    if test is not None:
        facts += [
            (Text("最近测试", "Last test"), Cell(test.asked_at)),
            (Text("测试网关", "Tried by"), Cell(test.gateway, code=True)),
            (Text("结果", "Result"), Cell(test.message)),
        ]
    if test is not None and test.found is not None:
        facts += [
            (Text("取到记录", "Records fetched"), Cell(test.found.records)),
            (Text("有的信息项", "Items carried"), [Cell(code, code=True) for code in test.found.carried]),
            (
                Text("缺的信息项", "Items missing"),
                [Cell(code, code=True) for code in test.found.missing] or Cell(Text("无", "none")),
            ),
            (Text("用时（毫秒）", "Milliseconds"), Cell(round(test.found.duration_ms))),
        ]
    links, again = [], Text("测试数据源", "Try the source")
    if test is not None and test.outcome == "waiting":
        links = [Link(here, Text("刷新结果", "Look again"), main=True)]
    posts = [Link(f"{here}/test", again, main=not links)] if view.may("source.test") else []
    notes = [("warn", problem.detail)] if problem else []
    told = OUTCOMES[test.outcome] if test is not None else (Text("已接入", "connected"), "active")
    sheet = Sheet(
        _title(seen.case), Link("/endpoints", TITLE), facts, (told[1], told[0]), notes=notes, links=links, posts=posts
    )  # fmt: skip
    return view.page(
        "sheet.html", sheet=sheet, status=problem.status if problem else 200, here=here, clocks=[], events=[],
        offers=[], refused=[], changes=None, act_names={}, done=None,
    )  # fmt: skip


def _title(resource: Resource) -> Text:
    return Text(resource.title, resource.title_en or resource.title)


def _where(connection: providers.Connection) -> str:
    told = connection.model_dump(mode="json")
    return str(told.get("url") or told.get("table") or told.get("path") or "")
