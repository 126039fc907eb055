"""Rows of the product's own table, from a workbook or CSV: several for one resource, one information item each.

Pure. Owns how rows make a resource and which headings are which column. Knows nothing of files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache

from openpyxl.utils import get_column_letter
from pydantic import JsonValue

from app.kernel.errors import Fault
from app.kernel.text import Text
from catalog.formats.reading import (
    ROW_LIMIT,
    AgencyRef,
    CellFault,
    FileTooLarge,
    Read,
    Rejected,
    Row,
    SourceRow,
    all_faults,
    too_long,
    validated,
)
from catalog.formats.template import COLUMNS, REST, Column
from catalog.resources.codes import Openness
from catalog.resources.record import ITEM_LIMIT, ResourceRecord, check_record, omissions
from catalog.text import fold

_TITLE = next(column for column in COLUMNS if column.path == "title")
_CODE = next(column for column in COLUMNS if column.path == "code" and not column.of_item)
_OPENNESS = next(column for column in COLUMNS if column.path == "openness.type")
_ITEM_NAME = next(column for column in COLUMNS if column.of_item and column.path == "name")
_TELLING_APART = [
    c for c in COLUMNS if not c.of_item and c.path in ("provider.name", "provider.code", "code")
]
# Fields of the record without a column. A resource that comes back under its code keeps them.
STATED = frozenset({column.path.split(".")[0] for column in COLUMNS if not column.of_item} | {"items"})
UNSTATED = frozenset(ResourceRecord.model_fields) - STATED
_DAY = re.compile(r"(\d{4})[-/.年](\d{1,2})[-/.月](\d{1,2})日?(?: 00:00:00)?|(\d{4})(\d{2})(\d{2})", re.ASCII)
_NOT_OURS = Text(
    "不是本系统导出的内容，请保持原样或清空", "not what the export wrote: leave it as it was, or empty"
)


@dataclass(slots=True)
class Line:
    """One row of the sheet: its texts by column, and what is wrong in it whatever it means."""

    number: int
    texts: dict[Column, str] = field(default_factory=dict)
    faults: list[CellFault] = field(default_factory=list)

    def has(self, *, of_item: bool) -> bool:
        return any(column.of_item is of_item for column in self.texts)


@dataclass(frozen=True, slots=True)
class Layout:
    """Which column of the sheet, counted from 0, is which column of the template."""

    positions: dict[int, Column]
    header_row: int

    def fault(self, row: int, column: Column, message: Text, rule: Text | None = None) -> CellFault:
        position = next((at for at, known in self.positions.items() if known is column), None)
        cell = f"{get_column_letter(position + 1)}{row}" if position is not None else f"{row}"
        return CellFault(f"{column.label.zh} ({cell})", message, rule, row=row, column=column.heading)


def headings(
    rows: Sequence[Sequence[str]], columns: tuple[Column, ...] = (*COLUMNS, REST)
) -> tuple[dict[int, Column], int] | None:
    """The template's columns among the first of `rows` that has them, and how many rows the heading fills (two
    where "提供方" stands over "单位" and "内部部门"). None where it is no heading. A heading that stands twice counts
    where it stands first."""
    single = _known(rows[0], columns)
    above, upper = "", []
    for text in rows[0]:  # a merged cell has its text at its left
        above = text or above
        upper.append(above)
    below = list(rows[1]) if len(rows) > 1 else []
    below += [""] * (len(upper) - len(below))
    double = _known([f"{top}{low}" for top, low in zip(upper, below, strict=False)], columns)
    best, height = (double, 2) if len(double) > len(single) else (single, 1)
    # The sheet of notes names the title alone.
    titled = any(column.path == "title" for column in best.values())
    return (best, height) if titled and len(best) > 1 else None


def _known(names: Sequence[str], columns: tuple[Column, ...]) -> dict[int, Column]:
    by_name = _columns_by_heading(columns)
    positions: dict[int, Column] = {}
    for position, name in enumerate(names):
        column = by_name.get(_heading(name)) if name else None
        if column is not None and column not in positions.values():
            positions[position] = column
    return positions


@lru_cache
def _columns_by_heading(columns: tuple[Column, ...]) -> Mapping[str, Column]:
    return {
        _heading(name): column
        for column in columns
        for name in (column.heading, column.label.zh, column.label.en, *column.also)
    }


def _heading(text: str) -> str:
    return re.sub(r"\s+", "", fold(text))


def limited(lines: Iterable[Line]) -> Iterator[Line]:
    """Those lines that hold anything. Errors: FileTooLarge past ROW_LIMIT."""
    filled = 0
    for line in lines:
        if line.texts or line.faults:
            filled += 1
            if filled > ROW_LIMIT:
                raise FileTooLarge(Text("行数超过 {n}。", "More than {n} rows.").with_(n=ROW_LIMIT))
            yield line


def take(line: Line, column: Column, text: str, layout: Layout) -> None:
    """Put a cell's text into its line."""
    if fault := too_long(text):
        line.faults.append(layout.fault(line.number, column, fault))
    line.texts[column] = text


