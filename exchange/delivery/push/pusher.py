"""The gateway delivers by itself: runs of subscriptions when they are due, part by part, each taken or sent again.

Owns the order that leaves no gap: read in one moment, put on disk whole, send, and only then move the place on.
Every part is a call: tested against the agreement as it stands, its intent durable before its first byte.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import shutil
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from app.kernel.clock import new_id, now
from app.kernel.errors import Problem
from app.kernel.outbound import NotReachable, Outbound
from app.kernel.text import Text
from exchange.delivery.admission import Admission, Agreement, AgreementTable
from exchange.delivery.journal import Journal
from exchange.delivery.pages import ChangesNotTold, Page
from exchange.delivery.protocol import (
    Call,
    Outcome,
    PushLeases,
    PushPlace,
    Receipt,
    S3Target,
    Subscription,
)
from exchange.delivery.push.spool import Part, Run, Spool
from exchange.delivery.push.targets import MEDIA_TYPES, Sending, Target
from exchange.delivery.quota import Bounds
from exchange.delivery.sources import TableChanges, TableProvider
from exchange.delivery.upstream import Paused, TooSlow, Unanswered

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.2
AT_ONCE = 4  # subscriptions under way
SEND_TIMEOUT_S = 60.0
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 300.0
RENEW_EVERY_S = 10.0


class TargetFailed(Problem):
    """The requester's side did not take a part."""

    status, slug = 502, "target-failed"
    title = Text("需求方接收端未接收", "The requester's side did not take it")


class SpoolFailed(Problem):
    status, slug = 503, "spool-not-written"
    title = Text("推送数据无法写入网关", "The gateway could not put the records on its disk")


@dataclass(slots=True)
class _State:
    """What is known of one subscription in this process."""

    spool: Spool
    leased_until: float = 0.0
    try_at: float = 0.0
    failures: int = 0
    problem: str | None = None
    target: Target | None = None
    sends_to: object = None
    told: PushPlace | None = field(default=None)  # what the centre was last told


