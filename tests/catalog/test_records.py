"""OGC API Records, read by OWSLib's client and by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from owslib.ogcapi.records import Records  # type: ignore[import-untyped]
from starlette.testclient import TestClient

from app.kernel.db import Database
from app.kernel.keys import ServiceKeys
from tests.catalog.served import LAMPS, MARRIAGES, TREES, Served, served

pytestmark = pytest.mark.soak  # `.ci/run` runs it; too long for every `make test`

OPEN_TITLES = {LAMPS["title"], TREES["title"]}


@pytest.fixture
def catalog(database: Database, keys: ServiceKeys, tmp_path: Path) -> Iterator[Served]:
    with served(database, keys, tmp_path) as running:
        yield running


@pytest.fixture
def records(catalog: Served) -> Records:
    return Records(f"{catalog.url}/ogc")


def titles(answer: dict[str, Any]) -> list[str]:
    return [feature["properties"]["title"] for feature in answer["features"]]


def test_owslib_finds_its_way_from_the_landing_page_to_a_record(records: Records, catalog: Served) -> None:
    assert records.api()["openapi"].startswith("3.")
    assert any("record-core" in one for one in records.conformance()["conformsTo"])
    assert records.records() == ["resources"]
    assert records.collection("resources")["itemType"] == "record"
    assert records.collection_queryables("resources")["properties"]["updated"]["format"] == "date-time"
    items = records.collection_items("resources")
    assert set(titles(items)) == OPEN_TITLES
    assert (items["numberMatched"], items["numberReturned"]) == (2, 2)
    (lamps,) = [one for one in items["features"] if one["properties"]["title"] == "路灯清册"]
    assert records.collection_item("resources", lamps["id"]) == lamps
    properties = lamps["properties"]
    assert properties["keywords"] == LAMPS["keywords"] and properties["license"] == LAMPS["licence"]
    assert properties["themes"][0]["concepts"][0]["id"] == "construction"
    assert properties["contacts"][0]["organization"] == "测试市民政局"
    assert lamps["geometry"] is None and lamps["time"] == {"interval": ["2024-01-01", "2024-12-31"]}
    links = {one["rel"]: one["href"] for one in lamps["links"]}
    assert links["item"] == "https://open.test/lamps.csv"
    for rel in ("self", "collection", "alternate", "describedby", "about"):
        assert httpx2.get(links[rel], follow_redirects=True).status_code == 200, rel


def test_owslib_searches_sorts_and_pages(records: Records) -> None:
    assert titles(records.collection_items("resources", q="行道")) == ["行道树"]
    assert titles(records.collection_items("resources", q="婚姻")) == []
    ascending = titles(records.collection_items("resources", sortby=("title", "asc")))
    assert ascending == sorted(OPEN_TITLES)
    first = records.collection_items("resources", sortby=("title", "desc"), limit=1)
    assert titles(first) == ascending[::-1][:1] and first["numberMatched"] == 2
    following = {one["rel"]: one["href"] for one in first["links"]}["next"]
    second = httpx2.get(following).json()
    assert titles(second) == ascending[::-1][1:]
    assert {one["rel"] for one in second["links"]} == {"self", "prev", "collection"}


FILTERS: list[tuple[str, set[str]]] = [
    ("title = '路灯清册'", {"路灯清册"}),
    ("title LIKE '%路%'", {"路灯清册"}),
    ("title NOT LIKE '%路%'", {"行道树"}),
    ("CASEI(title_en) = CASEI('STREET trees')", {"行道树"}),
    ("CASEI(title_en) LIKE CASEI('street %')", OPEN_TITLES),
    ("theme = 'environment'", {"行道树"}),
    ("NOT theme = 'environment'", {"路灯清册"}),
    ("keyword = '照明' AND update_cycle = 'monthly'", {"路灯清册"}),
    ("keyword IN ('路灯', '树木')", OPEN_TITLES),
    ("keyword = '路灯' OR keyword = '树木'", OPEN_TITLES),
    ("title_en IS NULL", set()),
    ("theme IS NOT NULL", OPEN_TITLES),
    ("publisher = '测试市市场监督管理局'", {"行道树"}),
    ("jurisdiction = '990100' AND type = 'dataset'", OPEN_TITLES),
    ("updated > TIMESTAMP('2020-01-01T00:00:00Z')", OPEN_TITLES),
    ("updated BETWEEN DATE('2001-01-01') AND DATE('2002-01-01')", set()),
    ("openness = 'not_open' OR title = '婚姻登记信息'", set()),
    ("title = 'x'' OR 1=1 --'", set()),
]


def test_filters_narrow(records: Records) -> None:
    for text, expected in FILTERS:
        answer = records.collection_items("resources", filter=text)
        assert (set(titles(answer)), answer["numberMatched"]) == (expected, len(expected)), text
    tree = json.dumps({"op": "=", "args": [{"property": "title"}, "行道树"]})
    answer = records.collection_items("resources", filter=tree, **{"filter-lang": "cql2-json"})
    assert titles(answer) == ["行道树"]
    assert titles(records.collection_items("resources", q="照明", filter="theme = 'environment'")) == [
        "行道树"
    ]


def test_an_agency_s_own_people_read_what_is_published_and_no_draft(catalog: Served) -> None:
    address = f"{catalog.url}/ogc/collections/resources/items"
    answer = httpx2.get(address, headers=catalog.clerk).json()
    assert set(titles(answer)) == {*OPEN_TITLES, MARRIAGES["title"]}
    (hidden,) = [one["id"] for one in answer["features"] if one["properties"]["title"] == MARRIAGES["title"]]
    assert httpx2.get(f"{address}/{hidden}", headers=catalog.clerk).status_code == 200
    assert httpx2.get(f"{address}/{hidden}").status_code == 404


@pytest.mark.parametrize(
    "asked",
    [
        {"filter": "owner = 'x'"}, {"filter": "title ="}, {"filter": "title = 3"}, {"filter": "updated > 'x'"},
        {"filter": "S_INTERSECTS(geometry, POINT(1 1))"}, {"filter": "(" * 20 + "title = 'x'" + ")" * 20},
        {"filter": "NOT " * 20 + "title = 'x'"}, {"filter": '{"op":"=","args":[]}'}, {"filter": "title"},
        {"filter": '{"op":"in","args":[{"property":"title"},3]}'}, {"filter": "title > DATE('2020-01-01')"},
        {"sortby": "keyword"}, {"sortby": "-colour"}, {"bbox": "1,1,2,2"}, {"limit": 0}, {"offset": -1},
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused_by_name(client: TestClient, asked: dict[str, Any]) -> None:
    answer = client.get("/ogc/collections/resources/items", params=asked)
    assert answer.status_code == 422
    fault = answer.json()["errors"][0]
    assert next(iter(asked)) in fault["field"] and fault["message"]
