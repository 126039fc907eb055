"""Tables of following: saved searches, who follows what, what changed for them, how far the log was read."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.kernel.db import Base, Identified


class SavedSearch(Base, Identified):
    """A search somebody keeps: its words and filters as the search takes them."""

    __tablename__ = "saved_search"

    owner_id: Mapped[UUID]
    name: Mapped[str]
    asked: Mapped[dict[str, Any]] = mapped_column(JSONB)

    __table_args__ = (Index("ix_saved_search_owner_id", "owner_id", "id"),)


class Following(Base, Identified):
    """Somebody follows a resource, an agency or a saved search of theirs, exactly one of them."""

    __tablename__ = "following"

    follower_id: Mapped[UUID]
    follower_kind: Mapped[str]  # person | client
    agency_id: Mapped[UUID | None] = mapped_column(ForeignKey("agency.id"))  # the follower's
    resource_id: Mapped[UUID | None] = mapped_column(ForeignKey("resource.id"), index=True)
    provider_id: Mapped[UUID | None] = mapped_column(
        ForeignKey("agency.id"), index=True
    )  # the agency followed
    search_id: Mapped[UUID | None] = mapped_column(ForeignKey("saved_search.id", ondelete="CASCADE"))

    search: Mapped[SavedSearch | None] = relationship(lazy="raise", viewonly=True)

    __table_args__ = (
        Index(
            "uq_following", "follower_id", "resource_id", "provider_id", "search_id",
            unique=True, postgresql_nulls_not_distinct=True,
        ),
        CheckConstraint("num_nonnulls(resource_id, provider_id, search_id) = 1", name="one"),
    )  # fmt: skip


class FollowedChange(Base, Identified):
    """One change that one following is about. `event_id` is the event of the change log."""

    __tablename__ = "followed_change"

    following_id: Mapped[UUID] = mapped_column(ForeignKey("following.id", ondelete="CASCADE"))
    event_id: Mapped[UUID] = mapped_column(ForeignKey("event.id"))
    resource_id: Mapped[UUID] = mapped_column(ForeignKey("resource.id"))
    read_at: Mapped[datetime | None]

    following: Mapped[Following] = relationship(lazy="raise", viewonly=True)

    __table_args__ = (Index("uq_followed_change", "following_id", "event_id", unique=True),)


class FollowPosition(Base):
    """How far the change log was read for followers; one row."""

    __tablename__ = "follow_position"

    single: Mapped[bool] = mapped_column(
        CheckConstraint("single", name="single"), primary_key=True, default=True
    )
    transaction: Mapped[int] = mapped_column(BigInteger)
    position: Mapped[int] = mapped_column(BigInteger)
