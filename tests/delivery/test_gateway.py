"""What was agreed leaves, with a receipt; nothing else does. Over HTTP, against real processes."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import httpx2
import pytest

from app.kernel.clock import new_id
from exchange.delivery.protocol import HttpSource, Source
from exchange.terms import (
    ItemTerm,
    Method,
    Terms,
)
from tests.delivery.agreed import ITEMS, RECORDS, RESOURCE, agreed
from tests.delivery.world import World, _Handler, make_key, paged, running_world


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


RENAMED = {"name": "entName", "status": "regStatus", "legal_person_id": "姓名/证件", "capital": "注册资本"}


@pytest.mark.parametrize("form", ["json", "ndjson"])
def test_a_provider_with_other_field_names_is_served_under_the_items_codes(world: World, form: Any) -> None:
    records = [{RENAMED.get(code, code): value for code, value in record.items()} for record in RECORDS]

    def behave(handler: _Handler, query: dict[str, list[str]]) -> None:
        held = [r for r in records if [r["regStatus"]] == query.get("q_status", [r["regStatus"]])]
        lines = [json.dumps(record, ensure_ascii=False) for record in held]
        body = "\n".join(lines) if form == "ndjson" else f'{{"data": [{",".join(lines)}]}}'
        kind = "application/x-ndjson" if form == "ndjson" else "application/json"
        handler.reply(200, body.encode(), Content_Type=kind)

    source = HttpSource(
        url=world.provider.serves(f"/renamed/{form}", behave),
        records_path=None if form == "ndjson" else "data",
        format=form,
        columns=RENAMED,
        parameters={"status": "q_status"},
    )
    agreement = world.centre.agree(agreed(), {str(RESOURCE): source})
    token = world.centre.grant(agreement)
    answer = world.gateway.get(agreement, RESOURCE, token)
    assert answer.json() == [expected(record) for record in IN_SCOPE]
    assert "q_status=" in world.provider.asked[-1]
    assert not any(name in answer.text for name in RENAMED.values())
    receipt = world.centre.receipt(answer.headers["zhengtong-receipt"])
    assert receipt.call.items == tuple(item.code for item in ITEMS)
    narrowed = world.gateway.get(
        agreement, RESOURCE, token, "purpose=P1&items=name&filter=name%20%3D%20'企业7'", accept="text/csv"
    )
    assert narrowed.text == "name\r\n企业7\r\n"


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


def test_other_addresses_and_methods(world: World, agreement: str) -> None:
    client, url = world.gateway.client, world.gateway.url
    assert client.get(f"{url}/v1/data/{agreement}").status_code == 404
    assert client.get(f"{url}/").json()["type"] == "/problems/not-found"
    answer = client.post(f"{url}/v1/data/{agreement}/{RESOURCE}", content=b"x" * 1_000_000)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")
    token = world.centre.grant(agreement)
    assert world.gateway.get(agreement, RESOURCE, token, accept="image/png").status_code == 406
