"""Tables of share requests and of the questions that providers have them answer."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.clock import now
from app.kernel.db import Base, Stateful


class ShareRequest(Base, Stateful):
    """共享申请: what an agency asks for, of one or several providers. Filed, it becomes one negotiation for each.
    A provider that wants to change an agreement is the requester of its request, not of the negotiation."""

    __tablename__ = "share_request"

    requester_id: Mapped[UUID] = mapped_column(ForeignKey("agency.id"), index=True)
    title: Mapped[str]
    terms: Mapped[dict[str, Any]] = mapped_column(JSONB)  # Terms, over the resources of all its providers
    terms_hash: Mapped[str]
    amends_id: Mapped[UUID | None] = mapped_column(ForeignKey("agreement.id", use_alter=True))
    need_by: Mapped[date | None]
    answers: Mapped[list[Any]] = mapped_column(JSONB)  # Answer, to the providers' questions
    reuses_id: Mapped[UUID | None] = mapped_column(ForeignKey("share_request.id"))  # drafted from
    author_id: Mapped[UUID]  # the person or client who wrote it last


class QuestionSet(Base):
    """What the provider of a resource wants to know of everybody who asks for it."""

    __tablename__ = "question_set"

    resource_id: Mapped[UUID] = mapped_column(ForeignKey("resource.id"), primary_key=True)
    version: Mapped[int]
    questions: Mapped[list[Any]] = mapped_column(JSONB)  # Question
    author_id: Mapped[UUID]
    updated_at: Mapped[datetime] = mapped_column(default=now)
