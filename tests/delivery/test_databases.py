"""Providers' databases of any kind, as SQLite through a real gateway: what the slow reference says, and no more."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import column

from app.kernel.actor import Role
from app.kernel.keys import ServiceKeys
from exchange.compiler import compile_terms
from exchange.delivery.models import ProviderSource
from exchange.delivery.protocol import SqlSource
from exchange.delivery.providers import open_sources
from exchange.delivery.sql_provider import implied_by, read_of
from exchange.scope import parse_scope
from exchange.terms import Constant, Full, ItemTerm, LastN, Method, Range
from tests.delivery.agreed import QUOTA, RESOURCE, agreed
from tests.delivery.world import MASK_KEY, World, running_world
from tests.exchange.reference import reference_covers, reference_mask
from tests.exchange.world import World as Exchange

COLUMNS = {"credit": "信用 代码", "status": "Status"}
SCOPE = "status = '在营' AND n >= 10 AND (name LIKE '%1%' OR capital < 40000.5)"
ITEMS = (
    ItemTerm(code="name"),
    ItemTerm(code="n"),
    ItemTerm(code="credit", mask=LastN(keep=3)),
    ItemTerm(code="capital", mask=Range(width=1000)),
    ItemTerm(code="phone", mask=Full()),
)
ROWS: list[dict[str, Any]] = [
    {
        "n": n,
        "name": [f'甲"{n}', "a,b\nc", None, "100%"][n % 4],
        "credit": f"00{n:04d}",
        "capital": n * 137 / 4,
        "phone": f"138{n:08d}",
        "status": ["在营", "注销", None, "在营"][n % 4 if n % 5 else 1],
        "secret": "never",
    }
    for n in range(1700)
]
SOURCE = SqlSource(url="sqlite:///register/a.db", table="company", key=("n",), columns=COLUMNS)


def expected(scope: str = SCOPE) -> list[dict[str, Any]]:
    condition, key = parse_scope(scope), bytes.fromhex(MASK_KEY)
    kept = [row for row in ROWS if reference_covers(condition, row) is True]
    return [{item.code: reference_mask(item.mask, row[item.code], key) for item in ITEMS} for row in kept]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    files = tmp_path_factory.mktemp("files")
    (files / "register").mkdir()
    for path in (files / "register" / "a.db", files.parent / "outside.db"):
        names = ", ".join(f'"{COLUMNS.get(code, code)}"' for code in ROWS[0])
        with sqlite3.connect(path) as database:
            database.execute(f"CREATE TABLE company ({names})")
            marks = ", ".join("?" * len(ROWS[0]))
            database.executemany(
                f"INSERT INTO company VALUES ({marks})", [[*row.values()] for row in reversed(ROWS)]
            )
            database.execute(
                "CREATE VIEW slow AS WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 2e7)"
                " SELECT sum(n) AS n FROM c"
            )
        database.close()
    (files / "link.db").symlink_to(files.parent / "outside.db")
    (files / "broken.db").write_bytes(b"SQLite format 3\x00 not really" * 100)
    with running_world(tmp_path_factory.mktemp("gateway"), files=str(files)) as running:
        yield running


def fetched(world: World, source: SqlSource, query: str = "purpose=P1", **changed: Any) -> Any:
    quota = QUOTA.model_copy(update={"rows_per_call": 5000})
    terms = agreed(**({"items": ITEMS, "scope": SCOPE, "quota": quota} | changed))
    agreement = world.centre.agree(terms, {str(RESOURCE): source})
    return world.gateway.get(agreement, RESOURCE, world.centre.grant(agreement), query)


@pytest.mark.parametrize(
    "scope",
    [SCOPE, "n < 700", "status IS NULL OR n = 3", "NOT (status = '在营')", "status IN ('在营', '注销')"],
)
def test_a_table_gives_what_was_agreed(world: World, scope: str) -> None:
    answer = fetched(world, SOURCE, scope=scope)
    assert answer.status_code == 200
    assert answer.json() == expected(scope)
    assert "never" not in answer.text and "1380000" not in answer.text
    assert len(answer.json()) > 0
    receipt = world.centre.receipt(answer.headers["zhengtong-receipt"])
    assert (receipt.outcome.result, receipt.outcome.rows) == ("delivered", len(answer.json()))


def test_calls_narrow_and_page(world: World) -> None:
    every = expected()
    assert fetched(world, SOURCE, "purpose=P1&limit=7&offset=5").json() == every[5:12]
    some = fetched(world, SOURCE, "purpose=P1&items=n&filter=n%20%3C%2020").json()
    assert some == [{"n": row["n"]} for row in every if row["n"] < 20]
    whole = fetched(world, SOURCE, "purpose=P1&items=n&limit=600&offset=1000", scope=None)
    assert [row["n"] for row in whole.json()] == list(range(1000, 1600))


def test_an_extract_carries_the_same(world: World) -> None:
    terms = agreed(
        items=ITEMS, scope=SCOPE, method=Method.BULK, quota=QUOTA.model_copy(update={"rows_per_call": 5000})
    )
    agreement = world.centre.agree(terms, {str(RESOURCE): SOURCE})
    headers = {"authorization": f"Bearer {world.centre.grant(agreement)}"}
    url = f"{world.gateway.url}/v1/extracts"
    made = world.gateway.client.post(f"{url}/{agreement}/{RESOURCE}?purpose=P1&form=ndjson", headers=headers)
    assert made.status_code in (200, 201), made.text
    body = world.gateway.client.get(f"{url}/{made.json()['id']}/data", headers=headers)
    assert [json.loads(line) for line in body.text.splitlines()] == expected()


@pytest.mark.parametrize(
    "changed",
    [
        {"url": "sqlite:///../outside.db"},
        {"url": "sqlite:///link.db"},
        {"url": "sqlite:////etc/passwd"},
        {"url": "sqlite:///broken.db"},
        {"url": "sqlite:///none.db"},
        {"url": "mysql+nodriver://u@127.0.0.1/x"},
        {"url": "postgresql+psycopg://u@169.254.169.254/x"},
        {"table": "none"},
        {"columns": {"name": "none"}},
    ],
)
def test_what_cannot_be_read_is_a_problem_and_a_receipt(world: World, changed: dict[str, Any]) -> None:
    told = {"url": SOURCE.url, "table": "company", "key": ("n",), "columns": COLUMNS} | changed
    answer = fetched(world, SqlSource(**told), "purpose=P1", scope=None)
    assert (answer.status_code, answer.json()["type"]) == (502, "/problems/provider-failed"), answer.text
    assert "outside" not in answer.text
    receipt = world.centre.receipt(answer.headers["zhengtong-receipt"])
    assert (receipt.outcome.result, receipt.outcome.rows) == ("failed", 0)


def test_a_slow_database_is_left_and_others_go_on(world: World) -> None:
    slow = SqlSource(url=SOURCE.url, table="slow", key=("n",), timeout_s=0.2)
    answer = fetched(world, slow, items=(ItemTerm(code="n"),), scope=None)
    assert (answer.status_code, answer.json()["type"]) == (504, "/problems/provider-too-slow")
    assert world.centre.receipt(answer.headers["zhengtong-receipt"]).outcome.rows == 0
    assert fetched(world, SOURCE, "purpose=P1&limit=1").status_code == 200


def test_the_database_is_asked_for_no_more_than_it_must_tell() -> None:
    terms = agreed(items=(*ITEMS, ItemTerm(code="x", mask=Constant(value="c"))), scope=SCOPE)
    compiled = compile_terms(terms, RESOURCE, mask_key=b"k" * 16)
    assert read_of(compiled) == ["name", "n", "credit", "capital", "status"]


@pytest.mark.parametrize(
    ("scope", "said"),
    [
        ("status = 'a' AND n >= 10", "status = 'a' AND n >= 10"),
        ("status = 'a' AND name LIKE '%1%'", "status = 'a'"),
        ("n = 1 OR n = 2", "n = 1 OR n = 2"),
        ("n = 1 OR name LIKE 'a%'", None),
        ("NOT (n = 1)", None),
        ("status > 'a'", None),
        ("n < 1.5", None),
        ("active = TRUE", None),
        ("status IS NULL", None),
    ],
)
def test_what_is_said_in_sql_rules_out_no_record_of_the_scope(scope: str, said: str | None) -> None:
    condition = parse_scope(scope)
    found = implied_by(condition, {code: column(code) for code in ("status", "n", "name", "active")})
    assert (None if found is None else str(found.compile(compile_kwargs={"literal_binds": True}))) == said


def test_a_gateway_loads_no_sqlalchemy_before_such_a_source_is_called() -> None:
    program = (
        "import sys, exchange.delivery.run; assert not [m for m in sys.modules if m.startswith('sqlalchemy')]"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.fixture
def exchange(session: Any, town: Any, client: Any) -> Exchange:
    return Exchange(session, town, client)


REGISTERED = {
    "kind": "sql", "url": "mysql+pymysql://reader@10.1.2.3:3306/register", "table": "marriage", "key": ["id"],
    "password": "p@ss/w:rd", "columns": {"name": "XM"},
}  # fmt: skip


def test_a_database_is_registered_with_its_password_sealed(
    world: World, exchange: Exchange, keys: ServiceKeys
) -> None:
    resource = exchange.publish()
    path = f"/resources/{resource}/source"
    told = exchange.call("PUT", path, "civil", Role.CLERK, body=REGISTERED)
    assert told["has_credentials"] and "p@ss" not in json.dumps(told)
    assert "p@ss" not in json.dumps(exchange.session.get_one(ProviderSource, resource).options)
    source = open_sources(exchange.session, [resource], keys.seal)[resource]
    assert isinstance(source, SqlSource)
    assert source.url == "mysql+pymysql://reader:p%40ss%2Fw%3Ard@10.1.2.3:3306/register"
    own = {"kind": "sql", "url": "sqlite:///civil/a.db", "table": "t", "key": ["id"]}
    assert not exchange.call("PUT", path, "civil", Role.CLERK, body=own)["has_credentials"]


@pytest.mark.parametrize(
    "url",
    [
        "mysql://reader:secret@10.1.2.3/x",
        "mysql://reader@10.1.2.3/x?read_default_file=/etc/passwd",
        "mysql://reader@169.254.169.254/x",
        "mysql:///x",
        "mysql://a,b/x",
        "sqlite:////etc/a.db",
        "sqlite:///../a.db",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite+pysqlcipher:///a.db",
        "sqlite:///a.db?mode=rw",
        "duckdb:///a.db",
        "not a url",
        "x",
    ],
)
def test_an_address_that_is_no_databases_is_refused(exchange: Exchange, url: str) -> None:
    path = f"/resources/{exchange.publish()}/source"
    problem = exchange.call("PUT", path, "civil", Role.CLERK, body=REGISTERED | {"url": url}, expect=422)
    assert problem["errors"][0]["field"].endswith("/url")
