"""The worker's part of imports: rehearse a file, bring it in, tell how far it is.

Owns the two jobs. Each does its work in one transaction, so a worker that is killed leaves nothing half done;
progress is written beside it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, BinaryIO, Literal, cast
from uuid import UUID

from sqlalchemy import update

from app.kernel import history, jobs
from app.kernel.actor import system_actor
from app.kernel.db import Database
from app.kernel.errors import Problem, WrongMoment
from app.kernel.outbound import Outbound
from app.kernel.wire import Label
from catalog.imports import service
from catalog.imports.models import ImportJob
from catalog.imports.run import run_import
from catalog.imports.states import COMMITTING, IMPORT, RECEIVED
from catalog.imports.wire import ImportReport, ProblemOut, Remark

WORKER = system_actor("worker")
_PARTY = frozenset({"worker"})
SPOOLED_BYTES = 8 << 20


def rehearse(database: Database, _: Outbound, args: Mapping[str, Any]) -> None:
    """Find out what an import would do. A harvest that is set up so goes on by itself."""
    _run(database, UUID(args["import_id"]), RECEIVED, "preview")


def bring_in(database: Database, _: Outbound, args: Mapping[str, Any]) -> None:
    """Do what was rehearsed and confirmed."""
    _run(database, UUID(args["import_id"]), COMMITTING, "finish")


def _run(database: Database, import_id: UUID, state: str, act: Literal["preview", "finish"]) -> None:
    with database.transaction() as session:
        job = session.get(ImportJob, import_id)
        if job is None or job.state != state:  # done by a worker before, or cancelled
            return
        file_name = job.file_name
    try:
        with tempfile.SpooledTemporaryFile(SPOOLED_BYTES) as spooled:
            stream = cast(BinaryIO, spooled)
            with database.transaction() as session:
                for piece in service.file_of(session, import_id):
                    stream.write(piece)
            _attempt(database, import_id, act, stream)
    except WrongMoment:  # cancelled meanwhile: nothing of it stays
        return
    except Problem as problem:
        _refuse(database, import_id, file_name, problem)


def _attempt(
    database: Database, import_id: UUID, act: Literal["preview", "finish"], stream: BinaryIO
) -> None:
    rehearsing = act == "preview"

    def progress(resources: int) -> None:
        with database.transaction() as beside:
            beside.execute(
                update(ImportJob).where(ImportJob.id == import_id).values(resources_read=resources)
            )

    with database.transaction() as session:
        job = session.get_one(ImportJob, import_id)
        signed = not rehearsing and service.files(job)
        by = service.person_behind(session, job.person_id, "import.file" if signed else "import.commit")
        options = replace(
            service.options_of(job), dry_run=rehearsing, told="in_rows" if rehearsing else "nowhere"
        )
        report = run_import(session, stream, options, by=by, progress=progress)
        if rehearsing:
            job.preview_id = report.id
        else:
            job.run_id = report.id
            service.forget_file(session, import_id)
        history.advance(session, job, IMPORT, act, by=WORKER, parties=_PARTY, data=_tally(report))
        read = report.new + report.changed + report.unchanged + report.rejected
        job.resources_read = read
        nothing_to_do = job.harvest_id is not None and not report.new and not report.changed
        as_set_up = bool(job.options.get("automatic")) and report.rejected * 2 <= read
        if rehearsing and (as_set_up or nothing_to_do):
            service.commit_harvested(session, job)


def _tally(report: ImportReport) -> dict[str, Any]:
    return {
        "run": str(report.id), "new": report.new, "changed": report.changed, "unchanged": report.unchanged,
        "rejected": report.rejected,
    }  # fmt: skip


def _refuse(database: Database, import_id: UUID, place: str, problem: Problem) -> None:
    told = ProblemOut(
        title=Label.of(problem.title),
        detail=Label.of(problem.detail),
        faults=[Remark.of(place, fault) for fault in problem.faults[:100]],
    ).model_dump(mode="json")
    with database.transaction() as session:
        job = session.get_one(ImportJob, import_id)
        job.problem = told
        history.advance(session, job, IMPORT, "refuse", by=WORKER, parties=_PARTY, data={"problem": told})
        service.forget_file(session, import_id)


TASKS: dict[str, jobs.Work] = {
    service.REHEARSE: jobs.Outside(rehearse),
    service.BRING_IN: jobs.Outside(bring_in),
}
