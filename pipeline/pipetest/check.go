package pipetest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"haloingest/pipeline"
)

// StageOption says what a stage does not promise, or how its output is compared.
type StageOption func(*stageCheck)

type stageCheck struct {
	wholeBatch bool
	compare    []cmp.Option
}

// WholeBatch is for a stage whose output depends on what is in a batch together, like one that drops
// duplicates within it. Without it, CheckStage wants the same output however the input is split.
func WholeBatch() StageOption { return func(c *stageCheck) { c.wholeBatch = true } }

// Compare adds options to the comparison of output.
func Compare(opts ...cmp.Option) StageOption {
	return func(c *stageCheck) { c.compare = append(c.compare, opts...) }
}

// CheckStage checks what the engine relies on: nothing comes of nothing, the output is a function of
// the input alone (not of the calls before, of the order of calls or of the batch split), and calls may
// run at once. Run it with -race. inputs returns the same input at each call, freshly made, because a
// stage owns its input and may change it.
func CheckStage[In, Out any](t testing.TB, s pipeline.Stage[In, Out], inputs func() []In, opts ...StageOption) {
	t.Helper()
	var c stageCheck
	for _, o := range opts {
		o(&c)
	}
	compare := append([]cmp.Option{cmpopts.EquateEmpty()}, c.compare...)
	ctx := context.Background()

	if s.Name() == "" {
		t.Errorf("stage %T has no name", s)
	}
	for _, none := range [][]In{nil, {}} {
		r, err := s.Process(ctx, none)
		dropZeros(r.Counts)
		if err != nil || len(r.Items) > 0 || len(r.Rejects) > 0 || len(r.Counts) > 0 {
			t.Errorf("an empty batch gave %d items, %d rejects, counts %v, error %v; want nothing",
				len(r.Items), len(r.Rejects), r.Counts, err)
		}
	}

	want, err := process(ctx, s, inputs(), nil)
	if err != nil {
		t.Fatalf("process all input in one batch: %v", err)
	}
	check := func(what string, cuts []int) {
		got, err := process(ctx, s, inputs(), cuts)
		if err != nil {
			t.Errorf("%s: %v", what, err)
		} else if diff := cmp.Diff(want, got, compare...); diff != "" {
			t.Errorf("%s: output differs (-one batch +this):\n%s", what, diff)
		}
	}
	check("the same batch again", nil)
	n := len(inputs())
	if !c.wholeBatch && n > 1 {
		every := Numbers(n)[1:]
		check("split into single items", every)
		check("split in two halves", []int{n / 2})
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			var cuts []int
			if !c.wholeBatch && n > 1 {
				random := rand.New(rand.NewPCG(1, uint64(i)))
				for range 1 + random.IntN(5) {
					cuts = append(cuts, 1+random.IntN(n-1))
				}
				slices.Sort(cuts)
			}
			check(fmt.Sprintf("with 7 other calls under way, split at %v", cuts), cuts)
		})
	}
	wg.Wait()

	done, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := s.Process(done, inputs()); err != nil && !isContext(err) {
		t.Errorf("process with a context that is done: error %v, want the context's or none", err)
	}
	check("after a call with a context that was done", nil)
}

// process runs the input through the stage in batches that end at the cuts.
func process[In, Out any](ctx context.Context, s pipeline.Stage[In, Out], in []In, cuts []int) (pipeline.Result[Out], error) {
	var all pipeline.Result[Out]
	at := 0
	for _, end := range append(slices.Clone(cuts), len(in)) {
		r, err := s.Process(ctx, in[at:end:end])
		if err != nil {
			return all, fmt.Errorf("process items %d to %d: %w", at, end, err)
		}
		all.Items = append(all.Items, r.Items...)
		all.Rejects = append(all.Rejects, r.Rejects...)
		all.Counts.Merge(r.Counts)
		at = end
	}
	dropZeros(all.Counts)
	return all, nil
}

// dropZeros removes counters that say the same as none.
func dropZeros(c pipeline.Counts) {
	maps.DeleteFunc(c, func(_ string, n int64) bool { return n == 0 })
}

// maxResumes bounds how many cursors CheckSource resumes from; they are spread evenly.
const maxResumes = 50

// CheckSource checks what resuming relies on: reading on from any cursor gives exactly the rest of an
// unbroken reading (however it is paged), a reader that stops early disturbs nothing, and a context
// that is done ends the reading with no error or that context's. open returns a source of the same
// stream each time; what it reads must not change meanwhile. Options compare items and rejects.
func CheckSource[T any](t testing.TB, open func() pipeline.Source[T], opts ...cmp.Option) {
	t.Helper()
	opts = append([]cmp.Option{cmpopts.EquateEmpty()}, opts...)
	ctx := context.Background()
	if open().Name() == "" {
		t.Errorf("source %T has no name", open())
	}
	var cursors []pipeline.Cursor
	pages, err := readAll(ctx, cursorKeeper[T]{open(), &cursors}, nil)
	if err != nil {
		t.Fatalf("read from the beginning: %v", err)
	}
	for i, p := range pages {
		if len(p.Cursor) == 0 {
			t.Fatalf("page %d has no cursor", i)
		}
		if !slices.Equal(p.Cursor, cursors[i]) {
			t.Errorf("the cursor of page %d was changed after it was yielded", i)
		}
	}
	step := max(1, (len(pages)+maxResumes-1)/maxResumes)
	for i := 0; i < len(pages); i += step {
		rest, err := readAll(ctx, open(), cursors[i])
		if err != nil {
			t.Errorf("resume behind page %d: %v", i, err)
		} else if diff := cmp.Diff(joined(pages[i+1:]), joined(rest), opts...); diff != "" {
			t.Errorf("resuming behind page %d is not the rest (-unbroken +resumed):\n%s", i, diff)
		}
	}

	s := open()
	for _, err := range s.Pages(ctx, nil) {
		if err != nil {
			t.Errorf("read one page: %v", err)
		}
		break
	}
	if again, err := readAll(ctx, open(), nil); err != nil {
		t.Errorf("read after a reader that stopped early: %v", err)
	} else if diff := cmp.Diff(joined(pages), joined(again), opts...); diff != "" {
		t.Errorf("reading again differs (-first +again):\n%s", diff)
	}

	done, cancel := context.WithCancel(ctx)
	cancel()
	if some, err := readAll(done, open(), nil); err != nil && !isContext(err) {
		t.Errorf("reading with a context that is done: error %v, want the context's or none", err)
	} else if len(some) > 1 {
		t.Errorf("reading with a context that is done went on for %d pages", len(some))
	}
}

