"""How good a record is: six measures from 0 to 1, each with its reasons. Pure.

Sources: Regulation Art. 17 (updated regularly, kept true), Decree 809 Art. 13, 17, 26. What is not applicable is not
counted.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.identity.codes import credit_code_fault
from app.kernel.text import Text
from catalog.resources.codes import UPDATE_CYCLES, UpdateCycle
from catalog.resources.labels import label
from catalog.resources.record import ResourceRecord, check_record

WEIGHTS: dict[str, float] = {
    "completeness": 0.25,
    "items": 0.2,
    "freshness": 0.25,
    "corrections": 0.1,
    "codes": 0.1,
    "links": 0.1,
}
NAMES: dict[str, Text] = {
    "completeness": Text("必填内容", "completeness"),
    "items": Text("信息项说明", "items documented"),
    "freshness": Text("按周期更新", "update cycle kept"),
    "corrections": Text("未了结的校核", "corrections open"),
    "codes": Text("代码有效", "codes valid"),
    "links": Text("链接可用", "links alive"),
}
# How old data may be before its cycle is missed: the cycle and half of it again.
CYCLES: dict[UpdateCycle, timedelta] = {
    UpdateCycle.REAL_TIME: timedelta(days=1),
    UpdateCycle.DAILY: timedelta(days=2),
    UpdateCycle.WEEKLY: timedelta(days=11),
    UpdateCycle.TEN_DAYS: timedelta(days=15),
    UpdateCycle.MONTHLY: timedelta(days=46),
    UpdateCycle.QUARTERLY: timedelta(days=138),
    UpdateCycle.HALF_YEARLY: timedelta(days=274),
    UpdateCycle.YEARLY: timedelta(days=548),
}
REASONS_SHOWN = 10
_LIKE_OURS = re.compile(r"[123]\d{5}[0-9A-Z]*/\d+")


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a resource beside its record. `links`: address to whether it answered, where that is known."""

    now: datetime
    data_updated_at: datetime | None
    delivered_at: datetime | None
    open_corrections: int
    known_codes: Collection[str]
    links: Mapping[str, bool]


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure. `score` is None where it does not apply."""

    name: str
    score: float | None
    reasons: tuple[Text, ...]


def measure(record: ResourceRecord, facts: Facts) -> tuple[float, list[Measure]]:
    """The whole, from 0 to 1, and each measure."""
    measures = [
        _completeness(record),
        _items(record),
        _freshness(record, facts),
        _corrections(facts),
        _codes(record, facts),
        _links(facts),
    ]
    counted = [(one.score, WEIGHTS[one.name]) for one in measures if one.score is not None]
    whole = sum(score * weight for score, weight in counted) / sum(weight for _, weight in counted)
    return round(whole, 3), measures


def _completeness(record: ResourceRecord) -> Measure:
    faults = check_record(record)
    return _of("completeness", 1 - 0.125 * len(faults), [fault.message for fault in faults])


def _items(record: ResourceRecord) -> Measure:
    if not record.items:
        return Measure("items", 0.0, (Text("没有列出信息项", "no items are listed"),))
    lacking: list[Text] = []
    points = 0
    for item in record.items:
        missing = [
            label(f"/items/{name}") for name in ("definition", "data_type") if getattr(item, name) is None
        ]
        points += 2 - len(missing)
        if missing:
            message = Text("信息项“{item}”缺{missing}", "the item “{item}” lacks {missing}")
            named = Text("、".join(m.zh for m in missing), ", ".join(m.en for m in missing))
            lacking.append(message.with_(item=item.name, missing=named))
    return _of("items", points / (2 * len(record.items)), lacking)


def _freshness(record: ResourceRecord, facts: Facts) -> Measure:
    """Data that were reported as updated, or else delivered, no longer ago than the cycle allows."""
    if record.update_cycle not in CYCLES:
        return Measure("freshness", None, (Text("没有可核对的更新周期", "no cycle to compare with"),))
    last = max((at for at in (facts.data_updated_at, facts.delivered_at) if at), default=None)
    if last is None:
        return Measure(
            "freshness", 0.0, (Text("没有报告过更新，也没有交付", "no update reported, nothing delivered"),)
        )
    age, allowed = facts.now - last, CYCLES[record.update_cycle]
    if age <= allowed:
        return Measure("freshness", 1.0, ())
    message = Text(
        "更新周期为{cycle}，已 {days} 天没有更新或交付", "updated {cycle}, but not for {days} days"
    )
    told = message.with_(cycle=UPDATE_CYCLES[record.update_cycle], days=age.days)
    return _of("freshness", allowed / age, [told])


def _corrections(facts: Facts) -> Measure:
    if not facts.open_corrections:
        return Measure("corrections", 1.0, ())
    message = Text("有 {n} 件校核尚未了结", "{n} corrections are open").with_(n=facts.open_corrections)
    return _of("corrections", 1 - facts.open_corrections / 3, [message])


def _codes(record: ResourceRecord, facts: Facts) -> Measure:
    wrong = []
    code = record.provider.code
    if not code:
        wrong.append(Text("没有提供方代码", "the provider has no code"))
    elif fault := credit_code_fault(code):
        wrong.append(Text(f"“{code}”：{fault.zh}", f"“{code}”: {fault.en}"))
    for related in record.related_codes:
        if _LIKE_OURS.fullmatch(related) and related not in facts.known_codes:
            message = Text(
                "关联资源代码“{code}”不在目录中", "the related code “{code}” is not in the catalog"
            )
            wrong.append(message.with_(code=related))
    return _of("codes", 1 - len(wrong) / (1 + len(record.related_codes)), wrong)


def _links(facts: Facts) -> Measure:
    if not facts.links:
        return Measure("links", None, (Text("没有已检查的链接", "no link was checked"),))
    dead = sorted(url for url, alive in facts.links.items() if not alive)
    message = Text("{url} 没有应答", "{url} does not answer")
    return _of("links", 1 - len(dead) / len(facts.links), [message.with_(url=url) for url in dead])


def _of(name: str, score: float, reasons: list[Text]) -> Measure:
    return Measure(name, round(min(1.0, max(0.0, score)), 3), tuple(reasons[:REASONS_SHOWN]))


def urls_of(record: ResourceRecord) -> set[str]:
    """The addresses a record names, that can be called."""
    named = [
        record.landing_page,
        *(url for one in record.distributions for url in (one.access_url, one.download_url)),
    ]
    return {url for url in named if url and url.startswith(("http://", "https://"))}
