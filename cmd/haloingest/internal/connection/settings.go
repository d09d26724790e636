package connection

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/pipeline/record"
)

// Settings are those of the connection, as Configure takes them.
func (c Connection) Settings() Settings {
	return Settings{Region: c.Region, UserIDField: c.UserIDField, CompanyIDField: c.CompanyIDField, ActivityRefresh: c.ActivityRefresh}
}

// Working reports whether there is anything to do for the workspace at all: it is connected, and ingest is on.
func (c Connection) Working() bool { return c.Connected && c.IngestEnabled }

// SyncDue reports whether a sync is due: it is for whoever asks once an hour. Before a first backfill has ended there is nothing to go on from.
func (c Connection) SyncDue() bool { return c.Working() && !c.SyncedTo.IsZero() }

// RefreshDue reports whether it is time for another round of refreshing: activity_refresh after the last one began. A round that has to rest
// (ingest.Report.More) stays due until it has come to its end.
func (c Connection) RefreshDue(now time.Time) bool {
	return c.SyncDue() && now.Sub(c.RefreshedAt) >= c.ActivityRefresh
}

// WalkEvery is how often everything is walked anew: what Intercom tells by no list and no time is found then, such as deleted contacts, companies and
// tickets, and contacts that its search has passed over (fact sheet, sections 2.3 and 7).
const WalkEvery = 7 * 24 * time.Hour

// WalkDue reports whether everything is to be walked anew, by a backfill that begins from the start: some days after the last time, or at
// once where it has not been since the fields were changed.
func (c Connection) WalkDue(now time.Time) bool {
	return c.SyncDue() && (c.FullReadDue || now.Sub(c.WalkedAt) >= WalkEvery)
}

// ValidateChange is Validate for Configure and SetWebhookSecret: what is empty or zero is not changed.
func (s Settings) ValidateChange() error {
	whole := Settings{Region: "us", UserIDField: DefaultUserIDField, CompanyIDField: DefaultCompanyIDField, ActivityRefresh: DefaultActivityRefresh}
	whole.WebhookGrace = s.WebhookGrace
	return s.over(whole).Validate()
}

// over lays what is given over other settings.
func (s Settings) over(present Settings) Settings {
	present.Region = cmp.Or(s.Region, present.Region)
	present.UserIDField = cmp.Or(s.UserIDField, present.UserIDField)
	present.CompanyIDField = cmp.Or(s.CompanyIDField, present.CompanyIDField)
	present.ActivityRefresh = cmp.Or(s.ActivityRefresh, present.ActivityRefresh)
	return present
}

// SetIngest turns ingest on or off, and reports whether that changed anything. Off stops syncs and webhooks: what is delivered then is not taken;
// a backfill that runs is for its caller to stop. The error is ErrNotConnected where there is no token.
func (s *Store) SetIngest(ctx context.Context, org record.UUID, on bool) (changed bool, err error) {
	err = s.locked(ctx, org, func(tx pgx.Tx, c Connection) error {
		if changed = c.IngestEnabled != on; !changed {
			return nil
		}
		_, err := tx.Exec(ctx, `UPDATE ingest.connections SET ingest_enabled = $2 WHERE org_id = $1`, [16]byte(org), on)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("set ingest: %w", err)
	}
	return changed, nil
}

// SetWebhookSecret sets or replaces the secret that signs webhooks; the one that is replaced still signs for the grace. An empty one and a grace
// that cannot be are a *SettingError; ErrNotConnected where there is no token.
func (s *Store) SetWebhookSecret(ctx context.Context, org record.UUID, webhook secret.Text, grace time.Duration) error {
	if webhook.IsEmpty() {
		return &SettingError{"webhook_secret", "", "the client secret of the app, as Intercom's Developer Hub shows it"}
	}
	if err := validGrace(grace); err != nil {
		return err
	}
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		sealer, err := secret.Open(ctx, keysets{tx, "FOR SHARE"}, s.master) // before any row: see holdKeys
		if err != nil {
			return err
		}
		if _, err := lockTx(ctx, tx, org); err != nil {
			return err
		}
		previous, err := s.previous(ctx, tx, sealer, org, webhook, grace)
		if err != nil || !previous.replaced {
			return err
		}
		sealed, err := sealer.Seal(webhook, place(org, "webhook_secret"))
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE ingest.connections SET webhook_secret = $2, webhook_secret_previous = $3,
			webhook_secret_previous_until = CASE WHEN $3::bytea IS NOT NULL THEN now() + $4::interval END WHERE org_id = $1`,
			[16]byte(org), sealed, previous.sealed, grace)
		return err
	})
	if err != nil {
		return fmt.Errorf("set the webhook secret: %w", err)
	}
	return nil
}

// Change is what Configure came to.
type Change struct {
	Changed  bool // anything is different now
	FullRead bool // a backfill that begins anew is due: Connection.FullReadDue
}

// Configure changes the settings of a connection; its region stays, since a token is good in one only, and so does the webhook secret. An empty field or
// a zero span stays as it is. A setting that cannot be is a *SettingError; ErrNotConnected where there is no token.
func (s *Store) Configure(ctx context.Context, org record.UUID, set Settings) (change Change, err error) {
	err = s.locked(ctx, org, func(tx pgx.Tx, c Connection) error {
		want := set.over(c.Settings())
		if set.Region != "" && set.Region != c.Region {
			return &SettingError{"region", set.Region, c.Region + ", where this workspace is; connect another one under an organisation of its own"}
		}
		if err := want.Validate(); err != nil {
			return err
		}
		change.Changed = want != c.Settings()
		if change.Changed {
			_, err := tx.Exec(ctx, `UPDATE ingest.connections SET user_id_field = $2, company_id_field = $3, activity_refresh = $4 WHERE org_id = $1`,
				[16]byte(org), want.UserIDField, want.CompanyIDField, want.ActivityRefresh)
			if err != nil {
				return err
			}
		}
		c, err := get(ctx, tx, org)
		change.FullRead = c.FullReadDue
		return err
	})
	if err != nil {
		return Change{}, fmt.Errorf("change the settings: %w", err)
	}
	return change, nil
}

// locked does something to a connection that nobody else can change meanwhile.
func (s *Store) locked(ctx context.Context, org record.UUID, f func(pgx.Tx, Connection) error) error {
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		c, err := lockTx(ctx, tx, org)
		if err != nil {
			return err
		}
		return f(tx, c)
	})
}

// lockTx keeps others from changing a connection until the transaction ends.
func lockTx(ctx context.Context, tx pgx.Tx, org record.UUID) (Connection, error) {
	if _, err := tx.Exec(ctx, `SELECT FROM ingest.connections WHERE org_id = $1 FOR NO KEY UPDATE`, [16]byte(org)); err != nil {
		return Connection{}, err
	}
	c, err := get(ctx, tx, org)
	if err == nil && !c.Connected {
		err = fmt.Errorf("organisation %s is %w (no token is stored)", org, ErrNotConnected)
	}
	return c, err
}
