"""REST of the ledger: checkpoints, tiles and proofs, read-only and for anyone; entries hold hashes only."""

from __future__ import annotations

import base64
from datetime import datetime
from uuid import UUID

from fastapi import APIRouter, Request, Response
from sqlalchemy import select

from app.identity.permissions import permit, permitted
from app.kernel import ledger
from app.kernel.checkpoint import Signer
from app.kernel.db import DbSession
from app.kernel.errors import NotFound
from app.kernel.ledger import LedgerTile
from app.kernel.wire import Wire

router = APIRouter(tags=["ledger"])
permit("ledger.checkpoint", "ledger.key", "ledger.tile", "ledger.proof", anonymous=True)


class LedgerKey(Wire):
    """What a verifier needs to know beforehand, from elsewhere than this service."""

    origin: str
    public_key: str  # Ed25519, base64


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


@router.get(
    "/ledger/checkpoint", operation_id="ledger.checkpoint", dependencies=[permitted("ledger.checkpoint")]
)
def checkpoint(session: DbSession) -> Response:
    """The newest signed tree head (C2SP tlog-checkpoint)."""
    latest = ledger.latest_checkpoint(session)
    if latest is None:
        raise NotFound()
    return Response(latest.note, media_type="text/plain; charset=utf-8")


@router.get("/ledger/key", operation_id="ledger.key", dependencies=[permitted("ledger.key")])
def key(request: Request) -> LedgerKey:
    """The log's name and public key."""
    signer: Signer = request.app.state.keys.ledger
    return LedgerKey(origin=signer.origin, public_key=base64.b64encode(signer.public_key).decode())


@router.get(
    "/ledger/tile/{level}/{index}", operation_id="ledger.tile", dependencies=[permitted("ledger.tile")]
)
def tile(level: int, index: int, session: DbSession) -> Response:
    """Up to 256 hashes of one tile level, 32 bytes each."""
    if not 0 <= level < 8 or not 0 <= index < 1 << 56:
        raise NotFound()
    query = select(LedgerTile.hashes).where(LedgerTile.level == level, LedgerTile.index == index)
    hashes = session.scalar(query)
    if hashes is None:
        raise NotFound()
    return Response(hashes, media_type="application/octet-stream")


@router.get(
    "/api/v1/ledger/entries/{entry_id}/proof",
    operation_id="ledger.proof",
    dependencies=[permitted("ledger.proof")],
)
def proof(entry_id: UUID, session: DbSession) -> ProofOut:
    """The inclusion proof of one entry; its id is that of the event or receipt it attests."""
    found = ledger.prove(session, entry_id)
    return ProofOut(
        entry_id=found.entry.id, at=found.entry.at, kind=found.entry.kind, subject_id=found.entry.subject_id,
        content_sha256=found.entry.content_hash.hex(), leaf=found.entry.leaf().decode(), position=found.position,
        path=[base64.b64encode(node).decode() for node in found.path], checkpoint=found.checkpoint.note,
    )  # fmt: skip
