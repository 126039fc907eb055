"""Corrections: an error reported, verified in time, corrected or not, and who is told of it."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.kernel import clock, deadlines
from app.kernel.actor import Role
from app.worker import consequences
from tests.exchange.world import Json, World, to

CLERK, APPROVER, MEDIATOR = Role.CLERK, Role.APPROVER, Role.MEDIATOR
CITY = "city_authority"
WHY = {"reason": "经与原始档案核对"}
DUE = datetime.fromisoformat("2026-10-10T00:00:00+08:00")  # ten working days, over the National Day week


def resource_of(agreement: Json) -> str:
    return str(agreement["terms"]["resources"][0]["resource_id"])


def reported(
    world: World, agreement: Json, *, agency: str = "health", expect: int = 201, **changes: Any
) -> Any:
    body = {
        "agreement_id": agreement["id"], "resource_id": resource_of(agreement), "items": ["registered_on"],
        "records": "2026年8月登记的三笔", "error": "登记日期晚于发证日期", **changes,
    }  # fmt: skip
    return world.call("POST", "/corrections", agency, CLERK, body=body, expect=expect)


def act(world: World, case: Json, name: str, agency: str, role: Role, **how: Any) -> Any:
    path = f"/corrections/{case['id']}/{name}"
    return world.call("POST", path, agency, role, body=WHY, version=case["version"], **how)


def pass_time(world: World, moment: datetime) -> int:
    with clock.frozen(moment):
        fired = deadlines.sweep(world.session, consequences())
    world.session.flush()
    world.session.expire_all()
    return fired


def test_an_error_is_reported_and_corrected(world: World) -> None:
    case = reported(world, world.agreed())
    assert (case["state"], case["allowed"]) == ("UNDER_VERIFICATION", ["withdraw"])
    assert [(d["duty"], d["legal_basis"]) for d in case["deadlines"]] == [("correction.answer", "809-26")]
    waiting = world.call("GET", "/corrections?waiting=true", "civil", APPROVER)
    assert [row["id"] for row in waiting["items"]] == [case["id"]]
    assert world.call("GET", "/corrections?waiting=true", "health", APPROVER)["items"] == []
    act(world, case, "correct", "civil", CLERK, expect=403)
    done = act(world, case, "correct", "civil", APPROVER)
    assert (done["state"], done["answer"], done["deadlines"]) == ("CORRECTED", WHY["reason"], [])
    act(world, done, "reject", "civil", APPROVER, expect=409)


def test_other_users_are_told_which_items_and_not_which_records(world: World) -> None:
    agreement = world.agreed()
    resource = UUID(resource_of(agreement))
    other = world.filed(resource, requester="market")
    done = world.act(other, "agree", "civil", APPROVER, to(other["terms"]))
    case = reported(world, agreement)
    act(world, case, "correct", "civil", APPROVER)
    events = world.call("GET", f"/agreements/{done['agreement_id']}/events", "market", CLERK)
    told = events[-1]
    assert (told["act"], told["act_name"]["en"]) == ("data_corrected", "the provider corrected its data")
    assert told["data"] == {"resource": str(resource), "items": ["registered_on"]}
    world.call("GET", f"/corrections/{case['id']}", "market", CLERK, expect=404)
    assert "data_corrected" not in world.events("agreement", agreement["id"])


def test_a_rejection_may_go_to_the_authority(world: World) -> None:
    case = act(world, reported(world, world.agreed()), "reject", "civil", APPROVER)
    case = act(world, case, "escalate", "health", APPROVER)
    waiting = world.call("GET", "/corrections?waiting=true", CITY, MEDIATOR)
    assert [row["id"] for row in waiting["items"]] == [case["id"]]
    ordered = act(world, case, "order", CITY, MEDIATOR)
    assert (ordered["state"], len(ordered["deadlines"])) == ("UNDER_VERIFICATION", 1)
    again = act(world, act(world, ordered, "reject", "civil", APPROVER), "escalate", "health", APPROVER)
    assert act(world, again, "dismiss", CITY, MEDIATOR)["state"] == "DISMISSED"


def test_silence_opens_the_way_to_the_authority_once_it_is_overdue(world: World) -> None:
    case = reported(world, world.agreed())
    act(world, case, "escalate", "health", APPROVER, expect=409)
    before = world.clocks(case["id"])["correction.answer"].due_at
    assert before == DUE
    pass_time(world, DUE)
    late = world.read("corrections", case["id"], "health")
    assert late["overdue"]
    assert late["allowed"] == ["escalate"]
    assert act(world, late, "escalate", "health", APPROVER)["state"] == "BEFORE_AUTHORITY"


def test_what_may_be_reported_and_by_whom(world: World) -> None:
    agreement = world.agreed()
    reported(world, agreement, agency="market", expect=404)
    reported(world, agreement, agency="civil", expect=403)
    reported(world, agreement, items=["amount"], expect=422)
    reported(world, agreement, resource_id=str(world.publish()), expect=422)
    reported(world, agreement, items=[], expect=422)
    case = reported(world, agreement)
    assert act(world, case, "withdraw", "health", CLERK)["state"] == "WITHDRAWN"


def test_the_database_keeps_what_was_reported(world: World) -> None:
    reported(world, world.agreed())
    for change in ("UPDATE correction SET error = 'x'", "DELETE FROM correction"):
        with pytest.raises(DBAPIError, match="never changed"), world.session.begin_nested():
            world.session.execute(text(change))
    with pytest.raises(DBAPIError), world.session.begin_nested():
        world.session.execute(text("UPDATE correction SET state = 'DISMISSED'"))
