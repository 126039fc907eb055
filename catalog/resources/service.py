"""What is done to a resource by hand: write, edit, file, publish, return, suspend, withdraw; who may see it.

Every change of state goes through the table in `states`. What imports bring is `importing`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Select,
    Uuid,
    and_,
    any_,
    delete,
    exists,
    false,
    func,
    insert,
    literal,
    or_,
    select,
    true,
)
from sqlalchemy.orm import Session, aliased, selectinload

from app.identity import agencies
from app.identity.models import Agency, Jurisdiction
from app.kernel import deadlines, history
from app.kernel.actor import Actor, ActorKind, Role, Scope, system_actor
from app.kernel.calendar import BEIJING
from app.kernel.clock import new_id, now
from app.kernel.db import copy_rows
from app.kernel.deadlines import Consequence, DeadlineRow
from app.kernel.errors import NotFound
from app.kernel.machine import Party
from app.kernel.wire import LongText, Wire
from catalog.resources import review, updating
from catalog.resources.codes import Openness
from catalog.resources.item_codes import with_item_codes
from catalog.resources.models import RESOURCE_NUMBER, Item, Resource, ResourceVersion
from catalog.resources.record import (
    ItemRecord,
    Provider,
    ResourceRecord,
    check_record,
    content_hash,
    stored_form,
    stored_text,
)
from catalog.resources.review import FilingStatement, NewDefect
from catalog.resources.states import PUBLISHED, RESOURCE, REVIEW
from catalog.resources.use import require_unused
from catalog.text import NORMALISATION_VERSION, fold_name

KIND = RESOURCE.kind


class Reason(Wire):
    """Why something that was published is taken out of use, or put back."""

    reason: LongText


def create_draft(session: Session, *, agency_id: UUID, record: ResourceRecord, by: Actor) -> Resource:
    """A new resource of an agency, in draft. Errors: NotFound, NotPermitted, Invalid."""
    owner = agencies.agency(session, agency_id)
    resource = Resource(id=new_id(), agency_id=owner.id, jurisdiction_id=owner.jurisdiction_id)
    resource.code = _new_code(session, record)
    resource.published_version = 0
    write_record(resource, as_own(record, owner, resource.code))
    parties = parties_of(session, by, resource)
    history.create(session, resource, RESOURCE, "create", by=by, parties=parties, data=attested(resource))
    replace_items(session, [resource])
    review.require(check_record(record, for_filing=False))
    return resource


def edit_draft(
    session: Session, resource: Resource, *, record: ResourceRecord, expected_version: int, by: Actor
) -> None:
    """Replace the record of a draft or a returned resource. Items keep their codes by name; another
    classification makes another code, and the one before is not given again.
    Errors: StaleVersion, WrongMoment, NotPermitted, Invalid."""
    owner = agencies.agency(session, resource.agency_id)
    before = ResourceRecord.model_validate(resource.record)
    same_class = record.classification.prefix == before.classification.prefix
    code = resource.code if same_class else _new_code(session, record)
    completed = as_own(record, owner, code, before.items)
    data = {"code": code, "content_sha256": content_hash(completed).hex()}
    _advance(session, resource, "edit", by=by, expected_version=expected_version, data=data)
    resource.code = code
    review.require(check_record(completed, for_filing=False))
    write_record(resource, completed)
    replace_items(session, [resource])


def file(
    session: Session, resource: Resource, *, statement: FilingStatement, expected_version: int, by: Actor
) -> None:
    """报送: hand the record to the authority, signed by the approver; the review clock starts (809-17).
    Errors: StaleVersion, WrongMoment, NotPermitted, Invalid naming everything that is missing."""
    data = {**attested(resource), "statement": statement.model_dump(mode="json")}
    _advance(session, resource, "file", by=by, expected_version=expected_version, data=data)
    parties = parties_of(session, by, resource)
    review.require_fileable(session, resource, statement, by=by, parties=parties)
    review.write_filing(session, resource, statement, by=by)


def publish(session: Session, resource: Resource, *, expected_version: int, by: Actor) -> None:
    """审核发布: the authority publishes what was filed; the record becomes a version that never changes.
    One that states no date of publication gets today's. Errors: StaleVersion, WrongMoment (also while a defect is
    open), NotPermitted."""
    record = dated(ResourceRecord.model_validate(resource.record))
    write_record(resource, record)
    _advance(session, resource, "publish", by=by, expected_version=expected_version, data=attested(resource))
    review.settle_threads(session, resource, by=by, parties=parties_of(session, by, resource))
    deadlines.end(session, KIND, resource.id, outcome="met", duty=REVIEW)
    publish_version(session, resource)


def dated(record: ResourceRecord, before: ResourceRecord | None = None) -> ResourceRecord:
    """The record with a date of publication (发布日期): its own, else that of the version before, else today's."""
    if record.published_on is not None:
        return record
    first = before.published_on if before else None
    return record.model_copy(update={"published_on": first or now().astimezone(BEIJING).date()})


