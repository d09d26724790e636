package work

import (
	"testing"
	"time"

	"haloingest/sources/intercom/intercomtest"
)

func TestASyncThatWasCutOffIsFollowedByAnotherAtOnce(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	org, sim := p.connect(1, busy)
	p.must(p.queue.Backfill(t.Context(), nil, org, BackfillOptions{}))
	w := p.start(p.options())
	p.eventually("the backfill", p.synced(org))
	sim.TouchRandom(intercomtest.Conversations, 300)
	p.drag(sim)
	sim.ResetStats()
	p.must(p.queue.Sync(t.Context(), org))
	p.eventually("half of the sync", half(sim))
	w.stop()
	if n := scalar[int](p, `SELECT count(*) FROM ingest.runs WHERE kind = 'sync' AND state = 'interrupted'`); n != 1 {
		t.Fatalf("%d syncs were cut off; it proves nothing", n)
	}
	p.must(sim.SetFaults())
	p.start(p.options())
	p.eventually("the end of the job", func() bool { _, waits := p.job(org, KindSync); return !waits })
	if states := scalar[string](p, `SELECT string_agg(state || ' ' || attempts, ', ' ORDER BY started_at) FROM ingest.runs WHERE kind = 'sync'`); states != "complete 2, complete 1" {
		t.Errorf("syncs: %s", states)
	}
}

func TestWhoeverAsksForASyncThatWaitsForLaterGetsItNow(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	org := orgOf(1)
	p.must(p.queue.Sync(t.Context(), org))
	due := func() time.Duration {
		j, waits := p.job(org, KindSync)
		if !waits {
			t.Fatal("there is no job")
		}
		return time.Until(j.Due)
	}
	p.exec(`UPDATE ingest.river_job SET state = 'scheduled', scheduled_at = now() + interval '1 hour'`)
	if due() < 30*time.Minute {
		t.Fatal("it is due already; it proves nothing")
	}
	p.must(p.queue.Sync(t.Context(), org))
	if d := due(); d > 0 {
		t.Errorf("it is due in %s", d)
	}
	// What is paused waits for something that asking again does not bring.
	p.exec(`UPDATE ingest.river_job SET state = 'scheduled', scheduled_at = now() + interval '1 hour', metadata = metadata || '{"paused": {"why": "ingest is off"}}'`)
	p.must(p.queue.Sync(t.Context(), org))
	if due() < 30*time.Minute || !p.state(org, KindSync, JobPaused)() {
		t.Error("a paused sync was brought forward")
	}
}
