"""Databases of any kind as providers' sources."""

from __future__ import annotations

from alembic import op

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    op.execute(
        """
ALTER TABLE provider_source DROP CONSTRAINT ck_provider_source_kind,
    ADD CONSTRAINT ck_provider_source_kind CHECK (kind IN ('http', 'table', 'file', 'sql')) NOT VALID;
ALTER TABLE provider_source VALIDATE CONSTRAINT ck_provider_source_kind;
"""
    )
