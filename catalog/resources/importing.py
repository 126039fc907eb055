"""Resources brought in from another catalog, many at a time: new, changed or unchanged.

Owns how an imported record meets the one that is there. Reading files is `catalog.formats`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import and_, insert, or_, select
from sqlalchemy.orm import Session

from app.identity.models import Agency
from app.identity.profiles import start_clock
from app.kernel import history
from app.kernel.actor import Actor
from app.kernel.clock import new_id, now
from app.kernel.db import advisory_lock, copy_rows
from app.kernel.machine import Party
from catalog.resources.item_codes import item_codes, with_item_codes
from catalog.resources.models import Filing, Resource, ResourceVersion
from catalog.resources.record import (
    ResourceRecord,
    content_hash,
    hash_of,
    stored_form,
    stored_text,
)
from catalog.resources.review import FilingStatement
from catalog.resources.service import (
    KIND,
    columns_of,
    insert_items,
    replace_items,
    reserve_numbers,
    version_row,
    write_record,
)
from catalog.resources.states import PUBLISHED, RESOURCE, REVIEW, WITHDRAWN

Outcome = Literal["new", "changed", "unchanged"]
ImportState = Literal["draft", "filed", "published"]

BATCH = 500  # a good size for one call of `upsert_imported`
_PARTIES: frozenset[Party] = frozenset({"importer"})


@dataclass(frozen=True)
class Incoming:
    """A record read from a source, and the registered agency that provides it. `unstated` names fields of the
    record that the source has no place for."""

    agency: Agency
    record: ResourceRecord
    unstated: frozenset[str] = frozenset()

    @property
    def source_id(self) -> str:
        """The record's identifier in its source. Errors: ValueError where the reader gave none."""
        if self.record.source_id is None:
            raise ValueError(f"imported record without source_id: {self.record.title}")
        return self.record.source_id

    @cached_property
    def stored(self) -> dict[str, Any]:
        """The record as it would be stored; not to be changed."""
        return stored_form(self.record)

    @cached_property
    def content_hash(self) -> bytes:
        """The hash of `stored`."""
        return hash_of(self.stored)


@dataclass(frozen=True, slots=True)
class Compared:
    """What would come of one record: the resource it is known as, and each field that differs as [is, would be]."""

    outcome: Outcome
    resource_id: UUID | None = None
    differences: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)


def compare_imported(session: Session, incoming: Sequence[Incoming], *, source: str) -> list[Compared]:
    """What `upsert_imported` would do with each record, writing nothing."""
    present = _present(session, incoming, source)
    return [_compare(present.get(row.source_id), row, source) for row in incoming]


def _compare(resource: Resource | None, row: Incoming, source: str) -> Compared:
    outcome = _outcome(resource, row, source)
    if resource is None or outcome != "changed":
        return Compared(outcome, resource.id if resource else None)
    after = _completed(row, resource, source).model_dump(mode="json")
    before = ResourceRecord.model_validate(resource.record).model_dump(mode="json")
    differing = {name: (before[name], after[name]) for name in after if before[name] != after[name]}
    return Compared(outcome, resource.id, differing)


def upsert_imported(
    session: Session,
    incoming: Sequence[Incoming],
    *,
    source: str,
    as_state: ImportState,
    by: Actor,
    statement: FilingStatement | None = None,
) -> list[Outcome]:
    """Bring in records of `source` (a stable name of the catalog they come from), in the order given.

    A resource is known again by (source, record.source_id), or by its own code where the record carries
    one that its agency has; then it keeps what the source has no place for. New ones get `as_state`, and where
    that is filed with a `statement` it is kept with each; a known one is changed where the source changed since it
    was last imported and keeps its state, so what was edited here since stays until then. Withdrawn
    ones are left alone. Each change is one event, one ledger entry and, if published, one version.
    `incoming` may be long (500 is a good batch) and must not name one source_id twice: ValueError.
    """
    if len({row.source_id for row in incoming}) != len(incoming):
        raise ValueError("one source_id twice in a batch")
    advisory_lock(session, f"import:{source}")
    present = _present(session, incoming, source)
    outcomes = [_outcome(present.get(row.source_id), row, source) for row in incoming]
    new = [r for r, o in zip(incoming, outcomes, strict=True) if o == "new"]
    _insert(session, new, source, as_state, by, statement)
    changed = [r for r, outcome in zip(incoming, outcomes, strict=True) if outcome == "changed"]
    for row in changed:
        _change(session, present[row.source_id], row, source, by)
    session.flush()
    replace_items(session, [present[row.source_id] for row in changed])
    return outcomes


def _present(session: Session, incoming: Sequence[Incoming], source: str) -> dict[str, Resource]:
    """What the catalog holds of these records, by source_id."""
    by_id = {row.source_id: row for row in incoming}
    by_code = {row.record.code: row for row in incoming if row.record.code}
    query = select(Resource).where(
        or_(
            and_(Resource.source == source, Resource.source_id.in_(by_id)),
            Resource.code.in_(by_code),
        )
    )
    found: dict[str, Resource] = {}
    for resource in session.scalars(query):
        if resource.source == source and resource.source_id in by_id:
            found[resource.source_id] = resource
        elif by_code[resource.code].agency.id == resource.agency_id:
            found.setdefault(by_code[resource.code].source_id, resource)
    return found


