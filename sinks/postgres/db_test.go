package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"

	"haloingest/sinks/postgres/localpg/pgtest"
)

const secret = "s3cret!pa%ss"

func TestOpenSaysWhatIsWrongAndNeverThePassword(t *testing.T) {
	good, err := url.Parse(pgtest.New(t))
	if err != nil {
		t.Fatal(err)
	}
	wrongPassword, noDatabase := *good, *good
	wrongPassword.User = url.UserPassword("haloingest_nobody", secret)
	noDatabase.Path = "/haloingest_not_there"
	for _, test := range []struct {
		name, url string
		is        error
		says      string
	}{
		{"no server listens", "postgres://halo:" + url.QueryEscape(secret) + "@127.0.0.1:1/halo", ErrDatabase, "127.0.0.1:1"},
		{"the role is unknown", wrongPassword.String(), ErrDatabase, "haloingest_nobody"},
		{"the database is not there", noDatabase.String(), ErrDatabase, "create the database"},
		{"the port is no number", "postgres://halo:" + secret + "@localhost:http/halo", ErrURL, "want postgres://"},
		{"the URL has a bad escape", "postgres://halo:" + secret + "@localhost/halo", ErrURL, "want postgres://"},
		{"key and value are mixed up", "host=localhost password='" + secret, ErrURL, "want postgres://"},
		{"the value of sslmode is unknown", "host=localhost password='" + secret + "' sslmode=always", ErrURL, "sslmode"},
		{"a setting is unknown to the server", good.String() + "&no_such_setting=1", ErrDatabase, "no_such_setting"},
	} {
		t.Run(test.name, func(t *testing.T) {
			db, err := Open(t.Context(), test.url, Options{})
			if err == nil {
				db.Close()
				t.Fatal("it opened")
			}
			if !errors.Is(err, test.is) {
				t.Errorf("%v is not %v", err, test.is)
			}
			if !strings.Contains(err.Error(), test.says) {
				t.Errorf("%q does not say %q", err, test.says)
			}
			for e := err; e != nil; e = errors.Unwrap(e) {
				if strings.Contains(e.Error(), "s3cret") {
					t.Errorf("the password is in %q", e)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %q", err)
			}
		})
	}
}

func TestASessionHasItsSettings(t *testing.T) {
	base := pgtest.New(t)
	get := func(t *testing.T, db *DB, name string) (value string) {
		t.Helper()
		if err := db.pool.QueryRow(t.Context(), "SELECT current_setting($1)", name).Scan(&value); err != nil {
			t.Fatal(err)
		}
		return value
	}
	db := openURL(t, base)
	for name, want := range map[string]string{
		"TimeZone": "UTC", "plan_cache_mode": "force_generic_plan", "statement_timeout": "10min", "lock_timeout": "30s",
		"idle_in_transaction_session_timeout": "1min",
	} {
		if got := get(t, db, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	var offersLZ4 bool
	err := db.pool.QueryRow(t.Context(), "SELECT 'lz4' = ANY (enumvals) FROM pg_settings WHERE name = 'default_toast_compression'").Scan(&offersLZ4)
	if err != nil {
		t.Fatal(err)
	}
	if got := get(t, db, "default_toast_compression"); offersLZ4 != (got == "lz4") {
		t.Errorf("default_toast_compression is %q where lz4 is offered: %v", got, offersLZ4)
	}
	if other := openURL(t, base); other.session == db.session || get(t, other, "application_name") != other.session {
		t.Errorf("two processes share the session name %q", db.session)
	}

	t.Run("the URL goes before the options, and they before the usual", func(t *testing.T) {
		db, err := Open(t.Context(), base+"&statement_timeout=7s&application_name="+strings.Repeat("%C3%A4", 40), Options{
			Settings: map[string]string{"statement_timeout": "8s", "lock_timeout": "9s", "default_toast_compression": "pglz"}, AppName: "x"})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		got := []string{get(t, db, "statement_timeout"), get(t, db, "lock_timeout"), get(t, db, "default_toast_compression")}
		if diff := cmp.Diff([]string{"7s", "9s", "pglz"}, got); diff != "" {
			t.Error(diff)
		}
		if name := get(t, db, "application_name"); name != db.session || !strings.HasPrefix(name, "???") {
			t.Errorf("application_name is %q, ours is %q", name, db.session)
		}
	})
}

func TestRetryEndsWhereTryingAgainCannotHelp(t *testing.T) {
	db := openURL(t, pgtest.New(t))
	passing := &pgconn.PgError{Code: "40P01", Message: "deadlock detected"}
	lasting := &pgconn.PgError{Code: "53100", Message: "no space"}
	for _, test := range []struct {
		name  string
		fails []error
		calls int
		want  error
	}{
		{"success", nil, 1, nil},
		{"a deadlock passes", []error{passing, passing}, 3, nil},
		{"a full disk stays", []error{lasting, lasting}, 1, lasting},
		{"a lost lease stays lost", []error{fmt.Errorf("x: %w", ErrFenced)}, 1, ErrFenced},
		{"a connection that broke is replaced", []error{io.ErrUnexpectedEOF}, 2, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			calls := 0
			err := db.retry(t.Context(), "test", func(context.Context) error {
				calls++
				if calls <= len(test.fails) {
					return test.fails[calls-1]
				}
				return nil
			})
			if calls != test.calls || !errors.Is(err, test.want) {
				t.Errorf("%d calls and %v, want %d and %v", calls, err, test.calls, test.want)
			}
		})
	}
	t.Run("it gives up in the end", func(t *testing.T) {
		db.retries = 1
		defer func() { db.retries = time.Minute }()
		calls := 0
		err := db.retry(t.Context(), "test", func(context.Context) error { calls++; return passing })
		if !errors.Is(err, passing) || calls != 1 {
			t.Errorf("%v after %d calls", err, calls)
		}
	})
	t.Run("an interrupt ends it", func(t *testing.T) {
		stop := errors.New("interrupted")
		ctx, cancel := context.WithCancelCause(t.Context())
		err := db.retry(ctx, "test", func(context.Context) error { cancel(stop); return passing })
		if err == nil {
			t.Error("no error")
		}
	})
}

// A server that ends sessions must not end the work of a DB: what comes next gets a new connection.
func TestABackendThatIsKilledIsAPassingFailure(t *testing.T) {
	db := newDB(t)
	tries := 0
	err := db.retry(t.Context(), "test", func(ctx context.Context) error {
		tries++
		if tries == 1 {
			_, err := db.pool.Exec(ctx, "SELECT pg_terminate_backend(pg_backend_pid())")
			return err
		}
		_, err := db.pool.Exec(ctx, "SELECT 1")
		return err
	})
	if err != nil || tries != 2 {
		t.Errorf("%v after %d tries", err, tries)
	}
}

func TestErrorsKeepValuesOfRowsToThemselves(t *testing.T) {
	db := newDB(t)
	insert := `INSERT INTO public.end_users (org_id, id, email) VALUES ('aa010000-0000-0000-0000-000000000000', 'aa010000-0000-0000-0000-000000000000', 'jane@example.com')`
	if _, err := db.pool.Exec(t.Context(), insert); err != nil {
		t.Fatal(err)
	}
	_, err := db.pool.Exec(t.Context(), insert)
	err = wrap(t.Context(), err, "write a row")
	if !errors.Is(err, ErrDatabase) || SQLState(err) != "23505" || strings.Contains(err.Error(), "aa010000") {
		t.Errorf("got %q (SQLSTATE %s)", err, SQLState(err))
	}
}
