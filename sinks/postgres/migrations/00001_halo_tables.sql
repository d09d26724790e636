-- +goose Up

-- Halo's tables as the contract has them. Where Halo's own database has them already, they are left
-- alone and only what this tool needs is added. Every key begins with org_id, so that the tables can
-- be distributed by organisation; there are no foreign keys, because objects arrive in any order.

CREATE TABLE IF NOT EXISTS public.end_users (
    org_id            uuid        NOT NULL,
    id                uuid        NOT NULL,
    external_id       text,
    source            text,
    company_id        uuid,
    name              text,
    email             text,
    avatar            text,
    role              text,
    signed_up_at      timestamptz,
    first_seen        timestamptz,
    last_seen         timestamptz,
    last_contacted_at timestamptz,
    custom_fields     jsonb       NOT NULL DEFAULT '{}',
    context           jsonb       NOT NULL DEFAULT '{}',
    source_id         text,
    source_updated_at timestamptz,
    content_hash      bytea,
    run_id            uuid,
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now(),
    deleted_at        timestamptz,
    PRIMARY KEY (org_id, id)
);

CREATE TABLE IF NOT EXISTS public.companies (
    org_id            uuid        NOT NULL,
    id                uuid        NOT NULL,
    external_id       text,
    source            text,
    name              text,
    domain            text,
    industry          text,
    plan              text,
    employee_count    integer,
    signed_up_at      timestamptz,
    custom_fields     jsonb       NOT NULL DEFAULT '{}',
    context           jsonb       NOT NULL DEFAULT '{}',
    source_id         text,
    source_updated_at timestamptz,
    content_hash      bytea,
    run_id            uuid,
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now(),
    deleted_at        timestamptz,
    PRIMARY KEY (org_id, id)
);

CREATE TABLE IF NOT EXISTS public.transcripts (
    org_id                 uuid        NOT NULL,
    id                     uuid        NOT NULL,
    end_user_id            uuid,
    company_id             uuid,
    session_id             text,
    subject                text,
    messages               jsonb       NOT NULL DEFAULT '[]',
    message_count          integer     NOT NULL DEFAULT 0,
    expected_message_count integer,
    complete               boolean     NOT NULL DEFAULT true,
    status                 text,
    outcome                text,
    started_at             timestamptz,
    ended_at               timestamptz,
    metadata               jsonb       NOT NULL DEFAULT '{}',
    source_id              text,
    source_updated_at      timestamptz,
    content_hash           bytea,
    knowledge_hash         bytea,
    run_id                 uuid,
    created_at             timestamptz NOT NULL DEFAULT now(),
    updated_at             timestamptz NOT NULL DEFAULT now(),
    deleted_at             timestamptz,
    PRIMARY KEY (org_id, id)
);

CREATE TABLE IF NOT EXISTS public.tickets (
    org_id            uuid        NOT NULL,
    id                uuid        NOT NULL,
    end_user_id       uuid,
    company_id        uuid,
    transcript_id     uuid,
    ticket_number     text,
    subject           text,
    message           text,
    status            text,
    priority          text,
    category          text,
    assignee          text,
    messages          jsonb       NOT NULL DEFAULT '[]',
    resolved_at       timestamptz,
    metadata          jsonb       NOT NULL DEFAULT '{}',
    source_id         text,
    source_updated_at timestamptz,
    content_hash      bytea,
    run_id            uuid,
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now(),
    deleted_at        timestamptz,
    PRIMARY KEY (org_id, id)
);

CREATE TABLE IF NOT EXISTS public.knowledge (
    org_id             uuid        NOT NULL,
    id                 uuid        NOT NULL,
    key                text        NOT NULL,
    kind               text        NOT NULL,
    parent_id          uuid,
    chunk_index        integer     NOT NULL DEFAULT 0,
    title              text,
    content            text        NOT NULL,
    end_user_id        uuid,
    company_id         uuid,
    transcript_id      uuid,
    source_message_ids text[]      NOT NULL DEFAULT '{}',
    embedding          real[],
    metadata           jsonb       NOT NULL DEFAULT '{}',
    source_id          text,
    source_updated_at  timestamptz,
    content_hash       bytea,
    run_id             uuid,
    created_at         timestamptz NOT NULL DEFAULT now(),
    updated_at         timestamptz NOT NULL DEFAULT now(),
    deleted_at         timestamptz,
    PRIMARY KEY (org_id, id)
);

-- A database that Halo made may lack what this tool adds.
ALTER TABLE public.transcripts ADD COLUMN IF NOT EXISTS knowledge_hash bytea;

CREATE UNIQUE INDEX IF NOT EXISTS end_users_external_id ON public.end_users (org_id, external_id);
CREATE INDEX IF NOT EXISTS end_users_email ON public.end_users (org_id, lower(btrim(email)));
CREATE UNIQUE INDEX IF NOT EXISTS companies_external_id ON public.companies (org_id, external_id);
CREATE INDEX IF NOT EXISTS transcripts_end_user ON public.transcripts (org_id, end_user_id);
CREATE INDEX IF NOT EXISTS tickets_end_user ON public.tickets (org_id, end_user_id);
CREATE INDEX IF NOT EXISTS knowledge_transcript ON public.knowledge (org_id, transcript_id);

-- +goose Down
-- Halo's tables are never dropped by this tool.
SELECT 1;
