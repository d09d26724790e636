package site

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/cmd/haloingest/internal/service/work"
	"haloingest/pipeline/record"
	"haloingest/sinks/postgres"
)

// facts are all that the page of an organisation is made of, as the database has them.
type facts struct {
	Org      record.UUID
	At       time.Time // by the database's clock
	Conn     connection.Connection
	Known    bool // some workspace is, or was, connected
	Status   postgres.Status
	Jobs     []work.Job
	Progress *work.RunProgress // of the run under way; nil: none was published
	Last     *postgres.RunInfo // the newest run that is no pass over the inbox; nil: none
	Inbox    inbox
	Diff     *postgres.DiffRun // the newest; nil: none

	SyncEvery time.Duration // how often a sync is due
}

// inbox counts deliveries of webhooks.
type inbox struct {
	Waiting, Parked int64
	Newest          time.Time
	Error           string // of the oldest parked one
}

// factsWithin bounds what a page may ask of the database.
const factsWithin = 20 * time.Second

func (s *Site) read(ctx context.Context, org record.UUID) (facts, error) {
	ctx, cancel := context.WithTimeout(ctx, factsWithin)
	defer cancel()
	f := facts{Org: org, SyncEvery: s.o.SyncEvery}
	conn, err := s.o.Connections.Get(ctx, org)
	if err != nil && !errors.Is(err, connection.ErrNotConnected) {
		return f, err
	}
	f.Conn, f.Known = conn, err == nil
	if f.Status, err = s.o.DB.Status(ctx, org); err != nil {
		return f, err
	}
	if f.Jobs, err = s.o.Queue.Jobs(ctx, org); err != nil {
		return f, err
	}
	progress, ok, err := work.Progress(ctx, s.o.DB, org)
	if err != nil {
		return f, err
	}
	if ok {
		f.Progress = &progress
	}
	if err := s.readRest(ctx, &f); err != nil {
		return f, err
	}
	diffs, err := s.o.DB.DiffRuns(ctx, org, 1)
	if err != nil {
		return f, err
	}
	if len(diffs) > 0 {
		f.Diff = &diffs[0]
	}
	return f, nil
}

// readRest reads what no other package reads.
func (s *Site) readRest(ctx context.Context, f *facts) error {
	var newest *time.Time
	var run *[16]byte
	err := s.o.DB.Pool().QueryRow(ctx, `SELECT clock_timestamp(),
			(SELECT count(*) FROM ingest.webhook_inbox WHERE org_id = $1 AND done_at IS NULL AND parked_at IS NULL),
			(SELECT count(*) FROM ingest.webhook_inbox WHERE org_id = $1 AND done_at IS NULL AND parked_at IS NOT NULL),
			(SELECT received_at FROM ingest.webhook_inbox WHERE org_id = $1 ORDER BY id DESC LIMIT 1),
			coalesce((SELECT error FROM ingest.webhook_inbox WHERE org_id = $1 AND done_at IS NULL AND parked_at IS NOT NULL ORDER BY id LIMIT 1), ''),
			(SELECT id FROM ingest.runs WHERE org_id = $1 AND kind <> 'webhook' ORDER BY started_at DESC, id LIMIT 1)`, f.Org).
		Scan(&f.At, &f.Inbox.Waiting, &f.Inbox.Parked, &newest, &f.Inbox.Error, &run)
	if err != nil {
		return fmt.Errorf("read the inbox of %s: %w", f.Org, err)
	}
	f.At = f.At.UTC()
	if newest != nil {
		f.Inbox.Newest = newest.UTC()
	}
	switch {
	case run == nil:
	case f.Status.Run != nil && f.Status.Run.ID == record.UUID(*run):
		f.Last = f.Status.Run
	default:
		last, err := s.o.DB.RunInfo(ctx, f.Org, record.UUID(*run).String())
		if err != nil && !errors.Is(err, postgres.ErrNotFound) {
			return err
		}
		if err == nil {
			f.Last = &last
		}
	}
	return nil
}

