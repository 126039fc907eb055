"""The two ways to do what the flows say: `Exchange` and `AsyncExchange`, over httpx2."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx2
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from exchange.client.extracting import Compression, Extracted, ExtractForm, extract
from exchange.client.flows import Flow, Flows, Form, Grant, Key, Pause, Step, Streamed, Wanted
from exchange.client.gathering import Gathered, Records, part
from exchange.client.pulling import Pulled, pull

TIMEOUT_S = 60.0
BODIES = (httpx2.codes.OK, httpx2.codes.PARTIAL_CONTENT)
T = TypeVar("T")


def load_key(file: Path) -> Key:
    """The private key in a PEM file: Ed25519, P-256 or RSA. Errors: ValueError, OSError."""
    pem = file.read_bytes()
    for kind in (OKPKey, ECKey, RSAKey):
        try:
            return kind.import_key(pem)
        except (JoseError, ValueError, TypeError, AttributeError):
            continue
    raise ValueError(f"{file}: no private key of Ed25519, P-256 or RSA")


class Exchange:
    """One system at one centre. Not for several threads at once.

    `url` is the centre's, `key` the private key registered for `client_id`. Errors of every call: Refused with
    the problem told, Unreachable after several tries.
    """

    def __init__(
        self, url: str, client_id: str, key: Key, *, bound: bool = True, locale: str = "zh-CN", transport: httpx2.BaseTransport | None = None
    ) -> None:  # fmt: skip
        self._flows = Flows(url, client_id, key, bound=bound, locale=locale)
        self._http = httpx2.Client(timeout=TIMEOUT_S, transport=transport, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def grant(self, agreement: str, purpose: str) -> Grant:
        """A grant, held until shortly before it expires."""
        return self._done(self._flows.grant(agreement, purpose))

    def records(self, wanted: Wanted, *, limit: int | None = None) -> Iterator[dict[str, Any]]:
        """The records, fetched page by page; `limit` is the most of one delivery."""
        records = Records(self._flows, wanted, limit)
        while not records.is_over:
            yield from self._done(records.next_page())

    def pull(
        self, wanted: Wanted, to: Path, *, form: Form = "csv", limit: int | None = None, on_page: Callable[[int], None] | None = None
    ) -> Pulled:  # fmt: skip
        """All records in one file, checked against the receipts; see `exchange.client.pulling.pull`."""
        return self._done(pull(self._flows, wanted, to, form=form, limit=limit, on_page=on_page))

    def extract(
        self, wanted: Wanted, to: Path, *, form: ExtractForm = "csv", compression: Compression = "none",
        on_bytes: Callable[[int, int], None] | None = None,
    ) -> Extracted:  # fmt: skip
        """One extract in one file, resumed and checked; see `exchange.client.extracting.extract`."""
        return self._done(
            extract(self._flows, wanted, to, form=form, compression=compression, on_bytes=on_bytes)
        )

    def gather(self, wanted: Mapping[str, Wanted]) -> Gathered:
        """All that is wanted of one subject, under the caller's names, each part under its own agreement. Raises
        nothing for a part that is refused: the part says so."""
        return Gathered({name: self._done(part(self._flows, one)) for name, one in wanted.items()})

    def receipt(self, id: str) -> dict[str, Any]:
        """The receipt of a delivery as the centre holds it."""
        return self._done(self._flows.receipt(id))

    def note_uses(self, agreement: str, uses: Sequence[Mapping[str, str]]) -> list[str]:
        """Note what was used of what was received, up to 200 at once: each names `receipt_id`, `purpose`, `matter`,
        `unit` and `used_at`. All are noted or none; the problem names each line that cannot be. The notes' ids."""
        return self._done(self._flows.note_uses(agreement, uses))

    def _done(self, flow: Flow[T]) -> T:
        try:
            step = next(flow)
            while True:
                try:
                    answer = self._do(step)
                except httpx2.TransportError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(answer)
        except StopIteration as end:
            done: T = end.value
            return done

    def _do(self, step: Step) -> httpx2.Response | None:
        match step:
            case Pause(seconds):
                time.sleep(seconds)
                return None
            case Streamed(request, take):
                answer = self._http.send(request, stream=True)
                try:
                    if answer.status_code in BODIES:
                        for piece in answer.iter_raw():
                            take(piece)
                    else:
                        answer.read()
                finally:
                    answer.close()
                return answer
            case _:
                return self._http.send(step)


class AsyncExchange:
    """`Exchange` for asyncio: the same calls, awaited."""

    def __init__(
        self, url: str, client_id: str, key: Key, *, bound: bool = True, locale: str = "zh-CN", transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:  # fmt: skip
        self._flows = Flows(url, client_id, key, bound=bound, locale=locale)
        self._http = httpx2.AsyncClient(timeout=TIMEOUT_S, transport=transport, trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def grant(self, agreement: str, purpose: str) -> Grant:
        return await self._done(self._flows.grant(agreement, purpose))

    async def records(self, wanted: Wanted, *, limit: int | None = None) -> AsyncIterator[dict[str, Any]]:
        records = Records(self._flows, wanted, limit)
        while not records.is_over:
            for record in await self._done(records.next_page()):
                yield record

    async def pull(
        self, wanted: Wanted, to: Path, *, form: Form = "csv", limit: int | None = None, on_page: Callable[[int], None] | None = None
    ) -> Pulled:  # fmt: skip
        return await self._done(pull(self._flows, wanted, to, form=form, limit=limit, on_page=on_page))

    async def extract(
        self, wanted: Wanted, to: Path, *, form: ExtractForm = "csv", compression: Compression = "none",
        on_bytes: Callable[[int, int], None] | None = None,
    ) -> Extracted:  # fmt: skip
        found = extract(self._flows, wanted, to, form=form, compression=compression, on_bytes=on_bytes)
        return await self._done(found)

    async def gather(self, wanted: Mapping[str, Wanted]) -> Gathered:
        """The same, the parts at the same time."""
        found = await asyncio.gather(*(self._done(part(self._flows, one)) for one in wanted.values()))
        return Gathered(dict(zip(wanted, found, strict=True)))

    async def receipt(self, id: str) -> dict[str, Any]:
        return await self._done(self._flows.receipt(id))

    async def note_uses(self, agreement: str, uses: Sequence[Mapping[str, str]]) -> list[str]:
        return await self._done(self._flows.note_uses(agreement, uses))

    async def _done(self, flow: Flow[T]) -> T:
        try:
            step = next(flow)
            while True:
                try:
                    answer = await self._do(step)
                except httpx2.TransportError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(answer)
        except StopIteration as end:
            done: T = end.value
            return done

    async def _do(self, step: Step) -> httpx2.Response | None:
        match step:
            case Pause(seconds):
                await asyncio.sleep(seconds)
                return None
            case Streamed(request, take):
                answer = await self._http.send(request, stream=True)
                try:
                    if answer.status_code in BODIES:
                        async for piece in answer.aiter_raw():
                            take(piece)
                    else:
                        await answer.aread()
                finally:
                    await answer.aclose()
                return answer
            case _:
                return await self._http.send(step)
