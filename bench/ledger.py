"""The ledger: entries appended, numbered, proved and verified, each beside the bare work it stands on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from random import Random
from uuid import UUID

import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select

from app.kernel import ledger, merkle, verification
from app.kernel.checkpoint import Signer
from app.kernel.clock import new_id
from app.kernel.db import Database, lift_statement_timeout
from bench.measure import Samples, show, timed

BATCH = 1_000  # entries appended in one transaction
PROOFS = 300

Content = tuple[UUID, str, UUID, dict[str, str]]


def run(database: Database, *, entries: int) -> None:
    """Print entries a second and times of proofs for an empty log that grows to `entries`."""
    signer = Signer("bench.test/ledger", Ed25519PrivateKey.generate())
    contents = [_content(number) for number in range(entries)]
    _, plain_s = timed(lambda: _insert_plain(database.url, contents))
    _, append_s = timed(lambda: _append(database, contents))
    _, sequence_s = timed(lambda: _number_all(database, signer))
    _, verify_s = timed(lambda: _verify(database, signer, contents))
    _, read_s = timed(lambda: _read(database))
    reference = "insert as many plain rows (reference)"
    seconds = {
        "append": append_s,
        "number, extend the tree, sign": sequence_s,
        "verify the whole log and its contents": verify_s,
        "only read the entries": read_s,
        reference: plain_s,
    }
    show(
        f"ledger: {entries:,} entries",
        ("work", "entries/s", "seconds", "ratio of seconds"),
        [(name, entries / took, took, took / plain_s) for name, took in seconds.items()],
        f"Appended {BATCH:,} a transaction, as imports do. Reference: psycopg executemany into two plain tables.",
    )
    _proofs(database, contents)


def _content(number: int) -> Content:
    """An entry as a decision makes one: (id, kind, subject, content)."""
    content = {"act": "publish", "number": str(number), "reason": "目录编制符合要求", "basis": "809-16"}
    return new_id(), "bench.publish", new_id(), content


def _batches(contents: Sequence[Content]) -> Iterator[Sequence[Content]]:
    return (contents[start : start + BATCH] for start in range(0, len(contents), BATCH))


def _insert_plain(url: str, contents: Sequence[Content]) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE bench_entry (id uuid PRIMARY KEY, at timestamptz, kind text, subject uuid, hash bytea)"
        )
        connection.execute("CREATE TABLE bench_pending (id uuid PRIMARY KEY)")
        for batch in _batches(contents):
            with connection.transaction(), connection.cursor() as cursor:
                cursor.executemany(
                    "INSERT INTO bench_entry VALUES (%s, now(), %s, %s, %s)",
                    [(i, kind, subject, bytes(32)) for i, kind, subject, _ in batch],
                )
                cursor.executemany("INSERT INTO bench_pending VALUES (%s)", [(entry[0],) for entry in batch])


def _append(database: Database, contents: Sequence[Content]) -> None:
    for batch in _batches(contents):
        with database.transaction() as session:
            ledger.append_many(session, batch)


def _number_all(database: Database, signer: Signer) -> None:
    """As the worker does: SEQUENCE_BATCH entries a transaction."""
    numbered = 1
    while numbered:
        with database.transaction() as session:
            numbered = ledger.sequence(session, signer)


def _verify(database: Database, signer: Signer, contents: Sequence[Content]) -> None:
    with database.transaction() as session:
        size, differences = verification.verify(
            session, key=signer.verifier_key,
            contents=((entry[0], entry[3]) for entry in contents),
        )  # fmt: skip
    assert (size, differences) == (len(contents), [])


def _read(database: Database) -> None:
    with database.transaction() as session:
        lift_statement_timeout(session)
        for _ in session.scalars(select(ledger.LedgerEntry).execution_options(yield_per=2000)):
            pass


def _proofs(database: Database, contents: Sequence[Content]) -> None:
    """One proof a transaction, as one request asks for it."""
    proving, checking, reading = Samples(), Samples(), Samples()
    for entry_id, *_ in Random(1).sample(list(contents), PROOFS):
        with database.transaction() as session:
            reading.take(partial(session.get_one, ledger.LedgerEntry, entry_id))
        with database.transaction() as session:
            proof = proving.take(partial(ledger.prove, session, entry_id))
        holds = checking.take(partial(_holds, proof))
        assert holds
    show(
        f"ledger: {PROOFS} proofs at {len(contents):,} entries",
        ("work", "CPU ms", "p50 ms", "p99 ms", "p50 ratio"),
        [
            (name, samples.cpu_ms, samples.percentile_ms(50), samples.percentile_ms(99),
             samples.percentile_ms(50) / reading.percentile_ms(50))
            for name, samples in (
                ("prove an entry", proving),
                ("verify a proof, offline", checking),
                ("read one entry (reference)", reading),
            )
        ],
        "CPU is this process's, without the database's.",
    )  # fmt: skip


def _holds(proof: ledger.Proof) -> bool:
    leaf = merkle.leaf_hash(proof.entry.leaf())
    return merkle.verify_inclusion(
        leaf, proof.position, proof.checkpoint.size, proof.path, proof.checkpoint.root
    )
