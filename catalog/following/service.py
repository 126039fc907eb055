"""What people and systems follow, and the reading of the change log that tells them what changed in it.

Owns saved searches, followings and what is told. Others who pass events on (the feed, webhooks) ask `followed`.
A change is told only of what is or was published, which whoever may follow may read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import and_, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, selectinload

from app.identity import agencies
from app.identity.models import Agency
from app.kernel import history
from app.kernel.actor import Actor
from app.kernel.clock import new_id, now
from app.kernel.db import Database, advisory_lock
from app.kernel.errors import Conflict, Fault, Invalid, NotFound, NotPermitted
from app.kernel.history import Event
from app.kernel.text import Text
from catalog.following.models import FollowedChange, Following, FollowPosition, SavedSearch
from catalog.resources import service as resources
from catalog.resources.models import Resource
from catalog.resources.states import LISTED, PUBLISHED, RESOURCE, WITHDRAWN
from catalog.search.document import SearchDocument
from catalog.search.indexing import document_of
from catalog.text import bigrams, fold, token_spans

TOLD = frozenset({"publish", "revise", "suspend", "resume", "withdraw", "import_published", "import_change"})
CONTENT = frozenset({"publish", "revise", "resume", "import_published", "import_change"})
MOST = 200  # followings of one follower, and their saved searches
EVENTS_AT_ONCE = 500

Target = Resource | Agency | SavedSearch


def save_search(session: Session, *, name: str, asked: dict[str, Any], by: Actor) -> SavedSearch:
    """Keep a search. Errors: Conflict (too many)."""
    owner = _follower(by)
    _require_room(session, select(func.count()).where(SavedSearch.owner_id == owner))
    saved = SavedSearch(id=new_id(), created_at=now(), owner_id=owner, name=name, asked=asked)
    session.add(saved)
    session.flush()
    return saved


def find_search(session: Session, search_id: UUID, *, by: Actor) -> SavedSearch:
    """A search of one's own. Errors: NotFound."""
    query = select(SavedSearch).where(SavedSearch.id == search_id, SavedSearch.owner_id == by.id)
    saved = session.scalar(query)
    if saved is None:
        raise NotFound()
    return saved


def follow(
    session: Session,
    *,
    resource_id: UUID | None = None,
    agency_id: UUID | None = None,
    search_id: UUID | None = None,
    by: Actor,
) -> Following:
    """Follow one thing; followed already, it stays as it is. Errors: Invalid (not exactly one), NotFound, Conflict."""
    if sum(one is not None for one in (resource_id, agency_id, search_id)) != 1:
        message = Text(
            "须且只能写明一项：资源、单位或已存检索",
            "name exactly one: a resource, an agency or a saved search",
        )
        raise Invalid(faults=[Fault("", message)])
    if resource_id is not None:
        resources.find(session, resource_id, by=by)
    if agency_id is not None:
        agencies.agency(session, agency_id)
    if search_id is not None:
        find_search(session, search_id, by=by)
    follower = _follower(by)
    wanted = {"resource_id": resource_id, "provider_id": agency_id, "search_id": search_id}
    _require_room(session, select(func.count()).where(Following.follower_id == follower))
    session.execute(
        insert(Following)
        .values(
            id=new_id(),
            created_at=now(),
            follower_id=follower,
            follower_kind=by.kind,
            agency_id=by.agency_id,
            **wanted,
        )
        .on_conflict_do_nothing()
    )
    same = and_(*(getattr(Following, name).is_not_distinct_from(value) for name, value in wanted.items()))
    return session.scalars(
        select(Following)
        .where(Following.follower_id == follower, same)
        .options(selectinload(Following.search))
    ).one()


def find_following(session: Session, following_id: UUID, *, by: Actor) -> Following:
    """A following of one's own. Errors: NotFound."""
    found = session.scalar(
        select(Following).where(Following.id == following_id, Following.follower_id == by.id)
    )
    if found is None:
        raise NotFound()
    return found


def list_followings(session: Session, *, by: Actor) -> list[Following]:
    """One's own followings, newest first."""
    query = select(Following).where(Following.follower_id == by.id).options(selectinload(Following.search))
    return list(session.scalars(query.order_by(Following.id.desc())))


def name_of(session: Session, following: Following) -> Text:
    """What is followed, by name."""
    if following.search is not None:
        return Text(following.search.name, following.search.name)
    if following.resource_id is not None:
        row = session.get_one(Resource, following.resource_id)
        return Text(row.title, row.title_en or row.title)
    assert following.provider_id is not None
    agency = session.get_one(Agency, following.provider_id)
    return Text(agency.name, agency.name_en or agency.name)


@dataclass(frozen=True, slots=True)
class Told:
    """One change as a follower reads it."""

    change: FollowedChange
    event: Event
    resource: Resource


def changes_told(session: Session, *, by: Actor, unread: bool, before: UUID | None, limit: int) -> list[Told]:
    """What changed in what one follows, newest first. A resource one may know of no more shows only that it was
    taken out."""
    query = (
        select(FollowedChange, Event, Resource)
        .join(Following, Following.id == FollowedChange.following_id)
        .join(Event, Event.id == FollowedChange.event_id)
        .join(Resource, Resource.id == FollowedChange.resource_id)
        .options(selectinload(FollowedChange.following).selectinload(Following.search))
        .where(
            Following.follower_id == by.id,
            or_(resources.visible_to(by), Event.act.in_(("suspend", "withdraw"))),
        )
    )
    if unread:
        query = query.where(FollowedChange.read_at.is_(None))
    if before is not None:
        query = query.where(FollowedChange.id < before)
    rows = session.execute(query.order_by(FollowedChange.id.desc()).limit(limit))
    return [Told(change, event, resource) for change, event, resource in rows]


