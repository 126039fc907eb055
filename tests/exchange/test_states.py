"""Every state × act × party × role of the machines against tables written by hand.

The tables follow the procedure (Regulation Art. 21, Decree 809 Art. 20-28), not the code: a row that is
added, lost or moved in the code fails here. `P.a` is the provider's approver, `A.m` the authority's
mediator, `-` what nobody in person does.
"""

from __future__ import annotations

from itertools import product

import pytest

from app.kernel.actor import Role
from app.kernel.machine import Machine, may
from exchange.agreements.states import AGREEMENT
from exchange.corrections.states import CORRECTION
from exchange.delivery.push.states import PUSH
from exchange.disputes.states import DISPUTE
from exchange.negotiations.states import GROUNDS, NEGOTIATION, TERMINATION_REASONS, Moment, hindrance
from exchange.policies.states import POLICY
from exchange.requests.states import REQUEST

NEGOTIATION_TABLE = """
new        file              R.a      REQUESTED
new        remand            RULING   REQUESTED
REQUESTED  ask_material      P.c      REQUESTED
REQUESTED  supply_material   R.c      REQUESTED
REQUESTED  ask_extension     P.a      REQUESTED
REQUESTED  extend            A.m      REQUESTED
REQUESTED  refuse_extension  A.m      REQUESTED
REQUESTED  transfer          P.c      REQUESTED
REQUESTED  draft_terms       P.c      REQUESTED
REQUESTED  offer             P.a      OFFERED
REQUESTED  agree             P.a,POLICY  AGREED
REQUESTED  deem_consent      CLOCK    AGREED
REQUESTED  refuse            P.a      TERMINATED
REQUESTED  mark_overdue      CLOCK    REQUESTED
REQUESTED  withdraw          R.c      TERMINATED
REQUESTED  open_dispute      R.a      TERMINATED
OFFERED    draft_terms       R.c      OFFERED
OFFERED    counter_offer     R.a      REQUESTED
OFFERED    comment           R.c,R.a,P.c,P.a  OFFERED
OFFERED    attach            R.c,R.a,P.c,P.a  OFFERED
ACCEPTED   comment           R.c,R.a,P.c,P.a  ACCEPTED
ACCEPTED   attach            R.c,R.a,P.c,P.a  ACCEPTED
REQUESTED  comment           R.c,R.a,P.c,P.a  REQUESTED
REQUESTED  attach            R.c,R.a,P.c,P.a  REQUESTED
REQUESTED  agree_in_principle  P.a    REQUESTED
new        offer_amendment   P.a      OFFERED
OFFERED    accept            R.a      ACCEPTED
OFFERED    remind            CLOCK    OFFERED
OFFERED    lapse             CLOCK    TERMINATED
OFFERED    withdraw          R.c      TERMINATED
OFFERED    open_dispute      R.a      TERMINATED
ACCEPTED   agree             P.a,POLICY  AGREED
ACCEPTED   mark_overdue      CLOCK    ACCEPTED
ACCEPTED   withdraw          R.c      TERMINATED
ACCEPTED   open_dispute      R.a      TERMINATED
AGREED     verify            SYSTEM   VERIFIED
VERIFIED   finalize          SYSTEM   FINALIZED
TERMINATED open_dispute      R.a      TERMINATED
"""

DISPUTE_TABLE = """
new        open              R.a      OPENED
OPENED     admit             A.m      HEARING
OPENED     decline           A.m      CLOSED
OPENED     refer             A.m      OPENED
OPENED     withdraw          R.a      CLOSED
OPENED     record_settlement R.a      SETTLED
HEARING    state             R.c,P.c  HEARING
HEARING    propose           A.m      PROPOSED
HEARING    draft_ruling      A.m      HEARING
HEARING    rule              A.m      RULED
HEARING    mark_overdue      CLOCK    HEARING
HEARING    withdraw          R.a      CLOSED
HEARING    record_settlement R.a      SETTLED
PROPOSED   state             R.c,P.c  PROPOSED
PROPOSED   accept            R.a,P.a  PROPOSED
PROPOSED   decline_proposal  R.a,P.a  HEARING
PROPOSED   settle            SYSTEM   SETTLED
HEARING    attach            R.c,P.c  HEARING
PROPOSED   attach            R.c,P.c  PROPOSED
RULED      report_noncompliance  R.a  RULED
RULED      order_compliance  A.m      RULED
FINAL      report_noncompliance  R.a  FINAL
FINAL      order_compliance  A.m      FINAL
PROPOSED   draft_ruling      A.m      PROPOSED
PROPOSED   rule              A.m      RULED
PROPOSED   mark_overdue      CLOCK    PROPOSED
PROPOSED   withdraw          R.a      CLOSED
PROPOSED   record_settlement R.a      SETTLED
RULED      ask_review        R.a,P.a  REVIEW
RULED      become_final      CLOCK    FINAL
REVIEW     confirm           A.a      FINAL
REVIEW     change            A.a      FINAL
"""

