"""Idempotency-Key over HTTP: a repeated creation creates once and is answered the same."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from httpx2 import Response
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.kernel import clock
from app.kernel.actor import Role
from app.kernel.db import Database
from app.kernel.idempotency import KEPT, ONCE, IdempotencyKey
from app.kernel.keys import ServiceKeys
from app.main import ROUTERS, create_app
from app.settings import Settings
from exchange.requests.models import ShareRequest
from tests.conftest import PUBLIC_URL
from tests.exchange.world import START, World, terms
from tests.factories import Town

WITH_SECRETS = {
    "session.create",
    "person.register",
    "person.issue_secret",
    "grant.issue",
    "me.begin_second_factor",
}


@pytest.fixture
def world(session: Session, client: TestClient) -> Any:
    with clock.frozen(START):
        yield World(session, Town(session), client)


def post(world: World, body: Any, key: str, *, agency: str = "health", number: int = 1) -> Response:
    headers = {**world.headers(agency, Role.CLERK, number), "Idempotency-Key": key}
    world.session.flush()
    answer: Response = world.client.post("/api/v1/requests", json=body, headers=headers)
    world.session.expire_all()
    return answer


def count(session: Session) -> int:
    return session.scalar(select(func.count()).select_from(ShareRequest)) or 0


def wanted(world: World) -> Any:
    return {"title": "核验登记信息", "terms": terms(world.publish())}


def test_the_same_key_and_content_get_the_same_answer(world: World) -> None:
    body = wanted(world)
    first, again = post(world, body, "k-1"), post(world, body, "k-1")
    assert first.status_code == again.status_code == 201
    assert first.content == again.content
    for name in ("etag", "location", "content-type"):
        assert first.headers[name] == again.headers[name]
    assert count(world.session) == 1
    assert post(world, body, "k-2").json()["id"] != first.json()["id"]


def test_another_content_under_the_key_is_refused(world: World) -> None:
    body = wanted(world)
    post(world, body, "k-1")
    refused = post(world, {**body, "title": "另一件"}, "k-1")
    assert (refused.status_code, refused.json()["type"]) == (422, "/problems/idempotency-key-reused")
    assert count(world.session) == 1


def test_keys_are_each_actors_own(world: World) -> None:
    body = wanted(world)
    answers = [post(world, body, "k-1", number=number) for number in (1, 2)]
    assert answers[0].json()["id"] != answers[1].json()["id"]


def test_what_failed_is_not_kept(world: World) -> None:
    body = wanted(world)
    bad = {**body, "terms": {**body["terms"], "valid_until": "2020-01-01"}}
    assert post(world, bad, "k-1").status_code == 422
    assert post(world, body, "k-1").status_code == 201


def test_a_key_is_kept_for_a_day(world: World) -> None:
    body = wanted(world)
    first = post(world, body, "k-1")
    with world.at(START + KEPT - timedelta(seconds=1)):
        assert post(world, body, "k-1").json()["id"] == first.json()["id"]
    with world.at(START + KEPT):
        assert post(world, body, "k-2").json()["id"] != first.json()["id"]
        assert world.session.get(IdempotencyKey, (world.town.person("health", Role.CLERK).id, "k-1")) is None
        assert post(world, body, "k-1").json()["id"] != first.json()["id"]


@pytest.mark.parametrize("key", ["", "x" * 201])
def test_a_key_of_no_sense_is_refused(world: World, key: str) -> None:
    assert post(world, wanted(world), key).status_code == 422


def test_an_answer_needs_the_permission_again(world: World) -> None:
    body = wanted(world)
    post(world, body, "k-1")
    world.town.person("health", Role.CLERK).roles = [Role.APPROVER]
    assert post(world, body, "k-1").status_code == 403


def test_every_creation_takes_a_key_unless_its_answer_is_secret() -> None:
    routes = [
        route for router in ROUTERS for route in router.routes if getattr(route, "status_code", 0) == 201
    ]
    without = {
        getattr(r, "operation_id", "") for r in routes if getattr(r, "openapi_extra", None) is not ONCE
    }
    # A file is known again by what its rows hold, not by its bytes: multipart ones differ each time.
    assert without == {*WITH_SECRETS, "import.submit", "plan_import.create"}


def test_at_once_it_creates_once(database: Database, keys: ServiceKeys, settings: Settings) -> None:
    """Eight with one key at the same time, in transactions that commit."""
    with clock.frozen(START), Session(database.engine, expire_on_commit=False) as session:
        with TestClient(create_app(settings, database, keys), base_url=PUBLIC_URL) as client:
            world = World(session, Town(session), client, hand_over=session.commit)
            body = wanted(world)
            headers = {**world.headers("health", Role.CLERK), "Idempotency-Key": "k-1"}
            session.commit()

            def send(_: int) -> Response:
                answer: Response = client.post("/api/v1/requests", json=body, headers=headers)
                return answer

            with ThreadPoolExecutor(8) as pool:
                answers = list(pool.map(send, range(8)))
        assert {a.status_code for a in answers} == {201}
        assert len({a.content for a in answers}) == 1
        assert count(session) == 1
