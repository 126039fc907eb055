"""Random histories of two agencies and an authority through the real service and database.

At every step what `allowed` promises works and what it does not promise is refused; whatever happens, the
invariants of the procedure hold.
"""

from __future__ import annotations

import os
from collections import Counter
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Connection, func, select

from app.kernel import clock
from app.kernel.actor import Role
from app.kernel.calendar import legal_date
from app.kernel.deadlines import DeadlineRow
from app.kernel.history import Event
from exchange.agreements.models import Agreement
from exchange.agreements.states import AGREEMENT, LIVE
from exchange.disputes.models import Dispute, Ruling
from exchange.disputes.states import DISPUTE
from exchange.negotiations.consents import consents_to
from exchange.negotiations.models import Negotiation, TermsVersion
from exchange.negotiations.states import NEGOTIATION, OPEN
from exchange.terms import terms_hash
from tests.conftest import OneTransaction
from tests.exchange.world import START, Json, World, terms, to

PEOPLE = [
    ("health", Role.CLERK, 1), ("health", Role.APPROVER, 1), ("civil", Role.CLERK, 1), ("civil", Role.APPROVER, 1),
    ("city_authority", Role.MEDIATOR, 1), ("city_authority", Role.MEDIATOR, 2), ("city_authority", Role.APPROVER, 1),
]  # fmt: skip
MACHINES = {"negotiations": NEGOTIATION, "disputes": DISPUTE, "agreements": AGREEMENT}
MODELS: dict[str, type[Negotiation | Dispute | Agreement]] = {
    "negotiations": Negotiation, "disputes": Dispute, "agreements": Agreement,
}  # fmt: skip
SKIPPED = {
    "transfer", "refer", "record_settlement",  # need a world that changes; tested by themselves
    "attach",  # takes a file
}  # fmt: skip
ENDING = {"withdraw", "decline", "terminate", "complete", "agree_end"}
Who = tuple[str, Role, int]
WHO = st.sampled_from(PEOPLE)


class Stage:
    """A world with its people, to which every history comes as to a new one."""

    def __init__(self, world: World, connection: Connection) -> None:
        self.world, self.did = world, Counter[str]()
        for agency, role, number in PEOPLE:
            world.town.person(agency, role, number=number)
        self.resource = world.publish()
        world.session.commit()
        self.connection = connection


