"""A provider's files beside the gateway: CSV, Parquet and spreadsheets, read some rows at a time, never held whole.

Owns where files may lie and how a cell becomes a value. Refuses whatever does not lie in the gateway's own folder
for them. Only the columns that are agreed or looked at are read.
"""

from __future__ import annotations

import asyncio
import csv
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import msgspec

from app.kernel.text import Text
from exchange.compiler import CompiledTerms
from exchange.delivery import protocol
from exchange.delivery.extracts import cell
from exchange.delivery.pages import Fetch, Lines, Page, ProviderFailed

ROWS_PER_PAGE = 500
ROWS_AT_ONCE = 2000  # that are read and judged together
SPREADSHEET_LIMIT_BYTES = 64 << 20
_TEXTS = {str, type(None)}
_WHOLE = {int, type(None)}
_TRUTHS = {"true": True, "false": False, "1": True, "0": False, "是": True, "否": False}


class Unreadable(Exception):
    """What is wrong with the file, without any of its values."""

    def __init__(self, message: Text) -> None:
        self.message = message


class FileProvider:
    """One file below `folder`, which is None where this gateway reads no files."""

    def __init__(self, source: protocol.FileSource, folder: Path | None) -> None:
        self._source = source
        self._folder = folder
        self._encode = msgspec.json.Encoder(decimal_format="number", enc_hook=str).encode

    def prepare(self, compiled: CompiledTerms) -> Fetch:
        def fetch(limit: int, offset: int) -> AsyncGenerator[Page]:
            return self._pages(compiled, limit, offset)

        return fetch

    def copied(self, compiled: CompiledTerms) -> FileCopy:
        """The same records as lines of CSV, for extracts."""
        if self._source.format == "parquet":
            from exchange.delivery.parquet_copy import ParquetCopy  # noqa: PLC0415 - Arrow is 30 MB

            return ParquetCopy(self, compiled)
        return FileCopy(self, compiled)

    async def _pages(self, compiled: CompiledTerms, limit: int, offset: int) -> AsyncGenerator[Page]:
        every = self._lines(compiled)
        records = islice(every, offset, offset + limit)
        is_last = False
        try:
            while not is_last:
                lines = await asyncio.to_thread(list, islice(records, ROWS_PER_PAGE))
                is_last = len(lines) < ROWS_PER_PAGE
                yield Lines(lines, is_last)
        except Unreadable as error:
            raise ProviderFailed(error.message) from None
        finally:
            every.close()

    def _lines(self, compiled: CompiledTerms) -> Generator[bytes]:
        """What leaves, each record as JSON; scope and masks are the compiler's own."""
        codes = list(dict.fromkeys([*compiled.items, *sorted(compiled.looks_at)]))
        with closing(self.columns(codes)) as batches:
            for columns in batches:
                for row in zip(*columns, strict=True):
                    record = dict(zip(codes, row, strict=True))
                    if compiled.admits(record):
                        yield self._encode(compiled.project(record))

    def columns(self, codes: list[str]) -> Generator[list[list[object]]]:
        """The values of these items, column by column, some rows at a time. Raises Unreadable."""
        names = [self.column_of(code) for code in codes]
        kinds = [self.kind_of(code) for code in codes]
        first = 1
        with self._reading(), closing(self._batches(names)) as batches:
            for batch in batches:
                yield [
                    _values(cells, kind, first, code)
                    for code, cells, kind in zip(codes, batch, kinds, strict=True)
                ]
                first += len(batch[0])

    def column_of(self, code: str) -> str:
        """The file's column of an item."""
        return self._source.columns.get(code, code)

    def kind_of(self, code: str) -> str | None:
        """What the registration says an item's values are."""
        return self._source.types.get(code)

    def values_of(self, code: str, column: Any, first: int) -> list[object]:
        """The values of a column of Arrow's, of which `first` is the number of the first row. Raises Unreadable."""
        return _values(_told(column), self.kind_of(code), first, code)

    def parquet_batches(self, codes: list[str], rows: int) -> Generator[tuple[int, Any]]:
        """The items' columns as record batches, with the number of each one's first row. Raises Unreadable."""
        first = 1
        columns = list(dict.fromkeys(map(self.column_of, codes)))
        with self._reading(), closing(_parquet_batches(self._path(), columns, rows)) as batches:
            for batch in batches:
                batch.validate(full=True)  # texts that are none
                yield first, batch
                first += batch.num_rows

    @contextmanager
    def _reading(self) -> Generator[None]:
        """Says of whatever goes wrong with the file that it cannot be read."""
        try:
            yield
        except Unreadable:
            raise
        except (OSError, ValueError, csv.Error) as error:  # decoding errors and Arrow's are ValueErrors
            message = Text("提供方文件无法读取（{e}）", "The provider's file cannot be read ({e})")
            raise Unreadable(message.with_(e=type(error).__name__)) from None

    def _batches(self, columns: list[str]) -> Generator[list[list[object]]]:
        path = self._path()
        match self._source.format:
            case "csv":
                return _together(_csv_rows(path, columns, self._source.encoding))
            case "xlsx":
                return _together(_sheet_rows(path, columns, self._source.sheet))
            case _:
                return _parquet_columns(path, columns)

    def _path(self) -> Path:
        """The file, judged by where it really lies."""
        folder = self._folder.resolve() if self._folder is not None else None
        path = None if folder is None else (folder / self._source.path).resolve()
        if folder is None or path is None or not path.is_relative_to(folder) or not path.is_file():
            raise Unreadable(Text("网关上没有该文件", "There is no such file at the gateway"))
        return path


