"""Jobs: work that must happen after a commit, enqueued inside the transaction that causes it.

Owns the queue (procrastinate) and the sweep that takes jobs back from killed workers. Tasks are
registered by the features and must be safe to run twice.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.kernel.db import Database
from app.kernel.outbound import Outbound

if TYPE_CHECKING:
    import procrastinate
    from procrastinate import JobContext

log = logging.getLogger(__name__)

STALLED_AFTER_S = 30  # a worker without a heartbeat for so long is taken for dead
HEARTBEAT_S = 5
MAX_ATTEMPTS = 20

Task = Callable[[Session, Mapping[str, Any]], None]
"""A task gets a session whose transaction is committed when it returns, and the job's arguments."""


@dataclass(frozen=True, slots=True)
class Outside:
    """A task that opens its own transactions, because it speaks with others between them or tells its progress."""

    run: Callable[[Database, Outbound, Mapping[str, Any]], None]


Work = Task | Outside

# The queue's own function for it fails where a job of the same `once` waits.
DEFER = """INSERT INTO procrastinate_jobs (queue_name, task_name, lock, queueing_lock, args, scheduled_at)
    VALUES ('default', :task, :lock, :once, CAST(:args AS jsonb), :at)
    ON CONFLICT (queueing_lock) WHERE status = 'todo' DO NOTHING"""


def enqueue(
    session: Session,
    task: str,
    args: Mapping[str, Any] | None = None,
    *,
    at: datetime | None = None,
    lock: str | None = None,
    once: str | None = None,
) -> None:
    """Put a job into the queue with the caller's transaction: it exists when, and only when, that commits.

    `at` delays it; jobs of one `lock` run one after the other; a job whose `once` waits already is not put
    there again.
    """
    session.execute(text(DEFER), deferred(task, args, at=at, lock=lock, once=once))


def deferred(
    task: str,
    args: Mapping[str, Any] | None = None,
    *,
    at: datetime | None = None,
    lock: str | None = None,
    once: str | None = None,
) -> dict[str, Any]:
    """What `DEFER` binds, for a statement that writes more beside it."""
    return {"task": task, "lock": lock, "once": once, "args": json.dumps(dict(args or {})), "at": at}


def schema_sql() -> str:
    """The queue's own tables and functions, for the first migration."""
    from procrastinate.schema import SchemaManager  # noqa: PLC0415 - only workers and migrations load the queue

    return SchemaManager.get_schema()


def make_queue(
    database: Database, tasks: Mapping[str, Work], outbound: Outbound | None = None
) -> procrastinate.App:
    """The worker's view of the queue with every task of the product registered; `outbound` is how tasks reach
    others (default: public addresses only)."""
    import procrastinate  # noqa: PLC0415

    queue = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=database.url, max_size=4))
    for name, task in tasks.items():
        _register(queue, database, name, task, outbound or Outbound())
    return queue


def _register(
    queue: procrastinate.App, database: Database, name: str, task: Work, outbound: Outbound
) -> None:
    # Sync functions run in procrastinate's thread pool, off its event loop.
    def run(_context: JobContext, /, **args: Any) -> None:
        try:
            if isinstance(task, Outside):
                task.run(database, outbound, args)
                return
            with database.transaction() as session:
                task(session, args)
        except Exception:  # the queue tries again, and says so only where it gives up
            log.exception("job %s failed", name)
            raise

    from procrastinate import RetryStrategy  # noqa: PLC0415

    retry = RetryStrategy(max_attempts=MAX_ATTEMPTS, exponential_wait=2)
    queue.task(name=name, pass_context=True, retry=retry)(run)


async def rescue_stalled(queue: procrastinate.App) -> int:
    """Give the jobs of dead workers back to the queue; returns how many. Run at start and every few seconds."""
    rescued = 0
    for job in await queue.job_manager.get_stalled_jobs(seconds_since_heartbeat=STALLED_AFTER_S):
        await queue.job_manager.retry_job(job)
        rescued += 1
    if rescued:
        log.warning("took %d jobs back from workers that stopped", rescued)
    return rescued
