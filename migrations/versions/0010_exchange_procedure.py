"""Exchange procedure: questions and answers, open points, policies, comments, attachments, webhooks, digests."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.execute(REQUESTS)
    op.execute(POLICIES)
    op.execute(DISCUSSION)
    op.execute(TELLING)


REQUESTS = """
CREATE TABLE question_set (
    resource_id uuid CONSTRAINT pk_question_set PRIMARY KEY
        CONSTRAINT fk_question_set_resource_id REFERENCES resource (id),
    version integer NOT NULL,
    questions jsonb NOT NULL,
    author_id uuid NOT NULL,
    updated_at timestamptz NOT NULL
);
ALTER TABLE share_request
    ADD COLUMN need_by date,
    ADD COLUMN answers jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN reuses_id uuid CONSTRAINT fk_share_request_reuses_id REFERENCES share_request (id);
ALTER TABLE share_request ALTER COLUMN answers DROP DEFAULT;
"""

POLICIES = """
CREATE TABLE sharing_policy (
    id uuid CONSTRAINT pk_sharing_policy PRIMARY KEY,
    created_at timestamptz NOT NULL,
    state varchar NOT NULL,
    version integer NOT NULL,
    updated_at timestamptz NOT NULL,
    provider_id uuid NOT NULL CONSTRAINT fk_sharing_policy_provider_id REFERENCES agency (id),
    resource_id uuid NOT NULL CONSTRAINT fk_sharing_policy_resource_id REFERENCES resource (id),
    rule jsonb NOT NULL,
    author_id uuid NOT NULL,
    adopted_by uuid CONSTRAINT fk_sharing_policy_adopted_by REFERENCES person (id),
    CONSTRAINT ck_sharing_policy_two_hands CHECK (adopted_by <> author_id),
    CONSTRAINT ck_sharing_policy_adopted CHECK (state <> 'IN_FORCE' OR adopted_by IS NOT NULL)
);
CREATE INDEX ix_sharing_policy_provider_id ON sharing_policy (provider_id);
CREATE INDEX ix_sharing_policy_resource_id ON sharing_policy (resource_id);
CREATE TRIGGER guard_state BEFORE INSERT OR UPDATE OF state ON sharing_policy
    FOR EACH ROW EXECUTE FUNCTION guard_state('policy');
CREATE TRIGGER forbid_removal BEFORE DELETE ON sharing_policy FOR EACH ROW EXECUTE FUNCTION forbid_change();
CREATE TRIGGER forbid_change BEFORE UPDATE OF provider_id, resource_id, rule, author_id ON sharing_policy
    FOR EACH ROW EXECUTE FUNCTION forbid_change();
ALTER TABLE negotiation
    ADD COLUMN need_by date,
    ADD COLUMN questions jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN open_points jsonb,
    ADD COLUMN policy_ids uuid[] NOT NULL DEFAULT '{}';
ALTER TABLE negotiation ALTER COLUMN questions DROP DEFAULT, ALTER COLUMN policy_ids DROP DEFAULT;
CREATE TRIGGER forbid_change BEFORE UPDATE OF need_by, questions ON negotiation
    FOR EACH ROW EXECUTE FUNCTION forbid_change();
"""

DISCUSSION = """
CREATE TABLE negotiation_comment (
    id uuid CONSTRAINT pk_negotiation_comment PRIMARY KEY,
    created_at timestamptz NOT NULL,
    negotiation_id uuid NOT NULL CONSTRAINT fk_negotiation_comment_negotiation_id REFERENCES negotiation (id),
    field varchar NOT NULL,
    party varchar NOT NULL,
    author_id uuid NOT NULL,
    author_name varchar NOT NULL,
    body varchar NOT NULL,
    CONSTRAINT ck_negotiation_comment_party CHECK (party IN ('requester', 'provider'))
);
CREATE INDEX ix_negotiation_comment_negotiation_id ON negotiation_comment (negotiation_id);
CREATE TRIGGER forbid_change BEFORE UPDATE OR DELETE ON negotiation_comment
    FOR EACH ROW EXECUTE FUNCTION forbid_change();
CREATE TABLE stored_file (
    sha256 varchar CONSTRAINT pk_stored_file PRIMARY KEY,
    created_at timestamptz NOT NULL,
    content bytea NOT NULL,
    CONSTRAINT ck_stored_file_address CHECK (sha256 = encode(sha256(content), 'hex'))
);
CREATE TRIGGER forbid_change BEFORE UPDATE OR DELETE ON stored_file
    FOR EACH ROW EXECUTE FUNCTION forbid_change();
CREATE TABLE attachment (
    id uuid CONSTRAINT pk_attachment PRIMARY KEY,
    created_at timestamptz NOT NULL,
    kind varchar NOT NULL,
    subject_id uuid NOT NULL,
    field varchar NOT NULL,
    party varchar NOT NULL,
    author_id uuid NOT NULL,
    author_name varchar NOT NULL,
    name varchar NOT NULL,
    media_type varchar NOT NULL,
    size integer NOT NULL,
    sha256 varchar NOT NULL CONSTRAINT fk_attachment_sha256 REFERENCES stored_file (sha256)
);
CREATE INDEX ix_attachment_kind_subject_id ON attachment (kind, subject_id);
CREATE TRIGGER forbid_change BEFORE UPDATE OR DELETE ON attachment
    FOR EACH ROW EXECUTE FUNCTION forbid_change();
ALTER TABLE dispute ADD COLUMN noncompliance_at timestamptz;
"""

TELLING = """
CREATE TABLE webhook (
    id uuid CONSTRAINT pk_webhook PRIMARY KEY,
    created_at timestamptz NOT NULL,
    agency_id uuid NOT NULL CONSTRAINT fk_webhook_agency_id REFERENCES agency (id),
    url varchar NOT NULL,
    kinds varchar[] NOT NULL,
    secret varchar NOT NULL,
    version integer NOT NULL,
    active boolean NOT NULL,
    told_transaction bigint NOT NULL,
    told_position bigint NOT NULL,
    failures integer NOT NULL,
    next_attempt_at timestamptz NOT NULL,
    last_result varchar,
    author_id uuid NOT NULL
);
CREATE INDEX ix_webhook_agency_id ON webhook (agency_id);
CREATE TABLE digest (
    person_id uuid CONSTRAINT pk_digest PRIMARY KEY CONSTRAINT fk_digest_person_id REFERENCES person (id),
    address varchar NOT NULL,
    sent_on date
);
"""
