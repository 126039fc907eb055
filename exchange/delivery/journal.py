"""The gateway's own durable memory of calls: receipts until the centre holds them, and today's use.

Owns an append-only log of checksummed lines in segments; one writer thread makes many lines durable with
one fsync. Refuses to work beside another gateway in the same folder or on a damaged log.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import threading
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue

import msgspec
from msgspec import Struct

from app.kernel.errors import Unavailable
from app.kernel.text import Text
from exchange.delivery.protocol import Call, Outcome, Receipt

log = logging.getLogger(__name__)

SEGMENT_BYTES = 64 << 20


class JournalUnavailable(Unavailable):
    """A receipt could not be made durable, so nothing was delivered."""

    slug = "receipt-not-written"
    title = Text("回执无法写入，未交付任何数据", "The receipt cannot be written; nothing was delivered")


class JournalDamaged(Exception):
    """A line before the end of the log does not match its checksum: storage has lost receipts."""


class JournalInUse(Exception):
    """Another gateway works in this folder."""


class _Completion(Struct, frozen=True, tag="completion"):
    id: str
    outcome: Outcome


class _Acknowledged(Struct, frozen=True, tag="acknowledged"):
    ids: list[str]


_Line = Call | _Completion | Receipt | _Acknowledged
_Batch = tuple[bytes, list[asyncio.Future[int]]]
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Line)


@dataclass(frozen=True, slots=True)
class Usage:
    """What one agreement has used of one day's quota; rows include those reserved by running calls."""

    calls: int
    rows: int
    running: int = 0  # calls under way, whatever their day


