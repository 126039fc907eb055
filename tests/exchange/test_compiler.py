"""What leaves is what was agreed: the compiler against a slow, obvious reference."""

from __future__ import annotations

import json
import time
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.compiler import OutsideTerms, compile_terms
from exchange.masks import HIDDEN, NotAToken, Tokens, cover_of
from exchange.scope import parse_scope
from exchange.scope import test_of as predicate_of
from exchange.terms import (
    Constant,
    Full,
    Hash,
    ItemTerm,
    LastN,
    Mask,
    Purpose,
    Quota,
    Range,
    RegionOnly,
    ResourceTerms,
    SmallCount,
    Terms,
    Tokenised,
    Unmasked,
    YearOnly,
)
from tests.exchange.reference import like, reference

RESOURCE = UUID("018f0000-0000-7000-8000-000000000001")
KEY = b"a key of this agreement"
CODES = ["a", "b", "名称", "quo'te", "p%", "properties", "x.y"]


def agreed(items: tuple[ItemTerm, ...], scope: str | None = None) -> Terms:
    return Terms(
        resources=(ResourceTerms(resource_id=RESOURCE, items=items, scope=scope),),
        purposes=(Purpose(code="P1", text="t", business_matter="m", legal_basis="l"),),
        method="api",  # type: ignore[arg-type]
        valid_from=date(2026, 1, 1),
        valid_until=date(2026, 12, 31),
        quota=Quota(calls_per_day=1, rows_per_day=1, rows_per_call=1),
        retention_days=0,
    )


# ---- what hypothesis throws at both --------------------------------------------------------------------

plain = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=6)
short = st.text("ab中%_\\'", max_size=4)
numbers = st.integers(-20, 20) | st.sampled_from([0.1, 0.5, 1.5, -2.25, 1e300, 10**17])
scalars = st.none() | st.booleans() | numbers | short | plain
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(plain, inner, max_size=3),
    max_leaves=6,
)
records = st.dictionaries(st.sampled_from(CODES) | plain, values, max_size=8)
masks = st.sampled_from(
    [
        Unmasked(),
        Unmasked(),
        Full(),
        LastN(keep=2),
        Hash(),
        RegionOnly(keep=2),
        Constant(value="c"),
        YearOnly(),
        Range(width=7),
        Tokenised(),
        SmallCount(below=5),
    ]
)
items = st.lists(
    st.builds(ItemTerm, code=st.sampled_from(CODES), mask=masks),
    min_size=1,
    max_size=5,
    unique_by=lambda i: i.code,
)


@st.composite
def scopes(draw: st.DrawFn, depth: int = 0) -> str:
    item = f'"{draw(st.sampled_from(CODES))}"'
    literal = draw(
        st.integers(-20, 20).map(str)
        | st.sampled_from(["0.1", "-2.25", "TRUE", "FALSE"])
        | short.map(lambda text: "'" + text.replace("'", "''") + "'")
    )
    kind = draw(st.integers(0, 4 if depth > 2 else 7))
    if kind == 0:
        return f"{item} IS NULL"
    if kind == 1:
        pattern = draw(short.filter(lambda text: not text.endswith("\\")))
        return f"{item} LIKE '" + pattern.replace("'", "''") + "'"
    if kind == 2:
        return f"{item} IN ({literal}, 3, 'ab')"
    if kind == 3:
        return f"{item} BETWEEN {draw(st.integers(-9, 9))} AND {draw(st.integers(-9, 9))}"
    if kind == 4:
        return f"{item} {draw(st.sampled_from(['=', '<>', '<', '<=', '>', '>=']))} {literal}"
    left, right = draw(scopes(depth + 1)), draw(scopes(depth + 1))
    return {5: f"({left} AND {right})", 6: f"({left} OR {right})", 7: f"NOT ({left})"}[kind]