def _outcome(resource: Resource | None, row: Incoming, source: str) -> Outcome:
    if resource is None:
        return "new"
    if resource.state == WITHDRAWN:
        return "unchanged"
    if _comes_from(resource, row, source):
        same = resource.source_hash == row.content_hash
    else:
        same = resource.content_hash == content_hash(_completed(row, resource, source))
    return "unchanged" if same else "changed"


def _comes_from(resource: Resource, row: Incoming, source: str) -> bool:
    """Whether it was first imported from `source`; else the record carries its code, as a workbook that was
    exported here does."""
    return (resource.source, resource.source_id) == (source, row.source_id)


def _completed(row: Incoming, resource: Resource, source: str) -> ResourceRecord:
    """The record with the code and the item codes the resource already has; known by its code, also with what
    the source has no place for."""
    before = ResourceRecord.model_validate(resource.record)
    update: dict[str, Any] = {"code": resource.code}
    if row.record.published_on is None:
        update["published_on"] = before.published_on
    if not _comes_from(resource, row, source):
        update |= {name: getattr(before, name) for name in ("source_id", *row.unstated)}
        if row.record.classification.resource_class is before.classification.resource_class:
            update["classification"] = before.classification  # its code says the rest
    return with_item_codes(row.record.model_copy(update=update), before.items)


def _insert(
    session: Session,
    rows: Sequence[Incoming],
    source: str,
    as_state: ImportState,
    by: Actor,
    statement: FilingStatement | None,
) -> None:
    """Write new resources in a handful of statements, whatever their number."""
    if not rows:
        return
    act = f"import_{as_state}"
    transition = RESOURCE.find(None, act)
    assert transition is not None
    at, published = now(), transition.target == PUBLISHED
    new: list[dict[str, Any]] = []
    for row, number in zip(rows, reserve_numbers(session, len(rows)), strict=True):
        code = f"{row.record.classification.prefix}/{number:06d}"
        stored = row.stored | {"code": code}
        if row.record.items:
            coded = zip(row.stored["items"], item_codes(row.record.items), strict=True)
            stored["items"] = [item | {"code": item_code} for item, item_code in coded]
        text = stored_text(stored)
        new.append(
            columns_of(row.record, stored, text)
            | {
                "id": new_id(), "agency_id": row.agency.id, "jurisdiction_id": row.agency.jurisdiction_id,
                "code": code, "source": source, "source_id": row.source_id, "source_hash": row.content_hash,
                "created_at": at, "updated_at": at, "state": transition.target, "version": 1,
                "published_version": int(published), "text": text,
            }
        )  # fmt: skip
    plain = [name for name in new[0] if name not in ("record", "text")]
    copy_rows(session, Resource, [*plain, "record"], ([*map(one.get, plain), one["text"]] for one in new))
    insert_items(session, [(one["id"], one["record"]) for one in new])
    if published:
        columns = ("resource_id", "number", "published_at", "record", "content_hash")
        versions = ((one["id"], 1, at, one["text"], one["content_hash"]) for one in new)
        copy_rows(session, ResourceVersion, columns, versions)
    told = [(one["id"], {"code": one["code"], "content_sha256": one["content_hash"].hex()}) for one in new]
    history.record_many(session, machine=RESOURCE, act=act, subjects=told, by=by, parties=_PARTIES)
    if transition.duty == REVIEW:
        if statement is not None:
            _keep_filings(session, new, statement, by)
        for one in new:
            start_clock(session, whose=one["jurisdiction_id"], kind=KIND, subject_id=one["id"], duty=REVIEW)


def _keep_filings(
    session: Session, new: Sequence[Mapping[str, Any]], statement: FilingStatement, by: Actor
) -> None:
    """What `review.write_filing` keeps of each, in one statement."""
    columns = (
        "id", "created_at", "resource_id", "number", "record", "content_hash", "statement", "signed_by", "signed_name",
    )  # fmt: skip
    signed = statement.model_dump_json()
    rows = (
        (new_id(), one["created_at"], one["id"], 1, one["text"], one["content_hash"], signed, by.id, by.name)
        for one in new
    )
    copy_rows(session, Filing, columns, rows)


def _change(session: Session, resource: Resource, row: Incoming, source: str, by: Actor) -> None:
    record = _completed(row, resource, source)
    data = {"code": resource.code, "content_sha256": content_hash(record).hex()}
    history.advance(session, resource, RESOURCE, "import_change", by=by, parties=_PARTIES, data=data)
    write_record(resource, record)
    resource.agency_id, resource.jurisdiction_id = row.agency.id, row.agency.jurisdiction_id
    if _comes_from(resource, row, source):
        resource.source_hash = row.content_hash
    if resource.state == PUBLISHED:
        resource.published_version += 1
        session.execute(insert(ResourceVersion), [version_row(resource)])
