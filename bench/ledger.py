"""The ledger: entries appended, numbered, proved and verified, each beside the bare work it stands on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from random import Random
from typing import Any
from uuid import UUID

import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import insert, select

from app.kernel import history, ledger, merkle, verification
from app.kernel.checkpoint import Signer
from app.kernel.clock import new_id, now
from app.kernel.db import Database, lift_statement_timeout
from app.kernel.history import Event
from app.kernel.ledger import LedgerCheckpoint, LedgerEntry, LedgerLeaf
from bench.measure import Samples, show, timed

BATCH = 1_000  # entries appended in one transaction
PROOFS = 300

Content = tuple[UUID, str, UUID, dict[str, Any]]


def run(database: Database, *, entries: int) -> None:
    """Print entries a second and times of proofs for an empty log that grows to `entries`."""
    signer = Signer("bench.test/ledger", Ed25519PrivateKey.generate())
    events = [_event(number) for number in range(entries)]
    contents: list[Content] = [(e.id, f"{e.kind}.{e.act}", e.subject_id, e.content()) for e in events]
    _record(database, events)
    del events
    _, plain_s = timed(lambda: _insert_plain(database.url, contents))
    _, append_s = timed(lambda: _append(database, contents))
    _, sequence_s = timed(lambda: _number_all(database, signer))
    _, verify_s = timed(lambda: _verify(database, signer, entries))
    _, read_s = timed(lambda: _read(database))
    reference = "insert as many plain rows (reference)"
    seconds = {
        "append": append_s,
        "number, extend the tree, sign": sequence_s,
        "verify the whole log and every decision": verify_s,
        "only read the entries": read_s,
        reference: plain_s,
    }
    show(
        f"ledger: {entries:,} entries",
        ("work", "entries/s", "seconds", "ratio of seconds"),
        [(name, entries / took, took, took / plain_s) for name, took in seconds.items()],
        f"Appended {BATCH:,} a transaction, as imports do. Reference: psycopg executemany into two plain tables.",
    )
    _proofs(database, [entry[0] for entry in contents], entries)


def run_large(database: Database, *, entries: int) -> None:
    """Print times of proofs from a log of so many entries, of which only those that are asked for stand in it."""
    signer = Signer("bench.test/ledger", Ed25519PrivateKey.generate())
    _proofs(database, simulate(database, signer, entries), entries)


def _event(number: int) -> Event:
    """A decision as the exchange records them."""
    return Event(
        id=new_id(), at=now(), kind="bench", subject_id=new_id(), act="publish", state_from="filed",
        state_to="published", version=3, party="authority", actor_kind="person", actor_id=new_id(),
        actor_name="目录管理员", agency_id=new_id(), reason="目录编制符合要求", legal_basis="809-16",
        data={"number": number, "content_hash": f"{number:064x}"}, ledgered=True,
    )  # fmt: skip


def _record(database: Database, events: Sequence[Event]) -> None:
    columns = [c.name for c in Event.__table__.columns if c.name not in ("position", "transaction")]
    for start in range(0, len(events), BATCH):
        rows = [{name: getattr(event, name) for name in columns} for event in events[start : start + BATCH]]
        with database.transaction() as session:
            session.execute(insert(Event), rows)


def simulate(database: Database, signer: Signer, size: int) -> list[UUID]:
    """A tree of `size` leaves whose hashes are noise but for those of the entries that are returned."""
    luck = Random(1)
    entries = {
        position: LedgerEntry(id=new_id(), at=now(), kind="bench.publish", subject_id=new_id(), content_hash=bytes(32))
        for position in luck.sample(range(size), PROOFS)
    }  # fmt: skip
    width = merkle.TILE_WIDTH
    with psycopg.connect(database.url) as connection, connection.cursor() as cursor:
        row = [
            merkle.leaf_hash(entries[n].leaf()) if n in entries else luck.randbytes(32) for n in range(size)
        ]
        level = 0
        while row:
            tiles = [row[start : start + width] for start in range(0, len(row), width)]
            with cursor.copy("COPY ledger_tile (level, index, hashes) FROM STDIN") as copy:
                for index, tile in enumerate(tiles):
                    copy.write_row((level, index, b"".join(tile)))
            row, level = [merkle.fold(tile) for tile in tiles if len(tile) == width], level + 1
    with database.transaction() as session:
        session.add_all(entries.values())
        session.flush()
        leaves = [{"position": n, "entry_id": entry.id} for n, entry in entries.items()]
        session.execute(insert(LedgerLeaf), leaves)
        root = merkle.root(size, ledger.TileReader(session))
        session.add(LedgerCheckpoint(size=size, root=root, at=now(), note=signer.sign(size, root)))
    return [entry.id for entry in entries.values()]


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


def _verify(database: Database, signer: Signer, entries: int) -> None:
    with database.transaction() as session:
        contents = history.ledgered_contents(session)
        size, differences = verification.verify(session, key=signer.verifier_key, contents=contents)
    assert (size, differences) == (entries, [])


def _read(database: Database) -> None:
    with database.transaction() as session:
        lift_statement_timeout(session)
        for _ in session.scalars(select(ledger.LedgerEntry).execution_options(yield_per=2000)):
            pass


def _proofs(database: Database, known: Sequence[UUID], entries: int) -> None:
    """One proof a transaction, as one request asks for it."""
    proving, checking, reading = Samples(), Samples(), Samples()
    for entry_id in Random(1).sample(known, PROOFS):
        with database.transaction() as session:
            reading.take(partial(session.get_one, ledger.LedgerEntry, entry_id))
        with database.transaction() as session:
            proof = proving.take(partial(ledger.prove, session, entry_id))
        holds = checking.take(partial(_holds, proof))
        assert holds
    show(
        f"ledger: {PROOFS} proofs at {entries:,} entries",
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
