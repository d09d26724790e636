// Package connection keeps what the program knows of a connected workspace: region, field choices and
// the sealed token and webhook secret, one row of ingest.connections per organisation.
package connection

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/pipeline/record"
	"haloingest/sinks/postgres"
)

// Connection is a workspace as it is connected. It holds no secret; see Store.Token.
type Connection struct {
	Org              record.UUID      `json:"org"`
	Region           string           `json:"region"`
	Workspace        record.Workspace `json:"workspace"`
	UserIDField      string           `json:"user_id_field"`
	CompanyIDField   string           `json:"company_id_field"`
	ActivityRefresh  time.Duration    `json:"activity_refresh"`
	IngestEnabled    bool             `json:"ingest_enabled"`
	Connected        bool             `json:"connected"`                   // false after disconnect
	TokenHint        string           `json:"token_hint,omitempty"`        // its last four characters
	TokenFingerprint string           `json:"token_fingerprint,omitempty"` // see secret.Text.Fingerprint
	HasWebhookSecret bool             `json:"webhook_secret_configured"`
	LastSyncedAt     time.Time        `json:"last_synced_at,omitzero"` // end of the last complete sync
	SyncedTo         time.Time        `json:"synced_to,omitzero"`      // all changes before it have been read
	ConnectedAt      time.Time        `json:"connected_at"`
	// RefreshedAt is when the newest round of refreshing (ingest.KindRefresh) began that came to its end, and WalkedAt when the newest complete
	// backfill of everything did, both with the present fields; zero: none has. They are read from ingest.runs, and say what is due:
	// see RefreshDue and WalkDue.
	RefreshedAt time.Time `json:"refreshed_at,omitzero"`
	WalkedAt    time.Time `json:"walked_at,omitzero"`
	// FullReadDue says that rows were made by other fields than the present ones: a backfill that begins anew has to read everything once, and syncs do
	// not make up for it. It stays true until that has been done.
	FullReadDue bool `json:"full_read_due"`
}

// MarshalJSON writes activity_refresh as people write it, such as 6h0m0s.
func (c Connection) MarshalJSON() ([]byte, error) {
	type plain Connection
	return json.Marshal(struct {
		plain
		ActivityRefresh string `json:"activity_refresh"`
	}{plain(c), c.ActivityRefresh.String()})
}

// Settings is what an operator chooses when connecting.
type Settings struct {
	Region          string
	UserIDField     string
	CompanyIDField  string
	ActivityRefresh time.Duration
	// WebhookGrace is for how long a webhook secret that is replaced still signs; 0: it stops at once.
	WebhookGrace time.Duration
}

// Defaults of Settings.
const (
	DefaultUserIDField     = "external_id"
	DefaultCompanyIDField  = "company_id"
	DefaultActivityRefresh = 6 * time.Hour
)

const (
	minActivityRefresh = time.Minute
	maxActivityRefresh = 30 * 24 * time.Hour
	maxWebhookGrace    = 7 * 24 * time.Hour
)

// SettingError is a setting that cannot be used.
type SettingError struct {
	Setting string // as it is stored: region, user_id_field, ...
	Value   string
	Want    string
}

func (e *SettingError) Error() string {
	return fmt.Sprintf("%s %q: want %s", e.Setting, e.Value, e.Want)
}

// Validate names the setting that cannot be used and what it may be. The error is a *SettingError.
func (s Settings) Validate() error {
	if err := ValidRegion(s.Region); err != nil {
		return err
	}
	if !validField(s.UserIDField, "external_id", "id", "email") {
		return &SettingError{"user_id_field", s.UserIDField, "external_id, id, email or custom_attributes.NAME"}
	}
	if !validField(s.CompanyIDField, "company_id", "id", "name") {
		return &SettingError{"company_id_field", s.CompanyIDField, "company_id, id, name or custom_attributes.NAME"}
	}
	if s.ActivityRefresh < minActivityRefresh || s.ActivityRefresh > maxActivityRefresh {
		return &SettingError{"activity_refresh", s.ActivityRefresh.String(), "a span from 1m to 720h (30 days), such as 6h"}
	}
	return validGrace(s.WebhookGrace)
}

