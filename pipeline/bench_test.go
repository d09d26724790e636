package pipeline_test

import (
	"context"
	"fmt"
	"iter"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/sourcegraph/conc/stream"

	"haloingest/pipeline"
)

// pool yields n batches out of a ring of slices that is longer than what is ever in flight.
type pool struct {
	n    int
	ring [][]int
}

func newPool(batches, size, inFlight int) *pool {
	p := &pool{n: batches}
	for range min(batches, inFlight+1) {
		p.ring = append(p.ring, make([]int, size))
	}
	return p
}

func (p *pool) Name() string { return "pool" }

func (p *pool) Pages(context.Context, pipeline.Cursor) iter.Seq2[pipeline.Page[int], error] {
	return func(yield func(pipeline.Page[int], error) bool) {
		for i := range p.n {
			if !yield(pipeline.Page[int]{Items: p.ring[i%len(p.ring)]}, nil) {
				return
			}
		}
	}
}

// work is the least that a stage does: it reads and writes each item.
func work(in []int) {
	for i := range in {
		in[i] = in[i]*31 + 1
	}
}

var workStage = pipeline.StageFunc("work", func(_ context.Context, in []int) (pipeline.Result[int], error) {
	work(in)
	return pipeline.Result[int]{Items: in}, nil
})

type nowhere struct{}

func (nowhere) Name() string { return "nowhere" }

func (nowhere) Commit(context.Context, pipeline.Batch[int]) error { return nil }

func throughPipeline(batches, size, stages, workers int) error {
	p := pipeline.New(pipeline.Options{})
	flow := pipeline.From(p, newPool(batches, size, (2*workers+2)*stages+8), nil)
	for range stages {
		flow = pipeline.Via(flow, workStage, workers)
	}
	pipeline.Into(flow, nowhere{})
	ctx := context.Background()
	return p.Run(ctx, ctx)
}

// throughLoop calls the same functions one after the other.
func throughLoop(batches, size, stages int) error {
	ctx := context.Background()
	for page, err := range newPool(batches, size, 8).Pages(ctx, nil) {
		if err != nil {
			return err
		}
		b := pipeline.Batch[int]{Items: page.Items}
		for range stages {
			r, err := workStage.Process(ctx, b.Items)
			if err != nil {
				return err
			}
			b.Items = r.Items
		}
		if err := (nowhere{}).Commit(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

// throughItems sends single items through channels with the same buffer, as a pipeline without
// batches would.
func throughItems(items, stages int) {
	first := make(chan int, pipeline.DefaultBuffer)
	go func() {
		defer close(first)
		for i := range items {
			first <- i
		}
	}()
	in := first
	for range stages {
		from, to := in, make(chan int, pipeline.DefaultBuffer)
		go func() {
			defer close(to)
			for v := range from {
				to <- v*31 + 1
			}
		}()
		in = to
	}
	for range in {
	}
}

// BenchmarkEngine measures a run through stages that do almost nothing. ns/item is the pipeline's;
// loop-ns/item is a bare loop's and chan-ns/item that of channels of single items, both measured in
// turn with it; engine-ns/item is what the engine adds to the loop.
func BenchmarkEngine(b *testing.B) {
	for _, stages := range []int{0, 1, 5} {
		for _, size := range []int{1, 100, 1000} {
			b.Run(fmt.Sprintf("stages=%d/batch=%d", stages, size), func(b *testing.B) {
				batches := max(2000, 200_000/size)
				items := batches * size
				var piped, looped, single time.Duration
				var mallocs uint64
				rounds := 0
				for b.Loop() {
					rounds++
					piped += took(func() {
						before := allocated()
						if err := throughPipeline(batches, size, stages, 1); err != nil {
							b.Fatal(err)
						}
						mallocs += allocated() - before
					})
					looped += took(func() {
						if err := throughLoop(batches, size, stages); err != nil {
							b.Fatal(err)
						}
					})
					single += took(func() { throughItems(20_000, stages) })
				}
				perItem := func(d time.Duration, n int) float64 { return float64(d.Nanoseconds()) / float64(rounds*n) }
				engine, loop, channels := perItem(piped, items), perItem(looped, items), perItem(single, 20_000)
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(engine, "ns/item")
				b.ReportMetric(loop, "loop-ns/item")
				b.ReportMetric(channels, "chan-ns/item")
				b.ReportMetric(engine-loop, "engine-ns/item")
				b.ReportMetric(engine/loop, "x-loop")
				b.ReportMetric(channels/engine, "x-faster-than-chan")
				b.ReportMetric(1e9/engine, "items/s")
				b.ReportMetric(float64(mallocs)/float64(rounds*batches), "allocs/batch")
			})
		}
	}
}

// BenchmarkOrdered compares a parallel stage with conc/stream doing the same, batch by batch.
func BenchmarkOrdered(b *testing.B) {
	for _, workers := range []int{2, 8} {
		b.Run(fmt.Sprintf("workers=%d", workers), func(b *testing.B) {
			const batches, size = 20_000, 10
			var ours, theirs time.Duration
			var ourAllocs, theirAllocs uint64
			rounds := 0
			for b.Loop() {
				rounds++
				ours += took(func() {
					before := allocated()
					if err := throughPipeline(batches, size, 1, workers); err != nil {
						b.Fatal(err)
					}
					ourAllocs += allocated() - before
				})
				theirs += took(func() {
					before := allocated()
					throughStream(batches, size, workers)
					theirAllocs += allocated() - before
				})
			}
			perBatch := func(n uint64) float64 { return float64(n) / float64(rounds*batches) }
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(perBatch(uint64(ours)), "ns/batch")
			b.ReportMetric(perBatch(uint64(theirs)), "stream-ns/batch")
			b.ReportMetric(perBatch(ourAllocs), "allocs/batch")
			b.ReportMetric(perBatch(theirAllocs), "stream-allocs/batch")
		})
	}
}

// throughStream is source, parallel stage and sink with conc/stream in place of the engine's own order.
func throughStream(batches, size, workers int) {
	in := make(chan pipeline.Batch[int], pipeline.DefaultBuffer)
	out := make(chan pipeline.Batch[int], pipeline.DefaultBuffer)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(in)
		for page := range newPool(batches, size, 4*workers+8).Pages(context.Background(), nil) {
			in <- pipeline.Batch[int]{Items: page.Items}
		}
	})
	wg.Go(func() {
		defer close(out)
		s := stream.New().WithMaxGoroutines(workers)
		for batch := range in {
			s.Go(func() stream.Callback {
				work(batch.Items)
				return func() { out <- batch }
			})
		}
		s.Wait()
	})
	for range out {
	}
	wg.Wait()
}

func took(fn func()) time.Duration {
	start := time.Now()
	fn()
	return time.Since(start)
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Mallocs
}