@settings(max_examples=200, deadline=None)
@given(items, st.none() | scopes(), st.lists(records, max_size=6))
def test_nothing_outside_the_terms_leaves(
    chosen: list[ItemTerm], scope: str | None, held: list[dict[str, Any]]
) -> None:
    terms = agreed(tuple(chosen), scope)
    compiled = compile_terms(terms, RESOURCE, mask_key=KEY)
    expected = reference(terms, held, KEY)

    assert list(compiled.deliver(held)) == expected

    for body, envelope in (
        (json.dumps(held), None),
        (json.dumps({"total": 1, "数据": held}, ensure_ascii=False, indent=1), "数据"),
        (json.dumps({"code": 0, "data": {"records": held, "size": 2}}), "data/records"),
    ):
        left, held_count = compiled.json_projection(envelope).records(body.encode())
        assert [json.loads(line) for line in left] == json.loads(json.dumps(expected))
        assert all(b"\n" not in line for line in left)
        assert held_count == len(held)

    fields = {"a": "名称", "b": "x", "名称": "a", "p%": "姓 名"}  # others' codes among them
    sent = [{fields.get(code, code): value for code, value in record.items()} for record in held]
    asked = {fields.get(code, code) for code in CODES}
    said = [
        {code: record[fields.get(code, code)] for code in CODES if fields.get(code, code) in record}
        for record in sent
    ]
    left, _ = compiled.json_projection(None, fields).records(json.dumps(sent).encode())
    assert [json.loads(line) for line in left] == json.loads(json.dumps(reference(terms, said, KEY)))
    assert len(asked) == len(CODES)


@settings(max_examples=150, deadline=None)
@given(short, short.filter(lambda text: not text.endswith("\\")))
def test_like_means_what_sql_means(text: str, pattern: str) -> None:
    scope = "a LIKE '" + pattern.replace("'", "''") + "'"
    assert predicate_of(parse_scope(scope))({"a": text}) is like(text, pattern)


def test_like_never_takes_long() -> None:
    started = time.process_time()
    predicate = predicate_of(parse_scope("a LIKE '" + "%a_a" * 8 + "'"))
    assert predicate({"a": "ab" * 50_000}) is False
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    ("mask", "value", "left"),
    [
        (LastN(keep=4), "440305199001011234", "**************1234"),
        (LastN(keep=4), "1234", HIDDEN),
        (LastN(keep=4), 13800138000, "*******8000"),
        (LastN(keep=4), ["13800138000"], HIDDEN),
        (LastN(keep=4), 1.5, HIDDEN),
        (LastN(keep=4), True, HIDDEN),
        (YearOnly(), "1990-01-01", "1990"),
        (YearOnly(), "1990年1月", "1990"),
        (YearOnly(), "19900101", "1990"),
        (YearOnly(), 19900101, "1990"),
        (YearOnly(), 1990, "1990"),
        (YearOnly(), date(1990, 1, 1), "1990"),
        (YearOnly(), datetime(1990, 1, 1, tzinfo=UTC), "1990"),
        (YearOnly(), "440305199001011234", HIDDEN),
        (YearOnly(), "1990x", HIDDEN),
        (YearOnly(), {"d": "1990-01-01"}, HIDDEN),
        (YearOnly(), None, None),
        (RegionOnly(), "440305002003", "440305"),
        (RegionOnly(keep=4), 440305, "4403"),
        (RegionOnly(), ["440305"], HIDDEN),
        (Range(width=10), 29, "[20,30)"),
        (Range(width=10), 30, "[30,40)"),
        (Range(width=10), -1, "[-10,0)"),
        (Range(width=10), -10, "[-10,0)"),
        (Range(width=10), -0.5, "[-10,0)"),
        (Range(width=10), "29.99", "[20,30)"),
        (Range(width=10), Decimal("29.99"), "[20,30)"),
        (Range(width=10), float("nan"), HIDDEN),
        (Range(width=10), float("inf"), HIDDEN),
        (Range(width=10), Decimal("1E+400"), HIDDEN),
        (Range(width=10), "29岁", HIDDEN),
        (Range(width=10), True, HIDDEN),
        (Range(width=10), [29], HIDDEN),
        (Range(width=10), None, None),
        (SmallCount(below=10), 0, 0),
        (SmallCount(below=10), 1, "<10"),
        (SmallCount(below=10), Decimal("9.5"), "<10"),
        (SmallCount(below=10), 10, 10),
        (SmallCount(below=10), "3", "<10"),
        (SmallCount(below=10), "12", "12"),
        (SmallCount(below=10), -3, HIDDEN),
        (SmallCount(below=10), "三", HIDDEN),
        (SmallCount(below=10), True, HIDDEN),
        (SmallCount(below=10), None, None),
        (Tokenised(), ["x"], HIDDEN),
        (Tokenised(), None, None),
        (Full(), None, HIDDEN),
        (Full(), {"deep": 1}, HIDDEN),
        (Constant(value="已核验"), None, "已核验"),
    ],
)
def test_masks(mask: Mask, value: object, left: object) -> None:
    cover = cover_of(mask, KEY)
    assert cover is not None and cover(value) == left


