"""Delivery: providers' sources, grants issued, receipts."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.execute(SOURCES)
    op.execute(GRANTS)
    op.execute(RECEIPTS)


SOURCES = """
CREATE TABLE provider_source (
    resource_id uuid CONSTRAINT pk_provider_source PRIMARY KEY
        CONSTRAINT fk_provider_source_resource_id REFERENCES resource (id),
    kind varchar NOT NULL CONSTRAINT ck_provider_source_kind CHECK (kind IN ('http', 'table')),
    options jsonb NOT NULL,
    credentials bytea,
    version integer NOT NULL,
    updated_at timestamptz NOT NULL,
    updated_by uuid NOT NULL
);
"""

GRANTS = """
CREATE TABLE grant_issued (
    id uuid CONSTRAINT pk_grant_issued PRIMARY KEY,
    created_at timestamptz NOT NULL,
    agreement_id uuid NOT NULL CONSTRAINT fk_grant_issued_agreement_id REFERENCES agreement (id),
    client_id uuid NOT NULL CONSTRAINT fk_grant_issued_client_id REFERENCES client (id),
    purpose varchar NOT NULL,
    items varchar[],
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    revoked_by uuid,
    CONSTRAINT ck_grant_issued_revoked CHECK ((revoked_at IS NULL) = (revoked_by IS NULL))
);
CREATE INDEX ix_grant_issued_agreement_id ON grant_issued (agreement_id);
CREATE INDEX ix_grant_issued_client_id ON grant_issued (client_id);
CREATE INDEX ix_grant_issued_expires_at ON grant_issued (expires_at);
"""

RECEIPTS = """
CREATE TABLE receipt (
    id uuid CONSTRAINT pk_receipt PRIMARY KEY,
    created_at timestamptz NOT NULL,
    gateway_id uuid NOT NULL CONSTRAINT fk_receipt_gateway_id REFERENCES client (id),
    at timestamptz NOT NULL,
    day date NOT NULL,
    agreement_id uuid NOT NULL CONSTRAINT fk_receipt_agreement_id REFERENCES agreement (id),
    agreement_hash varchar NOT NULL,
    resource_id varchar NOT NULL,
    client_id uuid NOT NULL CONSTRAINT fk_receipt_client_id REFERENCES client (id),
    agency_id uuid NOT NULL CONSTRAINT fk_receipt_agency_id REFERENCES agency (id),
    grant_id uuid NOT NULL CONSTRAINT fk_receipt_grant_id REFERENCES grant_issued (id),
    purpose varchar NOT NULL,
    method varchar NOT NULL,
    items varchar[] NOT NULL,
    rows_reserved bigint NOT NULL,
    result varchar NOT NULL
        CONSTRAINT ck_receipt_result CHECK (result IN ('delivered', 'refused', 'failed', 'interrupted')),
    status integer NOT NULL,
    problem varchar,
    rows bigint NOT NULL,
    bytes bigint NOT NULL,
    sha256 varchar,
    duration_ms double precision NOT NULL
);
CREATE INDEX ix_receipt_agreement_id ON receipt (agreement_id, id);
CREATE INDEX ix_receipt_day ON receipt (agreement_id, day);
CREATE TRIGGER forbid_change BEFORE UPDATE OR DELETE ON receipt FOR EACH ROW EXECUTE FUNCTION forbid_change();
"""
