"""Share requests: the guided form that starts from resources of the catalog, and one's agency's requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response

from app.console import terms as pages
from app.console.acts import Case, act_routes, names, offered
from app.console.forms import Act, Field, Form, Sent, validated
from app.console.sheets import Cell, Link, Register, Table, onward, state_tabs
from app.console.view import Seen, View, looking, looking_at, permit_page
from app.kernel.calendar import legal_date
from app.kernel.clock import now
from app.kernel.errors import NotFound, Problem
from app.kernel.text import Text
from app.kernel.wire import Cursor, Label
from catalog.collection import findings
from catalog.collection import service as plans
from catalog.collection.share_request import ShareRequestBody
from catalog.resources import service as resources
from catalog.resources.record import ResourceRecord
from exchange.agreements.service import find_agreement
from exchange.negotiations.states import NEGOTIATION
from exchange.parties import names_of
from exchange.requests import api, service
from exchange.requests.models import ShareRequest
from exchange.requests.question_sets import questions_of
from exchange.requests.states import REQUEST
from exchange.terms import Terms

router = APIRouter(include_in_schema=False)
permit_page("console.requests", like="request.list")
permit_page("console.request", like="request.read")
permit_page("console.new_request", like="request.draft")
permit_page("console.draft_request", like="request.draft")
permit_page("console.reuse_request", like="request.reuse")

RESOURCES_AT_ONCE = 50

Picked = Annotated[Sequence[UUID], Query(max_length=RESOURCES_AT_ONCE)]


@router.get("/requests", operation_id="console.requests")
def list_requests(
    view: Annotated[View, looking("console.requests")], state: str | None = None, cursor: Cursor = None
) -> Response:
    """The requests of one's own agency."""
    state = state if state in REQUEST.states else None
    found = api.list_requests(view.session, view.actor, api.Chosen(state=state, cursor=cursor))
    rows = [
        [
            Cell(row.title, f"/requests/{row.id}"),
            Cell(REQUEST.states[row.state], state=row.state),
            Cell(row.created_at),
            Cell(row.updated_at),
        ]
        for row in found.items
    ]
    columns = (
        Text("申请", "Request"), Text("状态", "State"), Text("拟定", "Drafted"), Text("最近变化", "Last change"),
    )  # fmt: skip
    links = [Link("/catalog", Text("从目录发起申请", "Start from the catalog"))]
    return view.page(
        "list.html",
        register=Register(
            Text("共享申请", "Share requests"),
            Table(columns, rows, Text("共享申请", "Share requests"), Text("没有共享申请。从目录中的资源页面发起。", "No requests. They start from a resource of the catalog.")),
            state_tabs("/requests", REQUEST.states, state), links=links if view.may("request.draft") else (),
            more=onward("/requests", found.next, state=state),
        ),
    )  # fmt: skip


@router.get("/requests/new", operation_id="console.new_request")
def new_request(
    view: Annotated[View, looking("console.new_request")],
    resource: Picked = (),
    plan: UUID | None = None,
    finding: UUID | None = None,
    amends: UUID | None = None,
) -> Response:
    """The form for a request: for these resources from scratch, as a plan or finding has filled it in, or to
    amend an agreement from its terms."""
    if amends is not None:
        return _amending(view, amends)
    filled = _filled_in(view, plan, finding)
    if filled is None:
        records = _picked(view, resource)
        return _form(view, pages.blank_entry(records, legal_date(now())), title=_title(records))
    terms = Terms.model_validate(filled.terms.model_dump(mode="json"))
    records = _picked(view, [part.resource_id for part in terms.resources])
    return _form(view, pages.entry_from_terms(terms, records), title=filled.title)


def _amending(view: View, agreement_id: UUID) -> Response:
    agreement = find_agreement(view.session, agreement_id, by=view.actor)
    records = pages.records_of(view.session, agreement.resource_ids)
    title = Text("变更或续签协议：{title}", "To amend or renew: {title}").with_(title=_title(records))
    entry = pages.entry_from_terms(agreement.typed, records)
    return _form(view, entry, title=title.in_(view.locale)[:200], amends=str(agreement_id))


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
    """Write the draft that the approver files; with `check` only say what it lacks."""
    records = _picked(view, _ids(form))
    entry = pages.entry_from_form(form, records)
    more: dict[str, Any] = {"title": form.text("title"), "amends": form.text("amends"), "sent": form}
    try:
        with view.session.begin_nested():
            body = validated(api.Drafted, _body(form, entry, questions_of(view.session, records)))
            if form.text("check"):
                checked = api.check_request(body, view.session, view.actor)
                return _form(view, entry, **more, checked=checked)
            drafted = api.draft_request(body, view.session, view.actor, Response())
    except Problem as problem:
        return _form(view, entry, **more, problem=problem)
    return view.to(f"/requests/{drafted.id}?done=draft")


