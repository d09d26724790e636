package work

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"haloingest/cmd/haloingest/internal/ingest"
	"haloingest/pipeline"
	"haloingest/pipeline/record"
	"haloingest/sinks/postgres"
)

// backfill reads a whole workspace, or goes on with it.
func (w *Worker) backfill(ctx context.Context, t *task, args backfillArgs) error {
	request := ingest.Request{Kind: ingest.KindBackfill, Since: args.Since, Sample: args.Sample, Restart: args.Restart}
	for _, kind := range args.Only {
		request.Only = append(request.Only, record.Kind(kind))
	}
	done, begun, err := w.history(ctx, t, request)
	if err != nil {
		return err
	}
	if done {
		t.log.Info("the backfill was made already")
		return nil
	}
	if begun {
		request.Restart = false // it has begun anew, and was cut off since
	}
	return w.work(ctx, t, request)
}

// history says what became of a backfill that an earlier attempt of the job has begun: an attempt may die after the run was complete, or in the
// middle of one that was to begin anew.
func (w *Worker) history(ctx context.Context, t *task, r ingest.Request) (done, begun bool, err error) {
	full := len(r.Only) == 0 && r.Since.IsZero() && r.Sample == 0
	err = w.pool.QueryRow(ctx, `SELECT
			coalesce(bool_or(state = 'complete' AND undone_at IS NULL AND $3 AND NOT spec ?| ARRAY['only', 'since', 'sample']
				AND CASE WHEN $4 THEN started_at ELSE finished_at END >= $5), false),
			coalesce(bool_or(state <> 'complete' AND state <> 'abandoned' AND started_at >= $5), false)
		FROM ingest.runs WHERE org_id = $1 AND kind = $2 AND greatest(started_at, finished_at) >= $5`,
		[16]byte(t.org), r.Kind, full, r.Restart, t.row.CreatedAt).Scan(&done, &begun)
	if err != nil {
		err = fmt.Errorf("look at the runs of %s: %w", t.org, err)
	}
	return done, begun, err
}

// sync reads what has changed since the last complete sync.
func (w *Worker) sync(ctx context.Context, t *task, _ syncArgs) error {
	return w.work(ctx, t, ingest.Request{Kind: ingest.KindSync})
}

// refresh reads the open and recently active conversations again.
func (w *Worker) refresh(ctx context.Context, t *task, _ refreshArgs) error {
	return w.work(ctx, t, ingest.Request{Kind: ingest.KindRefresh})
}

// retry tries rejects again.
func (w *Worker) retry(ctx context.Context, t *task, args retryArgs) error {
	return w.work(ctx, t, ingest.Request{Kind: ingest.KindRetry, Rejects: args.Rejects})
}

// work makes one run.
func (w *Worker) work(ctx context.Context, t *task, request ingest.Request) error {
	runner, digest, done, err := w.runner(ctx, t)
	if err != nil {
		return err
	}
	defer done()
	if request.Kind == ingest.KindSync {
		request.Since = runner.Connection.SyncedTo
	}
	run, err := acquire(ctx, t, func() (*ingest.Run, error) { return runner.Start(ctx, request) })
	if err != nil {
		return refused(err, digest)
	}
	stop := w.beside(ctx, t, run)
	report, err := run.Do(ctx, t.read)
	stop()
	if cerr := run.Close(context.WithoutCancel(ctx)); cerr != nil {
		t.log.Warn("give the lease back", "error", cerr)
	}
	var crash *pipeline.PanicError
	switch {
	case errors.As(err, &crash):
		w.stats.panics.Add(1)
		t.log.Error("this is a bug of haloingest; please report it with these lines", "panic", crash.Value, "stack", string(crash.Stack))
	case err == nil && report.More && request.Kind == ingest.KindSync:
		t.log.Info("the sync that was cut off is complete; what has changed since it began follows", "run", report.Run.ID, "objects", report.Read)
		return w.wait(ctx, "the sync that was cut off is complete; what has changed since it began follows", 0)
	case err == nil && report.More:
		t.log.Info("job rests: its share of the budget is used up", "run", report.Run.ID, "objects", report.Read)
		return w.wait(ctx, "its share of the budget is used up; the rest follows", min(runner.Connection.ActivityRefresh, time.Hour))
	case err == nil && report.Run.State != postgres.RunComplete:
		err = fmt.Errorf("%s is not complete: %s", report.Run.Kind, report.Run.Error)
	case err == nil:
		t.log.Info("job done", "run", report.Run.ID, "elapsed", report.Elapsed.Round(time.Millisecond), "objects", report.Read, "requests", report.API.Requests)
	}
	return refused(err, digest)
}

// Patience with the pass over the inbox that holds the organisation: none begins while this job is tried (see drain), so it is soon over.
const passPatience = 30 * time.Second

// acquire begins a run, and waits where a pass over the inbox holds the organisation.
func acquire[R any](ctx context.Context, t *task, start func() (R, error)) (R, error) {
	began := time.Now()
	for {
		run, err := start()
		var held *postgres.HeldError
		if !errors.As(err, &held) || !strings.HasPrefix(held.Holder, KindDrain+" ") || time.Since(began) > passPatience || t.read.Err() != nil || ctx.Err() != nil {
			return run, err
		}
	}
}

// beside keeps the run's progress in the database and makes passes over the inbox, until the function that it returns is called.
func (w *Worker) beside(ctx context.Context, t *task, run *ingest.Run) (stop func()) {
	until, cancel := context.WithCancel(ctx)
	t.hold(true, func() bool { return settled(run.Progress()) })
	var crew sync.WaitGroup
	crew.Go(func() { w.publish(until, t, run.Progress) })
	crew.Go(func() { w.drainBeside(ctx, until, t, run) })
	return func() {
		t.hold(false, nil)
		cancel()
		crew.Wait()
	}
}

// settled reports whether the run can stop and go on later without reading again what it has read: a company scroll begins anew.
func settled(p ingest.Progress) bool {
	for _, s := range p.Streams {
		if s.State == ingest.StreamRunning && s.Stream == record.KindCompany.Stream() {
			return false
		}
	}
	return true
}

// noteRun tells the task which run it makes.
func noteRun(t *task, next ingest.Watch) ingest.Watch {
	return func(ctx context.Context, part ingest.Part) (context.Context, func(postgres.RunState, error)) {
		if part.Stream == "" && (part.Kind == t.row.Kind || t.row.Kind == KindDrain) {
			t.setRun(part.Run)
		}
		if next == nil {
			return ctx, func(postgres.RunState, error) {}
		}
		return next(ctx, part)
	}
}
