"""What the operator's commands do beyond one service function: import, export, search, audit, verify, set up.

Owns no rule: each function opens a transaction as the operator and calls what the service calls.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from datetime import UTC, date, datetime
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from cryptography.x509 import Certificate
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from app.accounts import has_service_role
from app.identity import agencies, sessions
from app.identity.models import Agency, Client, Jurisdiction, Person, RuleProfileRow, SecondFactor
from app.kernel import erasure, history, ledger, timestamping, verification
from app.kernel.actor import Actor, ActorKind, Role, system_actor
from app.kernel.calendar import legal_date
from app.kernel.checkpoint import VerifierKey
from app.kernel.clock import now
from app.kernel.db import Database, lift_statement_timeout
from app.kernel.errors import Conflict, Fault, Invalid
from app.kernel.keys import ServiceKeys
from app.kernel.postgres_files import SERVICE_ROLE
from app.kernel.text import Text
from app.kernel.verification import Difference
from app.settings import Settings
from catalog.collection import auditing, checking, engines
from catalog.collection.meaning import SentenceEncoder
from catalog.collection.profiles import ItemProfile
from catalog.formats.export import write_csv, write_workbook
from catalog.imports.run import ImportOptions, import_file
from catalog.imports.wire import ImportReport
from catalog.resources.importing import ImportState
from catalog.resources.models import Resource
from catalog.resources.record import ResourceRecord
from catalog.resources.states import PUBLISHED
from catalog.search import indexing
from catalog.search import service as search
from catalog.search.index import CatalogIndex, IndexBusy
from exchange.delivery import receipts
from exchange.delivery.models import ProviderSource
from exchange.delivery.push.models import PushSubscription
from exchange.telling.models import Webhook

OPERATOR = system_actor("operator")


def import_files(
    database: Database,
    files: Sequence[Path],
    *,
    agency: str | None,
    mapping: str | None,
    jurisdiction: str | None,
    as_state: ImportState,
    dry_run: bool,
    progress: Callable[[str, int], None],
) -> list[tuple[Path, ImportReport]]:
    """Import each file in a transaction of its own. Errors: as `catalog.imports.run.run_import`."""
    options = ImportOptions(
        mapping=mapping,
        agency_code=agency,
        jurisdiction_code=jurisdiction,
        as_state=as_state,
        dry_run=dry_run,
    )
    return [(file, import_file(database, file, options, partial(progress, file.name))) for file in files]


def export_workbook(database: Database, file: Path) -> int:
    """Write the published catalog to `file`, complete or not at all; returns the number of resources. A workbook
    that imports again; with the suffix .csv its rows in UTF-8. Errors: FileTooLarge, OSError."""
    write = write_csv if file.suffix.lower() == ".csv" else write_workbook
    part = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with part.open("xb") as stream, database.transaction() as session:
            with closing(_published_records(session)) as records:
                count = write(records, stream)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
    return count


def _published_records(session: Session) -> Generator[ResourceRecord]:
    """Agency by agency, read as a stream."""
    lift_statement_timeout(session)
    query = select(Resource.record).where(Resource.state == PUBLISHED)
    ordered = query.order_by(Resource.agency_id, Resource.code).execution_options(yield_per=500)
    with session.scalars(ordered) as records:
        for record in records:
            yield ResourceRecord.model_validate(record)


def search_catalog(
    settings: Settings, database: Database, typed: str, limit: int
) -> tuple[list[dict[str, Any]], int, float]:
    """The first page for a signed-in reader, the number found, and the milliseconds the search took.

    Brings the index up to date first, unless a worker keeps it.
    """
    index = CatalogIndex.open(settings.index)
    _catch_up(database, index)
    reader = Actor(ActorKind.SYSTEM, name="operator")
    with database.transaction() as session:
        started = time.perf_counter()
        found, result = search.search(
            session, index, typed, by=reader, filters={}, facets=(), limit=limit, sort="relevance"
        )
        milliseconds = (time.perf_counter() - started) * 1000
        rows = [
            {
                "id": str(each.resource.id),
                "code": each.resource.code,
                "title": each.resource.title,
                "agency": each.resource.agency.name,
                "items": list(each.matching_items),
            }
            for each in found
        ]
    return rows, result.total, milliseconds


def _catch_up(database: Database, index: CatalogIndex) -> None:
    try:
        indexing.run_once(database, index)
    except IndexBusy:  # a worker of this node keeps it up to date
        return


def audit(database: Database, *, master: str | None, whole: bool, embeddings: bool) -> auditing.Report:
    """Audit the catalog and bring the audit desk's list up to it: on Spark where a master is named, else here; by
    meaning too with `embeddings`."""
    if embeddings:
        checking.use_meaning(database.engine, SentenceEncoder())
    with engines.spark(master) if master else engines.duck() as engine, database.transaction() as session:
        lift_statement_timeout(session)
        return auditing.run(session, engine, whole=whole)


def audit_told(report: auditing.Report, limit: int) -> tuple[dict[str, Any], list[str]]:
    """The report as data and in lines, no more than `limit` of each kind."""
    found = report.audit
    clusters = [
        {
            "score": cluster.score, "source": _place(cluster.items[0]),
            "others": [_place(item) for item in cluster.items[1:limit]],
            "reasons": [reason.text.zh for reason in cluster.reasons],
        }
        for cluster in found.clusters[:limit]
    ]  # fmt: skip
    resources = [
        {
            "kind": pair.kind, "items": pair.items, "share": pair.share_one, "other_share": pair.share_other,
            "resource": pair.one.resource_title, "agency": pair.one.agency_name,
            "other_resource": pair.other.resource_title, "other_agency": pair.other.agency_name,
        }
        for pair in found.resources[:limit]
    ]  # fmt: skip
    lines = [
        *(
            f"{pair.share_one:.0%} / {pair.share_other:.0%}  {pair.one.agency_name}《{pair.one.resource_title}》≈ "
            f"{pair.other.agency_name}《{pair.other.resource_title}》: {pair.items}"
            for pair in found.resources[:limit]
        ),
        *(
            f"{cluster.score:.2f}  {_place(cluster.items[0])} ← {'; '.join(map(_place, cluster.items[1:4]))} "
            f"({len(cluster.items)})"
            for cluster in found.clusters[:limit]
        ),
        f"{len(found.resources)} 对资源 pairs of resources, {len(found.clusters)} 个数据元 elements held by several "
        f"agencies; {' '.join(f'{name}={count}' for name, count in report.counts.items())}",
    ]
    told = {"examined": report.examined, "worklist": report.counts, "model_version": found.model_version}
    return {**told, "resources": resources, "elements": clusters}, lines


def _place(item: ItemProfile) -> str:
    return f"{item.agency_name}《{item.resource_title}》{item.name}"


def verify(
    database: Database, keys: ServiceKeys, time_roots: Sequence[Certificate] = ()
) -> tuple[int, list[Difference], int]:
    """Number what is pending, then check the whole ledger, and its time stamps against the roots that are trusted;
    returns entries, differences and how many stamps were checked."""
    _number_pending(database, keys)
    with database.transaction() as session:
        size, differences = verification.verify(
            session, key=keys.ledger.verifier_key, contents=_attested(session)
        )
        stamps, wrong = timestamping.differing(session, time_roots) if time_roots else (0, {})
    for at, why in wrong.items():
        told = Text("时间戳不成立（{why}）", "the time stamp does not hold ({why})").with_(why=why)
        differences.append(Difference("timestamp", at, told))
    return size, differences, stamps


def export_ledger(database: Database, keys: ServiceKeys, file: Path) -> int:
    """Write the whole ledger to `file` for checking elsewhere; returns the number of entries."""
    _number_pending(database, keys)
    with database.transaction() as session:
        # One moment for contents and leaves, while others go on writing.
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        return verification.export(
            session, file, key=keys.ledger.verifier_key, contents=_attested(session)
        )  # fmt: skip


def verify_export(
    file: Path, key: VerifierKey | None, witnesses: Sequence[VerifierKey] | None
) -> tuple[int, list[Difference], dict[str, Any]]:
    """Check an export with the keys that are known, or the file's own; tells which. Errors: Invalid."""
    size, differences, log, cosigners = verification.verify_file(file, key=key, witnesses=witnesses)
    return size, differences, {"log": str(log), "witnesses": [str(one) for one in cosigners]}


