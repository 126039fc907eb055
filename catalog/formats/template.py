"""The product's own spreadsheet: its columns, and the empty template agencies download.

Owns which column stands for which field of the record, its names in both languages and its drop-down.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import TypeVar

from openpyxl import Workbook
from openpyxl.comments import Comment
from openpyxl.styles import Alignment, Font, PatternFill
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.datavalidation import DataValidation
from openpyxl.worksheet.worksheet import Worksheet

from app.kernel.text import Text
from catalog.resources.codes import (
    BASE_LIBRARIES,
    CHANNELS,
    DATA_TYPES,
    FORMAT_CLASSES,
    FORMAT_TYPES,
    GRADES,
    OPENNESS,
    PLATFORM_MODES,
    RESOURCE_CLASSES,
    SHARING_TYPES,
    THEMES,
    UPDATE_CYCLES,
)

YES_NO: dict[str, Text] = {"true": Text("是", "yes"), "false": Text("否", "no")}
_TYPES: dict[str, Text] = {name: Text(name, name) for names in FORMAT_TYPES.values() for name in names}
VALIDATED_ROWS = 10_000  # rows of the template that carry drop-downs
FAULT_MARK = "⚠"  # begins the heading of a column that tells what is wrong in the one before it


@dataclass(frozen=True, slots=True, eq=False)  # each column is itself, and a key
class Column:
    """One column. `path` is the field of the record, or of the item where `of_item`; `also` are headings that
    agencies' own sheets use for it; `split` cuts a cell into a list at these characters."""

    path: str
    label: Text
    note: Text
    choices: Mapping[str, Text] | None = None
    of_item: bool = False
    required: bool = False
    split: str = ""
    also: tuple[str, ...] = field(default=())
    words: Mapping[str, str] = field(default_factory=dict)  # what agencies also write for a code of `choices`
    dated: bool = False  # a day, however it is written

    @property
    def heading(self) -> str:
        return f"{self.label.zh}\n{self.label.en}"


Code = TypeVar("Code", bound=str)


def _by_code(choices: Mapping[Code, Text]) -> dict[str, Text]:
    return {str(code): label for code, label in choices.items()}


def _item(
    path: str,
    label: Text,
    note: Text,
    choices: Mapping[str, Text] | None = None,
    also: tuple[str, ...] = (),
    required: bool = False,
    words: Mapping[str, str] | None = None,
) -> Column:
    return Column(path, label, note, choices, of_item=True, also=also, required=required, words=words or {})


# What agencies also write in these columns.
_SHARING_WORDS = {
    word: code
    for number, name, code in (("1", "无条件", "unconditional"), ("2", "有条件", "conditional"), ("3", "不予", "not_shared"))
    for word in (name, number, f"{number}{name}", f"{number}{name}共享")
}  # fmt: skip
_SQL_TYPES = {
    "C": ("字符串", "文本", "char", "varchar", "varchar2", "nvarchar", "string", "text"),
    "N": ("数字", "number", "numeric", "decimal"),
    "D": ("date",),
    "T": ("时间", "datetime", "timestamp"),
    "L": ("布尔", "布尔型", "boolean", "bool"),
    "B": ("double",),
    "I": ("整数", "int", "integer", "bigint"),
    "F": ("float", "real"),
}
_TYPE_WORDS = {word: code for code, words in _SQL_TYPES.items() for word in words} | {
    word: str(code)
    for code, label in DATA_TYPES.items()
    for name in (label.zh, label.zh.removesuffix("型"))
    for word in (name, f"{code}{name}", f"{name}{code}")
}
_OPENNESS_WORDS = {"是": "unconditional", "yes": "unconditional", "否": "not_open", "no": "not_open"}
_CYCLE_WORDS = {
    "日": "daily", "每天": "daily", "周": "weekly", "每星期": "weekly", "旬": "ten_days", "月": "monthly",
    "季": "quarterly", "季度": "quarterly", "每季": "quarterly", "半年": "half_yearly", "年": "yearly",
}  # fmt: skip
_GRADE_WORDS = {"一般": "general", "重要": "important", "核心": "core"}

_LISTED = Text("从下拉列表中选择", "choose from the list")
_CYCLE_NOTE = Text("选“其他”时说明周期", "which cycle, where it is “other”")

