package pgtest_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"haloingest/sinks/postgres/localpg/pgtest"
)

func connect(tb testing.TB, url string) *pgx.Conn {
	tb.Helper()
	conn, err := pgx.Connect(context.Background(), url)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func TestEachTestHasAnEmptyDatabaseOfItsOwn(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 3 {
		conn := connect(t, pgtest.New(t))
		var name, encoding, collate string
		err := conn.QueryRow(context.Background(),
			"SELECT datname, pg_encoding_to_char(encoding), datcollate FROM pg_database WHERE datname = current_database()").
			Scan(&name, &encoding, &collate)
		if err != nil {
			t.Fatal(err)
		}
		if seen[name] || encoding != "UTF8" || collate != "C" {
			t.Errorf("got database %s (%s, %s), after %v", name, encoding, collate, seen)
		}
		seen[name] = true
		if _, err := conn.Exec(context.Background(), "CREATE TABLE only_here (a int)"); err != nil {
			t.Error(err)
		}
	}
}

func TestADatabaseIsDroppedWithItsTestEvenWhenAConnectionIsOpen(t *testing.T) {
	t.Parallel()
	var inner string
	t.Run("a test that leaves its connection open", func(t *testing.T) {
		inner = pgtest.New(t)
		if _, err := pgx.Connect(context.Background(), inner); err != nil {
			t.Fatal(err)
		}
	})
	if conn, err := pgx.Connect(context.Background(), inner); err == nil {
		conn.Close(context.Background())
		t.Error("the database is still there")
	}
}

func TestAPrivateServerKeepsWhatWasCommittedWhenItIsKilled(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	c := pgtest.Private(t)
	url := c.URL()
	conn := connect(t, url)
	if _, err := conn.Exec(ctx, "CREATE TABLE kept (a int); INSERT INTO kept VALUES (1)"); err != nil {
		t.Fatal(err)
	}
	c.Kill()
	if _, err := conn.Exec(ctx, "SELECT 1"); err == nil {
		t.Fatal("the server still answers")
	}
	c.Start()
	if c.URL() != url {
		t.Errorf("the connection string changed over the restart")
	}
	var n int
	if err := connect(t, c.URL()).QueryRow(ctx, "SELECT count(*) FROM kept").Scan(&n); err != nil || n != 1 {
		t.Errorf("got %d rows (%v) after the restart, want 1", n, err)
	}
}

func BenchmarkNew(b *testing.B) {
	pgtest.New(b)
	for b.Loop() {
		pgtest.New(b)
	}
}
