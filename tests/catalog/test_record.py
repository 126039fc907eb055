"""What a catalog record must keep: coupled lists, what filing needs, hashes and item codes."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from catalog.resources.codes import FITTING_MODES, FORMAT_CLASSES, FORMAT_TYPES, Grade, PlatformMode
from catalog.resources.item_codes import with_item_codes
from catalog.resources.record import (
    ResourceRecord,
    as_abstract,
    check_record,
    content_hash,
)
from tests.catalog.samples import MARRIAGES, record

NOT_SHARED = {
    "type": "not_shared",
    "reason": "案件侦办",
    "citation": "某法第十条",
    "mode": {"channel": "mail"},
}
DATABASE_MODE = {**MARRIAGES["sharing"], "mode": {"channel": "platform", "type": "database"}}


def faults(checked: ResourceRecord, *, for_filing: bool = True) -> list[str]:
    return [fault.field for fault in check_record(checked, for_filing=for_filing)]


def test_a_complete_record_may_be_filed() -> None:
    assert faults(record()) == []


def test_a_title_is_enough_for_a_draft_and_filing_names_all_that_is_missing() -> None:
    bare = ResourceRecord(title="婚姻登记信息")
    assert faults(bare, for_filing=False) == []
    assert set(faults(bare)) == {
        "/abstract", "/format/format_class", "/items", "/sharing/type", "/sharing/mode", "/update_cycle", "/grade",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"abstract": "长" * 257}, "/abstract"),
        ({"base_library": "population"}, "/classification/resource_class"),
        ({"format": {"format_class": "spreadsheet", "type": "docx"}}, "/format/type"),
        ({"format": {"type": "docx"}}, "/format/format_class"),
        (
            {"format": {"format_class": "spreadsheet", "type": "xlsx"}, "sharing": DATABASE_MODE},
            "/sharing/mode/type",
        ),
        (
            {"sharing": {**MARRIAGES["sharing"], "mode": {"channel": "mail", "type": "file"}}},
            "/sharing/mode/type",
        ),
        ({"sharing": NOT_SHARED, "openness": {"type": "unconditional"}}, "/openness/type"),
        ({"items": [{"name": "甲", "code": "A"}, {"name": "乙", "code": "a"}]}, "/items/1/code"),
        ({"grade": "general", "items": [{"name": "甲", "grade": "core"}]}, "/grade"),
    ],
)
def test_a_contradiction_is_a_fault_even_in_a_draft(changes: dict[str, Any], fault: str) -> None:
    assert fault in faults(record(**changes), for_filing=False)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"sharing": {**NOT_SHARED, "reason": None}}, "/sharing/reason"),
        ({"sharing": {**NOT_SHARED, "citation": " "}}, "/sharing/citation"),
        ({"sharing": {**MARRIAGES["sharing"], "condition": ""}}, "/sharing/condition"),
        (
            {"sharing": {**MARRIAGES["sharing"], "mode": {"channel": "platform"}}},
            "/sharing/mode/type",
        ),
        ({"openness": {"type": "conditional"}}, "/openness/condition"),
        ({"update_cycle": "other"}, "/update_cycle_as_given"),
        ({"items": []}, "/items"),
        ({"format": {"format_class": "database"}}, "/format/type"),
        ({"classification": {"resource_class": "1"}}, "/base_library"),
        ({"classification": {"resource_class": "2"}, "themes": []}, "/themes"),
        (
            {"classification": {"resource_class": "1"}, "base_library": "population"},
            "/sharing/citation",
        ),
    ],
)
def test_an_omission_is_a_fault_of_filing_alone(changes: dict[str, Any], fault: str) -> None:
    assert faults(record(**changes), for_filing=False) == []
    assert faults(record(**changes)) == [fault]


def test_exceptions_hold_when_cited() -> None:
    assert faults(record(sharing=NOT_SHARED)) == []
    cited = {**MARRIAGES["sharing"], "citation": "户口登记条例第十一条"}
    population = {"classification": {"resource_class": "1"}, "base_library": "population"}
    assert faults(record(**population, sharing=cited)) == []


def test_every_fault_speaks_both_languages_and_names_its_rule() -> None:
    for fault in check_record(
        ResourceRecord.model_validate({"title": "x", "sharing": {"type": "not_shared"}})
    ):
        assert fault.message.zh and fault.message.en and fault.rule is not None


def test_every_format_class_has_types_and_modes() -> None:
    assert set(FORMAT_TYPES) == set(FITTING_MODES) == set(FORMAT_CLASSES)
    image = record(format={"format_class": "image"}).format.format_class
    assert image is not None
    assert PlatformMode.DATABASE not in FITTING_MODES[image]


def test_the_strictest_item_grades_the_record() -> None:
    assert (
        record(grade=None, items=[{"name": "甲", "grade": "core"}, {"name": "乙"}]).effective_grade
        is Grade.CORE
    )


def test_the_hash_ignores_what_is_not_said_and_sees_everything_that_is() -> None:
    said = {**MARRIAGES, "openness": {"type": "not_open"}, "licence": None}
    assert content_hash(record()) == content_hash(ResourceRecord.model_validate(said))
    assert content_hash(record()) != content_hash(record(keywords=["登记", "婚姻"]))
    assert content_hash(record()) != content_hash(record(extra={"bureauCode": ["015:11"]}))


def test_a_record_survives_its_stored_form() -> None:
    kept = record(extra={"dataQuality": True, "spatial": {"type": "Point", "coordinates": [1.5, 2]}})
    stored = kept.model_dump(mode="json", exclude_defaults=True)
    assert ResourceRecord.model_validate(stored) == kept


@pytest.mark.parametrize("bad", ["\x00", "\ud800", {"\x00": 1}, ["\x00"], 2**60, float("nan")])
def test_what_cannot_be_stored_or_hashed_is_refused(bad: Any) -> None:
    with pytest.raises(ValidationError):
        record(extra={"raw": bad})
    if isinstance(bad, str):
        with pytest.raises(ValidationError):
            record(title=f"表{bad}")


def test_item_codes_are_initials_unique_and_kept_by_name() -> None:
    coded = with_item_codes(
        record(items=[{"name": "身份证号"}, {"name": "身份证号"}, {"name": "2020年人口"}])
    )
    assert [item.code for item in coded.items] == ["sfzh", "sfzh_2", "_2020nrk"]
    # An item in front that would take the same initials does not move the code agreements name.
    changed = with_item_codes(record(items=[{"name": "失分总和"}, {"name": "身份证号"}]), coded.items)
    assert [item.code for item in changed.items] == ["sfzh_3", "sfzh"]


def test_a_code_of_ones_own_is_kept() -> None:
    coded = with_item_codes(record(items=[{"name": "姓名", "code": "SFZH"}, {"name": "身份证号"}]))
    assert [item.code for item in coded.items] == ["SFZH", "sfzh_2"]


def test_a_long_text_is_cut_for_the_abstract_and_kept_whole() -> None:
    assert as_abstract(" 短 ") == ("短", None)
    abstract, description = as_abstract("长" * 300)
    assert abstract is not None
    assert len(abstract) == 256 and description == "长" * 300
