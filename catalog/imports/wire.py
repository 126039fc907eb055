"""What imports say of themselves: faults at their place, reports, lines of a preview.

Owns shapes only.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import field_validator

from app.kernel.errors import Fault
from app.kernel.text import Text
from app.kernel.wire import Label, Wire
from catalog.formats.detect import SourceFormat
from catalog.formats.reading import CellFault, Rejected, SourceRow
from catalog.resources.importing import ImportState

RowOutcome = Literal["new", "changed", "unchanged", "rejected"]


class Remark(Wire):
    """A fault, or a note on what was not read, at its place."""

    place: str
    field: str
    message: Label
    rule: Label | None = None
    row: int = 0
    column: str = ""

    @classmethod
    def of(cls, place: str, fault: Fault) -> Remark:
        at = (fault.row, fault.column) if isinstance(fault, CellFault) else (0, "")
        rule = Label.of(fault.rule) if fault.rule else None
        return cls(
            place=place,
            field=fault.field,
            message=Label.of(fault.message),
            rule=rule,
            row=at[0],
            column=at[1],
        )

    def as_fault(self) -> Fault:
        rule = Text(self.rule.zh, self.rule.en) if self.rule else None
        message = Text(self.message.zh, self.message.en)
        if self.column:
            return CellFault(self.field, message, rule, row=self.row, column=self.column)
        return Fault(self.field, message, rule)


class RejectedCells(Wire):
    """One source row of what was rejected; its cells in the order of the columns, which a JSON object loses in
    the database."""

    number: int
    cells: tuple[tuple[str, str], ...]

    @field_validator("cells", mode="before")
    @classmethod
    def _in_pairs(cls, cells: object) -> object:
        return tuple(cells.items()) if isinstance(cells, dict) else cells  # as runs of before kept them


class RejectedEntry(Wire):
    """One resource that was not brought in, its faults and its source rows."""

    place: str
    faults: list[Remark]
    rows: list[RejectedCells]

    @classmethod
    def of(cls, entry: Rejected) -> RejectedEntry:
        return cls(
            place=entry.place,
            faults=[Remark.of(entry.place, fault) for fault in entry.faults],
            rows=[RejectedCells(number=row.number, cells=tuple(row.cells.items())) for row in entry.rows],
        )

    def as_rejected(self) -> Rejected:
        rows = tuple(SourceRow(row.number, dict(row.cells)) for row in self.rows)
        return Rejected(self.place, tuple(fault.as_fault() for fault in self.faults), rows)


class ImportReport(Wire):
    """What came of an import. `rejected` counts all; `rejected_rows` and `notes` stop at KEPT_LIMIT."""

    id: UUID
    source: str
    format: SourceFormat
    mapping: str | None
    as_state: ImportState
    dry_run: bool
    new: int
    changed: int
    unchanged: int
    rejected: int
    agencies_created: list[str]
    notes: list[Remark]
    rejected_rows: list[RejectedEntry]


class Tally(Wire):
    """What came of an import, or would come of it, in numbers."""

    new: int
    changed: int
    unchanged: int
    rejected: int
    agencies_created: list[str]
    source: str
    format: SourceFormat


class ProblemOut(Wire):
    """Why a file was refused as a whole."""

    title: Label
    detail: Label
    faults: list[Remark]


class ImportSummary(Wire):
    """One line of the list of imports."""

    id: UUID
    state: str
    state_name: Label
    file_name: str
    file_size: int
    harvest_id: UUID | None
    created_at: datetime
    updated_at: datetime


class ImportOut(ImportSummary):
    """An import, and what the reader may do with it now. `resources_read` tells how far the phase that runs is;
    `preview` is what the rehearsal found, `result` what was brought in."""

    version: int
    resources_read: int
    mapping: str | None
    agency: str | None
    as_state: ImportState
    preview: Tally | None
    result: Tally | None
    problem: ProblemOut | None
    allowed: list[str]


class PreviewRow(Wire):
    """What would come of one resource: its differences as field → [is, would be], or the faults it is refused for."""

    number: int
    outcome: RowOutcome
    place: str
    title: str | None
    source_id: str | None
    resource_id: UUID | None
    differences: dict[str, tuple[Any, Any]]
    notes: list[Remark]
    faults: list[Remark]
