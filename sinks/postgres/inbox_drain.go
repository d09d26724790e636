package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
)

// OpenDelivery is a delivery that is to be worked on.
type OpenDelivery struct {
	N          int64
	Objects    []record.ObjectKey
	Gone       bool // it tells of a deletion
	Attempts   int  // that failed
	ReceivedAt time.Time
}

// workable is what of the inbox $1's drain may take now. Where ingest is off, or nothing is connected, that is nothing.
const workable = `i.org_id = $1 AND i.done_at IS NULL AND i.parked_at IS NULL AND (i.retry_at IS NULL OR i.retry_at <= clock_timestamp())
	AND EXISTS (SELECT FROM ingest.connections c WHERE c.org_id = i.org_id AND c.ingest_enabled AND c.token IS NOT NULL)`

// OpenDeliveries returns the oldest deliveries of org that are due, limit of them at most, beginning behind number after.
func (db *DB) OpenDeliveries(ctx context.Context, org record.UUID, after int64, limit int) ([]OpenDelivery, error) {
	rows, err := db.pool.Query(ctx, `SELECT i.id, i.objects, i.gone, i.attempts, i.received_at FROM ingest.webhook_inbox i
		WHERE `+workable+` AND i.id > $2 ORDER BY i.id LIMIT $3`, org, after, limit)
	if err != nil {
		return nil, wrap(ctx, err, "read the inbox of %s", org)
	}
	var list []OpenDelivery
	var d OpenDelivery
	var objects []string
	_, err = pgx.ForEachRow(rows, []any{&d.N, &objects, &d.Gone, &d.Attempts, &d.ReceivedAt}, func() error {
		d.Objects = splitKeys(objects)
		list = append(list, d)
		return nil
	})
	return list, wrap(ctx, err, "read the inbox of %s", org)
}

// PendingOrgs returns the organisations that have deliveries to be worked on now. It reads what is open and nothing else.
func (db *DB) PendingOrgs(ctx context.Context) ([]record.UUID, error) {
	rows, err := db.pool.Query(ctx, `SELECT c.org_id FROM ingest.connections c WHERE c.ingest_enabled AND c.token IS NOT NULL AND EXISTS (
		SELECT FROM ingest.webhook_inbox i WHERE i.org_id = c.org_id AND i.done_at IS NULL AND i.parked_at IS NULL
			AND (i.retry_at IS NULL OR i.retry_at <= clock_timestamp())) ORDER BY c.org_id`)
	if err != nil {
		return nil, wrap(ctx, err, "look for deliveries")
	}
	list, err := collectUUIDs(rows)
	return list, wrap(ctx, err, "look for deliveries")
}

// Backoff of a delivery that failed: twice as long each time.
const (
	firstBackoff = 30 * time.Second
	maxBackoff   = time.Hour
)

// FailDeliveries keeps deliveries for later, with the reason. One that has failed for the limit-th time is parked. parked counts those.
func (r *Run) FailDeliveries(ctx context.Context, ids []int64, reason string, limit int) (parked int64, err error) {
	if len(ids) == 0 {
		return 0, nil
	}
	err = r.guarded(ctx, fmt.Sprintf("keep %d deliveries for later", len(ids)), func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, `WITH failed AS (
				UPDATE ingest.webhook_inbox i SET attempts = attempts + 1, error = $3,
					retry_at = clock_timestamp() + least($5::interval * power(2, least(attempts, 20)), $6::interval),
					parked_at = CASE WHEN attempts + 1 >= $4 THEN clock_timestamp() END
				WHERE org_id = $1 AND id = ANY ($2) AND done_at IS NULL AND parked_at IS NULL RETURNING parked_at)
			SELECT count(parked_at) FROM failed`, r.lease.org, ids, clip(record.CleanText(reason), maxRejectReason), limit, firstBackoff, maxBackoff).Scan(&parked)
	})
	return parked, err
}

