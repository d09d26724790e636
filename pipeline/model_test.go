package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"haloingest/pipeline"
	"haloingest/pipeline/pipetest"
)

// plan is a pipeline, what goes wrong in it and how long everything takes, all drawn at random. The
// oracle is what a loop over the items makes of them, see expected.
type plan struct {
	pages   [][]int
	rejects map[int][]pipeline.Reject
	buffer  int
	steps   []step
	delays  []time.Duration
	trouble trouble
}

type step struct {
	kind    string // via, tap, rebatch
	workers int
	limits  pipeline.Limits
}

// trouble strikes at the nth pass of a point.
type trouble struct {
	kind  string // none, error, panic, goexit, stop, abort
	point string
	pass  int
}

func drawPlan(t *rapid.T) plan {
	var p plan
	n := 0
	p.rejects = make(map[int][]pipeline.Reject)
	for i, size := range rapid.SliceOfN(rapid.IntRange(0, 5), 0, 12).Draw(t, "page sizes") {
		page := pipetest.Numbers(size)
		for j := range page {
			page[j] += n
		}
		p.pages = append(p.pages, page)
		if n += size; size == 4 {
			p.rejects[i] = []pipeline.Reject{{ID: fmt.Sprint("unreadable on page ", i)}}
		}
	}
	p.buffer = rapid.IntRange(-1, 3).Draw(t, "buffer")
	points := []string{pipetest.PointSource, pipetest.PointCommit, pipetest.PointCommitted}
	for i := range rapid.IntRange(0, 4).Draw(t, "steps") {
		s := step{kind: rapid.SampledFrom([]string{"via", "via", "tap", "rebatch"}).Draw(t, "kind")}
		switch s.kind {
		case "via":
			s.workers = rapid.IntRange(0, 4).Draw(t, "workers")
		case "rebatch":
			s.limits = pipeline.Limits{
				Rows:  rapid.SampledFrom([]int{-1, 1, 3, 8}).Draw(t, "rows"),
				Bytes: rapid.SampledFrom([]int{-1, 7, 20}).Draw(t, "bytes"),
				Age:   rapid.SampledFrom([]time.Duration{-1, 5 * time.Millisecond, time.Second}).Draw(t, "age"),
			}
		}
		p.steps = append(p.steps, s)
		points = append(points, fmt.Sprintf("%s %d", s.kind, i))
	}
	p.delays = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) time.Duration {
		return time.Duration(rapid.IntRange(0, 20).Draw(t, "ms")) * time.Millisecond
	}), 1, 12).Draw(t, "delays")
	p.trouble = trouble{
		kind:  rapid.SampledFrom([]string{"none", "error", "panic", "goexit", "stop", "abort"}).Draw(t, "trouble"),
		point: rapid.SampledFrom(points).Draw(t, "at"),
		pass:  rapid.IntRange(1, 8).Draw(t, "pass"),
	}
	return p
}

// delay is a fixed function of place and batch, so that a plan is the same at every run of it.
func (p plan) delay(place, batch int) time.Duration {
	return p.delays[(place*5+batch*3)%len(p.delays)]
}

// makes is what one step makes of an item: nothing, a reject, one item or two.
func makes(place, v int) (items []int, reject *pipeline.Reject) {
	switch {
	case v%7 == place:
		return nil, &pipeline.Reject{Stage: fmt.Sprint("via ", place), ID: fmt.Sprint(v)}
	case v%11 == 3:
		return nil, nil
	case v%5 == 2:
		return []int{v, v + 1000}, nil
	}
	return []int{3*v + place}, nil
}

// expected is what all pages give, and marks[i] what the first i of them do.
func (p plan) expected() (marks []pipetest.Recorded[int]) {
	var r pipetest.Recorded[int]
	r.Counts = pipeline.Counts{}
	marks = append(marks, pipetest.Recorded[int]{Counts: pipeline.Counts{}})
	for i, page := range p.pages {
		items := page
		r.Rejects = append(r.Rejects, p.rejects[i]...)
		for place, s := range p.steps {
			if s.kind == "tap" {
				for _, v := range items {
					r.Files = append(r.Files, pipeline.File{Path: fmt.Sprintf("tap %d/%d", place, v)})
				}
			}
			if s.kind != "via" {
				continue
			}
			var out []int
			for _, v := range items {
				some, reject := makes(place, v)
				out = append(out, some...)
				if reject != nil {
					r.Rejects = append(r.Rejects, *reject)
				}
				r.Counts.Add(fmt.Sprint("seen by ", place), 1)
			}
			items = out
		}
		r.Items = append(r.Items, items...)
		mark := pipetest.Recorded[int]{Items: slices.Clone(r.Items), Rejects: slices.Clone(r.Rejects), Files: slices.Clone(r.Files)}
		mark.Counts.Merge(r.Counts)
		marks = append(marks, mark)
	}
	return marks
}

