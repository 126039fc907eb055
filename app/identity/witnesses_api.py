"""REST of the ledger's witnesses: registered by the authority, known to anyone, heard when they cosign."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import Field

from app.identity import witnesses
from app.identity.permissions import permit, permit_acts, permitted
from app.identity.witnesses import WITNESS
from app.kernel import cosigning
from app.kernel.actor import ANONYMOUS, Actor
from app.kernel.cosigning import LedgerWitness
from app.kernel.db import DbSession
from app.kernel.idempotency import ONCE, CreatingRoute
from app.kernel.wire import ExpectedVersion, LongText, Wire, set_version

router = APIRouter(prefix="/api/v1/ledger", tags=["ledger"], route_class=CreatingRoute)
permit("ledger.witnesses", "ledger.cosign", anonymous=True)
permit_acts(WITNESS)


class WitnessOut(Wire):
    id: UUID
    name: str
    verifier_key: str  # C2SP signed-note, vkey of type 0x04
    agency_id: UUID | None
    state: str
    version: int
    created_at: datetime
    allowed: list[str]

    @classmethod
    def of(cls, witness: LedgerWitness, actor: Actor) -> WitnessOut:
        return cls(
            id=witness.id, name=witness.name, verifier_key=str(witness.verifier_key), agency_id=witness.agency_id,
            state=witness.state, version=witness.version, created_at=witness.created_at,
            allowed=WITNESS.allowed(witness.state, witnesses.parties_of(actor, witness), actor.roles),
        )  # fmt: skip


class NewWitness(Wire):
    verifier_key: str = Field(max_length=300, description="C2SP vkey")
    agency_id: UUID | None = None


class Retirement(Wire):
    reason: LongText


class Cosigned(Wire):
    note: str = Field(max_length=20_000, description="检查点及联署行 / a checkpoint with cosignature lines")


class Accepted(Wire):
    size: int
    note: str  # with every cosignature that the checkpoint has so far


@router.get("/witnesses", operation_id="ledger.witnesses", dependencies=[permitted("ledger.witnesses")])
def witness_list(session: DbSession) -> list[WitnessOut]:
    """Everyone who cosigns or did, with their keys; to be compared with what the witness itself publishes."""
    return [WitnessOut.of(w, ANONYMOUS) for w in witnesses.all_witnesses(session)]


@router.post("/witnesses", status_code=201, operation_id="ledger_witness.register", openapi_extra=ONCE)
def register(
    body: NewWitness,
    session: DbSession,
    response: Response,
    by: Annotated[Actor, permitted("ledger_witness.register")],
) -> WitnessOut:
    """Trust a witness's cosignatures from now on."""
    witness = witnesses.register(session, verifier_key=body.verifier_key, agency_id=body.agency_id, by=by)
    set_version(response, witness.version)
    return WitnessOut.of(witness, by)


@router.post("/witnesses/{id}/retire", operation_id="ledger_witness.retire")
def retire(
    id: UUID,
    body: Retirement,
    expected: ExpectedVersion,
    session: DbSession,
    response: Response,
    by: Annotated[Actor, permitted("ledger_witness.retire")],
) -> WitnessOut:
    """Take no more cosignatures of a witness; what it signed stays valid."""
    witness = witnesses.find_witness(session, id)
    witnesses.retire(session, witness, reason=body.reason, expected_version=expected, by=by)
    set_version(response, witness.version)
    return WitnessOut.of(witness, by)


@router.post("/cosignatures", operation_id="ledger.cosign", dependencies=[permitted("ledger.cosign")])
def cosign(body: Cosigned, session: DbSession) -> Accepted:
    """Hand in a checkpoint with cosignatures (C2SP tlog-cosignature). The signature says who; sent again it
    changes nothing."""
    checkpoint = cosigning.accept(session, body.note)
    return Accepted(size=checkpoint.size, note=cosigning.note_of(session, checkpoint))