class Pusher:
    """The pushes of one gateway, kept in `folder`. `table` gives what is enforced now, or raises OutOfTouch,
    and `bounds` this gateway's part of a day's quota."""

    def __init__(
        self,
        folder: Path,
        journal: Journal,
        outbound: Outbound,
        table: Callable[[], AgreementTable],
        bounds: Callable[[Agreement, str, int | None], Awaitable[Bounds]],
        *,
        first_wait_s: float = FIRST_WAIT_S,
    ) -> None:
        self._folder = folder
        self._journal = journal
        self._outbound = outbound
        self._table = table
        self._bounds = bounds
        self._first_wait_s = first_wait_s
        self._states: dict[str, _State] = {}
        self._asked_at = float("-inf")
        self._running: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Deliver what is due until cancelled."""
        try:
            while True:
                self._begin_due()
                await asyncio.sleep(LOOK_EVERY_S)
        finally:
            for task in self._running.values():
                task.cancel()
            await asyncio.gather(*self._running.values(), return_exceptions=True)
            for state in self._states.values():
                if state.target is not None:
                    state.target.close()

    # --- What the centre is told and says

    def places(self) -> list[PushPlace]:
        """How far every subscription is, where it is time to say so: something has changed, or leases run out."""
        try:
            known = self._table().subscriptions
        except Problem:
            return []
        self._forget_ended(set(known))
        places = {id: self._place(self._state(id)) for id in known}
        news = any(self._states[id].told != place for id, place in places.items())
        if not places or not (news or time.monotonic() - self._asked_at > RENEW_EVERY_S):
            return []
        return list(places.values())

    def hold(self, asked_at: float, told: list[PushPlace], leases: PushLeases) -> None:
        """The centre's answer to the places `told` at the monotonic moment `asked_at`."""
        self._asked_at = asked_at
        for place in told:
            if place.subscription_id in self._states:
                self._states[place.subscription_id].told = place
        for place in leases.places:
            state = self._state(place.subscription_id)
            if place.subscription_id not in self._running:
                state.spool.follow(place)
            state.leased_until = asked_at + leases.seconds

    def _place(self, state: _State) -> PushPlace:
        return msgspec.structs.replace(state.spool.place, problem=state.problem)

    def _state(self, id: str) -> _State:
        if id not in self._states:
            self._states[id] = _State(Spool(self._folder / id, id))
        return self._states[id]

    def _forget_ended(self, known: set[str]) -> None:
        """Records of subscriptions that are no more do not stay; a suspended agreement's are told of still."""
        for id in (
            {*self._states, *(path.name for path in self._folder.glob("*"))} - known - set(self._running)
        ):
            state = self._states.pop(id, None)
            if state is not None and state.target is not None:
                state.target.close()
            shutil.rmtree(self._folder / id, ignore_errors=True)

    # --- Runs

    def _begin_due(self) -> None:
        for id in [id for id, task in self._running.items() if task.done()]:
            del self._running[id]
        try:
            table = self._table()
        except Problem:
            return
        for id, subscription in table.subscriptions.items():
            if len(self._running) < AT_ONCE and id not in self._running and self._is_due(subscription):
                self._running[id] = asyncio.create_task(self._deliver(subscription), name=f"push {id}")

    def _is_due(self, subscription: Subscription) -> bool:
        state = self._state(subscription.id)
        if not self._holds(state) or time.monotonic() < state.try_at:
            return False
        began = state.spool.last_began_at
        if state.spool.run is not None or not began:
            return True
        return (now() - datetime.fromisoformat(began)).total_seconds() >= subscription.every_s

    @staticmethod
    def _holds(state: _State) -> bool:
        return time.monotonic() < state.leased_until

    async def _deliver(self, subscription: Subscription) -> None:
        """One run, or the rest of one; what hinders it is tried again after a while."""
        state = self._state(subscription.id)
        try:
            await self._run(subscription, state)
            state.failures, state.problem = 0, None
        except (Problem, OSError) as raised:
            problem = raised if isinstance(raised, Problem) else SpoolFailed()
            state.failures += 1
            wait = min(self._first_wait_s * 2 ** min(state.failures - 1, 20), LONGEST_WAIT_S)
            state.try_at = time.monotonic() + wait
            if state.problem != problem.slug:
                log.warning("push %s: %s, again in %.0f s", subscription.id, problem.slug, wait)
            state.problem = problem.slug
        except Exception:  # a fault here must not end the others, nor be tried without a pause
            log.exception("push %s", subscription.id)
            state.problem, state.try_at = "internal", time.monotonic() + LONGEST_WAIT_S

    async def _run(self, subscription: Subscription, state: _State) -> None:
        spool = state.spool
        admission = self._table().admit_push(subscription, now())
        basis = _basis(admission)
        if spool.run is not None and spool.run.basis != basis:
            spool.drop()
        run = spool.run or await self._make(subscription, admission, spool, basis)
        while run.taken < len(run.parts):
            if not self._holds(state):
                return
            # Anew for every part: what was agreed may have ended meanwhile
            admission = self._table().admit_push(subscription, now())
            if _basis(admission) != run.basis:
                return
            run = await self._send_part(subscription, admission, state, run)
        await self._close_run(subscription, state, run)
        spool.finish(now().astimezone(UTC).isoformat())

    async def _make(self, subscription: Subscription, admission: Admission, spool: Spool, basis: str) -> Run:
        """Read what is to be delivered and put it on disk; nothing has left then."""
        place = spool.place
        since = place.mark if place.basis == basis else ""
        began_at = now().astimezone(UTC).isoformat()
        pages, mark = _pages(subscription, admission, since)
        run = await spool.make(
            pages, mark, admission.items, subscription.form, basis=basis, began_at=began_at,
            most_rows=admission.agreement.quota.rows_per_call,
        )  # fmt: skip
        log.info("push %s: run %d has %d rows", subscription.id, run.number, run.rows)
        return run

    async def _send_part(
        self, subscription: Subscription, admission: Admission, state: _State, run: Run
    ) -> Run:
        """Send the next part; the run with it taken. Errors: TargetFailed, and what is not admitted."""
        part, table, at = run.parts[run.taken], self._table(), now()
        today = table.today(at)
        # The first attempt bears the part's own id and all of its rows. A crash may fall between the note that it was
        # begun and the intent itself: then the journal does not know of it.
        is_first = not run.counted or (run.counted == today and not self._journal.has_begun(part.id))
        rows = part.rows if is_first else 0
        try:
            agreement = admission.agreement
            within = await self._bounds(agreement, today, rows)
            table.require_rows(admission, rows, at, self._journal.used(agreement.id, today), within)
        except Problem as problem:
            if state.problem != problem.slug:
                call = _call(subscription, admission, str(new_id()), at, today, 0)
                outcome = Outcome(result="refused", status=problem.status, problem=problem.slug)
                await self._journal.refuse(Receipt(call=call, outcome=outcome))
            raise
        call = _call(subscription, admission, part.id if is_first else str(new_id()), at, today, rows)
        if not run.counted:
            run = msgspec.structs.replace(run, counted=today)
            await asyncio.to_thread(state.spool.note, run)
        await self._journal.begin(call)
        began = time.perf_counter()
        sent = Outcome(
            result="failed", status=0, problem="internal", rows=rows, bytes=part.bytes, sha256=part.sha256
        )
        try:
            body = await asyncio.to_thread(state.spool.body, part)
            sent = await self._handed_over(subscription, state, run, part, call, body, sent)
        finally:
            sent = msgspec.structs.replace(sent, duration_ms=round((time.perf_counter() - began) * 1000, 3))
            await self._journal.complete(call.id, sent)
        if sent.result != "delivered":
            raise TargetFailed(Text("接收端状态码 {n}", "It answered {n}").with_(n=sent.status))
        run = msgspec.structs.replace(run, taken=run.taken + 1, counted="")
        await asyncio.to_thread(state.spool.note, run)
        return run

    async def _handed_over(
        self, subscription: Subscription, state: _State, run: Run, part: Part, call: Call, body: bytes, sent: Outcome
    ) -> Outcome:  # fmt: skip
        position = run.taken + 1
        suffix = subscription.form
        sending = Sending(
            name=f"{run.number:08d}/{position:05d}-{part.id}.{suffix}", body=body,
            media_type=MEDIA_TYPES[subscription.form], headers=_headers(subscription, run, part, call),
        )  # fmt: skip
        try:
            status = await self._target(subscription, state).send(sending, now(), SEND_TIMEOUT_S)
        except (Paused, NotReachable):  # no byte has left; the rows stand in the quota for the next attempt
            return msgspec.structs.replace(sent, problem="target-failed", bytes=0, sha256=None)
        except (TooSlow, Unanswered):
            return msgspec.structs.replace(sent, problem="target-failed")
        if 200 <= status < 300:
            return msgspec.structs.replace(sent, result="delivered", status=status, problem=None)
        return msgspec.structs.replace(sent, status=status, problem="target-failed")

    async def _close_run(self, subscription: Subscription, state: _State, run: Run) -> None:
        """A bucket is told what the run consists of, after all of it is there."""
        if not isinstance(subscription.target, S3Target) or not run.parts:
            return
        manifest = {
            "run": run.number, "subscription": subscription.id, "agreement": subscription.agreement_id,
            "resource": subscription.resource_id, "mode": subscription.mode, "began_at": run.began_at,
            "previous": run.previous, "rows": run.rows, "parts": run.parts,
        }  # fmt: skip
        sending = Sending(
            f"{run.number:08d}/manifest.json", msgspec.json.encode(manifest), "application/json", {}
        )
        try:
            status = await self._target(subscription, state).send(sending, now(), SEND_TIMEOUT_S)
        except (Paused, NotReachable, TooSlow, Unanswered):
            raise TargetFailed() from None
        if not 200 <= status < 300:
            raise TargetFailed(Text("接收端状态码 {n}", "It answered {n}").with_(n=status))

    def _target(self, subscription: Subscription, state: _State) -> Target:
        if state.target is None or state.sends_to != subscription.target:
            if state.target is not None:
                state.target.close()
            state.target, state.sends_to = Target(subscription.target, self._outbound), subscription.target
        return state.target


