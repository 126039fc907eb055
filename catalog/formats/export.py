"""The catalog written as the product's own spreadsheet, so that it can be worked on and brought in again.

Owns how a record becomes rows. Which column is which field is `template`'s.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import BinaryIO

from openpyxl import Workbook
from openpyxl.utils import get_column_letter
from openpyxl.worksheet._write_only import WriteOnlyWorksheet
from pydantic import JsonValue

from app.kernel.text import DEFAULT_LOCALE, Locale, Text
from catalog.formats.lines import further_of, read_back
from catalog.formats.reading import CELL_LIMIT, ROW_LIMIT, FileTooLarge, clean
from catalog.formats.sheets import escape, text_cell
from catalog.formats.template import COLUMNS, REST, SHEET_NAME, YES_NO, Column
from catalog.resources.record import ResourceRecord

_SEPARATOR = "；"
_LIST_LIMIT = CELL_LIMIT - 1  # escaping may add one
_PIECE = 30_000
_WRITTEN = (*COLUMNS, REST)
# Stand on every row of a resource, so that a sheet that was filtered still says whose the items are.
_ON_EVERY_ROW = [c for c in COLUMNS if not c.of_item and c.path in ("title", "code")]


def write_workbook(
    records: Iterable[ResourceRecord], stream: BinaryIO, locale: Locale = DEFAULT_LOCALE
) -> int:
    """Write records as an xlsx workbook that `read_workbook` reads back; returns how many there were. One row an
    item, a resource without items one row. Rows go to a temporary file, so memory does not grow with them.

    What has no column, or would be read otherwise than it was, stands in the last column (`lines.further_of`):
    nothing is lost but `source_id`, the identifier in the catalog a record first came from, and control
    characters. Two records side by side with one title and one provider are told apart by their codes.
    Errors: FileTooLarge beyond ROW_LIMIT rows, which could not be read back.
    """
    book = Workbook(write_only=True)
    sheet = book.create_sheet(SHEET_NAME.in_(locale))
    assert isinstance(sheet, WriteOnlyWorksheet)
    sheet.freeze_panes = "B2"
    for number in range(1, len(_WRITTEN) + 1):
        dimensions = sheet.column_dimensions  # type: ignore[attr-defined]  # the stub leaves it out
        dimensions[get_column_letter(number)].width = 18
    count = rows = 0
    with closing(sheet):
        sheet.append([text_cell(sheet, column.heading, bold=True) for column in _WRITTEN])
        for record in records:
            lines = _lines(record, locale)
            count, rows = count + 1, rows + len(lines)
            if rows > ROW_LIMIT:
                message = Text(
                    "超过 {n} 行，一个工作簿导不回来；请导出为 .csv。",
                    "More than {n} rows, which one workbook could not bring back: export as .csv.",
                )
                raise FileTooLarge(message.with_(n=ROW_LIMIT))
            for line in lines:
                sheet.append([text_cell(sheet, text) if text else None for text in line])
    book.save(stream)
    return count


def write_csv(records: Iterable[ResourceRecord], stream: BinaryIO, locale: Locale = DEFAULT_LOCALE) -> int:
    """The same rows as CSV in UTF-8 with a byte order mark, of any length; returns how many records there were."""
    text = io.TextIOWrapper(stream, "utf-8-sig", newline="", write_through=True)
    rows = csv.writer(text)
    rows.writerow([f"{column.label.zh} {column.label.en}" for column in _WRITTEN])
    count = 0
    for record in records:
        count += 1
        rows.writerows([escape(clean(cell)) for cell in line] for line in _lines(record, locale))
    text.detach()
    return count


def _lines(record: ResourceRecord, locale: Locale) -> list[list[str]]:
    """The rows of one resource, a text for each column."""
    values: JsonValue = record.model_dump(mode="json")
    whole = {c: _text(_at(values, c.path), c, locale) for c in COLUMNS if not c.of_item}
    repeated = {c: whole[c] for c in _ON_EVERY_ROW}
    items = _at(values, "items")
    lines: list[dict[Column, str]] = []
    for position, item in enumerate(items if isinstance(items, list) and items else [None]):
        own = {c: clean(_text(_at(item, c.path), c, locale)) for c in COLUMNS if c.of_item}
        lines.append({**(repeated if position else whole), **own})
    for position, text in enumerate(_further(record, lines)):
        if position == len(lines):
            lines.append(dict(repeated))
        lines[position][REST] = text
    return [[line.get(c, "") for c in _WRITTEN] for line in lines]


def _further(record: ResourceRecord, lines: list[dict[Column, str]]) -> list[str]:
    """What the columns do not carry, found by reading the rows back, in pieces that a cell holds."""
    read = read_back(lines)
    text = further_of(record, read) if read else ""
    return list(_pieces(text))


def _pieces(text: str) -> Iterator[str]:
    """The text in pieces that a cell holds. No piece begins or ends with white space, which readers trim."""
    while len(text) > _PIECE:
        end = _PIECE
        while end > 1 and (text[end - 1].isspace() or text[end].isspace()):
            end -= 1
        yield text[:end]
        text = text[end:]
    if text:
        yield text


def _at(value: JsonValue, path: str) -> JsonValue:
    """The field of a record, or of an item, that a column's path names; None where it is not set."""
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _text(value: JsonValue, column: Column, locale: Locale) -> str:
    if isinstance(value, list):
        return _joined([_word(str(entry), column, locale) for entry in value])
    if value is None or value is False:  # an empty cell says no
        return ""
    return YES_NO["true"].in_(locale) if value is True else _word(str(value), column, locale)


def _word(value: str, column: Column, locale: Locale) -> str:
    label = (column.choices or {}).get(value)
    return label.in_(locale) if label else value


def _joined(words: list[str]) -> str:
    """The words as one cell, as many as one holds."""
    while len(text := _SEPARATOR.join(words)) > _LIST_LIMIT:
        words = words[:-1]
    return text
