"""Committed transactions that want the same negotiation: exactly one wins, nothing is half done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from uuid import UUID

import pytest
from fastapi import FastAPI
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.kernel import clock, deadlines
from app.kernel.actor import Role
from app.kernel.db import Database
from app.kernel.deadlines import DeadlineRow
from app.kernel.errors import Problem, StaleVersion, WrongMoment
from app.kernel.history import Event
from app.kernel.keys import ServiceKeys
from app.main import stand_on
from app.settings import Settings
from exchange.agreements.models import Agreement
from exchange.negotiations import service
from exchange.negotiations.models import Negotiation
from tests.conftest import PUBLIC_URL
from tests.exchange.world import CONSEQUENCES, START, World, terms
from tests.factories import Town

CLERK, APPROVER = Role.CLERK, Role.APPROVER
WRITERS = 8
Write = Callable[[Session, Negotiation], object]


@pytest.fixture
def committed(one_app: FastAPI, database: Database, keys: ServiceKeys, settings: Settings) -> Iterator[World]:
    """A world whose every step is committed."""
    stand_on(one_app, settings, database, keys)
    with (
        clock.frozen(START),
        Session(database.engine, expire_on_commit=False) as session,
        TestClient(one_app, base_url=PUBLIC_URL) as client,
    ):
        client.headers["accept-language"] = "en"
        yield World(session, Town(session), client, hand_over=session.commit)


def race(database: Database, negotiation_id: UUID, writes: list[Write]) -> list[str]:
    """Run the writes at the same moment, each in its own transaction; what became of each."""
    together = Barrier(len(writes))

    def run(write: Write) -> str:
        try:
            with database.transaction() as session:
                negotiation = session.get_one(Negotiation, negotiation_id)
                together.wait(30)
                write(session, negotiation)
        except Problem as problem:
            assert isinstance(problem, (StaleVersion, WrongMoment)), problem  # 412, 409
            return problem.slug
        except OperationalError as error:  # told to the client as a conflict
            assert getattr(error.orig, "sqlstate", None) == "40P01"
            return "deadlock"
        return "done"

    with ThreadPoolExecutor(len(writes)) as pool:
        return list(pool.map(run, writes))


@pytest.mark.parametrize("act", ["agree", "accept"])
def test_consent_against_withdrawal(committed: World, database: Database, act: str) -> None:
    resource = committed.publish()
    case = committed.filed(resource)
    if act == "accept":
        case = committed.offered(case, terms(resource, items=("name",)))
    approver = committed.town.actor("civil" if act == "agree" else "health", APPROVER)
    clerk = committed.town.actor("health", CLERK)
    committed.session.commit()
    read, to_hash = case["version"], case["terms"]["terms_hash"]

    def consent(session: Session, negotiation: Negotiation) -> None:
        getattr(service, act)(session, negotiation, to_hash=to_hash, by=approver, version=read)

    def withdraw(session: Session, negotiation: Negotiation) -> None:
        service.withdraw(session, negotiation, reason=None, by=clerk, version=read)

    outcomes = race(database, UUID(case["id"]), [consent, withdraw] * (WRITERS // 2))
    assert outcomes.count("done") == 1, outcomes
    committed.session.expire_all()
    state = committed.session.get_one(Negotiation, UUID(case["id"])).state
    agreements = committed.session.scalar(select(func.count()).select_from(Agreement))
    consented = ("FINALIZED", 1) if act == "agree" else ("ACCEPTED", 0)
    assert (state, agreements) in {consented, ("TERMINATED", 0)}
    assert {"accept": {"negotiation.confirm"}}.get(act, set()) >= set(committed.clocks(case["id"]))
    happened = committed.events("negotiation", case["id"])
    assert happened.count(act) + happened.count("withdraw") == 1


def test_counter_against_counter(committed: World, database: Database) -> None:
    resource = committed.publish()
    case = committed.offered(committed.filed(resource), terms(resource, items=("name",)))
    wanted = {"terms": terms(resource, retention_days=9)}
    case = committed.act(case, "draft_terms", "health", CLERK, wanted)
    approver = committed.town.actor("health", APPROVER)
    committed.session.commit()

    def counter(session: Session, negotiation: Negotiation) -> None:
        service.counter_offer(
            session,
            negotiation,
            to_hash=case["draft"]["terms_hash"],
            reason=None,
            by=approver,
            version=case["version"],
        )

    outcomes = race(database, UUID(case["id"]), [counter] * WRITERS)
    assert sorted(outcomes) == ["done"] + ["stale-version"] * (WRITERS - 1)
    after = committed.read("negotiations", case["id"], "civil")
    assert (after["state"], after["rounds"], after["terms"]["number"]) == ("REQUESTED", 1, 3)


def test_consent_against_the_deadline(committed: World, database: Database) -> None:
    case = committed.filed(committed.publish())
    approver = committed.town.actor("civil", APPROVER)
    due = committed.clocks(case["id"])["negotiation.reply.conditional"].due_at
    committed.session.commit()

    def agree(session: Session, negotiation: Negotiation) -> object:
        return service.agree(
            session,
            negotiation,
            to_hash=case["terms"]["terms_hash"],
            by=approver,
            version=case["version"],
        )

    def sweep(session: Session, _negotiation: Negotiation) -> object:
        return deadlines.sweep(session, CONSEQUENCES)

    with clock.frozen(due):
        race(database, UUID(case["id"]), [agree, *[sweep] * (WRITERS - 1)])
        with database.transaction() as session:  # what a failed sweep left is due still
            deadlines.sweep(session, CONSEQUENCES)
    committed.session.expire_all()
    acts = select(Event.act).where(
        Event.subject_id == UUID(case["id"]), Event.act.in_(["agree", "mark_overdue"])
    )
    happened = list(committed.session.scalars(acts))
    ended = select(DeadlineRow.outcome).where(DeadlineRow.subject_id == UUID(case["id"]))
    outcome = committed.session.scalars(ended).all()
    assert (happened, outcome) in [(["agree"], ["met"]), (["mark_overdue"], ["fired"])]
