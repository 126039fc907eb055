"""The gateway's control channel to the centre: keys and state in, receipts out.

Owns the gateway's own credential. Never on the path of a call: a call sees only what was last received.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import httpx2
import msgspec
from joserfc import jwt
from joserfc.jwk import OKPKey

from app.kernel.clock import now
from exchange.delivery.journal import Journal, JournalUnavailable
from exchange.delivery.protocol import (
    CHANGES_PATH,
    HEALTH_PATH,
    LEASES_PATH,
    PUSHES_PATH,
    RECEIPTS_PATH,
    RECEIPTS_PER_BATCH,
    STATE_PATH,
    TESTED_PATH,
    Acknowledgement,
    GatewayHealth,
    GatewayState,
    Lease,
    LeaseWanted,
    PushLeases,
    PushPlace,
    PushPlaces,
    ReceiptBatch,
    SourceTested,
)
from exchange.delivery.quota import CentreUnreachable

log = logging.getLogger(__name__)

ASSERTION_LIFETIME_S = 60
TOKEN_MARGIN_S = 30
KEYS_EVERY_S = 300.0
MISSING_KEY_EVERY_S = 5.0
REQUEST_TIMEOUT_S = 15.0
HEALTH_EVERY_S = 10.0
STREAM_TIMEOUT_S = 30.0  # longer than the centre lets a stream be silent
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class CentreAnswersOddly(Exception):
    """The centre answered, but not with what the protocol says."""


class _TokenResponse(msgspec.Struct):
    access_token: str
    expires_in: int


@dataclass(frozen=True, slots=True)
class CentreSettings:
    """Where the centre is and who this gateway is to it."""

    url: str
    issuer: str  # the centre's public URL, which its tokens and grants name
    client_id: str
    key: OKPKey
    poll_s: float = 1.0


class Pushes(Protocol):
    """What this gateway delivers by itself, as far as the centre hears of it."""

    def places(self) -> list[PushPlace]: ...

    def hold(self, asked_at: float, told: list[PushPlace], leases: PushLeases) -> None: ...


class CentreLink:
    """Keeps in touch with the centre until cancelled.

    `on_state` takes each new table, or None where the centre confirms that the last one stands; `on_keys`
    takes the centre's public keys, `wants_keys` says that one is missing; `health` is what it tells of
    itself, `give_back` lets other gateways have what this one does not use.
    """

    def __init__(
        self,
        settings: CentreSettings,
        journal: Journal,
        *,
        on_state: Callable[[GatewayState | None], None],
        on_keys: Callable[[dict[str, object]], None],
        wants_keys: Callable[[], bool],
        health: Callable[[], GatewayHealth],
        give_back: Callable[[], Awaitable[None]],
        pushes: Pushes,
    ) -> None:
        self._settings = settings
        self._journal = journal
        self._on_state = on_state
        self._on_keys = on_keys
        self._wants_keys = wants_keys
        self._health = health
        self._give_back = give_back
        self._client: httpx2.AsyncClient | None = None
        self._pushes = pushes
        self._version: int | None = None
        self._keys_at = float("-inf")
        self._token = ""
        self._token_until = float("-inf")
        self._changed = asyncio.Event()
        self._authenticating = asyncio.Lock()
        self._state_decoder = msgspec.json.Decoder(GatewayState)

    async def run(self) -> None:
        """Poll for state and ship receipts, each at its own pace, until cancelled."""
        async with httpx2.AsyncClient(
            base_url=self._settings.url, timeout=REQUEST_TIMEOUT_S, trust_env=False
        ) as client:
            self._client = client
            await asyncio.gather(
                self._every_poll(lambda: self._listen(client), "state", self._changed),
                self._every_poll(lambda: self._follow(client), "changes"),
                self._every_poll(lambda: self._ship(client), "receipts"),
                self._every_poll(lambda: self._report(client), "health", every_s=HEALTH_EVERY_S),
                self._every_poll(lambda: self._lease(client), "pushes"),
            )

    async def lease(self, wanted: LeaseWanted) -> Lease:
        """A part of a day's quota. Errors: CentreUnreachable."""
        if self._client is None:
            raise CentreUnreachable()
        try:
            answer = await self._call(self._client, "POST", LEASES_PATH, content=msgspec.json.encode(wanted))
            _expect(answer, 200)
            return msgspec.json.decode(answer.content, type=Lease)
        except (httpx2.HTTPError, msgspec.DecodeError, CentreAnswersOddly) as error:
            log.warning("no lease: %s %s", type(error).__name__, error)
            raise CentreUnreachable() from None

    async def tell_tested(self, told: SourceTested) -> None:
        """Bring what a test found to the centre. Errors: CentreUnreachable."""
        if self._client is None:
            raise CentreUnreachable()
        try:
            body = msgspec.json.encode(told)
            _expect(await self._call(self._client, "POST", TESTED_PATH, content=body), 204)
        except (httpx2.HTTPError, CentreAnswersOddly) as error:
            log.warning("no test told: %s %s", type(error).__name__, error)
            raise CentreUnreachable() from None

    async def _every_poll(
        self,
        act: Callable[[], Awaitable[None]],
        what: str,
        sooner: asyncio.Event | None = None,
        every_s: float | None = None,
    ) -> None:
        """Do it again and again, at least every poll (or `every_s`), and as soon as `sooner` is set."""
        failing = False
        while True:
            started = time.monotonic()
            try:
                await act()
                if failing:
                    log.info("%s: the centre answers again", what)
                failing = False
            except (
                httpx2.HTTPError,
                msgspec.DecodeError,
                CentreAnswersOddly,
                CentreUnreachable,
                JournalUnavailable,
            ) as error:
                if not failing:
                    log.warning("%s: the centre cannot be reached: %s %s", what, type(error).__name__, error)
                failing = True
            left = max(0.0, (every_s or self._settings.poll_s) - (time.monotonic() - started))
            if sooner is None:
                await asyncio.sleep(left)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await sooner.wait()
            sooner.clear()

    async def _listen(self, client: httpx2.AsyncClient) -> None:
        keys_age = time.monotonic() - self._keys_at
        if keys_age > KEYS_EVERY_S or (self._wants_keys() and keys_age > MISSING_KEY_EVERY_S):
            answer = await client.get("/.well-known/jwks.json")
            _expect(answer, 200)
            self._on_keys(msgspec.json.decode(answer.content, type=dict[str, object]))
            self._keys_at = time.monotonic()
        since = {} if self._version is None else {"since": str(self._version)}
        answer = await self._call(client, "GET", STATE_PATH, params=since)
        if answer.status_code == 304:
            self._on_state(None)
            return
        _expect(answer, 200)
        state = self._state_decoder.decode(answer.content)
        self._on_state(state if state.version != self._version else None)
        self._version = state.version

    async def _follow(self, client: httpx2.AsyncClient) -> None:
        """Hear of changes at once, for as long as the centre holds the stream open."""
        await self._authenticated(client)
        headers = {"Authorization": f"Bearer {self._token}"}
        async with client.stream("GET", CHANGES_PATH, headers=headers, timeout=STREAM_TIMEOUT_S) as answer:
            if answer.status_code == 200:
                async for line in answer.aiter_lines():
                    if line.startswith("event:"):
                        self._changed.set()

    async def _ship(self, client: httpx2.AsyncClient) -> None:
        while receipts := self._journal.unshipped(RECEIPTS_PER_BATCH):
            body = msgspec.json.encode(ReceiptBatch(receipts=receipts))
            answer = await self._call(client, "POST", RECEIPTS_PATH, content=body)
            _expect(answer, 200)
            acknowledged = msgspec.json.decode(answer.content, type=Acknowledgement).acknowledged
            await self._journal.acknowledge(acknowledged)
            if not {receipt.call.id for receipt in receipts} <= set(acknowledged):
                raise CentreAnswersOddly("the centre did not take every receipt; trying again")
            if (
                len(receipts) < RECEIPTS_PER_BATCH
            ):  # what came meanwhile goes with the next poll, not one by one
                return

    async def _report(self, client: httpx2.AsyncClient) -> None:
        await self._give_back()
        body = msgspec.json.encode(self._health())
        _expect(await self._call(client, "POST", HEALTH_PATH, content=body), 204)

    async def _lease(self, client: httpx2.AsyncClient) -> None:
        """Tell how far pushes have come, and ask for those that this gateway may go on with."""
        if places := self._pushes.places():
            asked_at = time.monotonic()
            body = msgspec.json.encode(PushPlaces(places=places))
            answer = await self._call(client, "POST", PUSHES_PATH, content=body)
            _expect(answer, 200)
            self._pushes.hold(asked_at, places, msgspec.json.decode(answer.content, type=PushLeases))

    async def _call(
        self,
        client: httpx2.AsyncClient,
        method: str,
        path: str,
        *,
        params: dict[str, str] | None = None,
        content: bytes | None = None,
    ) -> httpx2.Response:
        await self._authenticated(client)
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        answer = await client.request(method, path, params=params, content=content, headers=headers)
        if answer.status_code == 401:  # the centre has forgotten the token: get another next time
            self._token_until = float("-inf")
        return answer

    async def _authenticated(self, client: httpx2.AsyncClient) -> None:
        async with self._authenticating:
            if time.monotonic() >= self._token_until:
                await self._authenticate(client)

    async def _authenticate(self, client: httpx2.AsyncClient) -> None:
        settings = self._settings
        issued_at = int(now().timestamp())
        claims = {
            "iss": settings.client_id,
            "sub": settings.client_id,
            "aud": settings.issuer,
            "jti": secrets.token_urlsafe(16),
            "iat": issued_at,
            "exp": issued_at + ASSERTION_LIFETIME_S,
        }
        header = {"alg": "Ed25519", "kid": settings.key.kid}
        assertion = jwt.encode(header, claims, settings.key, algorithms=["Ed25519"])
        answer = await client.post(
            "/oauth/token",
            data={
                "grant_type": "client_credentials",
                "client_assertion_type": _ASSERTION_TYPE,
                "client_assertion": assertion,
                "scope": "gateway",
            },
        )
        _expect(answer, 200)
        token = msgspec.json.decode(answer.content, type=_TokenResponse)
        self._token = token.access_token
        self._token_until = time.monotonic() + token.expires_in - TOKEN_MARGIN_S


def _expect(answer: httpx2.Response, status: int) -> None:
    if answer.status_code != status:
        raise CentreAnswersOddly(f"{answer.request.method} {answer.request.url.path}: {answer.status_code}")


async def stopped(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait until it has ended."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
