"""Random histories of two agencies and an authority through the real service and database.

At every step what `allowed` promises works and what it does not promise is refused; whatever happens, the
invariants of the procedure hold.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
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
from exchange.agreements import service as agreements
from exchange.agreements.models import Agreement
from exchange.agreements.states import AGREEMENT, LIVE
from exchange.disputes import service as disputes
from exchange.disputes.models import Dispute, Ruling
from exchange.disputes.states import DISPUTE
from exchange.negotiations.case import allowed_acts as allowed_to_negotiators
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
# What begins a history, or needs another world (something unconditional) or another year.
ELSEWHERE = {"file", "offer_amendment", "deem_consent", "expire", "remind_renewal"}
OUTCOMES = ("grant", "deny", "remand")
FULL = 42
HISTORIES = int(os.environ.get("ZHENGTONG_HISTORIES", FULL))
Who = tuple[str, Role, int]
WHO = st.sampled_from(PEOPLE)


def offered(world: World, resource: UUID) -> Json:
    return world.offered(world.filed(resource), terms(resource, items=("name",)))


def ruled(world: World, resource: UUID) -> Json:
    drafted = {"reasons": "理由", "legal_basis": "809-28", "outcome": "grant", "terms": terms(resource)}
    dispute = world.act(world.disputed(resource), "draft_ruling", "city_authority", Role.MEDIATOR, drafted)
    signed = {"ruling_id": dispute["rulings"][-1]["id"]}
    done: Json = world.act(dispute, "rule", "city_authority", Role.MEDIATOR, signed, number=2)
    return done


def extension_asked(world: World, resource: UUID) -> Json:
    asked = {"working_days": 3, "reason": "数据量大"}
    done: Json = world.act(world.filed(resource), "ask_extension", "civil", Role.APPROVER, asked)
    return done


def amending(world: World, resource: UUID) -> Json:
    less = terms(resource, items=("name",))
    body = {"title": "缩小范围", "terms": less, "amends": world.agreed(resource)["id"]}
    drafted = world.call("POST", "/requests", "civil", Role.CLERK, body=body, expect=201)
    filed: Json = world.act(drafted, "file", "civil", Role.APPROVER)
    return filed


Beginning = Callable[[World, UUID], Json]
# Where others have come so far already: from the filing few would.
BEGINNINGS: list[Beginning] = [
    World.filed, extension_asked, offered, World.refused, World.disputed, ruled, World.agreed,
    amending,
]  # fmt: skip


class Stage:
    """A world with its people, to which every history comes as to a new one."""

    def __init__(self, world: World, connection: Connection) -> None:
        self.world, self.did = world, Counter[tuple[str, str]]()
        self.missing: set[tuple[str, str]] = set()  # which acts no history has come to
        self.actors = {who: world.town.actor(who[0], who[1], number=who[2]) for who in PEOPLE}
        self.resource = world.publish()
        world.session.commit()
        self.connection = connection


class Procedure(RuleBasedStateMachine):
    """One history: somebody does what is allowed, somebody tries what is not, or time passes to a deadline."""

    def __init__(self, stage: Stage, begin: Beginning) -> None:
        super().__init__()
        self.stage, self.world, self.resource = stage, stage.world, stage.resource
        self.done: set[tuple[str, str, str]] = set()
        self.since, self.patience = (
            0,
            3,
        )  # steps since time last passed, and how many there are before it does
        self.before = stage.connection.begin_nested()
        self.moment = START
        with self.at_work():
            begin(self.world, self.resource)
            self.begun = self.happened()

    def teardown(self) -> None:
        self.stage.did.update(self.happened() - self.begun)
        with self.world.at(self.moment):  # signs everybody out
            self.world.session.rollback()
        self.before.rollback()
        self.world.session.expire_all()

    def happened(self) -> Counter[tuple[str, str]]:
        of = Event.kind.in_([machine.kind for machine in MACHINES.values()])
        acts = self.world.session.execute(select(Event.kind, Event.act).where(of))
        return Counter((kind, act) for kind, act in acts)

    def at_work(self) -> Any:
        self.moment += timedelta(minutes=1)
        self.since += 1
        return clock.frozen(self.moment)

    @initialize(patience=st.integers(0, 6))
    def be_patient(self, patience: int) -> None:
        """Where people do little in time, offers lapse and everything falls due."""
        self.patience = patience

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

    @rule(data=st.data())
    def do_what_was_not_done(self, data: st.DataObject) -> None:
        """Left to chance alone, hardly a history would come as far as an accepted proposal or a review."""
        with self.at_work():
            ways = [
                (act, kind, id, who)
                for kind, id in self.cases()
                for who in PEOPLE
                for act in self.allowed(kind, id, who)
                if act not in SKIPPED and (kind, act, who[0]) not in self.done
            ]
            if data.draw(st.integers(0, 4)) > 0:
                ways = [way for way in ways if way[0] not in ENDING] or ways
            if data.draw(st.booleans()):
                ways = [way for way in ways if (way[1], way[0]) in self.stage.missing] or ways
            if ways:
                acts = sorted({(kind, act) for act, kind, _, _ in ways})
                kind, act = data.draw(st.sampled_from(acts), label="act")
                ids = [(id, who) for other, of, id, who in ways if (of, other) == (kind, act)]
                id, who = data.draw(st.sampled_from(ids), label="by whom")
                self.do(kind, self.read(kind, id, who), act, who, data.draw(st.integers(1, 99)))

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

    @precondition(lambda self: self.since > self.patience and self.next_due() is not None)
    @rule()
    def time_passes(self) -> None:
        self.since = 0
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

    def allowed(self, kind: str, id: UUID, who: Who) -> list[str]:
        session, by = self.world.session, self.stage.actors[who]
        match session.get_one(MODELS[kind], id):
            case Negotiation() as negotiation:
                return allowed_to_negotiators(session, negotiation, by=by)
            case Dispute() as dispute:
                return disputes.allowed_acts(session, dispute, by=by)
            case Agreement() as agreement:
                return agreements.allowed_acts(agreement, by=by)
            case other:
                raise AssertionError(other)

    def do(self, kind: str, case: Json, act: str, who: Who, drawn: int) -> None:
        agency, role, number = who
        self.done.add((kind, act, who[0]))
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
            "draft_ruling": self.ruling(OUTCOMES[days % len(OUTCOMES)], drawn),
            "rule": {"ruling_id": rulings[-1]["id"]},
            "confirm": {"document": "文号1", "reason": "维持"},
            "change": {"document": "文号2", **self.ruling(OUTCOMES[days % len(OUTCOMES)], drawn)},
        }
        if act in ("offer", "counter_offer", "agree", "accept"):
            return to(case[read]) if case.get(read) else {"terms_hash": "0" * 64}
        return special.get(act, {"reason": "理由"})

    @staticmethod
    def ruling(outcome: str, drawn: Json) -> Json:
        special: dict[str, Json] = {"grant": {"terms": drawn}, "remand": {"directions": "按所附条款重新协商"}}
        return {"outcome": outcome, "reasons": "理由", "legal_basis": "809-28", **special.get(outcome, {})}

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
                # What a government decided on review is on the record by its document, in one hand.
                assert ruling.signed_by != ruling.drafted_by or ruling.document is not None
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


def play(stage: Stage, begin: Beginning, *, histories: int, steps: int, derandomize: bool) -> None:
    limits = settings(
        max_examples=histories, stateful_step_count=steps, derandomize=derandomize, deadline=None, database=None,
        suppress_health_check=list(HealthCheck), phases=[Phase.generate, *[Phase.shrink] * derandomize],
    )  # fmt: skip
    machine: Any = partial(Procedure, stage, begin)
    run_state_machine_as_test(machine, settings=limits)


def test_whatever_happens_the_procedure_holds(stage: Stage) -> None:
    play(stage, World.filed, histories=4, steps=10, derandomize=True)


@pytest.mark.soak
def test_whatever_happens_for_long_the_procedure_holds(stage: Stage) -> None:
    """From every beginning; at full length until every act has been done, and no longer than three times that.
    Shorter ones are the same histories each time."""
    acts = {(machine.kind, row.act) for machine in MACHINES.values() for row in machine.rows}
    asked = {(kind, act) for kind, act in acts if act not in SKIPPED | ELSEWHERE}
    for _ in range(3):
        for begin in BEGINNINGS:
            stage.missing = asked - set(stage.did)
            play(
                stage, begin, histories=-(-HISTORIES // len(BEGINNINGS)), steps=40,
                derandomize=HISTORIES < FULL,
            )  # fmt: skip
        if asked <= set(stage.did) or HISTORIES < FULL:
            break
    print(stage.did.most_common())
    assert asked <= set(stage.did) or HISTORIES < FULL
