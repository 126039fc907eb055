"""The catalog's code lists in the vocabularies of others: EU authority tables, IANA media types, DCAT-US words.

Pure data. What has no counterpart there is left out rather than forced into one.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.kernel.text import Text
from catalog.resources.codes import Openness, Theme, UpdateCycle

EU = "http://publications.europa.eu/resource/authority/"
IANA = "https://www.iana.org/assignments/media-types/"

# EU authority table "frequency".
EU_FREQUENCY: dict[UpdateCycle, str] = {
    UpdateCycle.REAL_TIME: "UPDATE_CONT",
    UpdateCycle.DAILY: "DAILY",
    UpdateCycle.WEEKLY: "WEEKLY",
    UpdateCycle.TEN_DAYS: "MONTHLY_3",
    UpdateCycle.MONTHLY: "MONTHLY",
    UpdateCycle.QUARTERLY: "QUARTERLY",
    UpdateCycle.HALF_YEARLY: "ANNUAL_2",
    UpdateCycle.YEARLY: "ANNUAL",
    UpdateCycle.OTHER: "OTHER",
}

# accrualPeriodicity of DCAT-US 3: a word of its list, or an ISO 8601 repeating interval.
US_FREQUENCY: dict[UpdateCycle, str] = {
    UpdateCycle.REAL_TIME: "continual",
    UpdateCycle.DAILY: "daily",
    UpdateCycle.WEEKLY: "weekly",
    UpdateCycle.TEN_DAYS: "R/P10D",
    UpdateCycle.MONTHLY: "monthly",
    UpdateCycle.QUARTERLY: "quarterly",
    UpdateCycle.HALF_YEARLY: "biannually",
    UpdateCycle.YEARLY: "annually",
    UpdateCycle.OTHER: "irregular",
}

# EU authority table "access-right", and the words of DCAT-US.
EU_ACCESS: dict[Openness, str] = {
    Openness.UNCONDITIONAL: "PUBLIC",
    Openness.CONDITIONAL: "RESTRICTED",
    Openness.NOT_OPEN: "NON_PUBLIC",
}
US_ACCESS: dict[Openness, str] = {
    Openness.UNCONDITIONAL: "public",
    Openness.CONDITIONAL: "restricted public",
    Openness.NOT_OPEN: "non-public",
}

# EU authority table "data-theme": code and English name.
EU_THEME: dict[Theme, tuple[str, str]] = {
    Theme.PUBLIC_SERVICE: ("GOVE", "Government and public sector"),
    Theme.HEALTH: ("HEAL", "Health"),
    Theme.SOCIAL_SECURITY: ("SOCI", "Population and society"),
    Theme.FOOD_AND_DRUGS: ("HEAL", "Health"),
    Theme.WORK_SAFETY: ("SOCI", "Population and society"),
    Theme.PRICES: ("ECON", "Economy and finance"),
    Theme.ENERGY: ("ENER", "Energy"),
    Theme.CREDIT: ("ECON", "Economy and finance"),
    Theme.CONSTRUCTION: ("REGI", "Regions and cities"),
    Theme.COMMUNITY: ("REGI", "Regions and cities"),
    Theme.ENVIRONMENT: ("ENVI", "Environment"),
    Theme.EMERGENCY: ("JUST", "Justice, legal system and public safety"),
    Theme.EDUCATION: ("EDUC", "Education, culture and sport"),
    Theme.TRANSPORT: ("TRAN", "Transport"),
    Theme.CULTURE: ("EDUC", "Education, culture and sport"),
    Theme.ECONOMY: ("ECON", "Economy and finance"),
}

# EU authority table "language" by the primary subtag of BCP 47.
EU_LANGUAGE: dict[str, str] = {
    "zh": "ZHO", "en": "ENG", "fr": "FRA", "es": "SPA", "de": "DEU", "pt": "POR", "ru": "RUS",
    "ar": "ARA", "ja": "JPN", "ko": "KOR", "vi": "VIE",
}  # fmt: skip

# Names of formats in lower case: EU authority table "file-type", and the media type registered at IANA.
FILE_TYPES: dict[str, tuple[str | None, str | None]] = {
    "csv": ("CSV", "text/csv"),
    "txt": ("TXT", "text/plain"),
    "xml": ("XML", "application/xml"),
    "html": ("HTML", "text/html"),
    "pdf": ("PDF", "application/pdf"),
    "doc": ("DOC", "application/msword"),
    "docx": ("DOCX", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    "ppt": ("PPT", "application/vnd.ms-powerpoint"),
    "pptx": ("PPTX", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
    "xls": ("XLS", "application/vnd.ms-excel"),
    "xlsx": ("XLSX", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    "ods": ("ODS", "application/vnd.oasis.opendocument.spreadsheet"),
    "json": ("JSON", "application/json"),
    "geojson": ("GEOJSON", "application/geo+json"),
    "kml": ("KML", "application/vnd.google-earth.kml+xml"),
    "kmz": ("KMZ", "application/vnd.google-earth.kmz"),
    "shp": ("SHP", None),
    "gml": ("GML", "application/gml+xml"),
    "rdf": ("RDF", "application/rdf+xml"),
    "parquet": ("PARQUET", "application/vnd.apache.parquet"),
    "zip": ("ZIP", "application/zip"),
    "jpg": ("JPEG", "image/jpeg"),
    "gif": ("GIF", "image/gif"),
    "png": ("PNG", "image/png"),
    "bmp": ("BMP", "image/bmp"),
    "tiff": ("TIFF", "image/tiff"),
    "mp3": (None, "audio/mpeg"),
    "mp4": ("MP4", "video/mp4"),
    "rest": ("REST", None),
    "wms": ("WMS_SRVC", None),
    "wfs": ("WFS_SRVC", None),
    "wmts": ("WMTS_SRVC", None),
}

# Licences that sources name in words, by the address at which their text stands.
LICENCES: dict[str, str] = {
    "政府資料開放授權條款": "https://data.gov.tw/license",
    "政府資料開放授權條款－第1版": "https://data.gov.tw/license",
    "Creative Commons CCZero": "http://creativecommons.org/publicdomain/zero/1.0/",
    "Creative Commons Attribution": "http://creativecommons.org/licenses/by/4.0/",
}


@dataclass(frozen=True, slots=True)
class CkanLicence:
    """A licence as CKAN lists it; `is_open` where it meets the Open Definition."""

    id: str
    title: Text
    url: str
    is_open: bool


CKAN_LICENCES = (
    CkanLicence(
        "cc-zero", Text("CC0 1.0", "Creative Commons CCZero"),
        "https://creativecommons.org/publicdomain/zero/1.0/", is_open=True,
    ),
    CkanLicence(
        "CC-BY-4.0", Text("署名 4.0", "Creative Commons Attribution 4.0"),
        "https://creativecommons.org/licenses/by/4.0/", is_open=True,
    ),
    CkanLicence(
        "odc-pddl", Text("ODC 公有领域", "Open Data Commons Public Domain Dedication and License"),
        "http://opendatacommons.org/licenses/pddl/", is_open=True,
    ),
    CkanLicence(
        "us-pd", Text("美国政府作品", "U.S. Government Works"),
        "https://www.usa.gov/government-works", is_open=True,
    ),
    CkanLicence(
        "OGDL-Taiwan-1.0", Text("政府資料開放授權條款－第1版", "Taiwan Open Government Data License 1.0"),
        "https://data.gov.tw/license", is_open=True,
    ),
)  # fmt: skip


def eu(table: str, code: str) -> str:
    """The address of an entry of an EU authority table."""
    return f"{EU}{table}/{code}"


def file_type(name: str | None) -> tuple[str | None, str | None]:
    """EU file type and media type of a format as records name it ("CSV", "text/csv"); None where unknown."""
    key = (name or "").strip().lower().removeprefix(".")
    if key in FILE_TYPES:
        return FILE_TYPES[key]
    return _BY_MEDIA_TYPE.get(key.split(";")[0].strip(), (None, None))


_BY_MEDIA_TYPE = {media: pair for pair in FILE_TYPES.values() if (media := pair[1])}
