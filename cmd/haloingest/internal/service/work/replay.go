package work

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/cmd/haloingest/internal/ingest"
	"haloingest/cmd/haloingest/internal/replay"
	"haloingest/sinks/postgres"
	"haloingest/sources/snapshot"
)

var errNoSnapshots = errors.New("this process cannot open snapshots")

// replay loads a snapshot. It needs neither a token nor ingest to be on.
func (w *Worker) replay(ctx context.Context, t *task, args replayArgs) error {
	if w.options.Snapshot == nil {
		return final{errNoSnapshots}
	}
	snap, done, err := w.options.Snapshot(ctx, t.org, ReplayOptions{
		Location: args.Location, Run: args.Run, Remap: args.Remap, UserIDField: args.UserIDField, CompanyIDField: args.CompanyIDField, Restart: args.Restart,
	})
	if err != nil {
		return lasting(err)
	}
	defer done()
	if snap.Org != t.org {
		return final{fmt.Errorf("the snapshot is of organisation %s", snap.Org)}
	}
	runner := &replay.Runner{DB: w.db, Snapshot: snap, Log: t.log, Holder: fmt.Sprintf("%s on %s, job %d", t.row.Kind, w.options.Process, t.row.ID)}
	conn, err := w.options.Connections.Get(ctx, t.org)
	switch {
	case err == nil:
		runner.Connection = &conn
	case !errors.Is(err, connection.ErrNotConnected):
		return err
	}
	if args.Remap && w.options.Prepare != nil {
		// The distiller is the one thing of a runner that a replay has, too.
		with := ingest.Runner{DB: w.db, Connection: conn, Log: t.log}
		if err := w.options.Prepare(&with); err != nil {
			return fmt.Errorf("prepare a replay of %s: %w", t.org, err)
		}
		runner.Distiller = with.Distiller
	}
	request := replay.Request{Remap: args.Remap, UserIDField: args.UserIDField, CompanyIDField: args.CompanyIDField, Restart: args.Restart}
	if request.Restart {
		if _, begun, err := w.history(ctx, t, ingest.Request{Kind: replay.Kind, Restart: true}); err != nil || begun {
			if err != nil {
				return err
			}
			request.Restart = false
		}
	}
	run, err := acquire(ctx, t, func() (*replay.Run, error) { return runner.Start(ctx, request) })
	if err != nil {
		return lasting(err)
	}
	report, err := w.replayed(ctx, t, run, conn.IngestEnabled && conn.Connected)
	if err == nil && report.Run.State != postgres.RunComplete {
		err = fmt.Errorf("%s is not complete: %s", report.Run.Kind, report.Run.Error)
	}
	if err == nil {
		t.log.Info("job done", "run", report.Run.ID, "elapsed", report.Elapsed.Round(time.Millisecond), "objects", report.Read)
	}
	return lasting(err)
}

func (w *Worker) replayed(ctx context.Context, t *task, run *replay.Run, inbox bool) (replay.Report, error) {
	t.hold(true, nil)
	w.findRun(ctx, t)
	until, cancel := context.WithCancel(ctx)
	var crew sync.WaitGroup
	crew.Go(func() { w.publish(until, t, run.Progress) })
	if inbox {
		crew.Go(func() { w.drainBeside(ctx, until, t, replayInbox{w, t, run}) })
	}
	report, err := run.Do(ctx, t.read)
	t.hold(false, nil)
	cancel()
	crew.Wait()
	if cerr := run.Close(context.WithoutCancel(ctx)); cerr != nil {
		t.log.Warn("give the lease back", "error", cerr)
	}
	return report, err
}

// replayInbox makes passes over the inbox beside a replay, which has no client of its own.
type replayInbox struct {
	w   *Worker
	t   *task
	run *replay.Run
}

// Drain makes a pass with the connection as it is now.
func (r replayInbox) Drain(ctx, read context.Context, o ingest.DrainOptions) (ingest.DrainReport, error) {
	if pending, err := r.w.db.OpenDeliveries(ctx, r.t.org, 0, 1); err != nil || len(pending) == 0 {
		return ingest.DrainReport{}, err
	}
	runner, _, done, err := r.w.runner(ctx, r.t)
	if errors.Is(err, errOff) {
		return ingest.DrainReport{}, nil
	}
	if err != nil {
		return ingest.DrainReport{}, err
	}
	defer done()
	return runner.DrainUnder(ctx, read, r.run.Lease(), o)
}

// findRun asks the database which run the task makes: of its kind, the one that runs. The lease is ours.
func (w *Worker) findRun(ctx context.Context, t *task) {
	err := w.pool.QueryRow(ctx, `SELECT id FROM ingest.runs WHERE org_id = $1 AND kind = $2 AND state = 'running' ORDER BY started_at DESC LIMIT 1`,
		[16]byte(t.org), t.row.Kind).Scan((*[16]byte)(&t.run))
	if err != nil {
		t.log.Debug("progress is not published: the run is not known", "error", err)
	}
}

// lasting marks what is wrong with a snapshot or with what was asked for: it is so the next time, too.
func lasting(err error) error {
	var broken *snapshot.CorruptError
	var foreign *snapshot.OrgError
	var unknown *snapshot.RunError
	var newer *snapshot.VersionError
	var mixed *replay.MappingError
	if errors.Is(err, snapshot.ErrNoSnapshot) || errors.Is(err, snapshot.ErrSealed) || errors.As(err, &broken) || errors.As(err, &foreign) ||
		errors.As(err, &unknown) || errors.As(err, &newer) || errors.As(err, &mixed) {
		return final{err}
	}
	return err
}
