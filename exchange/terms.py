"""Terms (内容、范围、用途、方式): what two agencies agree, typed and executable.

Owns the shape, its hash, the comparison of two versions and the check against the catalog. Pure.
What the terms let through is `exchange.compiler`'s; who may agree to them is the negotiation's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Literal, assert_never
from uuid import UUID

from pydantic import ConfigDict, Field, StringConstraints

from app.kernel.canonical import canonical as canonical_json
from app.kernel.errors import Fault
from app.kernel.text import Storable, Text
from app.kernel.typed import JsonTyped
from catalog.resources.codes import UPDATE_CYCLES, UpdateCycle
from exchange.scope import (
    ITEM_CODE,
    Comparison,
    IsNull,
    ScopeInvalid,
    Value,
    items_of,
    leaves_of,
    parse_scope,
)

Code = Annotated[str, StringConstraints(pattern=ITEM_CODE)]
Line = Annotated[str, StringConstraints(min_length=1, max_length=500, strip_whitespace=True), Storable]
Prose = Annotated[str, StringConstraints(max_length=4000, strip_whitespace=True), Storable]


class _Frozen(JsonTyped):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Unmasked(_Frozen):
    """The value as the provider holds it."""

    kind: Literal["none"] = "none"


class Full(_Frozen):
    """Nothing of the value: three asterisks."""

    kind: Literal["full"] = "full"


class LastN(_Frozen):
    """The last `keep` characters, asterisks before them; a value no longer than `keep` is hidden whole."""

    kind: Literal["last_n"] = "last_n"
    keep: Annotated[int, Field(ge=1, le=32)]


class Hash(_Frozen):
    """HMAC-SHA256 under the agreement's own key: equal values can be linked within one agreement only."""

    kind: Literal["hash"] = "hash"


class YearOnly(_Frozen):
    """The year of a date."""

    kind: Literal["year_only"] = "year_only"


class RegionOnly(_Frozen):
    """The first `keep` characters: 6 of a division code (GB/T 2260) are the district, 4 the city."""

    kind: Literal["region_only"] = "region_only"
    keep: Annotated[int, Field(ge=2, le=32)] = 6


class Range(_Frozen):
    """The band of `width` that a number falls in, as `[20,30)`."""

    kind: Literal["range"] = "range"
    width: Annotated[int, Field(ge=2, le=10**12)]


class Constant(_Frozen):
    """The same `value` in every record."""

    kind: Literal["constant"] = "constant"
    value: Annotated[str, StringConstraints(max_length=200), Storable]


class Tokenised(_Frozen):
    """A token in place of the value, equal for equal values within one agreement; only the key reads it back,
    so that a correction (校核) reported under a token finds its record."""

    kind: Literal["token"] = "token"


class SmallCount(_Frozen):
    """A count of statistics: from 1 up to `below` only that it is less, all others as they are."""

    kind: Literal["small_count"] = "small_count"
    below: Annotated[int, Field(ge=2, le=10_000)] = 10


Mask = Annotated[
    Unmasked | Full | LastN | Hash | YearOnly | RegionOnly | Range | Constant | Tokenised | SmallCount,
    Field(discriminator="kind"),
]


class ItemTerm(_Frozen):
    """One agreed information item; `code` is the field's name in the provider's records."""

    code: Code
    mask: Mask = Unmasked()
    filter_on_masked: bool = False  # may the scope and the requester's own filters look at what is masked

    @property
    def can_be_filtered_on(self) -> bool:
        return isinstance(self.mask, Unmasked) or self.filter_on_masked


class ResourceTerms(_Frozen):
    """Content and scope of one resource; `scope` is CQL2 text over its items, None for every record."""

    resource_id: UUID
    items: Annotated[tuple[ItemTerm, ...], Field(max_length=500)]
    scope: str | None = None

    def item(self, code: str) -> ItemTerm | None:
        return next((item for item in self.items if item.code == code), None)


class Purpose(_Frozen):
    """What the data may be used for (用途); every call names one by its `code`."""

    code: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    text: Line
    business_matter: Line
    legal_basis: Line


HOURS = r"^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$"


