"""Workbooks (xlsx) as rows of the product's own table.

Owns what a cell says. Formulas are never evaluated: a cell that holds one is a fault. Opens nothing
that `archive.require_safe_workbook` has not let through.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from itertools import islice
from typing import IO, BinaryIO, Protocol, cast
from xml.etree import ElementTree

from openpyxl import load_workbook
from openpyxl.cell.read_only import EmptyCell, ReadOnlyCell
from openpyxl.utils import get_column_letter
from openpyxl.utils.exceptions import InvalidFileException

from app.kernel.text import Text
from catalog.formats.archive import require_safe_workbook
from catalog.formats.lines import Layout, Line, headings, read_lines, take
from catalog.formats.reading import ROW_LIMIT, FileRefused, Row, clean
from catalog.formats.sheets import unescape
from catalog.formats.template import COLUMNS, REST, YES_NO, Column

SHEET_ROWS = 1_048_576  # of the format itself
SHEET_COLUMNS = 256  # read of each row
HEADER_WITHIN = 10  # rows from the top

Cell = ReadOnlyCell | EmptyCell

# openpyxl reads merged areas only where it holds the whole sheet.
_MERGED = re.compile(rb'<(?:\w+:)?mergeCell ref="([A-Z]{1,3})(\d{1,7}):[A-Z]{1,3}(\d{1,7})"')
_MERGED_LENGTH = 64  # more than one of them takes

# What openpyxl raises on workbooks that are not what they say; entities forbidden by defusedxml are ValueErrors.
_DAMAGE = (
    zipfile.BadZipFile, ElementTree.ParseError, InvalidFileException,
    KeyError, IndexError, ValueError, TypeError, AttributeError,
)  # fmt: skip
_NO_FORMULAS = Text("公式不作计算，也不导入", "formulas are neither evaluated nor imported")
_DAMAGED = Text("工作簿内容已损坏。", "The workbook's content is damaged.")


class Sheet(Protocol):
    """The part of openpyxl's read-only sheet that is used here; its own types take it for a full sheet."""

    def reset_dimensions(self) -> None: ...

    def _get_source(self) -> IO[bytes]: ...

    def iter_rows(self, *, max_col: int, max_row: int) -> Iterator[tuple[Cell, ...]]: ...


def read_workbook(stream: BinaryIO, *, for_filing: bool) -> Iterator[Row]:
    """Every resource of a workbook's first sheet that has the template's headings, in order.

    `for_filing` demands what filing demands (Decree 809 Art. 13). Errors: FileRefused, FileTooLarge.
    """
    with sheets(stream) as found:
        lines, layout = table_of(found)
        yield from read_lines(lines, layout, for_filing=for_filing)


@contextmanager
def sheets(stream: BinaryIO) -> Iterator[Mapping[str, Sheet]]:
    """The sheets of a workbook by name, as long as the block lasts. Errors: FileRefused, FileTooLarge."""
    require_safe_workbook(stream)
    try:
        book = load_workbook(stream, read_only=True, data_only=False, keep_links=False)
    except _DAMAGE as error:
        raise FileRefused(_DAMAGED) from error
    try:
        yield {sheet.title: cast(Sheet, sheet) for sheet in book.worksheets}
    finally:
        book.close()


def table_of(
    found: Mapping[str, Sheet], columns: tuple[Column, ...] = (*COLUMNS, REST)
) -> tuple[Iterator[Line], Layout]:
    """The lines of the first sheet that has these headings. Errors: FileRefused."""
    sheet, layout = _find_sheet(list(found.values()), columns)
    return _lines(sheet, layout), layout


def texts_of(sheet: Sheet) -> Iterator[list[str]]:
    """The rows of a sheet that is no template of ours, as text."""
    sheet.reset_dimensions()
    for row in _rows(sheet):
        yield [unescape(clean(_text(cell.value))) if cell.value is not None else "" for cell in row]


def _find_sheet(found: Sequence[Sheet], columns: tuple[Column, ...]) -> tuple[Sheet, Layout]:
    for sheet in found:
        sheet.reset_dimensions()  # what the file says of its own size is not believed
        top = [
            [cell.value if isinstance(cell.value, str) else "" for cell in row]
            for row in islice(_rows(sheet), HEADER_WITHIN + 1)
        ]
        for number in range(min(len(top), HEADER_WITHIN)):
            if known := headings(top[number : number + 2], columns):
                positions, height = known
                return sheet, Layout(positions, number + height)
    title = next(column.label for column in columns if column.path == "title")
    refusal = Text(
        "没有找到“{t}”列，请使用本系统的模板。", "There is no column “{t}”: use this service's template."
    )
    raise FileRefused(refusal.with_(t=title))


def _rows(sheet: Sheet) -> Iterator[tuple[Cell, ...]]:
    try:
        yield from sheet.iter_rows(max_col=SHEET_COLUMNS, max_row=SHEET_ROWS)
    except _DAMAGE as error:
        raise FileRefused(_DAMAGED) from error


def _lines(sheet: Sheet, layout: Layout) -> Iterator[Line]:
    merged = _merged_below(sheet, layout)
    held: dict[
        int, tuple[int, Cell]
    ] = {}  # the top cells of merged areas, each with the last row of its area
    for number, row in enumerate(_rows(sheet), start=1):
        if number <= layout.header_row:
            continue
        line = Line(number)
        for position, column in layout.positions.items():
            if position < len(row) and row[position].value is not None:
                _take(line, row[position], column, layout)
                if last := merged.get((position, number)):
                    held[position] = last, row[position]
        if any(column.of_item and column.path == "name" for column in line.texts):
            for position, (last, cell) in held.items():
                if number <= last and (column := layout.positions[position]) not in line.texts:
                    _take(line, cell, column, layout)
        yield line


def _merged_below(sheet: Sheet, layout: Layout) -> Mapping[tuple[int, int], int]:
    """Areas merged downwards in columns of items: column and first row, to the last row. What is merged there is
    said of every item; below the cells of a resource the rows belong to it whether they are merged or blank."""
    wanted = {
        get_column_letter(at + 1): at for at, c in layout.positions.items() if c.of_item and c.path != "name"
    }
    found: dict[tuple[int, int], int] = {}
    with sheet._get_source() as source:
        rest = b""
        while chunk := source.read(1 << 20):
            for match in _MERGED.finditer(rest + chunk):
                left, first, last = match[1].decode(), int(match[2]), int(match[3])
                if left in wanted and first < last and len(found) < ROW_LIMIT:
                    found[wanted[left], first] = last
            rest = (rest + chunk)[-_MERGED_LENGTH:]
    return found


def _take(line: Line, cell: Cell, column: Column, layout: Layout) -> None:
    if cell.data_type == "f":
        message = Text(
            "单元格是公式“{value}”，请粘贴为数值", "the cell holds the formula “{value}”: paste its value"
        )
        told = message.with_(value=str(cell.value)[:60])
        line.faults.append(layout.fault(line.number, column, told, _NO_FORMULAS))
    elif cell.data_type == "e":
        message = Text("单元格是错误值 {value}", "the cell holds the error {value}").with_(value=cell.value)
        line.faults.append(layout.fault(line.number, column, message))
    elif text := unescape(clean(_text(cell.value))):
        take(line, column, text, layout)


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
