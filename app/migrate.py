"""Brings a database to this release: migrations, guarding tables, shipped profile and calendars.

Refuses databases that would not keep what they acknowledge. Safe when several processes start at once.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from app.accounts import grant_rights
from app.identity.profiles import install_defaults
from app.kernel.db import sqlalchemy_url
from app.kernel.history import sync_transitions
from app.tables import machines

LOCK_TIMEOUT = "10s"


def config() -> Config:
    """Alembic's configuration; scripts stand beside the packages."""
    settings = Config()
    settings.set_main_option("script_location", str(Path(__file__).parent.parent / "migrations"))
    return settings


def migrate(url: str) -> None:
    """Bring the database at `url` (libpq URL) up to date in one transaction."""
    engine = create_engine(sqlalchemy_url(url))
    try:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('migrate', 0))"))
            connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
            settings = config()
            settings.attributes["connection"] = connection
            command.upgrade(settings, "head")
            with Session(connection, join_transaction_mode="create_savepoint") as session, session.begin():
                sync_transitions(session, machines())
                install_defaults(session)
            grant_rights(connection)
    finally:
        engine.dispose()
