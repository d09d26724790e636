package work

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/cmd/haloingest/internal/ingest"
	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/pipeline"
	"haloingest/pipeline/record"
	"haloingest/sinks/postgres"
	"haloingest/sources/intercom"
)

// Why a job is asked to stop softly.
var (
	errShutdown = errors.New("this process stops")
	errYield    = errors.New("others wait, and this job has had its share")
	errMakeWay  = errors.New("a sync of the same organisation waits, and this job has had its share")
	errOff      = errors.New("ingest is off")
	errAsked    = errors.New("it was asked to stop")
	errAgain    = errors.New("it was asked to begin anew")
	errTaken    = errors.New("another process has taken the job over")
)

// errPanicked is what a job ends with that does not come back.
var errPanicked = errors.New("the job panicked")

// task is a job that runs in this process.
type task struct {
	row   *rivertype.JobRow
	org   record.UUID
	log   *slog.Logger
	began time.Time
	read  context.Context // done: stop softly; the cause is one of the errors above
	stop  context.CancelCauseFunc
	wake  chan struct{} // a delivery of the organisation was stored

	mu      sync.Mutex
	run     record.UUID // zero: none has begun
	holds   bool        // it has the lease, and makes the passes over the inbox
	settled func() bool // false: to stop now would lose what cannot be gone on with; nil: any time is good
}

func (t *task) runID() record.UUID {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.run
}

func (t *task) setRun(id record.UUID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.run = id
}

func (t *task) hold(on bool, settled func() bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.holds, t.settled = on, settled
}

func (t *task) mayYield() bool {
	t.mu.Lock()
	f := t.settled
	t.mu.Unlock()
	return f == nil || f()
}

// handler is River's worker of one kind of job.
type handler[T jobArgs] struct {
	river.WorkerDefaults[T]
	w  *Worker
	do func(ctx context.Context, t *task, args T) error
}

func add[T jobArgs](workers *river.Workers, w *Worker, do func(context.Context, *task, T) error) {
	river.AddWorker(workers, &handler[T]{w: w, do: do})
}

// Timeout is never: a backfill may take days.
func (h *handler[T]) Timeout(*river.Job[T]) time.Duration { return -1 }

// NextRetry is when a job that has failed is tried again.
func (h *handler[T]) NextRetry(job *river.Job[T]) time.Time { return h.w.nextRetry(job.JobRow) }

// Work is River's.
func (h *handler[T]) Work(ctx context.Context, job *river.Job[T]) error {
	org, err := record.ParseUUID(job.Args.organisation())
	if err != nil {
		return river.JobCancel(err)
	}
	t := h.w.begin(job.JobRow, org)
	defer h.w.end(t)
	if h.w.reading.Err() != nil {
		return river.JobSnooze(0)
	}
	t.log.Debug("job begins", "attempt", job.Attempt)
	verdict := errPanicked // unless it comes back, as err
	err = errPanicked
	if watch := h.w.options.Watch; watch != nil {
		watched, ended := watch(ctx, job.JobRow)
		ctx = watched
		defer func() { ended(err, verdict) }()
	}
	err = h.do(ctx, t, job.Args)
	_ = river.MetadataSet(ctx, metaCause, causeOf(err)) // fails outside of a job only
	verdict = h.w.verdict(ctx, t, err)
	h.w.stats.count(verdict)
	return verdict
}

func (w *Worker) begin(row *rivertype.JobRow, org record.UUID) *task {
	t := &task{
		row: row, org: org, began: time.Now(), wake: make(chan struct{}, 1),
		log: w.log.With("org", org.String(), "job", row.ID, "kind", row.Kind),
	}
	t.read, t.stop = context.WithCancelCause(w.reading)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tasks[row.ID] = t
	return t
}

func (w *Worker) end(t *task) {
	t.stop(context.Canceled)
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.tasks, t.row.ID)
}

// parkedFor is when a paused job is looked at again if nothing wakes it before.
const parkedFor = 24 * time.Hour

