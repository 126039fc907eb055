"""Article codes as citations."""

from __future__ import annotations

import pytest

from app.kernel.law import cite, numeral
from app.kernel.text import Text


@pytest.mark.parametrize(
    ("number", "words"), [(5, "五"), (10, "十"), (12, "十二"), (20, "二十"), (46, "四十六")]
)
def test_numerals(number: int, words: str) -> None:
    assert numeral(number) == words


@pytest.mark.parametrize(
    ("basis", "words"),
    [
        ("809-21", Text("《政务数据共享条例》第二十一条", "Decree 809 Art. 21")),
        ("REG-46(1)", Text("《信息化促进条例》第四十六条第一项", "Informatization Regulation Art. 46(1)")),
        (
            "REG-21, 809-28",
            Text(
                "《信息化促进条例》第二十一条、《政务数据共享条例》第二十八条",
                "Informatization Regulation Art. 21, Decree 809 Art. 28",
            ),
        ),
        (
            "809-20, 809-22, REG-21",
            Text(
                "《政务数据共享条例》第二十条、第二十二条、《信息化促进条例》第二十一条",
                "Decree 809 Art. 20, 22, Informatization Regulation Art. 21",
            ),
        ),
        ("CIV-98", Text("《民法典》第九十八条", "Civil Code Art. 98")),
        ("某条例第八条", Text("某条例第八条", "某条例第八条")),
    ],
)
def test_citations(basis: str, words: Text) -> None:
    assert cite(basis) == words
