"""Readers of formats, without a database: what a row becomes, and what is refused with which fault."""

from __future__ import annotations

import io
import struct
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import load_workbook

from app.kernel.errors import Fault
from app.kernel.text import Text
from catalog.formats import archive
from catalog.formats.csv_ import ENCODINGS, find_encoding, read_csv
from catalog.formats.detect import SourceFormat, open_source
from catalog.formats.field_list import NAME_LIMIT, ListedItem, read_field_list
from catalog.formats.format_names import describe_formats
from catalog.formats.mapping import AgencyRule, ColumnMapping, FieldRule, load_mapping
from catalog.formats.reading import (
    ROW_LIMIT,
    AgencyRef,
    CellFault,
    FileRefused,
    FileTooLarge,
    Read,
    Rejected,
    Row,
    SourceRow,
)
from catalog.formats.sheets import escape, unescape, write_rejected
from catalog.formats.template import COLUMNS, write_template
from catalog.formats.workbook import read_workbook
from catalog.resources.codes import FormatClass, Openness, SharingType, UpdateCycle
from catalog.resources.record import ITEM_LIMIT
from tests.catalog.sheets import ITEM, RESOURCE, position, workbook


def names(text: str, **options: Any) -> list[str]:
    return [item.name for item in read_field_list(text, **options)[0]]


class TestFieldLists:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("地址、電話,傳真，網址；備註", ["地址", "電話", "傳真", "網址", "備註"]),
            ("編號(序號)、面積（平方公尺、坪）", ["編號", "面積"]),
            ("1.編號2.取水點位置3.備註", ["編號", "取水點位置", "備註"]),
            ("項次 區別 使用分區類型 面積", ["項次", "區別", "使用分區類型", "面積"]),
            ("營業(業務)收入(元)、地號", ["營業(業務)收入", "地號"]),
            ("機關名稱：青年局\n地址：環北路390號", ["機關名稱", "地址"]),
            ("分類名稱((一)、序號", ["分類名稱", "序號"]),  # a bracket that never closes
            ("地號、地號、地號", ["地號"]),
            ("", []),
        ],
    )
    def test_names_are_told_apart(self, text: str, expected: list[str]) -> None:
        assert names(text) == expected

    def test_a_note_in_brackets_is_the_definition_and_a_repeated_name_is_none(self) -> None:
        items, _ = read_field_list("面積(平方公尺)、地址(地址)、權責起點(TWD97)(座標)")
        assert items == [
            ListedItem("面積", "平方公尺"), ListedItem("地址"), ListedItem("權責起點", "TWD97；座標"),
        ]  # fmt: skip

    def test_a_field_code_trades_places_with_its_name_and_keeps_it_once(self) -> None:
        items, _ = read_field_list("lat(緯度)、Zh_tw(路線名稱)、Zh_tw(區間名稱，中文)、TEL")
        assert items == [
            ListedItem("緯度", None, "lat"), ListedItem("路線名稱", None, "Zh_tw"),
            ListedItem("區間名稱", "中文", None), ListedItem("TEL"),
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("text", "options"),
        [
            ("本會之任務如下：\n（一）提供建言平台，蒐集意見。\n（二）培力人才，增進能力。", {}),
            ("計畫附近地區第4場預備聽證會議實錄", {"title": "桃園計畫附近地區第4場預備聽證會議實錄"}),
            ("NULL", {"noise": ["null"]}),
            ("字" * (NAME_LIMIT + 1), {}),
        ],
    )
    def test_what_is_no_list_gives_no_item_but_its_reason(self, text: str, options: dict[str, Any]) -> None:
        items, unread = read_field_list(text, **options)
        assert items == [] and unread

    def test_one_sentence_does_not_cost_the_items_beside_it(self) -> None:
        items, unread = read_field_list("名稱、地址、電話、網址、傳真、備註、全年無休。")
        assert len(items) == 6 and [entry.part for entry in unread] == ["全年無休。"]

    @given(st.text(alphabet='地址()（）[]【】、,;：:. \n"a1。', max_size=60))
    def test_any_text_is_read_into_names_that_hold(self, text: str) -> None:
        for item in read_field_list(text)[0]:
            assert item.name.strip() and len(item.name) <= NAME_LIMIT
            assert not any(c in item.name for c in "。\n")


