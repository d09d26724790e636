package postgres

import (
	"context"
	"io"
	"log/slog"
	"os"
	"testing"

	"haloingest/pipeline/record"
	"haloingest/sinks/postgres/localpg/pgtest"
)

var orgA = record.UUID{0xaa, 1}

// newDB is an up-to-date database of the test's own.
func newDB(tb testing.TB) *DB {
	tb.Helper()
	db := openURL(tb, pgtest.New(tb))
	if _, err := db.Migrate(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return db
}

func openURL(tb testing.TB, url string) *DB {
	tb.Helper()
	db, err := Open(tb.Context(), url, Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(db.Close)
	return db
}

func acquire(tb testing.TB, db *DB, org record.UUID) *Lease {
	tb.Helper()
	l, err := db.Acquire(tb.Context(), org, "test")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = l.Release(context.Background()) })
	return l
}

func startRun(tb testing.TB, l *Lease, spec RunSpec) *Run {
	tb.Helper()
	r, err := l.db.StartRun(tb.Context(), l, spec)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// long says that the tests run at full length (make proof-long).
func long() bool { return os.Getenv("HALOINGEST_PROOF") == "long" }
