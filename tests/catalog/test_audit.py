"""The audit of a whole catalog: copies, parts, elements held by several agencies; the same rows on both engines."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np
import pytest

from bench.evaluation import generator
from catalog.collection.audit import Audit, audit
from catalog.collection.engines import duck, spark
from catalog.collection.knowledge import Knowledge, stored_model
from catalog.collection.meaning import SIZE, Vectors
from catalog.collection.normalise import name_key
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


def test_two_items_are_enough_where_titles_speak_of_the_same() -> None:
    parts = [
        *resource("a", "东湖区危险化学品经营单位信息", "甲局", "经营许可证编号", "重大危险源等级", "储存设施地址", "安全负责人"),
        *resource("b", "西山区危险化学品经营单位名册", "乙局", "经营许可证编号", "重大危险源等级", "值班电话"),
        *resource("c", "西山区旅馆特种行业年检", "丙局", "经营许可证编号", "重大危险源等级", "床位数"),
    ]  # fmt: skip
    (pair,) = found_by(parts).resources
    assert {pair.one.resource_id, pair.other.resource_id} == {"a", "b"} and pair.items == 2


class Meanings:
    """Some names share a meaning, all others have one of their own."""

    def __init__(self, *alike: str) -> None:
        self._alike = [name_key(name) for name in alike]

    def encode(self, texts: Sequence[str]) -> Vectors:
        rows = np.zeros((len(texts), SIZE), np.float32)
        for row, said in zip(rows, texts, strict=True):
            row[0 if said in self._alike else 1 + zlib.crc32(said.encode()) % (SIZE - 1)] = 1.0
        return rows


BY_MEANING = Knowledge(model=stored_model(embeddings=True))


def test_a_part_in_words_that_no_list_knows_is_found_by_meaning() -> None:
    of_trees = [
        *resource("a", "东湖区古树名木信息", "甲局", "古树编号", "胸围", "养护责任人", "生长势"),
        *resource("b", "西山区古树名木台账", "乙局", "古树编号", "照看者", "树冠形态"),
    ]  # fmt: skip
    assert found_by(of_trees).resources == ()
    with duck(workers=1) as engine:
        (pair,) = audit(of_trees, engine, BY_MEANING, encoder=Meanings("养护责任人", "照看者")).resources
    assert pair.items == 2


def test_names_that_one_resource_holds_side_by_side_mean_different_things() -> None:
    names = ("树龄", "胸围", "树高", "冠幅")
    held = [
        *resource("a", "东湖区古树名木信息", "甲局", "早期长势", "近期长势", *names),
        *resource("b", "西山区古树名木台账", "乙局", "近期长势", *names),
    ]  # fmt: skip
    with duck(workers=1) as engine:
        found = audit(held, engine, BY_MEANING, encoder=Meanings("早期长势", "近期长势"))
    assert not any(pair.one.name != pair.other.name for pair in found.items)


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
    alike = Meanings(*sorted({profile.name for profile in profiles})[::40])
    with spark("local[2]") as engine:
        assert audit(profiles, engine) == found_by(profiles)
    with spark("local[2]") as engine, duck(workers=1) as other:
        by_meaning = audit(profiles, engine, BY_MEANING, encoder=alike)
        assert by_meaning == audit(profiles, other, BY_MEANING, encoder=alike) != found_by(profiles)
