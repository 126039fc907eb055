"""REST of collection: plans, the check, findings and every act on them, notices of criticism."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse

from app.identity.cases import Asked, EventOut, events_out, guarded
from app.identity.permissions import permit, permit_acts, permitted
from app.kernel.actor import Actor, Role, Scope
from app.kernel.db import DbSession
from app.kernel.idempotency import ONCE, CreatingRoute
from app.kernel.wire import ExpectedVersion, Page, encode_cursor
from catalog.collection import checking, findings, notices, service
from catalog.collection.models import Finding, Notice, Plan
from catalog.collection.record import CheckRecord, PlanChanges, PlanRecord, changes
from catalog.collection.states import FINDING, GROUNDS, PLAN
from catalog.collection.wire import (
    Acceptance,
    Because,
    CheckedItem,
    CheckOut,
    ChosenFindings,
    ChosenNotices,
    ChosenPlans,
    FindingOut,
    FindingSummary,
    GroundOut,
    Justification,
    MaybeBecause,
    NoticeOut,
    NoticeSummary,
    Period,
    Permission,
    PlanOut,
    PlanSummary,
    finding_out,
    finding_summaries,
    ground_out,
    notice_out,
    notice_summaries,
    plan_out,
    plan_summaries,
)

router = APIRouter(prefix="/api/v1", tags=["collection"], route_class=CreatingRoute)

permit_acts(PLAN)
permit_acts(FINDING)
permit(
    "plan.list",
    "plan.read",
    "plan.findings",
    "plan.events",
    "plan.changes",
    "finding.list",
    "finding.read",
    "finding.events",
    "notice.list",
    "notice.read",
    roles=(Role.CLERK, Role.APPROVER, Role.CATALOG_ADMINISTRATOR, Role.MEDIATOR, Role.AUDIT_ADMINISTRATOR),
    scope=Scope.CLERK,
)
permit(
    "collection.check",
    "collection.grounds",
    roles=(Role.CLERK, Role.APPROVER, Role.CATALOG_ADMINISTRATOR, Role.MEDIATOR),
    scope=Scope.CLERK,
)


def _plan(act: str) -> Any:
    return guarded(f"plan.{act}", service.find_plan)


def _finding(act: str) -> Any:
    return guarded(f"finding.{act}", findings.find_finding)


AskedFinding = Asked[tuple[Finding, Plan]]


# --- The check


@router.post("/collection/check", operation_id="collection.check")
def check(
    body: CheckRecord, session: DbSession, actor: Annotated[Actor, permitted("collection.check")]
) -> CheckOut:
    """查重: what the catalog holds of one item or several, while a plan is being written. Nothing is kept."""
    checked = checking.check_items(session, body.items, body.context)
    found = checking.candidates(session, checked, body.wanted, asking=actor.agency_id)
    return CheckOut(
        items=[
            CheckedItem(
                item=item, band=checked.items[position].band,
                candidates=found[position],
            )
            for position, item in enumerate(body.items)
        ],
        coverage=checking.coverage(checked),
        model_version=checked.model_version,
    )  # fmt: skip


@router.get(
    "/collection/grounds",
    operation_id="collection.grounds",
    dependencies=[permitted("collection.grounds")],
)
def list_grounds() -> list[GroundOut]:
    """The reasons a justification may give, with the article each leans on."""
    return [ground_out(code) for code in GROUNDS]


# --- Plans


@router.get("/plans", operation_id="plan.list")
def list_plans(
    session: DbSession,
    actor: Annotated[Actor, permitted("plan.list")],
    chosen: Annotated[ChosenPlans, Query()],
) -> Page[PlanSummary]:
    """Plans the reader may know of, newest first."""
    rows = service.list_plans(
        session, by=actor, state=chosen.state, before=chosen.before, limit=chosen.limit + 1
    )
    shown = plan_summaries(session, rows[: chosen.limit])
    return Page(items=shown, next=encode_cursor(shown[-1].id) if len(rows) > chosen.limit else None)


@router.post("/plans", operation_id="plan.draft", status_code=201, openapi_extra=ONCE)
def draft_plan(
    body: PlanRecord, session: DbSession, actor: Annotated[Actor, permitted("plan.draft")], response: Response
) -> PlanOut:
    """编制: write a plan of one's own agency."""
    plan = service.draft_plan(session, record=body, by=actor)
    response.headers["Location"] = f"{router.prefix}/plans/{plan.id}"
    return plan_out(Asked(session, plan, actor, response))


@router.get("/plans/{id}", operation_id="plan.read")
def read_plan(asked: Annotated[Asked[Plan], _plan("read")]) -> PlanOut:
    """One plan."""
    return plan_out(asked)


