"""REST of quality: one resource's score with the reasons, and what an agency has, worst first."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from app.identity.cases import Asked, guarded
from app.identity.permissions import permit, permitted
from app.kernel.actor import Actor, Scope
from app.kernel.db import DbSession
from app.kernel.errors import Invalid
from app.kernel.idempotency import CreatingRoute
from app.kernel.wire import NOT_A_CURSOR, Label, Page, Paging, Wire, decode_cursor, encode_cursor
from catalog.quality import service
from catalog.quality.scoring import NAMES, WEIGHTS, Measure
from catalog.resources import service as resources
from catalog.resources.api import ResourceSummary, summary_of
from catalog.resources.models import Resource

router = APIRouter(prefix="/api/v1", tags=["quality"], route_class=CreatingRoute)

permit("resource.quality", "quality.list", scope=Scope.CATALOG)


class MeasureOut(Wire):
    """One measure from 0 to 1 with its reasons; without a score it does not apply and is not counted."""

    name: str
    label: Label
    weight: float
    score: float | None
    reasons: list[Label]

    @classmethod
    def of(cls, measure: Measure) -> MeasureOut:
        return cls(
            name=measure.name, label=Label.of(NAMES[measure.name]), weight=WEIGHTS[measure.name], score=measure.score,
            reasons=[Label.of(reason) for reason in measure.reasons],
        )  # fmt: skip


class QualityOut(Wire):
    score: float
    measures: list[MeasureOut]


class Worse(Wire):
    """A resource with its score, and the measures that lower it."""

    resource: ResourceSummary
    score: float
    lowered_by: list[MeasureOut]


class Chosen(Paging):
    """Of one agency; else of all that the reader handles."""

    agency: UUID | None = None

    @property
    def after(self) -> tuple[float, UUID] | None:
        if self.cursor is None:
            return None
        score, last = decode_cursor(self.cursor, 2)
        try:
            return float(score), UUID(str(last))
        except (ValueError, TypeError):
            raise Invalid(faults=[NOT_A_CURSOR]) from None


@router.get("/resources/{id}/quality", operation_id="resource.quality")
def read_quality(
    asked: Annotated[Asked[Resource], guarded("resource.quality", resources.find)],
) -> QualityOut:
    """How good the record is, as of now, and why."""
    score, measures = service.quality_of(asked.session, [asked.case])[asked.case.id]
    return QualityOut(score=score, measures=[MeasureOut.of(one) for one in measures])


@router.get("/quality", operation_id="quality.list")
def list_worst(
    session: DbSession,
    actor: Annotated[Actor, permitted("quality.list")],
    chosen: Annotated[Chosen, Query()],
) -> Page[Worse]:
    """What the reader's agency provides, or its authority reviews, worst first, with what lowers each."""
    rows = service.worst_of(
        session, by=actor, agency_id=chosen.agency, after=chosen.after, limit=chosen.fetch
    )
    shown = rows[: chosen.limit]
    measured = service.quality_of(session, [resource for _, resource in shown])
    items = [
        Worse(
            resource=ResourceSummary(**summary_of(resource)),
            score=quality.score,
            lowered_by=[
                MeasureOut.of(one)
                for one in measured[resource.id][1]
                if one.score is not None and one.score < 1
            ],
        )
        for quality, resource in shown
    ]
    last = shown[-1][0] if len(rows) > chosen.limit else None
    return Page(items=items, next=encode_cursor(last.score, last.resource_id) if last else None)
