"""The ledger (存证账本): one append-only log of every decision and delivery, leaves of one Merkle tree.

Owns entries, their numbering by one sequencer, hash tiles, signed checkpoints and proofs. Entries
carry hashes of canonical content (RFC 8785), never the content.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, partial
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import CTE, BigInteger, Insert, LargeBinary, bindparam, delete, func, insert, select, tuple_
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.kernel import merkle
from app.kernel.canonical import canonical
from app.kernel.checkpoint import Signer
from app.kernel.clock import now
from app.kernel.db import Base, advisory_lock, copy_rows, table_of
from app.kernel.errors import Fault, Invalid, NotFound
from app.kernel.text import Text

_encode = msgspec.json.Encoder().encode
SEQUENCE_BATCH = 5_000  # entries numbered in one transaction


class LedgerEntry(Base):
    """What is attested: that at `at` the content with this hash was decided about `subject_id`."""

    __tablename__ = "ledger_entry"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    kind: Mapped[str]
    subject_id: Mapped[UUID] = mapped_column(index=True)
    content_hash: Mapped[bytes] = mapped_column(LargeBinary)

    def leaf(self) -> bytes:
        """The bytes of the leaf: canonical JSON of the row."""
        return leaf(self.id, self.at, self.kind, self.subject_id, self.content_hash)


def entries_about(session: Session, subject_id: UUID, limit: int) -> Sequence[LedgerEntry]:
    """The newest entries about one case."""
    about = select(LedgerEntry).where(LedgerEntry.subject_id == subject_id)
    return session.scalars(about.order_by(LedgerEntry.at.desc(), LedgerEntry.id).limit(limit)).all()


class LedgerPending(Base):
    """Entries committed with their decisions and not numbered yet."""

    __tablename__ = "ledger_pending"

    entry_id: Mapped[UUID] = mapped_column(primary_key=True)


_ENTRY = table_of(LedgerEntry)
_PENDING = table_of(LedgerPending)


class LedgerLeaf(Base):
    """The number of each entry in the tree, without gaps, in the order the sequencer saw them committed."""

    __tablename__ = "ledger_leaf"

    position: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    entry_id: Mapped[UUID] = mapped_column(unique=True)


class LedgerTile(Base):
    """Up to 256 hashes side by side of one tile level (C2SP tlog-tiles): level n holds the hashes of
    complete subtrees of 256**n leaves."""

    __tablename__ = "ledger_tile"

    level: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    index: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    hashes: Mapped[bytes] = mapped_column(LargeBinary)


class LedgerCheckpoint(Base):
    """A signed tree head (C2SP tlog-checkpoint)."""

    __tablename__ = "ledger_checkpoint"

    size: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    root: Mapped[bytes] = mapped_column(LargeBinary)
    at: Mapped[datetime]
    note: Mapped[str]


def leaf(entry_id: UUID, at: datetime, kind: str, subject_id: UUID, content_hash: bytes) -> bytes:
    """The bytes of an entry's leaf. Of texts alone, in this order, a common encoder writes what RFC 8785
    writes, many times faster."""
    told = {
        "at": at.isoformat(), "content_sha256": content_hash.hex(), "id": str(entry_id), "kind": kind,
        "subject": str(subject_id),
    }  # fmt: skip
    return _encode(told)


def content_hash(content: Mapping[str, Any]) -> bytes:
    """SHA-256 of the canonical JSON (RFC 8785) of a decision's content."""
    return hashlib.sha256(canonical(dict(content))).digest()


def append(
    session: Session, *, entry_id: UUID, kind: str, subject_id: UUID, content: Mapping[str, Any]
) -> None:
    """Put an entry for `content` into the ledger with the caller's transaction; it is numbered soon after."""
    session.execute(appending(None), entry_values(entry_id, now(), kind, subject_id, content))


@cache
def appending(only_with: CTE | None) -> Insert:
    """The statement that puts one entry into the ledger, to be executed with `entry_values`, or to be part of
    a greater one: then nothing is put where `only_with` has no row."""
    value = {c.name: bindparam(f"entry_{c.name}", type_=c.type) for c in _ENTRY.columns}
    row, queued = select(*value.values()), select(value["id"])
    if only_with is not None:
        row, queued = row.select_from(only_with), queued.select_from(only_with)
    entry = insert(_ENTRY).from_select(list(value), row)
    return insert(_PENDING).from_select(["entry_id"], queued).add_cte(entry.cte("entry"))


