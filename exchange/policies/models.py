"""Table of sharing policies."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.db import Base, Stateful


class SharingPolicy(Base, Stateful):
    """自动同意规则: what a provider agrees to of one of its resources without a person. The rule never changes."""

    __tablename__ = "sharing_policy"

    provider_id: Mapped[UUID] = mapped_column(ForeignKey("agency.id"), index=True)
    resource_id: Mapped[UUID] = mapped_column(ForeignKey("resource.id"), index=True)
    rule: Mapped[dict[str, Any]] = mapped_column(JSONB)  # PolicyRule
    author_id: Mapped[UUID]
    adopted_by: Mapped[UUID | None] = mapped_column(ForeignKey("person.id"))

    __table_args__ = (
        CheckConstraint("adopted_by <> author_id", name="two_hands"),
        CheckConstraint("state <> 'IN_FORCE' OR adopted_by IS NOT NULL", name="adopted"),
    )