// mark is something that changes whenever the facts may have changed, and is cheap to read: pages that are looked at ask for it every second.
func (s *Site) mark(ctx context.Context, org record.UUID) (mark string, err error) {
	err = s.o.DB.Pool().QueryRow(ctx, `SELECT concat_ws(' ',
			(SELECT concat_ws('/', token IS NOT NULL, ingest_enabled, webhook_secret IS NOT NULL, user_id_field, company_id_field, activity_refresh,
				last_synced_at, workspace_name, connected_at) FROM ingest.connections WHERE org_id = $1),
			(SELECT string_agg(concat_ws('/', id, state, attempts, finished_at, undone_at), ' ') FROM (SELECT * FROM ingest.runs WHERE org_id = $1 ORDER BY started_at DESC LIMIT 3) r),
			(SELECT max(c.updated_at) FROM ingest.checkpoints c
				WHERE c.org_id = $1 AND c.run_id IN (SELECT id FROM ingest.runs WHERE org_id = $1 ORDER BY started_at DESC LIMIT 3)),
			(SELECT count(*) FROM ingest.rejects WHERE org_id = $1 AND resolved_at IS NULL),
			(SELECT max(id) FROM ingest.webhook_inbox WHERE org_id = $1),
			(SELECT count(*) FROM ingest.webhook_inbox WHERE org_id = $1 AND done_at IS NULL AND parked_at IS NULL),
			(SELECT max(finished_at) FROM ingest.diff_runs WHERE org_id = $1),
			(SELECT concat_ws('/', epoch, released_at, heartbeat_at < clock_timestamp() - interval '30 s') FROM ingest.leases WHERE org_id = $1))`, org).Scan(&mark)
	if err != nil {
		return "", fmt.Errorf("look whether anything changed for %s: %w", org, err)
	}
	jobs, err := s.o.Queue.Jobs(ctx, org)
	if err != nil {
		return "", err
	}
	for _, j := range jobs {
		mark += fmt.Sprintf(" %s/%s/%d/%s", j.Kind, j.State, j.Attempt, j.Error)
	}
	p, ok, err := work.Progress(ctx, s.o.DB, org)
	if err != nil {
		return "", err
	}
	if ok {
		mark += " " + p.At.UTC().Format(time.RFC3339Nano)
	}
	return mark, nil
}

// folded are the runs of one day that are shown as one line.
type folded struct {
	Day                              time.Time // UTC
	Passes, Failed, Rows, Rejected   int64
	Requests                         int64
	FirstStarted, LastEnded, Running time.Time
}

const (
	// rowsOf sums what a run has written to the four tables, out of its counts.
	rowsOf = `(SELECT coalesce(sum(e.value::bigint), 0)::bigint FROM jsonb_each_text(%[1]s) e WHERE e.key ~ '^load/(end_users|companies|transcripts|tickets)/(inserted|updated|deleted)$')`
	// rejectedOf does so for what was rejected.
	rejectedOf = `(SELECT coalesce(sum(e.value::bigint), 0)::bigint FROM jsonb_each_text(%[1]s) e WHERE e.key ~ '^load/[a-z_]+/rejected$')`
)

