package pipetest

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
	"time"

	"haloingest/pipeline"
)

// cursorVersion is the first byte of this package's cursors; eight bytes with the number of the next
// page follow.
const cursorVersion = 1

// PointSource is passed before each page of a Source.
const PointSource = "source"

// Source yields given pages. Its cursors are page numbers. The exported fields may be set before use.
type Source[T any] struct {
	Label  string                       // the name; "" is "source"
	Faults *Faults                      // PointSource
	Delay  func(page int) time.Duration // before each page; ends early with its context
	Reject map[int][]pipeline.Reject    // of the page with this number
	pages  [][]T
}

// NewSource returns a source of these pages, which may be empty. It hands out copies.
func NewSource[T any](pages ...[]T) *Source[T] { return &Source[T]{pages: pages} }

// Split cuts items into pages of size items, the last one shorter.
func Split[T any](items []T, size int) [][]T {
	return slices.Collect(slices.Chunk(items, size))
}

// Numbers returns 0 … n-1.
func Numbers(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

func (s *Source[T]) Name() string {
	if s.Label == "" {
		return "source"
	}
	return s.Label
}

// Pages yields the pages from a cursor on. A cursor that is none of its own is an error.
func (s *Source[T]) Pages(ctx context.Context, from pipeline.Cursor) iter.Seq2[pipeline.Page[T], error] {
	return func(yield func(pipeline.Page[T], error) bool) {
		page := 0
		if from != nil {
			if len(from) != 9 || from[0] != cursorVersion {
				yield(pipeline.Page[T]{}, fmt.Errorf("read cursor %x: not a pipetest cursor", []byte(from)))
				return
			}
			page = int(binary.BigEndian.Uint64(from[1:]))
		}
		for ; page < len(s.pages); page++ {
			err := s.Faults.Pass(PointSource)
			if err == nil && s.Delay != nil {
				err = wait(ctx, s.Delay(page))
			}
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(pipeline.Page[T]{}, err)
				return
			}
			p := pipeline.Page[T]{
				Items:   slices.Clone(s.pages[page]),
				Cursor:  binary.BigEndian.AppendUint64([]byte{cursorVersion}, uint64(page+1)),
				Rejects: slices.Clone(s.Reject[page]),
			}
			if !yield(p, nil) {
				return
			}
		}
	}
}

// wait waits for d or until ctx is done.
func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
