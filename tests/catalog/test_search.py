"""Search over HTTP on a database of its own: what is committed is found, by those who may see it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.kernel.actor import Actor, Role
from app.kernel.db import Database
from app.kernel.keys import ServiceKeys
from app.main import create_app
from app.settings import Settings
from catalog.resources import service
from catalog.resources.importing import ImportState, Incoming, upsert_imported
from catalog.resources.models import Resource
from catalog.search.document import FACETS, SearchDocument
from catalog.search.index import CatalogIndex
from catalog.search.indexing import reindex, run_once
from tests.catalog.samples import OPEN, record
from tests.conftest import PUBLIC_URL
from tests.factories import OPERATOR, Town

CLERK, APPROVER, CATALOG = Role.CLERK, Role.APPROVER, Role.CATALOG_ADMINISTRATOR
URL = "/api/v1/search"


@dataclass
class World:
    """A committed town, its index, and the service over both."""

    database: Database
    town: Town
    index: CatalogIndex
    client: TestClient
    headers: dict[str, dict[str, str]]
    approver: Actor  # of civil

    def bring(
        self, agency: str, as_state: ImportState, *records: dict[str, Any], session: Session | None = None
    ) -> None:
        """Import records as `as_state`, committed at once, or within the caller's `session`."""
        incoming = [
            Incoming(self.town.agencies[agency], record(source_id=f"{agency}-{r['title']}", **r))
            for r in records
        ]
        if session is not None:
            upsert_imported(session, incoming, source="s", as_state=as_state, by=OPERATOR)
            return
        with self.database.transaction() as own:
            upsert_imported(own, incoming, source="s", as_state=as_state, by=OPERATOR)

    def asks(self, q: str = "", who: str = "", **parameters: Any) -> dict[str, Any]:
        answer = self.client.get(URL, params={"q": q, **parameters}, headers=self.headers.get(who, {}))
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def titles(self, q: str = "", who: str = "", **parameters: Any) -> list[str]:
        return [item["title"] for item in self.asks(q, who, **parameters)["items"]]

    def follow(self) -> int:
        return run_once(self.database, self.index)


@pytest.fixture
def world(database: Database, keys: ServiceKeys, tmp_path: Path) -> Iterator[World]:
    with database.transaction() as session:
        town = Town(session)
        approver = town.actor("civil", APPROVER)
        headers = {
            "civil": town.headers("civil", CLERK),
            "health": town.headers("health", CLERK),
            "reviewer": town.headers("city_authority", CATALOG),
        }
    app = create_app(Settings(data=tmp_path, database_url="", public_url=PUBLIC_URL), database, keys)
    index = CatalogIndex.open(tmp_path / "index")
    app.state.index = index
    with TestClient(app, base_url=PUBLIC_URL) as client:
        client.headers["accept-language"] = "en"
        yield World(database, town, index, client, headers, approver)
    index.close()


LAND: dict[str, Any] = {
    "title": "土地登記資料", "title_en": "Land parcels", "themes": ["construction"],
    "items": [{"name": "地號", "name_en": "parcel number"}, {"name": "面积"}], **OPEN,
}  # fmt: skip
MARRIAGE: dict[str, Any] = {"title": "婚姻登记信息"}  # shared on conditions, not open
DRAFT: dict[str, Any] = {"title": "婚姻登记草稿"}


@pytest.fixture
def stocked(world: World) -> World:
    world.bring("civil", "published", LAND, MARRIAGE)
    world.bring("civil", "draft", DRAFT)
    assert world.follow() == 3
    return world


def test_finds_in_either_script_by_item_code_and_english(stocked: World) -> None:
    for typed in ("地号", "地號", "土地登记", "parcels", "Parcel Number", "地"):
        assert stocked.titles(typed) == ["土地登記資料"]
    found = stocked.asks("地号")["items"][0]
    assert found["matching_items"] == ["地號"]
    assert found["agency"]["name"] == {"zh": "测试市民政局", "en": "Civil"}
    assert stocked.titles(found["code"]) == ["土地登記資料"]


