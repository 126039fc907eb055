"""HTTP/1.1 to one provider, on the request path of calls: a request out, one answer read whole, within limits.

Owns the connections kept open, how many there are at once, and the pause after failures (circuit breaker).
Every address is judged before it is connected to. Refuses redirects, compressed answers and what is oversized.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

import httptools

from app.kernel.outbound import AddressRefused, NotReachable, Outbound

CONNECT_TIMEOUT_S = 5.0
CONNECTIONS = 64  # at once to one provider, unless its source says fewer
WAITING = 1000  # calls that may wait for a connection
HEAD_LIMIT_BYTES = (
    64 << 10
)  # status, headers and interim answers; and what frames the body, beside as much as the body
FAILURES_TO_OPEN = 8  # in a row
PAUSE_S = 5.0


class Unanswered(Exception):
    """No whole answer: the connection failed, broke off, or what came was not HTTP or too much."""


class TooSlow(Exception):
    """No whole answer in time."""


class Paused(Exception):
    """The provider has failed too often just now, or too many calls wait for it. Nothing was sent."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(f"{seconds:.1f} s")


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    content_type: str
    body: bytes


class Breaker:
    """Opens after failures in a row; after a pause one call may try, and its success closes it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._until = 0.0

    @property
    def is_open(self) -> bool:
        """Whether calls are turned away."""
        return self._failures >= FAILURES_TO_OPEN

    def require_closed(self) -> None:
        """Errors: Paused."""
        if self._failures < FAILURES_TO_OPEN:
            return
        left = self._until - self._clock()
        if left > 0:
            raise Paused(left)
        self._until = self._clock() + PAUSE_S  # this call tries; the others wait for what it finds

    def succeeded(self) -> None:
        self._failures = 0

    def failed(self) -> None:
        self._failures += 1
        self._until = self._clock() + PAUSE_S


class Upstream:
    """One provider's server: `origin` is scheme, host and port. Belongs to one event loop."""

    def __init__(
        self,
        origin: str,
        *,
        outbound: Outbound,
        tls: ssl.SSLContext | None = None,
        connections: int = CONNECTIONS,
        limit_bytes: int,
    ) -> None:
        parts = urlsplit(origin)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("a provider's address must be http or https")
        self.host = parts.hostname
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._tls = (tls or ssl.create_default_context()) if parts.scheme == "https" else None
        self._named = parts.netloc.rpartition("@")[2]
        self._outbound = outbound
        self._limit_bytes = limit_bytes
        self._free = connections
        self._idle: deque[_Connection] = deque()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.breaker = Breaker()

    async def ask(self, request: bytes, timeout_s: float) -> Reply:
        """The answer to a request written with `written`. Errors: Unanswered, TooSlow, Paused, NotReachable."""
        self.breaker.require_closed()
        until = time.monotonic() + timeout_s
        if self._free <= 0:
            await self._turn(timeout_s)
        self._free -= 1
        try:
            reply = await self._ask(request, until)
        except (Unanswered, TooSlow, NotReachable):
            self.breaker.failed()
            raise
        finally:
            self._free += 1
            while self._waiting:
                if not (waiter := self._waiting.popleft()).done():
                    waiter.set_result(None)
                    break
        if reply.status >= 500:
            self.breaker.failed()
        else:
            self.breaker.succeeded()
        return reply

    def written(self, method: str, target: str, headers: dict[str, str], body: bytes = b"") -> bytes:
        """A request as it goes over the wire."""
        lines = [
            f"{method} {target} HTTP/1.1", f"Host: {self._named}", "User-Agent: zhengtong-gateway",
            "Accept-Encoding: identity", *(f"{name}: {value}" for name, value in headers.items()),
        ]  # fmt: skip
        if body:
            lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + body

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    async def _turn(self, timeout_s: float) -> None:
        """Wait until a connection may be used."""
        if len(self._waiting) >= WAITING:
            raise Paused(1.0)
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                await waiter
        except TimeoutError:
            raise TooSlow from None

    async def _ask(self, request: bytes, until: float) -> Reply:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_open:
                continue
            try:
                return await self._through(connection, request, until)
            except Unanswered:
                if connection.heard:  # else the provider closed what it had kept open: ask anew
                    raise
        return await self._through(await self._connect(until), request, until)

    async def _through(self, connection: _Connection, request: bytes, until: float) -> Reply:
        try:
            reply = await connection.exchange(request, until - time.monotonic())
        except BaseException:
            connection.close()
            raise
        if connection.is_open:
            self._idle.append(connection)
        return reply

    async def _connect(self, until: float) -> _Connection:
        loop = asyncio.get_running_loop()
        failed: Exception = Unanswered("the name has no address")
        try:
            async with asyncio.timeout(min(CONNECT_TIMEOUT_S, until - time.monotonic())):
                for address in await loop.run_in_executor(
                    None, self._outbound.addresses, self.host, self._port
                ):
                    try:
                        _, connection = await loop.create_connection(
                            lambda: _Connection(self._limit_bytes), address, self._port,
                            ssl=self._tls, server_hostname=self.host if self._tls else None,
                        )  # fmt: skip
                        return connection
                    except OSError as error:  # of TLS too
                        failed = Unanswered(type(error).__name__)
        except TimeoutError:
            raise TooSlow from None
        raise failed


