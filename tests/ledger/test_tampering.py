"""Any single byte of what is kept, changed behind the service's back, is found and its place is told."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.kernel import history, verification
from app.kernel.checkpoint import Signer, VerifierKey
from app.kernel.errors import Invalid
from app.kernel.keys import ServiceKeys
from app.kernel.verification import Difference
from exchange.delivery import receipts
from tests.ledger.log import attest

pytestmark = pytest.mark.soak  # `.ci/run` runs it; too long for every `make test`

BATCHES = (1, 2, 255, 7, 60)
SIZE = sum(BATCHES)
PICKS = 8  # of each column
# Columns, and the query of the number a difference is told with. Not attested, because they say nothing of a
# decision: event.position and event.transaction (order of storage), ledger_checkpoint.at (no part of the note).
COLUMNS = {
    "ledger_entry": ("id", "at", "kind", "subject_id", "content_hash"),
    "ledger_leaf": ("position", "entry_id"),
    "ledger_tile": ("level", "index", "hashes"),
    "ledger_checkpoint": ("size", "root", "note"),
    "event": (
        "id", "at", "kind", "subject_id", "act", "actor_kind", "actor_name", "data",
        "ledgered",
    ),
}  # fmt: skip
KINDS = {
    "ledger_entry": {"entry", "leaf"},
    "ledger_leaf": {"entry", "leaf"},
    "ledger_tile": {"tile"},
    "ledger_checkpoint": {"checkpoint", "tree"},
    "event": {"decision"},
}


def verify(session: Session, signer: Signer) -> tuple[int, list[Difference]]:
    contents = chain(history.ledgered_contents(session), receipts.ledgered_contents(session))
    session.expire_all()
    return verification.verify(session, key=signer.verifier_key, contents=contents)


@pytest.fixture
def log(session: Session, keys: ServiceKeys) -> Iterator[Session]:
    """A session, past all triggers, on a log of 325 decisions."""
    attest(session, keys.ledger, BATCHES)
    for table in COLUMNS:
        session.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
    assert verify(session, keys.ledger) == (SIZE, [])
    yield session


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


def tamper(session: Session, table: str, column: str, luck: random.Random) -> int | None:
    """Change one byte of one row; returns the position it belongs to, or None where the database has no such
    value. The caller rolls back."""
    position = {
        "ledger_entry": "(SELECT position FROM ledger_leaf WHERE entry_id = t.id)",
        "event": "(SELECT l.position FROM ledger_leaf l WHERE l.entry_id = t.id)",
        "ledger_leaf": "t.position",
        "ledger_tile": "t.index * 256 ^ (t.level + 1)",
        "ledger_checkpoint": "t.size",
    }[table]
    kind = session.scalar(
        text("SELECT data_type FROM information_schema.columns WHERE table_name = :t AND column_name = :c"),
        {"t": table, "c": column},
    )
    as_text = "" if kind == "bytea" else "::text"
    rows = session.execute(
        text(
            f'SELECT t.ctid::text, {position}, t."{column}"{as_text} FROM {table} t WHERE t."{column}" IS NOT NULL'
        )
    ).all()
    if not rows:
        return None
    row, place, value = luck.choice(rows)
    other = changed_byte(bytes(value) if kind == "bytea" else value, luck)
    try:
        with session.begin_nested():
            done = session.execute(
                text(
                    f'UPDATE {table} SET "{column}" = CAST(:other AS {kind})'
                    f' WHERE ctid = CAST(:row AS tid) AND "{column}" IS DISTINCT FROM CAST(:other AS {kind}) RETURNING 1'
                ),
                {"other": other, "row": row},
            ).all()
    except DBAPIError:
        return None
    return int(place) if done else None


@pytest.mark.parametrize(
    ("table", "column"), [(table, column) for table, columns in COLUMNS.items() for column in columns]
)
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


def test_an_export_is_verified_without_a_database_and_shows_what_was_altered(
    session: Session, keys: ServiceKeys, tmp_path: Path
) -> None:
    events = attest(session, keys.ledger, BATCHES)
    signer, file = keys.ledger, tmp_path / "ledger.jsonl"
    contents = history.ledgered_contents(session)
    written = verification.export(session, file, key=signer.verifier_key, contents=contents)
    assert written == SIZE
    assert verification.verify_file(file) == (SIZE, [], signer.verifier_key, [])
    assert str(events[0].data) not in file.read_text(encoding="utf-8")
    size, differences, _, _ = verification.verify_file(file, key=VerifierKey(signer.origin, bytes(32)))
    assert (size, {difference.kind for difference in differences}) == (SIZE, {"checkpoint"})

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
