// Package ingest joins the parts into runs: it opens the sources that a backfill or a sync needs, puts
// the stages behind them and the PostgreSQL sink at the end, one stream after the other, and ends the
// run in the state that it deserves. The commands and the service call it; it prints nothing.
package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/pipeline"
	"haloingest/pipeline/record"
	"haloingest/sinks/parquet"
	"haloingest/sinks/postgres"
	"haloingest/sources/intercom"
	"haloingest/stages/distill"
)

// Runner makes runs for one connected workspace.
type Runner struct {
	DB          *postgres.DB
	Client      *intercom.Client
	Connection  connection.Connection
	Log         *slog.Logger
	Holder      string            // who holds the lease, for people: command, host and process
	Concurrency int               // detail requests under way at once
	Distiller   distill.Distiller // nil: offline
	// Attachments says where files are saved, nil: nowhere. Org and Log are filled in.
	Attachments *intercom.AttachmentOptions
	Snapshot    Snapshot // what is read is kept there, too
	Names       *Names   // of passes over the inbox; nil: each reads its own
	Watch       Watch    // nil: nobody is told of runs
}

// Kinds of run.
const (
	KindBackfill = "backfill"
	KindSync     = "sync"
	KindRetry    = "retry"
	// KindRefresh reads open and recently active conversations and tickets again, see refresh.go.
	KindRefresh = "refresh"
)

// Request is what a run is asked to do.
type Request struct {
	Kind    string
	Only    []record.Kind // empty: all
	Since   time.Time     // zero: everything; for a sync it is the connection's bookmark
	Sample  int           // objects per stream, 0: all
	Restart bool          // begin anew, even if there is something to resume
	Rejects []int64       // of a retry: which, empty for all open ones
	Repair  *Repair       // of a repair: what
	Limit   int           // of a refresh: objects that are read at most, 0: a share of the workspace's budget
}

// full reports whether the request covers the whole workspace.
func (r Request) full() bool {
	return r.Kind == KindBackfill && len(r.Only) == 0 && r.Since.IsZero() && r.Sample == 0
}

// completes reports whether the request covers a part of the workspace that may be the last one missing for a first sync.
func (r Request) completes(syncedTo time.Time) bool {
	return r.Kind == KindBackfill && r.Since.IsZero() && r.Sample == 0 && syncedTo.IsZero()
}

// Run is one run under its lease. Close it.
type Run struct {
	runner  *Runner
	request Request
	lease   *postgres.Lease
	run     *postgres.Run
	streams []stream
	tracker *tracker
	rules   distill.Rules
	files   *attachments // nil: files are not saved
	keeper  *keeper      // nil: no snapshot is kept
	left    *allowance   // of what is read again; nil: not worked out yet
}

// Errors of runs that go on from what was read before.
var (
	ErrOff        = errors.New("ingest is off")
	ErrNoBackfill = errors.New("no complete backfill to go on from")
)

// Allows refuses what the connection has no basis for, as Start does.
func (r *Runner) Allows(request Request) error {
	if request.Kind != KindSync && request.Kind != KindRefresh {
		return nil
	}
	org := r.Connection.Org
	switch {
	case !r.Connection.IngestEnabled:
		return fmt.Errorf("%w for organisation %s; turn it on with: haloingest settings --org %s --ingest on", ErrOff, org, org)
	case r.Connection.SyncedTo.IsZero():
		return fmt.Errorf("organisation %s has %w; run: haloingest backfill --org %s", org, ErrNoBackfill, org)
	}
	return nil
}

// Start takes the workspace's lease and starts or resumes a run. The error is postgres.ErrHeld if
// another run holds the workspace; a sync or a refresh is refused with ErrOff where ingest is off, and with ErrNoBackfill where everything
// has not been read once.
func (r *Runner) Start(ctx context.Context, request Request) (*Run, error) {
	if err := r.Allows(request); err != nil {
		return nil, err
	}
	lease, err := r.DB.Acquire(ctx, r.Connection.Org, r.Holder)
	if err != nil {
		return nil, err
	}
	run, err := r.start(ctx, lease, request)
	if err != nil {
		return nil, errors.Join(err, lease.Release(ctx))
	}
	return run, nil
}

