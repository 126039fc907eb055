"""Negotiations: the list, and one thread with the terms on the table, what each side may do and why not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Response
from sqlalchemy import select

from app.console import charts
from app.console import terms as pages
from app.console.acts import Case, act_routes, agencies_offered, names, offered, refused
from app.console.due import clocks_of
from app.console.forms import NOTE, REASON, Act, Field, Form
from app.console.sheets import Cell, Register, Table, onward, state_tabs
from app.console.view import Seen, View, looking, looking_at, permit_page
from app.kernel.calendar import BEIJING
from app.kernel.text import Text
from app.kernel.wire import Cursor
from exchange.agreements.models import Agreement
from exchange.attachments import quarantine_of
from exchange.disputes import api as disputes
from exchange.disputes.models import Dispute
from exchange.negotiations import api, wire
from exchange.negotiations.case import current_terms, find_negotiation, moment_of
from exchange.negotiations.models import Negotiation
from exchange.negotiations.states import GROUNDS, NEGOTIATION, hindrance
from exchange.parties import parties_of
from exchange.requests import api as requests
from exchange.terms import Terms
from exchange.wire import OptionalReason, Reason, ToTerms, VersionOut

router = APIRouter(include_in_schema=False)
permit_page("console.negotiations", like="negotiation.list")
permit_page("console.negotiation", like="negotiation.read")
permit_page("console.negotiation_attachment", like="negotiation.attachment")
permit_page("console.request_narrower", like="negotiation.request_narrower")


def _read_points(form: Form) -> Mapping[str, Any]:
    points = [
        {"field": "", "text": line.strip()} for line in form.text("points").splitlines() if line.strip()
    ]
    return {"points": points} | ({"reason": form.text("reason")} if form.text("reason") else {})


_HASH = Field("terms_hash", kind="hidden")
ACTS = {
    "agree": Act(
        api.agree, ToTerms, (_HASH,), part="negotiations/signed.html",
        says=Text("协议立即生效，网关按所同意的条款放行（809 第二十二条）。", "The agreement is in force at once; the gateway lets through what the terms say (Decree 809 Art. 22)."),
    ),
    "accept": Act(api.accept, ToTerms, (_HASH,), part="negotiations/signed.html"),
    "offer": Act(api.offer, ToTerms, (_HASH, NOTE), part="negotiations/signed.html",
                 says=Text("您的办理即本单位对该版条款的同意。", "Doing so is your agency's consent to these terms.")),
    "counter_offer": Act(api.counter_offer, ToTerms, (_HASH, NOTE), part="negotiations/signed.html",
                         says=Text("您的办理即本单位对该版条款的同意。", "Doing so is your agency's consent to these terms.")),
    "draft_terms": Act(api.draft_terms, wire.DraftTerms,
                       (Field("note", Text("给审核人的说明", "Note to the approver"), required=False),), terms=True,
                       says=Text("由审核人提出后对方才能看到。", "The other side sees it when the approver offers it.")),
    "agree_in_principle": Act(
        api.agree_in_principle, wire.InPrinciple,
        (Field("points", Text("待商事项，一行一项", "Open points, one on each line")), NOTE), reads=_read_points,
        says=Text("答复期限不停止计算。", "The time to reply runs on."),
    ),
    "comment": Act(api.comment, wire.NewComment, (Field("body", Text("意见", "Comment")),)),
    "attach": Act(api.attach, None, (Field("file", Text("文件", "File"), "file", hint=Text("PDF、图片或办公文档，不超过 8 MB；摘要记入存证", "PDF, image or office file up to 8 MB; its hash goes into the ledger")),), takes_file=True),
    "ask_material": Act(api.ask_material, Reason, (Field("reason", Text("须补正的材料", "What is missing"), hint=Text("补正通知只能发出一次，请一次列明。", "Notice is given once: list everything.")),)),
    "supply_material": Act(api.supply_material, Reason, (Field("reason", Text("补正材料", "The material")),)),
    "ask_extension": Act(api.ask_extension, wire.Extension, (Field("working_days", Text("延长工作日数", "Working days"), "number"), REASON)),
    "extend": Act(api.extend, OptionalReason, (NOTE,)),
    "refuse_extension": Act(api.refuse_extension, Reason, (REASON,)),
    "transfer": Act(api.transfer, wire.Transfer, (Field("to_agency_id", Text("数据持有单位", "The agency that holds the data"), "select", options=agencies_offered), REASON), grave=True),
    "refuse": Act(
        api.refuse, wire.Refuse,
        (Field("ground", Text("理由类别", "Ground"), "select", options={code: Text(f"{g.label.zh}（{g.basis}）", f"{g.label.en} ({g.basis})") for code, g in GROUNDS.items()}),
         Field("reason", Text("具体理由", "Reasons"), hint=Text("告知需求方；需求方可据此报请主管部门协调。", "The requester is told, and may turn to the authority."))),
        grave=True,
    ),
    "open_dispute": Act(disputes.open_dispute, Reason, (REASON,), says=Text("主管部门受理后双方陈述，依法裁决。", "The authority hears both sides and rules."), grave=True),
    "withdraw": Act(api.withdraw, OptionalReason, (NOTE,), grave=True),
}  # fmt: skip


@router.get("/negotiations", operation_id="console.negotiations")
def list_negotiations(
    view: Annotated[View, looking("console.negotiations")],
    state: str | None = None,
    waiting: bool = False,
    cursor: Cursor = None,
) -> Response:
    """Negotiations of one's own agency, or under one's authority."""
    state = state if state in NEGOTIATION.states else None
    found = api.list_negotiations(
        view.session, view.actor, wire.Chosen(state=state, waiting=waiting, cursor=cursor)
    )
    rows = [
        [
            Cell(Text("{a} → {b}", "{a} → {b}").with_(a=_of(row.requester.name), b=_of(row.provider.name)),
                 f"/negotiations/{row.id}", late=row.overdue),
            Cell(row.state_name, state=row.state),
            Cell(Text("等待补正", "waiting for material") if row.waiting_for_material else ""),
            Cell(row.updated_at),
        ]
        for row in found.items
    ]  # fmt: skip
    columns = (
        Text("需求方 → 提供方", "Requester → provider"), Text("状态", "State"), Text("备注", "Note"), Text("最近变化", "Last change"),
    )  # fmt: skip
    title = Text("协商", "Negotiations")
    table = Table(columns, rows, title, Text("没有协商。", "No negotiations."))
    tabs = state_tabs("/negotiations", NEGOTIATION.states, state, waiting)
    more = onward("/negotiations", found.next, state=state, waiting="true" if waiting else None)
    return view.page("list.html", register=Register(title, table, tabs, more=more))


def _of(label: Any) -> Text:
    return Text(label.zh, label.en)


@router.get("/negotiations/{id:uuid}", operation_id="console.negotiation")
def negotiation_page(
    seen: Annotated[Seen[Negotiation], looking_at("console.negotiation", find_negotiation)],
    before: int | None = None,
    after: int | None = None,
) -> Response:
    """One negotiation; with two numbers also what changed between those versions."""
    view, told = seen.view, api.represent(seen.asked)
    versions = api.list_versions(seen.asked)
    records = pages.records_of(
        view.session, {part.resource_id for version in versions for part in version.terms.resources}
    )
    known = {version.number: version.terms for version in versions}
    chosen = (before, after) if before in known and after in known else None
    case = _case(seen, "", Form())
    start = (told.draft or told.terms).terms
    events = api.list_events(seen.asked)
    return view.page(
        "negotiations/one.html", negotiation=told, versions=versions, events=events, case=case,
        parts=pages.told(told.terms.terms, records), records=records,
        changes=_changes_to(told.terms, versions, records),
        chosen=chosen, chosen_changes=pages.told_changes(known[chosen[0]], known[chosen[1]], records) if chosen else None,
        draft_changes=pages.told_changes(told.terms.terms, told.draft.terms, records) if told.draft else None,
        narrower=pages.told(told.narrower.terms, records) if told.narrower else None,
        entry=pages.entry_from_terms(start, records) if "draft_terms" in told.allowed else None,
        offers=[one for one in offered(case, ACTS) if one.name not in ("draft_terms", "comment")],
        refused=refused(view, case),
        dispute_id=_dispute_of(view, told.id), act_names=NEGOTIATION.acts, clocks=clocks_of(view, told.deadlines), picture=_picture(view, told, events),
        may_narrow=view.may("negotiation.request_narrower"), may_see_request=view.may("request.read"), done=view.request.query_params.get("done"),
    )  # fmt: skip


def _dispute_of(view: View, negotiation_id: UUID) -> UUID | None:
    """The latest dispute about the negotiation."""
    about = select(Dispute.id).where(Dispute.negotiation_id == negotiation_id)
    return view.session.scalar(about.order_by(Dispute.id.desc()).limit(1))


def _picture(view: View, told: wire.NegotiationOut, events: Any) -> Any:
    """The path of the negotiation: what happened, and what is due."""
    shown = [event for event in events if event.act not in ("draft_terms", "comment", "attach")]
    marks = [
        charts.Mark(
            event.at,
            event.act_name.en if view.locale == "en" else event.act_name.zh,
            f"{event.at.astimezone(BEIJING):%m-%d %H:%M}",
        )
        for event in shown[-10:]
    ]
    for clock in clocks_of(view, told.deadlines):
        due = next(one.due_at for one in told.deadlines if one.due_on == clock.due.on)
        words = clock.duty.en if view.locale == "en" else clock.duty.zh
        marks.append(charts.Mark(due, words, f"{clock.due.on:%m-%d}", ahead=True, late=clock.due.overdue))
    return charts.path(marks, Text("办理经过与期限", "What happened and what is due").in_(view.locale))


def _changes_to(current: VersionOut, versions: list[VersionOut], records: Any) -> Any:
    """What the terms on the table change against the version before them; None for the first."""
    before: Terms | None = None
    for version in versions:
        if version.number < current.number and version.consents:
            before = version.terms
    return pages.told_changes(before, current.terms, records) if before else None


def _case(seen: Seen[Negotiation], act: str, form: Form) -> Case:
    view, told = seen.view, api.represent(seen.asked)
    signed = told.draft if act in ("offer", "counter_offer") and told.draft else told.terms
    context: dict[str, Any] = {"negotiation": told}
    if act in ACTS:
        records = pages.records_of(view.session, [part.resource_id for part in signed.terms.resources])
        before = told.terms.terms if signed is told.draft else None
        context |= {
            "signed": signed, "parts": pages.told(signed.terms, records),
            "changes": pages.told_changes(before, signed.terms, records) if before else None,
        }  # fmt: skip
        if act == "draft_terms":
            filled = bool(form.all("method"))
            start = (told.draft or told.terms).terms
            context["entry"] = (
                pages.entry_from_form(form, records) if filled else pages.entry_from_terms(start, records)
            )
    mine = view.actor.agency_id
    others = [one.name for one in (told.requester, told.provider) if one.id != mine]
    if act in ("ask_extension", "open_dispute", "refuse", "agree"):
        others.append(told.authority.name)
    title = Text("{a} → {b}", "{a} → {b}").with_(a=_of(told.requester.name), b=_of(told.provider.name))
    moment = moment_of(view.session, seen.case, told.state, NEGOTIATION.acts)
    return Case(
        f"/negotiations/{told.id}", title, NEGOTIATION, told.state, told.version, told.allowed,
        [] if act == "draft_terms" else names(others), context, {"terms_hash": signed.terms_hash},
        parties=parties_of(view.actor, seen.case), hinders=lambda act: hindrance(moment, act),
    )  # fmt: skip


def _terms(seen: Seen[Negotiation], form: Form) -> Mapping[str, Any] | None:
    if form.act != "draft_terms":
        return None
    on_table = current_terms(seen.view.session, seen.case).typed
    records = pages.records_of(seen.view.session, [part.resource_id for part in on_table.resources])
    return pages.entry_from_form(form, records).wire()


def _then(seen: Seen[Negotiation], act: str, done: Any) -> str:
    """Where an act leads: to the dispute it opened, to the agreement it made, away from what was handed over."""
    if act == "open_dispute":
        return f"/disputes/{done.id}"
    if act == "transfer":
        return "/negotiations"
    if act == "agree":
        made = seen.view.session.scalar(select(Agreement.id).where(Agreement.negotiation_id == seen.case.id))
        if made is not None:
            return f"/agreements/{made}"
    return f"/negotiations/{seen.case.id}"


@router.get(
    "/negotiations/{id:uuid}/attachments/{attachment_id:uuid}", operation_id="console.negotiation_attachment"
)
def read_attachment(
    seen: Annotated[Seen[Negotiation], looking_at("console.negotiation_attachment", find_negotiation)],
) -> Response:
    """The content of an attachment, as a download."""
    request = seen.view.request
    return api.read_attachment(seen.asked, request.path_params["attachment_id"], quarantine_of(request))


@router.post("/negotiations/{id:uuid}/request_narrower", operation_id="console.request_narrower")
def request_narrower(
    seen: Annotated[Seen[Negotiation], looking_at("console.request_narrower", find_negotiation)],
) -> Response:
    """A new draft for what the provider, refusing, said it could share."""
    return seen.view.to(f"/requests/{requests.request_narrower(seen.asked).id}")


act_routes(router, "/negotiations", "negotiation", find_negotiation, ACTS, _case, terms=_terms, then=_then)
