"""REST of use: the requester notes what it used of what it received; both sides and the authority read it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, Field

from app.identity.cases import Asked, guarded
from app.identity.permissions import permit
from app.kernel.actor import Role, Scope
from app.kernel.idempotency import ONCE, CreatingRoute
from app.kernel.wire import Page, Paging, ShortText, Wire, page
from exchange.agreements.models import Agreement
from exchange.agreements.service import find_agreement
from exchange.delivery import uses
from exchange.delivery.models import ReceiptRow, ReceiptUse
from exchange.terms import Code

router = APIRouter(prefix="/api/v1/agreements", tags=["delivery"], route_class=CreatingRoute)

AT_ONCE = 200

permit("receipt_use.note", roles=(Role.CLERK, Role.APPROVER), scope=(Scope.PULL, Scope.CLERK))
permit(
    "receipt_use.list",
    roles=(Role.CLERK, Role.APPROVER, Role.MEDIATOR, Role.AUDIT_ADMINISTRATOR),
    scope=(Scope.PULL, Scope.CLERK),
)


class UseOfReceipt(Wire):
    """What was used: `matter` is the matter or case it was used for, by its number and without personal information,
    `unit` the office that used it."""

    receipt_id: UUID
    purpose: Code
    matter: ShortText
    unit: ShortText
    used_at: AwareDatetime


class Uses(Wire):
    """One use or many; all are noted or none."""

    uses: Annotated[list[UseOfReceipt], Field(min_length=1, max_length=AT_ONCE)]


class UseNoted(Wire):
    """A use as it was noted, and what its receipt says was received. Never changed; a mistake is noted anew."""

    id: UUID
    noted_at: datetime
    noted_by: UUID
    receipt_id: UUID
    received_at: datetime
    rows: int
    purpose: str
    matter: str
    unit: str
    used_at: datetime

    @classmethod
    def of(cls, use: ReceiptUse, receipt: ReceiptRow) -> UseNoted:
        return cls(
            id=use.id, noted_at=use.created_at, noted_by=use.noted_by, receipt_id=use.receipt_id, received_at=receipt.at,
            rows=receipt.rows, purpose=use.purpose, matter=use.matter, unit=use.unit, used_at=use.used_at,
        )  # fmt: skip


class UsesNoted(Wire):
    """What was noted, in the order it was sent."""

    uses: list[UUID]


class ChosenUses(Paging):
    """Of one receipt, or of all."""

    receipt_id: UUID | None = None


@router.post("/{id}/receipt_uses", operation_id="receipt_use.note", status_code=201, openapi_extra=ONCE)
def note_uses(
    asked: Annotated[Asked[Agreement], guarded("receipt_use.note", find_agreement)], body: Uses
) -> UsesNoted:
    """登记使用: the requester notes what it used of what it received, receipt by receipt (809-27). A line that cannot be
    is named, and then nothing is noted."""
    told = [uses.Used(**use.model_dump()) for use in body.uses]
    noted = uses.note_uses(asked.session, asked.case, told, by=asked.by)
    return UsesNoted(uses=[row.id for row in noted])


@router.get("/{id}/receipt_uses", operation_id="receipt_use.list")
def list_uses(
    asked: Annotated[Asked[Agreement], guarded("receipt_use.list", find_agreement)],
    chosen: Annotated[ChosenUses, Query()],
) -> Page[UseNoted]:
    """使用记录: what was noted under the agreement, the newest first; for both sides, the authority and its audit."""
    rows = uses.list_uses(
        asked.session, asked.case, receipt_id=chosen.receipt_id, before=chosen.before, limit=chosen.fetch
    )
    receipt_of = {use.id: receipt for use, receipt in rows}
    return page(
        [use for use, _ in rows],
        chosen.limit,
        lambda shown: [UseNoted.of(use, receipt_of[use.id]) for use in shown],
    )