// readFolded reads the passes over the inbox since an instant, by day, newest first.
func (s *Site) readFolded(ctx context.Context, org record.UUID, since time.Time) ([]folded, error) {
	rows, err := s.o.DB.Pool().Query(ctx, fmt.Sprintf(`SELECT date_trunc('day', started_at AT TIME ZONE 'UTC'), count(*), count(*) FILTER (WHERE state = 'failed'),
			sum(`+rowsOf+`)::bigint, sum(`+rejectedOf+`)::bigint, sum(requests)::bigint, min(started_at), max(coalesce(finished_at, started_at))
		FROM ingest.runs WHERE org_id = $2 AND kind = 'webhook' AND started_at >= $1 GROUP BY 1 ORDER BY 1 DESC`, "counts"), since, org)
	if err != nil {
		return nil, fmt.Errorf("read webhook runs of %s: %w", org, err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (x folded, err error) {
		err = row.Scan(&x.Day, &x.Passes, &x.Failed, &x.Rows, &x.Rejected, &x.Requests, &x.FirstStarted, &x.LastEnded)
		return x, err
	})
	if err != nil {
		return nil, fmt.Errorf("read webhook runs of %s: %w", org, err)
	}
	return list, nil
}

// readRuns lists the newest runs that are no passes over the inbox, newest first, before an instant if it is not zero.
func (s *Site) readRuns(ctx context.Context, org record.UUID, before time.Time, limit int) ([]postgres.RunInfo, error) {
	rows, err := s.o.DB.Pool().Query(ctx, `SELECT id FROM ingest.runs WHERE org_id = $1 AND kind <> 'webhook' AND ($2::timestamptz IS NULL OR started_at < $2)
		ORDER BY started_at DESC, id LIMIT $3`, org, orNull(before), limit)
	var ids [][16]byte
	if err == nil {
		ids, err = pgx.CollectRows(rows, pgx.RowTo[[16]byte])
	}
	if err != nil {
		return nil, fmt.Errorf("list runs of %s: %w", org, err)
	}
	var list []postgres.RunInfo
	for _, id := range ids {
		run, err := s.o.DB.RunInfo(ctx, org, record.UUID(id).String())
		if errors.Is(err, postgres.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, run)
	}
	return list, nil
}

// bucket is what happened in one span of time.
type bucket struct {
	From           time.Time
	Rows, Requests int64
}

// readActivity sums rows and requests of all runs by the hour or day in which they ended, from an instant on, oldest first and without gaps.
func (s *Site) readActivity(ctx context.Context, org record.UUID, unit string, from time.Time, n int) ([]bucket, error) {
	rows, err := s.o.DB.Pool().Query(ctx, fmt.Sprintf(`WITH r AS (
			SELECT coalesce(r.finished_at, clock_timestamp()) AS at, r.requests,
				CASE WHEN r.finished_at IS NOT NULL THEN `+rowsOf+` ELSE (SELECT coalesce(sum(`+rowsOfC+`), 0)::bigint FROM ingest.checkpoints c WHERE c.org_id = r.org_id AND c.run_id = r.id) END AS written
			FROM ingest.runs r WHERE r.org_id = $1 AND r.started_at >= $2::timestamptz - interval '7 days' AND coalesce(r.finished_at, clock_timestamp()) >= $2)
		SELECT g.at, coalesce(sum(r.written), 0)::bigint, coalesce(sum(r.requests), 0)::bigint
		FROM generate_series($2::timestamptz AT TIME ZONE 'UTC', $2::timestamptz AT TIME ZONE 'UTC' + ($3::int - 1) * ('1 ' || $4::text)::interval, ('1 ' || $4::text)::interval) g(at)
			LEFT JOIN r ON date_trunc($4::text, r.at AT TIME ZONE 'UTC') = g.at
		GROUP BY g.at ORDER BY g.at`, "r.counts", "c.counts"), org, from, n, unit)
	if err != nil {
		return nil, fmt.Errorf("read what runs of %s did: %w", org, err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (x bucket, err error) {
		err = row.Scan(&x.From, &x.Rows, &x.Requests)
		return x, err
	})
	if err != nil {
		return nil, fmt.Errorf("read what runs of %s did: %w", org, err)
	}
	return list, nil
}

// rowsOfC is rowsOf for the second argument.
const rowsOfC = `(SELECT coalesce(sum(e.value::bigint), 0)::bigint FROM jsonb_each_text(%[2]s) e WHERE e.key ~ '^load/(end_users|companies|transcripts|tickets)/(inserted|updated|deleted)$')`

func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
