"""Collection, further: plans with control numbers and successors, decisions as links between names, the audit
desk's work-list."""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.execute(PROCEDURE)
    op.execute(METHOD)


PROCEDURE = """
ALTER TABLE plan
    ADD COLUMN control_number varchar,
    ADD COLUMN control_year integer,
    ADD COLUMN control_sequence integer,
    ADD COLUMN expires_on date,
    ADD COLUMN follows_id uuid CONSTRAINT fk_plan_follows_id REFERENCES plan (id),
    ADD COLUMN follows_as varchar,
    ADD COLUMN permission varchar,
    ADD COLUMN permitted_until date,
    ADD COLUMN permitted_by uuid,
    ADD CONSTRAINT uq_plan_control UNIQUE (authority_id, control_year, control_sequence),
    ADD CONSTRAINT ck_plan_follows CHECK ((follows_id IS NULL) = (follows_as IS NULL)),
    ADD CONSTRAINT ck_plan_follows_as CHECK (follows_as IN ('renewal', 'amendment'));
CREATE INDEX ix_plan_follows_id ON plan (follows_id);
CREATE TRIGGER forbid_renumbering BEFORE UPDATE OF control_number, control_year, control_sequence ON plan
    FOR EACH ROW WHEN (OLD.control_number IS NOT NULL) EXECUTE FUNCTION forbid_change();

CREATE TABLE item_link (
    id uuid CONSTRAINT pk_item_link PRIMARY KEY,
    created_at timestamptz NOT NULL,
    left_name varchar NOT NULL,
    left_topic varchar NOT NULL,
    right_name varchar NOT NULL,
    right_topic varchar NOT NULL,
    verdict varchar NOT NULL CONSTRAINT ck_item_link_verdict CHECK (verdict IN ('same', 'different')),
    source varchar NOT NULL CONSTRAINT ck_item_link_source CHECK (source IN ('finding', 'audit_finding')),
    source_id uuid NOT NULL,
    agency_id uuid NOT NULL CONSTRAINT fk_item_link_agency_id REFERENCES agency (id),
    decided_by uuid NOT NULL
);
CREATE INDEX ix_item_link_created_at ON item_link (created_at);
CREATE TRIGGER forbid_change BEFORE UPDATE OR DELETE ON item_link
    FOR EACH ROW EXECUTE FUNCTION forbid_change();

CREATE TABLE audit_finding (
    id uuid CONSTRAINT pk_audit_finding PRIMARY KEY,
    created_at timestamptz NOT NULL,
    state varchar NOT NULL,
    version integer NOT NULL,
    updated_at timestamptz NOT NULL,
    key varchar NOT NULL CONSTRAINT uq_audit_finding_key UNIQUE,
    jurisdiction_id uuid NOT NULL CONSTRAINT fk_audit_finding_jurisdiction_id REFERENCES jurisdiction (id),
    authority_id uuid NOT NULL CONSTRAINT fk_audit_finding_authority_id REFERENCES agency (id),
    relation varchar NOT NULL CONSTRAINT ck_audit_finding_relation
        CHECK (relation IN ('same_element', 'copy', 'subset', 'overlap')),
    band varchar NOT NULL CONSTRAINT ck_audit_finding_band CHECK (band IN ('reuse_expected', 'review')),
    score double precision NOT NULL,
    record jsonb NOT NULL,
    model_version varchar NOT NULL,
    assignee_id uuid CONSTRAINT fk_audit_finding_assignee_id REFERENCES person (id),
    decision varchar,
    decided_by uuid
);
CREATE INDEX ix_audit_finding_state ON audit_finding (state, band, score, id);
CREATE INDEX ix_audit_finding_jurisdiction_id ON audit_finding (jurisdiction_id);
CREATE TRIGGER guard_state BEFORE INSERT OR UPDATE OF state ON audit_finding
    FOR EACH ROW EXECUTE FUNCTION guard_state('audit_finding');
CREATE TRIGGER forbid_removal BEFORE DELETE ON audit_finding FOR EACH ROW EXECUTE FUNCTION forbid_change();
"""

METHOD = """
CREATE TABLE audit_run (
    id uuid CONSTRAINT pk_audit_run PRIMARY KEY,
    created_at timestamptz NOT NULL,
    snapshot varchar NOT NULL,
    decisions varchar NOT NULL,
    model_version varchar NOT NULL,
    examined integer,
    counts jsonb NOT NULL
);
CREATE INDEX ix_audit_run_created_at ON audit_run (created_at, id);
CREATE TRIGGER forbid_change BEFORE UPDATE OR DELETE ON audit_run FOR EACH ROW EXECUTE FUNCTION forbid_change();
"""
