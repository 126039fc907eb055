"""The audit of a whole catalog: copies, parts, elements held by several agencies; the same rows on both engines."""

from __future__ import annotations

import shutil
from importlib.util import find_spec

import pytest

from bench.evaluation import generator
from catalog.collection.audit import Audit, audit
from catalog.collection.engines import duck, spark
from catalog.collection.profiles import ItemProfile


def resource(number: str, title: str, agency: str, *names: str) -> list[ItemProfile]:
    return [
        ItemProfile(
            id=f"{number}/{n}", name=name, resource_id=number, resource_title=title, agency_id=agency,
            agency_name=agency,
        )
        for n, name in enumerate(names)
    ]  # fmt: skip


CITY = [
    *resource("a", "最低生活保障对象信息", "市民政局", "公民身份号码", "月保障金额", "保障人数", "致困原因", "审批日期"),
    *resource("b", "东湖区低保对象台账", "区民政局", "身份证号", "月低保金额", "享受低保人数", "困难原因"),
    *resource("c", "排污许可信息", "市生态环境局", "排污许可证编号", "许可排放量", "实际排放量", "排放口名称"),
    *resource("d", "排放口名录", "区生态环境局", "排放口名称", "排放口经度", "排放去向"),
]  # fmt: skip


def found_by(profiles: list[ItemProfile]) -> Audit:
    with duck(workers=1) as engine:
        return audit(profiles, engine)


def test_a_renamed_part_is_found_and_a_sibling_is_not() -> None:
    found = found_by(CITY)
    (pair,) = found.resources
    assert {pair.one.resource_id, pair.other.resource_id} == {"a", "b"}
    assert max(pair.share_one, pair.share_other) >= 0.75
    same = {(p.one.name, p.other.name) for p in found.items if p.band == "reuse_expected"}
    assert ("公民身份号码", "身份证号") in same
    assert not {("许可排放量", "实际排放量"), ("月保障金额", "享受低保人数")} & same
    assert all(len({item.agency_id for item in cluster.items}) > 1 for cluster in found.clusters)


def test_what_was_not_asked_for_is_not_compared() -> None:
    with duck(workers=1) as engine:
        assert audit(CITY, engine, wanted={"c"}).resources == ()


def test_two_processes_find_what_one_finds() -> None:
    profiles = generator.world(7, "tune", resources=120, plans=0, copies=10).profiles
    with duck(workers=2) as engine:
        engine.few = 0  # so that the pairs go through the processes
        assert audit(profiles, engine) == found_by(profiles)


@pytest.mark.skipif(
    find_spec("pyspark") is None or shutil.which("java") is None,
    reason="the extra `spark` (pyspark and Java) is left out here",
)
@pytest.mark.soak
@pytest.mark.filterwarnings("ignore")
def test_spark_gives_the_same_pairs() -> None:
    profiles = generator.world(7, "tune", resources=120, plans=0, copies=10).profiles
    with spark("local[2]") as engine:
        assert audit(profiles, engine) == found_by(profiles)
