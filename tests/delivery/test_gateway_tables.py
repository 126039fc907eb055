"""Agreed data out of a PostgreSQL table, through the gateway."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest

from exchange.delivery.protocol import TableSource
from exchange.terms import (
    Full,
    ItemTerm,
    LastN,
    Quota,
)
from tests.delivery.agreed import RESOURCE, agreed
from tests.delivery.world import World, running_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running_world(tmp_path_factory.mktemp("gateway"), page_limit_bytes=200_000) as running:
        yield running


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
