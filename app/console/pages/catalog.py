"""The catalog: search with facets, suggestions, what was put aside, two resources side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Query, Response
from markupsafe import Markup, escape

from app.console.forms import Form, Sent, validated
from app.console.view import (
    BASKET_COOKIE,
    BASKET_LIMIT,
    LANGUAGE_KEPT_S,
    View,
    basket_of,
    looking,
    permit_page,
)
from app.identity import sessions
from app.kernel.errors import Fault, Invalid, NotFound
from app.kernel.text import Text
from catalog.following import api as following
from catalog.resources import codes, service
from catalog.resources.changes import changes_between, words
from catalog.resources.labels import label
from catalog.resources.models import Resource
from catalog.resources.record import ResourceRecord
from catalog.search import api as search

router = APIRouter(include_in_schema=False)
permit_page("console.catalog", like="search.query")
permit_page("console.suggestions", like="search.suggest")
permit_page("console.save_search", like="saved_search.save")
permit_page("console.basket", like="request.draft")
permit_page("console.change_basket", like="request.draft")
permit_page("console.compare", like="resource.read")

SHOWN_FACETS: tuple[search.Facet, ...] = (
    "sharing_type", "agency", "theme", "base_library", "jurisdiction", "openness", "update_cycle", "freshness", "format",
)  # fmt: skip
FACET_NAMES = {
    "sharing_type": Text("共享类型", "Sharing"),
    "agency": Text("提供单位", "Provider"),
    "theme": Text("主题", "Theme"),
    "base_library": Text("基础数据库", "Base library"),
    "jurisdiction": Text("行政区划", "Jurisdiction"),
    "openness": Text("开放属性", "Openness"),
    "update_cycle": Text("更新周期", "Updated"),
    "freshness": Text("最近更新", "Changed"),
    "format": Text("格式", "Format"),
}
FACET_VALUES_SHOWN = 10
SUMMARY_SHOWN = 220
SORTS = {"relevance": Text("相关程度", "relevance"), "updated": Text("最近更新", "newest first")}


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
    problem = None
    try:
        asked = validated(search.Asked, {**values, "facets": SHOWN_FACETS})
    except Invalid as wrong:
        problem, asked = wrong, search.Asked(facets=SHOWN_FACETS)
    found = search.query(asked, view.session, view.request.app.state.index, view.actor)
    kept = [(name, value) for name in ("q", "sort") if (value := sent.get(name))]
    chosen = [(name, value) for name in FACET_NAMES for value in sent.getlist(name)]
    facets = [
        (FACET_NAMES[name], _values(name, found.facets[name], kept, chosen))
        for name in SHOWN_FACETS
        if found.facets.get(name)
    ]
    following_page = f"/catalog?{urlencode([*kept, *chosen, ('cursor', found.next)])}" if found.next else None
    return view.page(
        "catalog/search.html", status=422 if problem else 200, asked=asked, found=found, facets=facets, chosen=chosen,
        following=following_page, sharing=codes.SHARING_TYPES, sorts=SORTS, clear=f"/catalog?{urlencode(kept)}",
        marked=marked, may_pick=view.may("console.basket"), may_save=view.may("saved_search.save") and bool(kept or chosen),
        put_aside=set(basket_of(view.request)), done=sent.get("done"), problem=problem,
    )  # fmt: skip


def marked(text: str, spans: Sequence[tuple[int, int]], limit: int = SUMMARY_SHOWN) -> Markup:
    """The text with what was looked for marked; of a long one the beginning."""
    out, at = Markup(), 0
    for start, end in spans:
        if end > limit:
            break
        out += escape(text[at:start]) + Markup("<mark>{}</mark>").format(text[start:end])
        at = end
    return out + escape(text[at:limit]) + ("…" if len(text) > limit else "")


def _values(
    name: str,
    values: Sequence[search.FacetValue],
    kept: list[tuple[str, str]],
    chosen: list[tuple[str, str]],
) -> list[tuple[search.FacetValue, bool, str]]:
    """A facet's values, whether each is chosen, and the address that chooses it or lets it go."""
    told = []
    for value in values[:FACET_VALUES_SHOWN]:
        this = (name, value.value)
        others = [pair for pair in chosen if pair != this]
        picked = this in chosen
        address = f"/catalog?{urlencode([*kept, *(others if picked else [*chosen, this])])}"
        told.append((value, picked, address))
    return told


@router.get("/suggestions", operation_id="console.suggestions")
def suggestions(view: Annotated[View, looking("console.suggestions")], q: str = "") -> Response:
    """Options for what is being typed; a page without scripts does without."""
    words_ = q.strip()[:64]
    found = (
        search.suggest(words_, view.session, view.request.app.state.index, view.actor, 8).items
        if words_
        else []
    )
    options = Markup().join(Markup('<option value="{}"></option>').format(one) for one in found)
    return Response(options, media_type="text/html; charset=utf-8")


