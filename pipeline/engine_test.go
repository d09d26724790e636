package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"haloingest/pipeline"
	"haloingest/pipeline/pipetest"
)

var contains = strings.Contains

func TestWorkers(t *testing.T) {
	for _, tt := range []struct{ workers, atOnce, minutes int }{
		{-1, 1, 12}, {0, 1, 12}, {1, 1, 12}, {2, 2, 6}, {5, 5, 3}, {100, 12, 1},
	} {
		t.Run(fmt.Sprintf("%d workers have %d batches at once", tt.workers, tt.atOnce), bubble(func(t *testing.T) {
			var now, most atomic.Int64
			slow := pass("slow", func(context.Context, []int) error {
				raise(&most, now.Add(1))
				time.Sleep(time.Minute)
				now.Add(-1)
				return nil
			})
			p := pipeline.New(pipeline.Options{})
			pipeline.Into(pipeline.Via(pipeline.From(p, pipetest.NewSource(pages(12)...), nil), slow, tt.workers), new(pipetest.Recorder[int]))
			start := time.Now()
			if err := p.Run(t.Context(), t.Context()); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(start); took != time.Duration(tt.minutes)*time.Minute || most.Load() != int64(tt.atOnce) {
				t.Errorf("took %v with %d at once, want %d minutes with %d", took, most.Load(), tt.minutes, tt.atOnce)
			}
		}))
	}

	t.Run("one slow batch does not keep the other workers idle", bubble(func(t *testing.T) {
		first := pass("first", func(_ context.Context, in []int) error {
			if in[0] == 0 {
				time.Sleep(4 * time.Minute)
			} else {
				time.Sleep(time.Minute)
			}
			return nil
		})
		p := pipeline.New(pipeline.Options{})
		pipeline.Into(pipeline.Via(pipeline.From(p, pipetest.NewSource(pages(4)...), nil), first, 2), new(pipetest.Recorder[int]))
		start := time.Now()
		if err := p.Run(t.Context(), t.Context()); err != nil || time.Since(start) != 4*time.Minute {
			t.Errorf("took %v with error %v, want the 4 minutes of the slow one", time.Since(start), err)
		}
	}))
}

// raise makes most at least n.
func raise(most *atomic.Int64, n int64) {
	for {
		old := most.Load()
		if n <= old || most.CompareAndSwap(old, n) {
			return
		}
	}
}

func TestBatchesInFlightAreBounded(t *testing.T) {
	identity := pass("pass", nil)
	build := map[string]func(p *pipeline.Pipeline, f pipeline.Flow[int]) pipeline.Flow[int]{
		"a source and a sink": func(p *pipeline.Pipeline, f pipeline.Flow[int]) pipeline.Flow[int] { return f },
		"a stage with one worker": func(p *pipeline.Pipeline, f pipeline.Flow[int]) pipeline.Flow[int] {
			return pipeline.Via(f, identity, 1)
		},
		"a stage with three workers": func(p *pipeline.Pipeline, f pipeline.Flow[int]) pipeline.Flow[int] {
			return pipeline.Via(f, identity, 3)
		},
		"two stages and a tap": func(p *pipeline.Pipeline, f pipeline.Flow[int]) pipeline.Flow[int] {
			return pipeline.Tap(pipeline.Via(pipeline.Via(f, identity, 2), identity, 4), &tap{name: "tap"})
		},
		"a rebatch that finds nothing to merge": func(p *pipeline.Pipeline, f pipeline.Flow[int]) pipeline.Flow[int] {
			return pipeline.Rebatch(f, pipeline.Limits{Rows: 3}, nil)
		},
	}
	for name, build := range build {
		for _, buffer := range []int{-1, 0, 1, 7} {
			t.Run(fmt.Sprintf("%s with buffers of %d", name, buffer), bubble(func(t *testing.T) {
				ctx, abort := context.WithCancel(t.Context())
				asked := 0
				src := pipetest.NewSource(pages(100)...)
				src.Delay = func(int) time.Duration { asked++; return 0 }
				rest := new(counter)
				var stats []pipeline.StageStats
				p := pipeline.New(pipeline.Options{Buffer: buffer})
				rest.during = func() {
					synctest.Wait() // nothing moves any more
					stats = p.Stats()
					abort()
				}
				pipeline.Into(build(p, pipeline.From(p, src, nil)), rest)
				if err := p.Run(ctx, t.Context()); !errors.Is(err, context.Canceled) {
					t.Fatal(err)
				}
				if asked != p.MaxInFlight() {
					t.Errorf("%d batches in flight behind a stuck sink, MaxInFlight says %d", asked, p.MaxInFlight())
				}
				if s := stats[0]; s.Batches != int64(asked) || s.InFlight != 1 || s.ItemsOut != 2*int64(asked) {
					t.Errorf("stats of the source: %+v", s)
				}
				for _, s := range p.Stats() {
					if s.InFlight != 0 {
						t.Errorf("%s holds %d batches after the run", s.Name, s.InFlight)
					}
				}
			}))
		}
	}
}

