"""Corrections (校核): reported by who uses the data, answered by its source in time, told to other users.

Owns the case and its clock. The data itself is corrected where it is held, never here.
"""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.identity.profiles import start_clock
from app.kernel import deadlines, history
from app.kernel.actor import Actor, system_actor
from app.kernel.deadlines import Consequence, DeadlineRow
from app.kernel.errors import Fault, Invalid, NotPermitted, WrongMoment
from app.kernel.machine import Party
from app.kernel.sight import seeing_all
from app.kernel.text import Text
from exchange.agreements.models import Agreement
from exchange.agreements.states import AGREEMENT, DATA_CORRECTED, LIVE
from exchange.corrections.models import Correction
from exchange.corrections.states import ANSWER, BEFORE_AUTHORITY, CORRECTION, UNDER_VERIFICATION, hindrance
from exchange.parties import find, parties_of, visible_to

KIND = CORRECTION.kind
CLOCK = system_actor("clock")


def report_error(
    session: Session,
    agreement: Agreement,
    *,
    resource_id: UUID,
    items: list[str],
    records: str,
    error: str,
    evidence: str | None,
    by: Actor,
) -> Correction:
    """Report an error in what `agreement` delivers; the provider's clock starts (809-26).

    `items` are codes of agreed items. Errors: Invalid, NotPermitted (not the agreement's requester).
    """
    part = agreement.typed.resource(resource_id)
    faults = []
    if part is None:
        faults.append(Fault("/resource_id", Text("协议不含该资源", "not a resource of the agreement")))
    else:
        message = Text("协议不含该信息项", "not an item of the agreement")
        faults += [Fault(f"/items/{n}", message) for n, code in enumerate(items) if part.item(code) is None]
    if faults:
        raise Invalid(faults=faults)
    if by.id is None:
        raise NotPermitted()
    correction = Correction(
        requester_id=agreement.requester_id, provider_id=agreement.provider_id, authority_id=agreement.authority_id,
        agreement_id=agreement.id, resource_id=resource_id, items=items, records=records, error=error,
        evidence=evidence, author_id=by.id, overdue=False,
    )  # fmt: skip
    data = {"agreement": str(agreement.id), "resource": str(resource_id), "items": items}
    history.create(
        session, correction, CORRECTION, "report", by=by, parties=parties_of(by, agreement), reason=error, data=data
    )  # fmt: skip
    _start(session, correction)
    return correction


def find_correction(session: Session, correction_id: UUID, *, by: Actor) -> Correction:
    """The correction, if the actor may know of it. Errors: NotFound."""
    return find(session, Correction, correction_id, by=by)


def list_corrections(
    session: Session,
    *,
    by: Actor,
    waiting: bool = False,
    state: str | None = None,
    before: UUID | None = None,
    limit: int = 50,
) -> list[Correction]:
    """Corrections the actor may know of, newest first; `waiting` keeps those its agency has to answer."""
    query = select(Correction).where(visible_to(by, Correction))
    if waiting:
        to_verify = (Correction.provider_id == by.agency_id) & (Correction.state == UNDER_VERIFICATION)
        to_decide = (Correction.authority_id == by.agency_id) & (Correction.state == BEFORE_AUTHORITY)
        query = query.where(to_verify | to_decide)
    if state is not None:
        query = query.where(Correction.state == state)
    if before is not None:
        query = query.where(Correction.id < before)
    return list(session.scalars(query.order_by(Correction.id.desc()).limit(limit)))


def allowed_acts(correction: Correction, *, by: Actor) -> list[str]:
    """The acts that the actor may do now."""
    acts = CORRECTION.allowed(correction.state, parties_of(by, correction), by.roles)
    return [act for act in acts if hindrance(correction.state, act, overdue=correction.overdue) is None]


def change_correction(
    session: Session, correction: Correction, act: str, *, reason: str | None, by: Actor, version: int
) -> None:
    """Do `act` (correct, reject, escalate, order, dismiss, withdraw). A correction made is told to the other
    users of the resource, in the history of their agreements. Errors: StaleVersion, WrongMoment, NotPermitted."""
    parties = parties_of(by, correction)
    event = _step(session, correction, act, by=by, parties=parties, version=version, reason=reason)
    assert event.state_from is not None
    if why := hindrance(event.state_from, act, overdue=correction.overdue):
        raise WrongMoment(why, state=event.state_from)
    deadlines.end(session, KIND, correction.id, outcome="cancelled" if act == "withdraw" else "met")
    if act in ("correct", "reject"):
        correction.answer = reason
    if act == "order":
        correction.overdue = False
        _start(session, correction)
    if act == "correct":
        _tell_other_users(session, correction, by)


def _step(
    session: Session,
    correction: Correction,
    act: str,
    *,
    by: Actor,
    parties: frozenset[Party],
    version: int | None = None,
    reason: str | None = None,
) -> history.Event:
    return history.advance(
        session, correction, CORRECTION, act, by=by, parties=parties, expected_version=version, reason=reason
    )


def _start(session: Session, correction: Correction) -> None:
    start_clock(session, whose=correction.provider_id, kind=KIND, subject_id=correction.id, duty=ANSWER)


def _tell_other_users(session: Session, correction: Correction, by: Actor) -> None:
    """Which items were wrong, not which records: those concern the one who reported them."""
    using = select(Agreement.id).where(
        Agreement.state.in_(LIVE),
        Agreement.resource_ids.contains([correction.resource_id]),
        Agreement.provider_id == correction.provider_id,
        Agreement.requester_id != correction.requester_id,
    )
    data = {"resource": str(correction.resource_id), "items": correction.items}
    with seeing_all(session):
        told = session.scalars(using.order_by(Agreement.id)).all()
    for agreement_id in told:
        history.record(
            session, kind=AGREEMENT.kind, subject_id=agreement_id, act=DATA_CORRECTED, by=by, party="provider",
            basis="809-26", data=data,
        )  # fmt: skip


def _answer_missed(session: Session, deadline: DeadlineRow) -> None:
    correction = session.get_one(Correction, deadline.subject_id)
    _step(session, correction, "mark_overdue", by=CLOCK, parties=frozenset({"clock"}))
    correction.overdue = True


CONSEQUENCES: dict[str, Consequence] = {ANSWER: _answer_missed}
