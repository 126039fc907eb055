"""Which registered elements an item may mean, best first, with the reasons. Pure.

Built on how collection takes names apart; what is only similar is offered to people and never linked by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from app.kernel.text import Text
from catalog.collection.knowledge import ALIASES
from catalog.collection.normalise import contrast, grams, name_key, representation, type_class
from catalog.resources.record import ItemRecord

FLOOR = 0.5
SHOWN = 3

_SAME_NAME = Text("名称相同", "the same name")
_ALIAS = Text("“{alias}”是该数据元的别名", "“{alias}” is an alias of the element")
_SIMILAR = Text("名称相近（{percent}%）", "a similar name ({percent}%)")
_SAME_LIST = Text("数据字典相同：{name}", "the same code list: {name}")
_SAME_CODE = Text("代码“{code}”与名称首字母相同", "the code “{code}” is made of the name’s initials")
_OTHER_TYPE = Text("数据类型不同", "another data type")


@dataclass(frozen=True, slots=True)
class Known:
    """A registered element as suggestions see it."""

    id: UUID
    names: tuple[str, ...]  # its name, its English name, its aliases
    data_type: str
    code_list: str | None
    initials: str


@dataclass(frozen=True, slots=True)
class Suggestion:
    element_id: UUID
    score: float
    reasons: tuple[Text, ...]


def suggest(item: ItemRecord, elements: Sequence[Known]) -> list[Suggestion]:
    """The best few elements for an item, scores from FLOOR to 1."""
    found = [suggestion for element in elements if (suggestion := _compare(item, element))]
    return sorted(found, key=lambda one: (-one.score, str(one.element_id)))[:SHOWN]


def _compare(item: ItemRecord, element: Known) -> Suggestion | None:
    score, reasons = _by_name([name for name in (item.name, item.name_en) if name], element.names)
    if not reasons:
        return None
    if item.code and item.code.lower() == element.initials:
        score, reasons = score + 0.1, [*reasons, _SAME_CODE.with_(code=item.code)]
    if item.code_list and item.code_list == element.code_list:
        score, reasons = score + 0.1, [*reasons, _SAME_LIST.with_(name=item.code_list)]
    if item.data_type and type_class(item.data_type) != type_class(element.data_type):
        score, reasons = score - 0.2, [*reasons, _OTHER_TYPE]
    score = round(min(score, 1.0), 2)
    return Suggestion(element.id, score, tuple(reasons)) if score >= FLOOR else None


def _by_name(names: Iterable[str], known: Sequence[str]) -> tuple[float, list[Text]]:
    """The best way in which one of the names meets one of those known; the first known is the element's own."""
    best: tuple[float, list[Text]] = (0.0, [])
    for one in map(name_key, names):
        for place, name in enumerate(known):
            other = name_key(name)
            if one == other:
                found = (0.95, [_SAME_NAME]) if place == 0 else (0.9, [_ALIAS.with_(alias=name)])
            elif _aliases(one, other):
                found = (0.85, [_ALIAS.with_(alias=one)])
            elif contrast(one, other) or representation(one) != representation(other):
                continue
            else:
                left, right = set(grams(one)), set(grams(other))
                share = len(left & right) / len(left | right)
                found = (share, [_SIMILAR.with_(percent=round(share * 100))])
            best = max(best, found, key=lambda pair: pair[0])
    return best if best[0] >= FLOOR else (0.0, [])


_ROWS: dict[str, int] = {name_key(name): row for row, names in enumerate(ALIASES) for name in names}


def _aliases(one: str, other: str) -> bool:
    return one in _ROWS and _ROWS[one] == _ROWS.get(other)
