"""The registry of data elements: proposed by agencies, kept by the authority, meant by items as people say.

Owns the registry and the verdicts. Suggestions are `suggesting`'s; the item itself stays the resource's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field
from sqlalchemy import ColumnElement, Uuid, and_, any_, delete, func, literal, or_, select, true
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.identity.models import Agency, Jurisdiction
from app.kernel import history
from app.kernel.actor import Actor, ActorKind
from app.kernel.clock import new_id, now
from app.kernel.errors import Conflict, Fault, Invalid, NotFound, NotPermitted
from app.kernel.machine import Party
from app.kernel.text import Text
from app.kernel.wire import LongText, ShortText, Wire
from catalog.elements.models import ELEMENT_NUMBER, Element, Verdict
from catalog.elements.states import ELEMENT, REGISTERED, RETIRED
from catalog.elements.suggesting import Known, Suggestion, suggest
from catalog.resources import service as resources
from catalog.resources.codes import DataType
from catalog.resources.models import Item, Resource
from catalog.resources.record import ItemRecord, ResourceRecord
from catalog.text import initials

KIND = ELEMENT.kind
COMPARED = 5000  # elements that one item is compared with
ARTICLE_19 = Text("809 第十九条 一数一源", "Decree 809 Art. 19, one source for each element")


class Meaning(Wire):
    """What an element is: the name, what it means, how its value is written."""

    name: ShortText
    name_en: ShortText | None = None
    definition: LongText
    data_type: DataType
    length: Annotated[int | None, Field(ge=1, le=2_000_000_000)] = None
    code_list: ShortText | None = None
    aliases: Annotated[tuple[ShortText, ...], Field(max_length=50)] = ()


def create(
    session: Session, meaning: Meaning, act: Literal["propose", "add"], *, agency: Agency, by: Actor
) -> Element:
    """Propose an element, or as the authority add it at once. Errors: NotPermitted, Conflict (a name that is
    registered)."""
    element = Element(
        id=new_id(), identifier=f"DE{session.scalar(ELEMENT_NUMBER.next_value()):06d}",
        jurisdiction_id=agency.jurisdiction_id, proposer_id=agency.id if act == "propose" else None,
        **_columns(meaning),
    )  # fmt: skip
    parties = parties_of(session, by, element)
    if act == "add" and "authority" not in parties:
        raise NotPermitted()
    _require_free(session, element)
    history.create(session, element, ELEMENT, act, by=by, parties=parties, data=_data(element))
    return element


def change(
    session: Session,
    element: Element,
    act: str,
    *,
    expected_version: int,
    by: Actor,
    reason: str | None = None,
    meaning: Meaning | None = None,
) -> None:
    """Register, decline, revise (with the new meaning) or retire. Errors: StaleVersion, WrongMoment, NotPermitted,
    Conflict."""
    data = meaning.model_dump(mode="json") if meaning else _data(element)
    _advance(session, element, act, expected_version=expected_version, by=by, reason=reason, data=data)
    for name, value in (_columns(meaning) if meaning else {}).items():
        setattr(element, name, value)
    if element.state == REGISTERED:
        _require_free(session, element)


def name_source(
    session: Session, element: Element, *, agency_id: UUID, basis: str, expected_version: int, by: Actor
) -> None:
    """确定数源部门: the one agency that answers for the element. Errors: StaleVersion, WrongMoment, NotPermitted,
    Invalid (an agency outside the registry's jurisdiction)."""
    within = select(Agency.id).join(Jurisdiction, Jurisdiction.id == Agency.jurisdiction_id)
    registry = literal(element.jurisdiction_id, Uuid)
    within = within.where(Agency.id == agency_id, registry == any_(Jurisdiction.path))
    data = {"source": str(agency_id), "basis": basis}
    _advance(
        session, element, "name_source", expected_version=expected_version, by=by, reason=basis, data=data
    )
    if session.scalar(within) is None:
        message = Text("“{id}”不是本行政区划内登记的单位", "“{id}” is no agency of this jurisdiction")
        raise Invalid(faults=[Fault("/agency_id", message.with_(id=agency_id), ARTICLE_19)])
    element.source_id, element.source_basis = agency_id, basis


def visible_to(by: Actor) -> ColumnElement[bool]:
    """What is registered or retired everyone signed in may read; the rest who proposed it and the authority."""
    if by.kind is ActorKind.SYSTEM:
        return true()
    own = Element.proposer_id == by.agency_id
    if resources.reviews(by):
        own = or_(own, Element.jurisdiction_id.in_(resources.reviewed_jurisdictions(by)))
    return or_(Element.state.in_((REGISTERED, RETIRED)), own)


def find(session: Session, element_id: UUID, *, by: Actor) -> Element:
    """The element, if `by` may know of it. Errors: NotFound."""
    element = session.scalar(select(Element).where(Element.id == element_id, visible_to(by)))
    if element is None:
        raise NotFound()
    return element


def parties_of(session: Session, by: Actor, element: Element) -> frozenset[Party]:
    """What `by` is to the element: its proposer, its authority."""
    parties: set[Party] = set()
    if by.agency_id is not None and element.proposer_id == by.agency_id:
        parties.add("proposer")
    reviewed = select(Jurisdiction.id).where(
        Jurisdiction.id == element.jurisdiction_id, Jurisdiction.id.in_(resources.reviewed_jurisdictions(by))
    )
    if by.is_authority and session.scalar(reviewed):
        parties.add("authority")
    return frozenset(parties)


def allowed_acts(session: Session, element: Element, by: Actor) -> list[str]:
    return ELEMENT.allowed(element.state, parties_of(session, by, element), by.roles)


def judge(
    session: Session, resource: Resource, item_code: str, *, element: Element, same: bool, by: Actor
) -> None:
    """Say that an item means an element, or that it does not; said again it replaces what was said.
    Errors: NotPermitted (neither provider nor authority), NotFound (no such item), Invalid."""
    _require_handled(session, resource, by)
    item = _item(session, resource, item_code)
    if same and element.state != REGISTERED:
        message = Text("数据元“{name}”未在登记状态", "the element “{name}” is not registered")
        raise Invalid(faults=[Fault("/element_id", message.with_(name=element.name), ARTICLE_19)])
    known = [_known(element)]
    suggested = bool(suggest(item, known))
    mine = (Verdict.resource_id == resource.id, func.lower(Verdict.item_code) == item_code.lower())
    if same:  # an item means one element
        session.execute(delete(Verdict).where(*mine, Verdict.same))
    values = {
        "same": same,
        "suggested": suggested,
        "person_id": by.id,
        "person_name": by.name,
        "created_at": now(),
    }
    session.execute(delete(Verdict).where(*mine, Verdict.element_id == element.id))
    session.execute(
        insert(Verdict).values(
            id=new_id(), resource_id=resource.id, item_code=item_code, element_id=element.id, **values
        )
    )
    _record(session, element, "link" if same else "keep_apart", resource, item_code, by)


def forget(session: Session, resource: Resource, item_code: str, *, by: Actor) -> None:
    """Take back which element an item means. Errors: NotPermitted, NotFound."""
    _require_handled(session, resource, by)
    mine = (Verdict.resource_id == resource.id, func.lower(Verdict.item_code) == item_code.lower())
    verdict = session.scalar(select(Verdict).where(*mine, Verdict.same))
    if verdict is None:
        raise NotFound()
    session.delete(verdict)
    _record(session, session.get_one(Element, verdict.element_id), "unlink", resource, item_code, by)


def elements_for(session: Session, resource: Resource) -> list[Element]:
    """The registered elements that a resource's items may mean: its jurisdiction's and those above it."""
    path = session.scalar(select(Jurisdiction.path).where(Jurisdiction.id == resource.jurisdiction_id)) or []
    query = select(Element).where(Element.jurisdiction_id.in_(path), Element.state == REGISTERED)
    return list(session.scalars(query.order_by(Element.id).limit(COMPARED)))


def suggestions_for(
    session: Session, resource: Resource
) -> tuple[dict[str, UUID], dict[str, list[Suggestion]]]:
    """By lower-case item code: the element each item means, and for the others what it may mean, without what was
    said to be another."""
    verdicts = list(session.scalars(select(Verdict).where(Verdict.resource_id == resource.id)))
    linked = {verdict.item_code.lower(): verdict.element_id for verdict in verdicts if verdict.same}
    apart = {(verdict.item_code.lower(), verdict.element_id) for verdict in verdicts if not verdict.same}
    known = [_known(element) for element in elements_for(session, resource)]
    offered = {
        code: [one for one in suggest(item, known) if (code, one.element_id) not in apart]
        for item in ResourceRecord.model_validate(resource.record).items
        if (code := (item.code or "").lower()) not in linked
    }
    return linked, offered


def holders(session: Session, element: Element, *, by: Actor, limit: int) -> list[tuple[Resource, str, str]]:
    """The items that mean the element, of resources `by` may know of: resource, item's code and name."""
    same_item = and_(
        Item.resource_id == Verdict.resource_id, func.lower(Item.code) == func.lower(Verdict.item_code)
    )
    query = (
        select(Resource, Item.code, Item.name)
        .join(Verdict, Verdict.resource_id == Resource.id)
        .join(Item, same_item)
        .where(Verdict.element_id == element.id, Verdict.same, resources.visible_to(by))
        .order_by(Resource.id, Item.position)
        .limit(limit)
    )
    return [(resource, code, name) for resource, code, name in session.execute(query)]


def _known(element: Element) -> Known:
    names = (element.name, *([element.name_en] if element.name_en else []), *element.aliases)
    return Known(element.id, names, element.data_type, element.code_list, initials(element.name))


def _columns(meaning: Meaning) -> dict[str, Any]:
    return {**meaning.model_dump(mode="json"), "aliases": list(meaning.aliases)}


def _data(element: Element) -> dict[str, Any]:
    return {"identifier": element.identifier, "name": element.name}


def _require_free(session: Session, element: Element) -> None:
    taken = select(Element.identifier).where(
        Element.jurisdiction_id == element.jurisdiction_id, Element.state == REGISTERED,
        func.lower(Element.name) == element.name.lower(), Element.id != element.id,
    )  # fmt: skip
    with session.no_autoflush:
        identifier = session.scalar(taken)
    if identifier:
        message = Text(
            "数据元“{name}”已登记为 {identifier}。", "The element “{name}” is registered as {identifier}."
        )
        raise Conflict(message.with_(name=element.name, identifier=identifier), basis="809-19")


def _item(session: Session, resource: Resource, item_code: str) -> ItemRecord:
    for item in ResourceRecord.model_validate(resource.record).items:
        if (item.code or "").lower() == item_code.lower():
            return item
    raise NotFound()


def _require_handled(session: Session, resource: Resource, by: Actor) -> None:
    if not resources.parties_of(session, by, resource):
        raise NotPermitted(
            Text("由提供方或主管部门关联数据元。", "The provider or its authority links data elements.")
        )


def _record(
    session: Session, element: Element, act: str, resource: Resource, item_code: str, by: Actor
) -> None:
    data = {"resource": str(resource.id), "item": item_code}
    history.record(
        session, kind=KIND, subject_id=element.id, act=act, by=by, data=data, basis="809-19", ledgered=False
    )


def _advance(
    session: Session,
    element: Element,
    act: str,
    *,
    expected_version: int,
    by: Actor,
    reason: str | None,
    data: Mapping[str, Any],
) -> None:
    history.advance(
        session, element, ELEMENT, act, by=by, parties=parties_of(session, by, element),
        expected_version=expected_version, reason=reason, data=data,
    )  # fmt: skip
