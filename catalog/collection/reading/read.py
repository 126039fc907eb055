"""What reading a file gives: plans, or why not. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from app.kernel.text import Text
from catalog.collection.record import PlanRecord

Code = TypeVar("Code", bound=str)


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """One plan of a file; `notes` tell what of it was not read."""

    place: str  # "rows 2-9", the name of a table
    record: PlanRecord
    notes: tuple[Text, ...] = ()


def by_code(choices: Mapping[Code, Text]) -> dict[str, Text]:
    return {str(code): label for code, label in choices.items()}
