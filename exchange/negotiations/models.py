"""Tables of negotiations: the case, its versions of terms, and who consented to which."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, Uuid
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.clock import now
from app.kernel.db import Base, Identified, Stateful
from exchange.parties import Bilateral
from exchange.terms import Terms


class Negotiation(Base, Stateful, Bilateral):
    """协商 between one requester and one provider. `current_terms_id` is what stands on the table; a draft
    is known to its own side alone until it is offered."""

    __tablename__ = "negotiation"

    request_id: Mapped[UUID] = mapped_column(ForeignKey("share_request.id"), index=True)
    follows_id: Mapped[UUID | None] = mapped_column(ForeignKey("negotiation.id"))  # remanded from
    amends_id: Mapped[UUID | None] = mapped_column(ForeignKey("agreement.id", use_alter=True))  # or renews
    sharing: Mapped[str]  # unconditional | conditional: the strictest of what the requester last asked for
    current_terms_id: Mapped[UUID | None] = mapped_column(ForeignKey("terms_version.id", use_alter=True))
    draft_terms_id: Mapped[UUID | None] = mapped_column(ForeignKey("terms_version.id", use_alter=True))
    narrower_terms_id: Mapped[UUID | None] = mapped_column(ForeignKey("terms_version.id", use_alter=True))
    rounds: Mapped[int] = mapped_column(default=0)  # offers answered by a counter-offer
    waiting_for_material: Mapped[bool] = mapped_column(default=False)
    material_asked_at: Mapped[datetime | None]
    extension_asked: Mapped[int | None]  # working days, until the authority has answered
    extended: Mapped[bool] = mapped_column(default=False)
    overdue: Mapped[bool] = mapped_column(default=False)
    reminded: Mapped[bool] = mapped_column(default=False)
    termination_reason: Mapped[str | None]
    refusal_ground: Mapped[str | None]
    disputed: Mapped[bool] = mapped_column(default=False)
    directions: Mapped[str | None]  # of the ruling that remanded it
    need_by: Mapped[date | None]
    questions: Mapped[list[Any]] = mapped_column(JSONB)  # Answered: as they were put and answered at filing
    open_points: Mapped[list[Any] | None] = mapped_column(JSONB)  # OpenPoint, of a consent in principle
    policy_ids: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid))  # of the provider, that agreed

    __table_args__ = (
        CheckConstraint("sharing IN ('unconditional', 'conditional')", name="sharing"),
        CheckConstraint("termination_reason IS NULL OR state = 'TERMINATED'", name="termination"),
        CheckConstraint(
            "(termination_reason = 'refused') = (refusal_ground IS NOT NULL)", name="refusal_has_ground"
        ),
        CheckConstraint("requester_id <> provider_id", name="two_parties"),
    )


class TermsVersion(Base, Identified):
    """One version of the terms. Rows are never changed (trigger); `number` counts within the negotiation."""

    __tablename__ = "terms_version"

    negotiation_id: Mapped[UUID] = mapped_column(ForeignKey("negotiation.id"))
    number: Mapped[int]
    party: Mapped[str]
    author_id: Mapped[UUID]  # the person or client who wrote it; never who consents to it (trigger)
    terms: Mapped[dict[str, Any]] = mapped_column(JSONB)
    terms_hash: Mapped[str]
    note: Mapped[str | None]

    __table_args__ = (
        UniqueConstraint("negotiation_id", "number", name="uq_terms_version_number"),
        CheckConstraint("party IN ('requester', 'provider', 'authority')", name="party"),
    )

    @property
    def typed(self) -> Terms:
        """The terms as the object they are."""
        return Terms.model_validate(self.terms)


class Comment(Base, Identified):
    """What one side says of one term to the other. Rows are never changed."""

    __tablename__ = "negotiation_comment"

    negotiation_id: Mapped[UUID] = mapped_column(ForeignKey("negotiation.id"), index=True)
    field: Mapped[str]  # path of the term, as in the comparison of versions; "" is the whole
    party: Mapped[str]
    author_id: Mapped[UUID]
    author_name: Mapped[str]
    body: Mapped[str]

    __table_args__ = (CheckConstraint("party IN ('requester', 'provider')", name="party"),)


class Consent(Base, Identified):
    """同意: that one side stands by one version of the terms, and who decided so. Rows are never changed."""

    __tablename__ = "consent"

    terms_version_id: Mapped[UUID] = mapped_column(ForeignKey("terms_version.id"))
    party: Mapped[str]
    kind: Mapped[str]  # approver | policy (unconditional by publication) | deemed (silence, 809-21)
    person_id: Mapped[UUID | None] = mapped_column(ForeignKey("person.id"))
    terms_hash: Mapped[str]
    at: Mapped[datetime] = mapped_column(default=now)

    __table_args__ = (
        Index("uq_consent_party", "terms_version_id", "party", unique=True),
        CheckConstraint("party IN ('requester', 'provider')", name="party"),
        CheckConstraint(
            "kind IN ('approver', 'policy', 'deemed') AND (kind = 'approver') = (person_id IS NOT NULL)",
            name="who",
        ),
        CheckConstraint("kind = 'approver' OR party = 'provider'", name="requester_in_person"),
    )
