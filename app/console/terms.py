"""Terms on pages: told with the names the catalog gives, and entered in a form item by item.

Owns the form's fields. What terms may say is `exchange.terms`' and what they may cover `exchange.holdings`'.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

from app.console.forms import Form
from app.kernel.errors import NotFound
from app.kernel.text import Text
from catalog.resources.codes import DATA_TYPES, UPDATE_CYCLES, SharingType
from catalog.resources.record import ItemRecord, ResourceRecord
from exchange.requests.questions import Put, Question
from exchange.terms import METHOD_NAMES, Purpose, Terms, TermsChange
from exchange.told import bilingual, changes_between, records_of, told

__all__ = ["records_of", "told"]  # beside what is owned here, for the pages

MASKS: dict[str, Text] = {
    "none": Text("不脱敏", "not masked"),
    "full": Text("全部隐藏", "hidden"),
    "last_n": Text("仅留末几位（填位数）", "last characters only (how many)"),
    "hash": Text("不可逆散列", "keyed hash"),
    "year_only": Text("仅留年份", "year only"),
    "region_only": Text("仅留区划（填前几位）", "region only (first how many)"),
    "range": Text("仅留区间（填宽度）", "range only (how wide)"),
    "constant": Text("固定值（填值）", "always the same (which value)"),
    "token": Text("令牌化（提供方可还原）", "token (the provider can read it back)"),
    "small_count": Text("小计数不显示（填下限）", "small counts suppressed (below what)"),
}
_PARAMETERS = {
    "last_n": "keep", "region_only": "keep", "range": "width", "constant": "value", "small_count": "below",
}  # fmt: skip
_PLAIN = (
    "method",
    "frequency",
    "valid_from",
    "valid_until",
    "retention_days",
    "disposal",
    "security_measures",
)
_QUOTA = {"calls_per_day": "1000", "rows_per_day": "100000", "rows_per_call": "1000", "concurrent_calls": ""}


def told_changes(
    before: Terms, after: Terms, records: Mapping[UUID, ResourceRecord]
) -> list[tuple[TermsChange, Text]]:
    """Each difference with a label that names the item as the catalog does."""
    return [(change, change.label) for change in changes_between(before, after, records)]


@dataclass(frozen=True, slots=True)
class ItemChoice:
    """One item of the catalog in the form: whether it is kept, and behind which mask."""

    code: str
    name: Text
    definition: str
    type: Text | None
    sensitive: bool
    shared: bool
    kept: bool
    mask: str
    parameter: str
    filtered: bool


@dataclass(frozen=True, slots=True)
class ResourceChoice:
    id: UUID
    title: Text
    items: tuple[ItemChoice, ...]
    scope: str


@dataclass(frozen=True, slots=True)
class Entry:
    """The form of terms as it stands, every field as text: filled from terms or from what was sent."""

    resources: tuple[ResourceChoice, ...]
    purposes: tuple[Mapping[str, str], ...]
    values: Mapping[str, str]  # method, frequency, dates, quota, retention, disposal, security

    @property
    def methods(self) -> Mapping[str, Text]:
        return {method.value: name for method, name in METHOD_NAMES.items()}

    @property
    def frequencies(self) -> Mapping[str, Text]:
        return {cycle.value: name for cycle, name in UPDATE_CYCLES.items()}

    @property
    def masks(self) -> Mapping[str, Text]:
        return MASKS

    def wire(self) -> dict[str, Any]:
        """The terms as the API takes them; a field left blank is absent, so that it is told as missing."""
        given = {name: value for name, value in self.values.items() if value}
        quota = {name: given.pop(name) for name in _QUOTA if name in given}
        purposes = [{k: v for k, v in row.items() if v} for row in self.purposes if any(row.values())]
        resources = [
            {
                "resource_id": str(part.id), "scope": part.scope or None,
                "items": [_item_wire(item) for item in part.items if item.kept],
            }
            for part in self.resources
        ]  # fmt: skip
        return {**given, "quota": quota, "purposes": purposes, "resources": resources}


def _item_wire(item: ItemChoice) -> dict[str, Any]:
    mask: dict[str, str] = {"kind": item.mask}
    if (name := _PARAMETERS.get(item.mask)) and item.parameter:
        mask[name] = item.parameter
    return {"code": item.code, "mask": mask, "filter_on_masked": item.filtered and item.mask != "none"}


def blank_entry(records: Mapping[UUID, ResourceRecord], today: date) -> Entry:
    """A form for asking from scratch: nothing is kept until it is picked (the least that is needed, 809-25)."""
    values = {
        **_QUOTA, "method": "api", "valid_from": today.isoformat(), "retention_days": "30",
        "valid_until": today.replace(year=today.year + 1, day=min(today.day, 28)).isoformat(),
        "disposal": "", "security_measures": "", "frequency": "",
    }  # fmt: skip
    return Entry(
        tuple(_choice(i, record, {}, "") for i, record in records.items()),
        ({"code": "P1", "text": "", "business_matter": "", "legal_basis": ""},), values,
    )  # fmt: skip


def entry_from_terms(terms: Terms, records: Mapping[UUID, ResourceRecord]) -> Entry:
    """A form filled with terms, every other item of the catalog beside them."""
    values = {name: "" if value is None else str(value) for name, value in terms.quota.model_dump().items()}
    for name in _PLAIN:
        values[name] = str(getattr(terms, name) or ("0" if name == "retention_days" else ""))
    parts = []
    for part in terms.resources:
        if part.resource_id not in records:
            raise NotFound()
        kept = {
            item.code: (item.mask.kind, str(getattr(item.mask, _PARAMETERS.get(item.mask.kind, ""), "")), item.filter_on_masked)
            for item in part.items
        }  # fmt: skip
        parts.append(_choice(part.resource_id, records[part.resource_id], kept, part.scope or ""))
    return Entry(tuple(parts), tuple(purpose.model_dump() for purpose in terms.purposes), values)


def entry_from_form(form: Form, records: Mapping[UUID, ResourceRecord]) -> Entry:
    """The form as it was sent."""
    parts = []
    for resource_id, record in records.items():
        kept = {
            code: (
                form.text(f"mask.{resource_id}.{code}") or "none", form.text(f"parameter.{resource_id}.{code}"),
                bool(form.text(f"filter.{resource_id}.{code}")),
            )
            for code in form.all(f"item.{resource_id}")
        }  # fmt: skip
        parts.append(_choice(resource_id, record, kept, form.text(f"scope.{resource_id}")))
    columns = [form.all(f"purpose_{name}") for name in Purpose.model_fields]
    rows = [
        dict(zip(Purpose.model_fields, row, strict=True)) for row in zip(*columns, strict=False) if any(row)
    ]
    return Entry(tuple(parts), tuple(rows), {name: form.text(name) for name in (*_QUOTA, *_PLAIN)})


@dataclass(frozen=True, slots=True)
class Asking:
    """A provider's question as the form of a request puts it, and the answer as it stands."""

    resource_id: UUID
    question: Question
    answer: str

    @property
    def name(self) -> str:
        return f"answer.{self.resource_id}.{self.question.code}"


