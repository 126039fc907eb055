"""What OGC API Records lets readers filter and sort by (queryables), and CQL2 as a condition of the database.

Owns the reading of a filter (OGC 21-065r2, basic CQL2 with LIKE, IN, BETWEEN and CASEI). Values are bound,
never written into SQL.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any, Literal

import cql2
from pydantic import JsonValue
from sqlalchemy import ColumnElement, String, and_, cast, func, literal, not_, or_, select
from sqlalchemy.dialects.postgresql import JSONPATH

from app.identity.models import Agency, Jurisdiction
from app.kernel.errors import Fault, Invalid
from app.kernel.text import Text
from catalog.interop.selection import Order
from catalog.resources.models import Resource

DEPTH_LIMIT = 8  # the parser's time grows exponentially with nesting
_RULE = Text("OGC 21-065r2 CQL2", "OGC 21-065r2 CQL2")


@dataclass(frozen=True, slots=True)
class Queryable:
    """A property one may filter by. `many`: a resource has several values, one of which must meet the test."""

    title: Text
    column: ColumnElement[Any]
    kind: Literal["string", "date-time"] = "string"
    many: bool = False
    sortable: bool = False

    def as_schema(self) -> dict[str, JsonValue]:
        schema: dict[str, JsonValue] = {"title": f"{self.title.zh} {self.title.en}", "type": "string"}
        return {**schema, "format": "date-time"} if self.kind == "date-time" else schema


def _of_agency(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return select(column).where(Agency.id == Resource.agency_id).scalar_subquery()


QUERYABLES: Mapping[str, Queryable] = {
    "id": Queryable(Text("标识", "identifier"), cast(Resource.id, String), sortable=True),
    "type": Queryable(Text("类型", "type"), literal("dataset", String)),
    "code": Queryable(Text("信息资源代码", "resource code"), Resource.code.expression, sortable=True),
    "title": Queryable(Text("名称", "title"), Resource.title.expression, sortable=True),
    "title_en": Queryable(Text("英文名称", "English title"), Resource.title_en.expression),
    "description": Queryable(Text("摘要", "description"), Resource.record["abstract"].astext),
    "publisher": Queryable(Text("提供方", "publisher"), _of_agency(Agency.name.expression)),
    "jurisdiction": Queryable(
        Text("行政区划代码", "division code"),
        select(Jurisdiction.code).where(Jurisdiction.id == Resource.jurisdiction_id).scalar_subquery(),
    ),
    "theme": Queryable(Text("主题", "theme"), func.unnest(Resource.themes), many=True),
    "keyword": Queryable(
        Text("关键字", "keyword"),
        func.jsonb_array_elements_text(
            func.jsonb_path_query_array(Resource.record, cast("$.keywords[*]", JSONPATH))
        ),
        many=True,
    ),
    "sharing_type": Queryable(Text("共享类型", "sharing type"), Resource.sharing_type.expression),
    "openness": Queryable(Text("开放属性", "openness"), Resource.openness.expression),
    "update_cycle": Queryable(Text("更新周期", "update cycle"), Resource.update_cycle.expression),
    "created": Queryable(
        Text("收录时间", "created"), Resource.created_at.expression, "date-time", sortable=True
    ),
    "updated": Queryable(
        Text("更新时间", "updated"), Resource.updated_at.expression, "date-time", sortable=True
    ),
}

Test = Callable[[ColumnElement[Any]], ColumnElement[bool]]
_COMPARE: Mapping[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq, "<>": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


def read_filter(text: str) -> ColumnElement[bool]:
    """A CQL2 filter, as text or as JSON, as a condition. Errors: Invalid."""
    if "\x00" in text or _nesting(text) > DEPTH_LIMIT:
        raise _refused(Text("条件嵌套过深", "nested too deeply"))
    try:
        tree = cql2.Expr(text).to_json()
    except Exception as error:  # cql2 raises bare Exception for text it cannot read
        place = str(error).strip().splitlines()[0].removeprefix("--> ")
        message = Text("不是有效的 CQL2 表达式（{at}）", "not CQL2 ({at})")
        raise _refused(message.with_(at=place[:100])) from None
    try:
        return _condition(tree)
    except (IndexError, KeyError, TypeError):  # JSON may name an operation and give it anything
        raise _refused(Text("运算的参数不对", "an operation without its arguments")) from None


def read_sort(text: str) -> list[Order]:
    """ "-updated,title": names of sortable properties, descending after a minus. Errors: Invalid."""
    orders: list[Order] = []
    for part in filter(None, text.split(",")):
        name = part.strip().lstrip("+-")
        queryable = QUERYABLES.get(name)
        if queryable is None or not queryable.sortable:
            allowed = ", ".join(key for key, one in QUERYABLES.items() if one.sortable)
            message = Text("不能按“{name}”排序", "cannot sort by “{name}”").with_(name=name[:40])
            raise Invalid(faults=[Fault("/sortby", message, Text(f"可用：{allowed}", f"one of {allowed}"))])
        descending = part.strip().startswith("-")
        orders.append(queryable.column.desc() if descending else queryable.column.asc())
    return orders


def _nesting(text: str) -> int:
    depth = deepest = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    run = max((len(found.split()) for found in re.findall(r"(?i)(?:\bnot\b\s*)+", text)), default=0)
    # JSON spends two brackets on what text says with one.
    return max(deepest // 2 if text.lstrip().startswith("{") else deepest, run)


def _condition(node: Any) -> ColumnElement[bool]:  # noqa: PLR0911 - one for each operation
    if not isinstance(node, dict) or "op" not in node:
        raise _refused(Text("应为条件，如 title LIKE '%路灯%'", "expected a condition: title LIKE '%lamps%'"))
    name, arguments = node["op"], node["args"]
    match name:
        case "and":
            return and_(*(_condition(part) for part in arguments))
        case "or":
            return or_(*(_condition(part) for part in arguments))
        case "not":
            return not_(_condition(arguments[0]))
        case "isNull":
            queryable, fold = _property(arguments[0])
            if queryable.many:
                return not_(_met(queryable, fold, lambda column: column.is_not(None)))
            return queryable.column.is_(None)
        case "like":
            queryable, fold = _property(arguments[0])
            pattern = _value(queryable, arguments[1])
            return _met(queryable, fold, lambda column: column.like(pattern, escape="\\"))
        case "in":
            queryable, fold = _property(arguments[0])
            values = [_value(queryable, one) for one in arguments[1]]
            return _met(queryable, fold, lambda column: column.in_(values))
        case "between":
            queryable, fold = _property(arguments[0])
            low, high = _value(queryable, arguments[1]), _value(queryable, arguments[2])
            return _met(queryable, fold, lambda column: column.between(low, high))
        case _ if name in _COMPARE:
            queryable, fold = _property(arguments[0])
            value = _value(queryable, arguments[1])
            return _met(queryable, fold, lambda column: _COMPARE[name](column, value))
        case _:
            message = Text("不支持的运算“{op}”", "“{op}” is not supported here")
            raise _refused(message.with_(op=str(name)[:40]))


def _met(queryable: Queryable, fold: bool, test: Test) -> ColumnElement[bool]:
    """The test of the property's value, or of any of its values; in lower case under CASEI."""
    if not queryable.many:
        return test(func.lower(queryable.column) if fold else queryable.column)
    value = select(queryable.column.label("value")).correlate(Resource).subquery().c.value
    return select(value).where(test(func.lower(value) if fold else value)).exists()


