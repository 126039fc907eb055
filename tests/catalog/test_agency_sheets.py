"""Sheets as agencies keep them: their own columns in two heading rows, merged cells, days and types in their words."""

from __future__ import annotations

import io
from datetime import date
from typing import Any

import pytest
from openpyxl import Workbook

from catalog.formats.reading import CellFault, Read, Rejected, Row
from catalog.formats.sheets import write_rejected
from catalog.formats.workbook import read_workbook
from catalog.resources.codes import DataType, Openness, SharingType, UpdateCycle
from tests.catalog.sheets import ITEM, RESOURCE, workbook

# 编制指南's columns as the rulebook lists them, the upper words over the lower.
HEADING: list[tuple[str, str | None]] = [
    ("序号", None), ("名称", None), ("代码", None), ("提供方", "单位"), ("", "内部部门"), ("提供方代码", None),
    ("摘要", None), ("格式", "分类"), ("", "类型"), ("", "其他描述"), ("信息项", "名称"), ("", "类型"), ("", "长度"),
    ("共享", "类型"), ("", "条件"), ("共享方式", "分类"), ("", "类型"), ("开放", "是否"), ("", "条件"),
    ("更新周期", None), ("发布日期", None), ("关联资源代码", None),
]  # fmt: skip
RELIEF: list[Any] = [
    1, "低保对象", None, "民政局", "社会救助科", None, "在册对象", "数据库", "oracle", None, None, None, None,
    "有条件", "用于审批", "共享平台", "数据库", "否", None, "每日", date(2024, 5, 6), None,
]  # fmt: skip
UPPER = [next(up for up, _ in reversed(HEADING[: n + 1]) if up) for n in range(len(HEADING))]
AT = {f"{upper}{lower or ''}": n for n, (upper, (_, lower)) in enumerate(zip(UPPER, HEADING, strict=True), 1)}
NAME, TYPE, LENGTH = 11, 12, 13


class Sheet:
    """A sheet with a title over its two heading rows; each resource's cells are merged over its items' rows."""

    def __init__(self) -> None:
        self.book = Workbook()
        self.sheet = self.book.worksheets[0]
        self.sheet.cell(1, 1, "某市民政局政务信息资源目录")
        self.sheet.merge_cells(start_row=1, end_row=1, start_column=1, end_column=len(HEADING))
        for column, (upper, lower) in enumerate(HEADING, start=1):
            self.sheet.cell(2, column, upper or None)
            self.sheet.cell(3, column, lower)
            if lower is None:
                self.sheet.merge_cells(start_row=2, end_row=3, start_column=column, end_column=column)
        self.next = 4

    def add(self, *items: tuple[Any, Any, Any], **changed: Any) -> None:
        first, last = self.next, self.next + len(items) - 1
        cells = [*RELIEF]
        for name, value in changed.items():
            cells[AT[name] - 1] = value
        for column, value in enumerate(cells, start=1):
            if column not in (NAME, TYPE, LENGTH):
                self.sheet.cell(first, column, value)
                if last > first:
                    self.sheet.merge_cells(
                        start_row=first, end_row=last, start_column=column, end_column=column
                    )
        for row, item in enumerate(items, start=first):
            for column, value in zip((NAME, TYPE, LENGTH), item, strict=True):
                self.sheet.cell(row, column, value)
        self.next = last + 1

    def rows(self) -> list[Row]:
        content = io.BytesIO()
        self.book.save(content)
        return list(read_workbook(content, for_filing=False))


def only_read(rows: list[Row]) -> Read:
    (row,) = rows
    assert isinstance(row, Read), row
    return row


def test_two_heading_rows_merged_cells_and_several_rows_a_resource() -> None:
    sheet = Sheet()
    sheet.add(("姓名", "C", 20), ("公民身份号码", "字符型C", "18"), ("保障金额", "N 数值", 10))
    sheet.add(("机构名称", "varchar", 100), 名称="养老机构", 共享类型="1", 共享条件=None, 开放是否="是")
    first, second = sheet.rows()
    assert isinstance(first, Read) and isinstance(second, Read)
    record = first.record
    assert (first.place, record.title, record.abstract) == ("rows 4-6", "低保对象", "在册对象")
    assert first.agency is not None and first.agency.name == "民政局"
    assert (record.provider.department, record.format.type) == ("社会救助科", "oracle")
    assert [(i.name, i.data_type, i.length) for i in record.items] == [
        ("姓名", DataType.CHARACTER, 20), ("公民身份号码", DataType.CHARACTER, 18), ("保障金额", DataType.NUMERIC, 10),
    ]  # fmt: skip
    assert (record.sharing.type, record.sharing.condition) == (SharingType.CONDITIONAL, "用于审批")
    assert (record.update_cycle, str(record.published_on)) == (UpdateCycle.DAILY, "2024-05-06")
    assert (second.record.sharing.type, second.record.openness.type) == (
        SharingType.UNCONDITIONAL,
        Openness.UNCONDITIONAL,
    )


def test_what_is_merged_over_items_is_said_of_each() -> None:
    sheet = Sheet()
    sheet.add(("经度", "双精度型", 12), ("纬度", None, None), ("备注", None, 200))
    sheet.sheet.merge_cells(start_row=4, end_row=5, start_column=TYPE, end_column=TYPE)
    items = only_read(sheet.rows()).record.items
    assert [item.data_type for item in items] == [DataType.DOUBLE, DataType.DOUBLE, None]
    assert [item.length for item in items] == [12, None, 200]  # blank, and not merged


@pytest.mark.parametrize("written", ["2024/5/6", "2024.05.06", "2024年5月6日", "20240506", "2024-05-06"])
def test_days_as_agencies_write_them(written: str) -> None:
    sheet = Sheet()
    sheet.add(("姓名", "C", 20), 发布日期=written)
    assert str(only_read(sheet.rows()).record.published_on) == "2024-05-06"


def test_a_fault_says_value_and_rule_at_the_agency_s_own_cell() -> None:
    sheet = Sheet()
    sheet.add(("姓名", "C", "十"), 发布日期="昨天", 格式类型="xlsx")
    (row,) = sheet.rows()
    assert isinstance(row, Rejected)
    told = {f.field: (f.message.zh, f.message.en, f.rule) for f in row.faults}
    assert set(told) == {"数据长度 (M4)", "发布日期 (U4)", "格式类型 (I4)"}  # each at once
    assert "“十”" in told["数据长度 (M4)"][0] and "“昨天”" in told["发布日期 (U4)"][1]
    assert all(rule for _, _, rule in told.values())


def test_a_formula_and_everything_else_are_told_at_once() -> None:
    (row,) = read_workbook(
        workbook(
            {**RESOURCE, "format.type": "ofd", "sharing.type": "不予共享"}, {**ITEM, "item.name": "=A1&B1"}
        ),
        for_filing=True,
    )
    assert isinstance(row, Rejected)
    faults = {f.column.split("\n")[0]: f for f in row.faults if isinstance(f, CellFault)}
    assert set(faults) == {"信息项名称", "格式类型", "不予共享理由", "依据"}
    assert "“=A1&B1”" in faults["信息项名称"].message.zh
    assert write_rejected([row], "zh-CN").startswith(b"PK")
