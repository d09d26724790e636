package ingest

import (
	"context"
	"strings"
	"time"

	"haloingest/pipeline"
	"haloingest/sinks/postgres"
	"haloingest/sources/intercom"
)

// Report is how a run ended.
type Report struct {
	Run     postgres.RunInfo `json:"run"`
	Elapsed time.Duration    `json:"elapsed_ns"` // of this attempt
	API     API              `json:"api"`        // of this attempt
	Read    int64            `json:"read"`       // objects committed or rejected in this attempt
	// Attachments is nil if the run saved no files.
	Attachments *AttachmentReport `json:"attachments,omitempty"`
	// Snapshot is nil if the run keeps none.
	Snapshot *SnapshotReport `json:"snapshot,omitempty"`
	Streams  []Speed         `json:"speed"` // of this attempt, in order
	// More says that another run of the kind is due at once: a refresh rests, since it has used up what one run may read, or a sync has ended that had
	// failed before and was resumed, so that it has read some streams at its first attempt and knows nothing of what changed since.
	More bool `json:"more,omitempty"`
}

// API is what a run asked of Intercom.
type API struct {
	Requests    int64            `json:"requests"`
	ByEndpoint  map[string]int64 `json:"by_endpoint"`
	Throttled   int64            `json:"throttled"` // 429 replies
	Retries     int64            `json:"retries"`
	PerMinute   int              `json:"limit_per_minute"` // as the rate headers tell it; 0 unknown
	BudgetShare float64          `json:"budget_share"`     // of the limit, since the first reply
}

// Speed is how fast a stream went.
type Speed struct {
	Stream    string        `json:"stream"`
	Objects   int64         `json:"objects"`
	Elapsed   time.Duration `json:"elapsed_ns"`
	PerSecond float64       `json:"per_second"`
}

func apiOf(s intercom.Stats) API {
	return API{
		Requests: s.Total, ByEndpoint: s.Requests, Throttled: s.Throttled, Retries: s.Retries,
		PerMinute: s.PerMinute, BudgetShare: s.Share,
	}
}

// report reads back what the run has come to.
func (r *Run) report(ctx context.Context) (Report, error) {
	out := Report{API: apiOf(r.runner.Client.Stats()), Elapsed: time.Since(r.tracker.started)}
	for _, s := range r.tracker.snapshot() {
		if len(s.Stages) == 0 {
			continue
		}
		speed := Speed{Stream: s.Stream, Objects: s.Stages[len(s.Stages)-1].ItemsOut, Elapsed: s.Elapsed}
		if s.Elapsed > 0 {
			speed.PerSecond = float64(speed.Objects) / s.Elapsed.Seconds()
		}
		out.Read += speed.Objects
		out.Streams = append(out.Streams, speed)
	}
	var err error
	out.Run, err = r.runner.DB.RunInfo(ctx, r.runner.Connection.Org, r.run.ID.String())
	out.Attachments = r.files.report(out.Run.Counts)
	if err == nil {
		out.Snapshot, err = SnapshotOf(ctx, r.runner.DB, r.runner.Connection.Org, out.Run)
	}
	return out, err
}

// Outcomes of loading, as the sink counts them.
const (
	Inserted = "inserted"
	Updated  = "updated"
	Equal    = "equal"
	Stale    = "stale"
	Deleted  = "deleted"
	Rejected = "rejected"
)

// Loaded sums the outcomes of loading by table: counts[table][outcome].
func Loaded(counts pipeline.Counts) map[string]map[string]int64 {
	sums := map[string]map[string]int64{}
	for name, n := range counts {
		rest, ok := strings.CutPrefix(name, "load/")
		if !ok {
			continue
		}
		table, outcome, ok := strings.Cut(rest, "/")
		if !ok {
			continue
		}
		if sums[table] == nil {
			sums[table] = map[string]int64{}
		}
		sums[table][outcome] += n
	}
	return sums
}

// committed is how many objects of a stream earlier attempts have committed.
func committed(counts pipeline.Counts) int64 {
	var n int64
	for table, outcomes := range Loaded(counts) {
		if table == "knowledge" {
			continue
		}
		for _, k := range outcomes {
			n += k
		}
	}
	return n
}
