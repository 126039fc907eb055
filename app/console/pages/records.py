"""An agency's own records: the list, the editor with coupled lists, working copies, and the authority's review desk
with its threads of defects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Response

from app.console.acts import Case, act_routes, names, offered
from app.console.due import clocks_of
from app.console.forms import NOTE, Act, Entered, Field, Form, Sent, validated
from app.console.pages.resources import DEFECTS_AT_ONCE, STATEMENT, read_defects
from app.console.sheets import Cell, Link, Register, Table, onward, state_tabs
from app.console.view import Seen, View, looking, looking_at, permit_page
from app.identity.cases import Asked
from app.kernel.errors import NotPermitted, Problem
from app.kernel.text import Text
from app.kernel.wire import Cursor, Label
from catalog.following import api as following
from catalog.following import service as followings
from catalog.quality import api as quality
from catalog.resources import api, codes, review, review_api, revisions, service
from catalog.resources.labels import FIELDS
from catalog.resources.models import Defect, Resource, Revision
from catalog.resources.record import ResourceRecord, check_record
from catalog.resources.states import DEFECT, FILED, RESOURCE, REVISION

router = APIRouter(include_in_schema=False)
permit_page("console.records", like="resource.create")
permit_page("console.review", like="resource.publish")
permit_page("console.new_record", like="resource.create")
permit_page("console.create_record", like="resource.create")
permit_page("console.edit_record_form", like="resource.edit")
permit_page("console.edit_record", like="resource.edit")
permit_page("console.edit_revision_form", like="revision.edit")
permit_page("console.edit_revision", like="revision.edit")
permit_page("console.revision", like="revision.read")
permit_page("console.quality", like="quality.list")
permit_page("console.following", like="following.list")
permit_page("console.following_done", like="following.mark_read")
permit_page("console.unfollow", like="following.unfollow")

ITEM_ROWS = 5
_ITEM = ("name", "name_en", "code", "definition", "data_type", "length", "sharing_type", "code_list")


@router.get("/records", operation_id="console.records")
def list_records(
    view: Annotated[View, looking("console.records")], state: str | None = None, cursor: Cursor = None
) -> Response:
    """The records of one's own agency, in every state."""
    state = state if state in RESOURCE.states else None
    asked = validated(
        api.Chosen, {"agency": view.actor.agency_id, "state": state, "cursor": cursor, "limit": 50}
    )
    found = api.list_resources(view.session, view.actor, asked)
    title = Text("本单位目录", "Our records")
    register = Register(
        title, _table(found.items, title), state_tabs("/records", RESOURCE.states, state),
        links=[
            Link("/records/new", Text("编制目录", "Write a record"), main=True),
            Link("/api/v1/exports/catalog.xlsx?own=true", Text("导出工作簿", "Export as workbook")),
            Link("/api/v1/exports/catalog.csv?own=true", Text("导出 CSV", "Export as CSV")),
        ],
        more=onward("/records", found.next, state=state),
    )  # fmt: skip
    return view.page("list.html", register=register)


def _table(rows: Sequence[api.ResourceSummary], title: Text) -> Table:
    columns = (Text("资源", "Resource"), Text("提供方", "Provider"), Text("共享类型", "Sharing"), Text("状态", "State"), Text("最近变化", "Last change"))  # fmt: skip
    cells = [
        [
            Cell(Text(row.title, row.title_en or row.title), f"/catalog/{row.id}", below=row.code), Cell(row.agency.name),
            Cell(codes.SHARING_TYPES[row.sharing_type] if row.sharing_type else ""),
            Cell(RESOURCE.states[row.state], state=row.state), Cell(row.updated_at),
        ]
        for row in rows
    ]  # fmt: skip
    return Table(columns, cells, title, Text("没有目录。", "No records."))


@router.get("/review", operation_id="console.review")
def review_desk(view: Annotated[View, looking("console.review")], cursor: Cursor = None) -> Response:
    """What waits for review: new records and working copies."""
    found = api.list_resources(view.session, view.actor, api.Chosen(state=FILED, cursor=cursor, limit=50))
    revised = review_api.list_revisions(view.session, view.actor, review_api.Chosen(state=FILED, limit=50))
    return view.page(
        "review/desk.html", filed=_table(found.items, Text("新报送的目录", "New records")),
        revised=_revisions(revised.items), more=onward("/review", found.next),
    )  # fmt: skip


