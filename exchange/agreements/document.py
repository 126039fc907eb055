"""What an agreement and the certificate at its end say to people, in Chinese or English.

Owns the wording; the looks are `exchange.paper`'s, what was agreed is the agreement's.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.identity.models import Person
from app.kernel.errors import NotFound
from app.kernel.law import cite
from app.kernel.text import Locale, Text
from catalog.resources.codes import UPDATE_CYCLES
from exchange.agreements.models import Agreement
from exchange.agreements.states import AGREEMENT, ORIGINS
from exchange.negotiations.consents import consents_to
from exchange.paper import Code, Facts, Paper, Section, Table, Words, day_of, speaker, written
from exchange.parties import names_of
from exchange.terms import METHOD_NAMES, Terms
from exchange.told import records_of, told

SIDES = {"requester": Text("需求方", "Requester"), "provider": Text("提供方", "Provider")}
CONSENT_KINDS = {
    "policy": Text("无条件共享，按目录公布的条件同意", "by policy: published as shared unconditionally"),
    "deemed": Text("逾期未答复，视为同意", "deemed by silence"),
}
_BASES = {"negotiated": "809-20, 809-22", "policy": "809-14, 809-21", "ruling": "REG-21, 809-28"}


def agreement_paper(session: Session, agreement: Agreement, locale: Locale) -> Paper:
    """The agreement with all its terms, who consented and what attests it."""
    say, terms = speaker(locale), agreement.typed
    names = names_of(session, {agreement.requester_id, agreement.provider_id, agreement.authority_id})
    parties = [
        (say("需求方", "Requester"), names[agreement.requester_id].in_(locale)),
        (say("提供方", "Provider"), names[agreement.provider_id].in_(locale)),
        (say("主管部门", "Authority"), names[agreement.authority_id].in_(locale)),
        (say("订立方式", "Origin"), ORIGINS[agreement.origin].in_(locale)),
        (say("依据", "Legal basis"), cite(_BASES[agreement.origin]).in_(locale)),
        (say("状态", "State"), AGREEMENT.states[agreement.state].in_(locale)),
    ]
    purposes = [
        (Code(each.code), each.text, each.business_matter, each.legal_basis) for each in terms.purposes
    ]
    heads = (
        say("代码", "Code"), say("用途", "Purpose"), say("业务事项", "Business matter"), say("法律依据", "Legal basis")
    )  # fmt: skip
    return Paper(
        locale, say("政务数据共享协议", "Government data sharing agreement"),
        say("编号 {id} · 第 {n} 版", "No. {id} · version {n}", id=agreement.id, n=agreement.number),
        [
            Section(say("一、当事方", "1. Parties"), [Facts(parties)]),
            Section(say("二、内容与范围", "2. Content and scope"), _content(session, agreement, locale)),
            Section(say("三、用途", "3. Purposes"), [Table(heads, purposes)]),
            Section(say("四、方式、期限与安全", "4. Method, term and security"), [Facts(_conduct(terms, locale))]),
            Section(say("五、同意与存证", "5. Consent and evidence"), [Facts(_evidence(session, agreement, locale))]),
        ],
    )  # fmt: skip


def disposal_paper(session: Session, agreement: Agreement, locale: Locale) -> Paper:
    """处置证明: the requester's certificate that what it received has been disposed of. Errors: NotFound before
    it is given."""
    if agreement.disposed_on is None:
        raise NotFound(Text("处置证明尚未出具。", "The disposal is not certified yet."))
    say, terms = speaker(locale), agreement.typed
    names = names_of(session, {agreement.requester_id, agreement.provider_id})
    signer = session.scalars(select(Person.name).where(Person.id == agreement.disposed_by)).one()
    titles = [part.title.in_(locale) for part in told(terms, records_of(session, agreement.resource_ids))]
    facts = [
        (say("出具单位", "Certified by"), names[agreement.requester_id].in_(locale)),
        (say("审核人", "Approver"), signer),
        (say("致", "To"), names[agreement.provider_id].in_(locale)),
        (say("所涉资源", "Resources"), say("、", ", ").join(titles)),
        (say("约定的处置方式", "Disposal agreed"), terms.disposal or "—"),
        (say("实际处置方式", "Disposal done"), agreement.disposal or ""),
        (say("所涉回执", "Receipts"), _receipts_disposed(agreement, locale)),
        (say("处置日期", "Disposed on"), day_of(agreement.disposed_on, locale)),
        (say("协议状态", "State of the agreement"), AGREEMENT.states[agreement.state].in_(locale)),
        (say("依据", "Legal basis"), cite("809-27").in_(locale)),
        (say("协议摘要值", "Hash of the agreement"), Code(agreement.content_hash)),
    ]
    words = say(
        "兹证明：本单位依据上述协议取得的政务数据，已按下列方式处置完毕，未留存副本。",
        "This certifies that the government data received under the agreement named above has been disposed of as"
        " stated below, and that no copy is kept.",
    )
    return Paper(
        locale, say("政务数据处置证明", "Certificate of disposal of government data"),
        say("协议编号 {id}", "Agreement No. {id}", id=agreement.id),
        [Section(say("证明事项", "What is certified"), [Words(words), Facts(facts)])],
    )  # fmt: skip


def _receipts_disposed(agreement: Agreement, locale: Locale) -> str:
    named = [str(id) for id in agreement.disposed_receipts]
    return speaker(locale)("、", ", ").join(named) or speaker(locale)("全部", "all")


def _content(session: Session, agreement: Agreement, locale: Locale) -> list[Table | Words | Facts]:
    say = speaker(locale)
    blocks: list[Table | Words | Facts] = []
    heads = say("信息项", "Item"), say("代码", "Code"), say("脱敏方式", "Mask")
    for part in told(agreement.typed, records_of(session, agreement.resource_ids)):
        filtered = say("，可作查询条件", ", may be filtered on")
        rows = [
            (
                item.name.in_(locale),
                Code(item.code),
                item.mask.in_(locale) + (filtered if item.filtered else ""),
            )
            for item in part.items
        ]
        blocks += [Words(Code(part.id), lead=part.title.in_(locale)), Table(heads, rows)]
        blocks.append(
            Words(
                Code(part.scope) if part.scope else say("全部记录", "every record"),
                lead=say("数据范围：", "Scope: "),
            )
        )
    return blocks


def _conduct(terms: Terms, locale: Locale) -> list[tuple[str, str]]:
    say, quota = speaker(locale), terms.quota
    at_once = say("，同时至多 {n} 次", ", {n} calls at once", n=quota.concurrent_calls)
    how_often = UPDATE_CYCLES[terms.frequency].in_(locale) if terms.frequency else say("按需", "as needed")
    return [
        (say("共享方式", "Method"), METHOD_NAMES[terms.method].in_(locale)),
        (say("共享频次", "Frequency"), how_often),
        (
            say("有效期", "Term"),
            say(
                "{a}至{b}", "{a} to {b}", a=day_of(terms.valid_from, locale), b=day_of(terms.valid_until, locale)
            ),
        ),
        (
            say("限额", "Quota"),
            say(
                "每日 {c} 次、{r} 条，单次 {o} 条", "{c} calls and {r} rows a day, {o} rows a call",
                c=f"{quota.calls_per_day:,}", r=f"{quota.rows_per_day:,}", o=f"{quota.rows_per_call:,}",
            ) + (at_once if quota.concurrent_calls else ""),
        ),
        (say("留存期限", "Retention"), say("{n} 天", "{n} days", n=terms.retention_days)),
        (say("到期处置", "Disposal"), terms.disposal or "—"),
        (say("安全保障措施", "Security measures"), terms.security_measures or "—"),
    ]  # fmt: skip


def _evidence(session: Session, agreement: Agreement, locale: Locale) -> list[tuple[str, str]]:
    say = speaker(locale)
    rows = [
        (say("{side}同意", "{side} consented", side=side), f"{who.in_(locale)} · {written(at, locale)}")
        for side, who, at in _consents(session, agreement)
    ]
    if agreement.ruling_id:
        rows.append((say("裁决", "Ruling"), Code(agreement.ruling_id)))
    rows.append((say("生效时间", "In force since"), written(agreement.in_force_at, locale)))
    if agreement.supersedes_id:
        rows.append((say("取代", "Supersedes"), Code(agreement.supersedes_id)))
    if agreement.succession:
        rows.append((say("继任依据", "Succession"), f"{agreement.succession} · {cite('CIV-98').in_(locale)}"))
    return [
        *rows,
        (say("条款摘要值", "Hash of the terms"), Code(agreement.terms_hash)),
        (say("协议摘要值", "Hash of the agreement"), Code(agreement.content_hash)),
    ]


def _consents(session: Session, agreement: Agreement) -> list[tuple[Text, Text, datetime]]:
    given = consents_to(session, {agreement.terms_version_id})[agreement.terms_version_id]
    people = {consent.person_id for consent in given.values()} - {None}
    rows = session.execute(select(Person.id, Person.name).where(Person.id.in_(people)))
    names: dict[UUID | None, Text] = {row.id: Text(row.name, row.name) for row in rows}
    return [
        (
            SIDES[side],
            CONSENT_KINDS.get(given[side].kind) or names[given[side].person_id],
            given[side].at,
        )
        for side in SIDES
        if side in given
    ]
