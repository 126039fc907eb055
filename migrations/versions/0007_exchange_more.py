"""Exchange, further: answers kept for Idempotency-Key, later versions of agreements, corrections, disposal."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.execute(IDEMPOTENCY)
    op.execute(VERSIONS)
    op.execute(CORRECTIONS)


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

VERSIONS = """
ALTER TABLE share_request
    ADD COLUMN amends_id uuid CONSTRAINT fk_share_request_amends_id REFERENCES agreement (id);
ALTER TABLE negotiation
    ADD COLUMN amends_id uuid CONSTRAINT fk_negotiation_amends_id REFERENCES agreement (id);
ALTER TABLE agreement
    ADD COLUMN series_id uuid,
    ADD COLUMN number integer NOT NULL DEFAULT 1,
    ADD COLUMN supersedes_id uuid CONSTRAINT fk_agreement_supersedes_id REFERENCES agreement (id);
UPDATE agreement SET series_id = id;
ALTER TABLE agreement
    ALTER COLUMN series_id SET NOT NULL,
    ALTER COLUMN number DROP DEFAULT,
    ADD CONSTRAINT uq_agreement_series_id_number UNIQUE (series_id, number);
CREATE UNIQUE INDEX uq_agreement_live_version ON agreement (series_id) WHERE state IN ('IN_FORCE', 'SUSPENDED');
CREATE TRIGGER forbid_renumbering BEFORE UPDATE OF series_id, number, supersedes_id ON agreement
    FOR EACH ROW EXECUTE FUNCTION forbid_change();
"""

CORRECTIONS = """
CREATE TABLE correction (
    id uuid CONSTRAINT pk_correction PRIMARY KEY,
    created_at timestamptz NOT NULL,
    state varchar NOT NULL,
    version integer NOT NULL,
    updated_at timestamptz NOT NULL,
    requester_id uuid NOT NULL CONSTRAINT fk_correction_requester_id REFERENCES agency (id),
    provider_id uuid NOT NULL CONSTRAINT fk_correction_provider_id REFERENCES agency (id),
    authority_id uuid NOT NULL CONSTRAINT fk_correction_authority_id REFERENCES agency (id),
    agreement_id uuid NOT NULL CONSTRAINT fk_correction_agreement_id REFERENCES agreement (id),
    resource_id uuid NOT NULL CONSTRAINT fk_correction_resource_id REFERENCES resource (id),
    items varchar[] NOT NULL,
    records varchar NOT NULL,
    error varchar NOT NULL,
    evidence varchar,
    author_id uuid NOT NULL,
    answer varchar,
    overdue boolean NOT NULL
);
CREATE INDEX ix_correction_requester_id ON correction (requester_id);
CREATE INDEX ix_correction_provider_id ON correction (provider_id);
CREATE INDEX ix_correction_authority_id ON correction (authority_id);
CREATE INDEX ix_correction_agreement_id ON correction (agreement_id);
CREATE INDEX ix_correction_resource_id ON correction (resource_id);
CREATE TRIGGER guard_state BEFORE INSERT OR UPDATE OF state ON correction
    FOR EACH ROW EXECUTE FUNCTION guard_state('correction');
CREATE TRIGGER forbid_removal BEFORE DELETE ON correction FOR EACH ROW EXECUTE FUNCTION forbid_change();
CREATE TRIGGER forbid_change BEFORE UPDATE OF
    requester_id, provider_id, authority_id, agreement_id, resource_id, items, records, error, evidence, author_id
    ON correction FOR EACH ROW EXECUTE FUNCTION forbid_change();
"""
