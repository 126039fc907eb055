"""One normalisation of names and texts, shared by search and by duplicate detection.

Owns what counts as the same spelling. Pure and versioned: whatever stores folded text stores
NORMALISATION_VERSION with it. The result is for comparing, never for display.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

from opencc import OpenCC

NORMALISATION_VERSION = 1

_HAN = "\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U000323af〇"
_RUN = re.compile(rf"[{_HAN}]+|[^\W_{_HAN}]+")
_SPACE = re.compile(r"\s+")
# Two spellings of one word that are not a matter of script: Taiwan's 身分 and 帐/账 before the 2001 list.
_VARIANTS = (("身分", "身份"), ("帐", "账"), ("其它", "其他"))


class _Simplified(dict[int, str | None]):
    """Code point to its Simplified form, filled as characters are met.

    Character by character on purpose: OpenCC's phrase rules (乾隆, 著作) depend on the neighbours, so a part
    of a text would fold differently from the whole and a search for it would miss.
    """

    def __init__(self) -> None:
        super().__init__()
        self._converter = OpenCC("t2s")

    def __missing__(self, code_point: int) -> str | None:
        character = chr(code_point)
        if code_point < 128:
            simplified: str | None = character
        elif unicodedata.category(character) == "Cf":  # zero-width space, soft hyphen, byte order mark
            simplified = None
        else:
            simplified = self._converter.convert(character)
        self[code_point] = simplified
        return simplified


_SIMPLIFIED = _Simplified()


def fold(text: str) -> str:
    """The text in one spelling: NFKC, Simplified, lower case, runs of white space as one space.

    `fold(fold(x)) == fold(x)`; "地號　ＩＤ" becomes "地号 id".
    """
    folded = unicodedata.normalize("NFKC", text).translate(_SIMPLIFIED).lower()
    for variant, usual in _VARIANTS:
        folded = folded.replace(variant, usual)
    return _SPACE.sub(" ", unicodedata.normalize("NFKC", folded)).strip()


def words(text: str) -> Iterator[str]:
    """Runs of Han characters and runs of other letters and digits, folded, in order."""
    return (match.group() for match in _RUN.finditer(fold(text)))


def is_han(character: str) -> bool:
    """Whether a single character is a Han character (from which bigrams are made)."""
    return (
        "\u4e00" <= character <= "\u9fff"
        or "\u3400" <= character <= "\u4dbf"
        or ord(character) >= 0x20000
        or (character == "〇")
    )


def bigrams(text: str) -> list[str]:
    """Search tokens in order: overlapping pairs of Han characters, one standing alone, other words.

    "身份证 Grants" gives 身份, 份证, grant. English plurals are cut so that grant and grants meet.
    """
    tokens: list[str] = []
    for run in words(text):
        if not is_han(run[0]):
            tokens.append(_singular(run))
        elif len(run) == 1:
            tokens.append(run)
        else:
            tokens.extend(run[i : i + 2] for i in range(len(run) - 1))
    return tokens


def characters(text: str) -> list[str]:
    """The distinct Han characters of a text in order, so that a one-character search can be answered."""
    return list(dict.fromkeys(character for run in words(text) if is_han(run[0]) for character in run))


@lru_cache(maxsize=65536)
def initials(text: str) -> str:
    """Pinyin initials as column codes use them: 身份证号 is "sfzh"; other letters and digits stay."""
    from pypinyin import Style, lazy_pinyin  # noqa: PLC0415 - its phrase dictionary takes a second to load

    parts: list[str] = []
    for run in words(text):
        parts.extend(lazy_pinyin(run, style=Style.FIRST_LETTER) if is_han(run[0]) else [run])
    return "".join(parts)


def _singular(word: str) -> str:
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word
