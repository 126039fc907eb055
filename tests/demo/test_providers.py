"""The two providers of the sample city: what they hold, whom they answer, and that nobody in it is real."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx2
import psycopg
import pytest
from starlette.testclient import TestClient

from app.demo import sample_city
from app.demo.provider_api import PAGE_SIZE_LIMIT, PATH, create_app
from app.demo.provider_table import COLUMNS, fill_enterprises
from app.demo.synthetic import Row, enterprise_rows, subsistence_rows
from app.identity.codes import credit_code_fault, identity_number_fault
from tests.conftest import execute, on

SECRET = "of-this-test"
AUTHORIZED = {"Authorization": f"Bearer {SECRET}"}
SUBSISTENCE, ENTERPRISES = "30400101/000001", "10200801/000001"


def item_codes(resource: str) -> set[str]:
    (found,) = [r for r in sample_city.resources() if r.code == resource]
    return {item.code or "" for item in found.record.items}


@pytest.fixture(scope="module")
def held() -> list[Row]:
    return subsistence_rows()


@pytest.fixture
def market(server: str) -> Iterator[psycopg.Connection]:
    """A connection to an empty database: the provider's own, without a table of ours."""
    name = f"market_{uuid4().hex}"
    execute(server, f"CREATE DATABASE {name}")
    with psycopg.connect(on(server, name), autocommit=True) as connection:
        yield connection
    execute(server, f"DROP DATABASE {name}")


@pytest.fixture
def provider(held: list[Row]) -> Iterator[TestClient]:
    with TestClient(create_app(secret=SECRET, rows=held)) as client:
        yield client


def test_generated_rows_are_the_same_for_the_same_seed(held: list[Row]) -> None:
    assert held == subsistence_rows()
    assert held != subsistence_rows(seed=1)
    assert list(enterprise_rows(count=50)) == list(enterprise_rows(count=50))


def test_the_api_holds_every_item_of_the_catalog_and_more(held: list[Row]) -> None:
    assert len(held) >= 2_000
    items = item_codes(SUBSISTENCE)
    for row in held:
        assert set(row) > items
    assert {"bank_account", "contact_phone", "internal_remark"} <= set(held[0]) - items


def test_persons_have_valid_numbers_that_nobody_can_have(held: list[Row]) -> None:
    numbers = [str(row["id_number"]) for row in held]
    assert len(set(numbers)) == len(numbers)
    for number, row in zip(numbers, held, strict=True):
        assert identity_number_fault(number) is None
        assert number.startswith("98")
        assert str(row["contact_phone"]).startswith("100")


def test_a_household_is_one_record_with_as_many_persons_as_it_says(held: list[Row]) -> None:
    members: dict[object, list[Row]] = {}
    for row in held:
        members.setdefault(row["household_code"], []).append(row)
    for persons in members.values():
        assert {row["household_size"] for row in persons} == {len(persons)}
        assert (
            len({(row["home_address"], row["monthly_amount"], row["division_code"]) for row in persons}) == 1
        )
        assert [row["household_relation"] for row in persons].count("01") == 1


def test_pages_together_are_everything_once(provider: TestClient, held: list[Row]) -> None:
    read: list[Row] = []
    page = 1
    while rows := provider.get(PATH, params={"page": page, "size": 500}, headers=AUTHORIZED).json()["rows"]:
        read += rows
        page += 1
    assert read == held


def test_a_filter_narrows_the_total(provider: TestClient, held: list[Row]) -> None:
    answer = provider.get(PATH, params={"division_code": "980104", "size": 3}, headers=AUTHORIZED).json()
    assert answer["total"] == sum(row["division_code"] == "980104" for row in held)
    assert [row["division_code"] for row in answer["rows"]] == ["980104"] * 3
    one = provider.get(PATH, params={"id_number": held[7]["id_number"]}, headers=AUTHORIZED).json()
    assert one["rows"] == [held[7]]


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": SECRET}])
def test_without_its_credential_nothing_is_served(provider: TestClient, headers: dict[str, str]) -> None:
    answer = provider.get(PATH, headers=headers)
    assert answer.status_code == 401
    assert "rows" not in answer.json()


@pytest.mark.parametrize("params", [{"page": 0}, {"size": 0}, {"size": PAGE_SIZE_LIMIT + 1}, {"page": "x"}])
def test_pages_out_of_range_are_refused(provider: TestClient, params: dict[str, str]) -> None:
    assert provider.get(PATH, params=params, headers=AUTHORIZED).status_code == 422


def test_it_runs_as_a_process_of_its_own(tmp_path: Path, held: list[Row]) -> None:
    secret_file = tmp_path / "secret"
    secret_file.write_text(SECRET + "\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "app.demo.provider_api", "--port", str(port)]
    process = subprocess.Popen([*command, "--secret-file", str(secret_file)])
    try:
        with httpx2.Client(
            base_url=f"http://127.0.0.1:{port}", transport=httpx2.HTTPTransport(), timeout=5
        ) as client:
            while True:
                assert process.poll() is None, "the provider ended before it answered"
                try:
                    client.get("/health")
                    break
                except httpx2.ConnectError:
                    continue
            answer = client.get(PATH, params={"size": 1}, headers=AUTHORIZED)
        assert answer.json()["rows"] == held[:1]
    finally:
        process.terminate()
        process.wait(10)


def test_the_table_holds_twenty_thousand_enterprises_with_valid_codes(market: psycopg.Connection) -> None:
    assert fill_enterprises(market) == 20_000
    rows = market.execute("SELECT credit_code, contact_phone FROM provider_market.enterprise").fetchall()
    assert len(rows) == 20_000
    for code, phone in rows:
        assert credit_code_fault(code) is None
        assert code[2:4] == "98" and phone.startswith("100")


def test_the_table_has_a_column_for_every_item_of_the_catalog(market: psycopg.Connection) -> None:
    few = list(enterprise_rows(count=5))
    assert fill_enterprises(market, rows=few) == 5
    cursor = market.execute("SELECT * FROM provider_market.enterprise ORDER BY credit_code")
    columns = [column.name for column in cursor.description or ()]
    first = dict(zip(columns, cursor.fetchone() or (), strict=True))
    assert set(columns) == set(COLUMNS) > item_codes(ENTERPRISES)
    expected = min(few, key=lambda row: str(row["credit_code"]))
    assert first["enterprise_name"] == expected["enterprise_name"]
    assert first["established_on"].isoformat() == expected["established_on"]


def test_a_table_that_exists_is_left_as_it_is(market: psycopg.Connection) -> None:
    fill_enterprises(market, rows=enterprise_rows(count=5))
    market.execute("UPDATE provider_market.enterprise SET inspector_note = 'kept'")
    assert fill_enterprises(market) == 5
    notes = market.execute("SELECT DISTINCT inspector_note FROM provider_market.enterprise").fetchall()
    assert notes == [("kept",)]