// DelayDeliveries keeps deliveries for later without counting an attempt: what keeps them is not their own.
func (r *Run) DelayDeliveries(ctx context.Context, ids []int64, reason string, by time.Duration) error {
	if len(ids) == 0 {
		return nil
	}
	return r.guarded(ctx, fmt.Sprintf("keep %d deliveries for later", len(ids)), func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE ingest.webhook_inbox SET error = $3, retry_at = clock_timestamp() + $4::interval
			WHERE org_id = $1 AND id = ANY ($2) AND done_at IS NULL AND parked_at IS NULL`, r.lease.org, ids, clip(record.CleanText(reason), maxRejectReason), by)
		return err
	})
}

// settle marks the deliveries of a batch as done, in its transaction. Their bodies go: they were hints, what they named has been read anew, and
// personal data is kept in as few places as can be. Their ids stay, so that a repetition is known.
func (l *loader) settle(ctx context.Context, list []record.Delivered) error {
	var ids []int64
	for _, d := range list {
		ids = append(ids, d.Deliveries...)
	}
	if len(ids) == 0 {
		return nil
	}
	rows, err := l.conn.Query(ctx, `UPDATE ingest.webhook_inbox SET done_at = clock_timestamp(), body = '', error = NULL, retry_at = NULL
		WHERE org_id = $1 AND id = ANY ($2) AND done_at IS NULL RETURNING done_at - received_at`, l.org, ids)
	if err != nil {
		return err
	}
	if l.waited, err = pgx.CollectRows(rows, pgx.RowTo[time.Duration]); err != nil {
		return err
	}
	l.counts.Add("webhook/deliveries", int64(len(l.waited)))
	return nil
}

func deliveredOf(f pipeline.File) (record.Delivered, bool) {
	d, ok := f.Meta.(record.Delivered)
	return d, ok
}

// InboxStats is how an organisation's inbox stands.
type InboxStats struct {
	Open   int64     `json:"open"`            // to be worked on, now or later
	Failed int64     `json:"failed"`          // of those: tried before
	Parked int64     `json:"parked"`          // kept aside
	Done   int64     `json:"done"`            // as far as they are still there, see PruneDeliveries
	Oldest time.Time `json:"oldest,omitzero"` // when the oldest open one came
	Error  string    `json:"error,omitempty"` // of the parked or failed one that came last
}

// Inbox tells how an organisation's inbox stands.
func (db *DB) Inbox(ctx context.Context, org record.UUID) (InboxStats, error) {
	var s InboxStats
	var oldest *time.Time
	err := db.pool.QueryRow(ctx, `SELECT count(*) FILTER (WHERE done_at IS NULL AND parked_at IS NULL),
			count(*) FILTER (WHERE done_at IS NULL AND parked_at IS NULL AND attempts > 0), count(parked_at), count(done_at),
			min(received_at) FILTER (WHERE done_at IS NULL AND parked_at IS NULL),
			coalesce((array_agg(error ORDER BY id DESC) FILTER (WHERE done_at IS NULL AND error IS NOT NULL))[1], '')
		FROM ingest.webhook_inbox WHERE org_id = $1`, org).Scan(&s.Open, &s.Failed, &s.Parked, &s.Done, &oldest, &s.Error)
	s.Oldest = orZero(oldest)
	return s, wrap(ctx, err, "read the inbox of %s", org)
}

// RetryParked opens the parked deliveries of org that name an object again, with all attempts before them, and counts them.
func (db *DB) RetryParked(ctx context.Context, org record.UUID) (int64, error) {
	tag, err := db.pool.Exec(ctx, `UPDATE ingest.webhook_inbox SET parked_at = NULL, retry_at = NULL, attempts = 0
		WHERE org_id = $1 AND parked_at IS NOT NULL AND done_at IS NULL AND objects <> '{}'`, org)
	return tag.RowsAffected(), wrap(ctx, err, "open parked deliveries of %s again", org)
}

// By ctid, since a DELETE has no LIMIT; in order, so that it is the index that finds them. A row
// that has taken the place of another meanwhile is not done before t.
const pruneDeliveries = `DELETE FROM ingest.webhook_inbox WHERE ctid = ANY (ARRAY(
	SELECT ctid FROM ingest.webhook_inbox WHERE done_at < $1 ORDER BY done_at LIMIT 10000)) AND done_at < $1`

// PruneDeliveries forgets deliveries of all organisations that were done before t, 10,000 at most, the oldest first, and counts them. One that is sent again after
// that is worked on again, which changes nothing.
func (db *DB) PruneDeliveries(ctx context.Context, t time.Time) (int64, error) {
	tag, err := db.pool.Exec(ctx, pruneDeliveries, t)
	return tag.RowsAffected(), wrap(ctx, err, "forget deliveries that are done")
}
