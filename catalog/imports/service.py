"""Imports as they live: a file taken in, looked at, confirmed or cancelled.

Owns who may know of an import and keeps its file until its end. Reading it is the worker's (`work`).
"""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Iterator
from typing import Any, BinaryIO
from uuid import UUID

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from app.identity import sessions
from app.identity.models import Person
from app.identity.permissions import check
from app.kernel import history, jobs
from app.kernel.actor import Actor, system_actor
from app.kernel.errors import NotFound, NotPermitted
from app.kernel.machine import Party
from app.kernel.text import Text
from catalog.formats.detect import HEAD_BYTES, SourceFormat, open_source
from catalog.formats.mapping import ColumnMapping
from catalog.formats.reading import UPLOAD_LIMIT_BYTES, FileTooLarge
from catalog.imports.mappings import find_mapping
from catalog.imports.models import ImportChunk, ImportJob, ImportRow
from catalog.imports.run import ImportOptions, find_reach
from catalog.imports.states import IMPORT
from catalog.resources.review import FilingStatement, require, statement_faults

REHEARSE, BRING_IN = "import.rehearse", "import.bring_in"
# One at a time: an import takes much of a worker's memory and holds its source's resources.
LOCK = "imports"
CHUNK_BYTES = 1 << 20
READ_AT_ONCE_BYTES = 256 << 10
HARVESTER = system_actor("harvest")


def submit(
    session: Session,
    stream: BinaryIO,
    file_name: str,
    options: ImportOptions,
    *,
    by: Actor,
    harvest_id: UUID | None = None,
    automatic: bool = False,
) -> ImportJob:
    """Take a file in and have it rehearsed. `by` is the person in whose name it is done, also where a harvest
    fetched it; `automatic` brings it in without being asked again, unless most of it is refused.

    Errors: FileRefused, FileTooLarge, Invalid, NotFound, NotPermitted.
    """
    size, digest = measured(stream)
    find_reach(session, options, by)
    if by.agency_id is None or by.id is None:
        raise NotPermitted()
    mapping = find_mapping(session, options.mapping, by.agency_id) if options.mapping else None
    _require_readable(stream, size, mapping, options.encoding)
    job = ImportJob(
        agency_id=by.agency_id, person_id=by.id, harvest_id=harvest_id, file_name=file_name[:200], file_size=size,
        file_sha256=digest, options={**_stored(options), "automatic": automatic}, resources_read=0,
    )  # fmt: skip
    actor, party = (HARVESTER, "harvester") if harvest_id else (by, "owner")
    data = {
        "file_name": job.file_name,
        "file_size": size,
        "file_sha256": digest.hex(),
        "options": job.options,
    }
    history.create(session, job, IMPORT, "submit", by=actor, parties=frozenset({party}), data=data)
    stream.seek(0)
    for number, chunk in enumerate(iter(lambda: stream.read(CHUNK_BYTES), b"")):
        row = {"import_id": job.id, "number": number, "content": chunk}
        session.execute(insert(ImportChunk), row)
    jobs.enqueue(session, REHEARSE, {"import_id": str(job.id)}, lock=LOCK)
    return job


def _require_readable(
    stream: BinaryIO, size: int, mapping: ColumnMapping | None, encoding: str | None
) -> None:
    """Refuse at once what is none of our formats. What is small is begun to be read as well; the rest, and graphs,
    take long and are left to the worker, so that the sender has an answer when the file is kept."""
    stream.seek(0)
    small = size <= READ_AT_ONCE_BYTES
    if not small and stream.read(HEAD_BYTES).lstrip(codecs.BOM_UTF8 + b" \t\r\n")[:1] in (b"{", b"["):
        return  # JSON has no rows: it would be read whole
    stream.seek(0)
    source = open_source(stream, mapping=mapping, encoding=encoding)
    if small and source.format is not SourceFormat.DCAT_AP:
        next(source.rows, None)


def measured(stream: BinaryIO) -> tuple[int, bytes]:
    """Size and SHA-256 of a file. Errors: FileTooLarge."""
    size = stream.seek(0, 2)
    if size > UPLOAD_LIMIT_BYTES:
        raise FileTooLarge(limit=UPLOAD_LIMIT_BYTES)
    stream.seek(0)
    digest = hashlib.sha256()
    while chunk := stream.read(CHUNK_BYTES):
        digest.update(chunk)
    return size, digest.digest()


def _stored(options: ImportOptions) -> dict[str, Any]:
    return {
        "mapping": options.mapping, "agency_code": options.agency_code,
        "jurisdiction_code": options.jurisdiction_code, "as_state": options.as_state, "encoding": options.encoding,
    }  # fmt: skip


