"""What a collection plan says, and what the check found for one of its items.

Pure. The rules a plan must keep are `check_plan_record`'s; whether the catalog holds its items is `checking`'s.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import date
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import Field, JsonValue, StringConstraints

from app.kernel.canonical import canonical
from app.kernel.errors import Fault
from app.kernel.text import Text
from app.kernel.wire import Label, Wire
from catalog.collection.adequacy import ASPECTS, Aspect, Part, Verdict, Wanted
from catalog.collection.knowledge import Band
from catalog.collection.matching import Match, PlanContext, PlannedItem
from catalog.collection.scoring import Reason
from catalog.resources.codes import DataType, SharingType, UpdateCycle
from catalog.resources.record import Line, Name, OptionalLine, OptionalProse

PLAN_ITEM_LIMIT = 300

# Short enough for the share request that is made of them.
Title = Annotated[Name, StringConstraints(max_length=200)]
Matter = Annotated[Line, StringConstraints(max_length=256)]
DivisionCode = Annotated[str, StringConstraints(pattern=r"^[1-9]\d{5}$")]


class Means(StrEnum):
    """采集方式: how the information is to be collected."""

    FORM = "form"
    SURVEY = "survey"
    SYSTEM = "system"
    SENSOR = "sensor"


MEANS: dict[Means, Text] = {
    Means.FORM: Text("填报", "form"),
    Means.SURVEY: Text("调查", "survey"),
    Means.SYSTEM: Text("业务系统采集", "system"),
    Means.SENSOR: Text("感知设备采集", "sensor"),
}


class PlannedItemRecord(Wire):
    """An information item that the agency wants to collect."""

    name: Name
    name_en: OptionalLine = None
    definition: OptionalProse = None
    data_type: DataType | None = None
    length: Annotated[int | None, Field(ge=1, le=2_000_000_000)] = None
    code_list: OptionalLine = None
    is_identifier: bool = False

    @property
    def compared(self) -> PlannedItem:
        """The item as the check takes it."""
        return PlannedItem(
            name=self.name, definition=self.definition or "", data_type=self.data_type or "",
            code_list=self.code_list or "", is_identifier=self.is_identifier,
        )  # fmt: skip


class PlanRecord(Wire):
    """采集计划: who is asked for what, why, on what legal basis, how often, when and at what burden."""

    title: Title
    title_en: OptionalLine = None
    population: Name  # 采集对象, in the agency's words
    object_class: OptionalLine = None  # 对象类 (GB/T 19488): the kind of thing that is described
    means: Means
    purpose: Line
    business_matter: Matter
    legal_basis: Matter
    update_cycle: UpdateCycle
    period_from: date
    period_until: date  # the last day of collecting
    jurisdictions: Annotated[tuple[DivisionCode, ...], Field(max_length=200)] = ()  # GB/T 2260
    respondents: Annotated[int, Field(ge=0, le=2_000_000_000)] = 0
    minutes_per_respondent: Annotated[int, Field(ge=0, le=100_000)] = 0
    project_reference: OptionalLine = None
    items: Annotated[tuple[PlannedItemRecord, ...], Field(min_length=1, max_length=PLAN_ITEM_LIMIT)]

    @property
    def context(self) -> PlanContext:
        """What the check is told beside each item."""
        return PlanContext(
            title=self.title, population=f"{self.population} {self.object_class or ''}".strip()
        )

    @property
    def wanted(self) -> tuple[Wanted, ...]:
        """Of each item, what would do for it."""
        single = any(item.is_identifier for item in self.items)
        return tuple(
            Wanted(
                population=self.population, years=(self.period_from.year, self.period_until.year),
                cycle=self.update_cycle, divisions=self.jurisdictions, single=single, code_list=item.code_list or "",
            )
            for item in self.items
        )  # fmt: skip

    @property
    def content_hash(self) -> str:
        """SHA-256 of the canonical JSON (RFC 8785), in hex."""
        return hashlib.sha256(canonical(self.model_dump(mode="json", exclude_defaults=True))).hexdigest()


def check_plan_record(record: PlanRecord, *, today: date | None = None) -> list[Fault]:
    """Every rule the plan breaks; on filing (`today` given) its period has not ended."""
    faults = []
    if record.period_until < record.period_from:
        message = Text("采集结束日期早于开始日期", "the last day is before the first")
        faults.append(Fault("/period_until", message))
    elif today is not None and record.period_until < today:
        faults.append(Fault("/period_until", Text("采集期已过", "the period has ended")))
    return faults


class Burden(Wire):
    """What a collection asks of people: how many, and how many minutes of theirs together."""

    people: int = 0
    minutes: int = 0


def burden_of(record: PlanRecord, items: int) -> Burden:
    """The burden of so many of the plan's items: each bears an equal share of the minutes of the whole form."""
    whole = record.respondents * record.minutes_per_respondent
    return Burden(people=record.respondents if items else 0, minutes=round(whole * items / len(record.items)))


class FieldChange(Wire):
    """A field of the plan that says something else."""

    field: str
    before: JsonValue
    after: JsonValue


class ItemChange(Wire):
    """An item that goes by the same name and says something else."""

    before: PlannedItemRecord
    after: PlannedItemRecord


