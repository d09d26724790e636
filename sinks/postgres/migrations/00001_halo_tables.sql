-- +goose Up

-- Halo's tables as the contract has them. Where Halo's own database has them already they are left as they are, data included, and
-- only the columns and indexes that are missing are added; so each column is named once, in the ALTER TABLE. Every key begins with
-- org_id, so that the tables can be distributed by organisation; there are no foreign keys, because objects arrive in any order.

CREATE TABLE IF NOT EXISTS public.end_users (org_id uuid NOT NULL, id uuid NOT NULL, PRIMARY KEY (org_id, id));
ALTER TABLE public.end_users
    ADD COLUMN IF NOT EXISTS external_id       text,
    ADD COLUMN IF NOT EXISTS source            text,
    ADD COLUMN IF NOT EXISTS company_id        uuid,
    ADD COLUMN IF NOT EXISTS name              text,
    ADD COLUMN IF NOT EXISTS email             text,
    ADD COLUMN IF NOT EXISTS avatar            text,
    ADD COLUMN IF NOT EXISTS role              text,
    ADD COLUMN IF NOT EXISTS signed_up_at      timestamptz,
    ADD COLUMN IF NOT EXISTS first_seen        timestamptz,
    ADD COLUMN IF NOT EXISTS last_seen         timestamptz,
    ADD COLUMN IF NOT EXISTS last_contacted_at timestamptz,
    ADD COLUMN IF NOT EXISTS custom_fields     jsonb       NOT NULL DEFAULT '{}',
    ADD COLUMN IF NOT EXISTS context           jsonb       NOT NULL DEFAULT '{}',
    ADD COLUMN IF NOT EXISTS source_id         text,
    ADD COLUMN IF NOT EXISTS source_updated_at timestamptz,
    ADD COLUMN IF NOT EXISTS content_hash      bytea,
    ADD COLUMN IF NOT EXISTS run_id            uuid,
    ADD COLUMN IF NOT EXISTS created_at        timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN IF NOT EXISTS updated_at        timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN IF NOT EXISTS deleted_at        timestamptz;

CREATE TABLE IF NOT EXISTS public.companies (org_id uuid NOT NULL, id uuid NOT NULL, PRIMARY KEY (org_id, id));
ALTER TABLE public.companies
    ADD COLUMN IF NOT EXISTS external_id       text,
    ADD COLUMN IF NOT EXISTS source            text,
    ADD COLUMN IF NOT EXISTS name              text,
    ADD COLUMN IF NOT EXISTS domain            text,
    ADD COLUMN IF NOT EXISTS industry          text,
    ADD COLUMN IF NOT EXISTS plan              text,
    ADD COLUMN IF NOT EXISTS employee_count    integer,
    ADD COLUMN IF NOT EXISTS signed_up_at      timestamptz,
    ADD COLUMN IF NOT EXISTS custom_fields     jsonb       NOT NULL DEFAULT '{}',
    ADD COLUMN IF NOT EXISTS context           jsonb       NOT NULL DEFAULT '{}',
    ADD COLUMN IF NOT EXISTS source_id         text,
    ADD COLUMN IF NOT EXISTS source_updated_at timestamptz,
    ADD COLUMN IF NOT EXISTS content_hash      bytea,
    ADD COLUMN IF NOT EXISTS run_id            uuid,
    ADD COLUMN IF NOT EXISTS created_at        timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN IF NOT EXISTS updated_at        timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN IF NOT EXISTS deleted_at        timestamptz;

CREATE TABLE IF NOT EXISTS public.transcripts (org_id uuid NOT NULL, id uuid NOT NULL, PRIMARY KEY (org_id, id));
ALTER TABLE public.transcripts
    ADD COLUMN IF NOT EXISTS end_user_id            uuid,
    ADD COLUMN IF NOT EXISTS company_id             uuid,
    ADD COLUMN IF NOT EXISTS session_id             text,
    ADD COLUMN IF NOT EXISTS subject                text,
    ADD COLUMN IF NOT EXISTS messages               jsonb       NOT NULL DEFAULT '[]',
    ADD COLUMN IF NOT EXISTS message_count          integer     NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS expected_message_count integer,
    ADD COLUMN IF NOT EXISTS complete               boolean     NOT NULL DEFAULT true,
    ADD COLUMN IF NOT EXISTS status                 text,
    ADD COLUMN IF NOT EXISTS outcome                text,
    ADD COLUMN IF NOT EXISTS started_at             timestamptz,
    ADD COLUMN IF NOT EXISTS ended_at               timestamptz,
    ADD COLUMN IF NOT EXISTS metadata               jsonb       NOT NULL DEFAULT '{}',
    ADD COLUMN IF NOT EXISTS source_id              text,
    ADD COLUMN IF NOT EXISTS source_updated_at      timestamptz,
    ADD COLUMN IF NOT EXISTS content_hash           bytea,
    ADD COLUMN IF NOT EXISTS knowledge_hash         bytea,
    ADD COLUMN IF NOT EXISTS run_id                 uuid,
    ADD COLUMN IF NOT EXISTS created_at             timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN IF NOT EXISTS updated_at             timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN IF NOT EXISTS deleted_at             timestamptz;

