package parquet_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"haloingest/pipeline"
	"haloingest/pipeline/pipetest"
	"haloingest/pipeline/record"
	"haloingest/sinks/parquet"
)

// sample is a batch that fills every table.
func sample() (objects pipeline.Batch[record.Object], changes pipeline.Batch[record.Change]) {
	list := rapid.SliceOfN(rapid.Custom(drawChange), 60, 60)
	objects.Items = rapid.SliceOfN(rapid.Custom(drawObject), 60, 60).Example(7)
	changes.Items = list.Example(7)
	changes.Rejects = rapid.SliceOfN(rapid.Custom(drawReject), 3, 3).Example(7)
	return objects, changes
}

// cut fails after so many bytes: with the last write short, as a full disk does.
type cut struct {
	w    io.Writer
	left *int
	err  error
}

func (c cut) Write(p []byte) (int, error) {
	if len(p) <= *c.left {
		*c.left -= len(p)
		return c.w.Write(p)
	}
	n, _ := c.w.Write(p[:*c.left])
	*c.left = 0
	return n, c.err
}

// Wherever the disk is full, no file appears that is not whole, the batch fails, and the same sinks write the same files once there is room.
func TestADiskThatIsFullAtAnyByteLeavesNothingHalf(t *testing.T) {
	for _, sealed := range []bool{false, true} {
		objects, changes := sample()
		to := parquet.Target{Org: org, Run: run, Attempt: 1}
		if sealed {
			to.Seal = func(_ string, key []byte) ([]byte, error) { return key, nil }
		}
		write := func(pages *parquet.Pages, rows *parquet.Rows) ([]pipeline.File, error) {
			files, err := pages.Write(noTimeout, objects)
			if err != nil {
				return files, err
			}
			more, err := rows.Write(noTimeout, changes)
			return append(files, more...), err
		}
		whole := newMemory()
		to.Store = whole
		want, err := write(parquet.NewPages(to, "x", 0), parquet.NewRows(to, "x", 0))
		if err != nil {
			t.Fatal(err)
		}
		total := 0
		for _, b := range whole.files {
			total += len(b)
		}
		rounds := 40
		if testing.Short() {
			rounds = 10
		}
		for round := range rounds {
			store := newMemory()
			to.Store = store
			left, fault := total*round/rounds, []error{syscall.ENOSPC, syscall.EIO, io.ErrShortWrite}[round%3]
			store.fail = func(w io.Writer) io.Writer { return cut{w, &left, fault} }
			pages, rows := parquet.NewPages(to, "x", 0), parquet.NewRows(to, "x", 0)
			_, err := write(pages, rows)
			if !errors.Is(err, fault) {
				t.Fatalf("full after %d bytes of %d: %v", total*round/rounds, total, err)
			}
			for path, b := range store.files {
				if !sealed && string(b) != string(whole.files[path]) {
					t.Fatalf("full after %d bytes: %s is there with %d bytes of %d", total*round/rounds, path, len(b), len(whole.files[path]))
				}
			}
			store.fail = nil
			got, err := write(pages, rows)
			if err != nil {
				t.Fatal(err)
			}
			if sealed {
				if len(store.files) != len(whole.files) || len(got) != len(want) {
					t.Errorf("after a failure %d files, want %d", len(store.files), len(whole.files))
				}
				continue
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("the files after a failure at byte %d (-undisturbed +after):\n%s", total*round/rounds, diff)
			}
			if diff := cmp.Diff(whole.files, store.files); diff != "" {
				t.Fatalf("what they hold after a failure at byte %d differs", total*round/rounds)
			}
		}
	}
}

// The writer of a table is used again from segment to segment.
func TestASegmentDoesNotDependOnThoseBefore(t *testing.T) {
	objects, changes := sample()
	write := func(first uint64) map[string][]byte {
		store := newMemory()
		to := parquet.Target{Store: store, Org: org, Run: run, Attempt: 1}
		pages, rows := parquet.NewPages(to, "x", 0), parquet.NewRows(to, "x", 0)
		for seq := first; seq < 4; seq++ {
			o, c := objects, changes
			o.Seq, c.Seq = seq, seq
			o.Items, c.Items = o.Items[:15*(seq+1)], c.Items[:15*(seq+1)]
			if _, err := pages.Write(noTimeout, o); err != nil {
				t.Fatal(err)
			}
			if _, err := rows.Write(noTimeout, c); err != nil {
				t.Fatal(err)
			}
		}
		for path := range store.files {
			if !strings.Contains(path, ".000003.") {
				delete(store.files, path)
			}
		}
		return store.files
	}
	alone, last := write(3), write(0)
	if diff := cmp.Diff(alone, last); diff != "" || len(alone) < 8 {
		t.Errorf("%d files of the segment differ from those of a new sink:\n%.500s", len(alone), diff)
	}
}

