"""The console put on the application: its pages, its one stylesheet, and problems as pages."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from app.console.pages import (
    account,
    administration,
    agreements,
    audits,
    catalog,
    collection,
    corrections,
    disputes,
    endpoints,
    gateways,
    help,
    home,
    imports,
    ledger,
    negotiations,
    oversight,
    records,
    requests,
    resources,
)
from app.console.problem import problem_page
from app.console.view import STATIC

ROUTERS = (
    home.router,
    account.router,
    catalog.router,
    resources.router,
    records.router,
    imports.router,
    requests.router,
    negotiations.router,
    agreements.router,
    audits.router,
    corrections.router,
    gateways.router,
    disputes.router,
    endpoints.router,
    collection.router,
    oversight.router,
    ledger.router,
    administration.router,
    help.router,
)


class StaticFolder(StaticFiles):
    """Files that change their address with their content, so that browsers keep them."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "public, max-age=604800"
        return response


def install_console(app: FastAPI) -> None:
    """Put the pages beside the API. Each of `ROUTERS` holds to the API's rule of one door for each route."""
    for router in ROUTERS:
        app.include_router(router)
    app.mount("/static", StaticFolder(directory=STATIC), name="static")
    app.state.problem_page = problem_page