// cursorKeeper copies each cursor at the time when it is yielded.
type cursorKeeper[T any] struct {
	pipeline.Source[T]
	into *[]pipeline.Cursor
}

func (k cursorKeeper[T]) Pages(ctx context.Context, from pipeline.Cursor) iter.Seq2[pipeline.Page[T], error] {
	return func(yield func(pipeline.Page[T], error) bool) {
		for p, err := range k.Source.Pages(ctx, from) {
			*k.into = append(*k.into, slices.Clone(p.Cursor))
			if !yield(p, err) {
				return
			}
		}
	}
}

func readAll[T any](ctx context.Context, s pipeline.Source[T], from pipeline.Cursor) (pages []pipeline.Page[T], err error) {
	for p, err := range s.Pages(ctx, from) {
		if err != nil {
			return pages, err
		}
		pages = append(pages, p)
	}
	return pages, nil
}

func isContext(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// joined is what a stream means, apart from how it is paged.
func joined[T any](pages []pipeline.Page[T]) (all pipeline.Result[T]) {
	for _, p := range pages {
		all.Items = append(all.Items, p.Items...)
		all.Rejects = append(all.Rejects, p.Rejects...)
		all.Counts.Merge(p.Counts)
	}
	return all
}

// Store is where a sink keeps things, as CheckSink sees it.
type Store[T any] struct {
	// Sink returns a sink on the store for a new run, whose first batch has Seq 0.
	Sink func(t testing.TB) pipeline.Sink[T]
	// Cursor returns the committed cursor, nil if there is none.
	Cursor func(t testing.TB) pipeline.Cursor
	// State returns all that readers of the store can see, in a form that go-cmp can compare. It
	// leaves out what may differ between two equal runs, such as times of writing.
	State func(t testing.TB) any
}

// CheckSink checks what exactly-once relies on: a commit moves the cursor, a batch committed twice has
// the effect of once, a run broken off between any two batches and taken up by a new sink ends in the
// same state, and a commit with a context that is done changes nothing. open returns an empty store
// each time; batches returns the same batches, freshly made, with Seq from 0 and a cursor each.
func CheckSink[T any](t testing.TB, open func(testing.TB) Store[T], batches func() []pipeline.Batch[T], opts ...cmp.Option) {
	t.Helper()
	opts = append([]cmp.Option{cmpopts.EquateEmpty()}, opts...)
	ctx := context.Background()
	n := len(batches())

	commit := func(st Store[T], s pipeline.Sink[T], b pipeline.Batch[T], what string) {
		t.Helper()
		if err := s.Commit(ctx, b); err != nil {
			t.Fatalf("%s: commit batch %d: %v", what, b.Seq, err)
		}
		if got := st.Cursor(t); !slices.Equal(got, b.Cursor) {
			t.Fatalf("%s: after batch %d the cursor is %x, want %x", what, b.Seq, []byte(got), []byte(b.Cursor))
		}
	}

	unbroken := open(t)
	sink := unbroken.Sink(t)
	for _, b := range batches() {
		commit(unbroken, sink, b, "in order")
	}
	want := unbroken.State(t)
	same := func(st Store[T], what string) {
		t.Helper()
		if diff := cmp.Diff(want, st.State(t), opts...); diff != "" {
			t.Errorf("%s: the state differs (-each batch once +this):\n%s", what, diff)
		}
	}

	doubled := open(t)
	sink = doubled.Sink(t)
	again := batches()
	for i, b := range batches() {
		commit(doubled, sink, b, "each batch twice")
		commit(doubled, sink, again[i], "each batch twice")
	}
	same(doubled, "each batch twice")

	for cut := range n + 1 {
		broken := open(t)
		sink := broken.Sink(t)
		what := fmt.Sprintf("taken up after %d batches", cut)
		for i, b := range batches() {
			if i == cut {
				sink = broken.Sink(t)
			}
			if i >= cut {
				b.Seq -= uint64(cut)
			}
			commit(broken, sink, b, what)
		}
		same(broken, what)
	}

	stopped := open(t)
	sink = stopped.Sink(t)
	before := stopped.State(t)
	done, cancel := context.WithCancel(ctx)
	cancel()
	for _, b := range batches() {
		if err := sink.Commit(done, b); err == nil {
			t.Errorf("commit with a context that is done: no error")
		}
		break
	}
	if diff := cmp.Diff(before, stopped.State(t), opts...); diff != "" {
		t.Errorf("a commit with a context that was done changed the state (-before +after):\n%s", diff)
	}
}