def _revisions(rows: Sequence[review_api.RevisionSummary]) -> Table:
    columns = (Text("资源", "Resource"), Text("提供方", "Provider"), Text("修订原因", "Why"), Text("状态", "State"), Text("最近变化", "Last change"))  # fmt: skip
    cells = [
        [
            Cell(row.title, f"/revisions/{row.id}", below=row.code), Cell(row.agency.name), Cell(row.reason),
            Cell(row.state_name, state=row.state), Cell(row.updated_at),
        ]
        for row in rows
    ]  # fmt: skip
    return Table(
        columns,
        cells,
        Text("报送的修订", "Working copies"),
        Text("没有待审核的修订。", "No working copies to review."),
    )


# --- The editor


@router.get("/records/new", operation_id="console.new_record")
def new_record(view: Annotated[View, looking("console.new_record")]) -> Response:
    """The form for a new record."""
    return _editor(view, {}, "/records/new")


@router.post("/records/new", operation_id="console.create_record")
def create_record(view: Annotated[View, looking("console.create_record")], form: Sent) -> Response:
    """Write the record as a draft; with `check` only say what is wrong with it."""
    values = read_record(form)
    if form.text("check"):
        return _checked(view, form, values, "/records/new")
    try:
        with view.session.begin_nested():
            body = validated(api.NewResource, {"record": values})
            made = api.create_resource(body, view.session, view.actor, Response())
    except Problem as problem:
        return _editor(view, values, "/records/new", problem=problem)
    return view.to(f"/catalog/{made.id}?done=create")


@router.get("/records/{id:uuid}/edit", operation_id="console.edit_record_form")
def edit_record_form(
    seen: Annotated[Seen[Resource], looking_at("console.edit_record_form", service.find)],
) -> Response:
    """The form over a draft or a returned record."""
    _require_edit(api.represent(seen.asked).allowed)
    threads = review_api.list_defects(seen.asked) if seen.case.state == "returned" else []
    values = seen.case.record
    return _editor(
        seen.view, values, f"/records/{seen.case.id}/edit", version=seen.case.version, threads=threads
    )


@router.post("/records/{id:uuid}/edit", operation_id="console.edit_record")
def edit_record(
    seen: Annotated[Seen[Resource], looking_at("console.edit_record", service.find)], form: Sent
) -> Response:
    """Replace the record; with `check` only say what is wrong with it."""
    view, here = seen.view, f"/records/{seen.case.id}/edit"
    values = {**seen.case.record, **read_record(form)}
    if form.text("check"):
        return _checked(view, form, values, here)
    try:
        with view.session.begin_nested():
            api.edit_resource(seen.asked, validated(api.NewResource, {"record": values}), form.version)
    except Problem as problem:
        return _editor(view, values, here, version=seen.case.version, problem=problem)
    return view.to(f"/catalog/{seen.case.id}?done=edit")


def _require_edit(allowed: Sequence[str]) -> None:
    if "edit" not in allowed:
        raise NotPermitted(Text("目前不能修改。", "It cannot be edited now."))


def read_record(form: Form) -> dict[str, Any]:
    """The record as the form gives it; blank fields are None, rows without a name are left out."""
    columns = [form.all(f"item_{name}") for name in _ITEM]
    flags = {name: set(form.all(f"item_{name}")) for name in ("sensitive", "is_key")}
    items = []
    for n, row in enumerate(zip(*columns, strict=False)):
        item: dict[str, Any] = {name: value for name, value in zip(_ITEM, row, strict=True) if value}
        if item.get("name"):
            items.append(item | {name: str(n) in on for name, on in flags.items()})
    mode = {"channel": form.text("channel")} | (
        {"type": form.text("mode_type")} if form.text("mode_type") else {}
    )
    return {
        **{name: form.text(name) or None for name in ("title", "title_en", "abstract", "base_library", "update_cycle", "update_cycle_as_given", "grade")},
        "title": form.text("title"), "themes": form.all("themes"),
        "keywords": [word for word in form.text("keywords").replace("，", "、").replace(",", "、").split("、") if word.strip()],
        "classification": {"resource_class": form.text("resource_class") or "3"},
        "provider": {"department": form.text("department") or None},
        "format": {name: form.text(name if name == "format_class" else f"format_{name}") or None for name in ("format_class", "type", "other")},
        "sharing": {
            **{name: form.text(f"sharing_{name}") or None for name in ("type", "condition", "reason", "citation")},
            "mode": mode if form.text("channel") else None,
        },
        "openness": {"type": form.text("openness_type") or "not_open", "condition": form.text("openness_condition") or None},
        "contact": {name: form.text(f"contact_{name}") or None for name in ("name", "email", "telephone")},
        "items": items,
    }  # fmt: skip


