"""The product's spreadsheet of collection plans: its template, and rows read back, one item each.

Owns the columns. Faults stand at their cells, so that the rejected rows can be mended and sent again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pydantic import JsonValue

from app.kernel.errors import Fault
from app.kernel.text import Text
from catalog.collection.reading.read import ReadPlan, by_code
from catalog.collection.record import MEANS, PLAN_ITEM_LIMIT, PlanRecord, check_plan_record
from catalog.formats.lines import Layout, Line, cell_of, differences, limited, put
from catalog.formats.reading import CellFault, Rejected, SourceRow, validated
from catalog.formats.template import YES_NO, Column, write_template
from catalog.formats.workbook import Sheet, table_of
from catalog.resources.codes import DATA_TYPES, UPDATE_CYCLES

_LISTED = Text("从下拉列表中选择", "choose from the list")
_DAY = Text("YYYY-MM-DD", "YYYY-MM-DD")
_WHOLE = Text("整数", "a whole number")


def _plan(
    path: str,
    label: Text,
    note: Text,
    choices: Mapping[str, Text] | None = None,
    *,
    optional: bool = False,
    split: str = "",
) -> Column:
    return Column(path, label, note, choices, required=not optional, split=split)


def _item(
    path: str, label: Text, note: Text, choices: Mapping[str, Text] | None = None, *, required: bool = False
) -> Column:
    return Column(path, label, note, choices, of_item=True, required=required)


COLUMNS: tuple[Column, ...] = (
    _plan("title", Text("计划名称", "Plan"), Text("同一计划的各行填写相同名称，或只填首行", "the same on every row of a plan, or on its first only")),
    _plan("title_en", Text("计划英文名", "Plan in English"), Text("可不填", "optional"), optional=True),
    _plan("population", Text("采集对象", "Population"), Text("向谁采集", "who is asked")),
    _plan("object_class", Text("对象类", "Object class"), Text("所描述的事物：人、企业、房屋…（GB/T 19488）", "what is described: person, enterprise, dwelling … (GB/T 19488)"), optional=True),
    _plan("means", Text("采集方式", "Means"), _LISTED, by_code(MEANS)),
    _plan("purpose", Text("采集目的", "Purpose"), Text("为什么采集", "why it is collected")),
    _plan("business_matter", Text("业务事项", "Business matter"), Text("用于哪项业务", "the matter it serves")),
    _plan("legal_basis", Text("法律依据", "Legal basis"), Text("法律、法规、规章名称和条款", "law and article")),
    _plan("update_cycle", Text("采集频率", "Frequency"), _LISTED, by_code(UPDATE_CYCLES)),
    _plan("period_from", Text("开始日期", "From"), _DAY),
    _plan("period_until", Text("结束日期", "Until"), _DAY),
    _plan("jurisdictions", Text("地域范围", "Geographic scope"), Text("行政区划代码（GB/T 2260），多个用“；”分隔", "division codes (GB/T 2260), separated by “;”"), optional=True, split="；;"),
    _plan("respondents", Text("填报人数", "Respondents"), _WHOLE, optional=True),
    _plan("minutes_per_respondent", Text("每人用时（分钟）", "Minutes each"), _WHOLE, optional=True),
    _plan("project_reference", Text("项目编号", "Project"), Text("政务信息化项目的批复文号", "reference of the approved project"), optional=True),
    _item("name", Text("信息项名称", "Item"), Text("每行一个信息项", "one item a row"), required=True),
    _item("name_en", Text("信息项英文名", "Item in English"), Text("可不填", "optional")),
    _item("definition", Text("信息项说明", "Definition"), Text("含义、口径、单位", "meaning and unit")),
    _item("data_type", Text("数据类型", "Data type"), _LISTED, by_code(DATA_TYPES)),
    _item("length", Text("数据长度", "Length"), _WHOLE),
    _item("code_list", Text("数据字典", "Code list"), Text("取值所依据的代码表", "the list its values come from")),
    _item("is_identifier", Text("是否标识", "Identifier"), Text("能单独认出对象的填“是”", "yes where it alone tells who or what it is"), YES_NO),
)  # fmt: skip
_TITLE = COLUMNS[0]
SHEET_NAME = Text("采集计划", "Collection plans")


def write_plan_template(locale: str) -> bytes:
    """The empty workbook, with drop-downs in `locale` and notes in both languages."""
    return write_template(locale, COLUMNS, SHEET_NAME)


def read_plan_sheet(found: Mapping[str, Sheet]) -> Iterator[ReadPlan | Rejected]:
    """Every plan of the first sheet that has the template's headings. Errors: FileRefused, FileTooLarge."""
    lines, layout = table_of(found, COLUMNS)
    current: list[Line] = []
    for line in limited(lines):
        title = line.texts.get(_TITLE)
        if current and title is not None and title != current[0].texts.get(_TITLE):
            yield _read(current, layout)
            current = []
        current.append(line)
    if current:
        yield _read(current, layout)


def _read(lines: Sequence[Line], layout: Layout) -> ReadPlan | Rejected:
    first = lines[0]
    place = f"row {first.number}" if len(lines) == 1 else f"rows {first.number}-{lines[-1].number}"
    rows = tuple(
        SourceRow(n.number, {c.heading: n.texts.get(c, "") for c in layout.positions.values()}) for n in lines
    )
    faults: list[Fault] = [fault for line in lines for fault in line.faults]
    faults += differences(lines, layout)
    values: dict[str, JsonValue] = {}
    for column, text in first.texts.items():
        if not column.of_item:
            put(values, column, text, first.number, layout, faults)
    items: list[JsonValue] = []
    item_lines = [line for line in lines if line.has(of_item=True)]
    for line in item_lines[: PLAN_ITEM_LIMIT + 1]:
        item: dict[str, JsonValue] = {}
        for column, text in line.texts.items():
            if column.of_item:
                put(item, column, text, line.number, layout, faults)
        items.append(item)
    values["items"] = items
    record = validated(PlanRecord, values)
    broken = record if isinstance(record, tuple) else check_plan_record(record)
    known = {(f.row, f.column) for f in faults if isinstance(f, CellFault)}
    for fault in broken:
        row, column = cell_of(fault.field, first.number, [line.number for line in item_lines], COLUMNS)
        if (row, column.heading) not in known:  # one fault a cell: a value refused is not also missing
            faults.append(layout.fault(row, column, fault.message, fault.rule))
    if faults or isinstance(record, tuple):
        return Rejected(place, tuple(faults), rows)
    return ReadPlan(place, record)
