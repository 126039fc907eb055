"""Tables of disputes: the case, what the parties state, what the authority proposes and rules."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.db import Base, Identified, Stateful
from exchange.parties import Bilateral


class Dispute(Base, Stateful, Bilateral):
    """争议 about one negotiation, before `authority_id`."""

    __tablename__ = "dispute"

    negotiation_id: Mapped[UUID] = mapped_column(ForeignKey("negotiation.id"), unique=True)
    cause: Mapped[str]  # refused | overdue | stalemate
    reason: Mapped[str]
    proposal_id: Mapped[UUID | None] = mapped_column(ForeignKey("terms_version.id"))  # while PROPOSED
    draft_ruling_id: Mapped[UUID | None] = mapped_column(ForeignKey("ruling.id", use_alter=True))
    overdue: Mapped[bool] = mapped_column(default=False)
    closing_reason: Mapped[str | None]
    noncompliance_at: Mapped[
        datetime | None
    ]  # reported to the authority, which has not ordered compliance yet

    __table_args__ = (
        CheckConstraint("cause IN ('refused', 'overdue', 'stalemate')", name="cause"),
        CheckConstraint("requester_id <> provider_id", name="two_parties"),
    )


class Statement(Base, Identified):
    """陈述: what a party tells the authority. Rows are never changed."""

    __tablename__ = "statement"

    dispute_id: Mapped[UUID] = mapped_column(ForeignKey("dispute.id"), index=True)
    party: Mapped[str]
    author_id: Mapped[UUID]
    body: Mapped[str]

    __table_args__ = (CheckConstraint("party IN ('requester', 'provider')", name="party"),)


class Ruling(Base, Identified):
    """裁决. One mediator drafts, another signs; of the content nothing changes after the draft, and of a
    signed ruling nothing at all (trigger). `document` numbers the government's decision that changed it."""

    __tablename__ = "ruling"

    dispute_id: Mapped[UUID] = mapped_column(ForeignKey("dispute.id"))
    number: Mapped[int]
    outcome: Mapped[str]
    reasons: Mapped[str]
    legal_basis: Mapped[str]
    directions: Mapped[str | None]
    terms_version_id: Mapped[UUID | None] = mapped_column(ForeignKey("terms_version.id"))
    document: Mapped[str | None]
    drafted_by: Mapped[UUID] = mapped_column(ForeignKey("person.id"))
    signed_by: Mapped[UUID | None] = mapped_column(ForeignKey("person.id"))
    signed_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("dispute_id", "number", name="uq_ruling_number"),
        CheckConstraint("outcome IN ('grant', 'grant_in_part', 'deny', 'remand')", name="outcome"),
        CheckConstraint(
            "(outcome IN ('grant', 'grant_in_part')) = (terms_version_id IS NOT NULL)", name="granted_terms"
        ),
        CheckConstraint("outcome <> 'remand' OR directions IS NOT NULL", name="directions"),
        CheckConstraint("(signed_by IS NULL) = (signed_at IS NULL)", name="signature"),
        # A review is decided by the government and entered by one person with its document.
        CheckConstraint("drafted_by <> signed_by OR document IS NOT NULL", name="two_mediators"),
        Index("ix_ruling_terms_version_id", "terms_version_id"),
    )
