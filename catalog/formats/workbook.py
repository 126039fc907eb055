"""The product's spreadsheet read back: several rows for one resource, one information item each.

Owns how rows make a resource. Formulas are never evaluated: a cell that holds one is a fault. Opens nothing
that `archive.require_safe_workbook` has not let through.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import islice
from typing import BinaryIO, Protocol, cast
from xml.etree import ElementTree

from openpyxl import load_workbook
from openpyxl.cell.read_only import EmptyCell, ReadOnlyCell
from openpyxl.utils import get_column_letter
from openpyxl.utils.exceptions import InvalidFileException
from pydantic import JsonValue

from app.kernel.errors import Fault
from app.kernel.text import Text
from catalog.formats.archive import require_safe_workbook
from catalog.formats.reading import (
    ROW_LIMIT,
    AgencyRef,
    CellFault,
    FileRefused,
    FileTooLarge,
    Read,
    Rejected,
    Row,
    SourceRow,
    clean,
    too_long,
    validated,
)
from catalog.formats.sheets import unescape
from catalog.formats.template import COLUMNS, YES_NO, Column
from catalog.resources.record import ITEM_LIMIT, ResourceRecord, check_record
from catalog.text import fold

SHEET_ROWS = 1_048_576  # of the format itself
SHEET_COLUMNS = 256  # read of each row
HEADER_WITHIN = 10  # rows from the top

_TITLE = next(column for column in COLUMNS if column.path == "title")
_ITEM_NAME = next(column for column in COLUMNS if column.of_item and column.path == "name")
_TELLING_APART = [
    c for c in COLUMNS if not c.of_item and c.path in ("provider.name", "provider.code", "code")
]
# Fields of the record without a column. A resource that comes back under its code keeps them.
_STATED = {column.path.split(".")[0] for column in COLUMNS if not column.of_item} | {"items"}
_UNSTATED = frozenset(ResourceRecord.model_fields) - _STATED

Cell = ReadOnlyCell | EmptyCell

# What openpyxl raises on workbooks that are not what they say; entities forbidden by defusedxml are ValueErrors.
_DAMAGE = (
    zipfile.BadZipFile, ElementTree.ParseError, InvalidFileException,
    KeyError, IndexError, ValueError, TypeError, AttributeError,
)  # fmt: skip
_DAMAGED = Text("工作簿内容已损坏。", "The workbook's content is damaged.")


class _Sheet(Protocol):
    """The part of openpyxl's read-only sheet that is used here; its own types take it for a full sheet."""

    def reset_dimensions(self) -> None: ...

    def iter_rows(self, *, max_col: int, max_row: int) -> Iterator[tuple[Cell, ...]]: ...


@dataclass(slots=True)
class _Line:
    """One row of the sheet: its texts by column, and what is wrong in it whatever it means."""

    number: int
    texts: dict[Column, str] = field(default_factory=dict)
    faults: list[CellFault] = field(default_factory=list)

    def has(self, *, of_item: bool) -> bool:
        return any(column.of_item is of_item for column in self.texts)


@dataclass(frozen=True, slots=True)
class _Layout:
    """Which column of the sheet, counted from 0, is which column of the template."""

    positions: dict[int, Column]
    header_row: int

    def fault(self, row: int, column: Column, message: Text, rule: Text | None = None) -> CellFault:
        position = next((at for at, known in self.positions.items() if known is column), None)
        cell = f"{get_column_letter(position + 1)}{row}" if position is not None else f"{row}"
        return CellFault(f"{column.label.zh} ({cell})", message, rule, row=row, column=column.heading)


def read_workbook(stream: BinaryIO, *, for_filing: bool) -> Iterator[Row]:
    """Every resource of a workbook's first sheet that has the template's headings, in order. A row without
    resource cells, or with the same, belongs to the resource above it (so merged cells are read right).

    `for_filing` demands what filing demands (Decree 809 Art. 13). Errors: FileRefused, FileTooLarge.
    """
    require_safe_workbook(stream)
    try:
        book = load_workbook(stream, read_only=True, data_only=False, keep_links=False)
    except _DAMAGE as error:
        raise FileRefused(_DAMAGED) from error
    try:
        sheet, layout = _find_sheet([cast(_Sheet, sheet) for sheet in book.worksheets])
        for lines in _resources(_lines(sheet, layout)):
            yield _read(lines, layout, for_filing=for_filing)
    finally:
        book.close()


