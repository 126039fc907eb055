"""The last test of a provider's source."""

from __future__ import annotations

from alembic import op

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    op.execute(
        """
ALTER TABLE provider_source
    ADD COLUMN test_id uuid,
    ADD COLUMN test_gateway_id uuid
        CONSTRAINT fk_provider_source_test_gateway_id REFERENCES gateway (id),
    ADD COLUMN test_asked_at timestamptz,
    ADD COLUMN test_told jsonb;
"""
    )
