"""Marks of secrets as documents carry them, and the words that look like them."""

from __future__ import annotations

import pytest

from catalog.resources.secrecy import secret_mark


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("机密★10年", "机密★"),
        ("绝密 ★ 长期", "绝密 ★"),
        ("機密☆五年", "机密☆"),
        ("机密级★", "机密级★"),
        ("应急预案（秘密）", "(秘密)"),
        ("【绝密】边防部署", "【绝密】"),
        ("密级：机密", "密级:机密"),
        ("本表密级为秘密，限内部使用", "密级为秘密"),
        ("秘密10年", "秘密10年"),
        ("工作秘密★", "工作秘密★"),
        ("机密：人员名册", "机密:"),
    ],
)
def test_a_mark_is_found(text: str, mark: str) -> None:
    assert secret_mark(text) == mark


@pytest.mark.parametrize(
    "text",
    [
        "商业秘密保护登记",
        "国家秘密定密责任人备案",
        "密级（绝密、机密、秘密）",
        "密级：绝密、机密、秘密之一",
        "保密审查记录",
        "密度、密封",
        "商业秘密★级示范企业",
        "涉及商业秘密（国家秘密除外）",
        "路灯",
    ],
)
def test_what_only_speaks_of_secrets_is_none(text: str) -> None:
    assert secret_mark(text) is None
