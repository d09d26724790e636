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

-- +goose Down
DROP INDEX ingest.runs_kind;
DROP TABLE ingest.connection_drafts;