def entry_values(
    entry_id: UUID, at: datetime, kind: str, subject_id: UUID, content: Mapping[str, Any]
) -> dict[str, Any]:
    """What `appending` binds."""
    return {
        "entry_id": entry_id, "entry_at": at, "entry_kind": kind, "entry_subject_id": subject_id,
        "entry_content_hash": content_hash(content),
    }  # fmt: skip


def append_many(session: Session, entries: Sequence[tuple[UUID, str, UUID, Mapping[str, Any]]]) -> None:
    """`append` for many entries (id, kind, subject, content) in two statements."""
    if not entries:
        return
    at = now()
    rows = [(i, at, kind, subject, content_hash(content)) for i, kind, subject, content in entries]
    copy_rows(session, LedgerEntry, ("id", "at", "kind", "subject_id", "content_hash"), rows)
    copy_rows(session, LedgerPending, ("entry_id",), [(entry[0],) for entry in entries])


def sequence(session: Session, signer: Signer) -> int:
    """Number what is pending, extend the tree, sign a checkpoint; returns how many entries were numbered.

    One sequencer works at a time (advisory lock). Positions follow the order in which entries were
    seen committed, so a transaction that commits late gets a later number and none is ever skipped.
    """
    advisory_lock(session, "ledger.sequencer")
    size = tree_size(session)
    query = select(LedgerEntry).join(LedgerPending, LedgerPending.entry_id == LedgerEntry.id)
    entries = list(session.scalars(query.order_by(LedgerEntry.id).limit(SEQUENCE_BATCH)))
    if not entries:
        return 0
    session.execute(
        insert(LedgerLeaf), [{"position": size + n, "entry_id": e.id} for n, e in enumerate(entries)]
    )
    session.execute(delete(LedgerPending).where(LedgerPending.entry_id.in_([e.id for e in entries])))
    _extend(session, size, [merkle.leaf_hash(e.leaf()) for e in entries])
    size += len(entries)
    root = merkle.root(size, TileReader(session))
    session.add(LedgerCheckpoint(size=size, root=root, at=now(), note=signer.sign(size, root)))
    session.flush()
    return len(entries)


def _extend(session: Session, size: int, leaves: Sequence[bytes]) -> None:
    """Append hashes to the tiles of level 0 and, where a tile fills, its root to the level above."""
    level, start, hashes = 0, size, list(leaves)
    while hashes:
        rising: list[bytes] = []
        first = start // merkle.TILE_WIDTH
        begun = select(LedgerTile.hashes).where(LedgerTile.level == level, LedgerTile.index == first)
        data = ((session.scalar(begun) if start % merkle.TILE_WIDTH else None) or b"") + b"".join(hashes)
        width = 32 * merkle.TILE_WIDTH
        for n, offset in enumerate(range(0, len(data), width)):
            tile = data[offset : offset + width]
            session.execute(
                upsert(LedgerTile)
                .values(level=level, index=first + n, hashes=tile)
                .on_conflict_do_update(index_elements=["level", "index"], set_={"hashes": tile})
            )
            if len(tile) == width:
                rising.append(merkle.fold(_split_hashes(tile)))
        level, start, hashes = level + 1, first, rising


