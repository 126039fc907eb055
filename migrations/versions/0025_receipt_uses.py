"""What requesters note about the use of what was delivered; the receipts that a certificate of disposal names."""

from __future__ import annotations

from alembic import op

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    op.execute(
        """
CREATE TABLE receipt_use (
    id uuid CONSTRAINT pk_receipt_use PRIMARY KEY,
    created_at timestamptz NOT NULL,
    agreement_id uuid NOT NULL CONSTRAINT fk_receipt_use_agreement_id REFERENCES agreement (id),
    receipt_id uuid NOT NULL CONSTRAINT fk_receipt_use_receipt_id REFERENCES receipt (id),
    purpose varchar NOT NULL,
    matter varchar NOT NULL,
    unit varchar NOT NULL,
    used_at timestamptz NOT NULL,
    noted_by uuid NOT NULL
);
CREATE INDEX ix_receipt_use_agreement_id ON receipt_use (agreement_id, id);
CREATE INDEX ix_receipt_use_receipt_id ON receipt_use (receipt_id);
CREATE TRIGGER forbid_change BEFORE UPDATE OR DELETE ON receipt_use
    FOR EACH ROW EXECUTE FUNCTION forbid_change();
ALTER TABLE receipt_use ENABLE ROW LEVEL SECURITY;
CREATE POLICY sight ON receipt_use USING ((SELECT sees_all())
    OR EXISTS (SELECT FROM agreement AS a WHERE a.id = receipt_use.agreement_id)) WITH CHECK (true);
ALTER TABLE agreement ADD COLUMN disposed_receipts uuid[] NOT NULL DEFAULT '{}';
"""
    )
