"""Succession (机构合并、撤销): an agreement passes to the agency that takes over one party's duties.

Owns the next version, whose terms and consents are the former's; refuses a successor that the authority does
not answer for. Source: Civil Code Art. 98; why by one agreement at a time: docs/adr.
"""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from sqlalchemy.orm import Session

from app.identity import agencies
from app.identity.models import Agency
from app.kernel import history
from app.kernel.actor import Actor
from app.kernel.errors import Fault, Invalid
from app.kernel.text import Text
from exchange.agreements.models import Agreement
from exchange.agreements.service import bring_into_force, change_agreement
from exchange.agreements.states import AGREEMENT, SUSPENDED
from exchange.parties import deciding_authority, parties_of

Side = Literal["requester", "provider"]


def transfer(
    session: Session,
    agreement: Agreement,
    *,
    side: Side,
    to_agency_id: UUID,
    document: str,
    reason: str,
    by: Actor,
    expected_version: int,
) -> Agreement:
    """Put the successor of one party in its place, under the `document` that decided so: the version in force is
    superseded by one between the successor and the other party. A suspended one stays suspended. Returns the new
    version. Errors: StaleVersion, WrongMoment, NotPermitted, Invalid."""
    parties = parties_of(by, agreement)
    history.require(
        agreement, AGREEMENT, "transfer", by=by, parties=parties, expected_version=expected_version
    )
    _require_successor(session, agreement, to_agency_id, by)
    stood, suspended_by, why = agreement.state, agreement.suspended_by, (agreement.reason, agreement.mending)
    requester_id = to_agency_id if side == "requester" else agreement.requester_id
    provider_id = to_agency_id if side == "provider" else agreement.provider_id
    data = {"side": side, "to": str(to_agency_id), "document": document}
    change_agreement(
        session, agreement, "transfer", by=by, reason=reason, expected_version=expected_version, data=data
    )
    successor = Agreement(
        requester_id=requester_id, provider_id=provider_id, succession=document,
        authority_id=deciding_authority(session, requester_id, provider_id),
        negotiation_id=agreement.negotiation_id, terms_version_id=agreement.terms_version_id,
        ruling_id=agreement.ruling_id, origin=agreement.origin, terms=agreement.terms,
        terms_hash=agreement.terms_hash,
    )  # fmt: skip
    bring_into_force(session, successor, agreement)
    if stood == SUSPENDED:
        change_agreement(
            session, successor, "suspend", by=by, reason=why[0], mending=why[1], parties=frozenset({"authority"})
        )  # fmt: skip
        successor.suspended_by = suspended_by  # who may resume it stays as it was
    return successor


def _require_successor(session: Session, agreement: Agreement, to_agency_id: UUID, by: Actor) -> None:
    rule = Text(
        "本主管部门行政区划内、非当事方的已登记单位",
        "a registered agency within the authority's jurisdiction, not a party",
    )
    agency = session.get(Agency, to_agency_id)
    if to_agency_id in (agreement.requester_id, agreement.provider_id):
        message = Text(
            "当事双方归于同一单位的，应当终止协议", "both sides would be one agency: terminate the agreement"
        )
    elif (
        agency is None
        or by.jurisdiction_id is None
        or not agencies.is_within(session, agency.jurisdiction_id, by.jurisdiction_id)
    ):
        message = Text("不是可以承继的单位", "not an agency that may succeed")
    else:
        return
    raise Invalid(faults=[Fault("/to_agency_id", message, rule)], basis="CIV-98")
