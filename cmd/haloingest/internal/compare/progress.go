package compare

import (
	"sync/atomic"
	"time"

	"haloingest/cmd/haloingest/internal/ingest"
	"haloingest/pipeline"
	"haloingest/pipeline/record"
)

// progress is how far one walk is.
type progress struct {
	stream   string
	total    int64
	started  time.Time
	pipeline atomic.Pointer[pipeline.Pipeline] // nil: listed counts
	listed   atomic.Int64
	ended    atomic.Pointer[time.Time]
}

// follow makes a walk visible.
func (l *Live) follow(kind record.Kind, total int64) *progress {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := &progress{stream: kind.Stream(), total: total, started: time.Now()}
	l.walks = append(l.walks, out)
	return out
}

func (p *progress) through(pl *pipeline.Pipeline) { p.pipeline.Store(pl) }

func (p *progress) add(n int64) { p.listed.Add(n) }

func (p *progress) finish() {
	now := time.Now()
	p.ended.Store(&now)
}

// Progress is how far the walks over the workspace are. It may be called at any time from any goroutine.
func (l *Live) Progress() []ingest.StreamProgress {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make([]ingest.StreamProgress, len(l.walks))
	for i, w := range l.walks {
		p := ingest.StreamProgress{Stream: w.stream, State: ingest.StreamRunning, Total: w.total, Elapsed: time.Since(w.started)}
		if end := w.ended.Load(); end != nil {
			p.State, p.Elapsed = ingest.StreamComplete, end.Sub(w.started)
		}
		if pl := w.pipeline.Load(); pl != nil {
			p.Stages = pl.Stats()
			p.Read = p.Stages[0].ItemsOut
			p.Done = p.Stages[len(p.Stages)-1].ItemsIn
		} else {
			p.Read = w.listed.Load()
			p.Done = p.Read
		}
		list[i] = p
	}
	return list
}