AGREEMENT_TABLE = """
new        conclude          SYSTEM,RULING   IN_FORCE
IN_FORCE   suspend           P.a,A.m,RULING  SUSPENDED
IN_FORCE   mark_overdue      CLOCK    IN_FORCE
IN_FORCE   announce_end      P.a      IN_FORCE
IN_FORCE   agree_end         R.a      TERMINATED
IN_FORCE   terminate         A.m,RULING      TERMINATED
IN_FORCE   complete          R.a      COMPLETED
IN_FORCE   expire            CLOCK    EXPIRED
IN_FORCE   supersede         SYSTEM   SUPERSEDED
IN_FORCE   remind_renewal    CLOCK    IN_FORCE
IN_FORCE   transfer          A.m      SUPERSEDED
SUSPENDED  transfer          A.m      SUPERSEDED
SUSPENDED  resume            P.a,A.m,RULING  IN_FORCE
SUSPENDED  announce_end      P.a      SUSPENDED
SUSPENDED  agree_end         R.a      TERMINATED
SUSPENDED  terminate         A.m,RULING      TERMINATED
SUSPENDED  complete          R.a      COMPLETED
SUSPENDED  expire            CLOCK    EXPIRED
SUSPENDED  supersede         SYSTEM   SUPERSEDED
SUSPENDED  remind_renewal    CLOCK    SUSPENDED
EXPIRED    certify_disposal  R.a      EXPIRED
EXPIRED    mark_disposal_overdue CLOCK EXPIRED
COMPLETED  certify_disposal  R.a      COMPLETED
COMPLETED  mark_disposal_overdue CLOCK COMPLETED
TERMINATED certify_disposal  R.a      TERMINATED
TERMINATED mark_disposal_overdue CLOCK TERMINATED
"""

CORRECTION_TABLE = """
new                 report        R.c    UNDER_VERIFICATION
UNDER_VERIFICATION  correct       P.a    CORRECTED
UNDER_VERIFICATION  reject        P.a    REJECTED
UNDER_VERIFICATION  withdraw      R.c    WITHDRAWN
UNDER_VERIFICATION  mark_overdue  CLOCK  UNDER_VERIFICATION
UNDER_VERIFICATION  escalate      R.a    BEFORE_AUTHORITY
REJECTED            escalate      R.a    BEFORE_AUTHORITY
BEFORE_AUTHORITY    order         A.m    UNDER_VERIFICATION
BEFORE_AUTHORITY    dismiss       A.m    DISMISSED
"""

REQUEST_TABLE = """
new        draft             R.c      DRAFT
DRAFT      amend             R.c      DRAFT
DRAFT      file              R.a      FILED
DRAFT      discard           R.c      DISCARDED
"""

POLICY_TABLE = """
new        draft             P.c      DRAFT
DRAFT      adopt             P.a      IN_FORCE
DRAFT      discard           P.c      ENDED
IN_FORCE   revoke            P.a      ENDED
"""

PARTIES = {
    "R": "requester", "P": "provider", "A": "authority", "CLOCK": "clock", "POLICY": "policy",
    "RULING": "ruling", "SYSTEM": "system",
}  # fmt: skip
ROLES = {"c": Role.CLERK, "a": Role.APPROVER, "m": Role.MEDIATOR}
PUSH_TABLE = """
new     subscribe  R  ACTIVE
ACTIVE  pause      R  PAUSED
PAUSED  resume     R  ACTIVE
ACTIVE  end        R  ENDED
PAUSED  end        R  ENDED
"""
MACHINES = [
    (NEGOTIATION, NEGOTIATION_TABLE),
    (DISPUTE, DISPUTE_TABLE),
    (AGREEMENT, AGREEMENT_TABLE),
    (CORRECTION, CORRECTION_TABLE),
    (REQUEST, REQUEST_TABLE),
    (POLICY, POLICY_TABLE),
    (PUSH, PUSH_TABLE),
]
Who = tuple[str, Role | None]


def read(table: str) -> dict[tuple[str | None, str], tuple[set[Who], str]]:
    rows: dict[tuple[str | None, str], tuple[set[Who], str]] = {}
    for line in table.strip().splitlines():
        source, act, who, target = line.split()
        by: set[Who] = set()
        for name in who.split(","):
            party, _, role = name.partition(".")
            by.add((PARTIES[party], ROLES[role] if role else None))
        rows[(None if source == "new" else source, act)] = by, target
    return rows