class PlanChanges(Wire):
    """What one plan has that the one before it had not."""

    fields: tuple[FieldChange, ...]
    added: tuple[PlannedItemRecord, ...]
    removed: tuple[PlannedItemRecord, ...]
    changed: tuple[ItemChange, ...]


def changes(before: PlanRecord, after: PlanRecord) -> PlanChanges:
    """What is new in `after`; items are told apart by their names."""
    old, new = (record.model_dump(mode="json", exclude={"items"}) for record in (before, after))
    had, has = ({item.name: item for item in record.items} for record in (before, after))
    return PlanChanges(
        fields=tuple(FieldChange(field=f, before=old[f], after=new[f]) for f in new if old[f] != new[f]),
        added=tuple(item for name, item in has.items() if name not in had),
        removed=tuple(item for name, item in had.items() if name not in has),
        changed=tuple(
            ItemChange(before=had[name], after=item)
            for name, item in has.items()
            if name in had and had[name] != item
        ),
    )


class ReasonRecord(Wire):
    """One contribution to a score, in words; the weights add up to it."""

    code: str
    text: Label
    weight: float

    @classmethod
    def of(cls, reason: Reason) -> ReasonRecord:
        return cls(code=reason.code, text=Label.of(reason.text), weight=reason.weight)


class AdequacyRecord(Wire):
    """Whether an existing item would do in one respect: population, period, frequency, granularity, code list or
    sharing type."""

    aspect: Aspect
    name: Label
    verdict: Verdict
    text: Label

    @classmethod
    def of(cls, part: Part) -> AdequacyRecord:
        name = Label.of(ASPECTS[part.aspect])
        return cls(aspect=part.aspect, name=name, verdict=part.verdict, text=Label.of(part.text))


class Candidate(Wire):
    """An item of a published resource that may be the planned one. `against` is the nearest reason it is not;
    `adequacy` tells in each respect whether it would do."""

    resource_id: UUID
    resource_title: str
    agency_id: UUID
    agency_name: str
    item_code: str
    item_name: str
    sharing_type: SharingType | None  # the item's own, else the resource's
    how_to_get: Label
    score: float
    band: Band
    reasons: tuple[ReasonRecord, ...]
    against: ReasonRecord | None
    adequacy: tuple[AdequacyRecord, ...] = ()

    @classmethod
    def of(cls, match: Match, parts: Iterable[Part], *, asking: UUID | None) -> Candidate:
        """The match as it is told to the agency `asking`."""
        held = match.profile
        sharing = SharingType(held.sharing_type) if held.sharing_type else None
        return cls(
            resource_id=UUID(held.resource_id), resource_title=held.resource_title,
            agency_id=UUID(held.agency_id), agency_name=held.agency_name,
            item_code=item_code_of(held.id), item_name=held.name, sharing_type=sharing,
            how_to_get=Label.of(OWN if held.agency_id == str(asking) else HOW_TO_GET[sharing]),
            score=match.score, band=match.band,
            reasons=tuple(ReasonRecord.of(reason) for reason in match.reasons),
            against=ReasonRecord.of(match.against) if match.against else None,
            adequacy=tuple(AdequacyRecord.of(part) for part in parts),
        )  # fmt: skip


OWN = Text("本单位已有，直接使用", "your agency holds it already")
_BY_REQUEST = Text("申请共享，与提供方协商条件", "ask for it; the terms are negotiated with the provider")
HOW_TO_GET: dict[SharingType | None, Text] = {
    SharingType.UNCONDITIONAL: Text("申请共享，无条件提供", "ask for it; it is shared unconditionally"),
    SharingType.CONDITIONAL: _BY_REQUEST,
    SharingType.NOT_SHARED: Text(
        "依法不予共享，可请提供方核验或据此说明理由",
        "not shared by law; ask the provider to verify values, or justify on this ground",
    ),
    None: _BY_REQUEST,
}


class Supplied(Wire):
    """A planned item, by its position, and the catalog's item that would supply it."""

    position: int
    item_code: str


class CoveringRecord(Wire):
    """A resource to ask for instead of collecting."""

    resource_id: UUID
    title: str
    agency_id: UUID
    agency_name: str
    sharing_type: SharingType | None
    items: tuple[Supplied, ...]


class CoverageRecord(Wire):
    """The few resources that hold what the plan asks for; `share` of the plan's items, 0-1."""

    resources: tuple[CoveringRecord, ...]
    share: float


def profile_id(resource_id: UUID, item_code: str) -> str:
    """How the check names an item of the catalog."""
    return f"{resource_id}/{item_code}"


def item_code_of(profile: str) -> str:
    return profile.partition("/")[2]


class CheckRecord(Wire):
    """Items to look up while a plan is being typed; title and population may still be missing."""

    title: Annotated[str, StringConstraints(strip_whitespace=True, max_length=200)] = ""
    population: Annotated[str, StringConstraints(strip_whitespace=True, max_length=256)] = ""
    items: Annotated[tuple[PlannedItemRecord, ...], Field(min_length=1, max_length=PLAN_ITEM_LIMIT)]

    @property
    def context(self) -> PlanContext:
        return PlanContext(title=self.title, population=self.population)

    @property
    def wanted(self) -> tuple[Wanted, ...]:
        """Of each item, what would do for it, as far as it is typed yet."""
        single = any(item.is_identifier for item in self.items)
        return tuple(
            Wanted(population=self.population, single=single, code_list=item.code_list or "")
            for item in self.items
        )
