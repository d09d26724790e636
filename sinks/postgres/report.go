package postgres

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
)

// Total counts the rows of one table that come from Intercom. Rows that Halo made and Intercom has matched are among them.
type Total struct {
	Live    int64 `json:"live"`
	Deleted int64 `json:"deleted"` // marked as deleted at the source
}

// LeaseInfo says who holds, or held last, an organisation.
type LeaseInfo struct {
	Holder       string        `json:"holder"`
	Since        time.Time     `json:"since"`
	HeartbeatAge time.Duration `json:"heartbeat_age_ns"`
	Alive        bool          `json:"alive"` // it has not released the lease, holds its lock and beats
}

// Status is what is known of an organisation's ingest.
type Status struct {
	Contacts      Total `json:"contacts"`
	Companies     Total `json:"companies"`
	Conversations Total `json:"conversations"`
	Tickets       Total `json:"tickets"`

	LastSyncedAt time.Time `json:"last_synced_at,omitzero"` // end of the last complete sync; zero before any
	SyncedTo     time.Time `json:"synced_to,omitzero"`      // everything that changed before it has been read

	OpenRejects             int64 `json:"open_rejects"`
	PendingLinks            int64 `json:"pending_links"` // references to objects that have not arrived
	IncompleteConversations int64 `json:"incomplete_conversations"`

	Lease *LeaseInfo `json:"lease,omitempty"` // nil if nobody has ever held it
	Run   *RunInfo   `json:"run,omitempty"`   // the newest run, if there is one that is no complete pass over webhooks; nil before any
}

// StreamInfo is one stream of a run.
type StreamInfo struct {
	Stream    string          `json:"stream"`
	Batches   int64           `json:"batches"` // committed
	Complete  bool            `json:"complete"`
	Skipped   string          `json:"skipped,omitempty"`
	Counts    pipeline.Counts `json:"counts"`
	UpdatedAt time.Time       `json:"updated_at"`
}

// Tally is how often something was seen.
type Tally struct {
	What  string `json:"what"` // e.g. contact/field/browser_version
	Count int64  `json:"count"`
}

// RunInfo is a run as it stands in the database.
type RunInfo struct {
	ID         record.UUID     `json:"id"`
	Kind       string          `json:"kind"`
	Spec       RunSpec         `json:"spec"`
	State      RunState        `json:"state"` // a run that nobody works on any more is interrupted
	Attempts   int             `json:"attempts"`
	Counts     pipeline.Counts `json:"counts"` // of all streams, without what was not mapped
	Unmapped   []Tally         `json:"unmapped"`
	Requests   int64           `json:"requests"` // of the attempts that have ended
	Error      string          `json:"error,omitempty"`
	StartedAt  time.Time       `json:"started_at"`
	FinishedAt time.Time       `json:"finished_at,omitzero"`
	UndoneAt   time.Time       `json:"undone_at,omitzero"` // what it wrote was taken back; zero: it was not
	Streams    []StreamInfo    `json:"streams"`
}

// unmappedPrefix begins the names of counters of what was seen at the source and has no place in Halo's tables.
const unmappedPrefix = "unmapped/"

// RunFilter says which runs are listed. The zero value is all of them.
type RunFilter struct {
	Limit int    // the newest so many; 0: all
	Kind  string // of this kind only; "": of any
	Quiet string // without those of this kind that are complete; "": none is left out

	prefix string // of the id
}

// kindWebhook is the kind of runs that are passes over the inbox: many, and each of little interest once it is complete.
const kindWebhook = "webhook"

// Runs lists the newest runs of org, newest first; limit 0 is all of them.
func (db *DB) Runs(ctx context.Context, org record.UUID, limit int) ([]RunInfo, error) {
	list, _, err := db.RunsOf(ctx, org, RunFilter{Limit: limit})
	return list, err
}

// RunsOf lists runs of org, newest first, and tells how many f.Quiet has left out.
func (db *DB) RunsOf(ctx context.Context, org record.UUID, f RunFilter) (list []RunInfo, quiet int64, err error) {
	list, quiet, err = db.runs(ctx, org, f)
	return list, quiet, wrap(ctx, err, "list runs")
}

// RunKinds are the kinds of the runs that org has had, in alphabetical order.
func (db *DB) RunKinds(ctx context.Context, org record.UUID) ([]string, error) {
	rows, err := db.pool.Query(ctx, `SELECT DISTINCT kind FROM ingest.runs WHERE org_id = $1 ORDER BY kind`, org)
	if err != nil {
		return nil, wrap(ctx, err, "list kinds of runs")
	}
	kinds, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return kinds, wrap(ctx, err, "list kinds of runs")
}

