"""Agreements of an agency that is merged or dissolved pass to its successor, on the same terms."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.kernel.actor import Role
from tests.exchange.world import Json, World, slug, terms, to

APPROVER, MEDIATOR = Role.APPROVER, Role.MEDIATOR
KEPT = ("terms", "terms_hash", "origin", "negotiation_id", "valid_from", "valid_until", "consents")


def passed_on(world: World, agreement: Json, **changes: Any) -> Json:
    """The version after the authority put `market` in the provider's place."""
    body = {
        "side": "provider", "to_agency_id": str(world.town.id("market")), "document": "市编〔2026〕3号",
        "reason": "机构改革，职责划转", **changes,
    }  # fmt: skip
    expect = changes.pop("expect", 200)
    body.pop("expect", None)
    agreement = world.read("agreements", agreement["id"], "city_authority", MEDIATOR)
    done: Json = world.act(agreement, "transfer", "city_authority", MEDIATOR, body, expect=expect)
    return done


def test_the_successor_stands_where_the_dissolved_agency_stood(world: World) -> None:
    former = world.agreed()
    passed_on(world, former)
    versions = world.call("GET", f"/agreements/{former['id']}/versions", "health", APPROVER)
    assert [(v["number"], v["state"], v["changes"]) for v in versions] == [
        (1, "SUPERSEDED", []), (2, "IN_FORCE", []),
    ]  # fmt: skip
    now = world.read("agreements", versions[1]["id"], "market")
    assert {name: now[name] for name in KEPT} == {name: former[name] for name in KEPT}
    assert (now["provider"]["id"], now["requester"]["id"]) == (
        str(world.town.id("market")), str(world.town.id("health")),
    )  # fmt: skip
    assert (now["succession"], now["supersedes_id"]) == ("市编〔2026〕3号", former["id"])
    assert [clock["duty"] for clock in now["deadlines"]] == ["agreement.supply"]
    assert "suspend" in now["allowed"]
    assert not world.clocks(former["id"])
    world.read("agreements", now["id"], "civil", expect=404)  # the dissolved agency is no party any more
    document = world.client.get(
        f"/api/v1/agreements/{now['id']}/document",
        headers={**world.headers("market", APPROVER), "accept-language": "zh-CN"},
    )
    assert "市编〔2026〕3号 · 《民法典》第九十八条" in document.text


def test_what_is_suspended_stays_suspended_and_who_may_resume_it_as_well(world: World) -> None:
    agreement = world.act(
        world.agreed(), "suspend", "civil", APPROVER, {"reason": "发现越权使用", "mending": "整改报告"}
    )
    done = passed_on(world, agreement)
    assert (done["state"], done["suspended_by"], done["mending"]) == ("SUSPENDED", "provider", "整改报告")
    now = world.read("agreements", done["id"], "market")
    assert world.act(now, "resume", "market", APPROVER, {})["state"] == "IN_FORCE"


def test_the_requesters_successor_may_amend_what_it_took_over(world: World) -> None:
    former = world.agreed()
    done = passed_on(world, former, side="requester")
    resource = former["terms"]["resources"][0]["resource_id"]
    body = {"title": "续期", "amends": done["id"], "terms": terms(resource, items=("name",))}
    drafted = world.call("POST", "/requests", "market", Role.CLERK, body=body, expect=201)
    filed = world.act(drafted, "file", "market", APPROVER)
    case = world.read("negotiations", filed["negotiations"][0]["id"], "civil")
    agreed = world.act(case, "agree", "civil", APPROVER, to(case["terms"]))
    third = world.read("agreements", agreed["agreement_id"], "market")
    assert (third["number"], third["supersedes_id"], third["succession"]) == (3, done["id"], None)


@pytest.mark.parametrize("agency", ["health", "civil", "province_authority", None])
def test_who_may_not_succeed(world: World, agency: str | None) -> None:
    to_agency = str(world.town.id(agency)) if agency else "018f0000-0000-7000-8000-00000000fffe"
    refused = passed_on(world, world.agreed(), to_agency_id=to_agency, expect=422)
    assert [fault["field"] for fault in refused["errors"]] == ["/to_agency_id"]
    assert refused["legal_basis"] == "CIV-98"


def test_an_ended_agreement_passes_to_nobody(world: World) -> None:
    ended = world.act(
        world.read("agreements", world.agreed()["id"], "health"), "complete", "health", APPROVER, {}
    )
    assert slug(passed_on(world, ended, expect=409)) == "wrong-moment"


COPY = """
    INSERT INTO agreement SELECT (jsonb_populate_record(one, CAST(:changes AS jsonb))).* FROM agreement AS one
    WHERE id = :id
"""


@pytest.mark.parametrize("member", ["requester_id", "both", "terms_hash"])
def test_the_database_lets_nobody_else_take_a_partys_place(world: World, member: str) -> None:
    agreement = world.agreed()
    stranger, other = str(world.town.id("market")), str(world.town.id("east_health"))
    changes: Json = {"id": stranger, "state": "IN_FORCE", "version": 1, "number": 2}
    match member:
        case "requester_id":
            changes |= {"requester_id": stranger}
        case "both":
            changes |= {
                "succession": "文件", "supersedes_id": agreement["id"], "requester_id": stranger, "provider_id": other,
            }  # fmt: skip
        case _:
            changes |= {"succession": "文件", "supersedes_id": agreement["id"], "terms_hash": "0" * 64}
    with pytest.raises(DBAPIError) as refused, world.session.begin_nested():
        world.session.execute(text(COPY), {"changes": json.dumps(changes), "id": agreement["id"]})
    assert getattr(refused.value.orig, "sqlstate", None) == "ZT003"


def test_a_limit_of_calls_at_once_is_a_term_like_others(world: World) -> None:
    resource = world.publish()
    quota = {"calls_per_day": 1000, "rows_per_day": 10000, "rows_per_call": 100}
    case = world.filed(resource, quota=quota)
    case = world.offered(case, terms(resource, quota={**quota, "concurrent_calls": 4}))
    changes = world.call("GET", f"/negotiations/{case['id']}/changes?before=1&after=2", "health", APPROVER)
    assert [(c["path"], c["kind"], c["after"]["zh"]) for c in changes] == [
        ("/quota/concurrent_calls", "added", "4")
    ]
    world.policy(resource, world.rule("health", quota={**quota, "concurrent_calls": 4}))
    unlimited = world.filed(resource, quota=quota)
    assert unlimited["state"] == "REQUESTED"
    covered = world.filed(resource, quota={**quota, "concurrent_calls": 2})
    assert covered["state"] == "FINALIZED"
