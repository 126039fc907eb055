"""The share request that takes the place of a collection, filled in from the plan (共享申请).

Pure. Makes the body that is posted to /api/v1/requests; whether it is sound is the exchange's to say.
Refuses what cannot be asked for: the agency's own resources, and what is not shared (809-15, 809-20).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from uuid import UUID

from app.kernel.wire import Wire
from catalog.collection.record import CoverageRecord, PlanRecord
from catalog.resources.codes import PlatformMode, SharingType

_LEAST_ROWS, _ROWS_PER_CALL, _CALLS_PER_DAY = 1_000, 100, 1_000
_RESOURCES = 50  # that one request may name


@dataclass(frozen=True, slots=True)
class Askable:
    """A published resource as far as a request for it depends on it; `sharing` is of each item, by code."""

    resource_id: UUID
    agency_id: UUID
    mode: PlatformMode | None
    sharing: Mapping[str, SharingType | None]


class ItemBody(Wire):
    code: str


class ResourceBody(Wire):
    resource_id: UUID
    items: tuple[ItemBody, ...]


class PurposeBody(Wire):
    code: str
    text: str
    business_matter: str
    legal_basis: str


class QuotaBody(Wire):
    calls_per_day: int
    rows_per_day: int
    rows_per_call: int


class TermsBody(Wire):
    resources: tuple[ResourceBody, ...]
    purposes: tuple[PurposeBody, ...]
    method: str
    valid_from: date
    valid_until: date
    quota: QuotaBody
    retention_days: int


class ShareRequestBody(Wire):
    """What a requester may post as it stands, or change first: quota and retention are a place to start."""

    title: str
    terms: TermsBody


def fill_in(
    plan: PlanRecord,
    plan_id: UUID,
    agency_id: UUID,
    wanted: Mapping[UUID, Iterable[str]],
    askable: Mapping[UUID, Askable],
    *,
    today: date,
) -> ShareRequestBody | None:
    """The request of `agency_id` for the wanted item codes of each resource; None where nothing of it can be
    asked for, or the plan's period has ended."""
    asked: dict[UUID, tuple[str, ...]] = {}
    for resource_id, codes in wanted.items():
        held = askable.get(resource_id)
        if held is None or held.agency_id == agency_id:
            continue
        shared = [c for c in dict.fromkeys(codes) if held.sharing.get(c, _GONE) is not SharingType.NOT_SHARED]
        if shared and len(asked) < _RESOURCES:
            asked[resource_id] = tuple(shared)
    if not asked or plan.period_until < today:
        return None
    by_file = any(askable[resource_id].mode is PlatformMode.FILE for resource_id in asked)
    purpose = PurposeBody(
        code=f"plan-{plan_id.hex[-12:]}", text=plan.purpose, business_matter=plan.business_matter,
        legal_basis=plan.legal_basis,
    )  # fmt: skip
    return ShareRequestBody(
        title=plan.title,
        terms=TermsBody(
            resources=tuple(
                ResourceBody(resource_id=resource_id, items=tuple(ItemBody(code=code) for code in codes))
                for resource_id, codes in asked.items()
            ),
            purposes=(purpose,),
            method="bulk" if by_file else "api",
            valid_from=today,
            valid_until=plan.period_until,
            quota=QuotaBody(
                calls_per_day=_CALLS_PER_DAY,
                rows_per_day=max(plan.respondents, _LEAST_ROWS),
                rows_per_call=_ROWS_PER_CALL,
            ),
            retention_days=min((plan.period_until - today).days, 36_525),
        ),
    )


_GONE = SharingType.NOT_SHARED  # an item that is no longer in the record cannot be asked for either


def wanted_of(coverage: CoverageRecord, positions: frozenset[int]) -> dict[UUID, list[str]]:
    """The item codes, by resource, that would supply these planned items."""
    wanted = {
        part.resource_id: [s.item_code for s in part.items if s.position in positions]
        for part in coverage.resources
    }
    return {resource_id: codes for resource_id, codes in wanted.items() if codes}
