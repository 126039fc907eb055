"""Providers' APIs as they come: other formats, credentials, addresses that are not theirs, servers that fail."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from app.kernel.outbound import EVERYWHERE, Outbound
from exchange.compiler import compile_terms
from exchange.delivery.http_provider import HttpProvider
from exchange.delivery.pages import ProviderFailed, ProviderPaused
from exchange.delivery.protocol import HttpSource, OAuthClient
from exchange.delivery.upstream import FAILURES_TO_OPEN, PAUSE_S, Breaker, Paused
from exchange.terms import ItemTerm
from tests.delivery.agreed import RESOURCE, agreed
from tests.delivery.world import ProviderSystem, _Handler, _Server

TERMS = agreed(items=(ItemTerm(code="name"), ItemTerm(code="address")), scope="status = '在营'")


@pytest.fixture
def provider() -> Iterator[ProviderSystem]:
    system = ProviderSystem()
    yield system
    system.close()


def read(source: HttpSource, *, private: Any = EVERYWHERE, times: int = 1) -> list[Any]:
    """What leaves of a source's records under TERMS; the last time, if it is asked several times."""

    async def once(http: HttpProvider) -> list[Any]:
        fetch = http.prepare(compile_terms(TERMS, RESOURCE, mask_key=b"k" * 16))
        return [json.loads(line) async for page in fetch(100, 0) for line in page.lines()]

    async def run() -> list[Any]:
        http = HttpProvider(source, Outbound(private), 1 << 20)
        try:
            for _ in range(times - 1):
                with pytest.raises(ProviderFailed):
                    await once(http)
            return await once(http)
        finally:
            http.close()

    return asyncio.run(run())


def replies(status: int, body: str, **headers: str) -> Callable[[_Handler, Any], None]:
    return lambda handler, _: handler.reply(status, body.encode(), **headers)


def test_ndjson_and_xml_are_read_as_json_is(provider: ProviderSystem) -> None:
    expected = [{"name": "甲", "address": {"city": "深圳", "road": ["一", "二"]}}]
    lines = '{"name": "甲", "status": "在营", "address": {"city": "深圳", "road": ["一", "二"]}, "secret": 1}\n\n{"status": "注销"}\n'
    url = provider.serves("/lines", replies(200, lines))
    assert read(HttpSource(url=url, format="ndjson")) == expected
    written = (
        '<?xml version="1.0"?><r xmlns="urn:x"><total>2</total><data>'
        "<row><name>甲</name><status>在营</status><secret>1</secret>"
        "<address><city>深圳</city><road>一</road><road>二</road></address></row>"
        "<row><name>乙</name><status>注销</status></row></data></r>"
    )
    url = provider.serves("/xml", replies(200, written))
    assert read(HttpSource(url=url, format="xml", records_path="data/row")) == expected


def test_elements_of_xml_are_mapped_to_items_too(provider: ProviderSystem) -> None:
    written = "<r><row><entName>甲</entName><name>no</name><状态>在营</状态></row></r>"
    url = provider.serves("/xml", replies(200, written))
    assert read(HttpSource(url=url, format="xml", columns={"name": "entName", "status": "状态"})) == [
        {"name": "甲"}
    ]


@pytest.mark.parametrize(
    ("form", "kind", "is_taken"),
    [
        ("json", "Application/JSON; charset=utf-8", True),
        ("json", "application/hal+json", True),
        ("json", "text/html", False),
        ("json", "text/plain", False),
        ("json", "application/xml", False),
        ("json", "application/x-ndjson", False),
        ("json", "", True),
        ("ndjson", "application/x-ndjson", True),
        ("ndjson", "application/json", True),
        ("ndjson", "text/csv", False),
        ("xml", "text/xml;charset=utf-8", True),
        ("xml", "application/atom+xml", True),
        ("xml", "application/json", False),
        ("xml", "text/html", False),
    ],
)
def test_an_answer_of_another_type_than_registered_is_refused(
    provider: ProviderSystem, form: Any, kind: str, is_taken: bool
) -> None:
    record = '{"name": "甲", "status": "在营"}'
    body = {
        "json": f"[{record}]",
        "ndjson": record,
        "xml": "<r><x><name>甲</name><status>在营</status></x></r>",
    }
    source = HttpSource(
        url=provider.serves("/typed", replies(200, body[form], Content_Type=kind)), format=form
    )
    if is_taken:
        assert read(source) == [{"name": "甲"}]
    else:
        with pytest.raises(ProviderFailed) as refused:
            read(source)
        assert kind in refused.value.detail.en