// run runs the plan once from where the recorder is, with its trouble or without.
func (p plan) run(rec *pipetest.Recorder[int], faults *pipetest.Faults) (error, []pipeline.StageStats) {
	ctx, abort := context.WithCancelCause(context.Background())
	defer abort(nil)
	read, stop := context.WithCancelCause(context.Background())
	defer stop(nil)
	if tr := p.trouble; faults != nil {
		switch tr.kind {
		case "error":
			faults.Fail(tr.point, tr.pass, nil)
		case "panic":
			faults.Panic(tr.point, tr.pass, "planned panic")
		case "goexit":
			faults.Do(tr.point, tr.pass, runtime.Goexit)
		case "stop":
			faults.Do(tr.point, tr.pass, func() { stop(errPlanned) })
		case "abort":
			faults.Do(tr.point, tr.pass, func() { abort(errPlanned) })
		}
	}
	src := pipetest.NewSource(p.pages...)
	src.Faults, src.Reject = faults, p.rejects
	src.Delay = func(page int) time.Duration { return p.delay(9, page) }
	rec.Faults = faults
	rec.Delay = func(seq uint64) time.Duration { return p.delay(8, int(seq)) }

	pl := pipeline.New(pipeline.Options{Buffer: p.buffer, RejectLimit: pipeline.RejectLimit{Share: -1}})
	flow := pipeline.From(pl, src, rec.Resume())
	for place, s := range p.steps {
		point := fmt.Sprintf("%s %d", s.kind, place)
		switch s.kind {
		case "via":
			flow = pipeline.Via(flow, pipeline.StageFunc(point, func(ctx context.Context, in []int) (r pipeline.Result[int], err error) {
				time.Sleep(p.delay(place, in[0]))
				if err := faults.Pass(point); err != nil {
					return r, err
				}
				for _, v := range in {
					some, reject := makes(place, v)
					r.Items = append(r.Items, some...)
					if reject != nil {
						reject.Stage = ""
						r.Rejects = append(r.Rejects, *reject)
					}
				}
				r.Counts.Add(fmt.Sprint("seen by ", place), int64(len(in)))
				return r, ctx.Err()
			}), s.workers)
		case "tap":
			flow = pipeline.Tap(flow, &tap{point, place, faults})
		case "rebatch":
			flow = pipeline.Rebatch(flow, s.limits, func(int) int {
				if err := faults.Pass(point); err != nil {
					panic(err)
				}
				return 2
			})
		}
	}
	pipeline.Into(flow, rec)
	err := pl.Run(ctx, read)
	return err, pl.Stats()
}

var errPlanned = errors.New("planned stop")

type tap struct {
	name   string
	place  int
	faults *pipetest.Faults
}

func (f *tap) Name() string { return f.name }

func (f *tap) Write(_ context.Context, b pipeline.Batch[int]) (files []pipeline.File, err error) {
	for _, v := range b.Items {
		files = append(files, pipeline.File{Path: fmt.Sprintf("tap %d/%d", f.place, v)})
	}
	return files, f.faults.Pass(f.name)
}

// inBubble runs fn with a clock of its own. It fails if fn leaves a goroutine behind.
func inBubble(t *testing.T, fn func()) {
	synctest.Test(t, func(*testing.T) { fn() })
}

// differs compares two states but for how they were cut into batches. Files and rejects of several
// places interleave by batch, so they are compared as sets; that items keep their order is the point.
func differs(want, got pipetest.Recorded[int]) string {
	return cmp.Diff(want, got, cmpopts.EquateEmpty(),
		cmpopts.IgnoreFields(pipetest.Recorded[int]{}, "Cursor", "Sizes"),
		cmpopts.SortSlices(func(a, b pipeline.Reject) bool { return a.Stage+a.ID < b.Stage+b.ID }),
		cmpopts.SortSlices(func(a, b pipeline.File) bool { return a.Path < b.Path }),
		cmpopts.IgnoreFields(pipeline.Reject{}, "Stage"))
}

// pagesIn returns how many pages the recorder's cursor is behind.
func pagesIn(r pipetest.Recorded[int]) int {
	if r.Cursor == nil {
		return 0
	}
	return int(r.Cursor[8])
}

func TestARunWithoutTroubleIsWhatALoopMakes(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := drawPlan(rt)
		marks := p.expected()
		var rec pipetest.Recorder[int]
		var err error
		var stats []pipeline.StageStats
		inBubble(t, func() { err, stats = p.run(&rec, nil) })
		if err != nil {
			rt.Fatalf("run: %v", err)
		}
		got := rec.State()
		if diff := differs(marks[len(p.pages)], got); diff != "" {
			rt.Fatalf("a loop gives other output (-loop +run):\n%s", diff)
		}
		last := stats[len(stats)-1]
		if last.ItemsOut != int64(len(got.Items)) || last.Rejects != int64(len(got.Rejects)) || last.Batches != int64(len(got.Sizes)) {
			rt.Fatalf("stats of the sink are %+v, but it holds %d items, %d rejects in %d batches",
				last, len(got.Items), len(got.Rejects), len(got.Sizes))
		}
		for i, s := range stats {
			if s.InFlight != 0 {
				rt.Fatalf("%s holds %d batches after the run", s.Name, s.InFlight)
			}
			if i > 0 && s.ItemsIn != stats[i-1].ItemsOut {
				rt.Fatalf("%s took %d items, %s handed on %d", s.Name, s.ItemsIn, stats[i-1].Name, stats[i-1].ItemsOut)
			}
		}
	})
}