// ValidRegion refuses what is no region of Intercom's. The error is a *SettingError.
func ValidRegion(region string) error {
	switch region {
	case "us", "eu", "au":
		return nil
	}
	return &SettingError{"region", region, "us, eu or au"}
}

func validGrace(grace time.Duration) error {
	if grace < 0 || grace > maxWebhookGrace {
		return &SettingError{"webhook_secret_grace", grace.String(), "a span up to 168h (7 days), such as 1h"}
	}
	return nil
}

func validField(field string, names ...string) bool {
	for _, name := range names {
		if field == name {
			return true
		}
	}
	name, custom := strings.CutPrefix(field, "custom_attributes.")
	return custom && strings.TrimSpace(name) != ""
}

// ErrNotConnected is wrapped when an organisation has no usable connection.
var ErrNotConnected = errors.New("not connected")

// ErrOtherWorkspace is returned by Put when the organisation holds another workspace's data already.
var ErrOtherWorkspace = errors.New("another workspace is connected")

// Store reads and writes connections. It is safe for concurrent use.
type Store struct {
	pool   *pgxpool.Pool
	master *secret.Master
}

// NewStore returns a store over pool. The master key is only touched when a secret is.
func NewStore(pool *pgxpool.Pool, master secret.MasterKey) *Store {
	return &Store{pool: pool, master: secret.NewMaster(master)}
}

// Put stores a connection that has been checked, with its secrets sealed. An empty webhook secret
// leaves the present one as it is, another one replaces it, and the one that is replaced still signs for Settings.WebhookGrace. Another workspace's connection is never replaced, nor a known one's by
// one whose token does not tell its workspace.
func (s *Store) Put(ctx context.Context, org record.UUID, w record.Workspace, set Settings, token, webhook secret.Text) error {
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error { return s.PutTx(ctx, tx, org, w, set, token, webhook) })
}

// PutTx is Put as a part of a larger transaction.
func (s *Store) PutTx(ctx context.Context, tx pgx.Tx, org record.UUID, w record.Workspace, set Settings, token, webhook secret.Text) error {
	// The key set stays locked until the secrets that it seals are there: see Disconnect.
	sealer, err := secret.Open(ctx, keysets{tx, "FOR SHARE"}, s.master)
	if err != nil {
		return err
	}
	sealedToken, err := sealer.Seal(token, place(org, "token"))
	if err != nil {
		return err
	}
	var sealedWebhook []byte
	if !webhook.IsEmpty() {
		if sealedWebhook, err = sealer.Seal(webhook, place(org, "webhook_secret")); err != nil {
			return err
		}
	}
	previous, err := s.previous(ctx, tx, sealer, org, webhook, set.WebhookGrace)
	if err != nil {
		return err
	}
	// A snapshot that was replayed before its workspace was connected says up to when everything is there, if its rows were made by the same
	// fields: a sync goes on from there, and a backfill looks for what was deleted since.
	tag, err := tx.Exec(ctx, `
		INSERT INTO ingest.connections AS c (org_id, region, workspace_id, workspace_name, timezone,
			user_id_field, company_id_field, activity_refresh, token, token_hint, token_fingerprint, webhook_secret, synced_to, last_synced_at)
		SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $15, $11, r.synced_to, r.synced_to
		FROM (SELECT max((spec->'params'->>'synced_to')::timestamptz) AS synced_to FROM ingest.runs
			WHERE org_id = $1 AND kind = 'replay' AND state = 'complete' AND undone_at IS NULL AND $3 <> '' AND spec->'params'->>'workspace' = $3
				AND spec->'params'->>'user_id_field' = $6 AND spec->'params'->>'company_id_field' = $7) r
		ON CONFLICT (org_id) DO UPDATE SET
			region = excluded.region, workspace_id = excluded.workspace_id, workspace_name = excluded.workspace_name,
			timezone = excluded.timezone, user_id_field = excluded.user_id_field,
			company_id_field = excluded.company_id_field, activity_refresh = excluded.activity_refresh,
			token = excluded.token, token_hint = excluded.token_hint, token_fingerprint = excluded.token_fingerprint,
			webhook_secret = coalesce(excluded.webhook_secret, c.webhook_secret),
			webhook_secret_previous = CASE WHEN $13 THEN $12 ELSE c.webhook_secret_previous END,
			webhook_secret_previous_until = CASE WHEN NOT $13 THEN c.webhook_secret_previous_until WHEN $12::bytea IS NOT NULL THEN now() + $14::interval END,
			ingest_enabled = true, connected_at = now(), disconnected_at = NULL
		WHERE c.workspace_id IN (excluded.workspace_id, '')`,
		[16]byte(org), set.Region, w.ID, w.Name, w.Timezone,
		set.UserIDField, set.CompanyIDField, set.ActivityRefresh, sealedToken, token.Hint(), sealedWebhook,
		previous.sealed, previous.replaced, set.WebhookGrace, token.Fingerprint())
	if err != nil {
		return fmt.Errorf("store the connection of %s: %w", org, err)
	}
	if tag.RowsAffected() == 0 && w.ID == "" {
		return fmt.Errorf("%w to organisation %s, as far as can be told: Intercom does not say which workspace this token belongs to", ErrOtherWorkspace, org)
	}
	if tag.RowsAffected() == 0 {
		return fmt.Errorf("%w to organisation %s; connect workspace %q under an organisation of its own", ErrOtherWorkspace, org, w.Name)
	}
	return nil
}

