"""An agreement as a document for people, in Chinese or English, to read on a screen and to print.

Owns the wording and the page; what was agreed is the agreement's. Everything it says is escaped.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from jinja2 import Environment, StrictUndefined
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.identity.models import Person
from app.kernel.calendar import BEIJING
from app.kernel.law import cite
from app.kernel.text import Locale, Text
from exchange.agreements.models import Agreement
from exchange.agreements.states import AGREEMENT, ORIGINS
from exchange.negotiations.consents import consents_to
from exchange.parties import names_of
from exchange.terms import METHOD_NAMES
from exchange.told import records_of, told

SIDES = {"requester": Text("需求方", "Requester"), "provider": Text("提供方", "Provider")}
CONSENT_KINDS = {
    "policy": Text("无条件共享，按目录公布的条件同意", "by policy: published as shared unconditionally"),
    "deemed": Text("逾期未答复，视为同意", "deemed by silence"),
}
_BASES = {"negotiated": "809-20, 809-22", "policy": "809-14, 809-21", "ruling": "REG-21, 809-28"}

_STYLE = """
:root{font-family:"Noto Serif CJK SC","Source Han Serif SC",SimSun,serif;color:#111}
body{max-width:46rem;margin:2rem auto;padding:0 1rem;line-height:1.7}
h1{text-align:center;font-size:1.6rem}h2{font-size:1.1rem;margin:1.6rem 0 .4rem}
table{border-collapse:collapse;width:100%}
th,td{border:1px solid #666;padding:.3rem .5rem;text-align:left;vertical-align:top}
th{background:#f1f1f1;font-weight:600}th[scope=row]{width:11rem}
code{font-family:ui-monospace,monospace;font-size:.85em;overflow-wrap:anywhere}
.number{text-align:center}p{white-space:pre-line}
@page{size:A4;margin:22mm 20mm}
@media print{body{max-width:none;margin:0;padding:0}thead{display:table-header-group}
tr,h2{break-inside:avoid}h2{break-after:avoid}}
"""
_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{_DIGEST}'; frame-ancestors 'none'; base-uri 'none'"
"""Content-Security-Policy of the document: nothing but its own style."""

_PAGE = """<!doctype html>
<html lang="{{ locale }}">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{ t("政务数据共享协议", "Government data sharing agreement") }}</title><style>{{ style|safe }}</style></head>
<body>
<h1>{{ t("政务数据共享协议", "Government data sharing agreement") }}</h1>
<p class="number">{{ t("编号", "No.") }} <code>{{ a.id }}</code> · {{ t("第 {n} 版", "version {n}", n=a.number) }}</p>
<h2>{{ t("一、当事方", "1. Parties") }}</h2>
<table>
<tr><th scope="row">{{ t("需求方", "Requester") }}</th><td>{{ say(names[a.requester_id]) }}</td></tr>
<tr><th scope="row">{{ t("提供方", "Provider") }}</th><td>{{ say(names[a.provider_id]) }}</td></tr>
<tr><th scope="row">{{ t("主管部门", "Authority") }}</th><td>{{ say(names[a.authority_id]) }}</td></tr>
<tr><th scope="row">{{ t("订立方式", "Origin") }}</th><td>{{ say(origin) }}</td></tr>
<tr><th scope="row">{{ t("依据", "Legal basis") }}</th><td>{{ say(basis) }}</td></tr>
<tr><th scope="row">{{ t("状态", "State") }}</th><td>{{ say(state) }}</td></tr>
</table>
<h2>{{ t("二、内容与范围", "2. Content and scope") }}</h2>
{% for part in parts %}
<p><b>{{ say(part.title) }}</b> <code>{{ part.id }}</code></p>
<table><thead><tr><th>{{ t("信息项", "Item") }}</th><th>{{ t("代码", "Code") }}</th>
<th>{{ t("脱敏方式", "Mask") }}</th></tr></thead><tbody>
{% for item in part.items %}<tr><td>{{ say(item.name) }}</td><td><code>{{ item.code }}</code></td>
<td>{{ say(item.mask) }}{% if item.filtered %}{{ t("，可作查询条件", ", may be filtered on") }}{% endif %}</td></tr>
{% endfor %}</tbody></table>
<p>{{ t("数据范围：", "Scope: ") }}{% if part.scope %}<code>{{ part.scope }}</code>{% else %}{{ t("全部记录", "every record") }}{% endif %}</p>
{% endfor %}
<h2>{{ t("三、用途", "3. Purposes") }}</h2>
<table><thead><tr><th>{{ t("代码", "Code") }}</th><th>{{ t("用途", "Purpose") }}</th>
<th>{{ t("业务事项", "Business matter") }}</th><th>{{ t("法律依据", "Legal basis") }}</th></tr></thead><tbody>
{% for purpose in terms.purposes %}<tr><td><code>{{ purpose.code }}</code></td><td>{{ purpose.text }}</td>
<td>{{ purpose.business_matter }}</td><td>{{ purpose.legal_basis }}</td></tr>
{% endfor %}</tbody></table>
<h2>{{ t("四、方式、期限与安全", "4. Method, term and security") }}</h2>
<table>
<tr><th scope="row">{{ t("共享方式", "Method") }}</th><td>{{ say(method) }}</td></tr>
<tr><th scope="row">{{ t("有效期", "Term") }}</th><td>{{ t("{a} 至 {b}", "{a} to {b}", a=terms.valid_from, b=terms.valid_until) }}</td></tr>
<tr><th scope="row">{{ t("限额", "Quota") }}</th><td>{{ t("每日 {c} 次、{r} 条，单次 {o} 条", "{c} calls and {r} rows a day, {o} rows a call", c=terms.quota.calls_per_day, r=terms.quota.rows_per_day, o=terms.quota.rows_per_call) }}</td></tr>
<tr><th scope="row">{{ t("留存期限", "Retention") }}</th><td>{{ t("{n} 天", "{n} days", n=terms.retention_days) }}</td></tr>
<tr><th scope="row">{{ t("到期处置", "Disposal") }}</th><td>{{ terms.disposal or "—" }}</td></tr>
<tr><th scope="row">{{ t("安全保障措施", "Security measures") }}</th><td>{{ terms.security_measures or "—" }}</td></tr>
</table>
<h2>{{ t("五、同意与存证", "5. Consent and evidence") }}</h2>
<table>
{% for consent in consents %}<tr><th scope="row">{{ say(consent.side) }}</th><td>{{ say(consent.who) }} · {{ consent.at }}</td></tr>
{% endfor %}{% if a.ruling_id %}<tr><th scope="row">{{ t("裁决", "Ruling") }}</th><td><code>{{ a.ruling_id }}</code></td></tr>
{% endif %}<tr><th scope="row">{{ t("生效时间", "In force since") }}</th><td>{{ in_force_at }}</td></tr>
{% if a.supersedes_id %}<tr><th scope="row">{{ t("取代", "Supersedes") }}</th><td><code>{{ a.supersedes_id }}</code></td></tr>
{% endif %}<tr><th scope="row">{{ t("条款摘要值", "Hash of the terms") }}</th><td><code>{{ a.terms_hash }}</code></td></tr>
<tr><th scope="row">{{ t("协议摘要值", "Hash of the agreement") }}</th><td><code>{{ a.content_hash }}</code></td></tr>
</table>
</body></html>
"""

_TEMPLATE = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True).from_string(_PAGE)


def write_document(session: Session, agreement: Agreement, locale: Locale) -> str:
    """The agreement as an HTML page that needs nothing else."""
    terms = agreement.typed

    def t(zh: str, en: str, **values: object) -> str:
        return Text(zh, en).with_(**values).in_(locale) if values else Text(zh, en).in_(locale)

    return _TEMPLATE.render(
        locale=locale, style=_STYLE, t=t, say=lambda text: text.in_(locale), a=agreement, terms=terms,
        names=names_of(session, {agreement.requester_id, agreement.provider_id, agreement.authority_id}),
        origin=ORIGINS[agreement.origin], basis=cite(_BASES[agreement.origin]),
        state=AGREEMENT.states[agreement.state], method=METHOD_NAMES[terms.method],
        parts=told(terms, records_of(session, agreement.resource_ids)),
        consents=_consents(session, agreement), in_force_at=_written(agreement.in_force_at),
    )  # fmt: skip


def _consents(session: Session, agreement: Agreement) -> list[Mapping[str, object]]:
    given = consents_to(session, {agreement.terms_version_id})[agreement.terms_version_id]
    people = {consent.person_id for consent in given.values()} - {None}
    rows = session.execute(select(Person.id, Person.name).where(Person.id.in_(people)))
    names: dict[UUID | None, Text] = {row.id: Text(row.name, row.name) for row in rows}
    return [
        {
            "side": SIDES[side],
            "who": CONSENT_KINDS.get(given[side].kind) or names[given[side].person_id],
            "at": _written(given[side].at),
        }
        for side in SIDES
        if side in given
    ]


def _written(moment: datetime) -> str:
    return moment.astimezone(BEIJING).strftime("%Y-%m-%d %H:%M:%S +08:00")
