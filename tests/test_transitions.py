"""No state moves in a way that the hand-written tables do not hold, not even when the services are bypassed.

The tables of the exchange and of collection stand in their own tests, those of resources, their review and witnesses here.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from app.identity.grants import GRANT
from app.identity.witnesses import WITNESS
from app.kernel.actor import Role
from app.kernel.db import Database
from app.kernel.keys import ServiceKeys
from app.kernel.machine import Machine, may
from app.tables import machines
from catalog.elements.states import ELEMENT
from catalog.harvest.states import HARVEST
from catalog.imports.states import IMPORT
from catalog.resources.states import DEFECT, RESOURCE, REVISION
from exchange.delivery.states import GATEWAY
from tests.catalog.test_collection_states import (
    AUDIT_FINDING_TABLE,
    CATALOG_AUDIT_TABLE,
    FINDING_TABLE,
    PLAN_TABLE,
)
from tests.estate import estate_on
from tests.exchange.test_states import MACHINES as OF_THE_EXCHANGE

RESOURCE_TABLE = """
new        create            O.c,O.a  draft
new        import_draft      IMPORTER draft
new        import_filed      IMPORTER filed
new        import_published  IMPORTER published
draft      edit              O.c,O.a  draft
draft      file              O.a      filed
draft      import_change     IMPORTER draft
filed      publish           A.k      published
filed      return            A.k      returned
filed      import_change     IMPORTER filed
returned   edit              O.c,O.a  returned
returned   file              O.a      filed
returned   import_change     IMPORTER returned
published  suspend           O.a,A.k  suspended
published  withdraw          O.a,A.k  withdrawn
published  revise            COPY     published
published  note_change       O.c,O.a,A.k published
published  ask_extension     O.a      published
published  extend            A.k      published
published  refuse_extension  A.k      published
published  import_change     IMPORTER published
suspended  resume            O.a,A.k  published
suspended  withdraw          O.a,A.k  withdrawn
suspended  revise            COPY     suspended
suspended  note_change       O.c,O.a,A.k suspended
suspended  ask_extension     O.a      suspended
suspended  extend            A.k      suspended
suspended  refuse_extension  A.k      suspended
suspended  import_change     IMPORTER suspended
"""
REVISION_TABLE = """
new       open     O.c,O.a  draft
draft     edit     O.c,O.a  draft
draft     file     O.a      filed
draft     discard  O.c,O.a  discarded
filed     publish  A.k      adopted
filed     return   A.k      returned
returned  edit     O.c,O.a  returned
returned  file     O.a      filed
returned  discard  O.c,O.a  discarded
"""
DEFECT_TABLE = """
new       raise    A.k      open
open      answer   O.c,O.a  answered
open      drop     A.k      dropped
answered  confirm  A.k      fixed
answered  reopen   A.k      open
answered  drop     A.k      dropped
"""
WITNESS_TABLE = """
new         register  A.s  registered
registered  retire    A.s  retired
"""
IMPORT_TABLE = """
new        submit   O.k,HARVESTER  received
received   preview  WORKER         previewed
received   refuse   WORKER         refused
received   cancel   O.k            cancelled
previewed  commit   O.k,HARVESTER  committing
previewed  file     O.a            committing
previewed  cancel   O.k            cancelled
committing finish   WORKER         finished
committing refuse   WORKER         refused
"""
HARVEST_TABLE = """
new     add     O.k  active
active  edit    O.k  active
active  run     O.k  active
active  pause   O.k  paused
active  remove  O.k  removed
paused  edit    O.k  paused
paused  resume  O.k  active
paused  remove  O.k  removed
"""
ELEMENT_TABLE = """
new         propose      S.c,S.a  proposed
new         add          A.k      registered
proposed    register     A.k      registered
proposed    decline      A.k      declined
registered  revise       A.k      registered
registered  name_source  A.k      registered
registered  retire       A.k      retired
"""
GRANT_TABLE = """
new    ask      A.s           asked
asked  confirm  A.s,A.m,RULE  granted
asked  refuse   A.s,A.m       refused
"""
GATEWAY_TABLE = """
new         register         O.c,O.k,RULE  registered
registered  amend            O.c,O.k,RULE  registered
returned    amend            O.c,O.k,RULE  registered
approved    amend            O.c,O.k,RULE  registered
registered  approve          A.s,RULE      approved
registered  return           A.s           returned
approved    report_incident  O.c,O.k       suspended
approved    suspend          A.s           suspended
suspended   resume           A.s           approved
registered  withdraw         O.c,O.k       withdrawn
approved    withdraw         O.c,O.k       withdrawn
returned    withdraw         O.c,O.k       withdrawn
suspended   withdraw         O.c,O.k       withdrawn
"""
TABLES = {machine.kind: table for machine, table in OF_THE_EXCHANGE}
TABLES |= {
    "resource": RESOURCE_TABLE,
    "revision": REVISION_TABLE,
    "defect": DEFECT_TABLE,
    "element": ELEMENT_TABLE,
    "ledger_witness": WITNESS_TABLE,
    "role_grant": GRANT_TABLE,
    "gateway": GATEWAY_TABLE,
    "import": IMPORT_TABLE,
    "harvest": HARVEST_TABLE,
    "plan": PLAN_TABLE,
    "finding": FINDING_TABLE,
    "audit_finding": AUDIT_FINDING_TABLE,
    "catalog_audit": CATALOG_AUDIT_TABLE,
}
PARTIES = {
    "O": "owner",
    "A": "authority",
    "IMPORTER": "importer",
    "HARVESTER": "harvester",
    "WORKER": "worker",
    "COPY": "revision",
    "S": "proposer",
    "RULE": "system",
}
ROLES = {
    "c": Role.CLERK,
    "a": Role.APPROVER,
    "k": Role.CATALOG_ADMINISTRATOR,
    "s": Role.SECURITY_ADMINISTRATOR,
    "m": Role.SYSTEM_ADMINISTRATOR,
}

Move = tuple[str | None, str]


def rows_of(kind: str) -> list[list[str]]:
    """The lines of a table: source, act, by whom, target."""
    return [line.split() for line in TABLES[kind].strip().splitlines()]


def test_every_machine_has_a_table_written_by_hand() -> None:
    assert {machine.kind for machine in machines()} == set(TABLES)


@pytest.mark.parametrize(
    "machine",
    [RESOURCE, REVISION, DEFECT, ELEMENT, WITNESS, GRANT, IMPORT, HARVEST, GATEWAY],
    ids=lambda machine: machine.kind,
)
def test_who_moves_what_by_state_act_party_and_role(machine: Machine) -> None:
    expected = {
        (None if source == "new" else source, act): (by, to) for source, act, by, to in rows_of(machine.kind)
    }
    everyone = [*product([*PARTIES.values(), "stranger"], [*Role, None])]
    for state, act in product([None, *machine.states], machine.acts):
        row = machine.find(state, act)
        by, target = expected.get((state, act), ("", None))
        assert (row.target if row else None) == target, f"{state} --{act}-->"
        named = [who.partition(".") for who in by.split(",") if who]
        allowed = {(PARTIES[party], ROLES[role] if role else None) for party, _, role in named}
        for party, role in everyone:
            wanted = (party, role) in allowed or (party, None) in allowed
            got = row is not None and may(row, frozenset({party}), frozenset({role} if role else ()))
            assert got == wanted, f"{state} --{act}--> by {party} {role}"
    assert {act for _, act in expected} == set(machine.acts)
    assert machine.final_states() == set(machine.states) - {state for state, _ in expected}
    assert all(row.basis for row in machine.rows)


@pytest.fixture(scope="module")
def connection(
    shared_database: Database, keys: ServiceKeys, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Connection]:
    """To a database that holds one of each."""
    with estate_on(shared_database, keys, tmp_path_factory.mktemp("data")) as estate:
        within = estate.world.session.connection()
        within.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))  # what waits for the commit forbids ALTER TABLE
        for table, name in within.execute(text(CHECKS)).all():  # a row is put into states it could not be in
            within.execute(text(f"ALTER TABLE {table} DROP CONSTRAINT {name}"))
        yield within


CHECKS = """
    SELECT conrelid::regclass::text, conname FROM pg_constraint JOIN pg_trigger ON tgrelid = conrelid
    JOIN pg_proc ON pg_proc.oid = tgfoid WHERE contype = 'c' AND proname = 'guard_state'
