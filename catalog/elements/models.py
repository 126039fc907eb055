"""Tables of data elements: the registry, the verdicts on which items mean them, the numbers of identifiers."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import ARRAY, CheckConstraint, ForeignKey, Index, Sequence, String, text
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.db import Base, Identified, Stateful


class Element(Base, Stateful):
    """数据元. `source_id` is its authoritative source (数源部门)."""

    __tablename__ = "data_element"

    identifier: Mapped[str] = mapped_column(unique=True)
    jurisdiction_id: Mapped[UUID] = mapped_column(ForeignKey("jurisdiction.id"))  # whose registry
    name: Mapped[str]
    name_en: Mapped[str | None]
    definition: Mapped[str]
    data_type: Mapped[str]
    length: Mapped[int | None]
    code_list: Mapped[str | None]
    aliases: Mapped[list[str]] = mapped_column(ARRAY(String))
    source_id: Mapped[UUID | None] = mapped_column(ForeignKey("agency.id"), index=True)
    source_basis: Mapped[str | None]  # why that agency: the law or decision
    proposer_id: Mapped[UUID | None] = mapped_column(ForeignKey("agency.id"))

    __table_args__ = (
        Index(
            "uq_data_element_name", "jurisdiction_id", text("lower(name)"),
            unique=True, postgresql_where=text("state = 'registered'"),
        ),
    )  # fmt: skip


class Verdict(Base, Identified):
    """Whether an item means an element, as a person said: by themselves or of a suggestion. An item means one
    element at most (index)."""

    __tablename__ = "element_verdict"

    resource_id: Mapped[UUID] = mapped_column(ForeignKey("resource.id"))
    item_code: Mapped[str]
    element_id: Mapped[UUID] = mapped_column(ForeignKey("data_element.id"), index=True)
    same: Mapped[bool]
    suggested: Mapped[bool]
    person_id: Mapped[UUID | None]
    person_name: Mapped[str]

    __table_args__ = (
        Index("uq_element_verdict", "resource_id", text("lower(item_code)"), "element_id", unique=True),
        Index(
            "uq_element_verdict_same", "resource_id", text("lower(item_code)"),
            unique=True, postgresql_where=text("same"),
        ),
        CheckConstraint("item_code <> ''", name="item_code"),
    )  # fmt: skip


ELEMENT_NUMBER = Sequence("element_number", metadata=Base.metadata)
