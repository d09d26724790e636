package access

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"haloingest/pipeline/record"
)

// TokenPrefix begins every token of a script, so that one that has leaked is recognised.
const TokenPrefix = "hi_"

// Token is what a script shows in place of a session. It reads, under /api/, what its person may see, and changes nothing.
type Token struct {
	ID        record.UUID `json:"id"`
	Label     string      `json:"label"`
	CreatedAt time.Time   `json:"created_at"`
	UsedAt    time.Time   `json:"used_at,omitzero"` // last, to the minute; zero: never
}

const maxTokens = 50 // of one person

// AddToken makes a token of a person; it cannot be read again.
func (u *Users) AddToken(ctx context.Context, id record.UUID, label string) (token string, err error) {
	if label, err = checkName(label); err != nil {
		return "", inputf("Say in a few words what the token is for.")
	}
	err = u.change(ctx, id, "make a token", func(tx pgx.Tx, x User) error {
		var n int
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM ingest.access_tokens WHERE user_id = $1 AND revoked_at IS NULL`, id).Scan(&n); err != nil {
			return err
		}
		if n >= maxTokens {
			return inputf("There are %d tokens already. Revoke one that is not used any more.", n)
		}
		var stored []byte
		token, stored = newToken(TokenPrefix)
		if _, err := tx.Exec(ctx, `INSERT INTO ingest.access_tokens (id, token_hash, user_id, label) VALUES ($1, $2, $3, $4)`, newID(), stored, id, label); err != nil {
			return err
		}
		return writeAudit(ctx, tx, record.UUID{}, "made a token", map[string]string{"name": x.Name, "label": label})
	})
	if err != nil {
		return "", err
	}
	return token, nil
}

// Tokens lists the tokens of a person that were not revoked, newest first.
func (u *Users) Tokens(ctx context.Context, id record.UUID) ([]Token, error) {
	rows, err := u.pool.Query(ctx, `SELECT id, label, created_at, used_at FROM ingest.access_tokens WHERE user_id = $1 AND revoked_at IS NULL ORDER BY created_at DESC, id`, id)
	if err != nil {
		return nil, fmt.Errorf("list tokens: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (t Token, err error) {
		var used *time.Time
		err = row.Scan((*[16]byte)(&t.ID), &t.Label, &t.CreatedAt, &used)
		t.CreatedAt = t.CreatedAt.UTC()
		if used != nil {
			t.UsedAt = used.UTC()
		}
		return t, err
	})
	if err != nil {
		return nil, fmt.Errorf("list tokens: %w", err)
	}
	return list, nil
}

// RevokeToken ends a token of a person; one that has ended stays so.
func (u *Users) RevokeToken(ctx context.Context, id, token record.UUID) error {
	return u.change(ctx, id, "revoke a token", func(tx pgx.Tx, x User) error {
		var label string
		rows, err := tx.Query(ctx, `UPDATE ingest.access_tokens SET revoked_at = now() WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL RETURNING label`, token, id)
		if err != nil {
			return err
		}
		done, err := pgx.ForEachRow(rows, []any{&label}, func() error { return nil })
		if err != nil || done.RowsAffected() == 0 {
			return err
		}
		return writeAudit(ctx, tx, record.UUID{}, "revoked a token", map[string]string{"name": x.Name, "label": label})
	})
}
