"""The gateway's front: a plain ASGI application that serves agreed data, and problems for all else.

Owns the order of one call: in touch, grant, agreement, quota, durable intent, first byte, last byte,
outcome. Nothing leaves before its intent is durable.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from typing import Any

import msgspec

from app.kernel.clock import new_id, now
from app.kernel.errors import PROBLEM_MEDIA_TYPE, NotFound, Problem, Unavailable
from app.kernel.text import Text, negotiate_locale
from exchange.delivery.admission import Admission, Agreement, AgreementTable, GrantInvalid, GrantVerifier
from exchange.delivery.asked import DataRequest, read_question, read_request
from exchange.delivery.bulk import Bulk
from exchange.delivery.extracts import Extracts
from exchange.delivery.formats import JSON, Format, choose_media_type, format_for
from exchange.delivery.guessing import Guesses
from exchange.delivery.journal import Journal
from exchange.delivery.pages import Page
from exchange.delivery.possession import Possession
from exchange.delivery.protocol import RECEIPT_HEADER, Call, GatewayState, Grant, Outcome, Receipt, Result
from exchange.delivery.quota import Bounds, Leases
from exchange.delivery.sources import Providers

log = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_Form = tuple[str, bytes, bytes, bytes]  # grant, path, query, Accept: two calls that say the same

CALL_TIMEOUT_S = 600.0
KNOWN_FORMS = 5000
QUESTION_LIMIT_BYTES = 64 << 10
_YES, _NO = b'{"answer":"yes"}', b'{"answer":"no"}'
_RECEIPT = RECEIPT_HEADER.lower().encode()
_ALWAYS = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]


class OutOfTouch(Unavailable):
    """The centre has been silent for too long to know that agreements still hold."""

    slug = "out-of-touch"
    title = Text(
        "网关与中心失去联系，暂停交付", "The gateway has lost touch with the centre and delivers nothing"
    )


class GatewayNotApproved(Unavailable):
    """The authority has not approved this gateway, or no longer does (Regulation Art. 29)."""

    slug = "gateway-not-approved"
    title = Text("本网关未经核准，暂停交付", "This gateway is not approved and delivers nothing")


class MethodNotAllowed(Problem):
    status, slug = 405, "method-not-allowed"
    title = Text("此地址不支持该请求方法", "This address does not know the method")


class NotAcceptable(Problem):
    status, slug = 406, "not-acceptable"
    title = Text("只提供 JSON、NDJSON 和 CSV", "Only JSON, NDJSON and CSV are on offer")


class TookTooLong(Problem):
    status, slug = 504, "took-too-long"
    title = Text("本次调用超过时限", "The call took longer than it may")


class TooLarge(Problem):
    status, slug = 413, "too-large"
    title = Text("请求体过大", "The request's body is too large")


class RequesterGone(Exception):
    """The other side closed the connection before the end."""


class Gateway:
    """The ASGI application. It serves while the centre has been heard within `lost_touch_after_s`."""

    def __init__(
        self,
        *,
        journal: Journal,
        providers: Providers,
        verifier: GrantVerifier,
        possession: Possession,
        lost_touch_after_s: float,
        call_timeout_s: float = CALL_TIMEOUT_S,
        extracts: Extracts | None = None,
        leases: Leases | None = None,
    ) -> None:
        self._bulk = None if extracts is None else Bulk(journal, extracts, _call, self._refuse, self.bounds)
        self._leases = leases
        self._journal = journal
        self._providers = providers
        self._verifier = verifier
        self._possession = possession
        self._lost_touch_after_s = lost_touch_after_s
        self._call_timeout_s = call_timeout_s
        self._guesses = Guesses()
        self._table: AgreementTable | None = None
        # Forms of call that this table has admitted, by all that was sent; a new table begins with none.
        self._admitted: dict[_Form, tuple[Admission, str]] = {}
        self._heard_at = 0.0

    def hear(self, state: GatewayState | None) -> None:
        """Enforce a new state of the centre from now on, or with None go on with the last one.

        Calls under way end under the state they began with.
        """
        if state is not None:
            self._table = AgreementTable(state, self._providers, self._table)
            self._admitted.clear()
        self._heard_at = time.monotonic()

    def today(self) -> str:
        """The quota's day; nothing before the centre was heard."""
        return "" if self._table is None else self._table.today(now())

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        assert scope["type"] == "http", "served without lifespan and websockets"
        exchange = _Exchange(scope, receive, send)
        try:
            match scope["path"].split("/"):
                case ["", "v1", "data", agreement_id, resource_id]:
                    if scope["method"] != "GET":
                        raise MethodNotAllowed(headers={"Allow": "GET"})
                    await self._serve_data(exchange, agreement_id, resource_id)
                case ["", "v1", "extracts", *rest] if self._bulk is not None:
                    await self._serve_extracts(exchange, self._bulk, scope["method"], rest, scope["headers"])
                case ["", "v1", "verify", agreement_id, resource_id]:
                    if scope["method"] != "POST":
                        raise MethodNotAllowed(headers={"Allow": "POST"})
                    await self._answer(exchange, agreement_id, resource_id)
                case ["", "livez"]:
                    await exchange.respond(200, b'{"status":"alive"}', "application/json")
                case ["", "readyz"]:
                    self.current_table()
                    await exchange.respond(200, b'{"status":"ready"}', "application/json")
                case _:
                    raise NotFound()
        except Problem as problem:
            await exchange.respond_problem(problem)
        except RequesterGone:
            pass  # before anything was decided

    def current_table(self) -> AgreementTable:
        """What is enforced now. Errors: OutOfTouch."""
        if self._table is None or time.monotonic() - self._heard_at > self._lost_touch_after_s:
            raise OutOfTouch(headers={"Retry-After": "5"})
        if not self._table.approved:
            raise GatewayNotApproved(headers={"Retry-After": "60"})
        return self._table

    async def _serve_data(self, exchange: _Exchange, agreement_id: str, resource_id: str) -> None:
        table, at = self.current_table(), now()
        scheme, token = exchange.credential()
        sent = token, exchange.raw_path, exchange.query, exchange.accept
        known = self._admitted.get(sent)
        grant = self._granted(exchange, scheme, token, at)
        asked = known[0].asked if known else DataRequest(agreement_id, resource_id, "")
        try:
            if known is None:
                media_type = choose_media_type(exchange.accept.decode("latin-1"))
                if media_type is None:
                    raise NotAcceptable()
                asked = read_request(agreement_id, resource_id, exchange.query)
                known = table.admit(grant, asked, at), media_type
                if len(self._admitted) >= KNOWN_FORMS:
                    self._admitted.clear()
                self._admitted[sent] = known
            admission, media_type = known
            today = table.today(at)
            within = await self.bounds(admission.agreement, today, asked.limit)
            limit = table.limit(admission, at, self._journal.used(agreement_id, today), within)
        except Problem as problem:
            await self._refuse(exchange, grant, asked, at, table, problem)
            raise
        call = _call(grant, asked, at, table.today(at), admission.items, limit)
        await self._journal.begin(call)
        exchange.receipt_id = call.id
        await self._deliver(exchange, call, admission, format_for(media_type, admission.items))

    async def bounds(self, agreement: Agreement, today: str, rows: int | None) -> Bounds:
        """The part of the day's quota that is this gateway's, for a call of so many rows. Errors: QuotaNotLeased."""
        if not agreement.is_shared or self._leases is None:
            return agreement.bounds
        wanted = agreement.quota.rows_per_call if rows is None else rows
        return await self._leases.cover(agreement.id, today, wanted)

    async def _serve_extracts(
        self,
        exchange: _Exchange,
        bulk: Bulk,
        method: str,
        rest: list[str],
        headers: list[tuple[bytes, bytes]],
    ) -> None:
        table, at = self.current_table(), now()
        grant = self._granted(exchange, *exchange.credential(), at)
        match method, rest:
            case "POST", [agreement_id, resource_id]:
                await bulk.make(exchange, grant, table, at, (agreement_id, resource_id), headers)
            case "GET", [id]:
                await bulk.tell(exchange, grant, table, at, id)
            case "GET", [id, "data"]:
                await bulk.send(exchange, grant, table, at, id, headers)
            case _:
                raise NotFound()

    def _granted(self, exchange: _Exchange, scheme: str, token: str, at: datetime) -> Grant:
        """The grant of a call, proved to be its sender's. Errors: GrantInvalid, GrantNotProved."""
        grant = self._verifier.verify(token, at)
        if grant.cnf is not None or scheme != "bearer":
            path = exchange.raw_path.decode("latin-1")
            self._possession.require(
                grant, scheme, token, exchange.proofs, method=exchange.method, path=path, at=at
            )
        return grant

    async def _answer(self, exchange: _Exchange, agreement_id: str, resource_id: str) -> None:
        """核验: yes or no, and nothing else."""
        table, at = self.current_table(), now()
        grant = self._granted(exchange, *exchange.credential(), at)
        asked = DataRequest(agreement_id, resource_id, "")
        who = grant.agreement, grant.sub
        try:
            question = read_question(agreement_id, resource_id, await exchange.body(QUESTION_LIMIT_BYTES))
            asked = DataRequest(agreement_id, resource_id, question.purpose, tuple(question.values))
            fetch = table.admit_question(grant, question, at)
            agreement, today = table.agreement(agreement_id), table.today(at)
            within = await self.bounds(agreement, today, 0)
            table.require_quota(agreement, at, self._journal.used(agreement_id, today), within)
            self._guesses.require_few(who, question.values, at)
        except Problem as problem:
            await self._refuse(exchange, grant, asked, at, table, problem)
            raise
        call = _call(grant, asked, at, table.today(at), tuple(question.values), 0)
        await self._journal.begin(call)
        exchange.receipt_id = call.id

        async def send() -> None:
            async with aclosing(fetch(1, 0)) as pages:
                found = any([len(page) > 0 async for page in pages])
            if not found:
                self._guesses.note_wrong(who, question.values, at)
            await exchange.respond(200, _YES if found else _NO, JSON)

        await self._complete(exchange, call, send)

    async def _refuse(
        self,
        exchange: _Exchange,
        grant: Grant,
        asked: DataRequest,
        at: datetime,
        table: AgreementTable,
        problem: Problem,
    ) -> None:
        """The receipt of a call that was not admitted."""
        call = _call(grant, asked, at, table.today(at), asked.items or (), 0)
        outcome = exchange.outcome("refused", problem.status, problem.slug)
        await self._journal.refuse(Receipt(call=call, outcome=outcome))
        exchange.receipt_id = call.id

    async def _deliver(self, exchange: _Exchange, call: Call, admission: Admission, form: Format) -> None:
        async def send() -> None:
            async with aclosing(admission.fetch(call.rows_reserved, admission.asked.offset)) as pages:
                await _stream(exchange, pages, form, call.rows_reserved)

        await self._complete(exchange, call, send)

    async def _complete(self, exchange: _Exchange, call: Call, send: Callable[[], Awaitable[None]]) -> None:
        """Send and complete the receipt, whatever happens on the way."""
        outcome: Outcome | None = None
        try:
            async with asyncio.timeout(self._call_timeout_s):
                await send()
            outcome = exchange.outcome("delivered", 200)
        except (Problem, TimeoutError) as raised:
            problem = raised if isinstance(raised, Problem) else TookTooLong()
            outcome = exchange.outcome("failed", problem.status, problem.slug)
            if exchange.has_started:
                log.warning("receipt %s: broken off: %s", call.id, problem.slug)
                return  # without the end of the body: the server closes the connection, the reader sees it
            raise problem from None
        except RequesterGone:
            outcome = exchange.outcome("failed", 200, "requester-gone")
        finally:
            # Not waited for: the intent stands, and until this is durable it counts in full.
            self._journal.complete(call.id, outcome or exchange.outcome("failed", 500, "internal"))


