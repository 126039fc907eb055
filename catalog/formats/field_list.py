"""Free-text field lists ("編號(序號)、名稱、地址…") as information items.

Pure. Owns where one name ends and what cannot be a name: sentences, values, headings. What is not read
is handed back with its reason, never guessed into an item.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from app.kernel.text import Text
from catalog.text import fold, is_han

NAME_LIMIT = 40  # characters; the longest real field name seen has 35, what is longer was a sentence
PROSE_SHARE = 1 / 5  # of the parts that cannot be names, from which on the whole text is taken for prose

_OPENING, _CLOSING = "(（[【", ")）]】"
_SEPARATORS = "、,，;；\n\r\t"
_NUMBERING = re.compile(r"(?:^|(?<=[^\d.\sA-Za-z]))\s*\d{1,2}[.．](?=[^\d\s])")
_COLUMNS = re.compile(r"[ \u3000]+")
_IN_SENTENCES = re.compile(r"[。！？!：:]|//|^[(（][一二三四五六七八九十\d]{1,2}[)）]")
_NUMERAL = re.compile(r"[一二三四五六七八九十]{1,2}|\d+[.．]?")
_CODE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}", re.ASCII)
_LATIN_NAME = re.compile(r"[A-Za-z_][\w .-]{0,39}", re.ASCII)
_QUOTES = "\"'“”「」"


@dataclass(frozen=True, slots=True)
class ListedItem:
    """One item of a list: its name, what the list says of it in brackets or after a colon, and its field code
    where the list gives a code with the name beside it ("lat(緯度)")."""

    name: str
    definition: str | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Unread:
    """A part of a list that is no item, and why."""

    part: str
    reason: Text


_SENTENCE = Text("像是句子，不是信息项名称", "reads as a sentence, not as the name of an item")
_TOO_LONG = Text(
    f"超过{NAME_LIMIT}字，不像信息项名称", f"longer than {NAME_LIMIT} characters, not the name of an item"
)
_NAMELESS = Text("只有说明，没有名称", "a note without a name")
_NOISE = Text("占位词或序号，没有名称", "a placeholder or a number, not a name")
_TITLE = Text("重复了资源名称，不是信息项", "repeats the title of the resource, not an item")
_PROSE = Text("整段是说明文字，不是信息项清单", "the whole text is prose, not a list of items")


def read_field_list(
    text: str, *, title: str = "", noise: Collection[str] = ()
) -> tuple[list[ListedItem], list[Unread]]:
    """The items a free-text list names, each once, and the parts that are none.

    Separators inside brackets do not separate; a bracketed note or what follows a colon is the
    definition. `title` is the resource's, `noise` the words that stand for "nothing" (folded when compared).
    """
    parts = [part for chunk in _split(text) for part in _columns(chunk)]
    nothing = {fold(word) for word in noise}
    items: dict[tuple[str, str | None], ListedItem] = {}
    unread: list[Unread] = []
    for part in parts:
        item = _as_item(part)
        reason = _reason_against(item, alone=len(parts) == 1, title=fold(title), nothing=nothing)
        if reason is not None:
            unread.append(Unread(part[:200], reason))
        else:
            items.setdefault((item.name, item.definition), _with_code(item))
    sentences = sum(entry.reason in (_SENTENCE, _TOO_LONG, _NAMELESS) for entry in unread)
    if sentences > 1 and sentences > len(parts) * PROSE_SHARE:
        return [], [Unread(text.strip()[:200], _PROSE)]
    return _with_distinct_codes(items.values()), unread


def _split(text: str) -> Iterator[str]:
    """The parts between separators; brackets that never close do not hold separators back."""
    balanced = _balanced(text)
    depth, start = 0, 0
    for position, character in enumerate(text):
        if character in _OPENING:
            depth += 1
        elif character in _CLOSING:
            depth = max(0, depth - 1)
        elif character in _SEPARATORS and (depth == 0 or not balanced):
            yield from _numbered(text[start:position])
            start = position + 1
    yield from _numbered(text[start:])


def _numbered(part: str) -> Iterator[str]:
    """ "1.編號2.取水點位置" as its two parts; a leading number alone is dropped."""
    return (piece.strip() for piece in _NUMBERING.split(part) if piece.strip())


def _columns(part: str) -> list[str]:
    """A heading line pasted from a sheet ("項次 區別 面積") as its columns: three or more short Chinese words."""
    words = _COLUMNS.split(part)
    whole = all(_balanced(word) for word in words)  # else a blank stands inside brackets
    if len(words) >= 3 and whole and not part.isascii() and all(len(word) <= 12 for word in words):
        return words
    return [part]


def _balanced(text: str) -> bool:
    return sum(text.count(c) for c in _OPENING) == sum(text.count(c) for c in _CLOSING)


def _last_group(text: str) -> int | None:
    """Where the bracketed group begins that ends the text; groups may nest."""
    end = len(text.rstrip(" 。"))
    if not end or text[end - 1] not in _CLOSING:
        return None
    depth = 0
    for position in range(end - 1, -1, -1):
        depth += (text[position] in _CLOSING) - (text[position] in _OPENING)
        if depth == 0:
            return position
    return None


def _as_item(part: str) -> ListedItem:
    """Name and definition; a heading keeps its colon and a sentence its stop, by which they are told."""
    name, notes = part, list[str]()
    while _balanced(name) and (start := _last_group(name)) is not None:
        name, notes = name[:start], [name[start:].rstrip(" 。")[1:-1].strip(), *notes]
    if notes:
        name = name.rstrip(":： ")
    bracket = re.search(r"[(（\[【]", name)
    if bracket and not _balanced(name):
        name, notes = (
            name[: bracket.start()],
            [name[bracket.start() :].strip(_OPENING + _CLOSING + " "), *notes],
        )
    before, colon, after = (
        re.split(r"([:：])", name, maxsplit=1) if re.search(r"[:：]\s*\S", name) else (name, "", "")
    )
    if colon and "//" not in before:
        name, notes = before, [after.strip(_QUOTES + " "), *notes]
    name = " ".join(name.split()).strip(_QUOTES).strip(" .-*•─?")
    definition = "；".join(note for note in notes if note and fold(note) != fold(name))
    return ListedItem(name, definition or None)


def _reason_against(item: ListedItem, *, alone: bool, title: str, nothing: set[str]) -> Text | None:
    name = item.name
    if not name:
        return _NAMELESS
    if len(name) > NAME_LIMIT:
        return _TOO_LONG
    if _IN_SENTENCES.search(name):
        return _SENTENCE
    if fold(name) in nothing or _NUMERAL.fullmatch(name) or not re.search(r"\w", name):
        return _NOISE
    if alone and not _LATIN_NAME.fullmatch(name) and len(name) > 6 and fold(name) in title:
        return _TITLE
    return None


def _with_code(item: ListedItem) -> ListedItem:
    """A field code with its name in brackets trades places: "lat(緯度)" is the item 緯度 with the code lat."""
    name, _, rest = re.sub(r"[，,；;]\s*", "\n", item.definition or "", count=1).partition("\n")
    no_name = len(name) > NAME_LIMIT or _IN_SENTENCES.search(name) or not any(is_han(c) for c in name)
    if no_name or not _CODE.fullmatch(item.name):
        return item
    return ListedItem(name, rest or None, item.name)


def _with_distinct_codes(items: Iterable[ListedItem]) -> list[ListedItem]:
    """Nested structures repeat their codes (Zh_tw in each part); only the first keeps it."""
    taken: set[str] = set()
    result = []
    for item in items:
        code = item.code if item.code and item.code.lower() not in taken else None
        taken.add((code or "").lower())
        result.append(ListedItem(item.name, item.definition, code))
    return result
