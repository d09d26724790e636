-- +goose Up

-- A token that has been checked and waits for the rest of a form. Sealed like those of ingest.connections, for its organisation and person.
CREATE TABLE ingest.connection_drafts (
    org_id     uuid        NOT NULL,
    user_name  text        NOT NULL,        -- whose form it is
    region     text        NOT NULL CHECK (region IN ('us', 'eu', 'au')),
    token      bytea       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (org_id, user_name)
);
CREATE INDEX connection_drafts_expires ON ingest.connection_drafts (expires_at);

-- When the last complete run of a kind began. Passes over the inbox are far more than all others, and nobody asks.
CREATE INDEX runs_kind ON ingest.runs (org_id, kind, started_at DESC) WHERE kind <> 'webhook';

-- What is still going on is read again every few hours, or minutes.
CREATE INDEX IF NOT EXISTS transcripts_changed ON public.transcripts (org_id, source_updated_at) WHERE source_id IS NOT NULL AND deleted_at IS NULL;
CREATE INDEX IF NOT EXISTS tickets_changed ON public.tickets (org_id, source_updated_at) WHERE source_id IS NOT NULL AND deleted_at IS NULL;

-- +goose Down
DROP INDEX public.tickets_changed, public.transcripts_changed;
DROP INDEX ingest.runs_kind;
DROP TABLE ingest.connection_drafts;
