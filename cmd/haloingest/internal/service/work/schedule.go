package work

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"haloingest/pipeline/record"
)

// What is done regularly is due once in each of its periods. An organisation's periods begin at a place of its own, by its id: so a thousand syncs
// are spread over the hour. For which period a job was queued last is kept in ingest.schedule and set in the transaction that queues it: however
// many processes look and however often they restart, no turn is skipped or taken twice, and after a day's outage there is one to be made up for
// and not twenty-four.
//
// A turn is for workspaces with ingest on, a token, and a complete backfill; and not if what it is for was done since the period began.
const dueSQL = `INSERT INTO ingest.schedule AS s (org_id, chore, slot)
	SELECT d.org_id, $1, d.slot FROM (
		SELECT k.*, to_timestamp(floor((extract(epoch FROM k.at) - k.off) / k.period) * k.period + k.off) AS slot FROM (
			SELECT c.org_id, c.at, c.done, c.period, mod(('x' || substr(md5($1 || c.org_id::text), 1, 8))::bit(32)::bigint, greatest(ceil(c.period)::bigint, 1)) AS off
			FROM (%s) c) k) d
	WHERE d.done < d.slot AND NOT EXISTS (SELECT FROM ingest.schedule x WHERE x.org_id = d.org_id AND x.chore = $1 AND x.slot >= d.slot)
	ON CONFLICT (org_id, chore) DO UPDATE SET slot = excluded.slot WHERE s.slot < excluded.slot
	RETURNING org_id`

// live are the connections that have turns.
const live = ` FROM ingest.connections c WHERE c.ingest_enabled AND c.token IS NOT NULL AND c.synced_to IS NOT NULL`

// chore is something that is done regularly.
type chore struct {
	name string
	// due gives org_id, at (now), done (when it was done last) and period (in seconds); $2 is the period as an interval.
	due    string
	period time.Duration
	job    func(org string) jobArgs
}

func (w *Worker) chores() []chore {
	return []chore{
		// What a sync that ended in this period began before is not in it.
		{KindSync, `SELECT c.org_id, clock_timestamp() AS at, c.synced_to AS done, extract(epoch FROM $2::interval) AS period` + live,
			w.options.SyncEvery, func(org string) jobArgs { return syncArgs{org} }},
		{KindRefresh, `SELECT c.org_id, clock_timestamp() AS at, greatest(c.connected_at, (
				SELECT max(r.started_at) FROM ingest.runs r WHERE r.org_id = c.org_id AND r.kind IN ('backfill', 'refresh') AND r.state = 'complete')) AS done,
				greatest(extract(epoch FROM c.activity_refresh), extract(epoch FROM $2::interval)) AS period` + live,
			time.Second, func(org string) jobArgs { return refreshArgs{org} }},
		// The periods of walks are long. So that the second one does not follow the first backfill by a day, it is not due before half of one has passed.
		{"walk", `SELECT c.org_id, clock_timestamp() AS at, extract(epoch FROM $2::interval) AS period, coalesce((
				SELECT max(r.finished_at) FROM ingest.runs r WHERE r.org_id = c.org_id AND r.kind = 'backfill' AND r.state = 'complete' AND r.undone_at IS NULL
					AND NOT r.spec ?| ARRAY['only', 'since', 'sample']), c.connected_at) + $2::interval / 2 AS done` + live,
			w.options.WalkEvery, func(org string) jobArgs { return backfillArgs{Org: org, Restart: true} }},
	}
}

// schedule queues what is due.
func (w *Worker) schedule(ctx context.Context) error {
	for _, c := range w.chores() {
		var orgs []record.UUID
		err := pgx.BeginFunc(ctx, w.pool, func(tx pgx.Tx) error {
			rows, err := tx.Query(ctx, fmt.Sprintf(dueSQL, c.due), c.name, c.period)
			if err != nil {
				return err
			}
			orgs, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (u record.UUID, err error) {
				return u, row.Scan((*[16]byte)(&u))
			})
			if err != nil || len(orgs) == 0 {
				return err
			}
			params := make([]river.InsertManyParams, len(orgs))
			for i, org := range orgs {
				params[i].Args = c.job(org.String())
			}
			_, err = w.queue.client.InsertManyTx(ctx, tx, params)
			return err
		})
		if err != nil {
			return fmt.Errorf("queue what is due (%s): %w", c.name, err)
		}
		for _, org := range orgs {
			w.log.Debug("due", "org", org.String(), "chore", c.name)
		}
	}
	return nil
}
