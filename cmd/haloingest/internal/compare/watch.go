package compare

import (
	"slices"
	"sync"
	"time"

	"haloingest/cmd/haloingest/internal/ingest"
	"haloingest/sinks/diff"
	"haloingest/sources/intercom"
)

// Watch gathers how far a diff is, for whoever shows it. The zero value is not ready; see NewWatch. Safe for concurrent
// use.
type Watch struct {
	live    *Live            // nil: Intercom is not read
	client  *intercom.Client // likewise
	names   [2]string
	started time.Time

	mu    sync.Mutex
	lines []line
}

type line struct {
	entity, phase string
	began, last   time.Time
	done          int64
}

// NewWatch returns a watch over a diff of the sides of those names.
func NewWatch(left, right string, live *Live) *Watch {
	w := &Watch{live: live, names: [2]string{left, right}, started: time.Now()}
	if live != nil {
		w.client = live.o.Client
	}
	return w
}

// Note takes up what the diff says of itself.
func (w *Watch) Note(p diff.Progress) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	i := slices.IndexFunc(w.lines, func(l line) bool { return l.entity == p.Entity && l.phase == p.Phase })
	if i < 0 {
		w.lines = append(w.lines, line{entity: p.Entity, phase: p.Phase, began: now})
		i = len(w.lines) - 1
	}
	w.lines[i].done, w.lines[i].last = p.Done, now
}

// Progress lists the walks over Intercom and what is read and compared of each entity.
func (w *Watch) Progress() ingest.Progress {
	p := ingest.Progress{Elapsed: time.Since(w.started)}
	if w.live != nil {
		p.Streams, p.API = w.live.Progress(), w.client.Stats()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, l := range w.lines {
		name := "compare"
		switch l.phase {
		case "left":
			name = w.names[0]
		case "right":
			name = w.names[1]
		}
		if name == "intercom" {
			continue // its walks say it better
		}
		s := ingest.StreamProgress{
			Stream: name + " " + l.entity, State: ingest.StreamRunning, Read: l.done, Done: l.done, Elapsed: l.last.Sub(l.began),
		}
		if i < len(w.lines)-1 && w.lines[len(w.lines)-1].entity != l.entity {
			s.State = ingest.StreamComplete
		}
		p.Streams = append(p.Streams, s)
	}
	return p
}