func TestRebatch(t *testing.T) {
	type limits = pipeline.Limits
	for _, tt := range []struct {
		name  string
		pages []int // sizes
		max   limits
		want  []int
	}{
		{"merges up to the rows", []int{2, 2, 2, 2, 2}, limits{Rows: 4}, []int{4, 4, 2}},
		{"does not go over the rows", []int{2, 2, 2, 2, 2}, limits{Rows: 5}, []int{4, 4, 2}},
		{"never splits", []int{1, 9, 1, 1}, limits{Rows: 3}, []int{1, 9, 2}},
		{"merges up to the bytes", []int{1, 1, 1, 1, 1}, limits{Bytes: 20}, []int{2, 2, 1}},
		{"does not go over the bytes", []int{1, 1, 1, 1, 1}, limits{Bytes: 39}, []int{3, 2}},
		{"keeps the rows within the bytes", []int{1, 1, 1, 1, 1}, limits{Rows: 2, Bytes: 30}, []int{2, 2, 1}},
		{"keeps the bytes within the rows", []int{1, 1, 1, 1, 1}, limits{Rows: 4, Bytes: 30}, []int{3, 2}},
		{"hands on pages without items", []int{0, 0, 0}, limits{Rows: 2}, []int{0}},
		{"has defaults", []int{600, 600, 300, 300}, limits{}, []int{600, 900, 300}},
		{"has no limits where they are negative", []int{600, 600, 300}, limits{Rows: -1, Bytes: -1}, []int{1500}},
		{"of nothing is nothing", nil, limits{}, nil},
	} {
		t.Run(tt.name, bubble(func(t *testing.T) {
			var all [][]int
			for _, n := range tt.pages {
				all = append(all, make([]int, n))
			}
			var rec pipetest.Recorder[int]
			p := pipeline.New(pipeline.Options{})
			flow := pipeline.From(p, pipetest.NewSource(all...), nil)
			pipeline.Into(pipeline.Rebatch(flow, tt.max, func(int) int { return 10 }), &rec)
			if err := p.Run(t.Context(), t.Context()); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, rec.State().Sizes); diff != "" {
				t.Errorf("sizes of batches (-want +got):\n%s", diff)
			}
		}))
	}

	t.Run("commits a trickle by its age", bubble(func(t *testing.T) {
		start := time.Now()
		var at []time.Duration
		sink := new(counter)
		sink.during = func() { at = append(at, time.Since(start)) }
		src := pipetest.NewSource(pages(6)...) // at 2, 4, 6, … s
		src.Delay = func(int) time.Duration { return 2 * time.Second }
		p := pipeline.New(pipeline.Options{})
		pipeline.Into(pipeline.Rebatch(pipeline.From(p, src, nil), limits{Age: 3 * time.Second}, nil), sink)
		if err := p.Run(t.Context(), t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]time.Duration{5 * time.Second, 9 * time.Second, 12 * time.Second}, at); diff != "" {
			t.Errorf("commits at (-want +got):\n%s", diff)
		}
	}))

	t.Run("counts rejects as rows and their payloads as bytes", bubble(func(t *testing.T) {
		src := pipetest.NewSource(make([][]int, 6)...)
		src.Reject = map[int][]pipeline.Reject{}
		for i := range 6 {
			src.Reject[i] = []pipeline.Reject{{Payload: make([]byte, 10)}}
		}
		for _, max := range []limits{{Rows: 2}, {Bytes: 29}} {
			var commits counter
			p := pipeline.New(pipeline.Options{})
			pipeline.Into(pipeline.Rebatch(pipeline.From(p, src, nil), max, nil), &commits)
			if err := p.Run(t.Context(), t.Context()); err != nil || commits.commits != 3 {
				t.Errorf("%+v: %d commits, error %v; want 3 of two rejects each", max, commits.commits, err)
			}
		}
	}))
}

