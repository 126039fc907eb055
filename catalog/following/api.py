"""REST of following: saved searches, what one follows, and what changed in it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import Field
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.identity.cases import Asked, guarded
from app.identity.permissions import permit, permitted
from app.kernel.actor import Actor, Scope
from app.kernel.db import DbSession
from app.kernel.idempotency import ONCE, CreatingRoute
from app.kernel.wire import Label, Page, Paging, ShortText, Wire, encode_cursor
from catalog.following import service
from catalog.following.models import FollowedChange, Following, SavedSearch
from catalog.following.service import Told
from catalog.resources import service as resources
from catalog.resources.api import ChangeOut
from catalog.resources.changes import changes_between
from catalog.resources.states import ACTS
from catalog.search import api as search

router = APIRouter(prefix="/api/v1", tags=["following"], route_class=CreatingRoute)

permit(
    "saved_search.list",
    "saved_search.save",
    "saved_search.remove",
    "following.list",
    "following.follow",
    "following.unfollow",
    "following.changes",
    "following.mark_read",
    scope=Scope.CATALOG,
)

CHANGES_SHOWN = 20
_NOT_KEPT = {"facets", "cursor", "limit"}


class NewSearch(Wire):
    """A search to keep under a name, as `GET /api/v1/search` takes it."""

    name: ShortText
    asked: search.Asked


class SearchSaved(Wire):
    """A search that is kept; `asked` holds what is set."""

    id: UUID
    name: str
    asked: dict[str, Any]
    created_at: datetime


class NewFollowing(Wire):
    """What to follow: one of these."""

    resource_id: UUID | None = None
    agency_id: UUID | None = None
    search_id: UUID | None = None


class FollowingOut(Wire):
    """What is followed, by name."""

    id: UUID
    kind: Literal["resource", "agency", "search"]
    target_id: UUID
    name: Label
    created_at: datetime


class FollowedOut(Wire):
    """One change in what one follows. `changes` are told where a version followed another, the first few."""

    id: UUID
    at: datetime
    act: str
    act_name: Label
    resource_id: UUID
    code: str
    title: str
    reason: str | None
    following: FollowingOut
    changes: list[ChangeOut]
    read: bool


class Unread(Paging):
    """`unread` keeps what was not marked as read."""

    unread: bool = False


class UpTo(Wire):
    """The newest entry that was read."""

    up_to: UUID


class Marked(Wire):
    marked: Annotated[int, Field(ge=0)]


def _my_search(operation: str) -> Any:
    return guarded(operation, service.find_search)


@router.get("/saved-searches", operation_id="saved_search.list")
def list_searches(
    session: DbSession, actor: Annotated[Actor, permitted("saved_search.list")]
) -> list[SearchSaved]:
    """One's own saved searches, newest first."""
    query = select(SavedSearch).where(SavedSearch.owner_id == actor.id).order_by(SavedSearch.id.desc())
    return [SearchSaved.model_validate(row) for row in session.scalars(query)]


@router.post("/saved-searches", operation_id="saved_search.save", status_code=201, openapi_extra=ONCE)
def save_search(
    body: NewSearch, session: DbSession, actor: Annotated[Actor, permitted("saved_search.save")]
) -> SearchSaved:
    """Keep a search; follow it to hear of what it finds."""
    asked = body.asked.model_dump(mode="json", exclude_defaults=True, exclude=_NOT_KEPT)
    return SearchSaved.model_validate(service.save_search(session, name=body.name, asked=asked, by=actor))


@router.delete("/saved-searches/{id}", operation_id="saved_search.remove", status_code=204)
def remove_search(asked: Annotated[Asked[SavedSearch], _my_search("saved_search.remove")]) -> None:
    """Forget a search, and with it that it is followed."""
    asked.session.execute(delete(SavedSearch).where(SavedSearch.id == asked.case.id))


@router.get("/followings", operation_id="following.list")
def list_followings(
    session: DbSession, actor: Annotated[Actor, permitted("following.list")]
) -> list[FollowingOut]:
    """What one follows, newest first."""
    return [_following(session, row) for row in service.list_followings(session, by=actor)]


@router.post("/followings", operation_id="following.follow", status_code=201, openapi_extra=ONCE)
def follow(
    body: NewFollowing, session: DbSession, actor: Annotated[Actor, permitted("following.follow")]
) -> FollowingOut:
    """关注 a resource, an agency or a saved search of one's own."""
    made = service.follow(
        session, resource_id=body.resource_id, agency_id=body.agency_id, search_id=body.search_id, by=actor
    )
    return _following(session, made)


@router.delete("/followings/{id:uuid}", operation_id="following.unfollow", status_code=204)
def unfollow(
    asked: Annotated[Asked[Following], guarded("following.unfollow", service.find_following)],
) -> None:
    """取消关注; what was told of it goes too."""
    asked.session.execute(delete(Following).where(Following.id == asked.case.id))


@router.get("/followings/changes", operation_id="following.changes")
def list_changes(
    session: DbSession,
    actor: Annotated[Actor, permitted("following.changes")],
    chosen: Annotated[Unread, Query()],
) -> Page[FollowedOut]:
    """What changed in what one follows, newest first."""
    told = service.changes_told(
        session, by=actor, unread=chosen.unread, before=chosen.before, limit=chosen.fetch
    )
    shown = told[: chosen.limit]
    following = encode_cursor(shown[-1].change.id) if len(told) > chosen.limit else None
    return Page(items=[_entry(session, one) for one in shown], next=following)


@router.post("/followings/changes/read", operation_id="following.mark_read")
def mark_read(
    body: UpTo, session: DbSession, actor: Annotated[Actor, permitted("following.mark_read")]
) -> Marked:
    """Mark everything up to an entry as read."""
    return Marked(marked=service.mark_read(session, up_to=body.up_to, by=actor))


def _following(session: Session, row: Following) -> FollowingOut:
    kind: Literal["resource", "agency", "search"] = (
        "resource" if row.resource_id else "agency" if row.provider_id else "search"
    )
    target = row.resource_id or row.provider_id or row.search_id
    assert target is not None
    return FollowingOut(
        id=row.id, kind=kind, target_id=target, name=Label.of(service.name_of(session, row)), created_at=row.created_at
    )  # fmt: skip


def _entry(session: Session, told: Told) -> FollowedOut:
    change: FollowedChange = told.change
    return FollowedOut(
        id=change.id, at=told.event.at, act=told.event.act, act_name=Label.of(ACTS[told.event.act]),
        resource_id=told.resource.id, code=told.resource.code, title=told.resource.title, reason=told.event.reason,
        following=_following(session, change.following), changes=_changes(session, told),
        read=change.read_at is not None,
    )  # fmt: skip


def _changes(session: Session, told: Told) -> list[ChangeOut]:
    number = told.event.data.get("number") if told.event.act == "revise" else None
    if not isinstance(number, int):
        return []
    records = [resources.published_record(session, told.resource.id, n) for n in (number - 1, number)]
    before, after = records
    if before is None or after is None:
        return []
    return [ChangeOut.of(change) for change in changes_between(before, after)[:CHANGES_SHOWN]]
