"""The catalog record of a resource (信息资源): its fields, its content hash and the rules it must keep.

Pure. Fields follow 编制指南 and GB/T 21063.3. Holds what a record says, never who may see it or in
which state it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Annotated, Any

import rfc8785
from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, StringConstraints

from app.identity.codes import credit_code_fault
from app.kernel.canonical import canonical, canonical_plain
from app.kernel.errors import Fault
from app.kernel.text import Storable, Text, storable
from app.kernel.wire import Wire
from catalog.resources.codes import (
    BASE_LIBRARIES,
    CHANNELS,
    FITTING_MODES,
    FORMAT_CLASSES,
    FORMAT_TYPES,
    GRADE_ORDER,
    GRADES,
    OPENNESS,
    PLATFORM_MODES,
    RESOURCE_CLASSES,
    SHARING_TYPES,
    BaseLibrary,
    Channel,
    DataType,
    FormatClass,
    Grade,
    Openness,
    PlatformMode,
    ResourceClass,
    SharingType,
    Theme,
    UpdateCycle,
)
from catalog.resources.labels import label
from catalog.resources.secrecy import secret_mark

ABSTRACT_LIMIT = 256  # characters (编制指南)
ITEM_LIMIT = 2000
_TRUNCATED = "…"


def _blank_is_none(value: object) -> object:
    return None if isinstance(value, str) and not value.strip() else value


def _canonical(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    try:
        storable(rfc8785.dumps(value).decode())
        _no_nul(value)
    except (rfc8785.CanonicalizationError, UnicodeError) as error:
        raise ValueError(Text("不能写成规范 JSON", "cannot be written as canonical JSON")) from error
    return value


def _no_nul(value: JsonValue) -> None:
    """Canonical JSON writes NUL as an escape, so it is looked for in the values themselves."""
    if isinstance(value, str):
        storable(value)
    elif isinstance(value, dict):
        for key, inner in value.items():
            storable(key)
            _no_nul(inner)
    elif isinstance(value, list):
        for inner in value:
            _no_nul(inner)


_Blank = BeforeValidator(_blank_is_none)
Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500), Storable]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=256), Storable]
OptionalLine = Annotated[
    Annotated[str, StringConstraints(strip_whitespace=True, max_length=500), Storable] | None, _Blank
]
OptionalUrl = Annotated[
    Annotated[str, StringConstraints(strip_whitespace=True, max_length=2000), Storable] | None, _Blank
]
OptionalProse = Annotated[
    Annotated[str, StringConstraints(strip_whitespace=True, max_length=20_000), Storable] | None, _Blank
]
# A column name; PostgreSQL's longest has 63 characters.
ItemCode = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")]
Extra = Annotated[dict[str, JsonValue], AfterValidator(_canonical)]
"""Fields of the source that the record has no place for, kept as they came for re-export without loss."""


class Classification(Wire):
    """信息资源分类: class, 项, 目 and 细目, which make the front part of the resource's code."""

    resource_class: ResourceClass = ResourceClass.DEPARTMENT
    item: Annotated[str, StringConstraints(pattern=r"^\d{2}$")] = "00"
    section: Annotated[str, StringConstraints(pattern=r"^\d{3}$")] = "000"
    detail: Annotated[str, StringConstraints(pattern=r"^[0-9A-Z]{0,18}$")] = ""

    @property
    def prefix(self) -> str:
        """The code before its `/`."""
        return f"{self.resource_class}{self.item}{self.section}{self.detail}"


class Provider(Wire):
    """The provider as the record names it; which registered agency that is stands beside the record."""

    name: OptionalLine = None
    code: OptionalLine = None  # unified social credit code, or the code the source catalog uses
    department: OptionalLine = None  # 内部部门


class RecordFormat(Wire):
    """信息资源格式: class, type inside the class, and a description where neither list fits."""

    format_class: FormatClass | None = None
    type: OptionalLine = None
    other: OptionalLine = None


class SharingMode(Wire):
    """共享方式: the channel, and its type where the channel is the shared platform."""

    channel: Channel = Channel.PLATFORM
    type: PlatformMode | None = None


