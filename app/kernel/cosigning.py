"""Witnesses of the ledger: who may cosign its checkpoints, and the cosignatures they sent (C2SP tlog-cosignature).

A witness cosigns only what grew out of what it signed before, so nobody can be shown another history of the log
without its help. Refuses cosignatures of unknown keys and on checkpoints that this log never signed.
"""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, LargeBinary, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.kernel.checkpoint import COSIGNATURE, VerifierKey, read_cosignature
from app.kernel.db import Base, Stateful
from app.kernel.errors import Fault, Invalid, NotFound
from app.kernel.ledger import LedgerCheckpoint
from app.kernel.text import Text

REGISTERED = "registered"


class LedgerWitness(Stateful, Base):
    """Somebody who cosigns: an agency, or anyone outside whom the authority trusts to watch."""

    __tablename__ = "ledger_witness"

    name: Mapped[str] = mapped_column(unique=True)
    public_key: Mapped[bytes] = mapped_column(LargeBinary)
    agency_id: Mapped[UUID | None]  # whose witness it is; None for one outside
    registrar_id: Mapped[UUID]  # the authority that registered it

    @property
    def verifier_key(self) -> VerifierKey:
        return VerifierKey(self.name, self.public_key, COSIGNATURE)


class LedgerCosignature(Base):
    """That a witness saw this checkpoint; `line` as it stands on the note. Rows are never changed (trigger)."""

    __tablename__ = "ledger_cosignature"

    size: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("ledger_checkpoint.size"), primary_key=True, autoincrement=False
    )
    witness_id: Mapped[UUID] = mapped_column(ForeignKey("ledger_witness.id"), primary_key=True)
    line: Mapped[str]


def accept(session: Session, note: str) -> LedgerCheckpoint:
    """Keep the cosignatures on `note` by registered witnesses; one that is held already changes nothing.

    Errors: NotFound where this log never signed the checkpoint; Invalid where a witness's cosignature does not
    hold, or where none of a registered witness is on the note. Nothing of such a note is kept.
    """
    checkpoint = _signed_by_this_log(session, note)
    known = {
        w.name: w for w in session.scalars(select(LedgerWitness).where(LedgerWitness.state == REGISTERED))
    }
    found: dict[UUID, str] = {}
    for line in note.partition("\n\n")[2].splitlines(keepends=True):
        witness = known.get(line.removeprefix("— ").partition(" ")[0])
        if witness is not None and _holds(checkpoint, line, witness):
            found[witness.id] = line
    if not found:
        raise _refused("其中没有已登记见证方的签名", "it carries no signature of a registered witness")
    session.execute(
        insert(LedgerCosignature).on_conflict_do_nothing(),
        [{"size": checkpoint.size, "witness_id": i, "line": line} for i, line in found.items()],
    )
    return checkpoint


def _signed_by_this_log(session: Session, note: str) -> LedgerCheckpoint:
    body, separator, _ = note.partition("\n\n")
    lines = body.split("\n")
    if not separator or len(lines) < 3 or not lines[1].isdigit() or len(lines[1]) > 18:
        raise _refused("不是检查点", "not a checkpoint")
    checkpoint = session.get(LedgerCheckpoint, int(lines[1]))
    if checkpoint is None or checkpoint.note.partition("\n\n")[0] != body:
        raise NotFound()
    return checkpoint


def _holds(checkpoint: LedgerCheckpoint, line: str, witness: LedgerWitness) -> bool:
    """Whether the line is this key's; one that claims to be and does not hold is refused aloud."""
    body = checkpoint.note.partition("\n\n")[0]
    try:
        return read_cosignature(f"{body}\n\n{line}", witness.verifier_key) is not None
    except ValueError:
        raise _refused(
            f"{witness.name} 的签名不成立", f"the signature of {witness.name} does not hold"
        ) from None


def _refused(zh: str, en: str) -> Invalid:
    return Invalid(faults=[Fault("/note", Text(zh, en))])


def note_of(session: Session, checkpoint: LedgerCheckpoint) -> str:
    """The checkpoint's signed note with every cosignature it has so far."""
    query = select(LedgerCosignature.line).where(LedgerCosignature.size == checkpoint.size)
    return checkpoint.note + "".join(session.scalars(query.order_by(LedgerCosignature.witness_id)))


def cosigned_checkpoint(session: Session, witnesses: int) -> LedgerCheckpoint:
    """The newest checkpoint that at least so many witnesses cosigned. Errors: NotFound."""
    sizes = select(LedgerCosignature.size).group_by(LedgerCosignature.size).having(func.count() >= witnesses)
    size = session.scalar(sizes.order_by(LedgerCosignature.size.desc()).limit(1))
    if size is None:
        raise NotFound(
            Text("尚无 {n} 个见证方联署的检查点。", "No checkpoint has {n} cosignatures yet.").with_(
                n=witnesses
            )
        )
    return session.get_one(LedgerCheckpoint, size)


def cosignatures(session: Session) -> dict[int, list[str]]:
    """Every cosignature line by the size of its checkpoint."""
    found: dict[int, list[str]] = {}
    for size, line in session.execute(select(LedgerCosignature.size, LedgerCosignature.line)):
        found.setdefault(size, []).append(line)
    return found


def witness_keys(session: Session) -> list[VerifierKey]:
    """The keys of all witnesses that ever were, for verifying what they signed."""
    return [w.verifier_key for w in session.scalars(select(LedgerWitness).order_by(LedgerWitness.name))]
