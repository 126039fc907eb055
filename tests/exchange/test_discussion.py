"""What is said of single terms while a negotiation is open, what a provider starts, and the docket's evidence."""

from __future__ import annotations

import hashlib
import io
import zipfile
from uuid import UUID

import pytest
from httpx2 import Response
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.identity.models import RuleProfileRow
from app.kernel.actor import Role
from app.kernel.history import Event
from app.kernel.ledger import LedgerEntry
from exchange.attachments import LIMIT_BYTES
from tests.exchange.test_agreement_documents import words_in
from tests.exchange.world import START, Json, World, slug, terms, to

CLERK, APPROVER, MEDIATOR = Role.CLERK, Role.APPROVER, Role.MEDIATOR
WHY = {"reason": "依法处理"}


class TestTerms:
    def test_both_sides_comment_on_a_term_and_the_authority_reads(self, world: World) -> None:
        case = world.filed(world.publish())
        case = world.act(case, "comment", "civil", CLERK, {"field": "/method", "body": "宜用核验"})
        case = world.act(case, "comment", "health", APPROVER, {"body": "同意考虑"})
        read = world.read("negotiations", case["id"], "city_authority", MEDIATOR)
        assert [(c["field"], c["party"], c["body"]) for c in read["comments"]] == [
            ("/method", "provider", "宜用核验"), ("", "requester", "同意考虑"),
        ]  # fmt: skip
        world.act(read, "comment", "city_authority", APPROVER, {"body": "?"}, expect=403)
        problem = world.act(read, "comment", "civil", CLERK, {"field": "/colour", "body": "?"}, expect=422)
        assert problem["errors"][0]["field"] == "/field"

    def test_what_was_said_is_never_changed(self, world: World) -> None:
        case = world.filed(world.publish())
        world.act(case, "comment", "civil", CLERK, {"body": "宜用核验"})
        with pytest.raises(DBAPIError, match="never changed"):
            world.session.execute(text("UPDATE negotiation_comment SET body = ''"))

    def test_an_ended_negotiation_is_not_commented_on(self, world: World) -> None:
        refused = world.refused()
        problem = world.act(refused, "comment", "health", CLERK, {"body": "?"}, expect=409)
        assert slug(problem) == "wrong-moment" and "comment" not in problem["allowed"]

    def test_yes_in_principle_names_the_open_points_and_stops_no_clock(self, world: World) -> None:
        case = world.filed(world.publish())
        due = case["deadlines"]
        points = {"points": [{"field": "/retention_days", "text": "留存天数待定"}]}
        case = world.act(case, "agree_in_principle", "civil", APPROVER, points)
        assert (case["state"], case["open_points"], case["deadlines"]) == ("REQUESTED", points["points"], due)
        assert (
            slug(world.act(case, "agree_in_principle", "civil", APPROVER, points, expect=409))
            == "wrong-moment"
        )
        resource = UUID(case["terms"]["terms"]["resources"][0]["resource_id"])
        offered = world.offered(case, terms(resource, retention_days=7))
        assert (offered["state"], offered["open_points"]) == ("OFFERED", None)

    def test_a_comparison_is_in_words_in_both_languages(self, world: World) -> None:
        resource = world.publish()
        case = world.offered(world.filed(resource), terms(resource, items=("name",), retention_days=7))
        path = f"/negotiations/{case['id']}/changes?before=1&after=2"
        told = {one["path"]: one for one in world.call("GET", path, "health", CLERK)}
        kept = told["/retention_days"]
        assert (kept["kind"], kept["kind_name"]["zh"], kept["label"]["zh"]) == ("changed", "变更", "留存天数")
        assert (kept["before"]["en"], kept["after"]["en"]) == ("30", "7")
        removed = told[f"/resources/{resource}/items/registered_on"]
        assert (removed["kind_name"]["en"], removed["after"]) == ("removed", None)


