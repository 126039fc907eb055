"""What changed between two records of one resource, field by field, in words.

Pure. Items are known again by their codes, which agreements name; their order alone is one change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel

from app.kernel.text import Text
from catalog.resources import codes
from catalog.resources.labels import label
from catalog.resources.record import ItemRecord, ResourceRecord

Kind = Literal["added", "removed", "changed"]

_NAMED: dict[type[StrEnum], Mapping[Any, Text]] = {
    codes.ResourceClass: codes.RESOURCE_CLASSES,
    codes.SharingType: codes.SHARING_TYPES,
    codes.Openness: codes.OPENNESS,
    codes.UpdateCycle: codes.UPDATE_CYCLES,
    codes.Channel: codes.CHANNELS,
    codes.PlatformMode: codes.PLATFORM_MODES,
    codes.FormatClass: codes.FORMAT_CLASSES,
    codes.DataType: codes.DATA_TYPES,
    codes.BaseLibrary: codes.BASE_LIBRARIES,
    codes.Theme: codes.THEMES,
    codes.Grade: codes.GRADES,
}


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. `path` is a JSON pointer; of an item the position it has after, or had before it went."""

    path: str
    kind: Kind
    label: Text
    before: Text | None
    after: Text | None


def changes_between(before: ResourceRecord, after: ResourceRecord) -> list[Change]:
    """Every difference, in the order of the record's fields."""
    found: list[Change] = []
    for name in ResourceRecord.model_fields:
        if name == "items":
            found += _item_changes(before.items, after.items)
        else:
            found += _differences(f"/{name}", getattr(before, name), getattr(after, name))
    return found


def _differences(path: str, before: Any, after: Any, of: Text | None = None) -> Iterator[Change]:
    if before == after:
        return
    if isinstance(before, BaseModel) and isinstance(after, BaseModel):
        for name in type(after).model_fields:
            yield from _differences(f"{path}/{name}", getattr(before, name), getattr(after, name), of)
        return
    old, new = words(before), words(after)
    if old is None and new is None:
        return
    kind: Kind = "added" if old is None else "removed" if new is None else "changed"
    named = label(path)
    yield Change(path, kind, _of(of, named) if of else named, old, new)


def _of(item: Text, named: Text) -> Text:
    return Text("“{item}”的{named}", "{named} of “{item}”").with_(item=item, named=named)


def _item_changes(before: tuple[ItemRecord, ...], after: tuple[ItemRecord, ...]) -> Iterator[Change]:
    old, new = _by_code(before), _by_code(after)
    for code, (position, item) in new.items():
        if code not in old:
            yield Change(f"/items/{position}", "added", label("/items"), None, item_words(item))
        else:
            yield from _differences(f"/items/{position}", old[code][1], item, Text(item.name, item.name_en or item.name))  # fmt: skip
    for code, (position, item) in old.items():
        if code not in new:
            yield Change(f"/items/{position}", "removed", label("/items"), item_words(item), None)
    kept = [code for code in old if code in new]
    if kept != [code for code in new if code in old]:
        named = Text("信息项的顺序", "order of the items")
        yield Change("/items", "changed", named, _order(old, kept), _order(new, [c for c in new if c in old]))


def _by_code(items: tuple[ItemRecord, ...]) -> dict[str, tuple[int, ItemRecord]]:
    return {(item.code or item.name).lower(): (position, item) for position, item in enumerate(items)}


def _order(items: dict[str, tuple[int, ItemRecord]], kept: list[str]) -> Text:
    names = [items[code][1] for code in kept]
    return Text(
        "、".join(item.name for item in names), ", ".join(item.name_en or item.name for item in names)
    )


def item_words(item: ItemRecord) -> Text:
    """An item in a few words: name, code, type and length."""
    kind = codes.DATA_TYPES[item.data_type] if item.data_type else None
    length = str(item.length) if item.length else ""
    zh = "，".join(part for part in (kind.zh if kind else "", length) if part)
    en = ", ".join(part for part in (kind.en if kind else "", length) if part)
    return Text(
        f"{item.name}（{item.code}）{zh}".rstrip(),
        f"{item.name_en or item.name} ({item.code}) {en}".rstrip(),
    )


def words(value: Any) -> Text | None:
    """A value of the record as people read it; None where nothing is said."""
    if value is None or value in ("", (), {}):
        return None
    if isinstance(value, StrEnum):
        return _NAMED[type(value)][value]
    if isinstance(value, bool):
        return Text("是", "yes") if value else Text("否", "no")
    if isinstance(value, tuple):
        parts = [part for part in map(words, value) if part]
        return Text("、".join(part.zh for part in parts), ", ".join(part.en for part in parts))
    if isinstance(value, BaseModel):
        said = value.model_dump(mode="json", exclude_defaults=True)
        return Text(*2 * ("; ".join(f"{key}: {part}" for key, part in said.items()),)) if said else None
    return Text(str(value), str(value))
