"""Working copies (修订稿): how a published record is changed, reviewed and becomes the next version.

Owns the copy. Until it is published the record in force stays as it is, for everyone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from app.identity import agencies
from app.kernel import deadlines, history
from app.kernel.actor import Actor
from app.kernel.errors import Conflict, Fault, NotFound, WrongMoment
from app.kernel.text import Text
from catalog.resources import review, service, updating
from catalog.resources.models import Defect, Resource, Revision
from catalog.resources.record import GUIDE, ResourceRecord, check_record, content_hash
from catalog.resources.review import FilingStatement, NewDefect
from catalog.resources.states import (
    DEFECT,
    LISTED,
    OPEN_REVISION,
    RESOURCE,
    REVIEW,
    REVISION,
    defect_hindrance,
)

KIND = REVISION.kind


class AlreadyOpen(Conflict):
    """A resource has one working copy at a time."""

    slug = "revision-open"
    title = Text("该资源已有修订稿", "A working copy of this resource is open")


def open_revision(session: Session, resource: Resource, *, reason: str, by: Actor) -> Revision:
    """A working copy of what is published. Errors: WrongMoment, AlreadyOpen, NotPermitted."""
    session.refresh(resource, with_for_update=True)
    parties = service.parties_of(session, by, resource)
    if resource.state not in LISTED:
        raise history.wrong_moment(RESOURCE, resource.state, "revise", by, parties)
    if (standing := revision_of(session, resource.id)) is not None:
        raise AlreadyOpen(revision=str(standing.id))
    revision = Revision(
        resource_id=resource.id, jurisdiction_id=resource.jurisdiction_id, base_version=resource.published_version,
        reason=reason, record=resource.record, content_hash=resource.content_hash,
    )  # fmt: skip
    data = _attested(revision) | {"base_version": revision.base_version}
    history.create(session, revision, REVISION, "open", by=by, parties=parties, reason=reason, data=data)
    return revision


def revision_of(session: Session, resource_id: UUID) -> Revision | None:
    """The open working copy of a resource."""
    query = select(Revision).where(Revision.resource_id == resource_id, Revision.state.in_(OPEN_REVISION))
    return session.scalar(query)


def find_revision(session: Session, revision_id: UUID, *, by: Actor) -> Revision:
    """The working copy with its resource, if `by` handles that. Errors: NotFound."""
    query = (
        select(Revision)
        .join(Resource, Resource.id == Revision.resource_id)
        .options(selectinload(Revision.resource).selectinload(Resource.agency))
        .where(Revision.id == revision_id, service.handled_by(by))
    )
    revision = session.scalar(query)
    if revision is None:
        raise NotFound()
    return revision


def list_revisions(
    session: Session,
    *,
    by: Actor,
    resource_id: UUID | None,
    state: str | None,
    before: UUID | None,
    limit: int,
) -> list[Revision]:
    """Working copies that `by` handles, newest first."""
    query = (
        select(Revision)
        .join(Resource, Resource.id == Revision.resource_id)
        .options(selectinload(Revision.resource).selectinload(Resource.agency))
        .where(service.handled_by(by))
    )
    if resource_id is not None:
        query = query.where(Revision.resource_id == resource_id)
    if state is not None:
        query = query.where(Revision.state == state)
    if before is not None:
        query = query.where(Revision.id < before)
    return list(session.scalars(query.order_by(Revision.id.desc()).limit(limit)))


def edit(
    session: Session, revision: Revision, *, record: ResourceRecord, expected_version: int, by: Actor
) -> None:
    """Replace the working copy, written against the version published now. The code stays, and with it the
    classification. Errors: StaleVersion, WrongMoment, NotPermitted, Invalid."""
    resource = revision.resource
    in_force = ResourceRecord.model_validate(resource.record)
    completed = service.as_own(
        record, agencies.agency(session, resource.agency_id), resource.code, in_force.items
    )
    if in_force.published_on is not None:  # the date of the first publication stands where no other is stated
        completed = service.dated(completed, in_force)
    data = {"content_sha256": content_hash(completed).hex()}
    _advance(session, revision, "edit", by=by, expected_version=expected_version, data=data)
    faults = check_record(completed, for_filing=False)
    prefix = completed.classification.prefix
    if prefix != in_force.classification.prefix:
        message = Text(
            "分类“{prefix}”与已发布的资源代码“{code}”不符，资源代码不变",
            "the classification “{prefix}” does not fit the published code “{code}”, which stays",
        )
        faults.append(Fault("/classification", message.with_(prefix=prefix, code=resource.code), GUIDE))
    review.require(faults)
    _keep(revision, completed)
    revision.base_version = resource.published_version


def file(
    session: Session, revision: Revision, *, statement: FilingStatement, expected_version: int, by: Actor
) -> None:
    """报送: hand the working copy to the authority; its clock starts, the agency's stands still (809-17).
    Errors: StaleVersion, WrongMoment, NotPermitted, Invalid naming everything that is missing."""
    data = {**_attested(revision), "statement": statement.model_dump(mode="json")}
    _advance(session, revision, "file", by=by, expected_version=expected_version, data=data)
    _require_current(revision)
    parties = service.parties_of(session, by, revision.resource)
    review.require_fileable(session, revision, statement, by=by, parties=parties)
    if revision.content_hash == revision.resource.content_hash:
        message = Text("与已发布的第 {n} 版相同，没有修改", "the same as version {n}, which is published")
        rule = Text("809 第十七条 目录更新", "Decree 809 Art. 17, update of the catalog")
        review.require([Fault("/record", message.with_(n=revision.base_version), rule)])
    review.write_filing(session, revision, statement, by=by)
    updating.pause(session, revision.resource)


def return_with_defects(
    session: Session, revision: Revision, *, defects: Sequence[NewDefect], expected_version: int, by: Actor
) -> None:
    """退回 with every defect at once. Errors: StaleVersion, WrongMoment, NotPermitted, Invalid."""
    data = {"defects": [defect.model_dump() for defect in defects]}
    _advance(session, revision, "return", by=by, expected_version=expected_version, data=data)
    parties = service.parties_of(session, by, revision.resource)
    review.raise_defects(session, revision, defects, by=by, parties=parties)
    deadlines.end(session, KIND, revision.id, outcome="met", duty=REVIEW)
    updating.resume(session, revision.resource)


def publish(session: Session, revision: Revision, *, expected_version: int, by: Actor) -> None:
    """审核发布: what was filed becomes the record in force and the next version; the update clock is met.
    Errors: StaleVersion, WrongMoment, NotPermitted, Invalid (an item that was agreed on meanwhile)."""
    resource = revision.resource
    session.refresh(resource, with_for_update=True)
    record = service.dated(
        ResourceRecord.model_validate(revision.record), ResourceRecord.model_validate(resource.record)
    )
    _keep(revision, record)
    _advance(session, revision, "publish", by=by, expected_version=expected_version, data=_attested(revision))
    _require_current(revision)
    review.require(review.agreed_faults(session, revision, record))
    parties = service.parties_of(session, by, resource)
    review.settle_threads(session, revision, by=by, parties=parties)
    data = {**_attested(revision), "revision": str(revision.id), "number": resource.published_version + 1}
    history.advance(
        session, resource, RESOURCE, "revise", by=by, parties=frozenset({"revision"}), reason=revision.reason, data=data
    )  # fmt: skip
    service.write_record(resource, record)
    service.replace_items(session, [resource])
    service.publish_version(session, resource)
    deadlines.end(session, KIND, revision.id, outcome="met", duty=REVIEW)
    updating.meet(session, resource)


def discard(
    session: Session, revision: Revision, *, reason: str | None, expected_version: int, by: Actor
) -> None:
    """Give the working copy up; the duty to update, where there is one, runs on.
    Errors: StaleVersion, WrongMoment, NotPermitted."""
    _advance(session, revision, "discard", by=by, expected_version=expected_version, reason=reason)


def allowed_acts(session: Session, revision: Revision, by: Actor) -> list[str]:
    """The acts that `by` may do now."""
    return REVISION.allowed(revision.state, service.parties_of(session, by, revision.resource), by.roles)


def find_defect(session: Session, defect_id: UUID, *, by: Actor) -> Defect:
    """The thread with the resource it is about, if `by` handles that. Errors: NotFound."""
    query = (
        select(Defect)
        .join(Resource, Resource.id == Defect.resource_id)
        .options(selectinload(Defect.resource), selectinload(Defect.revision).selectinload(Revision.resource))
        .where(Defect.id == defect_id, service.handled_by(by))
    )
    defect = session.scalar(query)
    if defect is None:
        raise NotFound()
    return defect


def say(session: Session, defect: Defect, act: str, *, text: str, expected_version: int, by: Actor) -> None:
    """Answer a thread, confirm it, open it again or drop it. Errors: StaleVersion, WrongMoment, NotPermitted."""
    parties = service.parties_of(session, by, defect.resource)
    history.advance(
        session, defect, DEFECT, act, by=by, parties=parties, expected_version=expected_version, reason=text
    )  # fmt: skip
    case = defect.revision or defect.resource
    if why := defect_hindrance(act, case.state):
        raise WrongMoment(why, state=case.state)


def _require_current(revision: Revision) -> None:
    """An import may have published another version meanwhile."""
    now_published = revision.resource.published_version
    if revision.base_version != now_published:
        message = Text(
            "修订稿依据第 {base} 版，现已发布第 {now} 版，请重新修改保存后再报送。",
            "The working copy was written against version {base}; version {now} is published. Edit it again.",
        )
        raise WrongMoment(message.with_(base=revision.base_version, now=now_published), state=revision.state)


def _keep(revision: Revision, record: ResourceRecord) -> None:
    revision.record = record.model_dump(mode="json", exclude_defaults=True)
    revision.content_hash = content_hash(record)


def _attested(revision: Revision) -> dict[str, Any]:
    return {"resource": str(revision.resource_id), "content_sha256": revision.content_hash.hex()}


def _advance(
    session: Session,
    revision: Revision,
    act: str,
    *,
    by: Actor,
    expected_version: int,
    reason: str | None = None,
    data: Mapping[str, Any] | None = None,
) -> None:
    history.advance(
        session, revision, REVISION, act, by=by, parties=service.parties_of(session, by, revision.resource),
        expected_version=expected_version, reason=reason, data=data,
    )  # fmt: skip
