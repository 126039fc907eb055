"""Exchange, further: answers kept for Idempotency-Key, later versions of agreements, corrections, disposal."""

from alembic import op

revision = "0008"
down_revision = "0006"


def upgrade() -> None:
    op.execute(IDEMPOTENCY)


IDEMPOTENCY = """
CREATE TABLE idempotency_key (
    actor_id uuid,
    key varchar,
    fingerprint varchar NOT NULL,
    created_at timestamptz NOT NULL,
    status integer,
    headers jsonb,
    body bytea,
    CONSTRAINT pk_idempotency_key PRIMARY KEY (actor_id, key)
);
CREATE INDEX ix_idempotency_key_created_at ON idempotency_key (created_at);
"""
