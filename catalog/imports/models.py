"""Tables of imports: files on their way in, what rehearsals found, what was brought in, mappings kept."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, LargeBinary
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.db import Base, Identified, Stateful


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


class ImportJob(Base, Stateful):
    """目录导入: a file from its arrival to its end. `person_id` is in whose name it is done."""

    __tablename__ = "import_job"

    agency_id: Mapped[UUID] = mapped_column(ForeignKey("agency.id"))
    person_id: Mapped[UUID] = mapped_column(ForeignKey("person.id"))
    harvest_id: Mapped[UUID | None] = mapped_column(ForeignKey("harvest.id"))  # None: sent by a person
    file_name: Mapped[str]
    file_size: Mapped[int] = mapped_column(BigInteger)  # bytes
    file_sha256: Mapped[bytes] = mapped_column(LargeBinary)
    options: Mapped[dict[str, Any]] = mapped_column(JSONB)
    resources_read: Mapped[int] = mapped_column(default=0)  # of the phase that runs; written as it goes
    preview_id: Mapped[UUID | None] = mapped_column(ForeignKey("import_run.id"))
    run_id: Mapped[UUID | None] = mapped_column(ForeignKey("import_run.id"))
    problem: Mapped[dict[str, Any] | None] = mapped_column(JSONB)  # why it was refused, in both languages

    __table_args__ = (
        Index("ix_import_job_agency_id", "agency_id", "id"),
        Index("ix_import_job_harvest_id", "harvest_id", "id"),
        CheckConstraint(
            "state NOT IN ('previewed', 'committing', 'finished') OR preview_id IS NOT NULL", name="rehearsed"
        ),
    )


class ImportChunk(Base):
    """A piece of the file of an import that is not at its end; any node's worker may take it up."""

    __tablename__ = "import_chunk"

    import_id: Mapped[UUID] = mapped_column(ForeignKey("import_job.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    content: Mapped[bytes] = mapped_column(LargeBinary)


class ImportRow(Base):
    """What a rehearsal found of one resource: what would come of it and why."""

    __tablename__ = "import_row"

    run_id: Mapped[UUID] = mapped_column(primary_key=True)  # the rehearsal, whose own row is written last
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    outcome: Mapped[str]
    place: Mapped[str]
    source_id: Mapped[str | None]
    title: Mapped[str | None]
    resource_id: Mapped[UUID | None]
    detail: Mapped[dict[str, Any]] = mapped_column(JSONB)

    __table_args__ = (Index("ix_import_row_outcome", "run_id", "outcome", "number"),)


class StoredMapping(Base, Identified):
    """A column mapping (列映射) that an agency keeps under a name."""

    __tablename__ = "column_mapping"

    agency_id: Mapped[UUID] = mapped_column(ForeignKey("agency.id"))
    name: Mapped[str]
    version: Mapped[int]
    updated_at: Mapped[datetime]
    updated_by: Mapped[str]
    definition: Mapped[dict[str, Any]] = mapped_column(JSONB)

    __table_args__ = (Index("uq_column_mapping_name", "agency_id", "name", unique=True),)
