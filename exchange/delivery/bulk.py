"""Bulk (批量): a requester has an extract made at the gateway and fetches it, all at once or by ranges.

Owns `/v1/extracts`. Rows count when the extract is made; each download is checked against the agreement anew and
has a receipt of its own. Refuses agreements of another method.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl, urlencode
from weakref import WeakValueDictionary

import msgspec

from app.kernel.clock import now
from app.kernel.errors import Fault, Invalid, NotFound, Problem
from app.kernel.text import Text
from exchange.delivery.admission import Admission, Agreement, AgreementTable, MethodNotAgreed
from exchange.delivery.asked import DataRequest, read_request
from exchange.delivery.extracts import (
    COMPRESSIONS,
    FORMS,
    KEPT_FOR,
    MEDIA_TYPES,
    PIECE_BYTES,
    Compression,
    Extracts,
    Form,
    Manifest,
)
from exchange.delivery.file_provider import FileProvider
from exchange.delivery.journal import Journal
from exchange.delivery.pages import ProviderFailed
from exchange.delivery.protocol import Call, Grant, Outcome
from exchange.delivery.quota import Bounds
from exchange.delivery.sources import TableProvider
from exchange.terms import Method

if TYPE_CHECKING:
    from exchange.delivery.gateway import _Exchange

MAKING_TIMEOUT_S = 600.0
KEY_LIMIT = 200
_RANGE = re.compile(r"bytes=(\d{1,15})-(\d{0,15})")
Intent = Callable[[Grant, DataRequest, datetime, str, tuple[str, ...], int], Call]
BoundsOf = Callable[[Agreement, str, int | None], Awaitable[Bounds]]
Refuse = Callable[[Any, Grant, DataRequest, datetime, AgreementTable, Problem], Awaitable[None]]


class RangeNotSatisfiable(Problem):
    status, slug = 416, "range-not-satisfiable"
    title = Text("请求的范围超出文件", "The range lies outside the file")


class KeyReused(Invalid):
    slug = "idempotency-key-reused"
    title = Text("Idempotency-Key 已用于其他内容", "The Idempotency-Key was used for other content")


@dataclass(frozen=True, slots=True)
class _Once:
    """An Idempotency-Key as it is remembered: `key` is of client and key, `asked` of what it was sent with."""

    key: str
    asked: str


class MadeTooSlowly(Problem):
    status, slug = 504, "took-too-long"
    title = Text("提取超过时限", "The extract took longer than it may")


class Bulk:
    """Makes and serves the extracts of one gateway; `intent` words a call, `refuse` writes a refusal's receipt."""

    def __init__(
        self, journal: Journal, extracts: Extracts, intent: Intent, refuse: Refuse, bounds: BoundsOf
    ) -> None:
        self._journal = journal
        self._extracts = extracts
        self._intent = intent
        self._refuse = refuse
        self._bounds = bounds
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()  # by key

    async def make(
        self, exchange: _Exchange, grant: Grant, table: AgreementTable, at: datetime, ids: tuple[str, str],
        headers: list[tuple[bytes, bytes]],
    ) -> None:  # fmt: skip
        """POST: an extract of what the query asks for; 201 with its manifest once it is whole. With an Idempotency-Key,
        the one that this client had made under it, as long as that is kept."""
        key = _once(grant, ids, exchange.query, headers)
        if key is None:
            await self._make_new(exchange, grant, table, at, ids, None)
            return
        async with self._locks.setdefault(key.key, asyncio.Lock()):
            known = self._extracts.made_under(key.key, at)
            if known is None:
                await self._make_new(exchange, grant, table, at, ids, key)
                return
            if known.asked != key.asked:
                raise KeyReused()
            manifest, _, _ = self._own(grant, table, at, known.id)
            await self._tell_made(exchange, manifest)

    async def _tell_made(self, exchange: _Exchange, manifest: Manifest) -> None:
        headers = [(b"location", f"/v1/extracts/{manifest.id}".encode())]
        await exchange.respond(201, msgspec.json.encode(manifest), "application/json", headers)

    async def _make_new(
        self, exchange: _Exchange, grant: Grant, table: AgreementTable, at: datetime, ids: tuple[str, str],
        key: _Once | None,
    ) -> None:  # fmt: skip
        asked = DataRequest(*ids, "")
        try:
            query, form, compression = _read_form(exchange.query)
            asked = read_request(*ids, query)
            admission = _bulk_only(table.admit(grant, asked, at))
            today = table.today(at)
            within = await self._bounds(admission.agreement, today, asked.limit)
            limit = table.limit(admission, at, self._journal.used(admission.agreement.id, today), within)
        except Problem as problem:
            await self._refuse(exchange, grant, asked, at, table, problem)
            raise
        call = self._intent(grant, asked, at, table.today(at), admission.items, limit)
        await self._journal.begin(call)
        exchange.receipt_id = call.id
        outcome = exchange.outcome("failed", 500, "internal")
        try:
            await asyncio.to_thread(self._extracts.forget_expired, at)
            manifest = await self._make(call, admission, form, compression, key)
            sent = exchange.outcome("delivered", 201)  # no byte of the data has left yet; its hash is told
            outcome = msgspec.structs.replace(sent, rows=manifest.rows, sha256=manifest.sha256)
        except Problem as problem:
            outcome = exchange.outcome("failed", problem.status, problem.slug)
            raise
        finally:
            await self._journal.complete(call.id, outcome)
        await self._tell_made(exchange, manifest)

    async def _make(
        self, call: Call, admission: Admission, form: Form, compression: Compression, key: _Once | None
    ) -> Manifest:
        asked, provider = admission.asked, admission.provider
        copied = (
            provider.copied(admission.compiled)
            if isinstance(provider, TableProvider | FileProvider)
            else None
        )
        try:
            async with asyncio.timeout(MAKING_TIMEOUT_S):
                made = await self._extracts.make(
                    admission.compiled,
                    copied,
                    lambda: admission.fetch(call.rows_reserved, asked.offset),
                    form,
                    compression,
                    limit=call.rows_reserved,
                    offset=asked.offset,
                )
        except TimeoutError:
            raise MadeTooSlowly() from None
        except ValueError:  # Arrow's errors are such: a value that its column's type cannot hold
            message = Text("数据与列类型不符", "A value does not fit its column's type")
            raise ProviderFailed(message) from None
        at = now()
        manifest = Manifest(
            id=call.id, receipt=call.id, agreement_id=call.agreement_id, agreement_hash=call.agreement_hash,
            resource_id=call.resource_id, purpose=call.purpose, items=asked.items, filter=asked.narrowed_by,
            offset=asked.offset, agency_id=call.agency_id, form=form, compression=compression, rows=made.rows,
            is_last=made.rows < call.rows_reserved, bytes=made.bytes, sha256=made.sha256, columns=made.columns,
            made_at=at.isoformat(), expires_at=(at + KEPT_FOR).isoformat(),
            key=key.key if key else None, asked=key.asked if key else None,
        )  # fmt: skip
        await asyncio.to_thread(self._extracts.keep, made, manifest)
        return manifest

    async def tell(
        self, exchange: _Exchange, grant: Grant, table: AgreementTable, at: datetime, id: str
    ) -> None:
        """GET: the manifest."""
        manifest, _, _ = self._own(grant, table, at, id)
        await exchange.respond(200, msgspec.json.encode(manifest), "application/json")

    async def send(
        self, exchange: _Exchange, grant: Grant, table: AgreementTable, at: datetime, id: str,
        headers: list[tuple[bytes, bytes]],
    ) -> None:  # fmt: skip
        """GET: the file, or the one range of it that is asked for (RFC 9110 §14)."""
        manifest, asked, items = self._own(grant, table, at, id)
        told = {name: value.decode("latin-1") for name, value in headers if name in (b"range", b"if-range")}
        etag = f'"{manifest.sha256}"'
        is_same = told.get(b"if-range", etag) == etag
        start, end = _range(told.get(b"range") if is_same else None, manifest.bytes)
        is_part = is_same and _RANGE.fullmatch(told.get(b"range", "")) is not None
        call = self._intent(grant, asked, at, table.today(at), items, 0)
        await self._journal.begin(call)
        exchange.receipt_id = call.id
        status = 206 if is_part else 200
        answer = [
            (b"content-length", str(end - start).encode()),
            (b"accept-ranges", b"bytes"),
            (b"etag", etag.encode()),
        ]
        if is_part:
            answer.append((b"content-range", f"bytes {start}-{end - 1}/{manifest.bytes}".encode()))
        outcome: Outcome | None = None
        try:
            await self._send(exchange, manifest, status, answer, start, end)
            outcome = exchange.outcome("delivered", status)
        except OSError:
            outcome = exchange.outcome("failed", status, "requester-gone")
        finally:
            self._journal.complete(call.id, outcome or exchange.outcome("failed", 500, "internal"))

    async def _send(
        self, exchange: _Exchange, manifest: Manifest, status: int, headers: list[tuple[bytes, bytes]],
        start: int, end: int,
    ) -> None:  # fmt: skip
        gone = asyncio.ensure_future(exchange.disconnected())
        try:
            with self._extracts.file(manifest).open("rb") as file:
                file.seek(start)
                await exchange.start(status, MEDIA_TYPES[manifest.form], headers)
                left = end - start
                while left > 0:
                    piece = await asyncio.to_thread(file.read, min(PIECE_BYTES, left))
                    if gone.done() or not piece:
                        raise ConnectionError
                    left -= len(piece)
                    await exchange.send_part(piece, rows=0)
                await exchange.send_part(b"", rows=0, is_last=True)
        finally:
            gone.cancel()
            with suppress(asyncio.CancelledError):
                await gone

    def _own(
        self, grant: Grant, table: AgreementTable, at: datetime, id: str
    ) -> tuple[Manifest, DataRequest, tuple[str, ...]]:
        """The manifest, if this grant may fetch today what is in the extract. Errors: NotFound, as `admit`."""
        manifest = self._extracts.manifest(id, at)
        is_its = (grant.agency, grant.agreement) == (manifest.agency_id, manifest.agreement_id)
        if not is_its or grant.agreement_hash != manifest.agreement_hash:
            raise NotFound()
        asked = DataRequest(
            manifest.agreement_id, manifest.resource_id, manifest.purpose, manifest.items, manifest.filter
        )
        carried = tuple(column.item for column in manifest.columns)
        if grant.items is not None and not set(carried) <= set(grant.items):
            raise NotFound()
        return manifest, asked, _bulk_only(table.admit(grant, asked, at)).items


