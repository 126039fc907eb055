"""Scope (范围): which records an agreement covers, in OGC CQL2; tested on a record or turned into SQL.

Owns the subset of CQL2 that both can say with one meaning: comparisons of one item with one value, BETWEEN,
IN, LIKE, IS NULL, AND, OR, NOT. Refuses functions, arithmetic, geometry and comparisons of two items.
Unknown (NULL, absent, a value of another type) is neither true nor false, as in SQL; only true admits.
"""

from __future__ import annotations

import operator as operators
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import lru_cache
from typing import Any, Literal, assert_never

import cql2

from app.kernel.text import Text

Value = str | bool | int | Decimal | date | datetime
Operator = Literal["=", "<>", "<", "<=", ">", ">="]
Record = Mapping[str, object]
Test = Callable[[Record], bool | None]

ITEM_CODE = (
    r"^[^\x00-\x1f\"\\]{1,200}$"  # quotes and backslashes would need escapes in every format it goes to
)
TEXT_LIMIT = 4000
DEPTH_LIMIT = 16
WILDCARD_LIMIT = 8
_EXACT_LIMIT = 2**53  # cql2 reads numbers as 64-bit floats: whole numbers beyond this would silently change


class ScopeInvalid(ValueError):
    """The text is not CQL2, or says something outside the supported subset."""

    def __init__(self, message: Text) -> None:
        self.message = message
        super().__init__(message.en)


@dataclass(frozen=True, slots=True)
class Comparison:
    operator: Operator
    item: str
    value: Value


@dataclass(frozen=True, slots=True)
class Like:
    item: str
    pattern: str


@dataclass(frozen=True, slots=True)
class IsNull:
    item: str


@dataclass(frozen=True, slots=True)
class Both:
    """All of the parts (AND), as many as written."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Either:
    """Any of the parts (OR, IN)."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not:
    part: Condition


Condition = Comparison | Like | IsNull | Both | Either | Not


@dataclass(frozen=True, slots=True)
class SqlCondition:
    """A WHERE condition in psycopg's form: values are bound, never written into the text."""

    text: str
    values: tuple[Value, ...]


@lru_cache(maxsize=1024)  # the same terms are read at every step of their way
def parse_scope(text: str) -> Condition:
    """Read CQL2 text (OGC 21-065r2). Raises ScopeInvalid with what is wrong, in both languages."""
    if len(text) > TEXT_LIMIT:
        raise ScopeInvalid(
            Text("条件过长（上限 {n} 字符）", "longer than {n} characters").with_(n=TEXT_LIMIT)
        )
    if "\x00" in text or _nesting(text) > DEPTH_LIMIT:  # the parser's time grows exponentially with nesting
        raise ScopeInvalid(Text("条件嵌套过深", "nested too deeply"))
    try:
        tree = cql2.Expr(text).to_json()
    except Exception as error:  # cql2 raises bare Exception for text it cannot read
        place = str(error).strip().splitlines()[0].removeprefix("--> ")
        raise ScopeInvalid(
            Text("不是有效的 CQL2 表达式（{at}）", "not CQL2 ({at})").with_(at=place)
        ) from None
    return _condition(tree)


def items_of(condition: Condition) -> frozenset[str]:
    """The items a condition looks at."""
    return frozenset(leaf.item for leaf in leaves_of(condition))


def leaves_of(condition: Condition) -> Iterator[Comparison | Like | IsNull]:
    """Every single test in a condition, left to right."""
    match condition:
        case Both(parts) | Either(parts):
            for part in parts:
                yield from leaves_of(part)
        case Not(part):
            yield from leaves_of(part)
        case Comparison() | Like() | IsNull():
            yield condition
        case _:
            assert_never(condition)


def equalities_of(condition: Condition) -> dict[str, Value]:
    """Values that every covered record must have: the `item = value` parts that AND joins at the top."""
    match condition:
        case Comparison("=", item, value):
            return {item: value}
        case Both(parts):
            return {item: value for part in parts for item, value in equalities_of(part).items()}
        case _:
            return {}


