package postgres

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
)

// described is what a writer of snapshots says of a file.
type described struct {
	Path    string   `json:"path"`
	Layer   string   `json:"layer"`
	Stream  string   `json:"stream"`
	Table   string   `json:"table"`
	Seq     int64    `json:"seq"`
	Rows    int64    `json:"rows"`
	Bytes   int64    `json:"bytes"`
	SHA256  string   `json:"sha256"`
	Buckets []string `json:"buckets"`
}

func fileOf(path string, seq int64) pipeline.File {
	return pipeline.File{Path: path, Meta: described{Path: path, Layer: "rows", Stream: "all", Table: "end_users", Seq: seq, Rows: 3, Bytes: 40, SHA256: strings.Repeat("a", 64), Buckets: []string{"x"}}}
}

func (x *loading) tryFiles(list []pipeline.File, changes ...record.Change) error {
	err := x.sink.Commit(x.tb.Context(), pipeline.Batch[record.Change]{Seq: x.seq, Items: changes, Files: list, Cursor: pipeline.Cursor("\x01")})
	if err == nil {
		x.seq++
	}
	return err
}

func (x *loading) paths(run record.UUID) []string {
	x.tb.Helper()
	var list []string
	for f, err := range x.db.SnapshotFiles(x.tb.Context(), x.lease.org, run) {
		if err != nil {
			x.tb.Fatal(err)
		}
		list = append(list, fmt.Sprintf("%s %s %d", f.Location, f.Path, f.Seq))
	}
	return list
}

func TestAFileIsPartOfTheSnapshotExactlyIfItsBatchIsCommitted(t *testing.T) {
	x := newLoading(t)
	x.sink.options.Snapshot = "/snapshots"
	if err := x.tryFiles([]pipeline.File{fileOf("b", 1), fileOf("a", 0)}, family(orgA, 1)...); err != nil {
		t.Fatal(err)
	}
	points := []string{"advanced", "loaded", "finished", "before commit"}
	for i, point := range points {
		x.sink.fault = func(at string) error {
			if at == point {
				return errCrash
			}
			return nil
		}
		if err := x.tryFiles([]pipeline.File{fileOf("late", 2)}, family(orgA, i+2)...); !errors.Is(err, errCrash) {
			t.Fatalf("crash when %s: %v", point, err)
		}
		if got := x.paths(x.run.ID); len(got) != 2 {
			t.Errorf("after a crash when %s: %v", point, got)
		}
	}
	x.sink.fault = func(string) error { return nil }
	if err := x.tryFiles([]pipeline.File{fileOf("late", 2)}, family(orgA, 9)...); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"/snapshots a 0", "/snapshots b 1", "/snapshots late 2"}, x.paths(x.run.ID)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	for f, err := range x.db.SnapshotFiles(t.Context(), orgA, x.run.ID) {
		want := `{"rows": 3, "seq": ` + fmt.Sprint(f.Seq)
		if err != nil || f.Rows != 3 || f.Bytes != 40 || f.Table != "end_users" || !strings.Contains(string(f.Info), `"buckets": ["x"]`) {
			t.Errorf("file %+v, info %s, error %v, want %s", f, f.Info, err, want)
		}
	}
	runs, err := x.db.SnapshotRuns(t.Context(), orgA)
	if err != nil || len(runs) != 1 || runs[0].Run != x.run.ID || runs[0].Files != 3 || runs[0].Rows != 9 || runs[0].Bytes != 120 || runs[0].Location != "/snapshots" {
		t.Errorf("runs: %+v, error %v", runs, err)
	}
}

func TestAFileThatCannotBeNamedLeavesNoRowBehind(t *testing.T) {
	good := fileOf("a", 0)
	change := func(f func(*described)) pipeline.File {
		m := good.Meta.(described)
		f(&m)
		return pipeline.File{Path: "b", Meta: m}
	}
	tests := map[string][]pipeline.File{
		"a path that the run has already":        {good},
		"the same path twice":                    {fileOf("b", 1), fileOf("b", 2)},
		"no description":                         {{Path: "b"}},
		"a description of another file":          {change(func(*described) {})},
		"an unknown layer":                       {change(func(d *described) { d.Path, d.Layer = "b", "cake" })},
		"no digest":                              {change(func(d *described) { d.Path, d.SHA256 = "b", "" })},
		"a description that is no JSON":          {{Path: "b", Meta: func() {}}},
		"a description with numbers for strings": {{Path: "b", Meta: map[string]any{"path": 3}}},
	}
	x := newLoading(t)
	if err := x.tryFiles([]pipeline.File{good}); !errors.Is(err, ErrInvariant) {
		t.Errorf("a file without a location: %v", err)
	}
	x.sink.options.Snapshot = "mem://"
	if err := x.tryFiles([]pipeline.File{good}); err != nil {
		t.Fatal(err)
	}
	for name, list := range tests {
		t.Run(name, func(t *testing.T) {
			if err := x.tryFiles(list, family(orgA, 1)...); !errors.Is(err, ErrInvariant) {
				t.Errorf("error: %v, want ErrInvariant", err)
			}
			if got := x.table(`SELECT count(*) FROM transcripts`); got[0] != "(0)" {
				t.Errorf("transcripts: %v", got)
			}
			if got := x.paths(x.run.ID); len(got) != 1 {
				t.Errorf("files: %v", got)
			}
		})
	}
}

func TestASnapshotOfManyFilesIsReadInPages(t *testing.T) {
	x := newLoading(t)
	x.sink.options.Snapshot = "mem://"
	var list []pipeline.File
	for i := range 2*pageSize + 3 {
		list = append(list, fileOf(fmt.Sprint("f", i), int64(i/4)))
	}
	if err := x.tryFiles(list); err != nil {
		t.Fatal(err)
	}
	seen, last := make(map[string]bool), int64(0)
	for f, err := range x.db.SnapshotFiles(t.Context(), orgA, x.run.ID) {
		if err != nil || seen[f.Path] || f.Seq < last {
			t.Fatalf("file %s of seq %d after %d: %v", f.Path, f.Seq, last, err)
		}
		seen[f.Path], last = true, f.Seq
	}
	if len(seen) != len(list) {
		t.Errorf("%d of %d files", len(seen), len(list))
	}
}
