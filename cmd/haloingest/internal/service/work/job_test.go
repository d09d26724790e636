package work

import (
	"strings"
	"testing"
	"time"

	"haloingest/pipeline/record"
	"haloingest/sources/intercom/intercomtest"
)

// busy is a workspace whose backfill takes ten seconds and more while it is dragged, and hardly any time after that.
var busy = intercomtest.Options{Seed: 3, Conversations: 400, Contacts: 40, Companies: 6, Tickets: 10}

// drag has a workspace answer slowly, until SetFaults: so that what has to happen meanwhile does, however busy the machine is.
func (p *place) drag(sim *intercomtest.Server) {
	p.tb.Helper()
	p.must(sim.SetFaults(intercomtest.Fault{Kind: intercomtest.FaultSlow, Rate: 1, For: 120 * time.Millisecond}))
}

func (p *place) job(org record.UUID, kind string) (Job, bool) {
	p.tb.Helper()
	jobs, err := p.queue.Jobs(p.tb.Context(), org)
	p.must(err)
	for _, j := range jobs {
		if j.Kind == kind {
			return j, true
		}
	}
	return Job{}, false
}

func (p *place) state(org record.UUID, kind string, want JobState) func() bool {
	return func() bool { j, ok := p.job(org, kind); return ok && j.State == want }
}

func half(sim *intercomtest.Server) func() bool {
	return func() bool { return sim.Stats().Endpoints["GET /conversations/{id}"] > 60 }
}

func TestIngestOffPausesWhatRunsAndOnGoesOn(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	org, sim := p.connect(1, busy)
	p.drag(sim)
	p.must(p.queue.Backfill(t.Context(), nil, org, BackfillOptions{}))
	p.start(p.options())
	p.eventually("half of the backfill", half(sim))
	_, err := p.store.SetIngest(t.Context(), org, false)
	p.must(err)
	p.eventually("the pause", p.state(org, KindBackfill, JobPaused))
	j, _ := p.job(org, KindBackfill)
	if !strings.Contains(j.Error, "ingest is off") || j.Attempt != 0 {
		t.Errorf("%+v", j)
	}
	if n := scalar[int](p, `SELECT count(*) FROM ingest.runs WHERE state = 'interrupted'`); n != 1 {
		t.Errorf("%d interrupted runs", n)
	}
	p.must(sim.SetFaults())
	// A disconnect and a new connection are the same to a job; what was queued stays one.
	_, err = p.store.Disconnect(t.Context(), org)
	p.must(err)
	p.putToken(org, sim.Token)
	p.must(p.queue.Backfill(t.Context(), nil, org, BackfillOptions{}))
	p.eventually("the backfill", p.synced(org))
	p.whole(org)
	if n := p.runs(org, "backfill"); n != 1 {
		t.Errorf("%d runs instead of one that went on", n)
	}
}

func TestARevokedTokenIsNotTriedUntilThereIsAnother(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	org, sim := p.connect(1, small)
	other, _ := p.connect(2, small)
	p.putToken(org, "other-"+sim.Token) // which the workspace refuses
	p.must(p.queue.Backfill(t.Context(), nil, org, BackfillOptions{}))
	p.start(p.options())
	p.eventually("the pause", p.state(org, KindBackfill, JobPaused))
	j, _ := p.job(org, KindBackfill)
	if !strings.Contains(j.Error, "refuses the token") || strings.Contains(j.Error, sim.Token) || j.Cause != CauseToken {
		t.Errorf("%+v", j)
	}
	// Other organisations' jobs come and go meanwhile; this one asks nothing more.
	asked := sim.Stats().Requests
	p.must(p.queue.Backfill(t.Context(), nil, other, BackfillOptions{}))
	p.eventually("the other's backfill", p.synced(other))
	if n := sim.Stats().Requests; n != asked {
		t.Errorf("%d more requests with a token that is refused", n-asked)
	}
	p.putToken(org, sim.Token)
	p.eventually("the backfill", p.synced(org))
	p.whole(org)
}

