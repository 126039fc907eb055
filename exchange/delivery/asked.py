"""What a call asks for, as its caller wrote it: records of a resource, or whether values match.

Owns reading it from query and body. Refuses whatever it does not know: a misspelt filter never means all records.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import parse_qsl

import msgspec

from app.kernel.errors import Fault, Invalid
from app.kernel.text import Text

OFFSET_LIMIT = 10_000_000


@dataclass(frozen=True, slots=True)
class DataRequest:
    """What one call asks for. `resource_id` and `items` are as the caller wrote them."""

    agreement_id: str
    resource_id: str
    purpose: str
    items: tuple[str, ...] | None = None
    narrowed_by: str | None = None
    limit: int | None = None
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Question:
    """核验: is there a record that has all of `values`? As the caller wrote it."""

    agreement_id: str
    resource_id: str
    purpose: str
    values: Mapping[str, object]


def read_request(agreement_id: str, resource_id: str, query: bytes) -> DataRequest:
    """Read the query of a data call. Raises Invalid naming every parameter at fault; unknown ones are faults,
    so that a misspelt filter never means all records."""
    faults: list[Fault] = []
    values: dict[str, str] = {}
    try:
        pairs = parse_qsl(query.decode("ascii"), True, errors="strict", max_num_fields=20)
    except ValueError:
        raise Invalid(Text("查询参数无法解析", "The query cannot be read")) from None
    for name, value in pairs:
        if name not in ("purpose", "items", "filter", "limit", "offset"):
            faults.append(Fault(name[:100], Text("未知参数", "Unknown parameter")))
        elif name in values:
            faults.append(Fault(name, Text("重复参数", "Given twice")))
        values[name] = value
    if not values.get("purpose"):
        faults.append(Fault("purpose", Text("每次调用须注明用途", "Each call names its purpose")))
    items = tuple(dict.fromkeys(code for code in values.get("items", "").split(",") if code))
    if "items" in values and not items:
        faults.append(Fault("items", Text("没有信息项", "No item")))
    limit = _whole_number(values, "limit", 1, 10**9, faults)
    offset = _whole_number(values, "offset", 0, OFFSET_LIMIT, faults)
    if faults:
        raise Invalid(faults=faults)
    return DataRequest(
        agreement_id,
        resource_id,
        values["purpose"][:64],
        items or None,
        values.get("filter") or None,
        limit,
        offset or 0,
    )


class _Asked(msgspec.Struct, forbid_unknown_fields=True):
    purpose: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    values: Annotated[
        dict[str, str | int | float | bool | dict[str, str]], msgspec.Meta(min_length=1, max_length=20)
    ]


def read_question(agreement_id: str, resource_id: str, body: bytes) -> Question:
    """Read `{"purpose": …, "values": {item: value}}`. Raises Invalid."""
    try:
        asked = msgspec.json.decode(body, type=_Asked)
    except msgspec.DecodeError as error:  # a ValidationError too
        rule = Text("用途和待核验的值", "a purpose and the values to verify")
        message = Text("不是核验请求：{e}", "not a question to verify: {e}").with_(e=error)
        raise Invalid(faults=[Fault("/", message, rule)]) from None
    return Question(agreement_id, resource_id, asked.purpose, asked.values)


def _whole_number(
    values: dict[str, str], name: str, least: int, most: int, faults: list[Fault]
) -> int | None:
    written = values.get(name)
    if written is None:
        return None
    if written.isascii() and written.isdigit() and len(written) < 12 and least <= int(written) <= most:
        return int(written)
    rule = Text("{a} 至 {b} 的整数", "A whole number from {a} to {b}").with_(a=least, b=most)
    faults.append(Fault(name, Text("不是有效的数", "Not a valid number"), rule))
    return None
