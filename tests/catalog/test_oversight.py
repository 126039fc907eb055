"""The authority's view: figures and repeat offenders, precedents, the desk's list, proposed authoritative sources."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import select

from app.kernel.actor import Role
from catalog.collection import desk
from catalog.collection.audited import AuditedMember, AuditedRecord
from catalog.collection.models import AuditFinding
from catalog.collection.oversight import Facts, rank
from tests.catalog.bureau import APPROVER, CATALOG, CLERK, GROUND, KNOWN, MEDIATOR, NEW, WHY, Bureau
from tests.catalog.samples import OPEN

DESK: tuple[Any, ...] = ("city_authority", CATALOG)
TERMS = {**WHY, "scope": "社区一级，一次性", "until": "2026-11-30"}


def test_figures_tell_who_repeats_and_what_people_were_spared(bureau: Bureau) -> None:
    for _ in range(2):
        finding = bureau.flagged()
        bureau.act(finding, "justify", "health", CLERK, body=GROUND)
        bureau.act(finding, "uphold", *DESK, body=WHY)
    bureau.act(finding, "share_instead", "health", CLERK, body={})
    given_up = bureau.findings(bureau.filed(KNOWN, NEW, respondents=1000, minutes_per_respondent=8))[0]
    bureau.act(given_up, "withdraw", "health", CLERK, body={})
    bureau.filed(NEW, agency="market")
    told = bureau.call("GET", "/collection/figures", *DESK)
    worst, other = told["agencies"]
    assert (worst["agency"]["name"]["zh"], worst["repeats"], worst["upheld"]) == (
        "测试市卫生健康委员会",
        True,
        2,
    )
    assert (worst["plans"], worst["items"], worst["findings"], worst["open"]) == (3, 4, 3, 1)
    assert (worst["shared_instead"], worst["withdrawn"]) == (1, 1)
    assert worst["burden_avoided"] == {"people": 5200, "minutes": 46000}  # 4200 × 10 whole, 1000 × 8 half
    assert (other["findings"], other["repeats"]) == (0, False)
    assert (told["total"]["plans"], told["total"]["burden_avoided"]) == (4, worst["burden_avoided"])
    assert (
        bureau.call("GET", "/collection/figures?since=2025-01-01&until=2025-12-31", *DESK)["agencies"] == []
    )
    bureau.call("GET", "/collection/figures?since=2027-01-01&until=2026-01-01", *DESK, expect=422)
    bureau.call("GET", "/collection/figures", "health", APPROVER, expect=403)


def test_accepted_justifications_are_found_as_precedents(bureau: Bureau) -> None:
    finding = bureau.flagged()
    bureau.act(finding, "justify", "health", CLERK, body=GROUND)
    assert bureau.call("GET", "/collection/precedents", *DESK)["items"] == []
    bureau.act(finding, "accept", *DESK, body=TERMS)
    for query in ("q=身份证", "q=社区", "ground=finer_detail", "q=目录中已有"):
        (found,) = bureau.call("GET", f"/collection/precedents?{query}", *DESK)["items"]
        assert (found["finding_id"], found["scope"]) == (finding["id"], TERMS["scope"])
        assert found["held_to_be"]["item_name"] == "身份证号"
    for query in ("q=公积金", "ground=emergency", "q=%25"):
        assert bureau.call("GET", f"/collection/precedents?{query}", *DESK)["items"] == []
    assert bureau.call("GET", "/collection/precedents", "east_authority", CATALOG)["items"] == []


def test_the_desk_over_http_and_the_sources_it_proposes(bureau: Bureau) -> None:
    fresh = bureau.publish("market", title="从业人员", items=[{"name": "身份证件号码", "code": "id"}], **OPEN)
    members = [
        AuditedMember(
            resource_id=resource, resource_title=title, agency_id=bureau.town.id(agency), agency_name=agency,
            item_code=code, item_name=name,
        )
        for agency, resource, title, code, name in (
            ("civil", bureau.marriages, "婚姻登记信息", "sfzh", "身份证号"),
            ("market", fresh, "从业人员", "id", "身份证件号码"),
        )
    ]  # fmt: skip
    found = [
        AuditedRecord(relation="same_element", band="reuse_expected", score=0.9, members=tuple(members)),
        AuditedRecord(
            relation="overlap", band="review", score=0.6, containment=0.4,
            members=tuple(m.model_copy(update={"item_code": None, "item_name": None}) for m in members),
        ),
    ]  # fmt: skip
    desk.take_in(bureau.session, found, model_version="7")
    bureau.session.flush()
    first = bureau.call("GET", "/audit/findings?limit=1", *DESK)
    rest = bureau.call("GET", f"/audit/findings?limit=1&cursor={first['next']}", *DESK)
    assert [r["found"]["relation"] for r in (*first["items"], *rest["items"])] == ["same_element", "overlap"]
    assert rest["next"] is None
    row = first["items"][0]
    mediator = bureau.town.person("city_authority", MEDIATOR)
    path = f"/audit/findings/{row['id']}"
    row = bureau.call("POST", f"{path}/assign", *DESK, body={"person_id": str(mediator.id)}, version=1)
    assert (row["state"], row["assignee_id"]) == ("assigned", str(mediator.id))
    assert [
        r["id"] for r in bureau.call("GET", "/audit/findings?mine=true", "city_authority", MEDIATOR)["items"]
    ] == [row["id"]]
    (proposal,) = bureau.call("GET", "/collection/sources", *DESK)["items"]
    assert {h["holder"]["agency_name"] for h in proposal["holders"]} == {"civil", "market"}
    assert (
        proposal["holders"][0]["score"] >= proposal["holders"][1]["score"]
        and proposal["holders"][0]["reasons"]
    )
    row = bureau.call("POST", f"{path}/confirm", "city_authority", MEDIATOR, body=WHY, version=2)
    assert (row["state"], row["allowed"]) == ("confirmed", ["reopen"])
    progress = {p["relation"]: p for p in bureau.call("GET", "/audit/progress", *DESK)}
    assert (progress["same_element"]["share"], progress["overlap"]["share"]) == (1.0, 0.0)
    assert [e["act"] for e in bureau.call("GET", f"{path}/events", *DESK)] == ["find", "assign", "confirm"]
    assert bureau.session.get_one(AuditFinding, UUID(row["id"])).decision == WHY["reason"]
    assert len(bureau.session.scalars(select(AuditFinding)).all()) == 2
    bureau.call("GET", "/audit/findings", "city_authority", Role.CLERK, expect=403)


def test_the_base_library_comes_before_who_is_merely_fresh(bureau: Bureau) -> None:
    def member(agency: str) -> AuditedMember:
        return AuditedMember(
            resource_id=bureau.marriages, resource_title="甲", agency_id=bureau.town.id(agency), agency_name=agency,
            item_code=agency, item_name="姓名",
        )  # fmt: skip

    facts = {
        (bureau.marriages, "civil"): Facts(
            base_library="population", update_cycle="yearly", sharing="conditional"
        ),
        (bureau.marriages, "market"): Facts(is_key=True, update_cycle="daily", sharing="not_shared"),
    }
    ranked = rank([member("market"), member("civil"), member("health")], facts)
    assert [(s.member.agency_name, s.score) for s in ranked] == [("civil", 5), ("market", 4)]