"""
GUARDED = """
    SELECT tgrelid::regclass::text FROM pg_trigger JOIN pg_proc ON pg_proc.oid = tgfoid
    WHERE proname = 'guard_state' AND tgargs = convert_to(:kind, 'UTF8') || decode('00', 'hex')
"""


@pytest.mark.parametrize("kind", TABLES)
def test_the_database_refuses_every_move_outside_the_table(connection: Connection, kind: str) -> None:
    table = connection.execute(text(GUARDED), {"kind": kind}).scalar_one()
    held = {(None if source == "new" else source, to) for source, _, _, to in rows_of(kind)}
    states = next(machine for machine in machines() if machine.kind == kind).states
    refused = {
        (source, target)
        for source, target in product([None, *states], states)
        if is_refused(connection, table, source, target)
    }
    assert refused == {*product([None, *states], states)} - held


def is_refused(connection: Connection, table: str, source: str | None, target: str) -> bool:
    """Whether the guard stops a row of the table from being made in, or moved to, `target`."""
    furthest = f"SELECT id FROM {table} ORDER BY version DESC LIMIT 1"
    row = {"id": connection.execute(text(furthest)).scalar_one()}
    with connection.begin_nested() as before:
        if source is None:
            changes = f"jsonb_build_object('id', gen_random_uuid(), 'state', '{target}')"
            made = f"jsonb_populate_record(one, {changes}) AS made"
            move = f"INSERT INTO {table} SELECT made.* FROM {table} AS one, {made} WHERE one.id = :id"
        else:
            connection.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
            connection.execute(text(f"UPDATE {table} SET state = '{source}' WHERE id = :id"), row)
            connection.execute(text(f"ALTER TABLE {table} ENABLE TRIGGER USER"))
            move = f"UPDATE {table} SET state = '{target}' WHERE id = :id"
        try:
            connection.execute(text(move), row)
        except DBAPIError as error:
            # Another rule of the table (a check, a unique index) may refuse what the guard lets through.
            return getattr(error.orig, "sqlstate", None) == "ZT002"
        finally:
            before.rollback()
    return False
