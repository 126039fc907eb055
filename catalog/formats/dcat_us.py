"""DCAT-US inventories (`data.json`) of versions 1.1 and 3, read as resources.

Owns which member says what. Members the record has no place for are kept as they came; records that break the
schema's own demands are brought in where they can be, with a note.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence

from pydantic import JsonValue

from app.kernel.errors import Fault
from app.kernel.text import Text
from catalog.formats.described import Described, as_row
from catalog.formats.reading import (
    CELL_LIMIT,
    ROW_LIMIT,
    AgencyRef,
    FileTooLarge,
    Rejected,
    Row,
    SourceRow,
    clean,
)

SCHEMA = Text("DCAT-US 1.1 数据集必填项", "required of a dataset by DCAT-US 1.1")
SCHEMA_3 = Text("DCAT-US 3 数据集必填项", "required of a dataset by DCAT-US 3")
PUBLISHER_DEPTH_LIMIT = 8
NESTING_LIMIT = 32  # of a dataset's members; deeper ones would exhaust the stack of whoever walks them

_REQUIRED = (
    "title", "description", "keyword", "modified", "publisher",
    "contactPoint", "identifier", "accessLevel", "bureauCode", "programCode",
)  # fmt: skip
_REQUIRED_3 = ("title", "description", "identifier", "publisher", "contactPoint")
# Members whose whole meaning has a place in the record; all others go to `extra` as they came.
_PLACED = frozenset(
    {
        "title", "description", "keyword", "modified", "publisher", "identifier", "accessLevel", "license",
        "landingPage", "distribution", "theme", "accrualPeriodicity",
    }
)  # fmt: skip
_PLACED_3 = frozenset(
    {"@type", "title", "description", "keyword", "modified", "accrualPeriodicity", "language"}
)
_PLACED_OF_DISTRIBUTION = frozenset(
    {"@type", "title", "description", "format", "mediaType", "accessURL", "downloadURL"}
)

Members = Mapping[str, JsonValue]


def read_dcat_us(document: Members) -> Iterator[Row]:
    """Every entry of `dataset`, in order. Errors: FileTooLarge."""
    datasets = document["dataset"]
    assert isinstance(datasets, list)
    if len(datasets) > ROW_LIMIT:
        raise FileTooLarge(Text("数据集超过 {n} 个。", "More than {n} datasets.").with_(n=ROW_LIMIT))
    describe, required, rule = (
        (_described_3, _REQUIRED_3, SCHEMA_3) if is_version_3(document) else (_described, _REQUIRED, SCHEMA)
    )
    for number, entry in enumerate(datasets):
        place = f"dataset[{number}]"
        if not isinstance(entry, dict) or nests_beyond(entry, NESTING_LIMIT):
            fault = Text("不是数据集对象，或嵌套过深", "not a dataset object, or nested too deep")
            told = SourceRow(number, {"dataset": str(entry)[:200] if isinstance(entry, str) else ""})
            yield Rejected(place, (Fault("", fault),), (told,))
            continue
        members = {clean(key): cleaned(value) for key, value in entry.items()}
        missing = Text("来源缺少此项", "missing in the source")
        notes = [Fault(f"/{member}", missing, rule) for member in required if not members.get(member)]
        dataset = describe(members)
        shown = SourceRow(number, {"title": dataset.title[:500], "identifier": dataset.identifier[:500]})
        yield as_row(place, dataset, notes, shown)


def is_version_3(document: Members) -> bool:
    """Whether an inventory is of DCAT-US 3. One of 1.1 says `dcat:Catalog`, or nothing."""
    standard = document.get("conformsTo")
    title = standard.get("title") if isinstance(standard, dict) else standard
    return document.get("@type") == "Catalog" or "DCAT-US 3" in str(title)


def nests_beyond(value: JsonValue, limit: int) -> bool:
    """Whether objects and lists stand in one another deeper than `limit`."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return limit == 0 or any(nests_beyond(entry, limit - 1) for entry in inner)


def cleaned(value: JsonValue) -> JsonValue:
    """The value with texts that a database and a cell can hold."""
    if isinstance(value, str):
        return clean(value)[:CELL_LIMIT]
    if isinstance(value, list):
        return [cleaned(entry) for entry in value]
    if isinstance(value, dict):
        return {clean(key): cleaned(entry) for key, entry in value.items()}
    return value


