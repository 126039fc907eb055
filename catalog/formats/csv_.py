"""CSV tables in UTF-8, GB18030, Big5 or UTF-16, read through a column mapping.

Owns the guess of the encoding and the shape of rows. Refuses a file without the mapping's columns.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator
from typing import BinaryIO

from app.kernel.errors import Fault
from app.kernel.text import Text
from catalog.formats.mapping import ColumnMapping, apply_mapping
from catalog.formats.reading import CELL_LIMIT, ROW_LIMIT, FileRefused, FileTooLarge, Rejected, Row, SourceRow

COLUMN_LIMIT = 500


def read_csv(stream: BinaryIO, mapping: ColumnMapping, encoding: str | None = None) -> Iterator[Row]:
    """Every row of a CSV file, in order. `stream` is seekable; `encoding` overrules the guess.

    Errors: FileRefused, FileTooLarge. Blank lines are passed over.
    """
    try:
        text = io.TextIOWrapper(stream, encoding or find_encoding(stream, mapping), newline="")
    except LookupError as error:
        raise FileRefused(_undecodable(encoding or "")) from error
    rows = csv.reader(text, delimiter=mapping.delimiter)
    try:
        header = [name.strip() for name in next(rows, [])]
        _require_columns(header, mapping)
        for number, row in enumerate(rows, start=1):
            if number > ROW_LIMIT:
                raise FileTooLarge(Text("行数超过 {n}。", "More than {n} rows.").with_(n=ROW_LIMIT))
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != len(header):
                yield _ragged(number + 1, header, row)
                continue
            yield apply_mapping(mapping, dict(zip(header, row, strict=True)), number + 1)
    except UnicodeDecodeError as error:
        raise FileRefused(_undecodable(text.encoding)) from error
    except csv.Error as error:
        raise FileRefused(
            Text("第 {n} 行不是合法的 CSV：{error}", "Line {n} is not CSV: {error}").with_(
                n=rows.line_num, error=error
            )
        ) from error
    finally:
        text.detach()


def find_encoding(stream: BinaryIO, mapping: ColumnMapping) -> str:
    """The first of the mapping's encodings in which the whole file is valid and the header has its columns.

    Validity alone would not do: nearly every Big5 file is valid GB18030, only not Chinese. Errors: FileRefused.
    """
    head = stream.read(4)
    stream.seek(0)
    candidates = ["utf-16"] if head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else mapping.encodings
    valid = [name for name in candidates if _is_valid(stream, name)]
    if not valid:
        raise FileRefused(_undecodable(", ".join(candidates)))
    for name in valid:
        if mapping.columns() <= set(_header(stream, name, mapping.delimiter)):
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


def _ragged(number: int, header: list[str], row: list[str]) -> Rejected:
    message = Text("该行有 {n} 个单元格，表头有 {m} 列", "this row has {n} cells, the header {m} columns")
    cells = {name: cell[:CELL_LIMIT] for name, cell in zip(header, row, strict=False)}
    fault = Fault(header[0], message.with_(n=len(row), m=len(header)))
    return Rejected(f"row {number}", (fault,), (SourceRow(number, cells),))


def _undecodable(tried: str) -> Text:
    return Text(
        "文字编码无法识别（试过：{tried}）。", "The text encoding is not recognised (tried: {tried})."
    ).with_(tried=tried)