func TestAnOutageOfIntercomLosesNothingAndIsNotHammered(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	org, sim := p.connect(1, busy)
	p.drag(sim)
	p.must(p.queue.Backfill(t.Context(), nil, org, BackfillOptions{}))
	p.start(p.options())
	p.eventually("half of the backfill", half(sim))
	p.must(sim.SetFaults(intercomtest.Fault{Kind: intercomtest.FaultServerError, Rate: 1}))
	p.eventually("some failures", func() bool { j, ok := p.job(org, KindBackfill); return ok && j.Attempt > patience })
	j, _ := p.job(org, KindBackfill)
	if j.State != JobRetrying && j.State != JobRunning || j.Error == "" {
		t.Errorf("%+v", j)
	}
	if p.synced(org)() {
		t.Error("the bookmark has moved")
	}
	p.must(sim.SetFaults())
	p.eventually("the backfill", p.synced(org))
	p.whole(org)
	if n := p.runs(org, "backfill"); n != 1 {
		t.Errorf("%d runs instead of one that went on", n)
	}
}

func TestABackfillMakesRoomForAnotherAndGoesOnLater(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	// One worker, a huge workspace, and three small ones behind it.
	huge, sim := p.connect(1, busy)
	p.drag(sim)
	var others []record.UUID
	for n := range 3 {
		org, _ := p.connect(2+n, small)
		others = append(others, org)
	}
	o := p.options()
	o.Backfills, o.Slice, o.Concurrency = 1, time.Second, 1
	p.start(o)
	p.must(p.queue.Backfill(t.Context(), nil, huge, BackfillOptions{}))
	p.eventually("the huge one's beginning", func() bool { return p.runs(huge, "backfill") == 1 })
	for _, org := range others {
		p.must(p.queue.Backfill(t.Context(), nil, org, BackfillOptions{}))
	}
	for _, org := range others {
		p.eventually("a small backfill", p.synced(org))
		p.whole(org)
	}
	if p.synced(huge)() {
		t.Fatal("the huge one was over before the small ones; it proves nothing")
	}
	p.must(sim.SetFaults())
	p.eventually("the huge backfill", p.synced(huge))
	p.whole(huge)
	if n, attempts := p.runs(huge, "backfill"), scalar[int](p, `SELECT attempts FROM ingest.runs WHERE org_id = $1`, huge); n != 1 || attempts < 2 {
		t.Errorf("%d runs, %d attempts: one run should have gone on", n, attempts)
	}
}

func TestARestartBeginsAnewOnceAndIsThenGoneOnWith(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	org, sim := p.connect(1, busy)
	p.drag(sim)
	p.must(p.queue.Backfill(t.Context(), nil, org, BackfillOptions{}))
	w := p.start(p.options())
	p.eventually("half of the backfill", half(sim))
	// While it runs: the running one is given up for one that begins anew.
	p.must(p.queue.Backfill(t.Context(), nil, org, BackfillOptions{Restart: true}))
	p.eventually("the second run", func() bool { return p.runs(org, "backfill") == 2 })
	sim.ResetStats()
	p.eventually("half of it", half(sim))
	w.stop()
	p.must(sim.SetFaults())
	p.start(p.options())
	p.eventually("the end of the job", func() bool { _, ok := p.job(org, KindBackfill); return !ok })
	p.whole(org)
	states := scalar[string](p, `SELECT string_agg(state || ' ' || attempts, ', ' ORDER BY started_at) FROM ingest.runs`)
	if states != "abandoned 1, complete 2" {
		t.Errorf("runs: %s", states)
	}
}

func TestAskedToStopAJobEndsAndTheNextGoesOn(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	org, sim := p.connect(1, busy)
	p.drag(sim)
	p.must(p.queue.Backfill(t.Context(), nil, org, BackfillOptions{}))
	p.start(p.options())
	p.eventually("half of the backfill", half(sim))
	p.must(p.queue.Stop(t.Context(), org))
	p.eventually("the end", func() bool {
		return scalar[int](p, `SELECT count(*) FROM ingest.river_job WHERE state = 'cancelled'`) == 1
	})
	if j, shown := p.job(org, KindBackfill); shown {
		t.Errorf("a job that was asked to stop is shown as %+v", j)
	}
	if _, shown, err := Progress(t.Context(), p.db, org); err != nil || shown {
		t.Errorf("progress is shown of a job that has ended: %v", err)
	}
	p.must(sim.SetFaults())
	p.must(p.queue.Backfill(t.Context(), nil, org, BackfillOptions{}))
	p.eventually("the backfill", p.synced(org))
	p.whole(org)
	if n := p.runs(org, "backfill"); n != 1 {
		t.Errorf("%d runs", n)
	}
}

