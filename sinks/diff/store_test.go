package diff

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
)

// listed is a side of fingerprints only.
type listed struct {
	inMemory
	list []record.Fingerprint
	err  error
}

func (l *listed) Fingerprints(context.Context, string, Level) iter.Seq2[[]record.Fingerprint, error] {
	return func(yield func([]record.Fingerprint, error) bool) {
		for i := 0; i < len(l.list); i += 7 {
			if !yield(l.list[i:min(i+7, len(l.list))], nil) {
				return
			}
		}
		if l.err != nil {
			yield(nil, l.err)
		}
	}
}

// merged is what a side has in the end, by a plain map.
func merged(list []record.Fingerprint, sums bool) map[string]record.Fingerprint {
	m := make(map[string]record.Fingerprint)
	rank := func(f record.Fingerprint) int {
		if f.State == record.FingerprintGone || f.State == record.FingerprintDeleted {
			return 1
		}
		return 0
	}
	for _, f := range list {
		old, there := m[f.SourceID]
		a, b := [3]int64{old.UpdatedAt, old.FetchedAt, int64(rank(old))}, [3]int64{f.UpdatedAt, f.FetchedAt, int64(rank(f))}
		switch c := compareArrays(a, b); {
		case there && c == 0 && sums && rank(f) == 0:
			f.Hash, f.Count = f.Hash.Plus(old.Hash), f.Count+old.Count
		case there && c > 0:
			continue
		}
		m[f.SourceID] = f
	}
	return m
}

func compareArrays(a, b [3]int64) int {
	for i := range a {
		if a[i] != b[i] {
			if a[i] < b[i] {
				return -1
			}
			return 1
		}
	}
	return 0
}