@pytest.mark.parametrize(
    ("who", "titles"),
    [
        ("", {"土地登記資料"}),
        ("health", {"土地登記資料", "婚姻登记信息"}),
        ("civil", {"土地登記資料", "婚姻登记信息", "婚姻登记草稿"}),
        ("reviewer", {"土地登記資料", "婚姻登记信息", "婚姻登记草稿"}),
    ],
)
def test_hits_totals_facets_and_suggestions_show_what_the_reader_may_see(
    stocked: World, who: str, titles: set[str]
) -> None:
    found = stocked.asks("", who, facets=["agency", "sharing_type", "state"])
    assert {item["title"] for item in found["items"]} == titles
    assert found["total"] == len(titles)
    counted = {name: sum(value["count"] for value in values) for name, values in found["facets"].items()}
    assert counted == dict.fromkeys(("agency", "sharing_type", "state"), len(titles))
    params: dict[str, Any] = {"q": "婚", "limit": 20}
    suggested = stocked.client.get(
        f"{URL}/suggest", params=params, headers=stocked.headers.get(who, {})
    ).json()
    assert set(suggested["items"]) == {title for title in titles if title.startswith("婚")}


def test_where_it_was_found_is_marked_in_either_script(stocked: World) -> None:
    found = stocked.asks("土地登记")["items"][0]
    assert found["title"] == "土地登記資料"
    assert found["marked"]["title"] == [[0, 4]]
    assert stocked.asks("地")["items"][0]["marked"]["title"] == [[1, 2]]
    assert stocked.asks("parcel")["items"][0]["marked"]["title_en"] == [[5, 12]]


def test_which_resources_hold_an_item(stocked: World) -> None:
    assert stocked.titles(item="地号") == ["土地登記資料"]
    assert stocked.asks(item="地號")["items"][0]["matching_items"] == ["地號"]
    assert stocked.titles(item="地") == []


def test_suggestions_are_written_as_they_stand(stocked: World) -> None:
    for typed in ("地号", "土地登记", "tddj", "land"):
        answer = stocked.client.get(f"{URL}/suggest", params={"q": typed}).json()
        assert answer["items"] == [{"地号": "地號", "land": "Land parcels"}.get(typed, "土地登記資料")]


def test_what_can_be_chosen_is_counted_by_freshness_mode_and_grade(stocked: World) -> None:
    facets = stocked.asks("", "civil", facets=["freshness", "mode", "grade"])["facets"]
    assert [(v["value"], v["count"], v["label"]["zh"]) for v in facets["freshness"]] == [
        ("week", 3, "一周内更新")
    ]
    assert len(stocked.titles("", "civil", freshness="week")) == 3
    assert stocked.titles("", "civil", freshness="older") == []
    for name in ("mode", "grade"):
        for value in facets[name]:
            assert len(stocked.titles("", "civil", **{name: value["value"]})) == value["count"]
            assert value["label"]["zh"] != value["value"]


@pytest.mark.parametrize("sort", ["relevance", "updated"])
def test_a_cursor_of_another_order_is_refused(world: World, sort: str) -> None:
    world.bring("civil", "published", *({"title": f"水质监测{n}", **OPEN} for n in range(3)))
    world.follow()
    cursor = world.asks("水质", limit=1, sort=sort)["next"]
    other = {"relevance": "updated", "updated": "relevance"}[sort]
    answer = world.client.get(URL, params={"q": "水质", "sort": other, "cursor": cursor})
    assert answer.status_code == 422 and answer.json()["errors"][0]["field"] == "/cursor"


def test_nobody_can_count_what_they_may_not_see(world: World) -> None:
    """What is hidden changes no answer, whether it is there or not."""

    def told() -> list[Any]:
        everything = world.asks("", facets=list(FACETS))
        words = [world.asks(q, facets=list(FACETS)) for q in ("婚姻", "登记", "land")]
        return [everything, *words, world.client.get(f"{URL}/suggest", params={"q": "婚"}).json()]

    world.bring("civil", "published", LAND)
    world.follow()
    before = told()
    world.bring("civil", "published", MARRIAGE)
    world.bring("civil", "draft", DRAFT)
    world.bring("health", "filed", {"title": "婚前检查登记"})
    world.follow()
    assert told() == before
    assert world.asks("", "reviewer")["total"] == 4


def test_facets_carry_names_and_filters_narrow(stocked: World) -> None:
    facets = stocked.asks("", "health", facets=["agency", "theme"])["facets"]
    assert facets["agency"][0]["label"] == {"zh": "测试市民政局", "en": "Civil"}
    assert {v["value"]: (v["label"]["zh"], v["count"]) for v in facets["theme"]} == {
        "construction": ("城乡建设", 1), "public_service": ("公共服务", 1),
    }  # fmt: skip
    assert stocked.titles("", "health", theme="construction") == ["土地登記資料"]
    assert stocked.titles("", "health", sharing_type=["conditional"]) == ["婚姻登记信息"]
    assert len(stocked.titles("", "health", theme=["construction", "public_service"])) == 2
    assert stocked.titles("", "health", agency=str(stocked.town.id("health"))) == []
    assert stocked.titles("", "health", jurisdiction="990100", theme="construction") == ["土地登記資料"]


