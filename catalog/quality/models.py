"""Tables of quality: the last measure of each resource, and whether the addresses it names answer."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Float, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.clock import now
from app.kernel.db import Base


class Quality(Base):
    """The whole score of a resource in use, kept to be sorted by; the reasons are told anew when asked for."""

    __tablename__ = "resource_quality"

    resource_id: Mapped[UUID] = mapped_column(ForeignKey("resource.id"), primary_key=True)
    agency_id: Mapped[UUID] = mapped_column(ForeignKey("agency.id"))
    score: Mapped[float] = mapped_column(Float(53))
    measured_at: Mapped[datetime] = mapped_column(default=now)

    __table_args__ = (
        Index("ix_resource_quality_agency_id", "agency_id", "score", "resource_id"),
        Index("ix_resource_quality_score", "score", "resource_id"),
        Index("ix_resource_quality_measured_at", "measured_at"),
        CheckConstraint("score BETWEEN 0 AND 1", name="score"),
    )


class QualityPosition(Base):
    """How far the change log was read for quality; one row."""

    __tablename__ = "quality_position"

    single: Mapped[bool] = mapped_column(
        CheckConstraint("single", name="single"), primary_key=True, default=True
    )
    transaction: Mapped[int] = mapped_column(BigInteger)
    position: Mapped[int] = mapped_column(BigInteger)


class Link(Base):
    """An address that a resource names. `alive` is None until it was checked."""

    __tablename__ = "resource_link"

    resource_id: Mapped[UUID] = mapped_column(ForeignKey("resource.id"), primary_key=True)
    url: Mapped[str] = mapped_column(primary_key=True)
    due_at: Mapped[datetime]
    checked_at: Mapped[datetime | None]
    alive: Mapped[bool | None]
    problem: Mapped[str | None]

    __table_args__ = (Index("ix_resource_link_due_at", text("due_at")),)
