"""Kernel: events, guarded states, deadlines, jobs, ledger."""

from alembic import op

from app.kernel.jobs import schema_sql

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    op.execute(GUARDS)
    op.execute(EVENTS)
    op.execute(DEADLINES)
    op.execute(LEDGER)
    # On the driver's own cursor: SQLAlchemy would have it read each % of the text as a placeholder.
    cursor = op.get_bind().connection.cursor()
    cursor.execute(schema_sql())
    cursor.close()


GUARDS = """
CREATE FUNCTION forbid_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are never changed or removed', TG_TABLE_NAME USING ERRCODE = 'ZT001';
END $$;

CREATE TABLE state_transition (
    kind varchar NOT NULL,
    source varchar NOT NULL,
    target varchar NOT NULL,
    CONSTRAINT pk_state_transition PRIMARY KEY (kind, source, target)
);

-- Second line behind app.kernel.history.advance: no state changes in a way its table does not hold.
CREATE FUNCTION guard_state() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    before varchar := CASE WHEN TG_OP = 'INSERT' THEN '' ELSE OLD.state END;
BEGIN
    IF NOT EXISTS (
        SELECT FROM state_transition WHERE kind = TG_ARGV[0] AND source = before AND target = NEW.state
    ) THEN
        RAISE EXCEPTION '% cannot move from % to %', TG_ARGV[0], before, NEW.state USING ERRCODE = 'ZT002';
    END IF;
    RETURN NEW;
END $$;
"""

EVENTS = """
CREATE TABLE event (
    id uuid CONSTRAINT pk_event PRIMARY KEY,
    position bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT uq_event_position UNIQUE,
    transaction xid8 NOT NULL DEFAULT pg_current_xact_id(),
    at timestamptz NOT NULL,
    kind varchar NOT NULL,
    subject_id uuid NOT NULL,
    act varchar NOT NULL,
    state_from varchar,
    state_to varchar,
    version integer,
    party varchar,
    actor_kind varchar NOT NULL,
    actor_id uuid,
    actor_name varchar NOT NULL,
    agency_id uuid,
    reason varchar,
    legal_basis varchar,
    data jsonb NOT NULL,
    ledgered boolean NOT NULL
);
CREATE INDEX ix_event_subject ON event (kind, subject_id, position);
CREATE INDEX ix_event_transaction ON event (transaction, position);
CREATE TRIGGER forbid_change BEFORE UPDATE OR DELETE ON event FOR EACH ROW EXECUTE FUNCTION forbid_change();
"""

DEADLINES = """
CREATE TABLE deadline (
    id uuid CONSTRAINT pk_deadline PRIMARY KEY,
    created_at timestamptz NOT NULL,
    kind varchar NOT NULL,
    subject_id uuid NOT NULL,
    duty varchar NOT NULL,
    legal_basis varchar,
    started_at timestamptz NOT NULL,
    due_on date NOT NULL,
    due_at timestamptz NOT NULL,
    working_days integer NOT NULL,
    provisional boolean NOT NULL,
    paused_at timestamptz,
    left_on_pause integer,
    ended_at timestamptz,
    outcome varchar
);
CREATE INDEX ix_deadline_due ON deadline (due_at) WHERE ended_at IS NULL AND paused_at IS NULL;
CREATE UNIQUE INDEX uq_deadline_running ON deadline (kind, subject_id, duty) WHERE ended_at IS NULL;
"""

LEDGER = """
CREATE TABLE ledger_entry (
    id uuid CONSTRAINT pk_ledger_entry PRIMARY KEY,
    at timestamptz NOT NULL,
    kind varchar NOT NULL,
    subject_id uuid NOT NULL,
    content_hash bytea NOT NULL
);
CREATE INDEX ix_ledger_entry_subject_id ON ledger_entry (subject_id);
CREATE TABLE ledger_pending (entry_id uuid CONSTRAINT pk_ledger_pending PRIMARY KEY);
CREATE TABLE ledger_leaf (
    position bigint CONSTRAINT pk_ledger_leaf PRIMARY KEY,
    entry_id uuid NOT NULL CONSTRAINT uq_ledger_leaf_entry_id UNIQUE
);
CREATE TABLE ledger_tile (
    level integer NOT NULL,
    index bigint NOT NULL,
    hashes bytea NOT NULL,
    CONSTRAINT pk_ledger_tile PRIMARY KEY (level, index)
);
CREATE TABLE ledger_checkpoint (
    size bigint CONSTRAINT pk_ledger_checkpoint PRIMARY KEY,
    root bytea NOT NULL,
    at timestamptz NOT NULL,
    note varchar NOT NULL
);
CREATE TRIGGER forbid_change BEFORE UPDATE OR DELETE ON ledger_entry FOR EACH ROW EXECUTE FUNCTION forbid_change();
CREATE TRIGGER forbid_change BEFORE UPDATE OR DELETE ON ledger_leaf FOR EACH ROW EXECUTE FUNCTION forbid_change();
CREATE TRIGGER forbid_change BEFORE UPDATE OR DELETE ON ledger_checkpoint
    FOR EACH ROW EXECUTE FUNCTION forbid_change();
"""
