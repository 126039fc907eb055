"""Disputes: the docket, and one case file with statements, offers, proposal and ruling."""

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
from exchange.disputes import api, service
from exchange.disputes.models import Dispute
from exchange.disputes.states import CAUSES, DISPUTE, GRANTS, OUTCOMES
from exchange.negotiations import api as negotiations
from exchange.negotiations import consents
from exchange.negotiations.case import current_terms
from exchange.negotiations.consents import versions_for
from exchange.negotiations.models import Negotiation
from exchange.wire import OptionalReason, Reason, ToTerms, VersionOut

router = APIRouter(include_in_schema=False)
permit_page("console.disputes", like="dispute.list")
permit_page("console.dispute", like="dispute.read")
permit("console.dispute_act")

ACTS = {
    "admit": Act(api.admit),
    "decline": Act(api.decline, Reason),
    "refer": Act(api.refer, Reason),
    "state": Act(api.make_statement, api.NewStatement),
    "propose": Act(api.propose, api.Proposal),
    "accept": Act(api.accept, ToTerms),
    "decline_proposal": Act(api.decline_proposal, OptionalReason),
    "draft_ruling": Act(api.draft_ruling, api.NewRuling),
    "rule": Act(api.rule, api.Signature),
    "ask_review": Act(api.ask_review, Reason),
    "confirm": Act(api.confirm, api.Confirmation),
    "change": Act(api.change, api.ChangedRuling),
    "record_settlement": Act(api.record_settlement, api.Settlement),
    "withdraw": Act(api.withdraw, OptionalReason),
}
_WITH_TERMS = ("propose", "draft_ruling", "change")


@router.get("/disputes", operation_id="console.disputes")
def list_disputes(
    view: Annotated[View, looking("console.disputes")],
    state: str | None = None,
    waiting: bool = False,
    cursor: Cursor = None,
) -> Response:
    """The docket."""
    state = state if state in DISPUTE.states else None
    chosen = api.Chosen(state=state, waiting=waiting, cursor=cursor)
    found = api.list_disputes(view.session, view.actor, chosen)
    return view.page(
        "disputes/list.html", found=found, states=DISPUTE.states, state=state, waiting=waiting, causes=CAUSES
    )


@router.get("/disputes/{id:uuid}", operation_id="console.dispute")
def dispute_page(
    seen: Annotated[Seen[Dispute], looking_at("console.dispute", service.find_dispute)],
) -> Response:
    """One case file."""
    return _dispute(seen)


def _dispute(seen: Seen[Dispute], problem: Problem | None = None, form: Form | None = None) -> Response:
    view, case, entered = seen.view, seen.case, form or Form()
    told = api.represent(seen.asked)
    negotiation = view.session.get_one(Negotiation, case.negotiation_id)
    versions = _versions(view, negotiation)
    records = pages.records_of(
        view.session, {part.resource_id for version in versions for part in version.terms.resources}
    )
    filled = entered.act in _WITH_TERMS and bool(entered.all("method"))
    start = told.proposal.terms if told.proposal else current_terms(view.session, negotiation).typed
    return view.page(
        "disputes/one.html", status=problem.status if problem else 200, here=f"/disputes/{case.id}",
        dispute=told, negotiation=negotiations.represent(view.asked(negotiation)), versions=versions,
        told={version.id: pages.told(version.terms, records) for version in versions},
        proposal=pages.told(told.proposal.terms, records) if told.proposal else None,
        ruled={ruling.id: pages.told(ruling.terms, records) if ruling.terms else None for ruling in told.rulings},
        entry=pages.entry_from_form(entered, records) if filled else pages.entry_from_terms(start, records),
        events=api.list_events(seen.asked), outcomes=OUTCOMES,
        acts=[act for act in told.allowed if act in ACTS], act_names=DISPUTE.acts,
        clocks=clocks_of(view, told.deadlines), problem=problem, entered=entered, done=view.request.query_params.get("done"),
    )  # fmt: skip


def _versions(view: View, negotiation: Negotiation) -> list[VersionOut]:
    """Every version of the terms that the reader may know: the history of offers."""
    rows = versions_for(view.session, negotiation, by=view.actor)
    given = consents.consents_to(view.session, {row.id for row in rows})
    return [VersionOut.of(row, given[row.id].values()) for row in rows]


@router.post("/disputes/{id:uuid}/{act}", operation_id="console.dispute_act")
def act_on_dispute(
    seen: Annotated[Seen[Dispute], acting_on("dispute", service.find_dispute)], form: Sent
) -> Response:
    """Do one act of a party or of the authority."""
    try:
        terms = None
        if form.act == "propose" or (form.act in _WITH_TERMS and form.text("outcome") in GRANTS):
            negotiation = seen.view.session.get_one(Negotiation, seen.case.negotiation_id)
            on_table = current_terms(seen.view.session, negotiation).typed
            records = pages.records_of(seen.view.session, [part.resource_id for part in on_table.resources])
            terms = pages.entry_from_form(form, records).wire()
        perform(ACTS, seen.asked, form, terms)
    except Problem as problem:
        return _dispute(seen, problem, form)
    return seen.view.to(f"/disputes/{seen.case.id}?done={form.act}")
