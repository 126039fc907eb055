"""Word of changes: tells connected gateways at once that something they enforce has changed, not what.

One connection of the process listens to PostgreSQL (triggers notify on commit); a gateway then asks for its state
as it does every second anyway, so that a lost word costs a second and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import suppress

import psycopg

log = logging.getLogger(__name__)

CHANNEL = "gateway_state"
STREAM_S = 20.0  # then the gateway connects anew: shorter than a process may take to stop
EVENT = b"event: changed\ndata:\n\n"


class Changes:
    """The listeners of one process. Belongs to one event loop."""

    def __init__(self, database_url: str, stream_s: float = STREAM_S) -> None:
        self._url = database_url
        self._stream_s = stream_s
        self._following: set[asyncio.Event] = set()
        self._listener: asyncio.Task[None] | None = None

    async def follow(self) -> AsyncGenerator[bytes]:
        """Server-sent events: one at once, one for each change, until the stream has lasted long enough."""
        changed = asyncio.Event()
        self._following.add(changed)
        if self._listener is None or self._listener.done():
            self._listener = asyncio.create_task(self._listen(), name="changes")
        listener = self._listener
        try:
            yield EVENT
            with suppress(TimeoutError):
                async with asyncio.timeout(self._stream_s):
                    while not listener.done():
                        await changed.wait()
                        changed.clear()
                        yield EVENT
        finally:
            self._following.discard(changed)

    async def _listen(self) -> None:
        """Pass words on while anybody follows."""
        try:
            async with await psycopg.AsyncConnection.connect(
                self._url, autocommit=True, application_name="zhengtong changes"
            ) as connection:
                await connection.execute(f"LISTEN {CHANNEL}".encode())
                self._tell()  # what changed before this connection listened
                while self._following:
                    async for _ in connection.notifies(timeout=1.0, stop_after=1):
                        self._tell()
        except psycopg.Error as error:  # the gateways' own polling goes on
            log.warning("changes: %s", type(error).__name__)
        finally:
            self._tell()

    def _tell(self) -> None:
        for changed in self._following:
            changed.set()