@pytest.mark.parametrize(("machine", "table"), MACHINES, ids=[m.kind for m, _ in MACHINES])
def test_every_state_act_party_and_role(machine: Machine, table: str) -> None:
    expected = read(table)
    everyone: list[Who] = [*product([*PARTIES.values(), "stranger"], [*Role, None])]
    seen = 0
    for state, act in product([None, *machine.states], machine.acts):
        row = machine.find(state, act)
        allowed, target = expected.get((state, act), (set(), None))
        assert (row.target if row else None) == target, f"{state} --{act}-->"
        for party, role in everyone:
            wanted = (party, role) in allowed or (party, None) in allowed
            roles = frozenset({role}) if role else frozenset()
            got = row is not None and may(row, frozenset({party}), roles)
            assert got == wanted, f"{state} --{act}--> by {party} {role}"
            seen += 1
    assert seen == (len(machine.states) + 1) * len(machine.acts) * len(everyone)
    assert {act for _, act in expected} == set(machine.acts), "an act without a row, or a row without an act"
    assert all(row.basis for row in machine.rows)


def test_what_ends_stays_ended() -> None:
    assert NEGOTIATION.final_states() == {"FINALIZED", "TERMINATED"}
    assert DISPUTE.final_states() == {"SETTLED", "FINAL", "CLOSED"}
    ended = {"EXPIRED", "COMPLETED", "TERMINATED"}  # what remains is to dispose of the data
    assert AGREEMENT.final_states() == {"SUPERSEDED"} | ended
    assert all(row.target == row.source for row in AGREEMENT.rows if row.source in ended)
    assert REQUEST.final_states() == {"FILED", "DISCARDED"}


def test_states_are_those_of_the_dataspace_protocol() -> None:
    assert list(NEGOTIATION.states) == [
        "REQUESTED", "OFFERED", "ACCEPTED", "AGREED", "VERIFIED", "FINALIZED", "TERMINATED",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("act", "moment", "hindered"),
    [
        ("ask_material", Moment("REQUESTED"), False),
        ("ask_material", Moment("REQUESTED", material_asked=True), True),
        ("supply_material", Moment("REQUESTED", waiting_for_material=True), False),
        ("supply_material", Moment("REQUESTED"), True),
        ("ask_extension", Moment("REQUESTED"), False),
        ("ask_extension", Moment("REQUESTED", extension_asked=True), True),
        ("ask_extension", Moment("REQUESTED", extended=True), True),
        ("ask_extension", Moment("REQUESTED", overdue=True), True),
        ("extend", Moment("REQUESTED", extension_asked=True), False),
        ("extend", Moment("REQUESTED"), True),
        ("refuse_extension", Moment("REQUESTED"), True),
        ("transfer", Moment("REQUESTED"), False),
        ("transfer", Moment("REQUESTED", amends=True), True),
        ("offer", Moment("REQUESTED", drafted=True), False),
        ("offer", Moment("REQUESTED"), True),
        ("counter_offer", Moment("OFFERED"), True),
        ("open_dispute", Moment("REQUESTED"), True),
        ("open_dispute", Moment("REQUESTED", overdue=True), False),
        ("open_dispute", Moment("ACCEPTED", overdue=True), False),
        ("open_dispute", Moment("OFFERED", rounds=2, stalemate_rounds=3), True),
        ("open_dispute", Moment("OFFERED", rounds=3, stalemate_rounds=3), False),
        ("open_dispute", Moment("TERMINATED", termination_reason="refused"), False),
        ("open_dispute", Moment("TERMINATED", termination_reason="refused", disputed=True), True),
        ("open_dispute", Moment("TERMINATED", termination_reason="withdrawn", overdue=True), True),
        ("open_dispute", Moment("TERMINATED", termination_reason="lapsed", rounds=9), True),
        ("agree", Moment("REQUESTED", amends=True, held=True), True),
        ("refuse", Moment("REQUESTED", amends=True, held=True), False),
        ("agree", Moment("REQUESTED", overdue=True), False),  # late consent is consent
    ],
)
def test_what_the_moment_allows(act: str, moment: Moment, hindered: bool) -> None:
    assert (hindrance(moment, act) is not None) == hindered


def test_every_label_is_there_in_both_languages() -> None:
    texts = [t for m, _ in MACHINES for t in (*m.states.values(), *m.acts.values())]
    texts += [g.label for g in GROUNDS.values()] + list(TERMINATION_REASONS.values())
    assert all(text.zh and text.en and text.zh != text.en for text in texts)
    assert all(ground.basis.startswith("809-") for ground in GROUNDS.values())
