"""The client library against the real centre and a real gateway, over HTTP, with connections that fail on purpose."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from joserfc.jwk import ECKey, OKPKey

from app.identity import clients
from app.identity.models import Client as RegisteredClient
from app.kernel.db import Database
from app.kernel.keys import ServiceKeys
from exchange.client import (
    AsyncExchange,
    Gathered,
    NotAsReceipted,
    NotThisPull,
    Refused,
    Unreachable,
    Wanted,
    load_key,
)
from exchange.client import Exchange as Client
from exchange.client.flows import RowCounter
from tests.conftest import drop_database, execute, on
from tests.delivery.test_end_to_end import EXPECTED, GATEWAY_URL, RECORDS, Exchange, running
from tests.delivery.world import paged
from tests.factories import OPERATOR

Change = Callable[[int, bytes], Iterator[bytes]]


class _Body(httpx2.SyncByteStream):
    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces


class Line(httpx2.BaseTransport):
    """The way to the real servers; what data calls bring may be changed or cut off on it. `calls` counts them."""

    def __init__(self, gateway_url: str, change: Change | None = None) -> None:
        self._gateway_url = httpx2.URL(gateway_url)
        self._inner = httpx2.HTTPTransport()
        self._change = change
        self.calls = 0

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        if not str(request.url).startswith(GATEWAY_URL):
            return self._inner.handle_request(request)
        request.url = request.url.copy_with(host=self._gateway_url.host, port=self._gateway_url.port)
        answer = self._inner.handle_request(request)
        if self._change is None or answer.status_code not in (200, 206):
            return answer
        self.calls += 1
        body = answer.read()
        return httpx2.Response(
            answer.status_code, headers=answer.headers, stream=_Body(self._change(self.calls, body))
        )

    def close(self) -> None:
        self._inner.close()


class Way(httpx2.AsyncBaseTransport):
    """The same for asyncio, unchanged."""

    def __init__(self, gateway_url: str) -> None:
        self._gateway_url = httpx2.URL(gateway_url)
        self._inner = httpx2.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if str(request.url).startswith(GATEWAY_URL):
            request.url = request.url.copy_with(host=self._gateway_url.host, port=self._gateway_url.port)
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


@pytest.fixture(scope="module")
def at_work(
    template: str, server: str, keys: ServiceKeys, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Exchange, Wanted]]:
    """One exchange with one agreement for all tests here: they read, and change nothing."""
    execute(server, f"CREATE DATABASE t_client TEMPLATE {template}")
    database = Database(on(server, "t_client"), pool_size=4)
    try:
        with running(database, keys, tmp_path_factory.mktemp("client"), poll_s=0.02) as exchange:
            agreement = exchange.agreement()
            exchange.connect(agreement, exchange.http_source("/marriages", paged(RECORDS)))
            exchange.await_delivery(exchange.grant(agreement))
            resource = str(agreement["terms"]["resources"][0]["resource_id"])
            yield exchange, Wanted(agreement["id"], resource, "check")
    finally:
        database.close()
        drop_database(server, "t_client")


def client(exchange: Exchange, line: Line | None = None, **options: Any) -> Client:
    puller = exchange.puller
    return Client(
        puller.issuer, puller.name, puller.key, transport=line or Line(exchange.gateway.url), **options
    )


def as_csv(records: list[dict[str, Any]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(records[0]))
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue().encode()


@pytest.mark.parametrize("bound", [True, False])
def test_records_come_page_by_page(at_work: tuple[Exchange, Wanted], *, bound: bool) -> None:
    exchange, wanted = at_work
    with client(exchange, bound=bound) as own:
        assert list(own.records(wanted, limit=2)) == EXPECTED
        assert own.grant(wanted.agreement, "check").scheme == ("DPoP" if bound else "Bearer")


def test_what_was_used_of_a_delivery_is_noted(at_work: tuple[Exchange, Wanted]) -> None:
    exchange, wanted = at_work

    def use(receipt: str) -> dict[str, str]:
        used_at = datetime.now(UTC).isoformat()
        return {
            "receipt_id": receipt,
            "purpose": "check",
            "matter": "7",
            "unit": "审批处",
            "used_at": used_at,
        }

    with client(exchange) as caller:
        page = caller.gather({"one": wanted}).parts["one"]
        caller.receipt(page.receipts[0])
        (noted,) = caller.note_uses(wanted.agreement, [use(page.receipts[0])])
        assert noted
        with pytest.raises(Refused) as refused:
            caller.note_uses(wanted.agreement, [use(page.receipts[0]), use(noted)])
        assert refused.value.status == 422


def test_asyncio_gives_the_same(at_work: tuple[Exchange, Wanted]) -> None:
    exchange, wanted = at_work

    async def fetch() -> list[dict[str, Any]]:
        puller = exchange.puller
        way = Way(exchange.gateway.url)
        async with AsyncExchange(puller.issuer, puller.name, puller.key, transport=way) as own:
            return [record async for record in own.records(wanted, limit=2)]

    assert asyncio.run(fetch()) == EXPECTED


def parts_of(wanted: Wanted) -> dict[str, Wanted]:
    """Two parts that come, and two that do not: of no agreement, and of an item that was not agreed."""
    return {
        "all": wanted,
        "one": Wanted(wanted.agreement, wanted.resource, "check", ("name",), "name = '张7'"),
        "nobody": Wanted(wanted.agreement, wanted.resource, "check", None, "name = '无此人'"),
        "other": Wanted(str(uuid4()), wanted.resource, "check"),
        "beyond": Wanted(wanted.agreement, wanted.resource, "check", ("address",)),
    }


def test_what_one_subject_needs_comes_in_parts_each_under_its_own_agreement(
    at_work: tuple[Exchange, Wanted],
) -> None:
    exchange, wanted = at_work
    with client(exchange) as own:
        found = own.gather(parts_of(wanted))
        held = own.receipt(found.parts["one"].receipts[0])

    async def fetch() -> Gathered:
        puller = exchange.puller
        way = Way(exchange.gateway.url)
        async with AsyncExchange(puller.issuer, puller.name, puller.key, transport=way) as own:
            return await own.gather(parts_of(wanted))

    for told in (found, asyncio.run(fetch())):
        assert not told.is_whole
        assert list(told.parts["all"].records) == EXPECTED
        assert list(told.parts["one"].records) == [{"name": "张7"}]
        assert told.parts["nobody"].records == () and told.parts["nobody"].failed is None
        failed = {name: part.failed for name, part in told.parts.items() if part.failed}
        assert {name: getattr(why, "status", None) for name, why in failed.items()} == {
            "other": 404,
            "beyond": 403,
        }
        assert all(not told.parts[name].records for name in failed)
    assert held["rows"] == 1


@pytest.mark.parametrize(
    "key", [OKPKey.generate_key("Ed25519"), ECKey.generate_key("P-256")], ids=["EdDSA", "ES256"]
)
def test_a_key_from_a_file_signs_under_its_thumbprint(
    at_work: tuple[Exchange, Wanted], tmp_path: Path, key: OKPKey | ECKey
) -> None:
    exchange, wanted = at_work
    (tmp_path / "key.pem").write_bytes(key.as_pem(private=True))
    session, puller = exchange.world.session, exchange.puller
    registered = session.get_one(RegisteredClient, puller.id)
    clients.add_client_key(session, registered, key.as_dict(private=False), by=OPERATOR)
    session.commit()
    line, loaded = Line(exchange.gateway.url), load_key(tmp_path / "key.pem")
    with Client(puller.issuer, puller.name, loaded, transport=line) as own:
        assert list(own.records(wanted)) == EXPECTED


def test_what_is_no_key_is_said(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("-----BEGIN NONSENSE-----")
    with pytest.raises(ValueError, match=r"key\.pem: no private key"):
        load_key(tmp_path / "key.pem")


def test_items_and_a_filter_narrow(at_work: tuple[Exchange, Wanted]) -> None:
    exchange, wanted = at_work
    narrow = Wanted(wanted.agreement, wanted.resource, "check", ("name",), "name = '张7'")
    with client(exchange) as own:
        assert list(own.records(narrow)) == [{"name": "张7"}]


@pytest.mark.parametrize("form", ["csv", "ndjson"])
def test_a_pull_is_one_file_and_its_receipts(
    at_work: tuple[Exchange, Wanted], tmp_path: Path, form: Any
) -> None:
    exchange, wanted = at_work
    with client(exchange) as own:
        pulled = own.pull(wanted, tmp_path / "data", form=form, limit=2)
        held = [own.receipt(id) for id in pulled.receipts]
    content = (tmp_path / "data").read_bytes()
    read = [json.loads(line) for line in content.splitlines()] if form == "ndjson" else None
    assert read == EXPECTED if form == "ndjson" else content == as_csv(EXPECTED)
    assert (pulled.rows, pulled.bytes, [receipt["rows"] for receipt in held]) == (5, len(content), [2, 2, 1])
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_pull_that_broke_off_goes_on_where_it_was(at_work: tuple[Exchange, Wanted], tmp_path: Path) -> None:
    exchange, wanted = at_work

    def cut(call: int, body: bytes) -> Iterator[bytes]:
        yield body[: len(body) // 2]
        if call >= 2:  # from the second page on the line breaks, each time it is tried
            raise httpx2.ReadError("the line broke")
        yield body[len(body) // 2 :]

    with client(exchange, Line(exchange.gateway.url, cut)) as own, pytest.raises(Unreachable):
        own.pull(wanted, tmp_path / "data", limit=2)
    assert not (tmp_path / "data").exists()
    whole = Line(exchange.gateway.url, lambda _, body: iter([body]))
    with client(exchange, whole) as own:
        own.pull(wanted, tmp_path / "data", limit=2)
    assert (tmp_path / "data").read_bytes() == as_csv(EXPECTED)
    assert whole.calls == 2, "the first page was fetched again"


def test_a_page_that_breaks_off_once_is_cut_away_and_fetched_again(
    at_work: tuple[Exchange, Wanted], tmp_path: Path
) -> None:
    exchange, wanted = at_work

    def once(call: int, body: bytes) -> Iterator[bytes]:
        yield body[:7]
        if call == 1:
            raise httpx2.ReadError("the line broke")
        yield body[7:]

    with client(exchange, Line(exchange.gateway.url, once)) as own:
        own.pull(wanted, tmp_path / "data")
    assert (tmp_path / "data").read_bytes() == as_csv(EXPECTED)


def test_what_was_changed_on_the_way_is_not_taken(at_work: tuple[Exchange, Wanted], tmp_path: Path) -> None:
    exchange, wanted = at_work
    changed = Line(exchange.gateway.url, lambda _, body: iter([body.replace("张7".encode(), "张8".encode())]))
    with client(exchange, changed) as own, pytest.raises(NotAsReceipted):
        own.pull(wanted, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_file_of_another_pull_is_left_alone(at_work: tuple[Exchange, Wanted], tmp_path: Path) -> None:
    exchange, wanted = at_work
    with client(exchange) as own:
        (tmp_path / "data.part").write_bytes(b"x")
        note = {
            "wanted": {"agreement": "a", "resource": "b", "purpose": "c"},
            "form": "csv",
            "pages": [],
            "bytes": 1,
        }
        (tmp_path / "data.part.json").write_text(json.dumps(note))
        with pytest.raises(NotThisPull):
            own.pull(wanted, tmp_path / "data")
        assert (tmp_path / "data.part").read_bytes() == b"x"
        (tmp_path / "held").touch()
        with pytest.raises(FileExistsError):
            own.pull(wanted, tmp_path / "held")


def test_a_refusal_tells_the_problem(at_work: tuple[Exchange, Wanted]) -> None:
    exchange, wanted = at_work
    other = Wanted(wanted.agreement, wanted.resource, "advertising")
    with (
        client(exchange, locale="en") as own,
        pytest.raises(Refused, match="not an agreed purpose") as refused,
    ):
        list(own.records(other))
    assert (refused.value.status, refused.value.slug) == (422, "invalid")
    beyond = Wanted(wanted.agreement, wanted.resource, "check", ("amount",))
    with client(exchange) as own, pytest.raises(Refused, match="amount") as refused:
        list(own.records(beyond))
    assert (refused.value.slug, "receipt" in refused.value.problem) == ("item-not-agreed", True)


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_rows_of_csv_are_counted_whatever_is_in_quotes(size: int) -> None:
    body = b'a,b\r\n1,"x\r\ny"\r\n2,"say ""no""\n"\r\n3,\r\n'
    counter = RowCounter("csv")
    for start in range(0, len(body), size):
        counter.feed(body[start : start + size])
    assert counter.rows == 3


def test_an_extract_comes_whole_over_a_line_that_breaks(
    at_work: tuple[Exchange, Wanted], tmp_path: Path
) -> None:
    exchange, _ = at_work
    agreement = exchange.agreement(method="bulk")
    exchange.connect(agreement, exchange.http_source("/bulk", paged(RECORDS)))
    exchange.await_delivery(exchange.grant(agreement))
    resource = str(agreement["terms"]["resources"][0]["resource_id"])
    wanted = Wanted(agreement["id"], resource, "check")

    def once(call: int, body: bytes) -> Iterator[bytes]:
        yield body[: len(body) // 2]
        if call == 1:
            raise httpx2.ReadError("the line broke")
        yield body[len(body) // 2 :]

    heard: list[tuple[int, int]] = []
    with client(exchange, Line(exchange.gateway.url, once)) as own:
        got = own.extract(wanted, tmp_path / "data", form="ndjson", on_bytes=lambda *now: heard.append(now))
    content = (tmp_path / "data").read_bytes()
    assert [json.loads(line) for line in content.splitlines()] == EXPECTED
    assert (got.rows, got.bytes, got.is_last) == (len(EXPECTED), len(content), True)
    assert [done for done, _ in heard] == sorted({done for done, _ in heard}), "bytes were fetched twice"
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    changed = Line(exchange.gateway.url, lambda _, body: iter([body.replace("张7".encode(), "张8".encode())]))
    with client(exchange, changed) as own, pytest.raises(NotAsReceipted):
        own.extract(wanted, tmp_path / "other", form="ndjson")
    assert not (tmp_path / "other").exists()
