"""Another running service harvested over real HTTP: by its CKAN API and as DCAT feeds, on a schedule."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.kernel import clock
from app.kernel.db import Database
from app.kernel.keys import ServiceKeys
from app.kernel.outbound import Outbound, networks
from catalog.resources.models import Resource
from tests.catalog.served import LAMPS, TREES, Served, served
from tests.catalog.test_import_jobs import ADMINISTRATOR, Desk, Harvesting, tally
from tests.conftest import OneTransaction
from tests.factories import Town

pytestmark = [
    pytest.mark.soak,
    pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated"),
]

NEAR = Outbound(networks("127.0.0.0/8"))


@pytest.fixture
def other(database: Database, keys: ServiceKeys, tmp_path: Path) -> Iterator[Served]:
    with served(database, keys, tmp_path / "other") as running:
        yield running


@pytest.fixture
def desk(client: TestClient, session: Session, town: Town, one_transaction: OneTransaction) -> Desk:
    own = Desk(client, session, town, one_transaction)
    own.headers = town.headers("city_authority", ADMINISTRATOR)  # what comes is of several agencies
    return own


def allow_near(client: TestClient) -> None:
    """As an operator does who lists the network in ZHENGTONG_PRIVATE_NETWORKS."""
    state = client.app.state  # type: ignore[attr-defined]
    state.settings = replace(state.settings, private_networks=NEAR.private)


def test_without_the_operator_s_word_it_is_not_reached(other: Served, desk: Desk) -> None:
    body = {"name": "邻市", "kind": "ckan", "url": other.url}
    answer = desk.client.post("/api/v1/harvests", headers=desk.headers, json=body)
    assert answer.status_code == 422 and answer.json()["errors"][0]["field"] == "/url"


@pytest.mark.parametrize(
    ("kind", "path"),
    [("ckan", ""), ("dcat", "/catalog.ttl"), ("dcat", "/catalog.jsonld"), ("dcat", "/catalog.xml"), ("dcat", "/data.json")],
)  # fmt: skip
def test_its_open_resources_come_in_and_the_next_time_what_changed(
    other: Served, desk: Desk, client: TestClient, kind: str, path: str
) -> None:
    allow_near(client)
    harvest = Harvesting(desk, NEAR, kind=kind, url=f"{other.url}{path}", automatic=True)
    assert harvest.fetch()["problem"] is None
    first = harvest.imported()
    assert (first["state"], tally(first["result"])) == ("finished", (2, 0, 0, 0))
    held = {row.title: row.record for row in desk.session.scalars(select(Resource))}
    assert set(held) == {LAMPS["title"], TREES["title"]}
    assert held["路灯清册"]["update_cycle"] == "monthly" and held["路灯清册"]["themes"] == ["construction"]
    with clock.frozen(clock.now() + timedelta(days=1)):
        desk.headers = desk.town.headers("city_authority", ADMINISTRATOR)  # signed in anew
        again = harvest.fetch()  # the schedule's next time; nothing changed there
        job = harvest.imported()
        # Where the answer is the same to the byte nothing is imported anew.
        assert again["problem"] is None
        assert job["id"] == first["id"] or tally(job["result"]) == (0, 0, 2, 0)
    assert len(desk.session.scalars(select(Resource)).all()) == 2