COLUMNS: tuple[Column, ...] = (
    Column("title", Text("资源名称", "Title"), Text("同一资源的各行填写相同名称，或只填首行", "the same on every row of a resource, or on its first only"), required=True, also=("名称", "信息资源名称")),
    Column("title_en", Text("英文名称", "English title"), Text("可不填", "optional")),
    Column("code", Text("资源代码", "Code"), Text("由系统生成；修改已有资源时保留", "made by the service; keep it when changing a resource"), also=("代码", "信息资源代码")),
    Column("provider.name", Text("提供单位", "Provider"), Text("单位全称", "full name of the agency"), also=("提供方", "单位", "信息资源提供方", "提供方单位")),
    Column("provider.code", Text("提供单位代码", "Provider code"), Text("统一社会信用代码（GB 32100）", "unified social credit code (GB 32100)"), also=("提供方代码", "信息资源提供方代码")),
    Column("provider.department", Text("内部部门", "Department"), Text("负责该资源的内设机构", "the office in charge"), also=("提供方内部部门", "信息资源提供方内部部门")),
    Column("abstract", Text("摘要", "Abstract"), Text("不超过256字", "at most 256 characters"), required=True, also=("信息资源摘要",)),
    Column("classification.resource_class", Text("资源分类", "Class"), _LISTED, _by_code(RESOURCE_CLASSES)),
    Column("themes", Text("主题", "Themes"), Text("多个主题用“；”分隔", "several are separated by “;”"), _by_code(THEMES), split="；;"),
    Column("base_library", Text("基础数据库", "Base library"), Text("基础类资源填写", "for base resources"), _by_code(BASE_LIBRARIES)),
    Column("keywords", Text("关键词", "Keywords"), Text("用“；”分隔", "separated by “;”"), split="；;"),
    Column("format.format_class", Text("格式分类", "Format class"), _LISTED, _by_code(FORMAT_CLASSES), required=True, also=("信息资源格式分类",)),
    Column("format.type", Text("格式类型", "Format type"), Text("须属于所选分类", "of the chosen class"), _TYPES, also=("信息资源格式类型",)),
    Column("format.other", Text("其他格式描述", "Other format"), Text("列表中没有时填写", "where the list has none"), also=("其他类型信息资源格式描述", "格式其他描述")),
    _item("name", Text("信息项名称", "Item"), Text("每行一个信息项", "one item a row"), required=True),
    _item("name_en", Text("信息项英文名", "Item in English"), Text("可不填", "optional")),
    _item("code", Text("信息项代码", "Item code"), Text("数据中的字段名：字母、数字、下划线", "the field's name in the data: letters, digits, underscore")),
    _item("definition", Text("信息项说明", "Definition"), Text("含义、口径、单位", "meaning and unit")),
    _item("data_type", Text("数据类型", "Data type"), _LISTED, _by_code(DATA_TYPES), ("信息项数据类型", "信息项类型"), words=_TYPE_WORDS),
    _item("length", Text("数据长度", "Length"), Text("整数", "a whole number"), also=("长度", "信息项数据长度", "信息项长度")),
    _item("sharing_type", Text("信息项共享类型", "Item sharing"), Text("与资源不同时填写", "where it differs from the resource"), _by_code(SHARING_TYPES), words=_SHARING_WORDS),
    _item("sensitive", Text("敏感个人信息", "Sensitive"), Text("个人信息保护法第二十八条", "PIPL Art. 28"), YES_NO),
    _item("is_key", Text("主键", "Key"), _LISTED, YES_NO),
    _item("code_list", Text("数据字典", "Code list"), Text("取值所依据的代码表", "the list its values come from")),
    _item("grade", Text("信息项分级", "Item grade"), Text("GB/T 43697", "GB/T 43697"), _by_code(GRADES), words=_GRADE_WORDS),
    Column("sharing.type", Text("共享类型", "Sharing"), Text("809 第十四条", "Decree 809 Art. 14"), _by_code(SHARING_TYPES), required=True, words=_SHARING_WORDS),
    Column("sharing.condition", Text("共享条件", "Sharing condition"), Text("有条件共享填写范围、用途、条件", "scope, purpose and conditions")),
    Column("sharing.reason", Text("不予共享理由", "Reason against sharing"), Text("不予共享填写", "where it is not shared")),
    Column("sharing.citation", Text("依据", "Citation"), Text("法律、行政法规或国务院决定的条款", "article of the law, regulation or decision")),
    Column("sharing.mode.channel", Text("共享方式分类", "Channel"), _LISTED, _by_code(CHANNELS), required=True),
    Column("sharing.mode.type", Text("共享方式类型", "Mode"), Text("共享平台方式填写", "for the shared platform"), _by_code(PLATFORM_MODES)),
    Column("openness.type", Text("开放属性", "Openness"), _LISTED, _by_code(OPENNESS), also=("是否向社会开放", "开放是否"), words=_OPENNESS_WORDS),
    Column("openness.condition", Text("开放条件", "Openness condition"), Text("有条件开放填写", "where open on conditions")),
    Column("update_cycle", Text("更新周期", "Update cycle"), _LISTED, _by_code(UPDATE_CYCLES), required=True, words=_CYCLE_WORDS),
    Column("update_cycle_as_given", Text("周期说明", "Cycle in words"), _CYCLE_NOTE),
    Column("published_on", Text("发布日期", "Published on"), Text("YYYY-MM-DD", "YYYY-MM-DD"), dated=True),
    Column("related_codes", Text("关联资源代码", "Related codes"), Text("用“；”分隔", "separated by “;”"), split="；;", also=("关联类目名称及代码",)),
    Column("grade", Text("数据分级", "Grade"), Text("取信息项中最高的级别（GB/T 43697）", "the strictest of its items (GB/T 43697)"), _by_code(GRADES), required=True, words=_GRADE_WORDS),
    Column("licence", Text("开放许可", "Licence"), Text("开放时适用的许可", "the licence where it is open")),
    Column("landing_page", Text("网址", "Web page"), Text("可不填", "optional")),
)  # fmt: skip

