package work

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"haloingest/pipeline/record"
)

// Periods of what every process looks at.
const (
	watchEvery    = time.Second
	scheduleEvery = 5 * time.Second
	unpauseEvery  = 2 * time.Second
	choresEvery   = time.Minute
)

// watch looks, about once a second, whether the jobs that run here are to go on, and stops those softly that are not. It ends with ctx; while
// the database is away, they go on.
func (w *Worker) watch(ctx context.Context) {
	w.every(ctx, watchEvery, "see whether running jobs are to go on", func(ctx context.Context) error {
		w.mu.Lock()
		var ids []int64
		for id := range w.tasks {
			ids = append(ids, id)
		}
		w.mu.Unlock()
		if len(ids) == 0 {
			return nil
		}
		return w.check(ctx, ids)
	})
}

func (w *Worker) check(ctx context.Context, ids []int64) error {
	rows, err := w.pool.Query(ctx, `SELECT j.id, coalesce(c.ingest_enabled AND c.token IS NOT NULL, false) OR j.kind = '`+KindReplay+`', coalesce(j.metadata->>'`+metaStop+`' = 'true', false), coalesce(j.metadata->>'`+metaAgain+`' = 'true', false),
			j.queue = '`+queueLong+`' AND EXISTS (SELECT FROM ingest.river_job o WHERE o.args->>'org' = j.args->>'org' AND o.finalized_at IS NULL AND o.queue = '`+queueSync+`'
				AND o.metadata->>'`+metaHeld+`' = 'true' AND o.state IN ('available', 'scheduled', 'running'))
		FROM ingest.river_job j LEFT JOIN ingest.connections c ON c.org_id = (j.args->>'org')::uuid
		WHERE j.id = ANY ($1) AND j.state = 'running' AND j.attempted_by[array_upper(j.attempted_by, 1)] = $2`, ids, w.self.id)
	if err != nil {
		return err
	}
	mine := make(map[int64]bool, len(ids))
	var id int64
	var on, asked, again, wanted bool
	wants := make(map[int64]bool)
	_, err = pgx.ForEachRow(rows, []any{&id, &on, &asked, &again, &wanted}, func() error {
		mine[id] = true
		wants[id] = wanted
		if t := w.task(id); t != nil {
			switch {
			case !on:
				t.stop(errOff)
			case again:
				t.stop(errAgain)
			case asked:
				t.stop(errAsked)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, id := range ids {
		if t := w.task(id); t != nil && !mine[id] {
			t.stop(errTaken)
		}
	}
	return w.yield(ctx, wants)
}

func (w *Worker) task(id int64) *task {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.tasks[id]
}

// yield ends the slices of backfills: for a sync of the same organisation, and as many as wait for a worker, of those that have had the most.
func (w *Worker) yield(ctx context.Context, wants map[int64]bool) error {
	var spent []*task
	w.mu.Lock()
	for _, t := range w.tasks {
		if t.row.Queue == queueLong && t.row.Kind == KindBackfill && time.Since(t.began) >= w.options.Slice && t.read.Err() == nil {
			spent = append(spent, t)
		}
	}
	w.mu.Unlock()
	if len(spent) == 0 {
		return nil
	}
	var waiting int
	// What came this moment may find a worker elsewhere.
	err := w.pool.QueryRow(ctx, `SELECT count(*) FROM ingest.river_job WHERE state = 'available' AND queue = $1
		AND scheduled_at < clock_timestamp() - $2::interval`, queueLong, 2*watchEvery).Scan(&waiting)
	if err != nil {
		return err
	}
	for _, t := range spent {
		switch {
		case !t.mayYield():
		case wants[t.row.ID]:
			t.stop(errMakeWay)
		case waiting > 0:
			waiting--
			t.stop(errYield)
		}
	}
	return nil
}

// unpause makes jobs available whose obstacle is gone: ingest is on again, or there is another token.
func (w *Worker) unpause(ctx context.Context) error {
	tag, err := w.pool.Exec(ctx, `UPDATE ingest.river_job j SET state = 'available', scheduled_at = clock_timestamp(), metadata = j.metadata - '`+metaPaused+`'
		FROM ingest.connections c
		WHERE j.finalized_at IS NULL AND j.state = 'scheduled' AND j.metadata ? '`+metaPaused+`' AND c.org_id = (j.args->>'org')::uuid
			AND c.ingest_enabled AND c.token IS NOT NULL AND coalesce(j.metadata->'`+metaPaused+`'->>'token', '') <> md5(c.token)`)
	if n := tag.RowsAffected(); err == nil && n > 0 {
		w.log.Info("what was paused goes on", "jobs", n)
	}
	return err
}

// Stored tells the Worker that deliveries of these organisations were stored: it is the webhook handler's Options.Stored. It only takes a note,
// and what comes within a moment is one insert.
func (w *Worker) Stored(orgs []record.UUID) {
	w.mu.Lock()
	for _, org := range orgs {
		w.fresh[org] = true
	}
	for _, t := range w.tasks {
		if w.fresh[t.org] {
			select {
			case t.wake <- struct{}{}:
			default:
			}
		}
	}
	w.mu.Unlock()
	select {
	case w.stored <- struct{}{}:
	default:
	}
}

// Times of looking at inboxes.
const (
	gather    = 50 * time.Millisecond // after a delivery, for those that come with it
	lookEvery = time.Second
)

// look queues passes over inboxes that have something: those it was told of, and once a second all. River's uniqueness covers a pass that is
// about to end, and a process may die between storing and queuing; what is missed then is found a second later.
func (w *Worker) look(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	failed := false
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-w.stored:
			wait, cancel := context.WithTimeout(ctx, gather)
			<-wait.Done()
			cancel()
			w.mu.Lock()
			var orgs []record.UUID
			for org := range w.fresh {
				orgs = append(orgs, org)
			}
			clear(w.fresh)
			w.mu.Unlock()
			err = w.queueDrains(ctx, orgs)
		case <-tick.C:
			var orgs []record.UUID
			if orgs, err = w.db.PendingOrgs(ctx); err == nil {
				err = w.queueDrains(ctx, orgs)
			}
		}
		if err != nil && !failed && ctx.Err() == nil {
			w.log.Warn("cannot look after the inboxes; it is tried again", "error", err)
		}
		failed = err != nil
	}
}

// queueDrains queues passes for those organisations of which none waits or runs, and which no run holds: whoever has a run makes them beside it,
// and when it ends they are found here.
func (w *Worker) queueDrains(ctx context.Context, orgs []record.UUID) error {
	if len(orgs) == 0 {
		return nil
	}
	asked := make([][16]byte, len(orgs))
	for i, org := range orgs {
		asked[i] = org
	}
	rows, err := w.pool.Query(ctx, `SELECT o FROM unnest($1::uuid[]) o
		WHERE NOT EXISTS (SELECT FROM ingest.river_job j WHERE j.args->>'org' = o::text AND j.kind = '`+KindDrain+`' AND j.finalized_at IS NULL)
			AND NOT EXISTS (SELECT FROM ingest.leases l WHERE l.org_id = o AND l.released_at IS NULL AND l.heartbeat_at > clock_timestamp() - interval '30 s')`, asked)
	if err != nil {
		return err
	}
	free, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (u record.UUID, err error) {
		return u, row.Scan((*[16]byte)(&u))
	})
	if err != nil {
		return err
	}
	return w.queue.Drain(ctx, free...)
}
