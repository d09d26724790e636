package pipeline

import (
	"context"
	"strings"
	"testing"
)

// The engine keeps Seq dense; should it ever not, the sink's side says so before it commits.
func TestTheSinkSeesAGapBeforeItCommits(t *testing.T) {
	commits := 0
	p := New(Options{})
	in := newLink[int](p, "test")
	Into(Flow[int]{p, in}, commitFunc(func() { commits++ }))
	go func() {
		defer in.close(nil)
		for _, seq := range []uint64{0, 1, 3} {
			in.ch <- parcel[int]{Batch: Batch[int]{Seq: seq}}
		}
	}()
	err := p.Run(t.Context(), t.Context())
	if err == nil || !strings.Contains(err.Error(), "batch 2: batch 3 came in its place") || commits != 2 {
		t.Errorf("error %v after %d commits, want one that names batches 2 and 3 after 2", err, commits)
	}
}

type commitFunc func()

func (commitFunc) Name() string { return "sink" }

func (f commitFunc) Commit(context.Context, Batch[int]) error { f(); return nil }
