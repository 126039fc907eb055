"""Column mappings (列映射) as data: which column of a table fills which field of the record, and how.

Pure. Owns the mapping's shape and its application to one row. The mappings that ship are the JSON files
under `mappings/`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from importlib import resources
from typing import Literal

from pydantic import Field, JsonValue

from app.kernel.errors import Fault, NotFound
from app.kernel.text import Text
from app.kernel.wire import Label, Wire
from catalog.formats.field_list import read_field_list
from catalog.formats.format_names import describe_formats
from catalog.formats.reading import AgencyRef, Read, Rejected, Row, SourceRow, clean, too_long, validated
from catalog.resources.record import ResourceRecord, as_abstract, check_record


class FieldRule(Wire):
    """How one field of the record gets its value: a `constant`, or the text of `column` as follows.

    `pattern` takes the named group `value` out of the text (no match: left out). `values` translates whole
    values, `otherwise` stands for those it does not list. `nothing` lists the words that mean an empty cell.
    `split` (a regular expression) makes a list. `reading` is what the text is: a field list of items, names
    of file formats (as the format or as the sharing mode), or plain text.
    """

    constant: JsonValue = None
    column: str | None = None
    pattern: str | None = None
    values: dict[str, str] = Field(default_factory=dict)
    otherwise: str | None = None
    nothing: tuple[str, ...] = ()
    split: str | None = None
    reading: Literal["text", "field_list", "format", "sharing_mode"] = "text"


class AgencyRule(Wire):
    """Where a row names its provider: `pattern` takes the groups `name` and, if any, `code` out of `column`."""

    column: str
    pattern: str = r"(?P<name>.+)"


class ColumnMapping(Wire):
    """A named mapping. `fields` maps paths of the record ("sharing.type", "distributions.0.format") to rules;
    `encodings` are tried in order until the header reads as the columns named here."""

    name: str
    title: Label
    encodings: tuple[str, ...] = ("utf-8-sig", "gb18030", "big5")
    delimiter: str = ","
    agency: AgencyRule | None = None
    fields: dict[str, FieldRule]

    def columns(self) -> frozenset[str]:
        """The columns a table must have."""
        named = {rule.column for rule in self.fields.values() if rule.column}
        return frozenset(named | ({self.agency.column} if self.agency else set()))

    def column_of(self, pointer: str) -> str:
        """The column that fills the field a JSON pointer of the record points at; the pointer where none does."""
        path = pointer.strip("/").replace("/", ".")
        while path:
            rule = self.fields.get(path)
            if rule is not None and rule.column:
                return rule.column
            path = path.rpartition(".")[0]
        return pointer


def mapping_names() -> list[str]:
    """The mappings that ship, by name."""
    folder = resources.files("catalog.formats") / "mappings"
    return sorted(
        entry.name.removesuffix(".json") for entry in folder.iterdir() if entry.name.endswith(".json")
    )


@lru_cache
def load_mapping(name: str) -> ColumnMapping:
    """The mapping of this name. Errors: NotFound, naming those there are."""
    if name not in mapping_names():
        raise NotFound(
            Text(
                "没有列映射“{name}”；可用：{known}。", "No column mapping “{name}”; there are: {known}."
            ).with_(name=name, known=", ".join(mapping_names()))
        )
    text = (resources.files("catalog.formats") / "mappings" / f"{name}.json").read_text("utf-8")
    return ColumnMapping.model_validate(json.loads(text))


def apply_mapping(mapping: ColumnMapping, cells: Mapping[str, str], number: int) -> Row:
    """One row of a table as a resource."""
    place = f"row {number}"
    faults = [Fault(column, fault) for column, value in cells.items() if (fault := too_long(value))]
    if faults:
        shortened = SourceRow(number, {column: value[:200] for column, value in cells.items()})
        return Rejected(place, tuple(faults), (shortened,))
    cells = {column: clean(value) for column, value in cells.items()}
    rows = (SourceRow(number, cells),)
    values: dict[str, JsonValue] = {}
    notes: list[Fault] = []
    title_rule = mapping.fields.get("title", FieldRule())
    title = cells.get(title_rule.column or "", "")
    for path, rule in mapping.fields.items():
        value, unread = _value(rule, cells, title)
        notes += unread
        if value not in (None, "", []):
            _place(values, path.split("."), value)
    if isinstance(text := values.get("abstract"), str) and "description" not in values:
        values["abstract"], values["description"] = as_abstract(text)
    agency = _agency(mapping.agency, cells) if mapping.agency else None
    if mapping.agency and agency is None:
        return Rejected(
            place, (Fault(mapping.agency.column, Text("看不出是哪个单位", "names no agency")),), rows
        )
    record = validated(ResourceRecord, _with_lists(values), mapping.column_of)
    if isinstance(record, tuple):
        return Rejected(place, record, rows)
    if broken := check_record(record, for_filing=False):
        return Rejected(place, tuple(replace(f, field=mapping.column_of(f.field)) for f in broken), rows)
    return Read(place, record, agency, tuple(notes), rows)


def _agency(rule: AgencyRule, cells: Mapping[str, str]) -> AgencyRef | None:
    match = re.fullmatch(rule.pattern, cells.get(rule.column, ""))
    if match is None:
        return None
    groups = match.groupdict()
    return AgencyRef(name=groups["name"].strip(), code=groups.get("code"))


def _value(rule: FieldRule, cells: Mapping[str, str], title: str) -> tuple[JsonValue, list[Fault]]:
    """The value a rule gives, and what it could not read of the cell."""
    if rule.column is None:
        return rule.constant, []
    text = cells.get(rule.column, "")
    if rule.reading == "field_list":
        return _items(rule, text, title)
    if text in rule.nothing:
        return None, []
    if rule.reading in ("format", "sharing_mode"):
        described, mode = describe_formats(re.split(rule.split or ",", text))
        chosen = described if rule.reading == "format" else mode
        return (chosen.model_dump(mode="json", exclude_none=True) if chosen else None), []
    return _words(rule, text), []


def _words(rule: FieldRule, text: str) -> JsonValue:
    """The text of a cell cut to the pattern, then translated or split."""
    if rule.pattern is not None:
        match = re.search(rule.pattern, text)
        text = match["value"].strip() if match else ""
    if rule.values:
        return rule.values.get(text, rule.otherwise) if text else None
    if rule.split is not None:
        return list(dict.fromkeys(part for p in re.split(rule.split, text) if (part := p.strip())))
    return text


def _items(rule: FieldRule, text: str, title: str) -> tuple[JsonValue, list[Fault]]:
    listed, unread = read_field_list(text, title=title, noise=rule.nothing)
    items: list[JsonValue] = [
        {"name": item.name, "definition": item.definition, "code": item.code} for item in listed
    ]
    message = Text("未作为信息项读入：“{part}”（{reason}）", "not read as an item: “{part}” ({reason})")
    notes = [Fault(rule.column or "", message.with_(part=u.part[:60], reason=u.reason)) for u in unread]
    return items, notes


def _place(values: dict[str, JsonValue], path: list[str], value: JsonValue) -> None:
    for part in path[:-1]:
        inner = values.setdefault(part, {})
        assert isinstance(inner, dict)
        values = inner
    values[path[-1]] = value


def _with_lists(value: JsonValue) -> JsonValue:
    """Objects whose keys are all numbers ("distributions.0.format") as the lists they stand for."""
    if not isinstance(value, dict):
        return value
    inner = {key: _with_lists(entry) for key, entry in value.items()}
    if inner and all(key.isdigit() for key in inner):
        return [inner[key] for key in sorted(inner, key=int)]
    return inner
