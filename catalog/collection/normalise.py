"""Names of items taken apart: what they are called, how their value is written, how two names differ.

Pure. Built on `catalog.text`; the words it knows stand in `knowledge`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile

from catalog.collection.knowledge import (
    CONTRASTS,
    NEGATIONS,
    NEUTRAL,
    POPULATIONS,
    PROCEDURAL,
    REPRESENTATIONS,
    SYNONYMS,
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
_ROWS_BY_LETTER: dict[str, set[int]] = {}
for _row, _group in enumerate(_CONTRASTS):
    for _letter in {word[0] for side in _group for word in side}:
        _ROWS_BY_LETTER.setdefault(_letter, set()).add(_row)
_PROCEDURAL = re.compile("|".join(sorted(PROCEDURAL, key=len, reverse=True)))
_SETS = [row.split() for row in SYNONYMS]
_USUAL = {word: row[0] for row in reversed(_SETS) for word in row if not word.startswith("-")}
_LAST = {word[1:]: row[0] for row in reversed(_SETS) for word in row if word.startswith("-")}
_WORDS = re.compile("|".join(sorted(_USUAL, key=len, reverse=True)) + r"|[a-z0-9]+|.")
_PLACE = re.compile(r"^(?:[一-龥]{2,3}?(?:省|市|区|县|镇|乡|街道)(?![一-龥]?[域民])){1,2}")
_PLACES = re.compile(r"[一-龥]{2}(?:省|市|区|县|镇|乡|街道)")
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
    return frozenset(bigrams(" ".join(about(part) for part in text.split())))


@lru_cache(maxsize=65536)
def about(text: str) -> str:
    """A title in usual words, without the place before it and without what says how it is kept."""
    folded = fold(text)
    return usual(_PROCEDURAL.sub(" ", _PLACE.sub("", folded)) if len(folded) > 3 else folded)


def usual(text: str) -> str:
    """Folded text with each word that has synonyms in its usual form."""
    return "".join(_USUAL.get(piece, piece) for piece in _WORDS.findall(text))


@lru_cache(maxsize=65536)
def representation(key: str) -> str:
    """How the value is written (名称, 编号, 日期 …), from the end of the name; "" when it does not say."""
    return next((kind for ending, kind in _ENDINGS if key.endswith(ending)), "")


@lru_cache(maxsize=65536)
def tokens(key: str) -> tuple[str, ...]:
    """The key in words that have synonyms, each in its usual form, and single characters between them."""
    found = [_USUAL.get(piece, piece) for piece in _WORDS.findall(key) if piece.strip()]
    if len(found) > 1:
        found[-1] = _LAST.get(found[-1], found[-1])
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Difference:
    """What remains of two keys when the words they share are taken out, in whatever order these stand."""

    left: tuple[str, ...]  # runs that only the first has, as they stand in it
    right: tuple[str, ...]
    shared: float  # of the characters of both, 0-1

    @property
    def same_words(self) -> bool:
        return not self.left and not self.right

    @property
    def pair(self) -> tuple[str, str]:
        """The substitution alone, without direction, as it is counted over a catalog."""
        one, other = sorted(("".join(self.left), "".join(self.right)), key=lambda part: (len(part), part))
        return one, other


@lru_cache(maxsize=262_144)
def difference(one: str, other: str) -> Difference:
    """How two keys differ: 本年度预算数 and 上年度预算数 by 本 and 上."""
    words_one, words_other = tokens(one), tokens(other)
    length = sum(map(len, words_one)) + sum(map(len, words_other))
    back = _shared(words_one[::-1], words_other[::-1])
    same = sum(map(len, words_one[len(words_one) - back :]))
    words_one, words_other = words_one[: len(words_one) - back], words_other[: len(words_other) - back]
    runs_one, common = _only_in(words_one, words_other)
    runs_other, _ = _only_in(words_other, words_one)
    return Difference(runs_one, runs_other, 2 * (common + same) / length if length else 0.0)


def _only_in(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[tuple[str, ...], int]:
    left: list[str] = list(other)
    runs: list[str] = []
    common, open_ = 0, False
    for word in one:
        if word in left:
            left.remove(word)
            common += len(word)
            open_ = False
        elif open_:
            runs[-1] += word
        else:
            runs.append(word)
            open_ = True
    return tuple(runs), common


def _rests(one: str, other: str) -> tuple[str, str]:
    front = _shared(one, other)
    back = _shared(one[front:][::-1], other[front:][::-1])
    return one[front : len(one) - back], other[front : len(other) - back]


def _shared(one: Sequence[str], other: Sequence[str]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


@lru_cache(maxsize=65536)
def contrast(one: str, other: str) -> tuple[str, str] | None:
    """The words that make two names different elements (开始, 结束), or None.

    A word of one character counts only when it is all that differs: 新 says nothing in 更新日期.
    """
    rests = _rests(one, other)
    cut = difference(one, other)
    runs = cut.left, cut.right
    for said, unsaid in (runs, runs[::-1]):
        if not unsaid and len(said) == 1 and said[0] in NEGATIONS:
            return (said[0], "") if said is cut.left else ("", said[0])
    # Only rows of which both sides may hold a word, by its first character: most pairs have none.
    told = ("".join((name, rest, *left)) for name, rest, left in zip((one, other), rests, runs, strict=True))
    ours, theirs = (
        {row for letter in text for row in _ROWS_BY_LETTER.get(letter, ())} for text in map(set, told)
    )
    for group in (_CONTRASTS[row] for row in sorted(ours & theirs)):
        found = [
            {
                side: word
                for side, spellings in enumerate(group)
                for word in spellings
                if _says(word, name, (rest, *left))
            }
            for name, rest, left in zip((one, other), rests, runs, strict=True)
        ]
        if found[0] and found[1] and not found[0].keys() & found[1].keys():
            return next(iter(found[0].values())), next(iter(found[1].values()))
    return None


def _says(word: str, name: str, rests: Iterable[str]) -> bool:
    if len(word) > 1:
        return word in name or word in rests
    return any(rest.removesuffix("性") == word for rest in rests)


@lru_cache(maxsize=65536)
def population_kinds(text: str) -> frozenset[int]:
    """The object classes (rows of POPULATIONS) that a title speaks of."""
    return frozenset(row for row, _ in _kinds(text))


@lru_cache(maxsize=65536)
def places(title: str) -> frozenset[str]:
    """The places a title names, as far as their names tell (芦竹区)."""
    return frozenset(_PLACES.findall(fold(title)))


def head_kinds(population: str) -> frozenset[int]:
    """The object class a population names: the word that stands last (住房困难家庭 is about households)."""
    found = _kinds(population)
    last = max((at for _, at in found), default=-1)
    return frozenset(row for row, at in found if at == last)


def _kinds(text: str) -> list[tuple[int, int]]:
    folded = fold(text)
    places = ((row, max(map(folded.rfind, kindred))) for row, kindred in enumerate(POPULATIONS))
    return [(row, at) for row, at in places if at >= 0]


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
