"""What the control plane's role may do in the database. Run with every migration, so that new tables count.

Owns the rights of `SERVICE_ROLE`. Leaves a database without that role as it is: `doctor` says so.
"""

from __future__ import annotations

import logging

from sqlalchemy import Connection, text

from app.kernel.db import Database
from app.kernel.postgres_files import SERVICE_ROLE
from app.tables import metadata

log = logging.getLogger(__name__)

# Written by the sequencer and by migrations alone.
READ_ONLY = ("state_transition", "ledger_leaf", "ledger_tile", "ledger_checkpoint", "ledger_timestamp")
# Nothing that happened is changed or removed.
APPEND_ONLY = ("event", "ledger_entry", "ledger_pending", "ledger_cosignature")
QUEUE = ("procrastinate_jobs", "procrastinate_events", "procrastinate_periodic_defers")


def has_service_role(connection: Connection) -> bool:
    """Whether the role is there and may be taken on by who is connected."""
    found = text("SELECT pg_has_role(oid, 'MEMBER') FROM pg_roles WHERE rolname = :role")
    return bool(connection.scalar(found, {"role": SERVICE_ROLE}))


def service_database(url: str) -> Database:
    """The database as the control plane's role sees it; as the owner does, where there is no such role."""
    owner = Database(url, pool_size=1)
    try:
        with owner.engine.connect() as connection:
            role = SERVICE_ROLE if has_service_role(connection) else None
    finally:
        owner.close()
    if role is None:
        log.warning("no role %s in the database: row-level security binds nobody", SERVICE_ROLE)
    return Database(url, role=role)


def grant_rights(connection: Connection) -> None:
    """Give the role the rights it needs on every table, and take those it does not."""
    if not has_service_role(connection):
        return
    rights = dict.fromkeys((*metadata.tables, *QUEUE), "SELECT, INSERT, UPDATE, DELETE")
    rights |= dict.fromkeys(READ_ONLY, "SELECT") | dict.fromkeys(APPEND_ONLY, "SELECT, INSERT")
    for table, right in sorted(rights.items()):
        connection.execute(text(f"REVOKE ALL ON {table} FROM {SERVICE_ROLE}"))
        connection.execute(text(f"GRANT {right} ON {table} TO {SERVICE_ROLE}"))
    connection.execute(text(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {SERVICE_ROLE}"))
