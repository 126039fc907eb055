"""Imports on the real database: what comes in, what is handed back, and that a second run changes nothing."""

from __future__ import annotations

import csv
import io
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.identity.models import Agency
from app.kernel.actor import Actor, Role, system_actor
from app.kernel.clock import frozen, now
from app.kernel.errors import Invalid, NotFound, NotPermitted
from app.kernel.history import Event
from app.kernel.ledger import LedgerEntry
from catalog.formats.dcat_us import SCHEMA
from catalog.formats.reading import TIME_LIMIT_S, FileRefused, FileTooLarge
from catalog.imports.models import ImportRun
from catalog.imports.run import ImportOptions, find_run, run_import
from catalog.imports.wire import ImportReport
from catalog.resources.models import Item, Resource, ResourceVersion
from tests.catalog.sheets import ITEM, RESOURCE, workbook
from tests.factories import Town

OPERATOR = system_actor("operator")
TAOYUAN = ImportOptions(mapping="taoyuan")
ADMINISTRATOR = Role.CATALOG_ADMINISTRATOR


def table(*changes: dict[str, str]) -> io.BytesIO:
    """A CSV in the columns of the taoyuan mapping; each change overrides cells of a plain row."""
    plain = {
        "編號": "1", "資料名稱": "路燈清冊", "更新頻率": "每月", "檔案格式": "CSV",
        "資料連結網址": "https://data.example/?oid=00000000-0000-0000-0000-000000000001",
        "分類及編號": "公共資訊 (921)", "資料集描述": "全市路燈", "主要欄位說明": "編號、地號(土地)、地址",
        "資料集類型": "原始資料", "資源格式": "CSV", "最後更新時間": "2017-08-18 15:37:43",
        "資料集提供機關": "380110000G 【工務局】", "資料量": "", "收錄期間(起)": "", "收錄期間(迄)": "",
        "授權方式": "政府資料開放授權條款", "資料集說明網址": "", "編碼格式": "UTF-8", "標籤/關鍵字": "路燈",
        "建立日期": "2017-08-18 14:38:42", "備註": "",
    }  # fmt: skip
    text = io.StringIO()
    writer = csv.DictWriter(text, plain.keys())
    writer.writeheader()
    writer.writerows({**plain, **change} for change in changes)
    return io.BytesIO(text.getvalue().encode())


def oid(number: int) -> dict[str, str]:
    return {"資料連結網址": f"https://data.example/?oid=00000000-0000-0000-0000-{number:012d}"}


def count(session: Session, table: type) -> int:
    return session.scalar(select(func.count()).select_from(table)) or 0


def counts(report: ImportReport) -> tuple[int, int, int, int]:
    return report.new, report.changed, report.unchanged, report.rejected


def test_a_row_becomes_a_published_open_resource_of_an_unverified_agency(
    session: Session, town: Town
) -> None:
    report = run_import(session, table({}), TAOYUAN, by=OPERATOR)
    assert counts(report) == (1, 0, 0, 0) and report.agencies_created == ["工務局"]
    resource = session.scalars(select(Resource)).one()
    agency = session.get_one(Agency, resource.agency_id)
    assert (agency.name, agency.local_code, agency.verified) == ("工務局", "380110000G", False)
    assert agency.jurisdiction_id == town.places["nation"].id
    assert (resource.state, resource.is_open, resource.sharing_type) == ("published", True, "unconditional")
    names = session.scalars(select(Item.name).where(Item.resource_id == resource.id).order_by(Item.position))
    assert list(names) == ["編號", "地號", "地址"]


def test_the_same_file_again_changes_nothing_but_adds_its_run(session: Session, town: Town) -> None:
    first = run_import(session, table({}, oid(2)), TAOYUAN, by=OPERATOR)
    written = [count(session, t) for t in (Resource, Item, ResourceVersion, Agency)]
    events = count(session, Event)
    second = run_import(session, table({}, oid(2)), TAOYUAN, by=OPERATOR)
    assert counts(first) == (2, 0, 0, 0) and counts(second) == (0, 0, 2, 0)
    assert [count(session, t) for t in (Resource, Item, ResourceVersion, Agency)] == written
    assert count(session, Event) == events + 1 and count(session, ImportRun) == 2
    digests = session.scalars(select(ImportRun.content_sha256)).all()
    assert len(set(digests)) == 1


