"""What the provider may do with its time to reply: ask for what is missing, for more time, or pass the request on.

Owns the clock's pause, restart and extension (Decree 809 Art. 21). The reply itself is `service`'s.
"""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.orm import Session

from app.identity.profiles import profile_for
from app.kernel import deadlines
from app.kernel.actor import Actor
from app.kernel.clock import now
from app.kernel.errors import Fault, Invalid
from app.kernel.sight import seeing_all
from app.kernel.text import Text
from exchange import holdings
from exchange.negotiations.case import KIND, await_reply, current_terms, reply_duty, step
from exchange.negotiations.models import Negotiation
from exchange.parties import calendar_for, deciding_authority


def ask_material(session: Session, negotiation: Negotiation, *, notice: str, by: Actor, version: int) -> None:
    """Give the one notice of missing material (补正通知); the reply clock stands still until it comes."""
    step(session, negotiation, "ask_material", by=by, version=version, reason=notice)
    negotiation.material_asked_at, negotiation.waiting_for_material = now(), True
    calendar = calendar_for(session, negotiation.provider_id)
    deadlines.pause(session, KIND, negotiation.id, reply_duty(negotiation), calendar)


def supply_material(
    session: Session, negotiation: Negotiation, *, material: str, by: Actor, version: int
) -> None:
    """Answer the notice; the reply clock runs on with the working days it had left, or starts anew where the
    provider's rule profile says so."""
    step(session, negotiation, "supply_material", by=by, version=version, reason=material)
    negotiation.waiting_for_material = False
    profile = profile_for(session, negotiation.provider_id)
    if profile.options.material_clock == "restart":
        await_reply(session, negotiation)
        return
    calendar = calendar_for(session, negotiation.provider_id)
    deadlines.resume(session, KIND, negotiation.id, reply_duty(negotiation), calendar)


def ask_extension(
    session: Session, negotiation: Negotiation, *, working_days: int, reason: str, by: Actor, version: int
) -> None:
    """Ask the authority for more time to reply, within the profile's limit (809-21). Errors: Invalid."""
    step(session, negotiation, "ask_extension", by=by, version=version, reason=reason)
    profile = profile_for(session, negotiation.provider_id)
    limit = profile.duties[reply_duty(negotiation)].extension
    if not 1 <= working_days <= limit:
        message = Text("须为 1 至 {n} 个工作日", "must be 1 to {n} working days").with_(n=limit)
        if limit == 0:
            message = Text("此项答复不得延期", "this reply is not extended")
        rule = Text("809 第二十一条", "Decree 809 Art. 21")
        raise Invalid(faults=[Fault("/working_days", message, rule)])
    negotiation.extension_asked = working_days


def answer_extension(
    session: Session, negotiation: Negotiation, *, consent: bool, reason: str | None, by: Actor, version: int
) -> None:
    """The authority consents to the extension, or refuses it; the requester reads it in the history."""
    days = negotiation.extension_asked
    act = "extend" if consent else "refuse_extension"
    step(session, negotiation, act, by=by, version=version, reason=reason, data={"working_days": days})
    if consent:
        assert negotiation.extension_asked is not None
        for row in deadlines.running(session, KIND, negotiation.id, reply_duty(negotiation)):
            deadlines.extend(
                session, row, negotiation.extension_asked, calendar_for(session, negotiation.provider_id)
            )
        negotiation.extended = True
    negotiation.extension_asked = None


def transfer(
    session: Session, negotiation: Negotiation, *, to_agency_id: UUID, reason: str, by: Actor, version: int
) -> None:
    """Hand the request to the agency that the catalog now names as holder of all its resources; its reply
    clock starts anew. Errors: Invalid."""
    if to_agency_id in (negotiation.requester_id, negotiation.provider_id):
        raise Invalid(faults=[Fault("/to_agency_id", Text("不得转送当事双方", "is a party already"))])
    data = {"from": str(negotiation.provider_id), "to": str(to_agency_id)}
    step(session, negotiation, "transfer", by=by, version=version, reason=reason, data=data)
    terms = current_terms(session, negotiation).typed
    found = holdings.require_sound(
        session, terms, requester_id=negotiation.requester_id, provider_id=to_agency_id
    )
    authority_id = deciding_authority(session, negotiation.requester_id, to_agency_id)
    with seeing_all(session):  # the case passes out of the sight of who hands it on
        negotiation.provider_id, negotiation.authority_id = to_agency_id, authority_id
        negotiation.sharing = holdings.sharing_class(terms, found)
        negotiation.draft_terms_id = negotiation.extension_asked = None
        await_reply(session, negotiation)
        session.flush()
