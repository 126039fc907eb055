"""Resources over HTTP: the life of a record, who may do what to it, who may know of it, and imports."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from httpx2 import Response
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.identity import agencies
from app.kernel import deadlines, history, ledger
from app.kernel.actor import ANONYMOUS, Actor, ActorKind, Role, Scope
from app.kernel.clock import frozen, now
from app.kernel.deadlines import DeadlineRow
from app.kernel.wire import encode_cursor
from catalog.resources import service
from catalog.resources.importing import ImportState, Incoming, Outcome, compare_imported, upsert_imported
from catalog.resources.models import Item, Resource, ResourceVersion
from catalog.resources.record import ResourceRecord
from catalog.resources.states import RESOURCE
from tests.catalog.samples import MARRIAGES, OPEN, body, record
from tests.factories import OPERATOR, Town

CLERK, APPROVER, CATALOG = Role.CLERK, Role.APPROVER, Role.CATALOG_ADMINISTRATOR
URL = "/api/v1/resources"
STATEMENT = {
    "secrecy_review": "保密审查〔2026〕7号",
    "personal_information_assessment": "影响评估〔2026〕3号",
}
DEFECTS = {"defects": [{"field": "/abstract", "message": "摘要过于简略"}]}
REASON = {"reason": "系统迁移"}


class Desk:
    """The HTTP client with people of the town at it."""

    def __init__(self, client: TestClient, town: Town) -> None:
        self.client, self.town = client, town
        self._headers: dict[tuple[str, tuple[Role, ...]], dict[str, str]] = {}

    def headers(self, agency: str, *roles: Role) -> dict[str, str]:
        key = (agency, roles)
        if key not in self._headers:
            self._headers[key] = self.town.headers(agency, *roles)
        return self._headers[key]

    def create(self, agency: str = "civil", **changes: Any) -> dict[str, Any]:
        answer = self.client.post(URL, json={"record": body(**changes)}, headers=self.headers(agency, CLERK))
        assert answer.status_code == 201, answer.text
        created: dict[str, Any] = answer.json()
        return created

    def act(
        self, resource: dict[str, Any], act: str, sent: Any, *who: Any, version: int | None = None
    ) -> Response:
        """Do an act as `who` = (agency, *roles) on the version seen; a success updates `resource` in place."""
        match = {"If-Match": f'"{version or resource["version"]}"'}
        sending = {"headers": {**self.headers(*who), **match}, "json": sent}
        path = f"{URL}/{resource['id']}"
        answer = (
            self.client.put(path, **sending)
            if act == "edit"
            else self.client.post(f"{path}/{act}", **sending)
        )
        if answer.status_code == 200:
            resource.update(answer.json())
        return answer

    def published(self, **changes: Any) -> dict[str, Any]:
        resource = self.create(**changes)
        assert self.act(resource, "file", STATEMENT, "civil", APPROVER).status_code == 200
        assert self.act(resource, "publish", None, "city_authority", CATALOG).status_code == 200
        return resource

    def sees(self, resource: dict[str, Any], *who: Any) -> bool:
        """Whether `who` (nobody: anyone) finds it by id and, the same, in the list."""
        headers = self.headers(*who) if who else {}
        status = self.client.get(f"{URL}/{resource['id']}", headers=headers).status_code
        listed = [row["id"] for row in self.client.get(URL, headers=headers).json()["items"]]
        assert (status, resource["id"] in listed) in ((200, True), (404, False))
        return status == 200


@pytest.fixture
def desk(client: TestClient, town: Town) -> Desk:
    return Desk(client, town)


def test_a_resource_from_draft_to_withdrawal(desk: Desk, session: Session) -> None:
    resource = desk.create()
    assert (resource["state"], resource["version"], resource["allowed"]) == ("draft", 1, ["edit"])
    assert resource["code"].startswith("307001/")
    assert resource["record"]["provider"]["code"] == desk.town.agencies["civil"].credit_code
    assert desk.act(resource, "edit", {"record": body(title="婚姻登记")}, "civil", CLERK).status_code == 200
    assert desk.act(resource, "file", STATEMENT, "civil", APPROVER).json()["state"] == "filed"
    assert [d.duty for d in deadlines.running(session, "resource", UUID(resource["id"]))] == [
        "catalog.review"
    ]
    assert desk.act(resource, "return", DEFECTS, "city_authority", CATALOG).json()["state"] == "returned"
    assert deadlines.running(session, "resource", UUID(resource["id"])) == []
    mended = body(abstract="全市婚姻登记机关办理的结婚、离婚和补领登记。")
    assert desk.act(resource, "edit", {"record": mended}, "civil", CLERK).status_code == 200
    assert desk.act(resource, "file", STATEMENT, "civil", APPROVER).status_code == 200
    assert desk.act(resource, "publish", None, "city_authority", CATALOG).json()["published_version"] == 1
    assert desk.act(resource, "suspend", REASON, "civil", APPROVER).json()["state"] == "suspended"
    assert desk.act(resource, "resume", REASON, "city_authority", CATALOG).json()["state"] == "published"
    assert desk.act(resource, "withdraw", REASON, "civil", APPROVER).json()["allowed"] == []
    events = desk.client.get(f"{URL}/{resource['id']}/events", headers=desk.headers("civil", CLERK)).json()
    assert [event["act"] for event in events] == [
        "create", "edit", "file", "return", "edit", "file", "publish", "suspend", "resume", "withdraw",
    ]  # fmt: skip
    assert events[3]["data"]["defects"] == DEFECTS["defects"]
    assert events[-1]["reason"] == REASON["reason"]
    attested = {UUID(event["id"]) for event in events}
    assert set(session.scalars(select(ledger.LedgerEntry.id))) >= attested


def test_what_was_published_never_changes(desk: Desk, session: Session) -> None:
    resource = desk.published(**OPEN)
    versions = desk.client.get(f"{URL}/{resource['id']}/versions").json()["items"]
    assert [(v["number"], v["content_sha256"]) for v in versions] == [(1, resource["content_sha256"])]
    assert desk.act(resource, "edit", {"record": body(title="改名")}, "civil", CLERK).status_code == 409
    with pytest.raises(DBAPIError, match="never changed"), session.begin_nested():
        session.execute(text("UPDATE resource_version SET number = 2"))
    with pytest.raises(DBAPIError, match="cannot move"), session.begin_nested():
        session.execute(text("UPDATE resource SET state = 'draft'"))


def test_items_stand_in_the_record_and_in_rows_for_matching(desk: Desk, session: Session) -> None:
    resource = desk.published(**OPEN)
    items = desk.client.get(f"{URL}/{resource['id']}/items").json()
    assert [(i["name"], i["code"]) for i in items] == [
        ("身份证号", "sfzh"),
        ("姓名", "xm"),
        ("登记日期", "djrq"),
    ]
    rows = session.scalars(
        select(Item).where(Item.resource_id == UUID(resource["id"])).order_by(Item.position)
    )
    assert [(row.code, row.folded_name) for row in rows] == [
        ("sfzh", "身份证号"),
        ("xm", "姓名"),
        ("djrq", "登记日期"),
    ]


def test_filing_names_everything_that_is_missing(desk: Desk, session: Session) -> None:
    items = [{**MARRIAGES["items"][0], "sensitive": True}]
    resource = desk.create(abstract=None, update_cycle=None, items=items)
    answer = desk.act(resource, "file", {"secrecy_review": "保密审查"}, "civil", APPROVER)
    assert answer.status_code == 422
    fields = [fault["field"] for fault in answer.json()["errors"]]
    assert fields == ["/abstract", "/update_cycle", "/personal_information_assessment"]
    assert all(fault["rule"] for fault in answer.json()["errors"])
    assert session.get_one(Resource, UUID(resource["id"]), populate_existing=True).state == "draft"
    assert len(history.events_of(session, "resource", UUID(resource["id"]))) == 1


def test_a_contradicting_draft_is_refused_and_leaves_nothing(desk: Desk, session: Session) -> None:
    bad = {"record": body(format={"format_class": "spreadsheet", "type": "docx"})}
    answer = desk.client.post(URL, json=bad, headers=desk.headers("civil", CLERK))
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "/format/type")
    assert session.scalars(select(Resource)).all() == []


@pytest.mark.parametrize(
    ("act", "sent", "who", "status"),
    [
        ("file", STATEMENT, ("civil", CLERK), 403),  # the clerk who wrote it does not sign
        ("file", STATEMENT, ("health", APPROVER), 404),  # another agency does not know of a draft
        ("file", STATEMENT, ("city_authority", CATALOG), 403),
        ("publish", None, ("city_authority", CATALOG), 409),  # not filed yet
        ("edit", {"record": body()}, ("city_authority", CATALOG), 403),
        ("edit", {"record": body(title="")}, ("civil", CLERK), 422),
        ("edit", {"record": body(owner="x")}, ("civil", CLERK), 422),
    ],
)
def test_refused_in_draft(desk: Desk, act: str, sent: Any, who: tuple[Any, ...], status: int) -> None:
    assert desk.act(desk.create(), act, sent, *who).status_code == status


@pytest.mark.parametrize(
    ("who", "status"),
    [
        (("city_authority", CATALOG), 200),
        (("city_authority", Role.MEDIATOR), 403),
        (("province_authority", CATALOG), 404),  # not the same level
        (("east_authority", CATALOG), 404),
        (("civil", APPROVER), 403),
    ],
)
def test_publishing_is_the_same_level_authority_s(desk: Desk, who: tuple[Any, ...], status: int) -> None:
    resource = desk.create()
    desk.act(resource, "file", STATEMENT, "civil", APPROVER)
    assert desk.act(resource, "publish", None, *who).status_code == status


def test_the_version_read_is_asked_for_and_compared(desk: Desk) -> None:
    resource = desk.create()
    headers = desk.headers("civil", APPROVER)
    assert (
        desk.client.post(f"{URL}/{resource['id']}/file", json=STATEMENT, headers=headers).status_code == 428
    )
    assert desk.act(resource, "edit", {"record": body(title="甲")}, "civil", CLERK).headers["etag"] == '"2"'
    assert desk.act(resource, "file", STATEMENT, "civil", APPROVER, version=1).status_code == 412


def test_who_may_know_of_it(desk: Desk) -> None:
    conditional = desk.create()
    owner, reviewer, other = ("civil", CLERK), ("city_authority", CATALOG), ("health", CLERK)
    assert desk.sees(conditional, *owner) and desk.sees(conditional, *reviewer)
    assert not desk.sees(conditional, *other) and not desk.sees(conditional)
    published = desk.published()
    assert desk.sees(published, *other) and not desk.sees(published)
    opened = desk.published(**OPEN)
    assert desk.sees(opened, *other) and desk.sees(opened)
    desk.act(opened, "suspend", REASON, "civil", APPROVER)
    assert desk.sees(opened, *owner) and not desk.sees(opened, *other) and not desk.sees(opened)


def test_a_client_reads_as_its_token_s_scope_allows(desk: Desk, session: Session) -> None:
    ids = [UUID(r["id"]) for r in (desk.create(), desk.published(), desk.published(**OPEN))]

    def seen(*scopes: Scope) -> list[bool]:
        own = Actor(ActorKind.CLIENT, agency_id=desk.town.id("civil"), scopes=frozenset(scopes))
        found = set(session.scalars(select(Resource.id).where(service.visible_to(own))))
        return [i in found for i in ids]

    assert seen(Scope.CATALOG) == seen(Scope.CLERK) == [True, True, True]
    assert seen(Scope.PULL, Scope.GATEWAY) == [False, False, True]


def test_events_are_for_the_parties(desk: Desk) -> None:
    resource = desk.published(**OPEN)
    path = f"{URL}/{resource['id']}/events"
    assert desk.client.get(path).status_code == 401
    assert desk.client.get(path, headers=desk.headers("health", CLERK)).status_code == 403
    assert desk.client.get(path, headers=desk.headers("city_authority", CATALOG)).status_code == 200


def test_a_district_without_an_authority_is_reviewed_from_above(desk: Desk, session: Session) -> None:
    desk.town.places["west"].authority_id = None
    session.flush()
    resource = desk.create("west_civil")
    assert desk.sees(resource, "city_authority", CATALOG)
    assert not desk.sees(desk.create("east_health"), "city_authority", CATALOG)
    desk.act(resource, "file", STATEMENT, "west_civil", APPROVER)
    assert desk.act(resource, "publish", None, "city_authority", CATALOG).status_code == 200


def test_where_no_authority_is_above_nobody_reviews(desk: Desk, session: Session) -> None:
    ministry = agencies.register_agency(
        session, name="某部", jurisdiction_id=desk.town.places["nation"].id, verified=False, by=OPERATOR
    )
    incoming = [Incoming(ministry, record(source_id="1"))]
    upsert_imported(session, incoming, source="s", as_state="published", by=OPERATOR)
    path = f"{URL}/{session.scalars(select(Resource.id)).one()}"
    answer = desk.client.get(path, headers=desk.headers("city_authority", CATALOG))
    assert (answer.status_code, answer.json()["allowed"]) == (200, [])


def test_lists_page_and_filter(desk: Desk) -> None:
    created = [desk.create(title=f"资源{n}") for n in range(5)]
    desk.create(title="另一类", **OPEN)
    headers = desk.headers("civil", CLERK)
    seen: list[str] = []
    query: dict[str, Any] = {"limit": 2, "sharing_type": "conditional"}
    while True:
        page = desk.client.get(URL, params=query, headers=headers).json()
        seen += [row["id"] for row in page["items"]]
        if page["next"] is None:
            break
        query["cursor"] = page["next"]
    assert seen == [row["id"] for row in reversed(created)]
    for cursor in ("x", encode_cursor("x"), encode_cursor(None)):
        assert desk.client.get(URL, params={"cursor": cursor}, headers=headers).status_code == 422
    assert desk.client.get(URL, params={"theme": "health"}, headers=headers).json()["items"] == []
    assert len(desk.client.get(URL, params={"theme": "public_service"}, headers=headers).json()["items"]) == 6


def test_an_overdue_review_is_recorded_once(desk: Desk, session: Session) -> None:
    resource = desk.create()
    with frozen(datetime(2026, 9, 18, 2, tzinfo=UTC)):
        desk.headers("civil", APPROVER)
        desk.act(resource, "file", STATEMENT, "civil", APPROVER)
        due = session.scalars(select(DeadlineRow).where(DeadlineRow.subject_id == UUID(resource["id"]))).one()
        assert due.due_on.isoformat() == "2026-09-21"  # Friday; Sunday 20 September is a make-up day
    with frozen(due.due_at + timedelta(seconds=1)):
        assert deadlines.sweep(session, service.CONSEQUENCES) == 1
        assert deadlines.sweep(session, service.CONSEQUENCES) == 0
    last = history.events_of(session, "resource", UUID(resource["id"]))[-1]
    assert (last.act, last.party, last.legal_basis) == ("review_overdue", "clock", "809-17")


class Source:
    """A catalog to import from."""

    def __init__(self, session: Session, town: Town) -> None:
        self.session, self.town = session, town

    def bring(
        self, *records: ResourceRecord, as_state: ImportState = "published", source: str = "s"
    ) -> list[Outcome]:
        incoming = [Incoming(self.town.agencies["civil"], r) for r in records]
        told = compare_imported(self.session, incoming, source=source)
        done = upsert_imported(self.session, incoming, source=source, as_state=as_state, by=OPERATOR)
        assert [each.outcome for each in told] == done
        return done

    def held(self) -> list[Resource]:
        return list(self.session.scalars(select(Resource).order_by(Resource.source_id)))


@pytest.fixture
def source(session: Session, town: Town) -> Source:
    return Source(session, town)


def test_importing_again_changes_nothing(source: Source, session: Session) -> None:
    records = [record(source_id=str(n), title=f"资源{n}", **OPEN) for n in range(3)]
    assert source.bring(*records) == ["new"] * 3
    before = [(r.id, r.code, r.version, r.content_hash) for r in source.held()]
    events = session.scalars(select(history.Event.id).where(history.Event.kind == "resource")).all()
    assert source.bring(*records) == ["unchanged"] * 3
    assert [(r.id, r.code, r.version, r.content_hash) for r in source.held()] == before
    assert session.scalars(select(history.Event.id).where(history.Event.kind == "resource")).all() == events


def test_a_change_at_the_source_is_a_new_version(source: Source, session: Session) -> None:
    source.bring(record(source_id="1"), record(source_id="2"))
    code = source.held()[0].code
    changed = record(source_id="1", title="婚姻登记（新）", items=[{"name": "登记机关"}, {"name": "姓名"}])
    assert source.bring(changed, record(source_id="2"), record(source_id="3")) == [
        "changed",
        "unchanged",
        "new",
    ]
    first = source.held()[0]
    assert (first.title, first.code, first.state, first.version) == ("婚姻登记（新）", code, "published", 2)
    numbers = select(ResourceVersion.number).where(ResourceVersion.resource_id == first.id)
    assert list(session.scalars(numbers.order_by(ResourceVersion.number))) == [1, 2]
    items = select(Item.code).where(Item.resource_id == first.id).order_by(Item.position)
    assert list(session.scalars(items)) == ["djjg", "xm"]
    assert [e.act for e in history.events_of(session, "resource", first.id)] == [
        "import_published",
        "import_change",
    ]


def test_what_was_edited_here_stays_until_the_source_changes(
    source: Source, session: Session, town: Town
) -> None:
    source.bring(record(source_id="1"), as_state="draft")
    resource = source.held()[0]
    clerk = town.actor("civil", CLERK)
    service.edit_draft(
        session, resource, record=record(source_id="1", title="本地改名"), expected_version=1, by=clerk
    )
    assert source.bring(record(source_id="1"), as_state="draft") == ["unchanged"]
    assert source.held()[0].title == "本地改名"
    assert source.bring(record(source_id="1", title="来源改名"), as_state="draft") == ["changed"]
    assert source.held()[0].title == "来源改名"


def test_an_exported_record_comes_back_to_its_resource_by_code(
    source: Source, session: Session, town: Town
) -> None:
    resource = service.create_draft(
        session, agency_id=town.id("civil"), record=record(), by=town.actor("civil", CLERK)
    )
    exported = ResourceRecord.model_validate(resource.record).model_copy(update={"source_id": resource.code})
    assert source.bring(exported, source="workbook") == ["unchanged"]
    assert source.bring(exported.model_copy(update={"title": "改"}), source="workbook") == ["changed"]
    assert [(r.id, r.title, r.state) for r in source.held()] == [(resource.id, "改", "draft")]
    other = Incoming(town.agencies["health"], exported)
    assert [c.outcome for c in compare_imported(session, [other], source="workbook")] == ["new"]


def test_imported_as_filed_waits_for_review(source: Source, session: Session) -> None:
    source.bring(record(source_id="1"), as_state="filed")
    assert [d.duty for d in deadlines.running(session, "resource", source.held()[0].id)] == ["catalog.review"]


def test_a_withdrawn_resource_is_not_brought_back(source: Source, session: Session, town: Town) -> None:
    source.bring(record(source_id="1"))
    approver = town.actor("civil", APPROVER)
    service.take_out(session, source.held()[0], "withdraw", reason="撤", expected_version=1, by=approver)
    assert source.bring(record(source_id="1", title="新")) == ["unchanged"]
    assert source.held()[0].state == "withdrawn"


def test_a_batch_must_not_name_one_source_id_twice(source: Source) -> None:
    with pytest.raises(ValueError, match="twice"):
        source.bring(record(source_id="1"), record(source_id="1", title="另"))


def test_imported_events_are_what_single_ones_would_be(source: Source, session: Session) -> None:
    source.bring(record(source_id="1"))
    event = history.events_of(session, "resource", source.held()[0].id)[0]
    row = RESOURCE.find(None, "import_published")
    assert row is not None
    assert (event.state_from, event.state_to, event.version, event.legal_basis) == (
        None,
        row.target,
        1,
        row.basis,
    )
    entry = session.get_one(ledger.LedgerEntry, event.id)
    assert entry.content_hash == ledger.content_hash(event.content())
    assert service.find(session, event.subject_id, by=OPERATOR).updated_at <= now()
    assert session.scalars(select(Resource).where(service.visible_to(ANONYMOUS))).all() == []