@router.post("/catalog/save", operation_id="console.save_search")
def save_search(view: Annotated[View, looking("console.save_search")], form: Sent) -> Response:
    """Keep the search under a name and follow it."""
    values: dict[str, Any] = {name: form.all(name) for name in FACET_NAMES if form.all(name)}
    values |= {name: form.text(name) for name in ("q", "sort") if form.text(name)}
    asked = validated(search.Asked, values)
    body = validated(following.NewSearch, {"name": form.text("name"), "asked": asked})
    saved = following.save_search(body, view.session, view.actor)
    following.follow(following.NewFollowing(search_id=saved.id), view.session, view.actor)
    return view.to("/following?done=save")


# --- What was put aside


@router.get("/basket", operation_id="console.basket")
def basket(view: Annotated[View, looking("console.basket")]) -> Response:
    """What was put aside, to ask for at once or compare."""
    rows = [row for one in basket_of(view.request) if (row := _known(view, one)) is not None]
    return view.page("catalog/basket.html", rows=rows, sharing=codes.SHARING_TYPES)


@router.post("/basket", operation_id="console.change_basket")
def change_basket(view: Annotated[View, looking("console.change_basket")], form: Sent) -> Response:
    """Put a resource aside, or take it out. Errors: NotFound."""
    kept = basket_of(view.request)
    if form.text("drop") == "all":
        kept = []
    elif (one := _id(form, "drop")) is not None:
        kept = [other for other in kept if other != one]
    elif (one := _id(form, "resource")) is not None:
        service.find(view.session, one, by=view.actor)
        kept = [*(other for other in kept if other != one), one][-BASKET_LIMIT:]
    response = view.to(sessions.local_address(form.text("next") or "/basket"))
    response.set_cookie(
        BASKET_COOKIE, ".".join(one.hex for one in kept), max_age=LANGUAGE_KEPT_S, samesite="lax", httponly=True,
        secure=sessions.is_secure(view.request),
    )  # fmt: skip
    return response


def _id(form: Form, name: str) -> UUID | None:
    try:
        return UUID(form.text(name))
    except ValueError:
        return None


def _known(view: View, resource_id: UUID) -> Resource | None:
    try:
        return service.find(view.session, resource_id, by=view.actor)
    except NotFound:
        return None


# --- Side by side


@router.get("/compare", operation_id="console.compare")
def compare(
    view: Annotated[View, looking("console.compare")],
    resource: Annotated[Sequence[UUID], Query(max_length=20)] = (),
) -> Response:
    """Two resources field by field and item by item. Errors: Invalid for fewer than two, NotFound for unknown ones."""
    rows = [service.find(view.session, one, by=view.actor) for one in dict.fromkeys(resource)]
    if len(rows) < 2:
        raise Invalid(faults=[Fault("/resource", Text("请选择两项资源进行比较", "choose two to compare"))])
    first, second = (ResourceRecord.model_validate(row.record) for row in rows[:2])
    return view.page(
        "catalog/compare.html", rows=rows[:2], fields=_side_by_side(first, second), items=_items(first, second),
        differences=len(changes_between(first, second)), data_types=codes.DATA_TYPES,
    )  # fmt: skip


_COMPARED = ("abstract", "themes", "base_library", "update_cycle", "grade", "keywords")
_COMPARED_PARTS = (
    ("provider", "name"), ("sharing", "type"), ("sharing", "condition"), ("openness", "type"), ("format", "format_class"),
)  # fmt: skip


def _side_by_side(
    first: ResourceRecord, second: ResourceRecord
) -> list[tuple[Text, Text | None, Text | None]]:
    rows = [
        (label(f"/{name}"), words(getattr(first, name)), words(getattr(second, name))) for name in _COMPARED
    ]
    rows += [
        (label(f"/{part}/{name}"), words(getattr(getattr(first, part), name)), words(getattr(getattr(second, part), name)))
        for part, name in _COMPARED_PARTS
    ]  # fmt: skip
    return [row for row in rows if row[1] or row[2]]


def _items(first: ResourceRecord, second: ResourceRecord) -> list[tuple[Any, Any]]:
    """Items of the same name beside each other, then what only one of them has."""
    ours: Mapping[str, Any] = {item.name: item for item in first.items}
    theirs: Mapping[str, Any] = {item.name: item for item in second.items}
    both = [(ours[name], theirs[name]) for name in ours if name in theirs]
    return [
        *both,
        *((item, None) for name, item in ours.items() if name not in theirs),
        *((None, item) for name, item in theirs.items() if name not in ours),
    ]
