package postgres

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"haloingest/pipeline/record"
)

// fill makes n live objects of each kind, "0" to n-1, that were there before any run of the test.
func fill(tb testing.TB, db *DB, org record.UUID, n int) {
	tb.Helper()
	for _, kind := range []string{"contact", "company"} {
		execute(tb, db, `INSERT INTO ingest.id_map (org_id, kind, source_id, row_id, reason, created_at)
			SELECT $1, $2, i::text, gen_random_uuid(), 'created', now() - interval '1 day' FROM generate_series(0, $3 - 1) i`, org, kind, n)
	}
	for _, table := range []string{"transcripts", "tickets"} {
		execute(tb, db, `INSERT INTO public.`+table+` (org_id, id, source_id, created_at)
			SELECT $1, gen_random_uuid(), i::text, now() - interval '1 day' FROM generate_series(0, $2 - 1) i`, org, n)
	}
}

func see(tb testing.TB, r *Run, kind record.Kind, ids ...string) {
	tb.Helper()
	if err := r.lease.db.inTx(tb.Context(), func(tx pgx.Tx) error { return r.markSeen(tb.Context(), tx, kind, ids) }); err != nil {
		tb.Fatal(err)
	}
}

func numbers(from, to int) (ids []string) {
	for i := from; i < to; i++ {
		ids = append(ids, fmt.Sprint(i))
	}
	return ids
}