func TestABatchWithoutRowsMakesNoFile(t *testing.T) {
	store := newMemory()
	to := parquet.Target{Store: store, Org: org, Run: run, Attempt: 1}
	pages, err := parquet.NewPages(to, "x", 0).Write(noTimeout, pipeline.Batch[record.Object]{})
	rows, err2 := parquet.NewRows(to, "x", 0).Write(noTimeout, pipeline.Batch[record.Change]{})
	both, err3 := parquet.NewSegments(to, "x", 0).Write(noTimeout, pipeline.Batch[record.Change]{})
	if err := errors.Join(err, err2, err3); err != nil || len(pages)+len(rows)+len(both)+len(store.files) > 0 {
		t.Errorf("%v, %v, %v, %v", pages, rows, both, err)
	}
}

func TestAChangeThatIsNothingIsAnError(t *testing.T) {
	to := parquet.Target{Store: newMemory(), Org: org, Run: run, Attempt: 1}
	_, err := parquet.NewRows(to, "x", 0).Write(noTimeout, pipeline.Batch[record.Change]{Items: []record.Change{{Kind: record.KindTicket, SourceID: "77"}}})
	if err == nil || !strings.Contains(err.Error(), "ticket 77") {
		t.Errorf("got %v", err)
	}
}

// Segments are made behind the stages, of many small batches; all that came must be in the segment of what was made of it.
func TestASegmentHoldsThePagesOfItsRows(t *testing.T) {
	store := newMemory()
	to := parquet.Target{Store: store, Org: org, Run: run, Attempt: 2}
	const pages, each = 23, 4
	var source [][]record.Object
	for p := range pages {
		var page []record.Object
		for i := range each {
			page = append(page, record.Object{Kind: record.KindContact, ID: fmt.Sprintf("%02d-%d", p, i), Body: make([]byte, 10, 100), FetchedAt: time.Unix(1, 0)})
		}
		source = append(source, page)
	}
	p := pipeline.New(pipeline.Options{})
	objects := pipeline.Tap(pipeline.From(p, pipetest.NewSource(source...), nil), parquet.Hold{})
	changes := pipeline.Via(objects, pipeline.StageFunc("map", func(_ context.Context, in []record.Object) (r pipeline.Result[record.Change], _ error) {
		for _, o := range in {
			switch {
			case strings.HasSuffix(o.ID, "-1"): // left out, as dedupe does
			case strings.HasSuffix(o.ID, "-2"):
				r.Rejects = append(r.Rejects, pipeline.Reject{Kind: "contact", ID: o.ID, Reason: "bad", Payload: o.Body})
			default:
				if cap(o.Body) > 2*len(o.Body) {
					t.Error("a body keeps a large buffer")
				}
				r.Items = append(r.Items, record.Change{Kind: o.Kind, SourceID: o.ID, Gone: &record.Tombstone{Why: record.GoneDeleted}})
			}
		}
		return r, nil
	}), 3)
	changes = pipeline.Tap(pipeline.Rebatch(changes, pipeline.Limits{Rows: 20}, nil), parquet.NewSegments(to, "contacts", 5))
	last := &collected{}
	pipeline.Into(changes, last)
	if err := p.Run(t.Context(), t.Context()); err != nil {
		t.Fatal(err)
	}
	segments := map[int64]map[string][]string{}
	for _, b := range last.batches {
		for _, f := range parquet.Written(b.Files) {
			info := f.Meta.(parquet.FileInfo)
			rows, _, _ := arrowRead(t, content(t, store, f.Path))
			if segments[info.Seq] == nil {
				segments[info.Seq] = map[string][]string{}
			}
			if want := int64(5 + b.Seq); info.Seq != want {
				t.Errorf("%s is in the batch of segment %d", f.Path, want)
			}
			for _, r := range rows {
				segments[info.Seq][info.Table] = append(segments[info.Seq][info.Table], r["source_id"].(string))
			}
		}
	}
	all := 0
	for seq, tables := range segments {
		got := slices.Sorted(slices.Values(slices.Concat(tables["tombstones"], tables["rejects"])))
		want := slices.DeleteFunc(slices.Clone(tables["contacts"]), func(id string) bool { return strings.HasSuffix(id, "-1") })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("segment %d: pages and rows differ (-pages +rows):\n%s", seq, diff)
		}
		all += len(tables["contacts"])
	}
	if all != pages*each || len(segments) < 3 {
		t.Errorf("%d objects in %d segments", all, len(segments))
	}
	if n := len(last.batches); n > 0 && len(last.batches[0].Files) == len(parquet.Written(last.batches[0].Files)) {
		t.Error("nothing was held")
	}
}

type collected struct {
	batches []pipeline.Batch[record.Change]
}

func (c *collected) Name() string { return "collect" }

func (c *collected) Commit(_ context.Context, b pipeline.Batch[record.Change]) error {
	c.batches = append(c.batches, b)
	return nil
}
