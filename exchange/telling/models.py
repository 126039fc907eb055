"""Tables of who is told what: webhooks of agencies' systems, daily mails of people."""

from __future__ import annotations

from datetime import date, datetime
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.db import Base, Identified


class Webhook(Base, Identified):
    """Where an agency wants its events sent. `told_*` is the place in the feed up to which it got them."""

    __tablename__ = "webhook"

    agency_id: Mapped[UUID] = mapped_column(ForeignKey("agency.id"), index=True)
    url: Mapped[str]
    kinds: Mapped[list[str]] = mapped_column(ARRAY(String))  # of case; empty: every kind
    secret: Mapped[str]  # sealed: it has to be read to sign
    version: Mapped[int]
    active: Mapped[bool]
    told_transaction: Mapped[int] = mapped_column(BigInteger)
    told_position: Mapped[int] = mapped_column(BigInteger)
    failures: Mapped[int]  # since the last success
    next_attempt_at: Mapped[datetime]
    last_result: Mapped[str | None]
    test_asked: Mapped[bool] = mapped_column(default=False)  # a trial message is to be sent
    tested_at: Mapped[datetime | None]
    test_result: Mapped[str | None]
    author_id: Mapped[UUID]


class Digest(Base):
    """Somebody who wants a mail each working day of what waits."""

    __tablename__ = "digest"

    person_id: Mapped[UUID] = mapped_column(ForeignKey("person.id"), primary_key=True)
    address: Mapped[str]
    sent_on: Mapped[date | None]
