"""Collection over HTTP: findings answered and decided, notices of criticism, who may do and know what."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from app.kernel import clock, history
from app.kernel.actor import Role
from app.kernel.clock import new_id
from catalog.collection import service
from catalog.collection.models import Finding, Plan
from exchange.requests.api import NewRequest
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
from tests.catalog.samples import OPEN


def test_withdrawing_offers_the_share_request_and_clears_the_plan(bureau: Bureau) -> None:
    finding = bureau.flagged()
    assert finding["share_request"] is None and finding["allowed"] == ["withdraw", "justify"]
    bureau.act(finding, "withdraw", "health", CLERK, body={"reason": "改为申请共享"})
    assert (finding["state"], finding["blocks"], finding["deadlines"]) == ("withdrawn", False, [])
    plan = bureau.plan_of(finding)
    assert (plan["state"], plan["struck"], plan["blocked_by"]) == ("cleared", [0], [])
    NewRequest.model_validate(finding["share_request"])
    created = bureau.call("POST", "/requests", "health", CLERK, body=finding["share_request"], expect=201)
    assert created["terms"]["resources"][0]["items"][0]["code"] == "sfzh"
    assert created["terms"]["purposes"][0]["legal_basis"] == plan["record"]["legal_basis"]


def test_one_request_covers_the_plan(bureau: Bureau) -> None:
    titles = {
        "title": "婚姻登记情况",
        "items": [
            {"name": "身份证号", "code": "id", "data_type": "C"},
            {"name": "户籍地址", "code": "hjdz", "data_type": "C"},
        ],
    }
    homes = bureau.publish("market", **titles, **OPEN)
    plan = bureau.filed(KNOWN, "户籍地址", NEW)
    assert [r["resource_id"] for r in plan["coverage"]["resources"]] == [str(homes)]
    assert plan["coverage"]["share"] == pytest.approx(2 / 3)
    asked = plan["share_request"]["terms"]["resources"]
    assert [(r["resource_id"], [i["code"] for i in r["items"]]) for r in asked] == [
        (str(homes), ["id", "hjdz"])
    ]
    bureau.call("POST", "/requests", "health", CLERK, body=plan["share_request"], expect=201)


def test_a_justification_that_is_accepted(bureau: Bureau) -> None:
    finding = bureau.flagged()
    bureau.act(finding, "justify", "health", CLERK, body=GROUND)
    assert finding["justification"]["ground"]["legal_basis"] == "809-19"
    assert bureau.due(finding) == {"finding.decide": "2026-10-09"}
    plan = bureau.plan_of(finding)
    assert plan["state"] == "blocked" and plan["allowed"] == ["amend"]
    bureau.call(
        "POST", f"/plans/{plan['id']}/collect", "health", APPROVER, version=plan["version"], expect=409
    )
    terms = {**WHY, "scope": "社区一级，一次性", "until": "2026-12-31"}
    past = {**terms, "until": "2026-09-17"}
    bureau.act(finding, "accept", "city_authority", CATALOG, body=past, expect=422)
    bureau.act(finding, "accept", "city_authority", MEDIATOR, body=terms)
    assert (finding["state"], finding["accepted_until"], finding["share_request"]) == (
        "accepted",
        "2026-12-31",
        None,
    )
    plan = bureau.plan_of(finding)
    assert (plan["state"], plan["struck"]) == ("cleared", [])


def test_upheld_appealed_upheld_and_criticised(bureau: Bureau) -> None:
    finding = bureau.flagged()
    bureau.act(finding, "justify", "health", CLERK, body=GROUND)
    bureau.act(finding, "uphold", "city_authority", CATALOG, body=WHY)
    assert finding["share_request"]["title"] == "婚姻登记情况调查"
    assert bureau.due(finding) == {"finding.justify": "2026-10-09"}
    bureau.act(finding, "notice", "city_authority", APPROVER, expect=409)  # it may still appeal
    bureau.act(finding, "appeal", "health", APPROVER, body={"reason": "社区一级的数据目录中没有"})
    again = bureau.act(finding, "uphold", "city_authority", CATALOG, body=WHY, expect=403)
    assert again["type"] == "/problems/same-hand"
    bureau.act(finding, "uphold", "city_authority", MEDIATOR, body={"reason": "可按社区申请共享"})
    assert finding["allowed"] == []
    bureau.act(finding, "appeal", "health", APPROVER, body=WHY, expect=409)
    assert bureau.plan_of(finding)["state"] == "blocked"
    notice = bureau.act(finding, "notice", "city_authority", APPROVER, expect=201)
    assert notice["number"] == "测试市数据局通报〔2026〕1号" and notice["legal_basis"] == "REG-46(1)"
    read = bureau.call("GET", f"/notices/{notice['id']}", "health", CLERK)
    assert read == notice
    for said in (
        "测试市卫生健康委员会",
        "公民身份号码",
        "测试市民政局",
        "婚姻登记信息",
        f"认定为重复采集：{WHY['reason']}",
        "维持原认定：可按社区申请共享",
        "第四十六条",
        "2026年9月18日",
    ):
        assert said in read["text"]["zh"]
    path = f"/notices/{notice['id']}"
    page = bureau.call("GET", path, "health", CLERK, accept="text/html", language="zh-CN")
    assert '<html lang="zh-CN">' in page and "<h1>关于测试市卫生健康委员会重复采集政务信息的通报</h1>" in page
    assert "《信息化促进条例》第四十六条第一项" in page and "4200 人（户），42000 分钟" in page
    in_english = bureau.call("GET", path, "health", CLERK, accept="text/html", language="en")
    assert '<html lang="en">' in in_english and "4200 respondents, 42000 minutes" in in_english
    listed = bureau.call("GET", "/notices?year=2026", "health", CLERK)["items"]
    assert [(row["number"], row["item"]) for row in listed] == [(notice["number"], KNOWN)]
    assert not bureau.call("GET", "/notices?year=2025", "health", CLERK)["items"]
    assert not bureau.call("GET", "/notices", "civil", CLERK)["items"]
    finding = bureau.call("GET", f"/findings/{finding['id']}", "health", CLERK)
    assert (finding["state"], finding["notice_id"]) == ("noticed", notice["id"])
    assert bureau.plan_of(finding)["struck"] == [0]
    acts = [e["act"] for e in bureau.call("GET", f"/findings/{finding['id']}/events", "health", CLERK)]
    assert acts == ["flag", "justify", "uphold", "appeal", "uphold", "notice"]


def test_upheld_and_shared_instead(bureau: Bureau) -> None:
    finding = bureau.flagged()
    bureau.act(finding, "justify", "health", CLERK, body=GROUND)
    bureau.act(finding, "uphold", "city_authority", MEDIATOR, body=WHY)
    bureau.act(finding, "share_instead", "health", CLERK, body={})
    assert finding["state"] == "shared_instead" and finding["share_request"]
    assert bureau.plan_of(finding)["state"] == "cleared"


def test_silence_lets_the_authority_go_on_and_decides_nothing(bureau: Bureau) -> None:
    finding = bureau.flagged()
    bureau.act(finding, "uphold", "city_authority", CATALOG, body=WHY, expect=409)
    bureau.sweep_at("2026-10-09")
    assert bureau.call("GET", f"/findings/{finding['id']}", "health", CLERK)["overdue"] is False
    bureau.sweep_at("2026-10-10")
    finding = bureau.call("GET", f"/findings/{finding['id']}", "city_authority", CATALOG)
    assert (finding["state"], finding["overdue"], finding["allowed"]) == ("flagged", True, ["uphold"])
    bureau.act(finding, "uphold", "city_authority", CATALOG, body=WHY)
    assert finding["overdue"] is False
    bureau.act(finding, "notice", "city_authority", APPROVER, expect=409)
    bureau.sweep_at("2026-10-10")
    finding = bureau.call("GET", f"/findings/{finding['id']}", "city_authority", APPROVER)
    assert (finding["overdue"], finding["allowed"]) == (True, ["notice"])
    notice = bureau.act(finding, "notice", "city_authority", APPROVER, expect=201)
    assert "未在规定期限内说明理由" in notice["text"]["zh"]


def test_notices_are_numbered_without_gaps_and_never_change(bureau: Bureau) -> None:
    numbers = []
    for name in (KNOWN, "居民身份证号", "身份号码"):
        finding = bureau.flagged(name)
        bureau.act(finding, "justify", "health", CLERK, body=GROUND)
        bureau.act(finding, "uphold", "city_authority", CATALOG, body=WHY)
        bureau.act(finding, "notice", "city_authority", APPROVER, expect=409)  # refused: takes no number
        bureau.act(finding, "appeal", "health", APPROVER, body=WHY)
        bureau.act(finding, "uphold", "city_authority", MEDIATOR, body=WHY)
        numbers.append(bureau.act(finding, "notice", "city_authority", APPROVER, expect=201)["number"][-3:])
    assert numbers == ["〕1号", "〕2号", "〕3号"]
    for change in (
        "UPDATE notice SET number = 'x'",
        "DELETE FROM notice",
        "UPDATE finding SET candidates = '[]'",
    ):
        with pytest.raises(DBAPIError, match="never changed"), bureau.session.begin_nested():
            bureau.session.execute(text(change))
    with pytest.raises(DBAPIError, match="cannot move"), bureau.session.begin_nested():
        bureau.session.execute(text("UPDATE plan SET state = 'draft'"))


def test_a_plan_ends_with_its_period(bureau: Bureau) -> None:
    plan = bureau.filed(NEW)
    for day, state in (("2026-12-31", "cleared"), ("2027-01-01", "expired")):
        with clock.frozen(datetime.fromisoformat(f"{day}T00:30:00+08:00")):
            service.expire_due(bureau.session)
            bureau.session.flush()
        bureau.session.expire_all()
        assert bureau.session.get_one(Plan, UUID(plan["id"])).state == state


# --- Who may


@pytest.mark.parametrize(
    ("act", "body", "who", "status"),
    [
        ("withdraw", {}, ("civil", CLERK), 404),  # another agency does not know of the plan
        ("withdraw", {}, ("city_authority", CLERK), 403),
        ("justify", GROUND, ("health", APPROVER), 403),
        ("justify", {**GROUND, "ground": "because"}, ("health", CLERK), 422),
        ("justify", {**GROUND, "text": " "}, ("health", CLERK), 422),
        ("uphold", WHY, ("health", APPROVER), 403),
        ("uphold", WHY, ("east_authority", CATALOG), 404),
        ("uphold", WHY, ("province_authority", CATALOG), 403),  # it may know of it
        ("appeal", WHY, ("health", APPROVER), 409),
        ("accept", {**WHY, "scope": "全部", "until": "2026-12-31"}, ("city_authority", CATALOG), 409),
    ],
)
def test_refused_while_flagged(
    bureau: Bureau, act: str, body: Json, who: tuple[Any, ...], status: int
) -> None:
    finding = bureau.flagged()
    bureau.act(finding, act, *who, body=body, expect=status)
    assert bureau.call("GET", f"/findings/{finding['id']}", "health", CLERK)["version"] == 1


def test_only_the_same_level_authority_decides(bureau: Bureau) -> None:
    finding = bureau.flagged()
    bureau.act(finding, "justify", "health", CLERK, body=GROUND)
    for who, status in ((("province_authority", CATALOG), 403), (("city_authority", CATALOG), 200)):
        bureau.act(finding, "uphold", *who, body=WHY, expect=status)


def test_an_authority_s_own_plan_is_decided_by_the_one_above(bureau: Bureau) -> None:
    plan = bureau.filed(KNOWN, agency="city_authority")
    assert plan["authority"]["name"]["zh"] == "测试省数据局"
    (row,) = bureau.call("GET", f"/plans/{plan['id']}/findings", "city_authority", CLERK)
    finding = bureau.call("GET", f"/findings/{row['id']}", "city_authority", CLERK)
    bureau.act(finding, "justify", "city_authority", CLERK, body=GROUND)
    for who, status in ((("city_authority", CATALOG), 403), (("province_authority", CATALOG), 200)):
        bureau.act(finding, "uphold", *who, body=WHY, expect=status)


@pytest.mark.parametrize(
    ("who", "draft", "filed"),
    [
        (("health", CLERK), 200, 200),
        (("health", Role.AUDIT_ADMINISTRATOR), 200, 200),
        (("health", Role.SYSTEM_ADMINISTRATOR), 403, 403),
        (("civil", CLERK), 404, 404),
        (("city_authority", CATALOG), 404, 200),
        (("province_authority", MEDIATOR), 404, 200),
        (("east_authority", CATALOG), 404, 404),
    ],
)
def test_who_may_know_of_a_plan(bureau: Bureau, who: tuple[Any, ...], draft: int, filed: int) -> None:
    drafted, plan = bureau.drafted(NEW), bureau.filed(KNOWN)
    bureau.call("GET", f"/plans/{drafted['id']}", *who, expect=draft)
    for path in ("", "/findings", "/events"):
        bureau.call("GET", f"/plans/{plan['id']}{path}", *who, expect=filed)
    if filed != 403:
        listed = {row["id"] for row in bureau.call("GET", "/plans", *who)["items"]}
        assert (drafted["id"] in listed, plan["id"] in listed) == (draft == 200, filed == 200)


def test_nobody_signed_in_knows_nothing(bureau: Bureau) -> None:
    plan = bureau.filed(KNOWN)
    for path in ("plans", f"plans/{plan['id']}", f"plans/{new_id()}", "findings", f"notices/{new_id()}"):
        assert bureau.client.get(f"/api/v1/{path}").status_code == 401
    assert bureau.client.post("/api/v1/collection/check", json={"items": [{"name": "甲"}]}).status_code == 401


def test_the_work_list_holds_what_waits_for_me(bureau: Bureau) -> None:
    finding = bureau.flagged()

    def waits(*who: Any) -> bool:
        return any(row["id"] == finding["id"] for row in bureau.call("GET", "/findings", *who)["items"])

    agency, authority = ("health", CLERK), ("city_authority", CATALOG)
    assert (waits(*agency), waits(*authority), waits("civil", CLERK)) == (True, False, False)
    bureau.act(finding, "justify", "health", CLERK, body=GROUND)
    assert (waits(*agency), waits(*authority), waits("province_authority", CATALOG)) == (False, True, False)
    bureau.act(finding, "uphold", *authority, body=WHY)
    assert (waits(*agency), waits(*authority)) == (True, False)
    everything = bureau.call("GET", "/findings?waiting=false&state=upheld", *authority)["items"]
    assert [row["id"] for row in everything] == [finding["id"]]


def test_lists_come_in_pages(bureau: Bureau) -> None:
    made = [bureau.filed(KNOWN)["id"] for _ in range(3)]
    for path, key in (("/plans", "id"), ("/findings", "plan_id")):
        first = bureau.call("GET", f"{path}?limit=2", "health", CLERK)
        rest = bureau.call("GET", f"{path}?limit=2&cursor={first['next']}", "health", CLERK)
        assert [row[key] for row in (*first["items"], *rest["items"])] == made[::-1]
        assert rest["next"] is None


def test_who_wrote_the_plan_does_not_file_it(bureau: Bureau) -> None:
    both = ("health", CLERK, APPROVER)
    plan = bureau.call("POST", "/plans", *both, body=planned(NEW), expect=201)
    assert plan["allowed"] == ["edit"]
    refused = bureau.call("POST", f"/plans/{plan['id']}/file", *both, version=1, expect=403)
    assert refused["type"] == "/problems/same-hand"
    bureau.call("POST", f"/plans/{plan['id']}/file", "health", APPROVER, version=1)


def test_the_version_read_is_asked_for_and_compared(bureau: Bureau) -> None:
    finding = bureau.flagged()
    path = f"/findings/{finding['id']}/withdraw"
    bureau.call("POST", path, "health", CLERK, body={}, expect=428)
    bureau.call("POST", path, "health", CLERK, body={}, version=7, expect=412)
    plan = bureau.drafted(NEW)
    bureau.call("PUT", f"/plans/{plan['id']}", "health", CLERK, body=planned(NEW), version=9, expect=412)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"period_until": "2026-09-30"}, "/period_until"),
        ({"items": []}, "/items"),
        ({"legal_basis": ""}, "/legal_basis"),
        ({"means": "telepathy"}, "/means"),
        ({"respondents": -1}, "/respondents"),
        ({"owner": "x"}, "/owner"),
        ({"items": [{"name": "甲\u0000"}]}, "/items/0/name"),
    ],
)
def test_a_plan_that_breaks_a_rule_leaves_nothing(bureau: Bureau, changes: Json, field: str) -> None:
    answer = bureau.call("POST", "/plans", "health", CLERK, body=planned(NEW, **changes), expect=422)
    assert answer["errors"][0]["field"] == field
    assert bureau.session.scalars(select(Plan)).all() == []


def test_a_plan_whose_period_has_ended_is_not_filed(bureau: Bureau) -> None:
    past = {"period_from": "2026-01-01", "period_until": "2026-06-30"}
    plan = bureau.drafted(KNOWN, **past)
    answer = bureau.call("POST", f"/plans/{plan['id']}/file", "health", APPROVER, version=1, expect=422)
    assert answer["errors"][0]["field"] == "/period_until"
    row = bureau.session.get_one(Plan, UUID(plan["id"]))
    assert row.state == "draft" and len(history.events_of(bureau.session, "plan", row.id)) == 1
    assert bureau.session.scalars(select(Finding)).all() == []
