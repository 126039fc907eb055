"""The catalog record, further: working copies, filings, threads of defects."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.execute(REVIEW)


REVIEW = """
ALTER TABLE resource ADD COLUMN data_updated_at timestamptz;

CREATE TABLE resource_revision (
    id uuid CONSTRAINT pk_resource_revision PRIMARY KEY,
    created_at timestamptz NOT NULL,
    state varchar NOT NULL,
    version integer NOT NULL,
    updated_at timestamptz NOT NULL,
    resource_id uuid NOT NULL CONSTRAINT fk_resource_revision_resource_id REFERENCES resource (id),
    jurisdiction_id uuid NOT NULL CONSTRAINT fk_resource_revision_jurisdiction_id REFERENCES jurisdiction (id),
    base_version integer NOT NULL,
    reason varchar NOT NULL,
    record jsonb NOT NULL,
    content_hash bytea NOT NULL
);
CREATE INDEX ix_resource_revision_resource_id ON resource_revision (resource_id, id);
CREATE UNIQUE INDEX uq_resource_revision_open ON resource_revision (resource_id)
    WHERE state IN ('draft', 'filed', 'returned');
CREATE TRIGGER guard_state BEFORE INSERT OR UPDATE OF state ON resource_revision
    FOR EACH ROW EXECUTE FUNCTION guard_state('revision');
CREATE TRIGGER forbid_removal BEFORE DELETE ON resource_revision FOR EACH ROW EXECUTE FUNCTION forbid_change();

CREATE TABLE resource_filing (
    id uuid CONSTRAINT pk_resource_filing PRIMARY KEY,
    created_at timestamptz NOT NULL,
    resource_id uuid NOT NULL CONSTRAINT fk_resource_filing_resource_id REFERENCES resource (id),
    revision_id uuid CONSTRAINT fk_resource_filing_revision_id REFERENCES resource_revision (id),
    number integer NOT NULL,
    record jsonb NOT NULL,
    content_hash bytea NOT NULL,
    statement jsonb NOT NULL,
    signed_by uuid NOT NULL,
    signed_name varchar NOT NULL
);
CREATE UNIQUE INDEX uq_resource_filing_number ON resource_filing (resource_id, revision_id, number)
    NULLS NOT DISTINCT;
CREATE TRIGGER forbid_change BEFORE UPDATE OR DELETE ON resource_filing
    FOR EACH ROW EXECUTE FUNCTION forbid_change();

CREATE TABLE resource_defect (
    id uuid CONSTRAINT pk_resource_defect PRIMARY KEY,
    created_at timestamptz NOT NULL,
    state varchar NOT NULL,
    version integer NOT NULL,
    updated_at timestamptz NOT NULL,
    resource_id uuid NOT NULL CONSTRAINT fk_resource_defect_resource_id REFERENCES resource (id),
    revision_id uuid CONSTRAINT fk_resource_defect_revision_id REFERENCES resource_revision (id),
    field varchar NOT NULL,
    message varchar NOT NULL
);
CREATE INDEX ix_resource_defect_resource_id ON resource_defect (resource_id, id);
CREATE TRIGGER guard_state BEFORE INSERT OR UPDATE OF state ON resource_defect
    FOR EACH ROW EXECUTE FUNCTION guard_state('defect');
CREATE TRIGGER forbid_removal BEFORE DELETE ON resource_defect FOR EACH ROW EXECUTE FUNCTION forbid_change();
CREATE TRIGGER forbid_change BEFORE UPDATE OF resource_id, revision_id, field, message ON resource_defect
    FOR EACH ROW EXECUTE FUNCTION forbid_change();
"""