class TileReader:
    """Reads subtree hashes from stored tiles, each tile once. Usable as `merkle.ReadHash`."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._tiles: dict[tuple[int, int], bytes] = {}

    def __call__(self, level: int, index: int) -> bytes:
        tile_level, inner = divmod(level, 8)
        first = index << inner
        tile, offset = divmod(first, merkle.TILE_WIDTH)
        hashes = self.tile(tile_level, tile)[32 * offset : 32 * (offset + (1 << inner))]
        if len(hashes) != 32 << inner:
            raise NotFound()
        return merkle.fold(_split_hashes(hashes))

    def fetch(self, work: Callable[[merkle.ReadHash], object]) -> None:
        """Read every tile that `work` will ask for in one statement: which ones do not depend on the hashes."""
        wanted: set[tuple[int, int]] = set()

        def note(level: int, index: int) -> bytes:
            wanted.add((level // 8, (index << level % 8) // merkle.TILE_WIDTH))
            return bytes(32)

        work(note)
        query = select(LedgerTile.level, LedgerTile.index, LedgerTile.hashes)
        found = self._session.execute(query.where(tuple_(LedgerTile.level, LedgerTile.index).in_(wanted)))
        self._tiles |= {(level, index): hashes for level, index, hashes in found}

    def tile(self, level: int, index: int) -> bytes:
        """The stored hashes of a tile, side by side; empty where there are none."""
        if (level, index) not in self._tiles:
            query = select(LedgerTile.hashes).where(LedgerTile.level == level, LedgerTile.index == index)
            self._tiles[level, index] = self._session.scalar(query) or b""
        return self._tiles[level, index]


def _split_hashes(data: bytes) -> list[bytes]:
    return [data[n : n + 32] for n in range(0, len(data), 32)]


def tree_size(session: Session) -> int:
    """How many entries are numbered."""
    last = session.scalar(select(func.max(LedgerLeaf.position)))
    return 0 if last is None else last + 1


def latest_checkpoint(session: Session) -> LedgerCheckpoint | None:
    """The newest signed tree head, or None for an empty log."""
    return session.scalar(select(LedgerCheckpoint).order_by(LedgerCheckpoint.size.desc()).limit(1))


@dataclass(frozen=True, slots=True)
class Proof:
    """All that a party needs to verify offline that an entry is in the log."""

    entry: LedgerEntry
    position: int
    path: list[bytes]
    checkpoint: LedgerCheckpoint


def tile(session: Session, level: int, index: int, width: int = merkle.TILE_WIDTH) -> bytes:
    """The first `width` hashes of a tile, 32 bytes each. Errors: NotFound where the tree does not hold them."""
    hashes = TileReader(session).tile(level, index)[: 32 * width]
    if len(hashes) != 32 * width:
        raise NotFound()
    return hashes


def leaves(session: Session, start: int, count: int) -> list[bytes]:
    """The leaves [start, start + count) as they were hashed. Errors: NotFound where one of them is missing."""
    query = select(LedgerEntry).join(LedgerLeaf, LedgerLeaf.entry_id == LedgerEntry.id)
    query = query.where(LedgerLeaf.position >= start, LedgerLeaf.position < start + count)
    found = [entry.leaf() for entry in session.scalars(query.order_by(LedgerLeaf.position))]
    if len(found) != count:
        raise NotFound()
    return found


def prove(session: Session, entry_id: UUID, checkpoint: LedgerCheckpoint | None = None) -> Proof:
    """The inclusion proof of an entry against `checkpoint`, by default the newest one.
    Errors: NotFound (also while the entry is pending, or newer than the checkpoint)."""
    numbered = select(LedgerEntry, LedgerLeaf.position).join(
        LedgerLeaf, LedgerLeaf.entry_id == LedgerEntry.id
    )
    found = session.execute(numbered.where(LedgerEntry.id == entry_id)).one_or_none()
    checkpoint = checkpoint or latest_checkpoint(session)
    if found is None or checkpoint is None or found[1] >= checkpoint.size:
        raise NotFound()
    entry, position = found
    read, path = TileReader(session), partial(merkle.inclusion_proof, position, checkpoint.size)
    read.fetch(path)
    return Proof(entry, position, path(read), checkpoint)


@dataclass(frozen=True, slots=True)
class Growth:
    """That the tree of `old` entries is the beginning of the tree of `new` entries."""

    old: int
    new: int
    old_root: bytes
    new_root: bytes
    path: list[bytes]


def prove_growth(session: Session, old: int, new: int) -> Growth:
    """The consistency proof between two sizes of the tree (RFC 6962 §2.1.2). Errors: Invalid."""
    size = tree_size(session)
    if not 0 < old <= new <= size:
        told = Text("须满足 0 < old ≤ new ≤ {size}", "0 < old ≤ new ≤ {size} must hold").with_(size=size)
        raise Invalid(faults=[Fault("/old" if 0 < new <= size else "/new", told)])
    read = TileReader(session)
    path = merkle.consistency_proof(old, new, read)
    return Growth(old, new, merkle.root(old, read), merkle.root(new, read), path)
