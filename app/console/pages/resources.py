"""One resource of the catalog: items, source, who uses it, how good it is and why, versions, how to get it; and
every act on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Response

from app.console.acts import Case, act_routes, names, offered
from app.console.due import clocks_of
from app.console.forms import REASON, Act, Field, Form, Sent
from app.console.view import Seen, View, basket_of, looking_at, permit_page
from app.identity.cases import Asked
from app.kernel.text import Text
from app.kernel.wire import Label
from catalog.following import api as following
from catalog.following import service as followings
from catalog.quality import api as quality
from catalog.resources import api as resources
from catalog.resources import codes, review, review_api, service, updating
from catalog.resources.labels import FIELDS
from catalog.resources.models import Resource
from catalog.resources.states import RESOURCE
from exchange.requests import question_sets

router = APIRouter(include_in_schema=False)
permit_page("console.resource", like="resource.read")
permit_page("console.follow", like="following.follow")
permit_page("console.open_revision", like="revision.open")

DEFECTS_AT_ONCE = 6


def read_defects(form: Form) -> Mapping[str, Any]:
    """The rows of the form in which something is said."""
    told = zip(form.all("field"), form.all("message"), strict=False)
    return {"defects": [{"field": field, "message": message} for field, message in told if message]}


STATEMENT = (
    Field("contains_secrets", Text("含有国家秘密或工作秘密（含有的不得报送）", "It holds state or work secrets (then it cannot be filed)"), "check", False),
    Field("secrecy_review", Text("保密审查记录", "Secrecy review on record"), "line", hint=Text("审查单位、日期、文号", "Who reviewed it, when, document number")),
    Field("personal_information_assessment", Text("个人信息保护影响评估", "Personal information impact assessment"), "line", False,
          Text("含敏感个人信息的，填写评估记录", "Where it holds sensitive personal information: the assessment on record")),
)  # fmt: skip
RETURN = Act(
    resources.return_resource, review.Defects, reads=read_defects,
    says=Text("一次列明全部问题，提供方逐条答复。", "Every defect at once; the agency answers each."),
)  # fmt: skip
ACTS = {
    "file": Act(resources.file_resource, review.FilingStatement, STATEMENT),
    "publish": Act(
        resources.publish_resource,
        says=Text("发布后所有机关可见，此版本不再变动。", "Every agency sees it; this version never changes."),
    ),
    "return": RETURN,
    "suspend": Act(resources.suspend_resource, service.Reason, (REASON,), grave=True),
    "resume": Act(resources.resume_resource, service.Reason, (REASON,)),
    "withdraw": Act(resources.withdraw_resource, service.Reason, (REASON,), grave=True),
    "note_change": Act(
        resources.note_change, updating.ChangeNoted,
        (
            Field("change", Text("变化", "What changed"), "select",
                  options={"law": Text("法律法规规章", "the law"), "duty": Text("单位职责", "the agency's duty")}),
            Field("citation", Text("依据", "Where it stands"), "line"),
            REASON,
        ),
    ),
    "ask_extension": Act(
        resources.ask_extension, updating.Extension,
        (Field("working_days", Text("延长工作日数", "Working days"), "number"), REASON),
    ),
    "extend": Act(resources.extend_update, service.Reason, (REASON,)),
    "refuse_extension": Act(resources.refuse_extension, service.Reason, (REASON,)),
}  # fmt: skip


@router.get("/catalog/{id:uuid}", operation_id="console.resource")
def resource_page(
    seen: Annotated[Seen[Resource], looking_at("console.resource", service.find)],
    before: int | None = None,
    after: int | None = None,
) -> Response:
    """One resource; with two numbers also what changed between those versions."""
    view, asked = seen.view, seen.asked
    told = resources.represent(asked)
    versions = resources.list_versions(asked).items
    handled = bool(service.parties_of(view.session, view.actor, seen.case)) and view.may("resource.events")
    chosen = resources.Versions(before=before, after=after) if before and after else None
    return view.page(
        "catalog/resource.html", here=f"/catalog/{told.id}", resource=told, versions=versions, chosen=chosen,
        changes=[(change, change.label) for change in resources.list_changes(asked, chosen)] if chosen else None,
        events=resources.list_events(asked) if handled else [], handled=handled,
        use=resources.read_use(asked) if view.may("resource.use") else None,
        quality=quality.read_quality(asked) if view.may("resource.quality") else None,
        threads=review_api.list_defects(asked) if handled and told.state != "draft" else [],
        questions=question_sets.read_questions(asked).questions if view.may("resource.questions") else (),
        offers=offered(_case(seen, "", Form()), ACTS), act_names=RESOURCE.acts, codes=codes,
        own=told.agency.id == view.actor.agency_id, may_request=view.may("request.draft"),
        may_revise=view.may("revision.open") and told.agency.id == view.actor.agency_id,
        clocks=clocks_of(view, told.deadlines), following=_following(view, told.id),
        put_aside=told.id in basket_of(view.request), done=view.request.query_params.get("done"),
    )  # fmt: skip


def _following(view: View, resource_id: UUID) -> UUID | None:
    if not view.may("following.list"):
        return None
    rows = following.list_followings(view.session, view.actor)
    return next((row.id for row in rows if row.target_id == resource_id), None)


def _case(seen: Seen[Resource], act: str, _form: Form) -> Case:
    told = resources.represent(seen.asked)
    authority = Label(zh="主管部门", en="the authority")
    who = (
        [Label(zh="全部机关（资源公开可查）", en="every agency: it stands in the catalog")]
        if act in ("publish", "suspend", "resume", "withdraw")
        else names(told.agency.name, authority)
    )
    return Case(
        f"/catalog/{told.id}", Text(told.record.title, told.record.title_en or told.record.title), RESOURCE,
        told.state, told.version, told.allowed, who,
        {"fields": _field_choices(), "rows": DEFECTS_AT_ONCE},
    )  # fmt: skip


def _field_choices() -> dict[str, Text]:
    return {pointer: name for pointer, name in FIELDS.items() if pointer}


@router.post("/catalog/{id:uuid}/follow", operation_id="console.follow")
def follow(
    seen: Annotated[Seen[Resource], looking_at("console.follow", service.find)],
) -> Response:
    """Follow the resource, or stop following it."""
    view, id_ = seen.view, seen.case.id
    held = _following(view, id_)
    if held is None:
        following.follow(following.NewFollowing(resource_id=id_), view.session, view.actor)
    else:
        row = followings.find_following(view.session, held, by=view.actor)
        following.unfollow(Asked(view.session, row, view.actor, Response()))
    return view.to(f"/catalog/{id_}")


@router.post("/catalog/{id:uuid}/revise", operation_id="console.open_revision")
def open_revision(
    seen: Annotated[Seen[Resource], looking_at("console.open_revision", service.find)], form: Sent
) -> Response:
    """Open a working copy of what is published."""
    body = review_api.NewRevision(reason=form.text("reason") or "-")
    made = review_api.open_revision(seen.asked, body)
    return seen.view.to(f"/revisions/{made.id}")


act_routes(router, "/catalog", "resource", service.find, ACTS, _case)
