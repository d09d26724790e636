// Package replay makes runs that load a snapshot: from its rows, as they were handed to the database once, or by running the stages again on its
// objects. Nothing in it knows Intercom. The commands call it; it prints nothing.
package replay

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/cmd/haloingest/internal/ingest"
	"haloingest/pipeline"
	"haloingest/pipeline/record"
	"haloingest/sinks/parquet"
	"haloingest/sinks/postgres"
	"haloingest/sources/snapshot"
	"haloingest/stages/distill"
)

// Kind is the kind of such a run.
const Kind = "replay"

// Runner makes runs that load one snapshot.
type Runner struct {
	DB         *postgres.DB
	Snapshot   *snapshot.Snapshot
	Connection *connection.Connection // nil: the organisation is not connected to this database
	Log        *slog.Logger
	Holder     string            // who holds the lease, for people: command, host and process
	Distiller  distill.Distiller // of a remap; nil: offline
}

// Request is what a run is asked to do. The zero value loads the rows.
type Request struct {
	Remap bool // run the stages again
	// Fields of a remap: "" takes the connection's, and where there is none, the snapshot's.
	UserIDField, CompanyIDField string
	Restart                     bool // begin anew, even if there is something to resume
}

// MappingError says that the rows were made with other settings than the connection has, so that loading them would mix the two.
type MappingError struct{ Setting, Snapshot, Connection string }

func (e *MappingError) Error() string {
	return fmt.Sprintf("the snapshot's rows were made with %s = %s, and the workspace is connected with %s; give --remap to make them anew from what Intercom sent",
		e.Setting, e.Snapshot, e.Connection)
}

// Run is one replay under its lease. Close it.
type Run struct {
	runner   *Runner
	request  Request
	lease    *postgres.Lease
	run      *postgres.Run
	rules    distill.Rules
	synced   time.Time // up to where the bookmark may be moved; zero: not at all
	progress *progress
	sinks    map[string]*laneSink
	refusals refusals
	at       position                   // of the stream that is loaded
	pages    map[int64]snapshot.Segment // its pages, by segment
	done     map[string]bool            // segments that are committed, by the names of their pages
}

// Start checks that the snapshot's files are those that were written, takes the organisation's lease, and starts or resumes a run. Nothing is written
// before all files are known to be good. The error is postgres.ErrHeld if another run holds the lease.
func (r *Runner) Start(ctx context.Context, request Request) (*Run, error) {
	if !request.Remap {
		if err := r.sameMapping(); err != nil {
			return nil, err
		}
	}
	layer := parquet.LayerRows
	if request.Remap {
		layer = parquet.LayerPages
	}
	r.Log.Debug("checking the files of the snapshot", "layer", layer)
	if err := r.Snapshot.Check(ctx, layer, lanes); err != nil {
		return nil, err
	}
	lease, err := r.DB.Acquire(ctx, r.Snapshot.Org, r.Holder)
	if err != nil {
		return nil, err
	}
	run, err := r.start(ctx, lease, request)
	if err != nil {
		return nil, errors.Join(err, lease.Release(ctx))
	}
	return run, nil
}

// sameMapping checks that the rows were made as the connection would make them.
func (r *Runner) sameMapping() error {
	if r.Connection == nil {
		return nil
	}
	for _, s := range r.Snapshot.Runs {
		for setting, want := range map[string]string{
			parquet.MappingUserIDField: r.Connection.UserIDField, parquet.MappingCompanyIDField: r.Connection.CompanyIDField,
		} {
			if have := s.Mapping[setting]; have != want && have != "" {
				return &MappingError{setting, have, want}
			}
		}
	}
	return nil
}

// Parameters of a replay's spec.
const (
	paramSnapshot  = "snapshot"
	paramRuns      = "runs"
	paramRemap     = "remap"
	paramWorkspace = "workspace"
	paramSyncedTo  = "synced_to"
)