def _described(entry: Members) -> Described:
    distributions = [d for d in _list(entry.get("distribution")) if isinstance(d, dict)]
    contact = _object(entry.get("contactPoint"))
    spatial = entry.get("spatial")
    more = any(d.keys() - _PLACED_OF_DISTRIBUTION for d in distributions)
    placed = _PLACED - {"distribution"} if more else _PLACED
    title, level = _text(entry.get("title")), entry.get("accessLevel")
    return Described(
        identifier=_text(entry.get("identifier")),
        title=title,
        title_en=title if title.isascii() else None,
        description=_text(entry.get("description")),
        publisher=_publisher(entry.get("publisher")),
        keywords=_texts(entry.get("keyword")),
        themes=_texts(entry.get("theme")),
        frequency=_text(entry.get("accrualPeriodicity")),
        access=level if isinstance(level, str) or level is None else str(level),
        rights=_text(entry.get("rights")),
        issued=_text(entry.get("issued")),
        modified=_text(entry.get("modified")),
        licence=_text(entry.get("license")) or None,
        landing_page=_text(entry.get("landingPage")) or None,
        distributions=[_distribution(d) for d in distributions],
        contact={
            "name": contact.get("fn"),
            "email": _text(contact.get("hasEmail")).removeprefix("mailto:") or None,
        },
        spatial=spatial if isinstance(spatial, str) else json.dumps(spatial) if spatial else None,
        temporal=_text(entry.get("temporal")) or None,
        languages=_texts(entry.get("language")),
        extra={key: value for key, value in entry.items() if key not in placed},
    )


def _described_3(entry: Members) -> Described:
    distributions = [d for d in _list(entry.get("distribution")) if isinstance(d, dict)]
    contact = _object(next(iter(_list(entry.get("contactPoint"))), None))
    landing, title = entry.get("landingPage"), _text(entry.get("title"))
    place = next((n for n in map(_place, _list(entry.get("spatial"))) if n), None)
    return Described(
        identifier=_identifier(entry),
        title=title,
        title_en=title if title.isascii() else None,
        description=_text(entry.get("description")),
        publisher=_publisher(entry.get("publisher")),
        keywords=_texts(entry.get("keyword")),
        themes=[name for theme in _list(entry.get("theme")) if (name := _label(theme))],
        frequency=_text(entry.get("accrualPeriodicity")),
        access=_access(_text(entry.get("accessRights"))),
        rights="\n".join(_texts(entry.get("rights"))),
        issued=_text(entry.get("issued")),
        modified=_text(entry.get("modified")),
        licence=next((v for d in distributions if (v := _text(d.get("license")))), None),
        landing_page=_text(_object(landing).get("accessURL")) or _text(_object(landing).get("@id")) or None,
        distributions=[_distribution(d) for d in distributions],
        contact={
            "name": contact.get("fn"),
            "email": _text(contact.get("hasEmail")).removeprefix("mailto:") or None,
            "telephone": contact.get("tel"),
        },
        spatial=place,
        temporal=next((p for v in _list(entry.get("temporal")) if (p := _period(_object(v)))), None),
        languages=_texts(entry.get("language")),
        extra={key: value for key, value in entry.items() if key not in _PLACED_3},
    )


def _identifier(entry: Members) -> str:
    given = entry.get("identifier")
    return (
        _text(given)
        or _text(_object(given).get("notation"))
        or _text(_object(given).get("@id"))
        or _text(entry.get("@id"))
    )


def _access(text: str) -> str | None:
    """The level that a text states in so many words; a text in other words is left to `extra`."""
    found = re.match(r"(public|restricted public|non-public)(?=$|[ .,;:])", text.lower())
    return found[0] if found else None


def _label(value: JsonValue) -> str:
    return _text(value) or _text(_object(value).get("prefLabel"))


def _place(value: JsonValue) -> str:
    place = _object(value)
    return (
        _text(value)
        or _text(place.get("prefLabel"))
        or _text(place.get("geometry"))
        or _text(place.get("bbox"))
    )


def _period(value: Members) -> str | None:
    first, last = _text(value.get("startDate")), _text(value.get("endDate"))
    return f"{first}/{last}" if first or last else None


def _publisher(value: JsonValue) -> AgencyRef | None:
    """The publisher with the organisations above it, nearest first: "TIGTA, Department of the Treasury"."""
    names: list[str] = []
    code = next(iter(_texts(_object(value).get("notation"))), None)
    while isinstance(value, dict) and len(names) < PUBLISHER_DEPTH_LIMIT:
        name = _text(value.get("name"))
        if name and name not in names:  # some inventories name an organisation as part of itself
            names.append(name)
        value = next(iter(_list(value.get("subOrganizationOf"))), None)
    full = ", ".join(names)[:256]
    return AgencyRef(name=full, code=code, name_en=full if full.isascii() else None) if full else None


def _distribution(value: Members) -> dict[str, JsonValue]:
    return {
        "title": _text(value.get("title"))[:500],
        "description": value.get("description"),
        "format": _text(value.get("format")) or None,
        "media_type": _text(value.get("mediaType")) or None,
        "access_url": _text(value.get("accessURL")) or None,
        "download_url": _text(value.get("downloadURL")) or None,
    }


def _text(value: JsonValue) -> str:
    return value.strip() if isinstance(value, str) else ""


def _list(value: JsonValue) -> list[JsonValue]:
    """A member that should be a list; a single value stands for a list of one."""
    if isinstance(value, list):
        return value
    return [] if value is None else [value]


def _texts(value: JsonValue) -> Sequence[str]:
    return [text for entry in _list(value) if (text := _text(entry))]


def _object(value: JsonValue) -> Members:
    return value if isinstance(value, dict) else {}