func collect(tb testing.TB, u Unseen) (ids []string) {
	tb.Helper()
	for id, err := range u.IDs {
		if err != nil {
			tb.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

func TestAWalkFindsWhatItDidNotSee(t *testing.T) {
	db := newDB(t)
	fill(t, db, orgA, 200)
	lease := acquire(t, db, orgA)
	run := startRun(t, lease, RunSpec{Kind: "backfill", Track: true})
	for _, kind := range record.Kinds {
		t.Run(string(kind), func(t *testing.T) {
			see(t, run, kind, numbers(0, 150)...)
			see(t, run, kind, numbers(140, 190)...) // a page may come twice
			see(t, run, kind, "999")                // never loaded
			table, key := "public."+kind.Table(), "org_id = $1"
			if kind == record.KindContact || kind == record.KindCompany {
				table, key = "ingest.id_map", "org_id = $1 AND kind = '"+string(kind)+"'"
			}
			// Gone already, made by a webhook while the walk went on, another organisation's, Halo's own.
			execute(t, db, "UPDATE "+table+" SET deleted_at = now() WHERE source_id = '190' AND "+key, orgA)
			execute(t, db, "UPDATE "+table+" SET created_at = now() + interval '1 second' WHERE source_id = '191' AND "+key, orgA)
			execute(t, db, "UPDATE "+table+" SET org_id = $2 WHERE source_id = '192' AND "+key, orgA, record.UUID{0xbb})
			if table != "ingest.id_map" {
				execute(t, db, "INSERT INTO "+table+" (org_id, id, created_at) VALUES ($1, gen_random_uuid(), now() - interval '1 day')", orgA)
			}
			for range 2 { // the same when asked again
				u, err := run.Unseen(t.Context(), kind, 0)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(numbers(193, 200), collect(t, u)); diff != "" || u.Count != 7 || u.Total != 198 {
					t.Errorf("%d of %d:\n%s", u.Count, u.Total, diff)
				}
			}
		})
	}
	if err := run.ForgetSeen(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := one[int](t, db, "SELECT (SELECT count(*) FROM ingest.seen)::int + (SELECT count(*) FROM ingest.unseen)::int"); n != 0 {
		t.Errorf("%d rows are not forgotten", n)
	}
}

func TestAWalkThatMissesTooMuchIsNotBelieved(t *testing.T) {
	db := newDB(t)
	for i, test := range []struct {
		name         string
		total, saw   int
		share        float64
		wantRefusals bool
	}{
		{"nothing at all was seen", 500, 0, 0, true},
		{"just over a tenth", 500, 449, 0, true},
		{"a tenth", 500, 450, 0, false},
		{"ten are always believed", 10, 0, 0, false},
		{"eleven of eleven are not", 11, 0, 0, true},
		{"over the share that was given", 500, 498, 0.001, false},
		{"over the share that was given, and over ten", 500, 489, 0.02, true},
		{"under the share that was given", 500, 250, 0.5, false},
		{"everything was seen", 500, 500, 0, false},
		{"nothing is there", 0, 0, 0, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			org := record.UUID{byte(i)}
			fill(t, db, org, test.total)
			run := startRun(t, acquire(t, db, org), RunSpec{Kind: "backfill", Track: true})
			see(t, run, record.KindTicket, numbers(0, test.saw)...)
			u, err := run.Unseen(t.Context(), record.KindTicket, test.share)
			var refused *UnseenError
			if errors.As(err, &refused) != test.wantRefusals {
				t.Fatalf("got %v", err)
			}
			if test.wantRefusals {
				if refused.Count != int64(test.total-test.saw) || refused.Total != int64(test.total) || refused.Kind != record.KindTicket {
					t.Errorf("got %+v", refused)
				}
				return
			}
			if err != nil || u.Count != int64(test.total-test.saw) || len(collect(t, u)) != test.total-test.saw {
				t.Errorf("%d, %v", u.Count, err)
			}
		})
	}
}

func TestUnseenIsReadPageByPage(t *testing.T) {
	db := newDB(t)
	n := 2*unseenPage + 1
	fill(t, db, orgA, n)
	run := startRun(t, acquire(t, db, orgA), RunSpec{Kind: "backfill", Track: true})
	u, err := run.Unseen(t.Context(), record.KindContact, 1)
	if err != nil {
		t.Fatal(err)
	}
	want := numbers(0, n)
	slices.Sort(want)
	if diff := cmp.Diff(want, collect(t, u)); diff != "" {
		t.Error(diff)
	}
}

func TestOnlyAWalkKeepsWhatItSaw(t *testing.T) {
	db := newDB(t)
	fill(t, db, orgA, 3)
	lease := acquire(t, db, orgA)
	run := startRun(t, lease, RunSpec{Kind: "sync"})
	see(t, run, record.KindTicket, "1")
	if n := one[int](t, db, "SELECT count(*)::int FROM ingest.seen"); n != 0 {
		t.Errorf("%d rows", n)
	}
	if _, err := run.Unseen(t.Context(), record.KindTicket, 0); err == nil {
		t.Error("a run that did not track says what it did not see")
	}

	// What an abandoned walk saw is forgotten by the next one; what one that may be resumed saw is not.
	walk := startRun(t, lease, RunSpec{Kind: "backfill", Track: true})
	see(t, walk, record.KindTicket, "1")
	other := startRun(t, lease, RunSpec{Kind: "walk", Track: true})
	see(t, other, record.KindTicket, "2")
	if err := other.ForgetSeen(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := one[string](t, db, "SELECT string_agg(source_id, ',') FROM ingest.seen"); got != "1" {
		t.Errorf("left is %q", got)
	}
	next := startRun(t, lease, RunSpec{Kind: "backfill", Track: true, Restart: true})
	if err := next.ForgetSeen(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := one[int](t, db, "SELECT count(*)::int FROM ingest.seen"); n != 0 {
		t.Errorf("%d rows of an abandoned walk are left", n)
	}
}

// What is to be loaded again was seen, and counts for no share of what is missing.
func TestAWalkReadsAgainWhatIsToBeLoadedAgain(t *testing.T) {
	db := newDB(t)
	fill(t, db, orgA, 50)
	execute(t, db, `UPDATE ingest.id_map SET content_hash = '\x00112233445566778899aabbccddeeff', fetched_at = now() WHERE source_id <> '3'`) // which is known from a merge only
	execute(t, db, `UPDATE ingest.id_map SET content_hash = NULL WHERE source_id::int BETWEEN 5 AND 30`)
	execute(t, db, `UPDATE ingest.id_map SET deleted_at = now() WHERE source_id = '6'`)
	lease := acquire(t, db, orgA)
	run := startRun(t, lease, RunSpec{Kind: "backfill", Track: true})
	for _, kind := range []record.Kind{record.KindContact, record.KindCompany} {
		see(t, run, kind, numbers(0, 48)...)
		want := append(numbers(5, 6), numbers(7, 31)...)
		got, err := db.Reloads(t.Context(), orgA, kind, 100)
		slices.Sort(got)
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s to be loaded again: %v (-want +got):\n%s", kind, err, diff)
		}
		u, err := run.Unseen(t.Context(), kind, 0)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, "48", "49")
		slices.Sort(want)
		if diff := cmp.Diff(want, collect(t, u)); diff != "" || u.Count != int64(len(want)) {
			t.Errorf("%d %s to be read (-want +got):\n%s", u.Count, kind, diff)
		}
	}
}
