package work

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"haloingest/pipeline/record"
	"haloingest/sinks/postgres"
)

// ErrQueued says that a job of the kind waits or runs for the organisation already, and that it is not the one that was asked for.
var ErrQueued = errors.New("such a job waits or runs already for this organisation")

// Queue inserts jobs and tells of them. It works without a Worker, in any process. It is safe for concurrent use.
type Queue struct {
	db     *postgres.DB
	client *river.Client[pgx.Tx]
}

// NewQueue returns the queue that is in db, which must be up to date (see postgres.DB.Migrate).
func NewQueue(db *postgres.DB) (*Queue, error) {
	client, err := river.NewClient(riverpgxv5.New(db.Pool()), &river.Config{Schema: postgres.QueueSchema})
	if err != nil {
		return nil, fmt.Errorf("open the queue: %w", err)
	}
	return &Queue{db: db, client: client}, nil
}

// BackfillOptions is what of a workspace is read. The zero value reads everything, or goes on with an unfinished run.
type BackfillOptions struct {
	Only    []record.Kind // empty: all
	Since   time.Time     // zero: everything
	Sample  int           // objects per stream; 0: all
	Restart bool          // begin anew, even if there is something to resume
}

// Backfill queues a backfill of org, in the caller's transaction, so that it is there exactly if the transaction commits; or, with tx nil, in
// one of its own. Where one waits or runs already, there is nothing to do; but with Restart, that one begins anew, with the present options.
func (q *Queue) Backfill(ctx context.Context, tx pgx.Tx, org record.UUID, o BackfillOptions) error {
	if tx == nil {
		return pgx.BeginFunc(ctx, q.db.Pool(), func(tx pgx.Tx) error { return q.Backfill(ctx, tx, org, o) })
	}
	args := backfillArgs{Org: org.String(), Since: o.Since, Sample: o.Sample, Restart: o.Restart}
	for _, kind := range o.Only {
		args.Only = append(args.Only, string(kind))
	}
	// The caller's session may be bound to its organisation, and jobs are nobody's.
	return postgres.Beside(ctx, tx, func() error { return q.backfill(ctx, tx, args) })
}

func (q *Queue) backfill(ctx context.Context, tx pgx.Tx, args backfillArgs) error {
	fresh, err := q.insert(ctx, tx, args)
	if err != nil || fresh || !args.Restart {
		return err
	}
	encoded, err := json.Marshal(args)
	if err == nil {
		// What began before created_at is not gone on with.
		_, err = tx.Exec(ctx, `UPDATE ingest.river_job SET args = $3, created_at = clock_timestamp(),
				metadata = CASE WHEN state = 'running' THEN metadata || '{"`+metaAgain+`": true}' ELSE metadata END
			WHERE args->>'org' = $1 AND kind = $2 AND finalized_at IS NULL`, args.Org, KindBackfill, encoded)
	}
	if err != nil {
		return fmt.Errorf("queue a backfill of %s anew: %w", args.Org, err)
	}
	return nil
}

// Sync queues a sync of org, unless one waits or runs. One that waits for a later moment is due at once; one that is paused stays so.
func (q *Queue) Sync(ctx context.Context, org record.UUID) error {
	fresh, err := q.insert(ctx, nil, syncArgs{org.String()})
	if err != nil || fresh {
		return err
	}
	_, err = q.db.Pool().Exec(ctx, `UPDATE ingest.river_job SET state = 'available', scheduled_at = clock_timestamp()
		WHERE args->>'org' = $1 AND kind = '`+KindSync+`' AND finalized_at IS NULL AND state = 'scheduled' AND NOT metadata ? '`+metaPaused+`'`, org.String())
	if err != nil {
		return fmt.Errorf("bring the sync of %s forward: %w", org, err)
	}
	return nil
}

// Refresh queues that org's open and recently active conversations are read again, unless that waits or runs already.
func (q *Queue) Refresh(ctx context.Context, org record.UUID) error {
	_, err := q.insert(ctx, nil, refreshArgs{org.String()})
	return err
}