// Crash anywhere: what is committed is a run of whole pages from the beginning, and resuming ends in
// the state of an unbroken run.
func TestCrashAnywhereThenResumeIsAnUnbrokenRun(t *testing.T) {
	struck := make(map[string]int)
	rapid.Check(t, func(rt *rapid.T) {
		p := drawPlan(rt)
		marks := p.expected()
		var rec pipetest.Recorder[int]
		var err, again error
		var first pipetest.Recorded[int]
		faults := new(pipetest.Faults)
		inBubble(t, func() {
			err, _ = p.run(&rec, faults)
			first = rec.State()
			again, _ = p.run(&rec, nil)
		})
		hit := faults.Passes(p.trouble.point) >= p.trouble.pass
		if diff := differs(marks[pagesIn(first)], first); diff != "" {
			rt.Fatalf("after the first run (%v) the state is not that of its cursor, %d pages (-loop +run):\n%s", err, pagesIn(first), diff)
		}
		p.checkError(rt, err, hit, pagesIn(first), len(first.Sizes))
		if hit {
			struck[p.trouble.kind+" at "+strings.Fields(p.trouble.point)[0]]++
		}
		if again != nil {
			rt.Fatalf("resume: %v", again)
		}
		if diff := differs(marks[len(p.pages)], rec.State()); diff != "" {
			rt.Fatalf("crashed and resumed is not unbroken (-loop +runs):\n%s", diff)
		}
		if rec.Repeats() > 0 {
			rt.Fatalf("%d batches were committed twice", rec.Repeats())
		}
	})
	t.Logf("troubles that struck: %v", struck)
}

// checkError checks what the first run says, and that exactly the batches before the trouble are committed.
func (p plan) checkError(rt *rapid.T, err error, hit bool, pages, commits int) {
	tr := p.trouble
	if !hit || tr.kind == "none" {
		if err != nil {
			rt.Fatalf("no trouble, but error %v", err)
		}
		return
	}
	var placed *pipeline.Error
	switch tr.kind {
	case "stop":
		if err == nil && pages == len(p.pages) {
			return // the source had ended
		}
		if !errors.Is(err, pipeline.ErrStopped) || !errors.Is(err, errPlanned) {
			rt.Fatalf("soft stop gives %v, want ErrStopped and its cause", err)
		}
		return
	case "abort":
		if err == nil && pages == len(p.pages) {
			return // all was committed
		}
		if !errors.Is(err, errPlanned) {
			rt.Fatalf("abort gives %v, want its cause", err)
		}
		return
	case "error":
		if !errors.Is(err, pipetest.ErrFault) {
			rt.Fatalf("error %v, want the planned fault", err)
		}
	case "panic":
		var p *pipeline.PanicError
		if !errors.As(err, &p) || p.Value != "planned panic" || !strings.Contains(string(p.Stack), "pipetest") {
			rt.Fatalf("error %v, want the planned panic with its stack", err)
		}
	case "goexit":
		if !strings.Contains(fmt.Sprint(err), "Goexit") {
			rt.Fatalf("error %v, want one that names Goexit", err)
		}
	}
	if !errors.As(err, &placed) {
		rt.Fatalf("error %v has no place", err)
	}
	switch tr.point {
	case pipetest.PointSource:
		if placed.Stage != "source" || pages != tr.pass-1 || placed.Seq != uint64(pages) {
			rt.Fatalf("the source failed at page %d: error %v, %d pages committed", tr.pass-1, err, pages)
		}
	case pipetest.PointCommit:
		if placed.Stage != "recorder" || commits != tr.pass-1 || placed.Seq != uint64(commits) {
			rt.Fatalf("commit %d failed: error %v, %d commits", tr.pass-1, err, commits)
		}
	case pipetest.PointCommitted:
		if placed.Stage != "recorder" || commits != tr.pass || placed.Seq+1 != uint64(commits) {
			rt.Fatalf("the answer to commit %d was lost: error %v, %d commits", tr.pass-1, err, commits)
		}
	default:
		if strings.HasPrefix(tr.point, "rebatch") {
			if placed.Stage != "rebatch" {
				rt.Fatalf("%s failed: error %v", tr.point, err)
			}
		} else if placed.Stage != tr.point {
			rt.Fatalf("%s failed: error %v", tr.point, err)
		}
		if !slices.ContainsFunc(p.steps, func(s step) bool { return s.kind == "rebatch" }) && placed.Seq != uint64(pages) {
			rt.Fatalf("%s failed at batch %d, and %d pages are committed", tr.point, placed.Seq, pages)
		}
	}
}
