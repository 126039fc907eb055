"""What every provider gives, whatever it is: pages of records that may leave, or a reason why not."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

from app.kernel.errors import Problem, Unavailable
from app.kernel.text import Text


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


@dataclass(frozen=True, slots=True)
class Page:
    """Records that may leave, each as one line of JSON; `is_last` when nothing follows."""

    records: list[bytes]
    is_last: bool


Fetch = Callable[[int, int], AsyncGenerator[Page]]
