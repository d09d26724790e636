-- +goose Up

-- Processes that work on the queue, so that the jobs of one that died are taken over by the others. id is River's name of it, which stands in
-- river_job.attempted_by; lock_key is the session-level advisory lock that it holds as long as it lives.
CREATE TABLE ingest.processes (
    id           text PRIMARY KEY,
    name         text        NOT NULL,      -- for people: host and process
    lock_key     bigint      NOT NULL,
    started_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    heartbeat_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Which turn of what is done regularly an organisation has had: the beginning of the period for which a job was queued.
CREATE TABLE ingest.schedule (
    org_id uuid        NOT NULL,
    chore  text        NOT NULL,            -- sync, refresh, walk
    slot   timestamptz NOT NULL,
    PRIMARY KEY (org_id, chore)
);

-- How far the job that holds an organisation is; gone when it has ended.
CREATE TABLE ingest.progress (
    org_id     uuid        PRIMARY KEY,
    job_id     bigint      NOT NULL,
    run_id     uuid        NOT NULL,
    kind       text        NOT NULL,
    process    text        NOT NULL,
    state      jsonb       NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- What one process does for all, and when it did so last.
CREATE TABLE ingest.chores (
    name    text PRIMARY KEY,
    done_at timestamptz NOT NULL
);

-- The few jobs that wait or run, by organisation.
CREATE INDEX river_job_org ON ingest.river_job ((args->>'org'), kind) WHERE finalized_at IS NULL;

-- +goose Down
DROP INDEX ingest.river_job_org;
DROP TABLE ingest.processes, ingest.schedule, ingest.progress, ingest.chores;