class Journal:
    """Receipts of one gateway. Made with `open_journal`; its methods belong to one event loop."""

    def __init__(self, folder: Path, writer: _Writer) -> None:
        self._folder = folder
        self._writer = writer
        self._open: dict[str, Call] = {}
        self._unshipped: dict[str, Receipt] = {}
        self._calls: Counter[tuple[str, str]] = Counter()
        self._rows: Counter[tuple[str, str]] = Counter()
        self._running: Counter[str] = Counter()
        self.results: Counter[str] = Counter()  # since this start
        self.problems: Counter[str] = Counter()
        self._pushed: dict[str, str] = {}  # days of pushes by call
        self._segment_of: dict[str, int] = {}  # of every receipt that the centre does not hold yet
        self._last_day: defaultdict[int, str] = defaultdict(str)

    def used(self, agreement_id: str, day: str) -> Usage:
        """Calls and rows of an agreement on a day, whatever became of the calls."""
        return Usage(
            self._calls[agreement_id, day], self._rows[agreement_id, day], self._running[agreement_id]
        )

    def has_begun(self, push_id: str) -> bool:
        """Whether this call of a push stands in the quota of today."""
        return push_id in self._pushed

    async def begin(self, call: Call) -> None:
        """Make the intent durable and reserve its rows. Errors: JournalUnavailable; nothing counts then."""
        self._add(call)
        try:
            self._note(call, await self._writer.write(call))
        except JournalUnavailable:
            self._drop(call)
            raise

    def complete(self, call_id: str, outcome: Outcome) -> asyncio.Future[int]:
        """Make the outcome of a begun call durable; waiting for it is the caller's choice. If it cannot be written
        (JournalUnavailable), the call stays open and is reported as interrupted by the next start."""
        written = self._writer.write(_Completion(call_id, outcome))
        written.add_done_callback(partial(self._completed, call_id, outcome))
        return written

    def _completed(self, call_id: str, outcome: Outcome, written: asyncio.Future[int]) -> None:
        """Only what is durable here may be shipped: after a crash the same call would tell another story."""
        if (
            written.cancelled() or written.exception() is None
        ):  # a waiter that gave up changes nothing on disk
            self._finish(call_id, outcome)
            self._count(outcome)
        else:
            log.error("receipt %s: the outcome could not be written", call_id)

    async def refuse(self, receipt: Receipt) -> None:
        """Make the receipt of a refused call durable; it uses nothing of the quota."""
        self._note(receipt.call, await self._writer.write(receipt))
        self._unshipped[receipt.call.id] = receipt
        self._count(receipt.outcome)

    @property
    def waiting(self) -> int:
        """Receipts that the centre does not hold yet."""
        return len(self._unshipped)

    @property
    def running(self) -> int:
        """Calls under way."""
        return len(self._open)

    def unshipped(self, limit: int) -> list[Receipt]:
        """The oldest receipts that the centre has not acknowledged."""
        return [receipt for receipt, _ in zip(self._unshipped.values(), range(limit), strict=False)]

    async def acknowledge(self, ids: Sequence[str]) -> None:
        """The centre holds these durably. Unknown ids are ignored: receipts may be shipped twice."""
        known = [receipt_id for receipt_id in ids if receipt_id in self._unshipped]
        if known:
            await self._writer.write(_Acknowledged(known))
            self._forget(known)
            self._remove_old_segments()

    def close(self) -> None:
        """Write what is queued and release the folder."""
        self._writer.close()

    # ---- replay and bookkeeping ----

    def _count(self, outcome: Outcome) -> None:
        self.results[outcome.result] += 1
        if outcome.problem is not None:
            self.problems[outcome.problem] += 1

    def _replay(self, line: _Line, segment: int) -> None:
        match line:
            case Call():
                self._add(line)
                self._note(line, segment)
            case _Completion():
                self._finish(line.id, line.outcome)
            case Receipt():
                self._note(line.call, segment)
                self._unshipped[line.call.id] = line
            case _Acknowledged():
                self._forget(line.ids)

    async def _report_interrupted(self) -> None:
        """Give the calls that a dead gateway left open their outcome."""
        for call in list(self._open.values()):
            await self.complete(call.id, Outcome(result="interrupted", status=0, rows=call.rows_reserved))

    def _add(self, call: Call) -> None:
        self._open[call.id] = call
        if call.method == "push":
            self._pushed[call.id] = call.day
        self._running[call.agreement_id] += 1
        self._calls[call.agreement_id, call.day] += 1
        self._rows[call.agreement_id, call.day] += call.rows_reserved

    def _drop(self, call: Call) -> None:
        del self._open[call.id]
        self._pushed.pop(call.id, None)
        self._running[call.agreement_id] -= 1
        self._calls[call.agreement_id, call.day] -= 1
        self._rows[call.agreement_id, call.day] -= call.rows_reserved

    def _finish(self, call_id: str, outcome: Outcome) -> None:
        call = self._open.pop(call_id, None)
        if call is None:  # its segment is gone, because the centre holds the receipt
            return
        self._running[call.agreement_id] -= 1
        self._rows[call.agreement_id, call.day] += outcome.rows - call.rows_reserved
        self._unshipped[call_id] = Receipt(call=call, outcome=outcome)

    def _note(self, call: Call, segment: int) -> None:
        self._segment_of[call.id] = segment
        self._last_day[segment] = max(self._last_day[segment], call.day)

    def _forget(self, ids: Iterable[str]) -> None:
        for receipt_id in ids:
            self._unshipped.pop(receipt_id, None)
            self._segment_of.pop(receipt_id, None)

    def _remove_old_segments(self) -> None:
        """Drop the oldest segments of past days whose receipts the centre holds; never one after a kept one,
        or an intent would stand without its completion."""
        today = max(self._last_day.values(), default="")
        outstanding = set(self._segment_of.values())
        for number in _segments(self._folder):
            if number in outstanding or number == self._writer.segment or self._last_day[number] >= today:
                break
            _segment_path(self._folder, number).unlink()
            self._last_day.pop(number, None)
        for used in (self._calls, self._rows):
            for key in [key for key in used if key[1] < today]:
                del used[key]
        self._pushed = {id: day for id, day in self._pushed.items() if day >= today}


async def open_journal(folder: Path, *, segment_bytes: int = SEGMENT_BYTES) -> Journal:
    """Open the journal in `folder`, made there first if need be, and report what a crash interrupted.

    A torn last line is cut off: nothing was delivered on its strength. Raises JournalInUse, JournalDamaged.
    """
    journal = _load(folder, segment_bytes)
    await journal._report_interrupted()
    return journal


def _load(folder: Path, segment_bytes: int) -> Journal:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        numbers = _segments(folder)
        lines = [(line, number) for number in numbers for line in _read_segment(folder, number, numbers[-1])]
    except BlockingIOError:
        os.close(lock)
        raise JournalInUse(str(folder)) from None
    except JournalDamaged:
        os.close(lock)
        raise
    journal = Journal(folder, _Writer(folder, numbers[-1] if numbers else 1, lock, segment_bytes))
    for line, number in lines:
        journal._replay(line, number)
    return journal