// Retry queues that rejects of org are tried again; none named are all open ones. The error is ErrQueued if a retry waits or runs already.
func (q *Queue) Retry(ctx context.Context, org record.UUID, rejects []int64) error {
	fresh, err := q.insert(ctx, nil, retryArgs{org.String(), rejects})
	if err == nil && !fresh {
		return ErrQueued
	}
	return err
}

// ReplayOptions says what is loaded: see the package replay.
type ReplayOptions struct {
	Location                    string // of the snapshot: a folder that every process can read, or a bucket's URL, without secrets
	Run                         string // only this run of it, by its id or the beginning of it; "": all
	Remap                       bool
	UserIDField, CompanyIDField string // of a remap
	Restart                     bool
}

// Replay queues that a snapshot is loaded for org. The error is ErrQueued if a replay waits or runs already.
func (q *Queue) Replay(ctx context.Context, org record.UUID, o ReplayOptions) error {
	fresh, err := q.insert(ctx, nil, replayArgs{
		Org: org.String(), Location: o.Location, Run: o.Run, Remap: o.Remap,
		UserIDField: o.UserIDField, CompanyIDField: o.CompanyIDField, Restart: o.Restart,
	})
	if err == nil && !fresh {
		return ErrQueued
	}
	return err
}

// Drain queues passes over the inboxes of organisations, in one statement, leaving out those of which one waits or runs.
func (q *Queue) Drain(ctx context.Context, orgs ...record.UUID) error {
	if len(orgs) == 0 {
		return nil
	}
	params := make([]river.InsertManyParams, len(orgs))
	for i, org := range orgs {
		params[i].Args = drainArgs{org.String()}
	}
	if _, err := q.client.InsertMany(ctx, params); err != nil {
		return fmt.Errorf("queue drains of %d organisations: %w", len(orgs), err)
	}
	return nil
}

// insert reports whether the job is a new one. One of its kind that runs and was asked to stop is not to stop any more; and where it is too late
// for that, its end is waited for.
func (q *Queue) insert(ctx context.Context, tx pgx.Tx, args jobArgs) (fresh bool, err error) {
	for deadline := time.Now().Add(endPatience); ; {
		fresh, err = q.tryInsert(ctx, tx, args)
		if !errors.Is(err, errEnds) {
			break
		}
		if time.Now().After(deadline) || !pause(ctx, 50*time.Millisecond) {
			err = ErrQueued
			break
		}
	}
	if err != nil {
		return false, fmt.Errorf("queue a %s of %s: %w", args.Kind(), args.organisation(), err)
	}
	return fresh, nil
}

var errEnds = errors.New("the job that is there ends at this moment")

// tryInsert is one attempt, in a transaction within the caller's: an insert locks the row that it finds, and one that is about to end cannot
// before it is let go.
func (q *Queue) tryInsert(ctx context.Context, tx pgx.Tx, args jobArgs) (fresh bool, err error) {
	begin := q.db.Pool().Begin
	if tx != nil {
		begin = tx.Begin
	}
	sub, err := begin(ctx)
	if err != nil {
		return false, err
	}
	defer func() {
		if err != nil {
			_ = sub.Rollback(context.WithoutCancel(ctx)) // the error that matters is the first
		}
	}()
	r, err := q.client.InsertTx(ctx, sub, args, nil)
	if err != nil {
		return false, err
	}
	if r.UniqueSkippedAsDuplicate {
		if _, err = sub.Exec(ctx, `UPDATE ingest.river_job SET metadata = metadata || '{"`+metaStop+`": false}'
			WHERE args->>'org' = $1 AND kind = $2 AND finalized_at IS NULL AND metadata->>'`+metaStop+`' = 'true' AND metadata->'`+metaEnds+`' IS NULL`,
			args.organisation(), args.Kind()); err != nil {
			return false, err
		}
		var ends bool
		if err = sub.QueryRow(ctx, `SELECT EXISTS (SELECT FROM ingest.river_job WHERE args->>'org' = $1 AND kind = $2 AND finalized_at IS NULL
			AND metadata->'`+metaEnds+`' IS NOT NULL)`, args.organisation(), args.Kind()).Scan(&ends); err != nil {
			return false, err
		}
		if ends {
			return false, errEnds
		}
	}
	return !r.UniqueSkippedAsDuplicate, sub.Commit(ctx)
}

