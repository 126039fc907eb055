"""REST of data elements: the registry, who holds each, and which element each item of a resource means."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.identity import agencies
from app.identity.cases import AgencyRef, Asked, EventOut, events_out, guarded
from app.identity.models import Agency
from app.identity.permissions import permit, permit_acts, permitted
from app.kernel.actor import Actor, Role, Scope
from app.kernel.db import DbSession
from app.kernel.errors import NotPermitted
from app.kernel.idempotency import ONCE, CreatingRoute
from app.kernel.text import Text
from app.kernel.wire import ExpectedVersion, Label, LongText, Page, Paging, Wire, page, set_version
from catalog.elements import service
from catalog.elements.models import Element
from catalog.elements.service import Meaning
from catalog.elements.states import ELEMENT
from catalog.resources import service as resources
from catalog.resources.models import Resource
from catalog.resources.record import ResourceRecord

router = APIRouter(prefix="/api/v1", tags=["data elements"], route_class=CreatingRoute)

permit_acts(ELEMENT)
permit(
    "element.list", "element.read", "element.items", "element.events", "resource.elements", scope=Scope.CATALOG
)  # fmt: skip
permit(
    "element.link",
    "element.unlink",
    roles=(Role.CLERK, Role.APPROVER, Role.CATALOG_ADMINISTRATOR),
    scope=Scope.CLERK,
)

HOLDERS_SHOWN = 500
NOTES = {
    "link": Text("关联信息项", "an item linked"),
    "unlink": Text("取消关联", "a link taken back"),
    "keep_apart": Text("认定含义不同", "an item said to mean something else"),
}


class ElementOut(Wire):
    """A data element, and what the reader may do with it now."""

    id: UUID
    identifier: str
    name: str
    name_en: str | None
    definition: str
    data_type: str
    length: int | None
    code_list: str | None
    aliases: list[str]
    source: AgencyRef | None
    source_basis: str | None
    state: str
    state_name: Label
    version: int
    allowed: list[str]


class Source(Wire):
    """The authoritative source, and the law or decision that says so."""

    agency_id: UUID
    basis: LongText


class ElementReason(Wire):
    reason: LongText | None = None


class Linking(Wire):
    """`same`: the item means the element; otherwise it is known not to."""

    element_id: UUID
    same: bool = True


class ElementRef(Wire):
    id: UUID
    identifier: str
    name: str
    source: AgencyRef | None


class SuggestionOut(Wire):
    """What an item may mean: a score up to 1, and why."""

    element: ElementRef
    score: float
    reasons: list[Label]


class ItemElement(Wire):
    """An item with the element it means, or else what it may mean."""

    code: str
    name: str
    element: ElementRef | None
    suggestions: list[SuggestionOut]


class Holder(Wire):
    """An item that means the element."""

    resource_id: UUID
    resource_code: str
    title: str
    agency_id: UUID
    item_code: str
    item_name: str
    authoritative: bool  # held by the authoritative source


class Chosen(Paging):
    """Filters of the list; `q` is in the name."""

    q: Annotated[str | None, Field(max_length=100)] = None
    state: Annotated[str | None, Field(pattern="^(" + "|".join(ELEMENT.states) + ")$")] = None
    source: UUID | None = None


ItemCode = Annotated[str, Path(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")]


def _asked(act: str) -> Any:
    return guarded(f"element.{act}", service.find)


def _of(operation: str) -> Any:
    return guarded(operation, resources.find)


@router.get("/elements", operation_id="element.list")
def list_elements(
    session: DbSession,
    actor: Annotated[Actor, permitted("element.list")],
    chosen: Annotated[Chosen, Query()],
) -> Page[ElementOut]:
    """The registry, newest first."""
    query = select(Element).where(service.visible_to(actor))
    if chosen.q:
        query = query.where(Element.name.icontains(chosen.q, autoescape=True))
    if chosen.state:
        query = query.where(Element.state == chosen.state)
    if chosen.source:
        query = query.where(Element.source_id == chosen.source)
    if chosen.before:
        query = query.where(Element.id < chosen.before)
    rows = list(session.scalars(query.order_by(Element.id.desc()).limit(chosen.fetch)))
    return page(rows, chosen.limit, lambda shown: [_out(session, row, actor) for row in shown])


@router.post("/elements", operation_id="element.add", status_code=201, openapi_extra=ONCE)
def add_element(
    body: Meaning,
    session: DbSession,
    actor: Annotated[Actor, permitted("element.add")],
    response: Response,
) -> ElementOut:
    """登记数据元: the authority adds one to its registry."""
    return _create(session, body, "add", actor, response)


@router.post("/elements/proposals", operation_id="element.propose", status_code=201, openapi_extra=ONCE)
def propose_element(
    body: Meaning,
    session: DbSession,
    actor: Annotated[Actor, permitted("element.propose")],
    response: Response,
) -> ElementOut:
    """提出建议: an agency proposes one to its authority."""
    return _create(session, body, "propose", actor, response)


def _create(session: Session, body: Meaning, act: Any, actor: Actor, response: Response) -> ElementOut:
    if actor.agency_id is None:
        raise NotPermitted()
    agency = agencies.agency(session, actor.agency_id)
    element = service.create(session, body, act, agency=agency, by=actor)
    return _represent(Asked(session, element, actor, response))


@router.get("/elements/{id:uuid}", operation_id="element.read")
def read_element(asked: Annotated[Asked[Element], _asked("read")]) -> ElementOut:
    """One element."""
    return _represent(asked)


@router.get("/elements/{id}/items", operation_id="element.items")
def list_holders(asked: Annotated[Asked[Element], _asked("items")]) -> list[Holder]:
    """The items that mean it, in resources the reader may know of."""
    found = service.holders(asked.session, asked.case, by=asked.by, limit=HOLDERS_SHOWN)
    return [
        Holder(
            resource_id=row.id, resource_code=row.code, title=row.title, agency_id=row.agency_id, item_code=code,
            item_name=name, authoritative=row.agency_id == asked.case.source_id,
        )
        for row, code, name in found
    ]  # fmt: skip


@router.get("/elements/{id}/events", operation_id="element.events")
def list_events(asked: Annotated[Asked[Element], _asked("events")]) -> list[EventOut]:
    """The element's history, oldest first."""
    return events_out(asked.session, ELEMENT, asked.case.id, notes=NOTES)


