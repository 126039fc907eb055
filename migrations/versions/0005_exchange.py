"""Exchange: share requests, negotiations, terms, consents, disputes, rulings, agreements."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.execute(NEGOTIATIONS)
    op.execute(DISPUTES)
    op.execute(AGREEMENTS)
    op.execute(INVARIANTS)


NEGOTIATIONS = """
CREATE TABLE share_request (
    id uuid CONSTRAINT pk_share_request PRIMARY KEY,
    created_at timestamptz NOT NULL,
    state varchar NOT NULL,
    version integer NOT NULL,
    updated_at timestamptz NOT NULL,
    requester_id uuid NOT NULL CONSTRAINT fk_share_request_requester_id REFERENCES agency (id),
    title varchar NOT NULL,
    terms jsonb NOT NULL,
    terms_hash varchar NOT NULL,
    author_id uuid NOT NULL
);
CREATE INDEX ix_share_request_requester_id ON share_request (requester_id);
CREATE TABLE negotiation (
    id uuid CONSTRAINT pk_negotiation PRIMARY KEY,
    created_at timestamptz NOT NULL,
    state varchar NOT NULL,
    version integer NOT NULL,
    updated_at timestamptz NOT NULL,
    requester_id uuid NOT NULL CONSTRAINT fk_negotiation_requester_id REFERENCES agency (id),
    provider_id uuid NOT NULL CONSTRAINT fk_negotiation_provider_id REFERENCES agency (id),
    authority_id uuid NOT NULL CONSTRAINT fk_negotiation_authority_id REFERENCES agency (id),
    request_id uuid NOT NULL CONSTRAINT fk_negotiation_request_id REFERENCES share_request (id),
    follows_id uuid CONSTRAINT fk_negotiation_follows_id REFERENCES negotiation (id),
    sharing varchar NOT NULL CONSTRAINT ck_negotiation_sharing CHECK (sharing IN ('unconditional', 'conditional')),
    current_terms_id uuid,
    draft_terms_id uuid,
    narrower_terms_id uuid,
    rounds integer NOT NULL,
    waiting_for_material boolean NOT NULL,
    material_asked_at timestamptz,
    extension_asked integer,
    extended boolean NOT NULL,
    overdue boolean NOT NULL,
    reminded boolean NOT NULL,
    termination_reason varchar,
    refusal_ground varchar,
    disputed boolean NOT NULL,
    directions varchar,
    CONSTRAINT ck_negotiation_termination CHECK (termination_reason IS NULL OR state = 'TERMINATED'),
    CONSTRAINT ck_negotiation_refusal_has_ground CHECK (
        (termination_reason = 'refused') = (refusal_ground IS NOT NULL)),
    CONSTRAINT ck_negotiation_two_parties CHECK (requester_id <> provider_id)
);
CREATE INDEX ix_negotiation_requester_id ON negotiation (requester_id);
CREATE INDEX ix_negotiation_provider_id ON negotiation (provider_id);
CREATE INDEX ix_negotiation_authority_id ON negotiation (authority_id);
CREATE INDEX ix_negotiation_request_id ON negotiation (request_id);
CREATE TABLE terms_version (
    id uuid CONSTRAINT pk_terms_version PRIMARY KEY,
    created_at timestamptz NOT NULL,
    negotiation_id uuid NOT NULL CONSTRAINT fk_terms_version_negotiation_id REFERENCES negotiation (id),
    number integer NOT NULL,
    party varchar NOT NULL CONSTRAINT ck_terms_version_party CHECK (party IN ('requester', 'provider', 'authority')),
    author_id uuid NOT NULL,
    terms jsonb NOT NULL,
    terms_hash varchar NOT NULL,
    note varchar,
    CONSTRAINT uq_terms_version_number UNIQUE (negotiation_id, number)
);
ALTER TABLE negotiation
    ADD CONSTRAINT fk_negotiation_current_terms_id FOREIGN KEY (current_terms_id) REFERENCES terms_version (id),
    ADD CONSTRAINT fk_negotiation_draft_terms_id FOREIGN KEY (draft_terms_id) REFERENCES terms_version (id),
    ADD CONSTRAINT fk_negotiation_narrower_terms_id FOREIGN KEY (narrower_terms_id) REFERENCES terms_version (id);
