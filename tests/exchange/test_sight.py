"""Row-level security: what `visible_to` forgot is still not there, and history is not the control plane's to change."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.kernel import sight
from app.kernel.actor import ANONYMOUS, Role
from app.kernel.db import Base, table_of
from app.tables import metadata
from exchange.agreements.models import Agreement
from exchange.negotiations.models import Negotiation, TermsVersion
from exchange.parties import Bilateral
from exchange.policies.models import SharingPolicy
from exchange.requests.models import ShareRequest
from tests.conftest import bound
from tests.exchange.world import World

FORGETFUL = (Negotiation, TermsVersion, ShareRequest, Agreement)  # as queries that ask for every row


@pytest.fixture
def agreed(world: World) -> World:
    world.agreed()
    world.session.flush()
    return world


@pytest.fixture
def served(agreed: World) -> Iterator[Session]:
    """The session as the control plane has it, before anybody is recognised."""
    agreed.session.expire_all()
    with bound(agreed.session.connection()):
        yield agreed.session


def counts(session: Session) -> list[int]:
    return [len(session.execute(select(model.id)).all()) for model in FORGETFUL]


def test_nothing_is_there_before_it_is_said_as_whom(served: Session) -> None:
    assert counts(served) == [0, 0, 0, 0]
    sight.see_as(served, ANONYMOUS)
    assert counts(served) == [0, 0, 0, 0]


@pytest.mark.parametrize("agency", ["civil", "health", "city_authority"])
def test_the_parties_and_their_authority_see_the_case(served: Session, agreed: World, agency: str) -> None:
    sight.see_as(served, agreed.town.actor("civil" if agency == "civil" else agency, Role.CLERK))
    assert all(counts(served))


@pytest.mark.parametrize("agency", ["market", "east_authority", "province_authority"])
def test_a_forgotten_condition_shows_nothing_to_others(served: Session, agreed: World, agency: str) -> None:
    sight.see_as(served, agreed.town.actor(agency, Role.CLERK))
    assert counts(served) == [0, 0, 0, 0]


def test_audit_administrators_see_what_authorities_below_decide(served: Session, agreed: World) -> None:
    sight.see_as(served, agreed.town.actor("province_authority", Role.AUDIT_ADMINISTRATOR))
    assert all(counts(served))
    sight.see_as(served, agreed.town.actor("east_authority", Role.AUDIT_ADMINISTRATOR))
    assert counts(served) == [0, 0, 0, 0]


def test_all_is_seen_within_the_block_alone(served: Session, agreed: World) -> None:
    sight.see_as(served, agreed.town.actor("market", Role.CLERK))
    with pytest.raises(LookupError), sight.seeing_all(served):
        assert all(counts(served))
        raise LookupError
    assert counts(served) == [0, 0, 0, 0]


def test_a_case_of_others_cannot_be_changed(served: Session, agreed: World) -> None:
    sight.see_as(served, agreed.town.actor("market", Role.APPROVER))
    for table in ("negotiation", "agreement", "share_request"):
        assert served.execute(text(f"UPDATE {table} SET version = version + 1 RETURNING id")).all() == []
        assert served.execute(text(f"DELETE FROM {table} RETURNING id")).all() == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE event SET reason = 'x'", "DELETE FROM event", "DELETE FROM ledger_entry",
        "INSERT INTO ledger_tile VALUES (0, 0, '')", "UPDATE ledger_checkpoint SET size = 0",
        "DELETE FROM state_transition", "ALTER TABLE event DISABLE TRIGGER ALL", "DROP POLICY sight ON agreement",
        "ALTER TABLE agreement DISABLE ROW LEVEL SECURITY", "CREATE TABLE own (id int)", "TRUNCATE receipt",
        "SELECT * FROM alembic_version",
    ],
)  # fmt: skip
def test_the_control_plane_may_not(served: Session, statement: str) -> None:
    connection: Connection = served.connection()
    with pytest.raises(DBAPIError) as refused, connection.begin_nested():
        connection.execute(text(statement))
    assert getattr(refused.value.orig, "sqlstate", None) == "42501"


def test_every_table_that_is_some_agencies_own_is_guarded(session: Session) -> None:
    guarded = set(session.scalars(text("SELECT relname FROM pg_class WHERE relrowsecurity")))
    bilateral = {
        table_of(mapper.class_).name
        for mapper in Base.registry.mappers
        if issubclass(mapper.class_, Bilateral)
    }
    # Whatever belongs to such a row, by a key that must be there.
    belonging = {
        table.name
        for table in metadata.tables.values()
        for key in table.foreign_keys
        if key.column.table.name in bilateral and not key.parent.nullable and table.name not in bilateral
    }
    # A ruling is told to everybody once it is signed (`ruling.list`), and is asked for by its dispute before.
    assert bilateral | belonging - {"ruling"} <= guarded
    assert {ShareRequest.__tablename__, SharingPolicy.__tablename__, "webhook"} <= guarded
