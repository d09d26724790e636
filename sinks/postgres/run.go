package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"haloingest/pipeline/record"
)

// RunState is how a run stands.
type RunState string

// A running run whose process died becomes interrupted when the lease is next acquired. Failed and interrupted runs are resumed by
// the next run of the same spec; abandoned ones never are.
const (
	RunRunning     RunState = "running"
	RunComplete    RunState = "complete"
	RunFailed      RunState = "failed"
	RunInterrupted RunState = "interrupted"
	RunAbandoned   RunState = "abandoned"
)

// RunSpec is what was asked for. Two runs are the same if all fields but Restart and Track are equal.
type RunSpec struct {
	Kind    string            `json:"-"`                // backfill, sync, retry, ...
	Only    []string          `json:"only,omitempty"`   // streams; empty: all
	Since   time.Time         `json:"since,omitzero"`   // zero: everything
	Sample  int               `json:"sample,omitempty"` // 0: everything
	Params  map[string]string `json:"params,omitempty"` // what else makes two runs differ, e.g. a snapshot's folder
	Restart bool              `json:"-"`                // begin anew, even if there is something to resume
	// Track says that the run is a full walk that keeps what it has seen, for Unseen. A resumed run keeps its own choice.
	Track bool `json:"track,omitempty"`
}

// Run is a run in progress. Its methods are safe for concurrent use; all that write fail with ErrFenced once the lease is lost.
type Run struct {
	ID        record.UUID
	Spec      RunSpec
	StartedAt time.Time // of the first attempt, by the server's clock
	Attempts  int
	Resumed   bool
	Abandoned []AbandonedRun // unfinished runs of the same kind that this one has put aside

	lease     *Lease
	mu        sync.Mutex
	reference *record.Reference
	// rejected is false while the organisation is known to have no open reject, so that batches need not look for one. Only
	// the holder of the lease makes rejects.
	rejected atomic.Bool
}

// AbandonedRun is a run that will not be resumed any more.
type AbandonedRun struct {
	ID        record.UUID
	StartedAt time.Time
	Why       string // a sentence for people
}

// StartRun begins a run, or resumes the unfinished one of the same kind and spec. Unfinished runs of the same kind with another
// spec, and with Restart all of them, are abandoned.
func (db *DB) StartRun(ctx context.Context, lease *Lease, spec RunSpec) (*Run, error) {
	spec.Only = slices.Compact(slices.Sorted(slices.Values(spec.Only)))
	if !spec.Since.IsZero() {
		spec.Since = spec.Since.UTC().Truncate(time.Microsecond)
	}
	stored, err := json.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("start %s: spec: %w", spec.Kind, err)
	}
	var r *Run
	err = db.retry(ctx, "start "+spec.Kind, func(ctx context.Context) error {
		r = &Run{Spec: spec, lease: lease}
		return db.inTx(ctx, func(tx pgx.Tx) error {
			if err := lease.Guard(ctx, tx); err != nil {
				return err
			}
			var open bool
			err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM ingest.rejects WHERE org_id = $1 AND resolved_at IS NULL)`, lease.org).Scan(&open)
			if err != nil {
				return err
			}
			r.rejected.Store(open)
			resumed, err := r.resume(ctx, tx)
			if err != nil || resumed {
				return err
			}
			r.Attempts = 1
			return tx.QueryRow(ctx, `INSERT INTO ingest.runs (org_id, id, kind, spec, state, images)
				VALUES ($1, gen_random_uuid(), $2, $3, 'running', true) RETURNING id, started_at`,
				lease.org, spec.Kind, stored).Scan((*[16]byte)(&r.ID), &r.StartedAt)
		})
	})
	if err != nil {
		return nil, wrap(ctx, err, "start %s", spec.Kind)
	}
	return r, nil
}

// resume goes through the unfinished runs of the kind, takes the newest that fits and abandons the others.
func (r *Run) resume(ctx context.Context, tx pgx.Tx) (bool, error) {
	type unfinished struct {
		ID        [16]byte
		Spec      []byte
		Reference []byte
		Attempts  int
		StartedAt time.Time
	}
	rows, err := tx.Query(ctx, `SELECT id, spec, reference, attempts, started_at FROM ingest.runs
		WHERE org_id = $1 AND kind = $2 AND state IN ('running', 'failed', 'interrupted') ORDER BY started_at DESC, id FOR UPDATE`,
		r.lease.org, r.Spec.Kind)
	if err != nil {
		return false, err
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[unfinished])
	if err != nil {
		return false, err
	}
	for _, u := range list {
		spec := RunSpec{Kind: r.Spec.Kind}
		if err := json.Unmarshal(u.Spec, &spec); err != nil {
			return false, fmt.Errorf("run %s: spec: %w", record.UUID(u.ID), err)
		}
		why := "it was asked to begin anew"
		if !r.Spec.Restart {
			why = "it was asked for something else: " + r.Spec.difference(spec)
		}
		if r.Resumed {
			why = "a newer run is resumed instead"
		}
		if !r.Resumed && !r.Spec.Restart && r.Spec.same(spec) {
			r.ID, r.StartedAt, r.Attempts, r.Resumed = u.ID, u.StartedAt, u.Attempts+1, true
			r.Spec.Track = spec.Track
			if u.Reference != nil {
				r.reference = new(record.Reference)
				if err := json.Unmarshal(u.Reference, r.reference); err != nil {
					return false, fmt.Errorf("run %s: reference: %w", r.ID, err)
				}
			}
			_, err = tx.Exec(ctx, `UPDATE ingest.runs SET state = 'running', attempts = $3, error = NULL, finished_at = NULL
				WHERE org_id = $1 AND id = $2`, r.lease.org, r.ID, r.Attempts)
		} else {
			r.Abandoned = append(r.Abandoned, AbandonedRun{ID: u.ID, StartedAt: u.StartedAt, Why: why})
			_, err = tx.Exec(ctx, `UPDATE ingest.runs SET state = 'abandoned', finished_at = clock_timestamp(), error = $3 WHERE org_id = $1 AND id = $2`,
				r.lease.org, u.ID, "abandoned: "+why)
		}
		if err != nil {
			return false, err
		}
	}
	return r.Resumed, nil
}

func (s RunSpec) same(t RunSpec) bool { return s.difference(t) == "" }

// difference names what makes t, which was asked for earlier, another run than s; "" if nothing does.
func (s RunSpec) difference(t RunSpec) string {
	switch {
	case !slices.Equal(s.Only, t.Only):
		return fmt.Sprintf("streams %s instead of %s", streams(s.Only), streams(t.Only))
	case !s.Since.Equal(t.Since):
		return fmt.Sprintf("since %s instead of %s", since(s.Since), since(t.Since))
	case s.Sample != t.Sample:
		return fmt.Sprintf("sample %d instead of %d", s.Sample, t.Sample)
	case !maps.Equal(s.Params, t.Params):
		return fmt.Sprintf("%v instead of %v", s.Params, t.Params)
	}
	return ""
}

func streams(only []string) string {
	if len(only) == 0 {
		return "all"
	}
	return fmt.Sprint(only)
}

func since(t time.Time) string {
	if t.IsZero() {
		return "the beginning"
	}
	return t.Format(time.RFC3339)
}

// Lease is what the run writes under.
func (r *Run) Lease() *Lease { return r.lease }

// SetReference keeps the names that this run maps with, so that an attempt that resumes it maps the same way.
func (r *Run) SetReference(ctx context.Context, ref record.Reference) error {
	raw, err := json.Marshal(ref)
	if err != nil {
		return fmt.Errorf("keep reference data: %w", err)
	}
	clean, err := record.CanonicalJSON(raw)
	if err != nil {
		return fmt.Errorf("keep reference data: %w", err)
	}
	kept := new(record.Reference)
	if err := json.Unmarshal(clean, kept); err != nil {
		return fmt.Errorf("keep reference data: %w", err)
	}
	err = r.guarded(ctx, "keep reference data", func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE ingest.runs SET reference = $3 WHERE org_id = $1 AND id = $2`, r.lease.org, r.ID, []byte(clean))
		return err
	})
	if err == nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.reference = kept
	}
	return err
}

