"""Plans over time: control numbers, renewals and amendments, permission to collect, acceptances that lapse."""

from __future__ import annotations

from datetime import datetime

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.kernel import clock
from catalog.collection import links, service
from tests.catalog.bureau import (
    APPROVER,
    CATALOG,
    CLERK,
    GROUND,
    KNOWN,
    MEDIATOR,
    NEW,
    WHY,
    Bureau,
    Json,
    planned,
)

TERMS = {**WHY, "scope": "社区一级，一次性", "until": "2026-11-30"}


def at(bureau: Bureau, day: str) -> None:
    """What ends before that day ends."""
    with clock.frozen(datetime.fromisoformat(f"{day}T00:30:00+08:00")):
        service.expire_due(bureau.session)
        bureau.session.flush()
    bureau.session.expire_all()


def read(bureau: Bureau, plan: Json) -> Json:
    found: Json = bureau.call("GET", f"/plans/{plan['id']}", "health", CLERK)
    return found


def do(
    bureau: Bureau, plan: Json, act: str, *who: object, body: Json | None = None, expect: int = 200
) -> Json:
    version = read(bureau, plan)["version"]
    done: Json = bureau.call(
        "POST", f"/plans/{plan['id']}/{act}", *who, body=body, version=version, expect=expect
    )
    return done


def accepted(bureau: Bureau) -> Json:
    """A cleared plan whose one finding was accepted."""
    finding = bureau.flagged()
    bureau.act(finding, "justify", "health", CLERK, body=GROUND)
    bureau.act(finding, "accept", "city_authority", CATALOG, body=TERMS)
    return bureau.plan_of(finding)


def test_what_is_cleared_gets_a_control_number_that_stays(bureau: Bureau) -> None:
    plans = [bureau.filed(NEW) for _ in range(2)]
    blocked = bureau.filed(KNOWN)
    assert [p["control_number"] for p in plans] == ["测试市数据局采〔2026〕1号", "测试市数据局采〔2026〕2号"]
    assert (plans[0]["expires_on"], blocked["control_number"]) == ("2026-12-31", None)
    long = bureau.filed(NEW, period_until="2035-01-01")
    assert long["expires_on"] == "2029-09-18"  # the profile's three years
    with pytest.raises(DBAPIError, match="never changed"), bureau.session.begin_nested():
        bureau.session.execute(text("UPDATE plan SET control_number = 'x' WHERE control_number IS NOT NULL"))
    at(bureau, "2029-09-19")
    assert read(bureau, long)["state"] == "expired"


def test_a_renewal_is_checked_again(bureau: Bureau) -> None:
    plan = bureau.filed("登记机关印章编号")
    assert plan["state"] == "cleared" and plan["allowed"] == ["collect", "close"]
    assert read(bureau, plan)["allowed"] == ["amend", "renew"]
    bureau.publish("market", title="婚姻登记当事人", items=[{"name": "登记机关印章编号", "data_type": "C"}])
    period = {"period_from": "2027-01-01", "period_until": "2027-12-31"}
    backwards = {**period, "period_until": "2026-12-31"}
    do(bureau, plan, "renew", "health", CLERK, body=backwards, expect=422)
    renewal = do(bureau, plan, "renew", "health", CLERK, body=period, expect=201)
    assert (renewal["state"], renewal["follows"]) == (
        "draft",
        {"plan_id": plan["id"], "follows_as": "renewal"},
    )
    changed = bureau.call("GET", f"/plans/{renewal['id']}/changes", "health", CLERK)
    assert [c["field"] for c in changed["fields"]] == ["period_from", "period_until"]
    assert (changed["added"], changed["removed"], changed["changed"]) == ([], [], [])
    filed = do(bureau, renewal, "file", "health", APPROVER)
    assert (filed["state"], filed["findings"]["reuse_expected"]) == ("blocked", 1)
    assert read(bureau, plan)["state"] == "cleared"


