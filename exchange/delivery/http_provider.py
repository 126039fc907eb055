"""A provider's HTTP API: asked page by page, with the provider's credentials, read as JSON, NDJSON or XML.

Owns what is asked of it and how it is paid credentials. What of the answer may leave is the compiler's.
"""

from __future__ import annotations

import asyncio
import math
import ssl
import tempfile
import time
from collections.abc import AsyncGenerator
from functools import lru_cache
from urllib.parse import quote, urlencode, urlsplit
from xml.etree.ElementTree import Element, ParseError

import msgspec
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from app.kernel.outbound import NotReachable, Outbound
from app.kernel.text import Text
from exchange.compiler import CompiledTerms, JsonProjection
from exchange.delivery import protocol
from exchange.delivery.pages import Fetch, Page, Projected, ProviderFailed, ProviderPaused, ProviderTooSlow
from exchange.delivery.upstream import Paused, Reply, TooSlow, Unanswered, Upstream
from exchange.scope import equalities_of

PAGES_PER_CALL = 10_000
TOKEN_MARGIN_S = 30.0
TOKEN_LIMIT_BYTES = 64 << 10
DEPTH_LIMIT = 32  # of elements in XML
_ACCEPT = {"json": "application/json", "ndjson": "application/x-ndjson", "xml": "application/xml"}

# Besides, what ends in +json or +xml (RFC 6839) is JSON or XML. Lines of JSON have no registered type of their own.
_JSON = frozenset({"application/json", "text/json"})
_TYPES = {
    "json": _JSON,
    "ndjson": _JSON | {f"application/{name}" for name in ("x-ndjson", "ndjson", "jsonl", "x-jsonlines")},
    "xml": frozenset({"application/xml", "text/xml"}),
}


class _Token(msgspec.Struct):
    access_token: str
    expires_in: float = 60.0


class HttpProvider:
    """A provider's HTTP API that answers with records, page after page."""

    def __init__(self, source: protocol.HttpSource, outbound: Outbound, page_limit_bytes: int) -> None:
        parts = urlsplit(source.url)
        self._source = source
        self._target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._") + "?" + parts.query
        tls = _tls(source)
        self.upstream = Upstream(
            source.url,
            outbound=outbound,
            tls=tls,
            connections=source.concurrency,
            limit_bytes=page_limit_bytes,
        )
        self._oauth: _OAuth | None = None
        if source.oauth is not None:
            asked = Upstream(
                source.oauth.token_url,
                outbound=outbound,
                tls=tls,
                connections=1,
                limit_bytes=TOKEN_LIMIT_BYTES,
            )
            self._oauth = _OAuth(source.oauth, asked)

    def prepare(self, compiled: CompiledTerms) -> Fetch:
        is_xml = self._source.format == "xml"
        envelope = None if is_xml else self._source.records_path
        projection = compiled.json_projection(envelope, self._source.columns)
        fixed = {} if compiled.condition is None else equalities_of(compiled.condition)
        passed_on = [
            (parameter, str(value).lower() if isinstance(value, bool) else str(value))
            for item, parameter in self._source.parameters.items()
            if (value := fixed.get(item)) is not None
        ]
        first = self._request(passed_on, self._source.first_page)

        def fetch(limit: int, offset: int) -> AsyncGenerator[Page]:
            return self._pages(projection, passed_on, first, limit, offset)

        return fetch

    def close(self) -> None:
        self.upstream.close()
        if self._oauth is not None:
            self._oauth.upstream.close()

    async def _pages(
        self,
        projection: JsonProjection,
        passed_on: list[tuple[str, str]],
        first: bytes,
        limit: int,
        offset: int,
    ) -> AsyncGenerator[Page]:
        source = self._source
        request, before = first, b""
        for number in range(source.first_page, source.first_page + PAGES_PER_CALL):
            if number != source.first_page:
                request = self._request(passed_on, number)
            body = await self._get(request)
            try:
                records, held = projection.read(self._as_json(body))
            except (msgspec.DecodeError, ParseError, DefusedXmlException, UnicodeDecodeError) as error:
                message = Text("提供方返回的内容无法解析：{e}", "The provider's answer cannot be read: {e}")
                raise ProviderFailed(message.with_(e=error)) from None
            if held and body == before:  # a provider that ignores the page number would never end
                raise ProviderFailed(Text("提供方重复返回同一页", "The provider repeats one page"))
            before = body
            skipped = min(offset, len(records))
            offset -= skipped
            if skipped or len(records) > limit:
                records = records[skipped : skipped + limit]
            limit -= len(records)
            is_last = limit == 0 or source.page_parameter is None or held < source.page_size
            yield Projected(projection, records, is_last)
            if is_last:
                return
        raise ProviderFailed(Text("提供方的分页没有尽头", "The provider's pages do not end"))

    def _as_json(self, body: bytes) -> bytes:
        match self._source.format:
            case "xml":
                return _json_of_xml(body, self._source.records_path)
            case "ndjson":
                return b"[" + b",".join(line for line in body.splitlines() if line.strip()) + b"]"
            case _:
                return body

    def _request(self, passed_on: list[tuple[str, str]], number: int, token: str | None = None) -> bytes:
        source = self._source
        query = list(passed_on)
        if source.page_parameter is not None:
            query.append((source.page_parameter, str(number)))
        if source.size_parameter is not None:
            query.append((source.size_parameter, str(source.page_size)))
        target = (
            self._target + ("&" if query and self._target[-1] != "?" else "") + urlencode(query)
        ).rstrip("?")
        return self.upstream.written("GET", target, {"Accept": _ACCEPT[source.format], **source.headers})

    async def _get(self, request: bytes) -> bytes:
        try:
            if self._oauth is None:
                reply = await self.upstream.ask(request, self._source.timeout_s)
            else:
                reply = await self._oauth.ask(self.upstream, request, self._source.timeout_s)
        except Paused as pause:
            raise ProviderPaused(headers={"Retry-After": str(max(1, math.ceil(pause.seconds)))}) from None
        except TooSlow:
            raise ProviderTooSlow() from None
        except (Unanswered, NotReachable) as error:
            why = error.detail if isinstance(error, NotReachable) else f"{error}"
            message = Text("与提供方的连接失败（{e}）", "The connection to the provider failed ({e})")
            raise ProviderFailed(message.with_(e=why)) from None
        if reply.status != 200:
            message = Text("提供方返回状态码 {n}", "The provider answered {n}")
            raise ProviderFailed(message.with_(n=reply.status))
        if not _is_of(self._source.format, reply.content_type):
            message = Text(
                "提供方返回的内容类型不是登记的 {form}：{kind}", "The provider answered {kind}, not {form}"
            )
            raise ProviderFailed(message.with_(form=self._source.format, kind=reply.content_type[:100]))
        return reply.body


