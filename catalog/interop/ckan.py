"""The catalog in the words of CKAN: packages, resources, organizations, groups, licences (CKAN API version 3).

Pure. A package is a resource, an organization its agency, a group a theme, a tag a keyword.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from uuid import UUID

from pydantic import JsonValue

from app.identity.models import Agency
from app.kernel.text import Text
from catalog.interop.entries import Entry, Offer, Site, offers, web_address
from catalog.interop.vocabularies import CKAN_LICENCES, LICENCES, CkanLicence
from catalog.resources.codes import THEMES, Theme

Members = dict[str, JsonValue]
OTHER = CkanLicence("other", Text("其他", "Other"), "", is_open=False)
UNSTATED = CkanLicence("notspecified", Text("未注明", "License not specified"), "", is_open=False)


def package_name(code: str) -> str:
    """A resource's code as a CKAN name, which has neither capitals nor slashes: 307001/000001 is 307001-000001."""
    return code.lower().replace("/", "-")


def code_of(name: str) -> str:
    """The code behind a package's name."""
    return name.upper().replace("-", "/")


def organization_name(agency: Agency) -> str:
    return (agency.credit_code or str(agency.id)).lower()


def package(entry: Entry, site: Site) -> Members:
    """A resource as package_show tells it."""
    record, resource = entry.record, entry.resource
    licence = licence_of(record.licence)
    held = [resource_members(entry, number, offer) for number, offer in enumerate(offers(entry, site))]
    created, modified = moment(resource.created_at), moment(resource.updated_at)
    return {
        "id": str(entry.id),
        "name": package_name(resource.code),
        "title": record.title,
        "notes": record.summary,
        "type": "dataset",
        "state": "active",
        "private": not resource.is_open,
        "url": web_address(record.landing_page) or site.page(entry.id),
        "version": str(resource.published_version),
        "author": entry.agency.name,
        "author_email": None,
        "maintainer": record.contact.name,
        "maintainer_email": record.contact.email,
        "creator_user_id": None,
        "owner_org": str(entry.agency.id),
        "organization": organization(entry.agency),
        "groups": [group(theme) for theme in record.themes],
        "tags": [tag(word) for word in record.keywords],
        "num_tags": len(record.keywords),
        "resources": [*held],
        "num_resources": len(held),
        "license_id": licence.id,
        "license_title": record.licence if licence is OTHER else licence.title.en,
        "license_url": web_address(record.licence) or licence.url,
        "isopen": licence.is_open,
        "metadata_created": created,
        "metadata_modified": modified,
        "extras": _extras(entry),
        "relationships_as_subject": [],
        "relationships_as_object": [],
    }


def _extras(entry: Entry) -> list[JsonValue]:
    """What CKAN has no member for, as its key and value pairs."""
    record = entry.record
    values: dict[str, str | None] = {
        "code": entry.resource.code,
        "title_en": record.title_en,
        "jurisdiction": entry.place.code,
        "sharing_type": record.sharing.type,
        "openness": record.openness.type,
        "update_cycle": record.update_cycle,
        "base_library": record.base_library,
        "spatial": record.spatial,
        "temporal": record.temporal,
        "items": json.dumps([item.name for item in record.items], ensure_ascii=False)
        if record.items
        else None,
    }
    return [{"key": key, "value": str(value)} for key, value in values.items() if value]


def resource_members(entry: Entry, position: int, offer: Offer) -> Members:
    """One form of a resource as resource_show tells it; its id says where it stands."""
    return {
        "id": resource_id(entry.id, position),
        "package_id": str(entry.id),
        "name": offer.title or offer.format or entry.record.title,
        "description": offer.description or "",
        "format": offer.format or "",
        "mimetype": offer.media_type,
        "url": offer.download_url or offer.access_url,
        "url_type": None,
        "resource_type": None,
        "hash": "",
        "size": None,
        "position": position,
        "state": "active",
        "created": moment(entry.resource.created_at),
        "last_modified": None,
        "metadata_modified": moment(entry.resource.updated_at),
        "datastore_active": False,
    }


def resource_id(package_id: UUID, position: int) -> str:
    return f"{package_id}-{position}"


def organization(agency: Agency) -> Members:
    """An agency as packages carry it."""
    return {
        "id": str(agency.id),
        "name": organization_name(agency),
        "title": agency.name,
        "display_name": agency.name,
        "description": agency.name_en or "",
        "type": "organization",
        "is_organization": True,
        "approval_status": "approved",
        "state": "active",
        "image_url": "",
        "image_display_url": "",
        "created": moment(agency.created_at),
    }


def group(theme: Theme) -> Members:
    """A theme as packages carry it."""
    label = THEMES[theme]
    return {
        "id": theme.value,
        "name": theme.value,
        "title": label.zh,
        "display_name": label.zh,
        "description": label.en,
        "type": "group",
        "is_organization": False,
        "approval_status": "approved",
        "state": "active",
        "image_url": "",
        "image_display_url": "",
    }


def tag(word: str) -> Members:
    return {"id": word, "name": word, "display_name": word, "state": "active", "vocabulary_id": None}


def licence_of(stated: str | None) -> CkanLicence:
    """The licence behind what a record states, by its address."""
    if not stated:
        return UNSTATED
    address = bare(LICENCES.get(stated, stated))
    return next((licence for licence in CKAN_LICENCES if bare(licence.url) == address), OTHER)


def bare(address: str) -> str:
    """An address without its scheme and last slash, by which licences are the same."""
    return address.split("://", 1)[-1].rstrip("/").lower()


def licence_members(licence: CkanLicence) -> Members:
    return {
        "id": licence.id,
        "title": licence.title.en,
        "url": licence.url,
        "status": "active",
        "is_generic": licence in (OTHER, UNSTATED),
        "domain_data": licence.is_open,
        "od_conformance": "approved" if licence.is_open else "not reviewed",
        "osd_conformance": "not reviewed",
        "maintainer": "",
        "family": "",
    }


def moment(at: datetime) -> str:
    """A moment as CKAN writes it: UTC without saying so."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