async def _stream(exchange: _Exchange, pages: Any, form: Format, limit: int) -> None:
    headers = [(b"zhengtong-row-limit", str(limit).encode())]
    page: Page = await anext(pages)
    body = form.begin() + form.page(page)
    if page.is_last:
        await exchange.respond(200, body + form.end(), form.media_type, headers, rows=len(page))
        return
    gone = asyncio.ensure_future(exchange.disconnected())
    try:
        await exchange.start(200, form.media_type, headers)
        await exchange.send_part(body, rows=len(page))
        async for page in pages:
            if gone.done():
                raise RequesterGone
            await exchange.send_part(form.page(page), rows=len(page))
        if gone.done():
            raise RequesterGone
        await exchange.send_part(form.end(), rows=0, is_last=True)
    finally:
        gone.cancel()
        with suppress(asyncio.CancelledError):
            await gone


class _Exchange:
    """One request and its response, and what has left of it so far."""

    def __init__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        self.path: str = scope["path"]
        self.method: str = scope["method"]
        self.raw_path: bytes = scope["raw_path"]
        self.query: bytes = scope["query_string"]
        self.accept = b""
        self.accept_language = b""
        self.proofs: list[str] = []
        self._credentials: list[bytes] = []
        for name, value in scope["headers"]:
            if name == b"authorization":
                self._credentials.append(value)
            elif name == b"accept":
                self.accept = self.accept or value
            elif name == b"dpop":
                self.proofs.append(value.decode("latin-1"))
            elif name == b"accept-language":
                self.accept_language = self.accept_language or value
        self.receipt_id: str | None = None
        self.has_started = False
        self._receive = receive
        self._send = send
        self._began_at = time.perf_counter()
        self._digest = hashlib.sha256()
        self._rows = 0
        self._bytes = 0

    def credential(self) -> tuple[str, str]:
        """The scheme (in lower case) and the grant of the call. Errors: GrantInvalid."""
        sent = self._credentials[0].decode("latin-1") if len(self._credentials) == 1 else ""
        scheme, _, token = sent.partition(" ")
        scheme = scheme.lower()
        if scheme not in ("bearer", "dpop") or not token:
            raise GrantInvalid(Text("请求未携带授权凭证", "The request carries no grant"))
        return scheme, token.strip()

    async def body(self, limit: int) -> bytes:
        """What was sent. Errors: TooLarge."""
        received = b""
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise RequesterGone
            received += bytes(message.get("body", b""))
            if len(received) > limit:
                raise TooLarge()
            if not message.get("more_body"):
                return received

    def outcome(self, result: Result, status: int, problem: str | None = None) -> Outcome:
        """How the call stands now; rows, bytes and hash are of the data sent, not of a problem's body."""
        return Outcome(
            result=result,
            status=status,
            problem=problem,
            rows=self._rows,
            bytes=self._bytes,
            sha256=self._digest.hexdigest() if self._bytes else None,
            duration_ms=round((time.perf_counter() - self._began_at) * 1000, 3),
        )

    async def start(self, status: int, media_type: str, headers: list[tuple[bytes, bytes]]) -> None:
        self.has_started = True
        common = [(b"content-type", media_type.encode()), *_ALWAYS]
        if self.receipt_id is not None:
            common.append((_RECEIPT, self.receipt_id.encode()))
        await self._send({"type": "http.response.start", "status": status, "headers": common + headers})

    async def send_part(self, body: bytes, *, rows: int, is_last: bool = False) -> None:
        # Counted before it is handed over: what may have left is counted as left.
        self._rows += rows
        self._bytes += len(body)
        self._digest.update(body)
        await self._send({"type": "http.response.body", "body": body, "more_body": not is_last})

    async def respond(
        self,
        status: int,
        body: bytes,
        media_type: str,
        headers: list[tuple[bytes, bytes]] | None = None,
        *,
        rows: int = 0,
    ) -> None:
        """The whole response at once."""
        length = (b"content-length", str(len(body)).encode())
        await self.start(status, media_type, [length, *(headers or [])])
        await self.send_part(body, rows=rows, is_last=True)

    async def respond_problem(self, problem: Problem) -> None:
        locale = negotiate_locale(self.accept_language.decode("latin-1"))
        wire = problem.as_wire(locale, self.path)
        if self.receipt_id is not None:
            wire["receipt"] = self.receipt_id
        headers = [(name.lower().encode(), value.encode()) for name, value in problem.headers.items()]
        headers.append((b"content-language", locale.encode()))
        if isinstance(problem, GrantInvalid):
            headers.append((b"www-authenticate", b'Bearer error="invalid_token"'))
        await self.respond(problem.status, msgspec.json.encode(wire), PROBLEM_MEDIA_TYPE, headers)

    async def disconnected(self) -> None:
        """Return once the other side has closed the connection."""
        while (await self._receive())["type"] != "http.disconnect":
            pass


def _call(
    grant: Grant, asked: DataRequest, at: datetime, day: str, items: tuple[str, ...], rows_reserved: int
) -> Call:
    """The intent of a receipt. It stands under the grant's agreement, also where another was asked for."""
    return Call(
        id=str(new_id()),
        at=at.astimezone(UTC).isoformat(),
        day=day,
        agreement_id=grant.agreement,
        agreement_hash=grant.agreement_hash,
        resource_id=asked.resource_id[:64],
        client_id=grant.sub,
        agency_id=grant.agency,
        grant_id=grant.jti,
        purpose=asked.purpose,
        method=grant.method,
        items=items[:500],
        rows_reserved=rows_reserved,
    )
