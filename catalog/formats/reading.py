"""What every reader of a format gives: a row that can be brought in, or one that cannot, with the fault.

Pure. Owns the limits of files and the cleaning of text. Readers refuse a whole file only where no row of
it can be told from another.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, JsonValue, ValidationError

from app.kernel.errors import Fault, Problem
from app.kernel.faults import fault_of
from app.kernel.text import Text
from catalog.resources.record import ResourceRecord, check_record

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
    back where the service refuses it. `unstated` names the fields that the format has no place for; `lacking`
    tells what filing demands and the row does not say: it only stays in as it is already held."""

    place: str  # "row 17", "dataset[3]"
    record: ResourceRecord
    agency: AgencyRef | None = None
    notes: tuple[Fault, ...] = ()
    rows: tuple[SourceRow, ...] = ()
    unstated: frozenset[str] = frozenset()
    lacking: tuple[Fault, ...] = ()


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
        entries = error.errors(include_url=False)[:50]
        return tuple(
            fault_of(dict(entry), pointer=name_of("/" + "/".join(map(str, entry["loc"]))), harmless=True)
            for entry in entries
        )


def all_faults(
    record: ResourceRecord | tuple[Fault, ...], values: Mapping[str, JsonValue], *, for_filing: bool
) -> list[Fault]:
    """Every rule that a record breaks; where `values` make none, what is wrong with them and what the rest of them
    breaks, so that a sheet is mended in one go. `record` is what `validated` made of them."""
    if isinstance(record, ResourceRecord):
        return check_record(record, for_filing=for_filing)
    rest: JsonValue = json.loads(json.dumps(values, default=str))
    for fault in record:
        _leave_out(rest, fault.field.strip("/").split("/"))
    partial = validated(ResourceRecord, rest)
    known = {fault.field for fault in record}
    more = check_record(partial, for_filing=for_filing) if isinstance(partial, ResourceRecord) else ()
    return [*record, *(fault for fault in more if fault.field not in known)]


def _leave_out(value: JsonValue, path: Sequence[str]) -> None:
    """Take out what stands at `path`; a name, without which there is no record, is held open by a dash."""
    for part in path[:-1]:
        if isinstance(value, list):
            value = value[int(part)]
        else:
            value = value.get(part) if isinstance(value, dict) else None
    if isinstance(value, dict):
        if path[-1] in ("name", "title"):
            value[path[-1]] = "-"
        else:
            value.pop(path[-1], None)