// endPatience is how long the end of a job that stops is waited for, before another one takes its place.
const endPatience = 5 * time.Second

// pause reports whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	wait, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-wait.Done()
	return ctx.Err() == nil
}

// JobState is how a job stands.
type JobState string

const (
	JobWaiting  JobState = "waiting"  // for its turn
	JobRunning  JobState = "running"  // in Job.Process
	JobPaused   JobState = "paused"   // until ingest is on, or another token is stored: Job.Error says which
	JobRetrying JobState = "retrying" // it has failed, and is tried again at Job.Due
	JobFailed   JobState = "failed"   // for good, not long ago, and none of its kind since
)

// Cause is what kind of failure a job's last one was; "" if it was none of these.
type Cause string

const (
	CauseToken      Cause = "token"      // Intercom does not take the token
	CausePermission Cause = "permission" // the token may not do this
	CauseIntercom   Cause = "intercom"   // Intercom does not answer, or not as it should
	CauseDatabase   Cause = "database"
	CauseMasterKey  Cause = "master-key"
)

// Job is a job that waits or runs, or has failed for good.
type Job struct {
	ID      int64       `json:"id"`
	Org     record.UUID `json:"org"`
	Kind    string      `json:"kind"`
	State   JobState    `json:"state"`
	Since   time.Time   `json:"since"` // it has been in this state; of one that waits, since it was queued
	Due     time.Time   `json:"due"`   // when it is taken up, at the earliest
	Attempt int         `json:"attempt"`
	Error   string      `json:"error,omitempty"`   // of the last attempt, or why it is paused or waits
	Cause   Cause       `json:"cause,omitempty"`   // of Error, where that tells of a failure
	Process string      `json:"process,omitempty"` // that runs it, or ran it last
}