func (r *Runner) start(ctx context.Context, lease *postgres.Lease, request Request) (*Run, error) {
	spec := postgres.RunSpec{
		Kind:    request.Kind,
		Since:   request.Since,
		Sample:  request.Sample,
		Restart: request.Restart,
		Params: map[string]string{
			"user_id_field":    r.Connection.UserIDField,
			"company_id_field": r.Connection.CompanyIDField,
		},
		// A first backfill has nothing to compare with what it sees.
		Track: request.full() && !r.Connection.SyncedTo.IsZero(),
	}
	for _, kind := range request.Only {
		spec.Only = append(spec.Only, kind.Stream())
	}
	rules, err := Rules(ctx, r.DB, r.Connection.Org)
	if err != nil {
		return nil, err
	}
	LearnBy(spec.Params, rules, r.Distiller)
	r.Snapshot.params(spec.Params)
	if request.Repair != nil {
		spec.Params["diff"] = request.Repair.Diff.String()
	}
	files, err := r.openAttachments()
	if err != nil {
		return nil, err
	}
	run, err := r.DB.StartRun(ctx, lease, spec)
	if err != nil {
		return nil, errors.Join(err, files.close())
	}
	own := *r
	own.Log = r.Log.With("run", run.ID.String())
	r = &own
	for _, old := range run.Abandoned {
		r.Log.Info("an unfinished run is put aside", "unfinished", old.ID.String(), "started", old.StartedAt, "why", old.Why)
	}
	if run.Resumed {
		r.Log.Info("resuming", "attempt", run.Attempts, "started", run.StartedAt)
	}
	out := &Run{runner: r, request: request, lease: lease, run: run, rules: rules, files: files}
	if r.Snapshot.Store != nil {
		out.keeper = &keeper{Snapshot: r.Snapshot, db: r.DB, run: run, org: r.Connection.Org, log: r.Log}
	}
	out.streams = out.plan()
	var names []string
	for _, s := range out.streams {
		names = append(names, s.name)
	}
	out.tracker = newTracker(time.Now, names)
	return out, nil
}

// Close gives the lease back.
func (r *Run) Close(ctx context.Context) error {
	return errors.Join(r.lease.Release(ctx), r.files.close())
}

// Progress may be called at any time from any goroutine.
func (r *Run) Progress() Progress {
	return Progress{
		Streams: r.tracker.snapshot(),
		API:     r.runner.Client.Stats(),
		Elapsed: time.Since(r.tracker.started),
		Files:   r.files.progress(),
	}
}

// Do runs the streams one after the other and finishes the run: complete when all were read to their
// end, interrupted when read was done before that or a refresh rests, failed otherwise. The report is good in all cases;
// the error is pipeline.ErrStopped after a soft stop.
func (r *Run) Do(ctx, read context.Context) (Report, error) {
	ctx, release := r.lease.Bind(ctx)
	defer release()
	ctx, end := r.watch(ctx, "")
	skipped, err := r.doAll(ctx, read)
	more := errors.Is(err, errRest)
	if more {
		err = nil
	}
	outcome := postgres.Outcome{State: postgres.RunComplete, Requests: r.runner.Client.Stats().Total}
	switch {
	case more, errors.Is(err, pipeline.ErrStopped), err != nil && ctx.Err() != nil && context.Cause(r.lease.Lost()) == nil:
		outcome.State = postgres.RunInterrupted
	case err != nil:
		outcome.State, outcome.Err = postgres.RunFailed, err
	case len(skipped) > 0:
		// What was skipped is still to be read; the next run takes it up where it stands.
		outcome.State, outcome.Err = postgres.RunFailed, fmt.Errorf("skipped %s", strings.Join(skipped, ", "))
	case r.request.full() || r.request.Kind == KindSync:
		outcome.SyncedTo, err = r.syncedTo(ctx, r.run.StartedAt)
	case r.request.completes(r.runner.Connection.SyncedTo):
		var from time.Time
		if from, err = r.run.Covered(ctx); err == nil && !from.IsZero() {
			outcome.SyncedTo, err = r.syncedTo(ctx, from)
		}
	}
	if r.keeper != nil {
		if kerr := r.keeper.end(ctx, outcome); kerr != nil {
			if err != nil || outcome.State != postgres.RunComplete {
				r.runner.Log.Warn("the snapshot's manifest is not up to date; the same command brings it up to date", "error", kerr)
			} else {
				err = kerr
				outcome.State, outcome.Err, outcome.SyncedTo = postgres.RunFailed, kerr, time.Time{}
			}
		}
	}
	ferr := r.finish(ctx, outcome, Patience(err), err == nil && outcome.State == postgres.RunComplete && r.run.Spec.Track)
	if ferr != nil && err == nil {
		err = ferr
	}
	reading, cancel := context.WithTimeout(context.WithoutCancel(ctx), Patience(err))
	defer cancel()
	report, rerr := r.report(reading)
	report.More = more || r.request.Kind == KindSync && r.run.Resumed && outcome.State == postgres.RunComplete
	if err == nil && rerr != nil {
		err = fmt.Errorf("the run is over (%s), but the database does not give its report, see runs show: %w", outcome.State, rerr)
	}
	end(outcome.State, err)
	return report, err
}

