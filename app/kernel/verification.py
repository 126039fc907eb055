"""Verification of the whole ledger: what was altered, and where, in the database or in an exported file.

Owns the walk over leaves, tiles and checkpoints, and the export's format. Writes nothing to the log.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import ARRAY, String, Uuid, any_, literal, select
from sqlalchemy.orm import Session

from app.kernel import cosigning, erasure, ledger, merkle
from app.kernel.checkpoint import COSIGNATURE, LOG, VerifierKey, read_cosignature, read_note
from app.kernel.db import lift_statement_timeout
from app.kernel.errors import Fault, Invalid
from app.kernel.ledger import LedgerCheckpoint, LedgerEntry, LedgerLeaf, LedgerPending, LedgerTile
from app.kernel.text import Text

FORMAT = "zhengtong-ledger/2"
BATCH = 2_000
WIDTH = merkle.TILE_WIDTH

Contents = Iterable[tuple[str, Mapping[str, Any] | None]]
"""Entry ids with what was attested; None where it was erased by a decision and only the entry still tells of it."""
ERASED = "erased"


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as it was attested. `kind`: leaf, entry, tile, checkpoint, cosignature, tree or decision;
    `position`: the entry's number, of a tile the first entry under it, of a checkpoint its size."""

    kind: str
    position: int | None
    message: Text

    def __str__(self) -> str:
        return f"{self.kind} {'?' if self.position is None else self.position}: {self.message.en}"


@dataclass(frozen=True, slots=True)
class Head:
    """A checkpoint as it is kept."""

    size: int
    root: bytes
    note: str
    cosignatures: list[str] = field(default_factory=list)  # lines, as they stand on the note


@dataclass(slots=True)
class Log:
    """What is walked: leaves by position (None where the entry is missing), checkpoints by size, and, where
    there are any, stored tiles."""

    key: VerifierKey
    leaves: Generator[tuple[int, bytes | None]]
    heads: list[Head]
    witnesses: list[VerifierKey] = field(default_factory=list)
    tile: Callable[[int, int], bytes] | None = None


