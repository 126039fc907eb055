"""A year of the exchange: a thousand requests among sixty agencies of two levels, some silent, some refusing.

Nothing sweeps but what the queue wakes, and for seven days nothing does. Every clock fires once, within a minute.
"""

from __future__ import annotations

import heapq
import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from importlib.resources import files
from itertools import count
from random import Random
from uuid import UUID

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from app.identity import agencies, sessions
from app.kernel import clock, deadlines
from app.kernel.actor import Actor, Role
from app.kernel.calendar import BEIJING, legal_date
from app.kernel.db import Database
from app.kernel.deadlines import SWEEP_BATCH, WAKE, DeadlineRow
from app.kernel.errors import WrongMoment
from app.kernel.history import Event
from app.worker import consequences
from catalog.resources.importing import Incoming, upsert_imported
from catalog.resources.models import Resource
from catalog.resources.record import ResourceRecord
from exchange.agreements import service as agreements
from exchange.agreements.models import Agreement
from exchange.disputes import service as disputes
from exchange.disputes.models import Dispute
from exchange.negotiations import reply_time
from exchange.negotiations import service as negotiations
from exchange.negotiations.models import Negotiation, TermsVersion
from exchange.negotiations.states import ACCEPTED, FINALIZED, OFFERED
from exchange.requests.service import Content, draft_request, file_request
from exchange.terms import Terms
from tests.exchange.world import terms
from tests.factories import OPERATOR

pytestmark = pytest.mark.soak

REQUESTS = int(os.environ.get("ZHENGTONG_YEAR_REQUESTS", "1000"))
AGENCIES = 60
MINUTE = timedelta(minutes=1)
BEGINS = datetime(2026, 1, 5, 9, tzinfo=BEIJING)
LAST_FILING = datetime(2026, 11, 6, 17, tzinfo=BEIJING)
ENDS = datetime(2026, 12, 31, 9, tzinfo=BEIJING)
# Of a Thursday and the week after it: many clocks run out while nothing runs.
OUTAGE = datetime(2026, 6, 11, 12, tzinfo=BEIJING), datetime(2026, 6, 18, 12, tzinfo=BEIJING)
Doing = Callable[[Session], None]
# What the history tells when a clock of a duty has run out.
TOLD = {
    "negotiation.reply.conditional": {"mark_overdue"},
    "negotiation.reply.unconditional": {"deem_consent"},
    "negotiation.confirm": {"mark_overdue"},
    "negotiation.respond": {"remind", "lapse"},
    "agreement.supply": {"mark_overdue"},
    "agreement.disposal": {"mark_disposal_overdue"},
    "dispute.ruling": {"mark_overdue"},
    "dispute.review": {"become_final"},
    "dispute.statement": {"silence"},
}


