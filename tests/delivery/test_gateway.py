"""What was agreed leaves, with a receipt; nothing else does. Over HTTP, against real processes."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import psycopg
import pytest

from app.kernel.clock import new_id
from exchange.delivery.protocol import HttpSource, Source, TableSource
from exchange.terms import (
    Full,
    ItemTerm,
    LastN,
    Method,
    Purpose,
    Quota,
    Range,
    ResourceTerms,
    Terms,
)
from tests.delivery.world import ProviderSystem, World, _Handler, make_key, paged, running_world

RECORDS: list[dict[str, Any]] = [
    {
        "name": f"企业{n}",
        "credit_code": f"91440300{n:010d}",
        "capital": n * 100,
        "status": "在营" if n % 2 else "注销",
        "legal_person_id": f"44030519900101{n:04d}",
        "address": {"district": "440305", "parts": ["南山", n]},
        "secret": "never",
    }
    for n in range(1, 21)
]
ITEMS = (
    ItemTerm(code="name"),
    ItemTerm(code="capital", mask=Range(width=1000)),
    ItemTerm(code="legal_person_id", mask=LastN(keep=4)),
    ItemTerm(code="address"),
    ItemTerm(code="phone"),
)
SCOPE = "status = '在营'"
RESOURCE = UUID("018f0000-0000-7000-8000-000000000001")
QUOTA = Quota(calls_per_day=1000, rows_per_day=100_000, rows_per_call=1000)


def agreed(**changed: Any) -> Terms:
    """Terms over RESOURCE; `items` and `scope` are the resource's, all else the terms' own."""
    part = ResourceTerms(
        resource_id=RESOURCE, items=changed.pop("items", ITEMS), scope=changed.pop("scope", SCOPE)
    )
    values: dict[str, Any] = {
        "resources": (part,),
        "purposes": (
            Purpose(code="P1", text="核验资质", business_matter="施工许可", legal_basis="建筑法"),
            Purpose(code="P2", text="统计", business_matter="年报", legal_basis="统计法"),
        ),
        "method": Method.API,
        "valid_from": date(2020, 1, 1),
        "valid_until": date(2099, 12, 31),
        "quota": QUOTA,
        "retention_days": 30,
    }
    return Terms(**(values | changed))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running_world(tmp_path_factory.mktemp("gateway"), page_limit_bytes=200_000) as running:
        yield running


@pytest.fixture(scope="module")
def companies(world: World) -> HttpSource:
    return HttpSource(
        url=world.provider.serves("/companies", paged(RECORDS)),
        records_path="data",
        page_parameter="page",
        size_parameter="size",
        page_size=4,
    )


@pytest.fixture(scope="module")
def agreement(world: World, companies: HttpSource) -> str:
    return world.centre.agree(agreed(), {str(RESOURCE): companies})


def expected(record: dict[str, Any]) -> dict[str, Any]:
    low = record["capital"] // 1000 * 1000
    return {
        "name": record["name"],
        "capital": f"[{low},{low + 1000})",
        "legal_person_id": "*" * 14 + record["legal_person_id"][-4:],
        "address": record["address"],
    }


IN_SCOPE = [record for record in RECORDS if record["status"] == "在营"]


def test_only_the_agreed_items_and_rows_leave_and_the_receipt_says_so(world: World, agreement: str) -> None:
    answer = world.gateway.get(agreement, RESOURCE, world.centre.grant(agreement))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == [expected(record) for record in IN_SCOPE]
    assert b"never" not in answer.content

    receipt = world.centre.receipt(answer.headers["zhengtong-receipt"])
    assert receipt.outcome.result == "delivered"
    assert (receipt.outcome.rows, receipt.outcome.bytes) == (10, len(answer.content))
    assert receipt.outcome.sha256 == hashlib.sha256(answer.content).hexdigest()
    assert (receipt.call.agreement_id, receipt.call.purpose) == (agreement, "P1")
    assert receipt.call.client_id == "permits-app"
    assert receipt.call.items == tuple(item.code for item in ITEMS)


def test_the_three_forms_say_the_same(world: World, agreement: str) -> None:
    token = world.centre.grant(agreement)
    plain = world.gateway.get(agreement, RESOURCE, token).json()
    lines = world.gateway.get(agreement, RESOURCE, token, accept="application/x-ndjson")
    assert lines.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line) for line in lines.text.splitlines()] == plain
    table = world.gateway.get(agreement, RESOURCE, token, accept="text/csv, application/json;q=0.5")
    assert table.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(table.text)))
    assert [row["name"] for row in rows] == [record["name"] for record in plain]
    assert [json.loads(row["address"]) for row in rows] == [record["address"] for record in plain]
    assert rows[0]["phone"] == ""


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("limit=3", ["企业1", "企业3", "企业5"]),
        ("limit=3&offset=8", ["企业17", "企业19"]),
        ("offset=10", []),
        ("filter=name%20%3D%20'企业7'", ["企业7"]),
        ("filter=name%20LIKE%20'企业1%25'", [f"企业{n}" for n in (1, 11, 13, 15, 17, 19)]),
        ("filter=name%20%3D%20'企业8'", []),  # exists, but outside the scope
    ],
)
def test_a_call_narrows(world: World, agreement: str, query: str, names: list[str]) -> None:
    answer = world.gateway.get(
        agreement, RESOURCE, world.centre.grant(agreement), f"purpose=P1&items=name&{query}"
    )
    assert answer.json() == [{"name": name} for name in names]
    assert world.centre.receipt(answer.headers["zhengtong-receipt"]).outcome.rows == len(names)


def test_an_equality_is_passed_on_to_the_provider_that_knows_it(world: World, companies: HttpSource) -> None:
    source = HttpSource(
        url=companies.url, records_path="data", parameters={"status": "status", "credit_code": "credit_code"}
    )
    items = (ItemTerm(code="name"), ItemTerm(code="credit_code"))
    agreement = world.centre.agree(agreed(items=items), {str(RESOURCE): source})
    token = world.centre.grant(agreement)
    query = "purpose=P1&filter=credit_code%20%3D%20'914403000000000007'"
    assert [record["name"] for record in world.gateway.get(agreement, RESOURCE, token, query).json()] == [
        "企业7"
    ]
    assert "credit_code=914403000000000007" in world.provider.asked[-1]
    assert "status=%E5%9C%A8%E8%90%A5" in world.provider.asked[-1]


# ---- refusals: each differs from the call above in one fact ------------------------------------------------

REFUSED = 403
OTHER_ID = str(new_id())


@pytest.mark.parametrize(
    ("query", "status", "slug", "fields"),
    [
        ("purpose=P1&items=name,secret", 403, "item-not-agreed", ["secret"]),
        ("purpose=P1&items=status", 403, "item-not-agreed", ["status"]),
        ("purpose=P1&filter=secret%20%3D%20'never'", 403, "item-not-agreed", ["secret"]),
        ("purpose=P1&filter=capital%20%3E%201", 403, "item-not-agreed", ["capital"]),
        ("purpose=P2", 403, "purpose-not-agreed", None),
        ("purpose=P9", 403, "purpose-not-agreed", None),
        ("", 422, "invalid", ["purpose"]),
        ("purpose=P1&flter=name%20%3D%20'x'", 422, "invalid", ["flter"]),
        ("purpose=P1&purpose=P2", 422, "invalid", ["purpose"]),
        ("purpose=P1&filter=name%20%3D", 422, "invalid", ["filter"]),
        ("purpose=P1&limit=1001", 422, "invalid", ["limit"]),
        ("purpose=P1&limit=0&offset=-1", 422, "invalid", ["limit", "offset"]),
        ("purpose=P1&items=", 422, "invalid", ["items"]),
        ("purpose=P1&items=%FF", 422, "invalid", None),
    ],
)
def test_a_call_beyond_the_terms_is_refused_with_a_receipt(
    world: World, agreement: str, query: str, status: int, slug: str, fields: list[str] | None
) -> None:
    asked_before = len(world.provider.asked)
    answer = world.gateway.get(agreement, RESOURCE, world.centre.grant(agreement), query)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == f"/problems/{slug}"
    assert fields is None or [fault["field"] for fault in problem["errors"]] == fields
    assert len(world.provider.asked) == asked_before
    receipt = world.centre.receipt(answer.headers["zhengtong-receipt"])
    assert (receipt.outcome.result, receipt.outcome.problem) == ("refused", slug)
    assert (receipt.outcome.rows, receipt.outcome.bytes) == (0, 0)


def test_problems_speak_the_callers_language(world: World, agreement: str) -> None:
    token = world.centre.grant(agreement)
    chinese = world.gateway.get(
        agreement, RESOURCE, token, "purpose=P1&items=secret", **{"accept-language": "zh"}
    )
    assert chinese.json()["title"] == "所请求的信息项不在约定之内"
    assert "secret" in chinese.json()["detail"]
    english = world.gateway.get(agreement, RESOURCE, token, "purpose=P1&items=secret")
    assert english.json()["title"] == "An item was asked for that is not agreed"


def test_the_grant_narrows_the_agreement(world: World, agreement: str) -> None:
    token = world.centre.grant(agreement, items=["name"])
    assert world.gateway.get(agreement, RESOURCE, token).json()[0] == {"name": "企业1"}
    refused = world.gateway.get(agreement, RESOURCE, token, "purpose=P1&items=name,address")
    assert refused.json()["type"] == "/problems/item-not-agreed"
    assert [fault["field"] for fault in refused.json()["errors"]] == ["address"]
    beyond = world.centre.grant(agreement, items=["name", "secret"])
    assert world.gateway.get(agreement, RESOURCE, beyond).status_code == REFUSED


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": 1},
        {"exp": "tomorrow"},
        {"iss": "https://elsewhere.test"},
        {"aud": "centre"},
        {"typ": "at+jwt"},
        {"key": make_key("centre")},
        {"key": make_key("unknown")},
        {"purpose": None},
    ],
)
def test_what_is_no_valid_grant_gets_in_nowhere(world: World, agreement: str, claims: dict[str, Any]) -> None:
    token = world.centre.grant(agreement, **claims, jti="not-a-grant")
    answer = world.gateway.get(agreement, RESOURCE, token)
    assert answer.status_code == 401
    assert answer.json()["type"] == "/problems/grant-invalid"
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert "zhengtong-receipt" not in answer.headers  # nobody is known to have asked
    later = world.gateway.get(agreement, RESOURCE, world.centre.grant(agreement))
    world.centre.receipt(later.headers["zhengtong-receipt"])  # receipts are shipped in order
    assert "not-a-grant" not in {receipt.call.grant_id for receipt in world.centre.receipts.values()}


@pytest.mark.parametrize(
    "header", [None, "Bearer", "Basic eDp5", "Bearer x", "Bearer a.b.c", "Bearer é", "Bearer " + "x" * 20_000]
)
def test_garbage_for_a_grant(world: World, agreement: str, header: str | None) -> None:
    headers = [] if header is None else [(b"authorization", header.encode("latin-1"))]
    url = f"{world.gateway.url}/v1/data/{agreement}/{RESOURCE}?purpose=P1"
    assert world.gateway.client.get(url, headers=headers).status_code == 401


def test_a_known_grant_expires_between_two_calls(world: World, agreement: str) -> None:
    soon = int(datetime.now(UTC).timestamp()) + 2
    token = world.centre.grant(agreement, exp=soon)
    assert world.gateway.get(agreement, RESOURCE, token, "purpose=P1&limit=1").status_code == 200
    deadline = time.monotonic() + 10
    while world.gateway.get(agreement, RESOURCE, token, "purpose=P1&limit=1").status_code == 200:
        assert time.monotonic() < deadline
    assert datetime.now(UTC).timestamp() >= soon


def test_someone_elses_agreement_is_not_there(world: World, agreement: str, companies: HttpSource) -> None:
    theirs = world.centre.agree(agreed(scope=None), {str(RESOURCE): companies})
    mine = world.centre.grant(agreement)
    for target in (theirs, OTHER_ID, "x"):
        answer = world.gateway.get(target, RESOURCE, mine)
        assert (answer.status_code, answer.json()["type"]) == (404, "/problems/not-found")
        assert world.centre.receipt(answer.headers["zhengtong-receipt"]).call.agreement_id == agreement
    for resource in (OTHER_ID, "x"):
        assert world.gateway.get(agreement, resource, mine).status_code == 404


@pytest.mark.parametrize(
    ("terms", "claims", "slug"),
    [
        (agreed(valid_until=date(2020, 1, 2)), {}, "agreement-not-in-force"),
        (agreed(valid_from=date(2099, 1, 1)), {}, "agreement-not-in-force"),
        (agreed(), {"agreement_hash": "0" * 64}, "agreement-changed"),
        (agreed(), {"method": "bulk"}, "method-not-agreed"),
        (agreed(method=Method.VERIFICATION), {}, "method-not-agreed"),
    ],
)
def test_an_agreement_that_does_not_hold_lets_nothing_through(
    world: World, companies: HttpSource, terms: Terms, claims: dict[str, Any], slug: str
) -> None:
    agreement = world.centre.agree(terms, {str(RESOURCE): companies})
    answer = world.gateway.get(agreement, RESOURCE, world.centre.grant(agreement, **claims))
    assert (answer.status_code, answer.json()["type"]) == (REFUSED, f"/problems/{slug}")
    assert world.centre.receipt(answer.headers["zhengtong-receipt"]).outcome.problem == slug


def test_suspension_amendment_and_revocation_work_at_once(world: World, companies: HttpSource) -> None:
    sources: dict[str, Source] = {str(RESOURCE): companies}
    agreement = world.centre.agree(agreed(), sources)
    token = world.centre.grant(agreement)

    def ask() -> httpx2.Response:
        return world.gateway.get(agreement, RESOURCE, token)

    assert ask().status_code == 200
    world.centre.set(agreement, agreed(), sources, state="suspended")
    assert ask().json()["type"] == "/problems/agreement-not-in-force"
    world.centre.set(agreement, agreed(), sources)
    assert ask().status_code == 200
    world.centre.set(agreement, agreed(items=ITEMS[:1]), sources)
    assert ask().json()["type"] == "/problems/agreement-changed"
    token = world.centre.grant(agreement, jti="to-be-revoked")
    assert ask().json()[0] == {"name": "企业1"}
    world.centre.revoked.append("to-be-revoked")
    world.centre.publish()
    assert (ask().status_code, ask().json()["type"]) == (401, "/problems/grant-invalid")


def test_terms_that_do_not_have_the_hash_are_not_enforced_as_if_they_had(
    world: World, companies: HttpSource
) -> None:
    agreement = world.centre.agree(agreed(), {str(RESOURCE): companies})
    token = world.centre.grant(agreement)
    wider = world.centre.agree(agreed(scope=None), {str(RESOURCE): companies})
    entries = world.centre.entries
    entries[agreement] = type(entries[agreement])(
        agreement_id=agreement,
        version_hash=entries[agreement].version_hash,
        state="in_force",
        terms=entries[wider].terms,
        mask_key=entries[agreement].mask_key,
        sources=entries[agreement].sources,
    )
    world.centre.publish()
    assert world.gateway.get(agreement, RESOURCE, token).status_code == 404


# ---- providers that fail -----------------------------------------------------------------------------------


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


def _redirect(handler: _Handler, _: dict[str, list[str]]) -> None:
    handler.reply(302, Location="/companies")


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
        (_truncated, 502, "provider-failed"),
        (_redirect, 502, "provider-failed"),
        (_closes, 502, "provider-failed"),
        (_endless_body, 502, "provider-failed"),
        (_hangs, 504, "provider-too-slow"),
        (_slow_body, 504, "provider-too-slow"),
    ],
)
def test_a_failing_provider_gives_a_problem_and_a_receipt(
    world: World, behaviour: Any, status: int, slug: str
) -> None:
    url = world.provider.serves("/failing", behaviour)
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


def test_other_addresses_and_methods(world: World, agreement: str) -> None:
    client, url = world.gateway.client, world.gateway.url
    assert client.get(f"{url}/v1/data/{agreement}").status_code == 404
    assert client.get(f"{url}/").json()["type"] == "/problems/not-found"
    answer = client.post(f"{url}/v1/data/{agreement}/{RESOURCE}", content=b"x" * 1_000_000)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")
    token = world.centre.grant(agreement)
    assert world.gateway.get(agreement, RESOURCE, token, accept="image/png").status_code == 406


# ---- tables ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table(server: str) -> TableSource:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute('CREATE SCHEMA "窗口"')
        connection.execute(
            'CREATE TABLE "窗口"."100% 企业" (id int PRIMARY KEY, name text, amount numeric(30,10), "status" text,'
            " born date, seen timestamptz, legal_person_id text, address jsonb, secret text)"
        )
        with connection.cursor() as cursor:
            cursor.executemany(
                'INSERT INTO "窗口"."100%% 企业" VALUES (%s,%s,%s,%s,%s,%s,%s,%s,%s)',
                [
                    (
                        n,
                        f"企业{n}",
                        "12345678901234567890.1234567890" if n == 1 else n,
                        "在营" if n % 2 else None,
                        date(2000, 1, 1) + timedelta(days=n),
                        datetime(2026, 1, 1, tzinfo=UTC),
                        f"44030519900101{n:04d}",
                        '{"n": 1.10, "deep": [1, 2]}',
                        "never",
                    )
                    for n in range(1, 2001)
                ],
            )
    return TableSource(dsn=server, table="窗口.100% 企业", key=("id",), columns={"capital": "amount"})


TABLE_ITEMS = (
    ItemTerm(code="name"),
    ItemTerm(code="capital"),
    ItemTerm(code="born"),
    ItemTerm(code="seen"),
    ItemTerm(code="legal_person_id", mask=LastN(keep=4)),
    ItemTerm(code="address"),
)


def test_a_table_delivers_what_was_agreed(world: World, table: TableSource) -> None:
    terms = agreed(items=TABLE_ITEMS, scope="status = '在营' AND born < DATE('2000-01-10')")
    agreement = world.centre.agree(terms, {str(RESOURCE): table})
    answer = world.gateway.get(agreement, RESOURCE, world.centre.grant(agreement))
    assert [record["name"] for record in answer.json()] == ["企业1", "企业3", "企业5", "企业7"]
    assert answer.text.startswith(
        '[{"name":"企业1","capital":12345678901234567890.1234567890,"born":"2000-01-02",'
        '"seen":"2026-01-01T00:00:00Z","legal_person_id":"**************0001",'
        '"address":{"n": 1.10, "deep": [1, 2]}}'
    )
    assert "never" not in answer.text
    assert world.centre.receipt(answer.headers["zhengtong-receipt"]).outcome.rows == 4


def test_a_table_streams_page_after_page(world: World, table: TableSource) -> None:
    terms = agreed(
        items=TABLE_ITEMS, scope=None, quota=Quota(calls_per_day=9, rows_per_day=9999, rows_per_call=1800)
    )
    agreement = world.centre.agree(terms, {str(RESOURCE): table})
    token = world.centre.grant(agreement)
    answer = world.gateway.get(agreement, RESOURCE, token, accept="application/x-ndjson")
    assert answer.headers["zhengtong-row-limit"] == "1800"
    assert [json.loads(line)["name"] for line in answer.text.splitlines()] == [
        f"企业{n}" for n in range(1, 1801)
    ]
    rest = world.gateway.get(
        agreement, RESOURCE, token, "purpose=P1&items=name&offset=1800", accept="text/csv"
    )
    assert rest.text.splitlines() == ["name", *(f"企业{n}" for n in range(1801, 2001))]
    receipt = world.centre.receipt(answer.headers["zhengtong-receipt"])
    assert receipt.outcome.sha256 == hashlib.sha256(answer.content).hexdigest()


@pytest.mark.parametrize(
    ("changed", "scope"),
    [
        ({"table": "nowhere"}, None),
        ({"key": ("nothing",)}, None),
        ({"columns": {}}, None),
        ({}, "status > 5"),
    ],
)
def test_a_table_that_does_not_fit_is_the_providers_failure(
    world: World, table: TableSource, changed: dict[str, Any], scope: str | None
) -> None:
    values = {"dsn": table.dsn, "table": table.table, "key": table.key, "columns": table.columns}
    source = TableSource(**(values | changed))
    agreement = world.centre.agree(agreed(items=TABLE_ITEMS, scope=scope), {str(RESOURCE): source})
    answer = world.gateway.get(agreement, RESOURCE, world.centre.grant(agreement))
    assert (answer.status_code, answer.json()["type"]) == (502, "/problems/provider-failed")


def test_a_masked_table_item_hides_what_it_cannot_read(world: World, table: TableSource) -> None:
    items = (ItemTerm(code="address", mask=LastN(keep=2)), ItemTerm(code="born", mask=Full()))
    agreement = world.centre.agree(agreed(items=items, scope="id = 1"), {str(RESOURCE): table})
    answer = world.gateway.get(agreement, RESOURCE, world.centre.grant(agreement))
    assert answer.json() == [{"address": "***", "born": "***"}]