@dataclass(slots=True)
class _Walk:
    """Grows the tree of the leaves again and compares it with tiles and signed roots on the way."""

    log: Log
    size: int = 0
    stack: list[tuple[int, bytes]] = field(default_factory=list)  # complete subtrees, largest first
    rows: list[list[bytes]] = field(default_factory=lambda: [[]])  # hashes of the tile in work, by tile level
    filled: list[int] = field(default_factory=lambda: [0])  # tiles that are full, by tile level
    unlike: list[tuple[int, int]] = field(
        default_factory=list
    )  # hashes unlike the tile's: (tile level, index)
    diverged: tuple[int, int] | None = None  # the first signed root that is another: between which sizes
    differences: list[Difference] = field(default_factory=list)

    def run(self) -> bool:
        """Walk the log; False where it could not be followed to the end."""
        heads, good = iter(self.log.heads), 0
        head = next(heads, None)
        whole = True
        with closing(self.log.leaves) as leaves:
            for position, leaf in leaves:
                if leaf is None or position != self.size:
                    self._tell("leaf", self.size, "该位置的条目缺失", "the entry of this position is missing")
                    whole = False
                    break
                self._push(merkle.leaf_hash(leaf))
                while head is not None and head.size <= self.size:
                    good = self._check(head, good)
                    head = next(heads, None)
        if whole:
            self._end(head, heads)
        self._locate()
        return whole

    def _push(self, node: bytes) -> None:
        self.size += 1
        level = 0
        self._row(0, node)
        while self.stack and self.stack[-1][0] == level:
            node = merkle.node_hash(self.stack.pop()[1], node)
            level += 1
            if level % 8 == 0:
                self._row(level // 8, node)
        self.stack.append((level, node))

    def _row(self, level: int, node: bytes) -> None:
        if level == len(self.rows):
            self.rows.append([])
            self.filled.append(0)
        row = self.rows[level]
        row.append(node)
        if len(row) == WIDTH:
            self._compare(level)
            row.clear()
            self.filled[level] += 1

    def _compare(self, level: int) -> None:
        if self.log.tile is None:
            return
        row, index = self.rows[level], self.filled[level]
        stored = self.log.tile(level, index)
        if stored == b"".join(row):
            return
        # A hash too many or a piece of one is a fault of the tile's last place.
        unlike = [n for n, node in enumerate(row) if stored[32 * n : 32 * n + 32] != node] or [len(row) - 1]
        self.unlike += [(level, index * WIDTH + n) for n in unlike]

    def _check(self, head: Head, good: int) -> int:
        """Compare one checkpoint; returns the size up to which all is as it was signed."""
        root = self._root()
        try:
            size, signed = read_note(head.note, self.log.key)
        except ValueError:
            self._tell("checkpoint", head.size, "签名不成立", "its signature does not hold")
            return good
        self._check_cosignatures(head)
        if (size, signed) != (head.size, head.root) or not _is_canonical(head.note):
            self._tell("checkpoint", size, "与所签内容不符", "it is not what was signed")
        elif signed == root:
            return head.size
        elif self.diverged is None and head.size == self.size:
            self.diverged = (good, head.size)
        return good

    def _check_cosignatures(self, head: Head) -> None:
        """Each line must be one witness's, hold, and be written in its one form."""
        body = head.note.partition("\n\n")[0]
        for line in head.cosignatures:
            note = f"{body}\n\n{line}"
            try:
                seen = [at for key in self.log.witnesses if (at := read_cosignature(note, key)) is not None]
            except ValueError:
                seen = []
            if len(seen) != 1 or not _is_canonical(note):
                self._tell("cosignature", head.size, "联署不成立", "a cosignature does not hold")

    def _end(self, head: Head | None, heads: Iterator[Head]) -> None:
        for level, row in enumerate(self.rows):
            if row:
                self._compare(level)
        for more in filter(None, (head, *heads)):
            told = len(self.differences)
            self._check(more, 0)
            if len(self.differences) == told:
                self._tell(
                    "checkpoint", more.size, "所签条目多于现存条目", "more entries are signed than stored"
                )
        signed = max((head.size for head in self.log.heads), default=0)
        if signed < self.size:
            self._tell(
                "tree", signed, "自此以后的条目未经签署", "entries from here on are signed by no checkpoint"
            )

    def _locate(self) -> None:
        """Tell an altered entry from an altered tile: entries are right where their tree has the signed root."""
        altered = set()
        if self.diverged is not None:
            low, high = self.diverged
            altered = {n for level, n in self.unlike if level == 0 and low <= n < high}
            for n in sorted(altered):
                self._tell("entry", n, "条目已被更改", "the entry was altered")
            if not altered:
                self._tell("tree", low, f"第 {low} 至 {high - 1} 条之间有更改",
                           f"something was altered among the entries {low} to {high - 1}")  # fmt: skip
        for level, n in self.unlike:
            first, count = n << 8 * level, 1 << 8 * level
            if not any(first <= one < first + count for one in altered):
                self._tell(
                    "tile",
                    first,
                    f"第 {level} 层第 {n} 个散列值已被更改",
                    f"hash {n} of level {level} was altered",
                )

    def _root(self) -> bytes:
        if not self.stack:
            return merkle.range_root(0, 0, lambda _level, _index: b"")
        result = self.stack[-1][1]
        for _, node in reversed(self.stack[:-1]):
            result = merkle.node_hash(node, result)
        return result

    def _tell(self, kind: str, position: int | None, zh: str, en: str) -> None:
        self.differences.append(Difference(kind, position, Text(zh, en)))


def _is_canonical(note: str) -> bool:
    """Whether the signature is written in its one form: base64 has spare bits that no signature covers."""
    body, _, lines = note.partition("\n\n")
    start, _, encoded = lines.rpartition(" ")
    signature = base64.b64encode(base64.b64decode(encoded)).decode()
    return note == f"{body}\n\n{start} {signature}\n" and lines.count("\n") == 1


def verify(session: Session, *, key: VerifierKey, contents: Contents) -> tuple[int, list[Difference]]:
    """Check the whole log: every leaf against its entry, the tree against tiles and checkpoints, signatures
    and cosignatures, and every row of `contents` (entry id, content) against its entry. Returns the number of entries and what
    differs, first first; what can only follow from a difference already told is left out.
    """
    walk = _Walk(_stored(session, key))
    if walk.run():
        walk.differences += _strays(session, walk)
        walk.differences += _check_contents(session, walk.size, contents)
        for decision, what in erasure.differing(session):
            walk.differences.append(_decision(None, f"{decision}：{what.zh}", f"{decision}: {what.en}"))
    return walk.size, walk.differences


def _stored(session: Session, key: VerifierKey) -> Log:
    lift_statement_timeout(session)

    def tile(level: int, index: int) -> bytes:
        query = select(LedgerTile.hashes).where(LedgerTile.level == level, LedgerTile.index == index)
        return session.scalar(query) or b""

    return Log(key, _leaves(session), _heads(session), cosigning.witness_keys(session), tile)


def _heads(session: Session) -> list[Head]:
    columns = select(LedgerCheckpoint.size, LedgerCheckpoint.root, LedgerCheckpoint.note)
    lines = cosigning.cosignatures(session)
    ordered = session.execute(columns.order_by(LedgerCheckpoint.size))
    return [Head(size, root, note, lines.get(size, [])) for size, root, note in ordered]


def _leaves(session: Session) -> Generator[tuple[int, bytes | None]]:
    query = select(
        LedgerLeaf.position, LedgerEntry.id, LedgerEntry.at, LedgerEntry.kind, LedgerEntry.subject_id,
        LedgerEntry.content_hash,
    ).outerjoin(LedgerEntry, LedgerEntry.id == LedgerLeaf.entry_id)  # fmt: skip
    ordered = query.order_by(LedgerLeaf.position).execution_options(yield_per=BATCH)
    with session.connection().execute(ordered) as rows:  # rows of the session's own make take a third longer
        for position, entry_id, at, kind, subject_id, content_hash in rows:
            yield position, ledger.leaf(entry_id, at, kind, subject_id, content_hash) if entry_id else None


def _strays(session: Session, walk: _Walk) -> Iterator[Difference]:
    """Entries that have no number and await none; tiles that the tree does not have."""
    query = (
        select(LedgerEntry.id)
        .outerjoin(LedgerLeaf, LedgerLeaf.entry_id == LedgerEntry.id)
        .outerjoin(LedgerPending, LedgerPending.entry_id == LedgerEntry.id)
        .where(LedgerLeaf.position.is_(None), LedgerPending.entry_id.is_(None))
    )
    for entry_id in session.scalars(query):
        yield Difference("entry", None, Text(f"条目 {entry_id} 没有编号", f"entry {entry_id} has no number"))
    for level, index in session.execute(select(LedgerTile.level, LedgerTile.index)):
        held = walk.filled[level] + bool(walk.rows[level]) if 0 <= level < len(walk.rows) else 0
        if not 0 <= index < held:
            told = Text(
                f"多出第 {level} 层第 {index} 块", f"tile {index} of level {level} is not of this tree"
            )
            yield Difference("tile", None, told)


def _check_contents(session: Session, size: int, contents: Contents) -> Iterator[Difference]:
    seen = bytearray(size)
    for batch in _batches(contents):
        known = _attested(session, [entry_id for entry_id, _ in batch])
        for entry_id, content in batch:
            position, attested = known.get(entry_id, (None, None))
            if position is not None:
                seen[position] = 1
            if attested is None:
                yield _decision(None, f"{entry_id} 未入账本", f"{entry_id} is not in the ledger")
            elif content is not None and attested != ledger.content_hash(content):
                yield _decision(
                    position, f"{entry_id} 的内容与所存证的不同", f"{entry_id}: content differs from what was attested"
                )  # fmt: skip
    yield from _missing(seen)


def _missing(seen: bytearray) -> Iterator[Difference]:
    position = seen.find(0)
    while position >= 0:
        yield _decision(position, "所存证的决定已不存在", "the decision attested here is missing")
        position = seen.find(0, position + 1)


def _decision(position: int | None, zh: str, en: str) -> Difference:
    return Difference("decision", position, Text(zh, en))


def _batches(contents: Contents) -> Iterator[list[tuple[str, Mapping[str, Any] | None]]]:
    rest = iter(contents)
    while batch := list(islice(rest, BATCH)):
        yield batch


def _attested(session: Session, ids: list[str]) -> dict[str, tuple[int | None, bytes]]:
    query = select(LedgerEntry.id.cast(String), LedgerLeaf.position, LedgerEntry.content_hash)
    query = query.outerjoin(LedgerLeaf, LedgerLeaf.entry_id == LedgerEntry.id).where(
        LedgerEntry.id == any_(literal(ids, ARRAY(String)).cast(ARRAY(Uuid)))
    )
    rows = session.connection().execute(query)
    return {entry_id: (position, attested) for entry_id, position, attested in rows}


def export(session: Session, file: Path, *, key: VerifierKey, contents: Contents) -> int:
    """Write the log to `file` so that `verify_file` needs nothing else: one JSON value a line, first who signs and
    cosigns and the checkpoints, then each leaf with the hash of its decision as it is now. Returns the number of entries."""
    lift_statement_timeout(session)
    size = ledger.tree_size(session)
    hashes: list[str | None] = [None] * size
    for batch in _batches(contents):
        known = _attested(session, [entry_id for entry_id, _ in batch])
        for entry_id, content in batch:
            position, _ = known.get(entry_id, (None, b""))
            if position is not None and position < size:
                hashes[position] = ERASED if content is None else ledger.content_hash(content).hex()
    heads = [[head.size, head.root.hex(), head.note, head.cosignatures] for head in _heads(session)]
    witnesses = [str(witness) for witness in cosigning.witness_keys(session)]
    with file.open("w", encoding="utf-8") as out:
        header = {"format": FORMAT, "log": str(key), "witnesses": witnesses, "checkpoints": heads}
        print(json.dumps(header, ensure_ascii=False), file=out)
        for (_, leaf), content_hash in zip(_leaves(session), hashes, strict=True):
            told = None if leaf is None else leaf.decode()
            print(json.dumps([told, content_hash], ensure_ascii=False), file=out)
    return size


def verify_file(
    file: Path, *, key: VerifierKey | None = None, witnesses: Sequence[VerifierKey] | None = None
) -> tuple[int, list[Difference], VerifierKey, list[VerifierKey]]:
    """Check an export without a database; returns also the keys it was checked with, the file's own where none are
    given: whoever cannot compare them with the real ones has proved nothing. Errors: Invalid."""
    differing: list[Difference] = []

    def leaves(lines: Iterable[str]) -> Generator[tuple[int, bytes | None]]:
        for position, line in enumerate(lines):
            leaf, content_hash = json.loads(line)
            if leaf is not None and content_hash not in (ERASED, json.loads(leaf)["content_sha256"]):
                differing.append(
                    _decision(position, "内容与所存证的不同", "content differs from what was attested")
                    if content_hash
                    else _decision(position, "所存证的决定已不存在", "the decision attested here is missing")
                )
            yield position, None if leaf is None else leaf.encode()

    try:
        with file.open(encoding="utf-8") as lines:
            header = json.loads(next(lines))
            if header["format"] != FORMAT:
                raise ValueError(header["format"])
            key = key or VerifierKey.read(header["log"], LOG)
            if witnesses is None:
                witnesses = [VerifierKey.read(line, COSIGNATURE) for line in header["witnesses"]]
            heads = [
                Head(n, bytes.fromhex(root), note, signed) for n, root, note, signed in header["checkpoints"]
            ]
            walk = _Walk(Log(key, leaves(lines), heads, list(witnesses)))
            walk.run()
    except (ValueError, KeyError, TypeError, StopIteration):
        told = Text("不是账本导出文件", "not an export of a ledger")
        raise Invalid(told, faults=[Fault(str(file), told)]) from None
    return walk.size, walk.differences + differing, key, list(witnesses)
