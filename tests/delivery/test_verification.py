"""核验: yes or no and nothing more, at a gateway over HTTP; and how often one may be wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from exchange.compiler import OutsideTerms, compile_question
from exchange.delivery.guessing import WRONG_IN_ALL, WRONG_OF_ONE, Guesses, TooManyGuesses
from exchange.delivery.protocol import HttpSource
from exchange.scope import ScopeInvalid
from exchange.terms import ItemTerm, LastN, Method
from tests.delivery.agreed import QUOTA, RECORDS, RESOURCE, agreed
from tests.delivery.world import World, paged, running_world

ITEMS = (ItemTerm(code="name"), ItemTerm(code="credit_code", mask=LastN(keep=4)), ItemTerm(code="capital"))
THIRD = {"name": "企业3", "credit_code": "914403000000000003", "capital": 300}  # within the scope
AT = datetime(2026, 9, 18, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running_world(tmp_path_factory.mktemp("gateway")) as running:
        yield running


def verified(world: World, **changed: Any) -> str:
    source = HttpSource(url=world.provider.serves("/companies", paged(RECORDS)), records_path="data")
    terms = agreed(items=ITEMS, method=Method.VERIFICATION, **changed)
    return world.centre.agree(terms, {str(RESOURCE): source})


def test_the_answer_is_yes_or_no_and_the_receipt_holds_no_value(world: World) -> None:
    agreement = verified(world)
    token = world.centre.grant(agreement)
    for values, answer in (
        (THIRD, "yes"),
        ({"credit_code": THIRD["credit_code"]}, "yes"),  # masked in records, yet may be asked about
        (THIRD | {"capital": 301}, "no"),
        (THIRD | {"capital": "300"}, "no"),  # a text is no number
        ({"name": "企业4"}, "no"),  # exists, but outside the scope: no different from what does not exist
    ):
        told = world.gateway.ask(agreement, RESOURCE, token, values)
        assert (told.status_code, told.json()) == (200, {"answer": answer}), values
        receipt = world.centre.receipt(told.headers["zhengtong-receipt"])
        assert (receipt.call.method, receipt.outcome.result, receipt.outcome.rows) == (
            "verification",
            "delivered",
            0,
        )
        assert receipt.call.items == tuple(values)
        assert "企业" not in json.dumps(receipt.call.items, ensure_ascii=False)


@pytest.mark.parametrize(
    ("body", "status", "slug"),
    [
        ({"purpose": "P1", "values": {"secret": "never"}}, 403, "item-not-agreed"),
        ({"purpose": "P9", "values": {"name": "x"}}, 403, "purpose-not-agreed"),
        ({"purpose": "P1", "values": {}}, 422, "invalid"),
        ({"purpose": "P1", "values": {"name": ["x"]}}, 422, "invalid"),
        ({"purpose": "P1", "values": {"name": "x"}, "limit": 1}, 422, "invalid"),
        ({"purpose": "P1", "values": {"name": {"date": "no day"}}}, 422, "invalid"),
        ({"purpose": "P1", "values": {"name": "x" * 70_000}}, 413, "too-large"),
    ],
)
def test_what_is_no_agreed_question_is_refused(world: World, body: Any, status: int, slug: str) -> None:
    agreement = verified(world)
    headers = {"authorization": f"Bearer {world.centre.grant(agreement)}"}
    refused = world.gateway.client.post(
        f"{world.gateway.url}/v1/verify/{agreement}/{RESOURCE}", json=body, headers=headers
    )
    assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (status, slug)


def test_records_leave_under_no_agreement_to_verify_nor_answers_under_one_for_records(world: World) -> None:
    agreement = verified(world)
    records = world.gateway.get(agreement, RESOURCE, world.centre.grant(agreement))
    assert records.json()["type"] == "/problems/method-not-agreed"
    source = HttpSource(url=world.provider.serves("/companies", paged(RECORDS)), records_path="data")
    other = world.centre.agree(agreed(items=ITEMS), {str(RESOURCE): source})
    answer = world.gateway.ask(other, RESOURCE, world.centre.grant(other), THIRD)
    assert answer.json()["type"] == "/problems/method-not-agreed"


def test_whoever_varies_one_value_is_stopped_before_the_right_one(world: World) -> None:
    agreement = verified(world)
    token = world.centre.grant(agreement)
    answers = [
        world.gateway.ask(agreement, RESOURCE, token, THIRD | {"capital": 295 + n}).status_code
        for n in range(6)
    ]
    assert answers == [200] * WRONG_OF_ONE + [429]  # the sixth would have been yes
    other = RECORDS[6]
    asked = {code: other[code] for code in ("name", "credit_code", "capital")}
    assert world.gateway.ask(agreement, RESOURCE, token, asked).json() == {"answer": "yes"}


def test_wrong_answers_count_for_an_hour_and_for_one_client() -> None:
    guesses = Guesses()
    for n in range(WRONG_IN_ALL):
        guesses.require_few(("a", "c"), {"id": str(n)}, AT)
        guesses.note_wrong(("a", "c"), {"id": str(n)}, AT)
    guesses.require_few(("a", "other"), {"id": "x"}, AT)
    with pytest.raises(TooManyGuesses):
        guesses.require_few(("a", "c"), {"id": "x"}, AT + timedelta(minutes=59))
    guesses.require_few(("a", "c"), {"id": "x"}, AT + timedelta(minutes=60))


def test_a_question_names_agreed_items_and_proper_values() -> None:
    terms = agreed(items=ITEMS, method=Method.VERIFICATION)
    compiled = compile_question(terms, RESOURCE, {"name": "企业3"})
    assert compiled.admits(RECORDS[2]) and not compiled.admits(RECORDS[3])
    assert compiled.project(RECORDS[2]) == {}
    with pytest.raises(OutsideTerms):
        compile_question(terms, RESOURCE, {"secret": "never"})
    with pytest.raises(ScopeInvalid):
        compile_question(terms, RESOURCE, {"capital": 2**60})


def test_hours_and_calls_at_once_are_what_was_agreed(world: World) -> None:
    moment = datetime.now(UTC) + timedelta(hours=8)  # the centre's time zone has no summer time
    later = f"{moment + timedelta(hours=2):%H:%M}-{moment + timedelta(hours=3):%H:%M}"
    around = f"{moment - timedelta(hours=2):%H:%M}-{moment + timedelta(hours=2):%H:%M}"
    for hours, status in ((later, 403), (around, 200)):
        agreement = verified(world, quota=QUOTA.model_copy(update={"hours": hours}))
        answer = world.gateway.ask(agreement, RESOURCE, world.centre.grant(agreement), THIRD)
        assert answer.status_code == status, hours
