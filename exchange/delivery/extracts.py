"""Extracts (批量提取): the agreed records of a moment in one file at the gateway, with a manifest.

Owns the folder: making a file, telling its hash, forgetting it in time. Values are masked before they are written,
in the provider's database where that can be. Refuses what is not whole: a half-made file does not survive a start.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import msgspec
from msgspec import Struct

from app.kernel.clock import new_id
from app.kernel.errors import NotFound
from exchange.compiler import CompiledTerms
from exchange.delivery.formats import CSV, NDJSON, NdjsonFormat
from exchange.delivery.pages import Page
from exchange.terms import Unmasked

Form = Literal["csv", "ndjson", "parquet", "arrow"]
Compression = Literal["none", "gzip", "zstd"]
FORMS: tuple[str, ...] = get_args(Form)
COMPRESSIONS: tuple[str, ...] = get_args(Compression)
MEDIA_TYPES: dict[Form, str] = {
    "csv": f"{CSV}; charset=utf-8; header=present",
    "ndjson": NDJSON,
    "parquet": "application/vnd.apache.parquet",
    "arrow": "application/vnd.apache.arrow.stream",
}
KEPT_FOR = timedelta(hours=24)
PIECE_BYTES = 1 << 20
BATCH_BYTES = 4 << 20  # of CSV, for a batch or a row group of a table
_ID = re.compile(r"[0-9a-f-]{36}")
_TYPES = {"text": "string", "whole": "int64", "date": "date32[day]", "truth": "bool"}  # by Arrow's names


class Column(Struct, frozen=True, kw_only=True):
    """One item of the file; `type` is that of Parquet and Arrow (exact decimals are text), `mask` its kind."""

    item: str
    type: str
    mask: str


class Manifest(Struct, frozen=True, kw_only=True):
    """What an extract is. `rows`, `bytes` and `sha256` are of the file as it is sent; `is_last` when no record
    was left out for the limit. What was asked for is kept, so that every download is checked against it anew."""

    id: str
    receipt: str
    agreement_id: str
    agreement_hash: str
    resource_id: str
    purpose: str
    items: tuple[str, ...] | None
    filter: str | None
    offset: int
    agency_id: str
    form: Form
    compression: Compression
    rows: int
    is_last: bool
    bytes: int
    sha256: str
    columns: tuple[Column, ...]
    made_at: str
    expires_at: str
    key: str | None = None  # digests of the Idempotency-Key and of what it was sent with
    asked: str | None = None


class CannotCopy(Exception):
    """The provider cannot mask these items by itself; raised before the first row."""


class Copied(Protocol):
    """A provider's own way to write many masked records: CSV with a quoted text for every value but null.

    `run` gives pieces of whole lines with how many they are; `kinds` of the items are known after the first.
    """

    kinds: Mapping[str, str | None]

    def run(self, limit: int, offset: int) -> Generator[tuple[int, bytes]]: ...


@dataclass(frozen=True, slots=True)
class Made:
    """A file in the making: where it is and what is in it."""

    folder: Path
    rows: int
    bytes: int
    sha256: str
    columns: tuple[Column, ...]


class Extracts:
    """The extracts of one gateway in `folder`. Unfinished ones of an earlier life are removed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left_over in folder.glob("making-*"):
            shutil.rmtree(left_over)
        kept = (self._read(note) for note in folder.glob("*/manifest.json"))
        self._under_key = {manifest.key: manifest.id for manifest in kept if manifest.key is not None}

    def made_under(self, key: str, at: datetime) -> Manifest | None:
        """The extract that was made under an Idempotency-Key, if it is still kept."""
        with suppress(NotFound):
            if id := self._under_key.get(key):
                return self.manifest(id, at)
        return None

    def forget_expired(self, at: datetime) -> None:
        for note in self._folder.glob("*/manifest.json"):
            manifest = self._read(note)
            if manifest.expires_at <= at.astimezone(UTC).isoformat():
                shutil.rmtree(note.parent)
                self._under_key.pop(manifest.key or "", None)

    def manifest(self, id: str, at: datetime) -> Manifest:
        """Errors: NotFound, also where it has expired."""
        note = self._folder / id / "manifest.json"
        if _ID.fullmatch(id) is None or not note.exists():  # the id is a caller's: no path may come of it
            raise NotFound()
        manifest = self._read(note)
        if manifest.expires_at <= at.astimezone(UTC).isoformat():
            raise NotFound()
        return manifest

    def file(self, manifest: Manifest) -> Path:
        return self._folder / manifest.id / "data"

    async def make(
        self,
        compiled: CompiledTerms,
        copied: Copied | None,
        pages: Callable[[], AsyncGenerator[Page]],
        form: Form,
        compression: Compression,
        *,
        limit: int,
        offset: int,
    ) -> Made:
        """Write the file. Errors: what the provider's pages or copy raise, OSError."""
        folder = self._folder / f"making-{new_id()}"
        folder.mkdir(mode=0o700)
        try:
            return await self._make(folder, compiled, copied, pages, form, compression, limit, offset)
        except BaseException:
            shutil.rmtree(folder)
            raise

    async def _make(
        self,
        folder: Path,
        compiled: CompiledTerms,
        copied: Copied | None,
        pages: Callable[[], AsyncGenerator[Page]],
        form: Form,
        compression: Compression,
        limit: int,
        offset: int,
    ) -> Made:
        data = folder / "data"
        done = None
        if copied is not None and form != "ndjson":
            with suppress(CannotCopy):
                done = await asyncio.to_thread(
                    _copy, copied, compiled, form, data, compression, limit, offset
                )
        rows, columns = done or await _write_pages(pages, compiled, form, data, compression)
        digest, size = await asyncio.to_thread(_digest, data)
        return Made(folder, rows, size, digest, columns)

    def keep(self, made: Made, manifest: Manifest) -> None:
        """Put a finished file where downloads find it, at once and whole."""
        with (made.folder / "manifest.json").open("wb") as note:
            note.write(msgspec.json.encode(manifest))
            note.flush()
            os.fsync(note.fileno())
        made.folder.rename(self._folder / manifest.id)
        if manifest.key is not None:
            self._under_key[manifest.key] = manifest.id

    def drop(self, made: Made) -> None:
        shutil.rmtree(made.folder)

    @staticmethod
    def _read(note: Path) -> Manifest:
        return msgspec.json.decode(note.read_bytes(), type=Manifest)


