"""The catalog as DCAT-US 3 JSON (`data.json`), as US harvesters read it.

Pure: entries in, plain JSON out. A member the record does not fill is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from pydantic import JsonValue

from catalog.interop.dcat import mailbox
from catalog.interop.entries import (
    CATALOG_DESCRIPTION,
    CATALOG_TITLE,
    Entry,
    Offer,
    Site,
    languages,
    offers,
    web_address,
)
from catalog.interop.vocabularies import LICENCES, US_ACCESS, US_FREQUENCY
from catalog.resources.codes import THEMES

Members = dict[str, JsonValue]
_LANGUAGE_LENGTH = 2  # ISO 639-1, all the schema allows


def write_catalog(entries: Iterable[Entry], site: Site) -> Iterator[bytes]:
    """The whole catalog as one JSON document, in pieces, so that memory does not grow with it."""
    head: Members = {
        "@id": site.catalog,
        "@type": "Catalog",
        "title": CATALOG_TITLE.zh,
        "description": f"{CATALOG_DESCRIPTION.zh} {CATALOG_DESCRIPTION.en}",
        "language": ["zh", "en"],
        "conformsTo": {"@type": "Standard", "title": "DCAT-US 3.0"},
        "homepage": {"@id": f"{site.url}/catalog", "@type": "Document", "title": CATALOG_TITLE.zh},
    }
    yield _dumps(head)[:-1] + b',"dataset":['
    for number, entry in enumerate(entries):
        yield (b",\n" if number else b"\n") + _dumps(dataset(entry, site))
    yield b"\n]}"


def dataset(entry: Entry, site: Site) -> Members:
    """One resource as a DCAT-US 3 dataset."""
    record = entry.record
    first, last = entry.period
    condition = record.openness.condition or record.sharing.condition
    members: Members = {
        "@id": site.dataset(entry.id),
        "@type": "Dataset",
        "identifier": entry.resource.code,
        "title": record.title,
        "description": record.summary or record.title,
        "keyword": list(record.keywords),
        "theme": [
            THEMES[theme].in_("en" if record.title_en == record.title else "zh") for theme in record.themes
        ],
        "publisher": _organization(entry),
        "contactPoint": [_contact(entry, site)],
        "issued": record.published_on.isoformat() if record.published_on else None,
        "modified": entry.modified,
        "accrualPeriodicity": US_FREQUENCY[record.update_cycle] if record.update_cycle else None,
        "accessRights": US_ACCESS[record.openness.type],
        "rights": [condition] if condition else None,
        "language": [code for code in languages(record) if len(code) == _LANGUAGE_LENGTH],
        "spatial": {"@type": "Location", "prefLabel": record.spatial or entry.place.name},
        "temporal": [_without_gaps({"@type": "PeriodOfTime", "startDate": first, "endDate": last})]
        if first or last
        else None,
        "landingPage": {
            "@id": web_address(record.landing_page) or site.page(entry.id),
            "@type": "Document",
            "title": record.title,
        },
        "describedBy": {
            "@type": "Distribution",
            "title": f"{record.title}：信息项 / information items",
            "downloadURL": site.items(entry.id),
            "mediaType": "application/json",
        }
        if record.items
        else None,
        "distribution": [_distribution(offer, record.title, record.licence) for offer in offers(entry, site)],
    }
    return _without_gaps(members)


def _distribution(offer: Offer, title: str, licence: str | None) -> JsonValue:
    return _without_gaps(
        {
            "@type": "Distribution",
            "title": offer.title or offer.format or title,
            "description": offer.description,
            "accessURL": offer.access_url,
            "downloadURL": offer.download_url,
            "format": offer.format,
            "mediaType": offer.media_type,
            "license": LICENCES.get(licence, licence) if licence else None,
        }
    )


def _organization(entry: Entry) -> JsonValue:
    agency = entry.agency
    return _without_gaps(
        {
            "@type": "Organization",
            "name": agency.name,
            "altLabel": agency.name_en,
            "notation": [agency.credit_code] if agency.credit_code else None,
        }
    )


def _contact(entry: Entry, site: Site) -> JsonValue:
    given = entry.record.contact
    return _without_gaps(
        {
            "@type": "Kind",
            "fn": given.name or entry.agency.name,
            "hasEmail": f"mailto:{mailbox(given.email) or site.contact}",
            "tel": given.telephone,
        }
    )


def _without_gaps(members: Members) -> Members:
    return {name: value for name, value in members.items() if value not in (None, [])}


def _dumps(value: JsonValue) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
