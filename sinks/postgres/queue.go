package postgres

import (
	"context"
	"database/sql"
	"fmt"
	"path"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/pressly/goose/v3"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// QueueSchema is the schema in which River keeps its jobs: this program's own, so that what is queued and what it speaks of can be
// committed together.
const QueueSchema = "ingest"

// queueVersions are the migrations of this program that bring River's tables up to date: by their version, the version of River's own. River
// has its migrations in Go, as they depend on the schema; what is applied is in its table ingest.river_migration.
var queueVersions = map[int64]int{8: 8}

// queueName is how such a migration is listed, beside those that are files.
func queueName(version int64) string { return fmt.Sprintf("%05d_queue", version) }

// queueMigrations makes them known to goose. They are not one transaction with goose's mark, but can be repeated.
func queueMigrations(pool *pgxpool.Pool) []*goose.Migration {
	var list []*goose.Migration
	for version, target := range queueVersions {
		up := func(ctx context.Context, _ *sql.DB) error {
			m, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Schema: QueueSchema})
			if err != nil {
				return err
			}
			_, err = m.Migrate(ctx, rivermigrate.DirectionUp, &rivermigrate.MigrateOpts{TargetVersion: target})
			return err
		}
		list = append(list, goose.NewGoMigration(version, &goose.GoFunc{RunDB: up}, nil))
	}
	return list
}

// appliedName is the name of a migration that goose has applied.
func appliedName(s *goose.Source) string {
	if _, ok := queueVersions[s.Version]; ok {
		return queueName(s.Version)
	}
	return strings.TrimSuffix(path.Base(s.Path), ".sql")
}
