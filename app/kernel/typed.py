"""What JSON's own types mean to pydantic: nothing is taken for what it is not. Knows no framework."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from app.kernel.text import Text

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


def _no_number(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError(Text("不得为数字", "not a number"))
    return value


def _a_day(value: Any) -> Any:
    """pydantic takes "0" for 1970-01-01, and a moment at midnight for its day."""
    if isinstance(value, str) and not _DAY.fullmatch(value):
        raise ValueError(Text("须为日期，如 2026-03-01", "a day, as 2026-03-01"))
    return _no_number(value)


def _a_moment(value: Any) -> Any:
    if isinstance(value, str) and not _DAY.match(value):
        raise ValueError(Text("须为时刻，如 2026-03-01T09:00:00Z", "a moment, as 2026-03-01T09:00:00Z"))
    return _no_number(value)


def _no_truth(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(Text("须为数字", "a number"))
    return value


_STRICTER = {
    "bool": _no_number, "int": _no_truth, "float": _no_truth, "date": _a_day, "datetime": _a_moment,
}  # fmt: skip


class JsonTyped(BaseModel):
    """Base of what is read from JSON: 0 is no `false` there nor `false` a 0, and no number a date, as text either."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = handler(source)
        if schema["type"] == "model" and schema["schema"]["type"] == "model-fields":
            for field in schema["schema"]["fields"].values():
                field["schema"] = _strict(field["schema"])
        return schema


def _strict(schema: Any) -> Any:
    """The core schema of a field with its parts made stricter, where they are not in models."""
    if stricter := _STRICTER.get(schema["type"]):
        return core_schema.no_info_before_validator_function(stricter, schema)
    for part in ("schema", "items_schema"):
        if schema["type"] != "model" and isinstance(schema.get(part), dict):
            schema[part] = _strict(schema[part])
    return schema
