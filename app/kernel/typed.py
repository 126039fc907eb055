"""What JSON's own types mean to pydantic: nothing is taken for what it is not. Knows no framework."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from app.kernel.text import Text


def _no_number(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError(Text("不得为数字", "not a number"))
    return value


class JsonTyped(BaseModel):
    """Base of what is read from JSON: 0 is no `false` there, and no number a date."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = handler(source)
        if schema["type"] == "model" and schema["schema"]["type"] == "model-fields":
            for field in schema["schema"]["fields"].values():
                field["schema"] = _without_numbers(field["schema"])
        return schema


def _without_numbers(schema: Any) -> Any:
    """The core schema of a field with its truth values and dates refusing numbers, where they are not in models."""
    if schema["type"] in ("bool", "date", "datetime"):
        return core_schema.no_info_before_validator_function(_no_number, schema)
    for part in ("schema", "items_schema"):
        if schema["type"] != "model" and isinstance(schema.get(part), dict):
            schema[part] = _without_numbers(schema[part])
    return schema
