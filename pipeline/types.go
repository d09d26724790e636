package pipeline

import (
	"context"
	"iter"
)

// Cursor is a position in a source, opaque to the engine. Its first byte is a version, so that a
// newer program can tell an older program's cursor. A nil Cursor means the beginning.
type Cursor []byte

// Page is what a source yields: items in source order and the position just behind them. A page may
// be empty and still move the cursor. Its slices belong to the engine from then on.
type Page[T any] struct {
	Items   []T
	Cursor  Cursor
	Rejects []Reject
	Counts  Counts
}

// Batch is the unit that travels between stages and the unit of commit. Batches of one flow have
// the sequence numbers 0, 1, 2, … without gaps; every stage keeps them, even for batches it empties.
// The stage that receives a batch owns its slices.
type Batch[T any] struct {
	Seq     uint64
	Items   []T
	Cursor  Cursor
	Rejects []Reject
	Files   []File
	Counts  Counts
}

// Result is what a stage makes of one batch's items. Rejects and Counts are added to the batch's own.
type Result[T any] struct {
	Items   []T
	Rejects []Reject
	Counts  Counts
}

// Reject is one object that could not be processed. Nothing of it is lost: Payload is the object as
// it was received, enough to try again.
type Reject struct {
	Stage   string // the stage that refused it
	Kind    string // what it is, in the source's words
	ID      string // the source's id, or "" if it has none that can be read
	Field   string // the field at fault, as a path, or ""
	Reason  string // one line for a person
	Payload []byte
}

// File is a file that is already durable and becomes visible when the sink commits the batch.
type File struct {
	Path string
	Meta any
}

// Counts are named, additive counters that are committed with their batch, so that they are exact
// over crashes and resumes. Names are slash-separated paths chosen by the stages.
type Counts map[string]int64

// Add adds n to the named counter, making the map on first use.
func (c *Counts) Add(name string, n int64) {
	if *c == nil {
		*c = make(Counts)
	}
	(*c)[name] += n
}

// Merge adds all counters of other.
func (c *Counts) Merge(other Counts) {
	for name, n := range other {
		c.Add(name, n)
	}
}

// Source yields the pages of a stream from a cursor on, in order. The iterator stops at the end of
// the stream, after yielding an error, when the consumer stops, or soon after ctx is done. It is
// called once per run and consumed by one goroutine.
type Source[T any] interface {
	Name() string
	Pages(ctx context.Context, from Cursor) iter.Seq2[Page[T], error]
}

// Stage turns the items of one batch into others. Process is called by several goroutines at once,
// never with an empty slice, owns the slice it is given, and must not keep or share mutable state between calls without its own locking. A returned error
// is fatal for the run; an object that is bad on its own goes to Result.Rejects instead.
type Stage[In, Out any] interface {
	Name() string
	Process(ctx context.Context, in []In) (Result[Out], error)
}

// Sink makes batches durable, in Seq order, one at a time. Committing the same batch twice must have
// the effect of once. The committed cursor is the only acknowledgement there is.
type Sink[T any] interface {
	Name() string
	Commit(ctx context.Context, b Batch[T]) error
}

// FileSink writes a durable file for a batch before the batch moves on; see Tap.
type FileSink[T any] interface {
	Name() string
	Write(ctx context.Context, b Batch[T]) ([]File, error)
}
