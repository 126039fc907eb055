"""The worker: jobs, the deadline sweep, the ledger's sequencer and this node's search index.

Owns the loops and which consequences and tasks exist. Any number of workers may run; each loop is safe
beside its like on another node.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from multiprocessing import get_context
from typing import Any
from uuid import UUID

from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

import app.main  # noqa: F401 - its routes say who may do what, which work in a person's name asks
from app.accounts import service_database
from app.identity.tidy import tidy
from app.kernel import deadlines, jobs, ledger, timestamping
from app.kernel.db import Database
from app.kernel.deadlines import Consequence
from app.kernel.jobs import Outside, Work
from app.kernel.keys import ServiceKeys
from app.kernel.outbound import Outbound
from app.processes import end_with_parent
from app.settings import Settings
from catalog.collection import audit_runs, checking
from catalog.collection import service as collection
from catalog.collection.meaning import SentenceEncoder
from catalog.following import service as following
from catalog.harvest import service as harvest
from catalog.imports import work as imports
from catalog.quality import service as quality
from catalog.resources import service as resources
from catalog.resources import use
from catalog.search import indexing
from catalog.search.index import CatalogIndex, IndexBusy
from exchange import attachments
from exchange import use as exchange_use
from exchange.agreements import service as agreements
from exchange.corrections import service as corrections
from exchange.delivery.anomalies import mark_anomalies
from exchange.disputes import clocks as disputes
from exchange.negotiations import clocks as negotiations
from exchange.telling import digests, webhooks

log = logging.getLogger(__name__)

use.told_by(exchange_use.use_of)

UNUSUAL_EVERY_S = 300.0
SEQUENCE_EVERY_S = 0.5
INDEX_EVERY_S = 0.3
SWEEP_EVERY_S = 5.0
FOLLOWERS_EVERY_S = 2.0
MEASURE_EVERY_S = 60.0
LINKS_EVERY_S = 60.0
RESCUE_EVERY_S = 10.0
TELL_EVERY_S = 1.0
MAIL_EVERY_S = 60.0
SCAN_EVERY_S = 1.0
STAMP_EVERY = timedelta(hours=1)
STAMP_TRY_EVERY_S = 60.0
TIDY_EVERY_S = 60.0
STOP_WITHIN_S = 20


def consequences() -> dict[str, Consequence]:
    """What follows when a duty is missed, by duty."""
    return {
        **resources.CONSEQUENCES,
        **collection.CONSEQUENCES,
        **negotiations.CONSEQUENCES,
        **agreements.CONSEQUENCES,
        **disputes.CONSEQUENCES,
        **corrections.CONSEQUENCES,
    }


def tasks(settings: Settings) -> dict[str, Work]:
    """Every job the product knows, by name."""

    def wake(session: Session, _args: Mapping[str, Any]) -> None:
        deadlines.sweep(session, consequences())

    mails = {digests.SEND: digests.sending(settings.mailer, settings.public_url)} if settings.mailer else {}
    return {
        deadlines.WAKE: wake,
        **imports.TASKS,
        **harvest.TASKS,
        **collection.TASKS,
        audit_runs.CARRY_OUT: Outside(partial(audit_apart, embeddings=settings.embeddings)),
        **agreements.TASKS,
        **mails,
    }


def audit_apart(
    database: Database, _outbound: Outbound, args: Mapping[str, Any], *, embeddings: bool = False
) -> None:
    """Have an audit of the catalog carried out by a process of its own: it takes memory, and processor time that the
    loops of this one need. Errors: RuntimeError where it was killed; the queue tries again."""
    asked = database.url, UUID(args["audit_id"]), embeddings
    process = get_context("spawn").Process(target=_audit_asked, args=asked)
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"the audit's process ended with {process.exitcode}")


def _audit_asked(url: str, audit_id: UUID, embeddings: bool) -> None:
    end_with_parent()
    database = service_database(url)
    try:
        if embeddings:
            checking.use_meaning(database.engine, SentenceEncoder())
        audit_runs.carry_out(database, audit_id)
    except Exception:
        log.exception("audit %s failed", audit_id)
        audit_runs.give_up(database, audit_id)
    finally:
        database.close()


class Loops:
    """Threads that repeat one piece of work each until stopped; a failure is logged and tried again."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def every(self, seconds: float, work: Callable[[], int]) -> None:
        """Repeat `work`, at once again while it reports that it did something."""

        def loop() -> None:
            while not self._stop.is_set():
                done = 0
                try:
                    done = work()
                except OperationalError as error:
                    log.warning("%s: database unreachable (%s)", work.__name__, type(error.orig).__name__)
                except IndexBusy:
                    log.debug("another process of this node keeps the index")
                except Exception:
                    log.exception("%s failed", work.__name__)
                if not done:
                    self._stop.wait(seconds)

        thread = threading.Thread(target=loop, name=work.__name__, daemon=True)
        thread.start()
        self._threads.append(thread)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(STOP_WITHIN_S)