@router.put("/elements/{id:uuid}", operation_id="element.revise")
def revise_element(
    asked: Annotated[Asked[Element], _asked("revise")], body: Meaning, version: ExpectedVersion
) -> ElementOut:
    """修订: replace what it means."""
    service.change(asked.session, asked.case, "revise", meaning=body, expected_version=version, by=asked.by)
    return _represent(asked)


@router.post("/elements/{id}/register", operation_id="element.register")
def register_element(
    asked: Annotated[Asked[Element], _asked("register")], body: ElementReason, version: ExpectedVersion
) -> ElementOut:
    """采纳建议."""
    return _change(asked, "register", body, version)


@router.post("/elements/{id}/decline", operation_id="element.decline")
def decline_element(
    asked: Annotated[Asked[Element], _asked("decline")], body: ElementReason, version: ExpectedVersion
) -> ElementOut:
    """不采纳."""
    return _change(asked, "decline", body, version)


@router.post("/elements/{id}/retire", operation_id="element.retire")
def retire_element(
    asked: Annotated[Asked[Element], _asked("retire")], body: ElementReason, version: ExpectedVersion
) -> ElementOut:
    """停用: no item is linked to it from now on."""
    return _change(asked, "retire", body, version)


@router.post("/elements/{id}/name_source", operation_id="element.name_source")
def name_source(
    asked: Annotated[Asked[Element], _asked("name_source")], body: Source, version: ExpectedVersion
) -> ElementOut:
    """确定数源部门 (809-19)."""
    service.name_source(
        asked.session, asked.case, agency_id=body.agency_id, basis=body.basis, expected_version=version, by=asked.by
    )  # fmt: skip
    return _represent(asked)


def _change(asked: Asked[Element], act: str, body: ElementReason, version: int) -> ElementOut:
    service.change(asked.session, asked.case, act, reason=body.reason, expected_version=version, by=asked.by)
    return _represent(asked)


@router.get("/resources/{id}/elements", operation_id="resource.elements")
def list_item_elements(asked: Annotated[Asked[Resource], _of("resource.elements")]) -> list[ItemElement]:
    """Each item with the element it means, or what it may mean and why."""
    linked, offered = service.suggestions_for(asked.session, asked.case)
    wanted = {*linked.values(), *(one.element_id for found in offered.values() for one in found)}
    refs = _refs(asked.session, wanted)
    return [
        ItemElement(
            code=item.code or "", name=item.name, element=refs.get(linked.get((item.code or "").lower())),
            suggestions=[
                SuggestionOut(
                    element=refs[one.element_id], score=one.score, reasons=[Label.of(reason) for reason in one.reasons]
                )
                for one in offered.get((item.code or "").lower(), ())
            ],
        )
        for item in ResourceRecord.model_validate(asked.case.record).items
    ]  # fmt: skip


@router.put("/resources/{id}/items/{item}/element", operation_id="element.link")
def link_item(
    asked: Annotated[Asked[Resource], _of("element.link")], item: ItemCode, body: Linking
) -> list[ItemElement]:
    """关联数据元: say which element an item means, or that it does not mean the one suggested."""
    element = service.find(asked.session, body.element_id, by=asked.by)
    service.judge(asked.session, asked.case, item, element=element, same=body.same, by=asked.by)
    return list_item_elements(asked)


@router.delete("/resources/{id}/items/{item}/element", operation_id="element.unlink")
def unlink_item(
    asked: Annotated[Asked[Resource], _of("element.unlink")], item: ItemCode
) -> list[ItemElement]:
    """取消关联."""
    service.forget(asked.session, asked.case, item, by=asked.by)
    return list_item_elements(asked)


def _refs(session: Session, wanted: Iterable[UUID]) -> dict[UUID | None, ElementRef]:
    query = select(Element, Agency).outerjoin(Agency, Agency.id == Element.source_id)
    return {
        element.id: ElementRef(
            id=element.id, identifier=element.identifier, name=element.name,
            source=AgencyRef.of_agency(source) if source else None,
        )
        for element, source in session.execute(query.where(Element.id.in_(list(wanted))))
    }  # fmt: skip


def _out(session: Session, element: Element, by: Actor) -> ElementOut:
    source = session.get(Agency, element.source_id) if element.source_id else None
    plain = ElementOut.model_fields.keys() - {"source", "state_name", "allowed"}
    return ElementOut(
        **{name: getattr(element, name) for name in plain},
        source=AgencyRef.of_agency(source) if source else None,
        state_name=Label.of(ELEMENT.states[element.state]),
        allowed=service.allowed_acts(session, element, by),
    )


def _represent(asked: Asked[Element]) -> ElementOut:
    set_version(asked.response, asked.case.version)
    return _out(asked.session, asked.case, asked.by)
