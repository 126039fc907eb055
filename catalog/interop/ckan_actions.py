"""The actions of CKAN's read API: what each takes and what it answers.

Owns their meaning. The envelope around an answer is `ckan_api`'s.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

from pydantic import AfterValidator, AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kernel.actor import Actor
from app.kernel.errors import NotFound
from catalog.interop import ckan
from catalog.interop.ckan_query import (
    QueryNotUnderstood,
    count_facet,
    is_id,
    of_organization,
    organizations,
    parse,
    parse_sort,
)
from catalog.interop.entries import (
    CATALOG_DESCRIPTION,
    CATALOG_TITLE,
    Entry,
    Site,
    find_entry,
    offers,
    published_to,
)
from catalog.interop.selection import Selection, count, page, select_by
from catalog.interop.vocabularies import CKAN_LICENCES
from catalog.resources.codes import THEMES, Theme
from catalog.resources.models import Resource
from catalog.search.index import CatalogIndex

CKAN_VERSION = "2.10.0"  # whose read API this is; clients decide by it what they may call
ROWS_LIMIT = 1000
_OFFSET_LIMIT = 10_000_000
FACET_LIMIT = 1000


def _storable(value: str) -> str:
    if re.search("[\x00\ud800-\udfff]", value):  # valid in JSON, and no text that PostgreSQL can compare with
        raise ValueError("has characters that no text here holds")
    return value


Word = Annotated[str, AfterValidator(_storable)]


def _as_list(value: object) -> object:
    """Lists arrive as JSON, as text holding JSON, or as one bare value."""
    if not isinstance(value, str):
        return value
    if value.startswith("["):
        try:
            return json.loads(value)
        except ValueError:
            return [value]
    return [value] if value else []


Texts = Annotated[
    list[Annotated[Word, Field(max_length=2000)]], BeforeValidator(_as_list), Field(max_length=50)
]
Query = Annotated[Word, Field(max_length=2000)]
Offset = Annotated[int, Field(ge=0, le=_OFFSET_LIMIT)]


class Arguments(BaseModel):
    """Base of what an action takes. As in CKAN, what it does not know is passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Nothing(Arguments):
    pass


class Named(Arguments):
    id: Annotated[Word, Field(max_length=200, validation_alias=AliasChoices("id", "name_or_id"))]


class OrganizationNamed(Named):
    include_datasets: bool = False


class Listed(Arguments):
    all_fields: bool = False
    limit: Annotated[int | None, Field(ge=0)] = None
    offset: Offset = 0


class TagsListed(Listed):
    query: Query = ""


class Searched(Arguments):
    q: Query = ""
    fq: Query = ""
    fq_list: Texts = []
    sort: Annotated[Word, Field(max_length=200)] = ""
    rows: Annotated[int, Field(ge=0)] = 10
    start: Offset = 0
    facet_field: Annotated[Texts, Field(alias="facet.field")] = []
    facet_limit: Annotated[int, Field(alias="facet.limit")] = 50
    facet_mincount: Annotated[int, Field(alias="facet.mincount")] = 1


class Completed(Arguments):
    q: Annotated[Word, Field(min_length=1, max_length=200)]
    limit: Annotated[int, Field(ge=1, le=100)] = 10


