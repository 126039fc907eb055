"""Witnesses of the ledger: the authority's security administrator registers and retires them.

Owns their states. What they sign is `app.kernel.cosigning`'s.
"""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.identity.models import Agency
from app.kernel import history
from app.kernel.actor import Actor, Role
from app.kernel.checkpoint import COSIGNATURE, VerifierKey
from app.kernel.cosigning import REGISTERED, LedgerWitness
from app.kernel.errors import Conflict, Fault, Invalid, NotFound, NotPermitted
from app.kernel.machine import Machine, Party, Transition
from app.kernel.text import Text

BASIS = "809-29"
_SECURITY = (("authority", Role.SECURITY_ADMINISTRATOR),)

WITNESS = Machine(
    "ledger_witness",
    states={REGISTERED: Text("已登记", "registered"), "retired": Text("已停用", "retired")},
    acts={"register": Text("登记", "register"), "retire": Text("停用", "retire")},
    rows=(
        Transition(None, "register", _SECURITY, REGISTERED, BASIS),
        Transition(REGISTERED, "retire", _SECURITY, "retired", BASIS),
    ),
)


def parties_of(actor: Actor, witness: LedgerWitness) -> frozenset[Party]:
    """What the actor is to a witness: of the `authority` that registered it, or nothing."""
    registrar = actor.is_authority and actor.agency_id == witness.registrar_id
    return frozenset({"authority"}) if registrar else frozenset()


def register(session: Session, *, verifier_key: str, agency_id: UUID | None, by: Actor) -> LedgerWitness:
    """Trust the cosignatures of a key (one vkey line, C2SP signed-note). Errors: Invalid, Conflict, NotPermitted."""
    try:
        key = VerifierKey.read(verifier_key, COSIGNATURE)
    except ValueError:
        told = Text("不是联署公钥（C2SP vkey，类型 0x04）", "not a cosigner's key (C2SP vkey of type 0x04)")
        raise Invalid(faults=[Fault("/verifier_key", told)]) from None
    if agency_id is not None and session.get(Agency, agency_id) is None:
        raise Invalid(faults=[Fault("/agency_id", Text("没有这个部门", "no such agency"))])
    if session.scalar(select(LedgerWitness.id).where(LedgerWitness.name == key.name)):
        raise Conflict(Text("见证方 {name} 已登记。", "{name} is registered already.").with_(name=key.name))
    if by.agency_id is None:
        raise NotPermitted()
    witness = LedgerWitness(
        name=key.name, public_key=key.public_key, agency_id=agency_id, registrar_id=by.agency_id
    )
    history.create(
        session, witness, WITNESS, "register", by=by, parties=parties_of(by, witness),
        data={"verifier_key": str(key)},
    )  # fmt: skip
    return witness


def retire(
    session: Session, witness: LedgerWitness, *, reason: str, expected_version: int | None, by: Actor
) -> None:
    """Take no more cosignatures of this key; those it gave stay valid."""
    history.advance(
        session, witness, WITNESS, "retire", by=by, parties=parties_of(by, witness), reason=reason,
        expected_version=expected_version,
    )  # fmt: skip


def find_witness(session: Session, witness_id: UUID) -> LedgerWitness:
    """A witness; anyone may know them. Errors: NotFound."""
    witness = session.get(LedgerWitness, witness_id)
    if witness is None:
        raise NotFound()
    return witness


def all_witnesses(session: Session) -> list[LedgerWitness]:
    """Every witness, by name."""
    return list(session.scalars(select(LedgerWitness).order_by(LedgerWitness.name)))