class FileCopy:
    """A file's agreed records as CSV, judged and masked column by column with the compiler's own scope and covers."""

    def __init__(self, provider: FileProvider, compiled: CompiledTerms) -> None:
        self.kinds: Mapping[str, str | None] = dict.fromkeys(compiled.items)
        self._provider = provider
        self._compiled = compiled
        self._encode = msgspec.json.Encoder(decimal_format="number", enc_hook=str).encode

    def run(self, limit: int, offset: int) -> Generator[tuple[int, bytes]]:
        """Whole lines, many at a time, with how many they are. Blocks. Raises ProviderFailed."""
        compiled = self._compiled
        codes = list(dict.fromkeys([*compiled.items, *sorted(compiled.looks_at)]))
        skipped, left = offset, limit
        try:
            with closing(self._provider.columns(codes)) as batches:
                for columns in batches:
                    found = dict(zip(codes, columns, strict=True))
                    admitted = self._admitted(found)
                    passed = min(skipped, len(admitted))
                    wanted = admitted[passed : passed + left]
                    skipped, left = skipped - passed, left - len(wanted)
                    if wanted:
                        cells = [
                            self._cells(code, [found[code][n] for n in wanted]) for code in compiled.items
                        ]
                        lines = "\n".join(map(",".join, zip(*cells, strict=True)))
                        yield len(wanted), f"{lines}\n".encode()
                    if not left:
                        return
        except Unreadable as error:
            raise ProviderFailed(error.message) from None

    def _admitted(self, found: Mapping[str, list[object]]) -> list[int]:
        """Which of these rows the scope covers. What was found for the same texts is remembered; not so for other
        values, since 1, true and 1.0 are one key and three values."""
        looked_at = sorted(self._compiled.looks_at)
        if not looked_at:
            return list(range(len(next(iter(found.values())))))
        seen = [found[code] for code in looked_at]
        rows = list(zip(*seen, strict=True))

        def admits(row: tuple[object, ...]) -> bool:
            return self._compiled.admits(dict(zip(looked_at, row, strict=True)))

        if not all(set(map(type, column)) <= _TEXTS for column in seen):
            return [n for n, row in enumerate(rows) if admits(row)]
        verdicts = {row: admits(row) for row in set(rows)}
        return [n for n, row in enumerate(rows) if verdicts[row]]

    def _cells(self, code: str, values: list[object]) -> list[str]:
        cover = self._compiled.cover(code)
        shown = values
        if cover is not None and set(map(type, values)) <= _TEXTS:
            seen = {value: cover(value) for value in set(values)}
            shown = [seen[value] for value in values]
        elif cover is not None:
            shown = [cover(value) for value in values]
        types = set(map(type, shown))
        if types <= _TEXTS:
            return ["" if value is None else '"' + str(value).replace('"', '""') + '"' for value in shown]
        if types <= _WHOLE:
            return ["" if value is None else f'"{value}"' for value in shown]
        return [cell(self._encode(value)) for value in shown]


def _together(rows: Generator[Sequence[object]]) -> Generator[list[list[object]]]:
    """Rows as columns, some at a time."""
    with closing(rows):
        while some := list(islice(rows, ROWS_AT_ONCE)):
            yield [list(column) for column in zip(*some, strict=True)]


def _places(heading: Sequence[object], columns: list[str]) -> list[int]:
    named = ["" if name is None else str(name).strip() for name in heading]
    if missing := [column for column in columns if named.count(column) != 1]:
        message = Text("文件中没有列或列重复：{names}", "no such column, or more than one: {names}")
        raise Unreadable(message.with_(names="、".join(missing)))
    return [named.index(column) for column in columns]


def _csv_rows(path: Path, columns: list[str], encoding: str) -> Generator[Sequence[object]]:
    with path.open(newline="", encoding="utf-8-sig" if encoding == "utf-8" else encoding) as file:
        rows = csv.reader(file, strict=True)
        places = _places(next(rows, []), columns)
        for row in rows:
            if row:
                yield [row[place] or None if place < len(row) else None for place in places]


