"""What holds for every route alike, read from the routes themselves: changes name the version they rest on, creations
happen once, lists are paged and linked, representations say what may be done next, problems have stable types."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from app.kernel.errors import Problem
from app.kernel.idempotency import HEADER, ONCE, CreatingRoute
from app.kernel.wire import LinkedRoute, is_page
from tests.estate_calls import ROUTES

DOCUMENT = json.loads((Path(__file__).parent.parent / "docs/openapi.json").read_text("utf-8"))
SAFE = {"GET", "HEAD"}

# Writes that change no version somebody has read, each with its reason.
NO_VERSION = {
    "calendar.import": "a year's arrangement, replaced whole",
    "ckan.post": "reads, with its arguments in a body",
    "client.remove_key": "takes one key away by its id",
    "client.resume": "a switch: done twice it is done",
    "client.suspend": "a switch: done twice it is done",
    "collection.check": "keeps nothing",
    "delegation.end": "done twice it is done",
    "digest.end": "the reader's own, and done twice it is done",
    "digest.subscribe": "the reader's own, replaced whole",
    "element.link": "done twice it is done",
    "element.unlink": "done twice it is done",
    "following.mark_read": "the reader's own, and done twice it is done",
    "following.unfollow": "the reader's own, and done twice it is done",
    "gateway.health": "the last is kept",
    "gateway.lease": "a message that is not the latest is not taken",
    "gateway.receipts": "each receipt is taken once by its id",
    "gateway.source_tested": "the answer to one test is taken once",
    "gateway.pushes": "a gateway tells how far it is; the centre never goes back",
    "grant.revoke": "a switch: done twice it is done",
    "ledger.cosign": "each signature is taken once",
    "me.confirm_second_factor": "the reader's own, confirmed by its code",
    "me.end_session": "the reader's own, and done twice it is done",
    "me.set_language": "the reader's own, replaced whole",
    "me.set_password": "the reader's own, replaced whole",
    "person.end_sessions": "done twice it is done",
    "person.reset_second_factor": "done twice it is done",
    "person.resume": "a switch: done twice it is done",
    "person.suspend": "a switch: done twice it is done",
    "plan_import.rejected": "keeps nothing: the file comes back with its faults",
    "request.check": "keeps nothing",
    "saved_search.remove": "the reader's own, and done twice it is done",
    "session.end": "done twice it is done",
    "source.propose": "keeps nothing",
    "source.test": "the last test replaces the one before",
    "source.connect": "replaced whole by its one owner",
    "token.issue": "RFC 6749",
}  # fmt: skip
# Creations whose answers are not kept.
NOT_ONCE = {
    "grant.issue": "the answer is a credential",
    "import.submit": "the body is a file; the same rows are recognised and change nothing",
    "me.begin_second_factor": "the answer is a secret",
    "person.issue_secret": "the answer is a secret",
    "person.register": "the answer is a secret; a login exists once",
    "plan_import.create": "the body is a file",
    "session.create": "the answer is a credential",
}  # fmt: skip


def headers_of(dependant: Dependant) -> Iterator[str]:
    """The headers that a route or what it depends on asks for."""
    yield from (field.alias.lower() for field in dependant.header_params)
    for inner in dependant.dependencies:
        yield from headers_of(inner)


def writing() -> dict[str, APIRoute]:
    return {name: route for name, route in ROUTES.items() if name and (route.methods or set()) - SAFE}


def test_every_change_names_the_version_it_rests_on() -> None:
    without = {
        name
        for name, route in writing().items()
        if route.status_code != 201 and "if-match" not in headers_of(route.dependant)
    }
    assert without == set(NO_VERSION)


def test_every_creation_happens_once() -> None:
    creating = {name: route for name, route in writing().items() if route.status_code == 201}
    without = {name for name, route in creating.items() if route.openapi_extra is not ONCE}
    assert without == set(NOT_ONCE)
    assert all(isinstance(route, CreatingRoute) for name, route in creating.items() if name not in without)
    documented: set[str] = {
        operation["operationId"]
        for methods in DOCUMENT["paths"].values()
        for operation in methods.values()
        if any(parameter["name"] == HEADER for parameter in operation.get("parameters", []))
    }
    assert documented == set(creating) - without


def test_every_page_is_linked_and_asked_for_by_cursor() -> None:
    pages = {name: route for name, route in ROUTES.items() if is_page(route.response_model)}
    assert len(pages) > 10
    assert all(isinstance(route, LinkedRoute) for route in pages.values())
    for methods in DOCUMENT["paths"].values():
        for operation in methods.values():
            if operation["operationId"] in pages:
                asked = {parameter["name"] for parameter in operation["parameters"]}
                assert {"limit", "cursor"} <= asked, operation["operationId"]


def test_what_has_a_version_says_what_may_be_done_next() -> None:
    """Of what carries both its id and its version: other versions are numbers of what never changes."""
    cases: dict[str, Any] = {
        name: schema["properties"]
        for name, schema in DOCUMENT["components"]["schemas"].items()
        if {"id", "version", "state"} <= schema.get("properties", {}).keys() or name in ("WebhookOut", "QuestionsOut")
    }  # fmt: skip
    without = {name for name, members in cases.items() if "allowed" not in members}
    assert without == set() and len(cases) > 8


def problems(kind: type[Problem] = Problem) -> Iterator[type[Problem]]:
    yield kind
    for inner in kind.__subclasses__():
        yield from problems(inner)


def test_problems_have_types_of_their_own() -> None:
    """One type is one status and one title, wherever it is raised."""
    known: dict[str, tuple[int, str]] = {}
    for kind in problems():
        if kind.__module__.startswith(("app.", "catalog.", "exchange.")):
            told = (kind.status, kind.title.en)
            assert known.setdefault(kind.slug, told) == told, kind
