"""案卷: what a dispute says to people on paper, in Chinese or English, to the reader as far as it may know.

Owns the wording; the looks are `exchange.paper`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.identity.models import Person
from app.identity.profiles import profile_for
from app.kernel import deadlines
from app.kernel.actor import Actor
from app.kernel.history import Event, events_of
from app.kernel.law import cite
from app.kernel.text import Locale, Text
from exchange.attachments import attachments_of
from exchange.disputes.models import Dispute, Ruling
from exchange.disputes.service import KIND, rulings_of, statements_of
from exchange.disputes.states import CAUSES, DISPUTE, OUTCOMES
from exchange.negotiations.case import refusal_reason
from exchange.negotiations.consents import consents_to, versions_for
from exchange.negotiations.models import Consent, Negotiation, TermsVersion
from exchange.negotiations.states import GROUNDS, NEGOTIATION
from exchange.paper import Code, Facts, Paper, Section, Table, Words, day_of, speaker, written
from exchange.parties import names_of, parties_of
from exchange.terms import METHOD_NAMES, Terms
from exchange.told import changes_between, records_of, told

SIDES = {
    "requester": Text("需求方", "Requester"),
    "provider": Text("提供方", "Provider"),
    "authority": Text("主管部门", "Authority"),
}
PRIVATE = frozenset({"draft_ruling"})
"""Acts that only the authority reads of."""
_Blocks = Sequence[Facts | Table | Words]


def docket_paper(session: Session, dispute: Dispute, locale: Locale, *, by: Actor) -> Paper:
    """The case with every offer, statement, piece of evidence (of the negotiation and of the dispute), proposal and ruling, its clocks and its history."""
    say = speaker(locale)
    sections = [
        (say("当事方与争议", "Parties and matter"), _matter(session, dispute, locale)),
        (say("条款往来", "Offers"), _offers(session, dispute, locale, by)),
        (say("陈述", "Statements"), _statements(session, dispute, locale)),
        (say("证据材料", "Evidence"), _evidence(session, dispute, locale)),
        (say("裁决", "Rulings"), _rulings(session, dispute, locale, by)),
        (say("期限", "Deadlines"), _deadlines(session, dispute, locale)),
        (say("办理经过", "History"), _history(session, dispute, locale, by)),
    ]
    numbers = "一二三四五六七" if locale == "zh-CN" else "1234567"
    return Paper(
        locale, say("政务数据共享争议案卷", "Docket of a data sharing dispute"), say("编号 {id} · 时间均为北京时间", "No. {id} · times are UTC+8", id=dispute.id),
        [
            Section(f"{number}{say('、', '. ')}{title}", blocks or [Words(say("无。", "None."))])
            for number, (title, blocks) in zip(numbers, sections, strict=True)
        ],
    )  # fmt: skip


def _at(moment: datetime, locale: Locale) -> str:
    return written(moment, locale, zone=False)


def _matter(session: Session, dispute: Dispute, locale: Locale) -> _Blocks:
    say = speaker(locale)
    sides = {
        "requester": dispute.requester_id,
        "provider": dispute.provider_id,
        "authority": dispute.authority_id,
    }
    names = names_of(session, set(sides.values()))
    rows = [(SIDES[side].in_(locale), names[agency].in_(locale)) for side, agency in sides.items()]
    rows.append((say("报请事由", "Cause"), CAUSES[dispute.cause].in_(locale)))
    negotiation = session.get_one(Negotiation, dispute.negotiation_id)
    if negotiation.refusal_ground:
        ground, reason = GROUNDS[negotiation.refusal_ground], refusal_reason(session, negotiation)
        refused = say(
            "{ground}（{law}）：{why}",
            "{ground} ({law}): {why}",
            ground=ground.label,
            law=cite(ground.basis),
            why=reason,
        )
        rows.append((say("提供方理由", "Provider's reason"), refused))
    rows += [
        (say("需求方理由", "Requester's reason"), dispute.reason),
        (say("报请时间", "Opened"), _at(dispute.created_at, locale)),
        (say("状态", "State"), DISPUTE.states[dispute.state].in_(locale)),
        (say("依据", "Legal basis"), cite("REG-21, 809-28").in_(locale)),
    ]
    if dispute.closing_reason:
        rows.append((say("结案理由", "Reason for closing"), dispute.closing_reason))
    return [Facts(rows)]


def _offers(session: Session, dispute: Dispute, locale: Locale, by: Actor) -> _Blocks:
    """The first terms whole, of every later version what it changed."""
    negotiation = session.get_one(Negotiation, dispute.negotiation_id)
    versions = versions_for(session, negotiation, by=by)
    given = consents_to(session, {version.id for version in versions})
    blocks: list[Facts | Table | Words] = []
    before: Terms | None = None
    for version in versions:
        blocks.append(Words(_consented(given[version.id], locale), lead=_headed(version, dispute, locale)))
        terms = version.typed
        blocks.append(_changed(session, before, terms, locale) if before else _whole(session, terms, locale))
        if version.note:
            blocks.append(Words(version.note, lead=speaker(locale)("附言", "Note")))
        before = terms
    return blocks


def _headed(version: TermsVersion, dispute: Dispute, locale: Locale) -> str:
    side, at = SIDES[version.party].in_(locale), _at(version.created_at, locale)
    head = Text("第 {n} 稿 · {side} · {at}", "Version {n} · {side} · {at}").with_(
        n=version.number, side=side, at=at
    )
    proposed = Text(" · 调解方案", " · proposal") if version.id == dispute.proposal_id else Text("", "")
    return head.in_(locale) + proposed.in_(locale) + Text("：", ":").in_(locale)


def _consented(given: Mapping[str, Consent], locale: Locale) -> str:
    say = speaker(locale)
    if not given:
        return say("尚无一方同意。", "Nobody has consented.")
    sides = say("、", ", ").join(SIDES[side].in_(locale) for side in SIDES if side in given)
    return say("{sides}同意。", "Consented: {sides}.", sides=sides)


def _whole(session: Session, terms: Terms, locale: Locale) -> Facts:
    say, comma = speaker(locale), speaker(locale)("、", ", ")
    rows = []
    for part in told(terms, records_of(session, [part.resource_id for part in terms.resources])):
        items = comma.join(
            item.name.in_(locale) + (f" ({item.mask.in_(locale)})" if item.masked else "")
            for item in part.items
        )
        rows += [(say("资源", "Resource"), part.title.in_(locale)), (say("信息项", "Items"), items)]
        rows.append(
            (say("数据范围", "Scope"), Code(part.scope) if part.scope else say("全部记录", "every record"))
        )
    rows += [
        (
            say("用途", "Purpose"),
            say(
                "{text}（{matter}；{basis}）", "{text} ({matter}; {basis})", text=each.text,
                matter=each.business_matter, basis=each.legal_basis,
            ),
        )
        for each in terms.purposes
    ]  # fmt: skip
    first, last = day_of(terms.valid_from, locale), day_of(terms.valid_until, locale)
    return Facts(
        [
            *rows,
            (say("共享方式", "Method"), METHOD_NAMES[terms.method].in_(locale)),
            (say("有效期", "Term"), say("{a}至{b}", "{a} to {b}", a=first, b=last)),
            (say("留存期限", "Retention"), say("{n} 天", "{n} days", n=terms.retention_days)),
            (say("安全保障措施", "Security measures"), terms.security_measures or "—"),
        ]
    )


def _changed(session: Session, before: Terms, after: Terms, locale: Locale) -> Table | Words:
    say = speaker(locale)
    records = records_of(session, {part.resource_id for each in (before, after) for part in each.resources})
    rows = [
        (
            change.label.in_(locale),
            change.before.in_(locale) if change.before else "—",
            change.after.in_(locale) if change.after else say("删去", "removed"),
        )
        for change in changes_between(before, after, records)
    ]
    if not rows:
        return Words(say("没有不同。", "No difference."))
    return Table((say("条款", "Term"), say("原为", "Before"), say("改为", "After")), rows)


def _statements(session: Session, dispute: Dispute, locale: Locale) -> _Blocks:
    colon = speaker(locale)("：", ":")
    return [
        Words(each.body, lead=f"{SIDES[each.party].in_(locale)} · {_at(each.created_at, locale)}{colon}")
        for each in statements_of(session, dispute)
    ]


def _evidence(session: Session, dispute: Dispute, locale: Locale) -> _Blocks:
    say = speaker(locale)
    heads = say("文件", "File"), say("提交方", "By"), say("提交时间", "At"), "SHA-256"
    submitted = [
        *attachments_of(session, NEGOTIATION.kind, dispute.negotiation_id),
        *attachments_of(session, KIND, dispute.id),
    ]
    rows = [
        (each.name, SIDES[each.party].in_(locale), _at(each.created_at, locale), Code(each.sha256))
        for each in submitted
    ]
    return [Table(heads, rows)] if rows else []


def _rulings(session: Session, dispute: Dispute, locale: Locale, by: Actor) -> _Blocks:
    say, rulings = speaker(locale), rulings_of(session, dispute, by=by)
    hands = {ruling.drafted_by for ruling in rulings} | {ruling.signed_by for ruling in rulings}
    people = select(Person.id, Person.name).where(Person.id.in_(hands - {None}))
    names: dict[UUID | None, str] = {row.id: row.name for row in session.execute(people)}
    asked = session.get_one(Negotiation, dispute.negotiation_id).current_terms_id
    blocks: list[Facts | Table | Words] = []
    for ruling in rulings:
        blocks.append(Facts(_ruling(ruling, names, locale)))
        if ruling.terms_version_id:
            granted, tabled = (
                session.get_one(TermsVersion, version).typed for version in (ruling.terms_version_id, asked)
            )
            blocks += [
                Words(
                    say("裁定的条款，与协商时的条款相比：", "The terms granted, against those on the table:")
                )
            ]
            blocks += [_changed(session, tabled, granted, locale)]
    return blocks


def _ruling(ruling: Ruling, names: Mapping[UUID | None, str], locale: Locale) -> list[tuple[str, str]]:
    say = speaker(locale)
    rows = [
        (say("结果", "Outcome"), OUTCOMES[ruling.outcome].in_(locale)),
        (say("理由", "Reasons"), ruling.reasons),
        (say("依据", "Legal basis"), cite(ruling.legal_basis).in_(locale)),
    ]
    if ruling.directions:
        rows.append((say("指示", "Directions"), ruling.directions))
    signed = say("尚未签发", "not signed")
    if ruling.signed_at:
        signed = f"{names.get(ruling.signed_by, '—')} · {_at(ruling.signed_at, locale)}"
    if ruling.document:  # the government's, which the authority enters
        return [
            *rows,
            (say("复核决定文号", "Decision on review"), ruling.document),
            (say("登记", "Entered by"), signed),
        ]
    drafted = names.get(ruling.drafted_by, "—")
    return [*rows, (say("拟定", "Drafted by"), drafted), (say("签发", "Signed"), signed)]


def _deadlines(session: Session, dispute: Dispute, locale: Locale) -> _Blocks:
    say, duties = speaker(locale), profile_for(session, dispute.authority_id).duties
    heads = say("事项", "Duty"), say("截止日", "Due on")
    rows = [
        (say(duties[row.duty].label.zh, duties[row.duty].label.en), day_of(row.due_on, locale))
        for row in deadlines.running(session, KIND, dispute.id)
    ]
    return [Table(heads, rows)] if rows else []


def _history(session: Session, dispute: Dispute, locale: Locale, by: Actor) -> _Blocks:
    say = speaker(locale)
    heads = say("时间", "At"), say("事项", "Act"), say("经办", "By"), say("说明", "Reason")
    sides, known = parties_of(by, dispute), {**deadlines.NOTES, **DISPUTE.acts}

    def row(event: Event) -> tuple[str, ...]:
        act = known.get(event.act, Text(event.act, event.act)).in_(locale)
        return _at(event.at, locale), act, event.actor_name, event.reason or "—"

    events = events_of(session, KIND, dispute.id)
    return [
        Table(heads, [row(event) for event in events if event.act not in PRIVATE or event.party in sides])
    ]
