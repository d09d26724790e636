package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"haloingest/cmd/haloingest/internal/ingest"
)

// logEvery is how often progress is logged where there is no terminal (contract, "Commands").
const logEvery = 30 * time.Second

// progressing is what takes long: a run, a diff. Progress may be called at any time from any goroutine.
type progressing interface{ Progress() ingest.Progress }

// showProgress shows how far a run is until the returned function is called: bars on a terminal, a
// log line every 30 seconds elsewhere.
func (a *app) showProgress(log *slog.Logger, run progressing) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	show := func() { logProgress(log, run, done) }
	if f, ok := a.stderr.(*os.File); ok && !a.jsonLogs && term.IsTerminal(int(f.Fd())) {
		show = func() { drawProgress(a.stderr, run, done) }
	}
	go func() {
		defer close(ended)
		show()
	}()
	return func() {
		close(done)
		<-ended
	}
}

func logProgress(log *slog.Logger, run progressing, done <-chan struct{}) {
	tick := time.NewTicker(logEvery)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			p := run.Progress()
			for _, s := range p.Streams {
				if s.State != ingest.StreamRunning {
					continue
				}
				attrs := []any{"stream", s.Stream, "done", s.Done}
				if s.Total > 0 {
					attrs = append(attrs, "total", s.Total)
				}
				attrs = append(attrs, "per_second", fmt.Sprintf("%.0f", rate(s)))
				if eta, ok := remaining(s); ok {
					attrs = append(attrs, "left", span(eta))
				}
				if p.API.Total > 0 {
					attrs = append(attrs, "requests", p.API.Total, "budget_used", budgetShare(p))
				}
				if f := p.Files; f != nil {
					attrs = append(attrs, "files_saved", f.Saved, "files_held", f.Held, "files_not_saved", f.Failed, "files_bytes", f.Bytes)
				}
				log.Info("progress", attrs...)
			}
		}
	}
}

// drawProgress draws a bar for each stream, and below them the stages of the running one and the API
// budget.
func drawProgress(w io.Writer, run progressing, done <-chan struct{}) {
	screen := mpb.New(mpb.WithOutput(w), mpb.WithWidth(30), mpb.WithRefreshRate(200*time.Millisecond))
	bars := map[string]*mpb.Bar{}
	var latest atomic.Pointer[ingest.Progress] // mpb draws from a goroutine of its own
	at := func(name string) ingest.StreamProgress {
		for _, s := range latest.Load().Streams {
			if s.Stream == name {
				return s
			}
		}
		return ingest.StreamProgress{}
	}
	add := func(name string) *mpb.Bar {
		return screen.AddBar(0,
			mpb.PrependDecorators(decor.Name(fmt.Sprintf("%-22s", name))),
			mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return " " + describe(at(name)) })))
	}
	update := func() {
		p := run.Progress()
		latest.Store(&p)
		for _, s := range p.Streams {
			if bars[s.Stream] == nil {
				bars[s.Stream] = add(s.Stream)
			}
			bar := bars[s.Stream]
			total := max(s.Total, s.Done, 1)
			bar.SetTotal(total, false)
			bar.SetCurrent(min(s.Done, total))
			if s.State == ingest.StreamComplete {
				bar.SetCurrent(total)
			}
		}
	}
	update()
	foot := screen.New(1, mpb.NopStyle(), mpb.BarPriority(1<<20),
		mpb.PrependDecorators(decor.Any(func(decor.Statistics) string { return footer(*latest.Load()) })))
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-done:
			update()
			for _, bar := range bars {
				bar.SetTotal(-1, true)
				bar.Abort(false)
			}
			foot.Abort(true)
			screen.Wait()
			return
		case <-tick.C:
			update()
		}
	}
}

func describe(s ingest.StreamProgress) string {
	switch s.State {
	case ingest.StreamWaiting:
		return "waiting"
	case ingest.StreamSkipped:
		return "skipped"
	}
	text := count(s.Done)
	if s.Total > 0 {
		text += " / " + count(s.Total)
	}
	if s.Elapsed > 0 {
		text += fmt.Sprintf("   %.0f/s", rate(s))
	}
	if eta, ok := remaining(s); ok && s.State == ingest.StreamRunning {
		text += "   " + span(eta) + " left"
	}
	return text
}

// footer shows where the running stream's objects are, stage by stage, and the API budget.
func footer(p ingest.Progress) string {
	var stages []string
	for _, s := range p.Streams {
		if s.State != ingest.StreamRunning {
			continue
		}
		for i, stage := range s.Stages {
			n := stage.ItemsOut
			if i == len(s.Stages)-1 {
				n = stage.ItemsIn
			}
			stages = append(stages, stage.Name+" "+count(n))
		}
	}
	line := strings.Join(stages, " > ")
	if line != "" {
		line += "   "
	}
	if f := p.Files; f != nil {
		line += fmt.Sprintf("files: %s saved (%s), %s not   ", count(f.Saved+f.Held), size(f.Bytes), count(f.Failed))
	}
	if p.API.Total == 0 && p.API.PerMinute == 0 && line == "" {
		return span(p.Elapsed) // a run that has nothing to do with Intercom
	}
	return line + fmt.Sprintf("API: %s requests, %s of the budget", count(p.API.Total), budgetShare(p))
}

// rate is objects per second of the present attempt.
func rate(s ingest.StreamProgress) float64 {
	switch {
	case s.Elapsed <= 0:
		return 0
	case len(s.Stages) == 0:
		return float64(s.Read) / s.Elapsed.Seconds()
	}
	return float64(s.Stages[len(s.Stages)-1].ItemsIn) / s.Elapsed.Seconds()
}

func remaining(s ingest.StreamProgress) (time.Duration, bool) {
	r := rate(s)
	if r == 0 || s.Total <= s.Done {
		return 0, false
	}
	return time.Duration(float64(s.Total-s.Done) / r * float64(time.Second)), true
}

func budgetShare(p ingest.Progress) string {
	if p.API.PerMinute == 0 {
		return "an unknown share"
	}
	return fmt.Sprintf("%.0f %%", 100*p.API.Share)
}