CREATE TABLE consent (
    id uuid CONSTRAINT pk_consent PRIMARY KEY,
    created_at timestamptz NOT NULL,
    terms_version_id uuid NOT NULL CONSTRAINT fk_consent_terms_version_id REFERENCES terms_version (id),
    party varchar NOT NULL CONSTRAINT ck_consent_party CHECK (party IN ('requester', 'provider')),
    kind varchar NOT NULL,
    person_id uuid CONSTRAINT fk_consent_person_id REFERENCES person (id),
    terms_hash varchar NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT ck_consent_who CHECK (
        kind IN ('approver', 'policy', 'deemed') AND (kind = 'approver') = (person_id IS NOT NULL)),
    CONSTRAINT ck_consent_requester_in_person CHECK (kind = 'approver' OR party = 'provider')
);
CREATE UNIQUE INDEX uq_consent_party ON consent (terms_version_id, party);
"""

DISPUTES = """
CREATE TABLE dispute (
    id uuid CONSTRAINT pk_dispute PRIMARY KEY,
    created_at timestamptz NOT NULL,
    state varchar NOT NULL,
    version integer NOT NULL,
    updated_at timestamptz NOT NULL,
    requester_id uuid NOT NULL CONSTRAINT fk_dispute_requester_id REFERENCES agency (id),
    provider_id uuid NOT NULL CONSTRAINT fk_dispute_provider_id REFERENCES agency (id),
    authority_id uuid NOT NULL CONSTRAINT fk_dispute_authority_id REFERENCES agency (id),
    negotiation_id uuid NOT NULL CONSTRAINT fk_dispute_negotiation_id REFERENCES negotiation (id)
        CONSTRAINT uq_dispute_negotiation_id UNIQUE,
    cause varchar NOT NULL CONSTRAINT ck_dispute_cause CHECK (cause IN ('refused', 'overdue', 'stalemate')),
    reason varchar NOT NULL,
    proposal_id uuid CONSTRAINT fk_dispute_proposal_id REFERENCES terms_version (id),
    draft_ruling_id uuid,
    overdue boolean NOT NULL,
    closing_reason varchar,
    CONSTRAINT ck_dispute_two_parties CHECK (requester_id <> provider_id)
);
CREATE INDEX ix_dispute_requester_id ON dispute (requester_id);
CREATE INDEX ix_dispute_provider_id ON dispute (provider_id);
CREATE INDEX ix_dispute_authority_id ON dispute (authority_id);
CREATE TABLE statement (
    id uuid CONSTRAINT pk_statement PRIMARY KEY,
    created_at timestamptz NOT NULL,
    dispute_id uuid NOT NULL CONSTRAINT fk_statement_dispute_id REFERENCES dispute (id),
    party varchar NOT NULL CONSTRAINT ck_statement_party CHECK (party IN ('requester', 'provider')),
    author_id uuid NOT NULL,
    body varchar NOT NULL
);
CREATE INDEX ix_statement_dispute_id ON statement (dispute_id);
CREATE TABLE ruling (
    id uuid CONSTRAINT pk_ruling PRIMARY KEY,
    created_at timestamptz NOT NULL,
    dispute_id uuid NOT NULL CONSTRAINT fk_ruling_dispute_id REFERENCES dispute (id),
    number integer NOT NULL,
    outcome varchar NOT NULL
        CONSTRAINT ck_ruling_outcome CHECK (outcome IN ('grant', 'grant_in_part', 'deny', 'remand')),
    reasons varchar NOT NULL,
    legal_basis varchar NOT NULL,
    directions varchar,
    terms_version_id uuid CONSTRAINT fk_ruling_terms_version_id REFERENCES terms_version (id),
    document varchar,
    drafted_by uuid NOT NULL CONSTRAINT fk_ruling_drafted_by REFERENCES person (id),
    signed_by uuid CONSTRAINT fk_ruling_signed_by REFERENCES person (id),
    signed_at timestamptz,
    CONSTRAINT uq_ruling_number UNIQUE (dispute_id, number),
    CONSTRAINT ck_ruling_granted_terms CHECK (
        (outcome IN ('grant', 'grant_in_part')) = (terms_version_id IS NOT NULL)),
    CONSTRAINT ck_ruling_directions CHECK (outcome <> 'remand' OR directions IS NOT NULL),
    CONSTRAINT ck_ruling_signature CHECK ((signed_by IS NULL) = (signed_at IS NULL)),
    CONSTRAINT ck_ruling_two_mediators CHECK (drafted_by <> signed_by OR document IS NOT NULL)
);
CREATE INDEX ix_ruling_terms_version_id ON ruling (terms_version_id);
ALTER TABLE dispute
    ADD CONSTRAINT fk_dispute_draft_ruling_id FOREIGN KEY (draft_ruling_id) REFERENCES ruling (id);
