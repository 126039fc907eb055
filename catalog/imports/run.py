"""An import: a file's rows brought into the catalog, good ones in, bad ones handed back with their faults.

Owns who may import for whom, which agency a row belongs to, and the record of each run. How records meet
those already there is `resources.importing`'s.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal
from uuid import UUID

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from app.identity import agencies
from app.identity.codes import credit_code_fault
from app.identity.models import Agency, Jurisdiction
from app.kernel import history
from app.kernel.actor import Actor, ActorKind, system_actor
from app.kernel.clock import new_id, now
from app.kernel.db import Database, lift_statement_timeout
from app.kernel.errors import Fault, NotFound, NotPermitted
from app.kernel.text import Text
from catalog.formats.described import NO_IDENTIFIER
from catalog.formats.detect import SourceFormat, open_source
from catalog.formats.reading import (
    TIME_LIMIT_S,
    UPLOAD_LIMIT_BYTES,
    AgencyRef,
    FileTooLarge,
    Read,
    Rejected,
    Row,
)
from catalog.imports.mappings import find_mapping
from catalog.imports.models import ImportRow, ImportRun
from catalog.imports.wire import ImportReport, RejectedEntry, Remark
from catalog.resources import service
from catalog.resources.importing import (
    BATCH,
    Compared,
    ImportState,
    Incoming,
    compare_imported,
    upsert_imported,
)
from catalog.resources.models import Resource
from catalog.resources.record import ARTICLE_13
from catalog.resources.review import FilingStatement

_OWN_ALONE = Text(
    "只能导入本单位的资源；该列可留空", "you import for your own agency; the column may be blank"
)
_OWN_PLACES = Text(
    "只能导入所主管行政区划内单位的资源", "agencies of the jurisdictions you are the authority of"
)
SHOWN_LIMIT = 400  # characters of a value that differs
LINES_AT_ONCE = 100  # of a preview held in memory: what is refused stands there with all its cells
KEPT_LIMIT = 5_000  # notes, and source rows of what was rejected, that a run keeps in words; all are counted

Told = Literal["in_run", "in_rows", "nowhere"]
"""Where a run says in words what came of each resource: in itself (up to KEPT_LIMIT), in rows beside it, or not."""

Progress = Callable[[int], None]
"""Called now and then with the number of rows read so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """What the importer asks for. `mapping` names a column mapping (CSV only); with `agency_code` every row is
    that agency's, else agencies are those the rows name, created as unverified under `jurisdiction_code`
    (default: the importer's own, for the operator the root) where they are not registered. `statement` is what the
    importer signs for all that is filed."""

    mapping: str | None = None
    agency_code: str | None = None
    jurisdiction_code: str | None = None
    as_state: ImportState = "published"
    dry_run: bool = False
    encoding: str | None = None
    told: Told = "in_run"
    statement: FilingStatement | None = None


def import_file(
    database: Database, path: Path, options: ImportOptions, progress: Progress = lambda _: None
) -> ImportReport:
    """Import a file as the operator, in one transaction. Errors: as `run_import`."""
    with path.open("rb") as stream, database.transaction() as session:
        return run_import(session, stream, options, by=system_actor("operator"), progress=progress)


def run_import(
    session: Session,
    stream: BinaryIO,
    options: ImportOptions,
    *,
    by: Actor,
    progress: Progress = lambda _: None,
) -> ImportReport:
    """Bring in what `stream` (seekable) holds, or with `dry_run` tell what that would do.

    The same file again changes nothing but adds its run. A file that cannot be read to its end brings in
    nothing. Errors: FileRefused, FileTooLarge, Invalid, NotFound, NotPermitted.
    """
    if stream.seek(0, 2) > UPLOAD_LIMIT_BYTES:
        raise FileTooLarge(limit=UPLOAD_LIMIT_BYTES)
    stream.seek(0)
    digest = _sha256(stream)
    lift_statement_timeout(session)
    reach = find_reach(session, options, by)
    source = open_source(
        stream,
        mapping=find_mapping(session, options.mapping, _keeper(reach, by)) if options.mapping else None,
        encoding=options.encoding,
        # The template asks for all that filing demands; catalogs of others do not know our demands.
        for_filing=options.as_state != "draft",
    )
    bringing = _Bringing(session, reach, _name(source.format, options), options, by)
    deadline = now().timestamp() + TIME_LIMIT_S
    for number, row in enumerate(source.rows, start=1):
        bringing.take(row)
        if number % BATCH == 0:
            progress(number)
            if now().timestamp() > deadline:
                raise FileTooLarge(
                    Text("导入用时超过 {s} 秒。", "The import took over {s} s.").with_(s=TIME_LIMIT_S)
                )
    bringing.bring()
    return report_of(bringing.close(source.format, digest))


