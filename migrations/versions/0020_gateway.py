"""Gateways: registered and reviewed, and told of changes at once, when the transaction commits."""

from __future__ import annotations

from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    op.execute(
        """
        CREATE FUNCTION tell_gateways() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_notify('gateway_state', '');
            RETURN NULL;
        END $$;
        CREATE TRIGGER tell_gateways AFTER INSERT OR UPDATE ON agreement
            FOR EACH STATEMENT EXECUTE FUNCTION tell_gateways();
        CREATE TRIGGER tell_gateways AFTER INSERT OR UPDATE ON provider_source
            FOR EACH STATEMENT EXECUTE FUNCTION tell_gateways();
        CREATE TRIGGER tell_gateways AFTER UPDATE OF revoked_at ON grant_issued
            FOR EACH STATEMENT EXECUTE FUNCTION tell_gateways();
        CREATE TRIGGER tell_gateways AFTER UPDATE OF active ON client
            FOR EACH STATEMENT EXECUTE FUNCTION tell_gateways();
        CREATE TABLE gateway (
            id uuid CONSTRAINT pk_gateway PRIMARY KEY,
            created_at timestamptz NOT NULL,
            state varchar NOT NULL,
            version integer NOT NULL,
            updated_at timestamptz NOT NULL,
            client_id uuid NOT NULL CONSTRAINT uq_gateway_client_id UNIQUE
                CONSTRAINT fk_gateway_client_id REFERENCES client (id),
            agency_id uuid NOT NULL CONSTRAINT fk_gateway_agency_id REFERENCES agency (id),
            url varchar NOT NULL,
            seen_at timestamptz,
            health jsonb
        );
        CREATE TABLE quota_lease (
            agreement_id uuid NOT NULL CONSTRAINT fk_quota_lease_agreement_id REFERENCES agreement (id),
            day date NOT NULL,
            client_id uuid NOT NULL CONSTRAINT fk_quota_lease_client_id REFERENCES client (id),
            calls bigint NOT NULL,
            rows bigint NOT NULL,
            sequence bigint NOT NULL,
            CONSTRAINT pk_quota_lease PRIMARY KEY (agreement_id, day, client_id)
        );
        ALTER TABLE quota_lease ENABLE ROW LEVEL SECURITY;
        CREATE POLICY sight ON quota_lease USING ((SELECT sees_all())
            OR EXISTS (SELECT FROM agreement AS a WHERE a.id = quota_lease.agreement_id)) WITH CHECK (true);
        CREATE INDEX ix_gateway_agency_id ON gateway (agency_id);
        CREATE TRIGGER guard_state BEFORE INSERT OR UPDATE OF state ON gateway
            FOR EACH ROW EXECUTE FUNCTION guard_state('gateway');
        CREATE TRIGGER tell_gateways AFTER INSERT OR UPDATE OF state ON gateway
            FOR EACH STATEMENT EXECUTE FUNCTION tell_gateways();
        """
    )
