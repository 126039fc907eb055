"""Harvests: other catalogs that an agency has fetched on a schedule, each time as an import of its own.

Owns the schedule. What is fetched goes the way of every import: rehearsed, and brought in once confirmed or where
the harvest was set up so.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, BinaryIO, Literal, cast
from uuid import UUID

from pydantic import StringConstraints
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.kernel import history, jobs
from app.kernel.actor import Actor
from app.kernel.clock import now
from app.kernel.db import Database
from app.kernel.errors import Invalid, NotFound, NotPermitted, Problem
from app.kernel.machine import Party
from app.kernel.outbound import URL_LIMIT, Outbound
from app.kernel.text import Storable, Text
from app.kernel.wire import Label, ShortText, Wire
from catalog.harvest.fetching import Kind, fetch
from catalog.harvest.models import Harvest
from catalog.harvest.states import ACTIVE, HARVEST, REMOVED
from catalog.imports import service as imports
from catalog.imports.run import ImportOptions, find_reach
from catalog.imports.wire import ProblemOut

RUN = "harvest.run"
HARVEST_LIMIT = 100  # of one agency
SPOOLED_BYTES = 8 << 20
Every = Literal["hourly", "daily", "weekly"]
INTERVALS: Mapping[str, timedelta] = {
    "hourly": timedelta(hours=1),
    "daily": timedelta(days=1),
    "weekly": timedelta(weeks=1),
}


class HarvestSpec(Wire):
    """Which catalog, how often, and how its resources come in. `agency` makes all of them one agency's; else they
    are those that the catalog names. `automatic` brings in without asking what was rehearsed."""

    name: ShortText
    kind: Kind
    url: Annotated[str, StringConstraints(max_length=URL_LIMIT), Storable]
    every: Every = "daily"
    automatic: bool = False
    agency: ShortText | None = None
    jurisdiction: ShortText | None = None
    as_state: Literal["draft", "published"] = "draft"  # filing is signed by a person

    @property
    def options(self) -> ImportOptions:
        return ImportOptions(
            agency_code=self.agency, jurisdiction_code=self.jurisdiction, as_state=self.as_state
        )


def add(session: Session, spec: HarvestSpec, *, outbound: Outbound, by: Actor) -> Harvest:
    """Set a harvest up; it is fetched at once and then on its schedule. Errors: Invalid, NotFound, NotPermitted."""
    _require_possible(session, spec, outbound, by)
    assert by.agency_id is not None and by.id is not None
    count = select(func.count()).where(Harvest.agency_id == by.agency_id, Harvest.state != REMOVED)
    if (session.scalar(count) or 0) >= HARVEST_LIMIT:
        raise Invalid(
            Text("一个单位最多 {n} 个采集源。", "An agency has at most {n} harvests.").with_(n=HARVEST_LIMIT)
        )
    harvest = Harvest(agency_id=by.agency_id, person_id=by.id, next_at=now(), **_columns(spec))
    history.create(
        session,
        harvest,
        HARVEST,
        "add",
        by=by,
        parties=frozenset({"owner"}),
        data=spec.model_dump(mode="json"),
    )
    _schedule(session, harvest, now())
    return harvest


def edit(
    session: Session,
    harvest: Harvest,
    spec: HarvestSpec,
    *,
    outbound: Outbound,
    by: Actor,
    expected_version: int,
) -> None:
    """Change what is fetched and how, from now on in the name of `by`. Errors: as `add`, StaleVersion, WrongMoment."""
    _require_possible(session, spec, outbound, by)
    _advance(session, harvest, "edit", by, expected_version, spec.model_dump(mode="json"))
    assert by.id is not None
    harvest.person_id, harvest.last_sha256 = by.id, None
    for name, value in _columns(spec).items():
        setattr(harvest, name, value)
    if harvest.state == ACTIVE:
        _schedule(session, harvest, now())


def act(
    session: Session, harvest: Harvest, name: Literal["run", "pause", "resume", "remove"], *, by: Actor, expected_version: int
) -> None:  # fmt: skip
    """Fetch now, whatever was fetched before; pause, resume, remove. Errors: StaleVersion, WrongMoment."""
    _advance(session, harvest, name, by, expected_version)
    if harvest.state == ACTIVE:
        harvest.last_sha256 = None
        _schedule(session, harvest, now())


def find_harvest(session: Session, harvest_id: UUID, /, *, by: Actor) -> Harvest:
    """The harvest, if it is of the actor's agency. Errors: NotFound."""
    query = select(Harvest).where(Harvest.id == harvest_id, Harvest.agency_id == by.agency_id)
    harvest = session.scalar(query)
    if harvest is None:
        raise NotFound()
    return harvest


