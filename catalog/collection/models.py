"""Tables of collection: plans, findings, notices, decided links of names, the audit desk's findings."""

from __future__ import annotations

from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.db import Base, Identified, Stateful
from catalog.collection.audited import AuditedRecord
from catalog.collection.knowledge import Band
from catalog.collection.record import Candidate, CoverageRecord, PlannedItemRecord, PlanRecord
from catalog.collection.states import blocks


class Plan(Base, Stateful):
    """采集计划. `coverage` and `model_version` are the check's, from filing on."""

    __tablename__ = "plan"

    agency_id: Mapped[UUID] = mapped_column(ForeignKey("agency.id"))
    jurisdiction_id: Mapped[UUID] = mapped_column(ForeignKey("jurisdiction.id"), index=True)  # the agency's
    authority_id: Mapped[UUID] = mapped_column(ForeignKey("agency.id"))  # decides on its findings
    author_id: Mapped[UUID]  # the person or client who wrote it last
    title: Mapped[str]
    period_until: Mapped[date]
    record: Mapped[dict[str, Any]] = mapped_column(JSONB)
    coverage: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    model_version: Mapped[str | None]
    control_number: Mapped[str | None]  # 管理编号, from the first time it is cleared on
    control_year: Mapped[int | None]
    control_sequence: Mapped[int | None]  # within the authority's year, without gaps
    expires_on: Mapped[date | None]  # the last day that the control number is good for
    follows_id: Mapped[UUID | None] = mapped_column(ForeignKey("plan.id"), index=True)
    follows_as: Mapped[str | None]  # renewal | amendment
    permission: Mapped[str | None]  # why the authority lets it collect with open findings
    permitted_until: Mapped[date | None]
    permitted_by: Mapped[UUID | None]

    __table_args__ = (
        Index("ix_plan_agency_id", "agency_id", "id"),
        Index(
            "ix_plan_period_until", "period_until",
            postgresql_where=text("state IN ('cleared', 'blocked', 'collecting')"),
        ),
        CheckConstraint("state IN ('draft', 'filed') OR model_version IS NOT NULL", name="checked"),
        UniqueConstraint("authority_id", "control_year", "control_sequence", name="uq_plan_control"),
        CheckConstraint("(follows_id IS NULL) = (follows_as IS NULL)", name="follows"),
        CheckConstraint("follows_as IN ('renewal', 'amendment')", name="follows_as"),
    )  # fmt: skip

    def permitted_on(self, day: date) -> bool:
        """Whether the authority lets it collect on that day although findings are open."""
        return self.permitted_until is not None and day <= self.permitted_until

    @property
    def typed(self) -> PlanRecord:
        """The plan's content as the object it is."""
        return PlanRecord.model_validate(self.record)

    @property
    def typed_coverage(self) -> CoverageRecord | None:
        return CoverageRecord.model_validate(self.coverage) if self.coverage else None


class Finding(Base, Stateful):
    """A planned item that the catalog seems to hold (疑似重复采集). What was found never changes (trigger)."""

    __tablename__ = "finding"

    plan_id: Mapped[UUID] = mapped_column(ForeignKey("plan.id"))
    position: Mapped[int]  # of the item in the plan
    band: Mapped[str]
    item: Mapped[dict[str, Any]] = mapped_column(JSONB)
    candidates: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)  # best first
    model_version: Mapped[str]
    ground: Mapped[str | None]  # of the justification
    justification: Mapped[str | None]
    decision: Mapped[str | None]  # the authority's reasons
    decided_by: Mapped[UUID | None]
    accepted_scope: Mapped[str | None]
    accepted_until: Mapped[date | None]
    appeal: Mapped[str | None]  # why the agency asked again; kept, as it may ask once
    overdue: Mapped[bool] = mapped_column(default=False)  # the side whose turn it is let its clock run out

    __table_args__ = (
        UniqueConstraint("plan_id", "position", name="uq_finding_position"),
        Index("ix_finding_state", "state", "id"),
        CheckConstraint("band IN ('reuse_expected', 'review')", name="band"),
        CheckConstraint("(ground IS NULL) = (justification IS NULL)", name="justification"),
    )

    @property
    def typed_band(self) -> Band:
        return "reuse_expected" if self.band == "reuse_expected" else "review"

    @property
    def typed_item(self) -> PlannedItemRecord:
        return PlannedItemRecord.model_validate(self.item)

    @property
    def typed_candidates(self) -> tuple[Candidate, ...]:
        return tuple(Candidate.model_validate(candidate) for candidate in self.candidates)

    @property
    def blocks(self) -> bool:
        """Whether it keeps the plan from collecting."""
        return blocks(self.state, self.band)