@router.get("/plans/{id}/events", operation_id="plan.events")
def list_plan_events(asked: Annotated[Asked[Plan], _plan("events")]) -> list[EventOut]:
    """The plan's history, oldest first."""
    return events_out(asked.session, PLAN, asked.case.id, notes=service.NOTES)


@router.get("/plans/{id}/findings", operation_id="plan.findings")
def list_plan_findings(asked: Annotated[Asked[Plan], _plan("findings")]) -> list[FindingSummary]:
    """What the check found, in the order of the plan's items."""
    found = findings.findings_of(asked.session, asked.case)
    return finding_summaries(asked.session, [(finding, asked.case) for finding in found])


@router.put("/plans/{id}", operation_id="plan.edit")
def edit_plan(
    asked: Annotated[Asked[Plan], _plan("edit")], body: PlanRecord, version: ExpectedVersion
) -> PlanOut:
    """修改: rewrite a draft."""
    service.edit_plan(asked.session, asked.case, record=body, by=asked.by, version=version)
    return plan_out(asked)


@router.post("/plans/{id}/file", operation_id="plan.file")
def file_plan(asked: Annotated[Asked[Plan], _plan("file")], version: ExpectedVersion) -> PlanOut:
    """报送: approve and file; every item is checked against the catalog."""
    service.file_plan(asked.session, asked.case, by=asked.by, version=version)
    return plan_out(asked)


@router.post("/plans/{id}/collect", operation_id="plan.collect")
def collect(asked: Annotated[Asked[Plan], _plan("collect")], version: ExpectedVersion) -> PlanOut:
    """开始采集: possible once no finding blocks the plan."""
    service.collect(asked.session, asked.case, by=asked.by, version=version)
    return plan_out(asked)


@router.post("/plans/{id}/close", operation_id="plan.close")
def close_plan(asked: Annotated[Asked[Plan], _plan("close")], version: ExpectedVersion) -> PlanOut:
    """结束: the collection is done, or given up."""
    service.close_plan(asked.session, asked.case, by=asked.by, version=version)
    return plan_out(asked)


@router.post("/plans/{id}/permit", operation_id="plan.permit")
def permit_plan(
    asked: Annotated[Asked[Plan], _plan("permit")], body: Permission, version: ExpectedVersion
) -> PlanOut:
    """准予先行采集: let a plan collect until a day although findings are open."""
    service.permit(
        asked.session, asked.case, reason=body.reason, until=body.until, by=asked.by, version=version
    )
    return plan_out(asked)


@router.post("/plans/{id}/amend", operation_id="plan.amend", status_code=201, openapi_extra=ONCE)
def amend_plan(asked: Annotated[Asked[Plan], _plan("amend")], body: PlanRecord) -> PlanOut:
    """变更: draft what a running plan is to become; once cleared it takes the plan's place."""
    return _drafted(asked, service.amend_plan(asked.session, asked.case, record=body, by=asked.by))


@router.post("/plans/{id}/renew", operation_id="plan.renew", status_code=201, openapi_extra=ONCE)
def renew_plan(asked: Annotated[Asked[Plan], _plan("renew")], body: Period) -> PlanOut:
    """续期: draft the same plan for another period; filed, it is checked again."""
    plan = service.renew_plan(
        asked.session, asked.case, period_from=body.period_from, period_until=body.period_until, by=asked.by
    )
    return _drafted(asked, plan)


def _drafted(asked: Asked[Plan], plan: Plan) -> PlanOut:
    asked.response.headers["Location"] = f"{router.prefix}/plans/{plan.id}"
    return plan_out(Asked(asked.session, plan, asked.by, asked.response))


@router.get("/plans/{id}/changes", operation_id="plan.changes")
def plan_changes(asked: Annotated[Asked[Plan], _plan("changes")]) -> PlanChanges:
    """What is new against the plan that this one renews or amends; of a first plan, everything."""
    before = service.predecessor(asked.session, asked.case)
    record = asked.case.typed
    if before is None:
        return PlanChanges(fields=(), added=record.items, removed=(), changed=())
    return changes(before.typed, record)


# --- Findings


@router.get("/findings", operation_id="finding.list")
def list_findings(
    session: DbSession,
    actor: Annotated[Actor, permitted("finding.list")],
    chosen: Annotated[ChosenFindings, Query()],
) -> Page[FindingSummary]:
    """待办: findings that wait for the reader's agency, newest first."""
    rows = findings.list_findings(
        session, by=actor, waiting=chosen.waiting, state=chosen.state, before=chosen.before,
        limit=chosen.limit + 1,
    )  # fmt: skip
    shown = finding_summaries(session, rows[: chosen.limit])
    return Page(items=shown, next=encode_cursor(shown[-1].id) if len(rows) > chosen.limit else None)


@router.get("/findings/{id}", operation_id="finding.read")
def read_finding(asked: Annotated[AskedFinding, _finding("read")]) -> FindingOut:
    """One finding with its candidates."""
    return finding_out(asked)


