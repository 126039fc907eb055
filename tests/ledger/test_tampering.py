"""Any single byte of what is kept, changed behind the service's back, is found and its place is told."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.kernel import history, ledger, verification
from app.kernel.actor import Actor, ActorKind
from app.kernel.checkpoint import Signer, VerifierKey
from app.kernel.clock import new_id, now
from app.kernel.db import Database, lift_statement_timeout
from app.kernel.errors import Invalid
from app.kernel.keys import ServiceKeys
from app.kernel.verification import Difference
from app.tables import metadata
from exchange.delivery import receipts
from exchange.delivery.models import ReceiptRow
from tests.conftest import own_database
from tests.ledger.log import attest

DECIDING = Actor(ActorKind.PERSON, uuid4(), agency_id=uuid4(), name="王经办")
BATCHES = (1, 2, 255, 7, 60)
RECEIPTS = 20
PICKS = 4  # of each column
MANY = int(os.environ.get("ZHENGTONG_SOAK_TAMPERED", "10000"))
# What a difference may be told as.
KINDS = {
    "ledger_entry": {"entry", "leaf"},
    "ledger_leaf": {"entry", "leaf"},
    "ledger_tile": {"tile"},
    "ledger_checkpoint": {"checkpoint", "tree"},
    "event": {"decision"},
    "receipt": {"decision"},
}
# The query of the number a difference is told with.
PLACES = {
    "ledger_entry": "(SELECT position FROM ledger_leaf WHERE entry_id = t.id)",
    "ledger_leaf": "t.position",
    "ledger_tile": "t.index * 256 ^ (t.level + 1)",
    "ledger_checkpoint": "t.size",
    "event": "(SELECT position FROM ledger_leaf WHERE entry_id = t.id)",
    "receipt": "(SELECT position FROM ledger_leaf WHERE entry_id = t.id)",
}
NOT_ATTESTED = {
    (
        "ledger_checkpoint",
        "at",
    ): "no part of a tlog-checkpoint; when it was there is for witnesses and time stamps",
    ("event", "position"): "the order of storage; the order that counts is the ledger's",
    ("event", "transaction"): "PostgreSQL's own number of the transaction",
    (
        "event",
        "erased_by",
    ): "set when a name is erased; the decision to erase attests the rest (test_erasure.py)",
    (
        "receipt",
        "created_at",
    ): "when it came to the centre is told by its entry; the gateway's `at` is attested",
}


def columns_of(table: str) -> list[str]:
    return [column.name for column in metadata.tables[table].columns]


COLUMNS = [(t, c) for t in KINDS for c in columns_of(t) if (t, c) not in NOT_ATTESTED]


def verify(session: Session, signer: Signer) -> tuple[int, list[Difference]]:
    contents = chain(history.ledgered_contents(session), receipts.ledgered_contents(session))
    session.expire_all()
    return verification.verify(session, key=signer.verifier_key, contents=contents)


def unguard(session: Session) -> None:
    """Take away what keeps even a wrong program from changing these tables."""
    for table in KINDS:
        session.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
    held = inspect(session.connection())
    for constraint in (*held.get_foreign_keys("receipt"), *held.get_check_constraints("receipt")):
        session.execute(text(f"ALTER TABLE receipt DROP CONSTRAINT {constraint['name']}"))


def deliver(session: Session, signer: Signer, count: int) -> None:
    """Receipts of calls that nobody made, with every column filled, as the centre attests them."""
    rows = [
        ReceiptRow(
            id=new_id(), gateway_id=new_id(), at=now(), day=now().date(), agreement_id=new_id(), agreement_hash=64 * "a",
            resource_id="婚姻登记信息", client_id=new_id(), agency_id=new_id(), grant_id=new_id(), purpose="service",
            method="api", items=["XM", "HYZK"], rows_reserved=100 + n, result="delivered", status=200, problem="none",
            rows=90 + n, bytes=4096 + n, sha256=64 * "b", duration_ms=12.5,
        )
        for n in range(count)
    ]  # fmt: skip
    session.add_all(rows)
    session.flush()
    ledger.append_many(session, [(r.id, receipts.LEDGER_KIND, r.agreement_id, r.content()) for r in rows])
    while ledger.sequence(session, signer):
        pass


@contextmanager
def logged(
    database: Database, keys: ServiceKeys, batches: Sequence[int], deliveries: int
) -> Iterator[Session]:
    """A session, past all triggers, on a log of so many decisions and deliveries, which is not kept."""
    with database.engine.connect() as connection, Session(connection) as session:
        lift_statement_timeout(session)
        attest(session, keys.ledger, batches, by=DECIDING)
        unguard(session)
        deliver(session, keys.ledger, deliveries)
        assert verify(session, keys.ledger) == (sum(batches) + deliveries, [])
        yield session
        session.rollback()


@pytest.fixture(scope="module")
def log(server: str, template: str, keys: ServiceKeys) -> Iterator[Session]:
    """Of 325 decisions and 20 deliveries."""
    with own_database(server, template) as own, logged(own, keys, BATCHES, RECEIPTS) as session:
        yield session


@pytest.fixture(scope="module")
def great_log(server: str, template: str, keys: ServiceKeys) -> Iterator[Session]:
    """Of MANY entries: nine decisions to one delivery."""
    batches = (MANY - MANY // 10,)
    with own_database(server, template) as own, logged(own, keys, batches, MANY // 10) as session:
        yield session


@pytest.fixture
def spoilable(great_log: Session) -> Iterator[Session]:
    """The great log, mended after the test."""
    with great_log.begin_nested() as before:
        yield great_log
        before.rollback()


def changed_byte(value: Any, luck: random.Random) -> Any:
    """The value with one byte of its printed form, or one of its own bytes, replaced by another like it."""
    if isinstance(value, bytes):
        at = luck.randrange(len(value))
        return value[:at] + bytes([value[at] ^ luck.randrange(1, 256)]) + value[at + 1 :]
    if value in ("true", "false"):
        return "false" if value == "true" else "true"
    at = luck.randrange(len(value))
    alike = "0123456789" if value[at].isdigit() else "abcdefghijklmnopqrstuvwxyzABCDEF +/="
    return value[:at] + luck.choice(alike.replace(value[at], "")) + value[at + 1 :]


def kinds_of(session: Session, table: str) -> dict[str, str]:
    """The database's type of every column."""
    query = text(
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = CAST(:t AS regclass)"
    )
    return {str(name): str(kind) for name, kind in session.execute(query, {"t": table})}


