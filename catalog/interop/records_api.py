"""OGC API Records over HTTP at `/ogc`: for clients of geographic catalogs. Only what the reader may see."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Path, Query
from fastapi.responses import JSONResponse
from pydantic import Field
from sqlalchemy import ColumnElement

from app.identity.permissions import permit, permitted
from app.kernel.actor import Actor, Scope
from app.kernel.clock import now
from app.kernel.db import DbSession
from app.kernel.wire import Wire
from catalog.interop import records
from catalog.interop.entries import Site, ThisSite, find_entry
from catalog.interop.records import GEO_JSON, JSON, SCHEMA, link
from catalog.interop.records_filter import read_filter, read_sort
from catalog.interop.selection import count, page, select_by
from catalog.resources.models import Resource
from catalog.search.api import OpenIndex

router = APIRouter(prefix="/ogc", tags=["interoperability"])

permit(
    "ogc.landing", "ogc.conformance", "ogc.collections", "ogc.collection",
    "ogc.queryables", "ogc.sortables", "ogc.items", "ogc.item",
    anonymous=True, scope=Scope.CATALOG,
)  # fmt: skip

PAGE_LIMIT = 500
OFFSET_LIMIT = 10_000_000
TheCollection = Annotated[Literal["resources"], Path()]


class GeoJson(JSONResponse):
    """Records as they are sent, so that the OpenAPI document names the media type."""

    media_type = GEO_JSON


class JsonSchema(JSONResponse):
    """What one may filter and sort by, likewise."""

    media_type = SCHEMA


class Asked(Wire):
    """Which records. The catalog holds no geometry, so there is no `bbox` to ask for."""

    q: Annotated[str, Field(max_length=256, description="检索词 / words to find")] = ""
    filter: Annotated[str, Field(max_length=4000, description="CQL2")] = ""
    filter_lang: Annotated[Literal["cql2-text", "cql2-json"], Field(alias="filter-lang")] = "cql2-text"
    sortby: Annotated[str, Field(max_length=200, description="-updated,title")] = ""
    limit: Annotated[int, Field(ge=1, description="每页条数，至多 500 / records per page, 500 at most")] = 10
    offset: Annotated[int, Field(ge=0, le=OFFSET_LIMIT)] = 0
    f: Literal["json"] = "json"


@router.get("", operation_id="ogc.landing", dependencies=[permitted("ogc.landing")])
@router.get("/", operation_id="ogc.landing", dependencies=[permitted("ogc.landing")], include_in_schema=False)
def read_landing(site: ThisSite) -> dict[str, Any]:
    """What there is, and where."""
    return records.landing(site)


@router.get("/conformance", operation_id="ogc.conformance", dependencies=[permitted("ogc.conformance")])
def read_conformance() -> dict[str, Any]:
    """The conformance classes this service declares."""
    return {"conformsTo": list(records.CONFORMANCE)}


@router.get("/collections", operation_id="ogc.collections", dependencies=[permitted("ogc.collections")])
def list_collections(site: ThisSite) -> dict[str, Any]:
    """The collections: the catalog."""
    return {
        "links": [link(f"{records.root(site)}/collections", "self", JSON)],
        "collections": [records.collection(site)],
    }


@router.get(
    "/collections/{collection}", operation_id="ogc.collection", dependencies=[permitted("ogc.collection")]
)
def read_collection(collection: TheCollection, site: ThisSite) -> dict[str, Any]:
    """The catalog as a collection."""
    return records.collection(site)


@router.get(
    "/collections/{collection}/queryables",
    operation_id="ogc.queryables",
    dependencies=[permitted("ogc.queryables")],
    response_class=JsonSchema,
)
def read_queryables(collection: TheCollection, site: ThisSite) -> JsonSchema:
    """What one may filter by."""
    return JsonSchema(records.properties_schema(site, sortable=False))


@router.get(
    "/collections/{collection}/sortables",
    operation_id="ogc.sortables",
    dependencies=[permitted("ogc.sortables")],
    response_class=JsonSchema,
)
def read_sortables(collection: TheCollection, site: ThisSite) -> JsonSchema:
    """What one may sort by."""
    return JsonSchema(records.properties_schema(site, sortable=True))


@router.get("/collections/{collection}/items", operation_id="ogc.items", response_class=GeoJson)
def list_records(
    collection: TheCollection,
    asked: Annotated[Asked, Query()],
    actor: Annotated[Actor, permitted("ogc.items")],
    session: DbSession,
    index: OpenIndex,
    site: ThisSite,
) -> GeoJson:
    """A page of records by words, CQL2 filter and order; the best match first, else the latest change."""
    conditions: list[ColumnElement[bool]] = [read_filter(asked.filter)] if asked.filter else []
    selection = select_by(session, index, actor, words=asked.q, conditions=conditions)
    limit, total = min(asked.limit, PAGE_LIMIT), count(session, selection)
    found = page(session, selection, read_sort(asked.sortby), limit=limit, offset=asked.offset)
    links = [link(_address(site, asked, asked.offset), "self", GEO_JSON)]
    if asked.offset + len(found) < total and found:
        links.append(link(_address(site, asked, asked.offset + limit), "next", GEO_JSON))
    if asked.offset:
        links.append(link(_address(site, asked, max(asked.offset - limit, 0)), "prev", GEO_JSON))
    links.append(link(records.collection_address(site), "collection", JSON))
    return GeoJson(
        {
            "type": "FeatureCollection",
            "numberMatched": total,
            "numberReturned": len(found),
            "timeStamp": now().isoformat(timespec="seconds").replace("+00:00", "Z"),
            "features": [records.record(entry, site) for entry in found],
            "links": links,
        }
    )


@router.get("/collections/{collection}/items/{resource_id}", operation_id="ogc.item", response_class=GeoJson)
def read_record(
    collection: TheCollection,
    resource_id: UUID,
    actor: Annotated[Actor, permitted("ogc.item")],
    session: DbSession,
    site: ThisSite,
) -> GeoJson:
    """One record."""
    entry = find_entry(session, actor, Resource.id == resource_id)
    return GeoJson(records.record(entry, site))


def _address(site: Site, asked: Asked, offset: int) -> str:
    given = {**asked.model_dump(by_alias=True, exclude_defaults=True), "offset": offset}
    return f"{records.collection_address(site)}/items?{urlencode(given)}"
