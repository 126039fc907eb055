"""Who is told what: the inbox, the feed that skips no late commit, webhooks that arrive, the daily mail."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.kernel import clock, history
from app.kernel.actor import Role, system_actor
from app.kernel.db import Database
from app.kernel.errors import Invalid
from app.kernel.keys import ServiceKeys
from app.kernel.mail import Mailer, mailer
from app.kernel.outbound import Outbound, networks
from app.kernel.seal import Seal
from catalog.following import service as following
from catalog.resources import service as resources
from catalog.resources.models import Resource
from catalog.resources.record import ResourceRecord
from catalog.resources.review import FilingStatement
from exchange.telling import digests, feed, webhooks
from exchange.telling.models import Webhook
from tests.exchange.world import START, Json, World, slug
from tests.factories import Town

CLERK, APPROVER, MEDIATOR = Role.CLERK, Role.APPROVER, Role.MEDIATOR


class TestInbox:
    def read(self, world: World, agency: str, role: Role) -> Json:
        told: Json = world.call("GET", "/inbox", agency, role)
        return told

    def ids(self, matters: list[Json]) -> list[str]:
        return [one["id"] for one in matters]

    def test_it_waits_for_whoever_can_act(self, world: World) -> None:
        case = world.filed(world.publish())
        mine = self.read(world, "civil", APPROVER)
        assert self.ids(mine["for_me"]) == [case["id"]]
        assert {act["name"] for act in mine["for_me"][0]["acts"]} >= {"agree", "refuse"}
        assert mine["for_me"][0]["due_on"] == case["deadlines"][0]["due_on"]
        assert self.ids(self.read(world, "health", APPROVER)["awaited"]) == [case["id"]]
        assert self.read(world, "market", APPROVER) == {"for_me": [], "for_my_agency": [], "awaited": []}

    def test_overdue_comes_first(self, world: World) -> None:
        early, late = world.filed(world.publish()), world.filed(world.publish())
        with world.at(START + timedelta(days=1)):
            third = world.filed(world.publish())
        for row in world.clocks(third["id"]).values():
            row.due_at, row.due_on = START, START.date()
        world.session.flush()
        mine = self.read(world, "civil", APPROVER)["for_me"]
        assert self.ids(mine) == [third["id"], early["id"], late["id"]]
        assert [one["overdue"] for one in mine] == [True, False, False]

    def test_a_draft_waits_for_the_approver_and_the_clerk_for_them(self, world: World) -> None:
        draft = world.draft(world.publish())
        assert self.ids(self.read(world, "health", APPROVER)["for_me"]) == [draft["id"]]
        assert self.ids(self.read(world, "health", CLERK)["awaited"]) == [draft["id"]]


class TestFeed:
    def read(self, world: World, agency: str, **query: Any) -> Json:
        asked = "&".join(f"{name}={value}" for name, value in query.items())
        told: Json = world.call("GET", f"/events?{asked}", agency, CLERK)
        return told

    def test_each_reads_what_it_may_know(self, world: World, own_events: None) -> None:
        case = world.filed(world.publish())
        world.act(case, "draft_terms", "civil", CLERK, {"terms": case["terms"]["terms"]})
        mine = {one["act"] for one in self.read(world, "civil", kind="negotiation")["events"]}
        theirs = {one["act"] for one in self.read(world, "health", kind="negotiation")["events"]}
        assert (mine, theirs) == ({"file", "draft_terms"}, {"file"})
        assert self.read(world, "market", kind="negotiation")["events"] == []
        assert {one["kind"] for one in self.read(world, "health")["events"]} == {"request", "negotiation"}

    def test_a_reader_goes_on_where_it_stopped(self, world: World, own_events: None) -> None:
        world.filed(world.publish())
        whole = [one["id"] for one in self.read(world, "health")["events"]]
        seen, cursor = [], ""
        while True:
            told = self.read(world, "health", limit=1, **({"cursor": cursor} if cursor else {}))
            seen += [one["id"] for one in told["events"]]
            cursor = told["next"]
            if not told["more"]:
                break
        assert seen == whole and len(whole) == 3
        assert self.read(world, "health", cursor=cursor)["events"] == []

    def test_no_such_kind_and_no_such_cursor(self, world: World) -> None:
        for query in ("kind=weather", "cursor=x", "cursor=WzEsMl0x"):
            problem = world.call("GET", f"/events?{query}", "health", CLERK, expect=422)
            assert slug(problem) == "invalid"


def test_a_late_commit_is_not_skipped(database: Database) -> None:
    """A transaction that began first and commits last: its event is read after those read before it."""
    with database.transaction() as session:
        world = World(session, Town(session), None)  # type: ignore[arg-type]  # nothing goes over HTTP here
        reader, resource = world.town.actor("civil", CLERK), world.publish()

    def note(session: Session, act: str) -> None:
        history.record(
            session, kind="resource", subject_id=resource, act=act, by=system_actor("test"), ledgered=False
        )
        session.flush()

    def read(after: feed.Cursor) -> tuple[list[str], feed.Cursor]:
        with database.transaction() as session:
            reading = feed.read_feed(session, after, by=reader, limit=100)
        return [event.act for event in reading.events], reading.cursor

    with database.transaction() as late:
        note(late, "late")
        with database.transaction() as session:
            note(session, "early")
        before, cursor = read(feed.START)
    assert before == ["create", "file", "publish"]
    assert read(cursor)[0] == ["late", "early"]


class Receiver(HTTPServer):
    """Somebody's system: answers with the statuses it was given, 200 after those, and keeps what it got."""

    def __init__(self, *statuses: int) -> None:
        super().__init__(("127.0.0.1", 0), _Hook)
        self.statuses = list(statuses)
        self.got: list[tuple[dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"


class _Hook(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


SOURCE = "https://share.test"
LOCAL = Outbound(networks("127.0.0.0/8"))


class TestWebhooks:
    @pytest.fixture
    def seal(self, keys: ServiceKeys) -> Seal:
        return keys.seal

    def hooked(self, database: Database, seal: Seal, url: str) -> tuple[Town, Webhook]:
        with database.transaction() as session:
            town = Town(session)
            by = town.actor("civil", APPROVER)
            return town, webhooks.register(
                session, url=url, kinds=["resource"], by=by, outbound=LOCAL, seal=seal
            )

    def publish(self, database: Database, town: Town) -> None:
        with database.transaction() as session:
            town.session = session
            World(session, town, None).publish()  # type: ignore[arg-type]  # no HTTP here

    def tell(self, database: Database, seal: Seal) -> None:
        while webhooks.tell_due(database, LOCAL, seal, source=SOURCE):
            pass

    def kept(self, database: Database, hook: Webhook) -> Webhook:
        with database.transaction() as session:
            return session.get_one(Webhook, hook.id)

    def test_events_arrive_in_order_signed_with_their_ids(self, database: Database, seal: Seal) -> None:
        with serving(receiver := Receiver()), clock.frozen(START):
            town, hook = self.hooked(database, seal, receiver.url)
            self.publish(database, town)
            self.tell(database, seal)
        secret = seal.decrypt(hook.secret.encode()).decode()
        assert [json.loads(body)["type"] for _, body in receiver.got] == [
            "resource.create", "resource.file", "resource.publish",
        ]  # fmt: skip
        for headers, body in receiver.got:
            told = json.loads(body)["data"]
            assert headers["webhook-id"] == told["id"]
            stamp = int(headers["webhook-timestamp"])
            assert headers["webhook-signature"] == webhooks.sign(secret, told["id"], stamp, body)
            assert abs(stamp - START.timestamp()) < 1

    def test_what_failed_is_sent_again_and_nothing_after_it_first(
        self, database: Database, seal: Seal
    ) -> None:
        with serving(receiver := Receiver(200, 500)):
            with clock.frozen(START):
                town, hook = self.hooked(database, seal, receiver.url)
                self.publish(database, town)
                self.tell(database, seal)
                assert [self.kept(database, hook).failures, self.kept(database, hook).last_result] == [
                    1,
                    "500",
                ]
            with clock.frozen(START + webhooks.FIRST_WAIT):
                self.tell(database, seal)
        acts = [json.loads(body)["data"]["act"] for _, body in receiver.got]
        assert acts == ["create", "file", "file", "publish"]
        ids = [headers["webhook-id"] for headers, _ in receiver.got]
        assert ids[1] == ids[2] and len(set(ids)) == 3
        assert self.kept(database, hook).failures == 0

    def test_a_worker_that_dies_while_sending_loses_nothing(self, database: Database, seal: Seal) -> None:
        with serving(receiver := Receiver()):
            with clock.frozen(START):
                town, _ = self.hooked(database, seal, receiver.url)
                self.publish(database, town)
                with pytest.raises(KeyboardInterrupt):
                    webhooks.tell_due(database, Dying(LOCAL), seal, source=SOURCE)  # type: ignore[arg-type]  # one that dies
                self.tell(database, seal)
                assert receiver.got == []  # the lease still runs
            with clock.frozen(START + webhooks.LEASE):
                self.tell(database, seal)
        assert len(receiver.got) == 3

    def test_a_receiver_that_is_gone_is_let_be(self, database: Database, seal: Seal) -> None:
        with serving(receiver := Receiver(410)), clock.frozen(START):
            town, hook = self.hooked(database, seal, receiver.url)
            self.publish(database, town)
            self.tell(database, seal)
            assert not self.kept(database, hook).active and len(receiver.got) == 1
            with database.transaction() as session:
                row = session.get_one(Webhook, hook.id)
                by = town.actor("civil", APPROVER)
                webhooks.switch(session, row, active=True, by=by, version=row.version)
            self.tell(database, seal)
        assert len(receiver.got) == 4  # all three, from where it stopped

    def test_each_message_is_a_cloud_event(self, database: Database, seal: Seal) -> None:
        with serving(receiver := Receiver()), clock.frozen(START):
            town, _ = self.hooked(database, seal, receiver.url)
            self.publish(database, town)
            self.tell(database, seal)
        headers, body = receiver.got[-1]
        event = json.loads(body)
        assert headers["content-type"].startswith("application/cloudevents+json")
        assert (event["specversion"], event["source"], event["type"]) == ("1.0", SOURCE, "resource.publish")
        assert event["id"] == headers["webhook-id"] and event["subject"] == event["data"]["href"]
        assert datetime.fromisoformat(event["time"]) == START

    def test_a_trial_is_sent_once_and_told_and_costs_no_message(self, database: Database, seal: Seal) -> None:
        with serving(receiver := Receiver(503)), clock.frozen(START):
            town, hook = self.hooked(database, seal, receiver.url)
            by = town.actor("civil", APPROVER)
            for result in ("503", "ok"):
                with database.transaction() as session:
                    row = session.get_one(Webhook, hook.id)
                    webhooks.ask_test(session, row, by=by, version=row.version)
                    assert (row.tested_at, row.test_result) == (None, None)
                self.tell(database, seal)
                assert self.kept(database, hook).test_result == result
            self.publish(database, town)
            with clock.frozen(START + timedelta(seconds=2)):  # it was asked just now
                self.tell(database, seal)
        kinds = [json.loads(body)["type"] for _, body in receiver.got]
        assert kinds[:2] == ["webhook.test"] * 2 and len(kinds) == 5
        assert self.kept(database, hook).failures == 0

    def test_what_was_sent_is_sent_again_with_the_same_ids(self, database: Database, seal: Seal) -> None:
        with serving(receiver := Receiver()):
            with clock.frozen(START):
                town, hook = self.hooked(database, seal, receiver.url)
                self.publish(database, town)
                self.tell(database, seal)
            later = START + timedelta(hours=1)
            with clock.frozen(later):
                self.publish(database, town)
                self.tell(database, seal)
                for since in (later, START):
                    with database.transaction() as session:
                        row = session.get_one(Webhook, hook.id)
                        by = town.actor("civil", APPROVER)
                        webhooks.replay(session, row, since=since, by=by, version=row.version)
                    self.tell(database, seal)
                with database.transaction() as session, pytest.raises(Invalid):
                    row = session.get_one(Webhook, hook.id)
                    ahead = later + timedelta(days=1)
                    webhooks.replay(session, row, since=ahead, by=by, version=row.version)
        ids = [headers["webhook-id"] for headers, _ in receiver.got]
        assert len(ids) == 6 + 3 + 6 and ids[6:9] == ids[3:6] and ids[9:] == ids[:6]

    def test_what_the_agency_follows_arrives_without_who_did_it(self, database: Database, seal: Seal) -> None:
        with serving(receiver := Receiver()), clock.frozen(START):
            with database.transaction() as session:
                town = Town(session)
                reader, approver = town.actor("health", CLERK), town.actor("health", APPROVER)
                following.follow(session, agency_id=town.id("civil"), by=reader)
                webhooks.register(
                    session, url=receiver.url, kinds=["followed"], by=approver, outbound=LOCAL, seal=seal
                )
            self.publish(database, town)
            self.tell(database, seal)
        ((_, body),) = receiver.got  # neither the draft nor its filing
        event = json.loads(body)
        assert event["type"] == "followed.publish" and event["data"]["actor_name"] == ""
        assert event["data"]["content"] is None and event["data"]["href"].startswith("/api/v1/resources/")

    def test_the_secret_is_shown_once_and_replaced(self, world: World) -> None:
        where = {"url": "https://hooks.example.gov.cn/zt", "kinds": ["negotiation"]}
        made = world.call("POST", "/webhooks", "civil", APPROVER, body=where, expect=201)
        assert "secret" not in made
        path = f"/webhooks/{made['id']}"
        first = world.call("POST", f"{path}/issue_secret", "civil", APPROVER, version=1)["secret"]
        second = world.call("POST", f"{path}/issue_secret", "civil", APPROVER, version=2)["secret"]
        assert first.startswith("whsec_") and first != second
        assert world.call("POST", f"{path}/pause", "civil", APPROVER, version=3)["allowed"] == [
            "issue_secret", "resume", "test", "replay", "remove",
        ]  # fmt: skip

    @pytest.mark.parametrize(
        "url", ["http://127.0.0.1/x", "http://169.254.169.254/", "ftp://example.org/", "x"]
    )
    def test_addresses_inside_are_refused(self, world: World, url: str) -> None:
        problem = world.call("POST", "/webhooks", "civil", APPROVER, body={"url": url}, expect=422)
        assert problem["errors"][0]["field"] == "/url"


class Dying:
    """A client whose process ends while it sends."""

    def __init__(self, outbound: Outbound) -> None:
        self.outbound = outbound

    def send(self, *_: object, **__: object) -> None:
        raise KeyboardInterrupt


class Post(socketserver.ThreadingTCPServer):
    """A mail server that takes what comes (RFC 5321 without extensions)."""

    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Smtp)
        self.taken: list[tuple[str, bytes]] = []


class _Smtp(socketserver.StreamRequestHandler):
    server: Post

    def handle(self) -> None:
        self._say(220)
        to = ""
        while line := self.rfile.readline().decode().strip():
            verb = line[:4].upper()
            if verb == "RCPT":
                to = line.partition(":")[2].strip("<>")
            if verb != "DATA":
                self._say(221 if verb == "QUIT" else 250)
                continue
            self._say(354)
            lines = []
            while (part := self.rfile.readline()) != b".\r\n":
                lines.append(part)
            self.server.taken.append((to, b"".join(lines)))
            self._say(250)

    def _say(self, code: int) -> None:
        self.wfile.write(f"{code} ok\r\n".encode())


class TestDigest:
    def subscribed(self, database: Database) -> None:
        with database.transaction() as session:
            world = World(session, Town(session), None)  # type: ignore[arg-type]  # no HTTP here
            record = world.publish()
            resource = session.get_one(Resource, record)
            reviewer = world.town.actor("city_authority", Role.CATALOG_ADMINISTRATOR)
            clerk = world.town.actor("civil", CLERK)
            again = resources.create_draft(
                session, agency_id=world.town.id("civil"), record=ResourceRecord.model_validate(resource.record), by=clerk
            )  # fmt: skip
            statement = FilingStatement(secrecy_review="1", personal_information_assessment="1")
            approver = world.town.actor("civil", APPROVER)
            resources.file(session, again, statement=statement, expected_version=again.version, by=approver)
            digests.subscribe(session, address="liu@example.gov.cn", by=reviewer)
            digests.subscribe(session, address="idle@example.gov.cn", by=world.town.actor("market", CLERK))

    def test_a_mail_each_working_day_of_what_waits(self, database: Database) -> None:
        morning = START.replace(hour=8)
        with serving(post := Post()), clock.frozen(morning):
            self.subscribed(database)
            assert self.due(database, morning - timedelta(hours=1)) == 0
            assert self.due(database, morning) == 2
            assert self.due(database, morning + timedelta(hours=2)) == 0
            self.send(database, Mailer("127.0.0.1", post.server_address[1], "zt@example.gov.cn", "none"))
        ((to, message),) = post.taken
        parsed = message_from_bytes(message, policy=policy.default)
        assert to == "liu@example.gov.cn" and parsed["from"] == "zt@example.gov.cn"
        assert parsed["subject"] == "政通：1 项待办，其中 0 项逾期"
        assert "婚姻登记信息1" in parsed.get_content() and "截止 2026-09-21" in parsed.get_content()

    def test_none_on_a_day_off(self, database: Database) -> None:
        with clock.frozen(START):
            self.subscribed(database)
        self.due(database, START.replace(day=26))  # 中秋节
        with database.transaction() as session:
            assert session.execute(text(JOBS), {"task": digests.SEND}).all() == []

    def due(self, database: Database, moment: datetime) -> int:
        with clock.frozen(moment), database.transaction() as session:
            return digests.enqueue_due(session)

    def send(self, database: Database, mails: Mailer) -> None:
        with database.transaction() as session:
            args = [row[0] for row in session.execute(text(JOBS), {"task": digests.SEND})]
        for one in args:
            digests.sending(mails, "https://zhengtong.example").run(database, Outbound(), one)

    def test_where_no_mail_is_sent_nobody_subscribes(self, world: World) -> None:
        body = {"address": "liu@example.gov.cn"}
        assert slug(world.call("PUT", "/me/digest", "civil", CLERK, body=body, expect=409)) == "no-mail"
        assert world.call("GET", "/me/digest", "civil", CLERK)["available"] is False


JOBS = "SELECT args FROM procrastinate_jobs WHERE task_name = :task"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtp://mail.example:2525?from=zt@example.gov.cn", ("mail.example", 2525, "starttls", None)),
        ("smtps://u%40x:p%3A@mail.example?from=zt@example.gov.cn", ("mail.example", 465, "tls", "p:")),
        ("smtp://mail.example?from=zt@example.gov.cn&tls=none", ("mail.example", 25, "none", None)),
    ],
)
def test_a_mail_server_is_named_by_a_url(url: str, expected: tuple[str, int, str, str | None]) -> None:
    made = mailer(url)
    assert made and (made.host, made.port, made.tls, made.password) == expected


@pytest.mark.parametrize(
    "url", ["http://x?from=a@b", "smtp://x", "smtp://u:p@x?from=a@b&tls=none", "smtp://x?from=a@b&tls=ssl"]
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"tls|smtp|TLS"):
        mailer(url)


@pytest.mark.parametrize("limit", [1, 2])
def test_the_link_leads_through_the_whole_list(world: World, limit: int) -> None:
    resource = world.publish()
    drafted = [world.draft(resource)["id"] for _ in range(3)]
    headers = world.headers("health", Role.CLERK)
    seen, url = [], f"/api/v1/requests?limit={limit}&state=DRAFT"
    while url:
        answer = world.client.get(url, headers=headers)
        seen += [one["id"] for one in answer.json()["items"]]
        url = answer.links.get("next", {}).get("url", "")
        assert bool(url) == (answer.json()["next"] is not None)
    assert seen == drafted[::-1]
