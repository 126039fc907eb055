"""How often somebody may call: a bucket for each system and person, each agency, and each address of strangers.

Owns the counting, in memory of one process. Quotas of agreements are the gateway's.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

from app.kernel.clock import now
from app.kernel.errors import TooMany
from app.kernel.text import Text

REMEMBERED = 50_000  # buckets; the one not used for longest is forgotten first


@dataclass(frozen=True, slots=True)
class Rate:
    """`burst` calls at once, then `per_minute`."""

    burst: int
    per_minute: int


@dataclass(frozen=True, slots=True)
class Rates:
    """What a deployment allows. An agency's is for all of its people and systems together."""

    actor: Rate = Rate(2000, 12_000)
    agency: Rate = Rate(10_000, 60_000)
    address: Rate = Rate(2000, 12_000)  # of whoever is not signed in
    proving: Rate = Rate(300, 600)  # sign-ins and token requests from one address


@dataclass
class Limiter:
    """Buckets that fill with time. `clock` gives seconds."""

    clock: Callable[[], float] = lambda: now().timestamp()
    _buckets: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)  # (calls left, when)
    _lock: Lock = field(default_factory=Lock)

    def take(self, key: str, rate: Rate) -> None:
        """Count one call. Errors: TooMany, saying when the next may come."""
        with self._lock:
            moment = self.clock()
            left, since = self._buckets.pop(key, (float(rate.burst), moment))
            left = min(rate.burst, left + max(0.0, moment - since) * rate.per_minute / 60)
            self._buckets[key] = (left - 1 if left >= 1 else left, moment)
            if len(self._buckets) > REMEMBERED:
                self._buckets.popitem(last=False)
        if left < 1:
            wait = math.ceil((1 - left) * 60 / rate.per_minute)
            message = Text("请在 {n} 秒后再试。", "Try again in {n} seconds.").with_(n=wait)
            raise TooMany(message, headers={"Retry-After": str(wait)})
