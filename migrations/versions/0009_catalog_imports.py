"""Imports as jobs, mappings that agencies keep, catalogs that are harvested."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.execute(HARVESTS)
    op.execute(IMPORTS)


HARVESTS = """
CREATE TABLE harvest (
    id uuid CONSTRAINT pk_harvest PRIMARY KEY,
    created_at timestamptz NOT NULL,
    state varchar NOT NULL,
    version integer NOT NULL,
    updated_at timestamptz NOT NULL,
    agency_id uuid NOT NULL CONSTRAINT fk_harvest_agency_id REFERENCES agency (id),
    person_id uuid NOT NULL CONSTRAINT fk_harvest_person_id REFERENCES person (id),
    name varchar NOT NULL,
    kind varchar NOT NULL,
    url varchar NOT NULL,
    every varchar NOT NULL,
    automatic boolean NOT NULL,
    options jsonb NOT NULL,
    next_at timestamptz NOT NULL,
    last_at timestamptz,
    last_sha256 bytea,
    problem jsonb
);
CREATE INDEX ix_harvest_agency_id ON harvest (agency_id, id);
CREATE INDEX ix_harvest_due ON harvest (next_at) WHERE state = 'active';
CREATE TRIGGER guard_state BEFORE INSERT OR UPDATE OF state ON harvest
    FOR EACH ROW EXECUTE FUNCTION guard_state('harvest');
"""

IMPORTS = """
CREATE TABLE import_job (
    id uuid CONSTRAINT pk_import_job PRIMARY KEY,
    created_at timestamptz NOT NULL,
    state varchar NOT NULL,
    version integer NOT NULL,
    updated_at timestamptz NOT NULL,
    agency_id uuid NOT NULL CONSTRAINT fk_import_job_agency_id REFERENCES agency (id),
    person_id uuid NOT NULL CONSTRAINT fk_import_job_person_id REFERENCES person (id),
    harvest_id uuid CONSTRAINT fk_import_job_harvest_id REFERENCES harvest (id),
    file_name varchar NOT NULL,
    file_size bigint NOT NULL,
    file_sha256 bytea NOT NULL,
    options jsonb NOT NULL,
    resources_read integer NOT NULL,
    preview_id uuid CONSTRAINT fk_import_job_preview_id REFERENCES import_run (id),
    run_id uuid CONSTRAINT fk_import_job_run_id REFERENCES import_run (id),
    problem jsonb,
    CONSTRAINT ck_import_job_rehearsed CHECK (
        state NOT IN ('previewed', 'committing', 'finished') OR preview_id IS NOT NULL)
);
CREATE INDEX ix_import_job_agency_id ON import_job (agency_id, id);
CREATE INDEX ix_import_job_harvest_id ON import_job (harvest_id, id);
CREATE TRIGGER guard_state BEFORE INSERT OR UPDATE OF state ON import_job
    FOR EACH ROW EXECUTE FUNCTION guard_state('import');

CREATE TABLE import_chunk (
    import_id uuid NOT NULL CONSTRAINT fk_import_chunk_import_id REFERENCES import_job (id),
    number integer NOT NULL,
    content bytea NOT NULL,
    CONSTRAINT pk_import_chunk PRIMARY KEY (import_id, number)
);

CREATE TABLE import_row (
    run_id uuid NOT NULL,
    number integer NOT NULL,
    outcome varchar NOT NULL,
    place varchar NOT NULL,
    source_id varchar,
    title varchar,
    resource_id uuid,
    detail jsonb NOT NULL,
    CONSTRAINT pk_import_row PRIMARY KEY (run_id, number)
);
CREATE INDEX ix_import_row_outcome ON import_row (run_id, outcome, number);

CREATE TABLE column_mapping (
    id uuid CONSTRAINT pk_column_mapping PRIMARY KEY,
    created_at timestamptz NOT NULL,
    agency_id uuid NOT NULL CONSTRAINT fk_column_mapping_agency_id REFERENCES agency (id),
    name varchar NOT NULL,
    version integer NOT NULL,
    updated_at timestamptz NOT NULL,
    updated_by varchar NOT NULL,
    definition jsonb NOT NULL
);
CREATE UNIQUE INDEX uq_column_mapping_name ON column_mapping (agency_id, name);
"""
