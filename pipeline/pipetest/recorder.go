package pipetest

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"haloingest/pipeline"
)

// Points that a Recorder passes.
const (
	PointCommit    = "commit"    // before the batch is kept: a fault here loses it
	PointCommitted = "committed" // after: a fault here is a lost acknowledgement
)

// Recorder is a sink that keeps all it is given, and refuses what an engine must not do: gaps, batches
// out of order, two commits at once. It outlives runs as a database does; see Resume. The exported
// fields may be set before use; the methods are safe for concurrent use.
type Recorder[T any] struct {
	Label  string
	Faults *Faults
	Delay  func(seq uint64) time.Duration // before each commit; ends early with its context

	busy    atomic.Bool
	mu      sync.Mutex
	next    uint64
	repeats int
	state   Recorded[T]
}

// Recorded is what a Recorder holds, of all runs together.
type Recorded[T any] struct {
	Items   []T
	Rejects []pipeline.Reject
	Files   []pipeline.File
	Counts  pipeline.Counts
	Cursor  pipeline.Cursor // of the last batch
	Sizes   []int           // items in each batch
}

func (r *Recorder[T]) Name() string {
	if r.Label == "" {
		return "recorder"
	}
	return r.Label
}

// Resume begins a new run, whose first batch has Seq 0, and returns the cursor to begin at.
func (r *Recorder[T]) Resume() pipeline.Cursor {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next = 0
	return slices.Clone(r.state.Cursor)
}

// State returns a copy of what is held.
func (r *Recorder[T]) State() Recorded[T] {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.state
	s.Items, s.Rejects, s.Files = slices.Clone(s.Items), slices.Clone(s.Rejects), slices.Clone(s.Files)
	s.Cursor, s.Sizes = slices.Clone(s.Cursor), slices.Clone(s.Sizes)
	s.Counts = nil
	s.Counts.Merge(r.state.Counts)
	return s
}

// Repeats returns how many batches were committed again, which had no effect.
func (r *Recorder[T]) Repeats() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.repeats
}

// Commit keeps the batch, unless it is the last one again.
func (r *Recorder[T]) Commit(ctx context.Context, b pipeline.Batch[T]) error {
	if r.busy.Swap(true) {
		return fmt.Errorf("commit batch %d: another commit is under way", b.Seq)
	}
	defer r.busy.Store(false)
	if r.Delay != nil {
		if err := wait(ctx, r.Delay(b.Seq)); err != nil {
			return err
		}
	}
	if err := r.Faults.Pass(PointCommit); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := r.keep(b); err != nil {
		return err
	}
	return r.Faults.Pass(PointCommitted)
}

func (r *Recorder[T]) keep(b pipeline.Batch[T]) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if b.Seq+1 == r.next && bytes.Equal(b.Cursor, r.state.Cursor) {
		r.repeats++
		return nil
	}
	if b.Seq != r.next {
		return fmt.Errorf("commit batch %d: batch %d is due", b.Seq, r.next)
	}
	r.next++
	r.state.Items = append(r.state.Items, b.Items...)
	r.state.Rejects = append(r.state.Rejects, b.Rejects...)
	r.state.Files = append(r.state.Files, b.Files...)
	r.state.Counts.Merge(b.Counts)
	r.state.Cursor = slices.Clone(b.Cursor)
	r.state.Sizes = append(r.state.Sizes, len(b.Items))
	return nil
}