def _checked(view: View, form: Form, values: Mapping[str, Any], here: str) -> Response:
    """The form again with every rule it breaks beside its fields; nothing is kept."""
    version = int(form.text("version")) if form.text("version").isdigit() else 0
    try:
        record = validated(ResourceRecord, values)
    except Problem as problem:
        return _editor(view, values, here, version=version, problem=problem)
    faults = check_record(record)
    return _editor(view, values, here, version=version, found=faults, checked=True)


def _editor(
    view: View,
    values: Mapping[str, Any],
    here: str,
    *,
    version: int = 0,
    problem: Problem | None = None,
    found: Sequence[Any] = (),
    checked: bool = False,
    threads: Sequence[review_api.DefectOut] = (),
) -> Response:
    given = (values.get("format") or {}).get("format_class")
    kind = next((one for one in codes.FormatClass if one == given), None)
    types = codes.FORMAT_TYPES[kind] if kind else ()
    modes = codes.FITTING_MODES[kind] if kind else frozenset(codes.PlatformMode)
    return view.page(
        "records/edit.html", status=problem.status if problem else 200, here=here, action=here, record=Entered(values), blank=Entered({}),
        rows=[Entered(item) for item in [*(values.get("items") or ()), *({} for _ in range(ITEM_ROWS))]], version=version, problem=problem,
        found=found, checked=checked, threads=threads, codes=codes, format_types=types,
        modes={mode: name for mode, name in codes.PLATFORM_MODES.items() if mode in modes},
    )  # fmt: skip


# --- Working copies and threads

_ANSWER = (Field("text", Text("答复", "What you say")),)
REVISION_ACTS = {
    "file": Act(review_api.file_revision, review.FilingStatement, STATEMENT),
    "publish": Act(review_api.publish_revision, says=Text("成为下一个发布版本；关注者会得知。", "It becomes the next published version; followers are told.")),
    "return": Act(review_api.return_revision, review.Defects, reads=read_defects),
    "discard": Act(review_api.discard_revision, review_api.OptionalReason, (NOTE,), grave=True),
}  # fmt: skip
DEFECT_ACTS = {
    "answer": Act(review_api.answer_defect, review.Answer, _ANSWER),
    "confirm": Act(review_api.confirm_defect, review.Answer, _ANSWER),
    "reopen": Act(review_api.reopen_defect, review.Answer, _ANSWER),
    "drop": Act(review_api.drop_defect, service.Reason, (Field("reason", Text("理由", "Reason")),)),
}


@router.get("/revisions/{id:uuid}", operation_id="console.revision")
def revision_page(
    seen: Annotated[Seen[Revision], looking_at("console.revision", revisions.find_revision)],
) -> Response:
    """One working copy: what it changes, its threads, its acts."""
    view, asked, told = seen.view, seen.asked, review_api.read_revision(seen.asked)
    return view.page(
        "review/revision.html", revision=told, changes=[(one, one.label) for one in review_api.list_changes(asked)],
        threads=review_api.list_revision_defects(asked), filings=review_api.list_revision_filings(asked),
        events=review_api.list_events(asked), offers=offered(_revision_case(seen, "", Form()), REVISION_ACTS),
        act_names=REVISION.acts, clocks=clocks_of(view, told.deadlines), done=view.request.query_params.get("done"),
    )  # fmt: skip


def _revision_case(seen: Seen[Revision], act: str, _form: Form) -> Case:
    told = review_api.read_revision(seen.asked)
    who = names(told.agency.name, Label(zh="主管部门", en="the authority"))
    return Case(
        f"/revisions/{told.id}", Text(told.title, told.title), REVISION, told.state, told.version, told.allowed, who,
        {"fields": {pointer: name for pointer, name in FIELDS.items() if pointer}, "rows": DEFECTS_AT_ONCE},
    )  # fmt: skip


@router.get("/revisions/{id:uuid}/edit", operation_id="console.edit_revision_form")
def edit_revision_form(
    seen: Annotated[Seen[Revision], looking_at("console.edit_revision_form", revisions.find_revision)],
) -> Response:
    """The form over a working copy."""
    _require_edit(review_api.read_revision(seen.asked).allowed)
    here = f"/revisions/{seen.case.id}/edit"
    threads = review_api.list_revision_defects(seen.asked)
    return _editor(seen.view, seen.case.record, here, version=seen.case.version, threads=threads)


