"""Agreements pass to the successor of an agency that was merged or dissolved."""

from __future__ import annotations

from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.execute(SUCCESSION)


SUCCESSION = """
ALTER TABLE agreement
    ADD COLUMN succession varchar,
    ADD CONSTRAINT ck_agreement_succession CHECK (succession IS NULL OR supersedes_id IS NOT NULL);
CREATE TRIGGER forbid_other_succession BEFORE UPDATE OF succession ON agreement
    FOR EACH ROW EXECUTE FUNCTION forbid_change();
-- Parties are those who negotiated; or, by a document, one of them gave way to its successor and nothing else
-- of the agreement changed.
CREATE FUNCTION check_parties() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.succession IS NULL THEN
        IF NOT EXISTS (
            SELECT FROM negotiation WHERE id = NEW.negotiation_id
                AND (requester_id, provider_id) = (NEW.requester_id, NEW.provider_id)
        ) THEN
            RAISE EXCEPTION 'an agreement of others than those who negotiated' USING ERRCODE = 'ZT003';
        END IF;
    ELSIF NOT EXISTS (
        SELECT FROM agreement AS former WHERE former.id = NEW.supersedes_id
            AND (former.series_id, former.negotiation_id, former.terms_version_id, former.terms_hash, former.origin)
                = (NEW.series_id, NEW.negotiation_id, NEW.terms_version_id, NEW.terms_hash, NEW.origin)
            AND former.ruling_id IS NOT DISTINCT FROM NEW.ruling_id
            AND (former.requester_id = NEW.requester_id) <> (former.provider_id = NEW.provider_id)
    ) THEN
        RAISE EXCEPTION 'a succession that changes more than one party' USING ERRCODE = 'ZT003';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER check_parties BEFORE INSERT ON agreement FOR EACH ROW EXECUTE FUNCTION check_parties();
"""