CREATE TABLE IF NOT EXISTS public.tickets (org_id uuid NOT NULL, id uuid NOT NULL, PRIMARY KEY (org_id, id));
ALTER TABLE public.tickets
    ADD COLUMN IF NOT EXISTS end_user_id       uuid,
    ADD COLUMN IF NOT EXISTS company_id        uuid,
    ADD COLUMN IF NOT EXISTS transcript_id     uuid,
    ADD COLUMN IF NOT EXISTS ticket_number     text,
    ADD COLUMN IF NOT EXISTS subject           text,
    ADD COLUMN IF NOT EXISTS message           text,
    ADD COLUMN IF NOT EXISTS status            text,
    ADD COLUMN IF NOT EXISTS priority          text,
    ADD COLUMN IF NOT EXISTS category          text,
    ADD COLUMN IF NOT EXISTS assignee          text,
    ADD COLUMN IF NOT EXISTS messages          jsonb       NOT NULL DEFAULT '[]',
    ADD COLUMN IF NOT EXISTS resolved_at       timestamptz,
    ADD COLUMN IF NOT EXISTS metadata          jsonb       NOT NULL DEFAULT '{}',
    ADD COLUMN IF NOT EXISTS source_id         text,
    ADD COLUMN IF NOT EXISTS source_updated_at timestamptz,
    ADD COLUMN IF NOT EXISTS content_hash      bytea,
    ADD COLUMN IF NOT EXISTS run_id            uuid,
    ADD COLUMN IF NOT EXISTS created_at        timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN IF NOT EXISTS updated_at        timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN IF NOT EXISTS deleted_at        timestamptz;

CREATE TABLE IF NOT EXISTS public.knowledge (org_id uuid NOT NULL, id uuid NOT NULL, key text NOT NULL, kind text NOT NULL, content text NOT NULL,
    PRIMARY KEY (org_id, id));
ALTER TABLE public.knowledge
    ADD COLUMN IF NOT EXISTS key                text,
    ADD COLUMN IF NOT EXISTS kind               text,
    ADD COLUMN IF NOT EXISTS parent_id          uuid,
    ADD COLUMN IF NOT EXISTS chunk_index        integer     NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS title              text,
    ADD COLUMN IF NOT EXISTS content            text,
    ADD COLUMN IF NOT EXISTS end_user_id        uuid,
    ADD COLUMN IF NOT EXISTS company_id         uuid,
    ADD COLUMN IF NOT EXISTS transcript_id      uuid,
    ADD COLUMN IF NOT EXISTS source_message_ids text[]      NOT NULL DEFAULT '{}',
    ADD COLUMN IF NOT EXISTS embedding          real[],
    ADD COLUMN IF NOT EXISTS metadata           jsonb       NOT NULL DEFAULT '{}',
    ADD COLUMN IF NOT EXISTS source_id          text,
    ADD COLUMN IF NOT EXISTS source_updated_at  timestamptz,
    ADD COLUMN IF NOT EXISTS content_hash       bytea,
    ADD COLUMN IF NOT EXISTS run_id             uuid,
    ADD COLUMN IF NOT EXISTS created_at         timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN IF NOT EXISTS updated_at         timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN IF NOT EXISTS deleted_at         timestamptz;

-- Rows are merged ON CONFLICT (org_id, id); a table whose key is id alone needs a unique index for that.
-- +goose StatementBegin
DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['end_users', 'companies', 'transcripts', 'tickets', 'knowledge'] LOOP
        IF NOT EXISTS (
            SELECT 1 FROM pg_index i
            WHERE i.indrelid = format('public.%I', t)::regclass AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indnkeyatts = 2
                AND (SELECT array_agg(a.attname::text ORDER BY a.attname) FROM pg_attribute a
                     WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey[0:1])) = ARRAY['id', 'org_id'])
        THEN
            EXECUTE format('CREATE UNIQUE INDEX %I ON public.%I (org_id, id)', t || '_org_id_id', t);
        END IF;
    END LOOP;
END
$$;
-- +goose StatementEnd

-- Halo's data may hold one external id twice. Then the index serves for looking up only.
-- +goose StatementBegin
DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['end_users', 'companies'] LOOP
        BEGIN
            EXECUTE format('CREATE UNIQUE INDEX IF NOT EXISTS %I ON public.%I (org_id, external_id)', t || '_external_id', t);
        EXCEPTION WHEN unique_violation THEN
            EXECUTE format('CREATE INDEX IF NOT EXISTS %I ON public.%I (org_id, external_id)', t || '_external_id', t);
        END;
    END LOOP;
END
$$;
-- +goose StatementEnd

CREATE INDEX IF NOT EXISTS end_users_email ON public.end_users (org_id, lower(btrim(email)));
CREATE INDEX IF NOT EXISTS transcripts_end_user ON public.transcripts (org_id, end_user_id);
CREATE INDEX IF NOT EXISTS tickets_end_user ON public.tickets (org_id, end_user_id);
CREATE INDEX IF NOT EXISTS knowledge_transcript ON public.knowledge (org_id, transcript_id);

-- What status counts, exactly and without touching the rows. All entries of an organisation are equal, so the indexes stay small.
CREATE INDEX IF NOT EXISTS end_users_intercom ON public.end_users (org_id, deleted_at) WHERE source_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS companies_intercom ON public.companies (org_id, deleted_at) WHERE source_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS transcripts_intercom ON public.transcripts (org_id, deleted_at) WHERE source_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS tickets_intercom ON public.tickets (org_id, deleted_at) WHERE source_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS transcripts_incomplete ON public.transcripts (org_id)
    WHERE NOT complete AND deleted_at IS NULL AND source_id IS NOT NULL;

-- +goose Down
-- Halo's tables are never dropped by this tool.
SELECT 1;
