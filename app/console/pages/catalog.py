"""The catalog: search with facets, and one resource with its items, terms of sharing and history."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Response

from app.console.forms import Act, Form, Sent, perform, validated
from app.console.view import Seen, View, acting_on, looking, looking_at, permit_page
from app.identity.cases import Asked
from app.identity.permissions import permit
from app.kernel.errors import Problem
from app.kernel.text import Text
from catalog.resources import api as resources
from catalog.resources import codes, review, service
from catalog.resources.models import Resource
from catalog.resources.states import RESOURCE
from catalog.search import api as search

router = APIRouter(include_in_schema=False)
permit_page("console.catalog", like="search.query")
permit_page("console.resource", like="resource.read")
permit("console.resource_act")

SHOWN_FACETS = ("sharing_type", "agency", "theme", "jurisdiction", "openness", "update_cycle", "format")
FACET_NAMES = {
    "sharing_type": Text("共享类型", "Sharing"),
    "agency": Text("提供单位", "Provider"),
    "theme": Text("主题", "Theme"),
    "jurisdiction": Text("行政区划", "Jurisdiction"),
    "openness": Text("开放属性", "Openness"),
    "update_cycle": Text("更新周期", "Updated"),
    "format": Text("格式", "Format"),
}
FACET_VALUES_SHOWN = 12


@router.get("/catalog", operation_id="console.catalog")
def search_catalog(view: Annotated[View, looking("console.catalog")]) -> Response:
    """Find resources by words and facets."""
    return search_page(view)


def search_page(view: View) -> Response:
    """The search page, which is also what the home page is to whoever is not signed in."""
    sent = view.request.query_params
    values: dict[str, Any] = {
        name: sent.getlist(name)
        for name in search.Asked.model_fields
        if name in FACET_NAMES and sent.getlist(name)
    }
    values |= {name: sent[name] for name in ("q", "sort", "cursor") if sent.get(name)}
    asked = validated(search.Asked, {**values, "facets": SHOWN_FACETS})
    found = search.query(asked, view.session, view.request.app.state.index, view.actor)
    kept = [(name, value) for name in ("q", "sort") if (value := sent.get(name))]
    chosen = [(name, value) for name in FACET_NAMES for value in sent.getlist(name)]
    facets = [
        (
            FACET_NAMES[name],
            [_facet(name, value, kept, chosen) for value in found.facets[name][:FACET_VALUES_SHOWN]],
        )
        for name in SHOWN_FACETS
        if found.facets.get(name)
    ]
    following = f"/catalog?{urlencode([*kept, *chosen, ('cursor', found.next)])}" if found.next else None
    return view.page(
        "catalog/search.html", asked=asked, found=found, facets=facets, chosen=chosen, following=following,
        sharing=codes.SHARING_TYPES, cycles=codes.UPDATE_CYCLES,
        clear=f"/catalog?{urlencode(kept)}",
    )  # fmt: skip


def _facet(
    name: str, value: search.FacetValue, kept: list[tuple[str, str]], chosen: list[tuple[str, str]]
) -> tuple[search.FacetValue, bool, str]:
    """A facet's value, whether it is chosen, and the address that chooses it or lets it go."""
    this = (name, value.value)
    others = [pair for pair in chosen if pair != this]
    return (
        value,
        this in chosen,
        f"/catalog?{urlencode([*kept, *(others if this in chosen else [*chosen, this])])}",
    )


@router.get("/catalog/{id:uuid}", operation_id="console.resource")
def resource_page(seen: Annotated[Seen[Resource], looking_at("console.resource", service.find)]) -> Response:
    """One resource."""
    return _resource(seen)


def _resource(seen: Seen[Resource], problem: Problem | None = None, entered: Form | None = None) -> Response:
    view, row = seen.view, seen.case
    asked = seen.asked
    told = resources.represent(asked)
    party = bool(service.parties_of(view.session, view.actor, row)) and view.may("resource.events")
    return view.page(
        "catalog/resource.html", resource=told, status=problem.status if problem else 200, here=f"/catalog/{row.id}",
        versions=resources.list_versions(asked).items,
        events=resources.list_events(asked) if party else [],
        acts=[act for act in told.allowed if act in ACTS], act_names=RESOURCE.acts, codes=codes,
        own=row.agency_id == view.actor.agency_id, may_request=view.may("request.draft"),
        problem=problem, entered=entered or Form(), done=view.request.query_params.get("done"),
    )  # fmt: skip


def _return(asked: Asked[Resource], body: review.NewDefect, version: int) -> object:
    """The page sends one defect; a list of them is for the review desk."""
    return resources.return_resource(asked, review.Defects(defects=(body,)), version)


ACTS = {
    "file": Act(resources.file_resource, review.FilingStatement),
    "publish": Act(resources.publish_resource),
    "return": Act(_return, review.NewDefect),
    "suspend": Act(resources.suspend_resource, service.Reason),
    "resume": Act(resources.resume_resource, service.Reason),
    "withdraw": Act(resources.withdraw_resource, service.Reason),
}


@router.post("/catalog/{id:uuid}/{act}", operation_id="console.resource_act")
def act_on_resource(
    seen: Annotated[Seen[Resource], acting_on("resource", service.find)], form: Sent
) -> Response:
    """File, publish, return or take out."""
    try:
        perform(ACTS, seen.asked, form)
    except Problem as problem:
        return _resource(seen, problem, form)
    return seen.view.to(f"/catalog/{seen.case.id}?done={form.act}")