def start_loops(settings: Settings, database: Database, keys: ServiceKeys) -> Loops:
    """Start the sequencer, the sweep, the indexer, what forgets and changes keys, and time stamping where there
    is an authority for it."""
    index = CatalogIndex.open(settings.index)
    missed = consequences()

    def sequence() -> int:
        with database.transaction() as session:
            return ledger.sequence(session, keys.ledger)

    def sweep() -> int:
        with database.transaction() as session:
            return deadlines.sweep(session, missed) + agreements.keep_terms(session)

    def tell_followers() -> int:
        return following.tell_followers(database)

    def measure() -> int:
        return quality.measure_due(database)

    def check_links() -> int:
        return quality.check_links(database, settings.outbound)

    def follow() -> int:
        return indexing.run_once(database, index)

    def tidied() -> int:
        keys.token.rotate()
        with database.transaction() as session:
            tidy(session)
        return 0

    def tell() -> int:
        return webhooks.tell_due(database, settings.outbound, keys.seal, source=settings.public_url)

    def mail() -> int:
        with database.transaction() as session:
            return digests.enqueue_due(session)

    def mark_unusual() -> int:
        with database.transaction() as session:
            return mark_anomalies(session)

    loops = Loops()
    loops.every(UNUSUAL_EVERY_S, mark_unusual)
    loops.every(SEQUENCE_EVERY_S, sequence)
    loops.every(SWEEP_EVERY_S, sweep)
    loops.every(INDEX_EVERY_S, follow)
    loops.every(FOLLOWERS_EVERY_S, tell_followers)
    loops.every(MEASURE_EVERY_S, measure)
    loops.every(LINKS_EVERY_S, check_links)
    loops.every(TIDY_EVERY_S, tidied)
    loops.every(TELL_EVERY_S, tell)
    if settings.mailer:
        loops.every(MAIL_EVERY_S, mail)
    if scanner := settings.scanner:

        def scan() -> int:
            return attachments.scan_next(database, scanner)

        loops.every(SCAN_EVERY_S, scan)
    if url := settings.timestamp_url:

        def stamp() -> int:
            return timestamping.stamp_newest(database, url, every=STAMP_EVERY)

        loops.every(STAMP_TRY_EVERY_S, stamp)
    return loops


async def _work(settings: Settings, database: Database) -> None:
    queue = jobs.make_queue(database, tasks(settings), settings.outbound)
    stop = asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, stop.set)

    async def rescue() -> None:
        while True:
            with contextlib.suppress(Exception):  # the database may be away; the next round tries again
                await jobs.rescue_stalled(queue)
            await asyncio.sleep(RESCUE_EVERY_S)

    async with queue.open_async():
        rescuing = asyncio.create_task(rescue())
        working = asyncio.create_task(
            queue.run_worker_async(
                concurrency=4, install_signal_handlers=False, fetch_job_polling_interval=2.0,
                update_heartbeat_interval=jobs.HEARTBEAT_S, shutdown_graceful_timeout=STOP_WITHIN_S,
                stalled_worker_timeout=jobs.STALLED_AFTER_S,
            )
        )  # fmt: skip
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        rescuing.cancel()
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working


def run_worker(settings: Settings, database: Database, keys: ServiceKeys) -> None:
    """Work until SIGTERM or SIGINT."""
    loops = start_loops(settings, database, keys)
    try:
        asyncio.run(_work(settings, database))
    finally:
        loops.stop()