def _find_sheet(sheets: Sequence[_Sheet]) -> tuple[_Sheet, _Layout]:
    for sheet in sheets:
        sheet.reset_dimensions()  # what the file says of its own size is not believed
        for number, row in enumerate(islice(_rows(sheet), HEADER_WITHIN), start=1):
            positions = _known(row)
            if _TITLE in positions.values() and len(positions) > 1:  # the sheet of notes names it alone
                return sheet, _Layout(positions, number)
    raise FileRefused(
        Text(
            "没有找到“{zh}”列，请使用本系统的模板。",
            "There is no column “{en}”: use this service's template.",
        ).with_(zh=_TITLE.label.zh, en=_TITLE.label.en)
    )


def _rows(sheet: _Sheet) -> Iterator[tuple[Cell, ...]]:
    try:
        yield from sheet.iter_rows(max_col=SHEET_COLUMNS, max_row=SHEET_ROWS)
    except _DAMAGE as error:
        raise FileRefused(_DAMAGED) from error


def _known(row: Sequence[Cell]) -> dict[int, Column]:
    """The template's columns among these headings; a heading that stands twice counts where it stands first."""
    by_name = {
        _heading(name): column
        for column in COLUMNS
        for name in (column.heading, column.label.zh, column.label.en, *column.also)
    }
    positions: dict[int, Column] = {}
    for position, cell in enumerate(row):
        column = by_name.get(_heading(cell.value)) if isinstance(cell.value, str) else None
        if column is not None and column not in positions.values():
            positions[position] = column
    return positions


def _heading(text: str) -> str:
    return re.sub(r"\s+", "", fold(text))


def _lines(sheet: _Sheet, layout: _Layout) -> Iterator[_Line]:
    filled = 0
    for number, row in enumerate(_rows(sheet), start=1):
        if number <= layout.header_row:
            continue
        line = _Line(number)
        for position, column in layout.positions.items():
            if position < len(row) and row[position].value is not None:
                _take(line, row[position], column, layout)
        if line.texts or line.faults:
            filled += 1
            if filled > ROW_LIMIT:
                raise FileTooLarge(Text("行数超过 {n}。", "More than {n} rows.").with_(n=ROW_LIMIT))
            yield line


def _take(line: _Line, cell: Cell, column: Column, layout: _Layout) -> None:
    if cell.data_type == "f":
        message = Text("单元格是公式，请粘贴为数值", "the cell holds a formula: paste its value")
        line.faults.append(layout.fault(line.number, column, message))
    elif cell.data_type == "e":
        message = Text("单元格是错误值 {value}", "the cell holds the error {value}").with_(value=cell.value)
        line.faults.append(layout.fault(line.number, column, message))
    elif text := unescape(clean(_text(cell.value))):
        if fault := too_long(text):
            line.faults.append(layout.fault(line.number, column, fault))
        line.texts[column] = text


def _text(value: object) -> str:
    if isinstance(value, bool):
        return YES_NO["true" if value else "false"].zh
    if isinstance(value, datetime):
        whole_day = value.time().replace(tzinfo=None) == datetime.min.time()
        return value.date().isoformat() if whole_day else value.isoformat(sep=" ")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _resources(lines: Iterator[_Line]) -> Iterator[list[_Line]]:
    """Rows that belong to one resource, together."""
    current: list[_Line] = []
    for line in lines:
        if current and _begins_another(current[0], line):
            yield current
            current = []
        current.append(line)
    if current:
        yield current


def _begins_another(first: _Line, line: _Line) -> bool:
    """A row begins another resource with another title, or where it names the title again, another provider
    or code."""
    title = line.texts.get(_TITLE)
    if title is None:
        return not line.has(of_item=True) and line.has(of_item=False)
    return title != first.texts.get(_TITLE) or any(
        c in line.texts and c in first.texts and line.texts[c] != first.texts[c] for c in _TELLING_APART
    )


