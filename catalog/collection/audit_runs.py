"""Audits of the whole catalog as people ask for them (全目录审计): asked, under way, finished, given up.

Owns who may ask and know, and how far an audit is. Comparing is `auditing`'s. Refuses a second one beside the first.
Sources: Regulation Art. 17; Decree 809 Art. 19.
"""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import ColumnElement, Uuid, any_, false, literal, or_, select, true, update
from sqlalchemy.orm import Session

from app.identity.models import Jurisdiction
from app.kernel import history, jobs
from app.kernel.actor import Actor, ActorKind, system_actor
from app.kernel.db import Database, advisory_lock, lift_statement_timeout
from app.kernel.errors import Conflict, NotFound, NotPermitted, WrongMoment
from app.kernel.machine import Party
from app.kernel.text import Text
from catalog.collection import auditing, engines
from catalog.collection.models import CatalogAudit
from catalog.collection.states import ASKED, CATALOG_AUDIT, UNDER_AUDIT, UNDER_WAY

CARRY_OUT = "catalog_audit.carry_out"
LOCK = "audits"
WORKER = system_actor("worker")
_WORKER: frozenset[Party] = frozenset({"worker"})


def ask(session: Session, *, whole: bool, by: Actor) -> CatalogAudit:
    """发起审计: have what changed since the last audit compared, or the `whole` catalog; a worker does it whether one
    stays or not. Errors: NotPermitted; Conflict while one is under way."""
    if by.agency_id is None or by.id is None or not by.is_authority:
        raise NotPermitted()
    advisory_lock(session, LOCK)
    if session.scalar(select(CatalogAudit.id).where(CatalogAudit.state.in_(UNDER_WAY)).limit(1)) is not None:
        raise Conflict(
            Text("已有一次全目录审计在进行，完成后方可再次发起。", "An audit of the catalog is under way already; ask again when it has finished.")
        )  # fmt: skip
    row = CatalogAudit(agency_id=by.agency_id, person_id=by.id, whole=whole)
    history.create(
        session, row, CATALOG_AUDIT, "ask", by=by, parties=parties_of(by, row), data={"whole": whole}
    )
    jobs.enqueue(session, CARRY_OUT, {"audit_id": str(row.id)}, lock=LOCK)
    return row


def cancel(session: Session, row: CatalogAudit, *, by: Actor, version: int) -> None:
    """取消: nothing of it comes to the work-list."""
    history.advance(
        session, row, CATALOG_AUDIT, "cancel", by=by, parties=parties_of(by, row), expected_version=version
    )


def visible_to(by: Actor) -> ColumnElement[bool]:
    """Which audits `by` may know of: those that its authority asked for, and authorities below it."""
    if by.kind is ActorKind.SYSTEM:
        return true()
    if not by.is_authority:
        return false()
    below = select(Jurisdiction.authority_id).where(
        literal(by.jurisdiction_id, Uuid) == any_(Jurisdiction.path)
    )
    return or_(CatalogAudit.agency_id == by.agency_id, CatalogAudit.agency_id.in_(below))


def find_audit(session: Session, audit_id: UUID, *, by: Actor) -> CatalogAudit:
    """The audit, if the actor may know of it. Errors: NotFound."""
    row = session.scalar(select(CatalogAudit).where(CatalogAudit.id == audit_id, visible_to(by)))
    if row is None:
        raise NotFound()
    return row


def list_audits(
    session: Session, *, by: Actor, before: UUID | None = None, limit: int = 20
) -> list[CatalogAudit]:
    """Newest first; `before` is the last of the page before."""
    query = select(CatalogAudit).where(visible_to(by)).order_by(CatalogAudit.id.desc()).limit(limit)
    return list(session.scalars(query if before is None else query.where(CatalogAudit.id < before)))


def parties_of(by: Actor, row: CatalogAudit) -> frozenset[Party]:
    return frozenset({"authority"}) if by.agency_id == row.agency_id else frozenset()


def allowed_acts(row: CatalogAudit, *, by: Actor) -> list[str]:
    """The acts that the actor may do now."""
    return CATALOG_AUDIT.allowed(row.state, parties_of(by, row), by.roles)


# --- The worker's part


def carry_out(database: Database, audit_id: UUID) -> None:
    """Do an audit that was asked for, in one transaction, its progress written beside it. Done again after a kill;
    one that was cancelled or done meanwhile changes nothing."""
    with database.transaction() as session:
        row = session.get(CatalogAudit, audit_id, with_for_update=True)
        if row is None or row.state not in UNDER_WAY:
            return
        whole = row.whole
        if row.state == ASKED:
            history.advance(session, row, CATALOG_AUDIT, "begin", by=WORKER, parties=_WORKER)

    def told(stage: str, done: int = 0, total: int = 0) -> None:
        with database.transaction() as beside:
            wanted = update(CatalogAudit).where(
                CatalogAudit.id == audit_id, CatalogAudit.state == UNDER_AUDIT
            )
            how_far = wanted.values(stage=stage, done=done, total=total).returning(CatalogAudit.id)
            if beside.scalar(how_far) is None:
                raise WrongMoment()

    try:
        with engines.duck() as engine, database.transaction() as session:
            lift_statement_timeout(session)
            report = auditing.run(session, engine, whole=whole, told=told)
            row = session.get_one(CatalogAudit, audit_id)
            row.run_id = report.run_id
            history.advance(
                session, row, CATALOG_AUDIT, "finish", by=WORKER, parties=_WORKER, data=report.counts
            )
    except WrongMoment:  # cancelled meanwhile: nothing of it stays
        return


def give_up(database: Database, audit_id: UUID) -> None:
    """Say of an audit that it failed, unless it has come to its end."""
    with database.transaction() as session:
        row = session.get(CatalogAudit, audit_id, with_for_update=True)
        if row is not None and row.state == UNDER_AUDIT:
            history.advance(session, row, CATALOG_AUDIT, "fail", by=WORKER, parties=_WORKER)
