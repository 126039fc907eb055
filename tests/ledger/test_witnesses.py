"""Witnesses: a real one over HTTP, cosignatures that are refused, proofs that hold without the service."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from app.cli import cli
from app.identity import witnesses
from app.kernel import cosigning, history, ledger, verification
from app.kernel.actor import Actor, ActorKind, Role
from app.kernel.checkpoint import COSIGNATURE, LOG, Cosigner, Signer, VerifierKey, read_cosignature
from app.kernel.db import Database
from app.kernel.errors import Conflict, Invalid, NotFound, NotPermitted, Problem
from app.kernel.keys import ServiceKeys
from app.witnessing import Witness, check_proof
from tests.factories import Town
from tests.ledger.log import attest

SECURITY = Role.SECURITY_ADMINISTRATOR
SEEN_AT = 1_800_000_000


def cosigner(name: str = "audit.example/witness") -> Cosigner:
    return Cosigner(name, Ed25519PrivateKey.generate())


def officer(session: Session, agency: str = "city_authority") -> Actor:
    return Town(session).actor(agency, SECURITY)


def trusted(session: Session, key: VerifierKey, by: Actor | None = None) -> cosigning.LedgerWitness:
    by = by or officer(session)
    return witnesses.register(session, verifier_key=str(key), agency_id=None, by=by)


def refused(problem: Problem) -> list[tuple[str, str]]:
    return [(fault.field, fault.message.en) for fault in problem.faults]


@pytest.fixture
def watched(database: Database, keys: ServiceKeys, centre: str) -> Iterator[tuple[httpx2.Client, Cosigner]]:
    """A client of a running service, and a cosigner that it knows."""
    one = cosigner()
    with database.transaction() as session:
        trusted(session, one.verifier_key)
        attest(session, keys.ledger, (3,))
    with httpx2.Client(base_url=centre, trust_env=False) as client:
        yield client, one


def test_a_witness_follows_the_log_and_its_cosignature_reaches_every_reader(
    watched: tuple[httpx2.Client, Cosigner], database: Database, keys: ServiceKeys, tmp_path: Path
) -> None:
    client, one = watched
    witness = Witness(keys.ledger.verifier_key, one, tmp_path / "seen")
    first = witness.look(client, at=SEEN_AT)
    assert first is not None
    with database.transaction() as session:
        newer = attest(session, keys.ledger, (250, 4))[-1]
        entry = history.events_of(session, "ledger_witness", cosigning_id(session))[0].id
    cosigned = client.get("/ledger/checkpoint", params={"witnesses": 1}).text
    assert read_cosignature(cosigned, one.verifier_key) == SEEN_AT
    assert client.get("/ledger/checkpoint", params={"witnesses": 2}).status_code == 404
    # A proof against what a witness saw: the entry of then has one, the newer one has none yet.
    proof = client.get(f"/api/v1/ledger/entries/{entry}/proof", params={"witnesses": 1})
    _, size, seen = check_proof(proof.json(), keys.ledger.verifier_key, [one.verifier_key])
    assert (size, seen) == (first.size, {one.name: SEEN_AT})
    assert client.get(f"/api/v1/ledger/entries/{newer.id}/proof", params={"witnesses": 1}).status_code == 404

    second = witness.look(client, at=SEEN_AT + 60)
    assert second is not None
    assert second.grown == second.size - first.size == 254
    assert client.get(f"/api/v1/ledger/entries/{newer.id}/proof", params={"witnesses": 1}).status_code == 200
    with database.transaction() as session:
        contents = history.ledgered_contents(session)
        assert verification.verify(session, key=keys.ledger.verifier_key, contents=contents) == (
            second.size,
            [],
        )


def cosigning_id(session: Session) -> Any:
    (witness,) = witnesses.all_witnesses(session)
    return witness.id


def test_a_witness_refuses_a_log_with_another_history(
    watched: tuple[httpx2.Client, Cosigner], keys: ServiceKeys, tmp_path: Path
) -> None:
    client, one = watched
    log = keys.ledger
    shorter, longer, other = log.sign(1, bytes(32)), log.sign(900, bytes(32)), log.sign(4, bytes(32))
    for known, why in ((longer, "900"), (shorter, "1 seen"), (other, "4 seen")):
        memory = tmp_path / "seen"
        memory.write_text(known, encoding="utf-8")
        with pytest.raises(Conflict) as caught:
            Witness(log.verifier_key, one, memory).look(client)
        assert why in caught.value.detail.en
        assert memory.read_text(encoding="utf-8") == known
    assert client.get("/ledger/checkpoint", params={"witnesses": 1}).status_code == 404


def test_a_witness_refuses_the_checkpoint_of_another_log(
    watched: tuple[httpx2.Client, Cosigner], keys: ServiceKeys, tmp_path: Path
) -> None:
    client, one = watched
    stranger = Signer(keys.ledger.origin, Ed25519PrivateKey.generate())
    with pytest.raises(Conflict, match=r"not this log's|不是这个账本"):
        Witness(stranger.verifier_key, one, tmp_path / "seen").look(client)
    assert not (tmp_path / "seen").exists()


def test_cosignatures_that_do_not_hold_are_refused(session: Session, keys: ServiceKeys) -> None:
    one, unknown = cosigner(), cosigner("nobody.example/witness")
    trusted(session, one.verifier_key)
    attest(session, keys.ledger, (2,))
    head = ledger.latest_checkpoint(session)
    assert head is not None
    line = one.cosign(head.note, SEEN_AT)
    raw = bytearray(base64.b64decode(line.split(" ")[2]))
    raw[5] ^= 1  # of the time
    later = f"— {one.name} {base64.b64encode(raw).decode()}\n"
    for note, told in (
        (head.note, "no signature of a registered witness"),
        (head.note + unknown.cosign(head.note, SEEN_AT), "no signature of a registered witness"),
        (head.note + later, f"the signature of {one.name} does not hold"),
        (head.note + line + later, f"the signature of {one.name} does not hold"),
        ("nonsense", "not a checkpoint"),
        ("log\nmany\nroot\n\n" + line, "not a checkpoint"),
    ):
        with pytest.raises(Invalid) as caught:
            cosigning.accept(session, note)
        ((field, message),) = refused(caught.value)
        assert field == "/note"
        assert told in message
    for elsewhere in (keys.ledger.sign(1, bytes(32)), keys.ledger.sign(head.size, bytes(32))):
        with pytest.raises(NotFound):
            cosigning.accept(session, elsewhere + one.cosign(elsewhere, SEEN_AT))
    assert cosigning.note_of(session, head) == head.note
    for _ in range(2):  # sent again it changes nothing
        cosigning.accept(session, head.note + unknown.cosign(head.note, 1) + line)
    assert cosigning.note_of(session, head) == head.note + line


def test_a_retired_witness_is_not_heard_and_what_it_signed_stays(session: Session, keys: ServiceKeys) -> None:
    one, town = cosigner(), Town(session)
    by = town.actor("city_authority", SECURITY)
    witness = witnesses.register(
        session, verifier_key=str(one.verifier_key), agency_id=town.id("civil"), by=by
    )
    attest(session, keys.ledger, (2,))
    head = ledger.latest_checkpoint(session)
    assert head is not None
    cosigning.accept(session, head.note + one.cosign(head.note, SEEN_AT))
    with pytest.raises(NotPermitted):
        witnesses.retire(
            session, witness, reason="停用", expected_version=None,
            by=town.actor("east_authority", SECURITY),
        )  # fmt: skip
    witnesses.retire(session, witness, reason="停用", expected_version=witness.version, by=by)
    with pytest.raises(Invalid):
        cosigning.accept(session, head.note + one.cosign(head.note, SEEN_AT + 1))
    assert cosigning.cosigned_checkpoint(session, 1) == head
    with pytest.raises(Conflict):
        witnesses.register(session, verifier_key=str(one.verifier_key), agency_id=None, by=by)


def test_cosignatures_are_kept_and_an_altered_one_is_found(
    session: Session, keys: ServiceKeys, tmp_path: Path
) -> None:
    one = cosigner()
    trusted(session, one.verifier_key)
    attest(session, keys.ledger, (5,))
    head = ledger.latest_checkpoint(session)
    assert head is not None
    cosigning.accept(session, head.note + one.cosign(head.note, SEEN_AT))
    with pytest.raises(DBAPIError, match="never changed"), session.begin_nested():
        session.execute(text("DELETE FROM ledger_cosignature"))
    file = tmp_path / "ledger.jsonl"
    key, contents = keys.ledger.verifier_key, list(history.ledgered_contents(session))
    verification.export(session, file, key=key, contents=contents)
    assert verification.verify_file(file) == (head.size, [], key, [one.verifier_key])
    # With another key than the witness's own the cosignature proves nothing.
    _, differences, _, _ = verification.verify_file(file, key=key, witnesses=[cosigner().verifier_key])
    assert [(d.kind, d.position) for d in differences] == [("cosignature", head.size)]
    session.execute(text("ALTER TABLE ledger_cosignature DISABLE TRIGGER USER"))
    session.execute(text("UPDATE ledger_cosignature SET line = replace(line, 'witness ', 'witness A')"))
    _, differences = verification.verify(session, key=key, contents=contents)
    assert [(d.kind, d.position) for d in differences] == [("cosignature", head.size)]


@pytest.mark.parametrize(
    "line",
    ["", "name", "name+00000000+AAAA", "na me+00000000+BA==", "name+zz+" + "B" * 44, str(VerifierKey("n", bytes(32), LOG))],
)  # fmt: skip
def test_what_is_not_a_cosigners_key_is_refused(session: Session, line: str) -> None:
    with pytest.raises(Invalid) as caught:
        witnesses.register(session, verifier_key=line, agency_id=None, by=officer(session))
    ((field, _),) = refused(caught.value)
    assert field == "/verifier_key"


def test_a_key_is_read_as_it_is_written() -> None:
    key = cosigner().verifier_key
    assert VerifierKey.read(f" {key}\n", COSIGNATURE) == key
    with pytest.raises(ValueError, match="the id is not"):
        VerifierKey.read(str(key).replace("audit", "other"), COSIGNATURE)


def test_a_saved_proof_is_checked_on_the_command_line(
    watched: tuple[httpx2.Client, Cosigner], database: Database, keys: ServiceKeys, tmp_path: Path
) -> None:
    client, one = watched
    folder = str(tmp_path / "witness")
    log = str(keys.ledger.verifier_key)
    command = [
        "witness",
        "--url",
        str(client.base_url),
        "--key",
        log,
        "--name",
        "new.example/w",
        "--folder",
        folder,
    ]
    shown = CliRunner().invoke(cli, [*command, "--show-key", "--json"])
    key = json.loads(shown.stdout)["verifier_key"]
    with database.transaction() as session:
        registrar = witnesses.all_witnesses(session)[0].registrar_id
        by = Actor(ActorKind.PERSON, registrar, registrar, is_authority=True, roles=frozenset({SECURITY}))
        trusted(session, VerifierKey.read(key, COSIGNATURE), by)
        entry = attest(session, keys.ledger, (1,))[0].id
    done = CliRunner().invoke(cli, [*command, "--json"])
    assert done.exit_code == 0, done.output
    proof = client.get(f"/api/v1/ledger/entries/{entry}/proof", params={"witnesses": 1}).json()
    file = tmp_path / "proof.json"
    file.write_text(json.dumps(proof), encoding="utf-8")
    check = ["verify-proof", str(file), "--key", log, "--witness", key]
    assert CliRunner().invoke(cli, check).exit_code == 0
    assert CliRunner().invoke(cli, [*check, "--witness", str(one.verifier_key)]).exit_code == 1
    with database.transaction() as session:
        attested = session.get_one(history.Event, entry).content()
    told = tmp_path / "content.json"
    told.write_text(json.dumps(attested), encoding="utf-8")
    assert CliRunner().invoke(cli, [*check, "--content", str(told)]).exit_code == 0
    told.write_text(json.dumps(attested | {"act": "deride"}), encoding="utf-8")
    assert CliRunner().invoke(cli, [*check, "--content", str(told)]).exit_code == 1
    for changed in (
        {"position": proof["position"] + 1},
        {"path": proof["path"][1:]},
        {"content_sha256": "0" * 64},
        {"leaf": proof["leaf"].replace("decide", "deride")},
        {"checkpoint": proof["checkpoint"].replace("\n— new", "\n— old", 1)},
    ):
        file.write_text(json.dumps(proof | changed), encoding="utf-8")
        assert CliRunner().invoke(cli, check).exit_code == 1, changed
