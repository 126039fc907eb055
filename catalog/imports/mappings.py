"""Column mappings that agencies keep: named, edited in versions, used by imports beside those that ship.

Owns whose mapping a name means. What a mapping may say is `catalog.formats.mapping`'s.
"""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.kernel import history
from app.kernel.actor import Actor
from app.kernel.clock import new_id, now
from app.kernel.errors import Conflict, Fault, Invalid, NotFound, NotPermitted, StaleVersion
from app.kernel.text import Text
from catalog.formats.mapping import ColumnMapping, load_mapping, mapping_names
from catalog.imports.models import StoredMapping

MAPPING_LIMIT = 200  # of one agency
KIND = "column_mapping"


def find_mapping(session: Session, name: str, agency_id: UUID | None) -> ColumnMapping:
    """The agency's mapping of this name, else the one that ships. Errors: NotFound, naming those there are."""
    own = {row.name: row for row in kept_by(session, agency_id)} if agency_id else {}
    if name in own:
        return ColumnMapping.model_validate(own[name].definition)
    if name not in mapping_names():
        known = ", ".join([*own, *mapping_names()])
        message = Text(
            "没有列映射“{name}”；可用：{known}。", "No column mapping “{name}”; there are: {known}."
        )
        raise NotFound(message.with_(name=name, known=known))
    return load_mapping(name)


def kept_by(session: Session, agency_id: UUID) -> list[StoredMapping]:
    """The agency's mappings, by name."""
    query = select(StoredMapping).where(StoredMapping.agency_id == agency_id)
    return list(session.scalars(query.order_by(StoredMapping.name).limit(MAPPING_LIMIT)))


def find_own(session: Session, mapping_id: UUID, /, *, by: Actor) -> StoredMapping:
    """The mapping, if the actor's agency keeps it. Errors: NotFound."""
    query = select(StoredMapping).where(
        StoredMapping.agency_id == by.agency_id, StoredMapping.id == mapping_id
    )
    row = session.scalar(query)
    if row is None:
        raise NotFound()
    return row


def keep(session: Session, mapping: ColumnMapping, *, by: Actor) -> StoredMapping:
    """Keep a new mapping for the actor's agency. Errors: Conflict, Invalid, NotPermitted."""
    if by.agency_id is None:
        raise NotPermitted()
    if mapping.name in mapping_names():
        message = Text("“{name}”是系统自带映射的名称", "“{name}” is the name of a mapping that ships")
        raise Invalid(faults=[Fault("/name", message.with_(name=mapping.name))])
    if len(kept_by(session, by.agency_id)) >= MAPPING_LIMIT:
        message = Text("一个单位最多保存 {n} 个映射。", "An agency keeps at most {n} mappings.")
        raise Invalid(message.with_(n=MAPPING_LIMIT))
    row = StoredMapping(
        id=new_id(), created_at=now(), agency_id=by.agency_id, name=mapping.name, version=1, updated_at=now(),
        updated_by=by.name, definition=mapping.model_dump(mode="json", exclude_defaults=True),
    )  # fmt: skip
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError as error:
        message = Text("本单位已有映射“{name}”。", "Your agency has a mapping “{name}”.")
        raise Conflict(message.with_(name=mapping.name)) from error
    _record(session, row, "keep", by)
    return row


def edit(session: Session, row: StoredMapping, mapping: ColumnMapping, version: int, *, by: Actor) -> None:
    """Replace what a mapping says; its name stays. Errors: Invalid, StaleVersion."""
    session.refresh(row, with_for_update=True)
    if row.version != version:
        raise StaleVersion(current_version=row.version)
    if mapping.name != row.name:
        raise Invalid(faults=[Fault("/name", Text("名称不能修改", "the name does not change"))])
    row.definition = mapping.model_dump(mode="json", exclude_defaults=True)
    row.version, row.updated_at, row.updated_by = row.version + 1, now(), by.name
    _record(session, row, "edit", by)


def remove(session: Session, row: StoredMapping, version: int, *, by: Actor) -> None:
    """Remove a mapping; what was imported with it stays. Errors: StaleVersion."""
    session.refresh(row, with_for_update=True)
    if row.version != version:
        raise StaleVersion(current_version=row.version)
    _record(session, row, "remove", by)
    session.delete(row)


def _record(session: Session, row: StoredMapping, act: str, by: Actor) -> None:
    data = {"name": row.name, "version": row.version, "definition": row.definition}
    history.record(session, kind=KIND, subject_id=row.id, act=act, by=by, data=data, ledgered=False)
    session.flush()