// badToken is a token that Intercom refuses.
type badToken struct {
	err    error
	digest string // of the sealed token
}

func (e *badToken) Error() string { return e.err.Error() }
func (e *badToken) Unwrap() error { return e.err }

// final is an error that trying again does not mend.
type final struct{ error }

func (e final) Unwrap() error { return e.error }

// verdict is what River is told of a job that has ended with err.
func (w *Worker) verdict(ctx context.Context, t *task, err error) error {
	var token *badToken
	var last final
	cause := context.Cause(t.read)
	switch {
	case err == nil && !errors.Is(cause, errAgain), isSnooze(err):
		return err
	case errors.Is(cause, errTaken):
		t.log.Warn("the job was taken over by another process while this one was silent")
		return nil // of an id that is not there any more
	case errors.Is(cause, errAgain):
		_ = river.MetadataSet(ctx, metaAgain, false) // fails outside of a job only
		return w.wait(ctx, errAgain.Error(), 0)
	case errors.Is(err, pipeline.ErrStopped) || ctx.Err() != nil:
		switch {
		case errors.Is(cause, errOff):
			return w.park(ctx, t, obstacle{Why: "ingest is off or disconnected; it goes on when it is on again"})
		case errors.Is(cause, errAsked):
			return w.endAsked(ctx, t)
		}
		t.log.Info("job stops, to be gone on with", "why", cause)
		switch {
		case errors.Is(cause, errYield):
			return w.wait(ctx, "others have their turn", 0)
		case errors.Is(cause, errMakeWay):
			return w.wait(ctx, "a sync has its turn", max(3*w.heldPause(), time.Second))
		}
		return w.wait(ctx, "", 0)
	case errors.Is(err, postgres.ErrHeld):
		pause := w.heldPause()/2 + rand.N(w.heldPause())
		t.log.Debug("the workspace is held", "pause", pause, "by", err)
		return w.waitFor(ctx, err.Error(), pause, true)
	case errors.Is(err, postgres.ErrFenced):
		t.log.Warn("another run has taken the workspace over", "error", err)
		return w.wait(ctx, "another run has taken the workspace over", w.heldPause())
	case errors.Is(err, errOff), errors.Is(err, ingest.ErrOff), errors.Is(err, connection.ErrNotConnected):
		return w.park(ctx, t, obstacle{Why: "ingest is off or disconnected; it goes on when it is on again"})
	case errors.As(err, &token):
		t.log.Error("Intercom refuses the token; nothing is tried until another one is stored", "error", err)
		return w.park(ctx, t, obstacle{Why: "Intercom refuses the token; connect again with one that works: " + err.Error(), Token: token.digest})
	case errors.As(err, &last), errors.Is(err, ingest.ErrNoBackfill), t.row.Attempt >= patience && !passing(err):
		t.log.Error("job failed for good", "error", err, "attempt", t.row.Attempt)
		return river.JobCancel(err)
	}
	return err
}

// heldPause is about how long a job waits that finds its workspace held; a backfill leaves it to a sync for longer than that.
func (w *Worker) heldPause() time.Duration { return w.options.FirstRetry / 3 }

// patience is after how many attempts a failure that nobody knows to pass is taken for one that does not.
const patience = 8

// causeOf is what people can do something about, by the error's type and never by its words.
func causeOf(err error) Cause {
	if class, ok := intercom.ClassOf(err); ok {
		switch class {
		case intercom.ClassStop:
			return CauseToken
		case intercom.ClassScope:
			return CausePermission
		case intercom.ClassTemporary, intercom.ClassBusy, intercom.ClassUnreadable:
			return CauseIntercom
		}
		return ""
	}
	switch {
	case errors.Is(err, secret.ErrMasterKey):
		return CauseMasterKey
	case errors.Is(err, postgres.ErrDatabase), postgres.Transient(err):
		return CauseDatabase
	}
	return ""
}

