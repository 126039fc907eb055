"""The people and systems of the estate with their credentials, and what the table (authorisation.csv) allows them."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import cast

import httpx2
from fastapi import FastAPI
from sqlalchemy import Connection
from sqlalchemy.orm import Session

from app.kernel.actor import Role, Scope
from tests.conftest import PUBLIC_URL, OneTransaction, bound
from tests.delivery.systems import system
from tests.estate import Estate

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
        with (
            bound(self.connection),
            Session(
                self.connection, join_transaction_mode="create_savepoint", expire_on_commit=False
            ) as session,
        ):
            yield session
            session.flush()
            session.expunge_all()  # what was read stays readable, as after a commit
            session.rollback()


class Stage:
    """The estate, and a credential for everybody."""

    def __init__(self, estate: Estate) -> None:
        self.estate, world = estate, estate.world
        self.people = {
            column: [world.headers(agency, role) for role in ROLES] for column, agency in PEOPLE.items()
        }
        self.systems = {
            column: [system(world, agency, scope).headers() for scope in SCOPES]
            for column, agency in SYSTEMS.items()
        }
        world.session.commit()
        self.app = cast(FastAPI, world.client.app)
        self.connection: Connection = self.app.state.database.connection

    def of(self, *columns: str) -> dict[str, dict[str, str]]:
        """The credentials of everybody in these columns, by column and place in ROLES."""
        return {f"{column} {n}": held for column in columns for n, held in enumerate(self.people[column])}

    def keep_nothing(self) -> None:
        """From now on every call leaves the estate as it was."""
        self.app.state.database = TakenBack(self.app.state.database, self.connection)

    def credential(self, key: tuple[str, str]) -> dict[str, str]:
        """Of the first in the table who may make the call."""
        held = self.people | self.systems
        for letter_wanted in "Aa":
            for column in held:
                if letter_wanted in ROWS[key][column]:
                    return held[column][ROWS[key][column].index(letter_wanted)]
        return {}

    @asynccontextmanager
    async def caller(self) -> AsyncIterator[httpx2.AsyncClient]:
        """A client on the application itself: seven thousand calls need no more than that."""
        transport = httpx2.ASGITransport(self.app)
        async with httpx2.AsyncClient(transport=transport, base_url=PUBLIC_URL) as client:
            yield client

    async def answers(self, key: tuple[str, str], columns: Iterable[str]) -> dict[str, str]:
        """What the call answers to everybody in these columns of the table."""
        nobody: dict[str, str] = {}
        credentials = {"nobody": [nobody]} | self.people | self.systems
        async with self.caller() as client:

            async def answer(credential: dict[str, str]) -> str:
                call = self.estate.request(key, headers=credential)
                return letter((await client.request(**call)).status_code)

            return {
                column: "".join([await answer(credential) for credential in credentials[column]])
                for column in columns
            }

    def hidden_from(self, column: str, place: int) -> set[str]:
        """The ids of all that this agency's person of ROLES[place] may not know of by any operation."""
        ids: dict[str, set[str]] = defaultdict(set)
        for key, row in ROWS.items():
            ids[row[column][place : place + 1]] |= {str(name) for name in self.estate.calls[key].names}
        return ids["H"] - ids["A"] - ids["a"]


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
