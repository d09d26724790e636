// Package work carries backfills, replays, syncs, retries and passes over the inbox over any number of processes, by River, whose tables are in
// the same database. Queue inserts jobs; a Worker in each process runs them.
//
// # What holds
//
//   - Of each kind, one job at most waits or runs for an organisation. Jobs hold ids and options, never secrets.
//   - Every run is under the organisation's lease. A job that finds it held waits without having failed; while a job holds it, its process makes
//     the passes over the inbox beside it.
//   - Three queues with workers of their own: backfills and replays, which may take days; syncs, refreshes and retries; passes over the inbox. A
//     backfill that has had its slice while others wait commits, goes to the end of the queue, and is gone on with from there.
//   - Each process has a row with a heartbeat, and an advisory lock. The jobs of one that is gone are made available by any other, under a new id:
//     what a process that was only frozen says of the old one reaches nobody, and its lease's epoch keeps it from writing.
//   - What is due is kept in the database (schedule.go), so restarts neither skip nor double a turn.
//   - What fails and may pass is tried again with growing pauses; a token that does not work any more is not tried until there is another.
//
// # Memory
//
// A run has some tens of megabytes of its own and about 180 MB at its peak, with objects as large as they come; Options bounds how many there are
// at once.
package work

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"

	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/cmd/haloingest/internal/ingest"
	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/pipeline/record"
	"haloingest/sinks/postgres"
	"haloingest/sources/intercom"
	"haloingest/sources/snapshot"
)

// Options configures a Worker. DB, Connections and Client are needed; the rest works as it is.
type Options struct {
	// DB is shared and stays open. Its pool should have Options.Conns connections or more: with fewer, work waits for one another.
	DB          *postgres.DB
	Connections *connection.Store
	// Client makes the API client of a workspace. The Worker keeps one per organisation, so that requests share their budget, and closes it.
	Client func(region string, token secret.Text) (*intercom.Client, error)
	// Prepare is called for each runner before its run: for a distiller, attachments or a snapshot; nil: nothing is done.
	Prepare func(*ingest.Runner) error
	// Snapshot opens the snapshot that a replay loads; nil: replays fail. The function that it returns is called when the run is over.
	Snapshot func(ctx context.Context, org record.UUID, o ReplayOptions) (*snapshot.Snapshot, func(), error)
	// Watch, if it is set, is called where a job begins; the job works under the context that it returns, and the function that it returns is
	// called with what the job ended with and with what the queue is told of it: nil, to wait (*river.JobSnoozeError), and so on.
	Watch   func(ctx context.Context, job *rivertype.JobRow) (context.Context, func(err, verdict error))
	Log     *slog.Logger // nil: nothing is logged
	Process string       // names this process for people; "": host and process number

	// Jobs at once in this process. A run takes about 180 MB at its peak (a large backfill; the usual sync and drain take a tenth of it), so the
	// defaults are for 1 GB.
	Backfills   int // backfills and replays; 0: 2
	Syncs       int // syncs, refreshes, retries; 0: 4
	Drains      int // passes over inboxes; 0: 8
	Concurrency int // requests under way at once of one run; 0: 16

	Slice        time.Duration // a backfill makes room for one that waits after so long; 0: DefaultSlice
	SyncEvery    time.Duration // 0: DefaultSyncEvery
	WalkEvery    time.Duration // between full walks, which find what was deleted; 0: DefaultWalkEvery
	PassFor      time.Duration // a pass over an inbox begins no further round after so long; 0: 5 s
	KeepDone     time.Duration // deliveries that are done; 0: 14 days
	FirstRetry   time.Duration // the pause after a first failure, which doubles up to LongestRetry; 0: 15 s
	LongestRetry time.Duration // 0: 30 min; of passes over the inbox 2 min at most
}

// Defaults of Options.
const (
	DefaultSlice     = 5 * time.Minute
	DefaultSyncEvery = time.Hour
	DefaultWalkEvery = 7 * 24 * time.Hour
)

func (o Options) orDefault() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Process == "" {
		host, err := os.Hostname()
		if err != nil {
			host = "unknown host"
		}
		o.Process = fmt.Sprintf("%s (process %d)", host, os.Getpid())
	}
	for _, d := range []struct {
		at    *int
		usual int
	}{{&o.Backfills, 2}, {&o.Syncs, 4}, {&o.Drains, 8}, {&o.Concurrency, 16}} {
		if *d.at <= 0 {
			*d.at = d.usual
		}
	}
	for _, d := range []struct {
		at    *time.Duration
		usual time.Duration
	}{
		{&o.Slice, DefaultSlice}, {&o.SyncEvery, DefaultSyncEvery}, {&o.WalkEvery, DefaultWalkEvery}, {&o.PassFor, 5 * time.Second},
		{&o.KeepDone, 14 * 24 * time.Hour}, {&o.FirstRetry, 15 * time.Second}, {&o.LongestRetry, 30 * time.Minute},
	} {
		if *d.at <= 0 {
			*d.at = d.usual
		}
	}
	return o
}

// Conns is how many connections the pool needs so that all workers can be busy: two of each run, and those of the queue itself. Leases and this
// process's own sign of life have connections beside the pool.
func (o Options) Conns() int {
	o = o.orDefault()
	return 2*(o.Backfills+o.Syncs+o.Drains) + 8
}

// Worker runs jobs. Make it with New, and call Run once.
type Worker struct {
	options Options
	db      *postgres.DB
	pool    *pgxpool.Pool
	log     *slog.Logger
	queue   *Queue
	clients *clients
	client  *river.Client[pgx.Tx]
	self    process
	stats   stats

	mu    sync.Mutex
	tasks map[int64]*task // that run here, by job

	stored chan struct{} // something is in fresh
	fresh  map[record.UUID]bool

	reading context.Context // done: nothing more is begun
}

