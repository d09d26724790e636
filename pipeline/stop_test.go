package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"haloingest/pipeline"
	"haloingest/pipeline/pipetest"
)

// pages returns n pages of two numbers each.
func pages(n int) [][]int { return pipetest.Split(pipetest.Numbers(2*n), 2) }

// pass is a stage that changes nothing.
func pass(name string, before func(ctx context.Context, in []int) error) pipeline.Stage[int, int] {
	return pipeline.StageFunc(name, func(ctx context.Context, in []int) (pipeline.Result[int], error) {
		if before != nil {
			if err := before(ctx, in); err != nil {
				return pipeline.Result[int]{}, err
			}
		}
		return pipeline.Result[int]{Items: in}, nil
	})
}

// bubble runs a test with a clock of its own. It fails if a goroutine is left behind.
func bubble(fn func(*testing.T)) func(*testing.T) {
	return func(t *testing.T) { synctest.Test(t, fn) }
}

func TestSoftStop(t *testing.T) {
	t.Run("a source that waits for an hour is woken at once and is not an error", bubble(func(t *testing.T) {
		src := pipetest.NewSource(pages(3)...)
		src.Delay = func(page int) time.Duration { return time.Duration(page) * time.Hour }
		var rec pipetest.Recorder[int]
		p := pipeline.New(pipeline.Options{})
		pipeline.Into(pipeline.From(p, src, nil), &rec)
		read, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		start := time.Now()
		if err := p.Run(t.Context(), read); err != pipeline.ErrStopped {
			t.Errorf("error %v, want ErrStopped", err)
		}
		if took := time.Since(start); took != time.Minute {
			t.Errorf("stopped after %v, want the minute after which it was told to", took)
		}
		if diff := cmp.Diff([]int{0, 1}, rec.State().Items); diff != "" {
			t.Errorf("committed (-want +got):\n%s", diff)
		}
	}))

	t.Run("the stages and the sink finish what was read, with contexts that are not done", bubble(func(t *testing.T) {
		read, stop := context.WithCancel(t.Context())
		slow := pass("slow", func(ctx context.Context, in []int) error {
			time.Sleep(time.Minute)
			return ctx.Err()
		})
		src := pipetest.NewSource(pages(4)...)
		src.Delay = func(page int) time.Duration {
			if page == 3 {
				stop()
				synctest.Wait() // until word of it is here
			}
			return 0
		}
		rec := pipetest.Recorder[int]{Delay: func(uint64) time.Duration { return time.Minute }}
		p := pipeline.New(pipeline.Options{})
		flow := pipeline.Via(pipeline.From(p, src, nil), slow, 2)
		pipeline.Into(pipeline.Rebatch(flow, pipeline.Limits{Rows: 4, Age: -1}, nil), &rec)
		if err := p.Run(t.Context(), read); !errors.Is(err, pipeline.ErrStopped) {
			t.Errorf("error %v, want ErrStopped", err)
		}
		if diff := cmp.Diff([]int{0, 1, 2, 3, 4, 5}, rec.State().Items); diff != "" {
			t.Errorf("committed (-want +got):\n%s", diff)
		}
	}))

	t.Run("a page at hand is kept, the next is not asked for", bubble(func(t *testing.T) {
		read, stop := context.WithCancel(t.Context())
		asked := 0
		src := pipetest.NewSource(pages(9)...)
		src.Delay = func(page int) time.Duration {
			if asked++; page == 2 {
				defer stop()
			}
			return 0
		}
		var rec pipetest.Recorder[int]
		p := pipeline.New(pipeline.Options{})
		pipeline.Into(pipeline.From(p, heedless{src}, nil), &rec)
		if err := p.Run(t.Context(), read); !errors.Is(err, pipeline.ErrStopped) {
			t.Errorf("error %v, want ErrStopped", err)
		}
		if got := len(rec.State().Items); got != 6 || asked != 3 {
			t.Errorf("%d items committed of %d pages asked for, want 6 of 3", got, asked)
		}
	}))

	t.Run("before the start nothing is read", bubble(func(t *testing.T) {
		read, stop := context.WithCancel(t.Context())
		stop()
		var faults pipetest.Faults
		src := pipetest.NewSource(pages(2)...)
		src.Faults = &faults
		p := pipeline.New(pipeline.Options{})
		pipeline.Into(pipeline.From(p, src, nil), new(pipetest.Recorder[int]))
		if err := p.Run(t.Context(), read); !errors.Is(err, pipeline.ErrStopped) || faults.Passes(pipetest.PointSource) > 0 {
			t.Errorf("error %v after %d pages, want ErrStopped after none", err, faults.Passes(pipetest.PointSource))
		}
	}))

	t.Run("while the last batches drain changes nothing", bubble(func(t *testing.T) {
		read, stop := context.WithTimeout(t.Context(), 30*time.Second)
		defer stop()
		rec := pipetest.Recorder[int]{Delay: func(uint64) time.Duration { return time.Minute }}
		p := pipeline.New(pipeline.Options{})
		pipeline.Into(pipeline.From(p, pipetest.NewSource(pages(2)...), nil), &rec)
		if err := p.Run(t.Context(), read); err != nil || len(rec.State().Items) != 4 {
			t.Errorf("error %v, state %+v; want a complete run", err, rec.State())
		}
	}))

	t.Run("a source that fails for a reason of its own meanwhile has failed", bubble(func(t *testing.T) {
		read, stop := context.WithCancel(t.Context())
		var faults pipetest.Faults
		faults.Do(pipetest.PointSource, 2, stop)
		faults.Fail(pipetest.PointSource, 2, nil)
		src := pipetest.NewSource(pages(3)...)
		src.Faults = &faults
		p := pipeline.New(pipeline.Options{})
		pipeline.Into(pipeline.From(p, src, nil), new(pipetest.Recorder[int]))
		if err := p.Run(t.Context(), read); !errors.Is(err, pipetest.ErrFault) {
			t.Errorf("error %v, want the fault", err)
		}
	}))
}

