package diff

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"haloingest/pipeline/record"
)

// inMemory is a side that has everything in memory.
type inMemory struct {
	name    string
	moves   bool
	changes map[string]record.Change           // conversations, by id
	fetch   func(ids []string)                 // called before each Fetch
	extra   map[string]Object                  // what else Fetch tells
	count   int64                              // what Count says beyond the truth
	frozen  map[string]record.Change           // as it was read
	forged  map[string]bool                    // values that the stored hash is not of
	note    string                             // of those
	states  map[string]record.FingerprintState // of objects that are there in another way than whole
}

func (m *inMemory) Name() string { return m.name }
func (m *inMemory) Moves() bool  { return m.moves }

func (m *inMemory) Fingerprints(_ context.Context, entity string, _ Level) iter.Seq2[[]record.Fingerprint, error] {
	return func(yield func([]record.Fingerprint, error) bool) {
		if entity != "transcripts" {
			return
		}
		var batch []record.Fingerprint
		for id, c := range m.freeze() {
			f := c.Fingerprint()
			if state := m.states[id]; state != record.FingerprintLive {
				f = record.Fingerprint{SourceID: id, Count: 1, State: state}
			}
			batch = append(batch, f)
			if len(batch) == 100 {
				if !yield(batch, nil) {
					return
				}
				batch = batch[:0]
			}
		}
		yield(batch, nil)
	}
}

func (m *inMemory) Fetch(_ context.Context, entity string, ids []string) ([]Object, error) {
	if m.fetch != nil {
		m.fetch(ids)
	}
	var list []Object
	for _, id := range ids {
		if o, ok := m.extra[id]; ok {
			list = append(list, o)
		}
		if state := m.states[id]; state != record.FingerprintLive {
			list = append(list, Object{SourceID: id, State: state, Note: m.note, Fingerprint: record.Fingerprint{SourceID: id, Count: 1, State: state}})
			continue
		}
		if c, ok := m.changes[id]; ok {
			o := Object{SourceID: id, Version: c.Version, Change: c, Sealed: !m.forged[id]}
			if c.Gone != nil {
				o.State = record.FingerprintGone
			}
			list = append(list, o)
		}
	}
	return list, nil
}

func (m *inMemory) Count(_ context.Context, entity string) (n int64, exact bool, err error) {
	for _, c := range m.freeze() {
		if c.Gone == nil && entity == "transcripts" {
			n++
		}
	}
	return n + m.count, entity == "transcripts", nil
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func conversation(id string, second int, subject string) record.Change {
	r := &record.TranscriptRow{Head: record.Head{SourceID: id, SourceUpdatedAt: epoch.Add(time.Duration(second) * time.Second)}, Subject: subject, Complete: true}
	r.Seal(new(record.Encoder))
	return record.Change{Kind: record.KindConversation, SourceID: id, Transcript: r,
		Version: record.Version{UpdatedAt: r.SourceUpdatedAt, FetchedAt: r.SourceUpdatedAt.Add(time.Hour)}}
}

func conversations(n int) map[string]record.Change {
	m := make(map[string]record.Change, n)
	for i := range n {
		id := fmt.Sprint(1000 + i)
		m[id] = conversation(id, i, "subject "+id)
	}
	return m
}

// frozen is a side whose content stays as it was when it was made, for reading: what is fetched is the present.
func (m *inMemory) freeze() map[string]record.Change {
	if m.frozen == nil {
		m.frozen = maps.Clone(m.changes)
	}
	return m.frozen
}

func TestAllAndOnlyWhatDiffersIsFound(t *testing.T) {
	for _, limit := range []int64{0, 64 << 10} {
		l, r := &inMemory{name: "left", changes: conversations(20_000)}, &inMemory{name: "right", changes: conversations(20_000)}
		delete(r.changes, "1005")
		delete(l.changes, "1006")
		r.changes["1007"] = conversation("1007", 7, "tampered")
		var found []string
		report, err := Compare(t.Context(), l, r, Options{Only: []string{"conversations"}, Memory: limit, TempDir: t.TempDir(),
			Findings: FindingsFunc(func(_ context.Context, f Finding, _, _ *Object) error {
				line := fmt.Sprint(f.Class, " ", f.SourceID)
				for _, c := range f.Cells {
					line += " " + c.Column
				}
				found = append(found, line)
				return nil
			})})
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(found)
		want := []string{"changed 1007 subject content_hash", "extra 1006", "missing 1005"}
		if diff := cmp.Diff(want, found); diff != "" {
			t.Errorf("memory %d: findings (-want +got):\n%s", limit, diff)
		}
		if report.Verdict != VerdictDifferent || (report.PeakSpill > 0) != (limit > 0) {
			t.Errorf("memory %d: %s, %d bytes spilled: %s", limit, report.Verdict, report.PeakSpill, report.Sentence)
		}
		t.Log(report.Sentence, report.PeakSpill)
	}
}