def options_of(job: ImportJob) -> ImportOptions:
    """What was asked for, with what the approver signed, where it was filed."""
    asked = {name: value for name, value in job.options.items() if name not in ("automatic", "statement")}
    signed = job.options.get("statement")
    return ImportOptions(**asked, statement=FilingStatement.model_validate(signed) if signed else None)


def files(job: ImportJob) -> bool:
    """Whether what comes in is filed, which the approver signs (809-12)."""
    return bool(job.options["as_state"] == "filed")


def find_import(session: Session, import_id: UUID, /, *, by: Actor) -> ImportJob:
    """The import, if it is of the actor's agency. Errors: NotFound."""
    job = session.scalar(
        select(ImportJob).where(ImportJob.id == import_id, ImportJob.agency_id == by.agency_id)
    )
    if job is None:
        raise NotFound()
    return job


def parties_of(job: ImportJob, by: Actor) -> frozenset[Party]:
    return frozenset({"owner"}) if by.agency_id == job.agency_id else frozenset()


def commit(session: Session, job: ImportJob, *, by: Actor, expected_version: int | None) -> None:
    """Have what was rehearsed brought in, from now on in the name of `by`.
    Errors: StaleVersion, WrongMoment, NotPermitted where it is to be filed."""
    parties = parties_of(job, by)
    history.advance(session, job, IMPORT, "commit", by=by, parties=parties, expected_version=expected_version)
    if files(job):
        raise NotPermitted(
            Text("报送须经本单位审核人签署（file）。", "Filing is signed by the agency's approver: file it."),
            basis="809-12",
        )
    _bring_in(session, job, by)


def file(
    session: Session, job: ImportJob, *, statement: FilingStatement, by: Actor, expected_version: int
) -> None:
    """Have what was rehearsed filed with one statement for all of it, which `by` signs as for a single record.
    Errors: StaleVersion, WrongMoment, Invalid naming what the statement lacks, NotPermitted unless it is to be filed."""
    signed = statement.model_dump(mode="json")
    parties, data = parties_of(job, by), {"statement": signed}
    history.advance(
        session, job, IMPORT, "file", by=by, parties=parties, expected_version=expected_version, data=data
    )
    if not files(job):
        raise NotPermitted(
            Text(
                "此导入不报送，由目录管理员确认。",
                "This import files nothing: the catalog administrator confirms it.",
            )
        )
    require(statement_faults(statement))
    job.options = {**job.options, "statement": signed}
    _bring_in(session, job, by)


def _bring_in(session: Session, job: ImportJob, by: Actor) -> None:
    assert by.id is not None
    job.person_id, job.resources_read = by.id, 0
    jobs.enqueue(session, BRING_IN, {"import_id": str(job.id)}, lock=LOCK)


def commit_harvested(session: Session, job: ImportJob) -> None:
    """Have what a harvest fetched brought in, as it was set up to be."""
    history.advance(session, job, IMPORT, "commit", by=HARVESTER, parties=frozenset({"harvester"}))
    job.resources_read = 0
    jobs.enqueue(session, BRING_IN, {"import_id": str(job.id)}, lock=LOCK)


def cancel(session: Session, job: ImportJob, *, by: Actor, expected_version: int) -> None:
    """Give an import up; its file and its preview go. Errors: StaleVersion, WrongMoment."""
    history.advance(
        session, job, IMPORT, "cancel", by=by, parties=parties_of(job, by), expected_version=expected_version
    )
    forget_file(session, job.id)
    session.execute(delete(ImportRow).where(ImportRow.run_id == job.preview_id))


def forget_file(session: Session, import_id: UUID) -> None:
    """Remove the file of an import at its end."""
    session.execute(delete(ImportChunk).where(ImportChunk.import_id == import_id))


def file_of(session: Session, import_id: UUID) -> Iterator[bytes]:
    """The file, piece by piece."""
    query = select(ImportChunk.content).where(ImportChunk.import_id == import_id).order_by(ImportChunk.number)
    yield from session.scalars(query.execution_options(yield_per=4))


def person_behind(session: Session, person_id: UUID, operation: str = "import.commit") -> Actor:
    """The person in whose name `operation` is done now, with the rights they have now. Errors: NotPermitted."""
    person = session.get_one(Person, person_id)
    if not person.active:
        message = Text("{name}的账号已停用。", "The account of {name} is not active.")
        raise NotPermitted(message.with_(name=person.name))
    actor = sessions.actor_of(session, person)
    check(actor, operation)
    return actor
