// Package connection keeps what the program knows of a connected workspace: region, field choices and
// the sealed token and webhook secret, one row of ingest.connections per organisation.
package connection

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/pipeline/record"
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
	Connected        bool             `json:"connected"` // false after disconnect
	TokenHint        string           `json:"token_hint,omitempty"`
	HasWebhookSecret bool             `json:"webhook_secret_configured"`
	LastSyncedAt     time.Time        `json:"last_synced_at,omitzero"` // end of the last complete sync
	SyncedTo         time.Time        `json:"synced_to,omitzero"`      // all changes before it have been read
	ConnectedAt      time.Time        `json:"connected_at"`
}

// Settings is what an operator chooses when connecting.
type Settings struct {
	Region          string
	UserIDField     string
	CompanyIDField  string
	ActivityRefresh time.Duration
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
)

// Validate names the setting that cannot be used and what it may be.
func (s Settings) Validate() error {
	switch s.Region {
	case "us", "eu", "au":
	default:
		return fmt.Errorf("region %q: want us, eu or au", s.Region)
	}
	if !validField(s.UserIDField, "external_id", "id", "email") {
		return fmt.Errorf("user_id_field %q: want external_id, id, email or custom_attributes.NAME", s.UserIDField)
	}
	if !validField(s.CompanyIDField, "company_id", "id", "name") {
		return fmt.Errorf("company_id_field %q: want company_id, id, name or custom_attributes.NAME", s.CompanyIDField)
	}
	if s.ActivityRefresh < minActivityRefresh || s.ActivityRefresh > maxActivityRefresh {
		return fmt.Errorf("activity_refresh %s: want a duration from %s to %s, such as 6h", s.ActivityRefresh, minActivityRefresh, maxActivityRefresh)
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
	return custom && name != ""
}

// ErrNotConnected is wrapped when an organisation has no usable connection.
var ErrNotConnected = errors.New("not connected")

// ErrOtherWorkspace is returned by Put when the organisation holds another workspace's data already.
var ErrOtherWorkspace = errors.New("another workspace is connected")

// Store reads and writes connections. It is safe for concurrent use.
type Store struct {
	pool   *pgxpool.Pool
	master secret.MasterKey
}

// NewStore returns a store over pool. The master key is only touched when a secret is.
func NewStore(pool *pgxpool.Pool, master secret.MasterKey) *Store {
	return &Store{pool: pool, master: master}
}

// Put stores a connection that has been checked, with its secrets sealed. An empty webhook secret
// leaves the present one as it is. Another workspace's connection is never replaced.
func (s *Store) Put(ctx context.Context, org record.UUID, w record.Workspace, set Settings, token, webhook secret.Text) error {
	sealer, err := s.sealer(ctx)
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
	tag, err := s.pool.Exec(ctx, `
		INSERT INTO ingest.connections AS c (org_id, region, workspace_id, workspace_name, timezone,
			user_id_field, company_id_field, activity_refresh, token, token_hint, webhook_secret)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
		ON CONFLICT (org_id) DO UPDATE SET
			region = excluded.region, workspace_id = excluded.workspace_id, workspace_name = excluded.workspace_name,
			timezone = excluded.timezone, user_id_field = excluded.user_id_field,
			company_id_field = excluded.company_id_field, activity_refresh = excluded.activity_refresh,
			token = excluded.token, token_hint = excluded.token_hint,
			webhook_secret = coalesce(excluded.webhook_secret, c.webhook_secret),
			ingest_enabled = true, connected_at = now(), disconnected_at = NULL
		WHERE c.workspace_id = excluded.workspace_id`,
		[16]byte(org), set.Region, w.ID, w.Name, w.Timezone,
		set.UserIDField, set.CompanyIDField, set.ActivityRefresh, sealedToken, token.Hint(), sealedWebhook)
	if err != nil {
		return fmt.Errorf("store the connection of %s: %w", org, err)
	}
	if tag.RowsAffected() == 0 {
		return fmt.Errorf("%w to organisation %s; connect workspace %q under an organisation of its own", ErrOtherWorkspace, org, w.Name)
	}
	return nil
}

// Get returns the connection of an organisation, also after a disconnect.
func (s *Store) Get(ctx context.Context, org record.UUID) (Connection, error) {
	c := Connection{Org: org, Workspace: record.Workspace{}}
	var lastSynced, syncedTo *time.Time
	err := s.pool.QueryRow(ctx, `
		SELECT region, workspace_id, workspace_name, timezone, user_id_field, company_id_field, activity_refresh,
			ingest_enabled, token IS NOT NULL, token_hint, webhook_secret IS NOT NULL, last_synced_at, synced_to, connected_at
		FROM ingest.connections WHERE org_id = $1`, [16]byte(org)).Scan(
		&c.Region, &c.Workspace.ID, &c.Workspace.Name, &c.Workspace.Timezone, &c.UserIDField, &c.CompanyIDField, &c.ActivityRefresh,
		&c.IngestEnabled, &c.Connected, &c.TokenHint, &c.HasWebhookSecret, &lastSynced, &syncedTo, &c.ConnectedAt)
	if errors.Is(err, pgx.ErrNoRows) {
		return c, fmt.Errorf("organisation %s is %w; run: haloingest connect --org %s --region us|eu|au --token-file FILE", org, ErrNotConnected, org)
	}
	if err != nil {
		return c, fmt.Errorf("read the connection of %s: %w", org, err)
	}
	c.Workspace.Region = c.Region
	if lastSynced != nil {
		c.LastSyncedAt = lastSynced.UTC()
	}
	if syncedTo != nil {
		c.SyncedTo = syncedTo.UTC()
	}
	c.ConnectedAt = c.ConnectedAt.UTC()
	return c, nil
}

// Token opens the access token of an organisation.
func (s *Store) Token(ctx context.Context, org record.UUID) (secret.Text, error) {
	var sealed []byte
	err := s.pool.QueryRow(ctx, `SELECT token FROM ingest.connections WHERE org_id = $1`, [16]byte(org)).Scan(&sealed)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return secret.Text{}, fmt.Errorf("read the token of %s: %w", org, err)
	}
	if sealed == nil {
		return secret.Text{}, fmt.Errorf("organisation %s is %w (no token is stored); run: haloingest connect --org %s --region us|eu|au --token-file FILE", org, ErrNotConnected, org)
	}
	sealer, err := s.sealer(ctx)
	if err != nil {
		return secret.Text{}, err
	}
	return sealer.Open(sealed, place(org, "token"))
}

