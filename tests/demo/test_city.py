"""The sample city's files: enough of everything, valid codes, records that could be filed, and no real person."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from functools import cache

from app.demo import sample_city
from app.demo.sample_city import CityResource
from app.identity.codes import credit_code_fault, division_code_fault
from app.kernel.actor import Role
from catalog.resources.codes import BaseLibrary, DataType, SharingType
from catalog.resources.record import check_record

RESOURCE_CODE = re.compile(r"[123]\d{2}\d{3}[0-9A-Z]*/\d{6}")
ITEM_CODE = re.compile(r"[a-z][a-z0-9_]*")


@cache
def city() -> dict[str, CityResource]:
    return {resource.code: resource for resource in sample_city.resources()}


def item_codes(resource: str) -> set[str]:
    return {item.code or "" for item in city()[resource].record.items}


def test_it_is_as_large_as_promised() -> None:
    assert len(city()) >= 80
    assert sum(len(resource.record.items) for resource in city().values()) >= 700
    assert len(sample_city.agencies()) >= 14
    assert len({resource.agency for resource in city().values()}) >= 14


def test_the_tree_is_a_fictional_province_with_one_city_of_three_districts() -> None:
    tree = {place.code: place for place in sample_city.jurisdictions()}
    met: set[str | None] = {None}
    for place in tree.values():
        assert division_code_fault(place.code) is None
        assert place.parent_code in met, "a parent comes before its children"
        met.add(place.code)
    children = Counter(place.parent_code for place in tree.values())
    assert (children[None], children["100000"], children["980000"], children["980100"]) == (1, 1, 1, 3)
    # GB/T 2260 assigns province numbers up to 82.
    assert all(code[:2] == "98" for code in tree if code != "100000")


def test_agencies_have_valid_codes_a_leader_and_an_office() -> None:
    agencies = sample_city.agencies()
    places = {place.code for place in sample_city.jurisdictions()}
    assert {agency.jurisdiction_code for agency in agencies} <= places
    for agency in agencies:
        assert credit_code_fault(agency.credit_code) is None, agency.name.zh
        assert agency.credit_code[2:8] == agency.jurisdiction_code
        for text in (agency.name, agency.responsible_leader, agency.internal_office):
            assert text.zh and text.en.isascii()
    for distinct in (lambda a: a.credit_code, lambda a: a.key, lambda a: a.name.zh):
        assert len(set(map(distinct, agencies))) == len(agencies)


def test_every_place_below_the_nation_has_one_authority() -> None:
    authorities = Counter(a.jurisdiction_code for a in sample_city.agencies() if a.kind == "authority")
    below = {place.code for place in sample_city.jurisdictions() if place.parent_code}
    assert authorities == Counter(below)


def test_every_agency_has_a_clerk_and_another_person_as_approver() -> None:
    roles: dict[str, Counter[Role]] = defaultdict(Counter)
    for person in sample_city.people():
        assert len(person.roles) == 1
        roles[person.agency].update(person.roles)
    for agency in sample_city.agencies():
        held = roles.pop(agency.credit_code)
        assert held[Role.CLERK] and held[Role.APPROVER]
        if agency.kind == "authority":
            assert held[Role.MEDIATOR] >= 2 and held[Role.CATALOG_ADMINISTRATOR]
        if agency.key == "data":
            administrators = (
                Role.SYSTEM_ADMINISTRATOR,
                Role.SECURITY_ADMINISTRATOR,
                Role.AUDIT_ADMINISTRATOR,
            )
            assert [held[role] for role in administrators] == [1, 1, 1]
    assert not roles, "people of no agency"


def test_logins_and_names_are_unique_and_logins_start_with_the_agency() -> None:
    people = sample_city.people()
    keys = {agency.credit_code: agency.key for agency in sample_city.agencies()}
    assert len({person.login for person in people}) == len({person.name for person in people}) == len(people)
    assert all(person.login.split(".")[0] == keys[person.agency] for person in people)


def test_every_resource_could_be_filed() -> None:
    faults = {
        code: [f"{fault.field}: {fault.message.en}" for fault in check_record(resource.record)]
        for code, resource in city().items()
    }
    assert {code: found for code, found in faults.items() if found} == {}


def test_resources_are_known_by_one_code_and_belong_to_registered_agencies() -> None:
    assert len(city()) == len(sample_city.resources())
    agencies = {agency.credit_code for agency in sample_city.agencies()}
    titles = Counter((resource.agency, resource.record.title) for resource in city().values())
    assert max(titles.values()) == 1
    for code, resource in city().items():
        assert RESOURCE_CODE.fullmatch(code)
        assert code.split("/")[0] == resource.record.classification.prefix
        assert resource.agency in agencies
        assert resource.record.title_en and resource.record.title_en.isascii()
        assert set(resource.record.related_codes) <= set(city())


def test_every_sharing_type_and_base_library_occurs() -> None:
    sharing = Counter(resource.record.sharing.type for resource in city().values())
    assert all(sharing[kind] >= 5 for kind in SharingType)
    assert {r.record.base_library for r in city().values() if r.record.base_library} == set(BaseLibrary)


def test_items_are_documented_and_no_looser_than_their_resource() -> None:
    strictness = list(SharingType)
    for resource in city().values():
        items = resource.record.items
        assert items and any(item.is_key for item in items), resource.record.title
        assert len({item.code for item in items}) == len({item.name for item in items}) == len(items)
        for item in items:
            assert ITEM_CODE.fullmatch(item.code or "")
            assert item.name_en and item.name_en.isascii()
            assert item.length or item.data_type is DataType.GENERAL
            assert item.sharing_type and resource.record.sharing.type
            assert strictness.index(item.sharing_type) >= strictness.index(resource.record.sharing.type)


def test_no_two_resources_are_clones() -> None:
    # Only the planted copy of part of a resource repeats the item codes of another.
    lists = [frozenset(item_codes(code)) for code in city()]
    assert len(set(lists)) == len(lists)


def test_planted_duplicates_point_at_what_exists() -> None:
    planned = {plan.id: {item.code for item in plan.items} for plan in sample_city.plans()}
    planted = sample_city.planted_duplicates()
    assert len({case.id for case in planted}) == len(planted)
    for case in planted:
        if case.level == "plan_item":
            assert case.left_item in planned[case.left]
        else:
            assert (
                case.left in city()
                and case.right in city()
                and (case.left, case.left_item)
                != (
                    case.right,
                    case.right_item,
                )
            )
        if case.level == "item":
            assert case.left_item in item_codes(case.left)
        if case.right is None:
            assert case.level == "plan_item" and case.verdict == "distinct"
        elif case.level != "resource":
            assert case.right_item in item_codes(case.right)
        else:
            assert case.left_item is case.right_item is None


def test_every_kind_of_duplicate_and_of_sibling_is_planted() -> None:
    kinds = Counter((case.kind, case.verdict) for case in sample_city.planted_duplicates())
    for kind in ("renamed_resource", "subset_resource", "synonym", "abbreviation", "exact"):
        assert kinds[kind, "duplicate"]
    assert kinds["sibling", "distinct"] >= 20
    assert kinds["other_population", "review"]


def test_one_plan_repeats_the_catalog_and_the_other_is_mostly_new() -> None:
    verdicts: dict[str, Counter[str]] = defaultdict(Counter)
    for case in sample_city.planted_duplicates():
        if case.level == "plan_item":
            verdicts[case.left][case.verdict] += 1
    repeating, new = sample_city.plans()
    agencies = {agency.credit_code for agency in sample_city.agencies()}
    assert {repeating.agency, new.agency} <= agencies
    for plan in (repeating, new):
        assert verdicts[plan.id].total() == len(plan.items)
        assert plan.period_from < plan.period_to
    assert verdicts[repeating.id]["duplicate"] * 2 > len(repeating.items)
    assert verdicts[new.id]["distinct"] * 10 > len(new.items) * 9
