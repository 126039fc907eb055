"""Names are erased at the end of their term, and nothing else; the ledger goes on proving the rest."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app import operate
from app.identity.profiles import install_defaults
from app.kernel import clock, erasure, history, ledger, verification
from app.kernel.actor import Actor, ActorKind, system_actor
from app.kernel.db import Database
from app.kernel.errors import Invalid
from app.kernel.history import Event
from app.kernel.keys import ServiceKeys
from app.kernel.verification import Difference
from tests.ledger.log import attest

CLERK = Actor(ActorKind.PERSON, uuid4(), name="王经办")
TERM = timedelta(days=4 * 366)


def act(session: Session, count: int) -> list[Event]:
    return [
        history.record(session, kind="test", subject_id=uuid4(), act="decide", by=CLERK, reason=f"理由{n}")
        for n in range(count)
    ]


def verify(session: Session, keys: ServiceKeys) -> list[Difference]:
    contents = history.ledgered_contents(session)
    return verification.verify(session, key=keys.ledger.verifier_key, contents=contents)[1]


def erased(session: Session, keys: ServiceKeys) -> Session:
    """A numbered log of which three events have lost their name, and one kept it."""
    act(session, 3)
    with clock.frozen(clock.now() + timedelta(days=1)):
        later = act(session, 1)[0]
        session.flush()
        by = system_actor("operator")
        assert erasure.erase_names(session, before=later.at, by=by, reason="保存期届满") == 3
        assert erasure.erase_names(session, before=later.at, by=by, reason="保存期届满") == 0
    while ledger.sequence(session, keys.ledger):
        pass
    left = session.execute(
        select(Event.actor_name, Event.actor_id, Event.reason)
        .where(Event.kind == "test")
        .order_by(Event.position)
    )
    gone = [("", None, f"理由{n}") for n in range(3)]
    assert [tuple(row) for row in left] == [*gone, (CLERK.name, CLERK.id, "理由0")]
    return session


def test_names_go_and_proofs_stay(session: Session, keys: ServiceKeys, tmp_path: Path) -> None:
    erased(session, keys)
    assert verify(session, keys) == []
    file = tmp_path / "ledger.jsonl"
    key = keys.ledger.verifier_key
    verification.export(session, file, key=key, contents=history.ledgered_contents(session))
    assert verification.verify_file(file)[1] == []


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE event SET reason = '另有理由' WHERE erased_by IS NOT NULL AND reason = '理由1'",
        "UPDATE event SET actor_id = NULL, actor_name = '', erased_by = gen_random_uuid() WHERE actor_name = '王经办'",
        "UPDATE event SET erased_by = (SELECT erased_by FROM event WHERE erased_by IS NOT NULL LIMIT 1)"
        " WHERE actor_name = '王经办'",
        "DELETE FROM event WHERE erased_by IS NOT NULL AND reason = '理由2'",
    ],
)
def test_what_remains_is_attested(session: Session, keys: ServiceKeys, change: str) -> None:
    erased(session, keys)
    session.execute(text("ALTER TABLE event DISABLE TRIGGER USER"))
    session.execute(text(change))
    assert {difference.kind for difference in verify(session, keys)} == {"decision"}


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE event SET actor_name = ''",
        "UPDATE event SET actor_name = '', actor_id = NULL, erased_by = gen_random_uuid(), reason = ''",
        "UPDATE event SET actor_name = 'x', actor_id = NULL, erased_by = gen_random_uuid()",
        "DELETE FROM event",
    ],
)
def test_nothing_else_of_an_event_can_be_changed(session: Session, change: str) -> None:
    act(session, 1)
    session.flush()
    with pytest.raises(DBAPIError, match="never changed"):
        session.execute(text(change))


def test_names_are_kept_for_their_term(database: Database, keys: ServiceKeys) -> None:
    start = clock.now()
    with database.transaction() as session:
        install_defaults(session)
        attest(session, keys.ledger, (2,))  # of the operator: no person's name
        act(session, 3)
    assert operate.erase_names(database, None)[0] == 0
    with clock.frozen(start + TERM), database.transaction() as session:
        act(session, 1)
    with clock.frozen(start + TERM):
        with pytest.raises(Invalid) as caught:
            operate.erase_names(database, date(9999, 1, 1))
        assert [fault.field for fault in caught.value.faults] == ["/before"]
        assert operate.erase_names(database, None)[0] == 3
        assert operate.verify(database, keys)[1] == []
    with database.transaction() as session:
        named = session.scalars(select(Event.actor_name).where(Event.actor_kind == "person"))
        assert sorted(named) == ["", "", "", "王经办"]
