"""Time and identifiers: the one place that asks the machine what time it is.

Datetimes are aware and UTC; a test or a simulation sets the clock with `frozen`.
"""

from __future__ import annotations

import os
import struct
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from uuid import UUID

_frozen: list[datetime] = []


def now() -> datetime:
    """The current moment, aware, in UTC."""
    return _frozen[-1] if _frozen else datetime.now(UTC)


@contextmanager
def frozen(moment: datetime) -> Iterator[None]:
    """Let the whole process see `moment` as now, for tests and simulations."""
    if moment.tzinfo is None:
        raise ValueError("a frozen clock needs an aware datetime")
    _frozen.append(moment.astimezone(UTC))
    try:
        yield
    finally:
        _frozen.pop()


def new_id() -> UUID:
    """A UUID of version 7 (RFC 9562 §5.7, §6.2 method 3): sorts by creation time, to a quarter of a
    microsecond, so that indexes grow at one end and what one command wrote stays in its order.

    Made here because PostgreSQL 15 to 17 have no `uuidv7()`.
    """
    milliseconds, nanoseconds = divmod(time.time_ns(), 1_000_000)
    value = (milliseconds & (1 << 48) - 1) << 80
    value |= 0x7 << 76 | (nanoseconds << 12) // 1_000_000 << 64
    return UUID(int=value | 0b10 << 62 | _random_62())


_POOLED = 128
_pool: deque[int] = deque()
os.register_at_fork(after_in_child=_pool.clear)  # else both processes would make the same ids


def _random_62() -> int:
    """62 bits from the machine's generator, which is asked for many at once: asking costs more than all the rest."""
    try:
        return _pool.popleft()
    except IndexError:
        numbers = struct.unpack(f"{_POOLED}Q", os.urandom(8 * _POOLED))
        _pool.extend(number >> 2 for number in numbers)
        return _random_62()
