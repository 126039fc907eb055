"""A day's quota over several gateways: never more than agreed, whatever is asked, given back, late or lost."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.kernel.actor import Role, Scope
from exchange.delivery.journal import open_journal
from exchange.delivery.protocol import Call, HttpSource, Lease, LeaseWanted, Outcome
from exchange.delivery.quota import CentreUnreachable, Leases, QuotaNotLeased
from tests.delivery.agreed import QUOTA, RECORDS, RESOURCE, agreed
from tests.delivery.systems import HTTP_SOURCE, Calls, System, resource_of, state_of, system
from tests.delivery.world import paged, running_world
from tests.exchange.world import START, World

DAY = str(START.date())


def lease(
    gateway: System,
    agreement: dict[str, Any],
    sequence: int,
    *,
    held: int = 0,
    more: int = 0,
    expect: int = 200,
) -> Any:
    """Rows and calls alike, so that one number says both."""
    wanted = LeaseWanted(
        agreement_id=agreement["id"], day=DAY, sequence=sequence, held_calls=held, held_rows=held, calls=more,
        rows=more,
    )  # fmt: skip
    answer = gateway.call("POST", "/gateway/leases", msgspec.to_builtins(wanted), expect=expect)
    return msgspec.convert(answer, Lease) if expect == 200 else answer


def test_an_agreement_is_shared_once_two_gateways_are_approved(
    world: World, agreement: dict[str, Any]
) -> None:
    path = f"/resources/{resource_of(agreement)}/source"
    world.call("PUT", path, "civil", Role.CLERK, body=HTTP_SOURCE)
    central = system(world, "city_authority", Scope.GATEWAY)
    assert [entry.shared for entry in state_of(central).agreements] == [False]
    version = state_of(central).version
    system(world, "civil", Scope.GATEWAY)
    told = state_of(central)
    assert [entry.shared for entry in told.agreements] == [True]
    assert told.version != version


def test_two_gateways_never_hold_more_than_is_agreed(world: World, agreement: dict[str, Any]) -> None:
    quota = agreement["terms"]["quota"]["calls_per_day"]
    first = system(world, "city_authority", Scope.GATEWAY)
    second = system(world, "civil", Scope.GATEWAY)
    part = lease(first, agreement, 1, more=1)
    assert part.calls == quota // 4, "half of an equal share"
    rest = lease(second, agreement, 1, more=quota)
    assert rest.calls == quota - part.calls, "what is wanted, of what nobody holds"
    assert lease(first, agreement, 2, held=part.calls, more=1).calls == part.calls, "nothing is left"
    lease(second, agreement, 2, held=10, more=0)
    assert lease(first, agreement, 3, held=part.calls, more=quota).calls == quota - 10
    lease(second, agreement, 2, held=0, more=0, expect=409)  # arrives late
    assert lease(second, agreement, 3, held=10, more=5).calls == 10


def test_what_another_gateway_has_reported_counts_as_held(world: World, agreement: dict[str, Any]) -> None:
    quota = agreement["terms"]["quota"]
    calls = Calls(world, agreement)
    calls.ship(*(calls.receipt(rows=7, day=DAY) for _ in range(3)))
    second = system(world, "civil", Scope.GATEWAY)
    leased = lease(second, agreement, 1, more=10**6)
    assert (leased.calls, leased.rows) == (quota["calls_per_day"] - 3, min(10**6, quota["rows_per_day"] - 21))


@pytest.mark.parametrize("agency", ["market", "health"])
def test_a_gateway_that_does_not_serve_the_agreement_leases_nothing(
    world: World, agreement: dict[str, Any], agency: str
) -> None:
    lease(system(world, agency, Scope.GATEWAY), agreement, 1, more=1, expect=404)


def test_nobody_leases_for_another_day_or_less_than_nothing(world: World, agreement: dict[str, Any]) -> None:
    gateway = system(world, "civil", Scope.GATEWAY)
    wanted = {"agreement_id": agreement["id"], "sequence": 1, "held_calls": 0, "held_rows": 0, "calls": 1}
    for body in ({"day": "2026-01-01", "rows": 1}, {"day": DAY, "rows": -1}):
        problem = gateway.call("POST", "/gateway/leases", wanted | body, expect=422)
        assert problem["errors"][0]["rule"]


def _call(id: int, agreement: str, rows: int) -> Call:
    return Call(
        id=str(id), at="2026-09-18T01:00:00+00:00", day=DAY, agreement_id=agreement, agreement_hash="h", resource_id="r",
        client_id="c", agency_id="a", grant_id="g", purpose="p", method="api", items=(), rows_reserved=rows,
    )  # fmt: skip


class _Centre:
    """Grants as the real one does: what is held, and more of what nobody else holds. Loses messages both ways."""

    def __init__(self, rng: random.Random, quota: int) -> None:
        self.rng = rng
        self.quota = quota
        self.held: dict[str, tuple[int, int, int]] = {}  # sequence, calls, rows by gateway

    def ask(self, gateway: str) -> Any:
        async def answer(wanted: LeaseWanted) -> Lease:
            await asyncio.sleep(0)
            lost = self.rng.random()
            if lost < 0.15:
                raise CentreUnreachable
            if wanted.sequence <= self.held.get(gateway, (0, 0, 0))[0]:
                raise CentreUnreachable
            others = [kept for name, kept in self.held.items() if name != gateway]
            free_calls = self.quota - sum(kept[1] for kept in others) - wanted.held_calls
            free_rows = self.quota - sum(kept[2] for kept in others) - wanted.held_rows
            calls = wanted.held_calls + max(0, min(free_calls, wanted.calls * 3))
            rows = wanted.held_rows + max(0, min(free_rows, wanted.rows * 3))
            self.held[gateway] = (wanted.sequence, calls, rows)
            await asyncio.sleep(0)
            if lost > 0.85:
                raise CentreUnreachable  # taken, and the answer lost
            return Lease(calls=calls, rows=rows, concurrent=None)

        return answer


@pytest.mark.parametrize("seed", range(20))
def test_random_calls_at_three_gateways_stay_within_the_quota(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is lost on the way: what three gateways let through together is within the quota, all the time."""
    monkeypatch.setattr("exchange.delivery.quota.ASKED_AGAIN_AFTER_S", 0.0)
    rng, quota = random.Random(seed), 60

    async def play() -> tuple[int, int]:
        centre = _Centre(rng, quota)
        journals = [await open_journal(tmp_path / str(n)) for n in range(3)]
        held = [Leases(journal, centre.ask(str(n))) for n, journal in enumerate(journals)]
        delivered = 0

        async def call(number: int) -> None:
            nonlocal delivered
            at = rng.randrange(3)
            rows = rng.randrange(1, 4)
            try:
                within = await held[at].cover("a", DAY, rows)
            except QuotaNotLeased:
                return
            used = journals[at].used("a", DAY)
            if used.calls >= within.calls or used.rows + rows > within.rows:
                return
            await journals[at].begin(_call(number, "a", rows))
            await journals[at].complete(str(number), Outcome(result="delivered", status=200, rows=rows))
            delivered += 1

        for turn in range(40):
            await asyncio.gather(*(call(turn * 10 + n) for n in range(rng.randrange(1, 6))))
            if rng.random() < 0.4:
                with suppress(CentreUnreachable):
                    await held[rng.randrange(3)].give_back(DAY)
            together = [journal.used("a", DAY) for journal in journals]
            assert sum(used.calls for used in together) <= quota
            assert sum(used.rows for used in together) <= quota
        for journal in journals:
            journal.close()
        return delivered, sum(used.rows for used in together)

    delivered, rows = asyncio.run(play())
    assert delivered > 5 and rows > quota // 2


def test_a_shared_quota_is_leased_call_by_call_and_served_without_the_centre_while_it_lasts(
    tmp_path: Path,
) -> None:
    with running_world(tmp_path) as world:
        url = world.provider.serves("/companies", paged(RECORDS))
        source = HttpSource(url=url, records_path="data")
        quota = QUOTA.model_copy(update={"calls_per_day": 3, "rows_per_day": 100, "rows_per_call": 20})
        agreement = world.centre.agree(agreed(quota=quota), {str(RESOURCE): source}, shared=True)
        token = world.centre.grant(agreement)

        def status() -> int:
            return world.gateway.get(agreement, RESOURCE, token).status_code

        assert [status(), status()] == [200, 200]
        assert [(w.held_calls, w.calls) for w in world.centre.leases] == [(0, 1), (1, 1)]
        world.centre.is_silent = True
        refused = world.gateway.get(agreement, RESOURCE, token)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "20"), "its part is used up"
        world.centre.is_silent = False
