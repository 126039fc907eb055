"""Workbooks for tests, filled in as an agency would."""

from __future__ import annotations

import io
from collections.abc import Mapping

from openpyxl import load_workbook

from catalog.formats.template import COLUMNS, write_template

ITEM = {"item.name": "姓名", "item.data_type": "字符型", "item.length": "50"}
RESOURCE = {
    "title": "残疾人证信息", "abstract": "持证残疾人的证件信息", "format.format_class": "数据库",
    "format.type": "oracle", "sharing.type": "有条件共享", "sharing.condition": "用于发放补贴",
    "sharing.mode.channel": "共享平台", "sharing.mode.type": "数据库", "update_cycle": "每日", "grade": "一般数据",
}  # fmt: skip


def position(path: str) -> int:
    """The number of a column; items' paths begin with `item.`."""
    return 1 + [f"item.{c.path}" if c.of_item else c.path for c in COLUMNS].index(path)


def workbook(
    resource: Mapping[str, object], item: Mapping[str, object] | None = None, *more: Mapping[str, object]
) -> io.BytesIO:
    """The template with a first row of `resource` and `item` together, and a row for each of `more`."""
    book = load_workbook(io.BytesIO(write_template("zh-CN")))
    for row, cells in enumerate([{**resource, **(item or {})}, *more], start=2):
        for path, value in cells.items():
            book.worksheets[0].cell(row, position(path)).value = value  # type: ignore[assignment]
    content = io.BytesIO()
    book.save(content)
    content.seek(0)
    return content