"""

AGREEMENTS = """
CREATE TABLE agreement (
    id uuid CONSTRAINT pk_agreement PRIMARY KEY,
    created_at timestamptz NOT NULL,
    state varchar NOT NULL,
    version integer NOT NULL,
    updated_at timestamptz NOT NULL,
    requester_id uuid NOT NULL CONSTRAINT fk_agreement_requester_id REFERENCES agency (id),
    provider_id uuid NOT NULL CONSTRAINT fk_agreement_provider_id REFERENCES agency (id),
    authority_id uuid NOT NULL CONSTRAINT fk_agreement_authority_id REFERENCES agency (id),
    negotiation_id uuid NOT NULL CONSTRAINT fk_agreement_negotiation_id REFERENCES negotiation (id),
    terms_version_id uuid NOT NULL CONSTRAINT fk_agreement_terms_version_id REFERENCES terms_version (id),
    ruling_id uuid CONSTRAINT fk_agreement_ruling_id REFERENCES ruling (id),
    origin varchar NOT NULL,
    terms jsonb NOT NULL,
    terms_hash varchar NOT NULL,
    content_hash varchar NOT NULL,
    resource_ids uuid[] NOT NULL,
    valid_from date NOT NULL,
    valid_until date NOT NULL,
    in_force_at timestamptz NOT NULL,
    supply_overdue boolean NOT NULL,
    suspended_by varchar,
    end_announced_at timestamptz,
    reason varchar,
    CONSTRAINT ck_agreement_origin CHECK (
        origin IN ('negotiated', 'policy', 'ruling') AND (origin = 'ruling') = (ruling_id IS NOT NULL))
);
CREATE INDEX ix_agreement_requester_id ON agreement (requester_id);
CREATE INDEX ix_agreement_provider_id ON agreement (provider_id);
CREATE INDEX ix_agreement_authority_id ON agreement (authority_id);
CREATE INDEX ix_agreement_negotiation_id ON agreement (negotiation_id);
CREATE INDEX ix_agreement_ruling_id ON agreement (ruling_id);
CREATE UNIQUE INDEX uq_agreement_live ON agreement (negotiation_id) WHERE state IN ('IN_FORCE', 'SUSPENDED');
CREATE INDEX ix_agreement_resource_ids ON agreement USING gin (resource_ids);
CREATE INDEX ix_agreement_valid_until ON agreement (valid_until) WHERE state IN ('IN_FORCE', 'SUSPENDED');
"""

INVARIANTS = """
CREATE TRIGGER forbid_change BEFORE UPDATE OR DELETE ON terms_version
    FOR EACH ROW EXECUTE FUNCTION forbid_change();
CREATE TRIGGER forbid_change BEFORE UPDATE OR DELETE ON consent FOR EACH ROW EXECUTE FUNCTION forbid_change();
CREATE TRIGGER forbid_change BEFORE UPDATE OR DELETE ON statement FOR EACH ROW EXECUTE FUNCTION forbid_change();
CREATE TRIGGER forbid_removal BEFORE DELETE ON agreement FOR EACH ROW EXECUTE FUNCTION forbid_change();
CREATE TRIGGER forbid_change BEFORE UPDATE OF
    requester_id, provider_id, authority_id, negotiation_id, terms_version_id, ruling_id, origin, terms,
    terms_hash, content_hash, resource_ids, valid_from, valid_until, in_force_at ON agreement
    FOR EACH ROW EXECUTE FUNCTION forbid_change();