// Patience is how long the end of a run waits for the database: for longer than a transaction is tried again, so
// that what is said in the end is why; and not once more where that has been waited for already.
func Patience(err error) time.Duration {
	if errors.Is(err, postgres.ErrDatabase) {
		return 2 * time.Second
	}
	return 20 * time.Second
}

// finish ends the run also where ctx has ended. A walk that is over need not know any more what it has seen.
func (r *Run) finish(ctx context.Context, outcome postgres.Outcome, within time.Duration, forget bool) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), within)
	defer cancel()
	var err error
	if forget {
		err = r.run.ForgetSeen(ctx)
	}
	if ferr := r.run.Finish(ctx, outcome); ferr != nil {
		return ferr
	}
	return err
}

// doAll reads all streams and names those that the token may not read.
func (r *Run) doAll(ctx, read context.Context) (skipped []string, err error) {
	reference, err := r.reference(ctx)
	if err != nil {
		return nil, err
	}
	if r.keeper != nil {
		r.keeper.reference = &reference
		if err := r.keeper.begin(ctx); err != nil {
			return nil, err
		}
	}
	if err := r.files.begin(ctx, r); err != nil {
		return nil, err
	}
	for _, s := range r.streams {
		if read.Err() != nil {
			return skipped, pipeline.ErrStopped
		}
		under, end := r.watch(ctx, s.name)
		err := r.doStream(under, read, s, reference)
		end("", err)
		if class, ok := intercom.ClassOf(err); ok && class == intercom.ClassScope {
			var refusal *intercom.Error
			errors.As(err, &refusal) // it has a class, so it is one
			why := fmt.Sprintf("the token may not read %s (%s); %s", s.kind.Stream(), refusal, refusal.Hint)
			r.runner.Log.Warn("stream skipped", "stream", s.name, "why", why)
			if err := r.run.SkipStream(ctx, s.name, why); err != nil {
				return skipped, err
			}
			r.tracker.end(s.name, StreamSkipped)
			skipped = append(skipped, s.name)
			continue
		}
		if err != nil {
			return skipped, err
		}
	}
	return skipped, nil
}

// reference returns the names that the run maps with: those of its first attempt, if there was one, so
// that all of a run's rows agree.
func (r *Run) reference(ctx context.Context) (record.Reference, error) {
	if kept, ok := r.run.Reference(); ok {
		return kept, nil
	}
	return r.readReference(ctx)
}

// readReference reads the names anew and keeps them with the run.
func (r *Run) readReference(ctx context.Context) (record.Reference, error) {
	reference, warnings, err := r.runner.Client.Reference(ctx)
	if err != nil {
		return reference, err
	}
	for _, w := range warnings {
		r.runner.Log.Warn("reference data left out; numbers stand in for names", "why", w)
	}
	if err := r.run.SetReference(ctx, reference); err != nil {
		return reference, err
	}
	kept, _ := r.run.Reference()
	return kept, nil
}