def test_an_amendment_shows_what_is_new_keeps_what_was_accepted_and_takes_over(bureau: Bureau) -> None:
    plan = accepted(bureau)
    body = planned(KNOWN, NEW, respondents=100)
    amendment = do(bureau, plan, "amend", "health", CLERK, body=body, expect=201)
    changed = bureau.call("GET", f"/plans/{amendment['id']}/changes", "health", CLERK)
    assert [item["name"] for item in changed["added"]] == [NEW]
    assert [(c["field"], c["before"], c["after"]) for c in changed["fields"]] == [("respondents", 4200, 100)]
    filed = do(bureau, amendment, "file", "health", APPROVER)
    assert (filed["state"], filed["findings"]["reuse_expected"]) == ("cleared", 0)
    assert read(bureau, plan)["state"] == "closed"
    do(bureau, plan, "amend", "health", CLERK, body=body, expect=409)
    assert filed["control_number"] != plan["control_number"]


def test_an_amendment_of_a_plan_that_ended_is_not_filed(bureau: Bureau) -> None:
    plan = bureau.filed(NEW)
    amendment = do(bureau, plan, "amend", "health", CLERK, body=planned(NEW, "屋面材料"), expect=201)
    do(bureau, plan, "close", "health", APPROVER)
    do(bureau, amendment, "file", "health", APPROVER, expect=409)


def test_the_authority_may_let_a_plan_collect_with_open_findings(bureau: Bureau) -> None:
    plan = bureau.filed(KNOWN)
    do(bureau, plan, "collect", "health", APPROVER, expect=409)
    leave = {"reason": "防汛应急，先行采集", "until": "2026-10-31"}
    do(bureau, plan, "permit", "health", APPROVER, body=leave, expect=403)
    do(bureau, plan, "permit", "city_authority", MEDIATOR, body=leave, expect=403)
    do(bureau, plan, "permit", "city_authority", APPROVER, body={**leave, "until": "2027-10-31"}, expect=422)
    permitted = do(bureau, plan, "permit", "city_authority", APPROVER, body=leave)
    assert (permitted["state"], permitted["permission"]["until"]) == ("cleared", "2026-10-31")
    assert permitted["control_number"] and len(permitted["blocked_by"]) == 1
    do(bureau, plan, "collect", "health", APPROVER)
    at(bureau, "2026-10-31")
    assert read(bureau, plan)["state"] == "collecting"
    at(bureau, "2026-11-01")
    assert read(bureau, plan)["state"] == "blocked"


def test_an_acceptance_lapses_and_the_plan_is_blocked_again(bureau: Bureau) -> None:
    plan = accepted(bureau)
    do(bureau, plan, "collect", "health", APPROVER)
    at(bureau, "2026-11-30")
    assert read(bureau, plan)["state"] == "collecting"
    at(bureau, "2026-12-01")
    assert read(bureau, plan)["state"] == "blocked"
    (finding,) = bureau.findings(plan)
    assert (finding["state"], list(bureau.due(finding))) == ("flagged", ["finding.justify"])
    bureau.act(finding, "justify", "health", CLERK, body=GROUND)


def test_decisions_are_kept_as_links_between_names(bureau: Bureau) -> None:
    other = bureau.flagged("居民身份证号")
    bureau.act(
        other, "justify", "health", CLERK, body={"ground": "different_meaning", "text": "指证件版本号"}
    )
    bureau.act(other, "accept", "city_authority", CATALOG, body=TERMS)
    same = bureau.flagged()
    bureau.act(same, "justify", "health", CLERK, body=GROUND)
    bureau.act(same, "uphold", "city_authority", CATALOG, body=WHY)
    kept = [(link.left_name, link.right_name, link.verdict) for link in links.decided(bureau.session)]
    assert ("居民身份证号", "身份证号", "different") in kept and kept[-1] == (KNOWN, "身份证号", "same")
    last = links.decided(bureau.session)[-1]
    assert (last.left_topic, last.right_topic) == ("婚姻登记情况调查 婚姻登记当事人", "婚姻登记信息")
    assert (last.source, str(last.source_id)) == ("finding", same["id"])
