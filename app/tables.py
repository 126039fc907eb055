"""Every table of the product, gathered for migrations, and every machine, for the guarding trigger."""

from __future__ import annotations

import importlib

from sqlalchemy import MetaData

from app.kernel.db import Base
from app.kernel.machine import Machine

MODEL_MODULES = (
    "app.kernel.history",
    "app.kernel.deadlines",
    "app.kernel.ledger",
    "app.kernel.cosigning",
    "app.kernel.timestamping",
    "app.kernel.idempotency",
    "app.identity.models",
    "app.identity.reads",
    "app.identity.grants",
    "catalog.resources.models",
    "catalog.harvest.models",
    "catalog.imports.models",
    "catalog.elements.models",
    "catalog.quality.models",
    "catalog.following.models",
    "catalog.disclosure",
    "catalog.collection.models",
    "exchange.requests.models",
    "exchange.policies.models",
    "exchange.negotiations.models",
    "exchange.agreements.models",
    "exchange.disputes.models",
    "exchange.attachments",
    "exchange.telling.models",
    "exchange.corrections.models",
    "exchange.delivery.models",
    "exchange.delivery.push.models",
)
MACHINE_MODULES = (
    "app.identity.grants",
    "app.identity.witnesses",
    "catalog.resources.states",
    "catalog.imports.states",
    "catalog.harvest.states",
    "catalog.elements.states",
    "catalog.collection.states",
    "exchange.requests.states",
    "exchange.policies.states",
    "exchange.negotiations.states",
    "exchange.agreements.states",
    "exchange.disputes.states",
    "exchange.corrections.states",
    "exchange.delivery.states",
    "exchange.delivery.push.states",
)


def _load(name: str) -> object | None:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and name.startswith(error.name):
            return None
        raise


for _name in MODEL_MODULES:
    _load(_name)

metadata: MetaData = Base.metadata


def machines() -> list[Machine]:
    """Every state machine of the product."""
    return [machine for name in MACHINE_MODULES for machine in _machines_in(_load(name))]


def _machines_in(module: object | None) -> list[Machine]:
    return [v for v in vars(module).values() if isinstance(v, Machine)] if module else []
