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
from app.kernel.wire import NOT_A_CURSOR, Cursor, Label, Limit, Wire, decode_cursor, encode_cursor
from catalog.resources.api import ResourceSummary, summary_of
from catalog.resources.codes import (
    BASE_LIBRARIES,
    FORMAT_CLASSES,
    OPENNESS,
    SHARING_TYPES,
    THEMES,
    UPDATE_CYCLES,
    BaseLibrary,
    FormatClass,
    Openness,
    SharingType,
    Theme,
    UpdateCycle,
)
from catalog.resources.states import STATES
from catalog.search import service
from catalog.search.document import FACETS
from catalog.search.index import MAX_OFFSET, CatalogIndex

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
    "state",
]
SUMMARY_LENGTH = 200  # characters of an abstract on a result page

_LABELS: dict[str, Mapping[str, Text]] = {
    "sharing_type": {code.value: text for code, text in SHARING_TYPES.items()},
    "openness": {code.value: text for code, text in OPENNESS.items()},
    "theme": {code.value: text for code, text in THEMES.items()},
    "base_library": {code.value: text for code, text in BASE_LIBRARIES.items()},
    "update_cycle": {code.value: text for code, text in UPDATE_CYCLES.items()},
    "format": {code.value: text for code, text in FORMAT_CLASSES.items()},
    "state": STATES,
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
    state: Annotated[tuple[str, ...], Field(max_length=10)] = ()
    facets: Annotated[
        tuple[Facet, ...], Field(max_length=len(FACETS), description="要计数的分面 / to count")
    ] = ()
    sort: Literal["relevance", "updated"] = "relevance"
    limit: Limit = 20
    cursor: Cursor = None

    def filters(self) -> dict[str, list[str]]:
        """The filters that are set, as the index takes them."""
        return {name: [str(v) for v in values] for name in FACETS if (values := getattr(self, name))}


class FoundOut(ResourceSummary):
    """One resource found."""

    summary: str
    matching_items: list[str]


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
    offset = _offset(asked.cursor)
    found, result = service.search(
        session, index, asked.q, by=actor, filters=asked.filters(), facets=asked.facets,
        limit=asked.limit, offset=offset, sort=asked.sort,
    )  # fmt: skip
    following = offset + asked.limit
    return SearchOut(
        items=[_represent(hit) for hit in found],
        total=result.total,
        facets={name: _facet(session, name, counts) for name, counts in result.facets.items()},
        relaxed=result.relaxed,
        next=encode_cursor(following) if following < min(result.total, MAX_OFFSET + 1) else None,
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


def _offset(cursor: str | None) -> int:
    if cursor is None:
        return 0
    offset = decode_cursor(cursor, 1)[0]
    if not isinstance(offset, int) or not 0 <= offset <= MAX_OFFSET:
        raise Invalid(faults=[NOT_A_CURSOR])
    return offset


def _represent(hit: service.Found) -> FoundOut:
    resource = hit.resource
    summary = resource.record.get("abstract") or resource.record.get("description") or ""
    return FoundOut(
        **summary_of(resource),
        summary=summary[:SUMMARY_LENGTH],
        matching_items=list(hit.matching_items),
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
