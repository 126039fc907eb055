"""Plans, findings and audit findings: every state × act × party × role against tables written by hand, and what blocks."""

from __future__ import annotations

from itertools import product

import pytest

from app.kernel.actor import Role
from app.kernel.machine import Machine, may
from catalog.collection.states import AUDIT_FINDING, CATALOG_AUDIT, FINDING, GROUNDS, PLAN, blocks, hindrance
from tests.catalog.bureau import APPROVER, CATALOG, CLERK, MEDIATOR

PLAN_TABLE = """
new         draft    O.c    draft
new         renew    O.c    draft
new         amend    O.c    draft
draft       edit     O.c    draft
draft       file     O.a    filed
filed       clear    SYSTEM cleared
filed       block    SYSTEM blocked
blocked     clear    SYSTEM cleared
blocked     permit   A.a    cleared
blocked     expire   CLOCK  expired
cleared     block    SYSTEM blocked
cleared     collect  O.a    collecting
cleared     close    O.a    closed
cleared     expire   CLOCK  expired
collecting  block    SYSTEM blocked
collecting  close    O.a    closed
cleared     supersede SYSTEM closed
blocked     supersede SYSTEM closed
collecting  supersede SYSTEM closed
collecting  expire   CLOCK  expired
"""

FINDING_TABLE = """
new         flag           SYSTEM   flagged
flagged     withdraw       O.c,O.a  withdrawn
flagged     justify        O.c      justified
flagged     uphold         A.k,A.m  upheld
flagged     mark_overdue   CLOCK    flagged
justified   withdraw       O.c,O.a  withdrawn
justified   accept         A.k,A.m  accepted
justified   uphold         A.k,A.m  upheld
justified   mark_overdue   CLOCK    justified
accepted    lapse          CLOCK    flagged
upheld      appeal         O.a      appealed
upheld      share_instead  O.c,O.a  shared_instead
upheld      notice         A.a      noticed
upheld      mark_overdue   CLOCK    upheld
appealed    accept         A.k,A.m  accepted
appealed    uphold         A.k,A.m  upheld
appealed    mark_overdue   CLOCK    appealed
"""

AUDIT_FINDING_TABLE = """
new        find        SYSTEM   open
open       assign      A.k,A.m  assigned
open       confirm     A.k,A.m  confirmed
open       dismiss     A.k,A.m  dismissed
open       vanish      SYSTEM   gone
assigned   assign      A.k,A.m  assigned
assigned   confirm     A.k,A.m  confirmed
assigned   dismiss     A.k,A.m  dismissed
assigned   vanish      SYSTEM   gone
confirmed  reopen      A.k,A.m  open
dismissed  reopen      A.k,A.m  open
gone       find_again  SYSTEM   open
"""

CATALOG_AUDIT_TABLE = """
new      ask     A.k,A.m  asked
asked    begin   WORKER   running
asked    cancel  A.k,A.m  cancelled
running  finish  WORKER   finished
running  fail    WORKER   failed
running  cancel  A.k,A.m  cancelled
"""

PARTIES = {"O": "owner", "A": "authority", "SYSTEM": "system", "CLOCK": "clock", "WORKER": "worker"}
ROLES = {"c": CLERK, "a": APPROVER, "k": CATALOG, "m": MEDIATOR}


def read_table(table: str) -> dict[tuple[str | None, str], tuple[set[tuple[str, Role | None]], str]]:
    rows = {}
    for line in table.strip().splitlines():
        source, act, who, target = line.split()
        by = set()
        for name in who.split(","):
            party, _, role = name.partition(".")
            by.add((PARTIES[party], ROLES[role] if role else None))
        rows[(None if source == "new" else source, act)] = by, target
    return rows


@pytest.mark.parametrize(
    ("machine", "table"),
    [
        (PLAN, PLAN_TABLE),
        (FINDING, FINDING_TABLE),
        (AUDIT_FINDING, AUDIT_FINDING_TABLE),
        (CATALOG_AUDIT, CATALOG_AUDIT_TABLE),
    ],
    ids=["plan", "finding", "audit_finding", "catalog_audit"],
)
def test_every_state_act_party_and_role(machine: Machine, table: str) -> None:
    expected = read_table(table)
    everyone = [*product([*PARTIES.values(), "stranger"], [*Role, None])]
    for state, act in product([None, *machine.states], machine.acts):
        row = machine.find(state, act)
        allowed, target = expected.get((state, act), (set(), None))
        assert (row.target if row else None) == target, f"{state} --{act}-->"
        for party, role in everyone:
            wanted = (party, role) in allowed or (party, None) in allowed
            roles = frozenset({role}) if role else frozenset()
            got = row is not None and may(row, frozenset({party}), roles)
            assert got == wanted, f"{state} --{act}--> by {party} {role}"
    assert {act for _, act in expected} == set(machine.acts)
    assert all(row.basis for row in machine.rows)


def test_what_ends_stays_ended() -> None:
    assert PLAN.final_states() == {"closed", "expired"}
    assert FINDING.final_states() == {"withdrawn", "shared_instead", "noticed"}


@pytest.mark.parametrize("state", FINDING.states)
def test_which_findings_block(state: str) -> None:
    assert blocks(state, "reuse_expected") == (state in {"flagged", "justified", "upheld", "appealed"})
    assert blocks(state, "review") == (state in {"upheld", "appealed"})


@pytest.mark.parametrize(
    ("state", "act", "overdue", "appealed", "hindered"),
    [
        ("flagged", "uphold", False, False, True),
        ("flagged", "uphold", True, False, False),
        ("justified", "uphold", False, False, False),
        ("upheld", "appeal", False, False, False),
        ("upheld", "appeal", True, True, True),
        ("upheld", "notice", False, False, True),
        ("upheld", "notice", True, False, False),
        ("upheld", "notice", False, True, False),
        ("upheld", "share_instead", True, True, False),
    ],
)
def test_what_the_moment_allows(state: str, act: str, overdue: bool, appealed: bool, hindered: bool) -> None:
    assert (hindrance(state, act, overdue=overdue, appealed=appealed) is not None) == hindered


def test_every_label_is_there_in_both_languages() -> None:
    texts = [
        t
        for m in (PLAN, FINDING, AUDIT_FINDING, CATALOG_AUDIT)
        for t in (*m.states.values(), *m.acts.values())
    ]
    texts += [ground.label for ground in GROUNDS.values()]
    assert all(t.zh and t.en and t.zh != t.en for t in texts)
    assert all(ground.basis.startswith(("REG-", "809-")) for ground in GROUNDS.values())
