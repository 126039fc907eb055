"""REST of column mappings: those that ship, and those an agency keeps for its own tables."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Response

from app.identity.cases import Asked, guarded
from app.identity.permissions import permit, permitted
from app.kernel.actor import Actor, Role
from app.kernel.db import DbSession
from app.kernel.idempotency import ONCE, CreatingRoute
from app.kernel.wire import (
    Cursor,
    ExpectedVersion,
    Limit,
    Page,
    Wire,
    encode_cursor,
    read_cursor,
    set_version,
)
from catalog.formats.mapping import ColumnMapping, load_mapping, mapping_names
from catalog.imports import mappings
from catalog.imports.models import StoredMapping

router = APIRouter(prefix="/api/v1/mappings", tags=["imports"], route_class=CreatingRoute)

permit(
    "mapping.list", "mapping.read", "mapping.keep", "mapping.edit", "mapping.remove",
    roles={Role.CATALOG_ADMINISTRATOR},
)  # fmt: skip


Case = Asked[StoredMapping]


def _asked(act: str) -> Any:
    return guarded(f"mapping.{act}", mappings.find_own)


class MappingOut(Wire):
    """A mapping; one that ships has no id, version 0, and does not change."""

    id: UUID | None
    name: str
    ships: bool
    version: int
    updated_at: datetime | None = None
    updated_by: str | None = None
    mapping: ColumnMapping


@router.get("", operation_id="mapping.list")
def list_mappings(
    actor: Annotated[Actor, permitted("mapping.list")],
    session: DbSession,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> Page[MappingOut]:
    """The mappings of your agency, then those that ship: together everything a name can mean in an import."""
    own = mappings.kept_by(session, actor.agency_id) if actor.agency_id else []
    known = [*map(_kept, own), *map(_shipping, mapping_names())]
    start = read_cursor(cursor, int) if cursor else 0
    following = encode_cursor(start + limit) if len(known) > start + limit else None
    return Page(items=known[start : start + limit], next=following)


@router.get("/{id}", operation_id="mapping.read")
def read(asked: Annotated[Case, _asked("read")]) -> MappingOut:
    """A mapping of your agency."""
    set_version(asked.response, asked.case.version)
    return _kept(asked.case)


@router.post("", operation_id="mapping.keep", status_code=201, openapi_extra=ONCE)
def keep(
    body: ColumnMapping,
    actor: Annotated[Actor, permitted("mapping.keep")],
    session: DbSession,
    response: Response,
) -> MappingOut:
    """Keep a mapping for your agency."""
    row = mappings.keep(session, body, by=actor)
    response.headers["Location"] = f"{router.prefix}/{row.id}"
    set_version(response, row.version)
    return _kept(row)


@router.put("/{id}", operation_id="mapping.edit")
def edit(body: ColumnMapping, asked: Annotated[Case, _asked("edit")], version: ExpectedVersion) -> MappingOut:
    """Replace what a mapping of your agency says; imports from now on use it."""
    mappings.edit(asked.session, asked.case, body, version, by=asked.by)
    set_version(asked.response, asked.case.version)
    return _kept(asked.case)


@router.delete("/{id}", operation_id="mapping.remove", status_code=204)
def remove(asked: Annotated[Case, _asked("remove")], version: ExpectedVersion) -> None:
    """Remove a mapping of your agency; what was imported with it stays."""
    mappings.remove(asked.session, asked.case, version, by=asked.by)


def _kept(row: StoredMapping) -> MappingOut:
    return MappingOut(
        id=row.id, name=row.name, ships=False, version=row.version, updated_at=row.updated_at, updated_by=row.updated_by,
        mapping=ColumnMapping.model_validate(row.definition),
    )  # fmt: skip


def _shipping(name: str) -> MappingOut:
    return MappingOut(id=None, name=name, ships=True, version=0, mapping=load_mapping(name))
