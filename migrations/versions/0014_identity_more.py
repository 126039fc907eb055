"""Identity: published keys and bound tokens of clients, second factors, sign-in at a provider, delegation."""

from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.execute(CLIENTS)
    op.execute(PEOPLE)
    op.execute(DELEGATION)


CLIENTS = """
ALTER TABLE client ADD COLUMN jwks_uri varchar;
ALTER TABLE client ADD COLUMN dpop_bound boolean NOT NULL DEFAULT false;
CREATE TABLE used_proof (
    thumbprint varchar NOT NULL,
    jti varchar NOT NULL,
    expires_at timestamptz NOT NULL,
    CONSTRAINT pk_used_proof PRIMARY KEY (thumbprint, jti)
);
CREATE INDEX ix_used_proof_expires_at ON used_proof (expires_at);
"""

PEOPLE = """
ALTER TABLE person ADD COLUMN password_set_at timestamptz;
ALTER TABLE person ADD COLUMN contractor boolean NOT NULL DEFAULT false;
ALTER TABLE person ADD COLUMN provider_subject varchar CONSTRAINT uq_person_provider_subject UNIQUE;
ALTER TABLE person ADD CONSTRAINT ck_person_contractor
    CHECK (NOT contractor OR roles <@ ARRAY['system_administrator']::varchar[]);
UPDATE person SET password_set_at = now() WHERE password_hash IS NOT NULL;
ALTER TABLE sign_in_session ADD COLUMN id uuid NOT NULL DEFAULT gen_random_uuid();
ALTER TABLE sign_in_session ADD CONSTRAINT uq_sign_in_session_id UNIQUE (id);
ALTER TABLE sign_in_session ADD COLUMN device varchar;
ALTER TABLE sign_in_session ADD COLUMN lacks varchar;
ALTER TABLE sign_in_session ADD COLUMN idle interval NOT NULL DEFAULT '30 minutes';
CREATE INDEX ix_sign_in_session_person_id ON sign_in_session (person_id);
CREATE TABLE second_factor (
    person_id uuid CONSTRAINT pk_second_factor PRIMARY KEY
        CONSTRAINT fk_second_factor_person_id REFERENCES person (id),
    sealed bytea NOT NULL,
    created_at timestamptz NOT NULL,
    confirmed_at timestamptz,
    last_step bigint NOT NULL
);
CREATE TABLE recovery_code (
    person_id uuid NOT NULL CONSTRAINT fk_recovery_code_person_id REFERENCES person (id),
    code_hash bytea NOT NULL,
    used_at timestamptz,
    CONSTRAINT pk_recovery_code PRIMARY KEY (person_id, code_hash)
);
CREATE TABLE provider_sign_in (
    state_hash bytea CONSTRAINT pk_provider_sign_in PRIMARY KEY,
    binding_hash bytea NOT NULL,
    nonce varchar NOT NULL,
    verifier varchar NOT NULL,
    back varchar NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX ix_provider_sign_in_expires_at ON provider_sign_in (expires_at);
"""

DELEGATION = """
CREATE TABLE delegation (
    id uuid CONSTRAINT pk_delegation PRIMARY KEY,
    created_at timestamptz NOT NULL,
    for_agency_id uuid NOT NULL CONSTRAINT fk_delegation_for_agency_id REFERENCES agency (id),
    to_agency_id uuid NOT NULL CONSTRAINT fk_delegation_to_agency_id REFERENCES agency (id),
    roles varchar[] NOT NULL,
    reason varchar NOT NULL,
    until date NOT NULL,
    given_by uuid NOT NULL CONSTRAINT fk_delegation_given_by REFERENCES person (id),
    ended_at timestamptz,
    CONSTRAINT ck_delegation_two_agencies CHECK (for_agency_id <> to_agency_id)
);
CREATE INDEX ix_delegation_to_agency_id ON delegation (to_agency_id);
"""