MAPPING = ColumnMapping.model_validate(
    {
        "name": "plain",
        "title": {"zh": "测试", "en": "test"},
        "agency": AgencyRule(column="單位").model_dump(),
        "fields": {
            "title": FieldRule(column="名稱").model_dump(),
            "source_id": FieldRule(column="名稱").model_dump(),
            "items": FieldRule(column="欄位", reading="field_list").model_dump(),
            "update_cycle": FieldRule(
                column="週期", values={"每日": "daily"}, otherwise="other"
            ).model_dump(),
            "published_on": FieldRule(column="日期").model_dump(),
            "sharing.type": FieldRule(constant="conditional").model_dump(),
        },
    }
)
HEADER = "名稱,單位,欄位,週期,日期"


def from_csv(*lines: str, encoding: str = "utf-8") -> list[Row]:
    return list(read_csv(io.BytesIO("\n".join([HEADER, *lines]).encode(encoding)), MAPPING))


def only_read(rows: list[Row]) -> Read:
    (row,) = rows
    assert isinstance(row, Read), row
    return row


class TestCsv:
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "big5", "utf-16"])
    def test_each_encoding_is_recognised(self, encoding: str) -> None:
        row = only_read(from_csv("路燈,工務局,編號、地號,每日,2020-01-02", encoding=encoding))
        assert (row.record.title, row.agency) == ("路燈", AgencyRef("工務局"))
        assert [item.name for item in row.record.items] == ["編號", "地號"]
        assert (row.record.update_cycle, row.record.sharing.type) == (
            UpdateCycle.DAILY,
            SharingType.CONDITIONAL,
        )

    def test_big5_is_not_taken_for_gb18030_although_it_is_valid_there(self) -> None:
        content = (HEADER + "\n路燈,工務局,地號,每日,\n").encode("big5")
        content.decode("gb18030")
        columns = MAPPING.columns()
        found = find_encoding(io.BytesIO(content), ENCODINGS, ",", lambda header: columns <= set(header))
        assert found == "big5"

    def test_bytes_of_no_encoding_are_refused(self) -> None:
        with pytest.raises(FileRefused):
            list(read_csv(io.BytesIO(HEADER.encode() + b"\n\xff\xff\xff"), MAPPING))

    def test_a_missing_column_is_named(self) -> None:
        with pytest.raises(FileRefused) as refused:
            list(read_csv(io.BytesIO("名稱,單位\n".encode()), MAPPING))
        assert [fault.field for fault in refused.value.faults] == ["日期", "欄位", "週期"]

    def test_a_fault_names_the_column_of_the_source_and_hands_the_row_back(self) -> None:
        good, bad, ragged = from_csv("甲,局,a,每日,", "乙,局,a,每日,昨天", "丙,局")
        assert isinstance(good, Read)
        assert isinstance(bad, Rejected) and [f.field for f in bad.faults] == ["日期"]
        assert bad.place == "row 3" and bad.rows[0].cells["日期"] == "昨天"
        assert isinstance(ragged, Rejected)

    def test_too_many_rows_and_an_unknown_encoding_are_refused(self) -> None:
        with pytest.raises(FileTooLarge):
            from_csv("\n" * (ROW_LIMIT + 1))
        with pytest.raises(FileRefused):
            list(read_csv(io.BytesIO(HEADER.encode()), MAPPING, "no-such"))

    def test_an_unknown_cycle_is_other(self) -> None:
        assert only_read(from_csv("甲,局,a,每121日,")).record.update_cycle is UpdateCycle.OTHER

    def test_characters_that_no_database_holds_are_left_out(self) -> None:
        assert only_read(from_csv("甲\x00乙\x0b,局,a,每日,")).record.title == "甲乙"

    def test_a_cell_over_the_limit_is_a_fault(self) -> None:
        (row,) = from_csv(f"甲,局,{'a' * 40_000},每日,")
        assert isinstance(row, Rejected) and row.faults[0].field == "欄位"

    def test_taoyuan(self, shared_data: Path) -> None:
        with (shared_data / "taoyuan-catalogue" / "catalogue.csv").open("rb") as stream:
            rows = [row for row in read_csv(stream, load_mapping("taoyuan")) if isinstance(row, Read)]
        assert len(rows) == 1429 and len({row.agency for row in rows}) == 34
        listed = [item.name for row in rows for item in row.record.items]
        assert Counter(listed)["地號"] == 104 and len(listed) > 11_000
        assert max(len(name) for name in listed) <= NAME_LIMIT
        assert all(row.record.items or row.notes for row in rows)
        assert {row.record.openness.type for row in rows} == {Openness.UNCONDITIONAL}
        cycles = Counter(row.record.update_cycle for row in rows)
        assert (cycles[UpdateCycle.OTHER], cycles[UpdateCycle.YEARLY], cycles[UpdateCycle.WEEKLY]) == (
            876,
            318,
            2,
        )