def asking(put: Put, given: Mapping[tuple[UUID, str], str]) -> list[Asking]:
    """The questions that are put about the resources, with the answers there are."""
    return [
        Asking(resource_id, question, given.get((resource_id, question.code), ""))
        for resource_id, questions in put.items()
        for question in questions
    ]


def answers_in(form: Form, put: Put) -> dict[tuple[UUID, str], str]:
    """The answers as they were sent, by resource and code; blank ones left out."""
    return {
        (one.resource_id, one.question.code): sent for one in asking(put, {}) if (sent := form.text(one.name))
    }


def _choice(
    resource_id: UUID, record: ResourceRecord, kept: Mapping[str, tuple[str, str, bool]], scope: str
) -> ResourceChoice:
    items = tuple(_item_choice(record, item, kept.get(item.code or "")) for item in record.items)
    return ResourceChoice(resource_id, bilingual(record.title, record.title_en), items, scope)


def _item_choice(record: ResourceRecord, item: ItemRecord, kept: tuple[str, str, bool] | None) -> ItemChoice:
    mask, parameter, filtered = kept or ("none", "", False)
    return ItemChoice(
        item.code or "", bilingual(item.name, item.name_en), item.definition or "",
        DATA_TYPES[item.data_type] if item.data_type else None, item.sensitive,
        (item.sharing_type or record.sharing.type) is not SharingType.NOT_SHARED,
        kept is not None, mask, parameter, filtered,
    )  # fmt: skip
