package work

import (
	"sync"
	"testing"
	"time"

	"haloingest/pipeline/record"
)

// connected makes a connection without a workspace behind it: enough for what looks at the database only.
func (p *place) connected(org record.UUID, synced time.Duration) {
	p.tb.Helper()
	p.exec(`INSERT INTO ingest.connections (org_id, region, workspace_id, token, synced_to, last_synced_at, connected_at)
		VALUES ($1, 'us', 'w', 'sealed', now() - $2::interval, now() - $2::interval, now() - $2::interval)`, org, synced)
}

// scheduler is a worker that does not run, and whose periods are so long that no test sees one end.
func (p *place) scheduler() *Worker {
	p.tb.Helper()
	o := p.options()
	o.SyncEvery, o.WalkEvery = 1000*time.Hour, 2000*time.Hour
	w, err := New(o)
	p.must(err)
	return w
}

func (p *place) jobs(kind string) int {
	return scalar[int](p, `SELECT count(*) FROM ingest.river_job WHERE kind = $1 AND finalized_at IS NULL`, kind)
}

func TestWhatIsDueIsQueuedOnceByAnyNumberOfProcesses(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	for n := range 5 {
		p.connected(orgOf(n), 3000*time.Hour)
	}
	var crew sync.WaitGroup
	for range 4 {
		w := p.scheduler()
		crew.Go(func() {
			for range 5 {
				if err := w.schedule(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	crew.Wait()
	if n := p.jobs(KindSync); n != 5 {
		t.Errorf("%d syncs of 5 organisations", n)
	}
	// Once they are over, the turn was had, whoever looks.
	p.exec(`UPDATE ingest.river_job SET state = 'cancelled', finalized_at = now()`)
	p.must(p.scheduler().schedule(t.Context()))
	if n := p.jobs(KindSync) + p.jobs(KindRefresh) + p.jobs(KindBackfill); n != 0 {
		t.Errorf("%d jobs for turns that were had", n)
	}
	// Of several turns that nobody was there for, one is made up for.
	p.exec(`UPDATE ingest.schedule SET slot = slot - interval '5000 hours' WHERE org_id = $1`, orgOf(1))
	p.must(p.scheduler().schedule(t.Context()))
	p.must(p.scheduler().schedule(t.Context()))
	if n := p.jobs(KindSync); n != 1 {
		t.Errorf("%d syncs after an outage of several turns", n)
	}
}

func TestOnlyWorkspacesWithABackfillAndATokenAndIngestOnHaveTurns(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	for n := range 5 {
		p.connected(orgOf(n), 3000*time.Hour)
	}
	p.exec(`UPDATE ingest.connections SET ingest_enabled = false WHERE org_id = $1`, orgOf(0))
	p.exec(`UPDATE ingest.connections SET token = NULL WHERE org_id = $1`, orgOf(1))
	p.exec(`UPDATE ingest.connections SET synced_to = NULL WHERE org_id = $1`, orgOf(2))
	// It was synced a moment ago: everything that this turn is for is done.
	p.exec(`UPDATE ingest.connections SET synced_to = now() WHERE org_id = $1`, orgOf(3))
	p.must(p.scheduler().schedule(t.Context()))
	if n := scalar[int](p, `SELECT count(*) FROM ingest.river_job WHERE kind = 'sync' AND args->>'org' = $1`, orgOf(4).String()); n != 1 || p.jobs(KindSync) != 1 {
		t.Errorf("%d of the one, %d in all", n, p.jobs(KindSync))
	}
	p.exec(`UPDATE ingest.connections SET ingest_enabled = true WHERE org_id = $1`, orgOf(0))
	p.must(p.scheduler().schedule(t.Context()))
	if n := p.jobs(KindSync); n != 2 {
		t.Errorf("%d syncs after ingest was turned on", n)
	}
}

func TestAThousandOrganisationsAreSpreadOverTheHour(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.exec(`INSERT INTO ingest.connections (org_id, region, workspace_id, token, synced_to, last_synced_at, connected_at)
		SELECT md5(i::text)::uuid, 'us', 'w', 'sealed', now() - interval '15 minutes', now(), now() FROM generate_series(1, 1000) i`)
	o := p.options()
	o.SyncEvery = time.Hour
	w, err := New(o)
	p.must(err)
	p.must(w.schedule(t.Context()))
	// Due are those whose hour began within the last quarter of one.
	if n := p.jobs(KindSync); n < 200 || n > 300 {
		t.Errorf("%d of 1000 organisations had their turn in a quarter of an hour", n)
	}
	minutes := scalar[int](p, `SELECT count(DISTINCT extract(minute FROM slot)) FROM ingest.schedule WHERE chore = 'sync'`)
	if most := scalar[int](p, `SELECT max(n) FROM (SELECT count(*) AS n FROM ingest.schedule WHERE chore = 'sync' GROUP BY date_trunc('minute', slot)) g`); minutes < 15 || most > 45 {
		t.Errorf("turns in %d different minutes, %d in one", minutes, most)
	}
}

func TestRefreshesFollowTheConnectionAndWalksTheLastBackfill(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	run := func(org record.UUID, kind, spec string, ago time.Duration) {
		p.exec(`INSERT INTO ingest.runs (org_id, id, kind, spec, state, started_at, finished_at)
			VALUES ($1, gen_random_uuid(), $2, $3::jsonb, 'complete', now() - $4::interval, now() - $4::interval)`, org, kind, spec, ago)
	}
	for n := range 6 {
		p.connected(orgOf(n), time.Minute)
		p.exec(`UPDATE ingest.connections SET connected_at = now() - interval '9000 hours', activity_refresh = interval '720 hours' WHERE org_id = $1`, orgOf(n))
	}
	run(orgOf(0), "backfill", `{}`, 9000*time.Hour) // both
	run(orgOf(1), "backfill", `{}`, 9000*time.Hour) // a walk
	run(orgOf(1), "refresh", `{}`, 0)
	run(orgOf(2), "backfill", `{}`, 0)                                              // neither
	run(orgOf(3), "backfill", `{"only": ["tickets"]}`, 0)                           // a walk: not everything was read
	run(orgOf(4), "backfill", `{}`, 0)                                              // neither
	p.exec(`UPDATE ingest.connections SET activity_refresh = '1 minute'`)           // the shortest
	p.exec(`UPDATE ingest.runs SET started_at = started_at - interval '3 minutes'`) // so that a minute has begun since
	p.must(p.scheduler().schedule(t.Context()))
	kinds := func(n int) string {
		return scalar[string](p, `SELECT coalesce(string_agg(kind, ' ' ORDER BY kind), '') FROM ingest.river_job WHERE args->>'org' = $1`, orgOf(n).String())
	}
	for n, want := range []string{"backfill refresh", "backfill refresh", "refresh", "backfill refresh", "refresh", "backfill refresh"} {
		if got := kinds(n); got != want {
			t.Errorf("%d: queued %q, want %q", n, got, want)
		}
	}
	if restart := scalar[string](p, `SELECT string_agg(DISTINCT args->>'restart', ' ') FROM ingest.river_job WHERE kind = 'backfill'`); restart != "true" {
		t.Errorf("walks with restart %s", restart)
	}
	p.exec(`UPDATE ingest.river_job SET state = 'cancelled', finalized_at = now()`)
	p.must(p.scheduler().schedule(t.Context()))
	if n := p.jobs(KindBackfill); n != 0 {
		t.Errorf("%d walks although their turn was had", n)
	}
}

func TestPassesThatNothingRefersToAreForgotten(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	org := orgOf(1)
	pass := func(name, counts string, days int, images bool) {
		p.exec(`INSERT INTO ingest.runs (org_id, id, kind, spec, state, counts, images, started_at, finished_at, error)
			VALUES ($1, gen_random_uuid(), 'webhook', '{}', 'complete', $2::jsonb, $3, now() - $4::interval, now() - $4::interval, $5)`,
			org, counts, images, time.Duration(days)*24*time.Hour, name)
		p.exec(`INSERT INTO ingest.checkpoints (org_id, run_id, stream, epoch, seq) SELECT org_id, id, 'webhooks', 1, 1 FROM ingest.runs WHERE error = $1`, name)
	}
	pass("nothing, new", `{"load/end_users/equal": 3}`, 0, true)
	pass("nothing, old", `{"load/end_users/equal": 3, "load/tickets/stale": 1, "webhook/contacts": 4}`, 2, true)
	pass("wrote, old", `{"load/end_users/updated": 3}`, 2, true)
	pass("wrote, very old, undoable", `{"load/end_users/updated": 3}`, 40, true)
	pass("wrote, very old", `{"load/end_users/updated": 3}`, 45, false)
	pass("wrote, very old, behind a run that can be undone", `{"load/end_users/updated": 3}`, 35, false)
	pass("rejected, old", `{"load/end_users/rejected": 1}`, 2, true)
	p.exec(`INSERT INTO ingest.runs (org_id, id, kind, spec, state, images, started_at, finished_at) VALUES
		($1, gen_random_uuid(), 'sync', '{}', 'complete', true, now() - interval '37 days', now() - interval '36 days')`, org)
	w := p.scheduler()
	p.must(w.cleanAll(t.Context()))
	left := scalar[string](p, `SELECT string_agg(error, '; ' ORDER BY error) FROM ingest.runs WHERE kind = 'webhook'`)
	// What has images stays, and what came after it.
	want := "nothing, new; rejected, old; wrote, old; wrote, very old, behind a run that can be undone; wrote, very old, undoable"
	if left != want {
		t.Errorf("left: %s", left)
	}
	if n := scalar[int](p, `SELECT count(*) FROM ingest.checkpoints c WHERE NOT EXISTS (SELECT FROM ingest.runs r WHERE r.id = c.run_id)`); n != 0 {
		t.Errorf("%d checkpoints of runs that are forgotten", n)
	}
	// Once an hour, in one process.
	p.must(w.clean(t.Context()))
	at := scalar[time.Time](p, `SELECT done_at FROM ingest.chores WHERE name = 'clean'`)
	p.must(p.scheduler().clean(t.Context()))
	if again := scalar[time.Time](p, `SELECT done_at FROM ingest.chores WHERE name = 'clean'`); !again.Equal(at) {
		t.Error("it was cleaned up twice within the hour")
	}
}