class Quota(_Frozen):
    """Limits of one agreement, over all its clients; a day is a calendar day in the centre's time zone."""

    calls_per_day: Annotated[int, Field(ge=1, le=10**9)]
    rows_per_day: Annotated[int, Field(ge=1, le=10**12)]
    rows_per_call: Annotated[int, Field(ge=1, le=10**9)]
    concurrent_calls: Annotated[int, Field(ge=1, le=1000)] | None = (
        None  # at the same moment; None: as many as come
    )
    hours: Annotated[str, StringConstraints(pattern=HOURS)] | None = None  # "22:00-06:00": served then alone


class Method(StrEnum):
    """How the data travels (方式)."""

    API = "api"
    BULK = "bulk"
    PUSH = "push"
    VERIFICATION = "verification"


METHOD_NAMES: dict[Method, Text] = {
    Method.API: Text("接口调用", "API"),
    Method.BULK: Text("批量交换", "bulk"),
    Method.PUSH: Text("主动推送", "push"),
    Method.VERIFICATION: Text("核验", "verification"),
}


class Terms(_Frozen):
    """Everything that an agreement says. All resources are of one provider."""

    resources: Annotated[tuple[ResourceTerms, ...], Field(max_length=50)]
    purposes: Annotated[tuple[Purpose, ...], Field(max_length=20)]
    method: Method
    valid_from: date
    valid_until: date  # the last day of use
    quota: Quota
    retention_days: Annotated[int, Field(ge=0, le=36525)]
    disposal: Prose = ""
    security_measures: Prose = ""
    frequency: UpdateCycle | None = None  # how often the data is exchanged

    def resource(self, resource_id: UUID) -> ResourceTerms | None:
        return next((part for part in self.resources if part.resource_id == resource_id), None)


def canonical(terms: Terms) -> bytes:
    """The terms in canonical JSON (RFC 8785), absent optional members left out.

    A field added to `Terms` later must be optional and None where absent, or old hashes change.
    """
    return canonical_json(terms.model_dump(mode="json", exclude_none=True))


def terms_hash(terms: Terms) -> str:
    """SHA-256 of the canonical form, in hex: what the parties consent to and the gateway compares."""
    return hashlib.sha256(canonical(terms)).hexdigest()


class ItemType(StrEnum):
    """What kind of value the catalog says an item holds, as far as a scope depends on it."""

    TEXT = "text"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"  # with or without time of day
    OTHER = "other"  # objects, files, geometry


@dataclass(frozen=True, slots=True)
class ResourceShape:
    """The items of a resource as the catalog knows them, by code."""

    items: Mapping[str, ItemType]


def check_terms(terms: Terms, shapes: Mapping[UUID, ResourceShape]) -> list[Fault]:
    """What is wrong with the terms, measured against the resources they may cover; empty when sound.

    `shapes` holds the provider's shareable resources alone: any other resource id is unknown.
    """
    faults: list[Fault] = []
    if not terms.resources:
        faults.append(Fault("/resources", Text("没有信息资源", "No resource"), _NEEDS_ONE))
    if not terms.purposes:
        faults.append(Fault("/purposes", Text("没有用途", "No purpose"), _NEEDS_ONE))
    if terms.valid_until < terms.valid_from:
        message = Text("有效期止早于有效期起", "The last day is before the first")
        faults.append(Fault("/valid_until", message, Text("不得早于 valid_from", "Not before valid_from")))
    if terms.quota.rows_per_call > terms.quota.rows_per_day:
        message = Text("单次行数超过每日行数", "More rows per call than per day")
        faults.append(Fault("/quota/rows_per_call", message))
    faults += _repeats("/purposes", [purpose.code for purpose in terms.purposes])
    faults += _repeats("/resources", [str(part.resource_id) for part in terms.resources])
    for position, part in enumerate(terms.resources):
        path = f"/resources/{position}"
        shape = shapes.get(part.resource_id)
        if shape is None:
            message = Text("没有可共享的信息资源 {id}", "No shareable resource {id}").with_(
                id=part.resource_id
            )
            faults.append(Fault(f"{path}/resource_id", message))
            continue
        faults += _check_items(path, part, shape)
        faults += _check_scope(f"{path}/scope", part, shape)
    return faults


