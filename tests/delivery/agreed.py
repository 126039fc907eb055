"""Records of a provider and the terms agreed over them, as the gateway's tests use them."""

from __future__ import annotations

from datetime import date
from typing import Any
from uuid import UUID

from exchange.terms import (
    ItemTerm,
    LastN,
    Method,
    Purpose,
    Quota,
    Range,
    ResourceTerms,
    Terms,
)

RECORDS: list[dict[str, Any]] = [
    {
        "name": f"企业{n}",
        "credit_code": f"91440300{n:010d}",
        "capital": n * 100,
        "status": "在营" if n % 2 else "注销",
        "legal_person_id": f"44030519900101{n:04d}",
        "address": {"district": "440305", "parts": ["南山", n]},
        "secret": "never",
    }
    for n in range(1, 21)
]
ITEMS = (
    ItemTerm(code="name"),
    ItemTerm(code="capital", mask=Range(width=1000)),
    ItemTerm(code="legal_person_id", mask=LastN(keep=4)),
    ItemTerm(code="address"),
    ItemTerm(code="phone"),
)
SCOPE = "status = '在营'"
RESOURCE = UUID("018f0000-0000-7000-8000-000000000001")
QUOTA = Quota(calls_per_day=1000, rows_per_day=100_000, rows_per_call=1000)


def agreed(**changed: Any) -> Terms:
    """Terms over RESOURCE; `items` and `scope` are the resource's, all else the terms' own."""
    part = ResourceTerms(
        resource_id=RESOURCE, items=changed.pop("items", ITEMS), scope=changed.pop("scope", SCOPE)
    )
    values: dict[str, Any] = {
        "resources": (part,),
        "purposes": (
            Purpose(code="P1", text="核验资质", business_matter="施工许可", legal_basis="建筑法"),
            Purpose(code="P2", text="统计", business_matter="年报", legal_basis="统计法"),
        ),
        "method": Method.API,
        "valid_from": date(2020, 1, 1),
        "valid_until": date(2099, 12, 31),
        "quota": QUOTA,
        "retention_days": 30,
    }
    return Terms(**(values | changed))