def _sheet_rows(path: Path, columns: list[str], sheet: str | None) -> Generator[Sequence[object]]:
    from openpyxl import load_workbook  # noqa: PLC0415 - other gateways do without
    from openpyxl.utils.exceptions import InvalidFileException  # noqa: PLC0415

    if path.stat().st_size > SPREADSHEET_LIMIT_BYTES:
        raise Unreadable(Text("电子表格过大", "The spreadsheet is too large"))
    try:
        book = load_workbook(path, read_only=True, data_only=True)
    except (InvalidFileException, KeyError) as error:
        raise ValueError("not a workbook") from error
    with closing(book):
        if sheet is not None and sheet not in book.sheetnames:
            raise Unreadable(Text("没有工作表“{s}”", "no sheet “{s}”").with_(s=sheet))
        rows = book[sheet or book.sheetnames[0]].iter_rows(values_only=True)
        places = _places(next(rows, ()), columns)
        for row in rows:
            if any(held is not None for held in row):
                yield [_cell(row[place]) if place < len(row) else None for place in places]


def _cell(found: object) -> object:
    """A spreadsheet knows one kind of number and one kind of day."""
    match found:
        case float() if found.is_integer():
            return int(found)
        case float():
            return Decimal(repr(found))
        case datetime() if found.time() == time():
            return found.date()
        case "":
            return None
        case _:
            return found


def _parquet_columns(path: Path, columns: list[str]) -> Generator[list[list[object]]]:
    with closing(_parquet_batches(path, columns, ROWS_AT_ONCE)) as batches:
        for batch in batches:
            yield [_told(batch.column(column)) for column in columns]


def _parquet_batches(path: Path, columns: list[str], rows: int) -> Generator[Any]:
    import pyarrow as pa  # noqa: PLC0415 - 30 MB that other gateways do without
    from pyarrow import parquet  # noqa: PLC0415

    try:
        with parquet.ParquetFile(path) as file:
            _places(file.schema_arrow.names, columns)
            yield from file.iter_batches(rows, columns=columns, use_threads=False)
    except pa.ArrowException as error:
        raise ValueError(type(error).__name__) from None


def _told(column: Any) -> list[object]:
    """The values of a column: texts and whole numbers of which none is missing from Arrow's own buffers, several times
    faster than one at a time."""
    import pyarrow as pa  # noqa: PLC0415

    start, end = column.offset, column.offset + len(column)
    if start == end or column.null_count:
        return list(_moments(column).to_pylist())
    if pa.types.is_int64(column.type):
        return list(memoryview(column.buffers()[1]).cast("q")[start:end].tolist())
    if pa.types.is_string(column.type):
        _, offsets, letters = column.buffers()
        places = memoryview(offsets).cast("i")[start : end + 1].tolist()
        first, last = places[0], places[-1]
        held = memoryview(letters)[first:last].tobytes() if last > first else b""
        told = held.decode()
        if told.isascii():
            return [told[at - first : until - first] for at, until in pairwise(places)]
        return [held[at - first : until - first].decode() for at, until in pairwise(places)]
    return list(_moments(column).to_pylist())


def _moments(column: Any) -> Any:
    """The column; moments of a zone in UTC, of nanoseconds in microseconds."""
    import pyarrow as pa  # noqa: PLC0415

    if not pa.types.is_timestamp(column.type):
        return column
    return column.cast(pa.timestamp("us", column.type.tz and "UTC"), safe=False)


def _values(cells: list[object], kind: str | None, first: int, code: str) -> list[object]:
    """A column as what the registration says it is; `first` is the number of its first row."""
    types = set(map(type, cells))
    if Decimal not in types and (kind is None or str not in types):
        return cells
    return [_value(held, kind, row, code) for row, held in enumerate(cells, first)]


def _value(held: object, kind: str | None, row: int, code: str) -> object:
    """The cell as what the registration says it is; without a word it stays what it is, in CSV a text."""
    if kind is None or not isinstance(held, str):
        return None if isinstance(held, Decimal) and not held.is_finite() else held
    try:
        return _READ[kind](held.strip())
    except (ValueError, KeyError, InvalidOperation):
        message = Text(
            "第 {n} 行“{code}”的值与登记的类型不符", "row {n}: “{code}” is not of the registered type"
        )
        raise Unreadable(message.with_(n=row, code=code)) from None


def _number(written: str) -> Decimal:
    number = Decimal(written)
    if not number.is_finite():
        raise ValueError(written)
    return number


_READ: dict[str, Callable[[str], object]] = {
    "whole": int,
    "number": _number,
    "date": date.fromisoformat,
    "truth": lambda written: _TRUTHS[written.lower()],
}