REST = Column(
    "rest",
    Text("其他内容", "Further content"),
    Text("导出时写入，请保持原样", "written by the export: leave it as it is"),
)
"""What the other columns do not carry (`lines.further_of`); in exports only. Long text goes on in the next row."""

SHEET_NAME = Text("目录", "Catalog")
_NOTES_NAME = Text("填写说明", "Notes")
_LISTS_NAME = "lists"
_HEAD_FILL = PatternFill("solid", fgColor="FFDCE6F1")
_REQUIRED_FILL = PatternFill("solid", fgColor="FFFDE9D9")


def write_template(locale: str, columns: Sequence[Column] = COLUMNS, name: Text = SHEET_NAME) -> bytes:
    """The empty workbook: headings in both languages, a note on each, drop-downs in `locale`, a sheet of notes."""
    book = Workbook()
    sheet = book.active
    assert isinstance(sheet, Worksheet)
    sheet.title = name.in_(locale)
    lists = book.create_sheet(_LISTS_NAME)
    lists.sheet_state = "hidden"
    for number, column in enumerate(columns, start=1):
        letter = get_column_letter(number)
        cell = sheet.cell(1, number, column.heading)
        cell.font = Font(bold=True)
        cell.alignment = Alignment(wrap_text=True, vertical="top")
        cell.fill = _REQUIRED_FILL if column.required else _HEAD_FILL
        cell.comment = Comment(f"{column.note.zh}\n{column.note.en}", "zhengtong", height=80, width=260)
        sheet.column_dimensions[letter].width = 18
        if column.choices and not column.split:
            _add_list(sheet, lists, column.choices, letter, locale)
    sheet.freeze_panes = "B2"
    _write_notes(book.create_sheet(_NOTES_NAME.in_(locale)), columns, locale)
    buffer = BytesIO()
    book.save(buffer)
    return buffer.getvalue()


def _add_list(
    sheet: Worksheet,
    lists: Worksheet,
    choices: Mapping[str, Text],
    letter: str,
    locale: str,
) -> None:
    labels = [label.in_(locale) for label in choices.values()]
    for row, label in enumerate(labels, start=1):
        lists[f"{letter}{row}"] = label
    rule = DataValidation(
        type="list", formula1=f"={_LISTS_NAME}!${letter}$1:${letter}${len(labels)}", allow_blank=True
    )
    sheet.add_data_validation(rule)
    rule.add(f"{letter}2:{letter}{VALIDATED_ROWS}")


def _write_notes(sheet: Worksheet, columns: Sequence[Column], locale: str) -> None:
    required = Text("必填", "required")
    heads = (Text("列", "Column"), Text("要求", "Demand"), Text("说明", "Note"), Text("取值", "Values"))
    sheet.append([head.in_(locale) for head in heads])
    for column in columns:
        values = [label.in_(locale) for label in (column.choices or {}).values()]
        demand = required.in_(locale) if column.required else ""
        sheet.append([column.label.in_(locale), demand, column.note.in_(locale), "；".join(values)])
    for letter, width in zip("ABCD", (24, 10, 48, 80), strict=True):
        sheet.column_dimensions[letter].width = width
