package pipetest_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"

	"haloingest/pipeline"
	. "haloingest/pipeline/pipetest"
)

// verdict is a testing.TB that keeps what a check says instead of failing.
type verdict struct {
	testing.TB
	mu   sync.Mutex
	said []string
}

func (v *verdict) Helper() {}

func (v *verdict) Errorf(format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.said = append(v.said, fmt.Sprintf(format, args...))
}

func (v *verdict) Fatalf(format string, args ...any) {
	v.Errorf(format, args...)
	panic(v)
}

// judge returns what the check says of a part, "" if it is content.
func judge(t *testing.T, check func(testing.TB)) string {
	v := &verdict{TB: t}
	func() {
		defer func() {
			if r := recover(); r != nil && r != any(v) {
				panic(r)
			}
		}()
		check(v)
	}()
	return strings.Join(v.said, "\n")
}

func want(t *testing.T, said, what string) {
	t.Helper()
	if what == "" && said != "" || !strings.Contains(said, what) {
		t.Errorf("the check says %q, want %q", said, what)
	}
}

func TestCheckStage(t *testing.T) {
	type result = pipeline.Result[int]
	var mu sync.Mutex
	calls := 0
	inputs := func() []int { return []int{1, 2, 2, 3, 3, 3, 4} }
	for _, tt := range []struct {
		name    string
		process func(ctx context.Context, in []int) (result, error)
		opts    []StageOption
		want    string
	}{
		{"accepts a stage that maps its items", func(_ context.Context, in []int) (r result, err error) {
			for i := range in {
				in[i] *= 2
			}
			r.Items = in
			r.Counts.Add("seen", int64(len(in)))
			return r, nil
		}, nil, ""},
		{"accepts a stage that fails with its context", func(ctx context.Context, in []int) (r result, err error) {
			return result{Items: in}, ctx.Err()
		}, nil, ""},
		{"finds one that depends on the split", func(_ context.Context, in []int) (r result, err error) {
			r.Items = slices.Compact(in)
			return r, nil
		}, nil, "split into single items: output differs"},
		{"lets that be where it is not promised", func(_ context.Context, in []int) (r result, err error) {
			r.Items = slices.Compact(in)
			return r, nil
		}, []StageOption{WholeBatch()}, ""},
		{"finds one that makes something of nothing", func(_ context.Context, in []int) (r result, err error) {
			r.Items = append(in, 0)[:max(1, len(in))]
			return r, nil
		}, nil, "an empty batch gave 1 items"},
		{"finds one that fails on nothing", func(_ context.Context, in []int) (r result, err error) {
			if len(in) == 0 {
				return r, errors.New("empty")
			}
			return result{Items: in}, nil
		}, nil, "error empty"},
		{"finds one that remembers earlier calls", func(_ context.Context, in []int) (r result, err error) {
			mu.Lock()
			defer mu.Unlock()
			for range in {
				calls++
				r.Items = append(r.Items, calls)
			}
			return r, nil
		}, nil, "the same batch again: output differs"},
		{"finds one whose errors in abort are of another kind", func(ctx context.Context, in []int) (r result, err error) {
			if ctx.Err() != nil {
				return r, errors.New("connection reset")
			}
			return result{Items: in}, nil
		}, nil, "connection reset, want the context's or none"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want(t, judge(t, func(t testing.TB) {
				CheckStage(t, pipeline.StageFunc("stage", tt.process), inputs, tt.opts...)
			}), tt.want)
		})
	}
}

// broken is a source that spoils what another yields.
type broken struct {
	*Source[int]
	spoil func(from pipeline.Cursor, i int, p pipeline.Page[int], err error) (pipeline.Page[int], error)
}

func (b broken) Pages(ctx context.Context, from pipeline.Cursor) iter.Seq2[pipeline.Page[int], error] {
	return func(yield func(pipeline.Page[int], error) bool) {
		i := 0
		for p, err := range b.Source.Pages(ctx, from) {
			if !yield(b.spoil(from, i, p, err)) {
				return
			}
			i++
		}
	}
}

func TestCheckSource(t *testing.T) {
	type page = pipeline.Page[int]
	reused := make(pipeline.Cursor, 9)
	for _, tt := range []struct {
		name  string
		spoil func(from pipeline.Cursor, i int, p page, err error) (page, error)
		want  string
	}{
		{"accepts a sound one", func(_ pipeline.Cursor, _ int, p page, err error) (page, error) { return p, err }, ""},
		{"finds a page without a cursor", func(_ pipeline.Cursor, i int, p page, err error) (page, error) {
			if i == 2 {
				p.Cursor = nil
			}
			return p, err
		}, "page 2 has no cursor"},
		{"finds one that loses an item at a resume", func(from pipeline.Cursor, i int, p page, err error) (page, error) {
			if from != nil && i == 0 && err == nil {
				p.Items = p.Items[1:]
			}
			return p, err
		}, "resuming behind page 0 is not the rest"},
		{"finds one whose cursors share memory", func(_ pipeline.Cursor, _ int, p page, err error) (page, error) {
			copy(reused, p.Cursor)
			p.Cursor = reused
			return p, err
		}, "was changed after it was yielded"},
		{"finds one that fails oddly when stopped", func(_ pipeline.Cursor, _ int, p page, err error) (page, error) {
			if err != nil {
				err = errors.New("unexpected EOF")
			}
			return p, err
		}, "unexpected EOF, want the context's or none"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want(t, judge(t, func(t testing.TB) {
				CheckSource(t, func() pipeline.Source[int] { return broken{NewSource(Split(Numbers(17), 3)...), tt.spoil} })
			}), tt.want)
		})
	}

	t.Run("finds one that goes on when stopped", func(t *testing.T) {
		want(t, judge(t, func(t testing.TB) {
			CheckSource(t, func() pipeline.Source[int] { return deaf{NewSource(Split(Numbers(17), 3)...)} })
		}), "went on for 6 pages")
	})

	t.Run("resumes a long stream at a few places only", func(t *testing.T) {
		opened := 0
		CheckSource(t, func() pipeline.Source[int] {
			opened++
			return NewSource(Split(Numbers(1000), 1)...)
		})
		if opened > 60 {
			t.Errorf("opened %d times", opened)
		}
	})
}

