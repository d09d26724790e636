package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
)

func TestARunIsResumedIfItIsTheSame(t *testing.T) {
	since := time.Date(2024, 2, 3, 4, 5, 6, 7891, time.FixedZone("", 3600))
	full := RunSpec{Kind: "backfill"}
	part := RunSpec{Kind: "backfill", Only: []string{"tickets", "contacts"}, Since: since, Sample: 5, Params: map[string]string{"snapshot": "a"}}
	db := newDB(t)
	for i, test := range []struct {
		name      string
		first     RunSpec
		end       RunState // "": it was killed
		second    RunSpec
		resumed   bool
		abandoned string // a part of the reason, if the first is abandoned
	}{
		{"after a crash", full, "", full, true, ""},
		{"after a failure", full, RunFailed, full, true, ""},
		{"after an interrupt", full, RunInterrupted, full, true, ""},
		{"never when it is complete", full, RunComplete, full, false, ""},
		{"whatever the order of the streams and the time zone", part, RunFailed,
			RunSpec{Kind: "backfill", Only: []string{"contacts", "tickets", "contacts"}, Since: since.UTC(), Sample: 5, Params: map[string]string{"snapshot": "a"}}, true, ""},
		{"with its own way of tracking", RunSpec{Kind: "backfill", Track: true}, RunFailed, full, true, ""},
		{"never when asked to begin anew", full, RunFailed, RunSpec{Kind: "backfill", Restart: true}, false, "begin anew"},
		{"never for other streams", full, RunFailed, RunSpec{Kind: "backfill", Only: []string{"contacts"}}, false, "streams [contacts] instead of all"},
		{"never for another time", part, RunFailed, func() RunSpec { s := part; s.Since = time.Time{}; return s }(), false,
			"since the beginning instead of 2024-02-03T03:05:06Z"},
		{"never for another sample", part, RunFailed, func() RunSpec { s := part; s.Sample = 6; return s }(), false, "sample 6 instead of 5"},
		{"never for another parameter", part, RunFailed, func() RunSpec { s := part; s.Params = map[string]string{"snapshot": "b"}; return s }(), false,
			"map[snapshot:b] instead of map[snapshot:a]"},
		{"never for another kind, which stays", full, RunFailed, RunSpec{Kind: "sync"}, false, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			lease := acquire(t, db, record.UUID{byte(i)})
			first := startRun(t, lease, test.first)
			if test.end != "" {
				if err := first.Finish(t.Context(), Outcome{State: test.end, Err: errors.New("x")}); err != nil {
					t.Fatal(err)
				}
			}
			second := startRun(t, lease, test.second)
			if second.Resumed != test.resumed || (second.ID == first.ID) != test.resumed {
				t.Fatalf("resumed: %v, want %v", second.Resumed, test.resumed)
			}
			if test.resumed {
				if second.Attempts != 2 || !second.StartedAt.Equal(first.StartedAt) || second.Spec.Track != first.Spec.Track {
					t.Errorf("got attempt %d of %v (track %v), want 2 of %v", second.Attempts, second.StartedAt, second.Spec.Track, first.StartedAt)
				}
				return
			}
			var why []string
			for _, a := range second.Abandoned {
				if a.ID != first.ID || !a.StartedAt.Equal(first.StartedAt) {
					t.Errorf("abandoned %v", a)
				}
				why = append(why, a.Why)
			}
			if got := strings.Join(why, "; "); !strings.Contains(got, test.abandoned) || (got == "") != (test.abandoned == "") {
				t.Errorf("abandoned because %q, want %q", got, test.abandoned)
			}
			want := string(test.end)
			if test.abandoned != "" {
				want = "abandoned"
			}
			if got := one[string](t, db, "SELECT state FROM ingest.runs WHERE id = $1", first.ID); got != want {
				t.Errorf("the first run is %s, want %s", got, want)
			}
		})
	}
}

func TestOfSeveralUnfinishedRunsTheNewestThatFitsIsResumed(t *testing.T) {
	db := newDB(t)
	lease := acquire(t, db, orgA)
	var ids []record.UUID
	for _, state := range []string{"failed", "failed", "interrupted"} {
		r := startRun(t, lease, RunSpec{Kind: "backfill", Restart: true})
		ids = append(ids, r.ID)
		execute(t, db, "UPDATE ingest.runs SET state = $2 WHERE id = $1", r.ID, state)
	}
	execute(t, db, "UPDATE ingest.runs SET state = 'failed'")
	r := startRun(t, lease, RunSpec{Kind: "backfill"})
	if r.ID != ids[2] || len(r.Abandoned) != 2 {
		t.Errorf("resumed %v of %v, abandoned %v", r.ID, ids, r.Abandoned)
	}
}