func TestRejectLimit(t *testing.T) {
	type limit = pipeline.RejectLimit
	for _, tt := range []struct {
		name    string
		limit   limit
		items   int
		every   int // one in this many is rejected
		commits int // of batches of 100
		flood   bool
	}{
		{"the default lets 1 % pass", limit{}, 30_000, 100, 300, false},
		{"the default stops at more, once there are 100", limit{}, 30_000, 50, 49, true},
		{"fewer rejects than the minimum are no flood, whatever their share", limit{Min: 501}, 500, 1, 5, false},
		{"as many as the minimum are", limit{Min: 500}, 500, 1, 4, true},
		{"a small minimum stops at the first batch", limit{Share: 0.5, Min: 1}, 500, 1, 0, true},
		{"exactly the share is no flood", limit{Share: 0.5, Min: 1}, 500, 2, 5, false},
		{"a negative share switches it off", limit{Share: -1}, 1000, 1, 10, false},
	} {
		for _, workers := range []int{1, 4} {
			t.Run(fmt.Sprintf("%s, %d workers", tt.name, workers), func(t *testing.T) {
				pick := pipeline.StageFunc("pick", func(_ context.Context, in []int) (r pipeline.Result[int], err error) {
					for _, v := range in {
						if v%tt.every == 0 {
							r.Rejects = append(r.Rejects, pipeline.Reject{Reason: []string{"odd", "even", "even"}[v/tt.every%3]})
						} else {
							r.Items = append(r.Items, v)
						}
					}
					return r, nil
				})
				var rec pipetest.Recorder[int]
				p := pipeline.New(pipeline.Options{RejectLimit: tt.limit})
				flow := pipeline.From(p, pipetest.NewSource(pipetest.Split(pipetest.Numbers(tt.items), 100)...), nil)
				pipeline.Into(pipeline.Via(flow, pick, workers), &rec)
				err := p.Run(t.Context(), t.Context())
				if got := len(rec.State().Sizes); got != tt.commits || errors.Is(err, pipeline.ErrTooManyRejects) != tt.flood {
					t.Fatalf("%d commits, error %v; want %d, flood %v", got, err, tt.commits, tt.flood)
				}
				if !tt.flood {
					return
				}
				var flood *pipeline.RejectFlood
				if !errors.As(err, &flood) {
					t.Fatalf("error %v is no RejectFlood", err)
				}
				read := int64(100 * (tt.commits + 1))
				if flood.Items != read || flood.Rejects != read/int64(tt.every) || flood.Stage != "pick" || flood.Reason != "even" {
					t.Errorf("flood %+v", *flood)
				}
				if !contains(err.Error(), fmt.Sprintf("%d of %d", flood.Rejects, flood.Items)) || !contains(err.Error(), "pick: even") {
					t.Errorf("error %v does not name counts and cause", err)
				}
			})
		}
	}
}

// The share is of what was read, wherever it was rejected and however it was merged since.
func TestRejectLimitCountsWhatWasRead(t *testing.T) {
	src := pipetest.NewSource(pipetest.Split(pipetest.Numbers(1000), 10)...)
	src.Reject = map[int][]pipeline.Reject{}
	for i := range 100 {
		src.Reject[i] = make([]pipeline.Reject, 30) // 30 of 40
	}
	drop := pipeline.StageFunc("drop", func(_ context.Context, in []int) (r pipeline.Result[int], err error) { return r, nil })
	for _, tt := range []struct {
		share float64
		flood bool
	}{{0.74, true}, {0.76, false}} {
		p := pipeline.New(pipeline.Options{RejectLimit: pipeline.RejectLimit{Share: tt.share}})
		flow := pipeline.Via(pipeline.From(p, src, nil), drop, 1)
		pipeline.Into(pipeline.Rebatch(flow, pipeline.Limits{Rows: 70}, nil), new(pipetest.Recorder[int]))
		var flood *pipeline.RejectFlood
		if err := p.Run(t.Context(), t.Context()); errors.As(err, &flood) != tt.flood {
			t.Errorf("limit %g: error %v, want a flood: %v", tt.share, err, tt.flood)
		} else if tt.flood && (flood.Stage != "source" || flood.Items != 160 || flood.Rejects != 120) {
			t.Errorf("flood %+v", *flood)
		}
	}
}