def _property(node: Any) -> tuple[Queryable, bool]:
    """The property an operation looks at, and whether regardless of case."""
    if isinstance(node, dict) and node.get("op") == "casei":
        queryable, _ = _property(node["args"][0])
        return queryable, True
    name = node.get("property") if isinstance(node, dict) else None
    if not isinstance(name, str) or name not in QUERYABLES:
        message = Text(
            "运算符左侧应为可查询属性，而不是“{name}”", "“{name}” is no queryable on the left side"
        )
        allowed = ", ".join(QUERYABLES)
        raise Invalid(
            faults=[
                Fault(
                    "/filter",
                    message.with_(name=str(name)[:40]),
                    Text(f"可用：{allowed}", f"one of {allowed}"),
                )
            ]
        )
    return QUERYABLES[name], False


def _value(queryable: Queryable, node: Any) -> str | datetime:
    if queryable.kind == "string":
        if isinstance(node, dict) and node.get("op") == "casei" and isinstance(node["args"][0], str):
            return node["args"][0].lower()
        if isinstance(node, str):
            return node
        raise _refused(Text("此属性应与文本比较", "this property is compared with a text"))
    try:
        match node:
            case {"timestamp": str(written)}:
                at = datetime.fromisoformat(written)
                return at if at.tzinfo else at.replace(tzinfo=UTC)
            case {"date": str(written)}:
                return datetime.combine(date.fromisoformat(written), time.min, UTC)
    except ValueError:
        pass
    raise _refused(
        Text("此属性应与日期或时间戳比较", "this property is compared with DATE('…') or TIMESTAMP('…')")
    )


def _refused(message: Text) -> Invalid:
    return Invalid(faults=[Fault("/filter", message, _RULE)])
