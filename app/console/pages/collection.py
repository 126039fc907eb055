"""Collection plans: the list, and one plan with what the catalog holds already, item by item, with the reasons,
and every act on a finding."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Response

from app.console.due import clocks_of
from app.console.forms import Act, Form, Sent, perform
from app.console.view import Seen, View, acting_on, looking, looking_at, permit_page
from app.identity.permissions import permit
from app.kernel.errors import Problem
from app.kernel.wire import Cursor
from catalog.collection import api, findings, service
from catalog.collection.models import Finding, Plan
from catalog.collection.record import MEANS
from catalog.collection.states import FINDING, GROUNDS, PLAN
from catalog.collection.wire import (
    Acceptance,
    Because,
    ChosenPlans,
    FindingOut,
    Justification,
    MaybeBecause,
    finding_out,
    plan_out,
)
from catalog.resources.codes import SHARING_TYPES, UPDATE_CYCLES

router = APIRouter(include_in_schema=False)
permit_page("console.plans", like="plan.list")
permit_page("console.plan", like="plan.read")
permit("console.plan_act", "console.finding_act")

PLAN_ACTS = {"file": Act(api.file_plan), "collect": Act(api.collect), "close": Act(api.close_plan)}
FINDING_ACTS = {
    "withdraw": Act(api.withdraw, MaybeBecause),
    "justify": Act(api.justify, Justification),
    "accept": Act(api.accept, Acceptance),
    "uphold": Act(api.uphold, Because),
    "appeal": Act(api.appeal, Because),
    "share_instead": Act(api.share_instead, MaybeBecause),
    "notice": Act(api.issue_notice),
}


@router.get("/plans", operation_id="console.plans")
def list_plans(
    view: Annotated[View, looking("console.plans")], state: str | None = None, cursor: Cursor = None
) -> Response:
    """Plans that the reader may know of."""
    state = state if state in PLAN.states else None
    found = api.list_plans(view.session, view.actor, ChosenPlans(state=state, cursor=cursor))
    return view.page("plans/list.html", found=found, states=PLAN.states, state=state)


@router.get("/plans/{id:uuid}", operation_id="console.plan")
def plan_page(seen: Annotated[Seen[Plan], looking_at("console.plan", service.find_plan)]) -> Response:
    """One plan with its findings."""
    return _plan(seen.view, seen.case)


def _plan(
    view: View,
    case: Plan,
    problem: Problem | None = None,
    form: Form | None = None,
    finding: Finding | None = None,
) -> Response:
    """The plan's page; `finding` is the one whose form was sent."""
    asked = view.asked(case)
    told = plan_out(asked)
    found = [finding_out(view.asked((row, case))) for row in findings.findings_of(view.session, case)]
    entered = form or Form()
    return view.page(
        "plans/one.html", status=problem.status if problem else 200, here=f"/plans/{case.id}",
        plan=told, findings=found, clocks={row.id: _clocks(view, row) for row in found},
        entered=entered if finding is None else Form(), entered_of={finding.id: entered} if finding else {}, blank=Form(),
        acts=[act for act in told.allowed if act in PLAN_ACTS], finding_acts=list(FINDING_ACTS),
        act_names={**FINDING.acts, **PLAN.acts}, finding_names=FINDING.acts, grounds=GROUNDS, means=MEANS,
        cycles=UPDATE_CYCLES, sharing=SHARING_TYPES, events=api.list_plan_events(asked),
        may_request=view.may("request.draft") and case.agency_id == view.actor.agency_id,
        problem=problem, done=view.request.query_params.get("done"),
    )  # fmt: skip


def _clocks(view: View, finding: FindingOut) -> object:
    return clocks_of(view, finding.deadlines)


@router.post("/plans/{id:uuid}/{act}", operation_id="console.plan_act")
def act_on_plan(seen: Annotated[Seen[Plan], acting_on("plan", service.find_plan)], form: Sent) -> Response:
    """File it for the check, begin or end collecting."""
    try:
        perform(PLAN_ACTS, seen.asked, form)
    except Problem as problem:
        return _plan(seen.view, seen.case, problem, form)
    return seen.view.to(f"/plans/{seen.case.id}?done={form.act}")


@router.post("/findings/{id:uuid}/{act}", operation_id="console.finding_act")
def act_on_finding(
    seen: Annotated[Seen[tuple[Finding, Plan]], acting_on("finding", findings.find_finding)], form: Sent
) -> Response:
    """Answer or decide a finding."""
    finding, plan = seen.case
    try:
        perform(FINDING_ACTS, seen.asked, form)
    except Problem as problem:
        return _plan(seen.view, plan, problem, form, finding)
    return seen.view.to(f"/plans/{plan.id}?done={form.act}#finding-{finding.id}")
