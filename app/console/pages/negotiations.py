"""Negotiations: the thread with the terms on the table beside it, and every act of a party on them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Response
from sqlalchemy import select

from app.console import terms as pages
from app.console.due import clocks_of
from app.console.forms import Act, Form, Sent, perform
from app.console.view import Seen, View, acting_on, looking, looking_at, permit_page
from app.identity.models import Agency
from app.identity.permissions import permit
from app.kernel.actor import ROLE_NAMES
from app.kernel.errors import Problem
from app.kernel.machine import Machine, Party
from app.kernel.text import Text
from app.kernel.wire import Cursor
from exchange.disputes import api as disputes
from exchange.negotiations import api, wire
from exchange.negotiations.case import current_terms, find_negotiation, moment_of
from exchange.negotiations.models import Negotiation
from exchange.negotiations.states import GROUNDS, NEGOTIATION, hindrance
from exchange.parties import parties_of
from exchange.terms import Terms
from exchange.wire import OptionalReason, Reason, ToTerms, VersionOut

router = APIRouter(include_in_schema=False)
permit_page("console.negotiations", like="negotiation.list")
permit_page("console.negotiation", like="negotiation.read")
permit("console.negotiation_act")

AGENCIES_OFFERED = 500

ACTS = {
    "ask_material": Act(api.ask_material, Reason),
    "supply_material": Act(api.supply_material, Reason),
    "ask_extension": Act(api.ask_extension, wire.Extension),
    "extend": Act(api.extend, OptionalReason),
    "refuse_extension": Act(api.refuse_extension, Reason),
    "transfer": Act(api.transfer, wire.Transfer),
    "draft_terms": Act(api.draft_terms, wire.DraftTerms),
    "offer": Act(api.offer, ToTerms),
    "counter_offer": Act(api.counter_offer, ToTerms),
    "accept": Act(api.accept, ToTerms),
    "agree": Act(api.agree, ToTerms),
    "refuse": Act(api.refuse, wire.Refuse),
    "withdraw": Act(api.withdraw, OptionalReason),
    "open_dispute": Act(disputes.open_dispute, Reason),
}


@router.get("/negotiations", operation_id="console.negotiations")
def list_negotiations(
    view: Annotated[View, looking("console.negotiations")],
    state: str | None = None,
    waiting: bool = False,
    cursor: Cursor = None,
) -> Response:
    """Negotiations of one's own agency, or under one's authority."""
    state = state if state in NEGOTIATION.states else None
    chosen = wire.Chosen(state=state, waiting=waiting, cursor=cursor)
    found = api.list_negotiations(view.session, view.actor, chosen)
    return view.page(
        "negotiations/list.html", found=found, states=NEGOTIATION.states, state=state, waiting=waiting
    )


@router.get("/negotiations/{id:uuid}", operation_id="console.negotiation")
def negotiation_page(
    seen: Annotated[Seen[Negotiation], looking_at("console.negotiation", find_negotiation)],
) -> Response:
    """One negotiation."""
    return _negotiation(seen)


def _negotiation(
    seen: Seen[Negotiation], problem: Problem | None = None, form: Form | None = None
) -> Response:
    view, case, entered = seen.view, seen.case, form or Form()
    told = api.represent(seen.asked)
    versions = api.list_versions(seen.asked)
    resource_ids = {part.resource_id for version in versions for part in version.terms.resources}
    records = pages.records_of(view.session, resource_ids)
    entry = None
    if "draft_terms" in told.allowed:
        start = (told.draft or told.terms).terms
        entry = (
            pages.entry_from_form(entered, records)
            if entered.act == "draft_terms"
            else pages.entry_from_terms(start, records)
        )
    return view.page(
        "negotiations/one.html", status=problem.status if problem else 200, here=f"/negotiations/{case.id}",
        negotiation=told, parts=pages.told(told.terms.terms, records),
        changes=_changes_to(told.terms, versions, records),
        draft_changes=pages.told_changes(told.terms.terms, told.draft.terms, records) if told.draft else None,
        draft_parts=pages.told(told.draft.terms, records) if told.draft else None,
        narrower=pages.told(told.narrower.terms, records) if told.narrower else None,
        versions=versions, events=api.list_events(seen.asked), entry=entry, grounds=GROUNDS,
        acts=[act for act in told.allowed if act in ACTS], act_names=NEGOTIATION.acts, why_not=_why_not(seen, told.allowed),
        agencies=_agencies(view) if "transfer" in told.allowed else [],
        clocks=clocks_of(view, told.deadlines), problem=problem, entered=entered, done=view.request.query_params.get("done"),
    )  # fmt: skip


def _changes_to(current: VersionOut, versions: list[VersionOut], records: Any) -> Any:
    """What the terms on the table change against the version before them; None for the first."""
    before: Terms | None = None
    for version in versions:
        if version.number < current.number and version.consents:
            before = version.terms
    return pages.told_changes(before, current.terms, records) if before else None


def _why_not(seen: Seen[Negotiation], allowed: list[str]) -> list[tuple[Text, Text]]:
    """Acts of the reader's side that are not open to the reader now, each with the reason."""
    view, case = seen.view, seen.case
    parties = parties_of(view.actor, case)
    moment = moment_of(view.session, case, case.state, NEGOTIATION.acts)
    told = []
    for act in acts_of_side(NEGOTIATION, case.state, parties):
        if act not in allowed:
            reason = hindrance(moment, act) or who_may(NEGOTIATION, case.state, act, parties)
            told.append((NEGOTIATION.acts[act], reason))
    return told


def acts_of_side(machine: Machine, state: str, parties: frozenset[Party]) -> list[str]:
    """The acts that somebody of these parties may do in `state`."""
    return [
        row.act
        for row in machine.rows
        if row.source == state and any(party in parties for party, _ in row.by)
    ]


def who_may(machine: Machine, state: str, act: str, parties: frozenset[Party]) -> Text:
    """Which role of the reader's own side does an act."""
    row = machine.find(state, act)
    names = [ROLE_NAMES[role] for party, role in (row.by if row else ()) if role and party in parties]
    return Text("由本单位的{zh}办理。", "For your agency's {en}.").with_(
        zh="、".join(n.zh for n in names), en=", ".join(n.en for n in names)
    )


def _agencies(view: View) -> list[tuple[str, Text]]:
    rows = view.session.execute(
        select(Agency.id, Agency.name, Agency.name_en).order_by(Agency.name).limit(AGENCIES_OFFERED)
    )
    return [(str(row.id), Text(row.name, row.name_en or row.name)) for row in rows]


@router.post("/negotiations/{id:uuid}/{act}", operation_id="console.negotiation_act")
def act_on_negotiation(
    seen: Annotated[Seen[Negotiation], acting_on("negotiation", find_negotiation)], form: Sent
) -> Response:
    """Do one act of a party."""
    try:
        terms = None
        if form.act == "draft_terms":
            on_table = current_terms(seen.view.session, seen.case).typed
            records = pages.records_of(seen.view.session, [part.resource_id for part in on_table.resources])
            terms = pages.entry_from_form(form, records).wire()
        done = perform(ACTS, seen.asked, form, terms)
    except Problem as problem:
        return _negotiation(seen, problem, form)
    if form.act == "open_dispute":
        return seen.view.to(f"/disputes/{done.id}?done=open")
    if form.act == "transfer":  # it is the other agency's now
        return seen.view.to("/negotiations")
    return seen.view.to(f"/negotiations/{seen.case.id}?done={form.act}")
