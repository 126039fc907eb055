"""Time and identifiers: the one place that asks the machine what time it is.

Datetimes are aware and UTC; a test or a simulation sets the clock with `frozen`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from uuid import UUID

_frozen_at: datetime | None = None


def now() -> datetime:
    """The current moment, aware, in UTC."""
    return _frozen_at or datetime.now(UTC)


@contextmanager
def frozen(moment: datetime) -> Iterator[None]:
    """Let the whole process see `moment` as now, for tests and simulations."""
    global _frozen_at
    if moment.tzinfo is None:
        raise ValueError("a frozen clock needs an aware datetime")
    before, _frozen_at = _frozen_at, moment.astimezone(UTC)
    try:
        yield
    finally:
        _frozen_at = before


def new_id() -> UUID:
    """A UUID of version 7 (RFC 9562 §5.7): sorts by creation time, so that indexes grow at one end.

    Made here because PostgreSQL 15 to 17 have no `uuidv7()`.
    """
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    value = (milliseconds & (1 << 48) - 1) << 80
    value |= 0x7 << 76 | (random >> 64 & 0xFFF) << 64
    value |= 0b10 << 62 | random & (1 << 62) - 1
    return UUID(int=value)
