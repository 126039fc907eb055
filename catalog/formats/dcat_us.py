"""DCAT-US 1.1 inventories (`data.json`), read as resources.

Owns what each member means in the terms of the record. Members the record has no place for are kept as
they came; records that break the schema's own demands are brought in where they can be, with a note.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import BinaryIO, NoReturn

from pydantic import JsonValue

from app.kernel.errors import Fault
from app.kernel.text import Text
from catalog.formats.format_names import describe_formats
from catalog.formats.reading import (
    CELL_LIMIT,
    ROW_LIMIT,
    UPLOAD_LIMIT_BYTES,
    AgencyRef,
    FileRefused,
    FileTooLarge,
    Read,
    Rejected,
    Row,
    SourceRow,
    clean,
    validated,
)
from catalog.resources.codes import Openness, SharingType, UpdateCycle
from catalog.resources.record import ResourceRecord, as_abstract, check_record

SCHEMA = Text("DCAT-US 1.1 数据集必填项", "required of a dataset by DCAT-US 1.1")
PUBLISHER_DEPTH_LIMIT = 8
NESTING_LIMIT = 32  # of a dataset's members; deeper ones would exhaust the stack of whoever walks them

# ISO 8601 repeating intervals as update cycles; any other, and "irregular", is 其他 with the words kept.
_CYCLES: dict[str, UpdateCycle] = {
    "R/PT1S": UpdateCycle.REAL_TIME,
    "R/P1D": UpdateCycle.DAILY,
    "R/P1W": UpdateCycle.WEEKLY,
    "R/P7D": UpdateCycle.WEEKLY,
    "R/P10D": UpdateCycle.TEN_DAYS,
    "R/P1M": UpdateCycle.MONTHLY,
    "R/P3M": UpdateCycle.QUARTERLY,
    "R/P6M": UpdateCycle.HALF_YEARLY,
    "R/P1Y": UpdateCycle.YEARLY,
}
_REQUIRED = (
    "title", "description", "keyword", "modified", "publisher",
    "contactPoint", "identifier", "accessLevel", "bureauCode", "programCode",
)  # fmt: skip
# Members whose whole meaning has a place in the record; all others go to `extra` as they came.
_PLACED = frozenset(
    {
        "title", "description", "keyword", "modified", "publisher", "identifier", "accessLevel", "license",
        "landingPage", "distribution", "theme", "accrualPeriodicity",
    }
)  # fmt: skip
_PLACED_OF_DISTRIBUTION = frozenset(
    {"@type", "title", "description", "format", "mediaType", "accessURL", "downloadURL"}
)
_STATES_NO_MORE = frozenset({"", "true", "false", "n/a", "not available", "private", "restricted", "none"})
_UNCITED = "来源目录标注为 non-public，未载明法律依据 / stated non-public by the source, which cites no law"
_UNCONDITIONED = (
    "来源目录标注为 restricted public，未载明条件 / stated restricted public by the source without conditions"
)

Members = Mapping[str, JsonValue]


def read_dcat_us(stream: BinaryIO) -> Iterator[Row]:
    """Every entry of `dataset`, in order. Errors: FileRefused, FileTooLarge.

    The file is read whole: JSON has no rows, and UPLOAD_LIMIT_BYTES bounds it.
    """
    for number, entry in enumerate(_entries(stream)):
        if isinstance(entry, dict) and not _nests_beyond(entry, NESTING_LIMIT):
            yield _read(entry, number)
        else:
            fault = Text("不是数据集对象，或嵌套过深", "not a dataset object, or nested too deep")
            yield Rejected(
                f"dataset[{number}]",
                (Fault("", fault),),
                (SourceRow(number, {"dataset": str(entry)[:200] if isinstance(entry, str) else ""}),),
            )


def _entries(stream: BinaryIO) -> list[JsonValue]:
    data = stream.read(UPLOAD_LIMIT_BYTES + 1)
    if len(data) > UPLOAD_LIMIT_BYTES:
        raise FileTooLarge()
    try:
        document = json.loads(data.decode("utf-8-sig"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        message = Text("不是合法的 JSON：{error}。", "Not valid JSON: {error}.").with_(error=str(error)[:200])
        raise FileRefused(message) from error
    datasets = document.get("dataset") if isinstance(document, dict) else None
    if not isinstance(datasets, list):
        raise FileRefused(
            Text(
                "JSON 中没有 dataset 数组，不是 DCAT-US 目录。", "No `dataset` array: not a DCAT-US catalog."
            )
        )
    if len(datasets) > ROW_LIMIT:
        raise FileTooLarge(Text("数据集超过 {n} 个。", "More than {n} datasets.").with_(n=ROW_LIMIT))
    return datasets


def _nests_beyond(value: JsonValue, limit: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return limit == 0 or any(_nests_beyond(entry, limit - 1) for entry in inner)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _read(entry: Members, number: int) -> Row:
    place = f"dataset[{number}]"
    entry = {key: _cleaned(value) for key, value in entry.items()}
    notes = [
        Fault(f"/{member}", Text("来源缺少此项", "missing in the source"), SCHEMA)
        for member in _REQUIRED
        if not entry.get(member)
    ]
    publisher = _publisher(entry.get("publisher"))
    values = _values(entry, publisher, notes)
    shown = {member: _text(entry.get(member))[:500] for member in ("title", "identifier")}
    rows = (SourceRow(number, shown),)
    if not entry.get("identifier"):
        fault = Text("没有标识，再次导入时无法认出", "no identifier: it could not be recognised again")
        return Rejected(place, (Fault("/identifier", fault, SCHEMA),), rows)
    record = validated(ResourceRecord, values)
    if isinstance(record, tuple):
        return Rejected(place, record, rows)
    if broken := check_record(record, for_filing=False):
        return Rejected(place, tuple(broken), rows)
    return Read(place, record, publisher, tuple(notes), rows)


def _cleaned(value: JsonValue) -> JsonValue:
    if isinstance(value, str):
        return clean(value)[:CELL_LIMIT]
    if isinstance(value, list):
        return [_cleaned(entry) for entry in value]
    if isinstance(value, dict):
        return {clean(key): _cleaned(entry) for key, entry in value.items()}
    return value


def _values(entry: Members, publisher: AgencyRef | None, notes: list[Fault]) -> dict[str, JsonValue]:
    abstract, description = as_abstract(_text(entry.get("description")))
    distributions = [d for d in _list(entry.get("distribution")) if isinstance(d, dict)]
    described, mode = describe_formats(
        name for d in distributions if (name := _text(d.get("mediaType")) or _text(d.get("format")))
    )
    cycle = _text(entry.get("accrualPeriodicity"))
    sharing, openness = _sharing(entry, notes)
    issued = re.match(r"\d{4}-\d{2}-\d{2}", _text(entry.get("issued")))
    contact = entry.get("contactPoint")
    contact = contact if isinstance(contact, dict) else {}
    spatial = entry.get("spatial")
    more = any(d.keys() - _PLACED_OF_DISTRIBUTION for d in distributions)
    placed = _PLACED - {"distribution"} if more else _PLACED
    return {
        "title": entry.get("title"),
        "title_en": entry.get("title") if _text(entry.get("title")).isascii() else None,
        "source_id": entry.get("identifier"),
        "provider": {"name": publisher.name if publisher else None},
        "abstract": abstract,
        "description": description,
        "categories": [_text(theme) for theme in _list(entry.get("theme")) if _text(theme)],
        "keywords": list(dict.fromkeys(_text(word) for word in _list(entry.get("keyword")) if _text(word))),
        "format": described.model_dump(mode="json"),
        "sharing": {**sharing, "mode": mode.model_dump(mode="json") if mode else None},
        "openness": openness,
        "update_cycle": _CYCLES.get(cycle, UpdateCycle.OTHER) if cycle else None,
        "update_cycle_as_given": cycle or None,
        "published_on": issued[0] if issued else None,
        "modified_as_given": _text(entry.get("modified")),
        "licence": _text(entry.get("license")) or None,
        "landing_page": _text(entry.get("landingPage")) or None,
        "distributions": [_distribution(d) for d in distributions],
        "contact": {
            "name": contact.get("fn"),
            "email": _text(contact.get("hasEmail")).removeprefix("mailto:") or None,
        },
        "spatial": spatial if isinstance(spatial, str) else json.dumps(spatial) if spatial else None,
        "temporal": _text(entry.get("temporal")) or None,
        "language": ",".join(_text(code) for code in _list(entry.get("language"))) or None,
        "extra": {key: value for key, value in entry.items() if key not in placed},
    }


def _sharing(entry: Members, notes: list[Fault]) -> tuple[dict[str, JsonValue], dict[str, JsonValue]]:
    """The sharing and the openness an accessLevel stands for. What the source does not say (the condition,
    the law against sharing) is said to be unsaid, never made up."""
    rights = _text(entry.get("rights"))
    stated = rights if rights.lower() not in _STATES_NO_MORE else None
    match entry.get("accessLevel"):
        case "public":
            return {"type": SharingType.UNCONDITIONAL}, {"type": Openness.UNCONDITIONAL}
        case "restricted public":
            return {"type": SharingType.CONDITIONAL, "condition": stated or _UNCONDITIONED}, {}
        case "non-public":
            reason = stated or _UNCITED
            return {"type": SharingType.NOT_SHARED, "reason": reason, "citation": _UNCITED}, {}
        case unknown:
            message = Text("“{value}”不是规定的取值", "“{value}” is not one of the values").with_(
                value=unknown
            )
            rule = Text("public、restricted public、non-public", "public, restricted public, non-public")
            notes.append(Fault("/accessLevel", message, rule))
            return {}, {}


def _publisher(value: JsonValue) -> AgencyRef | None:
    """The publisher with the organisations above it, nearest first: "TIGTA, Department of the Treasury"."""
    names: list[str] = []
    while isinstance(value, dict) and len(names) < PUBLISHER_DEPTH_LIMIT:
        name = _text(value.get("name"))
        if name and name not in names:  # some inventories name an organisation as part of itself
            names.append(name)
        value = value.get("subOrganizationOf")
    full = ", ".join(names)[:256]
    return AgencyRef(name=full, name_en=full) if full else None


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
