-- +goose Up

-- An organisation's learning rules, as Halo has them: they decide what knowledge is made of conversations.
CREATE TABLE ingest.learning_rules (
    org_id     uuid        NOT NULL,
    id         bigint GENERATED ALWAYS AS IDENTITY,
    kind       text        NOT NULL CHECK (kind IN ('topic', 'keyword', 'instruction')),
    rule       text        NOT NULL CHECK (rule <> ''),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, id)
);
CREATE UNIQUE INDEX learning_rules_once ON ingest.learning_rules (org_id, kind, md5(rule));

-- What is searched: one row per conversation that has knowledge, several for a very long one. It is made of public.knowledge after
-- loading (see search_index.go), so that loading does not pay for it, and is never shown itself.
CREATE TABLE ingest.search_documents (
    org_id         uuid     NOT NULL,
    transcript_id  uuid     NOT NULL,
    part           smallint NOT NULL DEFAULT 0,
    knowledge_hash bytea,                   -- of the transcript that this was made from; another one means that this is stale
    language       text     NOT NULL,       -- a text search configuration
    words          tsvector NOT NULL,       -- A: the customer's, B: the distilled layer's, C: the rest; and one that stands for the organisation
    size           real     NOT NULL,       -- how many they are, by weight
    PRIMARY KEY (org_id, transcript_id, part)
);
CREATE INDEX search_documents_words ON ingest.search_documents USING gin (words);

-- How far that has come.
CREATE TABLE ingest.search_state (
    org_id     uuid PRIMARY KEY,
    token      text        NOT NULL,        -- of what the runs had committed
    languages  text[]      NOT NULL DEFAULT '{}',
    documents  bigint      NOT NULL DEFAULT 0,
    size       real        NOT NULL DEFAULT 1,  -- of a document, on average
    embedding_model text,                   -- which knowledge.embedding is of; NULL: there are none
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- Answers of a model, by what it was asked: the same question is never paid for twice. Personal data is replaced in both.
CREATE TABLE ingest.model_answers (
    org_id     uuid        NOT NULL,
    key        bytea       NOT NULL,        -- digest of model, instructions and question
    answer     bytea       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, key)
);

-- What was spent on models, by day (UTC); the daily budget is held against it.
CREATE TABLE ingest.model_usage (
    org_id   uuid   NOT NULL,
    day      date   NOT NULL,
    requests bigint NOT NULL DEFAULT 0,
    tokens   bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (org_id, day)
);

-- Vectors of texts, by model and text: nothing is embedded twice, whatever happens to the row that has the text.
CREATE TABLE ingest.embeddings (
    org_id     uuid        NOT NULL,
    key        bytea       NOT NULL,        -- digest of model and text
    vector     real[]      NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, key)
);

-- +goose Down
DROP TABLE ingest.learning_rules, ingest.search_documents, ingest.search_state, ingest.model_answers, ingest.model_usage, ingest.embeddings;
