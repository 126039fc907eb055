"""Lists and simple cases as pages: what a column, a cell, a fact is, so that one template serves them all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any
from urllib.parse import urlencode

from app.kernel.text import Text
from app.kernel.wire import Label

Words = Text | Label | str
Value = Words | int | float | date | datetime | None


NOTHING = Text("没有记录。", "Nothing here.")


@dataclass(frozen=True, slots=True)
class Cell:
    """A value with what goes with it: an address, a second line, the state whose tag it is."""

    value: Value
    href: str = ""
    below: Value = None
    state: str = ""
    late: bool = False
    code: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    columns: Sequence[Text]
    rows: Sequence[Sequence[Cell]]
    title: Text
    empty: Text = NOTHING
    count: bool = False

    @property
    def numbers(self) -> frozenset[int]:
        """The columns that hold numbers."""
        return frozenset(
            n
            for n in range(len(self.columns))
            if self.rows and all(isinstance(row[n].value, int | float) for row in self.rows)
        )


@dataclass(frozen=True, slots=True)
class Tab:
    href: str
    label: Words
    current: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """A filter of a list: a select, or a field to write in where there are no options."""

    name: str
    label: Text
    value: str = ""
    options: Mapping[str, Text] | None = None
    kind: str = "text"


@dataclass(frozen=True, slots=True)
class Link:
    href: str
    label: Text
    main: bool = False


@dataclass(frozen=True, slots=True)
class Register:
    """A list as a page."""

    title: Text
    table: Table
    tabs: Sequence[Tab] = ()
    choices: Sequence[Choice] = ()
    links: Sequence[Link] = ()
    intro: Text | None = None
    more: str | None = None


@dataclass(frozen=True, slots=True)
class Sheet:
    """A simple case as a page: facts, tables, notes."""

    title: Words
    crumb: Link
    facts: Sequence[tuple[Text, Cell | Sequence[Cell]]]
    state: tuple[str, Words] | None = None
    tables: Sequence[Table] = ()
    notes: Sequence[tuple[str, Words]] = ()
    links: Sequence[Link] = ()
    posts: Sequence[Link] = ()  # buttons that send a form without fields
    words: Sequence[tuple[Text, str]] = field(default=())
    running: bool = False  # something is under way: the page looks again by itself


def state_tabs(
    path: str, states: Mapping[str, Text], state: str | None, waiting: bool | None = None
) -> list[Tab]:
    """All, those that wait for the reader's agency (where a list has that), and each state."""
    tabs = [Tab(path, Text("全部", "All"), not state and not waiting)]
    if waiting is not None:
        tabs.append(Tab(f"{path}?waiting=true", Text("待本单位办理", "Waiting for us"), waiting))
    return tabs + [Tab(f"{path}?state={value}", name, value == state) for value, name in states.items()]


def onward(path: str, following: str | None, **kept: Any) -> str | None:
    """The address of the next page, with what the list was asked for."""
    if following is None:
        return None
    pairs = [(name, str(value)) for name, value in kept.items() if value not in (None, "", False)]
    return f"{path}?{urlencode([*pairs, ('cursor', following)])}"
