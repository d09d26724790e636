package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// MoveBookmark says that everything which changed at the source before to is in the tables, though not read in this run (Outcome.SyncedTo is for
// that): a replay knows it from its snapshot. It never moves the bookmark back, and does nothing where the organisation is not connected. When
// the last sync was is changed only where none is known.
func (r *Run) MoveBookmark(ctx context.Context, to time.Time) error {
	return r.guarded(ctx, "move the bookmark of "+r.lease.org.String(), func(tx pgx.Tx) error {
		if err := r.keepBookmarks(ctx, tx); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `UPDATE ingest.connections SET synced_to = $2, last_synced_at = coalesce(last_synced_at, $2)
			WHERE org_id = $1 AND (synced_to IS NULL OR synced_to < $2)`, r.lease.org, to)
		return err
	})
}
