package postgres

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"haloingest/pipeline/record"
)

//go:embed migrations/*.sql
var migrations embed.FS

// versionTable is in this program's own schema, so that it cannot collide with the version table of Halo's migrations.
const versionTable = "ingest.schema_versions"

// MigrationStatus is one migration that this program, or a newer one, knows of.
type MigrationStatus struct {
	Version   int64     `json:"version"`
	Name      string    `json:"name"` // "" if this program does not know it
	Applied   bool      `json:"applied"`
	AppliedAt time.Time `json:"applied_at,omitzero"`
}

// Migrate brings the schema up to date and returns the names of the migrations that it applied, in order. Several processes may do so at
// once. It fails with ErrSchemaNewer if a newer program has been here, and with ErrSchema if a table is there that this program
// cannot write. What keeps organisations apart comes with it; see Wall. Where nothing is to be done it only reads, so that a role without the right to create tables will do.
func (db *DB) Migrate(ctx context.Context) (applied []string, err error) {
	pending, err := db.pending(ctx)
	if err != nil {
		return nil, wrap(ctx, err, "bring the schema up to date")
	}
	if pending {
		if applied, err = db.migrate(ctx); err != nil {
			return applied, wrap(ctx, err, "bring the schema up to date")
		}
		missing, err := db.Wall(ctx)
		if err != nil {
			return applied, err
		}
		if len(missing) > 0 {
			db.log.WarnContext(ctx, "the web service will not keep organisations apart in the database until an administrator has run some SQL; everything else works without it",
				"sql", strings.Join(missing, "; "))
		}
	}
	return applied, wrap(ctx, db.checkTables(ctx), "check the schema")
}

// Migrations lists all migrations, oldest first, without changing anything.
func (db *DB) Migrations(ctx context.Context) ([]MigrationStatus, error) {
	known, err := knownMigrations()
	if err != nil {
		return nil, err
	}
	done, err := appliedMigrations(ctx, db.pool)
	if err != nil {
		return nil, wrap(ctx, err, "read the schema's version")
	}
	for i := range known {
		at, ok := done[known[i].Version]
		known[i].Applied, known[i].AppliedAt = ok, at
		delete(done, known[i].Version)
	}
	var newer []MigrationStatus
	for version, at := range done {
		newer = append(newer, MigrationStatus{Version: version, Applied: true, AppliedAt: at})
	}
	all := append(known, newer...)
	sortMigrations(all)
	return all, nil
}

// querier is a pool, a connection or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

func appliedMigrations(ctx context.Context, q querier) (map[int64]time.Time, error) {
	var there bool
	if err := q.QueryRow(ctx, `SELECT to_regclass($1) IS NOT NULL`, versionTable).Scan(&there); err != nil || !there {
		return nil, err
	}
	rows, err := q.Query(ctx, `SELECT version_id, max(tstamp AT TIME ZONE 'UTC') FROM `+versionTable+` WHERE version_id > 0 AND is_applied GROUP BY version_id`)
	if err != nil {
		return nil, err
	}
	done := make(map[int64]time.Time)
	var version int64
	var at time.Time
	_, err = pgx.ForEachRow(rows, []any{&version, &at}, func() error {
		done[version] = at.UTC()
		return nil
	})
	return done, err
}

// pending reports whether there is anything to apply; ErrSchemaNewer if there is more than this program knows.
func (db *DB) pending(ctx context.Context) (bool, error) {
	known, err := knownMigrations()
	if err != nil {
		return false, err
	}
	done, err := appliedMigrations(ctx, db.pool)
	if err != nil {
		return false, err
	}
	if err := newerThan(known, done); err != nil {
		return false, err
	}
	return len(done) < len(known), nil
}

func newerThan(known []MigrationStatus, done map[int64]time.Time) error {
	latest := known[len(known)-1].Version
	for version := range done {
		if version > latest {
			return fmt.Errorf("%w: it has migration %d, this program ends at %d; use the newer program", ErrSchemaNewer, version, latest)
		}
	}
	return nil
}

func knownMigrations() ([]MigrationStatus, error) {
	files, err := fs.ReadDir(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	list := make([]MigrationStatus, 0, len(files))
	for _, f := range files {
		version, err := goose.NumericComponent(f.Name())
		if err != nil {
			return nil, fmt.Errorf("migration %s: %w", f.Name(), err)
		}
		list = append(list, MigrationStatus{Version: version, Name: strings.TrimSuffix(f.Name(), ".sql")})
	}
	for version := range queueVersions {
		list = append(list, MigrationStatus{Version: version, Name: queueName(version)})
	}
	sortMigrations(list)
	return list, nil
}

// migrate applies what is pending, one process at a time. goose looks for its version table before it takes any lock of its own,
// so the lock and the schema that the table is in come from here.
func (db *DB) migrate(ctx context.Context) (names []string, err error) {
	conn, err := db.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, hangUp(ctx, conn)) }()
	// Waits for as long as another process takes.
	if _, err := conn.Exec(ctx, fmt.Sprintf("SET statement_timeout = 0; SET lock_timeout = 0; SELECT pg_advisory_lock(%d)", lockKey("migrate", record.UUID{}))); err != nil {
		return nil, err
	}
	var there bool
	if err := conn.QueryRow(ctx, "SELECT to_regnamespace('ingest') IS NOT NULL").Scan(&there); err != nil {
		return nil, err
	}
	if !there {
		if _, err := conn.Exec(ctx, "CREATE SCHEMA ingest"); err != nil {
			return nil, fmt.Errorf("create schema ingest: %w", err)
		}
	}
	// Another process, a newer one perhaps, may have been at work while we waited.
	if _, err := db.pending(ctx); err != nil {
		return nil, err
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	pool := db.pool.Config()
	sessions := stdlib.OpenDB(*pool.ConnConfig, stdlib.OptionAfterConnect(func(ctx context.Context, conn *pgx.Conn) error {
		if err := pool.AfterConnect(ctx, conn); err != nil {
			return err
		}
		// An index on a large table of Halo's takes its time, but nobody should have to queue behind a lock that is not granted.
		_, err := conn.Exec(ctx, "SET statement_timeout = 0; SET lock_timeout = '15s'; SET client_min_messages = warning")
		return err
	}))
	defer sessions.Close()
	provider, err := goose.NewProvider(goose.DialectPostgres, sessions, files, goose.WithTableName(versionTable), goose.WithDisableGlobalRegistry(true),
		goose.WithGoMigrations(queueMigrations(db.pool)...))
	if err != nil {
		return nil, err
	}
	results, err := provider.Up(ctx)
	var partial *goose.PartialError
	if errors.As(err, &partial) {
		results = partial.Applied
		err = fmt.Errorf("migration %s: %w", appliedName(partial.Failed.Source), partial.Err)
	}
	for _, r := range results {
		names = append(names, appliedName(r.Source))
	}
	return names, err
}

func sortMigrations(list []MigrationStatus) {
	slices.SortFunc(list, func(a, b MigrationStatus) int { return cmp.Compare(a.Version, b.Version) })
}
