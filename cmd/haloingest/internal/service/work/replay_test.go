package work

import (
	"context"
	"strings"
	"testing"

	"haloingest/cmd/haloingest/internal/ingest"
	"haloingest/pipeline/record"
	"haloingest/sinks/parquet/bucket"
	"haloingest/sources/snapshot"
)

func TestASnapshotIsReplayedByAJob(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	one := newPlace(t)
	org, _ := one.connect(1, small)
	o := one.options()
	o.Prepare = func(r *ingest.Runner) error {
		store, err := bucket.Create(context.Background(), folder)
		r.Snapshot = ingest.Snapshot{Store: store, Program: "test"}
		return err
	}
	one.start(o)
	one.must(one.queue.Backfill(t.Context(), nil, org, BackfillOptions{}))
	one.eventually("the backfill", one.synced(org))

	// Another database, with the same organisation: ingest is off, for a replay asks nothing of Intercom.
	two := newPlace(t)
	_, sim := two.connect(1, small)
	_, err := two.store.SetIngest(t.Context(), org, false)
	two.must(err)
	o = two.options()
	o.Snapshot = func(ctx context.Context, org record.UUID, o ReplayOptions) (*snapshot.Snapshot, func(), error) {
		store, err := bucket.Open(ctx, o.Location)
		if err != nil {
			return nil, nil, err
		}
		snap, err := snapshot.Open(ctx, store, snapshot.Options{Org: org, Run: o.Run})
		return snap, func() { _ = store.Close() }, err
	}
	two.start(o)
	two.must(two.queue.Replay(t.Context(), org, ReplayOptions{Location: folder}))
	two.eventually("the replay", func() bool {
		return scalar[bool](two, `SELECT EXISTS (SELECT FROM ingest.runs WHERE kind = 'replay' AND state = 'complete')`)
	})
	two.exact(org)
	if n := sim.Stats().Requests; n != 0 {
		t.Errorf("%d requests", n)
	}
	// What is no snapshot is none the next time either.
	two.eventually("the end of the job", func() bool { _, ok := two.job(org, KindReplay); return !ok })
	two.must(two.queue.Replay(t.Context(), org, ReplayOptions{Location: t.TempDir()}))
	two.eventually("the failure", two.state(org, KindReplay, JobFailed))
	if j, _ := two.job(org, KindReplay); j.Attempt != 1 || !strings.Contains(j.Error, "snapshot") {
		t.Errorf("%+v", j)
	}
}
