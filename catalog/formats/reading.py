"""What every reader of a format gives: a row that can be brought in, or one that cannot, with the fault.

Pure. Owns the limits of files and the cleaning of text. Readers refuse a whole file only where no row of
it can be told from another.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from app.kernel.errors import Fault, Problem
from app.kernel.text import Text
from catalog.resources.record import ResourceRecord

UPLOAD_LIMIT_BYTES = 64 << 20
UNPACKED_LIMIT_BYTES = 512 << 20
ROW_LIMIT = 200_000
CELL_LIMIT = 32_767  # characters, the longest a spreadsheet's cell may be
TIME_LIMIT_S = 900  # for one run

# C0 and C1 controls but tab and line ends, lone surrogates, non-characters: no text in PostgreSQL or XML.
_UNSTORABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")

Model = TypeVar("Model", bound=BaseModel)


class FileRefused(Problem):
    """The file as a whole cannot be read; nothing of it was brought in."""

    status, slug = 422, "file-refused"
    title = Text("文件无法导入", "The file cannot be imported")


class FileTooLarge(FileRefused):
    """Over a limit of size, unpacked size, rows or time."""

    status, slug = 413, "file-too-large"
    title = Text("文件超过导入上限", "The file is over a limit of import")


@dataclass(frozen=True, slots=True)
class AgencyRef:
    """The providing agency (提供方) as the source names it; `code` is the source's own or a credit code."""

    name: str
    code: str | None = None
    name_en: str | None = None


@dataclass(frozen=True, slots=True)
class SourceRow:
    """One row of a table as it came: its number as a spreadsheet shows it, and its cells by column."""

    number: int
    cells: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class CellFault(Fault):
    """A fault of one cell; `field` names it for people, `row` and `column` find it in the source rows."""

    row: int = 0
    column: str = ""


@dataclass(frozen=True, slots=True)
class Read:
    """One resource of the source. `agency` is None where the source names no provider; `notes` tell what of
    it was not read, or breaks the source's own rules, without keeping the resource out. `rows` are handed
    back where the service refuses it. `unstated` names the fields that the format has no place for."""

    place: str  # "row 17", "dataset[3]"
    record: ResourceRecord
    agency: AgencyRef | None = None
    notes: tuple[Fault, ...] = ()
    rows: tuple[SourceRow, ...] = ()
    unstated: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Rejected:
    """One resource that was not brought in, with every fault found. A fault's field is the column, the cell
    or the JSON pointer it stands at."""

    place: str
    faults: tuple[Fault, ...]
    rows: tuple[SourceRow, ...] = ()


Row = Read | Rejected


def clean(value: str) -> str:
    """The text without the characters that no database or workbook can hold, trimmed."""
    return _UNSTORABLE.sub("", value).strip()


def too_long(value: str) -> Text | None:
    """What is wrong with a cell over CELL_LIMIT, or None."""
    if len(value) <= CELL_LIMIT:
        return None
    return Text("单元格有 {n} 字，上限 {limit}", "the cell has {n} characters, {limit} are allowed").with_(
        n=len(value), limit=CELL_LIMIT
    )


def validated(
    model: type[Model], value: object, name_of: Callable[[str], str] = lambda pointer: pointer
) -> Model | tuple[Fault, ...]:
    """`value` as a `model`, or its faults. `name_of` turns a JSON pointer into the name the source has for it."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        return tuple(
            _fault(
                "/" + "/".join(str(part) for part in entry["loc"]),
                entry["msg"],
                entry["type"],
                entry.get("ctx"),
                name_of,
            )
            for entry in error.errors(include_url=False)[:50]
        )


_MESSAGES = {
    "missing": "缺少必填内容",
    "string_too_short": "不能为空",
    "string_too_long": "超过长度上限",
    "enum": "不在允许的取值之内",
    "extra_forbidden": "没有这个字段",
    "string_type": "须为文本",
    "too_long": "条目过多",
    "date_from_datetime_parsing": "不是合法的日期（YYYY-MM-DD）",
    "date_parsing": "不是合法的日期（YYYY-MM-DD）",
    "int_parsing": "须为整数",
    "string_pattern_mismatch": "格式不符",
}


def _fault(
    pointer: str, message: str, kind: str, context: Mapping[str, object] | None, name_of: Callable[[str], str]
) -> Fault:
    cause = (context or {}).get("error")
    if isinstance(cause, ValueError) and cause.args and isinstance(cause.args[0], Text):
        return Fault(name_of(pointer), cause.args[0])
    return Fault(name_of(pointer), Text(_MESSAGES.get(kind, "不符合要求"), message))
