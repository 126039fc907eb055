"""create_app: the only place where the control plane is put together."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from sqlalchemy import text

from app.identity import permissions
from app.identity.api import router as identity_router
from app.identity.permissions import REGISTRY, operations_of
from app.identity.tokens import TokenIssuer
from app.kernel import http
from app.kernel.db import Database, DbSession
from app.kernel.keys import ServiceKeys
from app.identity.ledger_api import router as ledger_router
from app.settings import Settings

VERSION = "0.1.0"

health = APIRouter(tags=["health"])
permissions.permit("health.live", "health.ready", anonymous=True)


@health.get("/livez", operation_id="health.live", dependencies=[permissions.permitted("health.live")])
def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@health.get("/readyz", operation_id="health.ready", dependencies=[permissions.permitted("health.ready")])
def ready(session: DbSession) -> dict[str, str]:
    """The database answers too."""
    session.execute(text("SELECT 1"))
    return {"status": "ok"}


def create_app(settings: Settings, database: Database, keys: ServiceKeys) -> FastAPI:
    """The control plane on one database. Fails where a route has no policy."""
    app = FastAPI(
        title="政通 Zhengtong",
        version=VERSION,
        description="政务数据共享交换 · Government data sharing exchange",
        openapi_url="/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.state.settings = settings
    app.state.database = database
    app.state.keys = keys
    app.state.tokens = TokenIssuer(settings.public_url, keys.token)
    http.install(app)
    for router in (health, identity_router, ledger_router):
        app.include_router(router)
    require_policies(app)
    return app


def require_policies(app: FastAPI) -> None:
    """Errors: RuntimeError naming every route that no single registered operation guards."""
    unguarded = []
    for route in app.routes:
        if isinstance(route, APIRoute):
            operations = operations_of(route)
            if len(operations) != 1 or operations[0] not in REGISTRY or route.operation_id != operations[0]:
                unguarded.append(f"{sorted(route.methods or ())} {route.path}: {operations}")
    if unguarded:
        raise RuntimeError("routes without exactly one policy of their own name:\n" + "\n".join(unguarded))
