"""Agreements (共享协议): how they come into force, are suspended and end; who may know of them.

Owns every change of an agreement and the word of it to the gateways. What may be delivered under one is
`exchange.delivery`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import ColumnElement, String, cast, func, or_, select
from sqlalchemy.orm import Session

from app.identity.models import Agency
from app.identity.profiles import profile_for, start_clock
from app.kernel import deadlines, history, jobs, ledger
from app.kernel.actor import Actor, system_actor
from app.kernel.calendar import BEIJING, legal_date
from app.kernel.clock import new_id, now
from app.kernel.deadlines import Consequence, DeadlineRow
from app.kernel.errors import Fault, Invalid, WrongMoment
from app.kernel.jobs import Task
from app.kernel.machine import Party
from app.kernel.text import Text
from catalog.resources.models import Resource
from exchange.agreements.models import Agreement
from exchange.agreements.states import AGREEMENT, DISPOSAL, ENDED, LIVE, SUPPLY, SUSPENDED
from exchange.agreements.versions import latest_of
from exchange.negotiations.models import Negotiation, TermsVersion
from exchange.parties import SYSTEM_PARTIES, calendar_for, find, parties_of, visible_to

Origin = Literal["negotiated", "policy", "ruling"]

CHANGE_CHANNEL = "agreement_change"
"""Each change of an agreement is told on this channel (LISTEN), payload its id, when it commits. The
events of kind "agreement" are the record that a gateway catches up from."""

TERM = "agreements.term"
_CLOCK_PARTY: frozenset[Party] = frozenset({"clock"})
EXCHANGE = system_actor("exchange")
CLOCK = system_actor("clock")


def conclude(
    session: Session,
    *,
    negotiation: Negotiation,
    version: TermsVersion,
    origin: Origin,
    ruling_id: UUID | None = None,
) -> Agreement:
    """Bring the agreement on `version` into force and start the supply clock (809-22). Where the negotiation
    amends an agreement, the version of it that is in force now is superseded.

    The database refuses it without the consents, policy or ruling that `origin` claims.
    """
    former = latest_of(session, negotiation.amends_id) if negotiation.amends_id else None
    if former and former.state in LIVE:
        change_agreement(session, former, "supersede", by=EXCHANGE, reason=None, parties=SYSTEM_PARTIES)
    agreement = Agreement(
        requester_id=negotiation.requester_id, provider_id=negotiation.provider_id,
        authority_id=negotiation.authority_id, negotiation_id=negotiation.id, terms_version_id=version.id,
        ruling_id=ruling_id, origin=origin, terms=version.terms, terms_hash=version.terms_hash,
    )  # fmt: skip
    return bring_into_force(session, agreement, former)


def bring_into_force(session: Session, agreement: Agreement, former: Agreement | None) -> Agreement:
    """Put an agreement, whose parties, terms and origin are set, into force as the version after `former`, which
    is none any more; the supply clock starts."""
    terms = agreement.typed
    content = {
        "negotiation": str(agreement.negotiation_id), "requester": str(agreement.requester_id),
        "provider": str(agreement.provider_id), "terms_hash": agreement.terms_hash,
        "origin": agreement.origin, "ruling": str(agreement.ruling_id) if agreement.ruling_id else None,
        **({"supersedes": str(former.id)} if former else {}),
        **({"succession": agreement.succession} if agreement.succession else {}),
    }  # fmt: skip
    days = profile_for(session, agreement.requester_id).options.renewal_reminder_days
    remind_on = terms.valid_until - timedelta(days=days)
    agreement.id = new_id()
    agreement.series_id, agreement.number = agreement.id, 1
    if former:
        agreement.series_id, agreement.number = former.series_id, former.number + 1
        agreement.supersedes_id = former.id
    agreement.content_hash = ledger.content_hash(content).hex()
    agreement.resource_ids = [part.resource_id for part in terms.resources]
    agreement.valid_from, agreement.valid_until = terms.valid_from, terms.valid_until
    agreement.in_force_at, agreement.remind_renewal_on = now(), remind_on
    agreement.supply_overdue = agreement.disposal_overdue = False
    by, parties = EXCHANGE, SYSTEM_PARTIES
    if agreement.ruling_id and not agreement.succession:
        by, parties = system_actor("ruling"), frozenset({"ruling"})
    data = {**content, "content_hash": agreement.content_hash}
    history.create(session, agreement, AGREEMENT, "conclude", by=by, parties=parties, data=data)
    start_clock(
        session, whose=agreement.provider_id,
        kind=AGREEMENT.kind, subject_id=agreement.id, duty=SUPPLY,
    )  # fmt: skip
    for day in (remind_on, terms.valid_until + timedelta(days=1)):
        jobs.enqueue(session, TERM, at=datetime.combine(day, time(), BEIJING), once=f"{TERM} {day}")
    _announce(session, agreement)
    return agreement


def find_agreement(session: Session, agreement_id: UUID, *, by: Actor) -> Agreement:
    """The agreement, if the actor may know of it. Errors: NotFound."""
    return find(session, Agreement, agreement_id, by=by)


def list_agreements(
    session: Session,
    *,
    by: Actor,
    state: str | None = None,
    resource_id: UUID | None = None,
    agency_id: UUID | None = None,
    words: str | None = None,
    ends_by: date | None = None,
    before: UUID | None = None,
    limit: int = 50,
) -> list[Agreement]:
    """The register as the actor may see it, newest first; `before` is the last id of the page before.
    `words`, each of them, stand in the names of the parties, the titles of the resources, the purposes or the
    number; `ends_by` keeps the live ones whose last day is no later."""
    query = select(Agreement).where(visible_to(by, Agreement))
    if state is not None:
        query = query.where(Agreement.state == state)
    if resource_id is not None:
        query = query.where(Agreement.resource_ids.contains([resource_id]))
    if agency_id is not None:
        query = query.where(or_(Agreement.requester_id == agency_id, Agreement.provider_id == agency_id))
    for word in (words or "").split():
        query = query.where(_mentions(word))
    if ends_by is not None:
        query = query.where(Agreement.valid_until <= ends_by, Agreement.state.in_(LIVE))
    if before is not None:
        query = query.where(Agreement.id < before)
    return list(session.scalars(query.order_by(Agreement.id.desc()).limit(limit)))


def _mentions(word: str) -> ColumnElement[bool]:
    party = select(Agency.id).where(
        or_(Agency.name.icontains(word, autoescape=True), Agency.name_en.icontains(word, autoescape=True))
    )
    title = select(Resource.id).where(
        Resource.id == func.any(Agreement.resource_ids),
        or_(
            Resource.title.icontains(word, autoescape=True),
            Resource.title_en.icontains(word, autoescape=True),
        ),
    )
    return or_(
        Agreement.requester_id.in_(party),
        Agreement.provider_id.in_(party),
        title.exists(),
        cast(Agreement.terms["purposes"], String).icontains(word, autoescape=True),
        cast(Agreement.id, String).startswith(word.lower(), autoescape=True),
    )


def live_agreement_of(session: Session, negotiation_id: UUID) -> Agreement | None:
    """The agreement of a negotiation that is in force or suspended."""
    return session.scalar(
        select(Agreement).where(Agreement.negotiation_id == negotiation_id, Agreement.state.in_(LIVE))
    )


def hindrance(agreement: Agreement, act: str, parties: frozenset[Party]) -> Text | None:
    """Why the moment does not allow an act that the state does; None where it does."""
    if act == "resume" and not _may_resume(agreement.suspended_by, parties):
        return Text("暂停由他方作出，须由其恢复。", "Who suspended it, or stands above, resumes it.")
    if act == "agree_end" and agreement.end_announced_at is None:
        return Text("提供方没有提出停止提供。", "The provider has not proposed to stop.")
    if act == "announce_end" and agreement.end_announced_at is not None:
        return Text("已经提出并报备。", "It is proposed and filed already.")
    if act == "certify_disposal" and agreement.disposed_on is not None:
        return Text("处置证明已经出具。", "The disposal is certified already.")
    return None


def _may_resume(suspended_by: str | None, parties: frozenset[Party]) -> bool:
    rank = {"provider": 0, "authority": 1, "ruling": 2}
    return any(rank.get(party, -1) >= rank[suspended_by or "provider"] for party in parties)


def allowed_acts(agreement: Agreement, *, by: Actor) -> list[str]:
    """The acts that the actor may do now."""
    parties = parties_of(by, agreement)
    acts = AGREEMENT.allowed(agreement.state, parties, by.roles)
    return [act for act in acts if hindrance(agreement, act, parties) is None]


def change_agreement(
    session: Session,
    agreement: Agreement,
    act: str,
    *,
    by: Actor,
    reason: str | None,
    mending: str | None = None,
    expected_version: int | None = None,
    parties: frozenset[Party] | None = None,
    data: Mapping[str, Any] | None = None,
) -> Agreement:
    """Do `act` (suspend, resume, announce_end, agree_end, terminate, complete) and tell the gateways.
    `mending` says what must be mended before a suspended one is resumed. At the end of an agreement the
    requester's clock to dispose of the data starts (809-27).

    `parties` is given only for the service's own acts. Errors: StaleVersion, WrongMoment, NotPermitted.
    """
    parties = parties_of(by, agreement) if parties is None else parties
    event = history.advance(
        session, agreement, AGREEMENT, act, by=by, parties=parties, expected_version=expected_version,
        reason=reason, data={"mending": mending} if mending else data,
    )  # fmt: skip
    if why := hindrance(agreement, act, parties):
        raise WrongMoment(why, state=agreement.state)
    agreement.reason = reason
    if act == "suspend":
        agreement.suspended_by, agreement.mending = event.party, mending
    elif agreement.state != SUSPENDED:
        agreement.suspended_by = agreement.mending = None
    if act == "announce_end":
        agreement.end_announced_at = event.at
    calendar = calendar_for(session, agreement.provider_id)
    if act == "suspend":  # what cannot be supplied is not missed
        deadlines.pause(session, AGREEMENT.kind, agreement.id, SUPPLY, calendar)
    if act == "resume":
        deadlines.resume(session, AGREEMENT.kind, agreement.id, SUPPLY, calendar)
    if agreement.state not in LIVE:
        deadlines.end(session, AGREEMENT.kind, agreement.id, outcome="cancelled")
    if agreement.state in ENDED:
        start_clock(
            session, whose=agreement.requester_id, kind=AGREEMENT.kind, subject_id=agreement.id, duty=DISPOSAL
        )  # fmt: skip
    _announce(session, agreement)
    return agreement


def certify_disposal(
    session: Session,
    agreement: Agreement,
    *,
    on: date,
    how: str,
    receipts: Sequence[UUID] = (),
    by: Actor,
    expected_version: int,
) -> None:
    """处置证明: the requester's approver answers for it that what was received under the ended agreement has
    been disposed of, when and how (809-27). `receipts` name what; where none is named it is all. Given once. Errors: Invalid for a day that has not come, or on
    which the agreement had not begun."""
    if not agreement.in_force_at.astimezone(BEIJING).date() <= on <= legal_date(now()):
        rule = Text(
            "协议生效之后、今日之前", "on or after the agreement came into force, today at the latest"
        )
        raise Invalid(faults=[Fault("/disposed_on", Text("处置日期不成立", "not a day of disposal"), rule)])
    data: dict[str, Any] = {"disposed_on": on.isoformat(), "disposal": how}
    if receipts:
        data["receipts"] = [str(id) for id in receipts]
    history.advance(
        session, agreement, AGREEMENT, "certify_disposal", by=by, parties=parties_of(by, agreement),
        expected_version=expected_version, data=data,
    )  # fmt: skip
    if why := hindrance(agreement, "certify_disposal", parties_of(by, agreement)):
        raise WrongMoment(why, state=agreement.state)
    agreement.disposed_on, agreement.disposal, agreement.disposed_by = on, how, by.id
    agreement.disposed_receipts = list(receipts)
    agreement.disposal_overdue = False
    deadlines.end(session, AGREEMENT.kind, agreement.id, outcome="met", duty=DISPOSAL)


def note_supplied(session: Session, agreement_id: UUID) -> None:
    """The provider has begun to supply: the supply clock is met (809-22). Safe to call again."""
    deadlines.end(session, AGREEMENT.kind, agreement_id, outcome="met", duty=SUPPLY)


def expire_due(session: Session) -> int:
    """End every agreement whose last day of use has passed; returns how many."""
    due = select(Agreement).where(Agreement.state.in_(LIVE), Agreement.valid_until < legal_date(now()))
    rows = session.scalars(due.with_for_update(skip_locked=True)).all()
    for agreement in rows:
        change_agreement(session, agreement, "expire", by=CLOCK, reason=None, parties=_CLOCK_PARTY)
    return len(rows)


def remind_of_renewal(session: Session) -> int:
    """Tell the parties, once for each agreement, that its last day is near and that the requester may ask to
    renew it; returns how many. How long before is the profile's."""
    near = select(Agreement).where(
        Agreement.state.in_(LIVE), Agreement.remind_renewal_on <= legal_date(now())
    )
    rows = session.scalars(near.with_for_update(skip_locked=True)).all()
    for agreement in rows:
        data = {"valid_until": agreement.valid_until.isoformat()}
        history.advance(
            session, agreement, AGREEMENT, "remind_renewal", by=CLOCK, parties=_CLOCK_PARTY, data=data
        )
        agreement.remind_renewal_on = None
    return len(rows)