// previousSecret is the column of the webhook secret that was replaced.
const previousSecret = "webhook_secret_previous"

// replacement is what becomes of the webhook secret that was there.
type replacement struct {
	replaced bool   // another one takes its place
	sealed   []byte // it, as it is kept for a while; nil: it is not
}

// previous seals the present webhook secret under the column where it goes when another one takes its place. To give the same one again
// replaces nothing, and one that cannot be opened any more is not worth keeping.
func (s *Store) previous(ctx context.Context, tx pgx.Tx, sealer *secret.Sealer, org record.UUID, webhook secret.Text, grace time.Duration) (r replacement, err error) {
	if webhook.IsEmpty() {
		return r, nil
	}
	var sealed []byte
	err = tx.QueryRow(ctx, `SELECT webhook_secret FROM ingest.connections WHERE org_id = $1 FOR UPDATE`, [16]byte(org)).Scan(&sealed)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && sealed == nil {
		return replacement{replaced: true}, nil
	}
	if err != nil {
		return r, fmt.Errorf("read the webhook secret of %s: %w", org, err)
	}
	old, err := sealer.Open(sealed, place(org, "webhook_secret"))
	switch {
	case err == nil && old.Reveal() == webhook.Reveal():
		return r, nil
	case err != nil || grace <= 0:
		return replacement{replaced: true}, nil
	}
	again, err := sealer.Seal(old, place(org, previousSecret))
	return replacement{true, again}, err
}

// Get returns the connection of an organisation, also after a disconnect.
func (s *Store) Get(ctx context.Context, org record.UUID) (Connection, error) {
	return get(ctx, s.pool, org)
}

// GetTx is Get within a transaction.
func (s *Store) GetTx(ctx context.Context, tx pgx.Tx, org record.UUID) (Connection, error) {
	return get(ctx, tx, org)
}

// querier is a pool or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

func get(ctx context.Context, db querier, org record.UUID) (Connection, error) {
	list, err := read(ctx, db, `WHERE c.org_id = $1`, [16]byte(org))
	if err != nil {
		return Connection{Org: org}, fmt.Errorf("read the connection of %s: %w", org, err)
	}
	if len(list) == 0 {
		return Connection{Org: org}, fmt.Errorf("organisation %s is %w; run: haloingest connect --org %s --region us|eu|au --token-file FILE", org, ErrNotConnected, org)
	}
	return list[0], nil
}

// List returns the connections of all organisations, also those that were disconnected, in the order of their ids. Over a pool that is
// bound to an organisation it is that one's alone.
func (s *Store) List(ctx context.Context) ([]Connection, error) {
	list, err := read(ctx, s.pool, `ORDER BY c.org_id`)
	if err != nil {
		return nil, fmt.Errorf("list the connections: %w", err)
	}
	return list, nil
}

