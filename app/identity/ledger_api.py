"""REST of the ledger: checkpoints, tiles, entries and proofs, read-only and for anyone.

Tiles and checkpoint are as C2SP tlog-tiles has them under the prefix `/ledger`; entries hold hashes only.
"""

from __future__ import annotations

import base64
import gzip
from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import PlainTextResponse
from sqlalchemy.orm import Session

from app.identity.permissions import permit, permitted
from app.kernel import cosigning, ledger, merkle, tiles, timestamping
from app.kernel.checkpoint import Signer
from app.kernel.db import DbSession
from app.kernel.errors import NotFound
from app.kernel.ledger import LedgerCheckpoint
from app.kernel.wire import Limit, Wire

router = APIRouter(tags=["ledger"])
permit(
    "ledger.checkpoint", "ledger.key", "ledger.timestamps", "ledger.timestamp", "ledger.tile", "ledger.entries", "ledger.proof", "ledger.consistency",
    anonymous=True,
)  # fmt: skip

FOREVER = {"Cache-Control": "public, max-age=31536000, immutable"}
BRIEFLY = {"Cache-Control": "public, max-age=1"}
OCTETS = "application/octet-stream"
TreeSize = Annotated[int, Query(ge=1, lt=1 << 63)]
Witnesses = Annotated[
    int, Query(ge=0, le=100, description="至少几个见证方联署 / cosigned by at least so many")
]
TileNumber = Annotated[
    str,
    Path(max_length=40, description="三位一组的序号，如 x001/x234/067.p/5 / index in groups of three digits"),
]


class LedgerKey(Wire):
    """What a verifier needs to know beforehand, from elsewhere than this service."""

    origin: str
    public_key: str  # Ed25519, base64
    verifier_key: str  # both in the form verifiers of signed notes take (C2SP signed-note)
    second_key: str | None = None  # SM2 with SM3, where the deployment signs by that too


class ProofOut(Wire):
    """An inclusion proof that verifies offline: hash the leaf, fold in the path, compare with the checkpoint."""

    entry_id: UUID
    at: datetime
    kind: str
    subject_id: UUID
    content_sha256: str
    leaf: str  # the bytes hashed as the leaf (canonical JSON)
    position: int
    path: list[str]  # base64, leaf side first
    checkpoint: str  # signed note


class TimestampOut(Wire):
    """That a time-stamping authority saw the checkpoint of `size` entries at `at`; its answer is at `href`."""

    size: int
    at: datetime
    href: str


class ConsistencyOut(Wire):
    """A consistency proof (RFC 6962 §2.1.2); compare the roots with those of signed checkpoints."""

    old: int
    new: int
    old_root: str  # base64, as all below
    new_root: str
    path: list[str]


@router.get(
    "/ledger/checkpoint",
    operation_id="ledger.checkpoint",
    dependencies=[permitted("ledger.checkpoint")],
    response_class=PlainTextResponse,
)
def checkpoint(session: DbSession, witnesses: Witnesses = 0) -> PlainTextResponse:
    """The newest signed tree head (C2SP tlog-checkpoint) with the cosignatures it has (C2SP tlog-cosignature);
    `witnesses`: the newest one that at least so many cosigned."""
    note = cosigning.note_of(session, _checkpoint(session, witnesses))
    return PlainTextResponse(note, headers=BRIEFLY)


def _checkpoint(session: Session, witnesses: int) -> LedgerCheckpoint:
    found = (
        cosigning.cosigned_checkpoint(session, witnesses) if witnesses else ledger.latest_checkpoint(session)
    )
    if found is None:
        raise NotFound()
    return found


@router.get(
    "/ledger/timestamps", operation_id="ledger.timestamps", dependencies=[permitted("ledger.timestamps")]
)
def timestamps(session: DbSession, limit: Limit = 20) -> list[TimestampOut]:
    """The newest time stamps of checkpoints (RFC 3161)."""
    return [
        TimestampOut(size=stamp.size, at=stamp.at, href=f"/ledger/timestamps/{stamp.size}")
        for stamp in timestamping.newest(session, limit)
    ]


