"""CSV tables in UTF-8, GB18030, Big5 or UTF-16: the product's own rows, or any through a column mapping.

Owns the guess of the encoding and the shape of rows. Refuses a file without the columns that are needed.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from typing import BinaryIO

from app.kernel.errors import Fault
from app.kernel.text import Text
from catalog.formats.lines import Layout, Line, headings, read_lines, take
from catalog.formats.mapping import ColumnMapping, apply_mapping
from catalog.formats.reading import (
    CELL_LIMIT,
    ROW_LIMIT,
    FileRefused,
    FileTooLarge,
    Rejected,
    Row,
    SourceRow,
    clean,
)
from catalog.formats.sheets import unescape

COLUMN_LIMIT = 500
ENCODINGS = ("utf-8-sig", "gb18030", "big5")
# Big5 as Windows and Hong Kong write it; the plain codec lacks characters that real files have.
_BIG5 = ("big5", "cp950", "big5hkscs")


def read_csv(stream: BinaryIO, mapping: ColumnMapping, encoding: str | None = None) -> Iterator[Row]:
    """Every row of a CSV file as the mapping reads it, in order. `stream` is seekable; `encoding` overrules the
    guess. Errors: FileRefused, FileTooLarge. Blank lines are passed over.
    """

    def has_columns(header: Sequence[str]) -> bool:
        return mapping.columns() <= set(header)

    chosen = encoding or find_encoding(stream, mapping.encodings, mapping.delimiter, has_columns)
    with _table(stream, chosen, mapping.delimiter) as rows:
        header = [name.strip() for name in next(rows, (0, []))[1]]
        _require_columns(header, mapping)
        for together in _resources(rows, header, mapping):
            yield together if isinstance(together, Rejected) else apply_mapping(mapping, together)


def read_own_csv(stream: BinaryIO, encoding: str | None, *, for_filing: bool) -> Iterator[Row] | None:
    """The rows of a CSV file in the template's columns, as the export writes them; None where it has others.

    Errors: FileRefused, FileTooLarge.
    """

    def is_ours(header: Sequence[str]) -> bool:
        return headings([header]) is not None

    chosen = encoding or find_encoding(stream, ENCODINGS, ",", is_ours)
    with _table(stream, chosen, ",") as rows:
        top = [row for _, row in islice(rows, 2)]
    stream.seek(0)
    found = headings(top) if top else None
    return _own_rows(stream, chosen, Layout(*found), for_filing) if found else None


def _own_rows(stream: BinaryIO, encoding: str, layout: Layout, for_filing: bool) -> Iterator[Row]:
    with _table(stream, encoding, ",") as rows:
        yield from read_lines(_lines(rows, layout), layout, for_filing=for_filing)


def _lines(rows: Iterator[tuple[int, list[str]]], layout: Layout) -> Iterator[Line]:
    for number, row in rows:
        if number <= layout.header_row:
            continue
        line = Line(number)
        for position, column in layout.positions.items():
            if position < len(row) and (text := unescape(clean(row[position]))):
                take(line, column, text, layout)
        yield line


@contextmanager
def _table(stream: BinaryIO, encoding: str, delimiter: str) -> Iterator[Iterator[tuple[int, list[str]]]]:
    """The rows of a CSV file, numbered as a spreadsheet shows them; leaves the stream open. Errors: FileRefused."""
    try:
        text = io.TextIOWrapper(stream, encoding, newline="")
    except LookupError as error:
        raise FileRefused(_undecodable(encoding)) from error
    rows = csv.reader(text, delimiter=delimiter)
    try:
        yield enumerate(rows, start=1)
    except UnicodeDecodeError as error:
        raise FileRefused(_undecodable(encoding)) from error
    except csv.Error as error:
        message = Text("第 {n} 行不是合法的 CSV：{error}", "Line {n} is not CSV: {error}")
        raise FileRefused(message.with_(n=rows.line_num, error=error)) from error
    finally:
        text.detach()


def _resources(
    rows: Iterator[tuple[int, list[str]]], header: Sequence[str], mapping: ColumnMapping
) -> Iterator[list[SourceRow] | Rejected]:
    """The rows of each resource together: every row one, or with `mapping.resource` those whose cell there is the
    same as above, or empty."""
    current: list[SourceRow] = []
    for number, cells in rows:
        if number > ROW_LIMIT:
            raise FileTooLarge(Text("行数超过 {n}。", "More than {n} rows.").with_(n=ROW_LIMIT))
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            if current:
                yield current
                current = []
            yield _ragged(number, header, cells)
            continue
        row = SourceRow(number, dict(zip(header, map(unescape, cells), strict=True)))
        key = row.cells[mapping.resource].strip() if mapping.resource else None
        if current and (key is None or key not in ("", current[0].cells[mapping.resource or ""].strip())):
            yield current
            current = []
        current.append(row)
    if current:
        yield current


def find_encoding(
    stream: BinaryIO, encodings: Sequence[str], delimiter: str, suits: Callable[[Sequence[str]], bool]
) -> str:
    """The first of the encodings in which the whole file is valid and its header suits.

    Validity alone would not do: nearly every Big5 file is valid GB18030, only not Chinese. Errors: FileRefused.
    """
    head = stream.read(4)
    stream.seek(0)
    utf16 = head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    candidates = ["utf-16"] if utf16 else [*chain(*(_BIG5 if e == "big5" else (e,) for e in encodings))]
    valid = [name for name in candidates if _is_valid(stream, name)]
    if not valid:
        raise FileRefused(_undecodable(", ".join(candidates)))
    for name in valid:
        if suits(_header(stream, name, delimiter)):
            return name
    return valid[0]  # whose missing columns are then told


def _is_valid(stream: BinaryIO, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)(errors="strict")
    try:
        while chunk := stream.read(1 << 20):
            decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    finally:
        stream.seek(0)
    return True


def _header(stream: BinaryIO, encoding: str, delimiter: str) -> list[str]:
    text = io.TextIOWrapper(stream, encoding, newline="")
    try:
        return [name.strip() for name in next(csv.reader(text, delimiter=delimiter), [])]
    except csv.Error:
        return []
    finally:
        text.detach()
        stream.seek(0)


def _require_columns(header: list[str], mapping: ColumnMapping) -> None:
    faults = [
        Fault(name, Text("缺少该列", "this column is missing"))
        for name in sorted(mapping.columns() - set(header))
    ]
    repeated = (
        {name for name in header if name and header.count(name) > 1} if len(header) <= COLUMN_LIMIT else set()
    )
    faults += [Fault(name, Text("该列出现多次", "this column stands twice")) for name in sorted(repeated)]
    if len(header) > COLUMN_LIMIT:
        faults.append(Fault("", Text(f"列数超过 {COLUMN_LIMIT}", f"more than {COLUMN_LIMIT} columns")))
    if faults:
        message = Text("表头与列映射“{name}”不符。", "The header does not fit the mapping “{name}”.")
        raise FileRefused(message.with_(name=mapping.name), faults=faults)


def _ragged(number: int, header: Sequence[str], row: Sequence[str]) -> Rejected:
    message = Text("该行有 {n} 个单元格，表头有 {m} 列", "this row has {n} cells, the header {m} columns")
    cells = {name: cell[:CELL_LIMIT] for name, cell in zip(header, row, strict=False)}
    fault = Fault(header[0], message.with_(n=len(row), m=len(header)))
    return Rejected(f"row {number}", (fault,), (SourceRow(number, cells),))


def _undecodable(tried: str) -> Text:
    return Text(
        "文字编码无法识别（试过：{tried}）。", "The text encoding is not recognised (tried: {tried})."
    ).with_(tried=tried)
