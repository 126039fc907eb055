"""Audits that people ask for: carried out by a worker, watched, given up; what errors and kills leave."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select

from app.kernel.clock import new_id
from app.kernel.outbound import Outbound
from app.worker import audit_apart
from catalog.collection import audit_runs, checking, engines
from catalog.collection.models import AuditFinding, AuditRun
from tests.catalog.bureau import CATALOG, CLERK, Bureau
from tests.conftest import OneTransaction
from tests.factories import Town

RUNS = "/audit/runs"
CITY = ("city_authority", CATALOG)
Json = dict[str, Any]


class Audits:
    """A catalog administrator of the city's authority, and the worker who carries out what is asked for."""

    def __init__(self, bureau: Bureau, database: OneTransaction) -> None:
        self.bureau, self.database = bureau, database

    def ask(self, **wanted: bool) -> Json:
        return dict(self.bureau.call("POST", RUNS, *CITY, body=wanted, expect=201))

    def read(self, audit: Json) -> Json:
        return dict(self.bureau.call("GET", f"{RUNS}/{audit['id']}", *CITY))

    def carry_out(self, audit: Json) -> Json:
        audit_runs.carry_out(self.database, UUID(audit["id"]))
        self.bureau.session.expire_all()
        return self.read(audit)

    def cancel(self, audit: Json) -> Json:
        return dict(self.bureau.call("POST", f"{RUNS}/{audit['id']}/cancel", *CITY, version=audit["version"]))

    def count(self, table: type) -> int:
        return self.bureau.session.scalar(select(func.count()).select_from(table)) or 0


@pytest.fixture
def audits(bureau: Bureau, one_transaction: OneTransaction) -> Audits:
    bureau.publish("health")  # the same as the civil bureau's: a copy
    return Audits(bureau, one_transaction)


def test_what_it_finds_comes_to_the_desk(audits: Audits) -> None:
    asked = audits.ask(whole=True)
    assert (asked["state"], asked["stage"], asked["counts"], asked["allowed"]) == (
        "asked",
        None,
        None,
        ["cancel"],
    )
    done = audits.carry_out(asked)
    assert (done["state"], done["examined"], done["allowed"]) == ("finished", None, [])
    assert done["counts"]["new"] == audits.count(AuditFinding) > 0
    assert done["stage"]["en"] == "bringing the work-list up to date"
    events = audits.bureau.call("GET", f"{RUNS}/{asked['id']}/events", *CITY)
    assert [event["act"] for event in events] == ["ask", "begin", "finish"]

    again = audits.carry_out(audits.ask())
    assert (again["state"], again["counts"]["new"]) == ("finished", 0)
    listed = audits.bureau.call("GET", RUNS, *CITY)["items"]
    assert [row["id"] for row in listed] == [again["id"], asked["id"]]


def test_one_at_a_time(audits: Audits) -> None:
    first = audits.ask()
    refused = audits.bureau.call("POST", RUNS, *CITY, body={"whole": True}, expect=409)
    assert "under way" in refused["detail"]
    audits.carry_out(first)
    audits.ask()


def test_carried_out_twice_it_is_done_once(audits: Audits) -> None:
    asked = audits.ask(whole=True)
    assert audits.carry_out(asked) == audits.carry_out(asked)
    assert audits.count(AuditRun) == 1


def test_what_is_cancelled_under_way_leaves_nothing(audits: Audits, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = audits.ask(whole=True)
    engine = engines.duck

    @contextmanager
    def cancelled_meanwhile() -> Iterator[engines.DuckEngine]:
        audits.cancel(audits.read(asked))
        with engine(workers=1) as found:
            yield found

    monkeypatch.setattr(engines, "duck", cancelled_meanwhile)
    assert audits.carry_out(asked)["state"] == "cancelled"
    assert audits.count(AuditRun) == audits.count(AuditFinding) == 0
    monkeypatch.undo()
    assert audits.carry_out(audits.ask(whole=True))["state"] == "finished"


def test_an_error_is_told_and_does_not_stand_in_the_way(
    audits: Audits, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = audits.ask()

    def broken(session: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(checking, "published_profiles", broken)
    with pytest.raises(ZeroDivisionError):
        audits.carry_out(asked)
    audit_runs.give_up(audits.database, UUID(asked["id"]))
    audits.bureau.session.expire_all()
    assert audits.read(asked)["state"] == "failed"
    audits.ask()


def test_only_an_authority_asks_and_knows(audits: Audits, town: Town) -> None:
    asked = audits.ask()
    audits.bureau.call("POST", RUNS, "civil", CATALOG, body={}, expect=403)
    audits.bureau.call("GET", f"{RUNS}/{asked['id']}", "civil", CATALOG, expect=403)
    audits.bureau.call("POST", RUNS, "city_authority", CLERK, body={}, expect=403)


def test_it_runs_in_a_process_of_its_own(one_transaction: OneTransaction) -> None:
    """Of which nothing is left; that a real one finishes is played on the running service."""
    audit_apart(one_transaction, Outbound(), {"audit_id": str(new_id())})