func TestWhoeverAsksNeedNotWaitForTheNextTry(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	org, sim := p.connect(1, small)
	p.must(sim.SetFaults(intercomtest.Fault{Kind: intercomtest.FaultServerError, Rate: 1}))
	o := p.options()
	o.FirstRetry, o.LongestRetry = time.Hour, time.Hour
	p.must(p.queue.Backfill(t.Context(), nil, org, BackfillOptions{}))
	p.start(o)
	p.eventually("the failure", p.state(org, KindBackfill, JobRetrying))
	if j, _ := p.job(org, KindBackfill); j.Cause != CauseIntercom {
		t.Errorf("Intercom's failure is told as %+v", j)
	}
	p.must(sim.SetFaults())
	p.must(p.queue.TryNow(t.Context(), orgOf(2)))
	if j, _ := p.job(org, KindBackfill); j.State != JobRetrying || time.Until(j.Due) < 30*time.Minute {
		t.Errorf("asked for another organisation: %+v", j)
	}
	p.must(p.queue.TryNow(t.Context(), org))
	if j, ok := p.job(org, KindBackfill); ok && (j.State != JobWaiting && j.State != JobRunning || j.Cause != "") {
		t.Errorf("what is tried now is told as %+v", j)
	}
	p.eventually("the backfill", p.synced(org))
	p.must(p.queue.TryNow(t.Context(), org)) // of nothing that waits: no error
}

func TestProgressIsSeenFromOutside(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	org, sim := p.connect(1, busy)
	p.drag(sim)
	p.must(p.queue.Backfill(t.Context(), nil, org, BackfillOptions{}))
	p.start(p.options())
	var seen RunProgress
	outside := openDB(t, p.url)
	p.eventually("progress of the conversations", func() bool {
		at, ok, err := Progress(t.Context(), outside, org)
		p.must(err)
		for _, s := range at.Streams {
			if ok && s.Stream == "conversations" && s.State == "running" && s.Done > 0 && s.Left > 0 {
				seen = at
				return true
			}
		}
		return false
	})
	if seen.Kind != KindBackfill || seen.Run.IsZero() || seen.Process == "" || seen.API.Requests == 0 || seen.At.IsZero() {
		t.Errorf("%+v", seen)
	}
	for _, s := range seen.Streams {
		if s.Stream == "conversations" && (s.Total != 400 || s.PerSecond <= 0 || s.Left <= 0) {
			t.Errorf("%+v", s)
		}
	}
	p.must(sim.SetFaults())
	p.eventually("the backfill", p.synced(org))
	p.eventually("the end of its progress", func() bool { _, ok, err := Progress(t.Context(), p.db, org); return err == nil && !ok })
}

func TestASyncWithoutABackfillFailsForGoodAndEachRunCountsItsOwnRequests(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	org, sim := p.connect(1, small)
	p.start(p.options())
	p.must(p.queue.Sync(t.Context(), org))
	p.eventually("the failure", p.state(org, KindSync, JobFailed))
	if j, _ := p.job(org, KindSync); !strings.Contains(j.Error, "no complete backfill") || j.Attempt != 1 {
		t.Errorf("%+v", j)
	}
	p.must(p.queue.Backfill(t.Context(), nil, org, BackfillOptions{}))
	p.eventually("the backfill", p.synced(org))
	for _, kind := range []string{KindSync, KindRefresh} {
		p.eventually("the end of all jobs", func() bool {
			return scalar[int](p, `SELECT count(*) FROM ingest.river_job WHERE finalized_at IS NULL`) == 0
		})
		if kind == KindSync {
			p.must(p.queue.Sync(t.Context(), org))
		} else {
			p.must(p.queue.Refresh(t.Context(), org))
		}
		p.eventually("the "+kind, func() bool {
			return scalar[bool](p, `SELECT EXISTS (SELECT FROM ingest.runs WHERE kind = $1 AND state = 'complete')`, kind)
		})
	}
	// By the simulator's count, which knows of no runs.
	if said, asked := scalar[int64](p, `SELECT sum(requests)::bigint FROM ingest.runs`), sim.Stats().Requests; said > asked || said < asked-6 {
		t.Errorf("the runs have %d requests, the workspace has seen %d", said, asked)
	}
}

