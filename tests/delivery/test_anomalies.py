"""What is unusual in the use of an agreement, and that both sides learn of it once a day."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.kernel import clock
from app.kernel.actor import Role
from app.kernel.clock import now
from exchange.delivery.anomalies import Pattern, mark_anomalies, marks_of
from tests.delivery.systems import Calls
from tests.exchange.world import World

HOUR = datetime(2026, 9, 18, 1, tzinfo=UTC)
USUAL = Pattern(HOUR - timedelta(days=1), HOUR, 900, 800.0, 20, 0, 0)


@pytest.mark.parametrize(
    ("changed", "marks"),
    [
        ({}, []),
        ({"last_before": None}, []),
        ({"last_before": HOUR - timedelta(days=60)}, []),
        ({"last_before": HOUR - timedelta(days=61)}, ["dormant_use"]),
        ({"rows_today": 8000}, []),
        ({"rows_today": 8001}, ["sudden_bulk"]),
        ({"rows_today": 8001, "days_of_use": 2}, []),
        ({"rows_today": 1000, "rows_a_day": 1.0}, []),
        ({"rows_today": 1001, "rows_a_day": 1.0}, ["sudden_bulk"]),
        ({"refused": 19, "full": 49}, []),
        ({"refused": 20, "full": 50}, ["probing", "scanning"]),
    ],
)
def test_what_is_unusual(changed: dict[str, Any], marks: list[str]) -> None:
    assert marks_of(replace(USUAL, **changed)) == marks


def test_both_sides_are_told_once_a_day(world: World, calls: Calls, agreement: dict[str, Any]) -> None:
    at = now().isoformat()
    calls.ship(*(calls.receipt("refused", rows=0, at=at) for _ in range(20)))
    assert mark_anomalies(world.session) == 1
    assert mark_anomalies(world.session) == 0
    for side in ("civil", "health"):
        events = world.call("GET", f"/agreements/{agreement['id']}/events", side, Role.APPROVER)
        assert [event["data"]["refused"] for event in events if event["act"] == "probing"] == [20]
    with clock.frozen(now() + timedelta(hours=2)):
        assert mark_anomalies(world.session) == 0  # nothing was used within the hour