def publish_version(session: Session, resource: Resource) -> None:
    """Keep the record in force as the next published version."""
    resource.published_version += 1
    session.execute(insert(ResourceVersion), [version_row(resource)])


def return_with_defects(
    session: Session, resource: Resource, *, defects: Sequence[NewDefect], expected_version: int, by: Actor
) -> None:
    """退回: the authority sends a filed record back with every defect at once; the review clock is met.
    Errors: StaleVersion, WrongMoment, NotPermitted, Invalid."""
    data = {"defects": [defect.model_dump() for defect in defects]}
    _advance(session, resource, "return", by=by, expected_version=expected_version, data=data)
    review.raise_defects(session, resource, defects, by=by, parties=parties_of(session, by, resource))
    deadlines.end(session, KIND, resource.id, outcome="met", duty=REVIEW)


def take_out(
    session: Session, resource: Resource, act: str, *, reason: str, expected_version: int, by: Actor
) -> None:
    """暂停 `suspend`, 恢复 `resume` or 撤销 `withdraw` a published resource, with the reason. What agreements
    in force rest on is not withdrawn (809-27). Errors: StaleVersion, WrongMoment, ResourceInUse, NotPermitted."""
    _advance(session, resource, act, by=by, expected_version=expected_version, reason=reason)
    if act == "withdraw":
        require_unused(session, resource.id)
        deadlines.end(session, KIND, resource.id, outcome="cancelled")


def allowed_acts(session: Session, resource: Resource, by: Actor) -> list[str]:
    """The acts that `by` may do now."""
    acts = RESOURCE.allowed(resource.state, parties_of(session, by, resource), by.roles)
    return [act for act in acts if updating.hindrance(session, resource, act) is None]


def mark_review_overdue(session: Session, clock: DeadlineRow) -> None:
    """The authority let its review clock run out (809-17): recorded, for supervision; nothing is deemed."""
    history.record(
        session, kind=clock.kind, subject_id=clock.subject_id, act="review_overdue", by=system_actor("clock"),
        party="clock", basis=clock.legal_basis, data={"due_on": clock.due_on.isoformat()},
    )  # fmt: skip


CONSEQUENCES: dict[str, Consequence] = {REVIEW: mark_review_overdue, **updating.CONSEQUENCES}


def visible_to(by: Actor) -> ColumnElement[bool]:
    """Which resources `by` may know of: open ones anyone, published ones whoever is signed in, all others
    their own agency and the catalog administrators of its authority."""
    if by.kind is ActorKind.SYSTEM:
        return true()
    published = Resource.state == PUBLISHED
    if not reads_for_agency(by):
        return and_(published, Resource.is_open)
    return or_(published, handled_by(by))


def handled_by(by: Actor) -> ColumnElement[bool]:
    """Which resources `by` handles: those of its own agency, and for a catalog administrator those its
    authority reviews. Working copies and defects are told to nobody else."""
    if not reads_for_agency(by):
        return true() if by.kind is ActorKind.SYSTEM else false()
    reviewed = Resource.jurisdiction_id.in_(reviewed_jurisdictions(by)) if reviews(by) else false()
    return or_(Resource.agency_id == by.agency_id, reviewed)


def reads_for_agency(by: Actor) -> bool:
    """Whether `by` reads the catalog as its agency does; a client without that scope reads as anyone."""
    if by.kind is ActorKind.CLIENT:
        return not by.scopes.isdisjoint({Scope.CATALOG, Scope.CLERK})
    return by.kind is ActorKind.PERSON


def reviews(by: Actor) -> bool:
    """Whether `by` reviews records for an authority."""
    return by.is_authority and Role.CATALOG_ADMINISTRATOR in by.roles


def reviewed_jurisdictions(by: Actor) -> Select[UUID]:
    """Query of the jurisdictions that `by`'s authority is the authority of: its own, and those below that
    have none nearer."""
    place, nearer = aliased(Jurisdiction), aliased(Jurisdiction)
    own_level = select(Jurisdiction.level).where(Jurisdiction.id == by.jurisdiction_id).scalar_subquery()
    has_nearer = exists().where(
        nearer.id == any_(place.path), nearer.authority_id.is_not(None), nearer.level > own_level
    )
    return select(place.id).where(literal(by.jurisdiction_id, Uuid) == any_(place.path), ~has_nearer)


def find(session: Session, resource_id: UUID, *, by: Actor) -> Resource:
    """The resource, with its agency, if `by` may know of it. Errors: NotFound."""
    query = select(Resource).options(selectinload(Resource.agency))
    resource = session.scalar(query.where(Resource.id == resource_id, visible_to(by)))
    if resource is None:
        raise NotFound()
    return resource


