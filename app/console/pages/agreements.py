"""Agreements: the register, one agreement as a document with its life, its use against the terms, its receipts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Response

from app.console import terms as pages
from app.console.acts import Case, act_routes, agencies_offered, names, offered, refused
from app.console.due import clocks_of
from app.console.forms import NOTE, REASON, Act, Field, Form, Sent, validated
from app.console.sheets import Cell, Choice, Register, Table, onward, state_tabs
from app.console.view import Seen, View, looking, looking_at, permit_page
from app.kernel.calendar import BEIJING
from app.kernel.errors import Problem
from app.kernel.text import Text
from app.kernel.wire import Cursor
from exchange.agreements import api, document, service
from exchange.agreements.models import Agreement
from exchange.agreements.states import AGREEMENT
from exchange.delivery import api as delivery
from exchange.delivery import uses, uses_api
from exchange.paper import PDF, POLICY, to_html, to_pdf
from exchange.parties import parties_of
from exchange.wire import OptionalReason, Reason

router = APIRouter(include_in_schema=False)
permit_page("console.agreements", like="agreement.list")
permit_page("console.agreement", like="agreement.read")
permit_page("console.agreement_document", like="agreement.document")
permit_page("console.agreement_receipts", like="receipt.list")
permit_page("console.note_use", like="receipt_use.note")

RECEIPTS_SHOWN = 10
USES_SHOWN = 50
RESULTS = {
    "delivered": Text("已提供", "delivered"),
    "refused": Text("已拒绝", "refused"),
    "failed": Text("未成功", "failed"),
}

SIDES = {"requester": Text("需求方", "the requester’s"), "provider": Text("提供方", "the provider’s")}
_STOPS = Text("网关立即停止提供。", "The gateway stops at once.")
_ENDS = Text("协议终止，网关立即停止提供，不能恢复；需求方须处置已取得的数据。", "The agreement ends for good; the gateway stops at once, and the requester disposes of what it received.")  # fmt: skip
ACTS = {
    "suspend": Act(
        api.suspend, api.Suspension,
        (REASON, Field("mending", Text("恢复前须整改的事项", "What must be mended before supply is resumed"), required=False)), says=_STOPS,
    ),
    "resume": Act(api.resume, OptionalReason, (NOTE,), says=Text("网关恢复提供。", "The gateway delivers again.")),
    "announce_end": Act(api.announce_end, Reason, (REASON,), says=Text("不自行停止：须需求方同意或主管部门责令。", "Supply goes on until the requester agrees or the authority orders the end.")),
    "agree_end": Act(api.agree_end, OptionalReason, (NOTE,), says=_ENDS, grave=True),
    "terminate": Act(api.terminate, Reason, (REASON,), says=_ENDS, grave=True),
    "complete": Act(api.complete, OptionalReason, (NOTE,), says=_ENDS, grave=True),
    "transfer": Act(
        api.transfer, api.Transfer,
        (
            Field("side", Text("由谁继任", "Whose successor"), "select", options=SIDES),
            Field("to_agency_id", Text("继任单位", "The successor"), "select", options=agencies_offered),
            Field("document", Text("决定合并、撤销的文件", "The document that merged or dissolved it"), "line"), REASON,
        ),
        says=Text("本协议由同样条款的新版本取代，继任单位承受其权利义务。", "A new version on the same terms takes its place; the successor has its rights and duties."), grave=True,
    ),
    "certify_disposal": Act(
        api.certify_disposal, api.Disposal,
        (Field("disposed_on", Text("处置日期", "Disposed of on"), "date"), Field("disposal", Text("处置方式与范围", "How, and what"))),
        says=Text("出具处置证明，由您作为审核人负责。", "A certificate is issued; you answer for it as approver."),
    ),
}  # fmt: skip


@router.get("/agreements", operation_id="console.agreements")
def list_agreements(
    view: Annotated[View, looking("console.agreements")],
    state: str | None = None,
    q: str = "",
    ends_by: str = "",
    cursor: Cursor = None,
) -> Response:
    """The register."""
    state = state if state in AGREEMENT.states else None
    asked = {"state": state, "q": q[:200] or None, "ends_by": _day(ends_by), "cursor": cursor}
    found = api.list_agreements(view.session, view.actor, validated(api.Chosen, asked))
    records = pages.records_of(view.session, {i for row in found.items for i in row.resource_ids})
    rows = []
    for row in found.items:
        titles = [records[i] for i in row.resource_ids if i in records]
        rows.append(
            [
                Cell(Text("、".join(r.title for r in titles), ", ".join(r.title_en or r.title for r in titles)), f"/agreements/{row.id}"),
                Cell(row.requester.name, below=Text("向 {a}", "from {a}").with_(a=Text(row.provider.name.zh, row.provider.name.en))),
                Cell(row.state_name, state=row.state),
                Cell(row.valid_until, below=Text("自 {a}", "since {a}").with_(a=row.valid_from.isoformat())),
            ]
        )  # fmt: skip
    title = Text("共享协议登记", "Register of agreements")
    columns = (Text("资源", "Resources"), Text("需求方与提供方", "Requester and provider"), Text("状态", "State"), Text("有效至", "Valid until"))  # fmt: skip
    choices = (
        Choice("q", Text("单位、资源、用途或编号", "Party, resource, purpose or number"), q),
        Choice("ends_by", Text("到期不晚于", "Ends by"), ends_by, kind="date"),
    )
    table = Table(columns, rows, title, Text("没有共享协议。", "No agreements."))
    more = onward("/agreements", found.next, state=state, q=q, ends_by=ends_by)
    tabs = state_tabs("/agreements", AGREEMENT.states, state)
    return view.page("list.html", register=Register(title, table, tabs, choices, more=more))


def _day(sent: str) -> date | None:
    try:
        return date.fromisoformat(sent)
    except ValueError:
        return None


@router.get("/agreements/{id:uuid}", operation_id="console.agreement")
def agreement_page(
    seen: Annotated[Seen[Agreement], looking_at("console.agreement", service.find_agreement)],
) -> Response:
    """One agreement."""
    view, told = seen.view, api.represent(seen.asked)
    records = pages.records_of(view.session, seen.case.resource_ids)
    may_count = view.may("agreement.use") and view.may("receipt.list")
    receipts = delivery.ChosenReceipts(agreement_id=told.id, limit=RECEIPTS_SHOWN)
    versions = api.list_versions(seen.asked)
    ours = told.requester.id == view.actor.agency_id
    case = _case(seen, "", Form())
    return view.page(
        "agreements/one.html", agreement=told, parts=pages.told(told.terms, records),
        versions=versions if len(versions) > 1 else [], events=api.list_events(seen.asked),
        offers=offered(case, ACTS), refused=refused(view, case), act_names=AGREEMENT.acts, results=RESULTS,
        use=delivery.use_of_agreement(seen.asked) if may_count else None,
        receipts=delivery.list_receipts(view.session, view.actor, receipts).items if may_count else [],
        may_amend=view.may("request.draft") and ours, may_correct=view.may("correction.report") and ours,
        clocks=clocks_of(view, told.deadlines), done=view.request.query_params.get("done"),
    )  # fmt: skip


def _case(seen: Seen[Agreement], act: str, _form: Form) -> Case:
    told = api.represent(seen.asked)
    mine = seen.view.actor.agency_id
    others = [one.name for one in (told.requester, told.provider, told.authority) if one.id != mine]
    title = Text("共享协议 {a} → {b}", "Agreement {a} → {b}").with_(
        a=Text(told.provider.name.zh, told.provider.name.en),
        b=Text(told.requester.name.zh, told.requester.name.en),
    )
    parties = parties_of(seen.view.actor, seen.case)
    return Case(
        f"/agreements/{told.id}", title, AGREEMENT, told.state, told.version, told.allowed, names(others),
        parties=parties, hinders=lambda act: service.hindrance(seen.case, act, parties),
    )  # fmt: skip


def _then(seen: Seen[Agreement], act: str, done: Any) -> str:
    """Where an act leads: a transfer to the version between the successor and the other party."""
    return f"/agreements/{done.id if act == 'transfer' else seen.case.id}"


@router.get("/agreements/{id:uuid}/document", operation_id="console.agreement_document")
def agreement_document(
    seen: Annotated[Seen[Agreement], looking_at("console.agreement_document", service.find_agreement)],
    form: str = "html",
    of: str = "agreement",
) -> Response:
    """The agreement, or its certificate of disposal, on paper in the reader's language. Errors: NotFound."""
    write = document.disposal_paper if of == "disposal" else document.agreement_paper
    written = write(seen.view.session, seen.case, seen.view.locale)
    if form == "pdf":
        headers = {"Content-Disposition": f'inline; filename="{of}-{seen.case.id}.pdf"'}
        return Response(to_pdf(written), media_type=PDF, headers=headers)
    headers = {"Content-Security-Policy": POLICY, "Content-Language": written.locale}
    return Response(to_html(written), media_type="text/html; charset=utf-8", headers=headers)


