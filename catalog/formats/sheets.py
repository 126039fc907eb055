"""Cells that spreadsheets may open: text that never turns into a formula, and rejected rows with their faults.

Owns escaping on every export. OWASP: a cell that begins with = + - @ tab or CR is run as a formula by some
spreadsheet programs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from io import BytesIO

from openpyxl import Workbook
from openpyxl.cell import Cell, WriteOnlyCell
from openpyxl.styles import Font, PatternFill
from openpyxl.worksheet._write_only import WriteOnlyWorksheet

from app.kernel.errors import Fault
from app.kernel.text import Text
from catalog.formats.reading import CELL_LIMIT, CellFault, Rejected, SourceRow, clean
from catalog.formats.template import COLUMNS, FAULT_MARK

_FORMULA = re.compile("'*[=+\\-@\t\r]")  # apostrophes before it are escapes, ours or theirs
_FAULTY = PatternFill("solid", fgColor="FFF8CBAD")
_PLACE = Text("位置", "Place")


def escape(value: str) -> str:
    """The text as a cell that no spreadsheet program takes for a formula; `unescape` gives it back."""
    return f"'{value}" if _FORMULA.match(value) else value


def unescape(value: str) -> str:
    """The text that `escape` was given."""
    return value[1:] if value.startswith("'") and _FORMULA.match(value) else value


def write_rejected(rejected: Sequence[Rejected], locale: str) -> bytes:
    """A workbook of the rows that were not brought in: after each column that has a fault in some row stands one
    with the faults in words, so that the sheet can be mended and sent again. Places stand first."""
    columns = list(dict.fromkeys(name for entry in rejected for row in entry.rows for name in row.cells))
    faulty = {_column_of(fault, columns) for entry in rejected for fault in entry.faults}
    book = Workbook(write_only=True)
    sheet = book.create_sheet()
    assert isinstance(sheet, WriteOnlyWorksheet)
    head: list[Cell] = [text_cell(sheet, f"{FAULT_MARK} {_PLACE.in_(locale)}", bold=True)]
    if "" in faulty:
        head.append(text_cell(sheet, FAULT_MARK, bold=True))
    for name in columns:
        head.append(text_cell(sheet, name, bold=True))
        if name in faulty:
            head.append(text_cell(sheet, f"{FAULT_MARK} {name}", bold=True))
    sheet.append(head)
    for entry in rejected:
        for number, row in enumerate(entry.rows or (SourceRow(0, {}),)):
            faults = [f for f in entry.faults if _stands_in(f, row, first=number == 0)]
            sheet.append(
                _line(sheet, entry.place if number == 0 else "", row, columns, faulty, faults, locale)
            )
    buffer = BytesIO()
    book.save(buffer)
    return buffer.getvalue()


def _line(
    sheet: WriteOnlyWorksheet,
    place: str,
    row: SourceRow,
    columns: Sequence[str],
    faulty: set[str],
    faults: Sequence[Fault],
    locale: str,
) -> list[Cell]:
    line = [text_cell(sheet, place)]
    if "" in faulty:
        line.append(text_cell(sheet, _words((f for f in faults if _column_of(f, columns) == ""), locale)))
    for name in columns:
        own = [f for f in faults if _column_of(f, columns) == name]
        line.append(text_cell(sheet, row.cells.get(name, ""), marked=bool(own)))
        if name in faulty:
            line.append(text_cell(sheet, _words(own, locale)))
    return line


def _column_of(fault: Fault, columns: Sequence[str]) -> str:
    """The column a fault stands in, or "" where it is of the row as a whole."""
    column = fault.column if isinstance(fault, CellFault) else fault.field.removeprefix("/")
    if column not in columns:  # a field of the record, where the template's columns were used
        path = column.replace("/", ".")
        column = next((c.heading for c in COLUMNS if c.path == path and not c.of_item), "")
    return column if column in columns else ""


def _stands_in(fault: Fault, row: SourceRow, *, first: bool) -> bool:
    return fault.row == row.number if isinstance(fault, CellFault) and fault.row else first


def _words(faults: Iterable[Fault], locale: str) -> str:
    words = []
    for fault in faults:
        rule = f"（{fault.rule.in_(locale)}）" if fault.rule else ""
        words.append(f"{fault.message.in_(locale)}{rule}")
    return "；".join(words)


def text_cell(sheet: WriteOnlyWorksheet, value: str, *, bold: bool = False, marked: bool = False) -> Cell:
    """A cell of text, escaped, for a sheet that is written as a stream; what no cell can hold is left out."""
    cell = WriteOnlyCell(sheet, escape(clean(value))[:CELL_LIMIT])
    cell.data_type = "s"  # openpyxl would make a formula of what begins with "="
    if bold:
        cell.font = Font(bold=True)
    if marked:
        cell.fill = _FAULTY
    return cell
