"""Plans read from files: the workbook with faults beside its cells, schemas, forms and table definitions."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

import pytest
from openpyxl import Workbook, load_workbook

from app.kernel.text import Text
from catalog.collection.reading.files import Incomplete, PlanFormat, read_plans
from catalog.collection.reading.plan_sheet import COLUMNS, write_plan_template
from catalog.collection.reading.read import ReadPlan
from catalog.formats.reading import FileRefused, Rejected
from tests.catalog.bureau import CLERK, Bureau, Json

REST: Json = {
    "population": "低保家庭", "means": "survey", "purpose": "住房保障规划", "business_matter": "住房保障",
    "legal_basis": "某办法第七条", "update_cycle": "yearly", "period_from": "2026-10-01",
    "period_until": "2026-12-31", "respondents": 100, "minutes_per_respondent": 8,
}  # fmt: skip
SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema", "title": "住房困难家庭调查", "type": "object",
    "properties": {
        "idNumber": {"title": "公民身份号码", "type": "string", "maxLength": 18},
        "rooms": {"type": ["integer", "null"]},
        "spouse": {"title": "配偶", "$ref": "#/$defs/person"},
        "members": {"type": "array", "items": {"type": "object", "properties": {"age": {"title": "年龄：周岁", "type": "integer"}}}},
        "kind": {"title": "救助类别", "enum": ["低保", "特困", None]},
        "elsewhere": {"$ref": "https://example.org/x.json"},
    },
    "$defs": {"person": {"properties": {"name": {"title": "姓名", "type": "string"}, "born": {"title": "出生日期", "type": "string", "format": "date"}, "self": {"$ref": "#/$defs/person"}}}},
}  # fmt: skip
SQL_POSTGRES = """
CREATE TABLE hz.family_survey (
    id_number varchar(18) PRIMARY KEY, rooms integer NOT NULL, income numeric(10,2), kind char(1) REFERENCES code_kind(code),
    surveyed_at timestamptz DEFAULT now()
);
COMMENT ON TABLE hz.family_survey IS '住房困难家庭调查';
COMMENT ON COLUMN hz.family_survey.id_number IS '公民身份号码：18位';
COMMENT ON COLUMN hz.family_survey.rooms IS '房间数';
"""
SQL_MYSQL = """
CREATE TABLE `t_family` (
  `sfzh` varchar(18) NOT NULL COMMENT '身份证号(本人)', `kind` enum('低保','特困') DEFAULT NULL COMMENT '救助类别',
  `remark` text, PRIMARY KEY (`sfzh`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COMMENT='低保家庭';
CREATE TABLE `t_house` (`area` decimal(10,2) COMMENT '建筑面积');
"""
COLUMNS_CSV = """table_name,column_name,data_type,character_maximum_length,column_comment,column_key
t_family,sfzh,varchar,18,身份证号,PRI
t_family,born,date,,出生日期,
t_house,area,decimal,,,
"""
XFORM = """<?xml version="1.0"?>
<h:html xmlns="http://www.w3.org/2002/xforms" xmlns:h="http://www.w3.org/1999/xhtml" xmlns:jr="http://openrosa.org/javarosa">
<h:head><h:title>住房调查</h:title><model>
<itext><translation lang="English (en)"><text id="/data/name:label"><value>Name</value></text></translation>
<translation lang="中文 (zh)"><text id="/data/name:label"><value>姓名</value></text></translation></itext>
<instance><data id="f"><name/><rooms/><kind/><today/></data></instance>
<bind nodeset="/data/name" type="string"/><bind nodeset="/data/rooms" type="int"/>
<bind nodeset="/data/kind" type="string"/><bind nodeset="/data/total" type="int" calculate="1"/></model></h:head>
<h:body><input ref="/data/name"><label ref="jr:itext('/data/name:label')"/></input>
<group><input ref="/data/rooms"><label>房间数</label><hint>不含厨房</hint></input></group>
<select1 ref="/data/kind"><label>类别</label><item><label>低保</label><value>1</value></item><item><label>特困</label><value>2</value></item></select1>
<input ref="/data/total"><label>合计</label></input></h:body></h:html>"""


def read(content: bytes | str, given: Json | None = None) -> tuple[PlanFormat, list[Any]]:
    data = content.encode() if isinstance(content, str) else content
    return read_plans(BytesIO(data), REST if given is None else given)


def items(plan: Any) -> dict[str, tuple[str | None, int | None, str | None, bool]]:
    assert isinstance(plan, ReadPlan), plan
    return {i.name: (i.data_type, i.length, i.code_list, i.is_identifier) for i in plan.record.items}


def book(sheets: dict[str, list[list[Any]]]) -> bytes:
    made = Workbook()
    made.remove(made.active)  # type: ignore[arg-type]  # a new workbook has a sheet
    for name, rows in sheets.items():
        sheet = made.create_sheet(name)
        for row in rows:
            sheet.append(row)
    buffer = BytesIO()
    made.save(buffer)
    return buffer.getvalue()


def plan_rows(*plans: dict[str, Any]) -> bytes:
    return book(
        {"采集计划": [[c.label.zh for c in COLUMNS], *([p.get(c.label.zh) for c in COLUMNS] for p in plans)]}
    )


ROW: Json = {
    "计划名称": "住房困难家庭调查", "采集对象": "低保家庭", "采集方式": "调查", "采集目的": "住房保障规划", "业务事项": "住房保障",
    "法律依据": "某办法第七条", "采集频率": "每年", "开始日期": "2026-10-01", "结束日期": "2026-12-31", "填报人数": 100,
    "地域范围": "990100；990102", "信息项名称": "公民身份号码", "数据类型": "字符型", "是否标识": "是",
}  # fmt: skip


def test_a_json_schema_is_read_as_a_plan() -> None:
    form, (plan,) = read(json.dumps(SCHEMA))
    assert (form, plan.record.title) == (PlanFormat.JSON_SCHEMA, "住房困难家庭调查")
    found = items(plan)
    assert found["公民身份号码"] == ("C", 18, None, False)
    assert (found["rooms"][0], found["配偶出生日期"][0], found["救助类别"][2]) == ("I", "D", "低保；特困")
    assert {"配偶姓名", "members 年龄"} <= found.keys()
    assert any("文档之外" in note.zh for note in plan.notes) and any("嵌套" in note.zh for note in plan.notes)
    assert plan.record.items[0].name_en == "idNumber"


def test_what_a_schema_does_not_say_is_asked_for() -> None:
    _, (plan,) = read(json.dumps(SCHEMA), {})
    assert isinstance(plan, Incomplete) and "公民身份号码" in {i.name for i in plan.items}
    assert {"/population", "/legal_basis", "/period_from"} <= {fault.field for fault in plan.rejected.faults}


def test_table_definitions_of_several_dialects() -> None:
    form, (plan,) = read(SQL_POSTGRES)
    assert (form, plan.record.title, plan.record.title_en) == (
        PlanFormat.SQL,
        "住房困难家庭调查",
        "family_survey",
    )
    found = items(plan)
    assert found["公民身份号码"] == ("C", 18, None, True) and plan.record.items[0].definition == "18位"
    assert (found["income"][0], found["surveyed_at"][0], found["kind"][2]) == ("N", "T", "code_kind")
    _, (family, house) = read(SQL_MYSQL)
    assert (family.record.title, items(family)["身份证号"]) == ("低保家庭", ("C", 18, None, True))
    assert (items(family)["救助类别"][2], items(family)["remark"][0]) == ("低保；特困", "M")
    assert items(house) == {"建筑面积": ("N", 10, None, False)}
    _, (ms,) = read("CREATE TABLE [dbo].[家庭] ([姓名] NVARCHAR(50) NOT NULL, [登记时间] DATETIME2);")
    assert items(ms) == {"姓名": ("C", 50, None, False), "登记时间": ("T", None, None, False)}
    _, (oracle,) = read("CREATE TABLE T_A (XM VARCHAR2(50), CSRQ DATE);")
    assert [i.data_type for i in oracle.record.items] == ["C", "D"]


def test_an_export_of_information_schema() -> None:
    form, (family, house) = read(COLUMNS_CSV)
    assert form is PlanFormat.INFORMATION_SCHEMA
    assert items(family) == {"身份证号": ("C", 18, None, True), "出生日期": ("D", None, None, False)}
    assert items(house) == {"area": ("N", None, None, False)}
    _, (same, _) = read(COLUMNS_CSV.encode("gb18030"))
    assert items(same) == items(family)


def test_an_xform_asks_what_people_are_asked() -> None:
    form, (plan,) = read(XFORM)
    assert (form, plan.record.title) == (PlanFormat.XFORM, "住房调查")
    assert items(plan) == {
        "姓名": ("C", None, None, False), "房间数": ("I", None, None, False), "类别": ("C", None, "低保；特困", False)
    }  # fmt: skip
    assert plan.record.items[1].definition == "不含厨房" and "total" in plan.notes[0].zh


def test_an_xlsform() -> None:
    survey: list[list[Any]] = [
        ["type", "name", "label::English (en)", "label::中文 (zh)", "hint::中文 (zh)"],
        ["start", "start", None, None, None],
        ["begin group", "home", "Home", "住房", None],
        ["integer", "rooms", "Rooms", "房间数", "不含厨房"],
        ["select_one kind", "kind", "Kind", "救助类别", None],
        ["end group", None, None, None, None],
        ["note", "thanks", "Thanks", "谢谢", None],
    ]
    choices: list[list[Any]] = [
        ["list_name", "name", "label::中文 (zh)"],
        ["kind", "1", "低保"],
        ["kind", "2", "特困"],
    ]
    settings: list[list[Any]] = [["form_title"], ["住房调查"]]
    form, (plan,) = read(book({"survey": survey, "choices": choices, "settings": settings}))
    assert (form, plan.record.title) == (PlanFormat.XLSFORM, "住房调查")
    assert items(plan) == {"房间数": ("I", None, None, False), "救助类别": ("C", None, "低保；特困", False)}
    assert plan.record.items[0].definition == "不含厨房" and len(plan.notes) == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "Neither"),
        ("hello", "Neither"),
        ("{}", "no properties"),
        ("{", "JSON"),
        ("<a/>", "XForm"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "XForm"),
        ("CREATE VIEW v AS SELECT 1", "no CREATE TABLE"),
        ("CREATE TABLE t (a int,, b", "cannot be parsed"),
        (b"PK\x03\x04nonsense", "workbook"),
    ],
)
def test_what_is_none_of_these_is_refused(content: bytes | str, said: str) -> None:
    with pytest.raises(FileRefused) as refused:
        read(content)
    assert isinstance(refused.value.detail, Text) and said in refused.value.detail.en


def test_the_workbook_and_its_faults_beside_the_cells(bureau: Bureau) -> None:
    second = {"信息项名称": "屋面渗漏情况", "数据类型": "逻辑型"}
    wrong = {
        **ROW,
        "计划名称": "另一调查",
        "采集方式": "心灵感应",
        "结束日期": "2026-01-01",
        "法律依据": None,
    }
    content = plan_rows(ROW, second, wrong)
    _, (good, bad) = read(content, {})
    assert items(good) == {"公民身份号码": ("C", None, None, True), "屋面渗漏情况": ("L", None, None, False)}
    assert (good.record.means, good.record.respondents, good.record.jurisdictions) == (
        "survey",
        100,
        ("990100", "990102"),
    )
    assert isinstance(bad, Rejected)
    assert {fault.field for fault in bad.faults} == {"采集方式 (E4)", "法律依据 (H4)"}

    def send(path: str, **form: str) -> Any:
        headers = bureau.town.headers("health", CLERK)
        return bureau.client.post(
            f"/api/v1/plan-imports{path}", headers=headers, files={"file": ("计划.xlsx", content)}, data=form
        )

    tried = send("", dry_run="true").json()
    assert (tried["format"], tried["drafted"], tried["rejected"]) == ("workbook", 0, 1)
    assert bureau.call("GET", "/plans", "health", CLERK)["items"] == []
    done = send("").json()
    assert (done["drafted"], done["plans"][1]["faults"][0]["rule"]["en"][:8]) == (1, "allowed:")
    drafted = bureau.call("GET", f"/plans/{done['plans'][0]['plan_id']}", "health", CLERK)
    assert (drafted["state"], drafted["record"]["purpose"]) == ("draft", "住房保障规划")
    sheet = load_workbook(BytesIO(send("/rejected.xlsx").content)).worksheets[0]
    heads = [cell.value for cell in sheet[1]]
    marked = heads.index("⚠ 采集方式\nMeans")
    assert sheet.cell(2, marked).value == "心灵感应" and "心灵感应" in str(sheet.cell(2, marked + 1).value)
    assert send("", plan="[]").status_code == 422


def test_the_template_has_drop_downs_and_reads_back(bureau: Bureau) -> None:
    answer = bureau.client.get(
        "/api/v1/plan-imports/template.xlsx",
        headers={**bureau.town.headers("health", CLERK), "accept-language": "zh-CN"},
    )
    assert (
        answer.content
        and load_workbook(BytesIO(write_plan_template("en"))).sheetnames[0] == "Collection plans"
    )
    made = load_workbook(BytesIO(answer.content))
    sheet = made.worksheets[0]
    assert len(sheet.data_validations.dataValidation) == 4 and sheet["A1"].comment is not None
    for number, column in enumerate(COLUMNS, start=1):
        sheet.cell(2, number, ROW.get(column.label.zh))
    buffer = BytesIO()
    made.save(buffer)
    _, (plan,) = read(buffer.getvalue(), {})
    assert list(items(plan)) == ["公民身份号码"]
