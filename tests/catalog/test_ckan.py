"""CKAN's read API, read by the unmodified ckanapi package and by hand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from ckanapi import (  # type: ignore[import-untyped]
    NotFound,
    RemoteCKAN,
    SearchQueryError,
    ValidationError,
)

from app.kernel.db import Database
from app.kernel.keys import ServiceKeys
from catalog.interop.ckan_actions import ACTIONS
from tests.catalog.served import LAMPS, MARRIAGES, TREES, Served, served

pytestmark = pytest.mark.soak  # `.ci/run` runs it; too long for every `make test`

BIN = Path(sys.executable).parent
OPEN_TITLES = {LAMPS["title"], TREES["title"]}


@pytest.fixture
def catalog(database: Database, keys: ServiceKeys, tmp_path: Path) -> Iterator[Served]:
    with served(database, keys, tmp_path) as running:
        yield running


@pytest.fixture
def ckan(catalog: Served) -> Iterator[RemoteCKAN]:
    with RemoteCKAN(catalog.url) as client:
        yield client


def command(catalog: Served, *arguments: str) -> list[dict[str, Any]]:
    """What the ckanapi command prints, a JSON object a line."""
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(
        [BIN / "ckanapi", *arguments, "-r", catalog.url],
        env=environment, capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines()]


def found(ckan: RemoteCKAN, **asked: Any) -> list[str]:
    return [one["title"] for one in ckan.call_action("package_search", asked)["results"]]


def test_the_ckanapi_command_dumps_and_searches(catalog: Served) -> None:
    datasets = command(catalog, "dump", "datasets", "--all")
    assert {one["title"] for one in datasets} == OPEN_TITLES
    organizations = command(catalog, "dump", "organizations", "--all")
    assert {one["title"]: one["package_count"] for one in organizations} == {
        "测试市民政局": 1,
        "测试市市场监督管理局": 1,
    }
    assert {one["title"] for one in command(catalog, "search", "datasets")} == OPEN_TITLES
    assert [one["title"] for one in command(catalog, "search", "datasets", "q=路灯")] == [LAMPS["title"]]


def test_a_package_says_what_the_record_says(ckan: RemoteCKAN, catalog: Served) -> None:
    (name,) = [n for n in ckan.action.package_list() if ckan.action.package_show(id=n)["title"] == "路灯清册"]
    shown = ckan.action.package_show(id=name)
    assert shown == ckan.action.package_show(id=shown["id"])
    assert shown["name"] == name and name == name.lower()
    assert (shown["license_id"], shown["isopen"], shown["private"]) == ("CC-BY-4.0", True, False)
    assert shown["organization"]["title"] == "测试市民政局"
    assert [tag["name"] for tag in shown["tags"]] == LAMPS["keywords"]
    assert [group["name"] for group in shown["groups"]] == ["construction"]
    (held,) = shown["resources"]
    assert (held["format"], held["mimetype"], held["url"]) == (
        "CSV",
        "text/csv",
        "https://open.test/lamps.csv",
    )
    assert ckan.action.resource_show(id=held["id"]) == held
    extras = {one["key"]: one["value"] for one in shown["extras"]}
    assert json.loads(extras["items"]) == ["编号"] and extras["jurisdiction"] == "990100"


SEARCHES: list[tuple[dict[str, Any], set[str]]] = [
    ({}, OPEN_TITLES),
    ({"q": "*:*"}, OPEN_TITLES),
    ({"q": "行道"}, {"行道树"}),
    ({"q": "婚姻"}, set()),
    ({"fq": "tags:路灯"}, {"路灯清册"}),
    ({"fq": 'tags:"照明"'}, OPEN_TITLES),
    ({"fq": "-tags:路灯"}, {"行道树"}),
    ({"fq": "NOT tags:路灯"}, {"行道树"}),
    ({"fq": "tags:(路灯 OR 树木)"}, OPEN_TITLES),
    ({"fq": "tags:(路灯 AND 照明)"}, {"路灯清册"}),
    ({"fq": "tags:(路灯 AND 树木)"}, set()),
    ({"fq": "groups:environment +state:active"}, {"行道树"}),
    ({"fq_list": ["groups:environment", "tags:路灯"]}, set()),
    ({"fq": "res_format:CSV"}, {"路灯清册"}),
    ({"q": "title:树 tags:照明"}, {"行道树"}),
    ({"fq": "update_cycle:yearly"}, {"行道树"}),
    ({"fq": "jurisdiction:990100"}, OPEN_TITLES),
    ({"fq": "jurisdiction:990102"}, set()),
    ({"fq": "private:true"}, set()),
    ({"fq": "license_id:CC-BY-4.0"}, {"路灯清册"}),
    ({"fq": "license_id:notspecified"}, {"行道树"}),
    ({"fq": "license_id:other"}, set()),
    ({"q": "*"}, OPEN_TITLES),
    ({"fq": "metadata_modified:[2020-01-01T00:00:00Z TO *]"}, OPEN_TITLES),
    ({"fq": "metadata_modified:[* TO 2020-01-01T00:00:00Z]"}, set()),
    ({"q": "照明", "fq": "groups:construction"}, {"路灯清册"}),
]


def test_searches_narrow(ckan: RemoteCKAN) -> None:
    for asked, titles in SEARCHES:
        answer = ckan.call_action("package_search", asked)
        assert {one["title"] for one in answer["results"]} == titles, asked
        assert answer["count"] == len(titles), asked


def test_order_pages_and_facets(ckan: RemoteCKAN) -> None:
    assert found(ckan, sort="title_string asc") == sorted(OPEN_TITLES)
    assert found(ckan, sort="title_string desc", rows=1) == [max(OPEN_TITLES)]
    assert found(ckan, sort="title_string desc", rows=1, start=1) == [min(OPEN_TITLES)]
    answer = ckan.call_action(
        "package_search",
        {"rows": 0, "facet.field": ["tags", "groups", "organization", "res_format", "license_id"]},
    )
    assert (answer["results"], answer["count"]) == ([], 2)
    assert answer["facets"]["tags"] == {"照明": 2, "树木": 1, "路灯": 1}
    assert answer["facets"]["groups"] == {"construction": 1, "environment": 1}
    assert answer["facets"]["license_id"] == {"CC-BY-4.0": 1, "notspecified": 1}
    assert answer["facets"]["res_format"]["CSV"] == 1 and sum(answer["facets"]["organization"].values()) == 2
    titles = {one["name"]: one["display_name"] for one in answer["search_facets"]["groups"]["items"]}
    assert titles["environment"] == "生态环保"


def test_lists_show_only_what_has_something_to_see(ckan: RemoteCKAN, catalog: Served) -> None:
    assert set(ckan.action.tag_list()) == {"路灯", "照明", "树木"}
    assert ckan.action.tag_list(query="照") == ["照明"]
    assert ckan.action.group_list() == ["construction", "environment"]
    assert ckan.action.group_show(id="environment", include_datasets=True)["packages"][0]["title"] == "行道树"
    names = ckan.action.organization_list()
    assert len(names) == 2
    assert ckan.action.organization_list(all_fields=True, limit=1)[0]["name"] == names[0]
    shown = ckan.action.organization_show(id=names[0], include_datasets=True)
    assert [one["owner_org"] for one in shown["packages"]] == [shown["id"]]
    with pytest.raises(NotFound):
        ckan.action.organization_show(id=str(catalog.town.id("health")))  # whose only resource is not open
    assert [one["title"] for one in ckan.action.package_autocomplete(q="行道")] == ["行道树"]
    assert {one["id"] for one in ckan.action.license_list()} >= {"CC-BY-4.0", "notspecified"}
    assert ckan.action.status_show()["site_url"] == catalog.url
    assert all(ckan.action.help_show(name=name) for name in ACTIONS)


def test_an_agency_s_own_people_read_what_is_published_and_no_draft(catalog: Served) -> None:
    answer = httpx2.get(f"{catalog.url}/api/3/action/package_search", headers=catalog.clerk).json()["result"]
    assert {one["title"]: one["private"] for one in answer["results"]} == {
        LAMPS["title"]: False, TREES["title"]: False, MARRIAGES["title"]: True,
    }  # fmt: skip
    (hidden,) = [one for one in answer["results"] if one["private"]]
    for name in (hidden["id"], hidden["name"]):
        refused = httpx2.get(f"{catalog.url}/api/3/action/package_show", params={"id": name})
        assert (refused.status_code, refused.json()["error"]["__type"]) == (404, "Not Found Error")


def test_refusals_are_those_ckan_clients_know(ckan: RemoteCKAN, catalog: Served) -> None:
    with pytest.raises(NotFound):
        ckan.action.package_show(id="nothing")
    with pytest.raises(ValidationError) as missing:
        ckan.action.package_show()
    assert missing.value.error_dict["id"] == ["Missing value"]
    for asked in (
        {"fq": "owner:x"}, {"fq": "nothing:*"}, {"fq": "tags:a OR tags:b"}, {"fq": "tags:ab*"}, {"sort": "colour asc"},
        {"facet.field": ["colour"]}, {"fq": "metadata_modified:[x TO *]"}, {"fq": "tags:(a OR b AND c)"},
        {"fq": "words alone"}, {"fq": 'tags:"open'}, {"fq": "tags:x NOT"},
    ):  # fmt: skip
        with pytest.raises(SearchQueryError):
            ckan.call_action("package_search", asked)
    address = f"{catalog.url}/api/action/package_search"
    assert httpx2.post(address, content=b"{").status_code == 400
    assert httpx2.get(address.replace("search", "create")).status_code == 400
    assert httpx2.get(address, params={"rows": "many"}).status_code == 409
    for text in (b"\\u0000", b"\\ud800"):
        for asked_in_json in (
            b'{"q":"%s"}',
            b'{"fq":"tags:%s"}',
            b'{"fq_list":"[\\"title:x%s\\"]"}',
            b'{"sort":"%s"}',
        ):
            assert httpx2.post(address, content=asked_in_json % text).status_code in (400, 409), asked_in_json
        shown = httpx2.post(address.replace("search", "show"), content=b'{"id":"%s"}' % text)
        assert shown.status_code == 409
    by_query = httpx2.get(address, params={"facet.field": '["tags"]', "fq_list": "groups:environment"}).json()
    assert by_query["result"]["facets"] == {"tags": {"树木": 1, "照明": 1}}
