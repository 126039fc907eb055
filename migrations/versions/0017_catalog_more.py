"""Quality follows the change log; webhooks are tried out.

Quality was found by comparing every resource with its last measure, each minute: a million resources cost seconds.
"""

from __future__ import annotations

from alembic import op

revision = "0017"
down_revision = "0016"

QUALITY = """
CREATE INDEX ix_resource_quality_measured_at ON resource_quality (measured_at);
CREATE TABLE quality_position (
    single boolean CONSTRAINT pk_quality_position PRIMARY KEY CONSTRAINT ck_quality_position_single CHECK (single),
    transaction bigint NOT NULL,
    position bigint NOT NULL
);
"""

WEBHOOKS = """
ALTER TABLE webhook ADD COLUMN test_asked boolean NOT NULL DEFAULT false;
ALTER TABLE webhook ALTER COLUMN test_asked DROP DEFAULT;
ALTER TABLE webhook ADD COLUMN tested_at timestamptz;
ALTER TABLE webhook ADD COLUMN test_result varchar;
"""


def upgrade() -> None:
    op.execute(QUALITY)
    op.execute(WEBHOOKS)
