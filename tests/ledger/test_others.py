"""The log as implementations written by others see it: Go's sumdb/tlog and sumdb/note."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import text

from app.identity import witnesses
from app.kernel import ledger
from app.kernel.actor import Role
from app.kernel.checkpoint import Cosigner, Signer
from app.kernel.db import Database
from app.kernel.keys import ServiceKeys
from app.witnessing import Witness
from tests.factories import Town
from tests.ledger.conftest import Verifier
from tests.ledger.log import attest

pytestmark = pytest.mark.soak  # `.ci/run` runs it; too long for every `make test`


@pytest.mark.parametrize("batches", [(1,), (256,), (3, 250, 4), (300, 212, 188)])
def test_others_verify_tiles_entries_checkpoint_and_proofs(
    verifier: Verifier, centre: str, database: Database, keys: ServiceKeys, batches: tuple[int, ...]
) -> None:
    with database.transaction() as session:
        attest(session, keys.ledger, batches)
        latest = ledger.latest_checkpoint(session)
    assert latest is not None
    done = verifier(centre, "check", str(keys.ledger.verifier_key))
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["size"], told["root"]) == (sum(batches), base64.b64encode(latest.root).decode())
    assert told["tiles"] and told["proofs"] == told["growths"] >= min(17, sum(batches))


def test_others_refuse_a_checkpoint_of_another_key(
    verifier: Verifier, centre: str, database: Database, keys: ServiceKeys
) -> None:
    with database.transaction() as session:
        attest(session, keys.ledger, (3,))
    other = Signer(keys.ledger.origin, Ed25519PrivateKey.generate())
    done = verifier(centre, "check", str(other.verifier_key))
    assert done.returncode == 1
    assert "no verifiable signatures" in done.stderr


@pytest.mark.parametrize(
    ("table", "change", "told"),
    [
        ("ledger_tile", "UPDATE ledger_tile SET hashes = set_byte(hashes, 9, 1 + get_byte(hashes, 9) % 255) WHERE level = 0", "inconsistent tile"),
        ("ledger_entry", "UPDATE ledger_entry SET kind = 'test.deride' WHERE id IN (SELECT entry_id FROM ledger_leaf WHERE position = 7)", "entry 7 does not hash to its tile"),
    ],
)  # fmt: skip
def test_others_see_an_altered_tile_and_an_altered_entry(
    verifier: Verifier, centre: str, database: Database, keys: ServiceKeys, table: str, change: str, told: str
) -> None:
    with database.transaction() as session:
        attest(session, keys.ledger, (40,))
        session.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
        session.execute(text(change))
    done = verifier(centre, "check", str(keys.ledger.verifier_key))
    assert done.returncode == 1
    assert told in done.stderr


def test_cosignatures_of_others_are_taken_and_ours_verify_elsewhere(
    verifier: Verifier, centre: str, database: Database, keys: ServiceKeys, tmp_path: Path
) -> None:
    secret, theirs = verifier("keys", "their.example/witness").stdout.splitlines()
    ours = Cosigner("our.example/witness", Ed25519PrivateKey.generate())
    with database.transaction() as session:
        by = Town(session).actor("city_authority", Role.SECURITY_ADMINISTRATOR)
        for key in (theirs, str(ours.verifier_key)):
            witnesses.register(session, verifier_key=key, agency_id=None, by=by)
        attest(session, keys.ledger, (9,))
    log = str(keys.ledger.verifier_key)
    cosigned = verifier(centre, "cosign", log, secret)
    assert cosigned.returncode == 0, cosigned.stderr
    with httpx2.Client(base_url=centre, trust_env=False) as client:
        answer = client.post("/api/v1/ledger/cosignatures", json={"note": cosigned.stdout})
        assert answer.status_code == 200, answer.text
        assert Witness(keys.ledger.verifier_key, ours, tmp_path / "seen").look(client) is not None
    done = verifier(centre, "check", log, theirs, str(ours.verifier_key))
    assert done.returncode == 0, done.stderr
    assert sorted(json.loads(done.stdout)["cosigners"]) == ["our.example/witness", "their.example/witness"]