// passing reports whether err is known to pass: an outage of Intercom's or the database's.
func passing(err error) bool {
	class, ok := intercom.ClassOf(err)
	return ok && (class == intercom.ClassTemporary || class == intercom.ClassBusy) || errors.Is(err, postgres.ErrDatabase) || postgres.Transient(err) ||
		errors.Is(err, secret.ErrMasterKey) // until somebody mends the configuration
}

// endAsked ends a job that was asked to stop, unless somebody has asked for it again since.
func (w *Worker) endAsked(ctx context.Context, t *task) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	tag, err := w.pool.Exec(ctx, `UPDATE ingest.river_job SET metadata = metadata || '{"`+metaEnds+`": true}'
		WHERE id = $1 AND metadata->>'`+metaStop+`' = 'true' AND coalesce(metadata->>'`+metaAgain+`', '') <> 'true'`, t.row.ID)
	if err != nil || tag.RowsAffected() == 0 {
		_ = river.MetadataSet(ctx, metaAgain, false) // fails outside of a job only
		return w.wait(ctx, "", 0)
	}
	t.log.Info("job ends, as it was asked to")
	return river.JobCancel(errAsked)
}

// wait puts the job back without having failed.
func (w *Worker) wait(ctx context.Context, why string, by time.Duration) error {
	return w.waitFor(ctx, why, by, false)
}

// waitFor also says whether it is because another run holds the organisation: a backfill that has had its slice makes way then.
func (w *Worker) waitFor(ctx context.Context, why string, by time.Duration, held bool) error {
	_ = river.MetadataSet(ctx, metaWaits, why) // fails outside of a job only
	_ = river.MetadataSet(ctx, metaHeld, held)
	return river.JobSnooze(by)
}

func (w *Worker) park(ctx context.Context, t *task, p obstacle) error {
	t.log.Info("job is paused", "why", p.Why)
	_ = river.MetadataSet(ctx, metaPaused, p) // fails outside of a job only
	_ = river.MetadataSet(ctx, metaStop, false)
	return river.JobSnooze(parkedFor)
}

// nextRetry doubles the pause with each failure, and spreads it. An attempt that lasted was not about the failures before it.
func (w *Worker) nextRetry(row *rivertype.JobRow) time.Time {
	longest := w.options.LongestRetry
	if row.Kind == KindDrain {
		longest = min(longest, 2*time.Minute)
	}
	failures := max(row.Attempt, 1)
	if row.AttemptedAt != nil && time.Since(*row.AttemptedAt) > 10*time.Minute {
		failures = 1
	}
	pause := w.options.FirstRetry
	for ; failures > 1 && pause < longest; failures-- {
		pause *= 2
	}
	pause = min(pause, longest)
	return time.Now().Add(pause*3/4 + rand.N(pause/2+1))
}

func isSnooze(err error) bool {
	var snooze *river.JobSnoozeError
	return errors.As(err, &snooze)
}

// failures logs what River is told of jobs that failed, once and with the organisation.
type failures struct{ w *Worker }

func (f *failures) log(row *rivertype.JobRow) *slog.Logger {
	org, _ := organisationOf(row.EncodedArgs) // zero: it says so
	return f.w.log.With("org", org.String(), "job", row.ID, "kind", row.Kind, "attempt", row.Attempt)
}

// HandleError is River's.
func (f *failures) HandleError(_ context.Context, row *rivertype.JobRow, err error) *river.ErrorHandlerResult {
	f.log(row).Warn("job failed; it is tried again", "error", err)
	return nil
}

// HandlePanic is River's. A panic is a bug of ours: after a few attempts it is left alone.
func (f *failures) HandlePanic(_ context.Context, row *rivertype.JobRow, value any, trace string) *river.ErrorHandlerResult {
	f.w.stats.panics.Add(1)
	f.log(row).Error("this is a bug of haloingest; please report it with these lines", "panic", value, "stack", trace)
	return &river.ErrorHandlerResult{SetCancelled: row.Attempt >= patience}
}
