"""Audits of the whole catalog as people ask for them."""

from __future__ import annotations

from alembic import op

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    op.execute(
        """
CREATE TABLE catalog_audit (
    id uuid CONSTRAINT pk_catalog_audit PRIMARY KEY,
    created_at timestamptz NOT NULL,
    state varchar NOT NULL,
    version integer NOT NULL,
    updated_at timestamptz NOT NULL,
    agency_id uuid NOT NULL CONSTRAINT fk_catalog_audit_agency_id REFERENCES agency (id),
    person_id uuid NOT NULL CONSTRAINT fk_catalog_audit_person_id REFERENCES person (id),
    whole boolean NOT NULL,
    stage varchar,
    done integer NOT NULL,
    total integer NOT NULL,
    run_id uuid CONSTRAINT fk_catalog_audit_run_id REFERENCES audit_run (id)
);
CREATE INDEX ix_catalog_audit_agency_id ON catalog_audit (agency_id);
CREATE TRIGGER guard_state BEFORE INSERT OR UPDATE OF state ON catalog_audit
    FOR EACH ROW EXECUTE FUNCTION guard_state('catalog_audit');
"""
    )
