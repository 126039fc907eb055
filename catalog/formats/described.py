"""A dataset as DCAT describes one, in whatever profile and syntax, in the terms of the record.

Pure. Owns what a member of DCAT means here. What a source does not say is said to be unsaid, never made up.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import JsonValue

from app.kernel.errors import Fault
from app.kernel.text import Text
from catalog.formats.format_names import describe_formats
from catalog.formats.reading import AgencyRef, Read, Rejected, Row, SourceRow, validated
from catalog.resources.codes import THEMES, Openness, SharingType, UpdateCycle
from catalog.resources.record import ResourceRecord, as_abstract, check_record
from catalog.text import fold

# ISO 8601 repeating intervals, and the words of DCAT-US 3 and of the EU table "frequency", as update cycles; any
# other is 其他 with the words kept.
_CYCLES: dict[str, UpdateCycle] = {
    **{cycle.value: cycle for cycle in UpdateCycle},
    "r/pt1s": UpdateCycle.REAL_TIME, "continual": UpdateCycle.REAL_TIME, "cont": UpdateCycle.REAL_TIME,
    "update_cont": UpdateCycle.REAL_TIME, "r/p1d": UpdateCycle.DAILY, "daily": UpdateCycle.DAILY,
    "r/p1w": UpdateCycle.WEEKLY, "r/p7d": UpdateCycle.WEEKLY, "weekly": UpdateCycle.WEEKLY,
    "r/p10d": UpdateCycle.TEN_DAYS, "monthly_3": UpdateCycle.TEN_DAYS, "r/p1m": UpdateCycle.MONTHLY,
    "monthly": UpdateCycle.MONTHLY, "r/p3m": UpdateCycle.QUARTERLY, "quarterly": UpdateCycle.QUARTERLY,
    "r/p6m": UpdateCycle.HALF_YEARLY, "biannually": UpdateCycle.HALF_YEARLY,
    "annual_2": UpdateCycle.HALF_YEARLY, "r/p1y": UpdateCycle.YEARLY, "annually": UpdateCycle.YEARLY,
    "annual": UpdateCycle.YEARLY,
}  # fmt: skip
_THEMES = {fold(name): theme for theme, label in THEMES.items() for name in (theme, label.zh, label.en)}
_STATES_NO_MORE = frozenset({"", "true", "false", "n/a", "not available", "private", "restricted", "none"})
_UNCITED = "来源目录标注为 non-public，未载明法律依据 / stated non-public by the source, which cites no law"
_UNCONDITIONED = (
    "来源目录标注为 restricted public，未载明条件 / stated restricted public by the source without conditions"
)
NO_IDENTIFIER = Text("没有标识，再次导入时无法认出", "no identifier: it could not be recognised again")

Access = str
"""`public`, `restricted public` or `non-public`, as DCAT-US has it; anything else says nothing."""


@dataclass(slots=True)
class Described:
    """What a source says of one dataset; texts are clean. `closed_to_agencies` is whether `non-public` means that
    other agencies may not have it either (DCAT-US), or only the public (DCAT-AP); `sharing` what it says itself."""

    identifier: str
    title: str
    title_en: str | None = None
    description: str = ""
    publisher: AgencyRef | None = None
    keywords: Sequence[str] = ()
    themes: Sequence[str] = ()
    items: Sequence[str] = ()
    frequency: str = ""
    access: Access | None = None
    closed_to_agencies: bool = True
    sharing: SharingType | None = None
    rights: str = ""
    issued: str = ""
    modified: str = ""
    licence: str | None = None
    landing_page: str | None = None
    distributions: Sequence[Mapping[str, JsonValue]] = ()
    contact: Mapping[str, JsonValue] = field(default_factory=dict)
    spatial: str | None = None
    temporal: str | None = None
    languages: Sequence[str] = ()
    extra: Mapping[str, JsonValue] = field(default_factory=dict)


def as_row(place: str, told: Described, notes: Sequence[Fault], shown: SourceRow) -> Row:
    """The dataset as a resource, or its faults. `shown` is handed back where it is rejected."""
    if not told.identifier:
        return Rejected(place, (Fault("/identifier", NO_IDENTIFIER),), (shown,))
    faults = list(notes)
    record = validated(ResourceRecord, _values(told, faults))
    if isinstance(record, tuple):
        return Rejected(place, record, (shown,))
    if broken := check_record(record, for_filing=False):
        return Rejected(place, tuple(broken), (shown,))
    return Read(place, record, told.publisher, tuple(faults), (shown,))


def _values(told: Described, notes: list[Fault]) -> dict[str, JsonValue]:
    abstract, description = as_abstract(told.description)
    described, mode = describe_formats(
        str(name) for d in told.distributions if (name := d.get("media_type") or d.get("format"))
    )
    known = [_THEMES.get(fold(name)) for name in told.themes]
    sharing, openness = _sharing(told, notes)
    issued = re.match(r"\d{4}-\d{2}-\d{2}", told.issued)
    distributions: list[JsonValue] = [dict(d) for d in told.distributions]
    return {
        "title": told.title,
        "title_en": told.title_en,
        "source_id": told.identifier,
        "provider": {"name": told.publisher.name if told.publisher else None},
        "abstract": abstract,
        "description": description,
        "themes": list(dict.fromkeys(theme for theme in known if theme)),
        "categories": [n for n, theme in zip(told.themes, known, strict=True) if n and not theme],
        "keywords": list(dict.fromkeys(word for word in told.keywords if word)),
        "items": [{"name": name} for name in told.items],
        "format": described.model_dump(mode="json"),
        "sharing": {**sharing, "mode": mode.model_dump(mode="json") if mode else None},
        "openness": openness,
        "update_cycle": _CYCLES.get(told.frequency.lower(), UpdateCycle.OTHER) if told.frequency else None,
        "update_cycle_as_given": told.frequency or None,
        "published_on": issued[0] if issued else None,
        "modified_as_given": told.modified or None,
        "licence": told.licence,
        "landing_page": told.landing_page,
        "distributions": distributions,
        "contact": dict(told.contact),
        "spatial": told.spatial,
        "temporal": told.temporal,
        "language": ",".join(told.languages) or None,
        "extra": dict(told.extra),
    }


def _sharing(told: Described, notes: list[Fault]) -> tuple[dict[str, JsonValue], dict[str, JsonValue]]:
    """The sharing and the openness an access level stands for."""
    stated = told.rights if told.rights.lower() not in _STATES_NO_MORE else None
    match told.access:
        case "public":
            return {"type": SharingType.UNCONDITIONAL}, {"type": Openness.UNCONDITIONAL}
        case "restricted public":
            return {"type": SharingType.CONDITIONAL, "condition": stated or _UNCONDITIONED}, {}
        case "non-public" if told.closed_to_agencies:
            reason = stated or _UNCITED
            return {"type": SharingType.NOT_SHARED, "reason": reason, "citation": _UNCITED}, {}
        case "non-public" | None:
            return ({"type": told.sharing} if told.sharing is SharingType.UNCONDITIONAL else {}), {}
        case unknown:
            message = Text("“{value}”不是规定的取值", "“{value}” is not one of the values").with_(
                value=unknown[:100]
            )
            rule = Text("public、restricted public、non-public", "public, restricted public, non-public")
            notes.append(Fault("/accessLevel", message, rule))
            return {}, {}
