"""How the operations of the estate are called: the request of each, and where it goes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from fastapi.routing import APIRoute

from app.kernel.actor import Role
from app.main import ROUTERS
from tests.delivery.systems import System
from tests.exchange.world import Json, World

CLERK, APPROVER, MEDIATOR = Role.CLERK, Role.APPROVER, Role.MEDIATOR
CATALOG = Role.CATALOG_ADMINISTRATOR
NOT_THERE = "018f0000-0000-7000-8000-00000000fffe"
WHY = {"reason": "依法处理"}
ROUTES = {
    route.operation_id: route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)
}


@dataclass(frozen=True)
class Call:
    """What is sent beside the credential. `names` fill the path; `version` goes into If-Match."""

    names: tuple[Any, ...] = ()
    body: Any = None
    version: int | None = None
    query: dict[str, Any] = field(default_factory=dict)
    form: dict[str, str] | None = None
    file: bytes | None = None


def on(case: Json, body: Any = None, **more: Any) -> Call:
    """A call on a case as it was last read."""
    return Call((case["id"],), body, case.get("version"), **more)


class Part:
    """`calls` by (operation, what it is called on); every one succeeds for who may. The parts of the estate add
    theirs, and find here what they share."""

    resource: UUID
    agreement: Json
    newcomer: System

    def __init__(self, world: World) -> None:
        self.world = world
        self.calls: dict[tuple[str, str], Call] = {}

    def request(self, key: tuple[str, str], call: Call | None = None, **changes: Any) -> dict[str, Any]:
        """The arguments of an HTTP client's `request` that make the call (or another one of that operation),
        `changes` among them; headers add up."""
        call = call or self.calls[key]
        method, url = address(key[0], call.names)
        sent: dict[str, Any] = {"method": method, "url": url, "params": call.query, "headers": {}}
        if call.version is not None:
            sent["headers"]["If-Match"] = f'"{call.version}"'
        if call.body is not None:
            sent["json"] = call.body
        if call.form is not None:
            sent["data"] = call.form
        if call.file is not None:
            sent["files"] = {"file": ("附件.pdf" if call.file[:4] == b"%PDF" else "目录.xlsx", call.file)}
        return {**sent, **changes, "headers": sent["headers"] | changes.get("headers", {})}

    def _add(self, operations: str, on_what: str, call: Call) -> None:
        for operation in operations.split():
            self.calls[operation, on_what] = call


def address(operation: str, names: tuple[Any, ...] = ()) -> tuple[str, str]:
    """The method and path of an operation, the path's parameters filled with `names` in order."""
    route = ROUTES[operation]
    (method,) = route.methods or {"GET"}
    values = iter(names)
    return method, re.sub(r"\{[^}]+\}", lambda _: str(next(values)), route.path)