class Procedure(RuleBasedStateMachine):
    """One history: somebody does what is allowed, somebody tries what is not, or time passes to a deadline."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.stage, self.world, self.resource = stage, stage.world, stage.resource
        self.before = stage.connection.begin_nested()
        self.moment = START
        with self.at_work():
            self.world.filed(self.resource)

    def teardown(self) -> None:
        acts = self.world.session.scalars(
            select(Event.act).where(Event.kind.in_(["negotiation", "dispute", "agreement"]))
        )
        self.stage.did.update(acts)
        with self.world.at(self.moment):  # signs everybody out
            self.world.session.rollback()
        self.before.rollback()
        self.world.session.expire_all()

    def at_work(self) -> Any:
        self.moment += timedelta(minutes=1)
        return clock.frozen(self.moment)

    @rule(who=WHO, data=st.data())
    def do_what_is_allowed(self, who: Who, data: st.DataObject) -> None:
        with self.at_work():
            case_of: tuple[str, UUID] = data.draw(st.sampled_from(self.cases()), label="case")
            kind, case = case_of[0], self.read(*case_of, who)
            wanted = [act for act in case["allowed"] if act not in SKIPPED]
            # What ends a history is rare, or few would come far.
            lasting = [act for act in wanted if act not in ENDING]
            if lasting and data.draw(st.integers(0, 9)) > 0:
                wanted = lasting
            if wanted:
                act = data.draw(st.sampled_from(wanted), label="act")
                self.do(kind, case, act, who, data.draw(st.integers(1, 99)))

    @rule(who=WHO, data=st.data())
    def try_what_is_not_allowed(self, who: Who, data: st.DataObject) -> None:
        with self.at_work():
            kind, id = data.draw(st.sampled_from(self.cases()), label="case")
            case, machine = self.read(kind, id, who), MACHINES[kind]
            in_person = [act for act in machine.acts if any(role for _, role in machine.by_whom(act))]
            created = {row.act for row in machine.rows if row.source is None}
            others = sorted(set(in_person) - set(case["allowed"]) - created - SKIPPED)
            if not others:
                return
            act = data.draw(st.sampled_from(others), label="act")
            agency, role, number = who
            answer = self.world.client.post(
                f"/api/v1/{kind}/{case['id']}/{act}",
                headers={**self.world.headers(agency, role, number), "if-match": f'"{case["version"]}"'},
                json=self.body(kind, case, act, 7),
            )
            assert answer.status_code in (403, 409), f"{act} by {who}: {answer.status_code} {answer.text}"
            assert self.read(kind, case["id"], who)["version"] == case["version"]

    @precondition(lambda self: self.next_due() is not None)
    @rule()
    def time_passes(self) -> None:
        next_due = self.next_due()
        assert next_due is not None
        self.moment = max(self.moment, next_due)
        assert self.world.sweep_at(self.moment) >= 1
        assert self.world.sweep_at(self.moment) == 0, "a deadline fired twice"

    def next_due(self) -> datetime | None:
        """When the next clock runs out this year; agreements, which end in a year, are not waited for."""
        running = DeadlineRow.ended_at.is_(None), DeadlineRow.paused_at.is_(None)
        due = self.world.session.scalar(select(func.min(DeadlineRow.due_at)).where(*running))
        return due if due is not None and due.year == START.year else None

    def cases(self) -> list[tuple[str, UUID]]:
        session = self.world.session
        return [
            (kind, id)
            for kind, model in MODELS.items()
            for id in session.scalars(select(model.id).order_by(model.id))
        ]

    def read(self, kind: str, id: UUID, who: Who) -> Json:
        return self.world.read(kind, id, who[0], who[1], number=who[2])

    def do(self, kind: str, case: Json, act: str, who: Who, drawn: int) -> None:
        agency, role, number = who
        path = f"/{kind}/{case['id']}/{act}"
        body, expect = self.body(kind, case, act, drawn), 201 if act == "open_dispute" else 200
        self.world.call(
            "POST", path, agency, role, number=number, version=case["version"], body=body, expect=expect
        )

    def body(self, kind: str, case: Json, act: str, days: int) -> Json | None:
        drawn = terms(self.resource, retention_days=days)
        read = {"offer": "draft", "counter_offer": "draft", "agree": "terms", "accept": "terms"}.get(act, "")
        read = "proposal" if kind == "disputes" else read
        rulings = case.get("rulings") or [{"id": str(case["id"])}]
        special: dict[str, Json | None] = {
            "draft_terms": {"terms": drawn},
            "propose": {"terms": drawn},
            "ask_extension": {"working_days": 3, "reason": "数据量大"},
            "refuse": {"ground": "exceeds_need", "reason": "范围过大"},
            "state": {"body": "陈述"},
            "comment": {"body": "意见"},
            "agree_in_principle": {"points": [{"text": "期限待定"}]},
            "certify_disposal": {"disposed_on": legal_date(self.moment).isoformat(), "disposal": "已销毁"},
            "admit": None,
            "draft_ruling": {"outcome": "grant", "reasons": "理由", "legal_basis": "809-28", "terms": drawn},
            "rule": {"ruling_id": rulings[-1]["id"]},
            "confirm": {"document": "文号1", "reason": "维持"},
            "change": {"document": "文号2", "outcome": "deny", "reasons": "理由", "legal_basis": "809-28"},
        }
        if act in ("offer", "counter_offer", "agree", "accept"):
            return to(case[read]) if case.get(read) else {"terms_hash": "0" * 64}
        return special.get(act, {"reason": "理由"})

    @invariant()
    def what_holds_at_every_moment(self) -> None:
        session = self.world.session
        for version in session.scalars(select(TermsVersion)):
            assert terms_hash(version.typed) == version.terms_hash
        for negotiation in session.scalars(select(Negotiation)):
            current = session.get_one(TermsVersion, negotiation.current_terms_id)
            assert current.negotiation_id == negotiation.id
            clocks = self.world.clocks(negotiation.id)
            waits = negotiation.state in OPEN and not negotiation.overdue
            assert len(clocks) == (1 if waits else 0), (negotiation.state, list(clocks))
        for agreement in session.scalars(select(Agreement)):
            version = session.get_one(TermsVersion, agreement.terms_version_id)
            assert (agreement.terms, agreement.terms_hash) == (version.terms, version.terms_hash)
            if agreement.origin == "ruling":
                ruling = session.get_one(Ruling, agreement.ruling_id)
                assert ruling.signed_at is not None
                assert ruling.signed_by != ruling.drafted_by
            else:
                given = consents_to(session, {version.id})[version.id]
                assert {c.terms_hash for c in given.values()} == {agreement.terms_hash}
                assert set(given) == {"requester", "provider"}
                assert version.author_id not in {c.person_id for c in given.values()}
        live = select(func.count()).where(Agreement.state.in_(LIVE)).group_by(Agreement.negotiation_id)
        assert all(count == 1 for count in session.scalars(live))


@pytest.fixture
def stage(world: World, one_transaction: OneTransaction) -> Stage:
    return Stage(world, one_transaction.connection)


def play(stage: Stage, *, histories: int, steps: int, derandomize: bool) -> None:
    limits = settings(
        max_examples=histories, stateful_step_count=steps, derandomize=derandomize, deadline=None, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    machine: Any = partial(Procedure, stage)
    run_state_machine_as_test(machine, settings=limits)


def test_whatever_happens_the_procedure_holds(stage: Stage) -> None:
    play(stage, histories=4, steps=10, derandomize=True)


@pytest.mark.soak
def test_whatever_happens_for_long_the_procedure_holds(stage: Stage) -> None:
    play(stage, histories=int(os.environ.get("ZHENGTONG_HISTORIES", "40")), steps=40, derandomize=False)
    print(stage.did.most_common())
    assert {"offer", "accept", "agree", "refuse", "mark_overdue", "open_dispute", "admit"} <= set(stage.did)