def sheet(content: io.BytesIO, *, for_filing: bool = True) -> list[Row]:
    return list(read_workbook(content, for_filing=for_filing))


def faults_of(rows: list[Row]) -> list[tuple[int, str]]:
    """Where a row is wrong, or lacks what filing demands."""
    (row,) = rows
    faults = row.faults if isinstance(row, Rejected) else row.lacking
    assert faults, row
    paths = {column.heading: column.path for column in COLUMNS}
    return [(f.row, paths[f.column]) for f in faults if isinstance(f, CellFault)]


class TestWorkbook:
    @pytest.mark.parametrize("locale", ["zh-CN", "en"])
    def test_the_template_is_empty_and_its_lists_are_those_of_the_codes(self, locale: str) -> None:
        content = write_template(locale)
        assert sheet(io.BytesIO(content)) == []
        book = load_workbook(io.BytesIO(content))
        rules = book.worksheets[0].data_validations.dataValidation
        assert len(rules) == sum(bool(c.choices) and not c.split for c in COLUMNS)
        assert book["lists"].sheet_state == "hidden" and book.worksheets[0]["A1"].comment is not None

    @pytest.mark.parametrize(
        "second", [{"item.name": "身份证号"}, {"title": RESOURCE["title"], "item.name": "身份证号"}]
    )
    def test_rows_with_blank_or_repeated_resource_cells_are_one_resource(
        self, second: dict[str, object]
    ) -> None:
        record = only_read(sheet(workbook(RESOURCE, ITEM, second))).record
        assert [item.name for item in record.items] == ["姓名", "身份证号"]
        assert (record.items[0].length, record.sharing.type) == (50, SharingType.CONDITIONAL)

    def test_merged_resource_cells_are_one_resource(self) -> None:
        book = load_workbook(workbook(RESOURCE, ITEM, {"item.name": "身份证号"}))
        book.worksheets[0].merge_cells(start_row=2, end_row=3, start_column=1, end_column=1)
        content = io.BytesIO()
        book.save(content)
        assert len(only_read(sheet(content)).record.items) == 2

    def test_another_title_begins_another_resource(self) -> None:
        rows = sheet(workbook(RESOURCE, ITEM, {**RESOURCE, **ITEM, "title": "另一"}))
        assert [row.place for row in rows] == ["row 2", "row 3"]

    def test_english_values_and_codes_mean_the_same(self) -> None:
        english = {**RESOURCE, "sharing.type": "shared on conditions", "update_cycle": "daily"}
        assert (
            only_read(sheet(workbook(english, ITEM))).record
            == only_read(sheet(workbook(RESOURCE, ITEM))).record
        )

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            ({"abstract": "长" * 257}, [(2, "abstract")]),
            ({"sharing.type": "共享"}, [(2, "sharing.type")]),
            ({"format.type": "xlsx"}, [(2, "format.type")]),  # a type outside its class
            ({"item.length": "很长"}, [(2, "length")]),
            ({"item.code": "1 2"}, [(2, "code")]),
            ({"abstract": None}, [(2, "abstract")]),
            ({"sharing.condition": None}, [(2, "sharing.condition")]),
            ({"update_cycle": "每121日"}, [(2, "update_cycle")]),
        ],
    )
    def test_a_fault_stands_at_its_cell(
        self, change: dict[str, object], expected: list[tuple[int, str]]
    ) -> None:
        assert faults_of(sheet(workbook({**RESOURCE, **ITEM, **change}))) == expected

    def test_rows_of_one_resource_that_contradict_each_other_are_a_fault(self) -> None:
        content = workbook(RESOURCE, ITEM, {"title": RESOURCE["title"], "grade": "核心数据", **ITEM})
        assert faults_of(sheet(content)) == [(3, "grade")]

    def test_another_code_begins_another_resource(self) -> None:
        content = workbook(
            {**RESOURCE, "code": "A"}, ITEM, {"title": RESOURCE["title"]}, {**RESOURCE, "code": "B", **ITEM}
        )
        assert [row.record.code for row in sheet(content) if isinstance(row, Read)] == ["A", "B"]

    def test_a_fault_of_an_item_stands_in_the_item_s_row(self) -> None:
        assert faults_of(sheet(workbook(RESOURCE, ITEM, {"item.data_type": "C"}))) == [(3, "name")]

    def test_a_resource_of_too_many_items_is_one_fault(self) -> None:
        rows = sheet(workbook(RESOURCE, ITEM, *({"item.name": f"项{n}"} for n in range(ITEM_LIMIT))))
        assert faults_of(rows) == [(2, "name")]

    def test_a_draft_may_lack_what_filing_demands(self) -> None:
        content = workbook({"title": "只有名称"})
        assert only_read(sheet(content, for_filing=False)).lacking == ()
        assert len(only_read(sheet(content)).lacking) > 5

    def test_formulas_are_never_evaluated(self) -> None:
        assert faults_of(sheet(workbook({**RESOURCE, "abstract": "=1+1"}, ITEM))) == [(2, "abstract")]

    def test_escaped_text_comes_back_as_it_was(self) -> None:
        record = only_read(sheet(workbook({**RESOURCE, "abstract": "'=1+1"}, ITEM))).record
        assert record.abstract == "=1+1"

    def test_another_sheet_is_refused_with_the_column_it_lacks(self) -> None:
        book = load_workbook(workbook(RESOURCE))
        book.worksheets[0].cell(1, position("title"), "?")
        content = io.BytesIO()
        book.save(content)
        with pytest.raises(FileRefused):
            sheet(content)