class Sharing(Wire):
    """共享属性. `condition` states scope, purpose and conditions of conditional sharing (809-15); not sharing
    has its `reason` and the `citation` of the law that says so."""

    type: SharingType | None = None
    condition: OptionalProse = None
    reason: OptionalProse = None
    citation: OptionalLine = None
    mode: SharingMode | None = None


class OpennessTerms(Wire):
    """开放属性 and, where open on conditions, the conditions."""

    type: Openness = Openness.NOT_OPEN
    condition: OptionalProse = None


class Contact(Wire):
    """Whom to ask; an office rather than a person."""

    name: OptionalLine = None
    email: OptionalLine = None
    telephone: OptionalLine = None


class Distribution(Wire):
    """One form in which the resource can be had (dcat:Distribution)."""

    title: OptionalLine = None
    description: OptionalProse = None
    format: OptionalLine = None
    media_type: OptionalLine = None
    access_url: OptionalUrl = None
    download_url: OptionalUrl = None


class ItemRecord(Wire):
    """信息项. `code` is the field's name in delivered data; `item_codes` makes it where it is missing."""

    name: Name
    name_en: OptionalLine = None
    code: Annotated[ItemCode | None, _Blank] = None
    definition: OptionalProse = None
    data_type: DataType | None = None
    length: Annotated[int | None, Field(ge=1, le=2_000_000_000)] = None
    sharing_type: SharingType | None = None  # None: as the resource
    sensitive: bool = False  # 敏感个人信息 (PIPL 28)
    is_key: bool = False
    code_list: OptionalLine = None  # 数据字典: the list its values come from
    grade: Grade | None = None  # None: as the resource


class ResourceRecord(Wire):
    """Everything the catalog says about one resource. Only `title` is needed for a draft."""

    title: Line
    title_en: OptionalLine = None
    code: OptionalLine = None  # made by the service, never reused
    source_id: OptionalLine = None  # identifier in the catalog it was taken from
    provider: Provider = Provider()
    abstract: OptionalProse = None  # ≤ ABSTRACT_LIMIT
    description: OptionalProse = None  # the source's own text where it is longer than an abstract may be
    classification: Classification = Classification()
    themes: Annotated[tuple[Theme, ...], Field(max_length=20)] = ()
    base_library: BaseLibrary | None = None
    categories: Annotated[tuple[Line, ...], Field(max_length=50)] = ()  # the source's own classification
    keywords: Annotated[tuple[Line, ...], Field(max_length=500)] = ()
    format: RecordFormat = RecordFormat()
    items: Annotated[tuple[ItemRecord, ...], Field(max_length=ITEM_LIMIT)] = ()
    sharing: Sharing = Sharing()
    openness: OpennessTerms = OpennessTerms()
    update_cycle: UpdateCycle | None = None
    update_cycle_as_given: OptionalLine = None  # the words behind 其他
    published_on: date | None = None
    modified_as_given: OptionalLine = None  # last change as the source states it
    related_codes: Annotated[tuple[Line, ...], Field(max_length=500)] = ()
    grade: Grade | None = None
    licence: OptionalUrl = None
    landing_page: OptionalUrl = None
    distributions: Annotated[tuple[Distribution, ...], Field(max_length=1000)] = ()
    contact: Contact = Contact()
    spatial: OptionalProse = None
    temporal: OptionalLine = None
    language: OptionalLine = None  # BCP 47, several joined by commas
    extra: Extra = Field(default_factory=dict)

    @property
    def summary(self) -> str:
        """The longest text about the resource."""
        return self.description or self.abstract or ""

    @property
    def effective_grade(self) -> Grade | None:
        """The strictest of the record's grade and its items' (GB/T 43697)."""
        grades = [grade for grade in (self.grade, *(item.grade for item in self.items)) if grade]
        return max(grades, key=GRADE_ORDER.index, default=None)