def packed(*names: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as package:
        for name in names:
            package.writestr(name, "x")
    return content.getvalue()


class TestAttachments:
    def test_a_file_is_kept_under_its_hash_and_the_ledger_has_it(self, world: World) -> None:
        content = b"%PDF-1.7 \xe5\x87\xbd"
        case = world.attached(world.filed(world.publish()), name="函.pdf", content=content)
        (told,) = case["attachments"]
        digest = hashlib.sha256(content).hexdigest()
        assert (told["name"], told["sha256"], told["party"]) == ("函.pdf", digest, "requester")
        path = f"/api/v1/negotiations/{case['id']}/attachments/{told['id']}"
        answer = world.client.get(path, headers=world.headers("civil", CLERK))
        assert (answer.content, answer.headers["content-type"]) == (content, "application/pdf")
        assert answer.headers["content-disposition"].startswith("attachment;")
        event = world.session.scalars(select(Event).where(Event.act == "attach")).one()
        assert event.data["sha256"] == digest and world.session.get(LedgerEntry, event.id)
        other = world.filed(world.publish())
        world.call("GET", f"/negotiations/{other['id']}/attachments/{told['id']}", "civil", CLERK, expect=404)

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("函.pdf", b"MZ\x90"), ("函.exe", b"MZ\x90"), ("函", b"%PDF-1.7"), ("图.png", b"%PDF-1.7"), ("空.pdf", b""),
            ("注.txt", b"\xff\xfe"), ("表.xlsx", packed("word/document.xml")), ("文.docx", b"PK\x03\x04"),
            ("文.docx", packed("word/document.xml", "word/vbaProject.bin")),
        ],
    )  # fmt: skip
    def test_what_is_not_what_its_name_says_is_refused(self, world: World, name: str, content: bytes) -> None:
        case = world.filed(world.publish())
        problem = world.attached(case, name=name, content=content, expect=422)
        assert problem["errors"][0]["field"] == "/file"

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("文.docx", packed("word/document.xml")),
            ("文.ofd", packed("OFD.xml")),
            ("注.TXT", "说明".encode()),
        ],
    )
    def test_what_offices_write_is_taken(self, world: World, name: str, content: bytes) -> None:
        assert world.attached(world.filed(world.publish()), name=name, content=content)["attachments"]

    def test_a_file_over_the_limit_is_refused(self, world: World) -> None:
        content = b"%PDF-" + bytes(LIMIT_BYTES)
        problem = world.attached(world.filed(world.publish()), content=content, expect=413)
        assert slug(problem) == "too-large"


def with_material_clock(session: Session, value: str) -> None:
    for row in session.scalars(select(RuleProfileRow)):
        options = {**row.profile["options"], "material_clock": value}
        row.profile = {**row.profile, "options": options}
    session.flush()


@pytest.mark.parametrize(("value", "due"), [("pause", "2026-10-12"), ("restart", "2026-10-15")])
def test_material_pauses_or_restarts_the_clock_by_profile(world: World, value: str, due: str) -> None:
    with_material_clock(world.session, value)
    with world.at(START):
        case = world.filed(world.publish())
    with world.at(START.replace(day=22)):  # three working days gone of ten
        case = world.act(case, "ask_material", "civil", CLERK, {"reason": "请补充法律依据"})
    with world.at(START.replace(day=25)):
        case = world.act(case, "supply_material", "health", CLERK, {"reason": "见附件"})
        assert case["deadlines"][0]["due_on"] == due


class TestProvidersAmendment:
    def drafted(self, world: World, agreement: Json, **changes: object) -> Json:
        resource = UUID(agreement["terms"]["resources"][0]["resource_id"])
        body = {"title": "缩小范围", "terms": terms(resource, **changes), "amends": agreement["id"]}  # type: ignore[arg-type]
        drafted: Json = world.call("POST", "/requests", "civil", CLERK, body=body, expect=201)
        return drafted

    def test_the_provider_offers_and_the_requester_accepts(self, world: World) -> None:
        agreement = world.agreed()
        filed = world.act(self.drafted(world, agreement, retention_days=7), "file", "civil", APPROVER)
        case = world.read("negotiations", filed["negotiations"][0]["id"], "health")
        assert (case["state"], case["terms"]["party"], case["amends_id"]) == (
            "OFFERED",
            "provider",
            agreement["id"],
        )
        case = world.act(case, "accept", "health", APPROVER, to(case["terms"]))
        done = world.act(case, "agree", "civil", APPROVER, to(case["terms"]))
        new = world.read("agreements", done["agreement_id"], "health")
        assert (new["terms"]["retention_days"], new["number"]) == (7, 2)
        assert world.read("agreements", agreement["id"], "civil")["state"] == "SUPERSEDED"

    def test_unanswered_it_lapses_and_all_stays_as_agreed(self, world: World) -> None:
        agreement = world.agreed()
        filed = world.act(self.drafted(world, agreement, retention_days=7), "file", "civil", APPROVER)
        for _ in range(2):
            (clock,) = world.clocks(filed["negotiations"][0]["id"]).values()
            world.sweep_at(clock.due_at)
        case = world.read("negotiations", filed["negotiations"][0]["id"], "civil")
        assert (case["state"], case["termination_reason"]) == ("TERMINATED", "lapsed")
        assert world.read("agreements", agreement["id"], "civil")["state"] == "IN_FORCE"