def mark_read(session: Session, *, up_to: UUID, by: Actor) -> int:
    """Mark everything up to and including an entry of one's own as read; returns how many were not."""
    mine = select(Following.id).where(Following.follower_id == by.id)
    done = (
        update(FollowedChange)
        .where(
            FollowedChange.following_id.in_(mine),
            FollowedChange.id <= up_to,
            FollowedChange.read_at.is_(None),
        )
        .values(read_at=now())
        .returning(FollowedChange.id)
        .execution_options(synchronize_session=False)
    )
    return len(session.scalars(done).all())


def tell_followers(database: Database) -> int:
    """Read the change log on, in commit order, and write what followers are to hear; returns how many entries.
    The place reached is committed with them, so a kill neither loses nor doubles one. Runs in the worker."""
    with database.transaction() as session:
        advisory_lock(session, "catalog.following")
        place = session.get(FollowPosition, True)
        if place is None:  # who follows from now on hears of what comes
            start = int(
                session.execute(text("SELECT pg_snapshot_xmin(pg_current_snapshot())::text")).scalar_one()
            )
            session.add(FollowPosition(single=True, transaction=start, position=0))
            return 0
        events = history.events_after(session, (place.transaction, place.position), limit=EVENTS_AT_ONCE)
        if not events:
            return 0
        place.transaction, place.position = int(events[-1].transaction), events[-1].position
        return sum(
            _tell(session, event) for event in events if event.kind == RESOURCE.kind and _is_told(event)
        )


def followed(session: Session, events: Iterable[Event], *, agency_id: UUID | None) -> set[UUID]:
    """Those of the events that followings of an agency's people and systems are about, as each of them is told."""
    told = [event for event in events if event.kind == RESOURCE.kind and _is_told(event)]
    if not told or agency_id is None:
        return set()
    ours = select(Following).where(Following.agency_id == agency_id).options(selectinload(Following.search))
    followings = list(session.scalars(ours))
    if not followings:
        return set()
    query = select(Resource).where(Resource.id.in_({event.subject_id for event in told}))
    rows = {row.id: row for row in session.scalars(query)}
    return {event.id for event in told if _concerns(session, followings, rows[event.subject_id], event)}


def _concerns(session: Session, followings: Sequence[Following], resource: Resource, event: Event) -> bool:
    since = [one for one in followings if one.created_at <= event.at]
    if any(one.resource_id == resource.id or one.provider_id == resource.agency_id for one in since):
        return True
    searches = [one.search for one in since if one.search is not None]
    if not searches or event.act not in CONTENT or resource.state != PUBLISHED:
        return False
    document = document_of(session, resource.id)
    return any(finds(search.asked, document) for search in searches)


def _is_told(event: Event) -> bool:
    return event.act in TOLD and event.state_to in (*LISTED, WITHDRAWN)


def _tell(session: Session, event: Event) -> int:
    resource = session.get(Resource, event.subject_id)
    assert resource is not None
    concerned = or_(Following.resource_id == resource.id, Following.provider_id == resource.agency_id)
    query = select(Following.id).where(concerned, Following.created_at <= event.at)
    wanted = {*session.scalars(query), *_searching(session, resource, event)}
    rows = [
        {
            "id": new_id(),
            "created_at": now(),
            "following_id": following,
            "event_id": event.id,
            "resource_id": resource.id,
        }
        for following in sorted(wanted)
    ]
    if rows:
        session.execute(insert(FollowedChange).on_conflict_do_nothing(), rows)
    return len(rows)


def _searching(session: Session, resource: Resource, event: Event) -> list[UUID]:
    """The followings of searches that find the resource as it is now."""
    if event.act not in CONTENT or resource.state != PUBLISHED:
        return []
    query = select(Following.id, SavedSearch.asked).join(SavedSearch, SavedSearch.id == Following.search_id)
    searches = session.execute(query.where(Following.created_at <= event.at)).all()
    if not searches:
        return []
    document = document_of(session, resource.id)
    return [following for following, asked in searches if finds(asked, document)]


def finds(asked: dict[str, Any], document: SearchDocument) -> bool:
    """Whether a saved search finds a document: every word of it is there and every filter holds."""
    everything = " ".join(
        (document.title, document.title_en, document.abstract, *document.keywords, document.agency_name,
         document.code, *document.items)
    )  # fmt: skip
    held = {token for token, _, _ in token_spans(fold(everything))}
    values: dict[str, Sequence[str]] = {
        "agency": [document.agency_id], "jurisdiction": [document.jurisdiction], "theme": document.themes,
        "item": list(map(fold, document.items)), "freshness": ["week"],  # it has just changed
        **{
            name: [getattr(document, name)]
            for name in ("sharing_type", "openness", "base_library", "update_cycle", "format", "mode", "grade", "state")
        },
    }  # fmt: skip
    filters = {name: wanted for name, wanted in asked.items() if name in values}
    return set(bigrams(str(asked.get("q", "")))) <= held and all(
        {fold(str(each)) for each in wanted} & set(values[name]) for name, wanted in filters.items()
    )


def _follower(by: Actor) -> UUID:
    if by.id is None:
        raise NotPermitted()
    return by.id


def _require_room(session: Session, counted: Any) -> None:
    if (session.scalar(counted) or 0) >= MOST:
        raise Conflict(Text("最多 {n} 项。", "At most {n} of these.").with_(n=MOST))
