"""Table of corrections."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import ForeignKey, String
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.db import Base, Stateful
from exchange.parties import Bilateral


class Correction(Base, Stateful, Bilateral):
    """校核: what a user found wrong in data delivered under an agreement. What was reported never changes
    (trigger)."""

    __tablename__ = "correction"

    agreement_id: Mapped[UUID] = mapped_column(ForeignKey("agreement.id"), index=True)
    resource_id: Mapped[UUID] = mapped_column(ForeignKey("resource.id"), index=True)
    items: Mapped[list[str]] = mapped_column(ARRAY(String))
    records: Mapped[str]  # which ones, in words the provider can find them by
    error: Mapped[str]
    evidence: Mapped[str | None]
    author_id: Mapped[UUID]
    answer: Mapped[str | None]  # the last one: what was done, or why not
    overdue: Mapped[bool] = mapped_column(default=False)