class Helped(Arguments):
    name: Annotated[Word, Field(max_length=100)]


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks, and of what."""

    session: Session
    index: CatalogIndex
    by: Actor
    site: Site

    @property
    def everything(self) -> Selection:
        return Selection(self.by)


A = TypeVar("A", bound=Arguments)


@dataclass(frozen=True, slots=True)
class Action(Generic[A]):
    """One action: the shape of its arguments and the function that answers."""

    arguments: type[A]
    answer: Callable[[Asking, A], JsonValue]

    def call(self, asking: Asking, given: Mapping[str, Any]) -> JsonValue:
        """Errors: pydantic.ValidationError, NotFound, QueryNotUnderstood."""
        return self.answer(asking, self.arguments.model_validate(given))


def status_show(asking: Asking, _: Nothing) -> JsonValue:
    """What this service is."""
    return {
        "ckan_version": CKAN_VERSION,
        "site_url": asking.site.url,
        "site_title": CATALOG_TITLE.zh,
        "site_description": CATALOG_DESCRIPTION.zh,
        "locale_default": "zh_Hans_CN",
        "error_emails_to": None,
        "extensions": [],
    }


def package_list(asking: Asking, given: Listed) -> JsonValue:
    """The names of all packages, in order."""
    query = select(Resource.code).where(published_to(asking.by)).order_by(Resource.code)
    names = asking.session.scalars(query.limit(given.limit).offset(given.offset))
    return [ckan.package_name(code) for code in names]


def package_show(asking: Asking, given: Named) -> JsonValue:
    """One package by id or name."""
    return ckan.package(_package(asking, given.id), asking.site)


def _package(asking: Asking, name: str) -> Entry:
    known = is_id(name)
    wanted = Resource.id == known if known else Resource.code == ckan.code_of(name)
    return find_entry(asking.session, asking.by, wanted)


def package_search(asking: Asking, given: Searched) -> JsonValue:
    """Packages by words (q), filters (fq, fq_list), sort, rows, start, and facets counted over all matches."""
    asked = [parse(text) for text in (given.q, given.fq, *given.fq_list)]
    if any(one.words for one in asked[1:]):
        raise QueryNotUnderstood(next(one.words for one in asked[1:] if one.words))
    selection = select_by(
        asking.session, asking.index, asking.by,
        words=asked[0].words, conditions=[condition for one in asked for condition in one.conditions],
    )  # fmt: skip
    order, rows = parse_sort(given.sort), min(given.rows, ROWS_LIMIT)
    found = page(asking.session, selection, order, limit=rows, offset=given.start) if rows else []
    most = given.facet_limit if 0 <= given.facet_limit <= FACET_LIMIT else FACET_LIMIT
    facets: dict[str, JsonValue] = {}
    shown: dict[str, JsonValue] = {}
    for field in dict.fromkeys(given.facet_field):
        values = [v for v in count_facet(asking.session, selection, field) if v.count >= given.facet_mincount]
        facets[field] = {value.name: value.count for value in values[:most]}
        items: list[JsonValue] = [
            {"name": v.name, "display_name": v.title, "count": v.count} for v in values[:most]
        ]
        shown[field] = {"title": field, "items": items}
    return {
        "count": count(asking.session, selection),
        "sort": given.sort or "score desc, metadata_modified desc",
        "results": [ckan.package(entry, asking.site) for entry in found],
        "facets": facets,
        "search_facets": shown,
    }


def package_autocomplete(asking: Asking, given: Completed) -> JsonValue:
    """Packages whose titles or items hold what was typed."""
    selection = select_by(asking.session, asking.index, asking.by, words=given.q, conditions=())
    found = page(asking.session, selection, (), limit=given.limit, offset=0)
    return [
        {
            "name": ckan.package_name(entry.resource.code),
            "title": entry.record.title,
            "match_field": "title",
            "match_displayed": entry.record.title,
        }
        for entry in found
    ]


def resource_show(asking: Asking, given: Named) -> JsonValue:
    """One form of a package by its id."""
    package_id, _, position = given.id.rpartition("-")
    if is_id(package_id) is None or not position.isdecimal() or len(position) > 4:
        raise NotFound()
    entry = _package(asking, package_id)
    held = offers(entry, asking.site)
    if int(position) >= len(held):
        raise NotFound()
    return ckan.resource_members(entry, int(position), held[int(position)])


def organization_list(asking: Asking, given: Listed) -> JsonValue:
    """The agencies that have packages, by name."""
    found = sorted(organizations(asking.session, asking.everything), key=lambda pair: pair[0].name)
    return _listed(
        [{**ckan.organization(agency), "package_count": number} for agency, number in found], given
    )


def organization_show(asking: Asking, given: OrganizationNamed) -> JsonValue:
    """One agency by id or name, if it has packages."""
    selection = Selection(asking.by, (of_organization(given.id),))
    found = organizations(asking.session, selection)
    if not found:
        raise NotFound()
    agency, number = found[0]
    members: ckan.Members = {
        **ckan.organization(agency),
        "package_count": number, "users": [], "tags": [], "groups": [], "extras": [],
    }  # fmt: skip
    return _with_packages(asking, members, selection) if given.include_datasets else members


def group_list(asking: Asking, given: Listed) -> JsonValue:
    """The themes that have packages."""
    return _listed(_groups(asking), given)


def group_show(asking: Asking, given: OrganizationNamed) -> JsonValue:
    """One theme, if it has packages."""
    members = next((one for one in _groups(asking) if one["name"] == given.id), None)
    if members is None:
        raise NotFound()
    shown: ckan.Members = {**members, "users": [], "tags": [], "groups": [], "extras": []}
    selection = Selection(asking.by, parse(f'groups:"{members["name"]}"').conditions)
    return _with_packages(asking, shown, selection) if given.include_datasets else shown


def _groups(asking: Asking) -> list[ckan.Members]:
    counts = {value.name: value.count for value in count_facet(asking.session, asking.everything, "groups")}
    return [{**ckan.group(Theme(name)), "package_count": counts[name]} for name in THEMES if name in counts]


def _with_packages(asking: Asking, members: ckan.Members, selection: Selection) -> ckan.Members:
    held = page(asking.session, selection, (), limit=ROWS_LIMIT, offset=0)
    return {**members, "packages": [ckan.package(entry, asking.site) for entry in held]}


def tag_list(asking: Asking, given: TagsListed) -> JsonValue:
    """The keywords of all packages, or those that hold `query`."""
    values = count_facet(asking.session, asking.everything, "tags")
    names = sorted(value.name for value in values if given.query.lower() in value.name.lower())
    return _listed([ckan.tag(name) for name in names], given)


def _listed(members: Sequence[ckan.Members], given: Listed) -> JsonValue:
    end = None if given.limit is None else given.offset + given.limit
    chosen = members[given.offset : end]
    return [*chosen] if given.all_fields else [one["name"] for one in chosen]


def license_list(_: Asking, __: Nothing) -> JsonValue:
    """The licences packages may have."""
    return [ckan.licence_members(licence) for licence in (*CKAN_LICENCES, ckan.OTHER, ckan.UNSTATED)]


def help_show(_: Asking, given: Helped) -> JsonValue:
    """What an action does."""
    if given.name not in ACTIONS:
        raise NotFound()
    return (ACTIONS[given.name].answer.__doc__ or "").strip()


ACTIONS: Mapping[str, Action[Any]] = {
    "status_show": Action(Nothing, status_show),
    "package_list": Action(Listed, package_list),
    "package_show": Action(Named, package_show),
    "package_search": Action(Searched, package_search),
    "package_autocomplete": Action(Completed, package_autocomplete),
    "resource_show": Action(Named, resource_show),
    "organization_list": Action(Listed, organization_list),
    "organization_show": Action(OrganizationNamed, organization_show),
    "group_list": Action(Listed, group_list),
    "group_show": Action(OrganizationNamed, group_show),
    "tag_list": Action(TagsListed, tag_list),
    "license_list": Action(Nothing, license_list),
    "help_show": Action(Helped, help_show),
}
