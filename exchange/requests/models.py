"""Table of share requests."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.db import Base, Stateful


class ShareRequest(Base, Stateful):
    """共享申请: what an agency asks for, of one or several providers. Filed, it becomes one negotiation for each."""

    __tablename__ = "share_request"

    requester_id: Mapped[UUID] = mapped_column(ForeignKey("agency.id"), index=True)
    title: Mapped[str]
    terms: Mapped[dict[str, Any]] = mapped_column(JSONB)  # Terms, over the resources of all its providers
    terms_hash: Mapped[str]
    amends_id: Mapped[UUID | None] = mapped_column(ForeignKey("agreement.id", use_alter=True))
    author_id: Mapped[UUID]  # the person or client who wrote it last