def _body(form: Form, entry: pages.Entry, put: Any) -> dict[str, Any]:
    """The form as the API's body."""
    answers = [
        {"resource_id": str(resource_id), "code": code, "answer": answer}
        for (resource_id, code), answer in pages.answers_in(form, put).items()
    ]
    values = {"title": form.text("title"), "terms": entry.wire(), "answers": answers}
    return values | {name: form.text(name) for name in ("need_by", "amends") if form.text(name)}


def _form(
    view: View,
    entry: pages.Entry,
    *,
    title: str,
    amends: str = "",
    sent: Form | None = None,
    problem: Problem | None = None,
    checked: api.Completeness | None = None,
) -> Response:
    here = "/requests/new?" + "&".join(f"resource={part.id}" for part in entry.resources)
    put = questions_of(view.session, [part.id for part in entry.resources])
    given = pages.answers_in(sent, put) if sent else {}
    rows = [resources.find(view.session, part.id, by=view.actor) for part in entry.resources]
    providers = names_of(view.session, {row.agency_id for row in rows})
    return view.page(
        "requests/new.html", status=problem.status if problem else 200, here=here, entry=entry, title=title,
        amends=amends, need_by=sent.text("need_by") if sent else "", questions=pages.asking(put, given),
        problem=problem, checked=checked, providers=list(providers.values()),
    )  # fmt: skip


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
    view, told = seen.view, api.represent(seen.asked)
    records = pages.records_of(view.session, [part.resource_id for part in told.terms.resources])
    return view.page(
        "requests/one.html", request=told, parts=pages.told(told.terms, records),
        negotiation_names=NEGOTIATION.states, offers=offered(_case(seen, "", Form()), ACTS), act_names=REQUEST.acts,
        events=api.list_events(seen.asked), own_draft=told.author_id == view.actor.id,
        may_reuse=view.may("request.reuse") and told.state != "draft", done=view.request.query_params.get("done"),
    )  # fmt: skip


@router.post("/requests/{id:uuid}/reuse", operation_id="console.reuse_request")
def reuse(
    seen: Annotated[Seen[ShareRequest], looking_at("console.reuse_request", service.find_request)],
) -> Response:
    """A new draft that says what this request said, from today."""
    made = api.reuse_request(seen.asked)
    return seen.view.to(f"/requests/{made.id}")


def _read_amended(form: Form) -> Mapping[str, Any]:
    answers = [
        {"resource_id": name.split(".")[1], "code": name.split(".", 2)[2], "answer": form.text(name)}
        for name in form.data
        if name.startswith("answer.") and form.text(name)
    ]
    plain = {name: form.text(name) for name in ("title", "need_by") if form.text(name)}
    return {**plain, "answers": answers}


TITLE = Field("title", Text("申请名称", "Title"), "line")
NEED_BY = Field("need_by", Text("需用日期", "Needed by"), "date", required=False)
ACTS = {
    "amend": Act(api.amend_request, api.NewRequest, (TITLE, NEED_BY), reads=_read_amended, terms=True),
    "file": Act(
        api.file_request, part="requests/filed.html",
        says=Text("每个提供单位各开始一项协商；无条件共享的当即达成协议。", "A negotiation with each provider begins; what is shared unconditionally is agreed at once."),
    ),
    "discard": Act(api.discard_request, grave=True),
}  # fmt: skip


def _case(seen: Seen[ShareRequest], act: str, form: Form) -> Case:
    view, told = seen.view, api.represent(seen.asked)
    records = pages.records_of(view.session, [part.resource_id for part in told.terms.resources])
    context: dict[str, Any] = {"request_told": told, "parts": pages.told(told.terms, records)}
    if act == "amend":
        put = questions_of(view.session, records)
        given = {(one.resource_id, one.code): one.answer or "" for one in told.questions}
        filled = bool(form.all("method"))
        context |= {
            "entry": pages.entry_from_form(form, records) if filled else pages.entry_from_terms(told.terms, records),
            "questions": pages.asking(put, pages.answers_in(form, put) if filled else given),
        }  # fmt: skip
    providers = []
    if act == "file":
        agencies = {resources.find(view.session, i, by=view.actor).agency_id for i in records}
        providers = names(
            [Label(zh=name.zh, en=name.en) for name in names_of(view.session, agencies).values()]
        )
    return Case(
        f"/requests/{told.id}", Text(told.title, told.title), REQUEST, told.state, told.version, told.allowed, providers, context,
        {"title": told.title, "need_by": told.need_by.isoformat() if told.need_by else ""},
    )  # fmt: skip


def _terms(seen: Seen[ShareRequest], form: Form) -> Mapping[str, Any] | None:
    if form.act != "amend":
        return None
    known = [UUID(part["resource_id"]) for part in seen.case.terms["resources"]]
    return pages.entry_from_form(form, pages.records_of(seen.view.session, known)).wire()


act_routes(router, "/requests", "request", service.find_request, ACTS, _case, terms=_terms)