def zipped(**members: bytes) -> io.BytesIO:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as book:
        for name, data in {"xl/workbook.xml": b"<workbook/>", **members}.items():
            book.writestr(name, data)
    return content


class TestHostileWorkbooks:
    def test_a_high_ratio_is_a_bomb(self) -> None:
        with pytest.raises(FileTooLarge):
            sheet(zipped(**{"xl/worksheets/sheet1.xml": bytes(archive.RATIO_FLOOR_BYTES * 2)}))

    def test_what_an_archive_says_of_its_sizes_is_not_believed(self) -> None:
        content = zipped(
            **{"xl/worksheets/sheet1.xml": bytes(archive.RATIO_FLOOR_BYTES * 2 + 12_345)}
        ).getvalue()
        size = struct.pack("<L", archive.RATIO_FLOOR_BYTES * 2 + 12_345)
        assert content.count(size) == 2
        with pytest.raises(FileRefused):
            sheet(io.BytesIO(content.replace(size, struct.pack("<L", 1000))))

    def test_too_many_members(self) -> None:
        with pytest.raises(FileTooLarge):
            sheet(zipped(**{f"m{n}": b"" for n in range(archive.MEMBER_LIMIT)}))

    def test_entities_are_not_expanded(self) -> None:
        good = workbook(RESOURCE, ITEM)
        evil = io.BytesIO()
        with zipfile.ZipFile(good) as source, zipfile.ZipFile(evil, "w") as target:
            for name in source.namelist():
                data = source.read(name)
                if name == "xl/worksheets/sheet1.xml":
                    data = b'<!DOCTYPE x [<!ENTITY e "e">]>' + data
                target.writestr(name, data)
        with pytest.raises(FileRefused):
            sheet(evil)

    @pytest.mark.parametrize("content", [b"PK\x03\x04", b"", b"PK\x05\x06" + bytes(18)])
    def test_what_is_no_workbook(self, content: bytes) -> None:
        with pytest.raises(FileRefused):
            sheet(io.BytesIO(content))


