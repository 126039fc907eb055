"""Who may call what: every operation, by every role of every agency that matters to its object, by clients and
by nobody, against a table written by hand from the law (authorisation.csv).

A cell holds a letter for each role (or scope), in the order of ROLES (or SCOPES): A allowed, a allowed though
the content or the moment refuses it here (409, 422), H hidden (404), - denied (401, 403). An empty cell asks
nothing: where there is no object, one agency stands for all.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from fastapi.routing import APIRoute
from sqlalchemy import event

from app.console.install import ROUTERS as PAGES_OF
from app.console.view import LIKE
from app.identity.permissions import REGISTRY
from app.kernel.db import Database
from app.kernel.keys import ServiceKeys
from tests.console.conftest import PAGE
from tests.estate import estate_on
from tests.estate_calls import ROUTES
from tests.stage import PEOPLE, ROLES, ROWS, Stage, letter
from tests.test_interface import headers_of

NOBODYS = "018f0000-0000-7000-8000-00000000ffff"


@pytest.fixture(scope="module")
def stage(
    shared_database: Database, keys: ServiceKeys, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    with estate_on(shared_database, keys, tmp_path_factory.mktemp("data")) as estate:
        everybody = Stage(estate)
        everybody.keep_nothing()
        yield everybody


def test_the_table_has_a_row_for_every_operation(stage: Stage) -> None:
    assert {operation for operation, _ in ROWS} == set(ROUTES)
    assert set(ROWS) == set(stage.estate.calls)


@pytest.mark.parametrize("key", ROWS, ids=" on ".join)
def test_who_may(stage: Stage, key: tuple[str, str]) -> None:
    expected = {
        column: cell for column, cell in ROWS[key].items() if cell and column not in ("operation", "on")
    }
    assert asyncio.run(stage.answers(key, expected)) == expected


HIDDEN = {
    key: (column, place)
    for key, row in ROWS.items()
    for column in PEOPLE
    for place, letter_of_role in enumerate(row[column])
    if letter_of_role == "H"
}


def aside(value: Any) -> Any:
    """The id of what is not there, in the place of an id."""
    if isinstance(value, dict):
        return {name: aside(of_it) for name, of_it in value.items()}
    return NOBODYS if re.fullmatch("[0-9a-f-]{36}", str(value)) else value


async def answered(
    stage: Stage, call: dict[str, Any], real: list[str]
) -> tuple[int, str, dict[str, str], list[str]]:
    """Status, body and headers of the answer, without the ids that were asked for and the request's own; and the
    statements that were executed for it: who measures time measures those."""
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    event.listen(stage.connection, "before_cursor_execute", note)
    try:
        async with stage.caller() as client:
            answer = await client.request(**call)
    finally:
        event.remove(stage.connection, "before_cursor_execute", note)
    headers = dict(answer.headers)
    own = headers.pop("request-id")
    said = answer.text.replace(own, "")
    for id_ in real:
        said = said.replace(id_, NOBODYS)
    # Names of savepoints and of prepared parameters count on.
    return answer.status_code, said, headers, [re.sub(r"sa_savepoint_\d+", "", sent) for sent in statements]


@pytest.mark.parametrize("key", HIDDEN, ids=" on ".join)
def test_what_is_not_yours_looks_like_what_is_not_there(stage: Stage, key: tuple[str, str]) -> None:
    column, place = HIDDEN[key]
    call = stage.estate.calls[key]
    other = replace(call, names=tuple(map(aside, call.names)), body=aside(call.body), query=aside(call.query))
    values = map(str, (*call.names, *call.query.values(), *(call.body or {}).values()))
    real = [value for value in values if aside(value) == NOBODYS]
    credential = stage.people[column][place]
    theirs = asyncio.run(answered(stage, stage.estate.request(key, headers=credential), real))
    nothing = asyncio.run(answered(stage, stage.estate.request(key, other, headers=credential), real))
    if not set(real) <= stage.hidden_from(column, place):  # another operation may tell them of it
        theirs, nothing = (*theirs[:3], []), (*nothing[:3], [])
    assert theirs == nothing
    assert theirs[0] == 404


CHANGES = [key for key in ROWS if "if-match" in headers_of(ROUTES[key[0]].dependant)]


@pytest.mark.parametrize("key", CHANGES, ids=" on ".join)
def test_a_change_rests_on_the_version_that_was_read(stage: Stage, key: tuple[str, str]) -> None:
    """Every one, in every place: without a version 428, with one that is not the current one 412."""
    call = stage.estate.request(key, headers=stage.credential(key))

    async def status(version: str | None) -> int:
        headers = {name: value for name, value in call["headers"].items() if name != "If-Match"}
        async with stage.caller() as client:
            sent = {**call, "headers": headers | ({"If-Match": version} if version else {})}
            return (await client.request(**sent)).status_code

    assert asyncio.run(status(None)) == 428
    assert asyncio.run(status('"999"')) == 412


LISTS: dict[str, dict[str, Any]] = {
    "resource.list": {}, "plan.list": {}, "finding.list": {"waiting": False}, "request.list": {},
    "negotiation.list": {}, "agreement.list": {}, "dispute.list": {}, "person.list": {}, "client.list": {},
}  # fmt: skip


@pytest.mark.parametrize("operation", LISTS)
def test_lists_hold_nothing_that_is_hidden(stage: Stage, operation: str) -> None:
    """Whatever answers 404 to somebody is in none of their lists, and in those of somebody else."""

    async def listed(credential: dict[str, str]) -> str:
        async with stage.caller() as client:
            query = {"limit": 100} | LISTS[operation]
            call = stage.estate.request((operation, "-"), headers=credential, params=query)
            return (await client.request(**call)).text

    row = ROWS[operation, "-"]
    seen, withheld = set(), set()
    for column, place in product(PEOPLE, range(len(ROLES))):
        if (row[column] or row["provider"])[place] != "A":
            continue
        text = asyncio.run(listed(stage.people[column][place]))
        assert '"next":null' in text
        hidden = stage.hidden_from(column, place)
        told = set(re.findall('"id":"([0-9a-f-]{36})"', text))
        assert not hidden & told, (column, ROLES[place])
        seen |= told
        withheld |= hidden
    assert seen & withheld


# --- The console's pages and buttons, by the same table. What a route of the console has to do with the API stands
# on the route: LIKE for pages, its name for the forms of acts.

CONSOLE = [route for router in PAGES_OF for route in router.routes if isinstance(route, APIRoute)]
OF_A_CASE = [route for route in CONSOLE if "{" in route.path]
OF_NO_CASE = [route for route in CONSOLE if "{" not in route.path and "GET" in (route.methods or ())]
FORM = {"sec-fetch-site": "same-origin", "accept": PAGE["accept"]}
REFUSED = "-H"


def kind_of(route: APIRoute) -> str | None:
    """Of the form route of a kind's acts, the kind."""
    found = re.fullmatch(r"console\.(\w+)_act", str(route.operation_id))
    return found[1] if found and route.path.endswith("/{act}") else None


