"""What a schema, form or table says of the items it asks for, before it is a plan.

Pure. Owns how names are told from their explanations and what reads as which data type.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from app.kernel.text import Text
from catalog.resources.codes import DataType
from catalog.text import is_han

_NAME_LIMIT, _CODES_LIMIT = 256, 480
_AFTER_NAME = re.compile(r"\s*[:：,，;；(（\n]\s*")


@dataclass(slots=True)
class Described:
    """A form or table: its title, its items as a plan would have them, and what of it was not read."""

    title: str
    title_en: str | None = None
    items: list[dict[str, JsonValue]] = field(default_factory=list)
    notes: list[Text] = field(default_factory=list)

    def add(
        self,
        code: str,
        label: str = "",
        *,
        explained: str = "",
        data_type: DataType | None = None,
        length: int | None = None,
        codes: Iterable[str] = (),
        is_identifier: bool = False,
    ) -> None:
        """One item, called by its label or else by its code; what the label explains after its first words is its
        definition."""
        name, definition = _taken_apart(label)
        item: dict[str, JsonValue] = {
            "name": (name or code)[:_NAME_LIMIT], "definition": "；".join(filter(None, (definition, explained))),
            "is_identifier": is_identifier,
        }  # fmt: skip
        if name and code and any(map(is_han, name)) and not any(map(is_han, code)):
            item["name_en"] = code[:_NAME_LIMIT]
        if data_type is not None:
            item["data_type"] = data_type
        if length is not None and length > 0:
            item["length"] = length
        if listed := "；".join(dict.fromkeys(c for c in codes if c)):
            item["code_list"] = listed if len(listed) <= _CODES_LIMIT else f"{listed[:_CODES_LIMIT]}…"
        self.items.append(item)

    def leave_out(self, what: str, why: Text) -> None:
        self.notes.append(Text("{what}：{why}", "{what}: {why}").with_(what=what[:200], why=why))


def _taken_apart(label: str) -> tuple[str, str]:
    """ "户籍地址：身份证上的地址" is the name 户籍地址 and what it means."""
    name, *rest = _AFTER_NAME.split(" ".join(label.split()), maxsplit=1)
    return name.strip(), rest[0].strip().rstrip(")）") if rest else ""


def in_two_languages(labels: Mapping[str, str]) -> str:
    """The Chinese label where there is one, by the names that forms give languages; otherwise the first."""
    for language, label in labels.items():
        if label and re.search(r"^zh|中文|chinese|汉语", language, re.IGNORECASE):
            return label
    return next((label for label in labels.values() if label), "")
