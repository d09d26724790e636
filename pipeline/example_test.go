package pipeline_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"strings"

	"haloingest/pipeline"
)

// words is a source: two words a page, and a cursor behind each.
type words []string

func (w words) Name() string { return "words" }

func (w words) Pages(ctx context.Context, from pipeline.Cursor) iter.Seq2[pipeline.Page[string], error] {
	return func(yield func(pipeline.Page[string], error) bool) {
		at := 0
		if from != nil {
			at = int(binary.BigEndian.Uint64(from[1:]))
		}
		for at < len(w) {
			if err := ctx.Err(); err != nil {
				yield(pipeline.Page[string]{}, err)
				return
			}
			end := min(at+2, len(w))
			cursor := binary.BigEndian.AppendUint64([]byte{1}, uint64(end))
			if !yield(pipeline.Page[string]{Items: w[at:end:end], Cursor: cursor}, nil) {
				return
			}
			at = end
		}
	}
}

// screen is a sink.
type screen struct{}

func (screen) Name() string { return "screen" }

func (screen) Commit(_ context.Context, b pipeline.Batch[string]) error {
	fmt.Printf("batch %d: %s, %d rejected\n", b.Seq, strings.Join(b.Items, " "), len(b.Rejects))
	return nil
}

func Example() {
	shout := pipeline.StageFunc("shout", func(_ context.Context, in []string) (r pipeline.Result[string], err error) {
		for _, s := range in {
			if s == "" {
				r.Rejects = append(r.Rejects, pipeline.Reject{Kind: "word", Reason: "empty"})
				continue
			}
			r.Items = append(r.Items, strings.ToUpper(s))
		}
		return r, nil
	})

	p := pipeline.New(pipeline.Options{})
	flow := pipeline.From(p, words{"one", "two", "", "three", "four"}, nil)
	pipeline.Into(pipeline.Via(flow, shout, 4), screen{})

	ctx := context.Background()
	fmt.Println(p.Run(ctx, ctx))
	// Output:
	// batch 0: ONE TWO, 0 rejected
	// batch 1: THREE, 1 rejected
	// batch 2: FOUR, 0 rejected
	// <nil>
}

// Rebatch gives the sink transactions of a size that suits it, whatever the pages of the source are.
func ExampleRebatch() {
	p := pipeline.New(pipeline.Options{})
	flow := pipeline.From(p, words{"a", "b", "c", "d", "e", "f", "g"}, nil)
	pipeline.Into(pipeline.Rebatch(flow, pipeline.Limits{Rows: 5}, nil), screen{})

	ctx := context.Background()
	fmt.Println(p.Run(ctx, ctx))
	// Output:
	// batch 0: a b c d, 0 rejected
	// batch 1: e f g, 0 rejected
	// <nil>
}

// A stage that asks a server for each of its items.
func ExampleForEach() {
	names := []string{"a", "b", "c"}
	lengths := make([]int, len(names))
	err := pipeline.ForEach(context.Background(), len(names), 2, func(_ context.Context, i int) error {
		lengths[i] = len(strings.Repeat(names[i], i+1))
		return nil
	})
	fmt.Println(lengths, err)
	// Output: [1 2 3] <nil>
}

// A soft stop reads no more, commits what was read, and says so.
func ExamplePipeline_Run() {
	read, stop := context.WithCancel(context.Background())
	once := pipeline.StageFunc("once", func(_ context.Context, in []string) (pipeline.Result[string], error) {
		stop() // as a signal handler would
		return pipeline.Result[string]{Items: in}, nil
	})

	p := pipeline.New(pipeline.Options{Buffer: -1})
	flow := pipeline.From(p, slow{words{"a", "b", "c", "d", "e", "f"}}, nil)
	pipeline.Into(pipeline.Via(flow, once, 1), screen{})
	fmt.Println(p.Run(context.Background(), read))
	// Output:
	// batch 0: a b, 0 rejected
	// stopped before the end of the source
}

// slow is words with a rate limit that lets one page pass and then makes the reader wait for long.
type slow struct{ words }

func (s slow) Pages(ctx context.Context, from pipeline.Cursor) iter.Seq2[pipeline.Page[string], error] {
	return func(yield func(pipeline.Page[string], error) bool) {
		for page, err := range s.words.Pages(ctx, from) {
			if !yield(page, err) {
				return
			}
			<-ctx.Done()
		}
	}
}

// The counters of a run, for a progress display.
func ExamplePipeline_Stats() {
	p := pipeline.New(pipeline.Options{})
	pipeline.Into(pipeline.From(p, words{"a", "b", "c"}, nil), screen{})
	ctx := context.Background()
	if err := p.Run(ctx, ctx); err != nil {
		fmt.Println(err)
	}
	for _, s := range p.Stats() {
		fmt.Printf("%s %s: %d batches, %d in, %d out\n", s.Role, s.Name, s.Batches, s.ItemsIn, s.ItemsOut)
	}
	// Output:
	// batch 0: a b, 0 rejected
	// batch 1: c, 0 rejected
	// source words: 2 batches, 0 in, 3 out
	// sink screen: 2 batches, 3 in, 3 out
}
