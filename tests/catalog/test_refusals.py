"""Every refusal a record, its filing, review and working copy can get: each names its field, what is wrong with the
value and the rule, in Chinese and in English."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.identity.agencies import register_jurisdiction
from app.kernel.actor import Role
from app.kernel.errors import Fault, Invalid
from catalog.resources import codes
from catalog.resources import record as records
from catalog.resources.labels import FIELDS, label
from catalog.resources.record import ResourceRecord, check_record
from catalog.resources.review import FilingStatement, statement_faults
from tests.catalog.samples import MARRIAGES, body
from tests.catalog.test_resources import STATEMENT, URL, Desk
from tests.factories import OPERATOR, Town

CHINESE, LATIN = re.compile("[\u4e00-\u9fff]"), re.compile("[A-Za-z]{2}")
SHARED = MARRIAGES["sharing"]
NOT_SHARED = {"type": "not_shared", "mode": {"channel": "mail"}}
SENSITIVE = [{"name": "银行账号", "sensitive": True}]

# What breaks the rule, the field it is told of, and the value (or what stands for it) that the message repeats.
CASES: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "a secret's mark": ({"title": "机密★10年"}, "/title", "机密★", "机密★"),
    "a secret's mark in an item": ({"items": [{"name": "甲", "definition": "秘密★"}]}, "/items/0/definition", "秘密★", "秘密★"),
    "a credit code": ({"provider": {"code": "11990100000000051X"}}, "/provider/code", "11990100000000051X", "11990100000000051X"),
    "a long abstract": ({"abstract": "长" * 300}, "/abstract", "300", "300"),
    "a base library of another class": ({"base_library": "population"}, "/classification/resource_class", "部门", "department"),
    "a type of another class": ({"format": {"format_class": "spreadsheet", "type": "docx"}}, "/format/type", "docx", "docx"),
    "a type without a class": ({"format": {"type": "docx"}}, "/format/format_class", "docx", "docx"),
    "a mode that does not fit": ({"format": {"format_class": "image", "type": "jpg"}, "sharing": {**SHARED, "mode": {"type": "database"}}}, "/sharing/mode/type", "数据库", "database"),
    "a type of mail": ({"sharing": {**SHARED, "mode": {"channel": "mail", "type": "file"}}}, "/sharing/mode/type", "邮件", "mail"),
    "two items of one code": ({"items": [{"name": "甲", "code": "A"}, {"name": "乙", "code": "a"}]}, "/items/1/code", "“a”", "“a”"),
    "a looser item": ({"sharing": {**NOT_SHARED, "reason": "r", "citation": "c"}, "items": [{"name": "甲", "sharing_type": "conditional"}]}, "/items/0/sharing_type", "有条件共享", "on conditions"),
    "not shared and open": ({"sharing": {**NOT_SHARED, "reason": "r", "citation": "c"}, "openness": {"type": "conditional", "condition": "c"}}, "/openness/type", "有条件开放", "open on conditions"),
    "sensitive and open": ({"openness": {"type": "unconditional"}, "items": SENSITIVE}, "/openness/type", "银行账号", "银行账号"),
    "a grade below its items": ({"grade": "general", "items": [{"name": "甲", "grade": "core"}]}, "/grade", "核心", "core"),
    "no abstract": ({"abstract": None}, "/abstract", "摘要", "abstract"),
    "no format": ({"format": {}}, "/format/format_class", "格式分类", "format class"),
    "no type of format": ({"format": {"format_class": "image"}}, "/format/type", "格式类型", "format type"),
    "no items": ({"items": []}, "/items", "信息项", "items"),
    "no sharing type": ({"sharing": {"mode": SHARED["mode"]}}, "/sharing/type", "共享类型", "sharing type"),
    "no mode": ({"sharing": {"type": "unconditional"}}, "/sharing/mode", "共享方式", "sharing mode"),
    "no type of mode": ({"sharing": {**SHARED, "mode": {"channel": "platform"}}}, "/sharing/mode/type", "共享方式类型", "type of the mode"),
    "no update cycle": ({"update_cycle": None}, "/update_cycle", "更新周期", "update cycle"),
    "no grade": ({"grade": None}, "/grade", "数据分级", "grade"),
    "no conditions": ({"sharing": {**SHARED, "condition": None}}, "/sharing/condition", "共享条件", "conditions of sharing"),
    "no conditions for an item": ({"sharing": {"type": "unconditional", "mode": SHARED["mode"]}, "items": [{"name": "甲", "sharing_type": "conditional"}]}, "/sharing/condition", "共享条件", "conditions of sharing"),
    "no reason": ({"sharing": {**NOT_SHARED, "citation": "c"}}, "/sharing/reason", "理由", "reason"),
    "no citation": ({"sharing": {**NOT_SHARED, "reason": "r"}}, "/sharing/citation", "依据", "citation"),
    "a base library on conditions": ({"classification": {"resource_class": "1"}, "base_library": "population"}, "/sharing/citation", "人口", "population"),
    "no conditions of openness": ({"openness": {"type": "conditional"}}, "/openness/condition", "开放条件", "openness"),
    "another cycle": ({"update_cycle": "other"}, "/update_cycle_as_given", "更新周期", "update cycle"),
    "no base library": ({"classification": {"resource_class": "1"}}, "/base_library", "基础数据库", "base library"),
    "no theme": ({"classification": {"resource_class": "2"}, "themes": []}, "/themes", "主题", "themes"),
}  # fmt: skip


def speaks(fault: Fault, zh: str, en: str) -> None:
    """The fault names the value in both languages and a rule in both."""
    assert zh in fault.message.zh and en in fault.message.en
    assert CHINESE.search(fault.message.zh) and LATIN.search(fault.message.en)
    assert fault.rule is not None and CHINESE.search(fault.rule.zh) and LATIN.search(fault.rule.en)


@pytest.mark.parametrize("name", CASES)
def test_a_record(name: str) -> None:
    changes, field, zh, en = CASES[name]
    found = [f for f in check_record(ResourceRecord.model_validate(body(**changes))) if f.field == field]
    speaks(found[0], zh, en)


def test_every_kind_of_refusal_is_walked() -> None:
    """As many as the rules can give: a new one needs a line above."""
    source = Path(records.__file__).read_text("utf-8")
    given = len(re.findall(r"yield (Fault|blank)\(", source))
    lists = (
        7 - 1 + 2 - 1
    )  # the required fields and the two of what is not shared stand in one line of code each
    assert given + lists <= len(CASES)


def test_a_statement() -> None:
    faults = statement_faults(FilingStatement(contains_secrets=True))
    assert [fault.field for fault in faults] == [
        "/contains_secrets", "/secrecy_review", "/personal_information_assessment",
    ]  # fmt: skip
    for fault in faults:
        speaks(fault, label(fault.field).zh, "")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"sharing": {"type": "secret"}}, "/record/sharing/type"),
        ({"classification": {"item": "7"}}, "/record/classification/item"),
        ({"items": [{"name": "甲", "length": 0}]}, "/record/items/0/length"),
        ({"items": [{"name": "甲", "data_type": "X"}]}, "/record/items/0/data_type"),
        ({"title": ""}, "/record/title"),
        ({"title": "长" * 501}, "/record/title"),
        ({"owner": "x"}, "/record/owner"),
        ({"published_on": "2026-02-30"}, "/record/published_on"),
        ({"themes": "health"}, "/record/themes"),
        ({"extra": {"raw": "\x00"}}, "/record/extra"),
    ],
)
def test_what_cannot_be_read_is_told_in_both_languages(
    client: TestClient, town: Town, changes: dict[str, Any], field: str
) -> None:
    desk = Desk(client, town)
    said = {}
    for language, letters in (("zh-CN", CHINESE), ("en", LATIN)):
        headers = {**desk.headers("civil", Role.CLERK), "accept-language": language}
        answer = client.post(URL, json={"record": body(**changes)}, headers=headers)
        assert answer.status_code == 422
        (fault,) = [fault for fault in answer.json()["errors"] if fault["field"].startswith(field)]
        assert letters.search(fault["message"]) and fault["rule"]
        said[language] = fault["message"] + fault["rule"]
    assert said["zh-CN"] != said["en"]


def test_a_refusal_over_http_says_the_same(client: TestClient, town: Town) -> None:
    desk = Desk(client, town)
    resource = desk.create(abstract=None)
    told = {}
    for language in ("zh-CN", "en"):
        client.headers["accept-language"] = language
        told[language] = desk.act(resource, "file", STATEMENT, "civil", Role.APPROVER).json()["errors"]
    assert [fault["field"] for fault in told["en"]] == ["/abstract"]
    assert "摘要" in told["zh-CN"][0]["message"] and "abstract" in told["en"][0]["message"]
    assert "第十三条" in told["zh-CN"][0]["rule"] and "Art. 13" in told["en"][0]["rule"]


def test_a_division_code(town: Town) -> None:
    for code in ("990005", "09010X", "9901"):
        with pytest.raises(Invalid) as refused:
            register_jurisdiction(
                town.session, code=code, name="区", name_en="District", parent_code="990100", by=OPERATOR
            )
        (fault,) = refused.value.faults
        speaks(fault, code, code)


def test_every_field_of_the_record_has_a_name() -> None:
    for name in ResourceRecord.model_fields:
        assert f"/{name}" in FIELDS, name
    assert all(text.zh and text.en for text in FIELDS.values())
    assert label("/items/3/name") is FIELDS["/items/name"] and codes.GRADE_ORDER[0] is codes.Grade.GENERAL
