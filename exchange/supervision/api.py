"""REST of supervision: figures over time, how duties are kept, who shares with whom."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Query

from app.identity.cases import AgencyRef
from app.identity.permissions import permit, permitted
from app.identity.profiles import profile_for
from app.kernel.actor import Actor, Role
from app.kernel.calendar import legal_date
from app.kernel.clock import now
from app.kernel.db import DbSession
from app.kernel.errors import Fault, Invalid
from app.kernel.text import Text
from app.kernel.wire import Label, Wire
from exchange.negotiations.states import GROUNDS
from exchange.parties import names_of
from exchange.supervision import service

router = APIRouter(prefix="/api/v1/supervision", tags=["supervision"])

permit(
    "supervision.figures",
    "supervision.sharing",
    roles=(Role.APPROVER, Role.CATALOG_ADMINISTRATOR, Role.MEDIATOR, Role.AUDIT_ADMINISTRATOR),
    authority=True,
)

YEARS = 5


class MonthOut(Wire):
    """One month, by its first day. `rows` are records delivered."""

    month: date
    requests: int
    agreements: int
    refusals: int
    disputes: int
    calls: int
    rows: int


class DutyOut(Wire):
    """How a duty was kept: `working_days` are the law's; `met` and `missed` ended in the period, `running` run now,
    `overdue` of them are past their end."""

    duty: str
    label: Label
    working_days: int | None
    legal_basis: str | None
    met: int
    missed: int
    running: int
    overdue: int


class RefusalsOut(Wire):
    ground: str
    label: Label
    count: int


class FiguresOut(Wire):
    """Figures of what the reader may know of."""

    since: date
    until: date
    months: list[MonthOut]
    duties: list[DutyOut]
    refusals: list[RefusalsOut]


class PairOut(Wire):
    provider: AgencyRef
    requester: AgencyRef
    agreements: int


class Period(Wire):
    """A period; without days the current year up to today."""

    since: date | None = None
    until: date | None = None


@router.get("/figures", operation_id="supervision.figures")
def read_figures(
    session: DbSession,
    actor: Annotated[Actor, permitted("supervision.figures")],
    period: Annotated[Period, Query()],
) -> FiguresOut:
    """共享监督指标: requests, replies against the law, refusals by ground, disputes and deliveries, month by month."""
    until = period.until or legal_date(now())
    since = period.since or until.replace(month=1, day=1)
    if since > until or (until - since).days > YEARS * 366:
        rule = Text("不晚于截止日期，至多 {n} 年", "not after `until`, at most {n} years before it")
        raise Invalid(faults=[Fault("/since", Text("期间不成立", "not a period"), rule.with_(n=YEARS))])
    assert actor.jurisdiction_id is not None, "an authority has a jurisdiction"
    known = profile_for(session, actor.jurisdiction_id).duties
    kept = service.duties(session, by=actor, since=since, until=until, now=now())
    return FiguresOut(
        since=since,
        until=until,
        months=[MonthOut.model_validate(row) for row in service.months(session, by=actor, since=since, until=until)],
        duties=[
            DutyOut(
                duty=row.duty, label=known[row.duty].label if row.duty in known else Label(zh=row.duty, en=row.duty),
                working_days=known[row.duty].working_days if row.duty in known else None, legal_basis=row.legal_basis,
                met=row.met, missed=row.missed, running=row.running, overdue=row.overdue,
            )
            for row in kept
        ],
        refusals=[
            RefusalsOut(ground=ground, label=Label.of(GROUNDS[ground].label), count=count)
            for ground, count in service.refusals(session, by=actor, since=since, until=until).items()
        ],
    )  # fmt: skip


@router.get("/sharing", operation_id="supervision.sharing")
def read_sharing(
    session: DbSession, actor: Annotated[Actor, permitted("supervision.sharing")]
) -> list[PairOut]:
    """共享关系: who supplies whom under live agreements, the most first."""
    found = service.pairs(session, by=actor)
    names = names_of(session, {i for row in found for i in (row.provider_id, row.requester_id)})
    return [
        PairOut(
            provider=AgencyRef.of(row.provider_id, names), requester=AgencyRef.of(row.requester_id, names),
            agreements=row.agreements,
        )
        for row in found
    ]  # fmt: skip
