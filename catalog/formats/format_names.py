"""File formats as sources name them ("CSV, URL", "text/csv", "Excel") in the terms of the record.

Pure. Owns the translation and nothing else; a name it does not know is kept in words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from catalog.resources.codes import FORMAT_TYPES, FormatClass, PlatformMode
from catalog.resources.record import RecordFormat, SharingMode

_KNOWN: dict[str, tuple[FormatClass, str]] = {
    name.lower(): (format_class, name) for format_class, names in FORMAT_TYPES.items() for name in names
}
_SAME: dict[str, str] = {
    "excel": "xls",
    "vnd.ms-excel": "xls",
    "vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "vnd.oasis.opendocument.spreadsheet": "ods",
    "vnd.geo+json": "geojson",
    "geo+json": "geojson",
    "vnd.google-earth.kml+xml": "kml",
    "vnd.google-earth.kmz": "kmz",
    "vnd.api+json": "REST",
    "rdf+xml": "rdf",
    "x-zip-compressed": "zip",
    "shapefile": "shp",
    "shx": "shp",  # the parts of one shapefile
    "msword": "doc",
    "plain": "txt",
    "jpeg": "jpg",
    "tif": "tiff",
    "mpeg": "mpg",
    "api": "REST",
    "web": "html",
    "url": "html",
    "xhtml+xml": "html",
    "rss+xml": "xml",
    "atom+xml": "xml",
}


def describe_formats(names: Iterable[str]) -> tuple[RecordFormat, SharingMode | None]:
    """The record's format and the sharing mode that fits it. The first name of a known format decides; where
    there are several, or one is not known, all of them stand in `other` as they came."""
    given = list(dict.fromkeys(name.strip() for name in names if name.strip()))
    if not given:
        return RecordFormat(), None
    known = [entry for name in given if (entry := _find(name)) is not None]
    words = ", ".join(given)[:500] if len(given) > 1 or not known else None
    if not known:
        return RecordFormat(other=words), SharingMode(type=PlatformMode.FILE)
    format_class, name = known[0]
    mode = PlatformMode.INTERFACE if format_class is FormatClass.SERVICE else PlatformMode.FILE
    if format_class is FormatClass.DATABASE:
        mode = PlatformMode.FILE  # sources offer the database's file (dbf, mdb), not a connection to it
    return RecordFormat(format_class=format_class, type=name, other=words), SharingMode(type=mode)


def _find(name: str) -> tuple[FormatClass, str] | None:
    key = name.lower().removeprefix(".")
    key = re.sub(r"^(text|application|image|audio|video|font)/(x-)?", "", key).split(";")[0].strip()
    return _KNOWN.get(_SAME.get(key, key).lower())
