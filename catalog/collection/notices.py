"""The notice of criticism (通报批评) as a document, written from what is on record.

Pure: numbering and storing are `service`'s. Source: Regulation Art. 46(1).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from html import escape

from app.kernel.text import Text
from catalog.collection.record import Candidate
from catalog.collection.states import GROUNDS

LEGAL_BASIS = "REG-46(1)"

_TITLE = Text(
    "关于{agency}重复采集政务信息的通报",
    "Notice of criticism: {agency} collects again what the catalog holds",
)
_FOUND = Text(
    "经查，{agency}采集计划“{plan}”拟采集的信息项“{item}”，与政务信息资源目录中{provider}的信息资源“{resource}”"
    "所载信息项“{existing}”重复（比对依据：{reasons}；比对模型 {model}）。",
    "In its collection plan “{plan}”, {agency} means to collect the item “{item}”. The catalog holds it as "
    "“{existing}” in the resource “{resource}” of {provider} (grounds: {reasons}; model {model}).",
)
_JUSTIFIED = Text(
    "该单位以“{ground}”为由作出说明：{justification}。",
    "The agency's justification ({ground}): {justification}.",
)
_SILENT = Text("该单位未在规定期限内说明理由。", "The agency gave no justification in time.")
_DECIDED = Text("经审查认定为重复采集：{decision}。", "It was upheld as duplicate collection: {decision}.")
_APPEALED = Text(
    "该单位提出异议：{appeal}。经重新审查，维持原认定。",
    "The agency appealed: {appeal}. The decision was upheld.",
)
_UNANSWERED = Text(
    "该单位在规定期限内既未提出异议，也未改为共享取得。",
    "The agency neither appealed nor shared instead in time.",
)
_RULING = Text(
    "依照《信息化促进条例》第十七条、第四十六条第（一）项和《政务数据共享条例》第十九条的规定，对{agency}予以通报批评。"
    "该信息项不得采集，所需信息应当通过共享取得。",
    "Under the Informatization Promotion Regulation Art. 17 and 46(1) and Decree 809 Art. 19, {agency} is criticised "
    "by this notice. The item is not to be collected; it is to be had by sharing.",
)
_DATED = Text("{year}年{month}月{day}日", "{year}-{month:02d}-{day:02d}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is on record when the notice is signed; `found` is the best candidate."""

    authority: Text
    agency: Text
    plan: str
    item: str
    found: Candidate
    model_version: str
    ground: str | None
    justification: str | None
    decision: str
    appeal: str | None
    on: date


def number_of(authority: str, year: int, sequence: int) -> str:
    """文号: 某市数据局通报〔2026〕3号."""
    return f"{authority}通报〔{year}〕{sequence}号"


def write(facts: Facts) -> Text:
    """The document in both languages: the title, then its paragraphs, one line each."""
    found = facts.found
    speaking = [reason.text for reason in found.reasons if reason.weight > 0]
    reasons = Text("、".join(r.zh for r in speaking), "; ".join(r.en for r in speaking))
    lines = [
        _TITLE.with_(agency=facts.agency),
        _FOUND.with_(
            agency=facts.agency, plan=facts.plan, item=facts.item, provider=found.agency_name,
            resource=found.resource_title, existing=found.item_name, reasons=reasons, model=facts.model_version,
        ),
        _JUSTIFIED.with_(ground=GROUNDS[facts.ground].label, justification=_line(facts.justification))
        if facts.ground
        else _SILENT,
        _DECIDED.with_(decision=_line(facts.decision)),
        _APPEALED.with_(appeal=_line(facts.appeal)) if facts.appeal else _UNANSWERED,
        _RULING.with_(agency=facts.agency),
        facts.authority,
        _DATED.with_(year=facts.on.year, month=facts.on.month, day=facts.on.day),
    ]  # fmt: skip
    return Text("\n".join(line.zh for line in lines), "\n".join(line.en for line in lines))


def _line(text: str | None) -> str:
    return " ".join((text or "").split()).rstrip("。.")


def as_html(number: str, text_zh: str) -> str:
    """The Chinese document as a page of its own: no script, no address of anywhere else."""
    title, *body, signed, dated = [escape(line) for line in text_zh.split("\n")]
    paragraphs = "\n".join(f"<p>{line}</p>" for line in body)
    return (
        '<!DOCTYPE html>\n<html lang="zh-CN">\n<head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title></head>\n<body>\n<p>{escape(number)}</p>\n<h1>{title}</h1>\n{paragraphs}\n"
        f"<p>{signed}</p>\n<p>{dated}</p>\n</body>\n</html>\n"
    )