def test_a_hash_links_within_one_agreement_and_not_across() -> None:
    mine, again, theirs = (cover_of(Hash(), key) for key in (KEY, KEY, b"a key of another agreement"))
    assert mine and again and theirs
    assert mine("440305199001011234") == again("440305199001011234") != theirs("440305199001011234")


def test_a_token_links_within_one_agreement_and_is_read_back_with_its_key_alone() -> None:
    mine, again, theirs = (cover_of(Tokenised(), key) for key in (KEY, KEY, b"a key of another agreement"))
    assert mine and again and theirs
    token = str(mine("440305199001011234"))
    assert token == again("440305199001011234") != theirs("440305199001011234")
    assert Tokens(KEY).value_of(token) == "440305199001011234"
    for other in (str(theirs("440305199001011234")), token[:-1], "", "中"):
        with pytest.raises(NotAToken):
            Tokens(KEY).value_of(other)


def test_two_items_may_read_one_field_each_under_its_own_mask() -> None:
    terms = agreed((ItemTerm(code="a"), ItemTerm(code="b", mask=LastN(keep=2))), "c = 'x123'")
    read = (
        compile_terms(terms, RESOURCE, mask_key=KEY).json_projection(None, dict.fromkeys("abc", "F")).records
    )
    assert read(b'[{"F": "x123", "a": 1}, {"a": 1}, {"F": "y"}]') == ([b'{"a":"x123","b":"**23"}'], 3)
    terms = agreed((ItemTerm(code="a", mask=Full()), ItemTerm(code="b", mask=Full())))
    read = compile_terms(terms, RESOURCE, mask_key=KEY).json_projection(None, {"a": "F", "b": "F"}).records
    assert read(b'[{"F": 1.50}, {}]') == ([b'{"a":"***","b":"***"}', b"{}"], 2)
    one = agreed((ItemTerm(code="a"), ItemTerm(code="b")))
    read = compile_terms(one, RESOURCE, mask_key=KEY).json_projection(None, {"a": "F", "b": "F"}).records
    assert read(b'[{"F": 12345678901234567890.10}]') == (
        [b'{"a":12345678901234567890.10,"b":12345678901234567890.10}'],
        1,
    )


def test_numbers_keep_every_digit() -> None:
    compiled = compile_terms(agreed((ItemTerm(code="a"),), "b >= 0.1"), RESOURCE, mask_key=KEY)
    body = b'[{"a": 12345678901234567890.10, "b": 0.1, "c": 1}]'
    assert compiled.json_projection().records(body) == ([b'{"a":12345678901234567890.10}'], 1)


@pytest.mark.parametrize(
    "body",
    [
        '[{"a": 1, "a": 1}]',
        '[{"a": 1, "a": 2}, {"z": 1}]',
        '[{"a": 1}, {"c": 1, "c" :2}]',
        r'[{"a": 2, "\u0061": 1}]',
        r'[{"\u0061": 2, "\u0061": 1}]',
        r'[{"a": "\n", "中": 1, "\u4e2d": 2}]',
        '[{"a": [{"a": 1}], "a": 2}]',
        '[{"z": "a", "a": 0, "a": null}]',
    ],
)
@pytest.mark.parametrize("envelope", [None, "data"])
def test_a_record_that_says_two_things_is_none(body: str, envelope: str | None) -> None:
    terms = agreed(
        (ItemTerm(code="a"), ItemTerm(code="b", mask=Full()), ItemTerm(code="中")), "c = 1 OR a > 0"
    )
    read = compile_terms(terms, RESOURCE, mask_key=KEY).json_projection(envelope).records
    page = body if envelope is None else f'{{"total": 1, "data": {body}}}'
    with pytest.raises(msgspec.DecodeError, match="twice"):
        read(page.encode())


def test_two_lists_of_records_are_none() -> None:
    read = (
        compile_terms(agreed((ItemTerm(code="a"),)), RESOURCE, mask_key=KEY).json_projection("data").records
    )
    with pytest.raises(msgspec.DecodeError, match="twice"):
        read(b'{"data": [{"a": 1}], "data": [{"a": 2}]}')