@router.post("/revisions/{id:uuid}/edit", operation_id="console.edit_revision")
def edit_revision(
    seen: Annotated[Seen[Revision], looking_at("console.edit_revision", revisions.find_revision)], form: Sent
) -> Response:
    """Replace the record of the working copy; with `check` only say what is wrong with it."""
    view, here = seen.view, f"/revisions/{seen.case.id}/edit"
    values = {**seen.case.record, **read_record(form)}
    if form.text("check"):
        return _checked(view, form, values, here)
    try:
        with view.session.begin_nested():
            review_api.edit_revision(seen.asked, validated(api.NewResource, {"record": values}), form.version)
    except Problem as problem:
        return _editor(view, values, here, version=seen.case.version, problem=problem)
    return view.to(f"/revisions/{seen.case.id}?done=edit")


def _defect_case(seen: Seen[Defect], act: str, _form: Form) -> Case:
    view, row = seen.view, seen.case
    asked: Asked[Any]
    if row.revision is not None:
        asked, back = view.asked(row.revision), f"/revisions/{row.revision_id}"
        threads = review_api.list_revision_defects(asked)
    else:
        asked, back = view.asked(row.resource), f"/catalog/{row.resource_id}"
        threads = review_api.list_defects(asked)
    told = next(one for one in threads if one.id == row.id)
    return Case(
        f"/defects/{row.id}", Text(told.message, told.message), DEFECT, told.state, told.version, told.allowed,
        (Label(zh="提供方和主管部门", en="the agency and its authority"),), back=back,
    )  # fmt: skip


# --- Quality and following


@router.get("/quality", operation_id="console.quality")
def worst_records(view: Annotated[View, looking("console.quality")], cursor: Cursor = None) -> Response:
    """The records that one's agency provides or reviews, worst first, with the reasons."""
    found = quality.list_worst(view.session, view.actor, quality.Chosen(cursor=cursor))
    rows = []
    for row in found.items:
        low = row.lowered_by
        why = Text(
            "；".join(f"{one.label.zh}：{one.reasons[0].zh}" for one in low if one.reasons),
            "; ".join(f"{one.label.en}: {one.reasons[0].en}" for one in low if one.reasons),
        )
        title = Text(row.resource.title, row.resource.title_en or row.resource.title)
        rows.append(
            [
                Cell(title, f"/catalog/{row.resource.id}", below=row.resource.agency.name),
                Cell(round(row.score * 100)),
                Cell(why),
            ]
        )
    name = Text("目录质量", "Quality of the catalog")
    columns = (Text("资源", "Resource"), Text("得分", "Score"), Text("扣分原因", "What lowers it"))
    intro = Text("得分由必填内容、信息项说明、按周期更新、校核、代码和链接六项组成，差的在前。", "Six measures make the score: completeness, items documented, cycle kept, corrections, codes, links. The worst first.")  # fmt: skip
    register = Register(name, Table(columns, rows, name), intro=intro, more=onward("/quality", found.next))
    return view.page("list.html", register=register)


@router.get("/following", operation_id="console.following")
def following_page(view: Annotated[View, looking("console.following")], cursor: Cursor = None) -> Response:
    """What one follows, what changed in it, and kept searches."""
    told = following.list_changes(view.session, view.actor, following.Unread(cursor=cursor, limit=30))
    return view.page(
        "catalog/following.html", followings=following.list_followings(view.session, view.actor), told=told.items,
        searches={one.id: one for one in following.list_searches(view.session, view.actor)}, more=onward("/following", told.next),
    )  # fmt: skip


@router.post("/following/read", operation_id="console.following_done")
def mark_read(view: Annotated[View, looking("console.following_done")], form: Sent) -> Response:
    """Mark everything up to the newest shown as read."""
    following.mark_read(validated(following.UpTo, {"up_to": form.text("up_to")}), view.session, view.actor)
    return view.to("/following")


@router.post("/following/{id:uuid}/end", operation_id="console.unfollow")
def unfollow(view: Annotated[View, looking("console.unfollow")], id: UUID) -> Response:
    """Stop following."""
    row = followings.find_following(view.session, id, by=view.actor)
    following.unfollow(Asked(view.session, row, view.actor, Response()))
    return view.to("/following")


act_routes(router, "/revisions", "revision", revisions.find_revision, REVISION_ACTS, _revision_case)
act_routes(router, "/defects", "defect", revisions.find_defect, DEFECT_ACTS, _defect_case)
