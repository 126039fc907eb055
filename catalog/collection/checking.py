"""The check of planned items against what the catalog publishes now.

Owns the profiles a process keeps in memory and when they are built anew. Reads published resources only.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Engine, exists, select, text
from sqlalchemy.orm import Session

from app.identity.models import Agency
from catalog.collection import links
from catalog.collection.adequacy import Held, Wanted, adequacy
from catalog.collection.knowledge import ALIASES, MODEL, Knowledge, stored_model
from catalog.collection.matching import CatalogProfiles, Match, PlanCheck, PlanContext
from catalog.collection.meaning import Encoder
from catalog.collection.normalise import name_key
from catalog.collection.profiles import CatalogIndex, ItemProfile
from catalog.collection.record import (
    Candidate,
    CoverageRecord,
    CoveringRecord,
    PlannedItemRecord,
    Supplied,
    item_code_of,
    profile_id,
)
from catalog.collection.scoring import Context
from catalog.resources.codes import SharingType, UpdateCycle
from catalog.resources.models import Item, Resource
from catalog.resources.states import PUBLISHED

CANDIDATES = 3  # told of each item
_MATCHES = 50  # looked through for the item by which a covering resource covers
_READ_ROWS = 5_000


@dataclass(frozen=True, slots=True)
class _Kept:
    """Profiles, the database snapshot before which every change of the catalog is in them, and which decisions."""

    snapshot: str
    decisions: str
    profiles: CatalogProfiles


_kept: weakref.WeakKeyDictionary[Engine, _Kept] = weakref.WeakKeyDictionary()
_encoders: weakref.WeakKeyDictionary[Engine, Encoder] = weakref.WeakKeyDictionary()
_building = threading.Lock()


def use_meaning(engine: Engine, encoder: Encoder) -> None:
    """Have check and audit of this database compare names by meaning too, by the model that was fitted with it."""
    with _building:
        _encoders[engine] = encoder
        _kept.pop(engine, None)


def encoder_of(session: Session) -> Encoder | None:
    """What this process compares names of the session's database by, besides spelling."""
    return _encoders.get(session.get_bind().engine)


def catalog_profiles(session: Session) -> CatalogProfiles:
    """What the catalog publishes, as committed or as this transaction has changed it. Only what was published,
    taken out or ruled since the last look is read again; one thread at a time does it."""
    engine = session.get_bind().engine
    with _building:
        kept = _kept.get(engine)
        now_, ruled = snapshot(session), decisions(session)
        if kept is None:
            index = CatalogIndex(published_profiles(session), encoder_of(session))
            profiles = CatalogProfiles(index, knowledge(session))
        else:
            profiles = kept.profiles
            changed = changed_since(session, kept.snapshot)
            if changed or ruled != kept.decisions:
                known = None if ruled == kept.decisions else knowledge(session)
                renewed = published_profiles(session, changed) if changed else ()
                profiles = profiles.with_changes(map(str, changed), renewed, known)
        # What this transaction itself published may yet be rolled back: it is not for others.
        if not _changed_here(session):
            _kept[engine] = _Kept(now_, ruled, profiles)
        return profiles


def snapshot(session: Session) -> str:
    """What is visible now, to ask later what came after it."""
    return str(session.scalar(text("SELECT CAST(pg_current_snapshot() AS text)")))


def decisions(session: Session) -> str:
    """Which decisions of people there are; another value means others."""
    return str(session.scalar(text("SELECT concat(count(*), ' ', max(CAST(id AS text))) FROM item_link")))


def knowledge(session: Session) -> Knowledge:
    """What is known before any catalog is read, with the model of the encoder in use, and what people have decided
    since; the later word counts."""
    same: dict[frozenset[str], bool] = {}
    in_context: dict[frozenset[tuple[str, str]], bool] = {}
    for link in links.decided(session):
        left, right = name_key(link.left_name), name_key(link.right_name)
        if left == right:  # the name alone decides nothing: the next resource may mean another thing by it
            said = (Context(title=link.left_topic).said, Context(title=link.right_topic).said)
            in_context[frozenset({(left, said[0]), (right, said[1])})] = link.verdict == "same"
        else:
            same[frozenset({left, right})] = link.verdict == "same"
    return Knowledge(
        aliases=(*ALIASES, *(tuple(sorted(pair)) for pair, is_same in same.items() if is_same)),
        different=frozenset(pair for pair, is_same in same.items() if not is_same),
        in_context=in_context,
        model=MODEL if encoder_of(session) is None else stored_model(embeddings=True),
    )


