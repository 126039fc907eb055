"""Corrections of delivered data and sharing policies: lists, simple cases, their acts."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Response

from app.console import terms as pages
from app.console.acts import Case, act_routes, names, offered, refused
from app.console.due import clocks_of
from app.console.forms import NOTE, REASON, Act, Form, Sent, validated
from app.console.sheets import Cell, Link, Register, Sheet, Table, onward, state_tabs
from app.console.view import Seen, View, looking, looking_at, permit_page
from app.kernel.errors import Problem
from app.kernel.text import Text
from app.kernel.wire import Cursor
from exchange.agreements.service import find_agreement
from exchange.corrections import api, service
from exchange.corrections.models import Correction
from exchange.corrections.states import CORRECTION, hindrance
from exchange.parties import names_of, parties_of
from exchange.policies import api as policies
from exchange.policies import service as policy_service
from exchange.policies.models import SharingPolicy
from exchange.policies.states import POLICY
from exchange.terms import METHOD_NAMES, mask_text
from exchange.told import bilingual
from exchange.wire import OptionalReason, Reason

router = APIRouter(include_in_schema=False)
permit_page("console.corrections", like="correction.list")
permit_page("console.correction", like="correction.read")
permit_page("console.new_correction", like="correction.report")
permit_page("console.report_correction", like="correction.report")
permit_page("console.policies", like="policy.list")
permit_page("console.policy", like="policy.read")

ACTS = {
    "correct": Act(api.correct, Reason, (REASON,), says=Text("提供方更正后，所有使用方都会得知。", "Every user of the resource is told of the correction.")),
    "reject": Act(api.reject, Reason, (REASON,)),
    "escalate": Act(api.escalate, Reason, (REASON,)),
    "order": Act(api.order, Reason, (REASON,)),
    "dismiss": Act(api.dismiss, Reason, (REASON,)),
    "withdraw": Act(api.withdraw, OptionalReason, (NOTE,)),
}  # fmt: skip
POLICY_ACTS = {
    "adopt": Act(
        policies.adopt,
        OptionalReason,
        (NOTE,),
        says=Text("此后符合规则的申请当即同意。", "From now on what the rule covers is agreed at once."),
    ),
    "discard": Act(policies.discard, OptionalReason, (NOTE,), grave=True),
    "revoke": Act(policies.revoke, Reason, (REASON,), grave=True),
}


@router.get("/corrections", operation_id="console.corrections")
def list_corrections(
    view: Annotated[View, looking("console.corrections")],
    state: str | None = None,
    waiting: bool = False,
    cursor: Cursor = None,
) -> Response:
    """Errors reported in delivered data."""
    state = state if state in CORRECTION.states else None
    chosen = api.Chosen(state=state, waiting=waiting, cursor=cursor)
    found = api.list_corrections(view.session, view.actor, chosen)
    records = pages.records_of(view.session, {row.resource_id for row in found.items})
    rows = [
        [
            Cell(bilingual(records[row.resource_id].title, records[row.resource_id].title_en), f"/corrections/{row.id}", late=row.overdue),
            Cell(row.requester.name), Cell(row.provider.name), Cell(row.state_name, state=row.state), Cell(row.updated_at),
        ]
        for row in found.items
    ]  # fmt: skip
    title = Text("数据校核", "Corrections")
    columns = (Text("资源", "Resource"), Text("提出方", "Reported by"), Text("提供方", "Provider"), Text("状态", "State"), Text("最近变化", "Last change"))  # fmt: skip
    table = Table(columns, rows, title, Text("没有数据校核。在协议页面可以提出。", "No corrections. They are reported from an agreement."))  # fmt: skip
    more = onward("/corrections", found.next, state=state, waiting="true" if waiting else None)
    tabs = state_tabs("/corrections", CORRECTION.states, state, waiting)
    return view.page("list.html", register=Register(title, table, tabs, more=more))


@router.get("/corrections/report", operation_id="console.new_correction")
def new_correction(view: Annotated[View, looking("console.new_correction")], agreement: UUID) -> Response:
    """The form to report an error in what came under an agreement."""
    return _form(view, agreement, Form(), None)


def _form(view: View, agreement_id: UUID, entered: Form, problem: Problem | None) -> Response:
    agreement = find_agreement(view.session, agreement_id, by=view.actor)
    records = pages.records_of(view.session, agreement.resource_ids)
    return view.page(
        "agreements/correction.html", status=problem.status if problem else 200, agreement_id=agreement_id,
        here=f"/corrections/report?agreement={agreement_id}", parts=pages.told(agreement.typed, records),
        entered=entered, problem=problem,
    )  # fmt: skip


@router.post("/corrections/report", operation_id="console.report_correction")
def report_correction(
    view: Annotated[View, looking("console.report_correction")], agreement: UUID, form: Sent
) -> Response:
    """Report the error to the provider."""
    picked = [one.split("/", 1) for one in form.all("item") if "/" in one]
    values = {
        "agreement_id": agreement, "resource_id": picked[0][0] if picked else None,
        "items": [code for resource, code in picked if resource == picked[0][0]],
        **{name: form.text(name) for name in ("records", "error", "evidence") if form.text(name)},
    }  # fmt: skip
    try:
        with view.session.begin_nested():
            body = validated(api.NewCorrection, values)
            made = api.report_error(body, view.session, view.actor, Response())
    except Problem as problem:
        return _form(view, agreement, form, problem)
    return view.to(f"/corrections/{made.id}")


@router.get("/corrections/{id:uuid}", operation_id="console.correction")
def correction_page(
    seen: Annotated[Seen[Correction], looking_at("console.correction", service.find_correction)],
) -> Response:
    """One correction."""
    view, told = seen.view, api.represent(seen.asked)
    record = pages.records_of(view.session, [told.resource_id])[told.resource_id]
    by_code = {item.code: bilingual(item.name, item.name_en) for item in record.items}
    facts: list[tuple[Text, Any]] = [
        (
            Text("资源", "Resource"),
            Cell(bilingual(record.title, record.title_en), f"/catalog/{told.resource_id}"),
        ),
        (Text("信息项", "Items"), [Cell(by_code.get(code, Text(code, code))) for code in told.items]),
        (Text("提出方", "Reported by"), Cell(told.requester.name)),
        (Text("提供方", "Provider"), Cell(told.provider.name)),
        (Text("协议", "Agreement"), Cell(Text("查看协议", "read it"), f"/agreements/{told.agreement_id}")),
    ]
    words = [
        (Text("涉及的记录", "Which records"), told.records), (Text("错误", "What is wrong"), told.error),
        (Text("证据", "Evidence"), told.evidence or ""), (Text("答复", "Answer"), told.answer or ""),
    ]  # fmt: skip
    notes: list[tuple[str, Text]] = [("wrong", Text("答复已逾期。", "The answer is overdue."))] if told.overdue else []  # fmt: skip
    sheet = Sheet(
        Text("数据校核：{a}", "Correction: {a}").with_(a=bilingual(record.title, record.title_en)),
        Link("/corrections", Text("数据校核", "Corrections")), facts, (told.state, told.state_name), notes=notes,
        words=[(name, body) for name, body in words if body],
    )  # fmt: skip
    case = _case(seen, "", Form())
    return view.page(
        "sheet.html", sheet=sheet, clocks=clocks_of(view, told.deadlines), events=api.list_events(seen.asked),
        offers=offered(case, ACTS), refused=refused(view, case), changes=None, act_names=CORRECTION.acts,
        done=view.request.query_params.get("done"),
    )  # fmt: skip


def _case(seen: Seen[Correction], act: str, _form: Form) -> Case:
    told = api.represent(seen.asked)
    mine = seen.view.actor.agency_id
    others = [one.name for one in (told.requester, told.provider) if one.id != mine]
    title = Text("数据校核", "Correction")
    return Case(
        f"/corrections/{told.id}", title, CORRECTION, told.state, told.version, told.allowed, names(others),
        parties=parties_of(seen.view.actor, seen.case),
        hinders=lambda act: hindrance(seen.case.state, act, overdue=seen.case.overdue),
    )  # fmt: skip


@router.get("/policies", operation_id="console.policies")
def list_policies(view: Annotated[View, looking("console.policies")], cursor: Cursor = None) -> Response:
    """Rules by which requests are agreed at once."""
    found = policies.list_policies(view.session, view.actor, policies.Chosen(cursor=cursor))
    records = pages.records_of(view.session, {row.resource_id for row in found.items})
    rows = [
        [
            Cell(row.rule.title, f"/policies/{row.id}"),
            Cell(bilingual(records[row.resource_id].title, records[row.resource_id].title_en)),
            Cell(len(row.rule.requesters)), Cell(row.state_name, state=row.state), Cell(row.updated_at),
        ]
        for row in found.items
    ]  # fmt: skip
    title = Text("自动同意规则", "Sharing policies")
    columns = (Text("规则", "Rule"), Text("资源", "Resource"), Text("适用单位数", "Agencies"), Text("状态", "State"), Text("最近变化", "Last change"))  # fmt: skip
    intro = Text(
        "提供方事先规定，符合规则的申请当即同意。", "The provider says beforehand what is agreed at once."
    )
    table = Table(columns, rows, title, Text("没有规则。", "No policies."))
    return view.page(
        "list.html", register=Register(title, table, intro=intro, more=onward("/policies", found.next))
    )


@router.get("/policies/{id:uuid}", operation_id="console.policy")
def policy_page(
    seen: Annotated[Seen[SharingPolicy], looking_at("console.policy", policy_service.find_policy)],
) -> Response:
    """One policy."""
    view, told = seen.view, policies.represent(seen.asked)
    record = pages.records_of(view.session, [told.resource_id])[told.resource_id]
    rule, agencies = told.rule, names_of(view.session, set(told.rule.requesters))
    by_code = {item.code: bilingual(item.name, item.name_en) for item in record.items}
    masks = [
        [Cell(by_code.get(item.code, Text(item.code, item.code))), Cell(mask_text(item.mask))]
        for item in rule.items
    ]
    quota = Text("每日 {a} 次、{b} 条；每次至多 {c} 条", "{a} calls and {b} rows a day; {c} rows a call")
    facts: list[tuple[Text, Any]] = [
        (Text("资源", "Resource"), Cell(bilingual(record.title, record.title_en), f"/catalog/{told.resource_id}")),
        (Text("适用单位", "For"), [Cell(name) for name in agencies.values()]),
        (Text("业务事项", "Business matters"), [Cell(one) for one in rule.business_matters]),
        (Text("方式", "Methods"), [Cell(METHOD_NAMES[one]) for one in rule.methods]),
        (Text("用量上限", "At most"), Cell(quota.with_(a=rule.quota.calls_per_day, b=rule.quota.rows_per_day, c=rule.quota.rows_per_call))),
        (Text("最长有效期", "Longest term"), Cell(Text("{n} 天", "{n} days").with_(n=rule.longest_days))),
        (Text("最长留存", "Longest kept"), Cell(Text("{n} 天", "{n} days").with_(n=rule.longest_retention_days))),
        (Text("数据范围", "Scope"), Cell(rule.scope or Text("全部记录", "every record"), code=bool(rule.scope))),
    ]  # fmt: skip
    items = Table((Text("信息项", "Item"), Text("脱敏", "Mask")), masks, Text("信息项", "Items"))
    sheet = Sheet(
        rule.title, Link("/policies", Text("自动同意规则", "Sharing policies")), facts,
        (told.state, told.state_name), [items],
    )  # fmt: skip
    case = _policy_case(seen, "", Form())
    return view.page(
        "sheet.html", sheet=sheet, clocks=[], events=policies.list_events(seen.asked),
        offers=offered(case, POLICY_ACTS), refused=refused(view, case), changes=None, act_names=POLICY.acts,
        done=view.request.query_params.get("done"),
    )  # fmt: skip


def _policy_case(seen: Seen[SharingPolicy], act: str, _form: Form) -> Case:
    told = policies.represent(seen.asked)
    address = f"/policies/{told.id}"
    return Case(
        address, Text(told.rule.title, told.rule.title), POLICY, told.state, told.version, told.allowed,
        parties=policy_service.parties_of(seen.view.actor, seen.case),
    )  # fmt: skip


act_routes(router, "/corrections", "correction", service.find_correction, ACTS, _case)
act_routes(router, "/policies", "policy", policy_service.find_policy, POLICY_ACTS, _policy_case)
