"""The duplicate check: what is found, what is told apart, what is left to people, and why."""

from __future__ import annotations

import csv
import math
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

from catalog.collection.knowledge import MODEL, Knowledge
from catalog.collection.matching import (
    CatalogProfiles,
    Match,
    PlanContext,
    PlannedItem,
    coverage,
)
from catalog.collection.normalise import contrast, difference, name_key, numbers
from catalog.collection.profiles import CatalogIndex, ItemProfile
from catalog.collection.scoring import CannotLink

TAOYUAN = Path(__file__).resolve().parents[3] / "shared" / "data" / "taoyuan-catalogue" / "catalogue.csv"


def resource(
    title: str, population: str, *names: str, sharing_type: str = "unconditional"
) -> list[ItemProfile]:
    return [
        ItemProfile(
            id=f"{title}/{name}",
            name=name,
            resource_id=title,
            resource_title=title,
            agency_id="agency",
            agency_name="某局",
            population=population,
            sharing_type=sharing_type,
        )
        for name in names
    ]


HELD = [
    *resource(
        "常住人口基本信息",
        "常住人口",
        "公民身份号码",
        "姓名",
        "性别",
        "出生日期",
        "户籍地址",
        "备注",
    ),
    *resource("死亡人口登记", "死亡人口", "死亡日期", "死亡原因"),
    *resource(
        "企业登记信息",
        "企业",
        "统一社会信用代码",
        "企业名称",
        "注册地址",
        "注册资本",
        "法定代表人姓名",
        "电话",
    ),
    *resource("交通事故统计", "交通事故", "受伤人数", "死亡人数", "事故编号"),
    *resource(
        "区级预算执行",
        "预算单位",
        "本年度预算数",
        "上年度预算数",
        "支出金额",
        "支出百分比",
    ),
    *resource(
        "项目立项审批",
        "建设项目",
        "项目开始日期",
        "项目结束日期",
        "建设单位名称",
        "建设单位地址",
    ),
    *resource("行政区划", "行政区划", "行政区划代码", "公园甲名称", "公园乙名称"),
]
PROFILES = CatalogProfiles(HELD)
PEOPLE = PlanContext(title="常住人口信息采集", population="常住人口")
ENTERPRISES = PlanContext(title="企业基本情况调查", population="企业")
NOBODY = PlanContext(title="专项调查")


def best(name: str, plan: PlanContext, profiles: CatalogProfiles = PROFILES) -> Match | None:
    return next(iter(profiles.check(PlannedItem(name=name), plan)), None)


@pytest.mark.parametrize(
    ("name", "plan", "existing", "code"),
    [
        ("户籍地址", PEOPLE, "户籍地址", "same_name"),
        ("戶籍地址", PEOPLE, "户籍地址", "same_name"),
        ("身份证号码", PEOPLE, "公民身份号码", "alias"),
        ("身分證字號", PEOPLE, "公民身份号码", "alias"),
        ("出生年月日", PEOPLE, "出生日期", "alias"),
        ("CSRQ", PEOPLE, "出生日期", "initials"),
        ("性别", PEOPLE, "性别", "same_name"),
        ("信用代码", ENTERPRISES, "统一社会信用代码", "alias"),
        ("公司名称", ENTERPRISES, "企业名称", "alias"),
        ("统一社会信用代码", ENTERPRISES, "统一社会信用代码", "same_name"),
    ],
)
def test_what_the_catalog_holds_is_expected_to_be_reused(
    name: str, plan: PlanContext, existing: str, code: str
) -> None:
    match = best(name, plan)
    assert match is not None
    assert (match.profile.name, match.band) == (existing, "reuse_expected")
    assert code in {reason.code for reason in match.reasons}


@pytest.mark.parametrize(
    ("name", "sibling"),
    [
        ("上年度预算数", "本年度预算数"),
        ("项目结束日期", "项目开始日期"),
        ("死亡日期", "出生日期"),
        ("支出百分比", "支出金额"),
        ("建设单位地址", "建设单位名称"),
        ("申请人姓名", "法定代表人姓名"),
        ("失踪人数", "受伤人数"),
        ("企业名称代码", "企业名称"),
        ("轻伤人数_0至12岁", "受伤人数"),
    ],
)
def test_siblings_are_not_even_put_to_review(name: str, sibling: str) -> None:
    plan = PlanContext(title=next(held.resource_title for held in HELD if held.name == sibling))
    assert sibling not in {
        match.profile.name for match in PROFILES.check(PlannedItem(name=name), plan, limit=50)
    }


def test_a_one_sided_addition_is_left_to_people() -> None:
    match = best("受伤人数女", PlanContext(title="交通事故统计", population="交通事故"))
    assert match is not None
    assert (match.profile.name, match.band) == ("受伤人数", "review")
    assert match.against is not None
    assert match.against.code == "addition"
    assert match.against.text.zh == "一方多出“女”，范围可能不同"


