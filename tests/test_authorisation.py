"""Who may call what: every operation, by every role of every agency that matters to its object, by clients and
by nobody, against a table written by hand from the law (authorisation.csv).

A cell holds a letter for each role (or scope), in the order of ROLES (or SCOPES): A allowed, a allowed though
the content or the moment refuses it here (409, 422), H hidden (404), - denied (401, 403). An empty cell asks
nothing: where there is no object, one agency stands for all.
"""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import httpx2
import pytest
from fastapi import FastAPI
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.kernel import clock
from app.kernel.actor import Role, Scope
from app.kernel.db import Database
from app.kernel.keys import ServiceKeys
from app.main import create_app
from app.settings import Settings
from tests.conftest import PUBLIC_URL, OneTransaction
from tests.delivery.systems import GATEWAY_URL, system
from tests.estate import ROUTES, Estate
from tests.exchange.world import START, World
from tests.factories import Town

ROLES = (
    Role.CLERK, Role.APPROVER, Role.CATALOG_ADMINISTRATOR, Role.MEDIATOR, Role.SYSTEM_ADMINISTRATOR,
    Role.SECURITY_ADMINISTRATOR, Role.AUDIT_ADMINISTRATOR,
)  # fmt: skip
SCOPES = (Scope.CATALOG, Scope.CLERK, Scope.PULL, Scope.GATEWAY)
# The columns of the table: what each agency is to the objects of the estate.
PEOPLE = {
    "provider": "civil",  # also the owner of plans
    "requester": "health",
    "authority": "city_authority",  # of both
    "above": "province_authority",
    "stranger": "market",  # of the same city
    "elsewhere": "east_authority",  # of a district below
}
SYSTEMS = {
    "provider's systems": "civil",
    "requester's systems": "health",
    "authority's systems": "city_authority",
    "stranger's systems": "market",
}

with (Path(__file__).parent / "authorisation.csv").open(encoding="utf-8") as table:
    ROWS = {(row["operation"], row["on"]): row for row in csv.DictReader(table)}


class TakenBack(OneTransaction):
    """A Database that keeps nothing: every request finds the estate as it was built."""

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        with Session(
            self.connection, join_transaction_mode="create_savepoint", expire_on_commit=False
        ) as session:
            yield session
            session.flush()
            session.expunge_all()  # what was read stays readable, as after a commit
            session.rollback()


class Stage:
    """The estate, and a credential for everybody."""

    def __init__(self, database: OneTransaction, client: TestClient, keys: ServiceKeys) -> None:
        session = Session(
            database.connection, join_transaction_mode="create_savepoint", expire_on_commit=False
        )
        self.app = cast(FastAPI, client.app)
        self.world = World(session, Town(session), client)
        self.estate = Estate(self.world, keys.ledger)
        self.people = {
            column: [self.world.headers(agency, role) for role in ROLES] for column, agency in PEOPLE.items()
        }
        self.systems = {
            column: [system(self.world, agency, scope).headers() for scope in SCOPES]
            for column, agency in SYSTEMS.items()
        }
        session.commit()
        self.app.state.database = TakenBack(database, database.connection)

    async def answers(self, key: tuple[str, str], columns: Iterable[str]) -> dict[str, str]:
        """What the call answers to everybody in these columns of the table."""
        nobody: dict[str, str] = {}
        credentials = {"nobody": [nobody]} | self.people | self.systems
        transport = httpx2.ASGITransport(self.app)
        async with httpx2.AsyncClient(transport=transport, base_url=PUBLIC_URL) as client:

            async def answer(credential: dict[str, str]) -> str:
                return letter(
                    (await client.request(**self.estate.request(key, headers=credential))).status_code
                )

            return {
                column: "".join([await answer(credential) for credential in credentials[column]])
                for column in columns
            }


def letter(status: int) -> str:
    """The table's letter for a status; the status itself where the table has none."""
    match status:
        case 401 | 403:
            return "-"
        case 404:
            return "H"
        case 409 | 422:
            return "a"
        case _:
            return "A" if 200 <= status < 400 else str(status)


@pytest.fixture(scope="module")
def stage(
    shared_database: Database, keys: ServiceKeys, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    settings = Settings(
        data=tmp_path_factory.mktemp("data"), database_url="", public_url=PUBLIC_URL, gateway_url=GATEWAY_URL
    )
    with shared_database.engine.connect() as connection, clock.frozen(START):
        outer = connection.begin()
        database = OneTransaction(shared_database, connection)
        with TestClient(create_app(settings, database, keys), base_url=PUBLIC_URL) as client:
            yield Stage(database, client, keys)
        outer.rollback()


def test_the_table_has_a_row_for_every_operation(stage: Stage) -> None:
    assert {operation for operation, _ in ROWS} == set(ROUTES)
    assert set(ROWS) == set(stage.estate.calls)


@pytest.mark.parametrize("key", ROWS, ids=" on ".join)
def test_who_may(stage: Stage, key: tuple[str, str]) -> None:
    expected = {
        column: cell for column, cell in ROWS[key].items() if cell and column not in ("operation", "on")
    }
    assert asyncio.run(stage.answers(key, expected)) == expected