func (r *Runner) start(ctx context.Context, lease *postgres.Lease, request Request) (*Run, error) {
	out := &Run{runner: r, request: request, lease: lease, sinks: make(map[string]*laneSink)}
	of, err := workspace(r.Snapshot)
	if err != nil {
		return nil, err
	}
	out.synced = bookmark(r.Snapshot, r.Connection, of)
	params := map[string]string{
		paramSnapshot:                 r.Snapshot.Location(),
		paramRuns:                     runs(r.Snapshot),
		paramWorkspace:                of,
		parquet.MappingUserIDField:    out.mapping(parquet.MappingUserIDField),
		parquet.MappingCompanyIDField: out.mapping(parquet.MappingCompanyIDField),
	}
	if to := bookmark(r.Snapshot, nil, of); !to.IsZero() {
		params[paramSyncedTo] = to.Format(time.RFC3339Nano)
	}
	if request.Remap {
		params[paramRemap] = "true"
		if out.rules, err = ingest.Rules(ctx, r.DB, r.Snapshot.Org); err != nil {
			return nil, err
		}
		ingest.LearnBy(params, out.rules, r.Distiller)
	}
	out.run, err = r.DB.StartRun(ctx, lease, postgres.RunSpec{Kind: Kind, Params: params, Restart: request.Restart})
	if err != nil {
		return nil, err
	}
	for _, old := range out.run.Abandoned {
		r.Log.Info("an unfinished run is put aside", "run", old.ID, "started", old.StartedAt, "why", old.Why)
	}
	if out.run.Resumed {
		r.Log.Info("resuming", "run", out.run.ID, "attempt", out.run.Attempts, "started", out.run.StartedAt)
	}
	if out.done, err = out.run.Segments(ctx); err != nil {
		return nil, err
	}
	out.progress = newProgress(r.Snapshot.Runs, out.streams)
	return out, nil
}

// runs names what of the snapshot is loaded. A snapshot to which something was added, or whose unfinished run went on, is another one.
func runs(s *snapshot.Snapshot) string {
	h := sha256.New()
	for _, r := range s.Runs {
		h.Write([]byte(r.Sum))
	}
	sum := hex.EncodeToString(h.Sum(nil)[:8])
	if len(s.Runs) == 1 {
		return s.Runs[0].Manifest.Run.String() + " " + sum
	}
	return fmt.Sprintf("%d, the last %s %s", len(s.Runs), s.Runs[len(s.Runs)-1].Manifest.Run, sum)
}

// workspace is the id of the workspace that the snapshot is of, "" if it is not told or not the same in all runs.
func workspace(s *snapshot.Snapshot) (string, error) {
	id := ""
	for i, r := range s.Runs {
		reference, err := r.Reference()
		if err != nil {
			return "", err
		}
		if reference == nil || i > 0 && reference.Workspace.ID != id {
			return "", nil
		}
		id = reference.Workspace.ID
	}
	return id, nil
}

// mapping is a setting of the run: asked for, else the connection's, else the one with which the newest run was made.
func (r *Run) mapping(setting string) string {
	asked, connected := r.request.UserIDField, ""
	if c := r.runner.Connection; c != nil {
		connected = c.UserIDField
	}
	if setting == parquet.MappingCompanyIDField {
		asked = r.request.CompanyIDField
		if c := r.runner.Connection; c != nil {
			connected = c.CompanyIDField
		}
	}
	if r.request.Remap && asked != "" {
		return asked
	}
	if r.request.Remap && connected != "" {
		return connected
	}
	list := r.runner.Snapshot.Runs
	return list[len(list)-1].Mapping[setting]
}

// bookmark is up to where all changes are known once the snapshot is loaded: the spans of its complete runs, as far as they join without
// a gap, to what the connection has read by itself or to a complete backfill. of is the snapshot's workspace. It is zero if that is no further than where the connection is, or if the snapshot is of
// another workspace.
func bookmark(s *snapshot.Snapshot, c *connection.Connection, of string) time.Time {
	var at time.Time
	if c != nil {
		if of == "" || of != c.Workspace.ID {
			return time.Time{}
		}
		at = c.SyncedTo
	}
	begun := at
	for _, r := range s.Runs {
		to := r.SyncedTo.Truncate(time.Microsecond) // as a database keeps it
		if !r.Complete || to.IsZero() {
			continue
		}
		if joins := r.Since.IsZero() || !at.IsZero() && !r.Since.After(at); joins && to.After(at) {
			at = to
		}
	}
	if at.Equal(begun) {
		return time.Time{}
	}
	return at
}