// TestWhatIsJoinedIsWhatAMapSays gives both sides random fingerprints, with many states and parts of each object, in little memory.
func TestWhatIsJoinedIsWhatAMapSays(t *testing.T) {
	fingerprint := rapid.Custom(func(t *rapid.T) record.Fingerprint {
		f := record.Fingerprint{SourceID: fmt.Sprint(rapid.IntRange(0, 40).Draw(t, "id")), UpdatedAt: int64(rapid.IntRange(0, 2).Draw(t, "updated")),
			FetchedAt: int64(rapid.IntRange(0, 1).Draw(t, "fetched")), Hash: record.Digest{byte(rapid.IntRange(0, 9).Draw(t, "hash"))}, Count: 1,
			State: record.FingerprintState(rapid.IntRange(0, 2).Draw(t, "state"))}
		if f.State == record.FingerprintGone {
			f.Count = 0
		}
		return f
	})
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		sums := rapid.Bool().Draw(t, "knowledge")
		var lists [2][]record.Fingerprint
		var want [2]map[string]record.Fingerprint
		var stores [2]*store
		limit := int64(rapid.SampledFrom([]int{300, 3000, 1 << 20}).Draw(t, "limit"))
		var tallies [2]Tally
		for i := range lists {
			lists[i] = rapid.SliceOfN(fingerprint, 50, 300).Draw(t, "side")
			want[i] = merged(lists[i], sums)
			stores[i] = newStore(salt{1}, limit, dir)
			defer stores[i].close()
			if err := stores[i].add(lists[i]); err != nil {
				t.Fatal(err)
			}
			tallies[i] = stores[i].tally
		}
		x := table{sums: sums, tally: [2]*Tally{&tallies[0], &tallies[1]}}
		got := [2]map[string]record.Fingerprint{{}, {}}
		for part := range partitions {
			err := x.joined(part, stores, limit, func(e *entry) error {
				for i, h := range e.side {
					if h.here {
						id := x.name(e)
						got[i][id] = record.Fingerprint{SourceID: id, UpdatedAt: h.updated, FetchedAt: h.fetched, Hash: h.hash, Count: h.count, State: h.state}
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		for i := range want {
			if d := cmp.Diff(want[i], got[i]); d != "" {
				t.Errorf("side %d (-map +joined):\n%s", i, d)
			}
			c := tallies[i]
			if int(c.Read) != len(lists[i]) || int(c.Read-c.Folded-c.Superseded) != len(want[i]) {
				t.Errorf("side %d: %d fingerprints of %d objects are tallied as %+v", i, len(lists[i]), len(want[i]), c)
			}
		}
	})
}

func left20000(t *testing.T) (*inMemory, *inMemory, Options) {
	t.Helper()
	return &inMemory{name: "left", changes: conversations(20_000)}, &inMemory{name: "right", changes: conversations(20_000)}, Options{Memory: 64 << 10, TempDir: t.TempDir()}
}

func TestWhatIsLostOnTheWayBreaksTheLaw(t *testing.T) {
	l, r, o := left20000(t)
	r.count = 1
	report, err := Compare(t.Context(), l, r, o)
	if !errors.Is(err, ErrConservation) || report.Verdict != VerdictBroken || !strings.Contains(report.Sentence, "20001 transcripts by its own count, and 20000 were read") {
		t.Errorf("a side that has one more than was read: %v, %s: %s", err, report.Verdict, report.Sentence)
	}
	e := Entity{Name: "transcripts", Left: Tally{Read: 10, Folded: 1, Superseded: 1, Gone: 1, Marks: 1, Empty: 1}, Right: Tally{Read: 6}}
	e.Counts = Counts{Source: 5, Target: 6, Matched: 2, Changed: 1, Missing: 1, InFlight: 1, Extra: 1, InFlightTarget: 1, UnresolvedTarget: 1}
	if err := e.check(); err != nil {
		t.Errorf("totals that add up: %v", err)
	}
	for name, spoil := range map[string]func(*Entity){
		"one more read":         func(e *Entity) { e.Left.Read++ },
		"one less on the right": func(e *Entity) { e.Right.Read-- },
		"counted twice":         func(e *Entity) { e.Counts.Matched++ },
		"moved between classes": func(e *Entity) { e.Counts.Extra--; e.Counts.Missing++ },
		"a reject too many":     func(e *Entity) { e.Counts.Rejected = map[string]int64{"x": 1} },
	} {
		bad := e
		spoil(&bad)
		if err := bad.check(); !errors.Is(err, ErrConservation) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// empty fails the test if the folder holds anything.
func empty(t *testing.T, dir string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil || len(list) > 0 {
		t.Errorf("left behind: %v %v", list, err)
	}
}

func TestNothingIsLeftInTheTemporaryFolder(t *testing.T) {
	l, r, o := left20000(t)
	report, err := Compare(t.Context(), l, r, o)
	if err != nil || report.PeakSpill == 0 {
		t.Fatalf("%v, %d bytes spilled", err, report.PeakSpill)
	}
	empty(t, o.TempDir)

	broken := errors.New("connection lost")
	_, err = Compare(t.Context(), l, &listed{inMemory: *r, list: make([]record.Fingerprint, 5000), err: broken}, o)
	if !errors.Is(err, broken) {
		t.Errorf("a side that fails: %v", err)
	}
	empty(t, o.TempDir)

	ctx, cancel := context.WithCancel(t.Context())
	o.Progress = func(p Progress) { cancel() }
	if _, err = Compare(ctx, l, r, o); !errors.Is(err, ErrPartial) {
		t.Errorf("interrupted: %v", err)
	}
	empty(t, o.TempDir)

	o.Progress, o.TempDir = nil, "/nonexistent/folder"
	if _, err = Compare(t.Context(), l, r, o); !errors.Is(err, ErrSpill) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
}

// fullDisk is a file on a disk with room for so many bytes.
type fullDisk struct {
	spillFile
	room int64
}

func (d *fullDisk) WriteAt(b []byte, at int64) (int, error) {
	if at+int64(len(b)) > d.room {
		return 0, &os.PathError{Op: "write", Path: "spill", Err: syscall.ENOSPC}
	}
	return d.spillFile.WriteAt(b, at)
}

func TestAFullDiskIsACleanError(t *testing.T) {
	for _, room := range []int64{0, 1, 10_000, 100_000} {
		dir := t.TempDir()
		s := newStore(salt{}, 10_000, dir)
		var err error
		if s.spill, err = newSpill(dir); err != nil {
			t.Fatal(err)
		}
		s.spill.file = &fullDisk{s.spill.file, room}
		for i := 0; i < 10_000 && err == nil; i++ {
			err = s.add([]record.Fingerprint{{SourceID: fmt.Sprint(i), Count: 1}})
		}
		if !errors.Is(err, ErrSpill) || !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("room for %d bytes: %v", room, err)
		}
		if err := s.close(); err != nil {
			t.Errorf("close: %v", err)
		}
		empty(t, dir)
	}
}

// badDisk gives back another byte than was written.
type badDisk struct{ spillFile }

func (d badDisk) ReadAt(b []byte, at int64) (int, error) {
	n, err := d.spillFile.ReadAt(b, at)
	b[len(b)/2] ^= 1
	return n, err
}

func TestADiskThatReturnsSomethingElseIsNoticed(t *testing.T) {
	s := newStore(salt{}, 100, t.TempDir())
	defer s.close()
	if err := s.add([]record.Fingerprint{{SourceID: "a"}, {SourceID: "b"}, {SourceID: "c"}}); err != nil {
		t.Fatal(err)
	}
	s.spill.file = badDisk{s.spill.file}
	found := 0
	for part := range partitions {
		if err := s.each(part, func(arrow.Record) error { return nil }); errors.Is(err, ErrSpill) {
			found++
		}
	}
	if found == 0 {
		t.Error("nobody noticed")
	}
}

func TestASideThatArrivesThroughPipelinesIsTheSame(t *testing.T) {
	_, r, o := left20000(t)
	o.Only = []string{"conversations"}
	delete(r.changes, "1005")
	r.changes["1007"] = conversation("1007", 7, "tampered")
	c := NewCollector(o)
	sink := c.Sink("conversations")
	all := conversations(20_000)
	seq := uint64(0)
	var batch []record.Change
	commit := func(rejects ...pipeline.Reject) {
		b := pipeline.Batch[record.Change]{Seq: seq, Items: batch, Rejects: rejects}
		for range 2 { // the same batch again has no effect
			if err := sink.Commit(t.Context(), b); err != nil {
				t.Fatal(err)
			}
		}
		seq++
		batch = nil
	}
	for _, change := range all {
		if batch = append(batch, change); len(batch) == 500 {
			commit()
		}
	}
	commit(pipeline.Reject{Kind: "conversation", ID: "9", Reason: "it is none"}, pipeline.Reject{Kind: "conversation", Payload: []byte("{")})
	fetcher := &inMemory{changes: all}
	report, err := Compare(t.Context(), c.Side("intercom", fetcher), r, o)
	if err != nil {
		t.Fatal(err)
	}
	counts := report.Entities[0].Counts
	if counts.Source != 20_002 || counts.Missing != 1 || counts.Changed != 1 || counts.Rejected["could not be mapped"] != 2 {
		t.Errorf("counts %+v: %s", counts, report.Sentence)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	empty(t, o.TempDir)
}

func TestValuesAreShownOnlyWhenAskedFor(t *testing.T) {
	for _, show := range []bool{false, true} {
		l, r := &inMemory{name: "left", changes: conversations(3)}, &inMemory{name: "right", changes: conversations(3)}
		r.changes["1001"] = conversation("1001", 1, "Ann's secret")
		var cells []Cell
		_, err := Compare(t.Context(), l, r, Options{ShowValues: show, Findings: FindingsFunc(func(_ context.Context, f Finding, _, _ *Object) error {
			cells = f.Cells
			return nil
		})})
		if err != nil || len(cells) == 0 {
			t.Fatal(err, cells)
		}
		if shown := strings.Contains(fmt.Sprint(cells), "secret"); shown != show {
			t.Errorf("show %v: %+v", show, cells)
		}
		if !show && !strings.HasPrefix(cells[0].Right, "text of 12 characters, ") {
			t.Errorf("redacted: %+v", cells[0])
		}
	}
}
