"""DCAT over HTTP: the catalog in Turtle, JSON-LD and RDF/XML page by page, DCAT-US 3 whole, each resource alone.

Whoever is not signed in reads what is open; everyone else what they may see.
"""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy import func, select

from app.identity.permissions import permit, permitted
from app.kernel.actor import Actor, Scope
from app.kernel.db import Database, DbSession
from app.kernel.wire import Cursor, encode_cursor, id_in_cursor
from catalog.interop import dcat, dcat_us
from catalog.interop.dcat import CatalogPage, Form
from catalog.interop.entries import (
    Site,
    ThisSite,
    every_entry,
    find_entry,
    page_of,
    published_to,
    publisher,
)
from catalog.resources.models import Resource

router = APIRouter(tags=["interoperability"])

permit("dcat.catalog", "dcat.us", "dcat.resource", anonymous=True, scope=Scope.CATALOG)

PAGE = 100  # datasets on a page: about a second of serialising, which is as long as anyone should wait

MEDIA_TYPES: dict[Form, str] = {
    "ttl": "text/turtle; charset=utf-8",
    "jsonld": "application/ld+json",
    "xml": "application/rdf+xml",
}
_RDF: dict[int | str, dict[str, Any]] = {
    200: {"content": {media.split(";")[0]: {} for media in MEDIA_TYPES.values()}, "description": "DCAT-AP 3"}
}
_JSON: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/json": {}}, "description": "DCAT-US 3"}
}
InForm = Annotated[Form, Path(description="ttl, jsonld, xml")]


@router.get("/catalog.{form}", operation_id="dcat.catalog", responses=_RDF, response_class=Response)
def read_catalog(
    form: InForm,
    actor: Annotated[Actor, permitted("dcat.catalog")],
    session: DbSession,
    site: ThisSite,
    cursor: Cursor = None,
) -> Response:
    """A page of the catalog after DCAT-AP 3; the next one is named by `hydra:next`."""
    after = id_in_cursor(cursor) if cursor else None
    entries = page_of(session, actor, after=after, limit=PAGE + 1)
    shown = entries[:PAGE]
    total = session.scalar(select(func.count()).select_from(Resource).where(published_to(actor))) or 0
    page = CatalogPage(
        shown,
        total,
        address=_address(site, form, after),
        first=_address(site, form, None),
        following=_address(site, form, shown[-1].id) if len(entries) > PAGE else None,
    )
    graph = dcat.catalog_graph(page, publisher(session), site)
    return Response(dcat.write(graph, form), media_type=MEDIA_TYPES[form])


@router.get("/data.json", operation_id="dcat.us", responses=_JSON, response_class=StreamingResponse)
def read_data_json(
    request: Request, actor: Annotated[Actor, permitted("dcat.us")], site: ThisSite
) -> StreamingResponse:
    """The whole catalog after DCAT-US 3."""
    database: Database = request.app.state.database
    pieces = dcat_us.write_catalog(every_entry(database, actor), site)
    return StreamingResponse(pieces, media_type="application/json")


@router.get(
    "/catalog/{resource_id}.{form}", operation_id="dcat.resource", responses=_RDF, response_class=Response
)
def read_resource(
    resource_id: UUID,
    form: InForm,
    actor: Annotated[Actor, permitted("dcat.resource")],
    session: DbSession,
    site: ThisSite,
) -> Response:
    """One published resource after DCAT-AP 3."""
    entry = find_entry(session, actor, Resource.id == resource_id)
    return Response(dcat.write(dcat.dataset_graph(entry, site), form), media_type=MEDIA_TYPES[form])


def _address(site: Site, form: Form, after: UUID | None) -> str:
    return f"{site.url}/catalog.{form}" + (f"?cursor={encode_cursor(after)}" if after else "")