def find_run(session: Session, run_id: UUID, by: Actor) -> ImportRun:
    """The run, if `by`'s agency made it. Errors: NotFound."""
    query = select(ImportRun).where(ImportRun.id == run_id)
    if by.kind is not ActorKind.SYSTEM:
        query = query.where(ImportRun.agency_id == by.agency_id)
    run = session.scalar(query)
    if run is None:
        raise NotFound()
    return run


def report_of(run: ImportRun) -> ImportReport:
    """The report of a run."""
    return ImportReport.model_validate(run)


def _sha256(stream: BinaryIO) -> bytes:
    digest = hashlib.sha256()
    while chunk := stream.read(1 << 20):
        digest.update(chunk)
    stream.seek(0)
    return digest.digest()


def _keeper(reach: Reach, by: Actor) -> UUID | None:
    """Whose mappings count: the importer's agency, for the operator the agency that every row is of."""
    return by.agency_id or (reach.agency.id if reach.agency else None)


def _name(source_format: SourceFormat, options: ImportOptions) -> str:
    """What the source is called; a CSV is known by its mapping."""
    if source_format is SourceFormat.CSV and options.mapping:
        return options.mapping
    # The template's columns are one source, whether they came as a workbook or as CSV.
    return SourceFormat.WORKBOOK if source_format is SourceFormat.TABLE else source_format


@dataclass(frozen=True, slots=True)
class Reach:
    """For whom an import may bring resources in. `agency` is that of every row, if one is set; `own_only` refuses
    rows that name another. `places` are the jurisdictions whose agencies may be meant (None: all)."""

    jurisdiction: Jurisdiction
    agency: Agency | None
    own_only: bool
    places: frozenset[UUID] | None

    def covers(self, agency: Agency) -> bool:
        return self.places is None or agency.jurisdiction_id in self.places


def find_reach(session: Session, options: ImportOptions, by: Actor) -> Reach:
    """An agency imports for itself, as draft or filed; an authority and the operator for others too, but whoever
    files does so for itself.

    Errors: NotFound, NotPermitted.
    """
    if by.kind is not ActorKind.SYSTEM and (options.as_state == "filed" or not service.reviews(by)):
        return _own_reach(session, options, by)
    places = None
    if by.kind is not ActorKind.SYSTEM:
        places = frozenset(session.scalars(service.reviewed_jurisdictions(by)))
    if options.jurisdiction_code:
        jurisdiction = agencies.jurisdiction_by_code(session, options.jurisdiction_code)
    elif by.jurisdiction_id is not None:
        jurisdiction = session.get_one(Jurisdiction, by.jurisdiction_id)
    else:
        jurisdiction = agencies.root_jurisdiction(session)
    agency = agencies.find_agency(session, options.agency_code) if options.agency_code else None
    reach = Reach(jurisdiction, agency, False, places)
    if options.agency_code and (agency is None or not reach.covers(agency)):
        message = Text("没有登记单位 {code}。", "No agency {code} is registered.")
        raise NotFound(message.with_(code=options.agency_code))
    if places is not None and jurisdiction.id not in places:
        raise NotPermitted(
            Text("该行政区划不归本单位主管。", "This jurisdiction is not under your authority.")
        )
    return reach


def _own_reach(session: Session, options: ImportOptions, by: Actor) -> Reach:
    if by.agency_id is None:
        raise NotPermitted()
    own = agencies.agency(session, by.agency_id)
    if options.agency_code and options.agency_code not in (own.credit_code, own.local_code, own.name):
        raise NotPermitted(Text("只能为本单位导入。", "You import for your own agency only."))
    if options.as_state == "published":
        raise NotPermitted(
            Text(
                "发布须经主管部门审核，请导入为草稿或已报送。",
                "The authority publishes: import as draft or filed.",
            ),
            basis="809-16",
        )
    return Reach(
        session.get_one(Jurisdiction, own.jurisdiction_id), own, True, frozenset({own.jurisdiction_id})
    )


def _shortened(value: Any) -> Any:
    """A value as a preview shows it: whole, or the beginning of its JSON."""
    text = json.dumps(value, ensure_ascii=False)
    return value if len(text) <= SHOWN_LIMIT else text[:SHOWN_LIMIT] + "…"