type deaf struct{ *Source[int] }

func (d deaf) Pages(ctx context.Context, from pipeline.Cursor) iter.Seq2[pipeline.Page[int], error] {
	return d.Source.Pages(context.WithoutCancel(ctx), from)
}

// careless is a store that trusts its callers: each commit has its effect again.
type careless struct {
	Items  []int
	cursor pipeline.Cursor
	flaw   string
	fresh  bool // no commit since Sink
}

func (c *careless) Name() string { return "careless" }

func (c *careless) Commit(ctx context.Context, b pipeline.Batch[int]) error {
	again := bytes.Equal(b.Cursor, c.cursor)
	fresh := c.fresh
	c.fresh = false
	switch {
	case c.flaw == "forgets the cursor":
		return nil
	case c.flaw != "commits when done" && ctx.Err() != nil:
		return ctx.Err()
	case again && c.flaw != "doubles":
		return nil
	case fresh && c.cursor != nil && c.flaw == "loses the first of a run":
		c.cursor = b.Cursor
		return nil
	}
	c.Items, c.cursor = append(c.Items, b.Items...), b.Cursor
	return nil
}

func TestCheckSink(t *testing.T) {
	batches := func() (list []pipeline.Batch[int]) {
		for i := range 5 {
			cursor := binary.BigEndian.AppendUint64([]byte{1}, uint64(i))
			list = append(list, pipeline.Batch[int]{Seq: uint64(i), Items: Numbers(i), Cursor: cursor})
		}
		return list
	}
	for flaw, says := range map[string]string{
		"":                         "",
		"doubles":                  "each batch twice: the state differs",
		"forgets the cursor":       "after batch 0 the cursor is",
		"commits when done":        "commit with a context that is done: no error",
		"loses the first of a run": "taken up after 1 batches: the state differs",
	} {
		t.Run("a sink that "+flaw, func(t *testing.T) {
			want(t, judge(t, func(t testing.TB) {
				CheckSink(t, func(testing.TB) Store[int] {
					c := &careless{flaw: flaw}
					return Store[int]{
						Sink:   func(testing.TB) pipeline.Sink[int] { c.fresh = true; return c },
						Cursor: func(testing.TB) pipeline.Cursor { return c.cursor },
						State:  func(testing.TB) any { return slices.Clone(c.Items) },
					}
				}, batches)
			}), says)
		})
	}

	t.Run("accepts the Recorder", func(t *testing.T) {
		CheckSink(t, func(testing.TB) Store[int] {
			var r Recorder[int]
			return Store[int]{
				Sink:   func(testing.TB) pipeline.Sink[int] { r.Resume(); return &r },
				Cursor: func(testing.TB) pipeline.Cursor { return r.State().Cursor },
				State:  func(testing.TB) any { s := r.State(); s.Sizes = nil; return s },
			}
		}, batches)
	})
}

func TestTheRecorderRefusesWhatAnEngineMustNotDo(t *testing.T) {
	batch := func(seq uint64) pipeline.Batch[int] {
		return pipeline.Batch[int]{Seq: seq, Cursor: pipeline.Cursor{1, byte(seq)}}
	}
	ctx := t.Context()
	var r Recorder[int]
	for _, tt := range []struct {
		seq uint64
		err string
	}{{1, "batch 0 is due"}, {0, ""}, {0, ""}, {2, "batch 1 is due"}, {1, ""}, {0, "batch 2 is due"}} {
		err := r.Commit(ctx, batch(tt.seq))
		if fmt.Sprint(err) != "<nil>" && tt.err == "" || !strings.Contains(fmt.Sprint(err), tt.err) {
			t.Errorf("commit of batch %d: error %v, want %q", tt.seq, err, tt.err)
		}
	}
	if r.Repeats() != 1 || len(r.State().Sizes) != 2 {
		t.Errorf("%d repeats, %d batches; want 1 and 2", r.Repeats(), len(r.State().Sizes))
	}

	var two Recorder[int]
	two.Faults = new(Faults)
	two.Faults.Do(PointCommit, 1, func() {
		if err := two.Commit(ctx, batch(0)); err == nil {
			t.Error("a commit within a commit has no error")
		}
	})
	if err := two.Commit(ctx, batch(0)); err != nil {
		t.Error(err)
	}
}

func TestFaultsStrikeAtTheirPassOnly(t *testing.T) {
	var f Faults
	f.Fail("a", 2, nil)
	done := false
	f.Do("b", 1, func() { done = true })
	f.Panic("b", 2, "boom")
	got := []bool{f.Pass("a") != nil, errors.Is(f.Pass("a"), ErrFault), f.Pass("a") != nil}
	if !slices.Equal(got, []bool{false, true, false}) || f.Passes("a") != 3 {
		t.Errorf("struck %v in %d passes", got, f.Passes("a"))
	}
	if f.Pass("b") != nil || !done {
		t.Error("Do did not strike")
	}
	func() {
		defer func() {
			if recover() != "boom" {
				t.Error("Panic did not strike")
			}
		}()
		f.Pass("b")
	}()
	if none := (*Faults)(nil); none.Pass("a") != nil || none.Passes("a") != 0 {
		t.Error("nil has faults")
	}
}
