"""Row-level security of what is some agencies' own; who read personal data; acts that take two people."""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.execute(SIGHT)
    for table, seen in SEEN.items():
        sees = f"(SELECT sees_all()) OR {seen.format(table=table)}"
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY sight ON {table} USING ({sees}) WITH CHECK (true)")
    op.execute(READS)
    op.execute(GRANTS)
    op.execute(SCANS)


# The settings of `app.kernel.sight`. Each is asked once a statement: the policies call them in a subquery.
SIGHT = """
CREATE FUNCTION sees_all() RETURNS boolean LANGUAGE sql STABLE AS
    $$ SELECT coalesce(current_setting('zhengtong.sees', true) = 'all', false) $$;
CREATE FUNCTION seeing_agency() RETURNS uuid LANGUAGE sql STABLE AS
    $$ SELECT nullif(current_setting('zhengtong.agency', true), '')::uuid $$;
CREATE FUNCTION seeing_overseer() RETURNS uuid LANGUAGE sql STABLE AS
    $$ SELECT nullif(current_setting('zhengtong.overseer', true), '')::uuid $$;
"""

# The owner of the tables (workers, commands, migrations) is not bound; the role of the control plane is.
# Columns are named with their table: in a subquery the nearest column of a name is meant.
BILATERAL = """{table}.requester_id = (SELECT seeing_agency()) OR {table}.provider_id = (SELECT seeing_agency())
    OR {table}.authority_id = (SELECT seeing_agency())
    OR EXISTS (SELECT FROM agency AS a JOIN jurisdiction AS j ON j.id = a.jurisdiction_id
        WHERE a.id = {table}.authority_id AND (SELECT seeing_overseer()) = ANY (j.path))"""
# What belongs to a row is seen by whom the row is seen.
SEEN = {
    "negotiation": BILATERAL,
    "agreement": BILATERAL,
    "dispute": BILATERAL,
    "correction": BILATERAL,
    "share_request": """{table}.requester_id = (SELECT seeing_agency())
        OR EXISTS (SELECT FROM negotiation AS n WHERE n.request_id = {table}.id)""",
    "sharing_policy": "{table}.provider_id = (SELECT seeing_agency())",
    "webhook": "{table}.agency_id = (SELECT seeing_agency())",
    "terms_version": "EXISTS (SELECT FROM negotiation AS n WHERE n.id = {table}.negotiation_id)",
    "negotiation_comment": "EXISTS (SELECT FROM negotiation AS n WHERE n.id = {table}.negotiation_id)",
    "statement": "EXISTS (SELECT FROM dispute AS d WHERE d.id = {table}.dispute_id)",
    "grant_issued": "EXISTS (SELECT FROM agreement AS a WHERE a.id = {table}.agreement_id)",
    "receipt": "EXISTS (SELECT FROM agreement AS a WHERE a.id = {table}.agreement_id)",
}

READS = """
CREATE TABLE personal_read (
    id uuid CONSTRAINT pk_personal_read PRIMARY KEY,
    created_at timestamptz NOT NULL,
    operation varchar NOT NULL,
    path varchar NOT NULL,
    actor_kind varchar NOT NULL,
    actor_id uuid NOT NULL,
    actor_name varchar NOT NULL,
    agency_id uuid CONSTRAINT fk_personal_read_agency_id REFERENCES agency (id),
    request_id varchar NOT NULL
);
CREATE TRIGGER forbid_change BEFORE UPDATE OR DELETE ON personal_read
    FOR EACH ROW EXECUTE FUNCTION forbid_change();
"""

GRANTS = """
CREATE TABLE role_grant (
    id uuid CONSTRAINT pk_role_grant PRIMARY KEY,
    created_at timestamptz NOT NULL,
    state varchar NOT NULL,
    version integer NOT NULL,
    updated_at timestamptz NOT NULL,
    person_id uuid NOT NULL CONSTRAINT fk_role_grant_person_id REFERENCES person (id),
    roles varchar[] NOT NULL,
    asked_by uuid,
    answered_by uuid,
    CONSTRAINT ck_role_grant_two_people CHECK (answered_by <> asked_by AND answered_by <> person_id)
);
CREATE INDEX ix_role_grant_person_id ON role_grant (person_id);
CREATE TRIGGER guard_state BEFORE INSERT OR UPDATE OF state ON role_grant
    FOR EACH ROW EXECUTE FUNCTION guard_state('role_grant');
"""

SCANS = """
CREATE TABLE file_scan (
    sha256 varchar CONSTRAINT pk_file_scan PRIMARY KEY
        CONSTRAINT fk_file_scan_sha256 REFERENCES stored_file (sha256),
    at timestamptz NOT NULL,
    finding varchar
);
CREATE TRIGGER forbid_change BEFORE UPDATE OR DELETE ON file_scan
    FOR EACH ROW EXECUTE FUNCTION forbid_change();
"""
