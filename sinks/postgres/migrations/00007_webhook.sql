-- +goose Up

-- What the drain of the inbox needs. A delivery is open (neither done nor parked), done, or parked: kept aside, since it names nothing or
-- has failed too often.
ALTER TABLE ingest.webhook_inbox
    ADD COLUMN objects   text[]  NOT NULL DEFAULT '{}',     -- kind/id of the objects that are to be read again
    ADD COLUMN gone      boolean NOT NULL DEFAULT false,    -- it tells of a deletion
    ADD COLUMN attempts  integer NOT NULL DEFAULT 0,        -- that failed for a reason of its own
    ADD COLUMN retry_at  timestamptz,                       -- not before
    ADD COLUMN parked_at timestamptz;
-- Intercom sends a notification again when it has not heard our answer.
CREATE UNIQUE INDEX webhook_inbox_notification ON ingest.webhook_inbox (org_id, notification_id) WHERE notification_id <> '';
DROP INDEX ingest.webhook_inbox_open;
CREATE INDEX webhook_inbox_open ON ingest.webhook_inbox (org_id, id) WHERE done_at IS NULL AND parked_at IS NULL;

-- The secret that was replaced last, while it still signs. Sealed like the present one, under its own column's name.
ALTER TABLE ingest.connections
    ADD COLUMN webhook_secret_previous       bytea,
    ADD COLUMN webhook_secret_previous_until timestamptz,
    ADD CHECK ((webhook_secret_previous IS NULL) = (webhook_secret_previous_until IS NULL));

-- +goose Down
ALTER TABLE ingest.connections DROP COLUMN webhook_secret_previous, DROP COLUMN webhook_secret_previous_until;
DROP INDEX ingest.webhook_inbox_open, ingest.webhook_inbox_notification;
ALTER TABLE ingest.webhook_inbox DROP COLUMN objects, DROP COLUMN gone, DROP COLUMN attempts, DROP COLUMN retry_at, DROP COLUMN parked_at;
CREATE INDEX webhook_inbox_open ON ingest.webhook_inbox (org_id, id) WHERE done_at IS NULL;