def read_lines(lines: Iterable[Line], layout: Layout, *, for_filing: bool) -> Iterator[Row]:
    """The resources of the lines, in order. A line without resource cells, or with the same, belongs to the
    resource above it (so merged cells are read right)."""
    for together in _resources(limited(lines)):
        yield _read(together, layout, for_filing=for_filing)


def read_back(texts: Sequence[Mapping[Column, str]]) -> ResourceRecord | None:
    """The record that these rows of one resource are read as; None where they would be rejected."""
    layout = Layout(dict(enumerate((*COLUMNS, REST))), 0)
    lines = [
        Line(number, {column: text for column, text in cells.items() if text})
        for number, cells in enumerate(texts, start=1)
    ]
    row = _read(lines, layout, for_filing=False)
    return row.record if isinstance(row, Read) else None


def _resources(lines: Iterator[Line]) -> Iterator[list[Line]]:
    """Rows that belong to one resource, together."""
    current: list[Line] = []
    for line in lines:
        if current and _begins_another(current[0], line):
            yield current
            current = []
        current.append(line)
    if current:
        yield current


def _begins_another(first: Line, line: Line) -> bool:
    """A row begins another resource with another title, or where it names the title again, another provider
    or code."""
    title = line.texts.get(_TITLE)
    if title is None:
        return not line.has(of_item=True) and line.has(of_item=False)
    return title != first.texts.get(_TITLE) or any(
        c in line.texts and c in first.texts and line.texts[c] != first.texts[c] for c in _TELLING_APART
    )


def _read(lines: Sequence[Line], layout: Layout, *, for_filing: bool) -> Row:
    first = lines[0]
    place = f"row {first.number}" if len(lines) == 1 else f"rows {first.number}-{lines[-1].number}"
    rows = tuple(
        SourceRow(n.number, {c.heading: n.texts.get(c, "") for c in layout.positions.values()}) for n in lines
    )
    item_lines = [line for line in lines if line.has(of_item=True)]
    if len(item_lines) > ITEM_LIMIT:
        message = Text("信息项超过 {n} 个", "more than {n} items").with_(n=ITEM_LIMIT)
        return Rejected(place, (layout.fault(first.number, _ITEM_NAME, message),), rows[:1])
    faults: list[Fault] = [fault for line in lines for fault in line.faults]
    faults += differences(lines, layout)
    values: dict[str, JsonValue] = {}
    for column, text in first.texts.items():
        if not column.of_item and column is not REST:
            put(values, column, text, first.number, layout, faults)
    _open_on_conditions(values, first)
    items: list[JsonValue] = []
    for line in item_lines:
        item: dict[str, JsonValue] = {}
        for column, text in line.texts.items():
            if column.of_item:
                put(item, column, text, line.number, layout, faults)
        items.append(item)
    source_id = first.texts.get(_CODE) or first.texts.get(_TITLE)
    values |= {"items": items, "source_id": source_id}

    record = validated(ResourceRecord, values)
    further = "".join(line.texts.get(REST, "") for line in lines)
    if further and not isinstance(record, tuple):
        record = _completed(record, further) or (Fault("/rest", _NOT_OURS),)
    known = {(f.row, f.column) for f in faults if isinstance(f, CellFault)}

    def in_cells(broken: Iterable[Fault]) -> Iterator[Fault]:
        for fault in broken:
            row, column = cell_of(fault.field, first.number, [line.number for line in item_lines])
            if (row, column.heading) not in known:  # one fault a cell: a value refused is not also missing
                yield layout.fault(row, column, fault.message, fault.rule)

    if faults or isinstance(record, tuple) or check_record(record, for_filing=False):
        faults += in_cells(all_faults(record, values, for_filing=for_filing))
        return Rejected(place, tuple(faults), rows)
    lacking = tuple(in_cells(omissions(record))) if for_filing else ()
    provider = record.provider
    agency = (
        AgencyRef(provider.name or provider.code or "", provider.code)
        if provider.name or provider.code
        else None
    )
    return Read(place, record, agency, (), rows, frozenset() if further else UNSTATED, lacking)


def _open_on_conditions(values: dict[str, JsonValue], first: Line) -> None:
    """ "Open: yes" beside a condition is open on that condition (开放：是否、条件)."""
    openness = values.get("openness")
    said_yes = fold(first.texts.get(_OPENNESS, "")) in ("是", "yes")
    if said_yes and isinstance(openness, dict) and openness.get("condition"):
        openness["type"] = Openness.CONDITIONAL


