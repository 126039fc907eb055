"""The search index on the real engine: finding, ranking, facets, visibility, crashes, rebuilds."""

from __future__ import annotations

import csv
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

import pytest

from app.kernel.clock import frozen
from catalog.search.document import SearchDocument
from catalog.search.index import After, CatalogIndex, IndexBusy, Sort
from catalog.search.query import Filters, UnknownFilter

MOMENT = datetime(2026, 9, 1, tzinfo=UTC)
EVERYTHING: list[dict[str, str]] = [{}]
REPOSITORY = Path(__file__).resolve().parents[2]
TAOYUAN = REPOSITORY.parent / "shared" / "data" / "taoyuan-catalogue" / "catalogue.csv"


NAMES: dict[str, str] = {}  # of resources, by their ids


def id_of(name: str) -> str:
    made = str(uuid5(NAMESPACE_URL, name))
    NAMES[made] = name
    return made


def document(name: str, title: str, *items: str, **more: object) -> SearchDocument:
    made = SearchDocument(
        id=id_of(name),
        title=title,
        items=items,
        agency_id="police",
        agency_name="市公安局",
        published=True,
        open=False,
        updated_at=datetime(2026, 9, 1, tzinfo=UTC),
    )
    return replace(made, **more)  # type: ignore[arg-type]


CATALOG = [
    document(
        "people",
        "常住人口基本信息",
        "姓名",
        "身份证号",
        "户籍地址",
        sharing_type="conditional",
    ),
    document(
        "water",
        "河道水质监测数据",
        "断面名称",
        "水温",
        "pH值",
        agency_id="ecology",
        agency_name="市生态环境局",
        open=True,
        sharing_type="unconditional",
        updated_at=datetime(2026, 9, 3, tzinfo=UTC),
    ),
    document(
        "land",
        "國有土地清冊",
        "地號",
        "面積",
        "管理機關",
        agency_id="land",
        agency_name="市自然资源局",
        sharing_type="unconditional",
        themes=("城乡建设", "公共服务"),
        code="307001/000012",
        updated_at=datetime(2026, 9, 2, tzinfo=UTC),
    ),
    document("cards", "身份证件办理记录", "受理编号", "办理日期", sharing_type="conditional"),
    document(
        "abstract",
        "人口普查汇总",
        "区划",
        abstract="按身份证登记地汇总，不含号码。",
        published=False,
    ),
    document(
        "grants",
        "Federal Grants Awarded",
        "Recipient",
        "Amount",
        title_en="Federal Grants Awarded",
    ),
]


@pytest.fixture
def index(tmp_path: Path) -> CatalogIndex:
    opened = CatalogIndex.open(tmp_path)
    opened.apply(CATALOG, [], "1")
    return opened


def suggested(index: CatalogIndex, typed: str, visible: Sequence[Filters] = EVERYTHING) -> list[str]:
    answer = index.suggest(typed, visible=visible)
    return [
        *(f"{name} of {NAMES[holder]}" for name, holder in answer.names),
        *(NAMES[i] for i in answer.titles),
    ]


def found(index: CatalogIndex, text: str, **more: object) -> list[str]:
    return [NAMES[hit] for hit in index.search(text, visible=EVERYTHING, **more).hits]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("地号", ["land"]),
        ("地號", ["land"]),
        ("国有土地", ["land"]),
        ("身分證號", ["people"]),
        ("身份证", ["cards", "people", "abstract"]),
        ("水", ["water"]),
        ("ＰＨ", ["water"]),
        ("grant", ["grants"]),
        ("GRANTS awarded", ["grants"]),
        ("生态环境局 水温", ["water"]),
        ("307001/000012", ["land"]),
        ("没有这样的资源", []),
    ],
)
def test_finds_in_either_script_and_ranks_title_item_abstract(
    index: CatalogIndex, text: str, expected: list[str]
) -> None:
    assert found(index, text) == expected


