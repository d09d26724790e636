package work

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/riverqueue/river"

	"haloingest/cmd/haloingest/internal/ingest"
	"haloingest/sinks/postgres"
)

// Bounds of a pass.
const (
	passRound   = 200             // deliveries of a round: so few that a round is over in seconds also where the budget is small
	passAtMost  = 3 * time.Minute // a pass that hangs is given up then
	besideEvery = time.Second
	besideRest  = 15 * time.Second // after a pass that failed
)

// drain makes a pass over an inbox. Where a run holds the organisation, or one is about to, it leaves that to its process.
func (w *Worker) drain(ctx context.Context, t *task, _ drainArgs) error {
	var other bool
	err := w.pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM ingest.river_job WHERE args->>'org' = $1 AND finalized_at IS NULL AND state = 'running' AND kind <> $2)`,
		t.org.String(), KindDrain).Scan(&other)
	if err != nil {
		return fmt.Errorf("look at the jobs of %s: %w", t.org, err)
	}
	if other {
		return nil
	}
	runner, digest, done, err := w.runner(ctx, t)
	if errors.Is(err, errOff) {
		return nil // what is in the inbox is looked at when ingest is on again
	}
	if err != nil {
		return err
	}
	defer done()
	hard, cancel := context.WithTimeoutCause(ctx, passAtMost, errSlowPass)
	defer cancel()
	report, err := runner.Drain(hard, t.read, w.pass())
	switch {
	case errors.Is(err, postgres.ErrHeld):
		return nil
	case err != nil && hard.Err() != nil && ctx.Err() == nil:
		return fmt.Errorf("%w: %w", errSlowPass, err)
	case err != nil:
		return refused(err, digest)
	}
	w.told(t, report)
	if report.More && t.read.Err() == nil {
		return river.JobSnooze(0) // behind the others
	}
	return nil
}

var errSlowPass = errors.New("the pass over the inbox took too long")

func (w *Worker) pass() ingest.DrainOptions {
	return ingest.DrainOptions{Round: passRound, For: w.options.PassFor}
}

func (w *Worker) told(t *task, r ingest.DrainReport) {
	if r.Deliveries > 0 {
		t.log.Debug("pass over the inbox", "run", r.Run, "deliveries", r.Deliveries, "done", r.Done, "objects", r.Objects, "later", r.Later, "parked", r.Parked)
	}
}

// besideRun is a run that can make passes over the inbox of the organisation that it holds.
type besideRun interface {
	Drain(ctx, read context.Context, o ingest.DrainOptions) (ingest.DrainReport, error)
}

// drainBeside makes passes over the inbox while the task's run holds the organisation, until read is done; one that is under way then ends softly.
func (w *Worker) drainBeside(ctx, read context.Context, t *task, run besideRun) {
	tick := time.NewTimer(0)
	defer tick.Stop()
	wake := t.wake
	for {
		select {
		case <-read.Done():
			return
		case <-t.read.Done():
			return // the run ends
		case <-wake:
		case <-tick.C:
		}
		pass, cancel := context.WithTimeoutCause(ctx, passAtMost, errSlowPass)
		var report ingest.DrainReport
		err := guard(func() (err error) {
			report, err = run.Drain(pass, read, w.pass())
			return err
		})
		cancel()
		pause := besideEvery
		wake = t.wake
		switch {
		case read.Err() != nil || ctx.Err() != nil:
			return
		case err != nil:
			t.log.Warn("the inbox is not worked on beside the run; it is tried again", "error", err)
			pause, wake = besideRest, nil
		default:
			w.told(t, report)
		}
		tick.Reset(pause)
	}
}
