package connection_test

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"haloingest/cmd/haloingest/internal/connection"
)

// meanwhile does something after each statement that names a table of secrets.
type meanwhile struct {
	f     func()
	times atomic.Int64
}

type secretsRead struct{}

func (m *meanwhile) TraceQueryStart(ctx context.Context, _ *pgx.Conn, d pgx.TraceQueryStartData) context.Context {
	return context.WithValue(ctx, secretsRead{}, strings.Contains(d.SQL, "FROM ingest.connection"))
}

func (m *meanwhile) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryEndData) {
	if read, _ := ctx.Value(secretsRead{}).(bool); read {
		m.times.Add(1)
		m.f()
	}
}

// Whoever reads a secret has the keys of that moment, however much is rotated, and deleted, before they go on.
func TestKeysThatGoBetweenTwoStatementsOfAReaderAreNotMissed(t *testing.T) {
	t.Parallel()
	db, master := open(t)
	s := connection.NewStore(db.Pool(), master)
	put(t, s, org, acme, "canary-token-0001", "hook-1")
	if _, err := s.PutDraft(t.Context(), org, "somebody", "us", token(2)); err != nil {
		t.Fatal(err)
	}
	between := &meanwhile{f: func() { rotate(t, s, 0) }}
	cfg := db.Pool().Config()
	cfg.ConnConfig.Tracer = between
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	reader := connection.NewStore(pool, master)
	for name, read := range map[string]func() (string, error){
		"token": func() (string, error) {
			text, err := reader.Token(t.Context(), org)
			return text.Reveal(), err
		},
		"draft": func() (string, error) {
			text, err := reader.DraftToken(t.Context(), org, "somebody")
			return text.Reveal(), err
		},
		"webhook secret": func() (string, error) {
			keys, err := connection.NewKeyring(reader, slog.New(slog.DiscardHandler)).Keys(t.Context(), org, true)
			if err != nil || len(keys.Secrets) == 0 {
				return "", err
			}
			return string(keys.Secrets[0]), nil
		},
	} {
		before := between.times.Load()
		got, err := read()
		want := map[string]string{"token": "canary-token-0001", "draft": token(2).Reveal(), "webhook secret": "hook-1"}[name]
		if err != nil || got != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if between.times.Load() == before {
			t.Errorf("%s: nothing was rotated meanwhile", name)
		}
	}
}