@pytest.mark.parametrize(
    "body",
    [
        "<r><row>",
        "",
        '<!DOCTYPE r [<!ENTITY a "x">]><r>&a;</r>',
        '<!DOCTYPE r SYSTEM "http://127.0.0.1/x"><r/>',
        "<r><row>" + "<a>" * 40 + "</a>" * 40 + "</row></r>",
    ],
)
def test_xml_that_cannot_be_trusted_is_refused(provider: ProviderSystem, body: str) -> None:
    url = provider.serves("/xml", replies(200, body))
    with pytest.raises(ProviderFailed):
        read(HttpSource(url=url, format="xml"))


class _TokenServer(_Server):
    """Gives out tokens by client credentials, each good for one request."""

    def __init__(self) -> None:
        self.given = 0

        class Handler(_Handler):
            def do_POST(handler) -> None:  # noqa: N802, N805 - `self` is the server's
                form = parse_qs(handler.body().decode())
                assert form["client_secret"] == ["s3cret"] and form["grant_type"] == ["client_credentials"]
                self.given += 1
                handler.reply(
                    200, json.dumps({"access_token": f"t{self.given}", "expires_in": 3600}).encode()
                )

        super().__init__(Handler)


def test_oauth_gets_a_token_and_another_when_it_is_no_longer_taken(provider: ProviderSystem) -> None:
    issuer = _TokenServer()
    good = {"Bearer t2"}

    def behave(handler: _Handler, _: Any) -> None:
        if handler.headers["Authorization"] in good:
            handler.reply(200, '[{"name": "甲", "status": "在营"}]'.encode())
        else:
            handler.reply(401)

    client = OAuthClient(
        token_url=f"{issuer.url}/token", client_id="zt", client_secret="s3cret", scope="read"
    )
    try:
        assert read(HttpSource(url=provider.serves("/o", behave), oauth=client)) == [{"name": "甲"}]
        assert issuer.given == 2
    finally:
        issuer.close()


def test_no_address_outside_the_allowed_networks_is_reached(provider: ProviderSystem) -> None:
    url = provider.serves("/x", replies(200, "[]"))
    with pytest.raises(ProviderFailed):
        read(HttpSource(url=url), private=())
    named = url.replace("127.0.0.1", "localhost")  # judged by what the name resolves to
    with pytest.raises(ProviderFailed):
        read(HttpSource(url=named), private=())
    assert provider.asked == []
    for never in ("http://169.254.169.254/latest", "http://0.0.0.0/"):
        with pytest.raises(ProviderFailed):
            read(HttpSource(url=never))


def test_a_provider_that_fails_again_and_again_is_left_alone(provider: ProviderSystem) -> None:
    url = provider.serves("/down", replies(503, "[]"))
    with pytest.raises(ProviderPaused) as paused:
        read(HttpSource(url=url), times=FAILURES_TO_OPEN + 1)
    assert int(paused.value.headers["Retry-After"]) <= PAUSE_S
    assert len(provider.asked) == FAILURES_TO_OPEN


def test_after_the_pause_one_call_tries() -> None:
    moment = [0.0]
    breaker = Breaker(clock=lambda: moment[0])
    for _ in range(FAILURES_TO_OPEN):
        breaker.require_closed()
        breaker.failed()
    with pytest.raises(Paused):
        breaker.require_closed()
    moment[0] = PAUSE_S
    breaker.require_closed()
    with pytest.raises(Paused):  # while the one tries
        breaker.require_closed()
    breaker.succeeded()
    breaker.require_closed()


def test_a_connection_that_the_provider_closed_in_between_is_replaced(provider: ProviderSystem) -> None:
    def closes(handler: _Handler, _: Any) -> None:
        handler.reply(200, '[{"name": "甲", "status": "在营"}]'.encode())
        handler.close_connection = True  # without saying so

    source = HttpSource(url=provider.serves("/c", closes))

    async def run() -> list[int]:
        http = HttpProvider(source, Outbound(EVERYWHERE), 1 << 20)
        fetch = http.prepare(compile_terms(TERMS, RESOURCE, mask_key=b"k" * 16))
        counts = [len(page) for _ in range(5) async for page in fetch(100, 0)]
        http.close()
        return counts

    assert asyncio.run(run()) == [1] * 5


def test_a_question_mark_in_the_registered_address_is_kept(provider: ProviderSystem) -> None:
    url = provider.serves("/q", replies(200, "[]")) + "?v=2&lang=zh"
    read(HttpSource(url=url, page_parameter="page"))
    asked = parse_qs(urlsplit(provider.asked[0]).query)
    assert asked == {"v": ["2"], "lang": ["zh"], "page": ["1"]}