class _Bringing:
    """One run at work: sorts rows, brings them in by batches, counts, and writes the run in the end."""

    def __init__(self, session: Session, reach: Reach, name: str, options: ImportOptions, by: Actor) -> None:
        self.session, self.reach, self.options, self.by = session, reach, options, by
        self.run_id = new_id()
        whose = reach.agency.credit_code or str(reach.agency.id) if reach.agency else reach.jurisdiction.code
        self.source = f"{name}:{whose}"  # two importers' catalogs of one name never meet
        self.counts = {"new": 0, "changed": 0, "unchanged": 0}
        self.rejected = 0
        self.created: list[str] = []
        self.notes: list[Remark] = []
        self.rejected_rows: list[RejectedEntry] = []
        self._kept = 0
        self._number = 0
        self._rows: list[dict[str, Any]] = []
        self._waiting: list[tuple[int, Read, Incoming]] = []
        self._seen: dict[str, str] = {}
        self._agencies: dict[AgencyRef, Agency | Fault] = {}
        self._content = hashlib.sha256()

    def take(self, row: Row) -> None:
        """Count a rejected row, or let a good one wait for the next batch."""
        self._number += 1
        if isinstance(row, Rejected):
            self._reject(row)
            return
        agency = self._agency(row.agency, row.record.code)
        source_id = row.record.source_id
        if isinstance(agency, Fault):
            self._reject(Rejected(row.place, (agency,), row.rows))
        elif source_id is None:
            self._reject(Rejected(row.place, (Fault("/source_id", NO_IDENTIFIER),), row.rows))
        elif source_id in self._seen:
            message = Text("“{id}”与 {place} 的标识相同", "“{id}” is the identifier of {place} too").with_(
                id=source_id, place=self._seen[source_id]
            )
            self._reject(Rejected(row.place, (Fault("/source_id", message),), row.rows))
        else:
            self._seen[source_id] = row.place
            self._note(row)
            incoming = Incoming(agency, row.record, row.unstated)
            self._waiting.append((self._number, row, incoming))
            if len(self._waiting) == BATCH:
                self.bring()

    def bring(self) -> None:
        """Bring in what waits, but for what lacks something and is not already held just so."""
        lacking = [waits for waits in self._waiting if waits[1].lacking]
        held = compare_imported(self.session, [each for _, _, each in lacking], source=self.source)
        refused = [w for w, found in zip(lacking, held, strict=True) if found.outcome != "unchanged"]
        for number, row, _ in refused:
            self._reject(Rejected(row.place, row.lacking, row.rows), number)
        out = {number for number, *_ in refused}
        self._waiting = [waits for waits in self._waiting if waits[0] not in out]
        incoming = [each for _, _, each in self._waiting]
        for one in incoming:
            self._content.update(f"{one.source_id}\t{one.content_hash.hex()}\n".encode())
        if self.options.dry_run:
            compared = compare_imported(self.session, incoming, source=self.source)
            outcomes = [each.outcome for each in compared]
            for (number, row, _), each in zip(self._waiting, compared, strict=True):
                self._tell(number, row, each)
        else:
            outcomes = upsert_imported(
                self.session, incoming, source=self.source, as_state=self.options.as_state, by=self.by,
                statement=self.options.statement,
            )  # fmt: skip
        for outcome in outcomes:
            self.counts[outcome] += 1
        self._waiting.clear()
        self._write_lines()

    def _write_lines(self) -> None:
        if self._rows:
            self.session.execute(insert(ImportRow), self._rows)
            self._rows.clear()

    def _tell(self, number: int, row: Read, compared: Compared) -> None:
        """A line of the preview for a resource that would come in."""
        notes = [Remark.of(row.place, note).model_dump(mode="json") for note in row.notes]
        detail: dict[str, Any] = {"notes": notes} if notes else {}
        if compared.differences:
            detail["differences"] = {
                name: [_shortened(was), _shortened(would_be)]
                for name, (was, would_be) in compared.differences.items()
            }
        told = (row.record.title, row.record.source_id, compared.resource_id)
        self._line(number, row, compared.outcome, detail, *told)

    def _line(
        self,
        number: int,
        row: Row,
        outcome: str,
        detail: dict[str, Any],
        title: str | None = None,
        source_id: str | None = None,
        resource_id: UUID | None = None,
    ) -> None:
        if self.options.told != "in_rows":
            return
        self._rows.append(
            {
                "run_id": self.run_id, "number": number, "outcome": outcome, "place": row.place,
                "title": title, "source_id": source_id, "resource_id": resource_id, "detail": detail,
            }
        )  # fmt: skip
        if len(self._rows) >= LINES_AT_ONCE:  # where all is refused nothing waits to be brought in
            self._write_lines()

    def close(self, source_format: SourceFormat, file_sha256: bytes) -> ImportRun:
        """Write the run and, unless it was a rehearsal, its entry in the ledger."""
        run = ImportRun(
            id=self.run_id, created_at=now(), agency_id=self.by.agency_id, actor_name=self.by.name,
            jurisdiction_id=self.reach.jurisdiction.id, source=self.source, format=source_format,
            mapping=self.options.mapping if source_format is SourceFormat.CSV else None,
            as_state=self.options.as_state, dry_run=self.options.dry_run, file_sha256=file_sha256,
            content_sha256=self._content.digest(), **self.counts, rejected=self.rejected,
            agencies_created=self.created, notes=[note.model_dump(mode="json") for note in self.notes],
            rejected_rows=[entry.model_dump(mode="json") for entry in self.rejected_rows],
        )  # fmt: skip
        self.session.add(run)
        self.session.flush()
        if not run.dry_run:
            data = {
                "source": run.source, "file_sha256": file_sha256.hex(), "content_sha256": run.content_sha256.hex(),
                **self.counts, "rejected": run.rejected,
            }  # fmt: skip
            history.record(
                self.session,
                kind="import",
                subject_id=run.id,
                act="run",
                by=self.by,
                basis="809-17",
                data=data,
            )
        return run

    def _reject(self, row: Rejected, number: int | None = None) -> None:
        self.rejected += 1
        self._kept += max(1, len(row.rows))
        if self.options.told == "in_run" and self._kept <= KEPT_LIMIT:
            self.rejected_rows.append(RejectedEntry.of(row))
        detail = RejectedEntry.of(row).model_dump(mode="json", exclude={"place"})
        self._line(number or self._number, row, "rejected", detail)

    def _note(self, row: Read) -> None:
        room = KEPT_LIMIT - len(self.notes) if self.options.told == "in_run" else 0
        self.notes += [Remark.of(row.place, note) for note in row.notes[:room]]

    def _agency(self, named: AgencyRef | None, code: str | None) -> Agency | Fault:
        """The registered agency of a row, registered now as unverified where it is not known. A row that names none
        is of the agency that holds the resource of its code."""
        own = self.reach.agency
        if own is not None:
            known = {own.name, own.name_en, own.credit_code, own.local_code}
            if self.reach.own_only and named and not {named.name, named.code} & (known - {None}):
                message = Text("提供单位“{name}”不是本单位", "the provider “{name}” is not your agency")
                return Fault("/provider/name", message.with_(name=named.name), _OWN_ALONE)
            return own
        if named is None:
            holder = self.session.scalar(select(Agency).join(Resource).where(Resource.code == code))
            if holder is not None and self.reach.covers(holder):
                return holder
            return Fault("/provider/name", Text("没有写明提供单位", "names no providing agency"), ARTICLE_13)
        if named not in self._agencies:
            self._agencies[named] = self._find(named) or self._register(named)
        return self._agencies[named]

    def _find(self, named: AgencyRef) -> Agency | Fault | None:
        """By credit code anywhere within reach; by the source's own code or by name in the jurisdiction."""
        here = select(Agency).where(Agency.jurisdiction_id == self.reach.jurisdiction.id)
        found = None
        if named.code:
            found = self.session.scalar(select(Agency).where(Agency.credit_code == named.code))
            found = found or self.session.scalar(here.where(Agency.local_code == named.code))
        found = found or self.session.scalar(here.where(Agency.name == named.name))
        if found is not None and not self.reach.covers(found):
            message = Text("“{name}”不归本单位主管", "“{name}” is not under your authority")
            return Fault("/provider/name", message.with_(name=found.name), _OWN_PLACES)
        return found

    def _register(self, named: AgencyRef) -> Agency:
        self.created.append(named.name)
        place = self.reach.jurisdiction.id
        is_credit_code = named.code is not None and credit_code_fault(named.code) is None
        if self.options.dry_run:  # stands for the agency in comparisons; never added to the session
            return Agency(id=new_id(), name=named.name, jurisdiction_id=place)
        return agencies.register_agency(
            self.session, name=named.name, name_en=named.name_en, jurisdiction_id=place, verified=False,
            credit_code=named.code if is_credit_code else None,
            local_code=None if is_credit_code else named.code, by=self.by,
        )  # fmt: skip