// Disconnect deletes the stored secrets and turns ingest off. Everything that was ingested stays.
// It reports whether there was a token.
func (s *Store) Disconnect(ctx context.Context, org record.UUID) (bool, error) {
	tag, err := s.pool.Exec(ctx, `
		UPDATE ingest.connections SET token = NULL, token_hint = '', webhook_secret = NULL,
			ingest_enabled = false, disconnected_at = now()
		WHERE org_id = $1 AND token IS NOT NULL`, [16]byte(org))
	if err != nil {
		return false, fmt.Errorf("disconnect %s: %w", org, err)
	}
	return tag.RowsAffected() == 1, nil
}

func (s *Store) sealer(ctx context.Context) (*secret.Sealer, error) {
	return secret.Open(ctx, keysets{s.pool}, s.master)
}

func place(org record.UUID, column string) secret.Place {
	return secret.Place{Table: "ingest.connections", Column: column, Org: org.String()}
}

// keysets keeps the sealed key set in ingest.keysets.
type keysets struct{ pool *pgxpool.Pool }

func (k keysets) LoadKeyset(ctx context.Context) ([]byte, error) {
	var sealed []byte
	err := k.pool.QueryRow(ctx, `SELECT sealed FROM ingest.keysets WHERE id = 1`).Scan(&sealed)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return nil, fmt.Errorf("read the key set: %w", err)
	}
	return sealed, nil
}

func (k keysets) CreateKeyset(ctx context.Context, sealed []byte) ([]byte, error) {
	if _, err := k.pool.Exec(ctx, `INSERT INTO ingest.keysets (sealed) VALUES ($1) ON CONFLICT DO NOTHING`, sealed); err != nil {
		return nil, fmt.Errorf("store the key set: %w", err)
	}
	return k.LoadKeyset(ctx)
}
