"""What every provider gives, whatever it is: pages of records that may leave, or a reason why not."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from app.kernel.errors import Problem, Unavailable
from app.kernel.text import Text
from exchange.compiler import JsonProjection


class ProviderFailed(Problem):
    """The provider's system refused, answered with something else than records, or broke off."""

    status, slug = 502, "provider-failed"
    title = Text("提供方系统返回异常", "The provider's system failed")


class ProviderTooSlow(Problem):
    status, slug = 504, "provider-too-slow"
    title = Text("提供方系统响应超时", "The provider's system did not answer in time")


class ProviderPaused(Unavailable):
    """Failing again and again, or with more calls waiting than it can serve: it is left alone for a moment."""

    slug = "provider-paused"
    title = Text("提供方系统暂不可用，请稍后再试", "The provider's system is unavailable for a moment")


class ChangesNotTold(ProviderFailed):
    """Only a PostgreSQL table tells without a gap what has changed; anything else is delivered whole each time."""

    slug = "changes-not-told"
    title = Text("该数据源无法给出增量", "This source cannot tell what has changed")


class Page(Protocol):
    """Records that may leave; `is_last` when nothing follows."""

    @property
    def is_last(self) -> bool: ...

    def __len__(self) -> int: ...

    def lines(self) -> list[bytes]:
        """Each record as one line of JSON."""
        ...

    def joined(self) -> bytes:
        """The records as JSON with commas between them."""
        ...


@dataclass(frozen=True, slots=True)
class Lines:
    """A page of records that are written already, each as one line of JSON."""

    records: list[bytes]
    is_last: bool

    def __len__(self) -> int:
        return len(self.records)

    def lines(self) -> list[bytes]:
        return self.records

    def joined(self) -> bytes:
        return b",".join(self.records)


@dataclass(frozen=True, slots=True)
class Projected:
    """A page of records as a projection has read and masked them."""

    projection: JsonProjection
    records: list[Any]
    is_last: bool

    def __len__(self) -> int:
        return len(self.records)

    def lines(self) -> list[bytes]:
        return self.projection.lines(self.records)

    def joined(self) -> bytes:
        return self.projection.joined(self.records)


Fetch = Callable[[int, int], AsyncGenerator[Page]]
