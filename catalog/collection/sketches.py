"""Sketches of identifier columns that agencies hand in, to see how many of the same objects two of them hold.

Owns who may know of a sketch: its agency, who holds one made with the same key, and the authority above.
"""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import ColumnElement, Uuid, any_, false, literal, or_, select, true
from sqlalchemy.orm import Session, aliased

from app.identity.models import Agency, Jurisdiction
from app.kernel.actor import Actor, ActorKind
from app.kernel.clock import new_id, now
from app.kernel.errors import Fault, Invalid, NotFound
from app.kernel.text import Text
from catalog.collection import overlap
from catalog.collection.models import IdentifierSketch
from catalog.collection.overlap import Overlap
from catalog.resources import service as resources

NOT_A_SKETCH = Text(
    "不是 zhengtong sketch 写出的概要：{why}", "not a sketch as `zhengtong sketch` writes them: {why}"
)
NOT_OWN = Text("该资源属于其他单位", "the resource is another agency's")


def register(
    session: Session, *, by: Actor, label: str, resource_id: UUID | None, key_mark: str, content: bytes
) -> IdentifierSketch:
    """Keep a sketch of the actor's agency. It is never changed; a later one is another. Errors: Invalid, NotFound."""
    assert by.id is not None and by.agency_id is not None
    try:
        estimate = overlap.size(content)
    except ValueError as error:
        raise Invalid(faults=[Fault("/sketch", NOT_A_SKETCH.with_(why=str(error)))]) from None
    if resource_id is not None and resources.find(session, resource_id, by=by).agency_id != by.agency_id:
        raise Invalid(faults=[Fault("/resource_id", NOT_OWN)])
    row = IdentifierSketch(
        id=new_id(), created_at=now(), agency_id=by.agency_id, author_id=by.id, label=label, resource_id=resource_id,
        key_mark=key_mark, identifiers=estimate.number, sketch=content,
    )  # fmt: skip
    session.add(row)
    session.flush()
    return row


def visible_to(by: Actor) -> ColumnElement[bool]:
    """Which sketches `by` may know of."""
    if by.kind is ActorKind.SYSTEM:
        return true()
    if by.agency_id is None:
        return false()
    own = aliased(IdentifierSketch)
    marks = select(own.key_mark).where(own.agency_id == by.agency_id)
    known = or_(IdentifierSketch.agency_id == by.agency_id, IdentifierSketch.key_mark.in_(marks))
    if not by.is_authority:
        return known
    below = select(Jurisdiction.id).where(literal(by.jurisdiction_id, Uuid) == any_(Jurisdiction.path))
    return or_(
        known, IdentifierSketch.agency_id.in_(select(Agency.id).where(Agency.jurisdiction_id.in_(below)))
    )


def find(session: Session, sketch_id: UUID, *, by: Actor) -> IdentifierSketch:
    """The sketch, if the actor may know of it. Errors: NotFound."""
    row = session.scalar(select(IdentifierSketch).where(IdentifierSketch.id == sketch_id, visible_to(by)))
    if row is None:
        raise NotFound()
    return row


def list_sketches(
    session: Session, *, by: Actor, before: UUID | None = None, limit: int = 50
) -> list[IdentifierSketch]:
    """Sketches the actor may know of, newest first."""
    query = select(IdentifierSketch).where(visible_to(by))
    if before is not None:
        query = query.where(IdentifierSketch.id < before)
    return list(session.scalars(query.order_by(IdentifierSketch.id.desc()).limit(limit)))


def overlaps(
    session: Session, row: IdentifierSketch, *, by: Actor, limit: int
) -> list[tuple[IdentifierSketch, Overlap]]:
    """What others' newest sketches under the same key have in common with this one, most first."""
    others = session.scalars(
        select(IdentifierSketch)
        .where(
            IdentifierSketch.key_mark == row.key_mark, IdentifierSketch.agency_id != row.agency_id, visible_to(by)
        )
        .order_by(IdentifierSketch.id.desc())
        .limit(limit)
    )  # fmt: skip
    found = [(other, overlap.overlap(row.sketch, other.sketch)) for other in others]
    return sorted(found, key=lambda pair: -pair[1].common.number)