def erase_names(database: Database, before: date | None) -> tuple[int, date]:
    """Remove the names of who acted from the history before a day, by default as much as the term allows; returns of
    how many events, and the day. Errors: Invalid where names of that time are still to be kept (809-29)."""
    with database.transaction() as session:
        kept_from = _keeping_from(session)
    if before is None:
        before = kept_from
    elif before > kept_from:
        rule = Text("须早于 {day}（809号令第二十九条）", "not after {day} (Decree 809 Art. 29)").with_(
            day=kept_from
        )
        raise Invalid(faults=[Fault("/before", Text("仍在保存期内", "still to be kept"), rule)])
    moment = datetime.combine(before, datetime.min.time(), UTC)
    total, erased = 0, 1
    while erased:
        with database.transaction() as session:
            erased = erasure.erase_names(session, before=moment, by=OPERATOR, reason="保存期届满")
        total += erased
    return total, before


def _keeping_from(session: Session) -> date:
    """The first day whose records are still to be kept: of all profiles the longest term counts."""
    years = session.scalar(select(func.max(RuleProfileRow.profile["options"]["record_years"].as_integer())))
    today = legal_date(now())
    return today.replace(year=today.year - (years or 3), day=min(today.day, 28))


def _number_pending(database: Database, keys: ServiceKeys) -> None:
    with database.transaction() as session:
        while ledger.sequence(session, keys.ledger):
            pass


