"""Time stamps of checkpoints by an authority outside (RFC 3161): that the log stood so at that time, whoever signs it.

Owns the stamps that were taken and their checking. Refuses stamps of another checkpoint or of an unknown authority.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta

from cryptography.x509 import Certificate
from rfc3161_client import (
    HashAlgorithm,
    TimestampRequestBuilder,
    VerificationError,
    decode_timestamp_response,
)
from rfc3161_client.tsp import TimeStampResponse
from rfc3161_client.verify import VerifierBuilder
from sqlalchemy import BigInteger, ForeignKey, LargeBinary, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.kernel import ledger
from app.kernel.clock import now
from app.kernel.db import Base, Database
from app.kernel.errors import Unavailable
from app.kernel.ledger import LedgerCheckpoint
from app.kernel.outbound import EVERYWHERE, Outbound
from app.kernel.text import Text

GRANTED = 0  # PKIStatus, RFC 3161 §2.4.2


class LedgerTimestamp(Base):
    """The answer of a time-stamping authority about one checkpoint. Rows are never changed (trigger)."""

    __tablename__ = "ledger_timestamp"

    size: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("ledger_checkpoint.size"), primary_key=True, autoincrement=False
    )
    at: Mapped[datetime]  # as the authority says
    response: Mapped[bytes] = mapped_column(LargeBinary)


def stamped(note: str) -> bytes:
    """What the stamp is of: the checkpoint's text without its signatures, as it is signed."""
    return (note.partition("\n\n")[0] + "\n").encode()


def stamp_newest(database: Database, url: str, *, every: timedelta) -> int:
    """Have the newest checkpoint time-stamped by the authority at `url`, unless it is, or the last stamp is younger
    than `every`; returns how many stamps were taken. Errors: NotReachable, Unavailable saying what it answered."""
    with database.transaction() as session:
        note = _due(session, every)
    if note is None:
        return 0
    request = TimestampRequestBuilder().data(stamped(note)).hash_algorithm(HashAlgorithm.SHA256).build()
    # The operator chose the address: a government's authority stands in its own network.
    answer = Outbound(EVERYWHERE).send(
        "POST", url, headers={"Content-Type": "application/timestamp-query"}, content=request.as_bytes()
    )
    at = _granted(note, answer.body, request.nonce) if answer.ok else None
    if at is None:
        told = Text(
            "时间戳机构未予签发（{status}）。", "The time-stamping authority gave no stamp ({status})."
        )
        raise Unavailable(told.with_(status=answer.status))
    with database.transaction() as session:
        row = {"size": int(note.split("\n")[1]), "at": at, "response": answer.body}
        session.execute(insert(LedgerTimestamp).values(row).on_conflict_do_nothing())
    return 1


def _due(session: Session, every: timedelta) -> str | None:
    newest = ledger.latest_checkpoint(session)
    last = session.scalar(select(LedgerTimestamp).order_by(LedgerTimestamp.size.desc()).limit(1))
    if newest is None or (last is not None and (last.size == newest.size or now() - last.at < every)):
        return None
    return newest.note


def _read(response: bytes) -> TimeStampResponse | None:
    try:
        return decode_timestamp_response(response)
    except ValueError:
        return None


def _granted(note: str, response: bytes, nonce: int | None) -> datetime | None:
    """The stamp's time where it is of this checkpoint and answers this request; who signed it is checked later, by
    whoever trusts an authority."""
    answer = _read(response)
    if answer is None or answer.status != GRANTED or answer.tst_info.nonce != nonce:
        return None
    imprint = answer.tst_info.message_imprint.message
    return answer.tst_info.gen_time if imprint == hashlib.sha256(stamped(note)).digest() else None


def check(note: str, response: bytes, roots: Sequence[Certificate]) -> datetime:
    """When an authority under one of `roots` saw the checkpoint. Errors: ValueError saying what does not hold."""
    answer = _read(response)
    if answer is None:
        raise ValueError("not a time stamp")
    verifier = VerifierBuilder(roots=list(roots)).build()
    try:
        verifier.verify_message(answer, stamped(note))
    except VerificationError as error:
        raise ValueError(str(error)) from error
    return answer.tst_info.gen_time


def differing(session: Session, roots: Sequence[Certificate]) -> tuple[int, dict[int, str]]:
    """How many stamps there are, and what is wrong with those that do not hold, by size of the tree."""
    query = select(LedgerTimestamp, LedgerCheckpoint.note).join(
        LedgerCheckpoint, LedgerCheckpoint.size == LedgerTimestamp.size
    )
    count, wrong = 0, {}
    for stamp, note in session.execute(query.order_by(LedgerTimestamp.size)):
        count += 1
        try:
            if check(note, stamp.response, roots) != stamp.at:
                wrong[stamp.size] = "another time"
        except ValueError as error:
            wrong[stamp.size] = str(error)
    return count, wrong


def newest(session: Session, limit: int) -> list[LedgerTimestamp]:
    """The last stamps, newest first."""
    return list(session.scalars(select(LedgerTimestamp).order_by(LedgerTimestamp.size.desc()).limit(limit)))
