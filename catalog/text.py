"""One normalisation of names and texts, shared by search and by duplicate detection.

Owns what counts as the same spelling. Pure and versioned: whatever stores folded text stores
NORMALISATION_VERSION with it. The result is for comparing, never for display.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from operator import add

from opencc import OpenCC

NORMALISATION_VERSION = 1

_HAN = "\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U000323af〇"
_RUN = re.compile(rf"[{_HAN}]+|[^\W_{_HAN}]+")
_ENDING = "$"
_LONGEST_PHRASE = 4
_REMEMBERED_LENGTH = 40  # characters: names of items and agencies, not abstracts
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
    return " ".join(unicodedata.normalize("NFKC", folded).split())


@lru_cache(maxsize=65536)
def fold_name(name: str) -> str:
    """`fold` of a name, which is remembered: names of items come again and again in a catalog."""
    return fold(name)


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


@dataclass(frozen=True, slots=True)
class Cut:
    """A text folded and cut for search: `tokens` in order (see `bigrams`). `endings` are the last characters of
    its Han words, marked: every character begins a token or is one of them, so one character finds by prefix."""

    folded: str
    tokens: tuple[str, ...]
    endings: tuple[str, ...]
    distinct: dict[str, None]  # both, each once


def cut(text: str, *, is_name: bool = True) -> Cut:
    """The text as search needs it. Names of items and agencies come again and again in a catalog, so they are
    remembered; say of a text that is no name, and will hardly come again, that it is not."""
    return _cut_name(text) if is_name and len(text) <= _REMEMBERED_LENGTH else _cut(text)


def bigrams(text: str) -> tuple[str, ...]:
    """Search tokens in order: overlapping pairs of Han characters, one standing alone, other words.

    "身份证 Grants" gives 身份, 份证, grant. English plurals are cut so that grant and grants meet.
    """
    return cut(text).tokens


def fold_in_place(text: str) -> tuple[str, list[int]]:
    """The text folded character by character, and for each folded character the place in `text` it came from:
    for showing where something was found. Differs from `fold` where characters combine."""
    folded: list[str] = []
    places: list[int] = []
    for place, character in enumerate(text):
        pieces = unicodedata.normalize("NFKC", character).translate(_SIMPLIFIED).lower()
        folded.append(pieces)
        places += [place] * len(pieces)
    joined = "".join(folded)
    for variant, usual in _VARIANTS:  # of one length, so that places stay
        joined = joined.replace(variant, usual)
    return joined, places


def token_spans(folded: str) -> Iterator[tuple[str, int, int]]:
    """Every token of a folded text with the place it stands at, single Han characters beside their pairs."""
    for match in _RUN.finditer(folded):
        run, start = match.group(), match.start()
        if not is_han(run[0]):
            yield _singular(run), start, match.end()
            continue
        for n, character in enumerate(run):
            yield character, start + n, start + n + 1
            if n + 1 < len(run):
                yield run[n : n + 2], start + n, start + n + 2


def _cut(text: str) -> Cut:
    folded = fold(text)
    tokens: list[str] = []
    endings: list[str] = []
    for run in _RUN.findall(folded):
        if not is_han(run[0]):
            tokens.append(_singular(run))
            continue
        if len(run) == 1:
            tokens.append(run)
        else:
            tokens += map(add, run, run[1:])
            endings.append(run[-1] + _ENDING)
    return Cut(folded, tuple(tokens), tuple(endings), dict.fromkeys([*tokens, *endings]))


_cut_name = lru_cache(maxsize=65536)(_cut)


@lru_cache(maxsize=65536)
def initials(text: str) -> str:
    """Pinyin initials as column codes use them: 身份证号 is "sfzh"; other letters and digits stay."""
    runs = _RUN.findall(fold_name(text))
    return "".join([_initials_of_run(run) if is_han(run[0]) else run for run in runs])


def beginnings(folded: str, longest: int) -> list[str]:
    """What one types before a name stands there whole: its first 1 to `longest` characters, and the first 2 to
    `longest` of its pinyin initials. `folded` is the name as `fold` gives it."""
    letters = initials(
        folded[: longest + _LONGEST_PHRASE]
    )  # what stands behind cannot change the first sounds
    parts = [folded[:n] for n in range(1, min(longest, len(folded)) + 1)]
    return list(dict.fromkeys([*parts, *[letters[:n] for n in range(2, min(longest, len(letters)) + 1)]]))


def begins(folded: str, typed: str) -> bool:
    """Whether the name begins with what was typed, or its pinyin initials do. Both as `fold` gives them."""
    return folded.startswith(typed) or (len(typed) > 1 and initials(folded).startswith(typed))


def _initials_of_run(run: str) -> str:
    """Longest known phrases first, since many characters sound differently in some (银行 yh, 行人 xr)."""
    letters, phrases, begun, telling = _sounds()
    if telling.isdisjoint(
        map(add, run, run[1:])
    ):  # nearly always: no phrase says more than its characters do
        return run.translate(letters)
    parts: list[str] = []
    at = 0
    while at < len(run):
        longest = min(_LONGEST_PHRASE, len(run) - at) if run[at : at + 2] in begun else 1
        for length in range(longest, 1, -1):
            sound = phrases.get(run[at : at + length])
            if sound is not None:
                parts.append(sound)
                at += length
                break
        else:
            parts.append(letters.get(ord(run[at]), run[at]))
            at += 1
    return "".join(parts)


@lru_cache(maxsize=1)
def _sounds() -> tuple[dict[int, str], dict[str, str], frozenset[str], frozenset[str]]:
    """First letters by character and by phrase, of pypinyin's dictionaries, the pairs that phrases begin with, and
    those that phrases begin with which sound other than their characters: read once, a hundred times faster than asking
    it for each name."""
    from pypinyin import Style  # noqa: PLC0415 - its phrase dictionary takes a second to load
    from pypinyin.constants import PHRASES_DICT, PINYIN_DICT  # noqa: PLC0415
    from pypinyin.style import convert  # noqa: PLC0415

    def first(reading: str) -> str:
        return convert(reading, Style.FIRST_LETTER, strict=False) or reading[:1]

    letters = {code: first(readings.split(",")[0]) for code, readings in PINYIN_DICT.items()}
    phrases = {
        phrase: "".join([first(readings[0]) for readings in sounds])
        for phrase, sounds in PHRASES_DICT.items()
        if len(phrase) <= _LONGEST_PHRASE
    }
    telling = frozenset(phrase[:2] for phrase, sound in phrases.items() if phrase.translate(letters) != sound)
    return letters, phrases, frozenset(phrase[:2] for phrase in phrases), telling


def _singular(word: str) -> str:
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word