_NEEDS_ONE = Text("至少一项", "At least one")
_OF_THE_RESOURCE = Text("须为该资源的信息项代码", "Must be the code of an item of the resource")


def _check_items(path: str, part: ResourceTerms, shape: ResourceShape) -> list[Fault]:
    faults = _repeats(f"{path}/items", [item.code for item in part.items])
    if not part.items:
        faults.append(Fault(f"{path}/items", Text("没有信息项", "No item"), _NEEDS_ONE))
    for position, item in enumerate(part.items):
        if item.code not in shape.items:
            message = Text("该资源没有信息项“{code}”", "The resource has no item “{code}”").with_(
                code=item.code
            )
            faults.append(Fault(f"{path}/items/{position}/code", message, _OF_THE_RESOURCE))
    return faults


def _check_scope(path: str, part: ResourceTerms, shape: ResourceShape) -> list[Fault]:
    if part.scope is None:
        return []
    try:
        condition = parse_scope(part.scope)
    except ScopeInvalid as error:
        return [Fault(path, error.message, Text("OGC CQL2 条件", "An OGC CQL2 condition"))]
    faults: list[Fault] = []
    for code in sorted(items_of(condition)):
        item = part.item(code)
        if code not in shape.items:
            message = Text("范围引用了不存在的信息项“{code}”", "The scope names an unknown item “{code}”")
            faults.append(Fault(path, message.with_(code=code), _OF_THE_RESOURCE))
        elif item is not None and not item.can_be_filtered_on:
            message = Text(
                "信息项“{code}”已脱敏，不得用作条件", "Item “{code}” is masked and may not be filtered on"
            )
            rule = Text("须先约定 filter_on_masked", "Needs filter_on_masked on the item")
            faults.append(Fault(path, message.with_(code=code), rule))
    for leaf in leaves_of(condition):
        held = shape.items.get(leaf.item)
        if held is None or isinstance(leaf, IsNull):
            continue
        value = leaf.value if isinstance(leaf, Comparison) else leaf.pattern
        if not _comparable(held, value):
            message = Text(
                "信息项“{code}”不能与“{value}”比较", "Item “{code}” cannot be compared with “{value}”"
            )
            rule = Text("数据类型须一致（{held}）", "Must be of the item's type ({held})").with_(
                held=held.value
            )
            faults.append(Fault(path, message.with_(code=leaf.item, value=value), rule))
    return faults


def _comparable(held: ItemType, value: Value) -> bool:
    match value:
        case bool():
            return held is ItemType.BOOLEAN
        case int() | Decimal():
            return held is ItemType.NUMBER
        case date():
            return held is ItemType.DATE
        case str():
            return held is ItemType.TEXT
        case _:
            assert_never(value)


def _repeats(path: str, codes: list[str]) -> list[Fault]:
    seen: set[str] = set()
    faults: list[Fault] = []
    for position, code in enumerate(codes):
        if code in seen:
            message = Text("“{code}”重复", "“{code}” is there twice").with_(code=code)
            faults.append(Fault(f"{path}/{position}", message))
        seen.add(code)
    return faults


@dataclass(frozen=True, slots=True)
class TermsChange:
    """One difference between two versions: `path` addresses it by resource id, item and purpose code."""

    path: str
    label: Text
    before: Text | None
    after: Text | None

    @property
    def kind(self) -> Literal["added", "removed", "changed"]:
        if self.before is None:
            return "added"
        return "removed" if self.after is None else "changed"


def diff(old: Terms, new: Terms) -> list[TermsChange]:
    """What changed from `old` to `new`, for people to read and consent to, in the order of the terms."""
    before, after = _entries(old), _entries(new)
    paths = list(before) + [path for path in after if path not in before]
    changes: list[TermsChange] = []
    for path in paths:
        was, becomes = before.get(path), after.get(path)
        if was == becomes:
            continue
        label = (becomes or was or _EMPTY)[0]
        changes.append(TermsChange(path, label, was and was[1], becomes and becomes[1]))
    return changes


