"""Gateways hear of changes at once: a word to whoever listens, when the transaction commits."""

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
        """
    )
