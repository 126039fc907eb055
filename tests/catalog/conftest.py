"""Fixtures of the catalog: a bureau whose clock stands at a golden case of the working-day rules, and the schema
of DCAT-US 3."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.kernel import clock
from tests.catalog.bureau import NOON, Bureau
from tests.factories import Town

US_DEFINITIONS = "dcat-shapes/dcat-us-3/jsonschema/definitions"


@pytest.fixture
def bureau(client: TestClient, session: Session, town: Town) -> Iterator[Bureau]:
    with clock.frozen(NOON):
        yield Bureau(client, session, town)


@pytest.fixture
def us_schema(shared_data: Path) -> Draft202012Validator:
    registry: Registry[Any] = Registry()
    for file in (shared_data / US_DEFINITIONS).glob("*.json"):
        registry = Resource.from_contents(json.loads(file.read_bytes())) @ registry
    return Draft202012Validator(
        {"$ref": "https://resources.data.gov/dcat-us/3.0.0/definitions/catalog"}, registry=registry
    )