def test_a_changed_row_is_changed_and_the_others_are_not(session: Session, town: Town) -> None:
    run_import(session, table({}, oid(2)), TAOYUAN, by=OPERATOR)
    report = run_import(session, table({}, {**oid(2), "資料名稱": "路燈清冊二"}), TAOYUAN, by=OPERATOR)
    assert counts(report) == (0, 1, 1, 0)
    assert sorted(session.scalars(select(Resource.title))) == ["路燈清冊", "路燈清冊二"]


def test_good_rows_are_not_lost_because_of_bad_ones(session: Session, town: Town) -> None:
    bad = [{**oid(2), "資料名稱": ""}, {**oid(3), "資料集提供機關": "？"}, {}]
    report = run_import(session, table({}, *bad), TAOYUAN, by=OPERATOR)
    assert counts(report) == (1, 0, 0, 3)
    faults = [(entry.place, fault.field) for entry in report.rejected_rows for fault in entry.faults]
    assert faults == [("row 3", "資料名稱"), ("row 4", "資料集提供機關"), ("row 5", "/source_id")]


def test_a_rehearsal_tells_all_and_writes_only_its_run(session: Session, town: Town) -> None:
    run_import(session, table({}), TAOYUAN, by=OPERATOR)
    before = [count(session, t) for t in (Resource, Item, Agency, Event, LedgerEntry)]
    rows = table({"資料名稱": "改"}, {**oid(2), "資料集提供機關": "X1 【新局】"}, {**oid(3), "資料名稱": ""})
    report = run_import(session, rows, ImportOptions(mapping="taoyuan", dry_run=True), by=OPERATOR)
    assert counts(report) == (1, 1, 0, 1) and report.agencies_created == ["新局"]
    assert [count(session, t) for t in (Resource, Item, Agency, Event, LedgerEntry)] == before
    assert find_run(session, report.id, OPERATOR).dry_run


def test_each_run_stands_in_the_ledger_with_what_it_brought(session: Session, town: Town) -> None:
    report = run_import(session, table({}), TAOYUAN, by=OPERATOR)
    event = session.scalars(select(Event).where(Event.kind == "import")).one()
    assert event.subject_id == report.id and event.data["new"] == 1
    assert event.data["content_sha256"] == session.get_one(ImportRun, report.id).content_sha256.hex()
    assert session.get(LedgerEntry, event.id) is not None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"%PDF-1.7",
        b"<html>",
        b"\xd0\xcf\x11\xe0 old",
        b"{broken",
        b'{"a": 1}',
        b"a,b\n1,2\n",
        b"PK\x03\x04",
    ],
)
def test_a_file_that_is_none_of_ours_is_refused_and_leaves_nothing(
    session: Session, town: Town, content: bytes
) -> None:
    with pytest.raises(FileRefused):
        run_import(session, io.BytesIO(content), TAOYUAN, by=OPERATOR)
    assert count(session, ImportRun) == 0


def test_a_run_that_takes_too_long_is_given_up(session: Session, town: Town) -> None:
    later = now() + timedelta(seconds=TIME_LIMIT_S + 1)
    with ExitStack() as stack, pytest.raises(FileTooLarge):
        content = table(*(oid(number) for number in range(500)))
        run_import(
            session, content, TAOYUAN, by=OPERATOR, progress=lambda _: stack.enter_context(frozen(later))
        )


def test_a_csv_names_its_mapping(session: Session, town: Town) -> None:
    with pytest.raises(Invalid):
        run_import(session, table({}), ImportOptions(), by=OPERATOR)
    with pytest.raises(NotFound):
        run_import(session, table({}), ImportOptions(mapping="../../x"), by=OPERATOR)


