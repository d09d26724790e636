package work

import (
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// Kinds of job. Those of a run have its name.
const (
	KindBackfill = "backfill"
	KindReplay   = "replay"
	KindSync     = "sync"
	KindRefresh  = "refresh"
	KindRetry    = "retry"
	KindDrain    = "drain"
)

// Queues, each with workers of its own: what takes days never holds up what takes seconds.
const (
	queueLong  = "backfill" // backfills and replays
	queueSync  = "sync"     // syncs, refreshes, retries
	queueDrain = "drain"
)

// jobArgs is what the arguments of every job know: whose it is. They hold ids and options and nothing else: they are stored in the clear.
type jobArgs interface {
	river.JobArgs
	organisation() string
}

type backfillArgs struct {
	Org     string    `json:"org" river:"unique"`
	Only    []string  `json:"only,omitempty"` // kinds
	Since   time.Time `json:"since,omitzero"`
	Sample  int       `json:"sample,omitempty"`
	Restart bool      `json:"restart,omitempty"`
}

type replayArgs struct {
	Org            string `json:"org" river:"unique"`
	Location       string `json:"location"`
	Run            string `json:"run,omitempty"`
	Remap          bool   `json:"remap,omitempty"`
	UserIDField    string `json:"user_id_field,omitempty"`
	CompanyIDField string `json:"company_id_field,omitempty"`
	Restart        bool   `json:"restart,omitempty"`
}

type syncArgs struct {
	Org string `json:"org" river:"unique"`
}

type refreshArgs struct {
	Org string `json:"org" river:"unique"`
}

type retryArgs struct {
	Org     string  `json:"org" river:"unique"`
	Rejects []int64 `json:"rejects,omitempty"`
}

type drainArgs struct {
	Org string `json:"org" river:"unique"`
}

func (backfillArgs) Kind() string { return KindBackfill }
func (replayArgs) Kind() string   { return KindReplay }
func (syncArgs) Kind() string     { return KindSync }
func (refreshArgs) Kind() string  { return KindRefresh }
func (retryArgs) Kind() string    { return KindRetry }
func (drainArgs) Kind() string    { return KindDrain }

func (a backfillArgs) organisation() string { return a.Org }
func (a replayArgs) organisation() string   { return a.Org }
func (a syncArgs) organisation() string     { return a.Org }
func (a refreshArgs) organisation() string  { return a.Org }
func (a retryArgs) organisation() string    { return a.Org }
func (a drainArgs) organisation() string    { return a.Org }

func (backfillArgs) InsertOpts() river.InsertOpts { return oncePerOrg(queueLong) }
func (replayArgs) InsertOpts() river.InsertOpts   { return oncePerOrg(queueLong) }
func (syncArgs) InsertOpts() river.InsertOpts     { return oncePerOrg(queueSync) }
func (refreshArgs) InsertOpts() river.InsertOpts  { return oncePerOrg(queueSync) }
func (retryArgs) InsertOpts() river.InsertOpts    { return oncePerOrg(queueSync) }
func (drainArgs) InsertOpts() river.InsertOpts    { return oncePerOrg(queueDrain) }

// maxAttempts is so many that what passes is waited for, for weeks: at half an hour between attempts. What does not pass ends sooner.
const maxAttempts = 1000

// oncePerOrg makes a job the only one of its kind that waits or runs for its organisation.
func oncePerOrg(queue string) river.InsertOpts {
	return river.InsertOpts{
		Queue: queue, MaxAttempts: maxAttempts,
		UniqueOpts: river.UniqueOpts{ByArgs: true, ByState: []rivertype.JobState{
			rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateRunning, rivertype.JobStateRetryable, rivertype.JobStateScheduled,
		}},
	}
}
