"""The catalog record, further: working copies, filings, threads of defects, data elements, quality, following,
guides."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.execute(REVIEW)
    op.execute(ELEMENTS)
    op.execute(QUALITY)
    op.execute(FOLLOWING)


REVIEW = """
ALTER TABLE resource ADD COLUMN data_updated_at timestamptz;

CREATE TABLE resource_revision (
    id uuid CONSTRAINT pk_resource_revision PRIMARY KEY,
    created_at timestamptz NOT NULL,
    state varchar NOT NULL,
    version integer NOT NULL,
    updated_at timestamptz NOT NULL,
    resource_id uuid NOT NULL CONSTRAINT fk_resource_revision_resource_id REFERENCES resource (id),
    jurisdiction_id uuid NOT NULL CONSTRAINT fk_resource_revision_jurisdiction_id REFERENCES jurisdiction (id),
    base_version integer NOT NULL,
    reason varchar NOT NULL,
    record jsonb NOT NULL,
    content_hash bytea NOT NULL
);
CREATE INDEX ix_resource_revision_resource_id ON resource_revision (resource_id, id);
CREATE UNIQUE INDEX uq_resource_revision_open ON resource_revision (resource_id)
    WHERE state IN ('draft', 'filed', 'returned');
CREATE TRIGGER guard_state BEFORE INSERT OR UPDATE OF state ON resource_revision
    FOR EACH ROW EXECUTE FUNCTION guard_state('revision');
CREATE TRIGGER forbid_removal BEFORE DELETE ON resource_revision FOR EACH ROW EXECUTE FUNCTION forbid_change();

CREATE TABLE resource_filing (
    id uuid CONSTRAINT pk_resource_filing PRIMARY KEY,
    created_at timestamptz NOT NULL,
    resource_id uuid NOT NULL CONSTRAINT fk_resource_filing_resource_id REFERENCES resource (id),
    revision_id uuid CONSTRAINT fk_resource_filing_revision_id REFERENCES resource_revision (id),
    number integer NOT NULL,
    record jsonb NOT NULL,
    content_hash bytea NOT NULL,
    statement jsonb NOT NULL,
    signed_by uuid NOT NULL,
    signed_name varchar NOT NULL
);
CREATE UNIQUE INDEX uq_resource_filing_number ON resource_filing (resource_id, revision_id, number)
    NULLS NOT DISTINCT;
CREATE TRIGGER forbid_change BEFORE UPDATE OR DELETE ON resource_filing
    FOR EACH ROW EXECUTE FUNCTION forbid_change();

CREATE TABLE resource_defect (
    id uuid CONSTRAINT pk_resource_defect PRIMARY KEY,
    created_at timestamptz NOT NULL,
    state varchar NOT NULL,
    version integer NOT NULL,
    updated_at timestamptz NOT NULL,
    resource_id uuid NOT NULL CONSTRAINT fk_resource_defect_resource_id REFERENCES resource (id),
    revision_id uuid CONSTRAINT fk_resource_defect_revision_id REFERENCES resource_revision (id),
    field varchar NOT NULL,
    message varchar NOT NULL
);
CREATE INDEX ix_resource_defect_resource_id ON resource_defect (resource_id, id);
CREATE TRIGGER guard_state BEFORE INSERT OR UPDATE OF state ON resource_defect
    FOR EACH ROW EXECUTE FUNCTION guard_state('defect');
CREATE TRIGGER forbid_removal BEFORE DELETE ON resource_defect FOR EACH ROW EXECUTE FUNCTION forbid_change();
CREATE TRIGGER forbid_change BEFORE UPDATE OF resource_id, revision_id, field, message ON resource_defect
    FOR EACH ROW EXECUTE FUNCTION forbid_change();
"""

ELEMENTS = """
CREATE TABLE data_element (
    id uuid CONSTRAINT pk_data_element PRIMARY KEY,
    created_at timestamptz NOT NULL,
    state varchar NOT NULL,
    version integer NOT NULL,
    updated_at timestamptz NOT NULL,
    identifier varchar NOT NULL CONSTRAINT uq_data_element_identifier UNIQUE,
    jurisdiction_id uuid NOT NULL CONSTRAINT fk_data_element_jurisdiction_id REFERENCES jurisdiction (id),
    name varchar NOT NULL,
    name_en varchar,
    definition varchar NOT NULL,
    data_type varchar NOT NULL,
    length integer,
    code_list varchar,
    aliases varchar[] NOT NULL,
    source_id uuid CONSTRAINT fk_data_element_source_id REFERENCES agency (id),
    source_basis varchar,
    proposer_id uuid CONSTRAINT fk_data_element_proposer_id REFERENCES agency (id)
);
CREATE INDEX ix_data_element_source_id ON data_element (source_id);
CREATE UNIQUE INDEX uq_data_element_name ON data_element (jurisdiction_id, lower(name)) WHERE state = 'registered';
CREATE TRIGGER guard_state BEFORE INSERT OR UPDATE OF state ON data_element
    FOR EACH ROW EXECUTE FUNCTION guard_state('element');