class TestDocket:
    def granted(self, world: World) -> Json:
        case = world.disputed()
        read = world.read("negotiations", case["negotiation_id"], "civil")
        granted = read["terms"]["terms"]
        ruling = {
            "outcome": "grant",
            "reasons": "用途明确，依法应当共享",
            "legal_basis": "809-20",
            "terms": granted,
        }
        case = world.act(case, "draft_ruling", "city_authority", MEDIATOR, ruling, number=2)
        done: Json = world.act(
            case, "rule", "city_authority", MEDIATOR, {"ruling_id": case["rulings"][-1]["id"]}
        )
        return done

    def test_evidence_and_every_offer_are_in_the_docket(self, world: World) -> None:
        case = world.attached(world.disputed(), kind="disputes", name="证据.pdf")
        read = world.read("disputes", case["id"], "city_authority", MEDIATOR)
        assert [one["name"] for one in read["attachments"]] == ["证据.pdf"]
        assert [(one["number"], one["party"]) for one in read["offers"]] == [(1, "requester")]

    def test_on_paper_each_reads_what_it_may_know(self, world: World) -> None:
        case = world.act(world.disputed(), "state", "civil", CLERK, {"body": "证件号并非核验所需"})
        resource = world.read("negotiations", case["negotiation_id"], "civil")["terms"]["terms"]["resources"][
            0
        ]
        ruling = {
            "outcome": "grant", "reasons": "用途明确，依法应当共享", "legal_basis": "809-20",
            "terms": terms(UUID(resource["resource_id"]), items=("name",)),
        }  # fmt: skip
        case = world.act(case, "draft_ruling", "city_authority", MEDIATOR, ruling, number=2)
        told = [
            "政务数据共享争议案卷",
            "范围超出用途所需",
            "拒绝没有依据",
            "第 1 稿 · 需求方",
            "证件号并非核验所需",
        ]
        ruled = ["依法应当共享", "裁定的条款", "信息项“登记日期”"]
        for agency, role, shown, hidden in (
            ("civil", CLERK, told, ruled),
            ("city_authority", MEDIATOR, told + ruled, []),
        ):
            page = self.paper(world, case, agency, role).text
            assert all(words in page for words in shown), page
            assert not any(words in page for words in hidden), page
        world.act(case, "rule", "city_authority", MEDIATOR, {"ruling_id": case["rulings"][-1]["id"]})
        assert all(words in self.paper(world, case, "civil", CLERK).text for words in told + ruled)
        printed = words_in(self.paper(world, case, "civil", CLERK, accept="application/pdf").content)
        assert all(words in printed for words in (told[0], told[-1], *ruled)), printed
        english = self.paper(world, case, "health", CLERK, **{"accept-language": "en"}).text
        assert "Docket of a data sharing dispute" in english
        assert self.paper(world, case, "east_health", CLERK).status_code == 404

    @staticmethod
    def paper(world: World, case: Json, agency: str, role: Role, **headers: str) -> Response:
        asked = {**world.headers(agency, role), "accept-language": "zh-CN", **headers}
        answer: Response = world.client.get(f"/api/v1/disputes/{case['id']}/document", headers=asked)
        return answer

    def test_a_provider_that_does_not_comply_is_reported_and_ordered(self, world: World) -> None:
        case = self.granted(world)
        case = world.read("disputes", case["id"], "health")
        case = world.act(case, "report_noncompliance", "health", APPROVER, WHY)
        assert case["noncompliance_at"] and "report_noncompliance" not in case["allowed"]
        world.act(case, "report_noncompliance", "health", APPROVER, WHY, expect=409)
        inbox = world.call("GET", "/inbox", "city_authority", MEDIATOR)
        assert (case["id"], "order_compliance") in [
            (one["id"], act["name"]) for one in inbox["for_me"] for act in one["acts"]
        ]
        case = world.act(case, "order_compliance", "city_authority", MEDIATOR, WHY)
        assert case["noncompliance_at"] is None
        assert world.events("dispute", case["id"])[-2:] == ["report_noncompliance", "order_compliance"]

    def test_rulings_are_found_by_resource_ground_and_outcome(self, world: World) -> None:
        case = self.granted(world)
        resource = case["offers"][0]["terms"]["resources"][0]["resource_id"]
        for query, found in (
            (f"resource={resource}", 1), (f"resource={world.publish()}", 0), ("ground=exceeds_need", 1),
            ("ground=data_absent", 0), ("outcome=grant", 1), ("outcome=deny", 0), ("q=依法应当", 1), ("q=%25", 0),
        ):  # fmt: skip
            told = world.call("GET", f"/rulings?{query}", "market", CLERK)["items"]
            assert len(told) == found, query
        (told,) = world.call("GET", "/rulings", "market", CLERK)["items"]
        assert (told["outcome"], told["ground"], told["final"]) == ("grant", "exceeds_need", False)
        assert "requester" not in told and "provider" not in told
