-- +goose Up

-- Deliveries that are done are kept for a while, so that a repetition is known; once an hour the oldest are forgotten, of all organisations.
CREATE INDEX webhook_inbox_done ON ingest.webhook_inbox (done_at) WHERE done_at IS NOT NULL;

-- +goose Down
DROP INDEX ingest.webhook_inbox_done;
