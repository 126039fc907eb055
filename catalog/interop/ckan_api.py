"""CKAN's action API over HTTP: `/api/3/action/<name>` and `/api/action/<name>`, by GET and by POST.

Owns the envelope and the error types that CKAN clients know; they read no problem documents.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from app.identity.permissions import permit, permitted
from app.kernel.actor import Actor, Scope
from app.kernel.db import DbSession
from app.kernel.errors import NotFound
from catalog.interop.ckan_actions import ACTIONS, Asking
from catalog.interop.ckan_query import QueryNotUnderstood
from catalog.interop.entries import ThisSite
from catalog.search.api import OpenIndex

router = APIRouter(tags=["interoperability"])

permit("ckan.get", "ckan.post", anonymous=True, scope=Scope.CATALOG)

_LISTS = ("fq_list", "facet.field")


async def _posted(request: Request) -> dict[str, Any] | None:
    """The arguments of a POST; CKAN reads a body as JSON whatever its type says. None where it is no object."""
    body = await request.body()
    if not body.strip():
        return {}
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return given if isinstance(given, dict) else None


# CKAN refuses by its own envelope, and an action it does not know by a sentence.
REFUSED: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "拒绝 / refused, as CKAN does", "content": {"application/json": {"schema": {}}}}
}


@router.get("/api/3/action/{action}", operation_id="ckan.get", responses=REFUSED)
@router.get("/api/action/{action}", operation_id="ckan.get", include_in_schema=False)
def get_action(
    action: str,
    request: Request,
    actor: Annotated[Actor, permitted("ckan.get")],
    session: DbSession,
    index: OpenIndex,
    site: ThisSite,
) -> Response:
    """One action of CKAN's read API, its arguments in the query."""
    query = request.query_params
    given: dict[str, Any] = {name: query[name] for name in query}
    given |= {name: query.getlist(name) for name in _LISTS if len(query.getlist(name)) > 1}
    return _answer(action, given, Asking(session, index, actor, site))


@router.post("/api/3/action/{action}", operation_id="ckan.post", responses=REFUSED)
@router.post("/api/action/{action}", operation_id="ckan.post", include_in_schema=False)
def post_action(
    action: str,
    given: Annotated[dict[str, Any] | None, Depends(_posted)],
    actor: Annotated[Actor, permitted("ckan.post")],
    session: DbSession,
    index: OpenIndex,
    site: ThisSite,
) -> Response:
    """One action of CKAN's read API, its arguments as a JSON object."""
    return _answer(action, given, Asking(session, index, actor, site))


def _answer(name: str, given: dict[str, Any] | None, asking: Asking) -> Response:
    action = ACTIONS.get(name)
    if action is None:
        return JSONResponse(f"Bad request - Action name not known: {name}", 400)
    if given is None:
        return JSONResponse("Bad request - JSON Error: the body is not a JSON object", 400)
    envelope: dict[str, Any] = {"help": f"{asking.site.url}/api/3/action/help_show?name={name}"}
    try:
        result = action.call(asking, given)
    except NotFound:
        status, error = 404, {"__type": "Not Found Error", "message": "Not found"}
    except QueryNotUnderstood as problem:
        status = 400
        error = {"__type": "Search Query Error", "message": f"Search Query is invalid: {problem}"}
    except ValidationError as problem:
        status, error = 409, {"__type": "Validation Error", **_faults(problem)}
    else:
        return JSONResponse({**envelope, "success": True, "result": result})
    return JSONResponse({**envelope, "success": False, "error": error}, status)


def _faults(problem: ValidationError) -> dict[str, Any]:
    """The members at fault, each with what is wrong, as CKAN says it."""
    faults: dict[str, Any] = {}
    for error in problem.errors():
        words = "Missing value" if error["type"] == "missing" else error["msg"]
        faults.setdefault(str(error["loc"][0]) if error["loc"] else "message", []).append(words)
    return faults
