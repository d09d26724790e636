package snapshot

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"haloingest/pipeline/record"
	file "haloingest/sinks/parquet"
)

func TestARunThatNeverFinishedIsIncompleteUnlessALaterOneMakesItGood(t *testing.T) {
	at := func(n int) time.Time { return time.Date(2024, 1, 1, n, 0, 0, 0, time.UTC) }
	run := func(n int, org byte, complete, synced bool) *Run {
		m := file.Manifest{Org: record.UUID{org}, Run: record.UUID{byte(n)}, Kind: "backfill", StartedAt: at(n), Complete: complete}
		if synced {
			m.SyncedTo = at(n)
		}
		return &Run{Manifest: m}
	}
	for _, tt := range []struct {
		name string
		runs []*Run
		want []byte
	}{
		{"all complete", []*Run{run(1, 1, true, true), run(2, 1, true, true)}, nil},
		{"one that never finished", []*Run{run(1, 1, false, false)}, []byte{1}},
		{"a sync after a backfill", []*Run{run(1, 1, true, true), run(2, 1, false, false)}, []byte{2}},
		{"a later one that is whole", []*Run{run(1, 1, false, false), run(2, 1, true, true)}, nil},
		{"a later one that is a part", []*Run{run(1, 1, false, false), run(2, 1, true, false)}, []byte{1}},
		{"a later one of somebody else's", []*Run{run(1, 1, false, false), run(2, 2, true, true)}, []byte{1}},
	} {
		var got []byte
		for _, x := range unfinished(tt.runs) {
			got = append(got, x.Run[0])
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}