def keep_terms(session: Session) -> int:
    """What the passing of days does to agreements: those past their last day end, those near it are reminded
    of; returns how many. Their dates are the truth, jobs and sweeps only look."""
    return expire_due(session) + remind_of_renewal(session)


def _announce(session: Session, agreement: Agreement) -> None:
    session.flush()
    session.execute(select(func.pg_notify(CHANGE_CHANNEL, str(agreement.id))))


def _supply_missed(session: Session, deadline: DeadlineRow) -> None:
    agreement = session.get_one(Agreement, deadline.subject_id)
    history.advance(session, agreement, AGREEMENT, "mark_overdue", by=CLOCK, parties=_CLOCK_PARTY)
    agreement.supply_overdue = True


def _disposal_missed(session: Session, deadline: DeadlineRow) -> None:
    agreement = session.get_one(Agreement, deadline.subject_id)
    history.advance(session, agreement, AGREEMENT, "mark_disposal_overdue", by=CLOCK, parties=_CLOCK_PARTY)
    agreement.disposal_overdue = True


def _keep_terms(session: Session, _args: Mapping[str, Any]) -> None:
    keep_terms(session)


CONSEQUENCES: dict[str, Consequence] = {SUPPLY: _supply_missed, DISPOSAL: _disposal_missed}
TASKS: dict[str, Task] = {TERM: _keep_terms, "agreements.expire": _keep_terms}  # the second: queued before