def _pages(
    subscription: Subscription, admission: Admission, since: str
) -> tuple[AsyncGenerator[Page], Callable[[], str]]:
    """The records to deliver, and the mark to go on from, which is known once they were read."""
    if subscription.mode == "full":
        return admission.fetch(2**31 - 1, 0), lambda: ""
    if not isinstance(admission.provider, TableProvider):
        raise ChangesNotTold()
    changes: TableChanges = admission.provider.changes(admission.compiled, since)
    return changes.pages(), lambda: changes.mark


def _basis(admission: Admission) -> str:
    """What a mark stands under: with other terms, other records would have been delivered."""
    asked = admission.asked
    written = msgspec.json.encode(
        [admission.agreement.hash, asked.resource_id, asked.items, asked.narrowed_by]
    )
    return hashlib.sha256(written).hexdigest()


def _headers(subscription: Subscription, run: Run, part: Part, call: Call) -> dict[str, str]:
    position = run.taken + 1
    before = run.parts[run.taken - 1].id if run.taken else run.previous
    return {
        "Idempotency-Key": part.id,
        "Zhengtong-Receipt": call.id,
        "Zhengtong-Subscription": subscription.id,
        "Zhengtong-Agreement": subscription.agreement_id,
        "Zhengtong-Resource": subscription.resource_id,
        "Zhengtong-Run": str(run.number),
        "Zhengtong-Part": f"{position}/{len(run.parts)}",
        "Zhengtong-Previous": before or "none",
        "Zhengtong-Rows": str(part.rows),
        "Zhengtong-Mode": subscription.mode,
    }


def _call(
    subscription: Subscription, admission: Admission, id: str, at: datetime, day: str, rows: int
) -> Call:
    return Call(
        id=id, at=at.astimezone(UTC).isoformat(), day=day, agreement_id=subscription.agreement_id,
        agreement_hash=admission.agreement.hash, resource_id=subscription.resource_id,
        client_id=subscription.client_id, agency_id=subscription.agency_id, grant_id=subscription.grant_id,
        purpose=subscription.purpose, method="push", items=admission.items, rows_reserved=rows,
    )  # fmt: skip