// heedless is a source that does not look at its context.
type heedless struct{ *pipetest.Source[int] }

func (h heedless) Pages(ctx context.Context, from pipeline.Cursor) iter.Seq2[pipeline.Page[int], error] {
	return h.Source.Pages(context.WithoutCancel(ctx), from)
}

func TestHardStop(t *testing.T) {
	t.Run("no commit begins after it, even by a sink that does not look", bubble(func(t *testing.T) {
		ctx, abort := context.WithCancelCause(t.Context())
		sink := new(counter)
		sink.during = func() {
			if sink.commits == 3 {
				abort(errPlanned)
				synctest.Wait() // until everything has come to rest
			}
		}
		p := pipeline.New(pipeline.Options{})
		pipeline.Into(pipeline.Via(pipeline.From(p, pipetest.NewSource(pages(20)...), nil), pass("pass", nil), 3), sink)
		err := p.Run(ctx, t.Context())
		if !errors.Is(err, errPlanned) || sink.commits != 3 {
			t.Errorf("error %v after %d commits, want the cause after 3", err, sink.commits)
		}
	}))

	t.Run("a stage, a source and a rebatch that wait are woken", bubble(func(t *testing.T) {
		ctx, abort := context.WithTimeout(t.Context(), time.Minute)
		defer abort()
		stuck := pass("stuck", func(ctx context.Context, in []int) error {
			if in[0] < 4 {
				return nil
			}
			<-ctx.Done()
			return fmt.Errorf("get: %w", ctx.Err())
		})
		p := pipeline.New(pipeline.Options{})
		flow := pipeline.Via(pipeline.From(p, pipetest.NewSource(pages(20)...), nil), stuck, 3)
		pipeline.Into(pipeline.Rebatch(flow, pipeline.Limits{Age: time.Hour}, nil), new(pipetest.Recorder[int]))
		start := time.Now()
		if err := p.Run(ctx, t.Context()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want the deadline", err)
		}
		if took := time.Since(start); took != time.Minute {
			t.Errorf("aborted after %v, want a minute", took)
		}
	}))

	t.Run("a timeout of a stage's own is that stage's error", bubble(func(t *testing.T) {
		p := pipeline.New(pipeline.Options{})
		late := pass("late", func(context.Context, []int) error { return context.DeadlineExceeded })
		pipeline.Into(pipeline.Via(pipeline.From(p, pipetest.NewSource(pages(2)...), nil), late, 1), new(pipetest.Recorder[int]))
		err := p.Run(t.Context(), t.Context())
		if want := "late, batch 0: context deadline exceeded"; fmt.Sprint(err) != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}))
}

// counter is a sink that looks at nothing.
type counter struct {
	commits int
	during  func()
}

func (c *counter) Name() string { return "counter" }

func (c *counter) Commit(context.Context, pipeline.Batch[int]) error {
	c.commits++
	if c.during != nil {
		c.during()
	}
	return nil
}

