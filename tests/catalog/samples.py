"""A catalog record that may be filed as it stands, for tests to change in one place."""

from __future__ import annotations

from typing import Any

from catalog.resources.record import ResourceRecord

MARRIAGES: dict[str, Any] = {
    "title": "婚姻登记信息",
    "title_en": "Marriage registrations",
    "abstract": "全市婚姻登记机关办理的结婚、离婚登记。",
    "classification": {"resource_class": "3", "item": "07", "section": "001"},
    "themes": ["public_service"],
    "keywords": ["婚姻", "登记"],
    "format": {"format_class": "database", "type": "postgresql"},
    "items": [
        {
            "name": "身份证号",
            "name_en": "identity number",
            "code": "sfzh",
            "data_type": "C",
            "length": 18,
            "is_key": True,
        },
        {"name": "姓名", "name_en": "name", "data_type": "C", "length": 50},
        {"name": "登记日期", "name_en": "date of registration", "data_type": "D"},
    ],
    "sharing": {
        "type": "conditional",
        "condition": "用于办理行政审批，须说明业务事项。",
        "mode": {"channel": "platform", "type": "interface"},
    },
    "update_cycle": "daily",
    "grade": "important",
}


def body(**changes: Any) -> dict[str, Any]:
    """The record as JSON, with these members replaced."""
    return {**MARRIAGES, **changes}


def record(**changes: Any) -> ResourceRecord:
    return ResourceRecord.model_validate(body(**changes))


OPEN: dict[str, Any] = {
    "sharing": {"type": "unconditional", "mode": {"channel": "platform", "type": "interface"}},
    "openness": {"type": "unconditional"},
}
