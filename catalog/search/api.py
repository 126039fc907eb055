"""REST of search: resources by text, filters and facets, and what to type next. Only what the reader may see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from pydantic import Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.identity.models import Agency, Jurisdiction
from app.identity.permissions import permit, permitted
from app.kernel.actor import Actor, Scope
from app.kernel.db import DbSession
from app.kernel.errors import Invalid
from app.kernel.text import Text
from app.kernel.wire import NOT_A_CURSOR, Cursor, Label, Limit, ShortText, Wire, decode_cursor, encode_cursor
from catalog.resources.api import ResourceSummary, summary_of
from catalog.resources.codes import (
    BASE_LIBRARIES,
    CHANNELS,
    FORMAT_CLASSES,
    GRADES,
    OPENNESS,
    PLATFORM_MODES,
    SHARING_TYPES,
    THEMES,
    UPDATE_CYCLES,
    BaseLibrary,
    FormatClass,
    Grade,
    Openness,
    SharingType,
    Theme,
    UpdateCycle,
)
from catalog.resources.states import STATES
from catalog.search import service
from catalog.search.document import FACETS, FRESH
from catalog.search.index import MAX_OFFSET, After, CatalogIndex, Sort
from catalog.text import fold

router = APIRouter(prefix="/api/v1/search", tags=["search"])

permit("search.query", "search.suggest", anonymous=True, scope=Scope.CATALOG)

Facet = Literal[
    "jurisdiction",
    "agency",
    "sharing_type",
    "openness",
    "theme",
    "base_library",
    "update_cycle",
    "format",
    "mode",
    "grade",
    "state",
    "freshness",
]
Mode = Literal["database", "file", "interface", "mail", "medium", "platform"]
Freshness = Literal["week", "month", "year", "older"]

_LABELS: dict[str, Mapping[str, Text]] = {
    "sharing_type": {code.value: text for code, text in SHARING_TYPES.items()},
    "openness": {code.value: text for code, text in OPENNESS.items()},
    "theme": {code.value: text for code, text in THEMES.items()},
    "base_library": {code.value: text for code, text in BASE_LIBRARIES.items()},
    "update_cycle": {code.value: text for code, text in UPDATE_CYCLES.items()},
    "format": {code.value: text for code, text in FORMAT_CLASSES.items()},
    "mode": {mode.value: text for labels in (CHANNELS, PLATFORM_MODES) for mode, text in labels.items()},
    "grade": {code.value: text for code, text in GRADES.items()},
    "state": STATES,
    "freshness": {
        "week": Text("一周内更新", "changed within a week"),
        "month": Text("一月内更新", "changed within a month"),
        "year": Text("一年内更新", "changed within a year"),
        "older": Text("一年以前更新", "changed more than a year ago"),
    },
}


class Asked(Wire):
    """What to search for. Several values of one filter mean any of them; filters narrow each other."""

    q: Annotated[str, Field(max_length=256, description="检索词 / words to find")] = ""
    agency: Annotated[tuple[UUID, ...], Field(max_length=100)] = ()
    jurisdiction: Annotated[
        tuple[str, ...], Field(max_length=100, description="行政区划代码 / division codes")
    ] = ()
    sharing_type: tuple[SharingType, ...] = ()
    openness: tuple[Openness, ...] = ()
    theme: tuple[Theme, ...] = ()
    base_library: tuple[BaseLibrary, ...] = ()
    update_cycle: tuple[UpdateCycle, ...] = ()
    format: tuple[FormatClass, ...] = ()
    mode: tuple[Mode, ...] = ()
    grade: tuple[Grade, ...] = ()
    state: Annotated[tuple[str, ...], Field(max_length=10)] = ()
    freshness: tuple[Freshness, ...] = ()
    item: Annotated[
        tuple[ShortText, ...],
        Field(max_length=20, description="含有此信息项（全名）/ holds this item, by its whole name"),
    ] = ()
    facets: Annotated[
        tuple[Facet, ...], Field(max_length=len(FACETS) + 1, description="要计数的分面 / to count")
    ] = ()
    sort: Literal["relevance", "updated"] = "relevance"
    limit: Limit = 20
    cursor: Cursor = None

    def filters(self) -> dict[str, list[str]]:
        """The filters that are set, as the index takes them."""
        chosen = {
            name: [str(v) for v in values] for name in (*FACETS, FRESH) if (values := getattr(self, name))
        }
        return chosen | ({"item": [fold(name) for name in self.item]} if self.item else {})


class FoundOut(ResourceSummary):
    """One resource found. `marked`: for title, title_en and summary where they hold what was typed, as
    [from, to) in characters (Unicode code points)."""

    summary: str
    matching_items: list[str]
    marked: dict[str, list[tuple[int, int]]]


class FacetValue(Wire):
    """How many of all matches have a value."""

    value: str
    label: Label
    count: int


class SearchOut(Wire):
    """One page. `relaxed`: no resource held every word, these hold most of them."""

    items: list[FoundOut]
    total: int
    facets: dict[str, list[FacetValue]]
    relaxed: bool
    next: str | None = None


class Suggestions(Wire):
    """Titles and item names, most frequent first."""

    items: list[str]


def _index(request: Request) -> CatalogIndex:
    index = request.app.state.index
    assert isinstance(index, CatalogIndex)
    return index


OpenIndex = Annotated[CatalogIndex, Depends(_index)]


@router.get("", operation_id="search.query")
def query(
    asked: Annotated[Asked, Query()],
    session: DbSession,
    index: OpenIndex,
    actor: Annotated[Actor, permitted("search.query")],
) -> SearchOut:
    """Find resources by title, abstract, items, agency or code, in Chinese (either script) or English."""
    after = _after(asked.cursor, asked.sort) if asked.cursor else None
    found, result = service.search(
        session, index, asked.q, by=actor, filters=asked.filters(), facets=asked.facets,
        limit=asked.limit, after=after, sort=asked.sort,
    )  # fmt: skip
    following = result.following
    return SearchOut(
        items=[_represent(hit) for hit in found],
        total=result.total,
        facets={name: _facet(session, name, counts) for name, counts in result.facets.items()},
        relaxed=result.relaxed,
        next=encode_cursor(asked.sort, following.place, following.ids) if following else None,
    )


@router.get("/suggest", operation_id="search.suggest")
def suggest(
    q: Annotated[str, Query(min_length=1, max_length=64)],
    session: DbSession,
    index: OpenIndex,
    actor: Annotated[Actor, permitted("search.suggest")],
    limit: Annotated[int, Query(ge=1, le=20)] = 8,
) -> Suggestions:
    """Complete what is being typed, also from pinyin initials (sfz finds 身份证…)."""
    return Suggestions(items=service.suggest(session, index, q, by=actor, limit=limit))


def _after(cursor: str, sort: Sort) -> After:
    """Where the page before ended. Errors: Invalid, also where it was sorted otherwise."""
    sorted_by, place, ids = decode_cursor(cursor, 3)
    limit = MAX_OFFSET if sort == "relevance" else 2**63 - 1
    if sorted_by != sort or type(place) is not int or not 0 <= place <= limit or not isinstance(ids, list):
        raise Invalid(faults=[NOT_A_CURSOR])
    return After(place, tuple(map(str, ids)))


def _represent(hit: service.Found) -> FoundOut:
    return FoundOut(
        **summary_of(hit.resource),
        summary=service.summary_of(hit.resource),
        matching_items=list(hit.matching_items),
        marked={field: list(spans) for field, spans in hit.marked.items()},
    )


def _facet(session: Session, name: str, counts: Mapping[str, int]) -> list[FacetValue]:
    """The values most frequent first, with their names."""
    labels = _LABELS.get(name) or _registered(session, name, list(counts))
    return [
        FacetValue(value=value, label=Label.of(labels.get(value, Text(value, value))), count=count)
        for value, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    ]


def _registered(session: Session, name: str, values: Sequence[str]) -> Mapping[str, Text]:
    """The names of agencies (by id) or jurisdictions (by code)."""
    if name == "agency":
        named = select(Agency.id, Agency.name, Agency.name_en).where(Agency.id.in_(map(UUID, values)))
        return {str(key): Text(zh, en or zh) for key, zh, en in session.execute(named)}
    places = select(Jurisdiction.code, Jurisdiction.name, Jurisdiction.name_en).where(
        Jurisdiction.code.in_(values)
    )
    return {code: Text(zh, en) for code, zh, en in session.execute(places)}
