"""An extract: the agreed records of one moment made into one file by the gateway, and fetched from it by ranges.

Owns the file in the making (`FILE.part`) and the note beside it of which extract it is of. What has arrived is never
fetched again; the file appears when its SHA-256 is the one that manifest and receipt tell.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from exchange.client.flows import Flow, Flows, NotAsReceipted, Refused, Wanted
from exchange.client.pulling import NotThisPull, digest_of, write_note

ExtractForm = Literal["csv", "ndjson", "parquet", "arrow"]
Compression = Literal["none", "gzip", "zstd"]


@dataclass(frozen=True, slots=True)
class Extracted:
    """The finished file: `receipt` is that of the extract; `is_last` where no record was left out for the quota."""

    file: Path
    rows: int
    bytes: int
    sha256: str
    receipt: str
    is_last: bool


class _Manifest(msgspec.Struct):
    id: str
    receipt: str
    rows: int
    bytes: int
    sha256: str
    is_last: bool


class _Note(msgspec.Struct):
    wanted: Wanted
    form: ExtractForm
    compression: Compression
    key: str  # the same at every attempt, so that one extract is made
    manifest: _Manifest | None = None


def extract(
    flows: Flows,
    wanted: Wanted,
    to: Path,
    *,
    form: ExtractForm = "csv",
    compression: Compression = "none",
    on_bytes: Callable[[int, int], None] | None = None,
) -> Flow[Extracted]:
    """One extract of `wanted` in `to`. Called again after whatever ended it, it goes on at the byte it had come to, or
    has another made where the gateway keeps the first no longer. `on_bytes` hears how many of how many there are.
    Errors: Refused, Unreachable, NotThisPull, NotAsReceipted, FileExistsError, OSError."""
    if to.exists():
        raise FileExistsError(str(to))
    part, note = to.with_name(f"{to.name}.part"), to.with_name(f"{to.name}.part.json")
    kept = _read(note, _Note(wanted, form, compression, secrets.token_hex(16)))
    if kept.manifest is None:
        write_note(
            note, kept
        )  # before it is asked for: an answer that is lost is asked for again under the same key
        told = yield from flows.make_extract(wanted, form, compression, kept.key)
        kept.manifest = msgspec.convert(told, _Manifest)
        write_note(note, kept)
    manifest = kept.manifest
    with part.open("ab") as file:
        if file.tell() > manifest.bytes:
            raise NotThisPull(f"{part}: {file.tell()} > {manifest.bytes}")

        def take(piece: bytes) -> None:
            file.write(piece)
            if on_bytes is not None:
                on_bytes(file.tell(), manifest.bytes)

        if file.tell() < manifest.bytes:
            try:
                yield from flows.fetch_extract(wanted, manifest.id, manifest.sha256, file.tell, take)
            except Refused as refused:
                if refused.slug == "not-found":  # kept no longer: the next call begins anew
                    part.unlink()
                    note.unlink()
                raise
    digest = digest_of(part)
    if digest != manifest.sha256:
        part.unlink()
        note.unlink()
        raise NotAsReceipted(f"{manifest.receipt}: {digest}")
    receipt = yield from flows.receipt(manifest.receipt)
    if (receipt.get("rows"), receipt.get("sha256")) != (manifest.rows, digest):
        raise NotAsReceipted(f"{manifest.receipt}: {receipt.get('rows')}, {receipt.get('sha256')}")
    part.rename(to)
    note.unlink()
    return Extracted(to, manifest.rows, manifest.bytes, digest, manifest.receipt, manifest.is_last)


def _read(note: Path, fresh: _Note) -> _Note:
    if not note.exists():
        return fresh
    try:
        kept = msgspec.json.decode(note.read_bytes(), type=_Note)
    except msgspec.DecodeError as error:
        raise NotThisPull(f"{note}: {error}") from None
    if (kept.wanted, kept.form, kept.compression) != (fresh.wanted, fresh.form, fresh.compression):
        raise NotThisPull(f"{note}: {kept.wanted}")
    return kept
