package halo

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"haloingest/pipeline/record"
	"haloingest/sinks/postgres/localpg/pgtest"
)

var org = record.UUID{0x11, 1: 0x22, 6: 0x40, 8: 0x80, 15: 1}

// newDatabase is one with the schema of the migrations, which are read as files: sources do not import sinks.
func newDatabase(tb testing.TB) *pgxpool.Pool {
	tb.Helper()
	pool, err := pgxpool.New(tb.Context(), pgtest.New(tb))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(pool.Close)
	files, err := filepath.Glob("../../sinks/postgres/migrations/*.sql")
	if err != nil || len(files) == 0 {
		tb.Fatalf("no migrations: %v", err)
	}
	slices.Sort(files)
	exec(tb, pool, `CREATE SCHEMA ingest`)
	for _, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil {
			tb.Fatal(err)
		}
		up, _, _ := strings.Cut(string(raw), "-- +goose Down")
		if strings.Contains(up, "river_job") {
			continue // of the queue, whose tables are not made by a file; no side of a diff reads them
		}
		exec(tb, pool, up)
	}
	return pool
}

func exec(tb testing.TB, pool *pgxpool.Pool, sql string, args ...any) {
	tb.Helper()
	if _, err := pool.Exec(tb.Context(), sql, args...); err != nil {
		tb.Fatalf("%.500s: %v", sql, err)
	}
}
