-- +goose Up

-- The field of Intercom's under which an object was bound to its row (user_id_field, company_id_field). One that was bound under another field
-- than today's is decided anew when it is read again. NULL: not known, taken for today's.
ALTER TABLE ingest.id_map ADD COLUMN field text;
-- Those that are to be loaded again, mostly none.
CREATE INDEX id_map_reload ON ingest.id_map (org_id, kind, source_id) WHERE content_hash IS NULL AND fetched_at IS NOT NULL AND deleted_at IS NULL;

-- +goose Down

DROP INDEX ingest.id_map_reload;
ALTER TABLE ingest.id_map DROP COLUMN field;
