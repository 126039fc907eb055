"""Fixtures of the exchange: a world whose clock stands at a golden case of the working-day rules."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.kernel import clock
from tests.exchange.world import START, World
from tests.factories import Town


@pytest.fixture
def world(session: Session, client: TestClient) -> Iterator[World]:
    """Friday 2026-09-18; the clock stands still."""
    with clock.frozen(START):
        yield World(session, Town(session), client)