def rows_of(session: Session, table: str, column: str, kind: str) -> list[tuple[str, int, Any]]:
    """Of each row that has a value: where it is stored, which number it is told with, the value."""
    as_text = "" if kind == "bytea" else "::text"
    query = f'SELECT t.ctid::text, {PLACES[table]}, t."{column}"{as_text} FROM {table} t WHERE t."{column}" IS NOT NULL'
    return [(row, int(place), value) for row, place, value in session.execute(text(query))]


def put(session: Session, table: str, column: str, kind: str, row: str, other: Any) -> bool:
    """Write another value over a row's own; False where the database has no such value, or takes it for the same."""
    query = (
        f'UPDATE {table} SET "{column}" = CAST(:other AS {kind})'
        f' WHERE ctid = CAST(:row AS tid) AND "{column}" IS DISTINCT FROM CAST(:other AS {kind})'
    )
    try:
        with session.begin_nested():
            done = session.execute(text(query + " RETURNING 1"), {"other": other, "row": row})
            return len(done.all()) == 1
    except DBAPIError:
        return False


def tamper(session: Session, table: str, column: str, luck: random.Random) -> int | None:
    """Change one byte of one row; returns the number it is told with, or None where the database has no such
    value. The caller rolls back."""
    kind = kinds_of(session, table)[column]
    row, place, value = luck.choice(rows_of(session, table, column, kind))
    other = changed_byte(bytes(value) if kind == "bytea" else value, luck)
    return place if put(session, table, column, kind, row, other) else None


def test_every_column_is_attested_or_it_is_told_why_not() -> None:
    assert {key for key in NOT_ATTESTED if key[1] not in columns_of(key[0])} == set()
    ledger_tables = {name for name in metadata.tables if name.startswith("ledger_")}
    # Numbers awaited; and what witnesses and time-stamping authorities sign (test_witnesses.py, test_timestamps.py).
    elsewhere = {"ledger_pending", "ledger_witness", "ledger_cosignature", "ledger_timestamp"}
    assert ledger_tables == elsewhere | {name for name in KINDS if name.startswith("ledger_")}


@pytest.mark.soak  # `.ci/run` runs it; too long for every `make test`
@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_one_byte_is_found_and_located(log: Session, keys: ServiceKeys, table: str, column: str) -> None:
    luck = random.Random(f"{table}.{column}")
    tried = 0
    for _ in range(PICKS):
        with log.begin_nested() as before:
            place = tamper(log, table, column, luck)
            if place is not None:
                tried += 1
                _, differences = verify(log, keys.ledger)
                assert differences, f"{table}.{column} of {place}"
                assert differences[0].kind in KINDS[table]
                assert is_told(table, place, differences), (place, differences)
            before.rollback()
    assert tried > 0


def is_told(table: str, place: int, differences: list[Difference]) -> bool:
    """Whether the first differences name the place: a tile by an entry under it, all else by its number."""
    first = differences[0].position
    if table == "ledger_tile":
        return first is None or place <= first < place + 256
    if table == "ledger_leaf":  # a number that moved leaves a gap there
        return first is not None and first <= place
    return place in {difference.position for difference in differences}


