"""Who may see which page and press which button: what the table of the API says (authorisation.csv), for every route
of the console. What a route has to do with the API stands on the route: LIKE for pages, its name for acts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.routing import APIRoute

from app.identity.permissions import REGISTRY
from app.kernel.db import Database
from app.kernel.keys import ServiceKeys
from tests.console.conftest import PAGE
from tests.console.routes import OF_A_CASE, OF_NO_CASE, address_of, kind_of, rows_of
from tests.estate import estate_on
from tests.stage import PEOPLE, ROLES, ROWS, Stage, letter

FORM = {"sec-fetch-site": "same-origin", "accept": PAGE["accept"]}
REFUSED = "-H"


@pytest.fixture(scope="module")
def stage(
    shared_database: Database, keys: ServiceKeys, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    with estate_on(shared_database, keys, tmp_path_factory.mktemp("data")) as estate:
        everybody = Stage(estate)
        everybody.keep_nothing()
        yield everybody


@pytest.mark.parametrize("route", OF_A_CASE, ids=lambda route: route.operation_id)
def test_every_route_of_a_case_is_in_the_table(route: APIRoute) -> None:
    assert rows_of(route), (
        f"{route.path}: permit_page(like=…) an operation of the API with rows in authorisation.csv"
    )


def answers(stage: Stage, column: str, sent: dict[str, Any]) -> str:
    """What everybody of a column gets, in the order of ROLES."""

    async def ask() -> str:
        async with stage.caller() as client:
            return "".join([
                letter_of(await client.request(**sent, headers={**FORM, **credential}))
                for credential in stage.people[column]
            ])  # fmt: skip

    return asyncio.run(ask())


def letter_of(answer: Any) -> str:
    to_sign_in = answer.status_code == 303 and answer.headers["location"].startswith("/sign-in")
    return "-" if to_sign_in else letter(answer.status_code)


@pytest.mark.soak
@pytest.mark.parametrize("route", OF_NO_CASE, ids=lambda route: route.operation_id)
def test_pages_of_no_case_are_for_their_roles(stage: Stage, route: APIRoute) -> None:
    row = REGISTRY[str(route.operation_id)]
    column = "authority" if row.authority else "provider"
    wanted = ["A" if row.anonymous or role in row.roles else "-" for role in ROLES]
    got = answers(stage, column, {"method": "GET", "url": route.path})
    assert [letter if letter in REFUSED else "A" for letter in got] == wanted


PAGES = [(route, key) for route in OF_A_CASE if "GET" in (route.methods or ()) for key in rows_of(route)]
FORMS = [
    (route, key)
    for route in OF_A_CASE
    if kind_of(route) and "POST" in (route.methods or ())
    for key in rows_of(route)
]


def same_as_the_table(stage: Stage, route: APIRoute, key: tuple[str, str], **sent: Any) -> None:
    call = stage.estate.calls[key]
    path = address_of(route, key, call)
    for column in PEOPLE:
        wanted = ROWS[key][column]
        got = answers(stage, column, {"url": path, **sent})
        told = zip(got, wanted, strict=False)
        assert all(fits(page, table, route) for page, table in told), f"{column}: {got} instead of {wanted}"


def fits(page: str, table: str, route: APIRoute) -> bool:
    """Whether a page answers as the table has it. An act tells whoever may know of the case that it is not open to
    them (409), where the API refuses the wrong party (403)."""
    if page == "a" and table == "-":
        return kind_of(route) is not None
    return (page if page in REFUSED else "A") == (table if table in REFUSED else "A")


@pytest.mark.soak
@pytest.mark.parametrize(("route", "key"), PAGES, ids=lambda value: getattr(value, "operation_id", value))
def test_a_page_is_for_whom_the_api_answers(stage: Stage, route: APIRoute, key: tuple[str, str]) -> None:
    same_as_the_table(stage, route, key, method="GET")


@pytest.mark.soak
@pytest.mark.parametrize(("route", "key"), FORMS, ids=lambda value: getattr(value, "operation_id", value))
def test_a_button_is_for_whom_the_api_lets_act(stage: Stage, route: APIRoute, key: tuple[str, str]) -> None:
    version = stage.estate.calls[key].version
    same_as_the_table(stage, route, key, method="POST", data={"version": str(version), "reason": "依法处理"})