@router.get(
    "/ledger/timestamps/{size}",
    operation_id="ledger.timestamp",
    dependencies=[permitted("ledger.timestamp")],
    response_class=Response,
)
def timestamp(size: Annotated[int, Path(ge=1, lt=1 << 63)], session: DbSession) -> Response:
    """The authority's answer as it came. It is of the checkpoint's text up to its empty line, as is signed."""
    stamp = session.get(timestamping.LedgerTimestamp, size)
    if stamp is None:
        raise NotFound()
    return Response(stamp.response, media_type="application/timestamp-reply", headers=FOREVER)


@router.get("/ledger/key", operation_id="ledger.key", dependencies=[permitted("ledger.key")])
def key(request: Request) -> LedgerKey:
    """The log's name and public key."""
    signer: Signer = request.app.state.keys.ledger
    return LedgerKey(origin=signer.origin, public_key=_base64(signer.public_key),
                     verifier_key=str(signer.verifier_key),
                     second_key=str(signer.second.verifier_key) if signer.second else None)  # fmt: skip


@router.get(
    "/ledger/tile/entries/{number:path}",
    operation_id="ledger.entries",
    dependencies=[permitted("ledger.entries")],
    response_class=Response,
)
def entries(number: TileNumber, request: Request, session: DbSession) -> Response:
    """The leaves under a tile of level 0, each after its length in two bytes (C2SP tlog-tiles, entry bundle)."""
    index, width = _addressed(number)
    body = tiles.bundle(ledger.leaves(session, index * merkle.TILE_WIDTH, width))
    headers = {**FOREVER, "Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        body, headers = gzip.compress(body, mtime=0), {**headers, "Content-Encoding": "gzip"}
    return Response(body, media_type=OCTETS, headers=headers)


@router.get(
    "/ledger/tile/{level}/{number:path}",
    operation_id="ledger.tile",
    dependencies=[permitted("ledger.tile")],
    response_class=Response,
)
def tile(level: str, number: TileNumber, session: DbSession) -> Response:
    """The hashes of a tile, 32 bytes each (C2SP tlog-tiles). What was served once never changes."""
    at_level = tiles.read_level(level)
    if at_level is None:
        raise NotFound()
    index, width = _addressed(number)
    return Response(ledger.tile(session, at_level, index, width), media_type=OCTETS, headers=FOREVER)


def _addressed(number: str) -> tuple[int, int]:
    address = tiles.read_tile_path(number)
    if address is None:
        raise NotFound()
    return address


@router.get(
    "/api/v1/ledger/entries/{entry_id}/proof",
    operation_id="ledger.proof",
    dependencies=[permitted("ledger.proof")],
)
def proof(entry_id: UUID, session: DbSession, witnesses: Witnesses = 0) -> ProofOut:
    """The inclusion proof of one entry; its id is that of the event or receipt it attests. `witnesses`: against a
    checkpoint that at least so many cosigned; not found while the entry is newer than that."""
    found = ledger.prove(session, entry_id, _checkpoint(session, witnesses))
    return ProofOut(
        entry_id=found.entry.id, at=found.entry.at, kind=found.entry.kind, subject_id=found.entry.subject_id,
        content_sha256=found.entry.content_hash.hex(), leaf=found.entry.leaf().decode(), position=found.position,
        path=[_base64(node) for node in found.path], checkpoint=cosigning.note_of(session, found.checkpoint),
    )  # fmt: skip


@router.get(
    "/api/v1/ledger/consistency",
    operation_id="ledger.consistency",
    dependencies=[permitted("ledger.consistency")],
)
def consistency(old: TreeSize, new: TreeSize, session: DbSession) -> ConsistencyOut:
    """The proof that the log of `old` entries is the beginning of the log of `new` entries."""
    found = ledger.prove_growth(session, old, new)
    return ConsistencyOut(
        old=found.old, new=found.new, old_root=_base64(found.old_root), new_root=_base64(found.new_root),
        path=[_base64(node) for node in found.path],
    )  # fmt: skip


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