def test_a_phrase_ranks_before_its_scattered_parts(tmp_path: Path) -> None:
    index = CatalogIndex.open(tmp_path)
    index.apply(
        [
            document("scattered", "证号与份证与身份的说明"),
            document("whole", "居民的身份证号登记与其他许多事项说明"),
        ],
        [],
        "1",
    )
    assert found(index, "身份证号") == ["whole", "scattered"]


def test_a_longer_description_finds_what_holds_most_of_it(index: CatalogIndex) -> None:
    result = index.search("河道断面水质监测的数据", visible=EVERYTHING)
    assert [NAMES[hit] for hit in result.hits] == ["water"]
    assert result.relaxed
    assert not index.search("河道水质", visible=EVERYTHING).relaxed


def test_nothing_typed_lists_the_newest_first(index: CatalogIndex) -> None:
    assert found(index, "  ")[:2] == ["water", "land"]
    assert index.search("", visible=EVERYTHING).total == len(CATALOG)


@pytest.mark.parametrize("sort", ["relevance", "updated"])
@pytest.mark.parametrize("text", ["", "水质"])
def test_pages_neither_repeat_nor_miss_what_stays_while_others_come_and_go(
    tmp_path: Path, text: str, sort: Sort
) -> None:
    index = CatalogIndex.open(tmp_path)
    first = [document(f"{n:03d}", f"水质监测{n}", updated_at=MOMENT + timedelta(hours=n)) for n in range(40)]
    index.apply(first, [], "1")
    seen: list[str] = []
    after: After | None = None
    gone: set[str] = set()
    for step in range(20):
        result = index.search(text, visible=EVERYTHING, limit=5, after=after, sort=sort)
        assert result.total == 40
        seen += [NAMES[hit] for hit in result.hits]
        after = result.following
        if after is None:
            break
        gone.add(NAMES[result.hits[-1]])  # the very last one shown goes, and another comes
        index.apply([document(f"new{step}", f"水质{step}", updated_at=MOMENT + timedelta(days=9))],
                    [result.hits[-1]], str(step + 2))  # fmt: skip
    assert after is None
    assert len(seen) == len(set(seen))
    assert set(seen) >= {NAMES[made.id] for made in first}


@pytest.mark.parametrize("limit", [0, 201])
def test_a_page_out_of_range_is_refused(index: CatalogIndex, limit: int) -> None:
    with pytest.raises(ValueError, match="limit 1-200"):
        found(index, "水", limit=limit)


def test_one_character_finds_wherever_it_stands(index: CatalogIndex) -> None:
    assert set(found(index, "证")) == {"people", "cards", "abstract"}
    assert set(found(index, "号")) == {"people", "cards", "land", "abstract"}
    assert found(index, "河") == ["water"]


def test_who_holds_an_item_and_how_fresh_it_is(index: CatalogIndex) -> None:
    held = index.search("", visible=EVERYTHING, filters={"item": ["身份证号", "地号"]})
    assert {NAMES[hit] for hit in held.hits} == {"people", "land"}
    with frozen(datetime(2026, 9, 9, tzinfo=UTC)):
        result = index.search("", visible=EVERYTHING, filters={"freshness": ["week"]}, facets=["freshness"])
    assert {NAMES[hit] for hit in result.hits} == {"water", "land"}
    assert result.facets == {"freshness": {"week": 2, "month": 4}}


def test_only_what_the_asker_may_see(index: CatalogIndex) -> None:
    public = index.search("身份证", visible=[{"published": True, "open": True}], facets=["agency"])
    assert (public.hits, public.total, public.facets) == ((), 0, {"agency": {}})
    agency = index.search("身份证", visible=[{"published": True}, {"agency": "ecology"}])
    assert {NAMES[hit] for hit in agency.hits} == {"people", "cards"}
    owner = index.search("身份证", visible=[{"published": True}, {"agency": "police"}])
    assert {NAMES[hit] for hit in owner.hits} == {"people", "cards", "abstract"}
    assert index.search("身份证", visible=[]).total == 0
    for visible, told in (([{"published": True}], []), ([{"agency": "police"}], ["abstract"])):
        assert suggested(index, "人口普查", visible) == told
        assert suggested(index, "区划", visible) == [f"区划 of {one}" for one in told]
        assert suggested(index, "qh", visible) == [f"区划 of {one}" for one in told]


