"""Agreements (共享协议): how they come into force, are suspended and end; who may know of them.

Owns every change of an agreement and the word of it to the gateways. What may be delivered under one is
`exchange.delivery`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, time, timedelta
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.identity.profiles import start_clock
from app.kernel import deadlines, history, jobs, ledger
from app.kernel.actor import Actor, system_actor
from app.kernel.calendar import BEIJING, legal_date
from app.kernel.clock import new_id, now
from app.kernel.deadlines import Consequence, DeadlineRow
from app.kernel.errors import NotFound, WrongMoment
from app.kernel.jobs import Task
from app.kernel.machine import Party
from app.kernel.text import Text
from exchange.agreements.models import Agreement
from exchange.agreements.states import AGREEMENT, LIVE, SUPPLY, SUSPENDED
from exchange.agreements.versions import latest_of
from exchange.negotiations.models import Negotiation, TermsVersion
from exchange.parties import SYSTEM_PARTIES, calendar_for, parties_of, visible_to

Origin = Literal["negotiated", "policy", "ruling"]

CHANGE_CHANNEL = "agreement_change"
"""Each change of an agreement is told on this channel (LISTEN), payload its id, when it commits. The
events of kind "agreement" are the record that a gateway catches up from."""

EXPIRE = "agreements.expire"
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
    terms = version.typed
    former = latest_of(session, negotiation.amends_id) if negotiation.amends_id else None
    content = {
        "negotiation": str(negotiation.id), "requester": str(negotiation.requester_id),
        "provider": str(negotiation.provider_id), "terms_hash": version.terms_hash,
        "origin": origin, "ruling": str(ruling_id) if ruling_id else None,
        **({"supersedes": str(former.id)} if former else {}),
    }  # fmt: skip
    if former and former.state in LIVE:
        change_agreement(session, former, "supersede", by=EXCHANGE, reason=None, parties=SYSTEM_PARTIES)
    agreement_id = new_id()
    agreement = Agreement(
        id=agreement_id, series_id=former.series_id if former else agreement_id,
        number=former.number + 1 if former else 1, supersedes_id=former.id if former else None,
        requester_id=negotiation.requester_id, provider_id=negotiation.provider_id,
        authority_id=negotiation.authority_id, negotiation_id=negotiation.id, terms_version_id=version.id,
        ruling_id=ruling_id, origin=origin, terms=version.terms, terms_hash=version.terms_hash,
        content_hash=ledger.content_hash(content).hex(),
        resource_ids=[part.resource_id for part in terms.resources],
        valid_from=terms.valid_from, valid_until=terms.valid_until, in_force_at=now(), supply_overdue=False,
    )  # fmt: skip
    by, parties = (system_actor("ruling"), frozenset({"ruling"})) if ruling_id else (EXCHANGE, SYSTEM_PARTIES)
    data = {**content, "content_hash": agreement.content_hash}
    history.create(session, agreement, AGREEMENT, "conclude", by=by, parties=parties, data=data)
    start_clock(
        session, whose=agreement.provider_id,
        kind=AGREEMENT.kind, subject_id=agreement.id, duty=SUPPLY,
    )  # fmt: skip
    ends_at = datetime.combine(terms.valid_until + timedelta(days=1), time(), BEIJING)
    jobs.enqueue(session, EXPIRE, at=ends_at)
    _announce(session, agreement)
    return agreement


def find_agreement(session: Session, agreement_id: UUID, *, by: Actor) -> Agreement:
    """The agreement, if the actor may know of it. Errors: NotFound."""
    query = select(Agreement).where(Agreement.id == agreement_id, visible_to(by, Agreement))
    agreement = session.scalar(query)
    if agreement is None:
        raise NotFound()
    return agreement


def list_agreements(
    session: Session,
    *,
    by: Actor,
    state: str | None = None,
    resource_id: UUID | None = None,
    before: UUID | None = None,
    limit: int = 50,
) -> list[Agreement]:
    """The register as the actor may see it, newest first; `before` is the last id of the page before."""
    query = select(Agreement).where(visible_to(by, Agreement))
    if state is not None:
        query = query.where(Agreement.state == state)
    if resource_id is not None:
        query = query.where(Agreement.resource_ids.contains([resource_id]))
    if before is not None:
        query = query.where(Agreement.id < before)
    return list(session.scalars(query.order_by(Agreement.id.desc()).limit(limit)))


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
    expected_version: int | None = None,
    parties: frozenset[Party] | None = None,
) -> Agreement:
    """Do `act` (suspend, resume, announce_end, agree_end, terminate, complete) and tell the gateways.

    `parties` is given only for the service's own acts. Errors: StaleVersion, WrongMoment, NotPermitted.
    """
    parties = parties_of(by, agreement) if parties is None else parties
    event = history.advance(
        session, agreement, AGREEMENT, act, by=by, parties=parties, expected_version=expected_version, reason=reason
    )  # fmt: skip
    if why := hindrance(agreement, act, parties):
        raise WrongMoment(why, state=agreement.state)
    agreement.reason = reason
    if act == "suspend":
        agreement.suspended_by = event.party
    elif agreement.state != SUSPENDED:
        agreement.suspended_by = None
    if act == "announce_end":
        agreement.end_announced_at = event.at
    calendar = calendar_for(session, agreement.provider_id)
    if act == "suspend":  # what cannot be supplied is not missed
        deadlines.pause(session, AGREEMENT.kind, agreement.id, SUPPLY, calendar)
    if act == "resume":
        deadlines.resume(session, AGREEMENT.kind, agreement.id, SUPPLY, calendar)
    if agreement.state not in LIVE:
        deadlines.end(session, AGREEMENT.kind, agreement.id, outcome="cancelled")
    _announce(session, agreement)
    return agreement


def note_supplied(session: Session, agreement_id: UUID) -> None:
    """The provider has begun to supply: the supply clock is met (809-22). Safe to call again."""
    deadlines.end(session, AGREEMENT.kind, agreement_id, outcome="met", duty=SUPPLY)


def expire_due(session: Session) -> int:
    """End every agreement whose last day of use has passed; returns how many. `valid_until` is the truth,
    the job only the wake-up."""
    due = select(Agreement).where(Agreement.state.in_(LIVE), Agreement.valid_until < legal_date(now()))
    rows = session.scalars(due.with_for_update(skip_locked=True)).all()
    for agreement in rows:
        change_agreement(session, agreement, "expire", by=CLOCK, reason=None, parties=frozenset({"clock"}))
    return len(rows)


def _announce(session: Session, agreement: Agreement) -> None:
    session.flush()
    session.execute(select(func.pg_notify(CHANGE_CHANNEL, str(agreement.id))))


def _supply_missed(session: Session, deadline: DeadlineRow) -> None:
    agreement = session.get_one(Agreement, deadline.subject_id)
    parties = frozenset({"clock"})
    history.advance(session, agreement, AGREEMENT, "mark_overdue", by=CLOCK, parties=parties)
    agreement.supply_overdue = True


def _expire(session: Session, _args: Mapping[str, Any]) -> None:
    expire_due(session)


CONSEQUENCES: dict[str, Consequence] = {SUPPLY: _supply_missed}
TASKS: dict[str, Task] = {EXPIRE: _expire}
