"""The catalog as OGC API Records tells it (OGC 20-004r1): landing page, collection, records as GeoJSON.

Pure. A record of a resource has no geometry, for the catalog holds none.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import JsonValue

from app.kernel.text import Text
from catalog.interop.dcat import mailbox
from catalog.interop.entries import (
    CATALOG_DESCRIPTION,
    CATALOG_TITLE,
    Entry,
    Site,
    languages,
    offers,
    web_address,
)
from catalog.interop.records_filter import QUERYABLES
from catalog.interop.vocabularies import LICENCES
from catalog.resources.codes import THEMES

COLLECTION = "resources"
_RECORDS = "http://www.opengis.net/spec/ogcapi-records-1/1.0"
CONFORMANCE = (
    "http://www.opengis.net/spec/ogcapi-common-1/1.0/conf/core",
    "http://www.opengis.net/spec/ogcapi-common-1/1.0/conf/json",
    "http://www.opengis.net/spec/ogcapi-common-2/1.0/conf/collections",
    "http://www.opengis.net/spec/ogcapi-features-3/1.0/conf/queryables",
    "http://www.opengis.net/spec/ogcapi-features-3/1.0/conf/filter",
    "http://www.opengis.net/spec/ogcapi-features-3/1.0/conf/features-filter",
    f"{_RECORDS}/conf/record-core",
    f"{_RECORDS}/conf/json",
    "http://www.opengis.net/spec/cql2/1.0/conf/cql2-text",
    "http://www.opengis.net/spec/cql2/1.0/conf/cql2-json",
    "http://www.opengis.net/spec/cql2/1.0/conf/basic-cql2",
    "http://www.opengis.net/spec/cql2/1.0/conf/advanced-comparison-operators",
)

JSON = "application/json"
GEO_JSON = "application/geo+json"
SCHEMA = "application/schema+json"

Members = dict[str, JsonValue]


def link(address: str, rel: str, media: str, title: str | None = None) -> Members:
    members: Members = {"href": address, "rel": rel, "type": media}
    return {**members, "title": title} if title else members


def root(site: Site) -> str:
    return f"{site.url}/ogc"


def collection_address(site: Site) -> str:
    return f"{root(site)}/collections/{COLLECTION}"


def landing(site: Site) -> Members:
    """The landing page."""
    here = root(site)
    return {
        "title": CATALOG_TITLE.zh,
        "description": f"{CATALOG_DESCRIPTION.zh} {CATALOG_DESCRIPTION.en}",
        "links": [
            link(here, "self", JSON),
            # Written in OpenAPI 3.1; clients know the link by this type alone.
            link(f"{site.url}/openapi.json", "service-desc", "application/vnd.oai.openapi+json;version=3.0"),
            link(f"{here}/conformance", "conformance", JSON),
            link(f"{here}/collections", "data", JSON),
        ],
    }


def collection(site: Site) -> Members:
    """The one collection: every resource the reader may see."""
    here = collection_address(site)
    return {
        "id": COLLECTION,
        "title": CATALOG_TITLE.zh,
        "description": f"{CATALOG_DESCRIPTION.zh} {CATALOG_DESCRIPTION.en}",
        "itemType": "record",
        "links": [
            link(here, "self", JSON),
            link(f"{here}/items", "items", GEO_JSON),
            link(f"{here}/queryables", "http://www.opengis.net/def/rel/ogc/1.0/queryables", SCHEMA),
            link(f"{here}/sortables", "http://www.opengis.net/def/rel/ogc/1.0/sortables", SCHEMA),
        ],
    }


def properties_schema(site: Site, *, sortable: bool) -> Members:
    """What one may filter by, or sort by, as a JSON Schema."""
    name = "sortables" if sortable else "queryables"
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"{collection_address(site)}/{name}",
        "type": "object",
        "title": CATALOG_TITLE.zh,
        "properties": {
            key: one.as_schema() for key, one in QUERYABLES.items() if one.sortable or not sortable
        },
        "additionalProperties": False,
    }


def record(entry: Entry, site: Site) -> Members:
    """A resource as a record."""
    given, resource = entry.record, entry.resource
    first, last = entry.period
    properties: Members = {
        "type": "dataset",
        "title": given.title,
        "description": given.summary,
        "keywords": [*given.keywords],
        "themes": _themes(entry, site),
        "created": _moment(resource.created_at),
        "updated": _moment(resource.updated_at),
        "externalIds": [{"value": resource.code}],
        "contacts": [_contact(entry, site)],
        "license": LICENCES.get(given.licence, given.licence) if given.licence else None,
        "languages": [{"code": code} for code in languages(given)],
        "formats": _formats(entry, site),
        "code": resource.code,
        "title_en": given.title_en,
        "publisher": entry.agency.name,
        "jurisdiction": entry.place.code,
        "sharing_type": given.sharing.type,
        "openness": given.openness.type,
        "update_cycle": given.update_cycle,
    }
    return {
        "id": str(entry.id),
        "type": "Feature",
        "conformsTo": [f"{_RECORDS}/req/record-core"],
        "geometry": None,
        "time": {"interval": [first or "..", last or ".."]} if first or last else None,
        "properties": {name: value for name, value in properties.items() if value not in (None, [], "")},
        "links": _links(entry, site),
    }


def _links(entry: Entry, site: Site) -> list[JsonValue]:
    title = entry.title
    links = [
        link(record_address(site, entry.id), "self", GEO_JSON),
        link(collection_address(site), "collection", JSON),
        link(f"{site.page(entry.id)}.ttl", "alternate", "text/turtle", "DCAT-AP 3"),
        link(web_address(entry.record.landing_page) or site.page(entry.id), "about", "text/html", title.zh),
    ]
    if entry.record.items:
        items = Text("信息项", "information items")
        links.append(link(site.items(entry.id), "describedby", JSON, f"{items.zh} {items.en}"))
    for offer in offers(entry, site):
        address, media = offer.download_url or offer.access_url, offer.media_type or "text/html"
        links.append(link(address, "item", media, offer.title or offer.format))
    return [*links]


def record_address(site: Site, resource_id: UUID) -> str:
    return f"{collection_address(site)}/items/{resource_id}"


def _themes(entry: Entry, site: Site) -> list[JsonValue]:
    concepts: list[JsonValue] = [
        {"id": theme.value, "title": f"{THEMES[theme].zh} {THEMES[theme].en}"}
        for theme in entry.record.themes
    ]
    return [{"concepts": concepts, "scheme": f"{site.url}/catalog#themes"}] if concepts else []


def _contact(entry: Entry, site: Site) -> JsonValue:
    given = entry.record.contact
    members: Members = {
        "name": given.name or entry.agency.name,
        "organization": entry.agency.name,
        "roles": ["publisher"],
        "emails": [{"value": mailbox(given.email) or site.contact}],
    }
    return {**members, "phones": [{"value": given.telephone}]} if given.telephone else members


def _formats(entry: Entry, site: Site) -> list[JsonValue]:
    named = {(offer.format, offer.media_type): None for offer in offers(entry, site)}
    formats: list[JsonValue] = []
    for name, media in named:
        members: Members = {}
        if name:
            members["name"] = name
        if media:
            members["mediaType"] = media
        if members:
            formats.append(members)
    return formats


def _moment(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