def test_a_name_may_be_in_a_page_many_times_and_once_in_each_record() -> None:
    read = compile_terms(agreed((ItemTerm(code="a"),)), RESOURCE, mask_key=KEY).json_projection().records
    deep = (
        rb'[{"a": {"a": "a", "b": [{"a": 1}]}, "b": "a", "z": 1, "z": 2}, {"b": "a"}, {"\u0061": "\u00e9"}]'
    )
    assert read(deep) == ([b'{"a":{"a": "a", "b": [{"a": 1}]}}', b"{}", rb'{"a":"\u00e9"}'], 3)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from(["a", "b", "ab", "名", "z"]), values), max_size=5), max_size=4
    ),
    st.booleans(),
    st.booleans(),
)
def test_what_is_said_twice_is_found_however_it_is_written(
    sent: list[list[tuple[str, Any]]], escaped: bool, spaced: bool
) -> None:
    compiled = compile_terms(agreed((ItemTerm(code="a"), ItemTerm(code="名"))), RESOURCE, mask_key=KEY)
    colon = " :\n" if spaced else ":"
    written = [
        ",".join(
            f"{json.dumps(name, ensure_ascii=escaped)}{colon}{json.dumps(value, ensure_ascii=escaped)}"
            for name, value in record
        )
        for record in sent
    ]
    body = f"[{','.join(f'{{{record}}}' for record in written)}]".encode()
    named = [[name for name, _ in record if name in ("a", "名")] for record in sent]
    if any(len(names) != len(set(names)) for names in named):
        with pytest.raises(msgspec.DecodeError, match="twice"):
            compiled.json_projection().records(body)
    else:
        assert len(compiled.json_projection().records(body)[0]) == len(sent)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[1]",
        b"[null]",
        b"[[]]",
        b'[{"a": 1}',
        b'[{"a": 1}] x',
        b'[{"a": NaN}]',
        b'[{"a": "\xff"}]',
        b'[{"a": "\x01"}]',
        b'[{"a": {"b":}}]',
        b'[{"z": ' + b"[" * 100_000 + b"]" * 100_000 + b"}]",
        "[]".encode("utf-16"),
        b"<html>",
    ],
)
def test_what_is_no_page_of_records_is_refused_whole(body: bytes) -> None:
    compiled = compile_terms(agreed((ItemTerm(code="a"),)), RESOURCE, mask_key=KEY)
    with pytest.raises(msgspec.DecodeError):
        compiled.json_projection().records(body)


def test_a_call_can_only_narrow() -> None:
    terms = agreed(
        (
            ItemTerm(code="a"),
            ItemTerm(code="b", mask=Full()),
            ItemTerm(code="c", mask=Full(), filter_on_masked=True),
        ),
        "d = 1",
    )

    def compiled(**narrowed: Any) -> list[dict[str, object]]:
        held = [{"a": n, "b": n, "c": n, "d": d} for n in (1, 2) for d in (1, 2)]
        return list(compile_terms(terms, RESOURCE, mask_key=KEY, **narrowed).deliver(held))

    assert compiled(items=["a"], narrowed_by="a = 2") == [{"a": 2}]
    assert compiled(items=["a"], narrowed_by="c = 1") == [{"a": 1}]
    assert compiled(items=["a"], narrowed_by="a = 1 OR a = 2") == [{"a": 1}, {"a": 2}]
    for beyond, codes in (
        ({"items": ["a", "d"]}, ("d",)),
        ({"narrowed_by": "b = 1"}, ("b",)),
        ({"narrowed_by": "d = 2"}, ("d",)),
        ({"narrowed_by": "a = 1 OR zz IS NULL"}, ("zz",)),
    ):
        with pytest.raises(OutsideTerms) as refused:
            compiled(**beyond)
        assert refused.value.codes == codes
    with pytest.raises(OutsideTerms):
        compile_terms(terms, UUID(int=1), mask_key=KEY)


def test_a_short_mask_key_is_refused() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        compile_terms(agreed((ItemTerm(code="a"),)), RESOURCE, mask_key=b"short")


def test_sql_binds_every_value_and_quotes_every_name() -> None:
    scope = "\"quo'te\" = 'x'' OR 1=1' AND \"p%\" LIKE 'a%' AND a IN (1, 2) AND NOT (b IS NULL)"
    where = compile_terms(agreed((ItemTerm(code="a"),), scope), RESOURCE, mask_key=KEY).sql_where(
        {"b": "列 b"}
    )
    assert where is not None
    assert where.values == ("x' OR 1=1", "a%", 1, 2)
    assert where.text == (
        '("quo\'te" = %s::text AND "p%%" LIKE %s::text'
        ' AND ("a" = %s::numeric OR "a" = %s::numeric) AND NOT ("列 b" IS NULL))'
    )
