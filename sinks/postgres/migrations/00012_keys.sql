-- +goose Up

-- What is known of the keys in ingest.keysets beside themselves. A key that is not here is as old as its set.
CREATE TABLE ingest.keyset_keys (
    key_id       bigint      PRIMARY KEY,   -- Tink's, unsigned 32 bits; with a 1 before it, it is how each ciphertext of the key begins
    keyset       integer     NOT NULL DEFAULT 1 REFERENCES ingest.keysets ON DELETE CASCADE,
    created_at   timestamptz NOT NULL DEFAULT now(),
    primary_at   timestamptz,               -- since when it has sealed
    disabled_at  timestamptz,               -- since when it opens nothing
    delete_after timestamptz,
    CHECK ((disabled_at IS NULL) = (delete_after IS NULL))
);

-- The first digits of the token's SHA-256, by which people know it again.
ALTER TABLE ingest.connections ADD COLUMN token_fingerprint text NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE ingest.connections DROP COLUMN token_fingerprint;
DROP TABLE ingest.keyset_keys;