def term_paths(terms: Terms) -> list[str]:
    """The addresses of all that the terms say, as a comparison of versions names them."""
    return list(_entries(terms))


def mask_text(mask: Mask) -> Text:  # noqa: PLR0911 - one for each mask
    """The mask in words."""
    match mask:
        case Unmasked():
            return Text("不脱敏", "not masked")
        case Full():
            return Text("全部隐藏", "hidden")
        case LastN(keep=keep):
            return Text("仅留末 {n} 位", "last {n} characters only").with_(n=keep)
        case Hash():
            return Text("不可逆散列（本协议内可关联）", "keyed hash (linkable within this agreement)")
        case YearOnly():
            return Text("仅留年份", "year only")
        case RegionOnly(keep=keep):
            return Text("仅留区划（前 {n} 位）", "region only (first {n} characters)").with_(n=keep)
        case Range(width=width):
            return Text("仅留区间（宽 {n}）", "range only (width {n})").with_(n=width)
        case Constant(value=value):
            return Text("固定为“{v}”", "always “{v}”").with_(v=value)
        case Tokenised():
            return Text("令牌化（提供方可还原）", "token (which the provider can read back)")
        case SmallCount(below=below):
            return Text("小于 {n} 的计数不显示", "counts below {n} suppressed").with_(n=below)
        case _:
            assert_never(mask)


_Entry = tuple[Text, Text]  # label, value in words
_EMPTY: _Entry = (Text("", ""), Text("", ""))


def _same(value: object) -> Text:
    written = value.isoformat() if isinstance(value, date) else str(value)
    return Text(written, written)


def _entries(terms: Terms) -> dict[str, _Entry]:
    """The terms as addressed statements in words; None-valued parts have no entry."""
    entries: dict[str, _Entry] = {}
    for part in terms.resources:
        root = f"/resources/{part.resource_id}"
        entries[root] = Text("信息资源", "Resource"), _same(part.resource_id)
        for item in part.items:
            words = mask_text(item.mask)
            if item.filter_on_masked:
                words = Text(f"{words.zh}，可作查询条件", f"{words.en}, may be filtered on")
            label = Text("信息项“{code}”", "Item “{code}”").with_(code=item.code)
            entries[f"{root}/items/{_escaped(item.code)}"] = label, words
        if part.scope is not None:
            entries[f"{root}/scope"] = Text("数据范围", "Scope"), _same(part.scope)
    for purpose in terms.purposes:
        label = Text("用途“{code}”", "Purpose “{code}”").with_(code=purpose.code)
        words = _same(f"{purpose.text} · {purpose.business_matter} · {purpose.legal_basis}")
        entries[f"/purposes/{purpose.code}"] = label, words
    entries["/method"] = Text("共享方式", "Method"), METHOD_NAMES[terms.method]
    if terms.frequency is not None:
        entries["/frequency"] = Text("共享频次", "Frequency"), UPDATE_CYCLES[terms.frequency]
    quota = terms.quota
    for path, label, value in (
        ("/valid_from", Text("有效期起", "Valid from"), terms.valid_from),
        ("/valid_until", Text("有效期止", "Valid until"), terms.valid_until),
        ("/quota/calls_per_day", Text("每日调用次数", "Calls per day"), quota.calls_per_day),
        ("/quota/rows_per_day", Text("每日记录数", "Rows per day"), quota.rows_per_day),
        ("/quota/rows_per_call", Text("单次记录数", "Rows per call"), quota.rows_per_call),
        ("/retention_days", Text("留存天数", "Days kept"), terms.retention_days),
        ("/disposal", Text("到期处置", "Disposal"), terms.disposal),
        ("/security_measures", Text("安全措施", "Security measures"), terms.security_measures),
        ("/quota/concurrent_calls", Text("并发调用数", "Calls at the same time"), quota.concurrent_calls),
        ("/quota/hours", Text("服务时段", "Hours of service"), quota.hours),
    ):
        if value is not None:
            entries[path] = label, _same(value)
    return entries


def _escaped(code: str) -> str:
    return code.replace("~", "~0").replace("/", "~1")  # RFC 6901
