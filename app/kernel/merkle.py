"""The Merkle tree of RFC 6962 §2 over hash tiles: append, root, inclusion and consistency proofs.

Pure. Owns the arithmetic; `read` callables hand it stored tiles, so that it works on a database, on
files or on an export alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

TILE_WIDTH = 256  # hashes in a full tile (C2SP tlog-tiles: height 8)

ReadHash = Callable[[int, int], bytes]
"""(level, index) → hash of the complete subtree of 2**level leaves starting at leaf index * 2**level."""


def leaf_hash(entry: bytes) -> bytes:
    """Hash of one leaf: SHA-256(0x00 ‖ entry)."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node: SHA-256(0x01 ‖ left ‖ right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def fold(hashes: Sequence[bytes]) -> bytes:
    """Root of a complete tree over `hashes`; their number is a power of two."""
    row = list(hashes)
    while len(row) > 1:
        row = [node_hash(row[n], row[n + 1]) for n in range(0, len(row), 2)]
    return row[0]


def range_root(start: int, end: int, read: ReadHash) -> bytes:
    """MTH of the leaves [start, end), RFC 6962 §2.1. `start` must be a multiple of the largest power
    of two below `end - start`, as it is in every split the RFC makes. The empty tree is SHA-256("")."""
    size = end - start
    if size == 0:
        return hashlib.sha256(b"").digest()
    if size & (size - 1) == 0:
        level = size.bit_length() - 1
        return read(level, start >> level)
    split = _split(size)
    return node_hash(range_root(start, start + split, read), range_root(start + split, end, read))


def root(size: int, read: ReadHash) -> bytes:
    """Root hash of the tree of the first `size` leaves."""
    return range_root(0, size, read)


def inclusion_proof(index: int, size: int, read: ReadHash) -> list[bytes]:
    """The audit path of leaf `index` in the tree of `size` leaves (RFC 6962 §2.1.1), leaf side first."""
    if not 0 <= index < size:
        raise ValueError("the leaf is not in the tree")
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(range_root(middle, end, read))
            end = middle
        else:
            path.append(range_root(start, middle, read))
            start = middle
    return path[::-1]


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], expected_root: bytes) -> bool:
    """Whether `path` proves that `leaf` (a leaf hash) is number `index` of the tree (RFC 9162 §2.1.3.2)."""
    if not 0 <= index < size:
        return False
    fn, sn, result = index, size - 1, leaf
    for node in path:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            result = node_hash(node, result)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            result = node_hash(result, node)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and result == expected_root


def consistency_proof(old: int, new: int, read: ReadHash) -> list[bytes]:
    """Proof that the tree of `old` leaves is a prefix of that of `new` (RFC 6962 §2.1.2)."""
    if not 0 < old <= new:
        raise ValueError("the old tree must be a non-empty prefix")
    path: list[bytes] = []
    start, end, whole = 0, new, True
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            path.append(range_root(middle, end, read))
            end = middle
        else:
            path.append(range_root(start, middle, read))
            start, whole = middle, False
    if not whole:
        path.append(range_root(start, end, read))
    return path[::-1]


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, path: Sequence[bytes]) -> bool:
    """Whether `path` proves that the log only grew from `old` to `new` (RFC 9162 §2.1.4.2)."""
    if old == new:
        return not path and old_root == new_root
    if not 0 < old < new or not path:
        return False
    nodes = [old_root, *path] if old & (old - 1) == 0 else list(path)
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    first = second = nodes[0]
    for node in nodes[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            first, second = node_hash(node, first), node_hash(node, second)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            second = node_hash(second, node)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and first == old_root and second == new_root


def _split(size: int) -> int:
    """The largest power of two smaller than `size`."""
    return 1 << ((size - 1).bit_length() - 1)
