package ingest_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"haloingest/cmd/haloingest/internal/ingest"
	"haloingest/sinks/postgres"
	"haloingest/sources/intercom/intercomtest"
)

// lively is a workspace whose objects were touched in the last days, up to an hour ago.
func lively(o intercomtest.Options, days int) intercomtest.Options {
	o.Span = time.Duration(days) * 24 * time.Hour
	o.Start = time.Now().Add(-o.Span - time.Hour)
	return o
}

// do makes a run and returns its report, whatever its state.
func (p *place) do(request ingest.Request) ingest.Report {
	p.tb.Helper()
	ctx := p.tb.Context()
	run, err := p.runner.Start(ctx, request)
	if err != nil {
		p.tb.Fatal(err)
	}
	report, err := run.Do(ctx, ctx)
	if err != nil {
		p.tb.Fatal(err)
	}
	if err := run.Close(ctx); err != nil {
		p.tb.Fatal(err)
	}
	if p.runner.Connection, err = p.store.Get(ctx, org); err != nil {
		p.tb.Fatal(err)
	}
	return report
}

func reads(sim *intercomtest.Server) int64 {
	requests := sim.Stats().Endpoints
	return int64(requests["GET /conversations/{id}"] + requests["GET /tickets/{id}"])
}

// activeIDs asks the workspace itself what a refresh has to read.
func activeIDs(sim *intercomtest.Server, refresh time.Duration) (ids []string) {
	recent, open := time.Now().Add(-max(2*refresh, 24*time.Hour)), time.Now().Add(-30*24*time.Hour)
	for c := range sim.Ledger().Conversations() {
		if at := time.Unix(c.UpdatedAt, 0); at.After(recent) || c.State != "closed" && at.After(open) {
			ids = append(ids, c.ID)
		}
	}
	return ids
}

func TestARefreshFindsWhatMovesNoTime(t *testing.T) {
	t.Parallel()
	sim := intercomtest.Start(t, lively(intercomtest.Options{Seed: 4, Conversations: 120, SilentRedaction: true}, 30))
	a, b := newPlace(t, sim), newPlace(t, sim)
	a.backfill(false)
	active := activeIDs(sim, time.Hour)
	if len(active) < 20 || len(active) > 100 {
		t.Fatalf("%d conversations are active: the test shows nothing", len(active))
	}
	quiet := ""
	for c := range sim.Ledger().Conversations() {
		if !slices.Contains(active, c.ID) {
			quiet = c.ID
		}
	}
	redacted := []string{active[0], active[len(active)/2], active[len(active)-1]}
	for _, id := range append(redacted, quiet) {
		if err := sim.Redact(id, ""); err != nil {
			t.Fatal(err)
		}
	}
	gone := active[1]
	if err := sim.Delete(intercomtest.Conversations, gone); err != nil {
		t.Fatal(err)
	}
	// No search shows the redactions.
	a.run(ingest.Request{Kind: ingest.KindSync, Since: a.runner.Connection.SyncedTo})
	before := reads(sim)
	report := a.do(ingest.Request{Kind: ingest.KindRefresh})
	if report.More || report.Run.State != postgres.RunComplete {
		t.Errorf("the run is %s, more: %v", report.Run.State, report.More)
	}
	loaded := ingest.Loaded(report.Run.Counts)["transcripts"]
	if loaded[ingest.Updated] != int64(len(redacted)) || loaded[ingest.Deleted]+loaded[ingest.Inserted] != 0 {
		t.Errorf("loaded %v, want %d updated", loaded, len(redacted))
	}
	asked := reads(sim) - before
	if asked < int64(len(active))-1 || asked > int64(len(active))+20 {
		t.Errorf("%d objects were read, %d conversations are active", asked, len(active))
	}
	if a.runner.Connection.RefreshedAt.IsZero() || a.runner.Connection.RefreshDue(time.Now()) || !a.runner.Connection.RefreshDue(time.Now().Add(time.Hour+time.Minute)) {
		t.Errorf("refreshed at %s", a.runner.Connection.RefreshedAt)
	}
	// What is quiet is for the full walk.
	if err := sim.Touch(intercomtest.Conversations, quiet); err != nil {
		t.Fatal(err)
	}
	a.run(ingest.Request{Kind: ingest.KindSync, Since: a.runner.Connection.SyncedTo})
	b.backfill(false)
	a.sameAs(b)

	// Again, nothing is written.
	report = a.do(ingest.Request{Kind: ingest.KindRefresh})
	for table, outcomes := range ingest.Loaded(report.Run.Counts) {
		for _, o := range []string{ingest.Inserted, ingest.Updated, ingest.Deleted, ingest.Rejected} {
			if outcomes[o] != 0 {
				t.Errorf("%s: %d %s by a second round", table, outcomes[o], o)
			}
		}
	}
}

