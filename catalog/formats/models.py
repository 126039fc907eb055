"""The table of imports."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.db import Base, Identified


class ImportRun(Base, Identified):
    """One import or its rehearsal (dry run), with what came of it. Rows are never changed or removed (trigger)."""

    __tablename__ = "import_run"

    agency_id: Mapped[UUID | None] = mapped_column(
        ForeignKey("agency.id")
    )  # of who imported; None: the operator
    actor_name: Mapped[str]
    jurisdiction_id: Mapped[UUID] = mapped_column(
        ForeignKey("jurisdiction.id")
    )  # of agencies not registered yet
    source: Mapped[str]
    format: Mapped[str]
    mapping: Mapped[str | None]
    as_state: Mapped[str]
    dry_run: Mapped[bool]
    file_sha256: Mapped[bytes] = mapped_column(LargeBinary)
    content_sha256: Mapped[bytes] = mapped_column(
        LargeBinary
    )  # over (source_id, content hash) of every row read
    new: Mapped[int]
    changed: Mapped[int]
    unchanged: Mapped[int]
    rejected: Mapped[int]
    agencies_created: Mapped[list[str]] = mapped_column(JSONB)
    notes: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    rejected_rows: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)

    __table_args__ = (
        CheckConstraint("least(new, changed, unchanged, rejected) >= 0", name="counts"),
        Index("ix_import_run_agency_id", "agency_id", "id"),
    )