def parties_of(harvest: Harvest, by: Actor) -> frozenset[Party]:
    return frozenset({"owner"}) if by.agency_id == harvest.agency_id else frozenset()


def spec_of(harvest: Harvest) -> HarvestSpec:
    """What was set up."""
    plain = {name: getattr(harvest, name) for name in ("name", "kind", "url", "every", "automatic")}
    return HarvestSpec(**plain, **harvest.options)


def _columns(spec: HarvestSpec) -> dict[str, Any]:
    told = spec.model_dump(mode="json")
    options = {name: told.pop(name) for name in ("agency", "jurisdiction", "as_state")}
    return {**told, "options": options}


def _require_possible(session: Session, spec: HarvestSpec, outbound: Outbound, by: Actor) -> None:
    if by.agency_id is None or by.id is None:
        raise NotPermitted()
    if faults := outbound.faults("/url", spec.url):
        raise Invalid(faults=faults)
    find_reach(session, spec.options, by)


def _advance(
    session: Session, harvest: Harvest, name: str, by: Actor, version: int, data: dict[str, Any] | None = None
) -> None:
    parties = parties_of(harvest, by)
    history.advance(
        session, harvest, HARVEST, name, by=by, parties=parties, expected_version=version, data=data
    )


def _schedule(session: Session, harvest: Harvest, at: datetime) -> None:
    harvest.next_at = at
    due = at.isoformat()
    jobs.enqueue(
        session, RUN, {"harvest_id": str(harvest.id), "due": due}, at=at, lock=f"harvest:{harvest.id}"
    )


def run(database: Database, outbound: Outbound, args: Mapping[str, Any]) -> None:
    """Fetch a harvest that is due and hand what came to an import. One that was done, paused or set for another
    time since is left alone."""
    harvest_id, due = UUID(args["harvest_id"]), args["due"]
    with database.transaction() as session:
        harvest = session.get(Harvest, harvest_id)
        if harvest is None or not _is_due(harvest, due):
            return
        spec = spec_of(harvest)
    try:
        with tempfile.SpooledTemporaryFile(SPOOLED_BYTES) as spooled:
            stream = cast(BinaryIO, spooled)
            file_name = fetch(outbound, spec.kind, spec.url, stream)
            _hand_over(database, harvest_id, due, stream, file_name)
    except Problem as problem:
        _remember(database, harvest_id, due, problem)


def _is_due(harvest: Harvest, due: str) -> bool:
    return harvest.state == ACTIVE and harvest.next_at.isoformat() == due


def _hand_over(database: Database, harvest_id: UUID, due: str, stream: BinaryIO, file_name: str) -> None:
    digest = imports.measured(stream)[1]
    with database.transaction() as session:
        harvest = session.get_one(Harvest, harvest_id, with_for_update=True)
        if not _is_due(harvest, due):
            return
        if digest != harvest.last_sha256:
            by = imports.person_behind(session, harvest.person_id)
            spec = spec_of(harvest)
            imports.submit(
                session,
                stream,
                file_name,
                spec.options,
                by=by,
                harvest_id=harvest_id,
                automatic=spec.automatic,
            )
        harvest.last_sha256, harvest.last_at, harvest.problem = digest, now(), None
        _schedule(session, harvest, now() + INTERVALS[harvest.every])


def _remember(database: Database, harvest_id: UUID, due: str, problem: Problem) -> None:
    """Keep why it failed, for its agency to see; the next attempt is on schedule."""
    with database.transaction() as session:
        harvest = session.get_one(Harvest, harvest_id, with_for_update=True)
        if not _is_due(harvest, due):
            return
        told = ProblemOut(title=Label.of(problem.title), detail=Label.of(problem.detail), faults=[])
        harvest.problem, harvest.last_at = told.model_dump(mode="json"), now()
        _schedule(session, harvest, now() + INTERVALS[harvest.every])


TASKS: dict[str, jobs.Work] = {RUN: jobs.Outside(run)}