@router.get("/findings/{id}/events", operation_id="finding.events")
def list_finding_events(asked: Annotated[AskedFinding, _finding("events")]) -> list[EventOut]:
    """The finding's history, oldest first."""
    return events_out(asked.session, FINDING, asked.case[0].id)


@router.post("/findings/{id}/withdraw", operation_id="finding.withdraw")
def withdraw(
    asked: Annotated[AskedFinding, _finding("withdraw")], body: MaybeBecause, version: ExpectedVersion
) -> FindingOut:
    """放弃采集: give the item up; the answer offers the share request."""
    findings.withdraw(asked.session, *asked.case, reason=body.reason, by=asked.by, version=version)
    return finding_out(asked)


@router.post("/findings/{id}/justify", operation_id="finding.justify")
def justify(
    asked: Annotated[AskedFinding, _finding("justify")], body: Justification, version: ExpectedVersion
) -> FindingOut:
    """说明理由: say why the item is to be collected all the same."""
    findings.justify(
        asked.session, *asked.case, ground=body.ground, text=body.text, by=asked.by, version=version
    )
    return finding_out(asked)


@router.post("/findings/{id}/accept", operation_id="finding.accept")
def accept(
    asked: Annotated[AskedFinding, _finding("accept")], body: Acceptance, version: ExpectedVersion
) -> FindingOut:
    """认可理由: the item may be collected, within a scope and until a day."""
    findings.accept(
        asked.session, *asked.case, reason=body.reason, scope=body.scope, until=body.until, by=asked.by,
        version=version,
    )  # fmt: skip
    return finding_out(asked)


@router.post("/findings/{id}/uphold", operation_id="finding.uphold")
def uphold(
    asked: Annotated[AskedFinding, _finding("uphold")], body: Because, version: ExpectedVersion
) -> FindingOut:
    """认定重复采集: the item is not to be collected; the answer offers the share request."""
    findings.uphold(asked.session, *asked.case, reason=body.reason, by=asked.by, version=version)
    return finding_out(asked)


@router.post("/findings/{id}/appeal", operation_id="finding.appeal")
def appeal(
    asked: Annotated[AskedFinding, _finding("appeal")], body: Because, version: ExpectedVersion
) -> FindingOut:
    """提出异议: ask once that another person of the authority decides again."""
    findings.appeal(asked.session, *asked.case, reason=body.reason, by=asked.by, version=version)
    return finding_out(asked)


@router.post("/findings/{id}/share_instead", operation_id="finding.share_instead")
def share_instead(
    asked: Annotated[AskedFinding, _finding("share_instead")], body: MaybeBecause, version: ExpectedVersion
) -> FindingOut:
    """改为共享取得: drop the item and ask for what exists."""
    findings.share_instead(asked.session, *asked.case, reason=body.reason, by=asked.by, version=version)
    return finding_out(asked)


@router.post("/findings/{id}/notice", operation_id="finding.notice", status_code=201, openapi_extra=ONCE)
def issue_notice(asked: Annotated[AskedFinding, _finding("notice")], version: ExpectedVersion) -> NoticeOut:
    """通报批评: sign the notice that is written from the record (Regulation Art. 46(1))."""
    notice = findings.issue_notice(asked.session, *asked.case, by=asked.by, version=version)
    asked.response.headers["Location"] = f"{router.prefix}/notices/{notice.id}"
    return notice_out(asked.session, notice)


@router.get("/notices", operation_id="notice.list")
def list_notices(
    session: DbSession,
    actor: Annotated[Actor, permitted("notice.list")],
    chosen: Annotated[ChosenNotices, Query()],
) -> Page[NoticeSummary]:
    """通报登记: the register of notices of criticism, newest first."""
    rows = findings.list_notices(
        session, by=actor, year=chosen.year, agency_id=chosen.agency_id, before=chosen.before,
        limit=chosen.fetch,
    )  # fmt: skip
    shown = notice_summaries(session, rows[: chosen.limit])
    return Page(items=shown, next=encode_cursor(shown[-1].id) if len(rows) > chosen.limit else None)


@router.get(
    "/notices/{id}",
    operation_id="notice.read",
    response_model=NoticeOut,
    responses={200: {"content": {"text/html": {}}}},
)
def read_notice(
    asked: Annotated[Asked[Notice], guarded("notice.read", findings.find_notice)], request: Request
) -> NoticeOut | HTMLResponse:
    """A notice of criticism; where text/html is asked for as a document, in the language asked for."""
    if "text/html" in request.headers.get("accept", ""):
        page = findings.notice_document(asked.session, asked.case, request.state.locale)
        headers = {"Content-Language": request.state.locale, "Content-Security-Policy": notices.POLICY}
        return HTMLResponse(page, headers=headers)
    return notice_out(asked.session, asked.case)
