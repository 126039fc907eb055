"""Quality measured and kept up: of one resource when asked, of all by the worker; addresses checked with care.

Owns the scores. Measures nothing that is not published or suspended, and calls an address once a week at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import delete, literal, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, selectinload

from app.kernel import history
from app.kernel.actor import Actor
from app.kernel.clock import now
from app.kernel.db import Database, advisory_lock
from app.kernel.outbound import NotReachable, Outbound
from catalog.quality.models import Link, Quality, QualityPosition
from catalog.quality.scoring import Facts, Measure, measure, urls_of
from catalog.resources import service as resources
from catalog.resources.models import Resource
from catalog.resources.record import ResourceRecord
from catalog.resources.states import LISTED, RESOURCE
from catalog.resources.use import use_of

MEASURED_AT_ONCE = 500
KEPT = timedelta(days=1)  # time alone makes data old
CHECKED_AGAIN = timedelta(days=7)
CHECKED_AT_ONCE = 20
LINKS_OF_ONE = 20
CHECK_TIMEOUT_S = 10.0


def quality_of(session: Session, rows: Sequence[Resource]) -> dict[UUID, tuple[float, list[Measure]]]:
    """The score and the measures of each of these resources, now."""
    ids = [row.id for row in rows]
    records = {row.id: ResourceRecord.model_validate(row.record) for row in rows}
    use = use_of(session, ids)
    related = {code for record in records.values() for code in record.related_codes}
    known = set(session.scalars(select(Resource.code).where(Resource.code.in_(related))))
    links: dict[UUID, dict[str, bool]] = {}
    checked = select(Link).where(Link.resource_id.in_(ids), Link.alive.is_not(None))
    for link in session.scalars(checked):
        links.setdefault(link.resource_id, {})[link.url] = bool(link.alive)
    found = {}
    for row in rows:
        mine, record = use[row.id], records[row.id]
        told = {url: alive for url, alive in links.get(row.id, {}).items() if url in urls_of(record)}
        facts = Facts(now(), row.data_updated_at, mine.delivered_at, mine.open_corrections, known, told)
        found[row.id] = measure(record, facts)
    return found


def worst_of(
    session: Session, *, by: Actor, agency_id: UUID | None, after: tuple[float, UUID] | None, limit: int
) -> list[tuple[Quality, Resource]]:
    """What `by` handles, worst first, of one agency where it is named; `after` is the last of the page before."""
    query = (
        select(Quality, Resource)
        .join(Resource, Resource.id == Quality.resource_id)
        .options(selectinload(Resource.agency))
        .where(resources.handled_by(by), Resource.state.in_(LISTED))
    )
    if agency_id is not None:
        query = query.where(Quality.agency_id == agency_id)
    if after is not None:
        query = query.where(tuple_(Quality.score, Quality.resource_id) > tuple_(*map(literal, after)))
    rows = session.execute(query.order_by(Quality.score, Quality.resource_id).limit(limit))
    return [(quality, resource) for quality, resource in rows]


def measure_due(database: Database) -> int:
    """Measure resources that the change log tells of, or else some that were last measured a day ago; returns how
    many events and resources that were. What rests costs two look-ups in indexes, however many resources there
    are. Runs in the worker."""
    with database.transaction() as session:
        advisory_lock(session, "catalog.quality")
        place = session.get(QualityPosition, True)
        if place is None:
            place = QualityPosition(single=True, transaction=0, position=0)
            session.add(place)
        events = history.events_after(session, (place.transaction, place.position), limit=MEASURED_AT_ONCE)
        if events:
            place.transaction, place.position = int(events[-1].transaction), events[-1].position
            ids = {event.subject_id for event in events if event.kind == RESOURCE.kind}
        else:
            old = select(Quality.resource_id).where(Quality.measured_at < now() - KEPT)
            ids = set(session.scalars(old.order_by(Quality.measured_at).limit(MEASURED_AT_ONCE)))
        rows = session.scalars(select(Resource).where(Resource.id.in_(ids), Resource.state.in_(LISTED))).all()
        gone = ids - {row.id for row in rows}
        session.execute(delete(Quality).where(Quality.resource_id.in_(gone)))
        session.execute(delete(Link).where(Link.resource_id.in_(gone)))
        _keep(session, rows)
        return len(events) or len(ids)


def _keep(session: Session, rows: Sequence[Resource]) -> None:
    if not rows:
        return
    measured = quality_of(session, rows)
    new = insert(Quality)
    changed = {
        "agency_id": new.excluded.agency_id,
        "score": new.excluded.score,
        "measured_at": new.excluded.measured_at,
    }
    session.execute(
        new.on_conflict_do_update(index_elements=["resource_id"], set_=changed),
        [
            {
                "resource_id": row.id,
                "agency_id": row.agency_id,
                "score": measured[row.id][0],
                "measured_at": now(),
            }
            for row in rows
        ],
    )
    wanted = {
        (row.id, url)
        for row in rows
        for url in sorted(urls_of(ResourceRecord.model_validate(row.record)))[:LINKS_OF_ONE]
    }
    query = select(Link.resource_id, Link.url).where(Link.resource_id.in_([row.id for row in rows]))
    present = {(resource_id, url) for resource_id, url in session.execute(query)}
    for resource_id, url in present - wanted:
        session.execute(delete(Link).where(Link.resource_id == resource_id, Link.url == url))
    if wanted - present:
        added = [{"resource_id": i, "url": url, "due_at": now()} for i, url in sorted(wanted - present)]
        session.execute(insert(Link).on_conflict_do_nothing(), added)


def check_links(database: Database, outbound: Outbound) -> int:
    """Call some of the addresses that are due, outside any transaction; returns how many. Runs in the worker."""
    with database.transaction() as session:
        due = select(Link.url).where(Link.due_at <= now()).order_by(Link.due_at).limit(CHECKED_AT_ONCE)
        urls = list(dict.fromkeys(session.scalars(due.with_for_update(skip_locked=True))))
        _write(session, urls, due_at=now() + CHECKED_AGAIN)
    for url in urls:
        problem = _call(outbound, url)
        with database.transaction() as session:
            _write(session, [url], checked_at=now(), alive=problem is None, problem=problem)
    return len(urls)


def _write(session: Session, urls: Sequence[str], **values: object) -> None:
    session.execute(
        update(Link).where(Link.url.in_(urls)).values(values).execution_options(synchronize_session=False)
    )


def _call(outbound: Outbound, url: str) -> str | None:
    """Why an address does not answer, or None. A redirect is an answer; so is a refusal to be asked by HEAD."""
    try:
        status = outbound.send("HEAD", url, timeout_s=CHECK_TIMEOUT_S).status
    except NotReachable as error:
        return error.detail.zh
    return f"HTTP {status}" if status in (404, 410) or (status >= 500 and status != 501) else None
