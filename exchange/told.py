"""Terms told to people: resources and items by the names the catalog gives, masks in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kernel.text import Text
from catalog.resources.models import Resource
from catalog.resources.record import ResourceRecord
from exchange.terms import Terms, TermsChange, diff, mask_text


def records_of(session: Session, resource_ids: Iterable[UUID]) -> dict[UUID, ResourceRecord]:
    """The catalog records of resources that terms name, for whoever may read those terms, whatever has
    become of the resources since."""
    rows = session.execute(select(Resource.id, Resource.record).where(Resource.id.in_(list(resource_ids))))
    return {row.id: ResourceRecord.model_validate(row.record) for row in rows}


def titles_of(session: Session, resource_ids: Iterable[UUID]) -> dict[UUID, Text]:
    """Their titles alone, on the same ground."""
    columns = select(Resource.id, Resource.title, Resource.title_en)
    rows = session.execute(columns.where(Resource.id.in_(list(resource_ids))))
    return {row.id: bilingual(row.title, row.title_en) for row in rows}


def bilingual(zh: str, en: str | None) -> Text:
    """A name of the catalog; one without English goes by its Chinese."""
    return Text(zh, en or zh)


@dataclass(frozen=True, slots=True)
class ToldItem:
    code: str
    name: Text
    sensitive: bool
    mask: Text
    masked: bool
    filtered: bool


@dataclass(frozen=True, slots=True)
class ToldResource:
    id: UUID
    title: Text
    items: tuple[ToldItem, ...]
    scope: str | None


def told(terms: Terms, records: Mapping[UUID, ResourceRecord]) -> list[ToldResource]:
    """The terms' resources and items by name."""
    parts = []
    for part in terms.resources:
        record = records.get(part.resource_id)
        known = {item.code: item for item in record.items} if record else {}
        items = []
        for term in part.items:
            item = known.get(term.code)
            items.append(
                ToldItem(
                    term.code, bilingual(item.name, item.name_en) if item else Text(term.code, term.code),
                    bool(item and item.sensitive), mask_text(term.mask), term.mask.kind != "none", term.filter_on_masked,
                )
            )  # fmt: skip
        title = (
            bilingual(record.title, record.title_en)
            if record
            else Text(str(part.resource_id), str(part.resource_id))
        )
        parts.append(ToldResource(part.resource_id, title, tuple(items), part.scope))
    return parts


def changes_between(before: Terms, after: Terms, records: Mapping[UUID, ResourceRecord]) -> list[TermsChange]:
    """What changed, with resources and items by the names the catalog gives."""
    titles, labels = {}, {}
    for resource_id, record in records.items():
        root = f"/resources/{resource_id}"
        titles[root] = bilingual(record.title, record.title_en)
        for item in record.items:
            name = bilingual(item.name, item.name_en)
            labels[f"{root}/items/{item.code}"] = Text(f"信息项“{name.zh}”", f"Item “{name.en}”")
    changes = []
    for change in diff(before, after):
        title = titles.get(change.path)
        changes.append(
            replace(
                change, label=labels.get(change.path, change.label),
                before=change.before and (title or change.before), after=change.after and (title or change.after),
            )
        )  # fmt: skip
    return changes
