package postgres

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
)

// A history in which an object is rejected, mended, and rejected again is loaded as it happened, and then told again: open rejects are those of the end,
// and the second telling writes nothing.
func TestRejectsThatComeAgainChangeNothing(t *testing.T) {
	type moment struct {
		id     string
		n      int    // the state that is loaded, 0: none
		reject string // the payload that is rejected, "": none
	}
	for _, tt := range []struct {
		name    string
		moments []moment
		open    []string
	}{
		{"rejected", []moment{{"1", 0, "a"}}, []string{"(1,a)"}},
		{"rejected and mended", []moment{{"1", 0, "a"}, {"1", 1, ""}}, nil},
		{"good and then rejected", []moment{{"1", 1, ""}, {"1", 0, "a"}}, []string{"(1,a)"}},
		{"rejected, mended, rejected", []moment{{"1", 0, "a"}, {"1", 1, ""}, {"1", 0, "a"}}, []string{"(1,a)"}},
		{"rejected, mended, rejected with another payload", []moment{{"1", 0, "a"}, {"1", 1, ""}, {"1", 0, "b"}}, []string{"(1,b)"}},
		{"rejected twice and mended", []moment{{"1", 0, "a"}, {"1", 0, "b"}, {"1", 2, ""}}, nil},
		{"two objects", []moment{{"1", 0, "a"}, {"2", 1, ""}, {"2", 0, "c"}, {"1", 1, ""}}, []string{"(2,c)"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x := newLoading(t)
			now := 0
			last := map[string]int{}
			for i, m := range tt.moments {
				if m.reject != "" {
					last[m.id] = i
				}
			}
			again := &Again{Rejected: func(_ record.Kind, id string) (bool, int) {
				at, among := last[id]
				return among, now - at
			}}
			tell := func(round int) {
				sink := x.run.Sink(fmt.Sprint("telling ", round), SinkOptions{Again: again})
				defer sink.Close(context.Background())
				for i, m := range tt.moments {
					now = i
					var b pipeline.Batch[record.Change]
					if m.n > 0 {
						b.Items = []record.Change{conversationChange(orgA, m.id, "", m.n, nil, nil)}
					}
					if m.reject != "" {
						b.Rejects = []pipeline.Reject{{Stage: "extract", Kind: "conversation", ID: m.id, Payload: []byte(m.reject)}}
					}
					if _, err := sink.CommitSegment(t.Context(), fmt.Sprint(round, " ", i), b); err != nil {
						t.Fatal(err)
					}
				}
			}
			open := func() []string {
				return x.table(`SELECT source_id, convert_from(payload, 'UTF8') FROM ingest.rejects WHERE resolved_at IS NULL ORDER BY source_id`)
			}
			tell(1)
			if diff := cmp.Diff(tt.open, open(), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("open rejects (-want +got):\n%s", diff)
			}
			before := x.table(`SELECT id, xmin, ctid FROM ingest.rejects ORDER BY id`)
			tell(2)
			if diff := cmp.Diff(before, x.table(`SELECT id, xmin, ctid FROM ingest.rejects ORDER BY id`)); diff != "" {
				t.Errorf("the second telling has written:\n%s", diff)
			}
		})
	}
}

// Open rejects that are not among what is loaded are closed only by a state that is new here.
func TestAStateThatIsThereAlreadyClosesNoRejectOfALaterOne(t *testing.T) {
	x := newLoading(t)
	state := conversationChange(orgA, "1", "", 1, nil, nil)
	x.commit(state)
	b := pipeline.Batch[record.Change]{Rejects: []pipeline.Reject{{Stage: "extract", Kind: "conversation", ID: "1", Payload: []byte("later")}}}
	sink := x.run.Sink("again", SinkOptions{Again: &Again{Rejected: func(record.Kind, string) (bool, int) { return false, 0 }}})
	defer sink.Close(context.Background())
	tell := func(name string, b pipeline.Batch[record.Change], open int) {
		t.Helper()
		if _, err := sink.CommitSegment(t.Context(), name, b); err != nil {
			t.Fatal(err)
		}
		if got := x.table(`SELECT count(*) FROM ingest.rejects WHERE resolved_at IS NULL`)[0]; got != fmt.Sprintf("(%d)", open) {
			t.Errorf("%s: %s rejects are open, want %d", name, got, open)
		}
	}
	tell("the reject", b, 1)
	tell("the old state", pipeline.Batch[record.Change]{Items: []record.Change{state}}, 1)
	tell("a newer state", pipeline.Batch[record.Change]{Items: []record.Change{conversationChange(orgA, "1", "", 2, nil, nil)}}, 0)
}