class TextCsv:
    """JSON records as CSV lines in which null (nothing) and the empty text (two quotes) differ."""

    def __init__(self, items: tuple[str, ...]) -> None:
        self._items = items
        self._decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

    def begin(self) -> bytes:
        return (",".join(f'"{code}"' for code in self._items) + "\n").encode()  # item codes hold no quotes

    def page(self, page: Page) -> bytes:
        rows = (self._decode(record) for record in page.lines())
        return "".join(
            ",".join(self._cell(row.get(code)) for code in self._items) + "\n" for row in rows
        ).encode()

    def _cell(self, raw: msgspec.Raw | None) -> str:
        return "" if raw is None else cell(bytes(raw))


_TEXT = msgspec.json.Decoder(str)


def cell(written: bytes) -> str:
    """One value of JSON as a quoted cell of CSV; null is nothing."""
    if written == b"null":
        return ""
    text = _TEXT.decode(written) if written.startswith(b'"') else written.decode()
    return '"' + text.replace('"', '""') + '"'


@contextmanager
def _opened(
    path: Path, form: Form, compression: Compression, columns: tuple[Column, ...]
) -> Iterator[Callable[[bytes], object]]:
    """A function that writes whole lines to the file: as they are, or as rows of a table that CSV lines tell."""
    if form in ("parquet", "arrow"):
        with _table(path, form, compression, columns) as write:
            yield write
        return
    heading_of = NdjsonFormat() if form == "ndjson" else TextCsv(tuple(column.item for column in columns))
    if compression == "none":
        with path.open("wb") as plain:
            plain.write(heading_of.begin())
            yield plain.write
        return
    import pyarrow as pa  # noqa: PLC0415 - 30 MB that other gateways do without

    with pa.OSFile(str(path), "wb") as file, pa.CompressedOutputStream(file, compression) as packed:
        packed.write(heading_of.begin())
        yield packed.write


