"""Fixtures of delivery: the centre in a world whose clock stands, and one that commits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.kernel import clock
from app.kernel.db import Database
from app.kernel.keys import ServiceKeys
from app.main import create_app
from app.settings import Settings
from tests.conftest import PUBLIC_URL
from tests.delivery.systems import (
    GATEWAY_URL,
    Calls,
)
from tests.exchange.world import START, World
from tests.factories import Town


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path, database_url="", public_url=PUBLIC_URL, gateway_url=GATEWAY_URL)


@pytest.fixture
def world(session: Session, town: Town, client: TestClient) -> Iterator[World]:
    """Health asks civil; the clock stands."""
    with clock.frozen(START):
        yield World(session, town, client)


@pytest.fixture
def agreement(world: World) -> dict[str, Any]:
    """In force: name and date of registration, purpose `check`."""
    return world.agreed()


@pytest.fixture
def calls(world: World, agreement: dict[str, Any]) -> Calls:
    return Calls(world, agreement)


@pytest.fixture
def committed(database: Database, keys: ServiceKeys, settings: Settings) -> Iterator[World]:
    """The world on a database of its own, where the service commits."""
    app = create_app(settings, database, keys)
    with (
        clock.frozen(START),
        Session(database.engine, expire_on_commit=False) as own,
        TestClient(app, base_url=PUBLIC_URL) as http,
    ):
        yield World(own, Town(own), http, hand_over=own.commit)
