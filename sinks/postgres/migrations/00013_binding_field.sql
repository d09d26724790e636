-- +goose Up

-- The field of Intercom's under which an object was bound to its row (user_id_field, company_id_field). One that was bound under another field
-- than today's is decided anew when it is read again. NULL: not known, taken for today's.
ALTER TABLE ingest.id_map ADD COLUMN field text;

-- +goose Down

ALTER TABLE ingest.id_map DROP COLUMN field;
