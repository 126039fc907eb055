"""Whether what the catalog holds would do for what a plan wants, once both are the same element: part by part.

Pure. A part that neither side tells of is said to be unknown. Refuses to decide: an agency justifies with what
differs, and people judge it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from app.kernel.text import Text
from catalog.collection.scoring import Reason
from catalog.resources.codes import SHARING_TYPES, UPDATE_CYCLES, SharingType, UpdateCycle

Aspect = Literal["population", "period", "frequency", "granularity", "code_list", "sharing_type"]
Verdict = Literal["adequate", "differs", "unknown"]

ASPECTS: dict[Aspect, Text] = {
    "population": Text("采集对象", "population"),
    "period": Text("时期", "period"),
    "frequency": Text("更新频率", "frequency"),
    "granularity": Text("粒度", "granularity"),
    "code_list": Text("代码表", "code list"),
    "sharing_type": Text("共享类型", "sharing type"),
}
_UNKNOWN = Text("未说明", "not stated")
_OFTEN = [cycle for cycle in UpdateCycle if cycle is not UpdateCycle.OTHER]  # the most frequent first
_AGGREGATED = re.compile("统计|汇总|年鉴|总量|指标|合计|statistic|summary|total", re.IGNORECASE)
_YEAR = re.compile(r"(?<!\d)(?:19|20)\d\d(?!\d)")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a plan says of how it wants its items; years of its period, empty where it does not say."""

    population: str = ""
    years: tuple[int, int] | None = None
    cycle: UpdateCycle | None = None
    divisions: tuple[str, ...] = ()
    single: bool = False  # wants single persons or things: it asks for what identifies them
    code_list: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """What the catalog says of a resource and its item."""

    title: str
    cycle: UpdateCycle | None = None
    temporal: str = ""
    spatial: str = ""
    identified: bool = False  # the resource holds what identifies single persons or things
    code_list: str = ""
    sharing: SharingType | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """One respect in which the existing item would do, or would not."""

    aspect: Aspect
    verdict: Verdict
    text: Text


def adequacy(wanted: Wanted, held: Held, reasons: Sequence[Reason]) -> tuple[Part, ...]:
    """Every part, in the order of ASPECTS. `reasons` are the match's: what they say of populations is not judged
    again."""
    said = {reason.code: reason.text for reason in reasons}
    found: dict[Aspect, tuple[Verdict, Text]] = {
        "population": _population(wanted, said),
        "period": _period(wanted, held),
        "frequency": _frequency(wanted, held),
        "granularity": _granularity(wanted, held),
        "code_list": _code_list(wanted, held),
        "sharing_type": _sharing(held),
    }
    return tuple(Part(aspect, verdict, text) for aspect, (verdict, text) in found.items())


def _population(wanted: Wanted, said: dict[str, Text]) -> tuple[Verdict, Text]:
    for code, verdict in _OF_POPULATION:
        if code in said:
            return verdict, said[code]
    return "unknown", _UNKNOWN if not wanted.population else _NOT_TOLD.with_(wanted=wanted.population)


_OF_POPULATION: tuple[tuple[str, Verdict], ...] = (
    ("other_population", "differs"), ("other_group", "differs"), ("same_population", "adequate"),
    ("kindred_population", "adequate"), ("kindred", "adequate"), ("foreign", "differs"),
)  # fmt: skip
_NOT_TOLD = Text("目录未说明是否含“{wanted}”", "the catalog does not say whether it covers {wanted}")


def _period(wanted: Wanted, held: Held) -> tuple[Verdict, Text]:
    years = [int(year) for year in _YEAR.findall(f"{held.temporal} {held.title}")]
    if not years or wanted.years is None:
        return "unknown", _UNKNOWN
    first, last = min(years), max(years)
    texts = {"held": f"{first}–{last}" if first < last else str(first), "wanted": _span(wanted.years)}
    if "至今" in held.temporal or (first <= wanted.years[0] and last >= wanted.years[1]):
        return "adequate", Text(
            "现有 {held}，含所需 {wanted}", "held for {held}, which covers {wanted}"
        ).with_(**texts)
    return "differs", Text("现有 {held} ≠ 所需 {wanted}", "held for {held}, wanted for {wanted}").with_(
        **texts
    )


def _span(years: tuple[int, int]) -> str:
    return f"{years[0]}–{years[1]}" if years[0] < years[1] else str(years[0])


def _frequency(wanted: Wanted, held: Held) -> tuple[Verdict, Text]:
    if wanted.cycle not in _OFTEN or held.cycle not in _OFTEN:
        return "unknown", _UNKNOWN
    texts = {"held": UPDATE_CYCLES[held.cycle], "wanted": UPDATE_CYCLES[wanted.cycle]}
    said = Text("现有{held}更新，所需{wanted}", "updated {held}, wanted {wanted}").with_(**texts)
    return ("adequate" if _OFTEN.index(held.cycle) <= _OFTEN.index(wanted.cycle) else "differs"), said


def _granularity(wanted: Wanted, held: Held) -> tuple[Verdict, Text]:
    """Single persons or things, or sums over them; and the area, where the catalog tells it."""
    if wanted.single and held.identified:
        return "adequate", Text("双方都到单个对象", "both tell of single persons or things")
    if wanted.single and _AGGREGATED.search(held.title):
        return "differs", Text(
            "现有为统计汇总，计划要单个对象", "sums are held, single persons or things are wanted"
        )
    if not wanted.single and held.identified:
        return "adequate", Text(
            "现有到单个对象，可以汇总", "single persons or things are held; they can be summed up"
        )
    if held.spatial and wanted.divisions:
        texts = {"held": held.spatial, "wanted": "、".join(wanted.divisions)}
        return "unknown", Text(
            "现有范围 {held}，所需 {wanted}", "held for {held}, wanted for {wanted}"
        ).with_(**texts)
    return "unknown", _UNKNOWN


def _code_list(wanted: Wanted, held: Held) -> tuple[Verdict, Text]:
    if not wanted.code_list or not held.code_list:
        return "unknown", _UNKNOWN
    if wanted.code_list == held.code_list:
        return "adequate", Text("同为 {held}", "both {held}").with_(held=held.code_list)
    texts = {"held": held.code_list, "wanted": wanted.code_list}
    return "differs", Text("现有 {held} ≠ 所需 {wanted}", "held in {held}, wanted in {wanted}").with_(**texts)


def _sharing(held: Held) -> tuple[Verdict, Text]:
    if held.sharing is None:
        return "unknown", _UNKNOWN
    return ("differs" if held.sharing is SharingType.NOT_SHARED else "adequate"), SHARING_TYPES[held.sharing]
