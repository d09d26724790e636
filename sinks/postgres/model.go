package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"haloingest/pipeline/record"
)

// ErrBudget says that an organisation's requests or tokens of the day are spent.
var ErrBudget = errors.New("the budget of the day is spent")

// ModelStore keeps what an organisation's models have answered and cost. Its statements are transactions of their own. It is safe for
// concurrent use.
type ModelStore struct {
	db  *DB
	org record.UUID
	// most a day, 0: any number
	requests, tokens int64
}

// ModelUsage is what was spent on one day (UTC).
type ModelUsage struct {
	Day      time.Time `json:"day"`
	Requests int64     `json:"requests"`
	Tokens   int64     `json:"tokens"`
}

// ModelStore returns the store of org with a budget of so many requests and tokens a day; 0 is any number.
func (db *DB) ModelStore(org record.UUID, requests, tokens int64) *ModelStore {
	return &ModelStore{db: db, org: org, requests: requests, tokens: tokens}
}

// Answer returns what was kept under key, nil if nothing was.
func (s *ModelStore) Answer(ctx context.Context, key [32]byte) (answer []byte, err error) {
	err = s.db.retry(ctx, "read a model's answer", func(ctx context.Context) error {
		return s.db.pool.QueryRow(ctx, `SELECT answer FROM ingest.model_answers WHERE org_id = $1 AND key = $2`, s.org, key[:]).Scan(&answer)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if answer == nil && err == nil {
		answer = []byte{} // an empty answer is one
	}
	return answer, wrap(ctx, err, "read a model's answer")
}

// Keep keeps an answer. What is kept under key already stays.
func (s *ModelStore) Keep(ctx context.Context, key [32]byte, answer []byte) error {
	if answer == nil {
		answer = []byte{}
	}
	err := s.db.retry(ctx, "keep a model's answer", func(ctx context.Context) error {
		_, err := s.db.pool.Exec(ctx, `INSERT INTO ingest.model_answers (org_id, key, answer) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`, s.org, key[:], answer)
		return err
	})
	return wrap(ctx, err, "keep a model's answer")
}

// Request counts a request of today, or returns ErrBudget where there is none left.
func (s *ModelStore) Request(ctx context.Context) error {
	tag, err := s.db.pool.Exec(ctx, `INSERT INTO ingest.model_usage AS u (org_id, day, requests) VALUES ($1, (now() AT TIME ZONE 'UTC')::date, 1)
		ON CONFLICT (org_id, day) DO UPDATE SET requests = u.requests + 1 WHERE ($2 = 0 OR u.requests < $2) AND ($3 = 0 OR u.tokens < $3)`, s.org, s.requests, s.tokens)
	if err != nil {
		return wrap(ctx, err, "count a request to a model")
	}
	if tag.RowsAffected() == 0 {
		return fmt.Errorf("count a request to a model: %w", ErrBudget)
	}
	return nil
}

// Tokens counts what a request of today has cost.
func (s *ModelStore) Tokens(ctx context.Context, n int64) error {
	_, err := s.db.pool.Exec(ctx, `INSERT INTO ingest.model_usage AS u (org_id, day, tokens) VALUES ($1, (now() AT TIME ZONE 'UTC')::date, $2)
		ON CONFLICT (org_id, day) DO UPDATE SET tokens = u.tokens + excluded.tokens`, s.org, n)
	return wrap(ctx, err, "count what a model has cost")
}

// Usage lists what was spent, the newest day first.
func (s *ModelStore) Usage(ctx context.Context) ([]ModelUsage, error) {
	rows, err := s.db.pool.Query(ctx, `SELECT day, requests, tokens FROM ingest.model_usage WHERE org_id = $1 ORDER BY day DESC`, s.org)
	if err != nil {
		return nil, wrap(ctx, err, "read what models have cost")
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[ModelUsage])
	return list, wrap(ctx, err, "read what models have cost")
}
