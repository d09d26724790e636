// Package pgtest gives tests a real PostgreSQL: a database of their own on a server that all tests of this user on this machine
// share (New), or a server of their own that they may stop and kill (Private).
//
// The shared server is the one that HALOINGEST_TEST_DATABASE_URL names, else a private one (package localpg) below the temporary
// folder. That one is quick instead of durable, is started by the first test that needs it, serves the test binaries of every
// package at once, and stops by itself some seconds after the last of them has ended.
package pgtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"haloingest/sinks/postgres/localpg"
)

const (
	// EnvURL names a server to use instead of the private one; the role in it must be allowed to create databases.
	EnvURL = "HALOINGEST_TEST_DATABASE_URL"
	// EnvRequire, when not empty, makes a missing PostgreSQL a failure. Without it tests that need one are skipped.
	EnvRequire = "HALOINGEST_TEST_REQUIRE_POSTGRES"
)

const (
	prefix = "haloingest_test_"
	// staleAfter is when a database that its test did not drop, as it was killed, is dropped by the next test binary.
	staleAfter = time.Hour
	patience   = 2 * time.Minute
)

// shared is the one server of this process. It is process-wide because the tests of a package, which know nothing of each other,
// share it; the lock that it holds ends with the process, which is how the keeper learns that it is not used any more.
var shared = sync.OnceValues(func() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	base := os.Getenv(EnvURL)
	if base == "" {
		dir, err := sharedDir()
		if err != nil {
			return "", err
		}
		server, err := localpg.Start(ctx, localpg.Options{DataDir: dir, Throwaway: true})
		if err != nil {
			return "", err
		}
		if err := startKeeper(dir); err != nil {
			return "", err
		}
		base = server.URL()
	}
	if err := dropStale(ctx, base); err != nil {
		return "", err
	}
	return base, nil
})

// New makes an empty database (UTF8, C locale) for the test and returns its connection string, which holds a password. The database
// is dropped when the test ends, with connections that are still open. The connection string has query parameters: add further ones
// with net/url.
func New(tb testing.TB) string {
	tb.Helper()
	base, err := shared()
	if err != nil {
		unavailable(tb, err)
	}
	name := prefix + strconv.FormatInt(time.Now().Unix(), 10) + "_" + strings.ToLower(rand.Text()[:12])
	if err := admin(base, "CREATE DATABASE "+name+" TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"); err != nil {
		tb.Fatalf("make a database for the test: %v", err)
	}
	tb.Cleanup(func() {
		if err := admin(base, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)"); err != nil {
			tb.Errorf("drop the database of the test: %v", err)
		}
	})
	u, err := url.Parse(base)
	if err != nil {
		tb.Fatalf("parse the connection string: %v", err)
	}
	u.Path = "/" + name
	return u.String()
}

// unavailable ends a test that has no server.
func unavailable(tb testing.TB, err error) {
	tb.Helper()
	if errors.Is(err, localpg.ErrNotFound) && os.Getenv(EnvRequire) == "" {
		tb.Skipf("needs a real PostgreSQL: %v", err)
	}
	tb.Fatalf("start PostgreSQL for the tests: %v", err)
}

// admin runs one statement on a connection of its own. Nothing is kept open between tests, so that a test that looks for leaked
// goroutines or connections finds none of ours.
func admin(base, sql string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, base)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, sql)
	return errors.Join(err, conn.Close(ctx))
}

func dropStale(ctx context.Context, base string) error {
	conn, err := pgx.Connect(ctx, base)
	if err != nil {
		return fmt.Errorf("connect to the test server: %w", err)
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, "SELECT datname FROM pg_database WHERE starts_with(datname, $1)", prefix)
	if err != nil {
		return fmt.Errorf("list old test databases: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("list old test databases: %w", err)
	}
	for _, name := range names {
		made, _, _ := strings.Cut(strings.TrimPrefix(name, prefix), "_")
		seconds, err := strconv.ParseInt(made, 10, 64)
		if err != nil || time.Since(time.Unix(seconds, 0)) < staleAfter {
			continue
		}
		if _, err := conn.Exec(ctx, "DROP DATABASE IF EXISTS "+pgx.Identifier{name}.Sanitize()+" WITH (FORCE)"); err != nil {
			return fmt.Errorf("drop old test database %s: %w", name, err)
		}
	}
	return nil
}

// sharedDir is the data directory of the shared server. Its name can be guessed, so it must not have been made by somebody else.
func sharedDir() (string, error) {
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("haloingest-pgtest-%d", os.Getuid()))
	mode := os.FileMode(0o700)
	if os.Geteuid() == 0 {
		mode = 0o711
	}
	err := os.Mkdir(dir, mode)
	if err == nil {
		err = os.Chmod(dir, mode) // whatever the umask says
	}
	if err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return "", err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() || int(st.Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
		return "", fmt.Errorf("%s is not a folder of this user alone: remove it", dir)
	}
	return dir, nil
}
