"""Tries providers' sources when the centre asks (测试调用): a few records are fetched, counted, and thrown away.

Owns what is told of them: how many, and which items they carry. No value leaves the gateway.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

import msgspec

from app.kernel.errors import Problem
from app.kernel.text import Text
from exchange.compiler import CompiledTerms
from exchange.delivery.pages import ProviderTooSlow
from exchange.delivery.protocol import SourceTest, SourceTested
from exchange.delivery.quota import CentreUnreachable
from exchange.delivery.sources import Providers
from exchange.terms import ItemTerm

log = logging.getLogger(__name__)

RECORDS = 5  # that are looked at
WITHIN_S = 60.0
TOLD_TIMES, TOLD_EVERY_S = 5, 3.0


class Tester:
    """The tests of one gateway; `tell` brings the answer to the centre."""

    def __init__(self, providers: Providers, tell: Callable[[SourceTested], Awaitable[None]]) -> None:
        self._providers = providers
        self._tell = tell
        self._running: dict[str, asyncio.Task[None]] = {}

    def hear(self, tests: list[SourceTest]) -> None:
        """Begin the tests that are asked for and not under way."""
        for test in tests:
            if test.id not in self._running:
                task = asyncio.create_task(self._run(test), name=f"test {test.id}")
                self._running[test.id] = task
                task.add_done_callback(lambda _, id=test.id: self._running.pop(id, None))  # type: ignore[misc]

    async def _run(self, test: SourceTest) -> None:
        told = await self.examine(test)
        for _ in range(TOLD_TIMES):
            try:
                await self._tell(told)
                return
            except CentreUnreachable:
                await asyncio.sleep(TOLD_EVERY_S)
        log.warning("test %s could not be told", test.id)

    async def examine(self, test: SourceTest) -> SourceTested:
        """Try one source. Never raises for what the source does."""
        started = time.monotonic()
        records, carried = 0, set[str]()
        problem: Problem | None = None
        try:
            terms = CompiledTerms(tuple(ItemTerm(code=code) for code in test.items), None, b"")
            async with asyncio.timeout(WITHIN_S):
                fetch = self._providers.provider_of(test.source).prepare(terms)
                async for page in fetch(RECORDS, 0):
                    for line in page.lines():
                        records += 1
                        carried |= msgspec.json.decode(line, type=dict[str, msgspec.Raw]).keys()
                    if page.is_last or records >= RECORDS:
                        break
        except TimeoutError:
            problem = ProviderTooSlow()
        except Problem as error:
            problem = error
        why = _said(problem) if problem is not None else Text("", "")
        return SourceTested(
            id=test.id, records=records, missing=[code for code in test.items if code not in carried] if records else [],
            carried=[code for code in test.items if code in carried], duration_ms=(time.monotonic() - started) * 1000,
            problem=None if problem is None else problem.slug, zh=why.zh, en=why.en,
        )  # fmt: skip


def _said(problem: Problem) -> Text:
    """The problem's title with what it says besides."""
    if problem.detail == problem.title:
        return problem.title
    return Text(f"{problem.title.zh}：{problem.detail.zh}", f"{problem.title.en}: {problem.detail.en}")
