package postgres

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"haloingest/pipeline/record"
)

func diffRun(n int) DiffRun {
	return DiffRun{ID: record.UUID{1, byte(n)}, Left: "intercom", Right: "postgres", Level: "full", Only: []string{"contacts"}, Verdict: "different", Sentence: "NOT SAFE",
		Watermark: at(n), StartedAt: at(n), FinishedAt: at(n + 1), Report: json.RawMessage(`{"version":1,"a":[1,2]}`)}
}

func finding(i int) DiffFinding {
	return DiffFinding{Entity: []string{"end_users", "transcripts"}[i%2], SourceID: fmt.Sprint("s", i), Class: []string{"missing", "changed", "extra"}[i%3], Cause: "it was",
		Columns: []string{"email", "name"}[:i%3], Finding: json.RawMessage(fmt.Sprintf(`{"n":%d,"entity":"x"}`, i))}
}

func findings(n int) iter.Seq2[DiffFinding, error] {
	return func(yield func(DiffFinding, error) bool) {
		for i := range n {
			if !yield(finding(i), nil) {
				return
			}
		}
	}
}

func TestADiffIsReadBackAsItWasSaved(t *testing.T) {
	db := newDB(t)
	const n = 2*pageSize + 5
	if err := db.SaveDiff(t.Context(), orgA, diffRun(1), findings(n)); err != nil {
		t.Fatal(err)
	}
	got, err := db.DiffRun(t.Context(), orgA, "01")
	if err != nil {
		t.Fatal(err)
	}
	want := diffRun(1)
	want.Findings, want.Report = n, json.RawMessage(`{"a": [1, 2], "version": 1}`)
	same := cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) })
	if diff := cmp.Diff(want, got, same); diff != "" {
		t.Errorf("diff (-want +got):\n%s", diff)
	}
	i := 0
	for f, err := range db.DiffFindings(t.Context(), orgA, want.ID, DiffFilter{}) {
		w := finding(i)
		w.Finding = json.RawMessage(strings.NewReplacer(":", ": ", ",", ", ").Replace(string(w.Finding)))
		if diff := cmp.Diff(w, f); err != nil || diff != "" {
			t.Fatalf("finding %d, error %v (-want +got):\n%s", i, err, diff)
		}
		i++
	}
	if i != n {
		t.Errorf("%d of %d findings", i, n)
	}
	i = 0
	for f, err := range db.DiffFindings(t.Context(), orgA, want.ID, DiffFilter{Entity: "transcripts", Class: "extra"}) {
		if err != nil || f.Entity != "transcripts" || f.Class != "extra" {
			t.Fatalf("finding %+v, error %v", f, err)
		}
		i++
	}
	if i != (n+1)/6 {
		t.Errorf("%d extra transcripts", i)
	}
	// The same diff again, with other findings.
	if err := db.SaveDiff(t.Context(), orgA, diffRun(1), findings(3)); err != nil {
		t.Fatal(err)
	}
	if got, err = db.DiffRun(t.Context(), orgA, want.ID.String()); err != nil || got.Findings != 3 {
		t.Errorf("after saving it again: %d findings, error %v", got.Findings, err)
	}
	if _, err := db.DiffRun(t.Context(), record.UUID{9}, "01"); !errors.Is(err, ErrNotFound) {
		t.Errorf("another organisation's diff: %v", err)
	}
}

func TestTheNewestDiffOfEachPairOfSidesIsKnown(t *testing.T) {
	db := newDB(t)
	for i := range 15 {
		d := diffRun(i)
		if i%3 == 0 {
			d.Left = "snapshot:/a"
		}
		if err := db.SaveDiff(t.Context(), orgA, d, findings(2)); err != nil {
			t.Fatal(err)
		}
	}
	list, err := db.NewestDiffs(t.Context(), orgA)
	if err != nil || len(list) != 2 || list[0].ID != (record.UUID{1, 14}) || list[1].ID != (record.UUID{1, 12}) || list[1].Left != "snapshot:/a" {
		t.Errorf("newest: %+v, error %v", list, err)
	}
	all, err := db.DiffRuns(t.Context(), orgA, 0)
	if err != nil || len(all) != 15 {
		t.Fatalf("%d diffs, error %v", len(all), err)
	}
	for i, d := range all {
		if kept := i < keptDiffs; kept != (d.Findings == 2) || d.StartedAt.Before(all[min(i+1, 14)].StartedAt) {
			t.Errorf("diff %d of %v has %d findings", i, d.StartedAt, d.Findings)
		}
	}
	if some, err := db.DiffRuns(t.Context(), orgA, 4); err != nil || len(some) != 4 {
		t.Errorf("%d diffs of 4, error %v", len(some), err)
	}
}

func TestADiffWhoseFindingsFailLeavesNothing(t *testing.T) {
	db := newDB(t)
	broken := errors.New("the disk is gone")
	for name, list := range map[string]iter.Seq2[DiffFinding, error]{
		"an error": func(yield func(DiffFinding, error) bool) {
			for f := range findings(20_000) {
				if !yield(f, nil) {
					return
				}
			}
			yield(DiffFinding{}, broken)
		},
		"a finding that is no JSON": func(yield func(DiffFinding, error) bool) { yield(DiffFinding{Finding: json.RawMessage(`{`)}, nil) },
	} {
		err := db.SaveDiff(t.Context(), orgA, diffRun(1), list)
		if err == nil || errors.Is(err, ErrDatabase) || name == "an error" && !errors.Is(err, broken) {
			t.Errorf("%s: %v", name, err)
		}
		if all, err := db.DiffRuns(t.Context(), orgA, 0); err != nil || len(all) != 0 {
			t.Errorf("%s: %d diffs, error %v", name, len(all), err)
		}
	}
	if n := one[int](t, db, `SELECT count(*)::int FROM ingest.diff_findings`); n != 0 {
		t.Errorf("%d findings", n)
	}
}

func TestManyFindingsNeedLittleMemory(t *testing.T) {
	n := 100_000
	if long() {
		n = 1_000_000
	}
	db := newDB(t)
	var peak uint64
	counted := func(yield func(DiffFinding, error) bool) {
		i := 0
		for f := range findings(n) {
			if i++; i%20_000 == 0 {
				runtime.GC()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				peak = max(peak, m.HeapAlloc)
			}
			f.Finding = json.RawMessage(`{"cells":["` + strings.Repeat("x", 300) + `"]}`)
			if !yield(f, nil) {
				return
			}
		}
	}
	if err := db.SaveDiff(t.Context(), orgA, diffRun(1), counted); err != nil {
		t.Fatal(err)
	}
	if limit := uint64(64 << 20); peak > limit {
		t.Errorf("%d MB of heap for %d findings", peak>>20, n)
	}
}
