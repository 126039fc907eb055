"""The table of harvested catalogs."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, LargeBinary, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.db import Base, Stateful


class Harvest(Base, Stateful):
    """目录采集源. `next_at` is when it is due, the job only the wake-up; `person_id` in whose name it imports."""

    __tablename__ = "harvest"

    agency_id: Mapped[UUID] = mapped_column(ForeignKey("agency.id"))
    person_id: Mapped[UUID] = mapped_column(ForeignKey("person.id"))
    name: Mapped[str]
    kind: Mapped[str]  # ckan | dcat
    url: Mapped[str]
    every: Mapped[str]
    automatic: Mapped[bool]  # bring in what was rehearsed without asking
    options: Mapped[dict[str, Any]] = mapped_column(JSONB)
    next_at: Mapped[datetime]
    last_at: Mapped[datetime | None]
    last_sha256: Mapped[bytes | None] = mapped_column(LargeBinary)  # of what was fetched last
    problem: Mapped[dict[str, Any] | None] = mapped_column(JSONB)  # of the last attempt; None: it went well

    __table_args__ = (
        Index("ix_harvest_agency_id", "agency_id", "id"),
        Index("ix_harvest_due", "next_at", postgresql_where=text("state = 'active'")),
    )