def as_abstract(text: str) -> tuple[str | None, str | None]:
    """A source's text as (abstract, description): itself alone where it fits, else cut, with the whole beside."""
    text = text.strip()
    if len(text) <= ABSTRACT_LIMIT:
        return text or None, None
    return text[: ABSTRACT_LIMIT - len(_TRUNCATED)].rstrip() + _TRUNCATED, text


def stored_form(record: ResourceRecord) -> dict[str, Any]:
    """The record as it is stored and hashed, without unset fields: one added later changes no hash of before."""
    return record.model_dump(mode="json", exclude_defaults=True)


def hash_of(stored: Mapping[str, Any]) -> bytes:
    """SHA-256 of a stored record's canonical JSON (RFC 8785)."""
    return hashlib.sha256(_canonical_bytes(stored)).digest()


def stored_text(stored: Mapping[str, Any]) -> str:
    """A stored record as canonical JSON."""
    return _canonical_bytes(stored).decode()


def _canonical_bytes(stored: Mapping[str, Any]) -> bytes:
    """Only in `extra` may stand what takes the long way."""
    return canonical(stored) if "extra" in stored else canonical_plain(stored)


def content_hash(record: ResourceRecord) -> bytes:
    """`hash_of` the record as it would be stored."""
    return hash_of(stored_form(record))


GUIDE = Text("编制指南；GB/T 21063.3", "catalog compilation guide; GB/T 21063.3")
ARTICLE_3 = Text("809 第三条 国家秘密、工作秘密不进目录", "Decree 809 Art. 3, secrets are excluded")
ARTICLE_12 = Text("809 第十二条 报送前的评估和审签", "Decree 809 Art. 12, assessments before filing")
ARTICLE_13 = Text("809 第十三条 目录应载明的内容", "Decree 809 Art. 13, what a record states")
ARTICLE_15 = Text("809 第十五条 共享属性", "Decree 809 Art. 15, sharing attribute")
ARTICLE_18 = Text("条例第十八条 基础数据库应当共享", "Regulation Art. 18, base databases are shared")
GRADING = Text("GB/T 43697 就高从严", "GB/T 43697, the strictest grade wins")
CREDIT_CODE = Text("GB 32100 统一社会信用代码", "GB 32100, unified social credit code")
PIPL_28 = Text("个人信息保护法第二十五条、第二十八条", "Personal Information Protection Law Art. 25 and 28")


def check_record(record: ResourceRecord, *, for_filing: bool = True) -> list[Fault]:
    """Every rule the record breaks, in the order of its fields. A draft may lack things but not contradict
    itself; filing (809-13) demands that nothing required is missing."""
    return [*_contradictions(record), *(omissions(record) if for_filing else ())]


def _contradictions(record: ResourceRecord) -> Iterator[Fault]:
    yield from _secret_marks(record)
    code = record.provider.code
    if code and len(code) == 18 and (wrong := credit_code_fault(code)):
        yield Fault("/provider/code", Text(f"“{code}”：{wrong.zh}", f"“{code}”: {wrong.en}"), CREDIT_CODE)
    if len(record.abstract or "") > ABSTRACT_LIMIT:
        message = Text(
            "摘要有 {n} 字，不得超过 {limit} 字", "the abstract has {n} characters, {limit} are allowed"
        )
        yield Fault("/abstract", message.with_(n=len(record.abstract or ""), limit=ABSTRACT_LIMIT), GUIDE)
    chosen = record.classification.resource_class
    if record.base_library and chosen is not ResourceClass.BASE:
        message = Text(
            "所属基础数据库为“{library}”的资源，分类应为基础类（1），不是“{chosen}”",
            "a resource of the base library “{library}” is of class 1 (base), not “{chosen}”",
        )
        labels = {"library": BASE_LIBRARIES[record.base_library], "chosen": RESOURCE_CLASSES[chosen]}
        yield Fault("/classification/resource_class", message.with_(**labels), GUIDE)
    yield from _format_faults(record)
    yield from _item_faults(record)
    yield from _openness_faults(record)
    strictest = record.effective_grade
    if record.grade and strictest and strictest is not record.grade:
        message = Text(
            "资源定为“{grade}”，低于其信息项的最高级别“{strictest}”",
            "the grade “{grade}” is below the strictest of the items, “{strictest}”",
        )
        labels = {"grade": GRADES[record.grade], "strictest": GRADES[strictest]}
        yield Fault("/grade", message.with_(**labels), GRADING)


