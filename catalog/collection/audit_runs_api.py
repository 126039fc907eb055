"""REST of audits of the whole catalog: ask for one, see how far it is and what it brought to the work-list."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.identity.cases import AgencyRef, Asked, EventOut, events_out, guarded
from app.identity.permissions import permit, permit_acts, permitted
from app.kernel.actor import Actor, Role
from app.kernel.db import DbSession
from app.kernel.idempotency import ONCE, CreatingRoute
from app.kernel.wire import (
    ExpectedVersion,
    Label,
    Page,
    Paging,
    Wire,
    encode_cursor,
    id_in_cursor,
    set_version,
)
from catalog.collection import audit_runs
from catalog.collection.auditing import STAGES
from catalog.collection.models import AuditRun, CatalogAudit
from catalog.collection.states import CATALOG_AUDIT
from catalog.collection.wire import agencies_out

router = APIRouter(prefix="/api/v1/audit/runs", tags=["collection"], route_class=CreatingRoute)

permit_acts(CATALOG_AUDIT)
permit(
    "catalog_audit.list", "catalog_audit.read", "catalog_audit.events",
    roles=(Role.APPROVER, Role.CATALOG_ADMINISTRATOR, Role.MEDIATOR, Role.AUDIT_ADMINISTRATOR),
    authority=True,
)  # fmt: skip

Audit = Asked[CatalogAudit]


def _asked(operation: str) -> Any:
    return guarded(f"catalog_audit.{operation}", audit_runs.find_audit)


class AuditWanted(Wire):
    """`whole`: everything is compared; else what changed since the last audit, or everything where people have
    decided something since or a new model compares."""

    whole: bool = False


class CatalogAuditOut(Wire):
    """An audit: how far it is (`done` of `total` in its stage, 0 of 0 where the stage counts nothing), and once
    finished how many resources were looked at (None: all) and what became of the work-list: findings `new`, `known`,
    `found_again`, `gone`."""

    id: UUID
    state: str
    state_name: Label
    version: int
    agency: AgencyRef
    whole: bool
    stage: Label | None
    done: int
    total: int
    examined: int | None
    counts: dict[str, int] | None
    created_at: datetime
    updated_at: datetime
    allowed: list[str]


@router.post("", operation_id="catalog_audit.ask", status_code=201, openapi_extra=ONCE)
def ask(
    body: AuditWanted,
    session: DbSession,
    actor: Annotated[Actor, permitted("catalog_audit.ask")],
    response: Response,
) -> CatalogAuditOut:
    """发起全目录审计: a worker compares the catalog and fills the audit desk, whether you stay or not."""
    row = audit_runs.ask(session, whole=body.whole, by=actor)
    response.headers["Location"] = f"{router.prefix}/{row.id}"
    return represent(Asked(session, row, actor, response))


@router.get("", operation_id="catalog_audit.list")
def list_audits(
    session: DbSession,
    actor: Annotated[Actor, permitted("catalog_audit.list")],
    chosen: Annotated[Paging, Query()],
) -> Page[CatalogAuditOut]:
    """The audits that people asked for, newest first."""
    before = id_in_cursor(chosen.cursor) if chosen.cursor else None
    rows = audit_runs.list_audits(session, by=actor, before=before, limit=chosen.fetch)
    following = encode_cursor(rows[chosen.limit - 1].id) if len(rows) > chosen.limit else None
    return Page(items=_represented(session, rows[: chosen.limit], actor), next=following)


@router.get("/{id}", operation_id="catalog_audit.read")
def read(asked: Annotated[Audit, _asked("read")]) -> CatalogAuditOut:
    """How far an audit is, or what it brought."""
    return represent(asked)


@router.get("/{id}/events", operation_id="catalog_audit.events")
def events(asked: Annotated[Audit, _asked("events")]) -> list[EventOut]:
    """Its history, oldest first."""
    return events_out(asked.session, CATALOG_AUDIT, asked.case.id)


@router.post("/{id}/cancel", operation_id="catalog_audit.cancel")
def cancel(asked: Annotated[Audit, _asked("cancel")], version: ExpectedVersion) -> CatalogAuditOut:
    """取消: nothing of it comes to the work-list."""
    audit_runs.cancel(asked.session, asked.case, by=asked.by, version=version)
    return represent(asked)


def represent(asked: Audit) -> CatalogAuditOut:
    """The audit as its authority sees it."""
    set_version(asked.response, asked.case.version)
    return _represented(asked.session, [asked.case], asked.by)[0]


def _represented(session: Session, rows: Sequence[CatalogAudit], by: Actor) -> list[CatalogAuditOut]:
    names = agencies_out(session, (row.agency_id for row in rows))
    wanted = [row.run_id for row in rows if row.run_id]
    runs = {run.id: run for run in session.scalars(select(AuditRun).where(AuditRun.id.in_(wanted)))}
    shown = []
    for row in rows:
        run = runs.get(row.run_id) if row.run_id else None
        shown.append(
            CatalogAuditOut(
                id=row.id, state=row.state, state_name=Label.of(CATALOG_AUDIT.states[row.state]), version=row.version,
                agency=names[row.agency_id], whole=row.whole, stage=Label.of(STAGES[row.stage]) if row.stage else None,
                done=row.done, total=row.total, examined=run.examined if run else None,
                counts=run.counts if run else None, created_at=row.created_at, updated_at=row.updated_at,
                allowed=audit_runs.allowed_acts(row, by=by),
            )
        )  # fmt: skip
    return shown