// Conditions of runs r of connection c: that they were made with its present fields, and that they were not.
const (
	sameFields  = `r.spec->'params'->>'user_id_field' = c.user_id_field AND r.spec->'params'->>'company_id_field' = c.company_id_field`
	otherFields = `(r.spec->'params'->>'user_id_field' <> c.user_id_field OR r.spec->'params'->>'company_id_field' <> c.company_id_field)`
)

// newest is when the newest complete run of a kind began that read with the fields of connection c.
const newest = `SELECT max(r.started_at) FROM ingest.runs r WHERE r.org_id = c.org_id AND r.state = 'complete' AND r.undone_at IS NULL
	AND ` + sameFields + ` AND r.kind = `

func read(ctx context.Context, db querier, condition string, args ...any) ([]Connection, error) {
	rows, err := db.Query(ctx, `
		SELECT c.org_id, c.region, c.workspace_id, c.workspace_name, c.timezone, c.user_id_field, c.company_id_field, c.activity_refresh,
			c.ingest_enabled, c.token IS NOT NULL, c.token_hint, c.token_fingerprint, c.webhook_secret IS NOT NULL, c.last_synced_at, c.synced_to, c.connected_at,
			(`+newest+`'refresh'), w.at,
			EXISTS (SELECT FROM ingest.runs r WHERE r.org_id = c.org_id AND r.kind <> 'webhook' AND r.started_at > coalesce(w.at, '-infinity') AND `+otherFields+`)
		FROM ingest.connections c CROSS JOIN LATERAL (`+newest+`'backfill' AND NOT r.spec ?| ARRAY['only', 'since', 'sample']) w(at) `+condition, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (Connection, error) {
		var c Connection
		var lastSynced, syncedTo, refreshed, walked *time.Time
		err := row.Scan((*[16]byte)(&c.Org), &c.Region, &c.Workspace.ID, &c.Workspace.Name, &c.Workspace.Timezone,
			&c.UserIDField, &c.CompanyIDField, &c.ActivityRefresh, &c.IngestEnabled, &c.Connected, &c.TokenHint, &c.TokenFingerprint, &c.HasWebhookSecret,
			&lastSynced, &syncedTo, &c.ConnectedAt, &refreshed, &walked, &c.FullReadDue)
		c.Workspace.Region = c.Region
		for at, to := range map[*time.Time]*time.Time{lastSynced: &c.LastSyncedAt, syncedTo: &c.SyncedTo, refreshed: &c.RefreshedAt, walked: &c.WalkedAt} {
			if at != nil {
				*to = at.UTC()
			}
		}
		c.ConnectedAt = c.ConnectedAt.UTC()
		return c, err
	})
}

// Token opens the access token of an organisation.
func (s *Store) Token(ctx context.Context, org record.UUID) (secret.Text, error) {
	var sealed, keys []byte
	err := s.pool.QueryRow(ctx, `SELECT token, `+keysetNow+` FROM ingest.connections WHERE org_id = $1`, [16]byte(org)).Scan(&sealed, &keys)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return secret.Text{}, fmt.Errorf("read the token of %s: %w", org, err)
	}
	if sealed == nil {
		return secret.Text{}, fmt.Errorf("organisation %s is %w (no token is stored); run: haloingest connect --org %s --region us|eu|au --token-file FILE", org, ErrNotConnected, org)
	}
	sealer, err := s.opening(ctx, keys)
	if err != nil {
		return secret.Text{}, err
	}
	return sealer.Open(sealed, place(org, "token"))
}

// CheckMaster says whether the master key opens the secrets of this database, or, where there are none yet, whether it can be used at all. What
// is wrong with it is secret.ErrMasterKey.
func (s *Store) CheckMaster(ctx context.Context) error {
	sealed, err := keysets{s.pool, ""}.LoadKeyset(ctx)
	if err != nil {
		return err
	}
	return s.master.Check(ctx, sealed)
}