def _secret_marks(record: ResourceRecord) -> Iterator[Fault]:
    """Texts with the mark of a state secret: what carries it may not even be a draft."""
    texts = [("/title", record.title), ("/abstract", record.abstract), ("/description", record.description)]
    texts += [("/keywords", word) for word in record.keywords]
    for position, item in enumerate(record.items):
        texts += [(f"/items/{position}/name", item.name), (f"/items/{position}/definition", item.definition)]
    for field, text in texts:
        if found := secret_mark(text or ""):
            message = Text(
                "“{field}”带有秘密标志“{mark}”，不得进入目录",
                "“{field}” carries the mark of a secret, “{mark}”",
            )
            yield Fault(field, message.with_(field=label(field), mark=found), ARTICLE_3)


def _openness_faults(record: ResourceRecord) -> Iterator[Fault]:
    sharing, openness = record.sharing.type, record.openness.type
    if openness is Openness.NOT_OPEN:
        return
    if sharing is SharingType.NOT_SHARED:
        message = Text("不予共享的资源不得“{openness}”", "what is not shared is not “{openness}”")
        yield Fault("/openness/type", message.with_(openness=OPENNESS[openness]), GUIDE)
    if openness is not Openness.UNCONDITIONAL:
        return
    for item in record.items:
        if item.sensitive and item.sharing_type in (None, SharingType.UNCONDITIONAL):
            message = Text(
                "信息项“{item}”是敏感个人信息，资源不得无条件开放",
                "the item “{item}” is sensitive personal information: the resource is not open unconditionally",
            )
            yield Fault("/openness/type", message.with_(item=item.name), PIPL_28)
            return


def _format_faults(record: ResourceRecord) -> Iterator[Fault]:
    chosen, mode = record.format, record.sharing.mode
    if chosen.type and chosen.format_class is None:
        message = Text("填了格式类型“{type}”，须填格式分类", "the type “{type}” needs its class")
        yield Fault("/format/format_class", message.with_(type=chosen.type), GUIDE)
    if chosen.type and chosen.format_class:
        fitting = FORMAT_TYPES[chosen.format_class]
        if chosen.type.lower() not in {name.lower() for name in fitting}:
            message = Text("“{type}”不属于“{zh}”的格式类型", "“{type}” is no type of “{en}”")
            named = FORMAT_CLASSES[chosen.format_class]
            filled = message.with_(type=chosen.type, zh=named.zh, en=named.en)
            listed = Text("允许：" + "、".join(fitting), "allowed: " + ", ".join(fitting))
            yield Fault("/format/type", filled, listed)
    if mode is None:
        return
    if mode.type and mode.channel is not Channel.PLATFORM:
        message = Text(
            "只有共享平台方式才分类型，“{channel}”不填“{type}”",
            "only the shared platform has types: “{channel}” has no “{type}”",
        )
        labels = {"channel": CHANNELS[mode.channel], "type": PLATFORM_MODES[mode.type]}
        yield Fault("/sharing/mode/type", message.with_(**labels), GUIDE)
    elif mode.type and chosen.format_class and mode.type not in FITTING_MODES[chosen.format_class]:
        message = Text(
            "“{format}”格式不能以“{mode}”方式共享", "the format “{format}” is not shared by “{mode}”"
        )
        labels = {"format": FORMAT_CLASSES[chosen.format_class], "mode": PLATFORM_MODES[mode.type]}
        yield Fault("/sharing/mode/type", message.with_(**labels), GUIDE)


