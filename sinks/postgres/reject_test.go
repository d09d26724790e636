package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
)

// load does, with rejects, what the sink does for each batch: loaded are the ids that went into a table.
func load(tb testing.TB, r *Run, kind record.Kind, rejects []pipeline.Reject, loaded ...string) {
	tb.Helper()
	err := r.lease.db.inTx(tb.Context(), func(tx pgx.Tx) error {
		if err := r.insertRejects(tb.Context(), tx, kind.Stream(), rejects); err != nil {
			return err
		}
		return r.resolveRejects(tb.Context(), tx, kind, loaded, rejects)
	})
	if err != nil {
		tb.Fatal(err)
	}
}

// listed is what is open, as "id/field reason payload xtimes".
func listed(tb testing.TB, db *DB, f RejectFilter) []string {
	tb.Helper()
	var list []string
	for x, err := range db.Rejects(tb.Context(), orgA, f) {
		if err != nil {
			tb.Fatal(err)
		}
		_, payload, err := db.Reject(tb.Context(), orgA, x.ID)
		if err != nil || len(payload) != x.PayloadBytes {
			tb.Fatalf("reject %d: %d bytes, %v", x.ID, len(payload), err)
		}
		list = append(list, fmt.Sprintf("%s/%s %s %q x%d", x.SourceID, x.Field, x.Reason, payload, x.Times))
	}
	return list
}

func TestTheSameObjectRejectedForTheSameCauseIsOneRow(t *testing.T) {
	db := newDB(t)
	run := startRun(t, acquire(t, db, orgA), RunSpec{Kind: "backfill"})
	reject := func(id, field, reason, payload string) pipeline.Reject {
		return pipeline.Reject{Stage: "extract", Kind: "contact", ID: id, Field: field, Reason: reason, Payload: []byte(payload)}
	}
	for _, step := range []struct {
		name    string
		rejects []pipeline.Reject
		loaded  []string
		want    []string
	}{
		{"nothing", nil, []string{"1"}, nil},
		{"twice in a batch", []pipeline.Reject{reject("1", "a", "old", "{1"), reject("1", "a", "new", "{1")}, nil, []string{`1/a new "{1" x2`}},
		{"again in a later batch, as it is now", []pipeline.Reject{reject("1", "a", "newer", "{2")}, nil, []string{`1/a newer "{2" x3`}},
		{"for another field, another object, and two without an id",
			[]pipeline.Reject{reject("1", "b", "r", "{2"), reject("2", "a", "r", "{3"), reject("", "", "r", "x\x00"), reject("", "", "r", "y\xff"), reject("", "", "r", "y\xff")}, nil,
			[]string{`1/a newer "{2" x3`, `1/b r "{2" x1`, `2/a r "{3" x1`, `/ r "x\x00" x1`, `/ r "y\xff" x2`}},
		{"one is loaded, another is loaded in part", []pipeline.Reject{reject("1", "b", "r", "{2")}, []string{"1", "2", "3"},
			[]string{`1/b r "{2" x2`, `/ r "x\x00" x1`, `/ r "y\xff" x2`}},
		{"what was resolved can come again", []pipeline.Reject{reject("2", "a", "again", "{4")}, nil,
			[]string{`1/b r "{2" x2`, `/ r "x\x00" x1`, `/ r "y\xff" x2`, `2/a again "{4" x1`}},
	} {
		load(t, run, record.KindContact, step.rejects, step.loaded...)
		if diff := cmp.Diff(step.want, listed(t, db, RejectFilter{})); diff != "" {
			t.Errorf("%s:\n%s", step.name, diff)
		}
	}
	load(t, run, record.KindTicket, nil, "1")
	if n := len(listed(t, db, RejectFilter{})); n != 4 {
		t.Errorf("loading a ticket has resolved a contact: %d are open", n)
	}
	if n := len(listed(t, db, RejectFilter{Resolved: true})); n != 6 {
		t.Errorf("%d with the resolved ones, want 6", n)
	}
	counts, err := db.RejectCounts(t.Context(), orgA)
	if err != nil {
		t.Fatal(err)
	}
	want := []RejectCount{{"contact", "extract", "", "r", 2}, {"contact", "extract", "a", "again", 1}, {"contact", "extract", "b", "r", 1}}
	if diff := cmp.Diff(want, counts); diff != "" {
		t.Error(diff)
	}
}

// A second run over the same workspace finds the same rejects: it counts them and leaves their payloads alone.
func TestARejectSeenAgainIsNotWrittenAgain(t *testing.T) {
	db := newDB(t)
	lease := acquire(t, db, orgA)
	rejects := []pipeline.Reject{{Stage: "extract", Kind: "ticket", ID: "1", Reason: "bad", Payload: bytes.Repeat([]byte("0123456789abcdef\x00"), 1<<16)}}
	load(t, startRun(t, lease, RunSpec{Kind: "backfill"}), record.KindTicket, rejects)
	pages := func() int { return one[int](t, db, "SELECT pg_total_relation_size('ingest.rejects')::int / 8192") }
	before := pages()
	run := startRun(t, lease, RunSpec{Kind: "sync"})
	for range 20 {
		load(t, run, record.KindTicket, rejects)
	}
	if after := pages(); after > before+4 {
		t.Errorf("the table grew from %d to %d pages", before, after)
	}
	if diff := cmp.Diff(1, len(listed(t, db, RejectFilter{RunID: run.ID}))); diff != "" {
		t.Error(diff)
	}
}

