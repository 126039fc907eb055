"""The ledger, further: witnesses, their cosignatures, time stamps, erasure of names."""

from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.execute(WITNESSES)
    op.execute(TIMESTAMPS)
    op.execute(ERASURE)


WITNESSES = """
CREATE TABLE ledger_witness (
    id uuid CONSTRAINT pk_ledger_witness PRIMARY KEY,
    created_at timestamptz NOT NULL,
    state varchar NOT NULL,
    version integer NOT NULL,
    updated_at timestamptz NOT NULL,
    name varchar NOT NULL CONSTRAINT uq_ledger_witness_name UNIQUE,
    public_key bytea NOT NULL,
    agency_id uuid,
    registrar_id uuid NOT NULL
);
CREATE TRIGGER guard_state BEFORE INSERT OR UPDATE OF state ON ledger_witness
    FOR EACH ROW EXECUTE FUNCTION guard_state('ledger_witness');
CREATE TABLE ledger_cosignature (
    size bigint CONSTRAINT fk_ledger_cosignature_size REFERENCES ledger_checkpoint (size),
    witness_id uuid CONSTRAINT fk_ledger_cosignature_witness_id REFERENCES ledger_witness (id),
    line varchar NOT NULL,
    CONSTRAINT pk_ledger_cosignature PRIMARY KEY (size, witness_id)
);
CREATE TRIGGER forbid_change BEFORE UPDATE OR DELETE ON ledger_cosignature
    FOR EACH ROW EXECUTE FUNCTION forbid_change();
"""

TIMESTAMPS = """
CREATE TABLE ledger_timestamp (
    size bigint CONSTRAINT pk_ledger_timestamp PRIMARY KEY
        CONSTRAINT fk_ledger_timestamp_size REFERENCES ledger_checkpoint (size),
    at timestamptz NOT NULL,
    response bytea NOT NULL
);
CREATE TRIGGER forbid_change BEFORE UPDATE OR DELETE ON ledger_timestamp
    FOR EACH ROW EXECUTE FUNCTION forbid_change();
"""

# Nothing of an event changes but that, once, the name of who acted is removed by a decision.
ERASURE = """
ALTER TABLE event ADD COLUMN erased_by uuid;
CREATE INDEX ix_event_erased_by ON event (erased_by) WHERE erased_by IS NOT NULL;
CREATE FUNCTION forbid_change_but_erasure() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE erasable text[] := ARRAY['actor_id', 'actor_name', 'erased_by'];
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.erased_by IS NULL AND NEW.erased_by IS NOT NULL
        AND NEW.actor_id IS NULL AND NEW.actor_name = ''
        AND to_jsonb(NEW) - erasable = to_jsonb(OLD) - erasable THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'rows of % are never changed or removed', TG_TABLE_NAME USING ERRCODE = 'ZT001';
END $$;
DROP TRIGGER forbid_change ON event;
CREATE TRIGGER forbid_change BEFORE UPDATE OR DELETE ON event
    FOR EACH ROW EXECUTE FUNCTION forbid_change_but_erasure();
"""
