"""A file of any format that plans are read from: which one it is, and the plans in it.

Formats are told by their content, never by their names. Refuses what is over the limits.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import BinaryIO

from pydantic import JsonValue

from app.kernel.text import Text
from catalog.collection.reading.described import Described
from catalog.collection.reading.forms import is_xlsform, read_xform, read_xlsform
from catalog.collection.reading.json_schema import read_json_schema
from catalog.collection.reading.plan_sheet import read_plan_sheet
from catalog.collection.reading.read import ReadPlan
from catalog.collection.reading.tables import is_columns_csv, read_columns_csv, read_sql
from catalog.collection.record import PlannedItemRecord, PlanRecord, check_plan_record
from catalog.formats.reading import FileRefused, FileTooLarge, Rejected, validated
from catalog.formats.workbook import sheets

TEXT_LIMIT_BYTES = 2 << 20
PLAN_LIMIT = 200  # of one file


class PlanFormat(StrEnum):
    """What plans are read from."""

    WORKBOOK = "workbook"
    XLSFORM = "xlsform"
    XFORM = "xform"
    JSON_SCHEMA = "json-schema"
    SQL = "sql"
    INFORMATION_SCHEMA = "information-schema"


@dataclass(frozen=True, slots=True)
class Incomplete:
    """A plan of which the file says only the items: what it says, and what is still missing or wrong."""

    rejected: Rejected
    title: str
    items: tuple[PlannedItemRecord, ...]
    notes: tuple[Text, ...]


Outcome = ReadPlan | Rejected | Incomplete


def read_plans(stream: BinaryIO, given: Mapping[str, JsonValue]) -> tuple[PlanFormat, list[Outcome]]:
    """The plans of a file. `given` is what a schema, form or table does not say (purpose, legal basis, period …);
    it comes before what the file says. Errors: FileRefused, FileTooLarge."""
    if stream.read(4) == b"PK\x03\x04":
        stream.seek(0)
        with sheets(stream) as found:
            if is_xlsform(found):
                return PlanFormat.XLSFORM, [_as_plan(read_xlsform(found), given)]
            return PlanFormat.WORKBOOK, _limited(list(read_plan_sheet(found)))
    stream.seek(0)
    content = stream.read(TEXT_LIMIT_BYTES + 1)
    if len(content) > TEXT_LIMIT_BYTES:
        raise FileTooLarge(Text("文本文件不得超过 2 MB。", "A text file may not exceed 2 MB."))
    form, described = _described(content)
    return form, _limited([_as_plan(one, given) for one in described])


def _described(content: bytes) -> tuple[PlanFormat, list[Described]]:
    text = _decoded(content)
    start = text.lstrip()[:1]
    if start == "<":
        return PlanFormat.XFORM, [read_xform(content)]
    if start == "{":
        try:
            return PlanFormat.JSON_SCHEMA, [read_json_schema(json.loads(text))]
        except (ValueError, RecursionError) as error:
            raise FileRefused(Text("不是合法的 JSON。", "Not valid JSON.")) from error
    if is_columns_csv(text):
        return PlanFormat.INFORMATION_SCHEMA, read_columns_csv(text)
    if re.search(r"\bcreate\s", text, re.IGNORECASE):
        return PlanFormat.SQL, read_sql(text)
    raise FileRefused(
        Text(
            "不是采集计划模板、JSON Schema、XForm、XLSForm、CREATE TABLE 或 information_schema 的 CSV。",
            "Neither the plan template nor a JSON Schema, XForm, XLSForm, CREATE TABLE or information_schema CSV.",
        )
    )


def _decoded(content: bytes) -> str:
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise FileRefused(Text("文本编码无法识别。", "The text's encoding is not known."))


def _as_plan(described: Described, given: Mapping[str, JsonValue]) -> Outcome:
    said: dict[str, JsonValue] = {"title": described.title[:200], "title_en": described.title_en}
    values = {**said, "items": [*described.items], **given}
    record = validated(PlanRecord, values)
    faults = record if isinstance(record, tuple) else tuple(check_plan_record(record))
    notes = tuple(described.notes)
    if faults or isinstance(record, tuple):
        read = [validated(PlannedItemRecord, item) for item in described.items]
        items = tuple(item for item in read if isinstance(item, PlannedItemRecord))
        return Incomplete(Rejected(described.title, faults), described.title, items, notes)
    return ReadPlan(record.title, record, notes)


def _limited(plans: Sequence[Outcome]) -> list[Outcome]:
    if len(plans) > PLAN_LIMIT:
        raise FileTooLarge(Text("计划超过 {n} 份。", "More than {n} plans.").with_(n=PLAN_LIMIT))
    return list(plans)