class TestCells:
    @pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
    def test_no_cell_is_taken_for_a_formula(self, start: str) -> None:
        assert escape(f"{start}cmd").startswith("'")

    @given(st.text(alphabet="=+-@'a\t\r", max_size=6))
    def test_escaping_is_undone_without_loss(self, text: str) -> None:
        assert unescape(escape(text)) == text

    def test_rejected_rows_carry_the_fault_beside_the_cell_and_no_formula(self) -> None:
        entry = Rejected(
            "row 7",
            (Fault("摘要", Text("太长", "too long")), Fault("/x", Text("别的", "other"))),
            (SourceRow(7, {"名称": "=HYPERLINK(1)", "摘要": "…"}),),
        )
        book = load_workbook(io.BytesIO(write_rejected([entry], "zh-CN")))
        head, line = book.worksheets[0].iter_rows()
        assert [c.value for c in head] == ["⚠ 位置", "⚠", "名称", "摘要", "⚠ 摘要"]
        assert [c.value for c in line] == ["row 7", "别的", "'=HYPERLINK(1)", "…", "太长"]
        assert {c.data_type for c in line} == {"s"}


class TestDetection:
    @pytest.mark.parametrize(
        ("head", "expected"),
        [
            (b"PK\x03\x04...", SourceFormat.WORKBOOK),
            (b'\xef\xbb\xbf \n{"dataset": []}', SourceFormat.DCAT_US),
            (b'{"@type": "Catalog", "dataset": []}', SourceFormat.DCAT_US_3),
            (b'{"@context": {}, "@graph": []}', SourceFormat.DCAT_AP),
            (b"@prefix dcat: <http://www.w3.org/ns/dcat#> .", SourceFormat.DCAT_AP),
            ("资源名称,摘要".encode("gb18030"), SourceFormat.TABLE),
            ("名稱,單位".encode("big5"), SourceFormat.CSV),
            ("名稱,單位".encode("utf-16"), SourceFormat.CSV),
        ],
    )
    def test_content_tells_the_format(self, head: bytes, expected: SourceFormat) -> None:
        mapping = MAPPING if expected is SourceFormat.CSV else None
        assert open_source(io.BytesIO(head), mapping=mapping).format is expected

    @pytest.mark.parametrize(
        "head",
        [
            b"",
            b"  ",
            b"%PDF-",
            b"<?xml",
            b"<html>",
            b"[]",
            b'{"a": 1}',
            b"\xd0\xcf\x11\xe0",
            b"\x1f\x8b",
            b"MZ\x00\x00",
        ],
    )
    def test_the_rest_is_refused(self, head: bytes) -> None:
        with pytest.raises(FileRefused):
            open_source(io.BytesIO(head))


@pytest.mark.parametrize(
    ("given_names", "format_class", "name", "other"),
    [
        (["CSV"], FormatClass.SPREADSHEET, "csv", None),
        (["application/vnd.ms-excel"], FormatClass.SPREADSHEET, "xls", None),
        (["SHX", " DBF", "SHP"], FormatClass.SELF_DESCRIBED, "shp", "SHX, DBF, SHP"),
        (["API"], FormatClass.SERVICE, "REST", None),
        (["odd"], None, None, "odd"),
        ([""], None, None, None),
    ],
)
def test_formats_in_the_terms_of_the_record(
    given_names: list[str], format_class: FormatClass | None, name: str | None, other: str | None
) -> None:
    described, _ = describe_formats(given_names)
    assert (described.format_class, described.type, described.other) == (format_class, name, other)