# Columns that can be changed in every row at once; a number or an id that is gone ends the walk at its first row.
AT_ONCE = {
    "event": ("at", "subject_id", "act", "version", "actor_id", "actor_name", "reason", "data"),
    "receipt": ("at", "agreement_hash", "items", "rows", "bytes", "sha256", "duration_ms"),
    "ledger_entry": ("at", "kind", "subject_id", "content_hash"),
}


def spoil(session: Session, table: str, luck: random.Random) -> set[int]:
    """Change one byte of one column in every fourth row; returns the numbers of those rows."""
    kinds = kinds_of(session, table)
    stored = {column: rows_of(session, table, column, kinds[column]) for column in AT_ONCE[table]}
    spoilt = set()
    for n in range(luck.randrange(4), len(stored[AT_ONCE[table][0]]), 4):
        done = False
        while not done:
            column = luck.choice(AT_ONCE[table])
            row, place, value = stored[column][n]
            other = changed_byte(bytes(value) if kinds[column] == "bytea" else value, luck)
            done = put(session, table, column, kinds[column], row, other)
        spoilt.add(place)
    return spoilt


@pytest.mark.soak
def test_each_of_many_changed_decisions_and_deliveries_is_told_and_no_other(
    spoilable: Session, keys: ServiceKeys
) -> None:
    luck = random.Random(10)
    spoilt = spoil(spoilable, "event", luck) | spoil(spoilable, "receipt", luck)
    _, differences = verify(spoilable, keys.ledger)
    assert {difference.kind for difference in differences} == {"decision"}
    assert sorted(d.position for d in differences if d.position is not None) == sorted(spoilt)
    assert len(differences) == len(spoilt) >= MANY // 4 - 1


@pytest.mark.soak
def test_each_of_many_changed_entries_is_told_and_no_other(spoilable: Session, keys: ServiceKeys) -> None:
    spoilt = spoil(spoilable, "ledger_entry", random.Random(11))
    _, differences = verify(spoilable, keys.ledger)
    # The tiles hold the hashes of the entries as they were: they tell each apart. Hashes above are told besides.
    told = {d.position for d in differences if d.kind != "tile" or d.position not in range(0, MANY, 256)}
    assert told <= spoilt <= {d.position for d in differences}


@pytest.mark.soak
def test_each_of_many_changed_hashes_in_tiles_is_told_and_no_other(
    spoilable: Session, keys: ServiceKeys
) -> None:
    luck = random.Random(12)
    query = text("SELECT level, index, hashes FROM ledger_tile")
    spoilt = []
    for level, index, hashes in spoilable.execute(query).all():
        whole = [bytes(hashes[start : start + 32]) for start in range(0, len(hashes), 32)]
        chosen = [n for n in range(len(whole)) if luck.randrange(2)]
        spoilt += [(index * 256 + n) << 8 * level for n in chosen]
        other = b"".join(changed_byte(h, luck) if n in chosen else h for n, h in enumerate(whole))
        change = text("UPDATE ledger_tile SET hashes = :other WHERE level = :level AND index = :index")
        spoilable.execute(change, {"other": other, "level": level, "index": index})
    _, differences = verify(spoilable, keys.ledger)
    assert {difference.kind for difference in differences} == {"tile"}
    assert sorted(str(d.position) for d in differences) == sorted(map(str, spoilt))


@pytest.mark.soak
def test_an_export_is_verified_without_a_database_and_shows_what_was_altered(
    session: Session, keys: ServiceKeys, tmp_path: Path
) -> None:
    events = attest(session, keys.ledger, BATCHES)
    signer, file = keys.ledger, tmp_path / "ledger.jsonl"
    contents = history.ledgered_contents(session)
    written = verification.export(session, file, key=signer.verifier_key, contents=contents)
    assert written == sum(BATCHES)
    assert verification.verify_file(file) == (sum(BATCHES), [], signer.verifier_key, [])
    assert str(events[0].data) not in file.read_text(encoding="utf-8")
    size, differences, _, _ = verification.verify_file(file, key=VerifierKey(signer.origin, bytes(32)))
    assert (size, {difference.kind for difference in differences}) == (sum(BATCHES), {"checkpoint"})

    luck = random.Random(8)
    altered = tmp_path / "altered.jsonl"
    whole = file.read_bytes()
    start = whole.index(b"\n") + 1
    for _ in range(60):
        shutil.copyfile(file, altered)
        at = luck.randrange(start, len(whole))
        with altered.open("r+b") as out:
            out.seek(at)
            out.write(bytes([luck.choice([n for n in range(33, 127) if n != whole[at]])]))
        try:
            _, differences, _, _ = verification.verify_file(altered)
        except Invalid:
            continue
        line = whole.count(b"\n", start, at)
        low = max(n for n in (0, 1, 3, 258, 265) if n <= line)
        # Without tiles an altered leaf is located between two checkpoints; a decision by its number.
        assert {difference.position for difference in differences} & {line, low}, (line, differences)
