"""Imports over HTTP as a catalog administrator does them: send, look at the preview, confirm; and harvests."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from openpyxl import load_workbook
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.identity.models import Person
from app.kernel.actor import Role
from app.kernel.outbound import Answer, NotReachable, Outbound
from catalog.harvest import service as harvests
from catalog.harvest.models import Harvest
from catalog.imports import work
from catalog.imports.models import ImportChunk, ImportJob, ImportRow, ImportRun
from catalog.resources.models import Filing, Resource
from tests.catalog.sheets import ITEM, RESOURCE, workbook
from tests.conftest import OneTransaction
from tests.factories import Town

ADMINISTRATOR = Role.CATALOG_ADMINISTRATOR
Json = dict[str, Any]


def count(session: Session, table: type) -> int:
    return session.scalar(select(func.count()).select_from(table)) or 0


class Desk:
    """A catalog administrator of the civil affairs bureau, and the worker who does what is asked for."""

    def __init__(self, client: TestClient, session: Session, town: Town, database: OneTransaction) -> None:
        self.client, self.session, self.town, self.database = client, session, town, database
        self.headers = town.headers("civil", ADMINISTRATOR)

    def send(self, content: io.BytesIO | bytes, **form: str) -> Json:
        files = {"file": ("目录.xlsx", content, "application/octet-stream")}
        answer = self.client.post("/api/v1/imports", headers=self.headers, data=form, files=files)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def read(self, path: str, **query: str) -> Any:
        answer = self.client.get(f"/api/v1/{path}", headers=self.headers, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def act(self, path: str, version: int, status: int = 200) -> Json:
        answer = self.client.post(f"/api/v1/{path}", headers=self.headers | {"If-Match": f'"{version}"'})
        assert answer.status_code == status, answer.text
        return dict(answer.json())

    def rehearsed(self, content: io.BytesIO | bytes, **form: str) -> Json:
        """An import that the worker has rehearsed."""
        sent = self.send(content, **form)
        assert (sent["state"], sent["preview"], sent["allowed"]) == ("received", None, ["cancel"])
        self.work(sent)
        return dict(self.read(f"imports/{sent['id']}"))

    def work(self, job: Json) -> None:
        """What the worker does when it takes the import up."""
        args = {"import_id": job["id"]}
        (work.bring_in if job["state"] == "committing" else work.rehearse)(self.database, Outbound(), args)
        self.session.expire_all()

    def committed(self, job: Json) -> Json:
        taken = self.act(f"imports/{job['id']}/commit", job["version"])
        assert taken["state"] == "committing"
        self.work(taken)
        return dict(self.read(f"imports/{job['id']}"))


@pytest.fixture
def desk(client: TestClient, session: Session, town: Town, one_transaction: OneTransaction) -> Desk:
    return Desk(client, session, town, one_transaction)


def tally(told: Json | None) -> tuple[int, int, int, int]:
    assert told is not None
    return told["new"], told["changed"], told["unchanged"], told["rejected"]


class TestAnImport:
    def test_nothing_comes_in_before_the_preview_is_confirmed(self, desk: Desk, session: Session) -> None:
        job = desk.rehearsed(workbook(RESOURCE, ITEM))
        assert (job["state"], tally(job["preview"]), job["result"]) == ("previewed", (1, 0, 0, 0), None)
        assert set(job["allowed"]) == {"commit", "cancel"} and count(session, Resource) == 0
        done = desk.committed(job)
        assert (done["state"], tally(done["result"]), done["allowed"]) == ("finished", (1, 0, 0, 0), [])
        assert [r.state for r in session.scalars(select(Resource))] == ["draft"]
        assert count(session, ImportChunk) == 0  # the file is not needed any more
        acts = [event["act"] for event in desk.read(f"imports/{job['id']}/events")]
        assert acts == ["submit", "preview", "commit", "finish"]

    def test_the_preview_tells_new_changed_how_unchanged_and_rejected_why(self, desk: Desk) -> None:
        other, third = {**RESOURCE, "title": "二"}, {**RESOURCE, "title": "三"}
        desk.committed(desk.rehearsed(workbook(RESOURCE, ITEM, {**other, **ITEM})))
        changed = {**other, "abstract": "新的摘要"}
        wrong = {**third, "sharing.type": "共享"}
        job = desk.rehearsed(
            workbook(RESOURCE, ITEM, {**changed, **ITEM}, {**wrong, **ITEM}, {**third, "title": "四", **ITEM})
        )
        assert tally(job["preview"]) == (1, 1, 1, 1)
        rows = {row["outcome"]: row for row in desk.read(f"imports/{job['id']}/rows")["items"]}
        assert rows["new"]["title"] == "四" and rows["new"]["resource_id"] is None
        assert rows["changed"]["differences"] == {"abstract": ["持证残疾人的证件信息", "新的摘要"]}
        assert rows["changed"]["resource_id"] and rows["unchanged"]["resource_id"]
        (fault,) = rows["rejected"]["faults"]
        assert fault["message"]["zh"] == "“共享”不在允许的取值之内" and fault["rule"]["en"].startswith(
            "allowed"
        )
        page = desk.read(f"imports/{job['id']}/rows", outcome="rejected", limit="1")
        assert [row["place"] for row in page["items"]] == ["row 4"]

    def test_rejected_rows_come_back_as_a_workbook_that_is_mended_and_sent_again(self, desk: Desk) -> None:
        wrong = {**RESOURCE, "title": "另一资源", "sharing.type": "共享"}
        job = desk.rehearsed(workbook(RESOURCE, ITEM, {**wrong, **ITEM}))
        assert tally(desk.committed(job)["result"]) == (1, 0, 0, 1)  # the good row is not lost
        answer = desk.client.get(f"/api/v1/imports/{job['id']}/rejected.xlsx", headers=desk.headers)
        sheet = load_workbook(io.BytesIO(answer.content)).worksheets[0]
        heads = [str(cell.value) for cell in sheet[1]]
        position = heads.index("⚠ 共享类型\nSharing")
        assert heads[position - 1] == "共享类型\nSharing"
        assert "“共享” is not one of the values" in str(sheet.cell(2, position + 1).value)
        sheet.cell(2, position, "无条件共享")
        mended = io.BytesIO()
        sheet.parent.save(mended)  # type: ignore[union-attr]
        assert tally(desk.rehearsed(mended.getvalue())["preview"]) == (1, 0, 0, 0)

    def test_what_is_filed_the_approver_signs_once_for_all(self, desk: Desk, session: Session) -> None:
        job = desk.rehearsed(workbook(RESOURCE, ITEM, {**RESOURCE, "title": "二", **ITEM}), **{"as": "filed"})
        assert job["allowed"] == ["cancel"]
        refused = desk.act(f"imports/{job['id']}/commit", job["version"], 403)
        assert (refused["legal_basis"], count(session, Resource)) == ("809-12", 0)
        signing = desk.town.headers("civil", Role.APPROVER) | {"If-Match": f'"{job["version"]}"'}
        path = f"/api/v1/imports/{job['id']}/file"
        lacking = desk.client.post(path, headers=signing, json={"contains_secrets": True})
        assert [error["field"] for error in lacking.json()["errors"]] == [
            "/contains_secrets", "/secrecy_review", "/personal_information_assessment"
        ]  # fmt: skip
        statement = {"secrecy_review": "保密审查〔2026〕1号", "personal_information_assessment": "不涉及"}
        taken = desk.client.post(path, headers=signing, json=statement)
        assert taken.status_code == 200, taken.text
        desk.work(taken.json())
        session.expire_all()
        resources = list(session.scalars(select(Resource)))
        assert [resource.state for resource in resources] == ["filed", "filed"]
        for filing in session.scalars(select(Filing)):
            assert filing.statement["secrecy_review"] == "保密审查〔2026〕1号"
        (filed,) = desk.read(f"resources/{resources[0].id}/filings")
        assert (filed["number"], filed["statement"]["personal_information_assessment"]) == (1, "不涉及")

    def test_an_import_of_drafts_is_not_filed(self, desk: Desk) -> None:
        job = desk.rehearsed(workbook(RESOURCE, ITEM))
        signing = desk.town.headers("civil", Role.APPROVER) | {"If-Match": f'"{job["version"]}"'}
        statement = {"secrecy_review": "一号", "personal_information_assessment": "不涉及"}
        answer = desk.client.post(f"/api/v1/imports/{job['id']}/file", headers=signing, json=statement)
        assert answer.status_code == 403

    def test_cancelled_it_leaves_nothing(self, desk: Desk, session: Session) -> None:
        job = desk.rehearsed(workbook(RESOURCE, ITEM))
        cancelled = desk.act(f"imports/{job['id']}/cancel", job["version"])
        assert (cancelled["state"], cancelled["allowed"]) == ("cancelled", [])
        assert (count(session, ImportChunk), count(session, ImportRow), count(session, Resource)) == (0, 0, 0)
        desk.act(f"imports/{job['id']}/commit", cancelled["version"], status=409)

    def test_a_job_that_is_done_twice_does_it_once(self, desk: Desk, session: Session) -> None:
        """A worker may be killed after its commit and before it says so."""
        job = desk.rehearsed(workbook(RESOURCE, ITEM))
        desk.work({**job, "state": "received"})
        done = desk.committed(job)
        desk.work({**done, "state": "committing"})
        assert (count(session, Resource), count(session, ImportRun)) == (1, 2)

    def test_what_was_cancelled_before_it_was_read_stays_cancelled(self, desk: Desk) -> None:
        sent = desk.send(workbook(RESOURCE, ITEM))
        desk.act(f"imports/{sent['id']}/cancel", sent["version"])
        desk.work(sent)
        assert desk.read(f"imports/{sent['id']}")["state"] == "cancelled"

    def test_a_file_that_turns_out_unreadable_is_refused_with_the_reason(
        self, desk: Desk, session: Session
    ) -> None:
        job = desk.rehearsed(b"@prefix dcat: <http://www.w3.org/ns/dcat#> . dcat: broken")
        assert (job["state"], job["allowed"]) == ("refused", [])
        assert "Turtle" in job["problem"]["detail"]["zh"] and "Turtle" in job["problem"]["detail"]["en"]
        assert (count(session, ImportChunk), count(session, ImportRun)) == (0, 0)

    def test_who_lost_the_role_meanwhile_brings_nothing_in(self, desk: Desk, session: Session) -> None:
        job = desk.rehearsed(workbook(RESOURCE, ITEM))
        taken = desk.act(f"imports/{job['id']}/commit", job["version"])
        person = session.get_one(ImportJob, job["id"])
        session.get_one(Person, person.person_id).active = False
        session.flush()
        desk.work(taken)
        told = session.get_one(ImportJob, job["id"])
        assert told.state == "refused" and count(session, Resource) == 0

    def test_an_agency_does_not_publish_and_a_clerk_does_not_import(self, desk: Desk, town: Town) -> None:
        files = {"file": ("a.xlsx", workbook(RESOURCE, ITEM), "application/octet-stream")}
        sent = desk.client.post(
            "/api/v1/imports", headers=desk.headers, files=files, data={"as": "published"}
        )
        assert (sent.status_code, sent.json()["legal_basis"]) == (403, "809-16")
        clerk = town.headers("civil", Role.CLERK)
        assert desk.client.post("/api/v1/imports", headers=clerk, files=files).status_code == 403

    def test_the_template_comes_in_the_reader_s_language(self, desk: Desk) -> None:
        headers = {**desk.headers, "accept-language": "zh-CN"}
        answer = desk.client.get("/api/v1/imports/template.xlsx", headers=headers)
        assert load_workbook(io.BytesIO(answer.content)).sheetnames[0] == "目录"


class TestExports:
    @pytest.mark.parametrize("form", ["xlsx", "csv"])
    def test_what_is_exported_comes_in_again_and_changes_nothing(self, desk: Desk, form: str) -> None:
        other = {**RESOURCE, "title": "二", "abstract": "-5 度以下", "keywords": "甲；乙"}
        desk.committed(desk.rehearsed(workbook(RESOURCE, ITEM, {**other, **ITEM})))
        answer = desk.client.get(
            f"/api/v1/exports/catalog.{form}", headers=desk.headers, params={"own": "true"}
        )
        assert answer.status_code == 200, answer.text
        job = desk.rehearsed(answer.content)
        assert tally(job["preview"]) == (0, 0, 2, 0)
        published = desk.client.get(f"/api/v1/exports/catalog.{form}", headers=desk.headers)
        assert "残疾人证信息".encode() not in published.content  # a draft is its own agency's


OURS = {
    "name": "district-sheet",
    "title": {"zh": "区里的表", "en": "the district's sheet"},
    "resource": "表名",
    "fields": {"title": {"column": "表名"}, "source_id": {"column": "表名"}, "abstract": {"column": "说明"}},
    "item": {"name": {"column": "字段"}, "data_type": {"column": "类型", "values": {"文字": "C", "数": "N"}}},
}
TABLE = "表名,说明,字段,类型\n路灯,全市路灯,编号,文字\n,,高度,数\n桥梁,桥,名称,文字\n"


class TestMappings:
    def keep(self, desk: Desk, mapping: Json, status: int = 201) -> Json:
        answer = desk.client.post("/api/v1/mappings", headers=desk.headers, json=mapping)
        assert answer.status_code == status, answer.text
        return dict(answer.json())

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "big5", "utf-16"])
    def test_a_table_of_one_s_own_in_each_encoding(self, desk: Desk, session: Session, encoding: str) -> None:
        self.keep(desk, OURS)
        table = TABLE.replace("类型", "類型" if encoding == "big5" else "类型")
        if encoding == "big5":  # which has no simplified characters
            table = "表名,說明,字段,類型\n路燈,全市路燈,編號,文字\n,,高度,數\n橋樑,橋,名稱,文字\n"
            words = json.loads(json.dumps(OURS).translate({}))
            words["name"] = "big5-sheet"
            words["fields"]["abstract"]["column"] = "說明"
            words["item"]["data_type"] = {"column": "類型", "values": {"文字": "C", "數": "N"}}
            self.keep(desk, words)
        job = desk.rehearsed(
            table.encode(encoding), mapping="big5-sheet" if encoding == "big5" else "district-sheet"
        )
        assert tally(job["preview"]) == (2, 0, 0, 0)
        assert tally(desk.committed(job)["result"]) == (2, 0, 0, 0)
        held = {r.title: r.record for r in session.scalars(select(Resource))}
        lamps = held.get("路灯") or held["路燈"]
        assert [item["data_type"] for item in lamps["items"]] == ["C", "N"]

    def test_kept_edited_and_removed_with_its_version(self, desk: Desk) -> None:
        kept = self.keep(desk, OURS)
        names = [mapping["name"] for mapping in desk.read("mappings")["items"]]
        assert names == ["district-sheet", "canada-forms", "taoyuan"]
        path, edited = f"/api/v1/mappings/{kept['id']}", {**OURS, "delimiter": ";"}
        answer = desk.client.put(path, headers=desk.headers | {"If-Match": '"1"'}, json=edited)
        assert (answer.status_code, answer.json()["version"]) == (200, 2)
        stale = desk.client.put(path, headers=desk.headers | {"If-Match": '"1"'}, json=edited)
        assert stale.status_code == 412
        gone = desk.client.delete(path, headers=desk.headers | {"If-Match": '"2"'})
        assert gone.status_code == 204 and desk.client.get(path, headers=desk.headers).status_code == 404

    def test_a_name_is_taken_once_and_those_that_ship_stay_theirs(self, desk: Desk) -> None:
        self.keep(desk, OURS)
        self.keep(desk, OURS, status=409)
        told = self.keep(desk, {**OURS, "name": "taoyuan"}, status=422)
        assert told["errors"][0]["field"] == "/name"

    @pytest.mark.parametrize("pattern", ["(a+)+$", "(x|y)*z", "a*b*c*d*", "(", "(a){2,9}"])
    def test_a_pattern_that_may_never_end_is_refused(self, desk: Desk, pattern: str) -> None:
        fields = {"title": {"column": "表名", "pattern": pattern}}
        told = self.keep(desk, {**OURS, "fields": fields}, status=422)
        assert told["errors"][0]["field"] == "/fields/title/pattern" and told["errors"][0]["message"]

    def test_another_agency_s_mapping_is_not_used(self, desk: Desk, town: Town) -> None:
        self.keep(desk, OURS)
        files = {"file": ("a.csv", TABLE.encode(), "text/csv")}
        answer = desk.client.post(
            "/api/v1/imports", headers=town.headers("health", ADMINISTRATOR), files=files,
            data={"mapping": "district-sheet"},
        )  # fmt: skip
        assert answer.status_code == 404 and "taoyuan" in answer.json()["detail"]


def package(number: int, **changes: Any) -> Json:
    return {
        "id": f"p{number}", "name": f"p-{number}", "title": f"数据集{number}", "notes": "说明", "private": False,
        "organization": {"name": "civil", "title": "测试市民政局"}, "tags": [{"name": "词"}],
        "resources": [{"name": "CSV", "format": "CSV", "url": "https://d.example/a.csv"}],
        "extras": [{"key": "items", "value": '["编号", "地址"]'}], "metadata_modified": "2026-01-02T03:04:05",
        **changes,
    }  # fmt: skip


class Others(Outbound):
    """The network: answers by address, and remembers what was asked."""

    def __init__(self, answer: Callable[[str], tuple[str, bytes]]) -> None:
        super().__init__()
        object.__setattr__(self, "answer", answer)
        object.__setattr__(self, "asked", [])

    __slots__ = ("answer", "asked")
    answer: Callable[[str], tuple[str, bytes]]
    asked: list[str]

    def send(self, method: str, url: str, **_: Any) -> Answer:
        self.asked.append(url)
        media, body = self.answer(url)
        return Answer(200, {"content-type": media}, body)


def ckan(packages: list[Json]) -> Callable[[str], tuple[str, bytes]]:
    def answer(url: str) -> tuple[str, bytes]:
        start = int(parse_qs(urlsplit(url).query)["start"][0])
        result = {"count": len(packages), "results": packages[start : start + 2]}
        return "application/json", json.dumps({"success": True, "result": result}).encode()

    return answer


FEED = """@prefix dcat: <http://www.w3.org/ns/dcat#> . @prefix dct: <http://purl.org/dc/terms/> .
@prefix hydra: <http://www.w3.org/ns/hydra/core#> . @prefix foaf: <http://xmlns.com/foaf/0.1/> .
<{page}> {next} hydra:first <https://other.example/catalog.ttl> .
<https://other.example/{page}> a dcat:Dataset ; dct:identifier "{page}" ; dct:title "T{page}" ;
  dct:description "D" ; dct:publisher [ foaf:name "测试市民政局" ] ."""


def feed(url: str) -> tuple[str, bytes]:
    page = int((parse_qs(urlsplit(url).query).get("page") or ["1"])[0])
    following = f"hydra:next <https://other.example/catalog.ttl?page={page + 1}> ;" if page < 3 else ""
    return "text/turtle; charset=utf-8", FEED.replace("{page}", str(page)).replace(
        "{next}", following
    ).encode()


class Harvesting:
    """A harvest of the civil affairs bureau and the worker that fetches it."""

    def __init__(self, desk: Desk, outbound: Outbound, **spec: Any) -> None:
        self.desk, self.outbound = desk, outbound
        body = {"name": "省目录", "kind": "ckan", "url": "https://other.example", "every": "daily", **spec}
        answer = desk.client.post("/api/v1/harvests", headers=desk.headers, json=body)
        assert answer.status_code == 201, answer.text
        self.id = answer.json()["id"]

    def fetch(self) -> Json:
        """What the worker does when the harvest is due; returns the harvest."""
        row = self.desk.session.get_one(Harvest, self.id)
        args = {"harvest_id": self.id, "due": row.next_at.isoformat()}
        harvests.run(self.desk.database, self.outbound, args)
        self.desk.session.expire_all()
        return self.read()

    def read(self) -> Json:
        return dict(self.desk.read(f"harvests/{self.id}"))

    def imported(self) -> Json:
        """The last import, taken as far as it goes by itself."""
        job = self.desk.read(f"imports/{self.read()['last_import']}")
        while job["state"] in ("received", "committing"):
            self.desk.work(job)
            job = self.desk.read(f"imports/{job['id']}")
        return dict(job)


class TestHarvests:
    def test_a_ckan_catalog_is_read_page_by_page_and_waits_for_a_person(self, desk: Desk) -> None:
        others = Others(ckan([package(n) for n in range(5)]))
        harvest = Harvesting(desk, others, url="https://other.example/api/3")
        harvest.fetch()
        assert [parse_qs(urlsplit(url).query)["start"] for url in others.asked] == [["0"], ["2"], ["4"]]
        assert others.asked[0].startswith("https://other.example/api/3/action/package_search?")
        job = harvest.imported()
        assert (job["state"], tally(job["preview"])) == ("previewed", (5, 0, 0, 0))
        assert tally(desk.committed(job)["result"]) == (5, 0, 0, 0)
        resource = desk.session.scalars(select(Resource).where(Resource.source_id == "p3")).one()
        assert [item["name"] for item in resource.record["items"]] == ["编号", "地址"]

    def test_an_automatic_one_brings_in_and_the_same_again_changes_nothing(self, desk: Desk) -> None:
        packages = [package(n) for n in range(3)]
        harvest = Harvesting(desk, Others(ckan(packages)), automatic=True)
        harvest.fetch()
        first = harvest.imported()
        assert (first["state"], tally(first["result"])) == ("finished", (3, 0, 0, 0))
        again = harvest.fetch()
        assert again["last_import"] == first["id"]  # what came is what came before: no import at all
        packages[1]["title"] = "新名称"
        harvest.fetch()
        assert tally(harvest.imported()["result"]) == (0, 1, 2, 0)

    def test_a_feed_in_pages_is_one_catalog(self, desk: Desk) -> None:
        harvest = Harvesting(
            desk, Others(feed), kind="dcat", url="https://other.example/catalog.ttl", automatic=True
        )
        assert harvest.fetch()["problem"] is None
        job = harvest.imported()
        assert (tally(job["result"]), job["result"]["format"]) == ((3, 0, 0, 0), "dcat-ap")
        harvest.fetch()
        assert tally(harvest.imported()["result"]) == (0, 0, 3, 0)

    def test_a_page_elsewhere_is_not_followed(self, desk: Desk) -> None:
        def lure(url: str) -> tuple[str, bytes]:
            media, body = feed(url)
            return media, body.replace(b"https://other.example/catalog.ttl?", b"http://10.0.0.1/x?")

        others = Others(lure)
        Harvesting(desk, others, kind="dcat", url="https://other.example/catalog.ttl").fetch()
        assert others.asked == ["https://other.example/catalog.ttl"]

    def test_what_most_of_is_refused_waits_for_a_person_all_the_same(self, desk: Desk) -> None:
        strange = {"organization": {"name": "x", "title": "别的单位"}}
        packages = [package(0), package(1, **strange), package(2, **strange)]
        harvest = Harvesting(desk, Others(ckan(packages)), automatic=True)
        harvest.fetch()
        job = harvest.imported()
        assert (job["state"], tally(job["preview"])) == ("previewed", (1, 0, 0, 2))

    def test_a_failure_is_told_and_the_schedule_goes_on(self, desk: Desk) -> None:
        def down(url: str) -> tuple[str, bytes]:
            raise NotReachable()

        harvest = Harvesting(desk, Others(down))
        before = harvest.read()["next_at"]
        told = harvest.fetch()
        assert told["problem"]["title"]["en"] and told["last_import"] is None
        assert told["next_at"] > before
        html = Harvesting(desk, Others(lambda _: ("text/html", b"<html>")))
        assert "CKAN" in html.fetch()["problem"]["detail"]["zh"]

    def test_one_that_is_paused_or_was_done_is_not_fetched(self, desk: Desk) -> None:
        others = Others(ckan([package(1)]))
        harvest = Harvesting(desk, others)
        due = desk.session.get_one(Harvest, harvest.id).next_at.isoformat()
        desk.act(f"harvests/{harvest.id}/pause", 1)
        harvest.fetch()
        assert others.asked == []
        desk.act(f"harvests/{harvest.id}/resume", 2)
        harvest.fetch()
        assert len(others.asked) == 1
        harvests.run(desk.database, others, {"harvest_id": harvest.id, "due": due})
        assert len(others.asked) == 1

    @pytest.mark.parametrize("url", ["http://127.0.0.1/", "http://169.254.169.254/", "file:///etc/passwd"])
    def test_an_address_inside_is_refused(self, desk: Desk, url: str) -> None:
        body = {"name": "内网", "kind": "ckan", "url": url}
        answer = desk.client.post("/api/v1/harvests", headers=desk.headers, json=body)
        assert answer.status_code == 422 and answer.json()["errors"][0]["field"] == "/url"
