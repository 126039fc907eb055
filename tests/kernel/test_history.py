"""Events, guarded states, deadlines and the ledger on a real database."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.kernel import deadlines, history, ledger, merkle, verification
from app.kernel.calendar import Calendar
from app.kernel.checkpoint import Signer, read_note
from app.kernel.clock import frozen, now
from app.kernel.db import Database
from app.kernel.history import Event
from app.kernel.keys import ServiceKeys
from tests.factories import OPERATOR

WEEKDAYS = Calendar({}, frozenset(range(2020, 2040)))


def attest(session: Session, count: int) -> list[Event]:
    return [
        history.record(session, kind="test", subject_id=uuid4(), act="decide", by=OPERATOR, data={"n": n})
        for n in range(count)
    ]


def verify(session: Session, signer: Signer) -> tuple[int, list[str]]:
    size, differences = verification.verify(
        session,
        key=signer.verifier_key,
        contents=history.ledgered_contents(session),
    )
    return size, [str(difference) for difference in differences]


def test_events_are_never_changed(session: Session) -> None:
    (event,) = attest(session, 1)
    session.flush()
    with pytest.raises(DBAPIError, match="never changed"):
        session.execute(update(Event).where(Event.id == event.id).values(reason="other"))


def test_a_database_refuses_a_move_outside_the_table(session: Session) -> None:
    session.execute(text("CREATE TABLE thing (id int, state varchar)"))
    session.execute(text("INSERT INTO state_transition VALUES ('thing', '', 'A'), ('thing', 'A', 'B')"))
    trigger = "CREATE TRIGGER g BEFORE INSERT OR UPDATE OF state ON thing FOR EACH ROW EXECUTE FUNCTION guard_state('thing')"
    session.execute(text(trigger))
    session.execute(text("INSERT INTO thing VALUES (1, 'A')"))
    session.execute(text("UPDATE thing SET state = 'B'"))
    with pytest.raises(DBAPIError, match="cannot move from B to A"):
        session.execute(text("UPDATE thing SET state = 'A'"))


def test_the_ledger_proves_what_was_decided_and_shows_what_was_altered(
    database: Database, keys: ServiceKeys
) -> None:
    signer = keys.ledger
    with database.transaction() as session:
        events = attest(session, 300)
    with database.transaction() as session:
        assert ledger.sequence(session, signer) == 300
        more = attest(session, 5)
    with database.transaction() as session:
        assert ledger.sequence(session, signer) == 5
        assert ledger.sequence(session, signer) == 0
    with database.transaction() as session:
        for event in (events[0], events[255], events[299], more[-1]):
            proof = ledger.prove(session, event.id)
            assert proof.entry.content_hash == ledger.content_hash(event.content())
            size, root = read_note(proof.checkpoint.note, signer.verifier_key)
            leaf = merkle.leaf_hash(proof.entry.leaf())
            assert size == 305
            assert merkle.verify_inclusion(leaf, proof.position, size, proof.path, root)
        assert verify(session, signer) == (305, [])
    with database.transaction() as session:
        session.execute(text("ALTER TABLE event DISABLE TRIGGER forbid_change"))
        session.execute(update(Event).where(Event.id == events[7].id).values(data={"n": 8}))
        assert verify(session, signer) == (
            305,
            [f"decision 7: {events[7].id}: content differs from what was attested"],
        )
        session.rollback()
    with database.transaction() as session:
        session.execute(text("ALTER TABLE ledger_entry DISABLE TRIGGER forbid_change"))
        session.execute(
            text("UPDATE ledger_entry SET at = at + interval '1 second' WHERE id = :id"), {"id": events[9].id}
        )
        _, differences = verify(session, signer)
        assert differences == ["entry 9: the entry was altered"]


def test_a_late_commit_is_not_skipped_by_readers(database: Database) -> None:
    with database.transaction() as slow, database.transaction() as fast:
        (first,) = attest(slow, 1)
        slow.flush()
        (second,) = attest(fast, 1)
        fast.flush()
        fast.commit()
        with database.transaction() as reader:
            assert history.events_after(reader, (0, 0)) == []
    with database.transaction() as reader:
        assert {e.id for e in history.events_after(reader, (0, 0))} == {first.id, second.id}


def test_a_missed_deadline_fires_once(session: Session) -> None:
    fired: list[object] = []
    subject = uuid4()
    deadlines.start(
        session,
        kind="test",
        subject_id=subject,
        duty="answer",
        working_days=2,
        calendar=WEEKDAYS,
        legal_basis="809-21",
    )
    (row,) = deadlines.running(session, "test", subject)
    consequences = {"answer": lambda _session, row: fired.append(row.subject_id)}
    assert deadlines.sweep(session, consequences) == 0
    with frozen(row.due_at + timedelta(seconds=1)):
        assert deadlines.sweep(session, consequences) == 1
        assert deadlines.sweep(session, consequences) == 0
    assert fired == [subject]


def test_a_paused_deadline_keeps_the_days_it_had_left(session: Session) -> None:
    subject = uuid4()
    deadlines.start(
        session,
        kind="test",
        subject_id=subject,
        duty="answer",
        working_days=10,
        calendar=WEEKDAYS,
        legal_basis=None,
    )
    (row,) = deadlines.running(session, "test", subject)
    deadlines.pause(session, "test", subject, "answer", WEEKDAYS)
    with frozen(now() + timedelta(days=70)):
        assert deadlines.sweep(session, {}) == 0
        deadlines.resume(session, "test", subject, "answer", WEEKDAYS)
        assert row.due_at > now() + timedelta(days=13)


def test_a_clock_is_told_to_run_out_once_and_counted_again_when_the_calendar_is_known(
    session: Session,
) -> None:
    subject = uuid4()
    with frozen(datetime.fromisoformat("2026-12-28T09:00:00+08:00")):
        calendar = Calendar({}, frozenset({2026}), "test")
        deadlines.start(
            session, kind="test", subject_id=subject, duty="answer", working_days=6, calendar=calendar,
            legal_basis="809-21", remind=2,
        )  # fmt: skip
    (row,) = deadlines.running(session, "test", subject)
    assert (row.due_on.isoformat(), row.provisional) == ("2027-01-05", True)
    holiday = {date(2027, 1, 1): False, date(2027, 1, 3): True}
    assert deadlines.recount(session, Calendar(holiday, frozenset({2026, 2027}), "other")) == 0
    assert deadlines.recount(session, Calendar(holiday, frozenset({2026, 2027}), "test")) == 0  # one for one
    assert (row.due_on.isoformat(), row.provisional) == ("2027-01-05", False)
    row.provisional = True
    long = holiday | {date(2027, 1, 4): False}
    assert deadlines.recount(session, Calendar(long, frozenset({2026, 2027}), "test")) == 1
    assert row.due_on.isoformat() == "2027-01-06"
    told = []
    for moment in ("2027-01-02T23:59:00+08:00", "2027-01-03T00:00:00+08:00", "2027-01-05T12:00:00+08:00"):
        with frozen(datetime.fromisoformat(moment)):
            assert deadlines.sweep(session, {}) == 0
        told.append([event.act for event in history.events_of(session, "test", subject)])
    assert told == [["recount_deadline"], *[["recount_deadline", "remind_deadline"]] * 2]