async def _write_pages(
    pages: Callable[[], AsyncGenerator[Page]],
    compiled: CompiledTerms,
    form: Form,
    path: Path,
    compression: Compression,
) -> tuple[int, tuple[Column, ...]]:
    """Returns the rows and the columns: texts all of them, for a page says no types."""
    lines = NdjsonFormat() if form == "ndjson" else TextCsv(compiled.items)
    columns = tuple(_column(code, None, compiled) for code in compiled.items)
    rows = 0
    with _opened(path, form, compression, columns) as write:
        async with aclosing(pages()) as told:
            async for page in told:
                await asyncio.to_thread(write, lines.page(page))
                rows += len(page)
    return rows, columns


def _copy(
    copied: Copied,
    compiled: CompiledTerms,
    form: Form,
    path: Path,
    compression: Compression,
    limit: int,
    offset: int,
) -> tuple[int, tuple[Column, ...]]:
    """Returns the rows and the columns. Raises CannotCopy."""
    with closing(_ahead(copied.run(limit, offset))) as pieces:
        first = next(pieces, None)
        columns = tuple(_column(code, copied.kinds[code], compiled) for code in compiled.items)
        rows = 0
        with _opened(path, form, compression, columns) as write:
            for count, piece in chain([] if first is None else [first], pieces):
                write(piece)
                rows += count
    return rows, columns


def _ahead(pieces: Generator[tuple[int, bytes]]) -> Generator[tuple[int, bytes]]:
    """The same pieces; the next one is read in a thread of its own while one is written."""
    with closing(pieces), ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, pieces, None)
        while (piece := coming.result()) is not None:
            coming = reader.submit(next, pieces, None)
            yield piece


def _column(code: str, kind: str | None, compiled: CompiledTerms) -> Column:
    """Only what is not masked keeps the type it has with the provider."""
    mask = compiled.masks[code]
    kept = kind if isinstance(mask, Unmasked) and kind in _TYPES else "text"
    return Column(item=code, type=_TYPES[kept or "text"], mask=mask.kind)


@contextmanager
def _table(
    path: Path, form: Form, compression: Compression, columns: tuple[Column, ...]
) -> Iterator[Callable[[bytes], object]]:
    """Parquet or an Arrow stream of lines of CSV, some megabytes a batch. Errors: ValueError, of Arrow."""
    import pyarrow as pa  # noqa: PLC0415 - 30 MB that other gateways do without
    from pyarrow import csv as arrow_csv  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    by_name = {"string": pa.string(), "int64": pa.int64(), "date32[day]": pa.date32(), "bool": pa.bool_()}
    schema = pa.schema([(column.item, by_name[column.type]) for column in columns])
    # The line of one column that holds nothing is empty, and is a row all the same.
    parsing = arrow_csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False)
    reading = arrow_csv.ConvertOptions(
        column_types=schema,
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
        true_values=["true"],
        false_values=["false"],
    )
    held: list[bytes] = []

    def flush() -> None:
        lines = b"".join(held)
        held.clear()
        if lines:
            whole = arrow_csv.ReadOptions(
                column_names=schema.names, block_size=len(lines) + 1, use_threads=False
            )
            writer.write_table(arrow_csv.read_csv(pa.py_buffer(lines), whole, parsing, reading))

    def write(lines: bytes) -> None:
        held.append(lines)
        if sum(map(len, held)) >= BATCH_BYTES:
            flush()

    codec = None if compression == "none" else compression
    writer: Any
    if form == "parquet":
        writer = parquet.ParquetWriter(path, schema, compression=codec or "none")
    else:
        # Arrow's own buffers know lz4 and zstd; gzip is put around the whole stream
        options = pa.ipc.IpcWriteOptions(compression="zstd" if codec == "zstd" else None)
        sink: Any = pa.OSFile(str(path), "wb")
        if codec == "gzip":
            sink = pa.CompressedOutputStream(sink, "gzip")
        writer = _IpcWriter(sink, pa.ipc.new_stream(sink, schema, options=options))
    with writer:
        yield write
        flush()


class _IpcWriter:
    """An Arrow stream that closes its file with itself."""

    def __init__(self, sink: Any, stream: Any) -> None:
        self._sink, self._stream = sink, stream
        self.write_table = stream.write_table

    def __enter__(self) -> _IpcWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        self._sink.close()


def _digest(path: Path) -> tuple[str, int]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return digest, path.stat().st_size
