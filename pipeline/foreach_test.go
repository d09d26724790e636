package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"haloingest/pipeline"
)

func TestForEach(t *testing.T) {
	t.Run("calls each index once, at most limit at a time", func(t *testing.T) {
		rapid.Check(t, func(rt *rapid.T) {
			n, limit := rapid.IntRange(0, 40).Draw(rt, "n"), rapid.IntRange(-1, 50).Draw(rt, "limit")
			calls := make([]int, n)
			var now, most atomic.Int64
			var took time.Duration
			var err error
			inBubble(t, func() {
				start := time.Now()
				err = pipeline.ForEach(context.Background(), n, limit, func(_ context.Context, i int) error {
					calls[i]++
					raise(&most, now.Add(1))
					time.Sleep(time.Second)
					now.Add(-1)
					return nil
				})
				took = time.Since(start)
			})
			if err != nil {
				rt.Fatal(err)
			}
			for i, c := range calls {
				if c != 1 {
					rt.Fatalf("index %d called %d times", i, c)
				}
			}
			width := max(1, limit)
			if rounds := (n + width - 1) / width; took != time.Duration(rounds)*time.Second || most.Load() != int64(min(n, width)) {
				rt.Fatalf("took %v with %d at once, want %d rounds with %d", took, most.Load(), rounds, min(n, width))
			}
		})
	})

	for _, limit := range []int{1, 3} {
		t.Run(fmt.Sprintf("the first error cancels the rest, limit %d", limit), bubble(func(t *testing.T) {
			var calls atomic.Int64
			err := pipeline.ForEach(t.Context(), 100, limit, func(ctx context.Context, i int) error {
				if i == 4 {
					time.Sleep(time.Millisecond)
					return errPlanned
				}
				if i < 4 {
					return nil
				}
				calls.Add(1)
				<-ctx.Done()
				return fmt.Errorf("item %d: %w", i, ctx.Err())
			})
			if err != errPlanned || calls.Load() > int64(limit) {
				t.Errorf("error %v after %d further calls, want the planned one after at most %d", err, calls.Load(), limit)
			}
		}))

		t.Run(fmt.Sprintf("a panic is an error that names the item, limit %d", limit), bubble(func(t *testing.T) {
			err := pipeline.ForEach(t.Context(), 10, limit, func(_ context.Context, i int) error {
				if i == 7 {
					panic(errPlanned)
				}
				return nil
			})
			var p *pipeline.PanicError
			if !errors.As(err, &p) || !errors.Is(err, errPlanned) || err.Error() != "item 7: panic: planned stop" || len(p.Stack) == 0 {
				t.Errorf("error %v", err)
			}
		}))

		t.Run(fmt.Sprintf("a context that is done begins nothing more, limit %d", limit), bubble(func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			var calls atomic.Int64
			err := pipeline.ForEach(ctx, 10, limit, func(context.Context, int) error {
				calls.Add(1)
				time.Sleep(time.Second)
				cancel(errPlanned)
				return nil
			})
			if !errors.Is(err, errPlanned) || calls.Load() != int64(limit) {
				t.Errorf("error %v after %d calls, want that of the context after %d", err, calls.Load(), limit)
			}
		}))
	}

	t.Run("a goroutine that is ended from inside is an error", bubble(func(t *testing.T) {
		err := pipeline.ForEach(t.Context(), 4, 2, func(_ context.Context, i int) error {
			if i == 1 {
				runtime.Goexit()
			}
			return nil
		})
		if err == nil || !contains(err.Error(), "Goexit") {
			t.Errorf("error %v, want one that names Goexit", err)
		}
	}))
}
