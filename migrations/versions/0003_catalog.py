"""Catalog: resources, items, versions, imports."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute(RESOURCES)
    op.execute(IMPORTS)


RESOURCES = """
CREATE TABLE resource (
    id uuid CONSTRAINT pk_resource PRIMARY KEY,
    created_at timestamptz NOT NULL,
    state varchar NOT NULL,
    version integer NOT NULL,
    updated_at timestamptz NOT NULL,
    agency_id uuid NOT NULL CONSTRAINT fk_resource_agency_id REFERENCES agency (id),
    jurisdiction_id uuid NOT NULL CONSTRAINT fk_resource_jurisdiction_id REFERENCES jurisdiction (id),
    code varchar NOT NULL CONSTRAINT uq_resource_code UNIQUE,
    source varchar,
    source_id varchar,
    source_hash bytea,
    title varchar NOT NULL,
    title_en varchar,
    sharing_type varchar,
    openness varchar NOT NULL,
    is_open boolean NOT NULL CONSTRAINT ck_resource_is_open CHECK (is_open = (openness = 'unconditional')),
    themes varchar[] NOT NULL,
    base_library varchar,
    update_cycle varchar,
    format_class varchar,
    grade varchar,
    record jsonb NOT NULL,
    content_hash bytea NOT NULL,
    published_version integer NOT NULL,
    CONSTRAINT ck_resource_not_shared CHECK (
        sharing_type IS DISTINCT FROM 'not_shared' OR openness = 'not_open'),
    CONSTRAINT ck_resource_source CHECK ((source IS NULL) = (source_hash IS NULL))
);
CREATE UNIQUE INDEX uq_resource_source_id ON resource (source, source_id);
CREATE INDEX ix_resource_agency_id ON resource (agency_id, id);
CREATE INDEX ix_resource_state ON resource (state, id);
CREATE TRIGGER guard_state BEFORE INSERT OR UPDATE OF state ON resource
    FOR EACH ROW EXECUTE FUNCTION guard_state('resource');

CREATE TABLE resource_version (
    resource_id uuid NOT NULL CONSTRAINT fk_resource_version_resource_id REFERENCES resource (id),
    number integer NOT NULL,
    published_at timestamptz NOT NULL,
    record jsonb NOT NULL,
    content_hash bytea NOT NULL,
    CONSTRAINT pk_resource_version PRIMARY KEY (resource_id, number)
);
CREATE TRIGGER forbid_change BEFORE UPDATE OR DELETE ON resource_version
    FOR EACH ROW EXECUTE FUNCTION forbid_change();

CREATE TABLE item (
    resource_id uuid NOT NULL CONSTRAINT fk_item_resource_id REFERENCES resource (id),
    position integer NOT NULL,
    code varchar NOT NULL,
    name varchar NOT NULL,
    name_en varchar,
    definition varchar,
    data_type varchar,
    sharing_type varchar,
    sensitive boolean NOT NULL,
    is_key boolean NOT NULL,
    code_list varchar,
    folded_name varchar NOT NULL,
    normalisation integer NOT NULL,
    CONSTRAINT pk_item PRIMARY KEY (resource_id, position)
);
CREATE UNIQUE INDEX uq_item_code ON item (resource_id, lower(code));
CREATE INDEX ix_item_folded_name ON item (folded_name);

CREATE SEQUENCE resource_number;
"""

IMPORTS = """
CREATE TABLE import_run (
    id uuid CONSTRAINT pk_import_run PRIMARY KEY,
    created_at timestamptz NOT NULL,
    agency_id uuid CONSTRAINT fk_import_run_agency_id REFERENCES agency (id),
    actor_name varchar NOT NULL,
    jurisdiction_id uuid NOT NULL CONSTRAINT fk_import_run_jurisdiction_id REFERENCES jurisdiction (id),
    source varchar NOT NULL,
    format varchar NOT NULL,
    mapping varchar,
    as_state varchar NOT NULL,
    dry_run boolean NOT NULL,
    file_sha256 bytea NOT NULL,
    content_sha256 bytea NOT NULL,
    new integer NOT NULL,
    changed integer NOT NULL,
    unchanged integer NOT NULL,
    rejected integer NOT NULL,
    agencies_created jsonb NOT NULL,
    notes jsonb NOT NULL,
    rejected_rows jsonb NOT NULL,
    CONSTRAINT ck_import_run_counts CHECK (least(new, changed, unchanged, rejected) >= 0)
);
CREATE INDEX ix_import_run_agency_id ON import_run (agency_id, id);
CREATE TRIGGER forbid_change BEFORE UPDATE OR DELETE ON import_run
    FOR EACH ROW EXECUTE FUNCTION forbid_change();
"""