@pytest.mark.parametrize(
    "parameters", [{"facets": "owner"}, {"cursor": "x"}, {"limit": 0}, {"owner": "x"}, {"q": "长" * 300}]
)
def test_what_cannot_be_asked_is_refused(world: World, parameters: dict[str, Any]) -> None:
    answer = world.client.get(URL, params=parameters)
    assert answer.status_code == 422 and answer.json()["errors"]


def test_pages_by_cursor(world: World) -> None:
    world.bring("civil", "published", *({"title": f"水质监测{n}", **OPEN} for n in range(5)))
    world.follow()
    seen: list[str] = []
    cursor: dict[str, str] = {}
    for _ in range(3):
        page = world.asks("水质", limit=2, **cursor)
        seen += [item["title"] for item in page["items"]]
        cursor = {"cursor": page["next"]} if page["next"] else {}
    assert len(seen) == len(set(seen)) == 5 and not cursor


def test_a_change_is_found_and_nothing_new_writes_nothing(stocked: World) -> None:
    assert stocked.follow() == 0
    with stocked.database.transaction() as session:
        resource = session.query(Resource).filter_by(title=MARRIAGE["title"]).one()
        service.take_out(session, resource, "suspend", reason="迁移", expected_version=1, by=stocked.approver)
    # Not in the index yet, and already not shown.
    assert MARRIAGE["title"] not in stocked.titles("", "health")
    assert stocked.follow() == 1
    assert stocked.asks("", "health")["total"] == 1
    assert MARRIAGE["title"] in stocked.titles("", "civil", state="suspended")


def test_a_transaction_that_commits_late_is_not_skipped(stocked: World) -> None:
    with stocked.database.transaction() as late:
        stocked.bring("civil", "published", {"title": "先写后提交", **OPEN}, session=late)
        late.flush()
        with stocked.database.transaction() as early:  # writes later, under another source, commits first
            incoming = [
                Incoming(stocked.town.agencies["civil"], record(source_id="1", title="后写先提交", **OPEN))
            ]
            upsert_imported(early, incoming, source="other", as_state="published", by=OPERATOR)
        stocked.follow()
    assert stocked.follow() >= 1
    assert {"先写后提交", "后写先提交"} <= set(stocked.titles("提交"))


class DiskFull(CatalogIndex):
    """An index whose next write fails before anything is committed."""

    def apply(self, upserts: Iterable[SearchDocument], deletes: Iterable[str], position: str) -> None:
        raise OSError("no space left on device")


def test_a_failed_write_is_made_up_for(stocked: World, tmp_path: Path) -> None:
    stocked.bring("civil", "published", {"title": "空气质量", **OPEN})
    with pytest.raises(OSError, match="no space"):
        run_once(stocked.database, DiskFull.open(tmp_path / "index"))
    assert stocked.titles("空气") == []
    assert stocked.follow() == 1
    assert stocked.titles("空气") == ["空气质量"]


def test_more_changes_than_one_batch(world: World) -> None:
    world.follow()
    world.bring("civil", "published", *({"title": f"河道{n}", **OPEN} for n in range(8)))
    assert run_once(world.database, world.index, batch=3) == 8
    assert world.asks("河道")["total"] == 8


def test_a_rebuild_holds_the_same_and_misses_nothing_that_happens_meanwhile(stocked: World) -> None:
    before = stocked.asks("", "civil", facets=["state"])
    with stocked.database.transaction() as during:
        stocked.bring("civil", "published", {"title": "重建期间", **OPEN}, session=during)
        during.flush()
        assert reindex(stocked.database, stocked.index) == 3
        assert stocked.asks("", "civil", facets=["state"]) == before
    stocked.follow()
    assert stocked.titles("重建期间") == ["重建期间"]


def test_an_index_of_one_s_own_fills_itself(stocked: World, tmp_path: Path) -> None:
    other = CatalogIndex.open(tmp_path / "another node")
    assert run_once(stocked.database, other) == 3
    stocked.client.app.state.index = other  # type: ignore[attr-defined]
    assert len(stocked.titles("", "civil")) == 3
    other.close()