CREATE TRIGGER guard_state BEFORE INSERT OR UPDATE OF state ON share_request
    FOR EACH ROW EXECUTE FUNCTION guard_state('request');
CREATE TRIGGER guard_state BEFORE INSERT OR UPDATE OF state ON negotiation
    FOR EACH ROW EXECUTE FUNCTION guard_state('negotiation');
CREATE TRIGGER guard_state BEFORE INSERT OR UPDATE OF state ON dispute
    FOR EACH ROW EXECUTE FUNCTION guard_state('dispute');
CREATE TRIGGER guard_state BEFORE INSERT OR UPDATE OF state ON agreement
    FOR EACH ROW EXECUTE FUNCTION guard_state('agreement');

-- The terms on the table, drafted or proposed narrower, belong to the negotiation that points at them.
CREATE FUNCTION own_terms() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM terms_version
        WHERE id IN (NEW.current_terms_id, NEW.draft_terms_id, NEW.narrower_terms_id) AND negotiation_id <> NEW.id
    ) THEN
        RAISE EXCEPTION 'terms of another negotiation' USING ERRCODE = 'ZT003';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER own_terms BEFORE INSERT OR UPDATE OF current_terms_id, draft_terms_id, narrower_terms_id
    ON negotiation FOR EACH ROW EXECUTE FUNCTION own_terms();

-- A consent is to these very terms, and not by who wrote them.
CREATE FUNCTION check_consent() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM terms_version
        WHERE id = NEW.terms_version_id AND terms_hash = NEW.terms_hash
            AND author_id IS DISTINCT FROM NEW.person_id
    ) THEN
        RAISE EXCEPTION 'a consent to other terms, or by their author' USING ERRCODE = 'ZT003';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER check_consent BEFORE INSERT ON consent FOR EACH ROW EXECUTE FUNCTION check_consent();

-- No agreement without the terms of its negotiation and both consents to them, or a signed ruling.
CREATE FUNCTION check_agreement() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    requester varchar;
    provider varchar;
BEGIN
    IF NOT EXISTS (
        SELECT FROM terms_version WHERE id = NEW.terms_version_id AND negotiation_id = NEW.negotiation_id
            AND terms_hash = NEW.terms_hash AND terms = NEW.terms
    ) THEN
        RAISE EXCEPTION 'an agreement on terms that were not negotiated' USING ERRCODE = 'ZT003';
    END IF;
    IF NEW.origin = 'ruling' THEN
        IF NOT EXISTS (
            SELECT FROM ruling JOIN dispute ON dispute.id = ruling.dispute_id
            WHERE ruling.id = NEW.ruling_id AND ruling.signed_at IS NOT NULL
                AND ruling.outcome IN ('grant', 'grant_in_part')
                AND ruling.terms_version_id = NEW.terms_version_id
                AND dispute.negotiation_id = NEW.negotiation_id
        ) THEN
            RAISE EXCEPTION 'an agreement without the ruling that grants it' USING ERRCODE = 'ZT003';
        END IF;
        RETURN NEW;
    END IF;
    SELECT max(kind) FILTER (WHERE party = 'requester'), max(kind) FILTER (WHERE party = 'provider')
        INTO requester, provider FROM consent
        WHERE terms_version_id = NEW.terms_version_id AND terms_hash = NEW.terms_hash;
    IF requester IS DISTINCT FROM 'approver' OR provider IS NULL
        OR (NEW.origin = 'negotiated') <> (provider = 'approver')
    THEN
        RAISE EXCEPTION 'an agreement without the consent of both' USING ERRCODE = 'ZT003';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER check_agreement BEFORE INSERT ON agreement FOR EACH ROW EXECUTE FUNCTION check_agreement();

-- A ruling is written once, signed once, and then stands.
CREATE FUNCTION seal_ruling() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR OLD.signed_at IS NOT NULL
        OR to_jsonb(NEW) - 'signed_by' - 'signed_at' <> to_jsonb(OLD) - 'signed_by' - 'signed_at'
    THEN
        RAISE EXCEPTION 'a ruling is never changed' USING ERRCODE = 'ZT001';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER seal_ruling BEFORE UPDATE OR DELETE ON ruling FOR EACH ROW EXECUTE FUNCTION seal_ruling();
"""
