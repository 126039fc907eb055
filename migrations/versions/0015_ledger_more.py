"""The ledger, further: witnesses, their cosignatures, time stamps."""

from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.execute(WITNESSES)
    op.execute(TIMESTAMPS)


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
