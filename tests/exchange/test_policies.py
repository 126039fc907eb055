"""Policies that a provider sets beforehand: what they cover agrees at once, everything else waits for a person."""

from __future__ import annotations

from uuid import uuid4

import pytest

from app.kernel.actor import Role
from exchange.policies.rule import PolicyRule, covers
from exchange.terms import Terms
from tests.exchange.world import Json, World, slug, terms

CLERK, APPROVER = Role.CLERK, Role.APPROVER
RESOURCE, HEALTH = uuid4(), uuid4()
RULE: Json = {
    "title": "卫生健康单位", "requesters": [str(HEALTH)], "scope": None, "business_matters": ["生育服务登记"],
    "items": [{"code": "name"}, {"code": "id_number", "mask": {"kind": "last_n", "keep": 4}}],
    "methods": ["api"], "longest_days": 365, "longest_retention_days": 30,
    "quota": {"calls_per_day": 1000, "rows_per_day": 10000, "rows_per_call": 100},
}  # fmt: skip
QUOTA: Json = RULE["quota"]


@pytest.mark.parametrize(
    ("asked", "covered"),
    [
        ({}, True),
        ({"items": [{"code": "id_number", "mask": {"kind": "last_n", "keep": 4}}]}, True),
        ({"items": [{"code": "id_number", "mask": {"kind": "full"}}]}, True),
        ({"items": [{"code": "name", "mask": {"kind": "hash"}}]}, True),
        ({"items": [{"code": "id_number"}]}, False),
        ({"items": [{"code": "id_number", "mask": {"kind": "last_n", "keep": 5}}]}, False),
        ({"items": [{"code": "name"}, {"code": "amount"}]}, False),
        ({"items": [{"code": "name", "filter_on_masked": True}]}, False),
        ({"method": "bulk"}, False),
        ({"valid_until": "2027-09-18"}, False),
        ({"retention_days": 31}, False),
        ({"quota": {**QUOTA, "calls_per_day": 1001}}, False),
        ({"quota": {**QUOTA, "rows_per_day": 10001}}, False),
        ({"quota": {**QUOTA, "rows_per_call": 101}}, False),
    ],
)
def test_what_a_rule_covers(asked: Json, covered: bool) -> None:
    wanted = terms(RESOURCE, items=("name",))
    wanted["resources"][0]["items"] = asked.get("items", wanted["resources"][0]["items"])
    changes = {name: value for name, value in asked.items() if name != "items"}
    typed = Terms.model_validate({**wanted, **changes})
    rule = PolicyRule.model_validate(RULE)
    assert covers(rule, HEALTH, typed, typed.resources[0]) is covered
    assert not covers(rule, uuid4(), typed, typed.resources[0])


def test_another_business_matter_is_not_covered() -> None:
    wanted = terms(RESOURCE, items=("name",))
    wanted["purposes"].append({**wanted["purposes"][0], "code": "more", "business_matter": "课题研究"})
    typed = Terms.model_validate(wanted)
    assert not covers(PolicyRule.model_validate(RULE), HEALTH, typed, typed.resources[0])


def test_a_scope_is_kept_to_the_letter() -> None:
    rule = PolicyRule.model_validate({**RULE, "scope": "registered_on >= DATE('2020-01-01')"})
    for scope, covered in ((rule.scope, True), (None, False), ("registered_on >= DATE('2019-01-01')", False)):
        typed = Terms.model_validate(terms(RESOURCE, items=("name",), scope=scope))
        assert covers(rule, HEALTH, typed, typed.resources[0]) is covered


def test_what_a_policy_covers_is_agreed_when_it_is_filed(world: World) -> None:
    resource = world.publish()
    policy = world.policy(resource, world.rule("health"))
    case = world.filed(resource)
    assert (case["state"], case["policy_ids"]) == ("FINALIZED", [policy["id"]])
    agreement = world.read("agreements", case["agreement_id"], "health")
    assert agreement["origin"] == "policy"
    assert world.events("negotiation", case["id"])[:2] == ["file", "agree"]


@pytest.mark.parametrize("why", ["draft", "revoked", "other agency", "more items"])
def test_everything_else_waits_for_a_person(world: World, why: str) -> None:
    resource = world.publish()
    rule = world.rule("market" if why == "other agency" else "health")
    policy = world.policy(resource, rule, adopted=why != "draft")
    if why == "revoked":
        path = f"/policies/{policy['id']}/revoke"
        world.call("POST", path, "civil", APPROVER, version=2, body={"reason": "职责调整"})
    items = ("name", "amount") if why == "more items" else ("name",)
    assert world.filed(resource, items=items)["state"] == "REQUESTED"


def test_who_writes_a_policy_does_not_adopt_it(world: World) -> None:
    resource = world.publish()
    body = {"resource_id": str(resource), "rule": world.rule("health")}
    policy = world.call("POST", "/policies", "civil", CLERK, body=body, expect=201)
    assert policy["allowed"] == ["discard"]
    path = f"/policies/{policy['id']}/adopt"
    world.call("POST", path, "civil", CLERK, version=1, body={}, expect=403)
    world.call("POST", path, "health", APPROVER, version=1, body={}, expect=404)
    assert world.call("POST", path, "civil", APPROVER, version=1, body={})["state"] == "IN_FORCE"


def test_a_policy_is_about_ones_own_resource_and_its_items(world: World) -> None:
    resource = world.publish("market")
    body = {"resource_id": str(resource), "rule": world.rule("health")}
    problem = world.call("POST", "/policies", "civil", CLERK, body=body, expect=422)
    assert [fault["field"] for fault in problem["errors"]] == ["/resource_id"]
    rule = world.rule("health", "civil", items=[{"code": "nothing"}])
    body = {"resource_id": str(world.publish()), "rule": {**rule, "scope": "((("}}
    problem = world.call("POST", "/policies", "civil", CLERK, body=body, expect=422)
    assert [fault["field"] for fault in problem["errors"]] == [
        "/rule/items/0/code", "/rule/requesters/1", "/rule/scope",
    ]  # fmt: skip
    assert slug(problem) == "invalid"
