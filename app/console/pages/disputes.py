"""Disputes: the docket, one case file with statements, offers, proposal and ruling, and rulings as precedents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Response

from app.console import terms as pages
from app.console.acts import Case, act_routes, names, offered, refused
from app.console.due import clocks_of
from app.console.forms import NOTE, REASON, Act, Field, Form, validated
from app.console.sheets import Cell, Choice, Register, Table, onward, state_tabs
from app.console.view import Seen, View, looking, looking_at, permit_page
from app.kernel.text import Text
from app.kernel.wire import Cursor
from exchange.attachments import quarantine_of
from exchange.disputes import api, precedents, service
from exchange.disputes.models import Dispute
from exchange.disputes.states import CAUSES, DISPUTE, GRANTS, OUTCOMES
from exchange.negotiations import api as negotiations
from exchange.negotiations.case import current_terms
from exchange.negotiations.models import Negotiation
from exchange.negotiations.states import GROUNDS
from exchange.parties import parties_of
from exchange.wire import OptionalReason, Reason, ToTerms

router = APIRouter(include_in_schema=False)
permit_page("console.disputes", like="dispute.list")
permit_page("console.dispute", like="dispute.read")
permit_page("console.dispute_attachment", like="dispute.attachment")
permit_page("console.rulings", like="ruling.list")

PRECEDENTS_BESIDE = 5

DOCUMENT = Field("document", Text("本级政府文号", "Document number"), "line")
RULING = (
    Field("outcome", Text("结论", "Outcome"), "select", options=OUTCOMES),
    Field("reasons", Text("理由", "Reasons"), hint=Text("认定的事实、适用的条款、对双方意见的回应", "Facts found, articles applied, an answer to each side")),
    Field("legal_basis", Text("法律依据", "Legal basis"), "line", hint=Text("例如：809 第二十八条", "For instance: Decree 809 Art. 28")),
    Field("directions", Text("重新协商的要求", "Directions"), required=False, hint=Text("责令重新协商时必填", "Needed for a remand")),
)  # fmt: skip
_GRANT = Text("支持或部分支持时，以下条款成为协议；其他结论不采用。", "For a grant, the terms below become the agreement; otherwise they are not used.")  # fmt: skip
ACTS = {
    "admit": Act(api.admit),
    "decline": Act(api.decline, Reason, (REASON,), grave=True),
    "refer": Act(api.refer, Reason, (REASON,)),
    "state": Act(api.make_statement, api.NewStatement, (Field("body", Text("陈述", "Statement")),)),
    "attach": Act(api.attach, None, (Field("file", Text("证据材料", "Evidence"), "file"),), takes_file=True),
    "propose": Act(api.propose, api.Proposal, (NOTE,), part="disputes/file.html", terms=True),
    "accept": Act(api.accept, ToTerms, (Field("terms_hash", kind="hidden"),), part="disputes/proposal.html",
                  says=Text("双方均接受后协议立即生效。", "When both have accepted, the agreement is in force at once.")),
    "decline_proposal": Act(api.decline_proposal, OptionalReason, (NOTE,)),
    "draft_ruling": Act(api.draft_ruling, api.NewRuling, RULING, part="disputes/file.html", terms=True, says=_GRANT),
    "rule": Act(api.rule, api.Signature, (Field("ruling_id", kind="hidden"),), part="disputes/signed.html", grave=True,
                says=Text("支持申请的，协议立即生效；一方可在期限内申请本级政府复核。", "A grant is an agreement in force at once; a party may ask the government for review.")),
    "ask_review": Act(api.ask_review, Reason, (REASON,)),
    "confirm": Act(api.confirm, api.Confirmation, (DOCUMENT, REASON), grave=True),
    "change": Act(api.change, api.ChangedRuling, (DOCUMENT, *RULING), part="disputes/file.html", terms=True, says=_GRANT, grave=True),
    "report_noncompliance": Act(api.report_noncompliance, Reason, (REASON,)),
    "order_compliance": Act(api.order_compliance, Reason, (REASON,)),
    "record_settlement": Act(api.record_settlement, api.Settlement, (Field("agreement_id", Text("协议编号", "Agreement"), "line"),)),
    "withdraw": Act(api.withdraw, OptionalReason, (NOTE,), grave=True),
}  # fmt: skip


@router.get("/disputes", operation_id="console.disputes")
def list_disputes(
    view: Annotated[View, looking("console.disputes")],
    state: str | None = None,
    waiting: bool = False,
    cursor: Cursor = None,
) -> Response:
    """The docket."""
    state = state if state in DISPUTE.states else None
    found = api.list_disputes(
        view.session, view.actor, api.Chosen(state=state, waiting=waiting, cursor=cursor)
    )
    rows = [
        [
            Cell(Text("{a} → {b}", "{a} → {b}").with_(a=_of(row.requester.name), b=_of(row.provider.name)), f"/disputes/{row.id}", late=row.overdue),
            Cell(CAUSES[row.cause]), Cell(row.authority.name), Cell(row.state_name, state=row.state), Cell(row.updated_at),
        ]
        for row in found.items
    ]  # fmt: skip
    title = Text("争议案件", "Docket of disputes")
    columns = (Text("需求方 → 提供方", "Requester → provider"), Text("事由", "Cause"), Text("受理机关", "Authority"), Text("状态", "State"), Text("最近变化", "Last change"))  # fmt: skip
    table = Table(columns, rows, title, Text("没有争议。", "No disputes."))
    more = onward("/disputes", found.next, state=state, waiting="true" if waiting else None)
    tabs = state_tabs("/disputes", DISPUTE.states, state, waiting)
    return view.page("list.html", register=Register(title, table, tabs, more=more))


def _of(label: Any) -> Text:
    return Text(label.zh, label.en)


@router.get("/disputes/{id:uuid}", operation_id="console.dispute")
def dispute_page(
    seen: Annotated[Seen[Dispute], looking_at("console.dispute", service.find_dispute)],
) -> Response:
    """One case file."""
    view = seen.view
    told, context, case = api.represent(seen.asked), _file(seen), _case(seen, "", Form())
    negotiation = view.session.get_one(Negotiation, seen.case.negotiation_id)
    return view.page(
        "disputes/one.html", **context, history=negotiations.list_events(view.asked(negotiation)),
        events=api.list_events(seen.asked), offers=offered(case, ACTS), refused=refused(view, case), act_names=DISPUTE.acts,
        clocks=clocks_of(view, told.deadlines), done=view.request.query_params.get("done"),
    )  # fmt: skip


def _file(seen: Seen[Dispute]) -> dict[str, Any]:
    """What the case file and the pages of its acts show."""
    view, told = seen.view, api.represent(seen.asked)
    negotiation = view.session.get_one(Negotiation, seen.case.negotiation_id)
    ids = {part.resource_id for version in told.offers for part in version.terms.resources}
    records = pages.records_of(view.session, ids)
    return {
        "dispute": told, "negotiation": negotiations.represent(view.asked(negotiation)), "records": records,
        "told": {version.id: pages.told(version.terms, records) for version in told.offers},
        "proposal": pages.told(told.proposal.terms, records) if told.proposal else None,
        "ruled": {r.id: pages.told(r.terms, records) if r.terms else None for r in told.rulings},
        "between": _between(told, records),
    }  # fmt: skip


def _between(told: api.DisputeOut, records: Any) -> Any:
    """What the last offer changed against the first; None where there was one alone."""
    if len(told.offers) < 2:
        return None
    return pages.told_changes(told.offers[0].terms, told.offers[-1].terms, records)


def _case(seen: Seen[Dispute], act: str, form: Form) -> Case:
    view, told = seen.view, api.represent(seen.asked)
    context: dict[str, Any] = {}
    values: dict[str, str] = {}
    if act in ACTS:
        context = _file(seen)
        draft = [ruling for ruling in told.rulings if ruling.signed_at is None]
        if draft:
            values["ruling_id"] = str(draft[-1].id)
            if act == "draft_ruling":
                last = draft[-1]
                values |= {
                    "outcome": last.outcome,
                    "reasons": last.reasons,
                    "legal_basis": last.legal_basis,
                    "directions": last.directions or "",
                }
        context["draft"] = draft[-1] if draft else None
        if told.proposal:
            values["terms_hash"] = told.proposal.terms_hash
        if ACTS[act].terms:
            negotiation = view.session.get_one(Negotiation, seen.case.negotiation_id)
            start = told.proposal.terms if told.proposal else current_terms(view.session, negotiation).typed
            filled = bool(form.all("method"))
            records = context["records"]
            context["entry"] = (
                pages.entry_from_form(form, records) if filled else pages.entry_from_terms(start, records)
            )
            context["precedents"] = _beside(view, negotiation)
    mine = view.actor.agency_id
    others = [one.name for one in (told.requester, told.provider, told.authority) if one.id != mine]
    title = Text("争议 {a} → {b}", "Dispute {a} → {b}").with_(
        a=_of(told.requester.name), b=_of(told.provider.name)
    )
    silent = act == "draft_ruling"
    return Case(
        f"/disputes/{told.id}", title, DISPUTE, told.state, told.version, told.allowed,
        [] if silent else names(others), context, values, parties=parties_of(view.actor, seen.case),
        hinders=lambda act: service.hindrance(view.session, seen.case, act),
    )  # fmt: skip


def _beside(view: View, negotiation: Negotiation) -> list[precedents.Precedent]:
    """Rulings in like cases, to be read beside the one that is being written."""
    chosen = precedents.Chosen(ground=negotiation.refusal_ground, limit=PRECEDENTS_BESIDE)
    return precedents.list_rulings(view.session, chosen).items


def _terms(seen: Seen[Dispute], form: Form) -> Mapping[str, Any] | None:
    ruled = form.act in ("draft_ruling", "change") and form.text("outcome") in GRANTS
    if form.act != "propose" and not ruled:
        return None
    negotiation = seen.view.session.get_one(Negotiation, seen.case.negotiation_id)
    on_table = current_terms(seen.view.session, negotiation).typed
    records = pages.records_of(seen.view.session, [part.resource_id for part in on_table.resources])
    return pages.entry_from_form(form, records).wire()


@router.get("/disputes/{id:uuid}/attachments/{attachment_id:uuid}", operation_id="console.dispute_attachment")
def read_attachment(
    seen: Annotated[Seen[Dispute], looking_at("console.dispute_attachment", service.find_dispute)],
) -> Response:
    """The content of a piece of evidence, as a download."""
    request = seen.view.request
    return api.read_attachment(seen.asked, request.path_params["attachment_id"], quarantine_of(request))


@router.get("/rulings", operation_id="console.rulings")
def list_rulings(
    view: Annotated[View, looking("console.rulings")],
    q: str = "",
    ground: str = "",
    outcome: str = "",
    cursor: Cursor = None,
) -> Response:
    """Signed rulings by ground and outcome, without the parties."""
    asked = {"q": q.strip()[:256] or None, "cursor": cursor,
             "ground": ground if ground in GROUNDS else None, "outcome": outcome if outcome in OUTCOMES else None}  # fmt: skip
    found = precedents.list_rulings(view.session, validated(precedents.Chosen, asked))
    rows = [
        [
            Cell(Text("、".join(one.title.zh for one in row.resources), ", ".join(one.title.en for one in row.resources)),
                 below=row.ground_name or row.cause_name),
            Cell(row.outcome_name, state="RULED"), Cell(row.reasons, below=row.legal_basis), Cell(row.signed_at, below=row.authority.name),
        ]
        for row in found.items
    ]  # fmt: skip
    title = Text("裁决先例", "Rulings as precedents")
    columns = (Text("资源与争点", "Resource and ground"), Text("结论", "Outcome"), Text("理由与依据", "Reasons and basis"), Text("签发", "Signed"))  # fmt: skip
    choices = (
        Choice("q", Text("理由中的词", "Word of the reasons"), q),
        Choice("ground", Text("拒绝理由", "Ground of refusal"), ground, {code: g.label for code, g in GROUNDS.items()}),
        Choice("outcome", Text("结论", "Outcome"), outcome, OUTCOMES),
    )  # fmt: skip
    table = Table(columns, rows, title, Text("没有符合条件的裁决。", "No such ruling."))
    more = onward("/rulings", found.next, q=q, ground=ground, outcome=outcome)
    return view.page("list.html", register=Register(title, table, choices=choices, more=more))


act_routes(router, "/disputes", "dispute", service.find_dispute, ACTS, _case, terms=_terms)
