"""Tables of resources: the record in force, its items for matching, published versions, working copies, filings,
defects, and the numbers of codes."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, CheckConstraint, ForeignKey, Index, LargeBinary, Sequence, String, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.identity.models import Agency
from app.kernel.clock import now
from app.kernel.db import Base, Identified, Stateful


class Resource(Base, Stateful):
    """信息资源. `record` is the whole record; the columns beside it repeat what lists and filters need."""

    __tablename__ = "resource"

    agency_id: Mapped[UUID] = mapped_column(ForeignKey("agency.id"))
    jurisdiction_id: Mapped[UUID] = mapped_column(ForeignKey("jurisdiction.id"))  # the agency's
    code: Mapped[str] = mapped_column(unique=True)
    source: Mapped[str | None]  # the catalog it was imported from; None: written here
    source_id: Mapped[str | None]
    source_hash: Mapped[bytes | None] = mapped_column(LargeBinary)  # of the record as it was last imported
    title: Mapped[str]
    title_en: Mapped[str | None]
    sharing_type: Mapped[str | None]
    openness: Mapped[str]
    is_open: Mapped[bool]  # 无条件开放: readable by anyone once published
    themes: Mapped[list[str]] = mapped_column(ARRAY(String))
    base_library: Mapped[str | None]
    update_cycle: Mapped[str | None]
    format_class: Mapped[str | None]
    grade: Mapped[str | None]
    record: Mapped[dict[str, Any]] = mapped_column(JSONB)
    content_hash: Mapped[bytes] = mapped_column(LargeBinary)
    published_version: Mapped[int] = mapped_column(default=0)  # 0: never published
    data_updated_at: Mapped[datetime | None]  # when its agency last reported that the data were updated

    agency: Mapped[Agency] = relationship(lazy="raise", viewonly=True)

    __table_args__ = (
        Index("uq_resource_source_id", "source", "source_id", unique=True),
        Index("ix_resource_agency_id", "agency_id", "id"),
        Index("ix_resource_state", "state", "id"),
        Index("ix_resource_updated_at", "updated_at", "id"),
        CheckConstraint("is_open = (openness = 'unconditional')", name="is_open"),
        CheckConstraint(
            "sharing_type IS DISTINCT FROM 'not_shared' OR openness = 'not_open'", name="not_shared"
        ),
        CheckConstraint("(source IS NULL) = (source_hash IS NULL)", name="source"),
    )  # fmt: skip


class ResourceVersion(Base):
    """A record as it was published. Rows are never changed or removed (trigger)."""

    __tablename__ = "resource_version"

    resource_id: Mapped[UUID] = mapped_column(ForeignKey("resource.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    published_at: Mapped[datetime] = mapped_column(default=now)
    record: Mapped[dict[str, Any]] = mapped_column(JSONB)
    content_hash: Mapped[bytes] = mapped_column(LargeBinary)


class Revision(Base, Stateful):
    """修订稿: the working copy of a published record. At most one of a resource is open (index)."""

    __tablename__ = "resource_revision"

    resource_id: Mapped[UUID] = mapped_column(ForeignKey("resource.id"))
    jurisdiction_id: Mapped[UUID] = mapped_column(ForeignKey("jurisdiction.id"))  # the resource's
    base_version: Mapped[int]  # the published version it was last written against
    reason: Mapped[str]  # which change of law or duty, or what else makes it due
    record: Mapped[dict[str, Any]] = mapped_column(JSONB)
    content_hash: Mapped[bytes] = mapped_column(LargeBinary)

    resource: Mapped[Resource] = relationship(lazy="raise", viewonly=True)

    __table_args__ = (
        Index("ix_resource_revision_resource_id", "resource_id", "id"),
        Index(
            "uq_resource_revision_open", "resource_id",
            unique=True, postgresql_where=text("state IN ('draft', 'filed', 'returned')"),
        ),
    )  # fmt: skip


class Filing(Base, Identified):
    """A record as it was filed, with the approver's statement (809-12). Rows never change (trigger)."""

    __tablename__ = "resource_filing"

    resource_id: Mapped[UUID] = mapped_column(ForeignKey("resource.id"))
    revision_id: Mapped[UUID | None] = mapped_column(ForeignKey("resource_revision.id"))
    number: Mapped[int]
    record: Mapped[dict[str, Any]] = mapped_column(JSONB)
    content_hash: Mapped[bytes] = mapped_column(LargeBinary)
    statement: Mapped[dict[str, Any]] = mapped_column(JSONB)
    signed_by: Mapped[UUID]
    signed_name: Mapped[str]

    __table_args__ = (
        Index(
            "uq_resource_filing_number", "resource_id", "revision_id", "number",
            unique=True, postgresql_nulls_not_distinct=True,
        ),
    )  # fmt: skip


class Defect(Base, Stateful):
    """退回意见 of which each is a thread; what is said in it is its history. `field` and `message` never change
    (trigger)."""

    __tablename__ = "resource_defect"

    resource_id: Mapped[UUID] = mapped_column(ForeignKey("resource.id"))
    revision_id: Mapped[UUID | None] = mapped_column(ForeignKey("resource_revision.id"))
    field: Mapped[str]
    message: Mapped[str]

    resource: Mapped[Resource] = relationship(lazy="raise", viewonly=True)
    revision: Mapped[Revision | None] = relationship(lazy="raise", viewonly=True)

    __table_args__ = (Index("ix_resource_defect_resource_id", "resource_id", "id"),)


class Item(Base):
    """信息项 of the record in force, one row each. `folded_name` is `catalog.text.fold(name)`."""

    __tablename__ = "item"

    resource_id: Mapped[UUID] = mapped_column(ForeignKey("resource.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    code: Mapped[str]
    name: Mapped[str]
    name_en: Mapped[str | None]
    definition: Mapped[str | None]
    data_type: Mapped[str | None]
    sharing_type: Mapped[str | None]  # None: as the resource
    sensitive: Mapped[bool]
    is_key: Mapped[bool]
    code_list: Mapped[str | None]
    folded_name: Mapped[str]
    normalisation: Mapped[int]  # the version of `catalog.text` that folded it

    __table_args__ = (
        Index("uq_item_code", "resource_id", text("lower(code)"), unique=True),
        Index("ix_item_folded_name", "folded_name"),
    )


# The number behind the "/" of a resource's code. A sequence gives no number twice, and nobody waits for it
# while a long import holds its transaction open.
RESOURCE_NUMBER = Sequence("resource_number", metadata=Base.metadata)
