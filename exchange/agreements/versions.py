"""Versions of an agreement (变更与续期): each is negotiated and supersedes the one in force at its conclusion.

Owns the series and what stands in the way of the next version. The same mask key serves a whole series.
"""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.kernel.calendar import legal_date
from app.kernel.clock import now
from app.kernel.errors import Fault, Invalid
from app.kernel.text import Text
from exchange.agreements.models import Agreement
from exchange.agreements.states import EXPIRED, LIVE, SUSPENDED
from exchange.parties import visible_to
from exchange.terms import Terms


def versions_of(session: Session, agreement: Agreement) -> list[Agreement]:
    """Every version of the agreement, the first one first."""
    query = select(Agreement).where(Agreement.series_id == agreement.series_id)
    return list(session.scalars(query.order_by(Agreement.number)))


def latest_of(session: Session, agreement_id: UUID) -> Agreement:
    """The newest version of the agreement that `agreement_id` is some version of."""
    series = select(Agreement.series_id).where(Agreement.id == agreement_id).scalar_subquery()
    query = select(Agreement).where(Agreement.series_id == series).order_by(Agreement.number.desc())
    return session.scalars(query.limit(1)).one()


def amendable(session: Session, agreement_id: UUID, *, by: Actor) -> Agreement:
    """The agreement that the actor's agency, one of its sides, may ask to amend or renew: the newest version,
    live or expired. Errors: Invalid, the same for one that is not the actor's to know."""
    query = select(Agreement).where(Agreement.id == agreement_id, visible_to(by, Agreement))
    agreement = session.scalar(query)
    if (
        agreement is None
        or by.agency_id not in (agreement.requester_id, agreement.provider_id)
        or agreement.state not in (*LIVE, EXPIRED)
        or latest_of(session, agreement.id).id != agreement.id
    ):
        message = Text(
            "不是本单位可变更或者续期的协议", "not an agreement that your agency may amend or renew"
        )
        rule = Text(
            "当事双方协议的最新版本，生效、暂停或者到期", "of a party, the newest version, live or expired"
        )
        raise Invalid(faults=[Fault("/amends", message, rule)])
    return agreement


SUSPENDED_BY_AUTHORITY = Text(
    "协议由主管部门暂停，恢复后方可变更", "suspended by the authority; resumed first"
)


def is_held(session: Session, amends_id: UUID | None) -> bool:
    """Whether the authority suspended the agreement that is amended: no consent of the parties lifts that."""
    return amends_id is not None and _is_held(latest_of(session, amends_id))


def _is_held(agreement: Agreement) -> bool:
    return agreement.state == SUSPENDED and agreement.suspended_by != "provider"


def require_fit(session: Session, amends_id: UUID | None, terms: Terms) -> None:
    """What the next version must keep to, so that none stands between it and the one it supersedes, and no
    consent of the parties lifts a suspension that the authority ordered. Errors: Invalid."""
    if amends_id is None:
        return
    former = latest_of(session, amends_id)
    faults = []
    if former.state in LIVE and terms.valid_from > legal_date(now()):
        message = Text(
            "新版本订立即取代旧版本，不得晚于今日生效", "supersedes at once, so begins today or earlier"
        )
        faults.append(Fault("/valid_from", message))
    if _is_held(former):
        rule = Text("主管部门的暂停仅由主管部门解除", "what the authority suspends it alone resumes")
        faults.append(Fault("/amends", SUSPENDED_BY_AUTHORITY, rule))
    if faults:
        raise Invalid(faults=faults)
