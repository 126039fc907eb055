"""Push subscriptions; files as providers' sources; an index that finds the receipts of some days."""

from __future__ import annotations

from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    op.execute(PUSHES)
    op.execute(
        """
        ALTER TABLE provider_source DROP CONSTRAINT ck_provider_source_kind,
            ADD CONSTRAINT ck_provider_source_kind CHECK (kind IN ('http', 'table', 'file'))
        """
    )
    op.execute("CREATE INDEX ix_receipt_days ON receipt (day, agreement_id)")


PUSHES = """
CREATE TABLE push_subscription (
    id uuid CONSTRAINT pk_push_subscription PRIMARY KEY,
    created_at timestamptz NOT NULL,
    state varchar NOT NULL,
    version integer NOT NULL,
    updated_at timestamptz NOT NULL,
    agreement_id uuid NOT NULL CONSTRAINT fk_push_subscription_agreement_id REFERENCES agreement (id),
    resource_id uuid NOT NULL CONSTRAINT fk_push_subscription_resource_id REFERENCES resource (id),
    grant_id uuid NOT NULL CONSTRAINT fk_push_subscription_grant_id REFERENCES grant_issued (id),
    client_id uuid NOT NULL CONSTRAINT fk_push_subscription_client_id REFERENCES client (id),
    agency_id uuid NOT NULL CONSTRAINT fk_push_subscription_agency_id REFERENCES agency (id),
    purpose varchar NOT NULL,
    items varchar[],
    filter varchar,
    mode varchar NOT NULL CONSTRAINT ck_push_subscription_mode CHECK (mode IN ('full', 'changes')),
    form varchar NOT NULL CONSTRAINT ck_push_subscription_form CHECK (form IN ('ndjson', 'csv')),
    every_minutes integer NOT NULL
        CONSTRAINT ck_push_subscription_every_minutes CHECK (every_minutes BETWEEN 1 AND 44640),
    target jsonb NOT NULL,
    credentials bytea,
    runs bigint NOT NULL,
    mark varchar NOT NULL,
    basis varchar NOT NULL,
    delivered_at timestamptz,
    problem varchar,
    gateway_id uuid CONSTRAINT fk_push_subscription_gateway_id REFERENCES client (id),
    leased_until timestamptz,
    CONSTRAINT ck_push_subscription_leased CHECK ((gateway_id IS NULL) = (leased_until IS NULL))
);
CREATE INDEX ix_push_subscription_agreement_id ON push_subscription (agreement_id);
CREATE TRIGGER guard_state BEFORE INSERT OR UPDATE OF state ON push_subscription
    FOR EACH ROW EXECUTE FUNCTION guard_state('push');
CREATE TRIGGER forbid_removal BEFORE DELETE ON push_subscription
    FOR EACH ROW EXECUTE FUNCTION forbid_change();
CREATE TRIGGER tell_gateways AFTER INSERT OR UPDATE OF state ON push_subscription
    FOR EACH STATEMENT EXECUTE FUNCTION tell_gateways();
ALTER TABLE push_subscription ENABLE ROW LEVEL SECURITY;
CREATE POLICY sight ON push_subscription USING ((SELECT sees_all())
    OR EXISTS (SELECT FROM agreement AS a WHERE a.id = push_subscription.agreement_id)) WITH CHECK (true);
"""
