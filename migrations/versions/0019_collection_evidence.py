"""Collection evidence: keyed sketches of identifier columns."""

from __future__ import annotations

from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.execute(SKETCHES)


SKETCHES = """
CREATE TABLE identifier_sketch (
    id uuid CONSTRAINT pk_identifier_sketch PRIMARY KEY,
    created_at timestamptz NOT NULL,
    agency_id uuid NOT NULL CONSTRAINT fk_identifier_sketch_agency_id REFERENCES agency (id),
    author_id uuid NOT NULL,
    label varchar NOT NULL,
    resource_id uuid CONSTRAINT fk_identifier_sketch_resource_id REFERENCES resource (id),
    key_mark varchar NOT NULL,
    identifiers integer NOT NULL,
    sketch bytea NOT NULL
);
CREATE INDEX ix_identifier_sketch_agency_id ON identifier_sketch (agency_id);
CREATE INDEX ix_identifier_sketch_key_mark ON identifier_sketch (key_mark);
CREATE TRIGGER forbid_change BEFORE UPDATE OR DELETE ON identifier_sketch
    FOR EACH ROW EXECUTE FUNCTION forbid_change();
"""
