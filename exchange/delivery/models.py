"""Tables of delivery at the centre: where providers' data is, gateways, grants issued, receipts received."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, CheckConstraint, ForeignKey, Index, LargeBinary, String
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.clock import now
from app.kernel.db import Base, Identified, Stateful


class ProviderSource(Base):
    """数据源: where a gateway finds a resource's records. `options` hold no secret; the credentials are
    sealed with the service's own key and never told to people."""

    __tablename__ = "provider_source"

    resource_id: Mapped[UUID] = mapped_column(ForeignKey("resource.id"), primary_key=True)
    kind: Mapped[str]  # http | table | file | sql
    options: Mapped[dict[str, Any]] = mapped_column(JSONB)
    credentials: Mapped[bytes | None] = mapped_column(LargeBinary)
    version: Mapped[int]
    updated_at: Mapped[datetime] = mapped_column(default=now)
    updated_by: Mapped[UUID]  # a person, or a client that acts as clerk
    # The last test: `source_tests`.
    test_id: Mapped[UUID | None]
    test_gateway_id: Mapped[UUID | None] = mapped_column(ForeignKey("gateway.id"))
    test_asked_at: Mapped[datetime | None]
    test_told: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))

    __table_args__ = (CheckConstraint("kind IN ('http', 'table', 'file', 'sql')", name="kind"),)


class RegisteredGateway(Base, Stateful):
    """网关: a system that may exchange once it is approved. `url` is where requesters reach it; `health` is what it
    last told of itself, at `seen_at`."""

    __tablename__ = "gateway"

    client_id: Mapped[UUID] = mapped_column(ForeignKey("client.id"), unique=True)
    agency_id: Mapped[UUID] = mapped_column(ForeignKey("agency.id"), index=True)
    url: Mapped[str]
    seen_at: Mapped[datetime | None]
    health: Mapped[dict[str, Any] | None] = mapped_column(JSONB)


class QuotaLease(Base):
    """The part of an agreement's quota of a day that one gateway holds, as `sequence`, its last word, made it."""

    __tablename__ = "quota_lease"

    agreement_id: Mapped[UUID] = mapped_column(ForeignKey("agreement.id"), primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    client_id: Mapped[UUID] = mapped_column(ForeignKey("client.id"), primary_key=True)
    calls: Mapped[int] = mapped_column(BigInteger)
    rows: Mapped[int] = mapped_column(BigInteger)
    sequence: Mapped[int] = mapped_column(BigInteger)


class GrantIssued(Base, Identified):
    """A grant (授权凭证) that was issued; `id` is its `jti`. The token itself is not kept."""

    __tablename__ = "grant_issued"

    agreement_id: Mapped[UUID] = mapped_column(ForeignKey("agreement.id"), index=True)
    client_id: Mapped[UUID] = mapped_column(ForeignKey("client.id"), index=True)
    purpose: Mapped[str]
    items: Mapped[list[str] | None] = mapped_column(ARRAY(String))
    expires_at: Mapped[datetime] = mapped_column(index=True)
    revoked_at: Mapped[datetime | None]
    revoked_by: Mapped[UUID | None]

    __table_args__ = (CheckConstraint("(revoked_at IS NULL) = (revoked_by IS NULL)", name="revoked"),)


class ReceiptUse(Base, Identified):
    """使用记录: what the requester did with what one receipt says it got. Rows are never changed (trigger)."""

    __tablename__ = "receipt_use"

    agreement_id: Mapped[UUID] = mapped_column(ForeignKey("agreement.id"))
    receipt_id: Mapped[UUID] = mapped_column(ForeignKey("receipt.id"), index=True)
    purpose: Mapped[str]
    matter: Mapped[str]
    unit: Mapped[str]
    used_at: Mapped[datetime]
    noted_by: Mapped[UUID]  # a person or a client

    __table_args__ = (Index("ix_receipt_use_agreement_id", "agreement_id", "id"),)


class ReceiptRow(Base, Identified):
    """回执: one call at a gateway and how it ended. Rows are never changed (trigger); `id` is the call's,
    `created_at` when the centre received it.

    `resource_id` and `items` are as the caller wrote them. Of an interrupted call `rows` are those it
    had reserved: the most that can have left.
    """

    __tablename__ = "receipt"

    gateway_id: Mapped[UUID] = mapped_column(ForeignKey("client.id"))
    at: Mapped[datetime]
    day: Mapped[date]  # of the quota
    agreement_id: Mapped[UUID] = mapped_column(ForeignKey("agreement.id"))
    agreement_hash: Mapped[str]
    resource_id: Mapped[str]
    client_id: Mapped[UUID] = mapped_column(ForeignKey("client.id"))
    agency_id: Mapped[UUID] = mapped_column(ForeignKey("agency.id"))
    grant_id: Mapped[UUID] = mapped_column(ForeignKey("grant_issued.id"))
    purpose: Mapped[str]
    method: Mapped[str]
    items: Mapped[list[str]] = mapped_column(ARRAY(String))
    rows_reserved: Mapped[int] = mapped_column(BigInteger)
    result: Mapped[str]
    status: Mapped[int]
    problem: Mapped[str | None]
    rows: Mapped[int] = mapped_column(BigInteger)
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str | None]
    duration_ms: Mapped[float]

    __table_args__ = (
        CheckConstraint("result IN ('delivered', 'refused', 'failed', 'interrupted')", name="result"),
        Index("ix_receipt_agreement_id", "agreement_id", "id"),
        Index("ix_receipt_day", "agreement_id", "day"),
        Index("ix_receipt_days", "day", "agreement_id"),
    )

    def content(self) -> dict[str, Any]:
        """What the ledger entry's hash is taken of, and what makes two receipts of one id the same."""
        return {
            "id": str(self.id),
            "gateway": str(self.gateway_id),
            "at": self.at.isoformat(),
            "day": self.day.isoformat(),
            "agreement": [str(self.agreement_id), self.agreement_hash],
            "resource": self.resource_id,
            "client": str(self.client_id),
            "agency": str(self.agency_id),
            "grant": str(self.grant_id),
            "purpose": self.purpose,
            "method": self.method,
            "items": list(self.items),
            "rows_reserved": self.rows_reserved,
            "result": self.result,
            "status": self.status,
            "problem": self.problem,
            "rows": self.rows,
            "bytes": self.bytes,
            "sha256": self.sha256,
            "duration_ms": self.duration_ms,
        }