func TestFatalErrors(t *testing.T) {
	t.Run("batches before the failed one are committed even if they take an hour longer, and none is begun", bubble(func(t *testing.T) {
		asked := 0
		src := pipetest.NewSource(pages(90)...)
		src.Delay = func(int) time.Duration { asked++; return time.Second }
		bad := pass("bad", func(ctx context.Context, in []int) error {
			switch {
			case in[0] == 4:
				time.Sleep(9500 * time.Millisecond)
				return errPlanned
			case in[0] < 4:
				time.Sleep(time.Hour)
			default:
				t.Errorf("batch %d was begun", in[0]/2)
			}
			return ctx.Err()
		})
		var rec pipetest.Recorder[int]
		p := pipeline.New(pipeline.Options{Buffer: 40})
		pipeline.Into(pipeline.Via(pipeline.From(p, src, nil), bad, 3), &rec)
		err := p.Run(t.Context(), t.Context())
		if want := "bad, batch 2: planned stop"; fmt.Sprint(err) != want || !errors.Is(err, errPlanned) {
			t.Errorf("error %v, want %s", err, want)
		}
		if asked != 13 { // the 13th page was under way when batch 2 failed, 3 + 9.5 s after the start
			t.Errorf("the source was asked for %d pages, want 13", asked)
		}
		if diff := cmp.Diff([]int{0, 1, 2, 3}, rec.State().Items); diff != "" {
			t.Errorf("committed (-want +got):\n%s", diff)
		}
	}))

	t.Run("of two that fail, the first in order counts, not the first in time", bubble(func(t *testing.T) {
		bad := pass("bad", func(ctx context.Context, in []int) error {
			time.Sleep(time.Duration(10-in[0]) * time.Second)
			return fmt.Errorf("item %d", in[0])
		})
		p := pipeline.New(pipeline.Options{})
		pipeline.Into(pipeline.Via(pipeline.From(p, pipetest.NewSource(pages(5)...), nil), bad, 5), new(pipetest.Recorder[int]))
		if err := p.Run(t.Context(), t.Context()); fmt.Sprint(err) != "bad, batch 0: item 0" {
			t.Errorf("error %v, want that of batch 0", err)
		}
	}))

	t.Run("the source and the stages before are stopped while those behind finish", bubble(func(t *testing.T) {
		woken := false
		src := pipetest.NewSource(pages(9)...)
		src.Delay = func(page int) time.Duration { return time.Duration(page/3) * time.Hour }
		before := pass("before", func(ctx context.Context, in []int) error {
			if in[0] < 4 {
				return nil
			}
			<-ctx.Done()
			woken = true
			return ctx.Err()
		})
		bad := pass("bad", func(ctx context.Context, in []int) error {
			time.Sleep(time.Minute)
			if in[0] == 2 {
				return errPlanned
			}
			return nil
		})
		rec := pipetest.Recorder[int]{Delay: func(uint64) time.Duration { return 30 * time.Minute }}
		p := pipeline.New(pipeline.Options{})
		pipeline.Into(pipeline.Via(pipeline.Via(pipeline.From(p, src, nil), before, 1), bad, 1), &rec)
		start := time.Now()
		err := p.Run(t.Context(), t.Context())
		if !errors.Is(err, errPlanned) || !woken || len(rec.State().Items) != 2 {
			t.Errorf("error %v, stage before woken: %v, committed %v", err, woken, rec.State().Items)
		}
		if took := time.Since(start); took != 31*time.Minute {
			t.Errorf("took %v, want the 31 minutes of the first batch", took)
		}
	}))

	t.Run("what a rebatch held when the size function panicked is committed", bubble(func(t *testing.T) {
		var rec pipetest.Recorder[int]
		p := pipeline.New(pipeline.Options{})
		size := func(v int) int {
			if v == 5 {
				panic("no size")
			}
			return 1
		}
		pipeline.Into(pipeline.Rebatch(pipeline.From(p, pipetest.NewSource(pages(9)...), nil), pipeline.Limits{}, size), &rec)
		err := p.Run(t.Context(), t.Context())
		if want := "rebatch, batch 1: panic: no size"; fmt.Sprint(err) != want {
			t.Errorf("error %v, want %s", err, want)
		}
		if diff := cmp.Diff([]int{0, 1, 2, 3}, rec.State().Items); diff != "" {
			t.Errorf("committed (-want +got):\n%s", diff)
		}
	}))

	t.Run("a panic is one line, and its stack under %+v", bubble(func(t *testing.T) {
		p := pipeline.New(pipeline.Options{})
		boom := pass("boom", func(context.Context, []int) error { panic(errPlanned) })
		pipeline.Into(pipeline.Via(pipeline.From(p, pipetest.NewSource(pages(2)...), nil), boom, 2), new(pipetest.Recorder[int]))
		err := p.Run(t.Context(), t.Context())
		if want := "boom, batch 0: panic: planned stop"; fmt.Sprint(err) != want || !errors.Is(err, errPlanned) {
			t.Errorf("error %v, want %s", err, want)
		}
		if long := fmt.Sprintf("%+v", err); len(long) < 200 || !contains(long, "stop_test.go") {
			t.Errorf("%%+v has no stack: %s", long)
		}
	}))
}