// New prepares a Worker. It touches nothing but memory; the database must be up to date when Run is called.
func New(o Options) (*Worker, error) {
	if o.DB == nil || o.Connections == nil || o.Client == nil {
		return nil, errors.New("make a worker: DB, Connections and Client are needed")
	}
	o = o.orDefault()
	w := &Worker{
		options: o, db: o.DB, pool: o.DB.Pool(), log: o.Log, tasks: make(map[int64]*task),
		stored: make(chan struct{}, 1), fresh: make(map[record.UUID]bool),
	}
	var err error
	if w.queue, err = NewQueue(o.DB); err != nil {
		return nil, err
	}
	w.clients = newClients(w)
	w.self = newProcess(o.Process)
	workers := river.NewWorkers()
	add(workers, w, w.backfill)
	add(workers, w, w.replay)
	add(workers, w, w.sync)
	add(workers, w, w.refresh)
	add(workers, w, w.retry)
	add(workers, w, w.drain)
	w.client, err = river.NewClient(riverpgxv5.New(w.pool), &river.Config{
		ID: w.self.id, Schema: postgres.QueueSchema, Workers: workers, Logger: riverLog(o.Log), ErrorHandler: &failures{w},
		Queues: map[string]river.QueueConfig{
			queueLong: {MaxWorkers: o.Backfills}, queueSync: {MaxWorkers: o.Syncs}, queueDrain: {MaxWorkers: o.Drains},
		},
		JobTimeout: -1,
		// By a job's age nothing can be told: a backfill of days is well. See process.go for what is done instead.
		RescueStuckJobsAfter: 20 * 365 * 24 * time.Hour,
		// Drains come by the second; what they did is in ingest.runs.
		CompletedJobRetentionPeriod: time.Hour,
		CancelledJobRetentionPeriod: 30 * 24 * time.Hour,
		DiscardedJobRetentionPeriod: 30 * 24 * time.Hour,
		MaxAttempts:                 maxAttempts,
	})
	if err != nil {
		return nil, fmt.Errorf("make a worker: %w", err)
	}
	return w, nil
}

// Queue is where jobs are inserted.
func (w *Worker) Queue() *Queue { return w.queue }

// Run works until read is done, and then stops softly: no job begins any more, those that run commit what they have read and go back to the
// queue at once, without counting as failed. When ctx is done, what runs is cancelled. It returns nil after either. An error says that the
// queue cannot be worked on at all.
func (w *Worker) Run(ctx, read context.Context) error {
	reading, stopReading := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stopReading(errShutdown)
	w.reading = reading
	if err := w.self.register(ctx, w.db); err != nil {
		return err
	}
	loops, stopLoops := context.WithCancel(context.WithoutCancel(ctx))
	var crew sync.WaitGroup
	defer func() {
		stopLoops()
		crew.Wait()
		w.self.leave(w.db, w.log)
		w.clients.close()
	}()
	// The sign of life goes on until all jobs are back.
	crew.Go(func() { w.self.live(loops, w.db, w.log) })
	crew.Go(func() { w.watch(loops) })
	// The client's own stop is told below; a context that ends would cancel its jobs at once.
	if err := w.client.Start(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("start working on the queue: %w", err)
	}
	w.log.Info("working on the queue", "process", w.options.Process, "backfills", w.options.Backfills, "syncs", w.options.Syncs, "drains", w.options.Drains)
	busy, stopBusy := context.WithCancel(loops)
	defer stopBusy()
	crew.Go(func() { w.every(busy, takeOverEvery, "take over jobs", w.takeOver) })
	crew.Go(func() { w.every(busy, scheduleEvery, "queue what is due", w.schedule) })
	crew.Go(func() { w.every(busy, unpauseEvery, "go on with what was paused", w.unpause) })
	crew.Go(func() { w.every(busy, choresEvery, "clean up", w.clean) })
	crew.Go(func() { w.look(busy) })
	select {
	case <-read.Done():
	case <-ctx.Done():
	}
	stopBusy()
	stopped := make(chan error, 1)
	go func() { stopped <- w.client.Stop(context.WithoutCancel(ctx)) }()
	stopReading(errShutdown)
	select {
	case err := <-stopped:
		return stopError(err)
	case <-ctx.Done():
	}
	hard, cancel := context.WithTimeout(context.WithoutCancel(ctx), hardStop)
	defer cancel()
	if err := w.client.StopAndCancel(hard); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return stopError(err)
	}
	return nil
}

// hardStop is how long an abort waits for what it has cancelled. What is left by then is taken over by others.
const hardStop = 30 * time.Second

func stopError(err error) error {
	if err != nil {
		return fmt.Errorf("stop working on the queue: %w", err)
	}
	return nil
}

// every calls f at once, and then so often until ctx is done. What f fails with is logged: the next time may be better.
func (w *Worker) every(ctx context.Context, period time.Duration, what string, f func(context.Context) error) {
	tick := time.NewTicker(period)
	defer tick.Stop()
	failed := false
	for {
		err := guard(func() error { return f(ctx) })
		switch {
		case ctx.Err() != nil:
		case err != nil && !failed: // once for an outage
			w.log.Warn("cannot "+what+"; it is tried again", "error", err)
		case err == nil && failed:
			w.log.Info("can " + what + " again")
		}
		failed = err != nil
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// guard makes a panic an error: what fails for one organisation must not end the process that works for all.
func guard(f func() error) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = fmt.Errorf("panic: %v\n%s", value, debug.Stack())
		}
	}()
	return f()
}