def _once(
    grant: Grant, ids: tuple[str, str], query: bytes, headers: list[tuple[bytes, bytes]]
) -> _Once | None:
    sent = [value for name, value in headers if name == b"idempotency-key"]
    if not sent:
        return None
    if len(sent) > 1 or not 0 < len(sent[0]) <= KEY_LIMIT:
        rule = Text("1 至 {n} 个字符", "1 to {n} characters").with_(n=KEY_LIMIT)
        raise Invalid(faults=[Fault("Idempotency-Key", Text("标识无效", "not a key"), rule)])
    written = [
        msgspec.json.encode([grant.sub, sent[0].decode("latin-1")]),
        msgspec.json.encode([*ids, query]),
    ]
    return _Once(*(hashlib.sha256(part).hexdigest() for part in written))


def _bulk_only(admission: Admission) -> Admission:
    if admission.agreement.terms.method is not Method.BULK:
        raise MethodNotAgreed()
    return admission


def _read_form(query: bytes) -> tuple[bytes, Form, Compression]:
    """The query without the form and the compression asked for. Raises Invalid."""
    pairs = parse_qsl(query.decode("latin-1"), True, encoding="latin-1")
    told: dict[str, Any] = {"form": "csv", "compression": "none"}
    told |= {name: value for name, value in pairs if name in told}
    faults = [
        Fault(name, Text("没有这种{what}“{v}”", "no such {what}: “{v}”").with_(what=name, v=told[name][:20]),
              Text("可用：{all}", "one of {all}").with_(all=", ".join(known)))
        for name, known in (("form", FORMS), ("compression", COMPRESSIONS))
        if told[name] not in known
    ]  # fmt: skip
    if faults:
        raise Invalid(faults=faults)
    rest = urlencode([pair for pair in pairs if pair[0] not in told], encoding="latin-1")
    return rest.encode(), cast(Form, told["form"]), cast(Compression, told["compression"])


def _range(wanted: str | None, size: int) -> tuple[int, int]:
    """First byte and the one after the last; the whole for no range, or one of a kind not known here."""
    found = _RANGE.fullmatch(wanted or "")
    if found is None:
        return 0, size
    start, end = int(found[1]), min(int(found[2]) + 1, size) if found[2] else size
    if start >= end:
        raise RangeNotSatisfiable(headers={"Content-Range": f"bytes */{size}"})
    return start, end
