"""Table of agreements."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, Uuid, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.db import Base, Stateful
from exchange.parties import Bilateral
from exchange.terms import Terms


class Agreement(Base, Stateful, Bilateral):
    """One version of a 共享协议. What was agreed never changes, and no row stands without both consents, a
    policy or a ruling (triggers); `content_hash` covers parties, origin and terms."""

    __tablename__ = "agreement"

    negotiation_id: Mapped[UUID] = mapped_column(ForeignKey("negotiation.id"), index=True)
    terms_version_id: Mapped[UUID] = mapped_column(ForeignKey("terms_version.id"))
    ruling_id: Mapped[UUID | None] = mapped_column(ForeignKey("ruling.id"), index=True)
    series_id: Mapped[UUID]  # the first version's id
    number: Mapped[int] = mapped_column(default=1)  # within the series
    supersedes_id: Mapped[UUID | None] = mapped_column(ForeignKey("agreement.id"))
    succession: Mapped[
        str | None
    ]  # the document by which one party's duties passed to the one that stands here
    origin: Mapped[str]  # negotiated | policy | ruling
    terms: Mapped[dict[str, Any]] = mapped_column(JSONB)
    terms_hash: Mapped[str]
    content_hash: Mapped[str]
    resource_ids: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid))
    valid_from: Mapped[date]
    valid_until: Mapped[date]  # the last day of use
    in_force_at: Mapped[datetime]
    supply_overdue: Mapped[bool] = mapped_column(default=False)
    suspended_by: Mapped[str | None]  # the party whose suspension it is
    end_announced_at: Mapped[datetime | None]  # the provider filed its reason to stop (809-27)
    reason: Mapped[str | None]  # of the last change of state, for the other side
    mending: Mapped[str | None]  # what must be mended before a suspended one is resumed
    remind_renewal_on: Mapped[date | None]  # None once the parties are reminded
    disposal_overdue: Mapped[bool] = mapped_column(default=False)
    disposed_on: Mapped[date | None]  # the certificate of disposal: when, how, and who answers for it
    disposal: Mapped[str | None]
    disposed_by: Mapped[UUID | None] = mapped_column(ForeignKey("person.id"))
    disposed_receipts: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid), default=list)  # none named: all

    __table_args__ = (
        CheckConstraint(
            "origin IN ('negotiated', 'policy', 'ruling') AND (origin = 'ruling') = (ruling_id IS NOT NULL)",
            name="origin",
        ),
        CheckConstraint(
            "num_nulls(disposed_on, disposal, disposed_by) IN (0, 3)"
            " AND (disposed_on IS NULL OR state IN ('EXPIRED', 'COMPLETED', 'TERMINATED'))",
            name="disposal",
        ),
        CheckConstraint("succession IS NULL OR supersedes_id IS NOT NULL", name="succession"),
        # One live agreement of a negotiation.
        Index(
            "uq_agreement_live", "negotiation_id",
            unique=True, postgresql_where=text("state IN ('IN_FORCE', 'SUSPENDED')"),
        ),
        UniqueConstraint("series_id", "number"),
        Index(
            "uq_agreement_live_version", "series_id",
            unique=True, postgresql_where=text("state IN ('IN_FORCE', 'SUSPENDED')"),
        ),
        Index("ix_agreement_resource_ids", "resource_ids", postgresql_using="gin"),
        Index(
            "ix_agreement_remind_renewal_on", "remind_renewal_on",
            postgresql_where=text("state IN ('IN_FORCE', 'SUSPENDED')"),
        ),
        Index("ix_agreement_valid_until", "valid_until", postgresql_where=text("state IN ('IN_FORCE', 'SUSPENDED')")),
    )  # fmt: skip

    @property
    def typed(self) -> Terms:
        """The terms as the object they are."""
        return Terms.model_validate(self.terms)
