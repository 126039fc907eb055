"""Rulings as precedents (裁决先例): signed rulings by resource, ground and outcome, without the parties.

Whoever may ask for data may read them, so that like cases are decided alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated
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
from app.kernel.text import Text
from app.kernel.wire import Label, Page, Paging, ShortText, Wire, page
from exchange.disputes.models import Dispute, Ruling
from exchange.disputes.states import CAUSES, FINAL, OUTCOMES
from exchange.negotiations.models import Negotiation, TermsVersion
from exchange.negotiations.states import GROUNDS
from exchange.parties import names_of
from exchange.told import titles_of

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


_Row = tuple[Ruling, Dispute, Negotiation, TermsVersion]


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
        select(Ruling, Dispute, Negotiation, TermsVersion)
        .join(Dispute, Dispute.id == Ruling.dispute_id)
        .join(Negotiation, Negotiation.id == Dispute.negotiation_id)
        .join(TermsVersion, TermsVersion.id == Negotiation.current_terms_id)
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
    rows = session.execute(query.order_by(Ruling.id.desc()).limit(chosen.fetch))
    found: dict[UUID, _Row] = {row[0].id: row for row in rows}
    rulings = [ruling for ruling, *_ in found.values()]
    return page(rulings, chosen.limit, lambda shown: _told(session, [found[ruling.id] for ruling in shown]))


def _told(session: Session, rows: Sequence[_Row]) -> list[Precedent]:
    names = names_of(session, {dispute.authority_id for _, dispute, _, _ in rows})
    about = {ruling.id: [part.resource_id for part in terms.typed.resources] for ruling, *_, terms in rows}
    titles = titles_of(session, {resource_id for named in about.values() for resource_id in named})
    return [_precedent(row, names, {i: titles[i] for i in about[row[0].id] if i in titles}) for row in rows]


def _precedent(row: _Row, names: Mapping[UUID, Text], titles: Mapping[UUID, Text]) -> Precedent:
    ruling, dispute, negotiation, _ = row
    ground = negotiation.refusal_ground
    assert ruling.signed_at is not None
    return Precedent(
        id=ruling.id,
        signed_at=ruling.signed_at,
        authority=AgencyRef.of(dispute.authority_id, names),
        resources=[Ruled(id=i, title=Label.of(title)) for i, title in titles.items()],
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
