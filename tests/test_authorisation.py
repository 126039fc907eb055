"""Who may call what: every operation, by every role of every agency that matters to its object, by clients and
by nobody, against a table written by hand from the law (authorisation.csv).

A cell holds a letter for each role (or scope), in the order of ROLES (or SCOPES): A allowed, a allowed though
the content or the moment refuses it here (409, 422), H hidden (404), - denied (401, 403). An empty cell asks
nothing: where there is no object, one agency stands for all.
"""

from __future__ import annotations

import asyncio
import io
import re
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import httpx2
import pytest
from sqlalchemy import event

from app.kernel.db import Database
from app.kernel.keys import ServiceKeys
from tests.estate import estate_on
from tests.estate_calls import ROUTES
from tests.stage import PEOPLE, ROLES, ROWS, Stage
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


OF_NO_OBJECT = [key for key in ROWS if key[1] == "-" and ROUTES[key[0]].methods == {"GET"}]


def unpacked(content: bytes) -> bytes:
    """The content, of a workbook that of its parts."""
    if not content.startswith(b"PK"):
        return content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return b"".join(map(archive.read, archive.namelist()))


@pytest.mark.parametrize("key", OF_NO_OBJECT, ids=lambda key: key[0])
def test_lists_figures_facets_suggestions_and_exports_name_nothing_hidden(
    stage: Stage, key: tuple[str, str]
) -> None:
    """To strangers of the city and of elsewhere; that there is less to count, test_search.py shows."""

    async def answer(credential: dict[str, str]) -> httpx2.Response:
        async with stage.caller() as client:
            return await client.request(**stage.estate.request(key, headers=credential))

    row = ROWS[key]
    for column in ("stranger", "elsewhere"):
        place = (row[column] or row["provider"]).find("A")
        if place < 0:
            continue
        told, hidden = asyncio.run(answer(stage.people[column][place])), stage.hidden_from(column, place)
        assert told.status_code < 400
        assert hidden
        found = unpacked(told.content)
        assert [name for name in hidden if name.encode() in found] == []
