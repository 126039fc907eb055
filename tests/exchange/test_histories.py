"""Random histories of two agencies and an authority through the real service and database.

At every step what `allowed` promises works and what it does not promise is refused; whatever happens, the
invariants of the procedure hold.
"""

from __future__ import annotations

from datetime import timedelta
from random import Random
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select

from app.kernel import clock
from app.kernel.actor import Role
from app.kernel.calendar import legal_date
from app.kernel.deadlines import DeadlineRow
from exchange.agreements.models import Agreement
from exchange.agreements.states import AGREEMENT, LIVE
from exchange.disputes.models import Dispute, Ruling
from exchange.disputes.states import DISPUTE
from exchange.negotiations.consents import consents_to
from exchange.negotiations.models import Negotiation, TermsVersion
from exchange.negotiations.states import NEGOTIATION, OPEN
from exchange.terms import terms_hash
from tests.exchange.world import START, Json, World, terms, to

pytestmark = pytest.mark.soak  # `.ci/run` runs it; too long for every `make test`

PEOPLE = [
    ("health", Role.CLERK, 1), ("health", Role.APPROVER, 1), ("civil", Role.CLERK, 1), ("civil", Role.APPROVER, 1),
    ("city_authority", Role.MEDIATOR, 1), ("city_authority", Role.MEDIATOR, 2), ("city_authority", Role.APPROVER, 1),
]  # fmt: skip
MACHINES = {"negotiations": NEGOTIATION, "disputes": DISPUTE, "agreements": AGREEMENT}
SKIPPED = {
    "transfer", "refer", "record_settlement",  # need a world that changes; tested by themselves
    "attach",  # takes a file
}  # fmt: skip
ENDING = {"withdraw", "decline", "terminate", "complete", "agree_end"}
STEPS = 24


class Walk:
    """One history, chosen by `random`."""

    def __init__(self, world: World, seed: int) -> None:
        self.world, self.random = world, Random(seed)  # reproducible choices, no secrets
        self.resource = world.publish()
        self.negotiation_id = UUID(world.filed(self.resource)["id"])
        self.moment = START

    def step(self) -> bool:
        """One act by somebody, or time passes to the next deadline; False where nobody can do anything."""
        self.moment += timedelta(minutes=1)
        if self.random.random() < 0.2 and self.time_passes():
            return True
        with clock.frozen(self.moment):
            cases = self.cases()
            self.refused_unless_allowed(*self.random.choice(cases), self.random.choice(PEOPLE))
            for kind, id in self.random.sample(cases, len(cases)):
                for who in self.random.sample(PEOPLE, len(PEOPLE)):
                    case = self.read(kind, id, who)
                    wanted = [act for act in case["allowed"] if act not in SKIPPED]
                    if wanted:
                        # What ends a history is rare, or few would come far.
                        act = self.random.choices(wanted, [0.05 if a in ENDING else 1 for a in wanted])[0]
                        self.do(kind, case, act, who, expect=201 if act == "open_dispute" else 200)
                        return True
        return False

    def time_passes(self) -> bool:
        due = select(func.min(DeadlineRow.due_at)).where(
            DeadlineRow.ended_at.is_(None), DeadlineRow.paused_at.is_(None)
        )
        next_due = self.world.session.scalar(due)
        if next_due is None or next_due.year > START.year:
            return False
        self.moment = max(self.moment, next_due)
        assert self.world.sweep_at(self.moment) >= 1
        assert self.world.sweep_at(self.moment) == 0, "a deadline fired twice"
        return True

    def cases(self) -> list[tuple[str, UUID]]:
        session = self.world.session
        found: list[tuple[str, UUID]] = [
            ("negotiations", i) for i in session.scalars(select(Negotiation.id).order_by(Negotiation.id))
        ]
        found += [("disputes", i) for i in session.scalars(select(Dispute.id).order_by(Dispute.id))]
        return found + [
            ("agreements", i) for i in session.scalars(select(Agreement.id).order_by(Agreement.id))
        ]

    def read(self, kind: str, id: UUID, who: tuple[str, Role, int]) -> Json:
        return self.world.read(kind, id, who[0], who[1], number=who[2])

    def do(self, kind: str, case: Json, act: str, who: tuple[str, Role, int], expect: int) -> Any:
        agency, role, number = who
        path = f"/{kind}/{case['id']}/{act}"
        return self.world.call(
            "POST", path, agency, role, number=number, version=case["version"], body=self.body(kind, case, act),
            expect=expect,
        )  # fmt: skip

    def body(self, kind: str, case: Json, act: str) -> Json | None:
        drawn = terms(self.resource, retention_days=self.random.randrange(1, 99))
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

    def refused_unless_allowed(self, kind: str, id: UUID, who: tuple[str, Role, int]) -> None:
        case = self.read(kind, id, who)
        machine = MACHINES[kind]
        in_person = [act for act in machine.acts if any(role for _, role in machine.by_whom(act))]
        created = {row.act for row in machine.rows if row.source is None}
        others = sorted(set(in_person) - set(case["allowed"]) - created - SKIPPED)
        if not others:
            return
        act = self.random.choice(others)
        agency, role, number = who
        answer = self.world.client.post(
            f"/api/v1/{kind}/{case['id']}/{act}",
            headers={**self.world.headers(agency, role, number), "if-match": f'"{case["version"]}"'},
            json=self.body(kind, case, act),
        )
        assert answer.status_code in (403, 409), f"{act} by {who}: {answer.status_code} {answer.text}"
        assert self.read(kind, case["id"], who)["version"] == case["version"]

    def check(self) -> None:
        """What holds at every moment."""
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


@pytest.mark.parametrize("seed", range(8))
def test_whatever_happens_the_procedure_holds(world: World, seed: int) -> None:
    walk = Walk(world, seed)
    steps = 0
    while steps < STEPS and walk.step():
        walk.check()
        steps += 1
    assert steps > 0
