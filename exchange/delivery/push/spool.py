"""A run of a push on the gateway's disk: its records in parts, masked, from the moment they were read until taken.

Owns the folder of one subscription: a run appears whole or not at all, a part keeps its id and its bytes however
often it is sent, and the place moves on when the last part was taken.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path

import msgspec
from msgspec import Struct

from app.kernel.clock import new_id
from exchange.delivery.extracts import TextCsv
from exchange.delivery.formats import NdjsonFormat
from exchange.delivery.pages import Lines, Page
from exchange.delivery.protocol import PushPlace

PART_ROWS = 10_000
PART_BYTES = 4 << 20  # begun anew after so many


class Part(Struct, frozen=True, kw_only=True):
    """Whole records in one body. `id` is the same at every attempt: who has it already may leave it."""

    id: str
    rows: int
    bytes: int
    sha256: str


class Run(Struct, frozen=True, kw_only=True):
    """One delivery of a subscription, the `number`th. The first `taken` parts were taken; `counted` is the day in
    whose quota the rows of the next one stand, if it was tried."""

    id: str
    number: int
    basis: str
    mark: str
    previous: str  # id of the last part of the run before
    began_at: str
    parts: list[Part]
    taken: int = 0
    counted: str = ""

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.parts)


class _Kept(Struct, frozen=True, kw_only=True):
    place: PushPlace
    last_part: str = ""
    began_at: str = ""  # of the last finished run


class Spool:
    """The folder of one subscription. A half-made run of an earlier life is removed."""

    def __init__(self, folder: Path, subscription_id: str) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left_over in folder.glob("making-*"):
            shutil.rmtree(left_over)
        self._kept = _Kept(place=PushPlace(subscription_id=subscription_id))
        if (folder / "place.json").exists():
            self._kept = msgspec.json.decode((folder / "place.json").read_bytes(), type=_Kept)
        self.run: Run | None = None
        if (folder / "run" / "run.json").exists():
            self.run = msgspec.json.decode((folder / "run" / "run.json").read_bytes(), type=Run)
            if self.run.number <= self.place.runs:  # finished just before the end
                self.drop()

    @property
    def place(self) -> PushPlace:
        return self._kept.place

    @property
    def last_began_at(self) -> str:
        return self._kept.began_at

    def follow(self, told: PushPlace) -> None:
        """Take the centre's word for how far this has come, where that is further than is known here."""
        if told.runs > self.place.runs:
            self.drop()
            self._keep(_Kept(place=told, began_at=told.finished_at))

    async def make(
        self,
        pages: AsyncGenerator[Page],
        mark: Callable[[], str],
        items: tuple[str, ...],
        form: str,
        *,
        basis: str,
        began_at: str,
        most_rows: int,
    ) -> Run:
        """Write the next run. Errors: what the pages raise, OSError."""
        folder = self._folder / f"making-{new_id()}"
        folder.mkdir(mode=0o700)
        lines: NdjsonFormat | TextCsv = TextCsv(items) if form == "csv" else NdjsonFormat()
        parts: list[Part] = []
        try:
            writer = _Writer(folder, lines.begin())
            async with aclosing(pages) as told:
                async for page in told:
                    records = page.lines()
                    while records:
                        room = min(most_rows, PART_ROWS) - writer.rows
                        now, records = records[:room], records[room:]
                        writer.add(lines.page(Lines(now, True)), len(now))
                        if writer.rows == min(most_rows, PART_ROWS) or writer.size >= PART_BYTES:
                            parts.append(await asyncio.to_thread(writer.finish))
                            writer = _Writer(folder, lines.begin())
            if writer.rows:
                parts.append(await asyncio.to_thread(writer.finish))
            run = Run(
                id=str(new_id()), number=self.place.runs + 1, basis=basis, mark=mark(), parts=parts,
                previous=self._kept.last_part, began_at=began_at,
            )  # fmt: skip
            _write(folder / "run.json", msgspec.json.encode(run))
        except BaseException:
            shutil.rmtree(folder)
            raise
        folder.rename(self._folder / "run")
        _sync(self._folder)
        self.run = run
        return run

    def body(self, part: Part) -> bytes:
        return (self._folder / "run" / part.id).read_bytes()

    def note(self, run: Run) -> None:
        """How far the run is, on disk when this returns."""
        _write(self._folder / "run" / "run.json", msgspec.json.encode(run))
        self.run = run

    def finish(self, at: str) -> None:
        """Every part was taken."""
        run = self.run
        assert run is not None
        assert run.taken == len(run.parts)
        place = PushPlace(
            subscription_id=self.place.subscription_id,
            runs=run.number,
            mark=run.mark,
            basis=run.basis,
            finished_at=at,
        )
        last = run.parts[-1].id if run.parts else self._kept.last_part
        self._keep(_Kept(place=place, last_part=last, began_at=run.began_at))
        self.drop()

    def drop(self) -> None:
        """Forget a run that stands under terms that are no more; nothing of its place is lost."""
        self.run = None
        if (self._folder / "run").exists():
            shutil.rmtree(self._folder / "run")

    def forget(self) -> None:
        """The subscription has ended."""
        shutil.rmtree(self._folder)

    def _keep(self, kept: _Kept) -> None:
        _write(self._folder / "place.json", msgspec.json.encode(kept))
        self._kept = kept


class _Writer:
    """One part in the making."""

    def __init__(self, folder: Path, heading: bytes) -> None:
        self.rows = 0
        self._id = str(new_id())
        self._folder = folder
        self._body = [heading]
        self.size = len(heading)

    def add(self, body: bytes, rows: int) -> None:
        self._body.append(body)
        self.size += len(body)
        self.rows += rows

    def finish(self) -> Part:
        body = b"".join(self._body)
        _write(self._folder / self._id, body)
        return Part(id=self._id, rows=self.rows, bytes=len(body), sha256=hashlib.sha256(body).hexdigest())


def _write(path: Path, content: bytes) -> None:
    """At once and whole, and durable."""
    fresh = path.with_name(f"{path.name}.new")
    with fresh.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