def rows_of(route: APIRoute) -> list[tuple[str, str]]:
    """The rows of the API's table that hold for the route, too."""
    kind = kind_of(route)
    if kind is None:
        return [key for key in ROWS if key[0] == LIKE.get(str(route.operation_id)) and key[1] != "-"]
    return [key for key in ROWS if key[0].startswith(f"{kind}.") and "POST" in (ROUTES[key[0]].methods or ())]


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


@pytest.mark.parametrize("route", OF_NO_CASE, ids=lambda route: route.operation_id)
def test_pages_of_no_case_are_for_their_roles(stage: Stage, route: APIRoute) -> None:
    row = REGISTRY[str(route.operation_id)]
    column = "authority" if row.authority else "provider"
    wanted = ["A" if row.anonymous or role in row.roles else "-" for role in ROLES]
    got = answers(stage, column, {"method": "GET", "url": route.path})
    assert [letter if letter in REFUSED else "A" for letter in got] == wanted


PAGES = [(route, key) for route in OF_A_CASE if "GET" in (route.methods or ()) for key in rows_of(route)]
FORMS = [(route, key) for route in OF_A_CASE if kind_of(route) for key in rows_of(route)]


def same_as_the_table(stage: Stage, route: APIRoute, key: tuple[str, str], **sent: Any) -> None:
    path = re.sub(r"\{id[^}]*\}", str(stage.estate.calls[key].names[0]), route.path)
    for column in PEOPLE:
        wanted = ROWS[key][column]
        got = answers(stage, column, {"url": path.replace("{act}", key[0].partition(".")[2]), **sent})
        shown = [
            (a if a in REFUSED else "A", b if b in REFUSED else "A")
            for a, b in zip(got, wanted, strict=False)
        ]
        assert all(page == table for page, table in shown), f"{column}: {got} instead of {wanted}"


@pytest.mark.parametrize(("route", "key"), PAGES, ids=lambda value: getattr(value, "operation_id", value))
def test_a_page_is_for_whom_the_api_answers(stage: Stage, route: APIRoute, key: tuple[str, str]) -> None:
    same_as_the_table(stage, route, key, method="GET")


@pytest.mark.soak
@pytest.mark.parametrize(("route", "key"), FORMS, ids=lambda value: getattr(value, "operation_id", value))
def test_a_button_is_for_whom_the_api_lets_act(stage: Stage, route: APIRoute, key: tuple[str, str]) -> None:
    version = stage.estate.calls[key].version
    same_as_the_table(stage, route, key, method="POST", data={"version": str(version)})
