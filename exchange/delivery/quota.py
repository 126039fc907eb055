"""What one gateway may let through today: the agreed quota, or its leased part where others serve it too.

Owns the leases in hand. Asks the centre only when a lease runs short; without the centre what is in hand is served.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from app.kernel.errors import Unavailable
from app.kernel.text import Text
from exchange.delivery.journal import Journal
from exchange.delivery.protocol import Lease, LeaseWanted

ASKED_AGAIN_AFTER_S = 1.0  # where there was not enough


class CentreUnreachable(Exception):
    """The centre gave no lease."""


class QuotaNotLeased(Unavailable):
    """Several gateways serve the agreement, and this one holds no part of today's quota and cannot get one."""

    slug = "quota-not-leased"
    title = Text("暂时无法取得今日用量份额", "No part of today's quota can be had just now")


@dataclass(frozen=True, slots=True)
class Bounds:
    """The most that may be used of a day, and at the same moment."""

    calls: int
    rows: int
    concurrent: int | None = None


_Key = tuple[str, str]  # agreement, day


class Leases:
    """The leases of one gateway. `ask` takes one message to the centre or raises CentreUnreachable. Belongs to one
    event loop."""

    def __init__(self, journal: Journal, ask: Callable[[LeaseWanted], Awaitable[Lease]]) -> None:
        self._journal = journal
        self._ask = ask
        self._held: dict[_Key, Bounds] = {}
        self._short_until: dict[_Key, float] = {}
        self._called: set[_Key] = set()  # since leases were last given back
        self._locks: defaultdict[_Key, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._sequence = 0

    async def cover(self, agreement_id: str, day: str, rows: int) -> Bounds:
        """What is held, after asking for more where one call of so many rows needs it. Errors: QuotaNotLeased."""
        key = agreement_id, day
        self._called.add(key)
        if self._suffices(key, rows):
            return self._held[key]
        async with self._locks[key]:
            if not self._suffices(key, rows):
                used = self._journal.used(agreement_id, day)
                held = self._held.get(key) or Bounds(used.calls, used.rows)
                try:
                    self._held[key] = await self._exchange(key, held, calls=1, rows=rows)
                except CentreUnreachable:
                    if key not in self._held:
                        raise QuotaNotLeased(headers={"Retry-After": "2"}) from None
                if not self._suffices(key, rows):
                    self._short_until[key] = time.monotonic() + ASKED_AGAIN_AFTER_S
            return self._held[key]

    async def give_back(self, today: str) -> None:
        """Let the others have what is held of agreements that nobody has called since the last time."""
        idle = self._held.keys() - self._called
        self._called.clear()
        for key in idle:
            async with self._locks[key]:
                used = self._journal.used(*key)
                held = self._held[key]
                if key[1] < today:
                    for known in (self._held, self._short_until):
                        known.pop(key, None)
                elif (held.calls, held.rows) != (used.calls, used.rows) and key not in self._called:
                    # First here, then there: what the centre believes is never less than what is held.
                    lowered = Bounds(used.calls, used.rows, held.concurrent)
                    self._held[key] = lowered
                    await self._exchange(key, lowered, calls=0, rows=0)

    def _suffices(self, key: _Key, rows: int) -> bool:
        held = self._held.get(key)
        if held is None:
            return False
        used = self._journal.used(*key)
        enough = used.calls < held.calls and used.rows + rows <= held.rows
        return enough or time.monotonic() < self._short_until.get(key, 0.0)

    async def _exchange(self, key: _Key, held: Bounds, *, calls: int, rows: int) -> Bounds:
        self._sequence = max(self._sequence + 1, time.time_ns())
        answer = await self._ask(
            LeaseWanted(
                agreement_id=key[0], day=key[1], sequence=self._sequence, held_calls=held.calls,
                held_rows=held.rows, calls=calls, rows=rows,
            )
        )  # fmt: skip
        return Bounds(answer.calls, answer.rows, answer.concurrent)