func TestReferenceDataStaysWithTheRun(t *testing.T) {
	db := newDB(t)
	lease := acquire(t, db, orgA)
	first := startRun(t, lease, RunSpec{Kind: "backfill"})
	if _, ok := first.Reference(); ok {
		t.Error("a new run has reference data")
	}
	ref := record.Reference{
		Workspace:  record.Workspace{ID: "abc", Name: "Acme\x00 \"Ltd\"", Timezone: "Europe/Berlin"},
		Admins:     map[string]record.Admin{"1": {Name: "Ann", Email: "ann@example.com"}},
		Tags:       map[string]string{"7": "böse\xff"},
		Attributes: map[string]json.RawMessage{"contact.plan": json.RawMessage(`{"b": 1.50, "a": [1e2]}`)},
	}
	if err := first.SetReference(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	got, ok := first.Reference()
	if !ok || got.Tags["7"] != "böse\uFFFD" || got.Workspace.Name != `Acme "Ltd"` || got.Admins["1"] != ref.Admins["1"] {
		t.Errorf("got %+v", got)
	}
	resumed, ok := startRun(t, lease, RunSpec{Kind: "backfill"}).Reference()
	if !ok {
		t.Fatal("the resumed run has none")
	}
	// jsonb keeps documents in its own form; the form that counts is the canonical one.
	for name, raw := range resumed.Attributes {
		clean, err := record.CanonicalJSON(raw)
		if err != nil {
			t.Fatal(err)
		}
		resumed.Attributes[name] = clean
	}
	if diff := cmp.Diff(got, resumed); diff != "" {
		t.Errorf("the resumed run maps with something else:\n%s", diff)
	}
}

func TestFinishWritesTotalsAndTheBookmarkTogether(t *testing.T) {
	db := newDB(t)
	execute(t, db, "INSERT INTO ingest.connections (org_id, region, workspace_id) VALUES ($1, 'us', 'w'), ($2, 'us', 'w')", orgA, record.UUID{0xbb})
	lease := acquire(t, db, orgA)
	run := startRun(t, lease, RunSpec{Kind: "sync"})
	for _, stream := range []string{"contacts", "tickets"} {
		if _, err := run.Checkpoint(t.Context(), stream); err != nil {
			t.Fatal(err)
		}
		if _, err := commitStep(t, run, stream, step{Seq: 1, Counts: pipeline.Counts{"read": 2, stream: 1}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := run.Finish(t.Context(), Outcome{State: RunFailed, Err: errors.New("no\x00 luck"), Requests: 10}); err != nil {
		t.Fatal(err)
	}
	if n := one[int](t, db, "SELECT count(last_synced_at)::int FROM ingest.connections"); n != 0 {
		t.Error("a failed run counts as a sync")
	}
	run = startRun(t, lease, RunSpec{Kind: "sync"})
	to := time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC)
	for range 2 { // as after an answer that was lost
		if err := run.Finish(t.Context(), Outcome{State: RunComplete, Requests: 5, SyncedTo: to}); err != nil {
			t.Fatal(err)
		}
	}
	info, err := db.RunInfo(t.Context(), orgA, run.ID.String()[:8])
	if err != nil {
		t.Fatal(err)
	}
	if info.State != RunComplete || info.Requests != 15 || info.Error != "" || info.FinishedAt.IsZero() || info.Attempts != 2 {
		t.Errorf("got %+v", info)
	}
	got := one[string](t, db, "SELECT counts::text FROM ingest.runs")
	if got != `{"read": 4, "tickets": 1, "contacts": 1}` {
		t.Errorf("the totals are %s", got)
	}
	status, err := db.Status(t.Context(), orgA)
	if err != nil {
		t.Fatal(err)
	}
	if !status.SyncedTo.Equal(to) || time.Since(status.LastSyncedAt).Abs() > time.Hour {
		t.Errorf("synced at %v to %v", status.LastSyncedAt, status.SyncedTo)
	}
	if other, err := db.Status(t.Context(), record.UUID{0xbb}); err != nil || !other.LastSyncedAt.IsZero() {
		t.Errorf("the other organisation was synced at %v, %v", other.LastSyncedAt, err)
	}
}

func TestARunOfAnEarlierHolderIsFenced(t *testing.T) {
	db := newDB(t)
	first := acquire(t, db, orgA)
	run := startRun(t, first, RunSpec{Kind: "backfill"})
	if _, err := run.Checkpoint(t.Context(), "contacts"); err != nil {
		t.Fatal(err)
	}
	execute(t, db, "UPDATE ingest.leases SET epoch = epoch + 1") // as a new holder does
	for name, f := range map[string]func() error{
		"checkpoint": func() error { _, err := run.Checkpoint(t.Context(), "contacts"); return err },
		"complete":   func() error { return run.CompleteStream(t.Context(), "contacts") },
		"skip":       func() error { return run.SkipStream(t.Context(), "companies", "no scope") },
		"reference":  func() error { return run.SetReference(t.Context(), record.Reference{}) },
		"finish":     func() error { return run.Finish(t.Context(), Outcome{State: RunComplete}) },
		"forget":     func() error { return run.ForgetSeen(t.Context()) },
		"start":      func() error { _, err := db.StartRun(t.Context(), first, RunSpec{Kind: "backfill"}); return err },
	} {
		if err := f(); !errors.Is(err, ErrFenced) || errors.Is(err, ErrDatabase) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if cause := context.Cause(first.Lost()); !errors.Is(cause, ErrFenced) {
		t.Errorf("the lease is lost because of %v", cause)
	}
	got := one[string](t, db, "SELECT string_agg(stream || complete || coalesce(skipped, ''), ',') FROM ingest.checkpoints")
	if got != "contactsfalse" {
		t.Errorf("the checkpoints are %s", got)
	}
}
