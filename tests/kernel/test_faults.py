"""What validation says, in words: no refusal shows a regular expression or the name of a pydantic rule."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from app.kernel.faults import fault_of, form_in_words
from catalog.resources.record import ResourceRecord

INTERFACE = Path(__file__).parents[2] / "docs" / "openapi.json"


def patterns(value: Any) -> Iterator[str]:
    """Every pattern of the interface, of the names of headers too."""
    if isinstance(value, dict):
        if isinstance(value.get("pattern"), str):
            yield value["pattern"]
        yield from value.get("patternProperties", ())
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from patterns(inner)


def test_every_pattern_of_the_interface_is_said_in_words() -> None:
    found = set(patterns(json.loads(INTERFACE.read_text("utf-8"))))
    assert len(found) > 20
    assert [pattern for pattern in sorted(found) if form_in_words(pattern) is None] == []


@pytest.mark.parametrize(
    ("values", "field", "message", "rule"),
    [
        (
            {"items": [{"name": "姓名", "code": "9 x"}]},
            "/items/0/code",
            ("“9 x”格式不符", "“9 x”: does not have the form asked for"),
            ("以字母或下划线开头", "begins with a letter or underscore"),
        ),
        (
            {"classification": {"item": "7"}},
            "/classification/item",
            ("“7”格式不符", "“7”: does not have the form asked for"),
            ("两位数字", "two digits"),
        ),
        (
            {"items": [{"name": "姓名", "length": "x"}]},
            "/items/0/length",
            ("“x”须为整数", "“x”: Input should be a valid integer"),
            ("整数", "a whole number"),
        ),
    ],
)
def test_a_refusal_names_value_and_rule_in_both_languages(
    values: dict[str, Any], field: str, message: tuple[str, str], rule: tuple[str, str]
) -> None:
    with pytest.raises(ValidationError) as refused:
        ResourceRecord.model_validate({"title": "路灯", **values})
    entry: dict[str, Any] = {**refused.value.errors()[0]}
    assert "/" + "/".join(map(str, entry["loc"])) == field
    told = fault_of(entry, pointer=field, harmless=True)
    assert told.rule is not None
    assert told.message.zh.startswith(message[0]) and told.message.en.startswith(message[1])
    assert told.rule.zh.startswith(rule[0]) and told.rule.en.startswith(rule[1])
