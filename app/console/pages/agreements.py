"""Agreements: the register, and one agreement as a document with its life."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Response

from app.console import terms as pages
from app.console.due import clocks_of
from app.console.forms import Act, Form, Sent, perform
from app.console.view import Seen, View, acting_on, looking, looking_at, permit_page
from app.identity.permissions import permit
from app.kernel.errors import Problem
from app.kernel.wire import Cursor
from exchange.agreements import api, service
from exchange.agreements.models import Agreement
from exchange.agreements.states import AGREEMENT
from exchange.delivery import api as delivery
from exchange.wire import OptionalReason, Reason

router = APIRouter(include_in_schema=False)
permit_page("console.agreements", like="agreement.list")
permit_page("console.agreement", like="agreement.read")
permit("console.agreement_act")

RECEIPTS_SHOWN = 20

ACTS = {
    "suspend": Act(api.suspend, Reason),
    "resume": Act(api.resume, OptionalReason),
    "announce_end": Act(api.announce_end, Reason),
    "agree_end": Act(api.agree_end, OptionalReason),
    "terminate": Act(api.terminate, Reason),
    "complete": Act(api.complete, OptionalReason),
}


@router.get("/agreements", operation_id="console.agreements")
def list_agreements(
    view: Annotated[View, looking("console.agreements")], state: str | None = None, cursor: Cursor = None
) -> Response:
    """The register."""
    state = state if state in AGREEMENT.states else None
    found = api.list_agreements(view.session, view.actor, api.Chosen(state=state, cursor=cursor))
    records = pages.records_of(view.session, {i for row in found.items for i in row.resource_ids})
    return view.page(
        "agreements/list.html", found=found, states=AGREEMENT.states, state=state, records=records
    )


@router.get("/agreements/{id:uuid}", operation_id="console.agreement")
def agreement_page(
    seen: Annotated[Seen[Agreement], looking_at("console.agreement", service.find_agreement)],
) -> Response:
    """One agreement."""
    return _agreement(seen)


def _agreement(seen: Seen[Agreement], problem: Problem | None = None, form: Form | None = None) -> Response:
    view, case = seen.view, seen.case
    told = api.represent(seen.asked)
    records = pages.records_of(view.session, case.resource_ids)
    may_count = view.may("agreement.use") and view.may("receipt.list")
    receipts = delivery.ChosenReceipts(agreement_id=case.id, limit=RECEIPTS_SHOWN)
    return view.page(
        "agreements/one.html", status=problem.status if problem else 200, here=f"/agreements/{case.id}",
        agreement=told, parts=pages.told(told.terms, records), events=api.list_events(seen.asked),
        acts=[act for act in told.allowed if act in ACTS], act_names=AGREEMENT.acts,
        use=delivery.use_of_agreement(seen.asked) if may_count else None,
        receipts=delivery.list_receipts(view.session, view.actor, receipts).items if may_count else [],
        clocks=clocks_of(view, told.deadlines), problem=problem, entered=form or Form(), done=view.request.query_params.get("done"),
    )  # fmt: skip


@router.post("/agreements/{id:uuid}/{act}", operation_id="console.agreement_act")
def act_on_agreement(
    seen: Annotated[Seen[Agreement], acting_on("agreement", service.find_agreement)], form: Sent
) -> Response:
    """Suspend, resume or end it."""
    try:
        perform(ACTS, seen.asked, form)
    except Problem as problem:
        return _agreement(seen, problem, form)
    return seen.view.to(f"/agreements/{seen.case.id}?done={form.act}")
