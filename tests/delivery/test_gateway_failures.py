"""Providers that fail, quota, crashes and silence: nothing leaves unaccounted for."""

from __future__ import annotations

import gzip
import json
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.kernel.clock import new_id
from exchange.delivery.protocol import HttpSource
from exchange.terms import (
    Quota,
)
from tests.delivery.agreed import QUOTA, RECORDS, RESOURCE, agreed
from tests.delivery.world import Behaviour, ProviderSystem, World, _Handler, paged, running_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running_world(tmp_path_factory.mktemp("gateway"), page_limit_bytes=200_000) as running:
        yield running


def _html(handler: _Handler, _: dict[str, list[str]]) -> None:
    handler.reply(200, b"<html>maintenance</html>", Content_Type="text/html")


def _truncated(handler: _Handler, _: dict[str, list[str]]) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"data": [{"name": "x"')
    handler.close_connection = True


def _hangs(handler: _Handler, _: dict[str, list[str]]) -> None:
    handler.rfile.read(1)  # until the gateway gives up


def _slow_body(handler: _Handler, _: dict[str, list[str]]) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"data": [')
    handler.wfile.flush()
    handler.rfile.read(1)


def _endless_body(handler: _Handler, _: dict[str, list[str]]) -> None:
    handler.send_response(200)
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(b" " * 65536)
    except OSError:
        handler.close_connection = True


def _to(address: str) -> Behaviour:
    return lambda handler, _: handler.reply(302, Location=address)


def _raw(*parts: bytes) -> Behaviour:
    """These bytes and nothing else, then the end of the connection."""

    def behave(handler: _Handler, _: dict[str, list[str]]) -> None:
        handler.close_connection = True
        with suppress(OSError):
            handler.wfile.writelines(parts)

    return behave


def _again_and_again(head: bytes, part: bytes) -> Behaviour:
    """A part without an end, as long as anybody reads."""

    def behave(handler: _Handler, _: dict[str, list[str]]) -> None:
        handler.close_connection = True
        with suppress(OSError):
            handler.wfile.write(head)
            while True:
                handler.wfile.write(part)

    return behave


def _reset(handler: _Handler, _: dict[str, list[str]]) -> None:
    handler.close_connection = True
    handler.wfile.write(OK + b"Content-Length: 1000\r\n\r\n" + b'{"data": [')
    handler.wfile.flush()
    now, for_no_time = 1, 0  # what is unsent is thrown away, and the other side gets a reset
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", now, for_no_time))
    handler.connection.close()


OK = b"HTTP/1.1 200 OK\r\n"
WHOLE = b'{"data": [{"name": "x", "status": "\xe5\x9c\xa8\xe8\x90\xa5"}]}'
TWICE = WHOLE.replace(b'"name": "x"', b'"name": "x", "name": "x"')
TWICE_BY_ESCAPE = WHOLE.replace(b'"name": "x"', rb'"name": "x", "n\u0061me": "y"')
NESTED = b'{"data": [{"status": "\xe5\x9c\xa8\xe8\x90\xa5", "name": ' + b"[" * 50_000 + b"]" * 50_000 + b"}]}"
BOMB = gzip.compress(b'{"data": [' + b" " * 20_000_000)


def _closes(handler: _Handler, _: dict[str, list[str]]) -> None:
    handler.close_connection = True


@pytest.mark.parametrize(
    ("behaviour", "status", "slug"),
    [
        (lambda handler, _: handler.reply(500, b"oops"), 502, "provider-failed"),
        (lambda handler, _: handler.reply(200, b'{"data": "none"}'), 502, "provider-failed"),
        (lambda handler, _: handler.reply(200, b'{"rows": []}'), 502, "provider-failed"),
        (lambda handler, _: handler.reply(200, b'{"data": [1]}'), 502, "provider-failed"),
        (lambda handler, _: handler.reply(200, b'{"data": [' + b"[" * 50_000), 502, "provider-failed"),
        (lambda handler, _: handler.reply(200, b'{"data": []} {}'), 502, "provider-failed"),
        (lambda handler, _: handler.reply(200, b'{"data": [{"name":"\xff"}]}'), 502, "provider-failed"),
        (_html, 502, "provider-failed"),
        (lambda handler, _: handler.reply(200, WHOLE, Content_Type="text/html"), 502, "provider-failed"),
        (lambda handler, _: handler.reply(200, WHOLE, Content_Type="text/plain"), 502, "provider-failed"),
        (lambda handler, _: handler.reply(200, TWICE), 502, "provider-failed"),
        (lambda handler, _: handler.reply(200, TWICE_BY_ESCAPE), 502, "provider-failed"),
        (_truncated, 502, "provider-failed"),
        (_to("/companies"), 502, "provider-failed"),
        (_to("http://169.254.169.254/latest/meta-data"), 502, "provider-failed"),
        (_to("file:///etc/passwd"), 502, "provider-failed"),
        (_reset, 502, "provider-failed"),
        (_raw(OK, b"Content-Length: 20\r\n\r\n", WHOLE), 502, "provider-failed"),
        (_raw(OK, b"Content-Length: 999999999999\r\n\r\n", WHOLE), 502, "provider-failed"),
        (_raw(OK, b"Content-Length: -1\r\n\r\n", WHOLE), 502, "provider-failed"),
        (
            _raw(OK, b"Content-Length: 20\r\nTransfer-Encoding: chunked\r\n\r\n", WHOLE),
            502,
            "provider-failed",
        ),
        (_raw(OK, b"Transfer-Encoding: chunked\r\n\r\n", b"xyz\r\n", WHOLE), 502, "provider-failed"),
        (_raw(OK, b"Transfer-Encoding: chunked\r\n\r\n", b"5\r\n[1,2\r\n"), 502, "provider-failed"),
        (_raw(b"SSH-2.0-OpenSSH_9.2\r\n"), 502, "provider-failed"),
        (_raw(OK, b"Content-Type: application/pdf\r\n\r\n", b"%PDF-1.7 \x00\x01"), 502, "provider-failed"),
        (lambda handler, _: handler.reply(200, BOMB, Content_Encoding="gzip"), 502, "provider-failed"),
        (
            lambda handler, _: handler.reply(200, BOMB, Content_Type="application/json"),
            502,
            "provider-failed",
        ),
        (
            lambda handler, _: handler.reply(200, b'{"data": [' + b"1," * 150_000 + b"1]}"),
            502,
            "provider-failed",
        ),
        (lambda handler, _: handler.reply(200, NESTED), 502, "provider-failed"),
        (lambda handler, _: handler.reply(200, b'{"data": [{"name": NaN}]}'), 502, "provider-failed"),
        (_again_and_again(OK, b"X-More: " + b"x" * 60_000 + b"\r\n"), 502, "provider-failed"),
        (_again_and_again(OK + b"X-More: ", b"x" * 60_000), 502, "provider-failed"),
        (_again_and_again(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000), 502, "provider-failed"),
        (
            _again_and_again(OK + b"Transfer-Encoding: chunked\r\n\r\n1;", b"x" * 60_000),
            502,
            "provider-failed",
        ),
        (_closes, 502, "provider-failed"),
        (_endless_body, 502, "provider-failed"),
        (_hangs, 504, "provider-too-slow"),
        (_slow_body, 504, "provider-too-slow"),
    ],
)
def test_a_failing_provider_gives_a_problem_and_a_receipt(
    world: World, behaviour: Any, status: int, slug: str
) -> None:
    url = world.provider.serves(
        f"/failing/{new_id()}", behaviour
    )  # one that failed before would be left alone
    source = HttpSource(url=url, records_path="data", timeout_s=1.0)
    agreement = world.centre.agree(agreed(), {str(RESOURCE): source})
    answer = world.gateway.get(agreement, RESOURCE, world.centre.grant(agreement))
    assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{slug}")
    receipt = world.centre.receipt(answer.headers["zhengtong-receipt"])
    assert (receipt.outcome.result, receipt.outcome.problem) == ("failed", slug)
    assert receipt.outcome.rows == 0


def test_an_unreachable_provider(world: World) -> None:
    gone = ProviderSystem()
    gone.close()
    agreement = world.centre.agree(agreed(), {str(RESOURCE): HttpSource(url=gone.url)})
    answer = world.gateway.get(agreement, RESOURCE, world.centre.grant(agreement))
    assert (answer.status_code, answer.json()["type"]) == (502, "/problems/provider-failed")


def test_a_resource_without_a_source(world: World) -> None:
    agreement = world.centre.agree(agreed(), {})
    answer = world.gateway.get(agreement, RESOURCE, world.centre.grant(agreement))
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/source-missing")


@pytest.mark.parametrize("second_page", ["same", "broken"])
def test_a_provider_that_fails_in_the_middle_breaks_the_response_off(world: World, second_page: str) -> None:
    first = {"data": [{"name": f"n{n}", "status": "在营"} for n in range(4)]}

    def behave(handler: _Handler, query: dict[str, list[str]]) -> None:
        again = query["page"] != ["1"] and second_page == "broken"
        handler.reply(200, b"{" if again else json.dumps(first).encode())

    source = HttpSource(
        url=world.provider.serves("/halfway", behave), records_path="data", page_parameter="page", page_size=4
    )
    agreement = world.centre.agree(agreed(), {str(RESOURCE): source})
    headers = {"authorization": f"Bearer {world.centre.grant(agreement)}"}
    url = f"{world.gateway.url}/v1/data/{agreement}/{RESOURCE}?purpose=P1"
    with world.gateway.client.stream("GET", url, headers=headers) as answer:
        assert answer.status_code == 200
        with pytest.raises(httpx2.RemoteProtocolError):
            answer.read()
    receipt = world.centre.receipt(answer.headers["zhengtong-receipt"])
    assert (receipt.outcome.result, receipt.outcome.status) == ("failed", 502)
    assert receipt.outcome.rows == 4


def test_a_requester_who_leaves_is_not_read_to(world: World) -> None:
    left = threading.Event()

    def behave(handler: _Handler, query: dict[str, list[str]]) -> None:
        page = int(query["page"][0])
        assert page == 1 or left.wait(20)
        records = [{"name": f"{page}-{n}", "status": "在营"} for n in range(4)]
        handler.reply(200, json.dumps({"data": records}).encode())

    source = HttpSource(
        url=world.provider.serves("/long", behave), records_path="data", page_parameter="page", page_size=4
    )
    agreement = world.centre.agree(agreed(), {str(RESOURCE): source})
    headers = {"authorization": f"Bearer {world.centre.grant(agreement)}"}
    url = f"{world.gateway.url}/v1/data/{agreement}/{RESOURCE}?purpose=P1"
    with world.gateway.client.stream("GET", url, headers=headers) as answer:
        next(answer.iter_bytes())
    left.set()
    receipt = world.centre.receipt(answer.headers["zhengtong-receipt"])
    assert (receipt.outcome.result, receipt.outcome.problem) == ("failed", "requester-gone")
    assert 4 <= receipt.outcome.rows < 1000


# ---- quota, crashes, silence -------------------------------------------------------------------------------


def test_quota_is_exact_and_survives_sigkill(tmp_path: Path) -> None:
    with running_world(tmp_path) as world:
        source = HttpSource(url=world.provider.serves("/c", paged(RECORDS)), records_path="data")
        quota = Quota(calls_per_day=4, rows_per_day=15, rows_per_call=10)
        agreement = world.centre.agree(agreed(quota=quota), {str(RESOURCE): source})
        token = world.centre.grant(agreement)

        def ask(query: str) -> tuple[int, int]:
            answer = world.gateway.get(agreement, RESOURCE, token, f"purpose=P1&{query}")
            if answer.status_code == 429:
                assert answer.json()["type"] == "/problems/quota-used-up"
                assert 0 < int(answer.headers["retry-after"]) <= 86_400
                return 429, 0
            return answer.status_code, len(answer.json())

        assert ask("limit=10") == (200, 10)
        assert ask("limit=6") == (429, 0)
        world.gateway.kill()
        world.gateway.start()
        assert ask("limit=6") == (429, 0)
        assert ask("") == (200, 5)  # what is left for today
        assert ask("limit=1") == (429, 0)

        quota = Quota(calls_per_day=2, rows_per_day=1000, rows_per_call=10)
        other = world.centre.agree(agreed(quota=quota), {str(RESOURCE): source})
        token = world.centre.grant(other)
        agreement = other
        assert [ask("limit=1")[0] for _ in range(3)] == [200, 200, 429]
        world.gateway.kill()
        world.gateway.start()
        assert ask("limit=1")[0] == 429


def test_rows_of_running_calls_are_reserved(world: World) -> None:
    release = threading.Event()

    def behave(handler: _Handler, _: dict[str, list[str]]) -> None:
        arrived.set()
        release.wait(20)
        handler.reply(200, json.dumps({"data": RECORDS}).encode())

    arrived = threading.Event()
    source = HttpSource(url=world.provider.serves("/waits", behave), records_path="data")
    quota = Quota(calls_per_day=100, rows_per_day=12, rows_per_call=10)
    agreement = world.centre.agree(agreed(quota=quota), {str(RESOURCE): source})
    token = world.centre.grant(agreement)
    first: list[httpx2.Response] = []
    caller = threading.Thread(
        target=lambda: first.append(world.gateway.get(agreement, RESOURCE, token, "purpose=P1&limit=10"))
    )
    caller.start()
    assert arrived.wait(20)
    refused = world.gateway.get(agreement, RESOURCE, token, "purpose=P1&limit=3")
    release.set()
    caller.join()
    assert refused.status_code == 429
    assert len(first[0].json()) == 10
    assert len(world.gateway.get(agreement, RESOURCE, token, "purpose=P1&limit=2").json()) == 2


def test_sigkill_in_the_middle_of_a_stream_leaves_its_intent(tmp_path: Path) -> None:
    with running_world(tmp_path) as world:
        release = threading.Event()

        def behave(handler: _Handler, query: dict[str, list[str]]) -> None:
            if query["page"] != ["1"]:
                release.wait(20)
            paged(RECORDS)(handler, query)

        source = HttpSource(
            url=world.provider.serves("/gated", behave),
            records_path="data",
            page_parameter="page",
            size_parameter="size",
            page_size=5,
        )
        agreement = world.centre.agree(agreed(), {str(RESOURCE): source})
        token = world.centre.grant(agreement)
        world.centre.takes_receipts = False
        done = world.gateway.get(agreement, RESOURCE, token, "purpose=P1&limit=1").headers[
            "zhengtong-receipt"
        ]
        url = f"{world.gateway.url}/v1/data/{agreement}/{RESOURCE}?purpose=P1"
        headers = {"authorization": f"Bearer {token}"}
        with world.gateway.client.stream("GET", url, headers=headers) as answer:
            parts = answer.iter_bytes()
            assert next(parts).startswith(b'[{"name":"')  # data has left
            world.gateway.kill()
            with pytest.raises(httpx2.TransportError):
                list(parts)
        release.set()
        world.centre.takes_receipts = True
        world.gateway.start()
        assert world.centre.receipt(done).outcome.result == "delivered"
        cut = world.centre.receipt(answer.headers["zhengtong-receipt"])
        assert cut.outcome.result == "interrupted"
        assert cut.call.rows_reserved == QUOTA.rows_per_call
        assert world.centre.deliveries == len(world.centre.receipts) == 2
        assert world.gateway.stop() == 0


def test_a_gateway_that_lost_the_centre_delivers_nothing(tmp_path: Path) -> None:
    with running_world(tmp_path, lost_touch_after_s=1.0) as world:
        source = HttpSource(url=world.provider.serves("/c", paged(RECORDS)), records_path="data")
        agreement = world.centre.agree(agreed(), {str(RESOURCE): source})
        token = world.centre.grant(agreement)
        assert world.gateway.get(agreement, RESOURCE, token).status_code == 200
        world.centre.is_silent = True
        world.gateway.wait_for_readiness(503)
        answer = world.gateway.get(agreement, RESOURCE, token)
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/out-of-touch")
        assert world.gateway.client.get(f"{world.gateway.url}/livez").status_code == 200
        world.centre.is_silent = False
        world.gateway.wait_for_readiness(200)
        assert world.gateway.get(agreement, RESOURCE, token).status_code == 200


def test_without_a_durable_intent_nothing_leaves(tmp_path: Path) -> None:
    with running_world(tmp_path, file_limit_bytes=6000) as world:
        source = HttpSource(url=world.provider.serves("/c", paged(RECORDS)), records_path="data")
        agreement = world.centre.agree(agreed(), {str(RESOURCE): source})
        token = world.centre.grant(agreement)
        answers = [world.gateway.get(agreement, RESOURCE, token, "purpose=P1&limit=1") for _ in range(40)]
        assert answers[0].status_code == 200
        last = answers[-1]
        assert (last.status_code, last.json()["type"]) == (503, "/problems/receipt-not-written")
        delivered = [answer for answer in answers if answer.status_code == 200]
        assert len(world.provider.asked) == len(delivered)
        refused = world.gateway.get(agreement, RESOURCE, token, "purpose=P1&items=secret")
        assert refused.status_code == 503
        world.gateway.kill()
        log = (tmp_path / "receipts" / "receipts-00000001.log").read_text()
        assert all(answer.headers["zhengtong-receipt"] in log for answer in delivered)
