"""CKAN's search language, the part of Solr's that its clients write: `field:value` clauses, ranges, sort, facets.

Owns what a clause means in the database. What it does not know it refuses by name, since a filter left out
would show too much.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    and_,
    any_,
    case,
    cast,
    false,
    func,
    literal,
    not_,
    or_,
    select,
    true,
    type_coerce,
)
from sqlalchemy.dialects.postgresql import JSONB, JSONPATH
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.identity.models import Agency, Jurisdiction
from app.kernel.clock import now
from catalog.interop import ckan
from catalog.interop.selection import Order, Selection
from catalog.interop.vocabularies import CKAN_LICENCES, LICENCES, CkanLicence
from catalog.resources.codes import THEMES
from catalog.resources.models import Resource

CLAUSE_LIMIT = 50
_CLAUSE = re.compile(
    r"\s*(?P<sign>[+-]?)(?:(?P<field>[A-Za-z_]\w*):)?"
    r'(?P<value>"(?:[^"\\]|\\.)*"|\[[^\]]*\]|\([^)]*\)|[^\s"]+)'
)
_TERM = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')
_ANYTHING = "*"


class QueryNotUnderstood(ValueError):
    """A query, filter, sort or facet outside what is answered here; says which."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """A query taken apart: conditions, and the words left for the text search."""

    conditions: tuple[ColumnElement[bool], ...]
    words: str


def parse(query: str) -> Parsed:
    """Read `q` or one filter of `fq`. Errors: QueryNotUnderstood."""
    conditions: list[ColumnElement[bool]] = []
    words: list[str] = []
    at, negate = 0, False
    query = query.strip()
    while at < len(query):
        found = _CLAUSE.match(query, at)
        if found is None or len(conditions) > CLAUSE_LIMIT:
            raise QueryNotUnderstood(query)
        at = found.end()
        sign, field, value = found["sign"], found["field"], found["value"]
        if field is None:
            if value in ("AND", "&&", "*:*", "*") or not value.strip('"'):
                continue
            if value in ("OR", "||"):
                raise QueryNotUnderstood("OR")
            if value == "NOT":
                negate = True
                continue
            words.append(sign + value.strip('"'))
            continue
        condition = _condition(field, value)
        conditions.append(not_(condition) if negate or sign == "-" else condition)
        negate = False
    if negate:
        raise QueryNotUnderstood("NOT")
    return Parsed(tuple(conditions), " ".join(words))


def _condition(field: str, value: str) -> ColumnElement[bool]:
    if value in (_ANYTHING, "[* TO *]") and (field in _FIELDS or field in _MOMENTS):
        return true()
    if column := _MOMENTS.get(field):
        return _within(column, value)
    test = _FIELDS.get(field)
    if test is None:
        raise QueryNotUnderstood(f"{field}:{value}")
    if not value.startswith("("):
        return test(_unquoted(value))
    terms = [quoted or bare for quoted, bare in _TERM.findall(value[1:-1])]
    joins = {term for term in terms if term in ("OR", "AND")}
    values = [_unquoted(term) for term in terms if term not in joins]
    if len(joins) > 1 or not values:
        raise QueryNotUnderstood(value)
    return (and_ if joins == {"AND"} else or_)(*(test(one) for one in values))


def _unquoted(value: str) -> str:
    if value.startswith("[") or (value.endswith("*") and not value.startswith('"')):
        raise QueryNotUnderstood(value)
    inner = value[1:-1] if value.startswith('"') and value.endswith('"') and len(value) > 1 else value
    return re.sub(r"\\(.)", r"\1", inner)


def _within(column: InstrumentedAttribute[datetime], value: str) -> ColumnElement[bool]:
    found = re.fullmatch(r"\[(\S+) TO (\S+)\]", value)
    if found is None:
        raise QueryNotUnderstood(value)
    low, high = (_moment(bound) for bound in found.groups())
    return and_(column >= low if low else true(), column <= high if high else true())


def _moment(text: str) -> datetime | None:
    if text == _ANYTHING:
        return None
    if text == "NOW":
        return now()
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise QueryNotUnderstood(text) from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def is_id(value: str) -> UUID | None:
    try:
        return UUID(value)
    except ValueError:
        return None


def _same_id(column: InstrumentedAttribute[UUID]) -> Callable[[str], ColumnElement[bool]]:
    return lambda value: column == known if (known := is_id(value)) else false()


def of_organization(name: str) -> ColumnElement[bool]:
    """Resources of the agency with this CKAN name or id."""
    named = Agency.credit_code == name.upper()
    known = is_id(name)
    return Resource.agency_id.in_(select(Agency.id).where(or_(named, Agency.id == known) if known else named))


def _in_theme(name: str) -> ColumnElement[bool]:
    return literal(name) == any_(Resource.themes)


def _path(path: str) -> ColumnElement[list[str]]:
    return func.jsonb_path_query_array(Resource.record, cast(path, JSONPATH))


_FORMATS = case(
    (Resource.record.has_key("distributions"), _path("$.distributions[*].format")),
    else_=_path("$.format.type"),
)
_KEYWORDS = _path("$.keywords[*]")


def _holds(values: ColumnElement[list[str]]) -> Callable[[str], ColumnElement[bool]]:
    return lambda value: type_coerce(values, JSONB).contains([value])


_STATED = Resource.record["licence"].astext
_STATED_BARE = func.lower(func.rtrim(func.regexp_replace(_STATED, "^.*://", ""), "/"))


def _licensed(licence_id: str) -> ColumnElement[bool]:
    """Resources whose licence `ckan.licence_of` takes for the one of this id."""
    if licence_id == ckan.UNSTATED.id:
        return or_(_STATED.is_(None), _STATED == "")
    known = {one.id: _stated_as(one) for one in CKAN_LICENCES}
    if licence_id == ckan.OTHER.id:
        return and_(not_(_licensed(ckan.UNSTATED.id)), *map(not_, known.values()))
    return known.get(licence_id, false())


def _stated_as(licence: CkanLicence) -> ColumnElement[bool]:
    names = [name for name in LICENCES if ckan.licence_of(name) is licence]
    return or_(_STATED_BARE.in_([ckan.bare(licence.url)]), _STATED.in_(names))


def _always(holds: str) -> Callable[[str], ColumnElement[bool]]:
    return lambda value: true() if value.lower() == holds else false()


def _equals(
    column: InstrumentedAttribute[str] | InstrumentedAttribute[str | None],
) -> Callable[[str], ColumnElement[bool]]:
    return lambda value: column == value


_FIELDS: Mapping[str, Callable[[str], ColumnElement[bool]]] = {
    "id": _same_id(Resource.id),
    "name": lambda value: Resource.code == ckan.code_of(value),
    "title": lambda value: Resource.title.icontains(value, autoescape=True),
    "owner_org": _same_id(Resource.agency_id),
    "organization": of_organization,
    "groups": _in_theme,
    "tags": _holds(_KEYWORDS),
    "res_format": _holds(_FORMATS),
    "license_id": _licensed,
    "type": _always("dataset"),
    "dataset_type": _always("dataset"),
    "state": _always("active"),
    "private": lambda value: Resource.is_open.is_(value.lower() != "true"),
    "capacity": lambda value: Resource.is_open.is_(value.lower() == "public"),
    "sharing_type": _equals(Resource.sharing_type),
    "openness": _equals(Resource.openness),
    "update_cycle": _equals(Resource.update_cycle),
    "base_library": _equals(Resource.base_library),
    "jurisdiction": lambda value: Resource.jurisdiction_id.in_(
        select(Jurisdiction.id).where(Jurisdiction.code == value)
    ),
}
_MOMENTS = {"metadata_modified": Resource.updated_at, "metadata_created": Resource.created_at}
_ORDERS = {
    "id": Resource.id,
    "name": Resource.code,
    "title": Resource.title,
    "title_string": Resource.title,
    "metadata_modified": Resource.updated_at,
    "metadata_created": Resource.created_at,
}


def parse_sort(sort: str) -> list[Order]:
    """Read "field direction, …". "score" orders by nothing, as the best match comes first without being asked.
    Errors: QueryNotUnderstood."""
    orders: list[Order] = []
    for part in filter(None, map(str.strip, sort.split(","))):
        name, _, direction = part.partition(" ")
        direction = direction.strip().lower() or "asc"
        if direction not in ("asc", "desc") or (name not in _ORDERS and name != "score"):
            raise QueryNotUnderstood(part)
        if name == "score" and not orders:
            return []
        if name != "score":
            orders.append(_ORDERS[name].desc() if direction == "desc" else _ORDERS[name].asc())
    return orders


FACETS = (
    "organization",
    "groups",
    "tags",
    "res_format",
    "license_id",
    "openness",
    "sharing_type",
    "update_cycle",
)
_VALUES = {
    "groups": func.unnest(Resource.themes),
    "tags": func.jsonb_array_elements_text(_KEYWORDS),
    "res_format": func.jsonb_array_elements_text(_FORMATS),
    "license_id": _STATED,
    "openness": Resource.openness,
    "sharing_type": Resource.sharing_type,
    "update_cycle": Resource.update_cycle,
}


@dataclass(frozen=True, slots=True)
class FacetValue:
    name: str
    title: str
    count: int


def count_facet(session: Session, selection: Selection, field: str) -> list[FacetValue]:
    """How many resources of the selection have each value, most frequent first. Errors: QueryNotUnderstood."""
    if field == "organization":
        return [
            FacetValue(ckan.organization_name(a), a.name, n) for a, n in organizations(session, selection)
        ]
    if field not in FACETS:
        raise QueryNotUnderstood(field)
    value = _VALUES[field].label("value")
    values = select(value).select_from(Resource).where(*selection.where).subquery()
    counted = select(values.c.value, func.count()).group_by(values.c.value)
    counts: Counter[tuple[str, str]] = Counter()
    for name, number in session.execute(counted):
        if field == "license_id":
            licence = ckan.licence_of(name)
            counts[licence.id, licence.title.en] += number
        elif name is not None:
            counts[name, _title(field, name)] += number
    found = [FacetValue(name, title, number) for (name, title), number in counts.items()]
    return sorted(found, key=lambda one: (-one.count, one.name))


def organizations(session: Session, selection: Selection) -> list[tuple[Agency, int]]:
    """The agencies of the selection's resources with how many each has, most first."""
    number = func.count().label("number")
    counted = (
        select(Resource.agency_id, number).where(*selection.where).group_by(Resource.agency_id).subquery()
    )
    query = select(Agency, counted.c.number).join(counted, counted.c.agency_id == Agency.id)
    return [
        (agency, n) for agency, n in session.execute(query.order_by(counted.c.number.desc(), Agency.name))
    ]


def _title(field: str, name: str) -> str:
    return (
        next((text.zh for theme, text in THEMES.items() if theme == name), name)
        if field == "groups"
        else name
    )
