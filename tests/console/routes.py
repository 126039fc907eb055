"""The console's routes, and which rows of the API's table (authorisation.csv) hold for each."""

from __future__ import annotations

import re

from fastapi.routing import APIRoute

from app.console.install import ROUTERS
from app.console.view import LIKE
from tests.estate_calls import ROUTES as API
from tests.estate_calls import Call
from tests.stage import ROWS

ROUTES = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
WITHOUT_ROWS = {"console.end_session", "console.help_machine"}  # one's own; for everybody
OF_A_CASE = [route for route in ROUTES if "{" in route.path and route.operation_id not in WITHOUT_ROWS]
OF_NO_CASE = [route for route in ROUTES if "{" not in route.path and "GET" in (route.methods or ())]

# Done by a form or a page of their own, as routes of their own.
WITHOUT_PAGE = {"request.reuse", "negotiation.request_narrower", "plan.amend", "gateway.amend"}


def kind_of(route: APIRoute) -> str | None:
    """Of the routes of a kind's acts, the act's page and its doing, the kind."""
    found = re.fullmatch(r"console\.(\w+)_(?:act|step)", str(route.operation_id))
    return found[1] if found and route.path.endswith("/{act}") else None


def rows_of(route: APIRoute) -> list[tuple[str, str]]:
    """The rows of the API's table that hold for the route, too."""
    kind = kind_of(route)
    if kind is None:
        return [key for key in ROWS if key[0] == LIKE.get(str(route.operation_id)) and key[1] != "-"]
    return [
        key
        for key in ROWS
        if key[0].startswith(f"{kind}.") and key[0] not in WITHOUT_PAGE and re.fullmatch(rf".*\}}/{key[0].partition('.')[2]}", API[key[0]].path)
        and "POST" in (API[key[0]].methods or ())
    ]  # fmt: skip


def address_of(route: APIRoute, key: tuple[str, str], call: Call) -> str:
    """Where the console answers what the table's row calls."""
    names = iter((*call.names, *call.query.values()))  # a list of a case's own asks for the case
    path = re.sub(r"\{\w*id:uuid\}", lambda _: str(next(names)), route.path)
    return path.replace("{act}", key[0].partition(".")[2])