def _attested(session: Session) -> verification.Contents:
    return chain(history.ledgered_contents(session), receipts.ledgered_contents(session))


def bootstrap(
    database: Database, *, login: str, authority: str, jurisdiction: str, jurisdiction_name: str
) -> str:
    """Make the authority and its first (security) administrator where they are missing; returns a fresh
    one-time secret of that person. Errors: Conflict where the login belongs to somebody else."""
    with database.transaction() as session:
        person = session.scalar(select(Person).where(Person.login == login))
        if person is None:
            place = session.scalar(select(Jurisdiction).where(Jurisdiction.code == jurisdiction))
            if place is None:
                place = agencies.register_jurisdiction(
                    session, code=jurisdiction, name=jurisdiction_name or jurisdiction,
                    name_en=jurisdiction_name or jurisdiction,
                    parent_code=agencies.root_jurisdiction(session).code, by=OPERATOR,
                )  # fmt: skip
            agency = session.get(Agency, place.authority_id) if place.authority_id else None
            if agency is None:
                agency = agencies.register_agency(
                    session,
                    name=authority,
                    jurisdiction_id=place.id,
                    verified=False,
                    authority=True,
                    by=OPERATOR,
                )
            person = sessions.register_person(
                session, login=login, name=login, agency_id=agency.id,
                roles=frozenset({Role.SECURITY_ADMINISTRATOR}), by=OPERATOR,
            )  # fmt: skip
        elif Role.SECURITY_ADMINISTRATOR not in person.roles:
            raise Conflict(
                Text("{login} 不是安全管理员。", "{login} is not a security administrator.").with_(
                    login=login
                )
            )
        return sessions.issue_one_time_secret(session, person, by=OPERATOR)


def examine(settings: Settings, database: Database) -> dict[str, dict[str, Any]]:
    """What this installation stands on, each fact with whether it is as it must be."""
    with database.transaction() as session:
        version = session.scalar(text("SHOW server_version"))
        trigrams = session.scalar(text("SELECT cardinality(show_trgm('信息资源'))")) or 0
        counts = {
            table.__tablename__: session.scalar(select(func.count()).select_from(table))
            for table in (Jurisdiction, Agency, Person, Client)
        }
        pending = session.scalar(select(func.count()).select_from(ledger.LedgerPending)) or 0
        second_line = has_service_role(session.connection())
    return {
        "python": {"ok": True, "value": platform.python_version()},
        "postgresql": {"ok": int(str(version).split(".")[0]) >= 15, "value": version},
        "chinese trigrams": {"ok": trigrams > 0, "value": trigrams},
        "role of the control plane": {"ok": second_line, "value": SERVICE_ROLE},
        "data folder": {"ok": os.access(settings.data, os.W_OK), "value": str(settings.data)},
        "keys private": {"ok": _private(settings.keys), "value": str(settings.keys)},
        "registered": {"ok": True, "value": counts},
        "ledger entries not numbered yet": {"ok": pending < 10_000, "value": pending},
    }


def _private(folder: Path) -> bool:
    return not folder.exists() or all(not file.stat().st_mode & 0o077 for file in folder.iterdir())


def rotate_keys(database: Database, keys: ServiceKeys, *, at_once: bool) -> int:
    """Give tokens their next signing key (`at_once`: and accept no other), and seal every secret at rest with a
    new key; gives how many. Safe beside the running service, and to run again after it was interrupted."""
    keys.token.rotate(early=True, at_once=at_once)
    count = 0
    with database.transaction() as session:
        session.execute(
            text(
                "LOCK TABLE provider_source, push_subscription, second_factor, webhook IN SHARE ROW EXCLUSIVE MODE"
            )
        )
        keys.seal.add_key()
        holders: list[ProviderSource | PushSubscription] = [
            *session.scalars(select(ProviderSource).where(ProviderSource.credentials.is_not(None))),
            *session.scalars(select(PushSubscription).where(PushSubscription.credentials.is_not(None))),
        ]
        for holder in holders:
            assert holder.credentials is not None
            holder.credentials = keys.seal.encrypt(keys.seal.decrypt(holder.credentials))
            count += 1
        for factor in session.scalars(select(SecondFactor)):
            factor.sealed = keys.seal.encrypt(keys.seal.decrypt(factor.sealed))
            count += 1
        for webhook in session.scalars(select(Webhook)):
            webhook.secret = keys.seal.encrypt(keys.seal.decrypt(webhook.secret.encode())).decode()
            count += 1
    keys.seal.forget_earlier_keys()
    return count