func TestARefreshFindsDeletionsUnlessTheyAreTooMany(t *testing.T) {
	t.Parallel()
	sim := intercomtest.Start(t, lively(intercomtest.Options{Seed: 4, Conversations: 20, Tickets: 120}, 20))
	a := newPlace(t, sim)
	a.backfill(false)
	marked := func() int { return scalar[int](a, `SELECT count(*) FROM public.tickets WHERE deleted_at IS NOT NULL`) }
	open := func() int {
		return scalar[int](a, `SELECT count(*) FROM public.tickets WHERE deleted_at IS NULL AND status NOT IN ('resolved', 'ai_resolved', 'spam')`)
	}
	deleted := make(map[string]bool)
	for _, id := range sim.DeleteRandom(intercomtest.Tickets, 8) { // no list tells of those
		deleted[id] = true
	}
	here := 0
	for id := range deleted {
		here += scalar[int](a, `SELECT count(*) FROM public.tickets WHERE source_id = $1 AND status NOT IN ('resolved', 'ai_resolved', 'spam')`, id)
	}
	a.do(ingest.Request{Kind: ingest.KindRefresh})
	if n := marked(); n < here || n > len(deleted) || here == 0 {
		t.Errorf("%d tickets are marked, %d of them were open", n, here)
	}
	// All of them at once is not believed.
	before, left := marked(), open()
	sim.DeleteRandom(intercomtest.Tickets, 120)
	report := a.do(ingest.Request{Kind: ingest.KindRefresh})
	if marked() != before || open() != left || left < 20 || report.Run.State != postgres.RunComplete {
		t.Errorf("%d are marked, %d were; %d are open, %d were", marked(), before, open(), left)
	}
}

func TestARefreshRestsAndGoesOnWhereItStopped(t *testing.T) {
	t.Parallel()
	sim := intercomtest.Start(t, lively(intercomtest.Options{Seed: 4, Conversations: 90, SilentRedaction: true}, 20))
	a, b := newPlace(t, sim), newPlace(t, sim)
	a.backfill(false)
	var all []string
	for c := range sim.Ledger().Conversations() {
		all = append(all, c.ID)
	}
	for _, id := range activeIDs(sim, time.Hour) {
		if err := sim.Redact(id, ""); err != nil {
			t.Fatal(err)
		}
	}
	runs, before := 0, reads(sim)
	for more := true; more; runs++ {
		report := a.do(ingest.Request{Kind: ingest.KindRefresh, Limit: 12})
		if more = report.More; more != (report.Run.State == postgres.RunInterrupted) {
			t.Fatalf("the run is %s, more: %v", report.Run.State, more)
		}
		if more != a.runner.Connection.RefreshedAt.IsZero() || more != a.runner.Connection.RefreshDue(time.Now()) {
			t.Errorf("refreshed at %s, more: %v", a.runner.Connection.RefreshedAt, more)
		}
		if runs > 20 {
			t.Fatal("it does not come to an end")
		}
	}
	if runs < 3 || reads(sim)-before > int64(len(all)+30) {
		t.Errorf("%d runs read %d objects of %d", runs, reads(sim)-before, len(all))
	}
	if n := scalar[int](a, `SELECT count(*) FROM ingest.runs WHERE kind = 'refresh'`); n != 1 {
		t.Errorf("one round is %d runs", n)
	}
	for _, id := range all { // those that are not active, so that the two can be compared
		if err := sim.Touch(intercomtest.Conversations, id); err != nil {
			t.Fatal(err)
		}
	}
	a.run(ingest.Request{Kind: ingest.KindSync, Since: a.runner.Connection.SyncedTo})
	b.backfill(false)
	a.sameAs(b)
}

func TestSyncsAndRefreshesNeedABackfillAndIngest(t *testing.T) {
	t.Parallel()
	sim := intercomtest.Start(t, intercomtest.Options{Conversations: 5})
	p := newPlace(t, sim)
	refused := func(want error) {
		t.Helper()
		for _, kind := range []string{ingest.KindSync, ingest.KindRefresh} {
			if _, err := p.runner.Start(t.Context(), ingest.Request{Kind: kind}); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", kind, err, want)
			}
		}
	}
	refused(ingest.ErrNoBackfill)
	if p.runner.Connection.SyncDue() || p.runner.Connection.RefreshDue(time.Now()) || p.runner.Connection.WalkDue(time.Now()) {
		t.Error("something is due before the first backfill")
	}
	p.backfill(false)
	if c := p.runner.Connection; !c.SyncDue() || c.WalkDue(time.Now()) || !c.WalkDue(time.Now().Add(8*24*time.Hour)) {
		t.Errorf("due after the backfill: sync %v, walk %v", c.SyncDue(), c.WalkDue(time.Now()))
	}
	if changed, err := p.store.SetIngest(t.Context(), org, false); err != nil || !changed {
		t.Fatal(changed, err)
	}
	var err error
	if p.runner.Connection, err = p.store.Get(t.Context(), org); err != nil {
		t.Fatal(err)
	}
	refused(ingest.ErrOff)
	if p.runner.Connection.SyncDue() {
		t.Error("a sync is due while ingest is off")
	}
}
