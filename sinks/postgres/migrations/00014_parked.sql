-- +goose Up

-- The few deliveries that are put aside, of all that are kept: they are counted every few seconds.
CREATE INDEX webhook_inbox_parked ON ingest.webhook_inbox (org_id) WHERE parked_at IS NOT NULL AND done_at IS NULL;

-- +goose Down
DROP INDEX ingest.webhook_inbox_parked;
