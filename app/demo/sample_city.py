"""The sample city (云江市): a fictional city of three districts, read from the data files beside this module.

Owns their columns. Nothing in them is real: the division codes are unassigned, no person exists.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from typing import Literal

from pydantic import TypeAdapter

from app.kernel.actor import Role
from app.kernel.text import Text
from catalog.resources.record import ResourceRecord

Verdict = Literal["duplicate", "review", "distinct"]


@dataclass(frozen=True, slots=True)
class CityJurisdiction:
    """A row of jurisdictions.csv; parents come before their children, the root has no parent."""

    code: str
    parent_code: str | None
    name: Text


@dataclass(frozen=True, slots=True)
class CityAgency:
    """A row of agencies.csv. `key` is the first part of its people's logins."""

    credit_code: str
    key: str
    jurisdiction_code: str
    kind: Literal["government", "authority", "agency"]
    name: Text
    responsible_leader: Text
    internal_office: Text


@dataclass(frozen=True, slots=True)
class CityPerson:
    """A row of people.csv; `agency` is a credit code."""

    login: str
    agency: str
    name: str
    roles: frozenset[Role]


@dataclass(frozen=True, slots=True)
class CityResource:
    """A resource with its items, as its agency would file it; `code` is how the other files refer to it."""

    code: str
    agency: str
    record: ResourceRecord


@dataclass(frozen=True, slots=True)
class PlantedDuplicate:
    """What the duplicate check should find. On the left an item, a resource (`left_item` None) or, at level
    `plan_item`, a plan's item; `right` is None for a planned item that the catalog does not hold."""

    id: str
    level: Literal["resource", "item", "plan_item"]
    kind: str
    left: str
    left_item: str | None
    right: str | None
    right_item: str | None
    verdict: Verdict
    note: Text


@dataclass(frozen=True, slots=True)
class CityPlanItem:
    """One information item that a plan wants to collect."""

    code: str
    name_zh: str
    name_en: str
    data_type: str
    length: int
    definition: str
    code_list: str
    is_identifier: bool


@dataclass(frozen=True, slots=True)
class CityPlan:
    """A collection plan (采集计划) of plans.json; `agency` is a credit code, `minutes_per_respondent` the burden."""

    id: str
    agency: str
    title_zh: str
    title_en: str
    population_zh: str
    population_en: str
    purpose_zh: str
    purpose_en: str
    legal_basis: str
    update_cycle: str
    period_from: date
    period_to: date
    jurisdictions: tuple[str, ...]
    form: str
    respondents: int
    minutes_per_respondent: int
    project_reference: str
    items: tuple[CityPlanItem, ...]


def jurisdictions() -> list[CityJurisdiction]:
    """The tree nation, province, city, district, from the root down."""
    return [
        CityJurisdiction(row["code"], row["parent_code"] or None, _text(row, "name"))
        for row in _table("jurisdictions")
    ]


def agencies() -> list[CityAgency]:
    """Every agency, with its responsible leader and internal office (Regulation Art. 40)."""
    return [
        CityAgency(
            credit_code=row["credit_code"],
            key=row["key"],
            jurisdiction_code=row["jurisdiction_code"],
            kind=TypeAdapter[Literal["government", "authority", "agency"]](
                Literal["government", "authority", "agency"]
            ).validate_python(row["kind"]),
            name=_text(row, "name"),
            responsible_leader=_text(row, "leader_title"),
            internal_office=_text(row, "office"),
        )
        for row in _table("agencies")
    ]


def people() -> list[CityPerson]:
    """Who acts for the agencies."""
    return [
        CityPerson(row["login"], row["agency"], row["name"], frozenset(map(Role, row["roles"].split())))
        for row in _table("people")
    ]


def resources() -> list[CityResource]:
    """The catalog of the city. Errors: pydantic's, where a file breaks the record's types."""
    items: dict[str, list[dict[str, object]]] = defaultdict(list)
    for row in _table("items"):
        items[row["resource"]].append(_item(row))
    names = {agency.credit_code: agency.name.zh for agency in agencies()}
    return [
        CityResource(
            row["code"], row["agency"], _record(row, items[row["code"]], provider_name=names[row["agency"]])
        )
        for row in _table("resources")
    ]


def plans() -> list[CityPlan]:
    """Two collection plans: one asks for what the catalog holds, the other mostly for what is new."""
    return TypeAdapter(list[CityPlan]).validate_json(_read("plans.json"))


def planted_duplicates() -> list[PlantedDuplicate]:
    """Expected verdicts about pairs of items, pairs of resources and the plans' items."""
    return TypeAdapter(list[PlantedDuplicate]).validate_python(
        [
            {
                **{key: value or None for key, value in row.items() if not key.startswith("note_")},
                "note": _text(row, "note"),
            }
            for row in _table("planted_duplicates")
        ]
    )


def _record(row: Mapping[str, str], items: list[dict[str, object]], *, provider_name: str) -> ResourceRecord:
    stem = row["code"].split("/")[0]
    return ResourceRecord.model_validate(
        {
            "title": row["name_zh"],
            "title_en": row["name_en"],
            "source_id": row["code"],
            "provider": {"name": provider_name, "code": row["agency"], "department": row["department_zh"]},
            "abstract": row["abstract_zh"],
            "classification": {
                "resource_class": stem[0], "item": stem[1:3], "section": stem[3:6], "detail": stem[6:],
            },
            "themes": (row["theme"],),
            "base_library": row["base_library"] or None,
            "format": {"format_class": row["format_class"], "type": row["format_type"]},
            "items": tuple(items),
            "sharing": {
                "type": row["sharing_type"],
                "condition": row["sharing_condition_zh"],
                "reason": row["not_shared_reason_zh"],
                "citation": row["sharing_citation"],
                "mode": {"channel": row["mode"], "type": row["mode_type"]},
            },
            "openness": {"type": row["openness"], "condition": row["openness_condition_zh"]},
            "update_cycle": row["update_cycle"],
            "update_cycle_as_given": row["update_cycle_note"],
            "published_on": date.fromisoformat(row["published_on"]),
            "related_codes": tuple(row["related_codes"].split()),
            "grade": row["grade"],
            "language": "zh-CN",
        }
    )  # fmt: skip


def _item(row: Mapping[str, str]) -> dict[str, object]:
    return {
        "code": row["code"],
        "name": row["name_zh"],
        "name_en": row["name_en"],
        "data_type": row["data_type"],
        "length": int(row["length"]) if row["length"] else None,
        "definition": row["definition"],
        "sharing_type": row["sharing_type"],
        "sensitive": row["sensitive"] == "yes",
        "is_key": row["is_key"] == "yes",
        "code_list": row["code_list"],
    }


def _text(row: Mapping[str, str], name: str) -> Text:
    return Text(row[f"{name}_zh"], row[f"{name}_en"])


def _table(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(_read(f"{name}.csv"))))


def _read(file_name: str) -> str:
    return files("app.demo").joinpath("city", file_name).read_text("utf-8")
