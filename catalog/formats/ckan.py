"""Packages of a CKAN catalog (API version 3), read as resources.

Owns which member says what. Members the record has no place for are kept as they came.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from pydantic import JsonValue

from app.kernel.errors import Fault
from app.kernel.text import Text
from catalog.formats.dcat_us import NESTING_LIMIT, cleaned, nests_beyond
from catalog.formats.described import Described, as_row
from catalog.formats.reading import ROW_LIMIT, AgencyRef, FileTooLarge, Rejected, Row, SourceRow
from catalog.resources.codes import SharingType

MARK = "ckan"  # member of the document that a harvest writes: the address the packages came from
_FREQUENCIES = ("update_cycle", "frequency", "accrualPeriodicity", "accrual_periodicity", "update_frequency")
# Members whose whole meaning has a place in the record, or that tell only of the portal itself.
_PLACED = frozenset(
    {
        "id", "title", "notes", "tags", "organization", "url", "maintainer", "maintainer_email", "metadata_created",
        "metadata_modified", "resources", "num_tags", "num_resources", "private", "state", "groups", "creator_user_id",
        "relationships_as_subject", "relationships_as_object", "owner_org", "extras", "license_url",
    }
)  # fmt: skip

Members = Mapping[str, JsonValue]


def read_ckan(document: Members) -> Iterator[Row]:
    """Every package of the document, in order. Errors: FileTooLarge."""
    packages = document["packages"]
    assert isinstance(packages, list)
    if len(packages) > ROW_LIMIT:
        raise FileTooLarge(Text("数据集超过 {n} 个。", "More than {n} datasets.").with_(n=ROW_LIMIT))
    for number, package in enumerate(packages):
        place = f"package[{number}]"
        if not isinstance(package, dict) or nests_beyond(package, NESTING_LIMIT):
            fault = Text("不是数据集对象，或嵌套过深", "not a dataset object, or nested too deep")
            yield Rejected(place, (Fault("", fault),), (SourceRow(number, {"package": ""}),))
            continue
        members = cleaned(package)
        assert isinstance(members, dict)
        told = _described(members)
        shown = SourceRow(number, {"title": told.title[:500], "id": told.identifier[:500]})
        yield as_row(place, told, (), shown)


def _described(package: Members) -> Described:
    extras = {_text(e.get("key")): _text(e.get("value")) for e in _objects(package.get("extras"))}
    title = _text(package.get("title")) or _text(package.get("name"))
    shared = extras.get("sharing_type")
    sharing = SharingType(shared) if shared in set(SharingType) else None
    private = package.get("private") is True
    level = "non-public" if private else "public"
    if sharing is SharingType.CONDITIONAL:
        level = "restricted public"
    return Described(
        identifier=_text(package.get("id")),
        title=title,
        title_en=extras.get("title_en") or (title if title.isascii() else None),
        description=_text(package.get("notes")),
        publisher=_publisher(package.get("organization")),
        keywords=[_named(tag) for tag in _objects(package.get("tags"))],
        themes=[_named(group) for group in _objects(package.get("groups"))],
        items=_items(extras.get("items", "")),
        frequency=next((extras[name] for name in _FREQUENCIES if extras.get(name)), ""),
        access=level,
        closed_to_agencies=sharing is SharingType.NOT_SHARED,
        sharing=sharing,
        issued=_text(package.get("metadata_created")),
        modified=_text(package.get("metadata_modified")),
        licence=_text(package.get("license_url")) or _text(package.get("license_title")) or None,
        landing_page=_text(package.get("url")) or None,
        distributions=[_distribution(resource) for resource in _objects(package.get("resources"))],
        contact={
            "name": _text(package.get("maintainer")) or None,
            "email": _text(package.get("maintainer_email")) or None,
        },
        spatial=extras.get("spatial") or None,
        temporal=extras.get("temporal") or None,
        extra={
            **{name: value for name, value in package.items() if name not in _PLACED and value},
            **({"extras": dict(extras)} if extras else {}),
        },
    )


def _publisher(value: JsonValue) -> AgencyRef | None:
    organization = value if isinstance(value, dict) else {}
    name = _named(organization)[:256]
    code = _text(organization.get("name")).upper() or None
    return AgencyRef(name, code, name if name.isascii() else None) if name else None


def _named(value: Members) -> str:
    return next((t for m in ("title", "display_name", "name") if (t := _text(value.get(m)))), "")


def _items(text: str) -> Sequence[str]:
    """The names of information items, which another service of this kind tells as a JSON list."""
    try:
        names = json.loads(text) if text.startswith("[") else []
    except ValueError:
        return []
    return [name for name in names if isinstance(name, str) and name.strip()]


def _distribution(resource: Members) -> dict[str, JsonValue]:
    return {
        "title": _text(resource.get("name"))[:500] or None,
        "description": _text(resource.get("description")) or None,
        "format": _text(resource.get("format"))[:500] or None,
        "media_type": _text(resource.get("mimetype"))[:500] or None,
        "access_url": _text(resource.get("url")) or None,
    }


def _text(value: JsonValue) -> str:
    return value.strip() if isinstance(value, str) else ""


def _objects(value: JsonValue) -> Sequence[Members]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
