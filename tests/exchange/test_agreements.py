"""Agreements in force: who sees them, how they stop, what the database holds against everyone."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import ClassVar
from urllib.parse import urlencode
from uuid import UUID

import psycopg
import pytest
from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.kernel import clock
from app.kernel.actor import Role, system_actor
from app.kernel.db import Database
from app.kernel.keys import ServiceKeys
from app.main import stand_on
from app.settings import Settings
from exchange.agreements import service
from exchange.agreements.models import Agreement
from exchange.terms import Terms, terms_hash
from tests.conftest import PUBLIC_URL
from tests.exchange.world import START, Json, World, slug, terms
from tests.factories import Town

CLERK, APPROVER, MEDIATOR = Role.CLERK, Role.APPROVER, Role.MEDIATOR
CITY = "city_authority"


def test_the_register_is_for_those_concerned(world: World) -> None:
    agreement = world.agreed()
    concerned = [
        ("health", CLERK), ("civil", APPROVER), (CITY, MEDIATOR), (CITY, Role.AUDIT_ADMINISTRATOR),
        ("province_authority", Role.AUDIT_ADMINISTRATOR),
    ]  # fmt: skip
    strangers = [
        ("market", CLERK), ("market", APPROVER), ("east_authority", MEDIATOR), ("province_authority", MEDIATOR),
        ("east_authority", Role.AUDIT_ADMINISTRATOR), ("market", Role.AUDIT_ADMINISTRATOR),
    ]  # fmt: skip
    for agency, role in concerned:
        assert (
            world.read("agreements", agreement["id"], agency, role)["terms_hash"] == agreement["terms_hash"]
        )
        assert len(world.call("GET", "/agreements", agency, role)["items"]) == 1
        world.call("GET", f"/agreements/{agreement['id']}/events", agency, role)
    for agency, role in strangers:
        world.read("agreements", agreement["id"], agency, role, expect=404)
        world.call("GET", f"/agreements/{agreement['id']}/events", agency, role, expect=404)
        assert world.call("GET", "/agreements", agency, role)["items"] == []
    world.act(agreement, "suspend", "market", APPROVER, {"reason": "x"}, expect=404)


def test_the_register_is_found_by_resource_and_state(world: World) -> None:
    first, second = world.agreed(), world.agreed()
    world.act(second, "complete", "health", APPROVER, {})
    resource = first["terms"]["resources"][0]["resource_id"]
    for query, found in (
        (f"resource={resource}", [first]),
        ("state=COMPLETED", [second]),
        ("limit=1", [second]),
    ):
        answer = world.call("GET", f"/agreements?{query}", "health", CLERK)
        assert [row["id"] for row in answer["items"]] == [a["id"] for a in found]


def test_what_is_agreed_is_what_was_consented_to(world: World) -> None:
    agreement = world.agreed()
    assert terms_hash(Terms.model_validate(agreement["terms"])) == agreement["terms_hash"]
    assert {c["terms_hash"] for c in agreement["consents"]} == {agreement["terms_hash"]}


@pytest.mark.parametrize(
    "change",
    [
        "terms = '{}'", "terms_hash = 'x'", "content_hash = 'x'", "valid_until = '2030-01-01'",
        "requester_id = provider_id", "origin = 'policy'", "resource_ids = '{}'",
    ],
)  # fmt: skip
def test_the_database_lets_nobody_change_what_was_agreed(world: World, change: str) -> None:
    world.agreed()
    with pytest.raises(DBAPIError, match="never changed"), world.session.begin_nested():
        world.session.execute(text(f"UPDATE agreement SET {change}"))
    with pytest.raises(DBAPIError, match="never changed"), world.session.begin_nested():
        world.session.execute(text("DELETE FROM agreement"))


_COPY = """
INSERT INTO agreement (id, created_at, state, version, updated_at, requester_id, provider_id, authority_id,
    negotiation_id, terms_version_id, origin, terms, terms_hash, content_hash, resource_ids, valid_from,
    valid_until, in_force_at, supply_overdue)
SELECT gen_random_uuid(), now(), 'IN_FORCE', 1, now(), n.requester_id, n.provider_id, n.authority_id, n.id,
    v.id, :origin, {terms}, v.terms_hash, 'x', '{{}}', '2026-01-01', '2027-01-01', now(), false