class TestWhoImportsForWhom:
    def administrator(self, town: Town, agency: str) -> Actor:
        return town.actor(agency, ADMINISTRATOR)

    def test_an_agency_imports_for_itself_as_filed(self, session: Session, town: Town) -> None:
        own = town.agencies["civil"]
        sheet = workbook({**RESOURCE, "provider.name": own.name}, ITEM)
        by = self.administrator(town, "civil")
        assert counts(run_import(session, sheet, ImportOptions(as_state="filed"), by=by)) == (1, 0, 0, 0)
        assert session.scalars(select(Resource.agency_id)).one() == own.id

    def test_an_agency_does_not_import_for_another(self, session: Session, town: Town) -> None:
        by = self.administrator(town, "civil")
        options = ImportOptions(as_state="draft", agency_code=town.agencies["health"].credit_code)
        with pytest.raises(NotPermitted):
            run_import(session, workbook(RESOURCE, ITEM), options, by=by)
        sheet = workbook({**RESOURCE, "provider.name": town.agencies["health"].name}, ITEM)
        report = run_import(session, sheet, ImportOptions(as_state="draft"), by=by)
        assert counts(report) == (0, 0, 0, 1)

    def test_an_agency_does_not_publish_by_importing(self, session: Session, town: Town) -> None:
        with pytest.raises(NotPermitted):
            run_import(
                session, workbook(RESOURCE, ITEM), ImportOptions(), by=self.administrator(town, "civil")
            )

    def test_an_authority_publishes_for_the_agencies_under_it(self, session: Session, town: Town) -> None:
        by = self.administrator(town, "city_authority")
        code = town.agencies["health"].credit_code
        report = run_import(session, workbook(RESOURCE, ITEM), ImportOptions(agency_code=code), by=by)
        assert counts(report) == (1, 0, 0, 0)
        assert session.scalars(select(Resource.state)).one() == "published"

    def test_an_authority_does_not_reach_beyond_its_own(self, session: Session, town: Town) -> None:
        by = self.administrator(town, "east_authority")
        code = town.agencies["west_civil"].credit_code
        with pytest.raises(NotFound):
            run_import(session, workbook(RESOURCE, ITEM), ImportOptions(agency_code=code), by=by)
        with pytest.raises(NotPermitted):
            run_import(session, workbook(RESOURCE, ITEM), ImportOptions(jurisdiction_code="990103"), by=by)
        named = workbook({**RESOURCE, "provider.name": "西区民政局", "provider.code": code or ""}, ITEM)
        assert counts(run_import(session, named, ImportOptions(), by=by)) == (0, 0, 0, 1)

    def test_two_importers_of_the_same_identifiers_do_not_meet(self, session: Session, town: Town) -> None:
        for agency in ("civil", "health"):
            by = self.administrator(town, agency)
            report = run_import(session, workbook(RESOURCE, ITEM), ImportOptions(as_state="draft"), by=by)
            assert counts(report) == (1, 0, 0, 0)
        assert count(session, Resource) == 2


class TestRealCatalogs:
    @pytest.mark.soak
    def test_taoyuan(self, session: Session, town: Town, shared_data: Path) -> None:
        path = shared_data / "taoyuan-catalogue" / "catalogue.csv"
        with path.open("rb") as stream:
            report = run_import(session, stream, TAOYUAN, by=OPERATOR)
        assert counts(report) == (1429, 0, 0, 0) and len(report.agencies_created) == 34
        assert count(session, Item) > 11_000
        assert session.scalar(select(func.count()).select_from(Resource).where(Resource.is_open)) == 1429
        assert {note.field for note in report.notes} == {"主要欄位說明"} and len(report.notes) > 50
        with path.open("rb") as stream:
            again = run_import(session, stream, TAOYUAN, by=OPERATOR)
        assert counts(again) == (0, 0, 1429, 0) and again.agencies_created == []

    @pytest.mark.soak
    def test_us_inventories(self, session: Session, town: Town, shared_data: Path) -> None:
        files = sorted((shared_data / "us-datajson").glob("*.json"))
        reports = []
        for path in files:
            with path.open("rb") as stream:
                reports.append(run_import(session, stream, ImportOptions(), by=OPERATOR))
        assert sum(report.new for report in reports) == count(session, Resource) == 3357
        assert sum(report.rejected + report.changed + report.unchanged for report in reports) == 0
        noted = {
            (r.id, note.place) for r in reports for note in r.notes if note.rule and note.rule.en == SCHEMA.en
        }
        assert len(noted) == 6  # the six records that their own schema refuses
        shares = session.execute(
            select(Resource.sharing_type, func.count().label("number")).group_by(Resource.sharing_type)
        )
        assert {row.sharing_type: row.number for row in shares} == {
            "unconditional": 2562,
            "conditional": 358,
            "not_shared": 437,
        }
        for path in files:
            with path.open("rb") as stream:
                again = run_import(session, stream, ImportOptions(), by=OPERATOR)
            assert (again.new, again.changed, again.rejected) == (0, 0, 0)
