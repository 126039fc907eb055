"""Reading by change and by quality at any size: indexes of resources."""

from __future__ import annotations

from alembic import op

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    op.execute(
        """
CREATE INDEX ix_resource_updated_at ON resource (updated_at, id);
CREATE INDEX ix_resource_quality_score ON resource_quality (score, resource_id);
"""
    )