FROM negotiation n JOIN terms_version v ON v.id = n.current_terms_id
"""


@pytest.mark.parametrize(
    ("origin", "kept"), [("negotiated", "v.terms"), ("policy", "v.terms"), ("negotiated", "'{}'")]
)
def test_the_database_refuses_an_agreement_without_both_consents(
    world: World, origin: str, kept: str
) -> None:
    world.filed(world.publish())  # the requester has consented, the provider has not
    with pytest.raises(DBAPIError, match="an agreement"), world.session.begin_nested():
        world.session.execute(text(_COPY.format(terms=kept)), {"origin": origin})


class TestSuspension:
    def test_and_resumption_by_the_provider(self, world: World) -> None:
        agreement = world.agreed()
        world.act(agreement, "suspend", "civil", CLERK, {"reason": "数据源故障"}, expect=403)
        world.act(agreement, "suspend", "civil", APPROVER, {}, expect=422)
        stopped = world.act(agreement, "suspend", "civil", APPROVER, {"reason": "数据源故障"})
        assert (stopped["state"], stopped["suspended_by"], stopped["reason"]) == (
            "SUSPENDED",
            "provider",
            "数据源故障",
        )
        assert stopped["deadlines"][0]["paused"]
        again = world.act(stopped, "resume", "civil", APPROVER, {})
        assert (again["state"], again["suspended_by"]) == ("IN_FORCE", None)
        assert not again["deadlines"][0]["paused"]

    def test_by_the_authority_is_not_lifted_by_the_provider(self, world: World) -> None:
        agreement = world.agreed()
        stopped = world.act(agreement, "suspend", CITY, MEDIATOR, {"reason": "超范围使用"})
        assert "resume" not in world.read("agreements", agreement["id"], "civil")["allowed"]
        world.act(stopped, "resume", "civil", APPROVER, {}, expect=409)
        assert world.act(stopped, "resume", CITY, MEDIATOR, {})["state"] == "IN_FORCE"


class TestTheEnd:
    def test_a_provider_proposes_and_does_not_decide(self, world: World) -> None:
        agreement = world.agreed()
        assert "terminate" not in agreement["allowed"]
        world.act(agreement, "terminate", "civil", APPROVER, {"reason": "x"}, expect=403)
        world.act(agreement, "agree_end", "health", APPROVER, {}, expect=409)
        announced = world.act(agreement, "announce_end", "civil", APPROVER, {"reason": "系统停用"})
        assert announced["state"] == "IN_FORCE"
        assert announced["end_announced_at"]
        ended = world.act(announced, "agree_end", "health", APPROVER, {})
        assert (ended["state"], ended["allowed"]) == ("TERMINATED", ["certify_disposal"])
        assert [clock["duty"] for clock in ended["deadlines"]] == ["agreement.disposal"]

    def test_the_authority_terminates_on_violation(self, world: World) -> None:
        agreement = world.agreed()
        ended = world.act(agreement, "terminate", CITY, MEDIATOR, {"reason": "转交第三方，违反809第二十五条"})
        assert ended["state"] == "TERMINATED"

    def test_after_the_last_day_of_use(self, world: World) -> None:
        agreement = world.agreed()
        for moment, ended in (("2027-09-17T23:59:00+08:00", 0), ("2027-09-18T00:00:00+08:00", 1)):
            with clock.frozen(datetime.fromisoformat(moment)):
                assert service.expire_due(world.session) == ended
        world.session.flush()
        assert world.read("agreements", agreement["id"], "health")["state"] == "EXPIRED"
        wake = text(
            "SELECT scheduled_at FROM procrastinate_jobs WHERE task_name = 'agreements.term' ORDER BY scheduled_at DESC LIMIT 1"
        )
        assert world.session.scalar(wake) == datetime.fromisoformat("2027-09-18T00:00:00+08:00")


class TestSupplyClock:
    def test_counts_twenty_working_days(self, world: World) -> None:
        with world.at(datetime.fromisoformat("2026-09-30T10:00:00+08:00")):
            agreement = world.agreed()
        assert [d["due_on"] for d in agreement["deadlines"]] == ["2026-11-03"]  # golden case
        assert world.sweep_at(datetime.fromisoformat("2026-11-03T23:59:00+08:00")) == 0
        assert world.sweep_at(datetime.fromisoformat("2026-11-04T00:00:00+08:00")) == 1

    def test_missed_is_marked(self, world: World) -> None:
        agreement = world.agreed()
        world.sweep_at(world.clocks(agreement["id"])["agreement.supply"].due_at)
        late = world.read("agreements", agreement["id"], "health")
        assert (late["state"], late["supply_overdue"]) == ("IN_FORCE", True)

    def test_met_by_the_first_delivery(self, world: World) -> None:
        agreement = world.agreed()
        for _ in range(2):
            service.note_supplied(world.session, UUID(agreement["id"]))
        world.session.flush()
        world.sweep_at(START + timedelta(days=90))
        assert world.read("agreements", agreement["id"], "health")["supply_overdue"] is False


def test_each_change_is_told_to_listeners_when_it_commits(
    one_app: FastAPI, database: Database, keys: ServiceKeys, settings: Settings
) -> None:
    stand_on(one_app, settings, database, keys)
    with (
        clock.frozen(START),
        psycopg.connect(database.url, autocommit=True) as listener,
        Session(database.engine, expire_on_commit=False) as session,
        TestClient(one_app, base_url=PUBLIC_URL) as client,
    ):
        listener.execute("LISTEN agreement_change")
        client.headers["accept-language"] = "en"
        world = World(session, Town(session), client, hand_over=session.commit)
        agreement = world.agreed()
        world.act(agreement, "suspend", "civil", APPROVER, {"reason": "数据源故障"})
        told = [n.payload for n in listener.notifies(timeout=5, stop_after=2)]
    assert told == [agreement["id"]] * 2


def test_a_change_by_rule_needs_its_party(world: World) -> None:
    row = world.session.get_one(Agreement, UUID(world.agreed()["id"]))
    by = system_actor("ruling")
    service.change_agreement(
        world.session, row, "suspend", by=by, reason="复核", parties=frozenset({"ruling"})
    )
    assert (row.state, row.suspended_by) == ("SUSPENDED", "ruling")


class TestDisposal:
    """处置: what was shared is disposed of at the end, and somebody answers for it (809-27)."""

    HOW: ClassVar[Json] = {"disposed_on": "2026-09-18", "disposal": "删除并覆写"}

    def test_is_certified_once_within_its_clock(self, world: World) -> None:
        ended = world.act(
            world.read("agreements", world.agreed()["id"], "health"), "complete", "health", APPROVER, {}
        )
        assert [clock["due_on"] for clock in ended["deadlines"]] == ["2026-10-22"]  # twenty working days
        assert ended["allowed"] == ["certify_disposal"]
        done = world.act(ended, "certify_disposal", "health", APPROVER, self.HOW)
        assert (done["disposed_on"], done["deadlines"], done["allowed"]) == ("2026-09-18", [], [])
        again = world.act(done, "certify_disposal", "health", APPROVER, self.HOW, expect=409)
        assert slug(again) == "wrong-moment"

    def test_not_by_the_provider_nor_on_a_day_that_has_not_come(self, world: World) -> None:
        ended = world.act(
            world.read("agreements", world.agreed()["id"], "health"), "complete", "health", APPROVER, {}
        )
        assert (
            slug(world.act(ended, "certify_disposal", "civil", APPROVER, self.HOW, expect=403))
            == "not-permitted"
        )
        for day in ("2026-09-19", "2026-09-17"):
            body = {**self.HOW, "disposed_on": day}
            refused = world.act(ended, "certify_disposal", "health", APPROVER, body, expect=422)
            assert refused["errors"][0]["field"] == "/disposed_on"

    def test_missed_is_marked(self, world: World) -> None:
        ended = world.act(
            world.read("agreements", world.agreed()["id"], "health"), "complete", "health", APPROVER, {}
        )
        assert world.sweep_at(world.clocks(ended["id"])["agreement.disposal"].due_at) == 1
        late = world.read("agreements", ended["id"], "health")
        assert (late["disposal_overdue"], late["allowed"]) == (True, ["certify_disposal"])
        assert not world.act(late, "certify_disposal", "health", APPROVER, self.HOW)["disposal_overdue"]

    def test_the_certificate_stands(self, world: World) -> None:
        ended = world.act(
            world.read("agreements", world.agreed()["id"], "health"), "complete", "health", APPROVER, {}
        )
        world.act(ended, "certify_disposal", "health", APPROVER, self.HOW)
        with pytest.raises(DBAPIError, match="never changed"), world.session.begin_nested():
            world.session.execute(text("UPDATE agreement SET disposal = 'x' WHERE disposed_on IS NOT NULL"))


def test_what_must_be_mended_is_told_until_it_is(world: World) -> None:
    why = {"reason": "超范围使用", "mending": "停止向第三方提供，提交整改报告"}
    suspended = world.act(world.agreed(), "suspend", "civil", APPROVER, why)
    told = world.read("agreements", suspended["id"], "health")
    assert (told["reason"], told["mending"]) == (why["reason"], why["mending"])
    assert world.act(suspended, "resume", "civil", APPROVER, {})["mending"] is None


def test_the_parties_are_reminded_once_of_the_last_day(world: World) -> None:
    agreement = world.agreed()  # until 2027-09-17
    told = []
    for moment in ("2027-08-17T23:59:00+08:00", "2027-08-18T00:00:00+08:00", "2027-08-19T00:00:00+08:00"):
        with clock.frozen(datetime.fromisoformat(moment)):
            told.append(service.remind_of_renewal(world.session))
    assert told == [0, 1, 0]
    assert world.events("agreement", agreement["id"])[-1] == "remind_renewal"


def test_the_register_is_searched(world: World) -> None:
    one, other = world.agreed(), world.agreed()

    def found(reader: str = "health", **asked: str) -> set[str]:
        query = urlencode(asked)
        return {row["id"] for row in world.call("GET", f"/agreements?{query}", reader, Role.CLERK)["items"]}

    both = {one["id"], other["id"]}
    assert found(q="民政局 婚姻登记") == found(q="核验婚姻") == found(q="Civil marriage") == found() == both
    assert found(q=one["id"][:36]) == {one["id"]}
    assert found(q="气象") == found(q="100%") == set()
    assert found(agency=str(world.town.id("market"))) == set()
    assert found(ends_by="2027-09-17") == both
    assert found(ends_by="2027-09-16") == set()
    assert found("market", q="民政局") == set()


def test_the_database_finalizes_nothing_without_its_agreement(world: World) -> None:
    """The moves are those of the table, done by hand: what is missing is the agreement."""
    case = world.filed(world.publish())
    session = world.session
    with pytest.raises(DBAPIError, match="without its agreement"), session.begin_nested():
        for state in ("AGREED", "VERIFIED", "FINALIZED"):
            move = text("UPDATE negotiation SET state = :state WHERE id = :id")
            session.execute(move, {"state": state, "id": case["id"]})
        session.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))


def test_the_database_keeps_no_agreement_without_its_finalized_negotiation(world: World) -> None:
    """Both have consented, but nothing was finalized."""
    agreement = world.agreed()
    other = world.offered(world.filed(world.publish()), terms(world.publish()))
    session = world.session
    with pytest.raises(DBAPIError, match="without its finalized negotiation"), session.begin_nested():
        version = {"id": other["terms"]["id"], "hash": other["terms"]["terms_hash"], "case": other["id"]}
        person = {"person": world.town.person("health", APPROVER).id}
        session.execute(
            text(
                "INSERT INTO consent (id, created_at, terms_version_id, party, kind, person_id, terms_hash, at)"
                " VALUES (gen_random_uuid(), now(), :id, 'requester', 'approver', :person, :hash, now())"
            ),
            version | person,
        )
        session.execute(
            text(
                "INSERT INTO agreement SELECT made.* FROM agreement one, terms_version v,"
                " jsonb_populate_record(one, jsonb_build_object('id', gen_random_uuid(), 'series_id',"
                " gen_random_uuid(), 'negotiation_id', CAST(:case AS text), 'terms_version_id', v.id, 'terms', v.terms,"
                " 'terms_hash', v.terms_hash)) made WHERE one.id = :one AND v.id = :id"
            ),
            version | {"one": agreement["id"]},
        )
        session.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
