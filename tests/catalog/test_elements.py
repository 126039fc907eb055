"""Data elements: the registry, its sources, which items mean them; quality, following, guides of disclosure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.kernel import clock, history
from app.kernel.actor import Role
from app.kernel.db import Database
from app.kernel.history import Event
from app.kernel.outbound import NotReachable, Outbound
from catalog.following import service as following
from catalog.following.models import FollowPosition
from catalog.quality import service as quality
from catalog.quality.models import Link, Quality
from catalog.quality.scoring import Facts, measure
from catalog.resources.models import Resource
from tests.catalog.samples import OPEN, record
from tests.catalog.test_resources import Desk
from tests.catalog.test_review import OWNER, REVIEWER, act, call, revised
from tests.conftest import OneTransaction
from tests.factories import Town, credit_code

CLERK, APPROVER = Role.CLERK, Role.APPROVER
IDENTITY = {
    "name": "公民身份号码",
    "name_en": "identity number",
    "definition": "公民身份的唯一代码",
    "data_type": "C",
    "length": 18,
}


@pytest.fixture
def desk(client: TestClient, town: Town) -> Desk:
    return Desk(client, town)


def test_the_registry_from_proposal_to_source(desk: Desk) -> None:
    proposed = call(desk, "POST", "/elements/proposals", ("health", CLERK), 201, json=IDENTITY)
    assert (proposed["state"], proposed["identifier"][:2]) == ("proposed", "DE")
    path = f"/elements/{proposed['id']}"
    call(desk, "GET", path, OWNER, 404)  # nobody else's yet
    registered = call(desk, "POST", f"{path}/register", REVIEWER, json={}, version=1)
    again = call(desk, "POST", "/elements", REVIEWER, 409, json={**IDENTITY, "name": "公民身份号码"})
    assert registered["identifier"] in again["detail"]
    civil = str(desk.town.id("civil"))
    named = {"agency_id": civil, "basis": "户口登记条例第三条"}
    source = call(desk, "POST", f"{path}/name_source", REVIEWER, json=named, version=2)
    assert source["source"]["id"] == civil
    call(desk, "POST", f"{path}/name_source", ("civil", APPROVER), 403, json=named, version=3)
    elsewhere = {**named, "agency_id": str(desk.town.id("province_authority"))}
    refused = call(desk, "POST", f"{path}/name_source", REVIEWER, 422, json=elsewhere, version=3)
    assert refused["errors"][0]["field"] == "/agency_id"
    found = call(desk, "GET", "/elements?q=身份", OWNER)["items"]
    assert [(one["name"], one["source"]["id"]) for one in found] == [("公民身份号码", civil)]


def test_items_are_linked_by_people_and_by_suggestion(desk: Desk) -> None:
    resource = desk.published()
    identity = call(desk, "POST", "/elements", REVIEWER, 201, json=IDENTITY)
    other = {**IDENTITY, "name": "登记机关", "name_en": None, "aliases": ["登记单位"]}
    office = call(desk, "POST", "/elements", REVIEWER, 201, json=other)
    path = f"/resources/{resource['id']}"
    sfzh, name, _ = call(desk, "GET", f"{path}/elements", OWNER)
    # 身份证号 is an alias that the product knows; nothing is linked by itself.
    assert (sfzh["code"], sfzh["element"]) == ("sfzh", None)
    (suggested,) = sfzh["suggestions"]
    assert suggested["element"]["id"] == identity["id"] and suggested["score"] >= 0.8
    assert suggested["reasons"][0]["zh"].endswith("别名") and suggested["reasons"][0]["en"]
    linked = call(desk, "PUT", f"{path}/items/sfzh/element", OWNER, json={"element_id": identity["id"]})
    assert linked[0]["element"]["identifier"] == identity["identifier"]
    call(
        desk, "PUT", f"{path}/items/sfzh/element", ("health", CLERK), 403, json={"element_id": identity["id"]}
    )
    call(desk, "PUT", f"{path}/items/gone/element", OWNER, 404, json={"element_id": identity["id"]})
    (held,) = call(desk, "GET", f"/elements/{identity['id']}/items", ("health", CLERK))
    assert (held["item_name"], held["authoritative"]) == ("身份证号", False)
    # Linked to another, the first link is gone; said to be different, it is not suggested again.
    call(desk, "PUT", f"{path}/items/sfzh/element", REVIEWER, json={"element_id": office["id"]})
    assert call(desk, "GET", f"/elements/{identity['id']}/items", OWNER) == []
    apart = {"element_id": identity["id"], "same": False}
    call(desk, "PUT", f"{path}/items/sfzh/element", OWNER, json=apart)
    freed = call(desk, "DELETE", f"{path}/items/sfzh/element", OWNER)
    assert (freed[0]["element"], freed[0]["suggestions"]) == (None, [])
    call(desk, "POST", f"/elements/{office['id']}/retire", REVIEWER, json={}, version=1)
    refused = call(desk, "PUT", f"{path}/items/xm/element", OWNER, 422, json={"element_id": office["id"]})
    assert refused["errors"][0]["field"] == "/element_id" and name["suggestions"] == []


# --- Quality

NOW = datetime(2026, 11, 20, tzinfo=UTC)
FACTS: dict[str, Any] = {
    "now": NOW, "data_updated_at": NOW, "delivered_at": None, "open_corrections": 0, "known_codes": (), "links": {},
}  # fmt: skip
DOCUMENTED = [{"name": "姓名", "definition": "登记的姓名", "data_type": "C"}]
PROVIDER = {"name": "测试市民政局", "code": credit_code(5)}


def scores(changed: dict[str, Any], **facts: Any) -> dict[str, float | None]:
    return {one.name: one.score for one in measure(record(**changed), Facts(**{**FACTS, **facts}))[1]}


@pytest.mark.parametrize(
    ("name", "changed", "facts"),
    [
        ("completeness", {"update_cycle": None, "abstract": None}, {}),
        ("items", {"items": [*DOCUMENTED, {"name": "乙"}]}, {}),
        ("freshness", {}, {"data_updated_at": NOW - timedelta(days=4)}),
        ("freshness", {}, {"data_updated_at": None}),
        ("corrections", {}, {"open_corrections": 1}),
        ("codes", {"related_codes": ["307001/000009"]}, {}),
        ("links", {}, {"links": {"https://a.test": True, "https://b.test": False}}),
    ],
)
def test_each_measure_falls_for_its_own_reason(
    name: str, changed: dict[str, Any], facts: dict[str, Any]
) -> None:
    good = {"items": DOCUMENTED, "provider": PROVIDER}
    before, after = scores(good, links={"https://a.test": True}), scores({**good, **changed}, **facts)
    assert (after[name] or 0.0) < (before[name] or 0.0)
    told = measure(record(**good | changed), Facts(**FACTS | facts))[1]
    (one,) = [m for m in told if m.name == name]
    assert one.reasons and all(reason.zh and reason.en for reason in one.reasons)


def test_a_delivery_keeps_the_cycle_and_what_has_none_is_not_counted() -> None:
    assert scores({}, data_updated_at=None, delivered_at=NOW - timedelta(hours=30))["freshness"] == 1
    assert scores({"update_cycle": "other"})["freshness"] is None


def measured(database: Database) -> None:
    """What the worker does until nothing is left."""
    while quality.measure_due(database):
        pass


def test_agencies_see_their_worst_first(
    desk: Desk, session: Session, one_transaction: OneTransaction, own_events: None
) -> None:
    bad = desk.published(title="无说明", items=[{"name": "甲"}])
    good = desk.published(items=DOCUMENTED)
    call(desk, "POST", f"/resources/{good['id']}/updates", OWNER, 201, json={})
    desk.create()
    measured(one_transaction)
    listed = call(desk, "GET", "/quality?limit=1", OWNER)
    assert [one["resource"]["id"] for one in listed["items"]] == [bad["id"]]
    lowered = {one["name"]: one for one in listed["items"][0]["lowered_by"]}
    assert "甲" in lowered["items"]["reasons"][0]["zh"] and lowered["freshness"]["score"] == 0
    rest = call(desk, "GET", f"/quality?limit=1&cursor={listed['next']}", OWNER)
    assert [one["resource"]["id"] for one in rest["items"]] == [good["id"]] and rest["next"] is None
    assert call(desk, "GET", "/quality", ("health", CLERK))["items"] == []
    own = call(desk, "GET", f"/resources/{good['id']}/quality", ("health", CLERK))
    assert own["score"] > listed["items"][0]["score"]


class Silent(Outbound):
    """Answers nobody."""

    def send(self, method: str, url: str, **_how: Any) -> Any:
        raise NotReachable()


def test_quality_follows_the_change_log_and_time(
    desk: Desk, session: Session, one_transaction: OneTransaction, own_events: None
) -> None:
    first, second = desk.published(landing_page="https://open.test/x"), desk.published()
    measured(one_transaction)
    before = moments(session)
    assert set(before) == {UUID(first["id"]), UUID(second["id"])}
    assert quality.measure_due(one_transaction) == 0
    call(desk, "POST", f"/resources/{second['id']}/updates", OWNER, 201, json={})
    measured(one_transaction)
    after = moments(session)
    assert after[UUID(first["id"])] == before[UUID(first["id"])]
    assert after[UUID(second["id"])] > before[UUID(second["id"])]
    with clock.frozen(clock.now() + quality.KEPT + timedelta(minutes=1)):
        assert quality.measure_due(one_transaction) == 2
        assert quality.measure_due(one_transaction) == 0
    version = call(desk, "GET", f"/resources/{first['id']}", OWNER)["version"]
    why = {"reason": "职责划转"}
    call(desk, "POST", f"/resources/{first['id']}/withdraw", ("civil", APPROVER), json=why, version=version)
    measured(one_transaction)
    assert set(moments(session)) == {UUID(second["id"])} and session.scalars(select(Link)).all() == []


def moments(session: Session) -> dict[UUID, datetime]:
    """When each was measured last."""
    session.expire_all()
    return {row.resource_id: row.measured_at for row in session.scalars(select(Quality))}


def test_links_are_checked_once_a_week(
    desk: Desk, session: Session, one_transaction: OneTransaction, own_events: None
) -> None:
    resource = desk.published(landing_page="https://open.test/x")
    measured(one_transaction)
    assert quality.check_links(one_transaction, Silent()) == 1
    assert quality.check_links(one_transaction, Silent()) == 0
    link = session.scalars(select(Link)).one()
    assert (link.alive, link.url) == (False, "https://open.test/x")
    told = call(desk, "GET", f"/resources/{resource['id']}/quality", OWNER)
    assert [one["score"] for one in told["measures"] if one["name"] == "links"] == [0.0]


# --- Following


def told(desk: Desk, who: tuple[Any, ...], query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = call(desk, "GET", f"/followings/changes{query}", who)["items"]
    return found


@pytest.fixture
def tell(monkeypatch: pytest.MonkeyPatch, one_transaction: OneTransaction) -> Callable[[], int]:
    """Reads the log on inside the test's own transaction, which the log's reader would wait for."""
    seen: list[UUID] = []

    def unread(session: Session, _cursor: tuple[int, int], *, limit: int) -> list[Event]:
        events = session.scalars(select(Event).order_by(Event.position).limit(5000))
        new = [event for event in events if event.id not in seen]
        seen.extend(event.id for event in new)
        return new

    monkeypatch.setattr(history, "events_after", unread)
    return lambda: following.tell_followers(one_transaction)


def test_followers_hear_what_changed(desk: Desk, tell: Callable[[], int]) -> None:
    resource, reader = desk.published(), ("health", CLERK)
    assert tell() == 0
    tell()
    kept = call(
        desk,
        "POST",
        "/saved-searches",
        reader,
        201,
        json={"name": "补领", "asked": {"q": "补领", "limit": 5}},
    )
    assert kept["asked"] == {"q": "补领"}
    wanted = [
        {"resource_id": resource["id"]},
        {"agency_id": str(desk.town.id("civil"))},
        {"search_id": kept["id"]},
    ]
    made = [call(desk, "POST", "/followings", reader, 201, json=one) for one in wanted]
    assert [one["kind"] for one in made] == ["resource", "agency", "search"]
    assert call(desk, "POST", "/followings", reader, 201, json=wanted[0])["id"] == made[0]["id"]
    call(desk, "POST", "/followings", reader, 422, json={**wanted[0], **wanted[1]})
    call(desk, "POST", "/followings", OWNER, 404, json=wanted[2])  # somebody else's search
    revision = revised(desk, resource, abstract="结婚、离婚和补领登记")
    assert tell() == 0  # a working copy is nobody's news
    act(
        desk,
        revision,
        "file",
        ("civil", APPROVER),
        {"secrecy_review": "a", "personal_information_assessment": "b"},
    )
    act(desk, revision, "publish", REVIEWER)
    assert tell() == 3 and tell() == 0
    heard = told(desk, reader)
    assert {one["following"]["kind"] for one in heard} == {"resource", "agency", "search"}
    assert {one["act"] for one in heard} == {"revise"}
    assert [change["path"] for change in heard[0]["changes"]] == ["/abstract"]
    assert told(desk, OWNER) == []
    assert call(desk, "POST", "/followings/changes/read", reader, json={"up_to": heard[0]["id"]}) == {
        "marked": 3
    }
    assert told(desk, reader, "?unread=true") == [] and len(told(desk, reader)) == 3
    events = desk.town.session.scalars(select(Event)).all()
    passed_on = following.followed(desk.town.session, events, agency_id=desk.town.id("health"))
    assert {event.act for event in events if event.id in passed_on} == {"revise"}
    assert following.followed(desk.town.session, events, agency_id=desk.town.id("market")) == set()


def test_a_search_finds_what_it_would_find(session: Session) -> None:
    from catalog.search.document import SearchDocument  # noqa: PLC0415

    document = SearchDocument(
        id="1", title="婚姻登记信息", agency_id="a", agency_name="民政局", published=True, open=False,
        updated_at=NOW, items=("身份证号",), themes=("health",), sharing_type="conditional",
    )  # fmt: skip
    cases: list[tuple[dict[str, Any], bool]] = [
        ({"q": "婚姻"}, True), ({"q": "身份证 民政"}, True), ({"q": "社保"}, False), ({"q": "婚姻", "theme": ["credit"]}, False),
        ({"theme": ["credit", "health"]}, True), ({"sharing_type": ["unconditional"]}, False), ({}, True),
    ]  # fmt: skip
    for asked, found in cases:
        assert following.finds(asked, document) is found, asked


# --- The guide


def test_the_guide_names_what_is_open_and_nothing_else(desk: Desk, session: Session) -> None:
    shown, hidden = desk.published(title="公开资源", **OPEN), desk.published(title="不公开资源")
    path = f"/agencies/{desk.town.id('civil')}/disclosure"
    empty = desk.client.get(f"/api/v1{path}").json()
    assert (empty["version"], empty["guide"], empty["open_resources"]) == (0, None, 1)
    words = {"office": "信息公开办公室", "telephone": "010-00000000", "how_to_ask": "书面或在线提出申请"}
    call(desk, "PUT", path, ("civil", CLERK), 403, json=words, version=0)
    call(desk, "PUT", path, ("health", APPROVER), 403, json=words, version=0)
    call(desk, "PUT", path, ("civil", APPROVER), json=words, version=0)
    call(desk, "PUT", path, ("civil", APPROVER), 412, json=words, version=0)
    answer = desk.client.get(f"/api/v1{path}")
    told_ = answer.json()
    assert (told_["guide"]["office"], told_["version"]) == ("信息公开办公室", 1)
    assert [line["id"] for theme in told_["catalogue"] for line in theme["resources"]] == [shown["id"]]
    assert hidden["id"] not in answer.text and "不公开" not in answer.text
    # The same to whoever is signed in: it is what the public reads.
    assert call(desk, "GET", path, ("civil", APPROVER)) == told_
    assert session.get_one(Resource, UUID(hidden["id"])).is_open is False


def test_nothing_else_is_counted_for_the_public(desk: Desk) -> None:
    shown = desk.published(title="公开资源", **OPEN)
    desk.published(title="不公开资源")
    for path in ("use", "quality", "filings", "defects", "elements"):
        assert desk.client.get(f"/api/v1/resources/{shown['id']}/{path}").status_code == 401
    assert len(desk.client.get("/api/v1/resources").json()["items"]) == 1
    assert desk.client.get("/api/v1/elements").status_code == 401


def test_the_worker_s_reader_starts_where_it_is(database: Database) -> None:
    assert following.tell_followers(database) == 0
    with database.transaction() as session:
        assert session.get_one(FollowPosition, True).transaction > 0
