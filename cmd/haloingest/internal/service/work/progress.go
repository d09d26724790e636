package work

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"haloingest/cmd/haloingest/internal/ingest"
	"haloingest/pipeline/record"
	"haloingest/sinks/postgres"
)

// RunProgress is how far the job that holds an organisation is, as its process has published it last.
type RunProgress struct {
	Org       record.UUID     `json:"org"`
	Run       record.UUID     `json:"run"`
	Job       int64           `json:"job"`
	Kind      string          `json:"kind"`
	Process   string          `json:"process"` // for people
	StartedAt time.Time       `json:"started_at"`
	At        time.Time       `json:"at"` // when it was published: about once a second
	Streams   []StreamState   `json:"streams"`
	Elapsed   time.Duration   `json:"elapsed_ns"`
	Left      time.Duration   `json:"left_ns"` // of the streams whose total is known, at their present rate; 0: not known
	API       APIProgress     `json:"api"`
	Saved     *SavedFileState `json:"files,omitempty"` // nil: no files are saved
}

// StreamState is how far one stream is.
type StreamState struct {
	Stream    string        `json:"stream"`
	State     string        `json:"state"` // ingest.StreamState
	Done      int64         `json:"done"`  // objects committed, those of earlier attempts included
	Total     int64         `json:"total"` // as Intercom counts them; 0: not known
	PerSecond float64       `json:"per_second"`
	Left      time.Duration `json:"left_ns"` // 0: not known
	Elapsed   time.Duration `json:"elapsed_ns"`
}

// APIProgress is what the job has asked of Intercom, in this attempt.
type APIProgress struct {
	Requests    int64   `json:"requests"`
	Throttled   int64   `json:"throttled"`        // replies that asked to wait
	PerMinute   int     `json:"limit_per_minute"` // as Intercom tells it; 0: not known
	BudgetShare float64 `json:"budget_share"`     // of the limit, in the last whole window
}

// SavedFileState is what this attempt has done with attachments.
type SavedFileState struct {
	Saved  int64 `json:"saved"`
	Failed int64 `json:"failed"`
}

// progressLasts is how old a published state may be before nobody is taken to be working on it.
const progressLasts = 40 * time.Second

// Progress returns the newest published progress of org's run, whichever process works on it; false if none does.
func Progress(ctx context.Context, db *postgres.DB, org record.UUID) (RunProgress, bool, error) {
	p := RunProgress{Org: org}
	var state []byte
	err := db.Pool().QueryRow(ctx, `SELECT job_id, run_id, kind, process, state, started_at, updated_at FROM ingest.progress
		WHERE org_id = $1 AND updated_at > clock_timestamp() - $2::interval`, [16]byte(org), progressLasts).
		Scan(&p.Job, (*[16]byte)(&p.Run), &p.Kind, &p.Process, &state, &p.StartedAt, &p.At)
	if errors.Is(err, pgx.ErrNoRows) {
		return RunProgress{}, false, nil
	}
	if err == nil {
		var kept published
		if err = json.Unmarshal(state, &kept); err == nil {
			p.Streams, p.Elapsed, p.Left, p.API, p.Saved = kept.Streams, kept.Elapsed, kept.Left, kept.API, kept.Saved
			return p, true, nil
		}
	}
	return RunProgress{}, false, fmt.Errorf("read the progress of %s: %w", org, err)
}

// published is the column state.
type published struct {
	Streams []StreamState   `json:"streams"`
	Elapsed time.Duration   `json:"elapsed_ns"`
	Left    time.Duration   `json:"left_ns"`
	API     APIProgress     `json:"api"`
	Saved   *SavedFileState `json:"files,omitempty"`
}

// publishable computes rates and the time left.
func publishable(p ingest.Progress) published {
	out := published{Streams: []StreamState{}, Elapsed: p.Elapsed, API: APIProgress{
		Requests: p.API.Total, Throttled: p.API.Throttled, PerMinute: p.API.PerMinute, BudgetShare: p.API.WindowShare,
	}}
	if f := p.Files; f != nil {
		out.Saved = &SavedFileState{Saved: f.Saved, Failed: f.Failed}
	}
	for _, s := range p.Streams {
		x := StreamState{Stream: s.Stream, State: string(s.State), Done: s.Done, Total: s.Total, Elapsed: s.Elapsed}
		// What earlier attempts have done took its time then.
		fresh := s.Read
		if n := len(s.Stages); n > 0 {
			fresh = s.Stages[n-1].ItemsIn
		}
		if sec := s.Elapsed.Seconds(); sec > 0 {
			x.PerSecond = float64(fresh) / sec
		}
		if left := x.Total - x.Done; s.State == ingest.StreamRunning && left > 0 && x.PerSecond > 0 {
			x.Left = time.Duration(float64(left) / x.PerSecond * float64(time.Second)).Round(time.Second)
		}
		out.Left += x.Left
		out.Streams = append(out.Streams, x)
	}
	return out
}

// publish keeps the task's progress in the database, about once a second, until ctx is done.
func (w *Worker) publish(ctx context.Context, t *task, progress func() ingest.Progress) {
	tick := time.NewTicker(publishEvery)
	defer tick.Stop()
	for {
		if run := t.runID(); !run.IsZero() {
			state, err := json.Marshal(publishable(progress()))
			if err == nil {
				_, err = w.pool.Exec(ctx, `INSERT INTO ingest.progress AS p (org_id, job_id, run_id, kind, process, state) VALUES ($1, $2, $3, $4, $5, $6)
					ON CONFLICT (org_id) DO UPDATE SET job_id = excluded.job_id, run_id = excluded.run_id, kind = excluded.kind, process = excluded.process,
						state = excluded.state, updated_at = clock_timestamp(),
						started_at = CASE WHEN p.run_id = excluded.run_id AND p.job_id = excluded.job_id THEN p.started_at ELSE clock_timestamp() END`,
					[16]byte(t.org), t.row.ID, [16]byte(run), t.row.Kind, w.options.Process, state)
			}
			if err != nil && ctx.Err() == nil {
				t.log.Debug("progress not published", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			w.unpublish(ctx, t)
			return
		case <-tick.C:
		}
	}
}

const publishEvery = time.Second

// unpublish removes the task's progress, unless another one's is there by now.
func (w *Worker) unpublish(ctx context.Context, t *task) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if _, err := w.pool.Exec(ctx, `DELETE FROM ingest.progress WHERE org_id = $1 AND job_id = $2`, [16]byte(t.org), t.row.ID); err != nil {
		t.log.Debug("progress not removed", "error", err)
	}
}
