-- +goose Up

-- The key set that seals secrets, itself sealed by the master key. Without that key it is noise.
CREATE TABLE ingest.keysets (
    id         integer PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    sealed     bytea       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- +goose Down
DROP TABLE ingest.keysets;