CREATE TRIGGER forbid_removal BEFORE DELETE ON data_element FOR EACH ROW EXECUTE FUNCTION forbid_change();
CREATE SEQUENCE element_number;

CREATE TABLE element_verdict (
    id uuid CONSTRAINT pk_element_verdict PRIMARY KEY,
    created_at timestamptz NOT NULL,
    resource_id uuid NOT NULL CONSTRAINT fk_element_verdict_resource_id REFERENCES resource (id),
    item_code varchar NOT NULL CONSTRAINT ck_element_verdict_item_code CHECK (item_code <> ''),
    element_id uuid NOT NULL CONSTRAINT fk_element_verdict_element_id REFERENCES data_element (id),
    same boolean NOT NULL,
    suggested boolean NOT NULL,
    person_id uuid,
    person_name varchar NOT NULL
);
CREATE INDEX ix_element_verdict_element_id ON element_verdict (element_id);
CREATE UNIQUE INDEX uq_element_verdict ON element_verdict (resource_id, lower(item_code), element_id);
CREATE UNIQUE INDEX uq_element_verdict_same ON element_verdict (resource_id, lower(item_code)) WHERE same;
"""

QUALITY = """
CREATE TABLE resource_quality (
    resource_id uuid CONSTRAINT pk_resource_quality PRIMARY KEY
        CONSTRAINT fk_resource_quality_resource_id REFERENCES resource (id),
    agency_id uuid NOT NULL CONSTRAINT fk_resource_quality_agency_id REFERENCES agency (id),
    score double precision NOT NULL CONSTRAINT ck_resource_quality_score CHECK (score BETWEEN 0 AND 1),
    measured_at timestamptz NOT NULL
);
CREATE INDEX ix_resource_quality_agency_id ON resource_quality (agency_id, score, resource_id);
CREATE TABLE resource_link (
    resource_id uuid NOT NULL CONSTRAINT fk_resource_link_resource_id REFERENCES resource (id),
    url varchar NOT NULL,
    due_at timestamptz NOT NULL,
    checked_at timestamptz,
    alive boolean,
    problem varchar,
    CONSTRAINT pk_resource_link PRIMARY KEY (resource_id, url)
);
CREATE INDEX ix_resource_link_due_at ON resource_link (due_at);
"""

FOLLOWING = """
CREATE TABLE saved_search (
    id uuid CONSTRAINT pk_saved_search PRIMARY KEY,
    created_at timestamptz NOT NULL,
    owner_id uuid NOT NULL,
    name varchar NOT NULL,
    asked jsonb NOT NULL
);
CREATE INDEX ix_saved_search_owner_id ON saved_search (owner_id, id);
CREATE TABLE following (
    id uuid CONSTRAINT pk_following PRIMARY KEY,
    created_at timestamptz NOT NULL,
    follower_id uuid NOT NULL,
    follower_kind varchar NOT NULL,
    agency_id uuid CONSTRAINT fk_following_agency_id REFERENCES agency (id),
    resource_id uuid CONSTRAINT fk_following_resource_id REFERENCES resource (id),
    provider_id uuid CONSTRAINT fk_following_provider_id REFERENCES agency (id),
    search_id uuid CONSTRAINT fk_following_search_id REFERENCES saved_search (id) ON DELETE CASCADE,
    CONSTRAINT ck_following_one CHECK (num_nonnulls(resource_id, provider_id, search_id) = 1)
);
CREATE UNIQUE INDEX uq_following ON following (follower_id, resource_id, provider_id, search_id) NULLS NOT DISTINCT;
CREATE INDEX ix_following_resource_id ON following (resource_id);
CREATE INDEX ix_following_provider_id ON following (provider_id);
CREATE TABLE followed_change (
    id uuid CONSTRAINT pk_followed_change PRIMARY KEY,
    created_at timestamptz NOT NULL,
    following_id uuid NOT NULL
        CONSTRAINT fk_followed_change_following_id REFERENCES following (id) ON DELETE CASCADE,
    event_id uuid NOT NULL CONSTRAINT fk_followed_change_event_id REFERENCES event (id),
    resource_id uuid NOT NULL CONSTRAINT fk_followed_change_resource_id REFERENCES resource (id),
    read_at timestamptz
);
CREATE UNIQUE INDEX uq_followed_change ON followed_change (following_id, event_id);
CREATE TABLE follow_position (
    single boolean CONSTRAINT pk_follow_position PRIMARY KEY CONSTRAINT ck_follow_position_single CHECK (single),
    transaction bigint NOT NULL,
    position bigint NOT NULL
);

CREATE TABLE disclosure_guide (
    agency_id uuid CONSTRAINT pk_disclosure_guide PRIMARY KEY
        CONSTRAINT fk_disclosure_guide_agency_id REFERENCES agency (id),
    version integer NOT NULL,
    updated_at timestamptz NOT NULL,
    office varchar NOT NULL,
    address varchar,
    hours varchar,
    telephone varchar,
    email varchar,
    how_to_ask varchar NOT NULL
);
"""
