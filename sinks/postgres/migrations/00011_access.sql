-- +goose Up

-- Who may do what in the web service; see cmd/haloingest/internal/service/access. No row holds a password or a token, only their hashes.
CREATE TABLE ingest.users (
    id            uuid PRIMARY KEY,
    name          text        NOT NULL,         -- an e-mail address or a name
    name_key      text        NOT NULL UNIQUE,  -- the same for all spellings that are one name
    password_hash text,                         -- argon2id; NULL: there is no password yet
    overseer      boolean     NOT NULL DEFAULT false,
    epoch         bigint      NOT NULL DEFAULT 1,  -- goes up to end all sessions
    created_at    timestamptz NOT NULL DEFAULT now(),
    password_at   timestamptz,
    signed_in_at  timestamptz,
    disabled_at   timestamptz
);

CREATE TABLE ingest.memberships (
    org_id     uuid        NOT NULL,
    user_id    uuid        NOT NULL REFERENCES ingest.users ON DELETE CASCADE,
    role       text        NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, user_id)
);
CREATE INDEX memberships_user ON ingest.memberships (user_id);

CREATE TABLE ingest.sessions (
    token_hash text PRIMARY KEY,
    user_id    uuid REFERENCES ingest.users ON DELETE CASCADE,  -- NULL: somebody who is about to sign in
    data       bytea       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    seen_at    timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);
CREATE INDEX sessions_user ON ingest.sessions (user_id);
CREATE INDEX sessions_expires ON ingest.sessions (expires_at);

-- Links that work once: to become the first person, or to set one's password.
CREATE TABLE ingest.access_links (
    token_hash bytea PRIMARY KEY,
    user_id    uuid REFERENCES ingest.users ON DELETE CASCADE,  -- NULL: of the first person
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    used_at    timestamptz
);
CREATE INDEX access_links_user ON ingest.access_links (user_id);

-- What scripts show in place of a password. They read only.
CREATE TABLE ingest.access_tokens (
    id         uuid PRIMARY KEY,
    token_hash bytea       NOT NULL UNIQUE,
    user_id    uuid        NOT NULL REFERENCES ingest.users ON DELETE CASCADE,
    label      text        NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    used_at    timestamptz,
    revoked_at timestamptz
);
CREATE INDEX access_tokens_user ON ingest.access_tokens (user_id);

-- How many attempts to sign in were made of late, for a name, an address, or both. It drains with time.
CREATE TABLE ingest.login_limits (
    key     text PRIMARY KEY,
    level   double precision NOT NULL,
    refused boolean          NOT NULL DEFAULT false,  -- the last attempt
    at      timestamptz      NOT NULL DEFAULT now()
);

CREATE TABLE ingest.audit (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    org_id  uuid,                               -- NULL: it concerns no organisation, or all
    at      timestamptz NOT NULL DEFAULT now(),
    user_id uuid,                               -- NULL: nobody who is signed in
    who     text        NOT NULL,               -- their name at that time, or what else acted
    action  text        NOT NULL,
    detail  jsonb       NOT NULL DEFAULT '{}',  -- without secrets
    address text        NOT NULL DEFAULT ''
);
CREATE INDEX audit_org ON ingest.audit (org_id, id DESC);

-- +goose Down
DROP TABLE ingest.audit, ingest.login_limits, ingest.access_tokens, ingest.access_links, ingest.sessions, ingest.memberships, ingest.users;
