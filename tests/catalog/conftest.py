"""Fixture of collection: a bureau whose clock stands at a golden case of the working-day rules."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.kernel import clock
from tests.catalog.bureau import NOON, Bureau
from tests.factories import Town


@pytest.fixture
def bureau(client: TestClient, session: Session, town: Town) -> Iterator[Bureau]:
    with clock.frozen(NOON):
        yield Bureau(client, session, town)
