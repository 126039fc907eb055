"""Who read personal data (查阅个人信息的记录): every call of an operation that shows it, in the call's transaction.

Owns which operations those are, and the record. What was answered is not copied: the path says what was asked.
"""

from __future__ import annotations

from uuid import UUID

from fastapi import Request
from sqlalchemy import ForeignKey, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.identity.agencies import agencies_within
from app.kernel.actor import Actor
from app.kernel.clock import new_id, now
from app.kernel.db import Base, Identified
from app.kernel.text import Text

LONGEST_PATH = 1000

PERSONAL: dict[str, Text] = {
    "person.list": Text("人员名册", "the register of people"),
    "role_grant.list": Text("待复核的授权", "roles that wait for a second person"),
    "correction.list": Text("校核所指的记录", "which records were reported as wrong"),
    "correction.read": Text("校核所指的记录", "which records were reported as wrong"),
    "dispute.attachment": Text("证据材料", "evidence"),
    "negotiation.attachment": Text("附件", "attachments"),
}
"""Operations whose answers hold personal data, and which; also those by which the console shows the same."""


class PersonalRead(Base, Identified):
    """One call that showed personal data. Rows are never changed (trigger)."""

    __tablename__ = "personal_read"

    operation: Mapped[str]
    path: Mapped[str]  # with its query
    actor_kind: Mapped[str]
    actor_id: Mapped[UUID]
    actor_name: Mapped[str]
    agency_id: Mapped[UUID | None] = mapped_column(ForeignKey("agency.id"))
    request_id: Mapped[str]


def note(session: Session, request: Request, operation: str, actor: Actor) -> None:
    """Record the call, where it shows personal data. A call that fails leaves no record: it showed nothing."""
    if operation not in PERSONAL or actor.id is None:
        return
    path = f"{request.url.path}?{request.url.query}".rstrip("?")[:LONGEST_PATH]
    session.add(
        PersonalRead(
            id=new_id(), created_at=now(), operation=operation, path=path, actor_kind=actor.kind, actor_id=actor.id,
            actor_name=actor.name, agency_id=actor.agency_id, request_id=request.state.request_id,
        )
    )  # fmt: skip


def list_reads(
    session: Session, *, by: Actor, of: UUID | None, operation: str | None, before: UUID | None, limit: int
) -> list[PersonalRead]:
    """Calls by people and systems of the jurisdiction of `by` and of those below, newest first; `of` one of them."""
    query = select(PersonalRead).where(PersonalRead.agency_id.in_(agencies_within(by)))
    if of is not None:
        query = query.where(PersonalRead.actor_id == of)
    if operation is not None:
        query = query.where(PersonalRead.operation == operation)
    if before is not None:
        query = query.where(PersonalRead.id < before)
    return list(session.scalars(query.order_by(PersonalRead.id.desc()).limit(limit)))
