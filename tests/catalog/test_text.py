"""Normalisation: what counts as the same spelling."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.text import bigrams, cut, fold, initials


@pytest.mark.parametrize(
    ("written", "folded"),
    [
        ("地號", "地号"),
        ("身分證字號", "身份证字号"),
        ("臺北", "台北"),
        ("ＩＤ　Ｎｏ．１", "id no.1"),
        ("  电话 \n 号码 ", "电话 号码"),
        ("帳號", "账号"),
        ("zero\u200bwidth", "zerowidth"),
    ],
)
def test_spellings_of_one_name_fold_together(written: str, folded: str) -> None:
    assert fold(written) == folded


def test_different_names_stay_different() -> None:
    assert fold("开始日期") != fold("结束日期")


@given(st.text())
def test_folding_again_changes_nothing(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@given(
    st.text(alphabet="地號乾燥著作身分證後面裡麵", max_size=8),
    st.text(alphabet="號乾隆著名麵", max_size=8),
)
def test_a_part_folds_as_in_the_whole(left: str, right: str) -> None:
    if not (left.endswith("身") and right.startswith("分")):
        assert fold(left) + fold(right) == fold(left + right)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("身份证号", ["身份", "份证", "证号"]),
        ("水", ["水"]),
        ("2024年 GDP(萬元)", ["2024", "年", "gdp", "万元"]),
        ("Grants policies of a class", ["grant", "policy", "of", "a", "class"]),
        ("first_name", ["first", "name"]),
        ("", []),
    ],
)
def test_tokens(text: str, tokens: list[str]) -> None:
    assert bigrams(text) == tuple(tokens)


def test_every_han_character_begins_a_token_or_ends_a_word() -> None:
    assert cut("水資源 水質 pH").endings == ("源$", "质$")


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("身份证号", "sfzh"),
        ("出生日期", "csrq"),
        ("身分證號", "sfzh"),
        ("ID 号码", "idhm"),
    ],
)
def test_pinyin_initials(text: str, codes: str) -> None:
    assert initials(text) == codes
