"""Identity: jurisdictions, agencies, people, clients, sessions, rule profiles, calendars."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute(PLACES)
    op.execute(PEOPLE)
    op.execute(CLIENTS)
    op.execute(RULES)


PLACES = """
CREATE TABLE jurisdiction (
    id uuid CONSTRAINT pk_jurisdiction PRIMARY KEY,
    created_at timestamptz NOT NULL,
    code varchar NOT NULL CONSTRAINT uq_jurisdiction_code UNIQUE,
    name varchar NOT NULL,
    name_en varchar NOT NULL,
    level integer NOT NULL CONSTRAINT ck_jurisdiction_level CHECK (level BETWEEN 0 AND 4),
    parent_id uuid CONSTRAINT fk_jurisdiction_parent_id REFERENCES jurisdiction (id),
    path uuid[] NOT NULL,
    authority_id uuid
);
CREATE TABLE agency (
    id uuid CONSTRAINT pk_agency PRIMARY KEY,
    created_at timestamptz NOT NULL,
    name varchar NOT NULL,
    name_en varchar,
    credit_code varchar CONSTRAINT uq_agency_credit_code UNIQUE,
    local_code varchar,
    jurisdiction_id uuid NOT NULL CONSTRAINT fk_agency_jurisdiction_id REFERENCES jurisdiction (id),
    responsible_leader varchar,
    internal_office varchar,
    verified boolean NOT NULL
);
CREATE UNIQUE INDEX uq_agency_name ON agency (jurisdiction_id, name);
CREATE UNIQUE INDEX uq_agency_local_code ON agency (jurisdiction_id, local_code);
ALTER TABLE jurisdiction ADD CONSTRAINT fk_jurisdiction_authority_id FOREIGN KEY (authority_id) REFERENCES agency (id);
"""

PEOPLE = """
CREATE TABLE person (
    id uuid CONSTRAINT pk_person PRIMARY KEY,
    created_at timestamptz NOT NULL,
    login varchar NOT NULL CONSTRAINT uq_person_login UNIQUE,
    name varchar NOT NULL,
    agency_id uuid NOT NULL CONSTRAINT fk_person_agency_id REFERENCES agency (id),
    roles varchar[] NOT NULL,
    locale varchar NOT NULL,
    active boolean NOT NULL,
    password_hash varchar,
    failures integer NOT NULL,
    locked_until timestamptz,
    CONSTRAINT ck_person_administrators_separated CHECK (
        (('system_administrator' = ANY(roles))::int + ('security_administrator' = ANY(roles))::int
        + ('audit_administrator' = ANY(roles))::int) <= 1)
);
CREATE TABLE one_time_secret (
    id uuid CONSTRAINT pk_one_time_secret PRIMARY KEY,
    created_at timestamptz NOT NULL,
    person_id uuid NOT NULL CONSTRAINT fk_one_time_secret_person_id REFERENCES person (id),
    secret_hash bytea NOT NULL CONSTRAINT uq_one_time_secret_secret_hash UNIQUE,
    expires_at timestamptz NOT NULL,
    used_at timestamptz
);
CREATE TABLE sign_in_session (
    token_hash bytea CONSTRAINT pk_sign_in_session PRIMARY KEY,
    person_id uuid NOT NULL CONSTRAINT fk_sign_in_session_person_id REFERENCES person (id),
    created_at timestamptz NOT NULL,
    last_seen_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz
);
"""

CLIENTS = """
CREATE TABLE client (
    id uuid CONSTRAINT pk_client PRIMARY KEY,
    created_at timestamptz NOT NULL,
    name varchar NOT NULL CONSTRAINT uq_client_name UNIQUE,
    title varchar NOT NULL,
    agency_id uuid NOT NULL CONSTRAINT fk_client_agency_id REFERENCES agency (id),
    scopes varchar[] NOT NULL,
    active boolean NOT NULL
);
CREATE TABLE client_key (
    id uuid CONSTRAINT pk_client_key PRIMARY KEY,
    created_at timestamptz NOT NULL,
    client_id uuid NOT NULL CONSTRAINT fk_client_key_client_id REFERENCES client (id),
    kid varchar NOT NULL,
    jwk jsonb NOT NULL,
    active boolean NOT NULL
);
CREATE UNIQUE INDEX uq_client_key_kid ON client_key (client_id, kid);
CREATE TABLE used_assertion (
    client_id uuid NOT NULL,
    jti varchar NOT NULL,
    expires_at timestamptz NOT NULL,
    CONSTRAINT pk_used_assertion PRIMARY KEY (client_id, jti)
);
CREATE INDEX ix_used_assertion_expires_at ON used_assertion (expires_at);
"""

RULES = """
CREATE TABLE rule_profile (
    id uuid CONSTRAINT pk_rule_profile PRIMARY KEY,
    created_at timestamptz NOT NULL,
    jurisdiction_id uuid CONSTRAINT fk_rule_profile_jurisdiction_id REFERENCES jurisdiction (id),
    effective_from date NOT NULL,
    profile jsonb NOT NULL
);
CREATE UNIQUE INDEX uq_rule_profile ON rule_profile (jurisdiction_id, effective_from) NULLS NOT DISTINCT;
CREATE TABLE calendar_year (
    calendar varchar NOT NULL,
    year integer NOT NULL,
    days jsonb NOT NULL,
    imported_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_calendar_year PRIMARY KEY (calendar, year)
);
"""
