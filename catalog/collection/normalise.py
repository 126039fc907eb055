"""Names of items taken apart: what they are called, how their value is written, how two names differ.

Pure. Built on `catalog.text`; the words it knows stand in `knowledge`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile

from catalog.collection.knowledge import (
    CONTRASTS,
    NEUTRAL,
    POPULATIONS,
    PROCEDURAL,
    REPRESENTATIONS,
)
from catalog.text import bigrams, fold, is_han, words

_BRACKETS = re.compile(r"[(\[{〔【<《][^)\]}〕】>》]*[)\]}〕】>》]?")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NUMBER = re.compile(
    r"\d+|(?<=第)[一二三四五六七八九十]+|[一二三四五六七八九十]+(?=$|季度|月|级|类|期|次|楼|层|岁)"
)
_ENDINGS = sorted(
    ((e, kind) for kind, ends in REPRESENTATIONS.items() for e in ends),
    key=lambda p: -len(p[0]),
)
_CONTRASTS = tuple(tuple(tuple(words_.split("|")) for words_ in group) for group in CONTRASTS)
_PROCEDURAL = re.compile("|".join(sorted(PROCEDURAL, key=len, reverse=True)))
_TELLING = re.compile("|".join(word for group in _CONTRASTS for side in group for word in side) + r"|\d")


@lru_cache(maxsize=65536)
def name_key(name: str) -> str:
    """The name as it is compared: folded, without brackets, punctuation and words that add nothing.

    "学生的姓名" is "学生姓名"; a bracket stays when it tells siblings apart, as 受伤人数(女) does.
    """
    split = _CAMEL.sub(" ", name)

    def keep_if_telling(bracket: re.Match[str]) -> str:
        inside = bracket.group()
        return f" {inside} " if _TELLING.search(inside) else " "

    key = _join(_BRACKETS.sub(keep_if_telling, fold(split))) or _join(split)
    for word in NEUTRAL:
        shorter = key.replace(word, "")
        key = shorter if len(shorter) >= 2 else key
    return re.sub(r"号码(?=$)", "号", key)


def _join(text: str) -> str:
    """Han runs close together, other words keep a space between them."""
    joined = ""
    for run in words(text):
        joined += f" {run}" if joined and not is_han(joined[-1]) and not is_han(run[0]) else run
    return joined


@lru_cache(maxsize=65536)
def grams(key: str) -> tuple[str, ...]:
    """Character 1- and 2-grams with the name's ends marked, the features of similarity."""
    framed = f"^{key}$"
    pairs = {framed[i : i + 2] for i in range(len(framed) - 1)}
    return tuple(sorted({*pairs, *(c for c in key if is_han(c))}))


@lru_cache(maxsize=65536)
def topic(text: str) -> frozenset[str]:
    """The tokens of a title or a population that say what it is about (人口 in 常住人口信息采集)."""
    return frozenset(bigrams(_PROCEDURAL.sub(" ", fold(text))))


@lru_cache(maxsize=65536)
def representation(key: str) -> str:
    """How the value is written (名称, 编号, 日期 …), from the end of the name; "" when it does not say."""
    return next((kind for ending, kind in _ENDINGS if key.endswith(ending)), "")


@dataclass(frozen=True, slots=True)
class Difference:
    """What remains of two names when what they share at both ends is cut; it has no direction."""

    left: str
    right: str
    shared: int  # characters cut

    @property
    def one_sided(self) -> bool:
        """Whether one name is the other with something added (受伤人数, 受伤人数女)."""
        return not self.left

    @property
    def pair(self) -> tuple[str, str]:
        """The substitution alone, as it is counted over a catalog."""
        return self.left, self.right


def difference(one: str, other: str) -> Difference:
    """How two keys differ: 本年度预算数 and 上年度预算数 by 上/本. `left` is the shorter of the two."""
    rest_one, rest_other = _rests(one, other)
    left, right = sorted((rest_one, rest_other), key=lambda part: (len(part), part))
    return Difference(left, right, len(one) - len(rest_one))


def _rests(one: str, other: str) -> tuple[str, str]:
    front = _shared(one, other)
    back = _shared(one[front:][::-1], other[front:][::-1])
    return one[front : len(one) - back], other[front : len(other) - back]


def _shared(one: str, other: str) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


@lru_cache(maxsize=65536)
def contrast(one: str, other: str) -> tuple[str, str] | None:
    """The words that make two names different elements (开始, 结束), or None.

    A word of one character counts only when it is all that differs: 新 says nothing in 更新日期.
    """
    rests = _rests(one, other)
    for group in _CONTRASTS:
        found = [
            {
                side: word
                for side, spellings in enumerate(group)
                for word in spellings
                if _says(word, name, rest)
            }
            for name, rest in zip((one, other), rests, strict=True)
        ]
        if found[0] and found[1] and not found[0].keys() & found[1].keys():
            return next(iter(found[0].values())), next(iter(found[1].values()))
    return None


def _says(word: str, name: str, rest: str) -> bool:
    return word in name if len(word) > 1 else rest.removesuffix("性") == word


@lru_cache(maxsize=65536)
def population_kinds(text: str) -> frozenset[int]:
    """The object classes (rows of POPULATIONS) that a population or a title speaks of."""
    folded = fold(text)
    return frozenset(
        row for row, kindred in enumerate(POPULATIONS) if any(word in folded for word in kindred)
    )


def numbers(key: str) -> tuple[str, ...]:
    """The numbers a name carries, in digits or as Chinese ordinals (项目一, 第二季度)."""
    return tuple(sorted(_NUMBER.findall(key)))


_TYPE_CLASSES = (
    (
        "text",
        ("c", "m", "字符", "文本", "备注", "varchar", "char", "text", "string", "str"),
    ),
    (
        "number",
        (
            "n",
            "i",
            "b",
            "f",
            "y",
            "数值",
            "整",
            "浮点",
            "双精度",
            "货币",
            "int",
            "number",
            "decimal",
            "float",
        ),
    ),
    ("date", ("d", "t", "日期", "时间", "date", "time")),
    ("logic", ("l", "逻辑", "布尔", "bool")),
)


@lru_cache(maxsize=4096)
def type_class(data_type: str) -> str:
    """Text, number, date or logic, from the catalog's type letters or a usual type name; else ""."""
    folded = fold(data_type)
    for kind, names in _TYPE_CLASSES:
        if any(folded == name or (len(name) > 1 and folded.startswith(name)) for name in names):
            return kind
    return ""
