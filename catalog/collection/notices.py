"""The notice of criticism (通报批评) as a document, written from what is on record.

Pure: numbering and storing are `service`'s. Source: Regulation Art. 46(1).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from uuid import UUID

from jinja2 import Environment, StrictUndefined

from app.kernel.law import cite
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
    "该单位提出异议：{appeal}。经另行审查，维持原认定：{again}。",
    "The agency appealed: {appeal}. Another person looked at it again and upheld the decision: {again}.",
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
    decided_again: str | None  # after the appeal
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
        _APPEALED.with_(appeal=_line(facts.appeal), again=_line(facts.decided_again))
        if facts.appeal
        else _UNANSWERED,
        _RULING.with_(agency=facts.agency),
        facts.authority,
        _DATED.with_(year=facts.on.year, month=facts.on.month, day=facts.on.day),
    ]  # fmt: skip
    return Text("\n".join(line.zh for line in lines), "\n".join(line.en for line in lines))


def _line(text: str | None) -> str:
    return " ".join((text or "").split()).rstrip("。.")


_STYLE = """
:root{font-family:"FangSong","STFangsong","Noto Serif CJK SC","Source Han Serif SC",SimSun,serif;color:#111}
body{max-width:44rem;margin:2.5rem auto;padding:0 1.5rem;font-size:1.15rem;line-height:1.9}
header{text-align:center}
.head{color:#c00;font-size:2.4rem;font-weight:700;letter-spacing:.3rem;line-height:1.3;margin:.5rem 0 1.2rem}
:root:lang(en) .head{letter-spacing:.02rem;font-size:1.9rem}
.number{margin:0;padding-bottom:.5rem;border-bottom:3px solid #c00}
h1{text-align:center;font-size:1.7rem;line-height:1.5;margin:2.2rem 0 1.6rem}
.to{margin:0}.body p{text-indent:2em;margin:.5rem 0;text-align:justify}
table{border-collapse:collapse;width:100%;margin:1.2rem 0;font-size:.95rem;line-height:1.5}
th,td{border:1px solid #555;padding:.35rem .6rem;text-align:left;vertical-align:top}
th{width:9.5rem;font-weight:600;background:#f4f4f4}
.signed{text-align:right;margin:2.5rem 2em 0}.signed p{margin:0}
footer{margin-top:3rem;border-top:1px solid #555;border-bottom:1px solid #555;padding:.5rem 0;font-size:.9rem}
footer p{margin:.1rem 0}code{font-size:.85em;overflow-wrap:anywhere}
@page{size:A4;margin:37mm 26mm 35mm 28mm}
@media print{body{max-width:none;margin:0;padding:0}tr,.signed{break-inside:avoid}}
"""  # margins of a page: GB/T 9704-2012
_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{_DIGEST}'; frame-ancestors 'none'; base-uri 'none'"
"""Content-Security-Policy of the document: nothing but its own style."""

_PAGE = """<!doctype html>
<html lang="{{ locale }}">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{ title }}</title><style>{{ style|safe }}</style></head>
<body>
<header><p class="head">{{ say(n.authority) }}</p><p class="number">{{ n.number }}</p></header>
<h1>{{ title }}</h1>
<p class="to">{{ t("{agency}：", "To: {agency}") }}</p>
<div class="body">{% for line in body %}<p>{{ line }}</p>
{% endfor %}</div>
<table>
{% for name, value in facts %}<tr><th scope="row">{{ say(name) }}</th><td>{{ say(value) }}</td></tr>
{% endfor %}</table>
<div class="signed"><p>{{ signed }}</p><p>{{ dated }}</p></div>
<footer>
<p>{{ t("主送：{agency}", "Addressee: {agency}") }}</p>
<p>{{ t("依据：{basis}", "Legal basis: {basis}") }}</p>
<p>{{ t("通报编号：", "Register entry: ") }}<code>{{ n.id }}</code></p>
{% if n.ledger_entry %}<p>{{ t("存证账本条目：", "Ledger entry: ") }}<code>{{ n.ledger_entry }}</code></p>
{% endif %}</footer>
</body></html>
"""
_TEMPLATE = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True).from_string(_PAGE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """A notice as it stands in the register, with what the document tells beside its text."""

    id: UUID
    number: str
    authority: Text
    agency: Text
    text: Text
    legal_basis: str
    facts: Sequence[tuple[Text, Text]]
    ledger_entry: UUID | None


def as_document(notice: Registered, locale: str) -> str:
    """The notice as an official document (公文, laid out after GB/T 9704) on a page that needs nothing else."""
    title, *body, signed, dated = notice.text.in_(locale).split("\n")
    places = {"agency": notice.agency, "basis": cite(notice.legal_basis)}
    return _TEMPLATE.render(
        locale="en" if locale.startswith("en") else "zh-CN", style=_STYLE, n=notice, title=title, body=body,
        signed=signed, dated=dated, facts=notice.facts, say=lambda text: text.in_(locale),
        t=lambda zh, en: Text(zh, en).with_(**places).in_(locale),
    )  # fmt: skip