// Reasons name their objects; what they have in common is what a person has to know.
func TestAFloodTellsWhatItsRejectsHaveInCommon(t *testing.T) {
	for name, tt := range map[string]struct {
		reject func(i int) pipeline.Reject
		text   string
		count  int64
	}{
		"the object's id": {func(i int) pipeline.Reject {
			id := fmt.Sprint("ab", i)
			return pipeline.Reject{ID: id, Reason: "read contact " + id + ": name: want a text"}
		}, "read contact ab0: name: want a text", 100},
		"other ids": {func(i int) pipeline.Reject {
			return pipeline.Reject{ID: "x", Reason: fmt.Sprintf("GET /a: 500 server_error (request 0a1b-%04d)", i)}
		}, "GET /a: 500 server_error (request 0a1b-0000)", 100},
		"places in lists": {func(i int) pipeline.Reject {
			return pipeline.Reject{Field: fmt.Sprintf("parts[%d].at", i), Reason: fmt.Sprintf("parts[%d].at: want a time", i)}
		}, "parts[0].at: want a time", 100},
		"two causes": {func(i int) pipeline.Reject {
			return pipeline.Reject{ID: fmt.Sprint(i), Reason: fmt.Sprintf("object %d: status %d", 1_000_000+i, []int{404, 500, 500}[i%3])}
		}, "object 1000001: status 500", 66},
		"two fields": {func(i int) pipeline.Reject {
			return pipeline.Reject{Field: []string{"a", "b", "b"}[i%3], Reason: "want a text"}
		}, "want a text", 66},
	} {
		t.Run(name, func(t *testing.T) {
			src := pipetest.NewSource([]int{1})
			for i := range 100 {
				src.Reject = map[int][]pipeline.Reject{0: append(src.Reject[0], tt.reject(i))}
			}
			p := pipeline.New(pipeline.Options{})
			pipeline.Into(pipeline.From(p, src, nil), new(pipetest.Recorder[int]))
			var flood *pipeline.RejectFlood
			if err := p.Run(t.Context(), t.Context()); !errors.As(err, &flood) || flood.Reason != tt.text || flood.Count != tt.count {
				t.Errorf("%v, want %d like %q", err, tt.count, tt.text)
			}
		})
	}
}

func TestWhatIsBuiltWronglyDoesNotRun(t *testing.T) {
	src := func() *pipetest.Source[int] { return pipetest.NewSource(pages(2)...) }
	rec := func() *pipetest.Recorder[int] { return new(pipetest.Recorder[int]) }
	for _, tt := range []struct {
		name  string
		build func(p *pipeline.Pipeline)
		want  string
	}{
		{"nothing", func(p *pipeline.Pipeline) {}, "no sink"},
		{"no sink", func(p *pipeline.Pipeline) { pipeline.From(p, src(), nil) }, "no sink"},
		{"two sources", func(p *pipeline.Pipeline) {
			pipeline.From(p, src(), nil)
			pipeline.Into(pipeline.From(p, src(), nil), rec())
		}, "a second source, source"},
		{"two sinks", func(p *pipeline.Pipeline) {
			f := pipeline.From(p, src(), nil)
			pipeline.Into(f, rec())
			pipeline.Into(f, rec())
		}, "recorder takes the flow of source, which another stage takes already"},
		{"a flow taken twice", func(p *pipeline.Pipeline) {
			f := pipeline.From(p, src(), nil)
			pipeline.Via(f, pass("one", nil), 1)
			pipeline.Into(pipeline.Via(f, pass("two", nil), 1), rec())
		}, "two takes the flow of source, which another stage takes already"},
		{"a second run", func(p *pipeline.Pipeline) {
			pipeline.Into(pipeline.From(p, src(), nil), rec())
			if err := p.Run(context.Background(), context.Background()); err != nil {
				panic(err)
			}
		}, "has run already"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := pipeline.New(pipeline.Options{})
			tt.build(p)
			if err := p.Run(t.Context(), t.Context()); err == nil || !contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestStats(t *testing.T) {
	t.Run("tell who is busy and who waits", bubble(func(t *testing.T) {
		src := pipetest.NewSource(pages(10)...)
		src.Delay = func(int) time.Duration { return time.Second }
		slow := pass("slow", func(context.Context, []int) error { time.Sleep(4 * time.Second); return nil })
		p := pipeline.New(pipeline.Options{Buffer: -1})
		pipeline.Into(pipeline.Via(pipeline.From(p, src, nil), slow, 2), new(pipetest.Recorder[int]))
		if err := p.Run(t.Context(), t.Context()); err != nil {
			t.Fatal(err)
		}
		want := []pipeline.StageStats{
			{Name: "source", Role: "source", Workers: 1, Batches: 10, ItemsOut: 20, Busy: 10 * time.Second, WaitOut: 8 * time.Second},
			{Name: "slow", Role: "stage", Workers: 2, Batches: 10, ItemsIn: 20, ItemsOut: 20, Busy: 40 * time.Second, WaitIn: 3 * time.Second},
			{Name: "recorder", Role: "sink", Workers: 1, Batches: 10, ItemsIn: 20, ItemsOut: 20, WaitIn: 22 * time.Second},
		}
		if diff := cmp.Diff(want, p.Stats()); diff != "" {
			t.Errorf("stats (-want +got):\n%s", diff)
		}
	}))
}
