-- +goose Up

-- The manifest of snapshots: a file is part of one from the moment its row is committed, with the batch that it holds.
CREATE TABLE ingest.snapshot_files (
    org_id     uuid        NOT NULL,
    run_id     uuid        NOT NULL,
    location   text        NOT NULL,       -- of the snapshot: a folder or a bucket's URL, without secrets
    path       text        NOT NULL,       -- below it
    layer      text        NOT NULL CHECK (layer IN ('pages', 'rows')),
    stream     text        NOT NULL,
    table_name text        NOT NULL,
    seq        bigint      NOT NULL,
    rows       bigint      NOT NULL,
    bytes      bigint      NOT NULL,
    sha256     text        NOT NULL,
    info       jsonb       NOT NULL,       -- sinks/parquet.FileInfo
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, run_id, path)
);
CREATE INDEX snapshot_files_order ON ingest.snapshot_files (org_id, run_id, stream, seq, layer, path);

-- The segments of a bulk load that are complete: a row is made in the transaction that loads its segment.
CREATE TABLE ingest.segments (
    org_id       uuid        NOT NULL,
    run_id       uuid        NOT NULL,
    name         text        NOT NULL,
    stream       text        NOT NULL,     -- the checkpoint that fenced it and has its counts
    items        bigint      NOT NULL,
    committed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, run_id, name)
);

-- Rows as they were before a run changed or deleted them first, so that the run can be undone. Rows that a run made have none: their run_id
-- tells. What a run has written of its own state needs one for that.
CREATE TABLE ingest.before_images (
    org_id     uuid   NOT NULL,
    run_id     uuid   NOT NULL,
    table_name text   NOT NULL,            -- in schema public, or ingest where there is none of that name
    row_key    text   NOT NULL,            -- of the row within its table
    n          bigint GENERATED ALWAYS AS IDENTITY,  -- the order in which rows were touched, over all runs
    image      jsonb  NOT NULL,            -- by column
    messages   jsonb,                      -- the large column of transcripts and tickets, as it is stored
    PRIMARY KEY (org_id, run_id, table_name, row_key)
) WITH (toast_tuple_target = 8160);        -- messages come compressed; to move them out of the row again would double what an image costs
ALTER TABLE ingest.runs
    ADD COLUMN images    boolean NOT NULL DEFAULT false,  -- the run keeps images, and they are still there
    ADD COLUMN undone_at timestamptz;
ALTER TABLE ingest.id_map ADD COLUMN run_id uuid;
ALTER TABLE ingest.tombstones ADD COLUMN run_id uuid;
ALTER TABLE ingest.contact_companies ADD COLUMN run_id uuid;
ALTER TABLE ingest.pending_links ADD COLUMN run_id uuid;

-- Deliveries that were accepted and are still to be worked on. Written by the web service.
CREATE TABLE ingest.webhook_inbox (
    org_id          uuid        NOT NULL,
    id              bigint GENERATED ALWAYS AS IDENTITY,
    notification_id text        NOT NULL DEFAULT '',
    topic           text        NOT NULL DEFAULT '',
    body            bytea       NOT NULL,
    received_at     timestamptz NOT NULL DEFAULT now(),
    done_at         timestamptz,
    error           text,
    PRIMARY KEY (org_id, id)
);
CREATE INDEX webhook_inbox_open ON ingest.webhook_inbox (org_id, id) WHERE done_at IS NULL;

-- Diff runs and what they found.
CREATE TABLE ingest.diff_runs (
    org_id      uuid        NOT NULL,
    id          uuid        NOT NULL,
    left_side   text        NOT NULL,
    right_side  text        NOT NULL,
    level       text        NOT NULL,
    "only"      text[]      NOT NULL DEFAULT '{}',
    verdict     text        NOT NULL,      -- equal, different, unverified, partial, broken
    sentence    text        NOT NULL,
    watermark   timestamptz NOT NULL,
    started_at  timestamptz NOT NULL,
    finished_at timestamptz NOT NULL,
    report      jsonb       NOT NULL,      -- sinks/diff.Report without its findings
    PRIMARY KEY (org_id, id)
);
CREATE INDEX diff_runs_started ON ingest.diff_runs (org_id, started_at DESC);

CREATE TABLE ingest.diff_findings (
    org_id    uuid   NOT NULL,
    diff_id   uuid   NOT NULL,
    n         bigint NOT NULL,
    entity    text   NOT NULL,             -- end_users, companies, transcripts, tickets, knowledge
    source_id text   NOT NULL,
    class     text   NOT NULL,             -- missing, changed, extra, in_flight, unresolved
    cause     text   NOT NULL DEFAULT '',
    columns   text[] NOT NULL DEFAULT '{}',
    finding   jsonb  NOT NULL,             -- sinks/diff.Finding, values redacted
    PRIMARY KEY (org_id, diff_id, n)
);

-- Files that conversations and tickets name and a run with --attachments has asked for: saved, or why not.
CREATE TABLE ingest.attachments (
    org_id     uuid        NOT NULL,
    kind       text        NOT NULL,       -- conversation, ticket
    source_id  text        NOT NULL,       -- of the conversation or ticket
    message_id text        NOT NULL,
    n          integer     NOT NULL,       -- its place in the message; from 1000 on, in its text
    url        text        NOT NULL,       -- without its signed query
    name       text        NOT NULL DEFAULT '',
    content_type text      NOT NULL DEFAULT '',
    size       bigint      NOT NULL DEFAULT 0,  -- as Intercom says
    path       text,                       -- below the attachments' folder; NULL: not saved
    bytes      bigint,
    sha256     text,
    error      text,                       -- why it could not be saved
    retry      boolean     NOT NULL DEFAULT false,  -- trying again may help
    run_id     uuid        NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, kind, source_id, message_id, n)
);

-- +goose Down
DROP TABLE ingest.snapshot_files, ingest.segments, ingest.before_images, ingest.webhook_inbox, ingest.diff_runs, ingest.diff_findings, ingest.attachments;
ALTER TABLE ingest.runs DROP COLUMN images, DROP COLUMN undone_at;
ALTER TABLE ingest.id_map DROP COLUMN run_id;
ALTER TABLE ingest.tombstones DROP COLUMN run_id;
ALTER TABLE ingest.contact_companies DROP COLUMN run_id;
ALTER TABLE ingest.pending_links DROP COLUMN run_id;