def parties_of(session: Session, by: Actor, resource: Resource) -> frozenset[Party]:
    """What `by` is to the resource: owner (提供方), authority (主管部门), both or neither."""
    parties: set[Party] = set()
    if by.agency_id is not None and by.agency_id == resource.agency_id:
        parties.add("owner")
    place = literal(resource.jurisdiction_id, Uuid)
    if by.is_authority and session.scalar(select(place.in_(reviewed_jurisdictions(by)))):
        parties.add("authority")
    return frozenset(parties)


def reserve_numbers(session: Session, count: int) -> list[int]:
    """`count` numbers for resource codes, never given again, not even when this transaction fails."""
    numbers = select(func.nextval(RESOURCE_NUMBER.name)).select_from(func.generate_series(1, count))
    return list(session.scalars(numbers))


def columns_of(record: ResourceRecord, stored: Mapping[str, Any], text: str | None = None) -> dict[str, Any]:
    """The columns of `resource` that follow from its record; `stored` is its `stored_form`, and `text` what
    `stored_text` makes of that, where it is known."""
    return {
        "title": record.title,
        "title_en": record.title_en,
        "sharing_type": record.sharing.type,
        "openness": record.openness.type,
        "is_open": record.openness.type is Openness.UNCONDITIONAL,
        "themes": list(record.themes),
        "base_library": record.base_library,
        "update_cycle": record.update_cycle,
        "format_class": record.format.format_class,
        "grade": record.effective_grade,
        "record": stored,
        "content_hash": sha256((text or stored_text(stored)).encode()).digest(),
    }


def replace_items(session: Session, resources: Sequence[Resource]) -> None:
    """Write the items of these resources anew from their records."""
    session.execute(delete(Item).where(Item.resource_id.in_([resource.id for resource in resources])))
    insert_items(session, [(resource.id, resource.record) for resource in resources])


def insert_items(session: Session, resources: Iterable[tuple[UUID, Mapping[str, Any]]]) -> None:
    """Write the rows of `item` for stored records whose items all have codes."""
    columns = (
        "resource_id", "position", "code", "name", "name_en", "definition", "data_type", "sharing_type", "code_list",
        "sensitive", "is_key", "folded_name", "normalisation",
    )  # fmt: skip
    rows = (
        (
            resource_id, position, item["code"], name := item["name"], item.get("name_en"), item.get("definition"),
            item.get("data_type"), item.get("sharing_type"), item.get("code_list"), item.get("sensitive", False),
            item.get("is_key", False), fold_name(name), NORMALISATION_VERSION,
        )
        for resource_id, stored in resources
        for position, item in enumerate(stored.get("items", ()))
    )  # fmt: skip
    copy_rows(session, Item, columns, rows)


def version_row(resource: Resource) -> dict[str, Any]:
    """The row of `resource_version` for the record in force."""
    return {
        "resource_id": resource.id,
        "number": resource.published_version,
        "record": resource.record,
        "content_hash": resource.content_hash,
    }


def published_record(session: Session, resource_id: UUID, number: int) -> ResourceRecord | None:
    """The record as version `number` published it."""
    version = session.get(ResourceVersion, (resource_id, number))
    return ResourceRecord.model_validate(version.record) if version else None


def as_own(
    record: ResourceRecord, owner: Agency, code: str, previous: Sequence[ItemRecord] = ()
) -> ResourceRecord:
    """The record as the agency's own: provider and code are the register's, whatever was sent."""
    provider = Provider(
        name=owner.name, code=owner.credit_code or owner.local_code, department=record.provider.department
    )
    return with_item_codes(record.model_copy(update={"provider": provider, "code": code}), previous)


def write_record(resource: Resource, record: ResourceRecord) -> None:
    for name, value in columns_of(record, stored_form(record)).items():
        setattr(resource, name, value)


def attested(resource: Resource) -> dict[str, Any]:
    """What the ledger attests of the content that was decided on."""
    return {"code": resource.code, "content_sha256": resource.content_hash.hex()}


def _advance(
    session: Session,
    resource: Resource,
    act: str,
    *,
    by: Actor,
    expected_version: int,
    reason: str | None = None,
    data: Mapping[str, Any] | None = None,
) -> None:
    parties = parties_of(session, by, resource)
    history.advance(
        session, resource, RESOURCE, act, by=by, parties=parties, expected_version=expected_version,
        reason=reason, data=data,
    )  # fmt: skip


def _new_code(session: Session, record: ResourceRecord) -> str:
    return f"{record.classification.prefix}/{reserve_numbers(session, 1)[0]:06d}"