def test_filters_and_facets(index: CatalogIndex) -> None:
    result = index.search(
        "",
        visible=EVERYTHING,
        filters={"sharing_type": "unconditional", "agency": ["land", "police"]},
        facets=["sharing_type", "agency", "theme"],
    )
    assert [NAMES[hit] for hit in result.hits] == ["land"]
    assert result.facets == {
        "sharing_type": {"conditional": 2, "unconditional": 1},
        "agency": {"ecology": 1, "land": 1},
        "theme": {"公共服务": 1, "城乡建设": 1},
    }


def test_an_unknown_filter_or_facet_is_refused(index: CatalogIndex) -> None:
    with pytest.raises(UnknownFilter):
        index.search("", visible=EVERYTHING, filters={"owner": "x"})
    with pytest.raises(UnknownFilter):
        index.search("", visible=EVERYTHING, facets=["title"])


def test_suggestions_by_name_script_and_pinyin_initials(index: CatalogIndex) -> None:
    assert suggested(index, "身分證") == ["身份证号 of people", "cards"]
    assert suggested(index, "sfzh") == ["身份证号 of people"]
    assert suggested(index, "sfzj") == ["cards"]
    assert suggested(index, "身份证件办理") == ["cards"]
    assert suggested(index, "地號") == ["地号 of land"]
    assert suggested(index, "307001/000012") == ["land"]
    assert suggested(index, "") == []


def test_names_are_suggested_by_how_many_hold_them_as_they_come_and_go(tmp_path: Path) -> None:
    index = CatalogIndex.open(tmp_path)
    for n in range(12):
        held = ("登记日期", "登记机关")[n % 4 == 0]
        index.apply([document(f"{n}", f"资源{n}", held)], [], f"{n}")
    assert suggested(index, "登记") == ["登记日期 of 1", "登记机关 of 0"] or suggested(index, "dj")
    names = [name for name, _ in index.suggest("登记", visible=EVERYTHING).names]
    assert names == ["登记日期", "登记机关"]
    for n in range(12):
        index.apply([document(f"{n}", f"资源{n}", "登记机关", open=n == 3)], [], f"{n + 12}")
    assert index.holder("登记日期", visible=EVERYTHING) is None
    assert index.holder("登记机关", visible=[{"open": True}]) == id_of("3")


def test_a_change_replaces_and_a_deletion_removes(index: CatalogIndex) -> None:
    index.apply([document("people", "流动人口居住信息")], [id_of("water")], "2")
    assert found(index, "身份证") == ["cards", "abstract"]
    assert found(index, "流动人口") == ["people"]
    assert found(index, "水") == []
    assert index.position() == "2"
    assert index.search("", visible=EVERYTHING).total == len(CATALOG) - 1


def test_the_position_is_unknown_until_something_was_applied(tmp_path: Path) -> None:
    index = CatalogIndex.open(tmp_path)
    assert index.position() is None
    index.apply([], [], "7")
    index.close()
    assert CatalogIndex.open(tmp_path).position() == "7"
    assert index.search("", visible=EVERYTHING).total == 0


def test_a_failing_batch_changes_neither_documents_nor_position(
    index: CatalogIndex,
) -> None:
    def documents() -> object:
        yield document("new", "新资源")
        raise RuntimeError("the database went away")

    with pytest.raises(RuntimeError, match="went away"):
        index.apply(documents(), [id_of("people")], "2")  # type: ignore[arg-type]
    assert index.position() == "1"
    index.apply([], [], "3")
    assert found(index, "新资源") == []
    assert "people" in found(index, "身份证")


def test_one_writer_and_readers_that_follow(index: CatalogIndex, tmp_path: Path) -> None:
    other = CatalogIndex.open(tmp_path)
    with pytest.raises(IndexBusy):
        other.apply([], [id_of("people")], "2")
    index.close()
    other.apply([], [id_of("people")], "2")
    assert other.position() == "2"