def test_of(condition: Condition) -> Test:
    """The condition as a function of a record: True, False, or None for unknown."""
    match condition:
        case Comparison(operator, item, value):
            return _comparison_test(operator, item, value)
        case Like(item, pattern):
            expression = _like_expression(pattern)

            def like(record: Record) -> bool | None:
                found = record.get(item)
                return expression.fullmatch(found) is not None if isinstance(found, str) else None

            return like
        case IsNull(item):
            return lambda record: record.get(item) is None
        case Not(part):
            inner = test_of(part)
            return lambda record: None if (answer := inner(record)) is None else not answer
        case Both(parts):
            return _combined(tuple(map(test_of, parts)), deciding=False)
        case Either(parts):
            return _combined(tuple(map(test_of, parts)), deciding=True)
        case _:
            assert_never(condition)


def sql_of(condition: Condition, columns: Mapping[str, str] | None = None) -> SqlCondition:
    """The condition for PostgreSQL; `columns` names the column of an item where it differs from the item.

    The session's time zone must be UTC for naive timestamps to mean what `test_of` takes them for.
    """
    values: list[Value] = []
    return SqlCondition(_sql(condition, columns or {}, values), tuple(values))


def quote_identifier(name: str) -> str:
    """A column or table name as a quoted SQL identifier, safe in text with psycopg placeholders."""
    return '"' + name.replace('"', '""').replace("%", "%%") + '"'