// Jobs lists what waits or runs for org, oldest first, and of each kind the last that has failed for good, if nothing of that kind came after it.
func (q *Queue) Jobs(ctx context.Context, org record.UUID) ([]Job, error) {
	rows, err := q.db.Pool().Query(ctx, `SELECT j.id, j.kind, j.state::text, coalesce(j.finalized_at, CASE WHEN j.state = 'running' THEN j.attempted_at END, j.created_at),
			j.scheduled_at, j.attempt, coalesce(j.errors[array_upper(j.errors, 1)]->>'error', ''), coalesce(j.metadata->'`+metaPaused+`'->>'why', ''),
			coalesce(j.metadata->>'`+metaWaits+`', ''), coalesce(j.metadata->>'`+metaCause+`', ''), coalesce(p.name, '')
		FROM (SELECT * FROM ingest.river_job WHERE args->>'org' = $1 AND finalized_at IS NULL
			UNION ALL SELECT * FROM ingest.river_job f WHERE args @> jsonb_build_object('org', $1::text) AND state IN ('cancelled', 'discarded') AND metadata->'`+metaEnds+`' IS NULL
				AND NOT EXISTS (SELECT FROM ingest.river_job n WHERE n.args @> jsonb_build_object('org', $1::text) AND n.kind = f.kind AND n.id > f.id)) j
			LEFT JOIN ingest.processes p ON p.id = j.attempted_by[array_upper(j.attempted_by, 1)]
		ORDER BY j.id`, org.String())
	if err != nil {
		return nil, fmt.Errorf("list the jobs of %s: %w", org, err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Job, error) {
		j := Job{Org: org}
		var state, failed, paused, waits string
		if err := row.Scan(&j.ID, &j.Kind, &state, &j.Since, &j.Due, &j.Attempt, &failed, &paused, &waits, &j.Cause, &j.Process); err != nil {
			return j, err
		}
		j.Error = failed
		switch {
		case state == "running":
			j.State = JobRunning
		case state == "cancelled" || state == "discarded":
			j.State = JobFailed
		case state == "retryable":
			j.State = JobRetrying
		case paused != "":
			j.State, j.Error = JobPaused, paused
		default:
			j.State, j.Error = JobWaiting, waits
		}
		if j.State == JobWaiting || j.State == JobRunning {
			j.Cause = ""
		}
		return j, nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the jobs of %s: %w", org, err)
	}
	return list, nil
}

// Stop asks what runs for org to stop softly: what was read is committed, and the run can be gone on with. Where ingest is off by then, the job
// is paused until it is on again; else it ends, and the next one of its kind goes on; one that is queued meanwhile keeps it running. The process that runs it sees this within about a second.
func (q *Queue) Stop(ctx context.Context, org record.UUID) error {
	_, err := q.db.Pool().Exec(ctx, `UPDATE ingest.river_job SET metadata = metadata || jsonb_build_object('`+metaStop+`', true)
		WHERE args->>'org' = $1 AND finalized_at IS NULL AND state = 'running'`, org.String())
	if err != nil {
		return fmt.Errorf("stop the jobs of %s: %w", org, err)
	}
	return nil
}

// TryNow ends the wait of org's jobs that have failed and are to be tried again later. A worker takes them up within about a second; those that wait
// for something else, or are paused, go on doing so.
func (q *Queue) TryNow(ctx context.Context, org record.UUID) error {
	_, err := q.db.Pool().Exec(ctx, `UPDATE ingest.river_job SET state = 'available', scheduled_at = clock_timestamp()
		WHERE args->>'org' = $1 AND finalized_at IS NULL AND state = 'retryable'`, org.String())
	if err != nil {
		return fmt.Errorf("try the jobs of %s now: %w", org, err)
	}
	return nil
}

// Depth is how many jobs of a queue are in one state.
type Depth struct {
	Queue string
	State string // River's: available, running, retryable, scheduled
	Jobs  int64
	// Oldest is for how long the first of those that may run has waited for a worker.
	Oldest time.Duration
}

// Depths counts the jobs that are not over, of all organisations.
func (q *Queue) Depths(ctx context.Context) ([]Depth, error) {
	rows, err := q.db.Pool().Query(ctx, `SELECT queue, state::text, count(*),
			coalesce(max(clock_timestamp() - scheduled_at) FILTER (WHERE state = 'available' AND scheduled_at <= clock_timestamp()), '0')
		FROM ingest.river_job WHERE finalized_at IS NULL GROUP BY 1, 2 ORDER BY 1, 2`)
	if err != nil {
		return nil, fmt.Errorf("count the jobs: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Depth])
	if err != nil {
		return nil, fmt.Errorf("count the jobs: %w", err)
	}
	return list, nil
}

// Keys in a job's metadata.
const (
	metaPaused = "paused" // obstacle
	metaWaits  = "waits"  // for people: what it waits for
	metaCause  = "cause"  // Cause of the last failure
	metaStop   = "stop"   // it is asked to stop
	metaAgain  = "again"  // it is asked to begin anew, with the arguments that it has now
	metaEnds   = "ends"   // it ends because it was asked to stop, and nothing keeps it from that any more
	metaHeld   = "held"   // another run holds its organisation
)

// obstacle is why a job is not tried until something changes.
type obstacle struct {
	Why   string `json:"why"`             // for people
	Token string `json:"token,omitempty"` // digest of the sealed token that does not work; "": ingest is off, or nothing is connected
}

func organisationOf(encoded []byte) (record.UUID, error) {
	var t struct {
		Org string `json:"org"`
	}
	if err := json.Unmarshal(encoded, &t); err != nil {
		return record.UUID{}, err
	}
	return record.ParseUUID(t.Org)
}
