package postgres

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"haloingest/pipeline"
	"haloingest/sinks/postgres/localpg/pgtest"
)

func TestACheckpointMovesOneBatchAtATime(t *testing.T) {
	db := newDB(t)
	run := startRun(t, acquire(t, db, orgA), RunSpec{Kind: "backfill"})
	const stream = "contacts"
	if done, err := commitStep(t, run, stream, step{Seq: 1}); err == nil || done {
		t.Error("a stream without a checkpoint was moved")
	}
	c, err := run.Checkpoint(t.Context(), stream)
	if diff := cmp.Diff(Checkpoint{Counts: pipeline.Counts{}}, c); diff != "" || err != nil {
		t.Fatalf("a new checkpoint: %v\n%s", err, diff)
	}
	for _, test := range []struct {
		name string
		step step
		done bool
		err  error
		want Checkpoint
	}{
		{"the first batch", step{Seq: 1, Cursor: pipeline.Cursor("\x00a"), Counts: pipeline.Counts{"read": 3, "unmapped/contact/field/a\x00b": 1}}, false, nil,
			Checkpoint{Cursor: pipeline.Cursor("\x00a"), Seq: 1, Counts: pipeline.Counts{"read": 3, "unmapped/contact/field/ab": 1}}},
		{"the first batch again", step{Seq: 1, Cursor: pipeline.Cursor("\x00a"), Counts: pipeline.Counts{"read": 3}}, true, nil,
			Checkpoint{Cursor: pipeline.Cursor("\x00a"), Seq: 1, Counts: pipeline.Counts{"read": 3, "unmapped/contact/field/ab": 1}}},
		{"a batch that is missing", step{Seq: 3}, false, errSequence,
			Checkpoint{Cursor: pipeline.Cursor("\x00a"), Seq: 1, Counts: pipeline.Counts{"read": 3, "unmapped/contact/field/ab": 1}}},
		{"a batch that does not move the source", step{Seq: 2, Counts: pipeline.Counts{"read": -1, "zero": 0}}, false, nil,
			Checkpoint{Cursor: pipeline.Cursor("\x00a"), Seq: 2, Counts: pipeline.Counts{"read": 2, "unmapped/contact/field/ab": 1}}},
		{"a batch that counts nothing", step{Seq: 3, Cursor: pipeline.Cursor("b")}, false, nil,
			Checkpoint{Cursor: pipeline.Cursor("b"), Seq: 3, Counts: pipeline.Counts{"read": 2, "unmapped/contact/field/ab": 1}}},
		{"an old batch", step{Seq: 2}, false, errSequence,
			Checkpoint{Cursor: pipeline.Cursor("b"), Seq: 3, Counts: pipeline.Counts{"read": 2, "unmapped/contact/field/ab": 1}}},
	} {
		done, err := commitStep(t, run, stream, test.step)
		if done != test.done || !errors.Is(err, test.err) {
			t.Errorf("%s: %v, %v", test.name, done, err)
		}
		got, err := run.Checkpoint(t.Context(), stream)
		if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", test.name, err, diff)
		}
	}

	if err := run.SkipStream(t.Context(), "companies", "the token lacks the scope"); err != nil {
		t.Fatal(err)
	}
	if err := run.CompleteStream(t.Context(), stream); err != nil {
		t.Fatal(err)
	}
	skipped, err := run.Checkpoint(t.Context(), "companies")
	if err != nil || skipped.Skipped != "the token lacks the scope" || skipped.Complete {
		t.Errorf("a skipped stream: %+v, %v", skipped, err)
	}
	complete, err := run.Checkpoint(t.Context(), stream)
	if err != nil || !complete.Complete || complete.Seq != 3 {
		t.Errorf("a complete stream: %+v, %v", complete, err)
	}
}