def test_a_separation_is_never_outweighed() -> None:
    reasons = ["similar_name", "same_population", "same_topic"]
    assert MODEL.band(0.95, reasons) == "reuse_expected"
    assert MODEL.band(0.95, [*reasons, "addition"]) == "review"


def test_a_name_alone_is_left_to_people() -> None:
    match = best("受伤人数", NOBODY)
    assert match is not None
    assert (match.profile.name, match.band) == ("受伤人数", "review")


def test_a_new_item_is_new() -> None:
    assert best("家庭医生签约团队", PEOPLE) is None
    assert best("备注", PEOPLE) is None


def test_generic_names_are_decided_by_whom_they_describe() -> None:
    assert (own := best("电话", ENTERPRISES)) is not None
    assert own.profile.resource_title == "企业登记信息"
    assert best("电话", PlanContext(title="文物普查", population="文物")) is None


def test_another_population_is_a_reason_against() -> None:
    drivers = PlanContext(title="机动车驾驶培训学员调查", population="驾驶培训学员")
    assert best("户籍地址", drivers) is None
    assert (here := best("户籍地址", PEOPLE)) is not None and here.band == "reuse_expected"
    # What identifies a person everywhere is held by the register whose key it is; elsewhere it says whom one means.
    assert (identity := best("身份证号", drivers)) is not None and identity.band == "review"
    register = CatalogProfiles([replace(p, is_identifier=p.name == "公民身份号码") for p in HELD])
    assert (identity := best("身份证号", drivers, register)) is not None and identity.band == "reuse_expected"


def test_what_one_resource_separates_is_separated_elsewhere() -> None:
    planned = PlanContext(title="图书馆名录")
    held = resource("图书馆名录", "", "阅览座位数")
    taught = [*held, *resource("公园名录", "", "绿地长凳数", "儿童绿地长凳数")]
    name = "儿童阅览座位数"
    before, after = (best(name, planned, CatalogProfiles(profiles)) for profiles in (held, taught))
    assert before is not None
    mined = CatalogProfiles(taught).check(PlannedItem(name=name), planned, limit=9)
    assert after is None or after.score < before.score
    assert all(match.band != "reuse_expected" for match in mined)


def test_decisions_of_people_count_at_once() -> None:
    plan = PlanContext(title="常住人口信息采集", population="常住人口")
    assert best("人员唯一标识", plan) is None
    learned = Knowledge(aliases=(*Knowledge().aliases, ("公民身份号码", "人员唯一标识")))
    match = best("人员唯一标识", plan, CatalogProfiles(HELD, learned))
    assert match is not None
    assert match.band == "reuse_expected"
    ruled = Knowledge(different=frozenset({frozenset({name_key("户籍地址")})}))
    again = best("户籍地址", plan, CatalogProfiles(HELD, ruled))
    assert again is None or again.band != "reuse_expected"


def test_type_and_code_list_speak_for_and_against() -> None:
    held = ItemProfile(
        id="1",
        name="民族代码",
        resource_id="r",
        resource_title="常住人口",
        agency_id="a",
        agency_name="市公安局",
        data_type="C",
        code_list="GB/T 3304",
    )
    profiles = CatalogProfiles([held])
    same = profiles.check(PlannedItem(name="民族代码", data_type="字符型", code_list="GB/T 3304"), PEOPLE)[0]
    other = profiles.check(PlannedItem(name="民族代码", data_type="N", code_list="自编"), PEOPLE)[0]
    assert {"same_type", "same_code_list"} <= {reason.code for reason in same.reasons}
    assert {"other_type", "other_code_list"} <= {reason.code for reason in other.reasons}
    assert same.score > other.score


def test_contributions_add_up_and_are_said_in_both_languages() -> None:
    for item in HELD:
        for match in PROFILES.check(PlannedItem(name=item.name), PEOPLE, limit=20):
            total = sum(reason.weight for reason in match.reasons)
            assert match.score == pytest.approx(1 / (1 + math.exp(-total)), abs=2e-4)
            assert match.band == MODEL.band(match.score, [reason.code for reason in match.reasons])
            for reason in match.reasons:
                assert reason.text.zh
                assert "{" not in reason.text.zh + reason.text.en


def test_a_plan_is_covered_by_the_fewest_resources() -> None:
    partial = resource(
        "户籍信息摘要",
        "常住人口",
        "户籍地址",
        "公民身份号码",
        sharing_type="not_shared",
    )
    profiles = CatalogProfiles([*HELD, *partial])
    items = [
        PlannedItem(name=name)
        for name in ("身份证号", "户籍地址", "出生日期", "信用代码", "家庭医生签约团队")
    ]
    plan = profiles.check_plan(items, PEOPLE)
    assert [check.band for check in plan.items] == [
        *["reuse_expected"] * 3,
        plan.items[3].band,
        "new",
    ]
    assert plan.coverage.resources[0].resource_id == "常住人口基本信息"
    assert plan.coverage.resources[0].items == (0, 1, 2)
    assert "户籍信息摘要" not in {covering.resource_id for covering in plan.coverage.resources}
    assert plan.coverage.share >= 0.6
    assert plan.model_version == MODEL.version
    assert all(len(check.matches) <= 3 for check in plan.items)