class Year:
    """An agenda of what people will do, and a queue that wakes the sweep; the clock goes from one to the next."""

    def __init__(self, database: Database, seed: int) -> None:
        self.database, self.random = database, Random(seed)  # reproducible choices, no secrets
        self.moment = BEGINS
        self.did: Counter[str] = Counter()
        self._agenda: list[tuple[datetime, int, Doing]] = []
        self._number = count()
        with self.transaction() as session:
            self.people = self._peopled(session)
            self.parties = list(self.people)[1:]
            self.resources = self._published(session)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        with clock.frozen(self.moment), self.database.transaction() as session:
            yield session

    def _peopled(self, session: Session) -> dict[UUID, dict[str, Actor]]:
        """Two levels: a city and five districts, an authority in each, bureaus in all of them; and the authority
        above the city, which asks for nothing and decides where the city's own is a party."""
        root = agencies.root_jurisdiction(session)
        people = self._agencies(session, root.id, root.code, 1)
        codes = ["995500"] + [f"99550{n}" for n in range(1, 6)]
        for number, code in enumerate(codes):
            place = agencies.register_jurisdiction(
                session, code=code, name=f"第{number}区", name_en=f"Place {number}", by=OPERATOR,
                parent_code=codes[0] if number else root.code,
            )  # fmt: skip
            people |= self._agencies(session, place.id, code, AGENCIES // len(codes))
        return people

    def _agencies(self, session: Session, place: UUID, code: str, count: int) -> dict[UUID, dict[str, Actor]]:
        people = {}
        for n in range(count):
            agency = agencies.register_agency(
                session, name=f"{code}第{n}局", jurisdiction_id=place, authority=n == 0, verified=False, by=OPERATOR
            )  # fmt: skip
            people[agency.id] = {
                role: self._actor(session, agency.id, Role(role.rstrip("2")))
                for role in ("clerk", "approver", "mediator", "mediator2")
            }
        return people

    @staticmethod
    def _actor(session: Session, agency_id: UUID, role: Role) -> Actor:
        login = f"year-{clock.new_id().hex}"
        person = sessions.register_person(
            session, login=login, name="某人", agency_id=agency_id, roles=frozenset({role}), by=OPERATOR
        )
        return sessions.actor_of(session, person)

    def _published(self, session: Session) -> list[tuple[UUID, UUID]]:
        """One resource of each agency, a third of them shared unconditionally, with its agency."""
        items = [
            {"name": "姓名", "code": "name", "data_type": "C"},
            {"name": "日期", "code": "registered_on", "data_type": "D"},
        ]
        incoming = [
            Incoming(
                agencies.agency(session, agency_id),
                ResourceRecord.model_validate(
                    {
                        "title": f"登记信息{n}", "source_id": str(n),
                        # What is sensitive and unmasked waits for a person although it is shared unconditionally.
                        "items": [{**item, "sensitive": n % 3 == 0} for item in items],
                        "sharing": {"type": "conditional" if n % 3 else "unconditional"},
                    }
                ),
            )
            for n, agency_id in enumerate(self.parties)
        ]  # fmt: skip
        upsert_imported(session, incoming, source="year", as_state="published", by=OPERATOR)
        session.flush()
        return [(row.id, row.agency_id) for row in session.execute(select(Resource.id, Resource.agency_id))]

    # --- Time

    def later(self, days: float, do: Doing) -> None:
        """Somebody will do it so many days from now, at some minute of the working day."""
        minute = timedelta(minutes=self.random.randrange(8 * 60))
        day = legal_date(self.moment + timedelta(days=days))
        at = datetime(day.year, day.month, day.day, 9, tzinfo=BEIJING) + minute
        heapq.heappush(self._agenda, (max(at, self.moment + MINUTE), next(self._number), do))

    def run(self) -> None:
        while True:
            woken = self._next_waking()
            person = self._agenda[0][0] if self._agenda else ENDS
            self.moment = min(woken or ENDS, person, ENDS)
            if self.moment >= ENDS:
                return
            if OUTAGE[0] <= self.moment < OUTAGE[1]:  # nothing runs: all of it waits for the end
                self.moment = OUTAGE[1]
                self._sweep()
                self._postpone()
            elif woken and woken <= person:
                self.moment += timedelta(seconds=self.random.randrange(20))  # until a worker has it
                self._sweep()
            else:
                self._act(heapq.heappop(self._agenda)[2])

    def _act(self, do: Doing) -> None:
        try:
            with self.transaction() as session:
                do(session)
            self.did["done"] += 1
        except WrongMoment:  # the clock was faster
            self.did["too late"] += 1

    def _postpone(self) -> None:
        waiting, self._agenda = self._agenda, []
        for at, number, do in waiting:
            heapq.heappush(self._agenda, (max(at, self.moment + number % 600 * MINUTE), number, do))

    def _next_waking(self) -> datetime | None:
        query = text("SELECT min(scheduled_at) FROM procrastinate_jobs WHERE task_name IN (:wake, :term)")
        with self.transaction() as session:
            woken: datetime | None = session.scalar(query, {"wake": WAKE, "term": agreements.TERM})
            return woken

    def _sweep(self) -> None:
        """What the worker does with the jobs that are due."""
        fired = SWEEP_BATCH
        while fired == SWEEP_BATCH:
            with self.transaction() as session:
                fired = deadlines.sweep(session, consequences())
                agreements.keep_terms(session)
                due = text("DELETE FROM procrastinate_jobs WHERE scheduled_at <= :now")
                session.execute(due, {"now": self.moment})
        self.did["wakings"] += 1

    # --- People

    def ask(self, session: Session) -> None:
        """Somebody asks somebody else for a resource; what becomes of it is drawn here."""
        resource, provider = self.random.choice(self.resources)
        requester = self.random.choice([agency for agency in self.parties if agency != provider])
        wanted = Terms.model_validate(
            terms(
                resource, valid_from=str(legal_date(self.moment)), retention_days=self.random.randrange(1, 90),
                valid_until=str(legal_date(self.moment) + timedelta(days=self.random.choice([60, 200, 400]))),
            )
        )  # fmt: skip
        request = draft_request(session, Content("核验", wanted), by=self.people[requester]["clerk"])
        file_request(session, request, by=self.people[requester]["approver"], version=request.version)
        case = session.scalars(select(Negotiation).where(Negotiation.request_id == request.id)).one()
        unconditional = case.sharing == "unconditional"
        self._answer(case.id, wanted, self.people[requester], self.people[provider], unconditional)

    def _answer(
        self, id: UUID, wanted: Terms, asking: dict[str, Actor], asked: dict[str, Actor], unconditional: bool
    ) -> None:
        fate = self.random.choices(
            ["silent", "refuse", "material", "extension", "offer", "agree", "withdraw"],
            [5, 10, 10, 5, 30, 37, 3],
        )[0]
        if fate == "extension" and unconditional:  # is not extended (809-21)
            fate = "agree"
        self.did[fate] += 1
        days = self.random.uniform(0.1, 8)

        def agree(session: Session) -> None:
            case = session.get_one(Negotiation, id)
            hashed = session.get_one(TermsVersion, case.current_terms_id).terms_hash
            agreed = negotiations.agree(
                session, case, to_hash=hashed, by=asked["approver"], version=case.version
            )
            self._use(agreed.id, asking)

        def refuse(session: Session) -> None:
            case = session.get_one(Negotiation, id)
            negotiations.refuse(
                session, case, ground="exceeds_need", reason="范围过大", narrower=None, by=asked["approver"],
                version=case.version,
            )  # fmt: skip
            self.later(3, lambda s: self._dispute(s, id, asking, asked))

        def ask_material(session: Session) -> None:
            case = session.get_one(Negotiation, id)
            reply_time.ask_material(session, case, notice="补正", by=asked["clerk"], version=case.version)
            self.later(self.random.uniform(1, 20), supply_material)

        def supply_material(session: Session) -> None:
            case = session.get_one(Negotiation, id)
            reply_time.supply_material(
                session, case, material="材料", by=asking["clerk"], version=case.version
            )
            self.later(self.random.uniform(0.1, 9), agree)

        def ask_extension(session: Session) -> None:
            case = session.get_one(Negotiation, id)
            reply_time.ask_extension(
                session, case, working_days=5, reason="数据量大", by=asked["approver"], version=case.version
            )
            self.later(1, lambda s: self._extend(s, id))
            self.later(12, agree)

        def offer(session: Session) -> None:
            case = session.get_one(Negotiation, id)
            less = wanted.model_copy(update={"retention_days": 1})
            draft = negotiations.draft_terms(
                session, case, terms=less, note=None, by=asked["clerk"], version=case.version
            )
            negotiations.offer(
                session,
                case,
                to_hash=draft.terms_hash,
                reason=None,
                by=asked["approver"],
                version=case.version,
            )
            if self.random.random() < 0.85:  # else the offer is left to lapse
                self.later(self.random.uniform(0.1, 18), respond)

        def respond(session: Session) -> None:
            case = session.get_one(Negotiation, id)
            if case.state != OFFERED:
                raise WrongMoment()
            if self.random.random() < 0.3:
                more = wanted.model_copy(update={"retention_days": 2})
                draft = negotiations.draft_terms(
                    session, case, terms=more, note=None, by=asking["clerk"], version=case.version
                )
                negotiations.counter_offer(
                    session, case, to_hash=draft.terms_hash, reason=None, by=asking["approver"],
                    version=case.version,
                )  # fmt: skip
            else:
                hashed = session.get_one(TermsVersion, case.current_terms_id).terms_hash
                negotiations.accept(
                    session, case, to_hash=hashed, by=asking["approver"], version=case.version
                )
                assert case.state == ACCEPTED
            if self.random.random() < 0.9:
                self.later(self.random.uniform(0.1, 12), agree)

        def withdraw(session: Session) -> None:
            case = session.get_one(Negotiation, id)
            negotiations.withdraw(session, case, reason=None, by=asking["clerk"], version=case.version)

        if fate == "silent":
            self.later(30, lambda s: self._dispute(s, id, asking, asked))
            return
        acts = {"refuse": refuse, "material": ask_material, "extension": ask_extension, "offer": offer}
        self.later(days, {**acts, "agree": agree, "withdraw": withdraw}[fate])

    def _extend(self, session: Session, id: UUID) -> None:
        case = session.get_one(Negotiation, id)
        mediator = self.people[case.authority_id]["mediator"]
        reply_time.answer_extension(
            session, case, consent=self.random.random() < 0.7, reason=None, by=mediator, version=case.version
        )

    def _use(self, agreement_id: UUID, asking: dict[str, Actor]) -> None:
        """The provider supplies, mostly; the requester's purpose may be met, and then mostly it disposes."""

        def complete(session: Session) -> None:
            agreement = session.get_one(Agreement, agreement_id)
            agreements.change_agreement(
                session, agreement, "complete", by=asking["approver"], reason=None,
                expected_version=agreement.version,
            )  # fmt: skip
            if self.random.random() < 0.7:
                self.later(self.random.uniform(1, 20), dispose)

        def dispose(session: Session) -> None:
            agreement = session.get_one(Agreement, agreement_id)
            agreements.certify_disposal(
                session, agreement, on=legal_date(self.moment), how="删除", by=asking["approver"],
                expected_version=agreement.version,
            )  # fmt: skip

        if self.random.random() < 0.8:
            days = self.random.uniform(1, 20)
            self.later(days, lambda session: agreements.note_supplied(session, agreement_id))
        if self.random.random() < 0.3:
            self.later(self.random.uniform(30, 100), complete)

    def _dispute(self, session: Session, id: UUID, asking: dict[str, Actor], asked: dict[str, Actor]) -> None:
        case = session.get_one(Negotiation, id)
        if case.state == FINALIZED:
            raise WrongMoment()
        opened = disputes.open_dispute(
            session, case, reason="没有依据", by=asking["approver"], version=case.version
        )
        dispute_id, authority = opened.id, self.people[opened.authority_id]

        def admit(session: Session) -> None:
            dispute = session.get_one(Dispute, dispute_id)
            disputes.admit(session, dispute, by=authority["mediator"], version=dispute.version)
            self.later(2, state)
            self.later(self.random.uniform(5, 28), decide)

        def state(session: Session) -> None:
            dispute = session.get_one(Dispute, dispute_id)
            disputes.make_statement(session, dispute, body="陈述", by=asked["clerk"], version=dispute.version)

        def decide(session: Session) -> None:
            dispute = session.get_one(Dispute, dispute_id)
            ruling = disputes.draft_ruling(
                session, dispute, outcome="deny", reasons="理由", legal_basis="809-28", directions=None,
                terms=None, by=authority["mediator"], version=dispute.version,
            )  # fmt: skip
            disputes.rule(
                session, dispute, ruling_id=ruling.id, by=authority["mediator2"], version=dispute.version
            )

        self.later(1, admit)


def test_a_year(database: Database) -> None:
    year = Year(database, seed=809)
    span = LAST_FILING - BEGINS
    for number in range(REQUESTS):
        year.later(span.days * number / REQUESTS, year.ask)
    year.run()
    with database.transaction() as session:
        rows = session.scalars(select(DeadlineRow)).all()
        told = Counter((event.subject_id, event.act) for event in session.scalars(select(Event)))
        assert session.scalar(select(func.count()).select_from(Negotiation)) == REQUESTS
    fired = [row for row in rows if row.outcome == "fired"]
    print(dict(year.did), f"{len(rows)} clocks, {len(fired)} fired, {told.total()} events")
    assert {row.duty for row in fired} == set(TOLD) or REQUESTS < 500
    fired_in_time(fired)
    fired_once(fired, told)
    none_lost(rows)
    counted_rightly(rows)


def fired_in_time(fired: Sequence[DeadlineRow]) -> None:
    """Within a minute of its time, or of the end of the outage it fell into."""
    for row in fired:
        assert row.ended_at is not None
        could = OUTAGE[1] if OUTAGE[0] <= row.due_at < OUTAGE[1] else row.due_at
        assert timedelta() <= row.ended_at - could < MINUTE, (row.duty, row.due_at, row.ended_at)


def fired_once(fired: Sequence[DeadlineRow], told: Counter[tuple[UUID, str]]) -> None:
    """The history of each case tells of each clock that ran out, once."""
    duties: dict[UUID, list[str]] = defaultdict(list)
    for row in fired:
        duties[row.subject_id].append(row.duty)
    for subject, own in duties.items():
        happened = sum(told[subject, act] for act in {act for duty in own for act in TOLD[duty]})
        nothing_to_tell = own.count("dispute.statement")  # where both have spoken
        assert len(own) - nothing_to_tell <= happened <= len(own), own


def none_lost(rows: Sequence[DeadlineRow]) -> None:
    """What runs still is not due, or stands still; what was met was met in time."""
    for row in rows:
        if row.ended_at is None:
            assert row.due_at > ENDS or row.paused_at is not None, (row.duty, row.due_at)
        elif row.outcome != "fired" and row.paused_at is None:
            assert row.ended_at < row.due_at, (row.duty, row.outcome, row.due_at)


def counted_rightly(rows: Sequence[DeadlineRow]) -> None:
    """The due dates are those that counting on the fingers gives, by the State Council's lists."""
    raw = json.loads((files("app.identity") / "data" / "calendar-cn.json").read_text("utf-8"))["years"]
    off = {day for lists in raw.values() for day in lists["off"]}
    work = {day for lists in raw.values() for day in lists["work"]}
    for row in rows:
        day, left = row.counted_from, row.counted_days
        while left:
            day += timedelta(days=1)
            left -= str(day) in work or (day.isoweekday() <= 5 and str(day) not in off)
        assert row.due_on == day, (row.duty, row.counted_from, row.counted_days)
        assert row.due_at == datetime(day.year, day.month, day.day, tzinfo=BEIJING) + timedelta(days=1)
