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
