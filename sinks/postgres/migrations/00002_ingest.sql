-- +goose Up

-- The schema ingest itself is made before, because the table of migrations is in it.

-- One row per connected workspace. Secrets are ciphertexts; see cmd/haloingest/internal/connection.
CREATE TABLE ingest.connections (
    org_id            uuid PRIMARY KEY,
    region            text        NOT NULL CHECK (region IN ('us', 'eu', 'au')),
    workspace_id      text        NOT NULL,
    workspace_name    text        NOT NULL DEFAULT '',
    timezone          text        NOT NULL DEFAULT 'UTC',
    user_id_field     text        NOT NULL DEFAULT 'external_id',
    company_id_field  text        NOT NULL DEFAULT 'company_id',
    activity_refresh  interval    NOT NULL DEFAULT '6 hours',
    ingest_enabled    boolean     NOT NULL DEFAULT true,
    token             bytea,                -- NULL after disconnect
    token_hint        text        NOT NULL DEFAULT '',  -- last 4 characters
    webhook_secret    bytea,
    last_synced_at    timestamptz,          -- end of the last complete sync (or backfill)
    synced_to         timestamptz,          -- everything changed before this instant has been read
    connected_at      timestamptz NOT NULL DEFAULT now(),
    disconnected_at   timestamptz
);

-- Who may write for an organisation. The epoch goes up with every new holder and fences the old one.
CREATE TABLE ingest.leases (
    org_id       uuid PRIMARY KEY,
    epoch        bigint      NOT NULL,
    holder       text        NOT NULL,      -- for people
    session      text        NOT NULL,      -- application_name of the holder's sessions
    acquired_at  timestamptz NOT NULL DEFAULT now(),
    heartbeat_at timestamptz NOT NULL DEFAULT now(),
    released_at  timestamptz                -- given back by its holder
);

CREATE TABLE ingest.runs (
    org_id       uuid        NOT NULL,
    id           uuid        NOT NULL,
    kind         text        NOT NULL,      -- backfill, sync, retry, ...
    spec         jsonb       NOT NULL,      -- what was asked for: only, since, sample, ...
    state        text        NOT NULL CHECK (state IN ('running', 'complete', 'failed', 'interrupted', 'abandoned')),
    attempts     integer     NOT NULL DEFAULT 1,
    reference    jsonb,                     -- names of admins, teams, tags, ... at the start of the run
    counts       jsonb       NOT NULL DEFAULT '{}',  -- totals, written when the run ends
    requests     bigint      NOT NULL DEFAULT 0,
    error        text,
    started_at   timestamptz NOT NULL DEFAULT now(),
    finished_at  timestamptz,
    PRIMARY KEY (org_id, id)
);
CREATE INDEX runs_started ON ingest.runs (org_id, started_at DESC);

-- One row per stream of a run; moved forward in the transaction that commits a batch.
CREATE TABLE ingest.checkpoints (
    org_id     uuid        NOT NULL,
    run_id     uuid        NOT NULL,
    stream     text        NOT NULL,
    epoch      bigint      NOT NULL,
    seq        bigint      NOT NULL,        -- batches committed so far in this stream
    cursor     bytea,
    complete   boolean     NOT NULL DEFAULT false,
    skipped    text,                        -- why the stream was left out, e.g. a missing scope
    counts     jsonb       NOT NULL DEFAULT '{}',
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, run_id, stream)
);

CREATE TABLE ingest.rejects (
    org_id      uuid        NOT NULL,
    id          bigint GENERATED ALWAYS AS IDENTITY,
    run_id      uuid        NOT NULL,
    stream      text        NOT NULL,
    cause       bytea       NOT NULL,       -- digest of kind, id, stage and field; see rejectCause
    stage       text        NOT NULL,
    kind        text        NOT NULL,
    source_id   text        NOT NULL DEFAULT '',
    field       text        NOT NULL DEFAULT '',
    reason      text        NOT NULL,
    payload     bytea       NOT NULL,       -- as received; not jsonb, it may be why it was rejected
    created_at  timestamptz NOT NULL DEFAULT now(),
    last_seen_at timestamptz NOT NULL DEFAULT now(),
    times       integer     NOT NULL DEFAULT 1,
    resolved_at timestamptz,                -- loaded since, by a retry or a later run
    PRIMARY KEY (org_id, id)
);
-- The same object rejected again for the same cause is one row.
CREATE UNIQUE INDEX rejects_open ON ingest.rejects (org_id, cause) WHERE resolved_at IS NULL;
CREATE INDEX rejects_object ON ingest.rejects (org_id, kind, source_id) WHERE resolved_at IS NULL;

-- Which row an Intercom object went to, and why. Contacts that are one person share a row.
CREATE TABLE ingest.id_map (
    org_id          uuid        NOT NULL,
    kind            text        NOT NULL,   -- contact, company
    source_id       text        NOT NULL,
    row_id          uuid        NOT NULL,
    reason          text        NOT NULL,   -- created, external_id, email, merged
    rank            smallint    NOT NULL DEFAULT 0,  -- a user counts for more than a lead
    source_updated_at timestamptz,
    content_hash    bytea,                  -- of what this object would write; equal means nothing to do
    last_request_at timestamptz,            -- companies: decides which of a contact's companies counts
    created_at      timestamptz NOT NULL DEFAULT now(),  -- when this program first saw the object
    deleted_at      timestamptz,
    PRIMARY KEY (org_id, kind, source_id)
);
CREATE INDEX id_map_row ON ingest.id_map (org_id, kind, row_id);

-- All companies of the contacts that have more than one.
CREATE TABLE ingest.contact_companies (
    org_id     uuid NOT NULL,
    company_id text NOT NULL,               -- Intercom ids
    contact_id text NOT NULL,
    PRIMARY KEY (org_id, contact_id, company_id)
);
CREATE INDEX contact_companies_company ON ingest.contact_companies (org_id, company_id);

-- References that could not be resolved when their row was written, to be repaired when the object
-- arrives. Knowledge of a conversation whose customer is not known yet waits here.
CREATE TABLE ingest.pending_links (
    org_id     uuid NOT NULL,
    ref_kind   text NOT NULL,               -- contact, company, conversation
    ref_id     text NOT NULL,
    table_name text NOT NULL,               -- end_users, transcripts, tickets
    row_id     uuid NOT NULL,
    knowledge  jsonb,
    PRIMARY KEY (org_id, ref_kind, ref_id, table_name, row_id)
);
CREATE INDEX pending_links_row ON ingest.pending_links (org_id, table_name, row_id);

-- What a full walk has seen, so that what it has not seen can be asked for one by one. Written once per object, so the index is kept small.
CREATE TABLE ingest.seen (
    org_id    uuid NOT NULL,
    run_id    uuid NOT NULL,
    kind      text NOT NULL,
    source_id text NOT NULL
);
CREATE INDEX seen_run ON ingest.seen (org_id, run_id, kind);

-- What remained unseen when the walk had ended.
CREATE TABLE ingest.unseen (
    org_id    uuid NOT NULL,
    run_id    uuid NOT NULL,
    kind      text NOT NULL,
    source_id text NOT NULL,
    PRIMARY KEY (org_id, run_id, kind, source_id)
);

-- +goose Down
DROP TABLE ingest.connections, ingest.leases, ingest.runs, ingest.checkpoints, ingest.rejects, ingest.id_map, ingest.contact_companies,
    ingest.pending_links, ingest.seen, ingest.unseen;
