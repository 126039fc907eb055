"""Terms: their check against the catalog, their hash and their comparison."""

from __future__ import annotations

from datetime import date
from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError

from exchange.scope import ScopeInvalid, parse_scope
from exchange.terms import (
    Full,
    ItemTerm,
    ItemType,
    LastN,
    Purpose,
    Quota,
    ResourceShape,
    ResourceTerms,
    Terms,
    canonical,
    check_terms,
    diff,
    terms_hash,
)

RESOURCE = UUID("018f0000-0000-7000-8000-000000000001")
OTHER = UUID("018f0000-0000-7000-8000-000000000002")
SHAPES = {
    RESOURCE: ResourceShape(
        {
            "企业名称": ItemType.TEXT,
            "法人证件号": ItemType.TEXT,
            "注册资本": ItemType.NUMBER,
            "成立日期": ItemType.DATE,
            "照片": ItemType.OTHER,
        }
    )
}
PURPOSE = Purpose(code="P1", text="核验资质", business_matter="施工许可", legal_basis="建筑法第八条")


def terms(*items: ItemTerm, scope: str | None = None, **changed: Any) -> Terms:
    values: dict[str, Any] = {
        "resources": (
            ResourceTerms(resource_id=RESOURCE, items=items or (ItemTerm(code="企业名称"),), scope=scope),
        ),
        "purposes": (PURPOSE,),
        "method": "api",
        "valid_from": date(2026, 1, 1),
        "valid_until": date(2026, 12, 31),
        "quota": Quota(calls_per_day=100, rows_per_day=1000, rows_per_call=100),
        "retention_days": 30,
    }
    return Terms(**(values | changed))


def faults(checked: Terms) -> list[tuple[str, str]]:
    return [(fault.field, fault.message.en) for fault in check_terms(checked, SHAPES)]


def test_sound_terms_have_no_fault() -> None:
    sound = terms(
        ItemTerm(code="企业名称"), ItemTerm(code="法人证件号", mask=LastN(keep=4)), scope="注册资本 >= 100"
    )
    assert faults(sound) == []


@pytest.mark.parametrize(
    ("unsound", "field"),
    [
        (terms(ItemTerm(code="没有这一项")), "/resources/0/items/0/code"),
        (terms(ItemTerm(code="企业名称"), ItemTerm(code="企业名称")), "/resources/0/items/1"),
        (terms(scope="不存在 = 1"), "/resources/0/scope"),
        (terms(scope="注册资本 = '100'"), "/resources/0/scope"),
        (terms(scope="企业名称 > 5"), "/resources/0/scope"),
        (terms(scope="注册资本 LIKE '1%'"), "/resources/0/scope"),
        (terms(scope="照片 = 'x'"), "/resources/0/scope"),
        (terms(scope="注册资本 >"), "/resources/0/scope"),
        (terms(ItemTerm(code="法人证件号", mask=Full()), scope="法人证件号 = '1'"), "/resources/0/scope"),
        (terms(resources=(ResourceTerms(resource_id=RESOURCE, items=()),)), "/resources/0/items"),
        (
            terms(resources=(ResourceTerms(resource_id=OTHER, items=(ItemTerm(code="a"),)),)),
            "/resources/0/resource_id",
        ),
        (terms(resources=()), "/resources"),
        (terms(purposes=()), "/purposes"),
        (terms(purposes=(PURPOSE, PURPOSE)), "/purposes/1"),
        (terms(valid_until=date(2025, 12, 31)), "/valid_until"),
        (
            terms(quota=Quota(calls_per_day=1, rows_per_day=10, rows_per_call=11)),
            "/quota/rows_per_call",
        ),
    ],
)
def test_each_fault_is_found_alone_and_in_its_place(unsound: Terms, field: str) -> None:
    assert [found for found, _ in faults(unsound)] == [field]
    for fault in check_terms(unsound, SHAPES):
        assert fault.message.zh and fault.message.zh != fault.message.en


def test_a_masked_item_may_be_filtered_on_when_the_terms_say_so() -> None:
    masked = ItemTerm(code="法人证件号", mask=Full(), filter_on_masked=True)
    assert faults(terms(masked, scope="法人证件号 = '1'")) == []


def test_what_is_not_in_the_shape_of_terms_is_refused() -> None:
    with pytest.raises(ValidationError):
        terms(surprise=1)
    with pytest.raises(ValidationError):
        ItemTerm.model_validate({"code": "a", "mask": {"kind": "last_n", "keep": 0}})
    with pytest.raises(ValidationError):
        ItemTerm.model_validate({"code": "a", "mask": {"kind": "rot13"}})
    with pytest.raises(ValidationError):
        terms().__class__.model_validate({**terms().model_dump(), "quota": {"calls_per_day": 0}})


def test_the_hash_survives_storage_and_follows_every_change() -> None:
    agreed = terms(scope="注册资本 >= 100")
    assert terms_hash(Terms.model_validate_json(canonical(agreed))) == terms_hash(agreed)
    assert terms_hash(Terms.model_validate_json(agreed.model_dump_json())) == terms_hash(agreed)
    others = {terms_hash(agreed), terms_hash(terms()), terms_hash(terms(scope="注册资本 >= 101"))}
    others |= {terms_hash(terms(ItemTerm(code="企业名称", mask=LastN(keep=n)))) for n in (1, 2)}
    assert len(others) == 5


def test_the_hash_is_pinned() -> None:
    """Stored agreements carry it: a change of `Terms` that changes it breaks every agreement in force."""
    assert terms_hash(terms(scope="注册资本 >= 100")) == PINNED


PINNED = "ba00fb7524bdef4b84d91b8a74a0f389e52a2510e0f3456a638946221a33f0ec"


def test_a_comparison_names_what_was_added_removed_and_changed() -> None:
    old = terms(ItemTerm(code="企业名称"), ItemTerm(code="法人证件号"), retention_days=30)
    new = terms(
        ItemTerm(code="法人证件号", mask=LastN(keep=4)),
        ItemTerm(code="成立日期"),
        scope="注册资本 >= 100",
        retention_days=10,
    )
    changes = {change.path.removeprefix(f"/resources/{RESOURCE}"): change for change in diff(old, new)}
    assert {path: change.kind for path, change in changes.items()} == {
        "/items/企业名称": "removed",
        "/items/法人证件号": "changed",
        "/items/成立日期": "added",
        "/scope": "added",
        "/retention_days": "changed",
    }
    masked = changes["/items/法人证件号"]
    assert (masked.before, masked.after) != (None, None)
    assert masked.after is not None and masked.after.zh == "仅留末 4 位"
    assert diff(old, old) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "TRUE",
        "a = b",
        "1 = a",
        "a = NULL",
        "a + 1 = 2",
        "casei(a) = 'x'",
        "S_INTERSECTS(g, POINT(1 1))",
        "a = 9007199254740993",
        "d = DATE('2026-02-31')",
        "a LIKE '\\'",
        "a = 'x'; DROP TABLE t",
        "(" * 40 + "a = 1" + ")" * 40,
        "NOT " * 500 + "a = 1",
        "NOT (" * 40 + "a = 1" + ")" * 40,
        "a = 1 OR " * 1000 + "a = 1",
        "a LIKE '" + "%x" * 50 + "'",
    ],
)
def test_a_scope_outside_the_subset_is_refused(text: str) -> None:
    with pytest.raises(ScopeInvalid) as refused:
        parse_scope(text)
    assert refused.value.message.zh