def further_of(record: ResourceRecord, read: ResourceRecord) -> str:
    """What of `record` the columns do not carry, as the text of the last column: `more` are fields without a
    column, `instead` those that are read otherwise than they were, each as [read, was]."""
    was, now = (r.model_dump(mode="json", exclude_defaults=True) for r in (record, read))
    more = {name: was[name] for name in UNSTATED & was.keys() if name != "source_id"}
    instead = {
        name: [now.get(name), was.get(name)]
        for name in sorted(STATED)
        if now.get(name) != was.get(name) and name != "code"
    }
    told = {key: value for key, value in (("more", more), ("instead", instead)) if value}
    return json.dumps(told, ensure_ascii=False, sort_keys=True, separators=(",", ":")) if told else ""


def _completed(read: ResourceRecord, further: str) -> ResourceRecord | tuple[Fault, ...] | None:
    """The record with what its columns do not carry; a cell that was changed since counts. None: not our text."""
    try:
        told = json.loads(further)
        more, instead = dict(told.get("more", {})), dict(told.get("instead", {}))
        pairs = {name: (pair[0], pair[1]) for name, pair in instead.items()}
    except (ValueError, TypeError, AttributeError, IndexError, KeyError, RecursionError):
        return None
    values = read.model_dump(mode="json", exclude_defaults=True)
    update = {name: value for name, value in more.items() if name in UNSTATED and name != "source_id"}
    update |= {name: was for name, (now, was) in pairs.items() if name in STATED and values.get(name) == now}
    return validated(ResourceRecord, {**values, **update})


def differences(lines: Sequence[Line], layout: Layout) -> Iterator[Fault]:
    """Resource cells that contradict the first row of their resource."""
    message = Text("与该资源首行（第 {row} 行）不一致", "differs from the first row ({row}) of this resource")
    for line in lines[1:]:
        for column, text in line.texts.items():
            if not column.of_item and column is not REST and text != lines[0].texts.get(column):
                yield layout.fault(line.number, column, message.with_(row=lines[0].number))


def put(
    values: dict[str, JsonValue], column: Column, text: str, row: int, layout: Layout, faults: list[Fault]
) -> None:
    """Put a cell's value where its column says; a value outside its list is a fault."""
    parts = [p.strip() for p in re.split(f"[{column.split}]", text) if p.strip()] if column.split else [text]
    if column.choices is not None:
        codes = _codes(column)
        chosen = [codes.get(_word(part)) for part in parts]
        if None in chosen:
            wrong = parts[chosen.index(None)]
            message = Text("“{value}”不在允许的取值之内", "“{value}” is not one of the values").with_(
                value=wrong[:60]
            )
            names = Text(
                "允许：" + "、".join(label.zh for label in column.choices.values()),
                "allowed: " + ", ".join(label.en for label in column.choices.values()),
            )
            faults.append(layout.fault(row, column, message, names))
            return
        parts = [code for code in chosen if code is not None]
    value: JsonValue = [*parts] if column.split else _day(text) if column.dated else parts[0]
    *outer, last = column.path.split(".")
    for part in outer:
        inner = values.setdefault(part, {})
        assert isinstance(inner, dict)
        values = inner
    values[last] = value


@cache
def _codes(column: Column) -> Mapping[str, str]:
    """The codes of a column's list by everything they are called."""
    assert column.choices is not None
    listed = {_word(n): code for code, label in column.choices.items() for n in (code, label.zh, label.en)}
    return {**{_word(word): code for word, code in column.words.items()}, **listed}


def _word(text: str) -> str:
    """A value of a list as it is compared: "C 字符", "C-字符" and "c字符" are one."""
    return re.sub(r"[\s\-－:：.、]", "", fold(text))


def _day(text: str) -> str:
    """A day as agencies write it (2024/5/6, 2024.05.06, 2024年5月6日, 20240506) in the one way that is read."""
    found = _DAY.fullmatch(text)
    if found is None:
        return text
    year, month, day = (part for part in found.groups() if part)
    return f"{year}-{int(month):02d}-{int(day):02d}"


def cell_of(
    pointer: str, first_row: int, item_rows: Sequence[int], columns: Sequence[Column] = COLUMNS
) -> tuple[int, Column]:
    """The row and column that fill the field a JSON pointer names; the title where none does."""
    parts = pointer.strip("/").split("/")
    if parts[0] == "rest":
        return first_row, REST
    title, item_name = (
        next(c for c in columns if c.path == p and c.of_item is (p == "name")) for p in ("title", "name")
    )
    row, of_item, otherwise = first_row, False, title
    if parts[0] == "items":
        otherwise = item_name
        if len(parts) > 1 and parts[1].isdigit():
            row, of_item = item_rows[int(parts[1])], True
        parts = parts[2:]
    while parts:
        path = ".".join(parts)
        column = next((c for c in columns if c.of_item is of_item and c.path.startswith(path)), None)
        if column is not None:
            return row, column
        parts = parts[:-1]
    return row, otherwise