class Notice(Base, Identified):
    """通报批评 (Regulation Art. 46(1)). Rows are never changed or removed (trigger)."""

    __tablename__ = "notice"

    finding_id: Mapped[UUID] = mapped_column(ForeignKey("finding.id"), unique=True)
    authority_id: Mapped[UUID] = mapped_column(ForeignKey("agency.id"))
    agency_id: Mapped[UUID] = mapped_column(ForeignKey("agency.id"), index=True)
    year: Mapped[int]
    sequence: Mapped[int]  # within the authority's year, without gaps
    number: Mapped[str]  # 文号
    legal_basis: Mapped[str]
    signed_by: Mapped[UUID]
    text_zh: Mapped[str]  # title, then paragraphs, one line each
    text_en: Mapped[str]

    __table_args__ = (UniqueConstraint("authority_id", "year", "sequence", name="uq_notice_sequence"),)


class ItemLink(Base, Identified):
    """What people decided of two items: the same data element, or different ones. `created_at` is when.

    Names and topics (title of the plan or resource, and its population) stand as they were written, so that a
    later normalisation still reads them. Of two rows for one pair the newer counts. Rows are never changed or
    removed (trigger).
    """

    __tablename__ = "item_link"

    left_name: Mapped[str]
    left_topic: Mapped[str]
    right_name: Mapped[str]
    right_topic: Mapped[str]
    verdict: Mapped[str]  # same | different
    source: Mapped[str]  # kind of what was decided: finding | audit_finding
    source_id: Mapped[UUID]
    agency_id: Mapped[UUID] = mapped_column(ForeignKey("agency.id"))  # that decided
    decided_by: Mapped[UUID]

    __table_args__ = (
        Index("ix_item_link_created_at", "created_at"),
        CheckConstraint("verdict IN ('same', 'different')", name="verdict"),
        CheckConstraint("source IN ('finding', 'audit_finding')", name="source"),
    )


class AuditFinding(Base, Stateful):
    """Items or resources that several agencies seem to hold twice, as an audit of the whole catalog found them.
    `key` names the same finding in every audit; `record` is what the last one said of it."""

    __tablename__ = "audit_finding"

    key: Mapped[str] = mapped_column(unique=True)
    jurisdiction_id: Mapped[UUID] = mapped_column(
        ForeignKey("jurisdiction.id"), index=True
    )  # above all members
    authority_id: Mapped[UUID] = mapped_column(ForeignKey("agency.id"))  # decides
    relation: Mapped[str]
    band: Mapped[str]
    score: Mapped[float]
    record: Mapped[dict[str, Any]] = mapped_column(JSONB)
    model_version: Mapped[str]
    assignee_id: Mapped[UUID | None] = mapped_column(ForeignKey("person.id"))
    decision: Mapped[str | None]
    decided_by: Mapped[UUID | None]

    __table_args__ = (
        Index("ix_audit_finding_state", "state", "band", "score", "id"),
        CheckConstraint("relation IN ('same_element', 'copy', 'subset', 'overlap')", name="relation"),
        CheckConstraint("band IN ('reuse_expected', 'review')", name="band"),
    )

    @property
    def typed(self) -> AuditedRecord:
        return AuditedRecord.model_validate(self.record)


class AuditRun(Base, Identified):
    """An audit of the catalog: before which snapshot every change was examined, under which model and decisions.
    `examined` resources; None: all. Rows are never changed or removed (trigger)."""

    __tablename__ = "audit_run"

    snapshot: Mapped[str]
    decisions: Mapped[str]
    model_version: Mapped[str]
    examined: Mapped[int | None]
    counts: Mapped[dict[str, Any]] = mapped_column(JSONB)

    __table_args__ = (Index("ix_audit_run_created_at", "created_at", "id"),)


class CatalogAudit(Base, Stateful):
    """全目录审计: an audit as a person of an authority asked for it. How far it is, is written as it goes."""

    __tablename__ = "catalog_audit"

    agency_id: Mapped[UUID] = mapped_column(ForeignKey("agency.id"), index=True)
    person_id: Mapped[UUID] = mapped_column(ForeignKey("person.id"))
    whole: Mapped[bool]  # else what changed since the last one
    stage: Mapped[str | None]  # one of `auditing.STAGES`
    done: Mapped[int] = mapped_column(
        default=0
    )  # of `total`, what the stage counts; 0 of 0 where it counts nothing
    total: Mapped[int] = mapped_column(default=0)
    run_id: Mapped[UUID | None] = mapped_column(ForeignKey("audit_run.id"))


class IdentifierSketch(Base, Identified):
    """A keyed sketch of an agency's identifier column: hashes, of which no value can be had without the key."""

    __tablename__ = "identifier_sketch"

    agency_id: Mapped[UUID] = mapped_column(ForeignKey("agency.id"), index=True)
    author_id: Mapped[UUID]  # the person or client who handed it in
    label: Mapped[str]  # whose identifiers, as the agency calls them
    resource_id: Mapped[UUID | None] = mapped_column(ForeignKey("resource.id"))
    key_mark: Mapped[str] = mapped_column(index=True)  # the same for sketches of one key
    identifiers: Mapped[int]  # distinct ones, estimated
    sketch: Mapped[bytes]
