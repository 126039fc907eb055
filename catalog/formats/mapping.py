"""Column mappings (列映射) as data: which column of a table fills which field of the record, and how.

Pure. Owns the mapping's shape and its application to one row. The mappings that ship are the JSON files
under `mappings/`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from importlib import resources
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, JsonValue, StringConstraints, model_validator

from app.kernel.errors import Fault, NotFound
from app.kernel.text import Storable, Text, storable
from app.kernel.wire import Label, ShortText, Wire
from catalog.formats.field_list import read_field_list
from catalog.formats.format_names import describe_formats
from catalog.formats.reading import (
    AgencyRef,
    CellFault,
    Read,
    Rejected,
    Row,
    SourceRow,
    all_faults,
    clean,
    too_long,
    validated,
)
from catalog.resources.record import ResourceRecord, as_abstract

Encoding = Literal["utf-8-sig", "gb18030", "big5", "utf-16"]
MappingName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
ColumnName = Annotated[str, StringConstraints(min_length=1, max_length=256), Storable]
FieldPath = Annotated[str, StringConstraints(pattern=r"^[^\W\d][^\x00.]*(\.[^\x00.]+){0,3}$", max_length=300)]
UNBOUNDED_LIMIT = 3  # repetitions without an end in one pattern


def _runs_in_time(pattern: str) -> str:
    """Refuse what a backtracking matcher may never finish: repeated groups, and many repetitions without end."""
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(Text("不是合法的正则表达式", "not a regular expression")) from error
    bare = re.sub(r"\[\^?\]?(?:\\.|[^\]\\])*\]", "x", re.sub(r"\\.", "x", pattern))
    if re.search(r"\)[*+{]", bare) or len(re.findall(r"[*+]|\{\d*,\}", bare)) > UNBOUNDED_LIMIT:
        message = Text(
            "重复过多：不得重复括号内的部分，且“*”和“+”不得超过 {n} 个",
            "repeats too much: no repeated groups, and at most {n} of “*” and “+”",
        )
        raise ValueError(message.with_(n=UNBOUNDED_LIMIT))
    return pattern


Pattern = Annotated[
    str, StringConstraints(min_length=1, max_length=200), Storable, AfterValidator(_runs_in_time)
]


class FieldRule(Wire):
    """How one field of the record gets its value: a `constant`, or the text of `column` as follows.

    `pattern` takes the named group `value` (else the whole match) out of the text (no match: left out). `values` translates whole
    values, `otherwise` stands for those it does not list. `nothing` lists the words that mean an empty cell.
    `split` (a regular expression) makes a list. `reading` is what the text is: a field list of items, names
    of file formats (as the format or as the sharing mode), or plain text.
    """

    constant: JsonValue = None
    column: ColumnName | None = None
    pattern: Pattern | None = None
    values: Annotated[dict[str, str], Field(max_length=500)] = Field(default_factory=dict)
    otherwise: str | None = None
    nothing: Annotated[tuple[str, ...], Field(max_length=100)] = ()
    split: Pattern | None = None
    reading: Literal["text", "field_list", "format", "sharing_mode"] = "text"


class AgencyRule(Wire):
    """Where a row names its provider: `pattern` takes the groups `name` and, if any, `code` out of `column`; or one
    `name` that is the provider of every row."""

    column: ColumnName | None = None
    pattern: Pattern = r"(?P<name>.+)"
    name: ShortText | None = None
    name_en: ShortText | None = None


class ColumnMapping(Wire):
    """A named mapping. `fields` maps paths of the record ("sharing.type", "distributions.0.format") to rules;
    `encodings` are tried in order until the header reads as the columns named here.

    Where a resource has several rows, `resource` is the column that is the same on all of them (or empty below
    the first) and `item` maps the fields of the information item that each row describes. Cells of the columns
    in `kept` have no field and stay with the record, row by row.
    """

    name: MappingName
    title: Label
    encodings: tuple[Encoding, ...] = ("utf-8-sig", "gb18030", "big5")
    delimiter: Annotated[str, StringConstraints(min_length=1, max_length=1)] = ","
    agency: AgencyRule | None = None
    resource: ColumnName | None = None
    fields: Annotated[dict[FieldPath, FieldRule], Field(min_length=1, max_length=100)]
    item: Annotated[dict[FieldPath, FieldRule], Field(max_length=20)] = Field(default_factory=dict)
    kept: Annotated[tuple[ColumnName, ...], Field(max_length=200)] = ()

    @model_validator(mode="after")
    def _can_be_kept(self) -> Self:
        pending: list[JsonValue] = [self.model_dump(mode="json")]
        while pending:
            value = pending.pop()
            if isinstance(value, str):
                storable(value)
            elif isinstance(value, dict):
                pending += [*value, *value.values()]
            elif isinstance(value, list):
                pending += value
        return self

    def columns(self) -> frozenset[str]:
        """The columns a table must have."""
        rules = (*self.fields.values(), *self.item.values())
        named = {rule.column for rule in rules if rule.column} | set(self.kept)
        named |= {self.agency.column} if self.agency and self.agency.column else set()
        return frozenset(named | ({self.resource} if self.resource else set()))

    def column_of(self, pointer: str) -> str:
        """The column that fills the field a JSON pointer of the record points at; the pointer where none does."""
        path = pointer.strip("/").replace("/", ".")
        if self.item and path.startswith("items."):
            rule = self.item.get(path.split(".", 2)[-1])
            return rule.column if rule and rule.column else pointer
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


def apply_mapping(mapping: ColumnMapping, rows: Sequence[SourceRow]) -> Row:
    """The rows of one resource (one, unless the mapping says what makes several rows one) as that resource."""
    first, last = rows[0].number, rows[-1].number
    place = f"row {first}" if first == last else f"rows {first}-{last}"
    if faults := _too_long(rows):
        shortened = [SourceRow(r.number, {c: value[:200] for c, value in r.cells.items()}) for r in rows]
        return Rejected(place, tuple(faults), tuple(shortened))
    rows = [SourceRow(r.number, {column: clean(value) for column, value in r.cells.items()}) for r in rows]
    cells, values, notes = rows[0].cells, dict[str, JsonValue](), list[Fault]()
    title_rule = mapping.fields.get("title", FieldRule())
    title = cells.get(title_rule.column or "", "")
    for path, rule in mapping.fields.items():
        value, unread = _value(rule, cells, title)
        notes += unread
        if value not in (None, "", []):
            _place(values, path.split("."), value)
    if mapping.item:
        values["items"] = [_item(mapping, row.cells) for row in rows]
    if mapping.kept:
        kept: list[JsonValue] = [{c: row.cells[c] for c in mapping.kept if row.cells[c]} for row in rows]
        _place(values, ["extra", "rows"], kept)
    if isinstance(text := values.get("abstract"), str) and "description" not in values:
        values["abstract"], values["description"] = as_abstract(text)
    agency = _agency(mapping.agency, cells) if mapping.agency else None
    if mapping.agency and agency is None:
        unclear = Text("看不出是哪个单位", "names no agency")
        return Rejected(place, (Fault(mapping.agency.column or "/agency", unclear),), tuple(rows))
    listed = {path: _with_lists(value) for path, value in values.items()}
    record = validated(ResourceRecord, listed)
    broken = all_faults(record, listed, for_filing=False)
    if broken or isinstance(record, tuple):
        return Rejected(place, tuple(_in_cell(mapping, fault, rows) for fault in broken), tuple(rows))
    return Read(place, record, agency, tuple(notes), tuple(rows))


def _too_long(rows: Sequence[SourceRow]) -> list[Fault]:
    return [
        CellFault(column, fault, row=row.number, column=column)
        for row in rows
        for column, value in row.cells.items()
        if (fault := too_long(value))
    ]


def _item(mapping: ColumnMapping, cells: Mapping[str, str]) -> JsonValue:
    values = {path: _value(rule, cells, "")[0] for path, rule in mapping.item.items()}
    return {path: value for path, value in values.items() if value not in (None, "", [])}


def _in_cell(mapping: ColumnMapping, fault: Fault, rows: Sequence[SourceRow]) -> Fault:
    """The fault at the cell that fills its field, as far as one does."""
    column = mapping.column_of(fault.field)
    parts = fault.field.strip("/").split("/")
    of_item = bool(mapping.item) and parts[0] == "items" and len(parts) > 1 and parts[1].isdigit()
    row = rows[int(parts[1])] if of_item else rows[0]
    if column not in row.cells:
        return replace(fault, field=column)
    return CellFault(column, fault.message, fault.rule, row=row.number, column=column)


def _agency(rule: AgencyRule, cells: Mapping[str, str]) -> AgencyRef | None:
    if rule.column is None:
        return AgencyRef(name=rule.name, name_en=rule.name_en) if rule.name else None
    match = re.fullmatch(rule.pattern, cells.get(rule.column, ""))
    groups = match.groupdict() if match else {}
    name = (groups.get("name") or "").strip()
    return AgencyRef(name=name, code=groups.get("code")) if name else None


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
        text = (match.groupdict().get("value") or match.group()).strip() if match else ""
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
