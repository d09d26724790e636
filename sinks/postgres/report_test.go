package postgres

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
)

func TestStatusOfAnOrganisationThatIsNotThere(t *testing.T) {
	got, err := newDB(t).Status(t.Context(), orgA)
	if diff := cmp.Diff(Status{}, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
}

func TestStatusCountsWhatIsThere(t *testing.T) {
	db := newDB(t)
	other := record.UUID{0xbb}
	for i, table := range []string{"end_users", "companies", "transcripts", "tickets"} {
		n := 10 * (i + 1)
		execute(t, db, `INSERT INTO public.`+table+` (org_id, id, source_id, deleted_at)
			SELECT $1, gen_random_uuid(), i::text, CASE WHEN i <= $3 THEN now() END FROM generate_series(1, $2) i`, orgA, n, i)
		execute(t, db, `INSERT INTO public.`+table+` (org_id, id) VALUES ($1, gen_random_uuid())`, orgA) // Halo's own
		execute(t, db, `INSERT INTO public.`+table+` (org_id, id, source_id) VALUES ($1, gen_random_uuid(), '1')`, other)
	}
	execute(t, db, "UPDATE public.transcripts SET complete = false WHERE source_id IN ('1', '9', '10') OR source_id IS NULL") // 1 is deleted
	execute(t, db, `INSERT INTO ingest.pending_links (org_id, ref_kind, ref_id, table_name, row_id)
		SELECT $1, 'contact', '1', 'transcripts', gen_random_uuid() FROM generate_series(1, 4)`, orgA)
	lease := acquire(t, db, orgA)
	run := startRun(t, lease, RunSpec{Kind: "backfill", Only: []string{"tickets"}, Since: time.Unix(0, 0)})
	load(t, run, record.KindContact, []pipeline.Reject{{Kind: "contact", ID: "1"}, {Kind: "contact", ID: "2"}, {Kind: "contact", ID: "3"}})
	load(t, run, record.KindContact, nil, "3")
	if _, err := run.Checkpoint(t.Context(), "tickets"); err != nil {
		t.Fatal(err)
	}
	counts := pipeline.Counts{"read": 40, "unmapped/ticket/field/a": 2, "unmapped/ticket/field/b": 7, "unmapped/part/type/x": 2}
	if _, err := commitStep(t, run, "tickets", step{Seq: 1, Counts: counts}); err != nil {
		t.Fatal(err)
	}
	if err := run.SkipStream(t.Context(), "companies", "no scope"); err != nil {
		t.Fatal(err)
	}
	if _, err := commitStep(t, run, "tickets", step{Seq: 2, Counts: pipeline.Counts{"read": 1}}); err != nil {
		t.Fatal(err)
	}
	got, err := db.Status(t.Context(), orgA)
	if err != nil {
		t.Fatal(err)
	}
	want := Status{
		Contacts: Total{10, 0}, Companies: Total{19, 1}, Conversations: Total{28, 2}, Tickets: Total{37, 3},
		OpenRejects: 2, PendingLinks: 4, IncompleteConversations: 2,
		Lease: &LeaseInfo{Holder: "test", Alive: true},
		Run: &RunInfo{
			ID: run.ID, Kind: "backfill", Spec: RunSpec{Kind: "backfill", Only: []string{"tickets"}, Since: time.Unix(0, 0)}, State: RunRunning, Attempts: 1,
			Counts:    pipeline.Counts{"read": 41},
			Unmapped:  []Tally{{"ticket/field/b", 7}, {"part/type/x", 2}, {"ticket/field/a", 2}},
			StartedAt: run.StartedAt,
			Streams: []StreamInfo{
				{Stream: "companies", Skipped: "no scope", Counts: pipeline.Counts{}},
				{Stream: "tickets", Batches: 2, Counts: pipeline.Counts{"read": 41, "unmapped/ticket/field/a": 2, "unmapped/ticket/field/b": 7, "unmapped/part/type/x": 2}},
			},
		},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(LeaseInfo{}, "Since", "HeartbeatAge"), cmpopts.IgnoreFields(StreamInfo{}, "UpdatedAt"), cmpopts.EquateApproxTime(0)); diff != "" {
		t.Error(diff)
	}
	// Whoever looks in after the process is gone is not told that it runs.
	if err := lease.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	after, err := db.Status(t.Context(), orgA)
	if err != nil || after.Run.State != RunInterrupted || after.Run.Error == "" || after.Lease.Alive {
		t.Errorf("after the end: %v, %+v, %+v", err, after.Run, after.Lease)
	}
}

func TestRunsAreListedNewestFirstAndFoundByTheBeginningOfTheirID(t *testing.T) {
	db := newDB(t)
	lease := acquire(t, db, orgA)
	for i, id := range []string{"aaaaaaaa-0000-0000-0000-000000000000", "abaaaaaa-0000-0000-0000-000000000000", "cccccccc-0000-0000-0000-000000000000"} {
		r := startRun(t, lease, RunSpec{Kind: "backfill", Restart: true})
		execute(t, db, "UPDATE ingest.runs SET id = $2, started_at = now() + $3 * interval '1 minute' WHERE id = $1", r.ID, id, i)
	}
	list, err := db.Runs(t.Context(), orgA, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ids string
	for _, r := range list {
		ids += r.ID.String()[:2] + string(r.State) + " "
	}
	if ids != "ccrunning ababandoned aaabandoned " {
		t.Errorf("got %s", ids)
	}
	if list, err := db.Runs(t.Context(), orgA, 2); err != nil || len(list) != 2 {
		t.Errorf("two of them: %d, %v", len(list), err)
	}
	for prefix, found := range map[string]bool{"aa": true, "AB": true, "a": false, "": false, "d": false, "cccccccc-0000-0000-0000-000000000000": true} {
		r, err := db.RunInfo(t.Context(), orgA, prefix)
		if errors.Is(err, ErrNotFound) == found || found && err != nil {
			t.Errorf("%q: %v, %v", prefix, r.ID, err)
		}
	}
	if _, err := db.RunInfo(t.Context(), record.UUID{0xbb}, "aa"); !errors.Is(err, ErrNotFound) {
		t.Errorf("another organisation's run: %v", err)
	}
}

// The totals must not read the rows: with a million of them that would take longer than anybody waits. Here the tables were never
// analysed, as after a backfill.
func TestTotalsAreCountedInTheirIndexes(t *testing.T) {
	db := newDB(t)
	for _, table := range []string{"end_users", "companies", "transcripts", "tickets"} {
		execute(t, db, `INSERT INTO public.`+table+` (org_id, id, source_id) SELECT $1, gen_random_uuid(), i::text FROM generate_series(1, 2000) i`, orgA)
	}
	execute(t, db, "UPDATE public.transcripts SET complete = false WHERE source_id = '7'")
	for range 2 {
		if _, err := db.Status(t.Context(), orgA); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the server's figures are there", func() bool {
		return one[int](t, db, "SELECT count(*)::int FROM pg_stat_user_indexes WHERE indexrelname LIKE '%\\_intercom' AND idx_scan >= 2") == 4 &&
			one[int](t, db, "SELECT count(*)::int FROM pg_stat_user_indexes WHERE indexrelname = 'transcripts_incomplete' AND idx_scan >= 2") == 1
	})
}

func TestRunsAreListedByKindAndWithoutThoseThatAreQuiet(t *testing.T) {
	db := newDB(t)
	lease := acquire(t, db, orgA)
	for _, x := range []struct {
		kind  string
		state RunState
	}{{"backfill", RunComplete}, {"webhook", RunComplete}, {"webhook", RunAbandoned}, {"sync", RunComplete}, {"webhook", RunComplete}} {
		run := startRun(t, lease, RunSpec{Kind: x.kind, Restart: true})
		if _, err := run.Checkpoint(t.Context(), "missing-contacts"); err != nil { // it had nothing to read
			t.Fatal(err)
		}
		if err := run.Finish(t.Context(), Outcome{State: x.state}); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name  string
		f     RunFilter
		want  []string
		quiet int64
	}{
		{"all", RunFilter{}, []string{"webhook complete", "sync complete", "webhook abandoned", "webhook complete", "backfill complete"}, 0},
		{"without the quiet", RunFilter{Quiet: "webhook"}, []string{"sync complete", "webhook abandoned", "backfill complete"}, 2},
		{"the limit is of those that are listed", RunFilter{Quiet: "webhook", Limit: 2}, []string{"sync complete", "webhook abandoned"}, 2},
		{"one kind", RunFilter{Kind: "webhook"}, []string{"webhook complete", "webhook abandoned", "webhook complete"}, 0},
		{"one kind that there is not", RunFilter{Kind: "retry"}, nil, 0},
	} {
		list, quiet, err := db.RunsOf(t.Context(), orgA, tt.f)
		var got []string
		for _, r := range list {
			got = append(got, r.Kind+" "+string(r.State))
			if whole := r.State == RunComplete; len(r.Streams) != 1 || r.Streams[0].Complete != whole {
				t.Errorf("%s: a stream without anything to read of a run that is %s: %+v", tt.name, r.State, r.Streams)
			}
		}
		if diff := cmp.Diff(tt.want, got); diff != "" || quiet != tt.quiet || err != nil {
			t.Errorf("%s: %d quiet, want %d, %v (-want +got):\n%s", tt.name, quiet, tt.quiet, err, diff)
		}
	}
	kinds, err := db.RunKinds(t.Context(), orgA)
	if diff := cmp.Diff([]string{"backfill", "sync", "webhook"}, kinds); diff != "" || err != nil {
		t.Errorf("kinds: %v\n%s", err, diff)
	}
}

// A service makes a run of every pass over the inbox; what is worth showing is the last run before them.
func TestStatusDoesNotShowAPassOverWebhooksForTheNewestRun(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	lease := acquire(t, db, orgA)
	run := func(kind string) record.UUID {
		t.Helper()
		r, err := db.StartRun(t.Context(), lease, RunSpec{Kind: kind})
		if err == nil {
			err = r.Finish(t.Context(), Outcome{State: RunComplete})
		}
		if err != nil {
			t.Fatal(err)
		}
		return r.ID
	}
	newest := func() record.UUID {
		t.Helper()
		s, err := db.Status(t.Context(), orgA)
		if err != nil || s.Run == nil {
			t.Fatalf("no run: %v", err)
		}
		return s.Run.ID
	}
	if only := run("webhook"); newest() != only {
		t.Error("a pass over webhooks is not shown where there is nothing else")
	}
	sync := run("sync")
	run("webhook")
	if got := newest(); got != sync {
		t.Errorf("the newest run is %s, want the sync %s", got, sync)
	}
}
