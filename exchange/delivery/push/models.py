"""Table of push subscriptions: what goes where and how often, how far it has come, and which gateway does it."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, CheckConstraint, ForeignKey, LargeBinary, String
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.db import Base, Stateful


class PushSubscription(Base, Stateful):
    """推送订阅. `target` holds no secret, `credentials` are sealed. `runs`, `mark` and `basis` say how far delivery
    has come (`exchange.delivery.protocol.PushPlace`); one gateway at a time holds the lease and moves them."""

    __tablename__ = "push_subscription"

    agreement_id: Mapped[UUID] = mapped_column(ForeignKey("agreement.id"), index=True)
    resource_id: Mapped[UUID] = mapped_column(ForeignKey("resource.id"))
    grant_id: Mapped[UUID] = mapped_column(ForeignKey("grant_issued.id"))  # that its receipts stand under
    client_id: Mapped[UUID] = mapped_column(ForeignKey("client.id"))
    agency_id: Mapped[UUID] = mapped_column(ForeignKey("agency.id"))
    purpose: Mapped[str]
    items: Mapped[list[str] | None] = mapped_column(ARRAY(String))
    filter: Mapped[str | None]
    mode: Mapped[str]
    form: Mapped[str]
    every_minutes: Mapped[int]
    target: Mapped[dict[str, Any]] = mapped_column(JSONB)
    credentials: Mapped[bytes | None] = mapped_column(LargeBinary)
    runs: Mapped[int] = mapped_column(BigInteger, default=0)
    mark: Mapped[str] = mapped_column(default="")
    basis: Mapped[str] = mapped_column(default="")
    delivered_at: Mapped[datetime | None]
    problem: Mapped[str | None]
    gateway_id: Mapped[UUID | None] = mapped_column(ForeignKey("client.id"))
    leased_until: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint("mode IN ('full', 'changes')", name="mode"),
        CheckConstraint("form IN ('ndjson', 'csv')", name="form"),
        CheckConstraint("every_minutes BETWEEN 1 AND 44640", name="every_minutes"),
        CheckConstraint("(gateway_id IS NULL) = (leased_until IS NULL)", name="leased"),
    )