def _nesting(text: str) -> int:
    depth = deepest = 0
    for character in text:
        if character == "(":
            depth += 1
            deepest = max(deepest, depth)
        elif character == ")":
            depth -= 1
    run = max((len(found) for found in re.findall(r"(?i)(?:\bnot\b[\s(]*)+", text)), default=0)
    return max(deepest, run // 4)


def _condition(node: Any, depth: int = 0) -> Condition:  # noqa: PLR0911 - one for each operation
    if not isinstance(node, dict) or "op" not in node:
        raise ScopeInvalid(
            Text("应为条件，如 状态 = '有效'", "expected a condition such as status = 'valid'")
        )
    if depth > DEPTH_LIMIT:
        raise ScopeInvalid(Text("条件嵌套过深", "nested too deeply"))
    operator, arguments = node["op"], node["args"]
    match operator:
        case "and":
            return Both(tuple(_condition(part, depth + 1) for part in arguments))
        case "or":
            return Either(tuple(_condition(part, depth + 1) for part in arguments))
        case "not":
            return Not(_condition(arguments[0], depth + 1))
        case "isNull":
            return IsNull(_item(arguments[0]))
        case "like":
            return Like(_item(arguments[0]), _pattern(arguments[1]))
        case "in":
            item = _item(arguments[0])
            return Either(tuple(Comparison("=", item, value_of(value)) for value in arguments[1]))
        case "between":
            item, low, high = _item(arguments[0]), value_of(arguments[1]), value_of(arguments[2])
            return Both((Comparison(">=", item, low), Comparison("<=", item, high)))
        case "=" | "<>" | "<" | "<=" | ">" | ">=":
            return Comparison(operator, _item(arguments[0]), value_of(arguments[1]))
        case _:
            raise ScopeInvalid(
                Text("不支持的运算“{op}”", "“{op}” is not supported here").with_(op=str(operator)[:40])
            )


def _item(node: Any) -> str:
    if isinstance(node, dict) and isinstance(name := node.get("property"), str):
        if not re.fullmatch(ITEM_CODE, name):
            raise ScopeInvalid(
                Text("信息项代码含有不允许的字符", "an item code with characters it may not have")
            )
        return name
    raise ScopeInvalid(Text("运算符左侧应为信息项", "the left side must be an information item"))


def value_of(node: Any) -> Value:
    """A value as CQL2 JSON writes it. Raises ScopeInvalid."""
    match node:
        case bool() | str():
            return node
        case int() | float():
            if abs(node) >= _EXACT_LIMIT:
                raise ScopeInvalid(
                    Text("数值过大，请按文本书写", "the number is too large; write it as text")
                )
            return int(node) if node == int(node) else Decimal(repr(node))
        case {"date": str(written)} | {"timestamp": str(written)}:
            try:
                day_only = "date" in node
                return date.fromisoformat(written) if day_only else _utc(datetime.fromisoformat(written))
            except (ValueError, OverflowError):
                raise ScopeInvalid(Text("日期无效：{v}", "not a date: {v}").with_(v=written[:40])) from None
        case _:
            raise ScopeInvalid(
                Text(
                    "运算符右侧应为文本、数值、日期或真假值",
                    "the right side must be a text, number, date or truth value",
                )
            )


def _pattern(node: Any) -> str:
    if not isinstance(node, str):
        raise ScopeInvalid(Text("LIKE 之后应为文本", "LIKE takes a text"))
    if node.count("%") > WILDCARD_LIMIT:
        raise ScopeInvalid(Text("通配符过多", "too many wildcards"))
    if (len(node) - len(node.rstrip("\\"))) % 2:
        raise ScopeInvalid(
            Text("LIKE 文本不能以单个反斜杠结尾", "a LIKE text cannot end in a single backslash")
        )
    return node


def _like_expression(pattern: str) -> re.Pattern[str]:
    """The pattern as a regular expression whose inner parts never backtrack (atomic groups)."""
    segments = [""]
    for escaped, character in re.findall(r"(?s)\\(.)|(.)", pattern):
        if character == "%":
            segments.append("")
        else:
            segments[-1] += "." if character == "_" else re.escape(escaped or character)
    first, *rest = segments
    if not rest:
        return re.compile(first, re.DOTALL)
    *inner, last = rest
    return re.compile(first + "".join(f"(?>.*?{part})" for part in inner) + ".*" + last, re.DOTALL)


_COMPARE: dict[Operator, Callable[[Any, Any], bool]] = {
    "=": operators.eq,
    "<>": operators.ne,
    "<": operators.lt,
    "<=": operators.le,
    ">": operators.gt,
    ">=": operators.ge,
}


def _comparison_test(operator: Operator, item: str, value: Value) -> Test:
    kind = _kind_of(value)
    wanted = kind(value)
    compare_values = _COMPARE[operator]

    def compare(record: Record) -> bool | None:
        found: Any = kind(record.get(item))
        return None if found is None else compare_values(found, wanted)

    return compare


def _kind_of(value: Value) -> Callable[[object], Any]:
    """The reading of a record's value that makes it comparable with `value`; None where it is not."""
    match value:
        case bool():
            return lambda found: found if isinstance(found, bool) else None
        case str():
            return lambda found: found if isinstance(found, str) else None
        case int() | Decimal():
            return _number
        case date():
            return _instant
        case _:
            assert_never(value)


def _number(found: object) -> int | Decimal | None:
    if isinstance(found, bool):
        return None
    if isinstance(found, float):
        found = Decimal(repr(found))  # the number as written, so that 0.1 equals 0.1
    if isinstance(found, Decimal):
        return found if found.is_finite() else None
    return found if isinstance(found, int) else None


def _instant(found: object) -> datetime | None:
    try:
        if isinstance(found, str):
            found = datetime.fromisoformat(found)
        if isinstance(found, datetime):
            return _utc(found)
        return datetime.combine(found, time(), UTC) if isinstance(found, date) else None
    except (ValueError, OverflowError):
        return None


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _combined(tests: tuple[Test, ...], *, deciding: bool) -> Test:
    """AND (one False decides) or OR (one True decides) over three values."""

    def combined(record: Record) -> bool | None:
        answer: bool | None = not deciding
        for test in tests:
            found = test(record)
            if found is deciding:
                return deciding
            if found is None:
                answer = None
        return answer

    return combined


def _sql(condition: Condition, columns: Mapping[str, str], values: list[Value]) -> str:
    match condition:
        case Comparison(operator, item, value):
            values.append(value)
            column = quote_identifier(columns.get(item, item))
            # "C" orders text by code point, as the record test does
            collation = ' COLLATE "C"' if isinstance(value, str) and operator not in ("=", "<>") else ""
            return f"{column} {operator} %s::{_sql_type(value)}{collation}"
        case Like(item, pattern):
            values.append(pattern)
            return f"{quote_identifier(columns.get(item, item))} LIKE %s::text"
        case IsNull(item):
            return f"{quote_identifier(columns.get(item, item))} IS NULL"
        case Not(part):
            return f"NOT ({_sql(part, columns, values)})"
        case Both(parts):
            return "(" + " AND ".join(_sql(part, columns, values) for part in parts) + ")"
        case Either(parts):
            return "(" + " OR ".join(_sql(part, columns, values) for part in parts) + ")"
        case _:
            assert_never(condition)


def _sql_type(value: Value) -> str:
    match value:
        case bool():
            return "boolean"
        case str():
            return "text"
        case int() | Decimal():
            return "numeric"
        case datetime():
            return "timestamptz"
        case date():
            return "date"
        case _:
            assert_never(value)
