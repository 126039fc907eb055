"""What the catalog holds of the resources that terms name: whose they are, how they are shared, their items.

Owns the bridge from catalog rows to `exchange.terms` and the check of terms against it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Literal
from uuid import UUID

from sqlalchemy import Uuid, any_, bindparam, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from app.kernel.calendar import legal_date
from app.kernel.clock import now
from app.kernel.errors import Fault, Invalid
from app.kernel.text import Text
from catalog.resources.codes import DataType, SharingType
from catalog.resources.models import Item, Resource
from catalog.resources.states import PUBLISHED
from exchange.terms import ItemType, ResourceShape, ResourceTerms, Terms, Unmasked, check_terms

SharingClass = Literal["unconditional", "conditional"]

_ITEM_TYPES: dict[DataType, ItemType] = {
    DataType.CHARACTER: ItemType.TEXT,
    DataType.MEMO: ItemType.TEXT,
    DataType.NUMERIC: ItemType.NUMBER,
    DataType.CURRENCY: ItemType.NUMBER,
    DataType.DOUBLE: ItemType.NUMBER,
    DataType.INTEGER: ItemType.NUMBER,
    DataType.FLOAT: ItemType.NUMBER,
    DataType.DATE: ItemType.DATE,
    DataType.DATETIME: ItemType.DATE,
    DataType.LOGICAL: ItemType.BOOLEAN,
}

LONGEST_TERM = timedelta(days=36525)

_ARTICLE_15 = Text("809 第十五条 不予共享", "Decree 809 Art. 15, not shared")
_ARTICLE_20 = Text("809 第二十条 向其他部门申请", "Decree 809 Art. 20, applied for from another department")


@dataclass(frozen=True, slots=True)
class HeldItem:
    """One item as far as sharing depends on it. `sharing` is its own or the resource's."""

    type: ItemType
    sharing: SharingType
    sensitive: bool


@dataclass(frozen=True, slots=True)
class Holding:
    """One published resource."""

    resource_id: UUID
    agency_id: UUID
    title: Text
    sharing: SharingType
    items: Mapping[str, HeldItem]

    @property
    def shape(self) -> ResourceShape:
        """The items as `check_terms` wants them."""
        return ResourceShape({code: item.type for code, item in self.items.items()})


def holdings_of(session: Session, resource_ids: set[UUID]) -> dict[UUID, Holding]:
    """The published ones of these resources. What states no sharing type is shared on conditions.

    Read ones are kept by the hash of their record, which is all they depend on.
    """
    rows = session.connection().execute(_PUBLISHED, {"ids": list(resource_ids)})
    stand = [(row.id, row.agency_id, row.content_hash) for row in rows]
    found = {key: _read[key] for key in stand if key in _read}
    if unread := [key for key in stand if key not in found]:
        fresh = _read_holdings(session, unread)
        if len(_read) + len(fresh) > _KEPT:
            _read.clear()
        _read.update(fresh)
        found |= fresh
    return {key[0]: holding for key, holding in found.items()}


_PUBLISHED = select(Resource.id, Resource.agency_id, Resource.content_hash).where(
    Resource.id == any_(bindparam("ids", type_=ARRAY(Uuid))), Resource.state == PUBLISHED
)
_Key = tuple[UUID, UUID, bytes]  # a resource, its agency, its content
_KEPT = 4096
_read: dict[_Key, Holding] = {}


def _read_holdings(session: Session, keys: Sequence[_Key]) -> dict[_Key, Holding]:
    rows = session.execute(
        select(
            Resource.id, Resource.title, Resource.title_en, Resource.sharing_type, Item.code, Item.data_type,
            Item.sharing_type.label("item_sharing"), Item.sensitive,
        )
        .outerjoin(Item, Item.resource_id == Resource.id)
        .where(Resource.id.in_([key[0] for key in keys]))
    ).all()  # fmt: skip
    found = {}
    for key in keys:
        mine = [row for row in rows if row.id == key[0]]
        items = {
            row.code: HeldItem(
                type=_ITEM_TYPES.get(DataType(row.data_type), ItemType.OTHER) if row.data_type else ItemType.OTHER,
                sharing=_sharing(row.item_sharing or row.sharing_type),
                sensitive=row.sensitive,
            )
            for row in mine
            if row.code is not None
        }  # fmt: skip
        title = Text(mine[0].title, mine[0].title_en or mine[0].title)
        found[key] = Holding(key[0], key[1], title, _sharing(mine[0].sharing_type), items)
    return found


