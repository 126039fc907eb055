"""The open view: whatever is not open changes no byte of what a reader without login gets, not even by counting.

What the public reads is taken before and after the catalog gets resources of every kind that is not open, of the same
agencies, themes, names and items as those that are. Nothing may tell the two apart.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import rdflib
from rdflib.compare import to_canonical_graph
from starlette.testclient import TestClient

from app.kernel.actor import Role
from app.kernel.clock import new_id
from app.kernel.db import Database
from app.kernel.keys import ServiceKeys
from app.main import create_app
from app.settings import Settings
from catalog.resources import service
from catalog.resources.importing import ImportState, Incoming, upsert_imported
from catalog.resources.models import Resource
from catalog.search.api import Facet
from catalog.search.indexing import run_once
from tests.catalog.samples import record
from tests.catalog.served import LAMPS, TREES
from tests.conftest import PUBLIC_URL
from tests.factories import OPERATOR, Town

FACETS = Facet.__args__  # type: ignore[attr-defined]  # of a Literal
CKAN_FACETS = (
    '["organization","groups","tags","res_format","license_id","openness","sharing_type","update_cycle"]'
)
WORDS = ("路", "路灯", "清册", "编号", "行道树", "street", "照明", "民政", "编号 照明", "sl")
CLOSED: list[tuple[ImportState, str, str | None]] = [
    ("draft", "unconditional", None), ("filed", "unconditional", None), ("published", "not_open", None),
    ("published", "conditional", None), ("published", "unconditional", "suspend"),
    ("published", "unconditional", "withdraw"),
]  # fmt: skip


FORMS = {"/catalog.ttl": "turtle", "/catalog.jsonld": "json-ld", "/catalog.xml": "xml"}


def content_of(address: str, answer: httpx2.Response) -> list[str]:
    """What a text says, whatever the names of its blank nodes."""
    if address not in FORMS:
        return answer.text.splitlines()
    graph = rdflib.Graph().parse(data=answer.text, format=FORMS[address])
    return sorted(to_canonical_graph(graph).serialize(format="nt").splitlines())


class Public:
    """A service with an open catalog, and somebody without login who reads all of it."""

    def __init__(self, database: Database, keys: ServiceKeys, folder: Path) -> None:
        self.database = database
        with database.transaction() as session:
            self.town = Town(session)
        self.add("published", "unconditional", {**LAMPS}, "civil")
        self.add("published", "unconditional", {**TREES}, "market")
        settings = Settings(data=folder, database_url="", public_url=PUBLIC_URL)
        self.app = create_app(settings, database, keys)
        self.client = TestClient(self.app, base_url=PUBLIC_URL)

    def add(
        self, state: ImportState, openness: str, values: dict[str, Any], agency: str, act: str | None = None
    ) -> None:
        values = {**values, "openness": {"type": openness, "condition": "面谈"}, "source_id": str(new_id())}
        with self.database.transaction() as session:
            self.town.session = session
            one = Incoming(self.town.agencies[agency], record(**values))
            upsert_imported(session, [one], source="s", as_state=state, by=OPERATOR)
            if act is not None:
                row = session.query(Resource).filter_by(source_id=values["source_id"]).one()
                by = self.town.actor(agency, Role.APPROVER)
                service.take_out(session, row, act, reason="职责划转", expected_version=row.version, by=by)

    def addresses(self) -> Iterator[str]:
        facets = "&".join(f"facets={name}" for name in FACETS)
        for word in ("", *WORDS):
            yield f"/api/v1/search?q={word}&sort=updated&limit=100&{facets}"
            if word:
                yield f"/api/v1/search/suggest?q={word}"
                yield f"/api/3/action/package_autocomplete?q={word}"
                yield f"/api/3/action/tag_list?query={word}"
            yield f"/api/3/action/package_search?q={word}&sort=name asc&facet.field={CKAN_FACETS}"
            yield f"/ogc/collections/resources/items?q={word}&sortby=title"
        yield "/api/v1/search?item=编号&sort=updated"
        yield "/api/v1/resources?limit=100"
        yield "/api/v1/resources?state=draft"
        yield "/api/3/action/package_list"
        yield "/api/3/action/package_search?fq=private:true"
        for kind in ("organization", "group"):
            yield f"/api/3/action/{kind}_list?all_fields=true"
        for agency in self.town.agencies.values():
            yield f"/api/3/action/organization_show?id={agency.id}&include_datasets=true"
            yield f"/api/v1/agencies/{agency.id}/disclosure"
            yield f"/api/v1/search?agency={agency.id}&sort=updated"
        yield "/ogc/collections/resources/items?filter=openness <> 'unconditional'"
        yield "/data.json"
        yield from FORMS

    def reads(self) -> dict[str, Any]:
        """Everything, without what tells the time of asking, and graphs without the names of their blank nodes."""
        run_once(self.database, self.app.state.index)
        told = {}
        for address in self.addresses():
            answer = self.client.get(address)
            if address in FORMS or "json" not in answer.headers["content-type"]:
                told[address] = answer.status_code, content_of(address, answer), ""
                continue
            content = answer.json()
            for member in ("timeStamp", "request_id"):
                content.pop(member, None)
            told[address] = answer.status_code, [], json.dumps(content, ensure_ascii=False, sort_keys=True)
        return told


@pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated")  # the reader of JSON-LD uses it
@pytest.mark.parametrize("seed", [7])
def test_nothing_that_is_not_open_can_be_told_from_nothing(
    database: Database, keys: ServiceKeys, tmp_path: Path, seed: int
) -> None:
    public, chance = Public(database, keys, tmp_path), random.Random(seed)
    before = public.reads()
    assert sum(status == 200 for status, _, _ in before.values()) > 60
    for number in range(24):
        state, openness, act = CLOSED[number % len(CLOSED)]
        values = {**chance.choice((LAMPS, TREES)), "keywords": chance.sample(["照明", "路灯", "内部"], 2)}
        if chance.random() < 0.5:
            values |= {"title": f"路灯{number}", "themes": ["emergency"], "items": [{"name": "编号"}]}
        public.add(state, openness, values, chance.choice(("civil", "market", "health")), act)
    after = public.reads()
    different = [address for address, told in after.items() if told != before[address]]
    assert different == []
    public.app.state.index.close()