def test_an_index_that_follows_changes_is_the_same_as_one_made_anew() -> None:
    gone, added = "常住人口基本信息", resource("户籍信息摘要", "常住人口", "户籍地址", "迁入日期")
    rest = [held for held in HELD if held.resource_id != gone]
    followed = CatalogProfiles(HELD).with_changes([gone], added)
    anew = CatalogProfiles([*rest, *added])
    assert len(followed) == len(anew)
    for name in ("户籍地址", "迁入日期", "出生日期", "统一社会信用代码", "死亡人数"):
        one, other = best(name, PEOPLE, followed), best(name, PEOPLE, anew)
        assert (one and (one.profile.id, one.band)) == (other and (other.profile.id, other.band)), name
    assert followed.index.cannot_link.pairs.total() == anew.index.cannot_link.pairs.total()
    assert len(CatalogProfiles(CatalogIndex(HELD))) == len(CatalogProfiles(HELD)) > len(followed)


def test_nothing_planned_and_nothing_held() -> None:
    assert coverage([]).share == 0.0
    assert CatalogProfiles([]).check(PlannedItem(name="姓名"), PEOPLE) == []
    assert PROFILES.check(PlannedItem(name="（）"), PEOPLE) == []


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("学生的姓名", "学生姓名"),
        ("面积（公顷）", "面积"),
        ("受伤人数(女)", "受伤人数女"),
        ("idCardNumber", "id card number"),
        ("ID_CARD_NUMBER", "id card number"),
        ("（金额）", "金额"),
    ],
)
def test_name_keys(name: str, key: str) -> None:
    assert name_key(name) == key


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        ("开始日期", "结束日期", ("开始", "结束")),
        ("男性人数", "女性人数", ("男性", "女性")),
        ("上年预算", "本年预算", ("上年", "本年")),
        ("更新日期", "旧日期", None),
        ("户籍地址", "户籍所在地", None),
    ],
)
def test_contrasts(one: str, other: str, words: tuple[str, str] | None) -> None:
    assert contrast(one, other) == words
    assert contrast(other, one) == (words[::-1] if words else None)


def test_differences_and_numbers() -> None:
    assert difference("本年度预算数", "上年度预算数").pair == difference("上年度预算数", "本年度预算数").pair
    assert difference("受伤人数", "受伤人数女").left == ()
    assert difference("合同签订日期", "签订合同时间").same_words
    assert numbers("102年人数") != numbers("104年人数")
    assert numbers("负责人一") != numbers("负责人二")
    assert numbers("统一社会信用代码") == numbers("社会信用代码")


def test_mining_counts_resources_not_pairs() -> None:
    mined = CannotLink()
    mined.learn(["死亡人数男", "死亡人数女", "受伤人数男", "受伤人数女"])
    mined.learn(["转入人数男", "转入人数女"])
    assert mined.pairs["女", "男"] == 2


@pytest.mark.skipif(
    not TAOYUAN.exists(),
    reason="../shared is absent: the Taoyuan supply list is not there",
)
def test_the_taoyuan_list_end_to_end() -> None:
    with TAOYUAN.open(encoding="utf-8-sig") as file:
        held = [
            ItemProfile(
                id=f"{row['編號']}/{number}",
                name=name,
                resource_id=row["編號"],
                resource_title=row["資料名稱"],
                agency_id=row["資料集提供機關"],
                agency_name=row["資料集提供機關"],
            )
            for row in csv.DictReader(file)
            for number, name in enumerate(re.split(r"[、,，;；]", row["主要欄位說明"]))
            if 0 < len(name) <= 40
        ]
    started = time.perf_counter()
    profiles = CatalogProfiles(held)
    built = time.perf_counter() - started
    names = [
        "地號",
        "地段代碼",
        "公告現值",
        "停車場名稱",
        "身分證號",
        "受傷人數",
        "地址",
        "電話",
        "收容人數",
        "經度",
    ] * 3
    started = time.perf_counter()
    plan = profiles.check_plan(
        [PlannedItem(name=name) for name in names],
        PlanContext(title="國有土地地籍清查"),
    )
    elapsed = time.perf_counter() - started
    print(f"\n{len(profiles)} profiles built in {built:.2f} s, plan of 30 items in {elapsed * 1000:.0f} ms")
    for check in plan.items[:10]:
        print(
            check.item.name,
            check.band,
            [(m.profile.name, m.score, m.profile.resource_title) for m in check.matches],
        )
    parcel = plan.items[0].matches[0]
    assert (name_key(parcel.profile.name), parcel.band) == ("地号", "review")  # the lists are of land values
    assert plan.items[0].band == plan.items[10].band
