"""REST of keyed sketches of identifiers: handing one in, and what it has in common with those of other agencies."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import Field
from sqlalchemy.orm import Session

from app.identity.cases import AgencyRef, Asked, guarded
from app.identity.permissions import permit, permitted
from app.kernel.actor import Actor, Role, Scope
from app.kernel.db import DbSession
from app.kernel.errors import Fault, Invalid
from app.kernel.idempotency import ONCE, CreatingRoute
from app.kernel.text import Text
from app.kernel.wire import Page, Paging, Wire, page
from catalog.collection import sketches
from catalog.collection.models import IdentifierSketch
from catalog.collection.overlap import LARGEST, Estimate, Overlap
from catalog.collection.wire import agencies_out

router = APIRouter(prefix="/api/v1/sketches", tags=["collection"], route_class=CreatingRoute)

permit("sketch.register", roles={Role.CLERK}, scope=Scope.CLERK)
permit(
    "sketch.list", "sketch.overlaps",
    roles=(Role.CLERK, Role.APPROVER, Role.CATALOG_ADMINISTRATOR, Role.MEDIATOR), scope=Scope.CLERK,
)  # fmt: skip
_COMPARED = 100


class SketchRecord(Wire):
    """What `zhengtong sketch` writes. `key_mark` tells that two sketches were made with one key; the key itself
    stays with the agencies. `resource_id` is the resource whose identifier column it is, if there is one yet."""

    label: Annotated[str, Field(min_length=1, max_length=200)]
    resource_id: UUID | None = None
    key_mark: Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
    sketch: Annotated[str, Field(max_length=LARGEST * 4 // 3 + 4, description="base64")]


class EstimateOut(Wire):
    """`low` to `high` holds 95 times of 100."""

    number: int
    low: int
    high: int

    @classmethod
    def of(cls, estimate: Estimate) -> EstimateOut:
        return cls(number=estimate.number, low=estimate.low, high=estimate.high)


class SketchOut(Wire):
    """A sketch without its content. `identifiers` is how many distinct ones it stands for."""

    id: UUID
    agency: AgencyRef
    label: str
    resource_id: UUID | None
    key_mark: str
    identifiers: int
    created_at: datetime


class OverlapOut(Wire):
    """What two sketches have in common. `share` is of this sketch's identifiers, `share_of_other` of the other's."""

    other: SketchOut
    common: EstimateOut
    share: float
    share_of_other: float

    @classmethod
    def of(cls, other: SketchOut, found: Overlap) -> OverlapOut:
        return cls(
            other=other, common=EstimateOut.of(found.common), share=round(found.share_one, 4),
            share_of_other=round(found.share_other, 4),
        )  # fmt: skip


@router.post("", operation_id="sketch.register", status_code=201, openapi_extra=ONCE)
def register(
    body: SketchRecord, session: DbSession, actor: Annotated[Actor, permitted("sketch.register")]
) -> SketchOut:
    """提交标识概要: hand in the keyed sketch of an identifier column of the own agency."""
    try:
        content = base64.b64decode(body.sketch, validate=True)
    except ValueError:  # also where it is not even ASCII
        raise Invalid(faults=[Fault("/sketch", Text("不是 base64", "not base64"))]) from None
    row = sketches.register(
        session, by=actor, label=body.label, resource_id=body.resource_id, key_mark=body.key_mark, content=content
    )  # fmt: skip
    return _out(session, [row])[0]


@router.get("", operation_id="sketch.list")
def list_sketches(
    session: DbSession,
    actor: Annotated[Actor, permitted("sketch.list")],
    paging: Annotated[Paging, Query()],
) -> Page[SketchOut]:
    """Own sketches, those made with the same key, and for the authority those below it; newest first."""
    rows = sketches.list_sketches(session, by=actor, before=paging.before, limit=paging.fetch)
    return page(rows, paging.limit, partial(_out, session))


@router.get("/{id}/overlaps", operation_id="sketch.overlaps")
def list_overlaps(
    asked: Annotated[Asked[IdentifierSketch], guarded("sketch.overlaps", sketches.find)],
) -> list[OverlapOut]:
    """重合估计: how many identifiers it has in common with each sketch of another agency under the same key."""
    found = sketches.overlaps(asked.session, asked.case, by=asked.by, limit=_COMPARED)
    told = _out(asked.session, [other for other, _ in found])
    return [OverlapOut.of(other, common) for other, (_, common) in zip(told, found, strict=True)]


def _out(session: Session, rows: Sequence[IdentifierSketch]) -> list[SketchOut]:
    names = agencies_out(session, (row.agency_id for row in rows))
    return [
        SketchOut(
            id=row.id, agency=names[row.agency_id], label=row.label, resource_id=row.resource_id,
            key_mark=row.key_mark, identifiers=row.identifiers, created_at=row.created_at,
        )
        for row in rows
    ]  # fmt: skip