// doStream reads one stream from its checkpoint to its end.
func (r *Run) doStream(ctx, read context.Context, s stream, reference record.Reference) error {
	at, err := r.run.Checkpoint(ctx, s.name)
	if err != nil {
		return err
	}
	if at.Complete {
		r.tracker.end(s.name, StreamComplete)
		return nil
	}
	if s.anew {
		at.Cursor = nil
	}
	source, err := s.open(ctx)
	if err != nil {
		return err
	}
	if source == nil {
		r.tracker.end(s.name, StreamComplete)
		return nil
	}
	p, sink, err := r.build(s, source, at, reference)
	if err != nil {
		return err
	}
	r.tracker.start(s.name, committed(at.Counts), r.expected(ctx, s), p)
	err = p.Run(ctx, read)
	if cerr := sink.Close(ctx); err == nil {
		err = cerr
	}
	if err == nil && r.left != nil && r.left.rest {
		if r.request.Kind == KindRefresh {
			return errRest
		}
		r.runner.Log.Warn("not everything was read again that shows changed contacts; the next full walk finds the rest", "stream", s.name)
	}
	if err == nil {
		err = r.run.CompleteStream(ctx, s.name)
	}
	if err == nil {
		r.tracker.end(s.name, StreamComplete)
	}
	return err
}

// expected is how many objects the stream has, as far as one request can tell; 0 if it cannot. Only the
// progress display uses it, so what goes wrong here is left for the stream itself to find out.
func (r *Run) expected(ctx context.Context, s stream) int64 {
	if !s.counted {
		return 0
	}
	n, err := r.runner.Client.Count(ctx, s.kind, r.request.Since)
	if err != nil || n < 0 {
		return 0
	}
	if r.request.Sample > 0 {
		n = min(n, r.request.Sample)
	}
	return int64(n)
}

// Rows and bytes of a commit (performance.md, item 7).
var commitLimits = pipeline.Limits{Rows: 500, Bytes: 4 << 20, Age: 2 * time.Second}

// build joins a source to the stages and the sink.
func (r *Run) build(s stream, source pipeline.Source[record.Object], at postgres.Checkpoint, reference record.Reference) (*pipeline.Pipeline, *postgres.Sink, error) {
	conn := r.runner.Connection
	// Room between the stages would only hold more batches in memory.
	options := pipeline.Options{Buffer: -1}
	if r.request.Kind == KindRetry {
		options.RejectLimit.Share = -1 // they are rejects to begin with
	}
	loading := postgres.SinkOptions{Rejects: options.RejectLimit, Rewrite: r.request.Kind == KindRepair}
	if r.keeper != nil {
		loading.Snapshot = r.keeper.Store.Location()
	}
	sink := r.run.Sink(s.name, loading)
	p := pipeline.New(options)
	objects := pipeline.From(p, source, at.Cursor)
	if s.tap != nil {
		objects = pipeline.Tap(objects, s.tap)
	}
	if s.details != nil {
		objects = pipeline.Via(objects, s.details, 2)
	}
	if r.keeper != nil {
		objects = pipeline.Tap(objects, parquet.Hold{})
	}
	changes, err := Stages(objects, Mapping{
		Org: conn.Org, UserIDField: conn.UserIDField, CompanyIDField: conn.CompanyIDField, Reference: reference,
		Rules: r.rules, Distiller: r.runner.Distiller, Log: r.runner.Log,
	})
	if err != nil {
		return nil, nil, err
	}
	changes = r.files.tap(changes)
	last := countRejects{sink, s.kind}
	if r.keeper != nil {
		changes = pipeline.Rebatch(pipeline.Via(changes, lighten, 1), segmentLimits, segmentSize)
		changes = pipeline.Tap(changes, parquet.NewSegments(r.keeper.target(), s.name, at.Seq))
		pipeline.Into(changes, keepManifest{last, r.keeper})
		return p, sink, nil
	}
	pipeline.Into(pipeline.Rebatch(changes, commitLimits, changeSize), last)
	return p, sink, nil
}

// changeSize is about what a change holds in memory and sends to the database, in bytes.
func changeSize(c record.Change) int {
	n := 512
	if c.Object != nil {
		n += len(c.Object.Body)
	}
	if c.Transcript != nil {
		n += len(c.Transcript.MessagesJSON) + len(c.Transcript.Metadata)
	}
	for i := range c.Knowledge {
		n += 256 + len(c.Knowledge[i].Content)
	}
	return n
}