class _Connection(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self, limit_bytes: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._limit_bytes = limit_bytes
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[Reply] | None = None
        self.heard = False  # anything of the answer
        self._received = 0  # bytes, whatever they are
        self.is_open = False
        self._reset()

    def _reset(self) -> None:
        self._chunks: list[bytes] = []
        self._size = 0
        self._content_type = b""
        self._is_framed = False
        self._has_headers = False

    async def exchange(self, request: bytes, timeout_s: float) -> Reply:
        assert self._waiter is None and self._transport is not None
        self._waiter = self._loop.create_future()
        self.heard = False
        self._received = 0
        self._reset()
        timer = self._loop.call_later(timeout_s, self._fail, TooSlow())
        try:
            self._transport.write(request)
            return await self._waiter
        finally:
            timer.cancel()
            self._waiter = None

    def close(self) -> None:
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()

    def _fail(self, error: Exception) -> None:
        self.is_open = False
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)

    # ---- asyncio ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not say that it is one
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        if self._waiter is None or self._waiter.done():  # nothing was asked
            self.close()
            return
        self.heard = True
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(Unanswered(type(error).__name__))
        # The parser itself would keep an endless header, and read interim answers and chunk extensions for ever.
        if self._received > HEAD_LIMIT_BYTES + (2 * self._limit_bytes if self._has_headers else 0):
            self._fail(Unanswered(f"over {self._limit_bytes} bytes"))

    def connection_lost(self, error: Exception | None) -> None:
        self.is_open = False
        if error is None and self._has_headers and not self._is_framed:
            self._complete()  # the end of the connection is the end of the body (RFC 9112 §6.3)
        else:
            self._fail(Unanswered("ConnectionClosed"))

    # ---- httptools ----

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"content-type":
            self._content_type = value
        elif name == b"transfer-encoding":
            self._is_framed = True
        elif name == b"content-length":
            self._is_framed = True
            if value.isdigit() and int(value) > self._limit_bytes:
                self._fail(Unanswered(f"over {self._limit_bytes} bytes"))
        elif name == b"content-encoding" and value.lower() != b"identity":
            self._fail(Unanswered("compressed"))

    def on_headers_complete(self) -> None:
        self._has_headers = True

    def on_body(self, body: bytes) -> None:
        self._chunks.append(body)
        self._size += len(body)
        if self._size > self._limit_bytes:
            self._fail(Unanswered(f"over {self._limit_bytes} bytes"))

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() < 200:  # an interim answer; the real one follows
            self._reset()
            return
        if not self._parser.should_keep_alive():
            self.is_open = False
        self._complete()

    def _complete(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            chunks = self._chunks
            body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
            self._waiter.set_result(
                Reply(self._parser.get_status_code(), self._content_type.decode("latin-1"), body)
            )


__all__ = ["AddressRefused", "NotReachable", "Paused", "Reply", "TooSlow", "Unanswered", "Upstream"]