def _sharing(value: str | None) -> SharingType:
    return SharingType(value) if value else SharingType.CONDITIONAL


def require_sound(
    session: Session,
    terms: Terms,
    *,
    requester_id: UUID,
    provider_id: UUID | None = None,
    member: str = "terms",
) -> dict[UUID, Holding]:
    """The holdings that the terms name, where nothing is wrong with them.

    `provider_id` is the one provider they may be of; None lets them name several. `member` is where they
    stood in what was sent. Errors: Invalid, its faults naming field, value's fault and rule.
    """
    found = holdings_of(session, {part.resource_id for part in terms.resources})
    mine = {i: h for i, h in found.items() if provider_id is None or h.agency_id == provider_id}
    shared = {i: h for i, h in mine.items() if h.sharing is not SharingType.NOT_SHARED}
    faults = check_terms(terms, {i: h.shape for i, h in shared.items()})
    for position, part in enumerate(terms.resources):
        holding = mine.get(part.resource_id)
        if holding is not None:
            faults += _sharing_faults(f"/resources/{position}", part, holding, requester_id)
    faults += _term_faults(terms)
    if faults:
        raise Invalid(faults=[replace(fault, field=f"/{member}{fault.field}") for fault in faults])
    return shared


def _term_faults(terms: Terms) -> list[Fault]:
    today = legal_date(now())
    if terms.valid_until < today:
        return [Fault("/valid_until", Text("有效期已过", "The last day has passed"))]
    if terms.valid_until > today + LONGEST_TERM:
        rule = Text("自今日起不超过 {n} 天", "At most {n} days from today").with_(n=LONGEST_TERM.days)
        return [Fault("/valid_until", Text("有效期过长", "The term is too long"), rule)]
    return []


def _sharing_faults(path: str, part: ResourceTerms, holding: Holding, requester_id: UUID) -> list[Fault]:
    if holding.agency_id == requester_id:
        return [Fault(f"{path}/resource_id", Text("本单位的资源", "Your own resource"), _ARTICLE_20)]
    if holding.sharing is SharingType.NOT_SHARED:
        message = Text("“{title}”不予共享", "“{title}” is not shared").with_(title=holding.title)
        return [Fault(f"{path}/resource_id", message, _ARTICLE_15)]
    return [
        Fault(
            f"{path}/items/{position}/code",
            Text("信息项“{code}”不予共享", "Item “{code}” is not shared").with_(code=item.code),
            _ARTICLE_15,
        )
        for position, item in enumerate(part.items)
        if item.code in holding.items and holding.items[item.code].sharing is SharingType.NOT_SHARED
    ]


def sharing_class(terms: Terms, holdings: Mapping[UUID, Holding]) -> SharingClass:
    """Unconditional where every resource and item asked for is (809-14); conditional otherwise."""
    shared = all(_is_unconditional(part, holdings[part.resource_id]) for part in terms.resources)
    return "unconditional" if shared else "conditional"


def _is_unconditional(part: ResourceTerms, holding: Holding) -> bool:
    asked = [holding.sharing, *(holding.items[item.code].sharing for item in part.items)]
    return all(sharing is SharingType.UNCONDITIONAL for sharing in asked)


def agrees_by_publication(part: ResourceTerms, holding: Holding) -> bool:
    """Whether publication as unconditional is the provider's consent to this at once (809-14). Sensitive
    personal information without a mask (PIPL 28) waits for a person, within the clock."""
    return _is_unconditional(part, holding) and not any(
        holding.items[item.code].sensitive and isinstance(item.mask, Unmasked) for item in part.items
    )
