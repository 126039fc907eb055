"""Share requests: the form that starts from resources of the catalog, and one's agency's requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from app.console import terms as pages
from app.console.forms import Act, Form, Sent, perform, validated
from app.console.view import Seen, View, acting_on, looking, looking_at, permit_page
from app.identity.permissions import permit
from app.kernel.calendar import legal_date
from app.kernel.clock import now
from app.kernel.errors import NotFound, Problem
from app.kernel.wire import Cursor
from catalog.collection import findings
from catalog.collection import service as plans
from catalog.collection.share_request import ShareRequestBody
from catalog.resources import service as resources
from catalog.resources.record import ResourceRecord
from exchange.requests import api, service
from exchange.requests.models import ShareRequest
from exchange.requests.states import REQUEST
from exchange.terms import Terms

router = APIRouter(include_in_schema=False)
permit_page("console.requests", like="request.list")
permit_page("console.request", like="request.read")
permit_page("console.new_request", like="request.draft")
permit_page("console.draft_request", like="request.draft")
permit("console.request_act")

RESOURCES_AT_ONCE = 50

ACTS = {
    "amend": Act(api.amend_request, api.NewRequest),
    "file": Act(api.file_request),
    "discard": Act(api.discard_request),
}

Picked = Annotated[Sequence[UUID], Query(max_length=RESOURCES_AT_ONCE)]


@router.get("/requests", operation_id="console.requests")
def list_requests(
    view: Annotated[View, looking("console.requests")], state: str | None = None, cursor: Cursor = None
) -> Response:
    """The requests of one's own agency."""
    state = state if state in REQUEST.states else None
    found = api.list_requests(view.session, view.actor, api.Chosen(state=state, cursor=cursor))
    return view.page("requests/list.html", found=found, states=REQUEST.states, state=state)


@router.get("/requests/new", operation_id="console.new_request")
def new_request(
    view: Annotated[View, looking("console.new_request")],
    resource: Picked = (),
    plan: UUID | None = None,
    finding: UUID | None = None,
) -> Response:
    """The form for a request: for these resources from scratch, or as a plan or finding has filled it in."""
    filled = _filled_in(view, plan, finding)
    if filled is None:
        records = _picked(view, resource)
        return _form(view, pages.blank_entry(records, legal_date(now())), title=_title(records))
    terms = Terms.model_validate(filled.terms.model_dump(mode="json"))
    records = _picked(view, [part.resource_id for part in terms.resources])
    return _form(view, pages.entry_from_terms(terms, records), title=filled.title)


def _filled_in(view: View, plan_id: UUID | None, finding_id: UUID | None) -> ShareRequestBody | None:
    """What takes the place of a collection; None where no plan or finding was named. Errors: NotFound."""
    if finding_id is not None:
        found = findings.find_finding(view.session, finding_id, by=view.actor)
        filled = findings.share_request_for(view.session, *found)
    elif plan_id is not None:
        plan = plans.find_plan(view.session, plan_id, by=view.actor)
        filled = findings.share_request_of_plan(view.session, plan, findings.findings_of(view.session, plan))
    else:
        return None
    if filled is None:
        raise NotFound()
    return filled


@router.post("/requests/new", operation_id="console.draft_request")
def draft_request(view: Annotated[View, looking("console.draft_request")], form: Sent) -> Response:
    """Write the draft that the approver files."""
    records = _picked(view, _ids(form))
    entry = pages.entry_from_form(form, records)
    try:
        with view.session.begin_nested():
            body = validated(api.Drafted, {"title": form.text("title"), "terms": entry.wire()})
            drafted = api.draft_request(body, view.session, view.actor, Response())
    except Problem as problem:
        return _form(view, entry, title=form.text("title"), problem=problem)
    return view.to(f"/requests/{drafted.id}?done=draft")


def _form(view: View, entry: pages.Entry, *, title: str, problem: Problem | None = None) -> Response:
    here = "/requests/new?" + "&".join(f"resource={part.id}" for part in entry.resources)
    status = problem.status if problem else 200
    return view.page("requests/new.html", status=status, here=here, entry=entry, title=title, problem=problem)


def _ids(form: Form) -> list[UUID]:
    return [UUID(value) for value in form.all("resource")[:RESOURCES_AT_ONCE] if _is_id(value)]


def _is_id(value: str) -> bool:
    try:
        UUID(value)
    except ValueError:
        return False
    return True


def _picked(view: View, resource_ids: Sequence[UUID]) -> dict[UUID, ResourceRecord]:
    """The records of resources that the reader may know of. Errors: NotFound."""
    found = [
        resources.find(view.session, resource_id, by=view.actor)
        for resource_id in dict.fromkeys(resource_ids)
    ]
    return {row.id: ResourceRecord.model_validate(row.record) for row in found}


def _title(records: Mapping[UUID, ResourceRecord]) -> str:
    return "、".join(record.title for record in records.values())[:100]


@router.get("/requests/{id:uuid}", operation_id="console.request")
def request_page(
    seen: Annotated[Seen[ShareRequest], looking_at("console.request", service.find_request)],
) -> Response:
    """One request."""
    return _request(seen)


def _request(seen: Seen[ShareRequest], problem: Problem | None = None, form: Form | None = None) -> Response:
    view, case = seen.view, seen.case
    told = api.represent(seen.asked)
    records = pages.records_of(view.session, [part.resource_id for part in told.terms.resources])
    entered = form or Form()
    entry = pages.entry_from_form(entered, records) if entered.act == "amend" else None
    return view.page(
        "requests/one.html", status=problem.status if problem else 200, here=f"/requests/{case.id}",
        request=told, parts=pages.told(told.terms, records),
        entry=entry or pages.entry_from_terms(told.terms, records), act_names=REQUEST.acts,
        title=entered.text("title", "amend") or told.title, events=api.list_events(seen.asked),
        own_draft=case.author_id == view.actor.id, problem=problem, entered=entered,
        done=view.request.query_params.get("done"),
    )  # fmt: skip


@router.post("/requests/{id:uuid}/{act}", operation_id="console.request_act")
def act_on_request(
    seen: Annotated[Seen[ShareRequest], acting_on("request", service.find_request)], form: Sent
) -> Response:
    """Amend, file or give up a draft."""
    try:
        terms = None
        if form.act == "amend":
            known = [part["resource_id"] for part in seen.case.terms["resources"]]
            terms = pages.entry_from_form(form, pages.records_of(seen.view.session, map(UUID, known))).wire()
        perform(ACTS, seen.asked, form, terms)
    except Problem as problem:
        return _request(seen, problem, form)
    return seen.view.to(f"/requests/{seen.case.id}?done={form.act}")