@router.get("/agreements/{id:uuid}/receipts", operation_id="console.agreement_receipts")
def receipts_page(
    seen: Annotated[Seen[Agreement], looking_at("console.agreement_receipts", service.find_agreement)],
    result: str | None = None,
    cursor: Cursor = None,
) -> Response:
    """Every call under the agreement and its outcome, and what the requester noted of its use."""
    return _receipts(seen, result, cursor, Form(), None)


@router.post("/agreements/{id:uuid}/receipts", operation_id="console.note_use")
def note_use(
    seen: Annotated[Seen[Agreement], looking_at("console.note_use", service.find_agreement)], form: Sent
) -> Response:
    """Note the use of what one receipt says was received."""
    names = ("receipt_id", "purpose", "matter", "unit", "used_at")
    line = {name: form.text(f"uses-0-{name}") for name in names}
    with suppress(ValueError):  # what is no time is the API's to refuse
        line["used_at"] = datetime.fromisoformat(line["used_at"]).replace(tzinfo=BEIJING).isoformat()
    try:
        with seen.view.session.begin_nested():
            uses_api.note_uses(seen.asked, validated(uses_api.Uses, {"uses": [line]}))
    except Problem as problem:
        return _receipts(seen, None, None, form, problem)
    return seen.view.to(f"/agreements/{seen.case.id}/receipts")