// RunInfo returns the run whose id begins with prefix, which may be shortened as far as it is the only one. ErrNotFound
// if there is none or more than one.
func (db *DB) RunInfo(ctx context.Context, org record.UUID, prefix string) (RunInfo, error) {
	list, _, err := db.runs(ctx, org, RunFilter{Limit: 2, prefix: strings.ToLower(prefix)})
	switch {
	case err != nil:
		return RunInfo{}, wrap(ctx, err, "read run %s", prefix)
	case len(list) == 0:
		return RunInfo{}, fmt.Errorf("run %q: %w", prefix, ErrNotFound)
	case len(list) > 1:
		return RunInfo{}, fmt.Errorf("run %q: %w: it is the beginning of several ids", prefix, ErrNotFound)
	}
	return list[0], nil
}

func (db *DB) runs(ctx context.Context, org record.UUID, f RunFilter) (list []RunInfo, quiet int64, err error) {
	err = db.reading(ctx, func(tx pgx.Tx) error {
		lease, err := db.readLease(ctx, tx, org)
		if err == nil {
			list, err = readRuns(ctx, tx, org, f, lease)
		}
		if err == nil && f.Quiet != "" {
			err = tx.QueryRow(ctx, `SELECT count(*) FROM ingest.runs WHERE org_id = $1 AND kind = $2 AND state = 'complete' AND ($3 = '' OR kind = $3)`, org, f.Quiet, f.Kind).Scan(&quiet)
		}
		return err
	})
	return list, quiet, err
}

func readRuns(ctx context.Context, tx pgx.Tx, org record.UUID, f RunFilter, lease *LeaseInfo) ([]RunInfo, error) {
	rows, err := tx.Query(ctx, `SELECT id, kind, spec, state, attempts, requests, coalesce(error, ''), started_at, finished_at, undone_at FROM ingest.runs
		WHERE org_id = $1 AND starts_with(id::text, $2) AND ($4 = '' OR kind = $4) AND NOT (kind = $5 AND state = 'complete')
		ORDER BY started_at DESC, id LIMIT nullif($3, 0)`, org, f.prefix, f.Limit, f.Kind, f.Quiet)
	if err != nil {
		return nil, err
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (x RunInfo, err error) {
		var spec []byte
		var finished, undone *time.Time
		if err := row.Scan((*[16]byte)(&x.ID), &x.Kind, &spec, (*string)(&x.State), &x.Attempts, &x.Requests, &x.Error, &x.StartedAt, &finished, &undone); err != nil {
			return x, err
		}
		if finished != nil {
			x.FinishedAt = *finished
		}
		if undone != nil {
			x.UndoneAt = *undone
		}
		if x.State == RunRunning && (lease == nil || !lease.Alive) {
			x.State, x.Error = RunInterrupted, processGone
		}
		err = json.Unmarshal(spec, &x.Spec)
		x.Spec.Kind = x.Kind
		return x, err
	})
	if err != nil {
		return nil, err
	}
	return list, readStreams(ctx, tx, org, list)
}

// readStreams fills in the streams of the runs, and the sums over them: they are exact while a run is still going on, too.
func readStreams(ctx context.Context, tx pgx.Tx, org record.UUID, list []RunInfo) error {
	ids := make([][16]byte, len(list))
	index := make(map[[16]byte]*RunInfo, len(list))
	for i := range list {
		ids[i] = list[i].ID
		index[list[i].ID] = &list[i]
	}
	rows, err := tx.Query(ctx, `SELECT c.run_id, c.stream, c.seq, c.complete, coalesce(c.skipped, ''), c.counts, c.updated_at
		FROM unnest($2::uuid[]) AS u(id) JOIN ingest.checkpoints c ON c.org_id = $1 AND c.run_id = u.id ORDER BY c.run_id, c.stream`, org, ids)
	if err != nil {
		return err
	}
	var run [16]byte
	var s StreamInfo
	var counts []byte
	_, err = pgx.ForEachRow(rows, []any{&run, &s.Stream, &s.Batches, &s.Complete, &s.Skipped, &counts, &s.UpdatedAt}, func() error {
		s.Counts = nil
		if err := json.Unmarshal(counts, &s.Counts); err != nil {
			return err
		}
		x := index[run]
		// One that had nothing to read leaves its checkpoint as it was, so that another attempt may look again.
		s.Complete = s.Complete || x.State == RunComplete && s.Skipped == ""
		x.Counts.Merge(s.Counts)
		x.Streams = append(x.Streams, s)
		return nil
	})
	for i := range list {
		list[i].Unmapped = takeUnmapped(list[i].Counts)
	}
	return err
}