class _Writer:
    """Appends lines in the order written: many lines, one write, one fsync, then everyone who waits is told.

    Lines gather on the event loop while a thread makes the batch before them durable, so that a call costs no
    wake-up of its own.
    """

    def __init__(self, folder: Path, segment: int, lock: int, segment_bytes: int) -> None:
        self.segment = segment
        self._folder = folder
        self._lock = lock
        self._segment_bytes = segment_bytes
        self._lines: list[bytes] = []
        self._waiting: list[asyncio.Future[int]] = []
        self._is_writing = False
        self._queue: SimpleQueue[tuple[asyncio.AbstractEventLoop, _Batch] | None] = SimpleQueue()
        self._broken = False
        self._file = self._open_segment()
        self._size = os.fstat(self._file).st_size
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def write(self, line: _Line) -> asyncio.Future[int]:
        """Append; the future gives the segment once the line is durable there, or raises JournalUnavailable.
        It may be left alone: then nobody learns of a failure but the log."""
        written = _encoder.encode(line)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[int] = loop.create_future()
        self._lines.append(b"%08x %s\n" % (zlib.crc32(written), written))
        self._waiting.append(future)
        if not self._is_writing:
            self._is_writing = True
            loop.call_soon(self._hand_over, loop)  # with whatever else this turn of the loop writes
        return future

    def close(self) -> None:
        self._queue.put(None)
        self._thread.join()
        rest, self._lines = self._lines, []
        if rest:  # written after the last batch went out
            self._append(b"".join(rest))
        os.close(self._file)
        os.close(self._lock)

    def _hand_over(self, loop: asyncio.AbstractEventLoop) -> None:
        batch = b"".join(self._lines), self._waiting
        self._lines, self._waiting = [], []
        self._queue.put((loop, batch))

    def _run(self) -> None:
        while (handed := self._queue.get()) is not None:
            loop, (lines, waiting) = handed
            error: OSError | None = None
            try:
                self._append(lines)
            except OSError as raised:
                log.error("the journal cannot be written: %s", raised)
                error = raised
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._tell, loop, waiting, self.segment, error)

    def _tell(
        self,
        loop: asyncio.AbstractEventLoop,
        waiting: list[asyncio.Future[int]],
        segment: int,
        error: OSError | None,
    ) -> None:
        if self._lines:
            self._hand_over(loop)
        else:
            self._is_writing = False
        for future in waiting:
            if future.done():  # its caller was cancelled
                continue
            if error is None:
                future.set_result(segment)
            else:
                future.set_exception(JournalUnavailable())
                future.exception()  # seen: it may be that nobody waits

    def _append(self, lines: bytes) -> None:
        if self._broken:
            raise OSError("an earlier fsync failed: what is on disk is not known")
        if self._size >= self._segment_bytes:
            os.close(self._file)
            self.segment += 1
            self._file = self._open_segment()
            self._size = 0
        try:
            _write_all(self._file, lines)
        except OSError:
            os.ftruncate(self._file, self._size)  # leaves no half line for the next batch to follow
            raise
        try:
            os.fdatasync(self._file)
        except OSError:
            self._broken = True  # the kernel may have dropped the pages: trying again could lie
            raise
        self._size += len(lines)

    def _open_segment(self) -> int:
        path = _segment_path(self._folder, self.segment)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        folder = os.open(self._folder, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
        return file


def _write_all(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def _segment_path(folder: Path, number: int) -> Path:
    return folder / f"receipts-{number:08d}.log"


def _segments(folder: Path) -> list[int]:
    return sorted(int(path.stem.removeprefix("receipts-")) for path in folder.glob("receipts-*.log"))


def _read_segment(folder: Path, number: int, newest: int) -> list[_Line]:
    """The lines of a segment. Of the newest, a torn end is cut off the file."""
    path = _segment_path(folder, number)
    lines: list[_Line] = []
    good = 0
    data = path.read_bytes()
    for raw in data.splitlines(keepends=True):
        line = _read_line(raw)
        if line is None:
            break
        lines.append(line)
        good += len(raw)
    if good < len(data):
        rest = data[good:].splitlines(keepends=True)[1:]
        if number != newest or any(_read_line(raw) is not None for raw in rest):
            raise JournalDamaged(f"{path.name} at byte {good}")
        log.warning("%s: cut a torn end of %d bytes", path.name, len(data) - good)
        os.truncate(path, good)
    return lines


def _read_line(raw: bytes) -> _Line | None:
    checksum, _, body = raw.partition(b" ")
    if not raw.endswith(b"\n") or len(checksum) != 8:
        return None
    try:
        if int(checksum, 16) != zlib.crc32(body[:-1]):
            return None
        line: _Line = _decoder.decode(body)
    except ValueError:  # not a number, or not a line of ours
        return None
    return line
