"""Collection plans, findings and notices of criticism."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.execute(PLANS)
    op.execute(FINDINGS)
    op.execute(NOTICES)


PLANS = """
CREATE TABLE plan (
    id uuid CONSTRAINT pk_plan PRIMARY KEY,
    created_at timestamptz NOT NULL,
    state varchar NOT NULL,
    version integer NOT NULL,
    updated_at timestamptz NOT NULL,
    agency_id uuid NOT NULL CONSTRAINT fk_plan_agency_id REFERENCES agency (id),
    jurisdiction_id uuid NOT NULL CONSTRAINT fk_plan_jurisdiction_id REFERENCES jurisdiction (id),
    authority_id uuid NOT NULL CONSTRAINT fk_plan_authority_id REFERENCES agency (id),
    author_id uuid NOT NULL,
    title varchar NOT NULL,
    period_until date NOT NULL,
    record jsonb NOT NULL,
    coverage jsonb,
    model_version varchar,
    CONSTRAINT ck_plan_checked CHECK (state IN ('draft', 'filed') OR model_version IS NOT NULL)
);
CREATE INDEX ix_plan_agency_id ON plan (agency_id, id);
CREATE INDEX ix_plan_jurisdiction_id ON plan (jurisdiction_id);
CREATE INDEX ix_plan_period_until ON plan (period_until) WHERE state IN ('cleared', 'blocked', 'collecting');
CREATE TRIGGER guard_state BEFORE INSERT OR UPDATE OF state ON plan
    FOR EACH ROW EXECUTE FUNCTION guard_state('plan');
"""

FINDINGS = """
CREATE TABLE finding (
    id uuid CONSTRAINT pk_finding PRIMARY KEY,
    created_at timestamptz NOT NULL,
    state varchar NOT NULL,
    version integer NOT NULL,
    updated_at timestamptz NOT NULL,
    plan_id uuid NOT NULL CONSTRAINT fk_finding_plan_id REFERENCES plan (id),
    position integer NOT NULL,
    band varchar NOT NULL CONSTRAINT ck_finding_band CHECK (band IN ('reuse_expected', 'review')),
    item jsonb NOT NULL,
    candidates jsonb NOT NULL,
    model_version varchar NOT NULL,
    ground varchar,
    justification varchar,
    decision varchar,
    decided_by uuid,
    accepted_scope varchar,
    accepted_until date,
    appeal varchar,
    overdue boolean NOT NULL,
    CONSTRAINT uq_finding_position UNIQUE (plan_id, position),
    CONSTRAINT ck_finding_justification CHECK ((ground IS NULL) = (justification IS NULL))
);
CREATE INDEX ix_finding_state ON finding (state, id);
CREATE TRIGGER guard_state BEFORE INSERT OR UPDATE OF state ON finding
    FOR EACH ROW EXECUTE FUNCTION guard_state('finding');
CREATE TRIGGER forbid_change BEFORE DELETE OR UPDATE OF plan_id, position, band, item, candidates, model_version
    ON finding FOR EACH ROW EXECUTE FUNCTION forbid_change();
"""

NOTICES = """
CREATE TABLE notice (
    id uuid CONSTRAINT pk_notice PRIMARY KEY,
    created_at timestamptz NOT NULL,
    finding_id uuid NOT NULL CONSTRAINT uq_notice_finding_id UNIQUE
        CONSTRAINT fk_notice_finding_id REFERENCES finding (id),
    authority_id uuid NOT NULL CONSTRAINT fk_notice_authority_id REFERENCES agency (id),
    agency_id uuid NOT NULL CONSTRAINT fk_notice_agency_id REFERENCES agency (id),
    year integer NOT NULL,
    sequence integer NOT NULL,
    number varchar NOT NULL,
    legal_basis varchar NOT NULL,
    signed_by uuid NOT NULL,
    text_zh varchar NOT NULL,
    text_en varchar NOT NULL,
    CONSTRAINT uq_notice_sequence UNIQUE (authority_id, year, sequence)
);
CREATE INDEX ix_notice_agency_id ON notice (agency_id);
CREATE TRIGGER forbid_change BEFORE UPDATE OR DELETE ON notice
    FOR EACH ROW EXECUTE FUNCTION forbid_change();
"""