// The sums are exact whatever is counted: SQL adds up to the same as a map does.
func TestCountsAddUp(t *testing.T) {
	db := newDB(t)
	run := startRun(t, acquire(t, db, orgA), RunSpec{Kind: "backfill"})
	stream := 0
	rapid.Check(t, func(rt *rapid.T) {
		stream++
		name := fmt.Sprint("stream ", stream)
		want := pipeline.Counts{}
		batches := rapid.SliceOfN(rapid.MapOfN(rapid.SampledFrom([]string{"a", "b/c", "ä", `"`, `\u0000`, "null"}), rapid.Int64Range(-5, 1<<40), 0, 4), 0, 4).Draw(rt, "batches")
		if _, err := run.Checkpoint(t.Context(), name); err != nil {
			rt.Fatal(err)
		}
		for i, counts := range batches {
			for k, n := range counts {
				if n != 0 {
					want.Add(k, n)
				}
			}
			if _, err := commitStep(t, run, name, step{Seq: uint64(i + 1), Counts: counts}); err != nil {
				rt.Fatal(err)
			}
		}
		got, err := run.Checkpoint(t.Context(), name)
		if err != nil {
			rt.Fatal(err)
		}
		if diff := cmp.Diff(want, got.Counts); diff != "" {
			rt.Fatal(diff)
		}
	})
}

// F4: the connection is cut exactly at COMMIT, before and after the server has applied it. Each batch also adds a row to a table that
// would take it twice.
func TestABatchIsCommittedOnceHoweverItsCommitEnds(t *testing.T) {
	base := pgtest.New(t)
	proxy := newProxy(t, base)
	direct := quickDB(t, base)
	execute(t, direct, "CREATE TABLE public.loaded (batch bigint NOT NULL)")
	db := openURL(t, proxy.url)
	run := startRun(t, acquire(t, db, orgA), RunSpec{Kind: "backfill"})
	if _, err := run.Checkpoint(t.Context(), "contacts"); err != nil {
		t.Fatal(err)
	}
	const batches = 80
	repeated := 0
	for n := uint64(1); n <= batches; n++ {
		commits := 0
		err := db.retry(t.Context(), "load", func(ctx context.Context) error {
			return db.inTx(ctx, func(tx pgx.Tx) error {
				done, err := run.advance(ctx, tx, "contacts", step{Seq: n, Cursor: pipeline.Cursor(fmt.Sprint(n)), Counts: pipeline.Counts{"read": 10}})
				if err != nil {
					return err
				}
				if done {
					repeated++
					return nil
				}
				if _, err := tx.Exec(ctx, "INSERT INTO public.loaded VALUES ($1)", int64(n)); err != nil {
					return err
				}
				if commits++; commits == 1 {
					proxy.set(fault(1 + n%2)) // loseCommit, loseAnswer
				}
				return nil
			})
		})
		if err != nil {
			t.Fatalf("batch %d: %v", n, err)
		}
	}
	got := one[string](t, direct, "SELECT concat_ws(' ', count(*), count(DISTINCT batch), min(batch), max(batch)) FROM public.loaded")
	if want := fmt.Sprint(batches, " ", batches, " 1 ", batches); got != want {
		t.Errorf("loaded %s, want %s", got, want)
	}
	c, err := run.Checkpoint(t.Context(), "contacts")
	if err != nil || c.Seq != batches || c.Counts["read"] != 10*batches || string(c.Cursor) != fmt.Sprint(batches) {
		t.Errorf("%+v, %v", c, err)
	}
	if repeated != batches/2 {
		t.Errorf("%d batches were found to be committed already, want %d", repeated, batches/2)
	}
}

// A server that goes away in mid-run and comes back is waited for; one that stays away is an ErrDatabase.
func TestAServerThatIsStopped(t *testing.T) {
	proxy := newProxy(t, pgtest.New(t))
	db := quickDB(t, proxy.url)
	db.retries = 300 * time.Millisecond
	run := startRun(t, acquire(t, db, orgA), RunSpec{Kind: "backfill"})
	proxy.cut()
	_, err := run.Checkpoint(t.Context(), "contacts")
	if !errors.Is(err, ErrDatabase) || errors.Is(err, ErrFenced) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("interrupted")
	cancel(stop)
	if _, err := run.Checkpoint(ctx, "contacts"); errors.Is(err, ErrDatabase) || !errors.Is(err, stop) {
		t.Errorf("after an interrupt: %v", err)
	}
}
