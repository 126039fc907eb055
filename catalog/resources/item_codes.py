"""Codes of items: the names of their fields in delivered data, made where a record gives none.

Pure. Owns how a code is made of a name, and that none is given twice. How one is written is the record's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from catalog.resources.record import ItemRecord, ResourceRecord
from catalog.text import initials

_NO_CODE = re.compile(r"[^A-Za-z0-9_]")


def with_item_codes(record: ResourceRecord, previous: Iterable[ItemRecord] = ()) -> ResourceRecord:
    """The record with a code for every item (`item_codes`)."""
    if all(item.code for item in record.items):
        return record
    coded = zip(record.items, item_codes(record.items, previous), strict=True)
    items = tuple(item if item.code else item.model_copy(update={"code": code}) for item, code in coded)
    return record.model_copy(update={"items": items})


def item_codes(items: Sequence[ItemRecord], previous: Iterable[ItemRecord] = ()) -> list[str]:
    """A code for every item: its own, else the one an item of that name had in `previous` (agreements name
    items by code), else the pinyin initials of its name, numbered where they are taken."""
    taken = {item.code.lower() for item in items if item.code}
    if not taken and not previous:
        return [_take_code(item.name, taken) for item in items]
    before: dict[str, list[str]] = {}
    for item in (one for one in previous if one.code):
        before.setdefault(item.name, []).append(item.code or "")
    kept: dict[int, str] = {}
    for position, item in enumerate(items):
        known = [code for code in before.get(item.name, ()) if code.lower() not in taken]
        if known and not item.code:
            kept[position] = known[0]
            taken.add(known[0].lower())
    # A code that some item once had is not given to another.
    taken |= {code.lower() for codes in before.values() for code in codes}
    coded = []
    for position, item in enumerate(items):
        code = item.code or kept.get(position)
        coded.append(code or _take_code(item.name, taken))
        taken.add(coded[-1].lower())
    return coded


def _take_code(name: str, taken: set[str]) -> str:
    """The next free code of a name, which is taken now. Codes made here are in small letters."""
    base = code = _first_code(name)
    number = 1
    while code in taken:
        number += 1
        code = f"{base}_{number}"
    taken.add(code)
    return code


@lru_cache(maxsize=65536)
def _first_code(name: str) -> str:
    letters = _NO_CODE.sub("", initials(name))[:50] or "item"
    return f"_{letters}" if letters[0].isdigit() else letters