// Lease is what the replay writes under, for who works on the inbox beside it.
func (r *Run) Lease() *postgres.Lease { return r.lease }

// Close gives the lease back.
func (r *Run) Close(ctx context.Context) error { return r.lease.Release(ctx) }

// Progress may be called at any time from any goroutine.
func (r *Run) Progress() ingest.Progress { return r.progress.snapshot() }

// Report is how a replay ended.
type Report struct {
	ingest.Report
	OpenRejects int64    `json:"open_rejects"` // of the organisation, when it had ended
	Notes       []string `json:"notes"`        // what is to be known of the snapshot
}

// Do loads the snapshot and finishes the run: complete when all was loaded, interrupted when read was done before that, failed otherwise. The report is good
// in all cases; the error is pipeline.ErrStopped after a soft stop.
func (r *Run) Do(ctx, read context.Context) (Report, error) {
	ctx, release := r.lease.Bind(ctx)
	defer release()
	err := r.load(ctx, read)
	if cerr := r.closeSinks(ctx); err == nil {
		err = cerr
	}
	outcome := postgres.Outcome{State: postgres.RunComplete}
	switch {
	case errors.Is(err, pipeline.ErrStopped), err != nil && ctx.Err() != nil && context.Cause(r.lease.Lost()) == nil:
		outcome.State = postgres.RunInterrupted
	case err != nil:
		outcome.State, outcome.Err = postgres.RunFailed, err
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), ingest.Patience(err))
	defer cancel()
	if err == nil && !r.synced.IsZero() {
		err = r.run.MoveBookmark(ending, r.synced)
	}
	if ferr := r.run.Finish(ending, outcome); err == nil {
		err = ferr
	}
	report, rerr := r.report(ending)
	if err == nil && rerr != nil {
		err = fmt.Errorf("the run is over (%s), but the database does not give its report, see runs show: %w", outcome.State, rerr)
	}
	return report, err
}

func (r *Run) closeSinks(ctx context.Context) error {
	var errs []error
	for _, s := range r.sinks {
		errs = append(errs, s.Close(ctx))
	}
	return errors.Join(errs...)
}

func (r *Run) report(ctx context.Context) (Report, error) {
	out := Report{Notes: r.notes()}
	out.Elapsed, out.Read, out.Streams = r.progress.ended()
	var err error
	if out.Run, err = r.runner.DB.RunInfo(ctx, r.runner.Snapshot.Org, r.run.ID.String()); err != nil {
		return out, err
	}
	open, err := r.runner.DB.RejectCounts(ctx, r.runner.Snapshot.Org)
	for _, c := range open {
		out.OpenRejects += c.Open
	}
	return out, err
}

// notes says what somebody who relies on the result has to know of the snapshot.
func (r *Run) notes() []string {
	notes := []string{}
	for _, s := range r.runner.Snapshot.Runs {
		if !s.Complete {
			notes = append(notes, fmt.Sprintf("The %s of %s (run %s) had not ended when its manifest was written last: what it had committed by then is loaded, the rest of it is not in the snapshot.",
				s.Kind, s.StartedAt.UTC().Format("2006-01-02 15:04:05 UTC"), s.Manifest.Run))
		}
	}
	if bookmark(r.runner.Snapshot, nil, "").IsZero() {
		notes = append(notes, "The snapshot has no complete backfill that reads everything, so it does not say up to when changes are known.")
	}
	return notes
}

// Organisation is whose snapshot it is.
func (r *Run) Organisation() record.UUID { return r.runner.Snapshot.Org }