// Reference returns what SetReference kept, in this attempt or an earlier one; ok is false if nothing did. It is the cleaned
// form in both cases. The maps must not be changed.
func (r *Run) Reference() (ref record.Reference, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reference == nil {
		return record.Reference{}, false
	}
	return *r.reference, true
}

// Outcome is how a run ended.
type Outcome struct {
	State    RunState // complete, failed or interrupted
	Err      error    // why it failed, or nil; its text is kept, so it must hold no secret
	Requests int64    // API requests of this attempt
	// SyncedTo, if not zero, moves the connection's bookmark in the same transaction: everything that changed before it has been read. It
	// also makes this moment the last complete sync.
	SyncedTo time.Time
}

// Finish ends the run and writes its totals.
func (r *Run) Finish(ctx context.Context, o Outcome) error {
	text := ""
	if o.Err != nil {
		text = clip(record.CleanText(o.Err.Error()), 4000)
	}
	return r.guarded(ctx, "finish run "+r.ID.String(), func(tx pgx.Tx) error {
		// Only a running run is finished, so repeating this after a lost answer adds nothing twice.
		tag, err := tx.Exec(ctx, `UPDATE ingest.runs r SET state = $3, error = nullif($4, ''), requests = requests + $5, finished_at = clock_timestamp(),
				counts = (SELECT coalesce(jsonb_object_agg(key, n), '{}') FROM (
					SELECT key, sum(value::bigint)::bigint AS n FROM ingest.checkpoints c, jsonb_each_text(c.counts)
					WHERE c.org_id = r.org_id AND c.run_id = r.id GROUP BY key) a)
			WHERE org_id = $1 AND id = $2 AND state = 'running'`, r.lease.org, r.ID, string(o.State), text, o.Requests)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return nil
		}
		if err := r.forgetImages(ctx, tx); err != nil || o.SyncedTo.IsZero() {
			return err
		}
		if err := r.keepBookmarks(ctx, tx); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE ingest.connections SET last_synced_at = clock_timestamp(), synced_to = $2 WHERE org_id = $1`, r.lease.org, o.SyncedTo)
		return err
	})
}

// guarded runs f in a transaction that holds on to the lease, again if it failed for a passing reason. f must bear repetition.
func (r *Run) guarded(ctx context.Context, op string, f func(pgx.Tx) error) error {
	err := r.lease.db.retry(ctx, op, func(ctx context.Context) error {
		return r.lease.db.inTx(ctx, func(tx pgx.Tx) error {
			if err := r.lease.Guard(ctx, tx); err != nil {
				return err
			}
			return f(tx)
		})
	})
	if err != nil && errors.Is(err, ErrFenced) {
		r.lease.lose(ErrFenced)
	}
	return wrap(ctx, err, "%s", op)
}