// Disconnect deletes the stored secrets and turns ingest off. Everything that was ingested stays.
// It reports whether there was a token. It needs no master key; with the last secret goes the key set
// that sealed it, so that somebody who has lost the master key can begin with a new one.
func (s *Store) Disconnect(ctx context.Context, org record.UUID) (had bool, err error) {
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		all, err := holdKeys(ctx, tx)
		if err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `
			UPDATE ingest.connections SET token = NULL, token_hint = '', token_fingerprint = '', webhook_secret = NULL,
				webhook_secret_previous = NULL, webhook_secret_previous_until = NULL, ingest_enabled = false, disconnected_at = now()
			WHERE org_id = $1 AND token IS NOT NULL`, [16]byte(org))
		if err != nil {
			return err
		}
		had = tag.RowsAffected() == 1
		if _, err := tx.Exec(ctx, `DELETE FROM ingest.connection_drafts WHERE org_id = $1`, [16]byte(org)); err != nil {
			return err
		}
		if !all {
			return nil // whether another organisation has secrets cannot be told: that is left to Sweep
		}
		return dropUnusedKeys(ctx, tx)
	})
	if err != nil {
		return false, fmt.Errorf("disconnect %s: %w", org, err)
	}
	return had, nil
}

// holdKeys waits for whoever is sealing at this moment and keeps others from it until the transaction ends; statements behind it see what has been sealed.
// Whoever takes the key set and rows takes the key set first. Who sees one organisation only (row-level security) holds nothing, and all is false.
func holdKeys(ctx context.Context, tx pgx.Tx) (all bool, err error) {
	if err := tx.QueryRow(ctx, `SELECT NOT (`+rowSecurity+`)`).Scan(&all); err != nil || !all {
		return false, err
	}
	// The table, not the row: a row that many share, one after the other, would not become free. Who only reads does not wait.
	_, err = tx.Exec(ctx, `LOCK TABLE ingest.keysets IN EXCLUSIVE MODE`)
	return true, err
}

// rowSecurity is SQL for: this role does not see all that is sealed. A role that is neither the tables' owner nor postgres.OrgRole sees all by a
// policy, if that is there.
const rowSecurity = `EXISTS (SELECT FROM unnest(ARRAY['connections', 'connection_drafts']) t WHERE row_security_active('ingest.' || t) AND (current_user = '` + postgres.OrgRole + `'
	OR NOT EXISTS (SELECT FROM pg_policies WHERE schemaname = 'ingest' AND tablename = t AND permissive = 'PERMISSIVE' AND roles = '{public}' AND cmd = 'ALL' AND qual = 'true')))`

// dropUnusedKeys deletes the key set if nothing is sealed with it any more. It is for who holds it.
func dropUnusedKeys(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, `DELETE FROM ingest.keysets
		WHERE NOT EXISTS (SELECT FROM ingest.connections WHERE num_nonnulls(token, webhook_secret, webhook_secret_previous) > 0)
			AND NOT EXISTS (SELECT FROM ingest.connection_drafts)`)
	return err
}

// Sweep deletes the drafts that nobody has used in time, and a key set that seals nothing any more. It is to be called now and then, on a pool
// that sees all organisations.
func (s *Store) Sweep(ctx context.Context) error {
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		all, err := holdKeys(ctx, tx)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM ingest.connection_drafts WHERE expires_at <= now()`); err != nil || !all {
			return err
		}
		return dropUnusedKeys(ctx, tx)
	})
	if err != nil {
		return fmt.Errorf("sweep tokens that nobody has used: %w", err)
	}
	_, err = s.PruneKeys(ctx)
	return err
}

func place(org record.UUID, column string) secret.Place {
	return secret.Place{Table: "ingest.connections", Column: column, Org: org.String()}
}

// keysets keeps the sealed key set in ingest.keysets.
type keysets struct {
	db interface {
		Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
		QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	}
	lock string // of the row, until the transaction ends: "" or FOR SHARE
}

func (k keysets) LoadKeyset(ctx context.Context) ([]byte, error) {
	var sealed []byte
	err := k.db.QueryRow(ctx, `SELECT sealed FROM ingest.keysets WHERE id = 1 `+k.lock).Scan(&sealed)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return nil, fmt.Errorf("read the key set: %w", err)
	}
	return sealed, nil
}

func (k keysets) CreateKeyset(ctx context.Context, sealed []byte) ([]byte, error) {
	if _, err := k.db.Exec(ctx, `INSERT INTO ingest.keysets (sealed) VALUES ($1) ON CONFLICT DO NOTHING`, sealed); err != nil {
		return nil, fmt.Errorf("store the key set: %w", err)
	}
	return k.LoadKeyset(ctx)
}