func TestARejectIsStoredWhateverItHolds(t *testing.T) {
	db := newDB(t)
	run := startRun(t, acquire(t, db, orgA), RunSpec{Kind: "backfill"})
	long := strings.Repeat("ä\x00\xff", 1<<20)
	load(t, run, record.KindContact, []pipeline.Reject{
		{Stage: long, Kind: long, ID: long, Field: long, Reason: long, Payload: []byte(long)},
		{Stage: long, Kind: long, ID: long + "x", Field: long, Reason: long, Payload: []byte(long)},
		{Kind: "contact", ID: long, Payload: nil},
	})
	var ids []string
	for x, err := range db.Rejects(t.Context(), orgA, RejectFilter{}) {
		if err != nil {
			t.Fatal(err)
		}
		_, payload, err := db.Reject(t.Context(), orgA, x.ID)
		if err != nil || x.ID < 3 && string(payload) != long {
			t.Errorf("reject %d: the payload has %d bytes of %d, %v", x.ID, len(payload), len(long), err)
		}
		ids = append(ids, x.SourceID)
	}
	if len(ids) != 3 || ids[0] == ids[1] || ids[0] != ids[2] {
		t.Errorf("the ids are stored as %.300q", ids)
	}
	load(t, run, record.KindContact, nil, long)
	if n := len(listed(t, db, RejectFilter{})); n != 2 {
		t.Errorf("loading the object with the long id leaves %d rejects open, want 2", n)
	}
	if n := len(listed(t, db, RejectFilter{SourceID: long})); n != 1 {
		t.Errorf("looking for the long id finds %d", n)
	}
}

func TestObjectsToRetryComeOnceAndInTheirNewestState(t *testing.T) {
	db := newDB(t)
	run := startRun(t, acquire(t, db, orgA), RunSpec{Kind: "backfill"})
	load(t, run, record.KindTicket, []pipeline.Reject{{Stage: "extract", Kind: "ticket", ID: "7", Field: "a", Payload: []byte("old")}})
	load(t, run, record.KindTicket, []pipeline.Reject{
		{Stage: "extract", Kind: "ticket", ID: "7", Field: "b", Payload: []byte("new")},
		{Stage: "extract", Kind: "ticket", ID: "", Payload: []byte("no id 1")},
		{Stage: "extract", Kind: "ticket", ID: "", Payload: []byte("no id 2")},
		{Stage: "extract", Kind: "contact", ID: "7", Payload: []byte("a contact")},
		{Stage: "source", Kind: "admin", ID: "7", Payload: []byte("not an object of ours")},
	})
	get := func(f RejectFilter) []string {
		var got []string
		for x, err := range db.OpenRejectObjects(t.Context(), orgA, f) {
			if err != nil {
				t.Fatal(err)
			}
			if x.Object.FetchedAt.IsZero() {
				t.Errorf("%s has no time", x.Object.ID)
			}
			got = append(got, fmt.Sprintf("%s %s %s", x.Object.Kind, x.Object.ID, x.Object.Body))
		}
		return got
	}
	if diff := cmp.Diff([]string{"ticket 7 new", "ticket  no id 1", "ticket  no id 2", "contact 7 a contact"}, get(RejectFilter{})); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"contact 7 a contact"}, get(RejectFilter{Kind: "contact"})); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"ticket  no id 1"}, get(RejectFilter{IDs: []int64{3}})); diff != "" {
		t.Error(diff)
	}
	if got := get(RejectFilter{Limit: 1}); len(got) != 1 {
		t.Errorf("a limit of 1 gives %q", got)
	}
	// One with the contact's reject resolved while the list is being read.
	seen := 0
	for x, err := range db.OpenRejectObjects(t.Context(), orgA, RejectFilter{}) {
		if err != nil {
			t.Fatal(err)
		}
		seen++
		if x.Object.Kind == record.KindTicket {
			load(t, run, record.KindContact, nil, "7")
		}
	}
	if seen != 3 {
		t.Errorf("%d objects, want the 3 tickets", seen)
	}
}

func TestRejectsAreListedPageByPage(t *testing.T) {
	db := newDB(t)
	run := startRun(t, acquire(t, db, orgA), RunSpec{Kind: "backfill"})
	var rejects []pipeline.Reject
	for i := range 2*rejectPage + 1 {
		rejects = append(rejects, pipeline.Reject{Stage: "extract", Kind: "contact", ID: fmt.Sprint(i)})
	}
	load(t, run, record.KindContact, rejects)
	for _, limit := range []int{0, 1, rejectPage, rejectPage + 1, 3 * rejectPage} {
		n := 0
		for _, err := range db.Rejects(t.Context(), orgA, RejectFilter{Limit: limit}) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		want := len(rejects)
		if limit > 0 {
			want = min(want, limit)
		}
		if n != want {
			t.Errorf("a limit of %d gives %d", limit, n)
		}
	}
	if _, _, err := db.Reject(t.Context(), record.UUID{0xbb}, 1); !errors.Is(err, ErrNotFound) {
		t.Errorf("another organisation's reject: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var errs []error
	for _, err := range db.Rejects(ctx, orgA, RejectFilter{}) {
		errs = append(errs, err)
	}
	if len(errs) != 1 || !errors.Is(errs[0], context.Canceled) {
		t.Errorf("after an interrupt: %v", errs)
	}
}

func FuzzRejectID(f *testing.F) {
	f.Add("1", "2")
	f.Add(strings.Repeat("ä", 300), strings.Repeat("ä", 301))
	f.Fuzz(func(t *testing.T, a, b string) {
		x, y := rejectID(a), rejectID(b)
		if len(x) > maxRejectID || !slices.Equal([]byte(x), []byte(record.CleanText(x))) {
			t.Errorf("%q becomes %q", a, x)
		}
		if (x == y) != (record.CleanText(a) == record.CleanText(b)) {
			t.Errorf("%q and %q become %q and %q", a, b, x, y)
		}
	})
}