// takeUnmapped moves what was not mapped out of the counts, the most frequent first.
func takeUnmapped(counts pipeline.Counts) []Tally {
	var list []Tally
	for name, n := range counts {
		if what, ok := strings.CutPrefix(name, unmappedPrefix); ok {
			list = append(list, Tally{What: what, Count: n})
			delete(counts, name)
		}
	}
	slices.SortFunc(list, func(a, b Tally) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.What, b.What))
	})
	return list
}

func (db *DB) readLease(ctx context.Context, tx pgx.Tx, org record.UUID) (*LeaseInfo, error) {
	key := uint64(lockKey("lease", org))
	var x LeaseInfo
	var seconds float64
	err := tx.QueryRow(ctx, `SELECT holder, acquired_at, extract(epoch FROM clock_timestamp() - heartbeat_at)::float8,
			released_at IS NULL AND EXISTS (SELECT 1 FROM pg_locks WHERE `+leaseLock+`)
		FROM ingest.leases WHERE org_id = $3`, int64(key>>32), int64(key&0xffffffff), org).Scan(&x.Holder, &x.Since, &seconds, &x.Alive)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	x.HeartbeatAge = time.Duration(seconds * float64(time.Second))
	x.Alive = x.Alive && x.HeartbeatAge <= db.timing.ttl
	return &x, err
}

// Status reads everything in one snapshot. The totals are exact.
func (db *DB) Status(ctx context.Context, org record.UUID) (Status, error) {
	var s Status
	err := db.reading(ctx, func(tx pgx.Tx) error {
		for _, part := range []struct {
			total *Total
			kind  record.Kind
		}{{&s.Contacts, record.KindContact}, {&s.Companies, record.KindCompany}, {&s.Conversations, record.KindConversation}, {&s.Tickets, record.KindTicket}} {
			err := tx.QueryRow(ctx, `SELECT count(*) - count(deleted_at), count(deleted_at) FROM `+db.From("public."+part.kind.Table())+`
				WHERE org_id = $1 AND source_id IS NOT NULL`, org).Scan(&part.total.Live, &part.total.Deleted)
			if err != nil {
				return err
			}
		}
		err := tx.QueryRow(ctx, `SELECT
				(SELECT count(*) FROM ingest.rejects WHERE org_id = $1 AND resolved_at IS NULL),
				(SELECT count(*) FROM ingest.pending_links WHERE org_id = $1),
				(SELECT count(*) FROM `+db.From("public.transcripts")+` WHERE org_id = $1 AND NOT complete AND source_id IS NOT NULL AND deleted_at IS NULL)`,
			org).Scan(&s.OpenRejects, &s.PendingLinks, &s.IncompleteConversations)
		if err != nil {
			return err
		}
		var last, to *time.Time
		err = tx.QueryRow(ctx, `SELECT last_synced_at, synced_to FROM ingest.connections WHERE org_id = $1`, org).Scan(&last, &to)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		if last != nil {
			s.LastSyncedAt = *last
		}
		if to != nil {
			s.SyncedTo = *to
		}
		if s.Lease, err = db.readLease(ctx, tx, org); err != nil {
			return err
		}
		newest, err := readRuns(ctx, tx, org, RunFilter{Limit: 1, Quiet: kindWebhook}, s.Lease)
		if err == nil && len(newest) == 0 {
			newest, err = readRuns(ctx, tx, org, RunFilter{Limit: 1}, s.Lease)
		}
		if err == nil && len(newest) > 0 {
			s.Run = &newest[0]
		}
		return err
	})
	if err != nil {
		return Status{}, wrap(ctx, err, "read the status of %s", org)
	}
	return s, nil
}

// reading runs f in a transaction that sees one state of the database.
func (db *DB) reading(ctx context.Context, f func(pgx.Tx) error) error {
	return db.retry(ctx, "read", func(ctx context.Context) error {
		return pgx.BeginTxFunc(ctx, db.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
			// The counts are made for the indexes ..._intercom; a table that was never analysed would be scanned whole.
			if _, err := tx.Exec(ctx, `SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off`); err != nil {
				return err
			}
			return f(tx)
		})
	})
}
