package work

import (
	"context"
	"fmt"
	"time"
)

const cleanEvery = "1 hour"

// clean tidies up, once an hour in one of all processes, and lets go of clients that nobody uses in each.
func (w *Worker) clean(ctx context.Context) error {
	w.clients.sweep()
	tag, err := w.pool.Exec(ctx, `INSERT INTO ingest.chores AS c (name, done_at) VALUES ('clean', clock_timestamp())
		ON CONFLICT (name) DO UPDATE SET done_at = excluded.done_at WHERE c.done_at < clock_timestamp() - interval '`+cleanEvery+`'`)
	if err != nil || tag.RowsAffected() == 0 {
		return err
	}
	return w.cleanAll(ctx)
}

func (w *Worker) cleanAll(ctx context.Context) error {
	deliveries, err := w.all(ctx, func() (int64, error) { return w.db.PruneDeliveries(ctx, time.Now().Add(-w.options.KeepDone)) })
	if err != nil {
		return err
	}
	runs, err := w.all(ctx, func() (int64, error) { return w.pruneRuns(ctx) })
	if err != nil {
		return err
	}
	// Tokens that nobody has used, and keys that have sealed nothing for long.
	if err := w.options.Connections.Sweep(ctx); err != nil {
		return err
	}
	for what, sql := range map[string]string{
		// A job that failed for weeks has said often enough why.
		"errors of jobs":      `UPDATE ingest.river_job SET errors = errors[array_upper(errors, 1) - 9 :] WHERE finalized_at IS NULL AND state <> 'running' AND array_length(errors, 1) > 20`,
		"processes":           `DELETE FROM ingest.processes WHERE heartbeat_at < clock_timestamp() - interval '1 day'`,
		"progress":            `DELETE FROM ingest.progress WHERE updated_at < clock_timestamp() - interval '1 day'`,
		"schedules of nobody": `DELETE FROM ingest.schedule s WHERE NOT EXISTS (SELECT FROM ingest.connections c WHERE c.org_id = s.org_id)`,
	} {
		if _, err := w.pool.Exec(ctx, sql); err != nil {
			return fmt.Errorf("clean up %s: %w", what, err)
		}
	}
	w.log.Info("cleaned up", "deliveries", deliveries, "runs", runs)
	return nil
}

// all repeats what does a bounded part at a time until nothing is left.
func (w *Worker) all(ctx context.Context, f func() (int64, error)) (sum int64, err error) {
	for {
		n, err := f()
		sum += n
		if err != nil || n == 0 || ctx.Err() != nil {
			return sum, err
		}
	}
}

// pruneRuns forgets passes over the inbox, 1,000 at most: after a day those that wrote nothing, after 30 days the others. What can still be undone,
// or stands in the way of an undo, stays: the images of a run go when 50 newer ones (passes not counted) have them, so a pass without images that
// ended before every run with images began is later than none that can be undone.
func (w *Worker) pruneRuns(ctx context.Context) (int64, error) {
	tag, err := w.pool.Exec(ctx, `WITH old AS (
			SELECT r.org_id, r.id FROM ingest.runs r WHERE r.kind = 'webhook' AND r.state IN ('complete', 'abandoned') AND r.finished_at < clock_timestamp() - interval '1 day'
				AND NOT EXISTS (SELECT FROM ingest.before_images b WHERE b.org_id = r.org_id AND b.run_id = r.id)
				AND NOT EXISTS (SELECT FROM ingest.rejects x WHERE x.org_id = r.org_id AND x.run_id = r.id)
				AND NOT EXISTS (SELECT FROM ingest.snapshot_files f WHERE f.org_id = r.org_id AND f.run_id = r.id)
				AND (r.state = 'complete' AND NOT EXISTS (SELECT FROM jsonb_object_keys(r.counts) k WHERE k LIKE 'load/%' AND k NOT LIKE '%/equal' AND k NOT LIKE '%/stale')
					OR NOT r.images AND r.finished_at < clock_timestamp() - interval '30 days'
						AND NOT EXISTS (SELECT FROM ingest.runs k WHERE k.org_id = r.org_id AND k.images AND k.undone_at IS NULL AND k.started_at <= r.finished_at))
			ORDER BY r.org_id, r.id LIMIT 1000 FOR UPDATE SKIP LOCKED),
		points AS (DELETE FROM ingest.checkpoints c USING old WHERE c.org_id = old.org_id AND c.run_id = old.id)
		DELETE FROM ingest.runs r USING old WHERE r.org_id = old.org_id AND r.id = old.id`)
	if err != nil {
		return 0, fmt.Errorf("forget passes over inboxes: %w", err)
	}
	return tag.RowsAffected(), nil
}
