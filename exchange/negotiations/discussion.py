"""What the sides say of single terms while a negotiation is open: comments, attachments, points left open.

None of it stops a clock, and none of it is consent: that is to terms, by their hash.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from pydantic import Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.kernel.clock import new_id, now
from app.kernel.errors import Fault, Invalid
from app.kernel.text import Text
from app.kernel.wire import LongText, Wire
from exchange import attachments
from exchange.negotiations.case import KIND, current_terms, step
from exchange.negotiations.models import Comment, Negotiation
from exchange.terms import term_paths


class OpenPoint(Wire):
    """What is still to be settled after a consent in principle, and of which term ("": the whole)."""

    field: str = Field(default="", max_length=500)
    text: LongText


def comment(
    session: Session, negotiation: Negotiation, *, field: str, body: str, by: Actor, version: int
) -> None:
    """Say something of one term, or of the whole (`field` ""). Errors: Invalid."""
    _require_term(session, negotiation, field, "/field")
    event = step(session, negotiation, "comment", by=by, version=version, data={"field": field, "body": body})
    assert event.party is not None and by.id is not None
    session.add(
        Comment(
            id=new_id(), created_at=now(), negotiation_id=negotiation.id, field=field, party=event.party,
            author_id=by.id, author_name=by.name, body=body,
        )
    )  # fmt: skip


def comments_of(session: Session, negotiation_id: UUID) -> list[Comment]:
    """What was said, oldest first."""
    query = select(Comment).where(Comment.negotiation_id == negotiation_id)
    return list(session.scalars(query.order_by(Comment.id)))


def attach(
    session: Session,
    negotiation: Negotiation,
    *,
    field: str,
    name: str,
    content: bytes,
    by: Actor,
    version: int,
) -> None:
    """Put a file beside a term, or the whole; the ledger has its hash. Errors: Invalid, TooLarge."""
    _require_term(session, negotiation, field, "/field")
    data = {"field": field, "name": name, "size": len(content), "sha256": attachments.hash_of(content)}
    event = step(session, negotiation, "attach", by=by, version=version, data=data)
    assert event.party is not None
    attachments.attach(
        session, kind=KIND, subject_id=negotiation.id, field=field, name=name, content=content, party=event.party, by=by
    )  # fmt: skip


def agree_in_principle(
    session: Session,
    negotiation: Negotiation,
    *,
    points: Sequence[OpenPoint],
    reason: str | None,
    by: Actor,
    version: int,
) -> None:
    """The provider's approver says yes but for the points named. It is no reply yet: the clock runs on until
    terms are agreed, offered or refused. Errors: Invalid."""
    for n, point in enumerate(points):
        _require_term(session, negotiation, point.field, f"/points/{n}/field")
    told = [point.model_dump() for point in points]
    data = {"points": told}
    step(session, negotiation, "agree_in_principle", by=by, version=version, reason=reason, data=data)
    negotiation.open_points = told


def _require_term(session: Session, negotiation: Negotiation, field: str, pointer: str) -> None:
    paths = term_paths(current_terms(session, negotiation).typed)
    if field and field not in paths:
        rule = Text("取值：空，或者 {paths}", "empty, or one of: {paths}").with_(paths=" ".join(paths[:40]))
        raise Invalid(faults=[Fault(pointer, Text("没有这一条款", "no such term"), rule)])
