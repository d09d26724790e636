-- +goose Up

-- What the loader needs beside the rows themselves, to keep links and deletions exact whatever order objects come in.

-- The Intercom ids that a row's links were made from: they tell which rows follow when a contact or company moves to another
-- row, and (no source_company_id) which ones have their company from their end user.
ALTER TABLE public.transcripts
    ADD COLUMN IF NOT EXISTS source_contact_id text,
    ADD COLUMN IF NOT EXISTS source_company_id text;
ALTER TABLE public.tickets
    ADD COLUMN IF NOT EXISTS source_contact_id text,
    ADD COLUMN IF NOT EXISTS source_company_id text;

ALTER TABLE ingest.id_map
    ADD COLUMN fetched_at  timestamptz,             -- when the state that content_hash is of was read
    ADD COLUMN external_id text,                    -- what the object claims to be
    ADD COLUMN companies   text[] NOT NULL DEFAULT '{}',  -- contacts: Intercom ids of their companies
    ADD COLUMN merged_into text,                    -- contacts: the survivor's Intercom id; the binding follows it
    ADD COLUMN native      boolean NOT NULL DEFAULT false;  -- the row was Halo's before
-- While a table has never been analysed the planner takes each equality for one in 200, so two indexes of which a condition fits two
-- columns look the same to it. With kind in this index it would now and then read the whole kind to find one object.
DROP INDEX ingest.id_map_row;
CREATE INDEX id_map_row ON ingest.id_map (org_id, row_id);
CREATE INDEX id_map_merged ON ingest.id_map (org_id, merged_into) WHERE merged_into IS NOT NULL;

-- The newest word that an object is gone, also of objects that were never seen: an older state that comes late revives nothing.
CREATE TABLE ingest.tombstones (
    org_id      uuid        NOT NULL,
    kind        text        NOT NULL,
    source_id   text        NOT NULL,
    why         text        NOT NULL,               -- deleted, merged
    gone_at     timestamptz NOT NULL,
    fetched_at  timestamptz NOT NULL,
    merged_into text,
    PRIMARY KEY (org_id, kind, source_id)
);
CREATE INDEX tombstones_merged ON ingest.tombstones (org_id, merged_into) WHERE merged_into IS NOT NULL;

-- +goose Down
DROP TABLE ingest.tombstones;
DROP INDEX ingest.id_map_row;
CREATE INDEX id_map_row ON ingest.id_map (org_id, kind, row_id);
ALTER TABLE ingest.id_map DROP COLUMN fetched_at, DROP COLUMN external_id, DROP COLUMN companies, DROP COLUMN merged_into, DROP COLUMN native;