# By snapshot and not by the last event's number: numbers are not handed out in the order of commits.
_PUBLICATIONS = "FROM event WHERE kind = 'resource' AND 'published' IN (state_from, state_to)"
_SINCE = text(
    f"SELECT DISTINCT subject_id {_PUBLICATIONS} AND transaction >= pg_snapshot_xmin(CAST(:snapshot AS pg_snapshot))"
    " AND NOT pg_visible_in_snapshot(transaction, CAST(:snapshot AS pg_snapshot))"
)
_HERE = text(f"SELECT EXISTS (SELECT {_PUBLICATIONS} AND transaction = pg_current_xact_id_if_assigned())")


def changed_since(session: Session, before: str) -> list[UUID]:
    """Resources published or taken out after a snapshot."""
    return list(session.scalars(_SINCE, {"snapshot": before}))


def _changed_here(session: Session) -> bool:
    return bool(session.scalar(_HERE))


def published_profiles(session: Session, resources: Sequence[UUID] | None = None) -> Iterator[ItemProfile]:
    """The items of all published resources, or of these. Whom a resource describes its title says: the record
    has no field for it."""
    query = (
        select(
            Item.resource_id, Item.code, Item.name, Item.definition, Item.data_type, Item.code_list, Item.is_key,
            Item.sharing_type, Resource.title, Resource.sharing_type.label("resource_sharing"),
            Resource.agency_id, Agency.name.label("agency_name"),
        )
        .join(Resource, Resource.id == Item.resource_id)
        .join(Agency, Agency.id == Resource.agency_id)
        .where(Resource.state == PUBLISHED)
        .order_by(Item.resource_id, Item.position)
    )  # fmt: skip
    if resources is not None:
        query = query.where(Resource.id.in_(resources))
    for row in session.execute(query.execution_options(yield_per=_READ_ROWS)):
        yield ItemProfile(
            id=profile_id(row.resource_id, row.code), name=row.name, resource_id=str(row.resource_id),
            resource_title=row.title, agency_id=str(row.agency_id), agency_name=row.agency_name,
            definition=row.definition or "", data_type=row.data_type or "", code_list=row.code_list or "",
            is_identifier=row.is_key, sharing_type=row.sharing_type or row.resource_sharing or "",
        )  # fmt: skip


def check_items(session: Session, items: Sequence[PlannedItemRecord], context: PlanContext) -> PlanCheck:
    """Every item compared with the catalog, its matches best first, and the resources that cover the plan."""
    return catalog_profiles(session).check_plan([item.compared for item in items], context, _MATCHES)


def candidates(
    session: Session, check: PlanCheck, wanted: Sequence[Wanted], *, asking: UUID | None
) -> list[tuple[Candidate, ...]]:
    """Of each item its best matches as they are told to an agency, with what would do and what would not."""
    best = [item.matches[:CANDIDATES] for item in check.items]
    resources = {UUID(match.profile.resource_id) for matches in best for match in matches}
    rows = session.execute(
        select(
            Resource.id, Resource.title, Resource.update_cycle, Resource.record["temporal"].astext.label("temporal"),
            Resource.record["spatial"].astext.label("spatial"),
            exists().where(Item.resource_id == Resource.id, Item.is_key).label("identified"),
        ).where(Resource.id.in_(resources))
    )  # fmt: skip
    held = {str(row.id): row for row in rows}

    def told(match: Match, would_do: Wanted) -> Candidate:
        row, item = held[match.profile.resource_id], match.profile
        existing = Held(
            title=row.title, cycle=UpdateCycle(row.update_cycle) if row.update_cycle else None,
            temporal=row.temporal or "", spatial=row.spatial or "", identified=row.identified, code_list=item.code_list,
            sharing=SharingType(item.sharing_type) if item.sharing_type else None,
        )  # fmt: skip
        return Candidate.of(match, adequacy(would_do, existing, match.reasons), asking=asking)

    return [tuple(told(match, one) for match in matches) for matches, one in zip(best, wanted, strict=True)]


def coverage(check: PlanCheck) -> CoverageRecord:
    """The covering resources with the items by which they cover."""
    found = []
    for covering in check.coverage.resources:
        held = {
            position: match.profile
            for position in covering.items
            for match in reversed(check.items[position].matches)  # the best comes last and stays
            if match.profile.resource_id == covering.resource_id and match.band == "reuse_expected"
        }
        first = held[covering.items[0]]
        found.append(
            CoveringRecord(
                resource_id=UUID(first.resource_id), title=first.resource_title, agency_id=UUID(first.agency_id),
                agency_name=first.agency_name, sharing_type=SharingType(covering.sharing_type) if covering.sharing_type else None,
                items=tuple(Supplied(position=p, item_code=item_code_of(held[p].id)) for p in covering.items),
            )
        )  # fmt: skip
    return CoverageRecord(resources=tuple(found), share=check.coverage.share)
