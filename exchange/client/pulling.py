"""A pull: all agreed records of a resource into one file, page by page, gone on with where it was left off.

Owns the file in the making (`FILE.part`) and the note beside it of how far it is. A page counts when it is
on disk; a page that broke off is cut away and fetched again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec

from exchange.client.flows import DataPage, Flow, Flows, Form, Wanted

READ_BYTES = 1 << 20


class NotThisPull(Exception):
    """A file in the making lies there, and it is of something else than what is asked for now."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """The finished file: `receipts` are the deliveries it was made of, in order, each as the centre holds it."""

    file: Path
    rows: int
    bytes: int
    sha256: str
    receipts: tuple[str, ...]


class _Progress(msgspec.Struct):
    wanted: Wanted
    form: Form
    pages: list[DataPage] = msgspec.field(default_factory=list)
    bytes: int = 0

    @property
    def rows(self) -> int:
        return sum(page.rows for page in self.pages)


def pull(
    flows: Flows, wanted: Wanted, to: Path, *, form: Form = "csv", limit: int | None = None, on_page: Callable[[int], None] | None = None
) -> Flow[Pulled]:  # fmt: skip
    """All records of `wanted` in `to`, which appears when it is whole and each receipt said the same.

    Called again after whatever ended it, it goes on after the last whole page. `limit` is the most rows of one
    delivery; `on_page` hears how many rows there are. Errors: Refused (with the day's quota used up: go on
    tomorrow), Unreachable, NotThisPull, NotAsReceipted, FileExistsError, OSError.
    """
    if to.exists():
        raise FileExistsError(str(to))
    part, note = to.with_name(f"{to.name}.part"), to.with_name(f"{to.name}.part.json")
    progress = _read(note, wanted, form)
    try:
        with part.open("ab") as file:
            if file.tell() < progress.bytes:
                raise NotThisPull(f"{part}: {file.tell()} < {progress.bytes}")
            file.truncate(progress.bytes)
            while not (progress.pages and progress.pages[-1].is_last):
                yield from _one_page(flows, progress, file, limit)
                write_note(note, progress)
                if on_page is not None:
                    on_page(progress.rows)
    finally:
        if not progress.pages:
            part.unlink()
    for page in progress.pages:
        yield from flows.require_receipted(page)
    digest = digest_of(part)
    part.rename(to)
    note.unlink()
    return Pulled(to, progress.rows, progress.bytes, digest, tuple(page.receipt for page in progress.pages))


def _one_page(flows: Flows, progress: _Progress, file: BinaryIO, limit: int | None) -> Flow[None]:
    """Add the next page to the file and to the progress; on disk when it returns."""
    start = progress.bytes
    heading = _Heading(progress.form, is_wanted=not progress.pages)

    def take(piece: bytes) -> None:
        file.write(heading.cut(piece))

    def again() -> None:
        file.truncate(start)
        heading.again()

    page = yield from flows.page(
        progress.wanted, progress.form, take, again, offset=progress.rows, limit=limit
    )
    file.flush()
    os.fsync(file.fileno())
    progress.pages.append(page)
    progress.bytes = file.tell()


class _Heading:
    """Takes the header line of a CSV page away where an earlier page has brought it."""

    def __init__(self, form: Form, *, is_wanted: bool) -> None:
        self._passes = is_wanted or form != "csv"
        self._is_past = self._passes

    def again(self) -> None:
        self._is_past = self._passes

    def cut(self, piece: bytes) -> bytes:
        if self._is_past:
            return piece
        _, end, rest = piece.partition(b"\n")  # item codes hold no line end
        self._is_past = bool(end)
        return rest


def _read(note: Path, wanted: Wanted, form: Form) -> _Progress:
    if not note.exists():
        return _Progress(wanted, form)
    try:
        progress = msgspec.json.decode(note.read_bytes(), type=_Progress)
    except msgspec.DecodeError as error:
        raise NotThisPull(f"{note}: {error}") from None
    if (progress.wanted, progress.form) != (wanted, form):
        raise NotThisPull(f"{note}: {progress.wanted}")
    return progress


def write_note(note: Path, progress: msgspec.Struct) -> None:
    """How far a file in the making is, on disk when this returns."""
    fresh = note.with_name(f"{note.name}.new")
    with fresh.open("wb") as file:
        file.write(msgspec.json.encode(progress))
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(note)


def digest_of(file: Path) -> str:
    """SHA-256 of a file's content, in hex."""
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while piece := content.read(READ_BYTES):
            digest.update(piece)
    return digest.hexdigest()
