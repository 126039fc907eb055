"""Tiles as others fetch them (C2SP tlog-tiles): how they are addressed and how entry bundles are written.

Pure. Owns encodings only; the hashes are `merkle`'s, the rows the ledger's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from app.kernel.merkle import TILE_WIDTH

MAX_LEVEL = 7  # 256**8 leaves: more than a bigint position counts
ENTRY_LIMIT_BYTES = (1 << 16) - 1
_PATH = re.compile(r"((?:x[0-9]{3}/){0,5})([0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")
_LEVEL = re.compile(r"0|[1-9][0-9]?")


def tile_path(index: int, width: int = TILE_WIDTH) -> str:
    """`<N>[.p/<W>]` of a tile: 1234067 is x001/x234/067; a tile that is not full names its width."""
    digits = f"{index:03d}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[n : n + 3] for n in range(0, len(digits), 3)]
    path = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
    return path if width == TILE_WIDTH else f"{path}.p/{width}"


def read_tile_path(path: str) -> tuple[int, int] | None:
    """Index and width of a tile; None where the path is not written as `tile_path` writes it."""
    match = _PATH.fullmatch(path)
    if match is None:
        return None
    index = int(match[1].replace("x", "").replace("/", "") + match[2])
    width = int(match[3] or TILE_WIDTH)
    return (index, width) if tile_path(index, width) == path else None


def read_level(level: str) -> int | None:
    """The level of a tile address; None for one that no tree here reaches."""
    return int(level) if _LEVEL.fullmatch(level) and int(level) <= MAX_LEVEL else None


def bundle(entries: Iterable[bytes]) -> bytes:
    """An entry bundle: each entry after its length as a big-endian uint16."""
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)
