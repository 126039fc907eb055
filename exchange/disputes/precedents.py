"""Rulings as precedents (裁决先例): signed rulings by resource, ground and outcome, without the parties.

Whoever may ask for data may read them, so that like cases are decided alike.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import Field
from sqlalchemy import exists, select
from sqlalchemy.orm import Session, aliased

from app.identity.cases import AgencyRef
from app.identity.permissions import permit, permitted
from app.kernel.actor import Role, Scope
from app.kernel.db import DbSession
from app.kernel.idempotency import CreatingRoute
from app.kernel.sight import seeing_all
from app.kernel.wire import Label, Page, Paging, ShortText, Wire, page
from exchange.disputes.models import Dispute, Ruling
from exchange.disputes.states import CAUSES, FINAL, OUTCOMES
from exchange.negotiations.models import Negotiation, TermsVersion
from exchange.negotiations.states import GROUNDS
from exchange.parties import names_of
from exchange.told import bilingual, records_of

router = APIRouter(prefix="/api/v1/rulings", tags=["disputes"], route_class=CreatingRoute)
permit(
    "ruling.list",
    roles=(Role.CLERK, Role.APPROVER, Role.MEDIATOR, Role.AUDIT_ADMINISTRATOR),
    scope=Scope.CLERK,
)


class Ruled(Wire):
    """A resource that a ruling was about."""

    id: UUID
    title: Label


class Precedent(Wire):
    """A signed ruling. `ground` is the refusal's, where there was one; `final` that no review can change it."""

    id: UUID
    signed_at: datetime
    authority: AgencyRef
    resources: list[Ruled]
    cause: str
    cause_name: Label
    ground: str | None
    ground_name: Label | None
    outcome: str
    outcome_name: Label
    reasons: str
    legal_basis: str
    directions: str | None
    final: bool


class Chosen(Paging):
    """What to look for; each narrows the list. `q` is a word of the reasons."""

    resource: UUID | None = None
    ground: Annotated[str | None, Field(pattern="^(" + "|".join(GROUNDS) + ")$")] = None
    outcome: Annotated[str | None, Field(pattern="^(" + "|".join(OUTCOMES) + ")$")] = None
    q: ShortText | None = None


@router.get("", operation_id="ruling.list", dependencies=[permitted("ruling.list")])
def list_rulings(session: DbSession, chosen: Annotated[Chosen, Query()]) -> Page[Precedent]:
    """裁决检索: signed rulings, newest first; of each dispute the one in effect."""
    with seeing_all(session):  # of cases of others: no more is told than `Precedent` holds
        return _rulings(session, chosen)


def _rulings(session: Session, chosen: Chosen) -> Page[Precedent]:
    later = aliased(Ruling)
    replaced = exists().where(
        later.dispute_id == Ruling.dispute_id, later.signed_at.is_not(None), later.number > Ruling.number
    )
    query = (
        select(Ruling)
        .join(Dispute, Dispute.id == Ruling.dispute_id)
        .join(Negotiation, Negotiation.id == Dispute.negotiation_id)
        .where(Ruling.signed_at.is_not(None), ~replaced)
    )
    if chosen.resource is not None:
        named = {"resources": [{"resource_id": str(chosen.resource)}]}
        about = select(TermsVersion.id).where(TermsVersion.terms.contains(named))
        query = query.where(Negotiation.current_terms_id.in_(about))
    if chosen.ground is not None:
        query = query.where(Negotiation.refusal_ground == chosen.ground)
    if chosen.outcome is not None:
        query = query.where(Ruling.outcome == chosen.outcome)
    if chosen.q is not None:
        query = query.where(Ruling.reasons.contains(chosen.q, autoescape=True))
    if chosen.before is not None:
        query = query.where(Ruling.id < chosen.before)
    rows = list(session.scalars(query.order_by(Ruling.id.desc()).limit(chosen.fetch)))
    return page(rows, chosen.limit, lambda shown: [_told(session, row) for row in shown])


def _told(session: Session, ruling: Ruling) -> Precedent:
    dispute = session.get_one(Dispute, ruling.dispute_id)
    negotiation = session.get_one(Negotiation, dispute.negotiation_id)
    terms = session.get_one(TermsVersion, negotiation.current_terms_id).typed
    records: dict[UUID, Any] = records_of(session, [part.resource_id for part in terms.resources])
    ground = negotiation.refusal_ground
    assert ruling.signed_at is not None
    return Precedent(
        id=ruling.id,
        signed_at=ruling.signed_at,
        authority=AgencyRef.of(dispute.authority_id, names_of(session, {dispute.authority_id})),
        resources=[
            Ruled(id=i, title=Label.of(bilingual(record.title, record.title_en)))
            for i, record in records.items()
        ],
        cause=dispute.cause,
        cause_name=Label.of(CAUSES[dispute.cause]),
        ground=ground,
        ground_name=Label.of(GROUNDS[ground].label) if ground else None,
        outcome=ruling.outcome,
        outcome_name=Label.of(OUTCOMES[ruling.outcome]),
        reasons=ruling.reasons,
        legal_basis=ruling.legal_basis,
        directions=ruling.directions,
        final=dispute.state == FINAL,
    )
