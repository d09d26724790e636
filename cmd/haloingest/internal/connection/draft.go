package connection

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/pipeline/record"
)

// DraftLast is how long a draft can be used.
const DraftLast = 30 * time.Minute

// Draft is a token that has been checked and waits for the choices that go with it. It holds no secret; see Store.DraftToken.
type Draft struct {
	Org       record.UUID
	User      string // whose it is
	Region    string
	ExpiresAt time.Time
}

// ErrNoDraft is wrapped where there is no draft, or not any more.
var ErrNoDraft = errors.New("no token waits for its choices")

// PutDraft keeps a checked token, sealed for this organisation and person, in place of a draft that the same person has there. What has expired,
// anybody's, is deleted with it.
func (s *Store) PutDraft(ctx context.Context, org record.UUID, user, region string, token secret.Text) (Draft, error) {
	d := Draft{Org: org, User: user, Region: region}
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		sealer, err := secret.Open(ctx, keysets{tx, "FOR SHARE"}, s.master)
		if err != nil {
			return err
		}
		sealed, err := sealer.Seal(token, draftPlace(org, user))
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM ingest.connection_drafts WHERE expires_at <= now()`); err != nil {
			return err
		}
		return tx.QueryRow(ctx, `INSERT INTO ingest.connection_drafts (org_id, user_name, region, token, expires_at)
			VALUES ($1, $2, $3, $4, now() + $5::interval)
			ON CONFLICT (org_id, user_name) DO UPDATE SET region = excluded.region, token = excluded.token, created_at = now(), expires_at = excluded.expires_at
			RETURNING expires_at`, [16]byte(org), user, region, sealed, DraftLast).Scan(&d.ExpiresAt)
	})
	if err != nil {
		return Draft{}, fmt.Errorf("keep the token for %s: %w", org, err)
	}
	d.ExpiresAt = d.ExpiresAt.UTC()
	return d, nil
}

// Draft returns a person's draft for an organisation. The error is ErrNoDraft if there is none.
func (s *Store) Draft(ctx context.Context, org record.UUID, user string) (Draft, error) {
	d := Draft{Org: org, User: user}
	err := s.pool.QueryRow(ctx, `SELECT region, expires_at FROM ingest.connection_drafts WHERE org_id = $1 AND user_name = $2 AND expires_at > now()`,
		[16]byte(org), user).Scan(&d.Region, &d.ExpiresAt)
	if errors.Is(err, pgx.ErrNoRows) {
		return Draft{}, noDraft(org)
	}
	if err != nil {
		return Draft{}, fmt.Errorf("look for the token that waits for %s: %w", org, err)
	}
	d.ExpiresAt = d.ExpiresAt.UTC()
	return d, nil
}

// DraftToken opens the token of a draft.
func (s *Store) DraftToken(ctx context.Context, org record.UUID, user string) (secret.Text, error) {
	var sealed, keys []byte
	err := s.pool.QueryRow(ctx, `SELECT token, `+keysetNow+` FROM ingest.connection_drafts WHERE org_id = $1 AND user_name = $2 AND expires_at > now()`,
		[16]byte(org), user).Scan(&sealed, &keys)
	if errors.Is(err, pgx.ErrNoRows) {
		return secret.Text{}, noDraft(org)
	}
	if err != nil {
		return secret.Text{}, fmt.Errorf("read the token that waits for %s: %w", org, err)
	}
	sealer, err := s.opening(ctx, keys)
	if err != nil {
		return secret.Text{}, err
	}
	return sealer.Open(sealed, draftPlace(org, user))
}

// TakeDraft deletes a draft in the transaction that uses it: of two that do so at once, one succeeds. The error is ErrNoDraft for the other.
func (s *Store) TakeDraft(ctx context.Context, tx pgx.Tx, org record.UUID, user string) error {
	tag, err := tx.Exec(ctx, `DELETE FROM ingest.connection_drafts WHERE org_id = $1 AND user_name = $2 AND expires_at > now()`, [16]byte(org), user)
	if err != nil {
		return fmt.Errorf("take the token that waits for %s: %w", org, err)
	}
	if tag.RowsAffected() == 0 {
		return noDraft(org)
	}
	return nil
}

// DropDraft deletes a draft, if there is one.
func (s *Store) DropDraft(ctx context.Context, org record.UUID, user string) error {
	if _, err := s.pool.Exec(ctx, `DELETE FROM ingest.connection_drafts WHERE org_id = $1 AND user_name = $2`, [16]byte(org), user); err != nil {
		return fmt.Errorf("drop the token that waits for %s: %w", org, err)
	}
	return nil
}

func noDraft(org record.UUID) error {
	return fmt.Errorf("organisation %s: %w; enter the token again", org, ErrNoDraft)
}

// draftPlace binds a draft to its person as well.
func draftPlace(org record.UUID, user string) secret.Place {
	return secret.Place{Table: "ingest.connection_drafts", Column: "token", Org: org.String() + "/" + user}
}
