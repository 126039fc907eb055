"""Agreements: what must be mended, reminders, disposal and its certificate; clocks remind before they end."""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.execute(AGREEMENTS)
    op.execute(CLOCKS)
    op.execute(INVARIANTS)


AGREEMENTS = """
ALTER TABLE agreement
    ADD COLUMN mending varchar,
    ADD COLUMN remind_renewal_on date,
    ADD COLUMN disposal_overdue boolean NOT NULL DEFAULT false,
    ADD COLUMN disposed_on date,
    ADD COLUMN disposal varchar,
    ADD COLUMN disposed_by uuid CONSTRAINT fk_agreement_disposed_by REFERENCES person (id),
    ADD CONSTRAINT ck_agreement_disposal CHECK (
        num_nulls(disposed_on, disposal, disposed_by) IN (0, 3)
        AND (disposed_on IS NULL OR state IN ('EXPIRED', 'COMPLETED', 'TERMINATED')));
ALTER TABLE agreement ALTER COLUMN disposal_overdue DROP DEFAULT;
UPDATE agreement SET remind_renewal_on = valid_until - 30 WHERE state IN ('IN_FORCE', 'SUSPENDED');
CREATE INDEX ix_agreement_remind_renewal_on ON agreement (remind_renewal_on)
    WHERE state IN ('IN_FORCE', 'SUSPENDED');
-- A certificate is given once and stands.
CREATE FUNCTION seal_disposal() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.disposed_on IS NOT NULL THEN
        RAISE EXCEPTION 'a disposal certificate is never changed' USING ERRCODE = 'ZT001';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER seal_disposal BEFORE UPDATE OF disposed_on, disposal, disposed_by ON agreement
    FOR EACH ROW EXECUTE FUNCTION seal_disposal();
"""

CLOCKS = """
ALTER TABLE deadline
    ADD COLUMN remind_at timestamptz,
    ADD COLUMN calendar varchar NOT NULL DEFAULT 'cn',
    ADD COLUMN counted_from date,
    ADD COLUMN counted_days integer;
UPDATE deadline SET counted_from = (started_at AT TIME ZONE 'Asia/Shanghai')::date, counted_days = working_days;
ALTER TABLE deadline
    ALTER COLUMN calendar DROP DEFAULT, ALTER COLUMN counted_from SET NOT NULL, ALTER COLUMN counted_days SET NOT NULL;
CREATE INDEX ix_deadline_remind ON deadline (remind_at)
    WHERE remind_at IS NOT NULL AND ended_at IS NULL AND paused_at IS NULL;
-- The profile as it was shipped before gets the duty that is new; a profile that a place wrote is left alone.
UPDATE rule_profile SET profile = jsonb_set(profile, '{duties,agreement.disposal}',
    '{"working_days": 20, "extension": 0, "basis": "809-27",
      "label": {"zh": "共享数据的处置", "en": "disposal of the shared data"}}')
    WHERE NOT profile -> 'duties' ? 'agreement.disposal';
"""

INVARIANTS = """
-- A negotiation is finalized by an agreement on the terms on its table, at the latest when the transaction
-- commits, and there is no agreement without its finalized negotiation, or the ruling it rests on.
CREATE FUNCTION check_finalized() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM agreement WHERE negotiation_id = NEW.id AND terms_version_id = NEW.current_terms_id
    ) THEN
        RAISE EXCEPTION 'a finalized negotiation without its agreement' USING ERRCODE = 'ZT003';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER check_finalized AFTER UPDATE OF state ON negotiation DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.state = 'FINALIZED') EXECUTE FUNCTION check_finalized();
CREATE FUNCTION check_concluded() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.origin <> 'ruling' AND NOT EXISTS (
        SELECT FROM negotiation JOIN dispute ON dispute.negotiation_id = negotiation.id
        WHERE negotiation.id = NEW.negotiation_id AND dispute.state = 'SETTLED'
    ) AND NOT EXISTS (
        SELECT FROM negotiation WHERE id = NEW.negotiation_id AND state = 'FINALIZED'
            AND current_terms_id = NEW.terms_version_id
    ) THEN
        RAISE EXCEPTION 'an agreement without its finalized negotiation' USING ERRCODE = 'ZT003';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER check_concluded AFTER INSERT ON agreement DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION check_concluded();
"""
