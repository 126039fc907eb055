"""catalog at scale."""

from __future__ import annotations

from alembic import op

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    op.execute(
        """
CREATE INDEX ix_resource_updated_at ON resource (updated_at, id);
CREATE INDEX ix_resource_quality_score ON resource_quality (score, resource_id);
"""
    )