def test_a_rebuild_switches_every_reader(index: CatalogIndex, tmp_path: Path) -> None:
    other = CatalogIndex.open(tmp_path)
    assert found(other, "水") == ["water"]
    assert index.rebuild(iter([document("only", "水库名录")]), "9") == 1
    for reader in (index, other):
        assert found(reader, "水") == ["only"]
        assert reader.position() == "9"
    index.apply([document("more", "水厂名录")], [], "10")
    assert sorted(found(index, "水")) == ["more", "only"]


def test_a_rebuild_leaves_at_most_the_previous_generation(index: CatalogIndex, tmp_path: Path) -> None:
    (tmp_path / "schema-0-text-0").mkdir()
    for number in range(3):
        index.rebuild(CATALOG, str(number))
    assert len(list(tmp_path.glob("schema-*/index-*"))) == 2
    assert not (tmp_path / "schema-0-text-0").exists()


def test_a_rebuild_that_fails_leaves_the_old_index(index: CatalogIndex) -> None:
    def documents() -> object:
        yield document("new", "新资源")
        raise RuntimeError("the database went away")

    with pytest.raises(RuntimeError, match="went away"):
        index.rebuild(documents(), "2")  # type: ignore[arg-type]
    assert index.position() == "1"
    assert found(index, "水") == ["water"]
    assert index.rebuild(CATALOG, "3") == len(CATALOG)


_WRITER = """
import sys
from datetime import UTC, datetime
from uuid import UUID
from app.kernel.clock import frozen
from catalog.search.document import SearchDocument
from catalog.search.index import CatalogIndex
index = CatalogIndex.open(sys.argv[1])
for number in range(int(index.position() or 0) + 1, 100000):
    made = SearchDocument(id=str(UUID(int=number << 64)), title="测试资源", agency_id="a", agency_name="甲", published=True,
                          open=True, updated_at=datetime(2026, 9, 1, tzinfo=UTC))
    index.apply([made], [], str(number))
    print(number, flush=True)
"""


def test_a_killed_writer_never_skips_a_change(tmp_path: Path) -> None:
    for _ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
        )
        assert writer.stdout is not None
        acknowledged = 0
        for _ in range(4):
            acknowledged = int(writer.stdout.readline())
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        index = CatalogIndex.open(tmp_path)
        position = int(index.position() or 0)
        assert position >= acknowledged
        assert index.search("测试", visible=EVERYTHING).total == position


@pytest.mark.skipif(
    not TAOYUAN.exists(),
    reason="../shared is absent: the Taoyuan supply list is not there",
)
def test_the_taoyuan_list_answers_well_and_quickly(tmp_path: Path) -> None:
    index = CatalogIndex.open(tmp_path)
    with TAOYUAN.open(encoding="utf-8-sig") as file:
        documents = [
            document(
                row["編號"],
                row["資料名稱"],
                *[item for item in re.split(r"[、,，;；]", row["主要欄位說明"]) if item],
                abstract=row["資料集描述"],
                agency_id=row["資料集提供機關"],
                agency_name=row["資料集提供機關"],
            )
            for row in csv.DictReader(file)
        ]
    started = time.perf_counter()
    index.rebuild(documents, "1")
    print(f"\nbuilt {len(documents)} in {time.perf_counter() - started:.2f} s")
    titles = {NAMES[made.id]: made.title for made in documents}
    for text in ("身份证", "地号", "停车场", "水", "統計", "市民卡", "公园 地址"):
        elapsed = []
        for _ in range(15):
            started = time.perf_counter()
            result = index.search(
                text,
                visible=[{"published": True}],
                facets=["agency", "sharing_type", "state"],
            )
            elapsed.append((time.perf_counter() - started) * 1000)
        assert result.total > 0, text
        assert statistics.median(elapsed) < 50, text
        print(f"{text}: {result.total}, median {statistics.median(elapsed):.1f} ms")
        print("   ", [titles[NAMES[hit]] for hit in result.hits[:4]])
    assert index.search("地号", visible=EVERYTHING).total == index.search("地號", visible=EVERYTHING).total
    assert index.search("地号", visible=EVERYTHING).total > 90