def _item_faults(record: ResourceRecord) -> Iterator[Fault]:
    seen: dict[str, int] = {}
    for position, item in enumerate(record.items):
        own = item.sharing_type
        if own and own is not record.sharing.type is SharingType.NOT_SHARED:
            message = Text(
                "资源不予共享，信息项“{item}”不能“{sharing}”",
                "the resource is not shared, so its item “{item}” is not “{sharing}”",
            )
            labels = {"item": item.name, "sharing": SHARING_TYPES[own]}
            yield Fault(f"/items/{position}/sharing_type", message.with_(**labels), ARTICLE_15)
        if not item.code:
            continue
        first = seen.setdefault(item.code.lower(), position)
        if first != position:
            message = Text("代码“{code}”与第 {n} 项重复", "the code “{code}” is that of item {n} too")
            filled = message.with_(code=item.code, n=first + 1)
            yield Fault(f"/items/{position}/code", filled, GUIDE)


def omissions(record: ResourceRecord) -> Iterator[Fault]:
    """What filing (809-13) demands and the record does not say."""
    sharing, chosen = record.sharing, record.format
    required: tuple[tuple[str, object], ...] = (
        ("/abstract", record.abstract),
        ("/format/format_class", chosen.format_class),
        ("/items", record.items),
        ("/sharing/type", sharing.type),
        ("/sharing/mode", sharing.mode),
        ("/update_cycle", record.update_cycle),
        ("/grade", record.effective_grade),
    )
    for field, value in required:
        if not value:
            yield blank(field, Text("报送目录前须填写", "required before filing"), ARTICLE_13)
    if chosen.format_class and not (chosen.type or chosen.other):
        message = Text("须填写格式类型或其他描述", "a type or a description is required")
        yield blank("/format/type", message, GUIDE)
    if sharing.mode and sharing.mode.channel is Channel.PLATFORM and sharing.mode.type is None:
        message = Text("须选择数据库、文件或接口", "choose database, file or interface")
        yield blank("/sharing/mode/type", message, GUIDE)
    yield from _sharing_omissions(record)
    if record.openness.type is Openness.CONDITIONAL and not record.openness.condition:
        yield blank("/openness/condition", Text("有条件开放须载明开放条件", "state the conditions"), GUIDE)
    if record.update_cycle is UpdateCycle.OTHER and not record.update_cycle_as_given:
        yield blank("/update_cycle_as_given", Text("选“其他”须说明周期", "say which cycle it is"), GUIDE)
    if record.classification.resource_class is ResourceClass.BASE and record.base_library is None:
        yield blank("/base_library", Text("基础类资源须填写所属基础数据库", "name the base library"), GUIDE)
    if record.classification.resource_class is ResourceClass.THEME and not record.themes:
        yield blank("/themes", Text("主题类资源须填写主题", "name the theme"), GUIDE)


def blank(field: str, message: Text, rule: Text) -> Fault:
    """The fault of a field that is not filled in though `message` says why it must be."""
    told = Text("“{field}”未填写：{message}", "“{field}” is blank: {message}")
    return Fault(field, told.with_(field=label(field), message=message), rule)


def _sharing_omissions(record: ResourceRecord) -> Iterator[Fault]:
    """What the strictest sharing of resource and items asks for (809-15)."""
    sharing = record.sharing
    types = {sharing.type, *(item.sharing_type for item in record.items)}
    if SharingType.CONDITIONAL in types and not sharing.condition:
        message = Text(
            "有条件共享须载明共享范围、用途和条件", "state scope, purpose and conditions of sharing"
        )
        yield blank("/sharing/condition", message, ARTICLE_15)
    if SharingType.NOT_SHARED in types:
        message = Text(
            "不予共享须有法律、行政法规或国务院决定的依据",
            "not sharing rests on a law, regulation or decision",
        )
        for field in ("reason", "citation"):
            if not getattr(sharing, field):
                yield blank(f"/sharing/{field}", message, ARTICLE_15)
    elif record.base_library and sharing.type is SharingType.CONDITIONAL and not sharing.citation:
        message = Text(
            "基础数据库“{library}”的资源默认无条件共享，例外须载明依据",
            "the base library “{library}” is shared unconditionally unless a law is cited",
        )
        yield blank(
            "/sharing/citation", message.with_(library=BASE_LIBRARIES[record.base_library]), ARTICLE_18
        )