def _read(lines: Sequence[_Line], layout: _Layout, *, for_filing: bool) -> Row:
    first = lines[0]
    place = f"row {first.number}" if len(lines) == 1 else f"rows {first.number}-{lines[-1].number}"
    rows = tuple(
        SourceRow(n.number, {c.heading: n.texts.get(c, "") for c in layout.positions.values()}) for n in lines
    )
    if len(lines) > ITEM_LIMIT:
        message = Text("信息项超过 {n} 个", "more than {n} items").with_(n=ITEM_LIMIT)
        return Rejected(place, (layout.fault(first.number, _ITEM_NAME, message),), rows[:1])
    faults: list[Fault] = [fault for line in lines for fault in line.faults]
    faults += _differences(lines, layout)
    values: dict[str, JsonValue] = {}
    for column, text in first.texts.items():
        if not column.of_item:
            _put(values, column, text, first.number, layout, faults)
    items: list[JsonValue] = []
    item_lines = [line for line in lines if line.has(of_item=True)]
    for line in item_lines:
        item: dict[str, JsonValue] = {}
        for column, text in line.texts.items():
            if column.of_item:
                _put(item, column, text, line.number, layout, faults)
        items.append(item)
    values |= {"items": items, "source_id": first.texts.get(_code_column()) or first.texts.get(_TITLE)}

    record = validated(ResourceRecord, values)
    broken = record if isinstance(record, tuple) else check_record(record, for_filing=for_filing)
    known = {(f.row, f.column) for f in faults if isinstance(f, CellFault)}
    for fault in broken:
        row, column = _cell_of(fault.field, first.number, [line.number for line in item_lines])
        if (row, column.heading) not in known:  # one fault a cell: a value refused is not also missing
            faults.append(layout.fault(row, column, fault.message, fault.rule))
    if faults or isinstance(record, tuple):
        return Rejected(place, tuple(faults), rows)
    provider = record.provider
    agency = (
        AgencyRef(provider.name or provider.code or "", provider.code)
        if provider.name or provider.code
        else None
    )
    return Read(place, record, agency, (), rows, _UNSTATED)


def _code_column() -> Column:
    return next(column for column in COLUMNS if column.path == "code" and not column.of_item)


def _differences(lines: Sequence[_Line], layout: _Layout) -> Iterator[Fault]:
    """Resource cells that contradict the first row of their resource."""
    message = Text("与该资源首行（第 {row} 行）不一致", "differs from the first row ({row}) of this resource")
    for line in lines[1:]:
        for column, text in line.texts.items():
            if not column.of_item and text != lines[0].texts.get(column):
                yield layout.fault(line.number, column, message.with_(row=lines[0].number))


def _put(
    values: dict[str, JsonValue], column: Column, text: str, row: int, layout: _Layout, faults: list[Fault]
) -> None:
    """Put a cell's value where its column says; a value outside its list is a fault."""
    parts = [p.strip() for p in re.split(f"[{column.split}]", text) if p.strip()] if column.split else [text]
    if column.choices is not None:
        codes = {
            fold(name): code for code, label in column.choices.items() for name in (code, label.zh, label.en)
        }
        chosen = [codes.get(fold(part)) for part in parts]
        if None in chosen:
            wrong = parts[chosen.index(None)]
            message = Text("“{value}”不在允许的取值之内", "“{value}” is not one of the values").with_(
                value=wrong[:60]
            )
            names = Text(
                "允许：" + "、".join(label.zh for label in column.choices.values()),
                "allowed: " + ", ".join(label.en for label in column.choices.values()),
            )
            faults.append(layout.fault(row, column, message, names))
            return
        parts = [code for code in chosen if code is not None]
    value: JsonValue = [*parts] if column.split else parts[0]
    *outer, last = column.path.split(".")
    for part in outer:
        inner = values.setdefault(part, {})
        assert isinstance(inner, dict)
        values = inner
    values[last] = value


def _cell_of(pointer: str, first_row: int, item_rows: Sequence[int]) -> tuple[int, Column]:
    """The row and column that fill the field a JSON pointer names; the title where none does."""
    parts = pointer.strip("/").split("/")
    row, of_item, otherwise = first_row, False, _TITLE
    if parts[0] == "items":
        otherwise = _ITEM_NAME
        if len(parts) > 1 and parts[1].isdigit():
            row, of_item = item_rows[int(parts[1])], True
        parts = parts[2:]
    while parts:
        path = ".".join(parts)
        column = next((c for c in COLUMNS if c.of_item is of_item and c.path.startswith(path)), None)
        if column is not None:
            return row, column
        parts = parts[:-1]
    return row, otherwise