func TestWhoeverAsksForAJobThatStopsGetsIt(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	org, sim := p.connect(1, busy)
	p.drag(sim)
	p.must(p.queue.Backfill(t.Context(), nil, org, BackfillOptions{}))
	p.start(p.options())
	p.eventually("its beginning", func() bool { return p.runs(org, "backfill") == 1 })
	// Stopped and asked for in one breath, and at moments at which the stop is under way.
	for n := range 6 {
		p.must(p.queue.Stop(t.Context(), org))
		if !pause(t.Context(), time.Duration(n*n)*50*time.Millisecond) {
			t.Fatal("the test ended")
		}
		p.must(p.queue.Backfill(t.Context(), nil, org, BackfillOptions{}))
	}
	p.must(sim.SetFaults())
	p.eventually("the backfill", p.synced(org))
	p.exact(org)
	// As when fields are changed: what is under way stops, and everything begins anew.
	p.eventually("the end of the job", func() bool { _, ok := p.job(org, KindBackfill); return !ok })
	before := p.runs(org, "backfill")
	p.drag(sim)
	p.must(p.queue.Backfill(t.Context(), nil, org, BackfillOptions{}))
	p.eventually("the next run", func() bool { return p.runs(org, "backfill") == before+1 })
	p.must(p.queue.Stop(t.Context(), org))
	p.must(p.queue.Backfill(t.Context(), nil, org, BackfillOptions{Restart: true}))
	p.eventually("a run that begins anew", func() bool { return p.runs(org, "backfill") == before+2 })
	p.must(sim.SetFaults())
	p.eventually("the end of the job", func() bool { _, ok := p.job(org, KindBackfill); return !ok })
	if last := scalar[string](p, `SELECT state FROM ingest.runs ORDER BY started_at DESC LIMIT 1`); last != "complete" {
		t.Errorf("the last run is %s", last)
	}
}

func TestASyncDoesNotWaitForTheEndOfAWalk(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	org, sim := p.connect(1, busy)
	o := p.options()
	o.Slice = time.Second
	p.start(o)
	p.must(p.queue.Backfill(t.Context(), nil, org, BackfillOptions{}))
	p.eventually("the first backfill", func() bool { _, ok := p.job(org, KindBackfill); return p.synced(org)() && !ok })
	p.drag(sim)
	p.must(p.queue.Backfill(t.Context(), nil, org, BackfillOptions{Restart: true}))
	p.eventually("the walk", func() bool { return p.runs(org, "backfill") == 2 })
	p.must(p.queue.Sync(t.Context(), org))
	p.eventually("the sync", func() bool {
		return scalar[bool](p, `SELECT EXISTS (SELECT FROM ingest.runs WHERE kind = 'sync' AND state = 'complete')`)
	})
	p.must(sim.SetFaults())
	if n := scalar[int](p, `SELECT count(*) FROM ingest.runs WHERE kind = 'backfill' AND state = 'complete'`); n != 1 {
		t.Fatal("the walk was over before; it proves nothing")
	}
	p.eventually("the end of the walk", func() bool { _, ok := p.job(org, KindBackfill); return !ok })
	p.exact(org)
	if n, attempts := p.runs(org, "backfill"), scalar[int](p, `SELECT max(attempts) FROM ingest.runs WHERE kind = 'backfill'`); n != 2 || attempts < 2 {
		t.Errorf("%d backfills, %d attempts: the walk should have gone on", n, attempts)
	}
}