def _receipts(
    seen: Seen[Agreement],
    result: str | None,
    cursor: str | None,
    entered: Form,
    problem: Problem | None,
) -> Response:
    result = result if result in RESULTS else None
    asked: Mapping[str, Any] = {"agreement_id": seen.case.id, "result": result, "cursor": cursor, "limit": 50}
    chosen = validated(delivery.ChosenReceipts, asked)
    found = delivery.list_receipts(seen.view.session, seen.view.actor, chosen)
    here = f"/agreements/{seen.case.id}/receipts"
    counts = uses.counts_of(seen.view.session, [row.id for row in found.items])
    rows = [
        [
            Cell(row.at), Cell(RESULTS.get(row.result, row.result), state=row.result, below=row.problem), Cell(row.rows), Cell(row.bytes),
            Cell(row.purpose, below=", ".join(row.items)), Cell(counts.get(row.id, 0)), Cell(Text("存证", "proof"), f"/ledger?entry={row.id}"),
        ]
        for row in found.items
    ]  # fmt: skip
    columns = (Text("时间", "When"), Text("结果", "Outcome"), Text("记录数", "Rows"), Text("字节", "Bytes"), Text("用途与信息项", "Purpose and items"), Text("使用登记", "Uses noted"), Text("存证", "Proof"))  # fmt: skip
    title = Text("调用回执", "Receipts")
    tabs = [*state_tabs(here, {}, result)]
    choices = (Choice("result", Text("结果", "Outcome"), result or "", RESULTS),)
    table = Table(columns, rows, title, Text("还没有调用。", "No calls yet."))
    more = onward(here, found.next, result=result)
    noted = uses_api.list_uses(seen.asked, uses_api.ChosenUses(limit=USES_SHOWN))
    return seen.view.page(
        "agreements/receipts.html", status=problem.status if problem else 200, problem=problem, entered=entered,
        register=Register(title, table, tabs, choices, more=more), agreement=seen.case, uses=_uses(noted.items),
        may_note=seen.view.may("receipt_use.note") and seen.case.requester_id == seen.view.actor.agency_id,
        usable={str(row.id): f"{row.at.astimezone(BEIJING):%Y-%m-%d %H:%M:%S} · {row.rows}" for row in found.items if row.result != "refused"},
        purposes={purpose.code: purpose.text for purpose in seen.case.typed.purposes},
    )  # fmt: skip


def _uses(noted: Sequence[uses_api.UseNoted]) -> Table:
    columns = (Text("使用时间", "Used at"), Text("事项或案号", "Matter or case"), Text("使用处室", "Office"), Text("用途", "Purpose"), Text("取得时间", "Received at"), Text("登记时间", "Noted at"))  # fmt: skip
    rows = [
        [
            Cell(use.used_at), Cell(use.matter), Cell(use.unit), Cell(use.purpose),
            Cell(use.received_at, f"/ledger?entry={use.receipt_id}"), Cell(use.noted_at),
        ]
        for use in noted
    ]  # fmt: skip
    return Table(columns, rows, Text("使用记录", "Use"), Text("还没有使用记录。", "No use is noted yet."))


act_routes(router, "/agreements", "agreement", service.find_agreement, ACTS, _case, then=_then)