class _OAuth:
    """Access tokens by client credentials (RFC 6749 §4.4), kept until shortly before they expire."""

    def __init__(self, client: protocol.OAuthClient, upstream: Upstream) -> None:
        self.upstream = upstream
        self._client = client
        self._token = b""
        self._until = 0.0
        self._asking = asyncio.Lock()

    async def ask(self, provider: Upstream, request: bytes, timeout_s: float) -> Reply:
        """The provider's answer with a token; a token that it no longer takes is replaced once."""
        reply = await provider.ask(await self._with_token(request, timeout_s), timeout_s)
        if reply.status == 401:
            self._until = 0.0
            reply = await provider.ask(await self._with_token(request, timeout_s), timeout_s)
        return reply

    async def _with_token(self, request: bytes, timeout_s: float) -> bytes:
        async with self._asking:
            if time.monotonic() >= self._until:
                await self._renew(timeout_s)
        head, _, body = request.partition(b"\r\n\r\n")
        return head + b"\r\nAuthorization: Bearer " + self._token + b"\r\n\r\n" + body

    async def _renew(self, timeout_s: float) -> None:
        client, parts = self._client, urlsplit(self._client.token_url)
        form = {
            "grant_type": "client_credentials",
            "client_id": client.client_id,
            "client_secret": client.client_secret,
        }
        if client.scope:
            form["scope"] = client.scope
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        reply = await self.upstream.ask(
            self.upstream.written("POST", target, headers, urlencode(form).encode()), timeout_s
        )
        try:
            token = msgspec.json.decode(reply.body, type=_Token)
        except msgspec.DecodeError:
            token = _Token("")
        if reply.status != 200 or not token.access_token.isascii() or not token.access_token.isprintable():
            raise Unanswered(f"token: {reply.status}")
        self._token = token.access_token.encode()
        self._until = time.monotonic() + max(1.0, token.expires_in - TOKEN_MARGIN_S)


@lru_cache(256)
def _is_of(form: str, content_type: str) -> bool:
    """Whether an answer of this content type may be of the form; one without a type does not say it is not."""
    name = content_type.partition(";")[0].strip().lower()
    return not name or name in _TYPES[form] or name.endswith("+xml" if form == "xml" else "+json")


def _tls(source: protocol.HttpSource) -> ssl.SSLContext | None:
    """TLS with the provider's own authority or our certificate, where the source has them."""
    if not source.authority and not source.certificate:
        return None
    context = ssl.create_default_context(cadata=source.authority or None)
    if source.certificate:
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:  # the ssl module reads files alone
            file.write(source.certificate)
            file.flush()
            context.load_cert_chain(file.name)
    return context


def _json_of_xml(body: bytes, path: str | None) -> bytes:
    """The records of an XML answer as a JSON array: `path` names elements below the root down to the record; without
    it the root's children are records. Every value is text, a repeated element an array, namespaces fall away."""
    found: list[Element] = [fromstring(body, forbid_dtd=True)]
    *above, last = (path or "*").split("/")
    for name in above:
        found = [child for element in found for child in element if _local(child) == name]
    records = [child for element in found for child in element if last in ("*", _local(child))]
    return msgspec.json.encode([_value_of(record, 0) for record in records])


def _value_of(element: Element, depth: int) -> object:
    if depth > DEPTH_LIMIT:
        raise ParseError("nested too deeply")
    if len(element) == 0:
        return (element.text or "") if depth else {}
    values: dict[str, object] = {}
    repeated: set[str] = set()
    for child in element:
        name, value = _local(child), _value_of(child, depth + 1)
        if name in repeated:
            values[name].append(value)  # type: ignore[attr-defined]  # made a list below
        elif name in values:
            values[name] = [values[name], value]
            repeated.add(name)
        else:
            values[name] = value
    return values


def _local(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]
