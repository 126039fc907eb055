"""Defects as threads, working copies of what is published, the clock of the duty to update, and what agreements
in force keep from changing."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.kernel import deadlines, history
from app.kernel.actor import Role
from app.kernel.clock import frozen
from catalog.resources import service
from catalog.resources.models import Resource
from tests.catalog.samples import body
from tests.catalog.test_resources import CATALOG, REASON, STATEMENT, URL, Desk
from tests.exchange.world import World
from tests.factories import Town

CLERK, APPROVER = Role.CLERK, Role.APPROVER
OWNER, REVIEWER = ("civil", CLERK), ("city_authority", CATALOG)
START = datetime.fromisoformat("2026-09-18T09:00:00+08:00")
WHY = {"reason": "机构职责调整"}
LAW = {"change": "law", "citation": "婚姻登记条例（2025年修订）", "reason": "登记项目改变"}


@pytest.fixture
def desk(client: TestClient, town: Town) -> Desk:
    return Desk(client, town)


def call(desk: Desk, method: str, path: str, who: tuple[Any, ...], expect: int = 200, **sent: Any) -> Any:
    """What the service answers; `sent` may hold json and version."""
    headers = dict(desk.headers(*who))
    if "version" in sent:
        headers["If-Match"] = f'"{sent.pop("version")}"'
    answer = desk.client.request(method, f"/api/v1{path}", headers=headers, **sent)
    assert answer.status_code == expect, f"{method} {path}: {answer.status_code} {answer.text}"
    return answer.json()


def act(
    desk: Desk, case: dict[str, Any], name: str, who: tuple[Any, ...], sent: Any = None, **more: Any
) -> Any:
    """An act on a working copy or a thread; `case` is brought up to date."""
    kind = "revisions" if "base_version" in case else "defects"
    told = call(desk, "POST", f"/{kind}/{case['id']}/{name}", who, json=sent, version=case["version"], **more)
    if more.get("expect", 200) == 200:
        case.update(told)
    return told


def revised(desk: Desk, resource: dict[str, Any], **changes: Any) -> dict[str, Any]:
    revision: dict[str, Any] = call(
        desk, "POST", f"/resources/{resource['id']}/revisions", OWNER, 201, json=WHY
    )
    sent = {"record": body(**changes)}
    revision.update(call(desk, "PUT", f"/revisions/{revision['id']}", OWNER, json=sent, version=1))
    return revision


def threads(desk: Desk, resource: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = call(desk, "GET", f"/resources/{resource['id']}/defects", OWNER)
    return found


def test_each_defect_is_a_thread_until_it_is_fixed(desk: Desk) -> None:
    resource = desk.create()
    assert desk.act(resource, "file", STATEMENT, "civil", APPROVER).status_code == 200
    two = [{"field": "/abstract", "message": "过于简略"}, {"field": "/items", "message": "缺登记机关"}]
    assert desk.act(resource, "return", {"defects": two}, *REVIEWER).status_code == 200
    abstract, items = threads(desk, resource)
    assert (abstract["field_name"]["zh"], abstract["state"]) == ("信息资源摘要", "open")
    # Filing again names the thread that nobody answered; a change of its field is an answer.
    sent = {"record": body(abstract="全市婚姻登记机关办理的结婚、离婚、补领登记。")}
    assert desk.act(resource, "edit", sent, *OWNER).status_code == 200
    refused = desk.act(resource, "file", STATEMENT, "civil", APPROVER)
    assert [fault["field"] for fault in refused.json()["errors"]] == [f"/defects/{items['id']}"]
    act(desk, items, "answer", OWNER, {"text": "登记机关即提供方，不另列"})
    assert desk.act(resource, "file", STATEMENT, "civil", APPROVER).status_code == 200
    abstract, items = threads(desk, resource)
    assert [thread["state"] for thread in (abstract, items)] == ["answered", "answered"]
    assert "补领" in abstract["said"][-1]["text"]
    # The reviewer reads what changed since the last filing.
    first, second = call(desk, "GET", f"/resources/{resource['id']}/filings", REVIEWER)
    assert (first["changes"], [change["path"] for change in second["changes"]]) == ([], ["/abstract"])
    assert second["statement"]["secrecy_review"] == STATEMENT["secrecy_review"]
    # One is opened again: the record is not published, and goes back without a new defect.
    act(desk, items, "reopen", REVIEWER, {"text": "登记机关不止一家"})
    assert desk.act(resource, "publish", None, *REVIEWER).status_code == 409
    again = desk.act(resource, "return", {"defects": [two[1]]}, *REVIEWER)
    assert (again.status_code, again.json()["errors"][0]["field"]) == (422, "/defects/0")
    assert desk.act(resource, "return", {"defects": []}, *REVIEWER).status_code == 200
    assert [thread["state"] for thread in threads(desk, resource)] == ["fixed", "open"]
    more = [*body()["items"], {"name": "登记机关", "data_type": "C"}]
    desk.act(resource, "edit", {"record": body(items=more)}, *OWNER)
    assert desk.act(resource, "file", STATEMENT, "civil", APPROVER).status_code == 200
    assert desk.act(resource, "publish", None, *REVIEWER).status_code == 200
    closed = threads(desk, resource)
    assert [thread["state"] for thread in closed] == ["fixed", "fixed"]
    said = [(one["act"], one["party"]) for one in closed[1]["said"]]
    assert said == [
        ("raise", "authority"), ("answer", "owner"), ("reopen", "authority"), ("answer", "owner"),
        ("confirm", "authority"),
    ]  # fmt: skip


def test_a_return_names_something_and_a_thread_has_its_moment(desk: Desk) -> None:
    resource = desk.create()
    desk.act(resource, "file", STATEMENT, "civil", APPROVER)
    assert desk.act(resource, "return", {"defects": []}, *REVIEWER).status_code == 422
    one = {"defects": [{"message": "名称与职责不符"}]}
    desk.act(resource, "return", one, *REVIEWER)
    (thread,) = threads(desk, resource)
    assert thread["allowed"] == ["answer"]
    act(desk, thread, "confirm", REVIEWER, {"text": "已改"}, expect=409)
    act(desk, thread, "answer", ("health", CLERK), {"text": "x"}, expect=404)
    act(desk, thread, "drop", REVIEWER, WHY)
    assert threads(desk, resource)[0]["state"] == "dropped"
    assert desk.act(resource, "file", STATEMENT, "civil", APPROVER).status_code == 200


def test_a_published_record_changes_through_its_working_copy(desk: Desk, session: Session) -> None:
    resource = desk.published()
    revision = revised(desk, resource, title="婚姻登记", update_cycle="weekly")
    assert (revision["base_version"], revision["state"]) == (1, "draft")
    # Nothing shows before it is published, and nobody else knows of the copy.
    path = f"{URL}/{resource['id']}"
    assert (
        desk.client.get(path, headers=desk.headers("health", CLERK)).json()["record"]["title"]
        == "婚姻登记信息"
    )
    call(desk, "GET", f"/revisions/{revision['id']}", ("health", CLERK), 404)
    call(desk, "POST", f"/resources/{resource['id']}/revisions", OWNER, 409, json=WHY)
    changes = call(desk, "GET", f"/revisions/{revision['id']}/changes", REVIEWER)
    told = [(change["path"], change["before"]["zh"], change["after"]["zh"]) for change in changes]
    assert told == [("/title", "婚姻登记信息", "婚姻登记"), ("/update_cycle", "每日", "每周")]
    assert changes[1]["label"]["en"] == "update cycle" and changes[1]["after"]["en"] == "weekly"
    act(desk, revision, "file", ("civil", APPROVER), STATEMENT)
    assert [clock["duty"] for clock in revision["deadlines"]] == ["catalog.review"]
    act(desk, revision, "publish", REVIEWER)
    assert (revision["state"], revision["deadlines"]) == ("adopted", [])
    after = desk.client.get(path, headers=desk.headers("health", CLERK)).json()
    assert (after["record"]["title"], after["published_version"]) == ("婚姻登记", 2)
    assert after["code"] == resource["code"]
    diff = call(desk, "GET", f"/resources/{resource['id']}/changes?before=1&after=2", ("health", CLERK))
    assert diff == changes
    call(desk, "GET", f"/resources/{resource['id']}/changes?before=1&after=3", OWNER, 404)
    last = history.events_of(session, "resource", UUID(resource["id"]))[-1]
    assert (last.act, last.data["number"], last.data["content_sha256"]) == (
        "revise",
        2,
        after["content_sha256"],
    )


def test_what_a_working_copy_may_not_be(desk: Desk) -> None:
    resource = desk.published()
    revision = revised(desk, resource)
    sent = {"record": body(classification={"resource_class": "3", "item": "08", "section": "001"})}
    refused = call(desk, "PUT", f"/revisions/{revision['id']}", OWNER, 422, json=sent, version=2)
    assert refused["errors"][0]["field"] == "/classification"
    same = act(desk, revision, "file", ("civil", APPROVER), STATEMENT, expect=422)
    assert same["errors"][0]["field"] == "/record"
    act(desk, revision, "discard", OWNER, WHY)
    draft = desk.create()
    call(desk, "POST", f"/resources/{draft['id']}/revisions", OWNER, 409, json=WHY)


def test_an_import_meanwhile_makes_the_copy_stale_until_it_is_edited(desk: Desk, session: Session) -> None:
    resource = desk.published()
    revision = revised(desk, resource, title="婚姻登记")
    row = session.get_one(Resource, UUID(resource["id"]))
    service.publish_version(session, row)
    session.flush()
    act(desk, revision, "file", ("civil", APPROVER), STATEMENT, expect=409)
    sent = {"record": body(title="婚姻登记")}
    call(desk, "PUT", f"/revisions/{revision['id']}", OWNER, json=sent, version=revision["version"])
    revision["version"] += 1
    act(desk, revision, "file", ("civil", APPROVER), STATEMENT)


def test_the_duty_to_update_has_its_clock(desk: Desk, session: Session) -> None:
    def due() -> list[tuple[str, str, bool]]:
        read = call(desk, "GET", f"/resources/{resource['id']}", OWNER)
        return [(c["duty"], c["due_on"], c["paused"]) for c in read["deadlines"]]

    with frozen(START):
        resource = desk.published()
        assert (
            desk.act(resource, "ask_extension", {"working_days": 5, **WHY}, "civil", APPROVER).status_code
            == 409
        )
        assert desk.act(resource, "note_change", LAW, *REVIEWER).status_code == 200
        assert due() == [("catalog.update", "2026-10-09", False)]  # 10 working days
        asked = {"working_days": 6, **WHY}
        refused = desk.act(resource, "ask_extension", asked, "civil", APPROVER)
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "/working_days")
        assert desk.act(resource, "extend", WHY, *REVIEWER).status_code == 409
        assert (
            desk.act(resource, "ask_extension", {"working_days": 5, **WHY}, "civil", APPROVER).status_code
            == 200
        )
        assert (
            desk.act(resource, "ask_extension", {"working_days": 1, **WHY}, "civil", APPROVER).status_code
            == 409
        )
        assert desk.act(resource, "extend", WHY, *REVIEWER).status_code == 200
        assert due() == [("catalog.update", "2026-10-15", False)]  # Saturday the 10th is a make-up day
        revision = revised(desk, resource, update_cycle="weekly")
        act(desk, revision, "file", ("civil", APPROVER), STATEMENT)
        assert due()[0][2]  # the authority's time now
        act(desk, revision, "return", REVIEWER, {"defects": [{"field": "/title", "message": "名称未改"}]})
        assert due() == [("catalog.update", "2026-10-15", False)]
        sent = {"record": body(update_cycle="weekly", title="婚姻登记")}
        call(desk, "PUT", f"/revisions/{revision['id']}", OWNER, json=sent, version=revision["version"])
        revision["version"] += 1
        act(desk, revision, "file", ("civil", APPROVER), STATEMENT)
        act(desk, revision, "publish", REVIEWER)
        assert due() == []


def test_an_update_that_is_missed_is_recorded(desk: Desk, session: Session) -> None:
    with frozen(START):
        resource = desk.published()
        desk.act(resource, "note_change", LAW, *OWNER)
        clock = deadlines.running(session, "resource", UUID(resource["id"]))[0]
    with frozen(clock.due_at + timedelta(seconds=1)):
        assert deadlines.sweep(session, service.CONSEQUENCES) == 1
    last = history.events_of(session, "resource", UUID(resource["id"]))[-1]
    assert (last.act, last.legal_basis) == ("update_overdue", "809-17")


def test_reported_updates_are_kept(desk: Desk) -> None:
    resource = desk.published()
    path = f"/resources/{resource['id']}/updates"
    with frozen(START):
        desk.headers(*OWNER)
        told = call(desk, "POST", path, OWNER, 201, json={"records": 120})
        assert datetime.fromisoformat(told["data_updated_at"]) == START
        early = {"at": "2026-09-01T00:00:00Z"}
        assert call(desk, "POST", path, OWNER, 201, json=early)["data_updated_at"] == told["data_updated_at"]
        late = call(desk, "POST", path, OWNER, 422, json={"at": "2026-09-19T00:00:00Z"})
        assert late["errors"][0]["field"] == "/at"
        call(desk, "POST", path, ("health", CLERK), 403, json={})


@pytest.fixture
def world(session: Session, town: Town, client: TestClient) -> World:
    return World(session, town, client)


def test_what_is_agreed_on_is_not_taken_away(world: World) -> None:
    """Withdrawal, and a new version without an agreed item, wait for the procedure of 809-27."""
    with frozen(START):
        agreement = world.agreed()
        resource = agreement["terms"]["resources"][0]["resource_id"]
        read = world.read("resources", resource, "civil")
        refused = world.call(
            "POST", f"/resources/{resource}/withdraw", "civil", APPROVER, version=read["version"], body=WHY, expect=409
        )  # fmt: skip
        assert (refused["type"], refused["agreements"]) == ("/problems/resource-in-use", 1)
        assert refused["legal_basis"] == "809-27" and "health" not in str(refused).lower()
        use = world.call("GET", f"/resources/{resource}/use", "civil", CLERK)
        assert (use["agreements"], [r["id"] for r in use["requesters"]]) == (
            1,
            [str(world.town.id("health"))],
        )
        assert world.call("GET", f"/resources/{resource}/use", "market", CLERK)["requesters"] is None
        revision = world.call(
            "POST", f"/resources/{resource}/revisions", "civil", CLERK, body=WHY, expect=201
        )
        revision["record"]["items"] = [
            i for i in revision["record"]["items"] if i["code"] not in use["items"]
        ]
        revision["record"]["items"].append({"name": "其他", "code": "other"})
        path = f"/revisions/{revision['id']}"
        revision = world.call("PUT", path, "civil", CLERK, version=1, body={"record": revision["record"]})
        refused = world.call(
            "POST", f"{path}/file", "civil", APPROVER, version=2, body=STATEMENT, expect=422, language="zh-CN"
        )  # fmt: skip
        assert {fault["field"] for fault in refused["errors"]} == {"/items"}
        assert len(refused["errors"]) == len(use["items"]) and "第二十七条" in refused["errors"][0]["rule"]


def test_a_free_resource_is_withdrawn(desk: Desk) -> None:
    resource = desk.published()
    assert desk.act(resource, "withdraw", REASON, "civil", APPROVER).json()["state"] == "withdrawn"


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE resource_filing SET number = 7",
        "DELETE FROM resource_filing",
        "UPDATE resource_defect SET message = 'x'",
        "DELETE FROM resource_defect",
        "UPDATE resource_defect SET state = 'fixed'",
        "DELETE FROM resource_revision",
    ],
)
def test_the_database_keeps_what_was_signed_and_said(desk: Desk, session: Session, change: str) -> None:
    resource = desk.published()
    revision = revised(desk, resource, title="婚姻登记")
    act(desk, revision, "file", ("civil", APPROVER), STATEMENT)
    act(desk, revision, "return", REVIEWER, {"defects": [{"message": "名称未改"}]})
    with pytest.raises(DBAPIError, match=r"never changed|cannot move"), session.begin_nested():
        session.execute(text(change))


def test_a_draft_of_another_class_gets_another_code(desk: Desk) -> None:
    resource = desk.create()
    first = resource["code"]
    sent = {
        "record": body(classification={"resource_class": "3", "item": "08", "section": "002", "detail": "01"})
    }
    assert desk.act(resource, "edit", sent, *OWNER).status_code == 200
    assert resource["code"].startswith("30800201/") and resource["record"]["code"] == resource["code"]
    again = desk.create()
    assert int(again["code"].partition("/")[2]) > int(resource["code"].partition("/")[2])
    assert first not in (again["code"], resource["code"])


def test_a_record_is_dated_when_it_is_first_published(desk: Desk) -> None:
    with frozen(START):
        resource = desk.published()
        assert resource["record"]["published_on"] == "2026-09-18"
        own = desk.published(published_on="2020-01-02")
        assert own["record"]["published_on"] == "2020-01-02"
    desk._headers.clear()  # whose sessions are over by then
    with frozen(START + timedelta(days=30)):
        revision = revised(desk, resource, abstract="结婚、离婚和补领登记")
        signed = {"secrecy_review": "a", "personal_information_assessment": "b"}
        act(desk, revision, "file", ("civil", APPROVER), signed)
        act(desk, revision, "publish", REVIEWER)
        again = call(desk, "GET", f"/resources/{resource['id']}", OWNER)
    assert (again["published_version"], again["record"]["published_on"]) == (2, "2026-09-18")
    assert again["content_sha256"] == revision["content_sha256"]
