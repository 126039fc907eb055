"""create_app: the only place where the control plane is put together."""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from sqlalchemy import text

from app.console import install as console
from app.described import Described
from app.identity import permissions
from app.identity.api import router as identity_router
from app.identity.calendars_api import router as calendars_router
from app.identity.clients import PublishedKeys, fetch_by
from app.identity.clients_api import router as clients_router
from app.identity.grants_api import router as grants_router
from app.identity.ledger_api import router as ledger_router
from app.identity.people_api import router as people_router
from app.identity.permissions import REGISTRY, operations_of
from app.identity.provider import ProviderLink, read_provider
from app.identity.provider_api import CALLBACK
from app.identity.provider_api import router as provider_router
from app.identity.tokens import TokenIssuer
from app.identity.witnesses_api import router as witnesses_router
from app.kernel import http
from app.kernel.db import Database, DbSession
from app.kernel.keys import ServiceKeys
from app.kernel.limits import Limiter
from app.settings import Settings
from catalog.collection import checking
from catalog.collection.api import router as collection_router
from catalog.collection.audit_runs_api import router as audit_runs_router
from catalog.collection.import_api import router as plan_imports_router
from catalog.collection.meaning import SentenceEncoder
from catalog.collection.oversight_api import router as oversight_router
from catalog.collection.sketch_api import router as sketch_router
from catalog.disclosure import router as disclosure_router
from catalog.elements.api import router as elements_router
from catalog.following.api import router as following_router
from catalog.harvest.api import router as harvest_router
from catalog.imports.api import router as imports_router
from catalog.imports.exports_api import router as exports_router
from catalog.imports.mappings_api import router as mappings_router
from catalog.interop.ckan_api import router as ckan_router
from catalog.interop.dcat_api import router as dcat_router
from catalog.interop.records_api import router as records_router
from catalog.quality.api import router as quality_router
from catalog.resources import use
from catalog.resources.api import router as resources_router
from catalog.resources.review_api import router as review_router
from catalog.search.api import router as search_router
from catalog.search.index import CatalogIndex
from exchange import use as exchange_use
from exchange.agreements.api import router as agreements_router
from exchange.corrections.api import router as corrections_router
from exchange.delivery.api import router as delivery_router
from exchange.delivery.changes import Changes
from exchange.delivery.gateways_api import router as gateways_router
from exchange.delivery.push.api import router as pushes_router
from exchange.delivery.uses_api import router as uses_router
from exchange.disputes.api import router as disputes_router
from exchange.disputes.precedents import router as rulings_router
from exchange.negotiations.api import router as negotiations_router
from exchange.policies.api import router as policies_router
from exchange.requests.api import narrower as narrower_router
from exchange.requests.api import router as requests_router
from exchange.requests.question_sets import router as question_sets_router
from exchange.supervision.api import router as supervision_router
from exchange.telling.api import router as telling_router

VERSION = "0.1.0"

use.told_by(exchange_use.use_of)

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


ROUTERS = (
    health,
    identity_router,
    calendars_router,
    clients_router,
    people_router,
    grants_router,
    provider_router,
    ledger_router,
    witnesses_router,
    resources_router,
    review_router,
    elements_router,
    quality_router,
    following_router,
    disclosure_router,
    imports_router,
    mappings_router,
    exports_router,
    harvest_router,
    search_router,
    dcat_router,
    ckan_router,
    records_router,
    collection_router,
    sketch_router,
    plan_imports_router,
    audit_runs_router,
    oversight_router,
    requests_router,
    narrower_router,
    negotiations_router,
    question_sets_router,
    policies_router,
    agreements_router,
    disputes_router,
    rulings_router,
    corrections_router,
    delivery_router,
    gateways_router,
    uses_router,
    pushes_router,
    telling_router,
    supervision_router,
)


def create_app(settings: Settings, database: Database, keys: ServiceKeys) -> FastAPI:
    """The control plane on one database. Fails where a route has no policy."""
    app = Described(
        title="政通 Zhengtong",
        version=VERSION,
        description="政务数据共享交换 · Government data sharing exchange",
        openapi_url="/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    stand_on(app, settings, database, keys)
    routes = require_policies((*ROUTERS, *console.ROUTERS))
    http.install(app, routes, https=settings.public_url.startswith("https:"))
    for router in ROUTERS:
        app.include_router(router)
    console.install_console(app)
    return app


def stand_on(app: FastAPI, settings: Settings, database: Database, keys: ServiceKeys) -> None:
    """Put an application, whose routes are the same everywhere, on a database."""
    app.state.settings = settings
    app.state.database = database
    app.state.keys = keys
    app.state.index = CatalogIndex.open(settings.index)
    app.state.tokens = TokenIssuer(settings.public_url, keys.token)
    app.state.published_keys = PublishedKeys(fetch_by(settings.outbound))
    app.state.limiter = Limiter()
    app.state.changes = Changes(database.url)
    app.state.provider = _provider(settings, database)
    if settings.embeddings:
        checking.use_meaning(database.engine, SentenceEncoder())


def _provider(settings: Settings, database: Database) -> ProviderLink | None:
    """The identity provider that people sign in at, where the operator names one."""
    if settings.identity_provider is None:
        return None
    provider = read_provider(settings.identity_provider)
    return ProviderLink(provider, settings.public_url + CALLBACK, database, settings.outbound)


def require_policies(routers: Iterable[APIRouter]) -> list[APIRoute]:
    """Every route. Errors: RuntimeError naming those that no single registered operation of its own name guards."""
    unguarded, guarded = [], []
    for router in routers:
        for route in router.routes:
            operations = operations_of(route) if isinstance(route, APIRoute) else []
            if isinstance(route, APIRoute):
                guarded.append(route)
            operation_id = getattr(route, "operation_id", None)
            if len(operations) != 1 or operations[0] not in REGISTRY or operation_id != operations[0]:
                unguarded.append(f"{getattr(route, 'path', route)}: {operations}")
    if unguarded:
        raise RuntimeError("routes without exactly one policy of their own name:\n" + "\n".join(unguarded))
    return guarded
