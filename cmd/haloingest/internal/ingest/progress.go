package ingest

import (
	"sync"
	"time"

	"haloingest/pipeline"
	"haloingest/sources/intercom"
)

// Progress is how far a run is, at one moment.
type Progress struct {
	Streams []StreamProgress
	API     intercom.Stats
	Elapsed time.Duration
	// Files is what this process has done with attachments; nil if the run saves none.
	Files *intercom.AttachmentStats
}

// StreamState says what became of a stream.
type StreamState string

const (
	StreamWaiting  StreamState = "waiting"
	StreamRunning  StreamState = "running"
	StreamComplete StreamState = "complete"
	StreamSkipped  StreamState = "skipped"
)

// StreamProgress is how far one stream is.
type StreamProgress struct {
	Stream  string
	State   StreamState
	Read    int64 // objects read in this process
	Done    int64 // objects committed, those of earlier attempts included
	Total   int64 // as the source counts them; 0 while unknown
	Elapsed time.Duration
	Stages  []pipeline.StageStats
}

// tracker collects progress. Safe for concurrent use.
type tracker struct {
	mu      sync.Mutex
	now     func() time.Time
	started time.Time
	streams []*streamTrack
}

type streamTrack struct {
	name     string
	state    StreamState
	before   int64 // committed by earlier attempts
	total    int64
	started  time.Time
	ended    time.Time
	pipeline *pipeline.Pipeline
}

func newTracker(now func() time.Time, streams []string) *tracker {
	t := &tracker{now: now, started: now()}
	for _, name := range streams {
		t.streams = append(t.streams, &streamTrack{name: name, state: StreamWaiting})
	}
	return t
}

func (t *tracker) stream(name string) *streamTrack {
	for _, s := range t.streams {
		if s.name == name {
			return s
		}
	}
	s := &streamTrack{name: name, state: StreamWaiting}
	t.streams = append(t.streams, s)
	return s
}

func (t *tracker) start(name string, before, total int64, p *pipeline.Pipeline) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.stream(name)
	s.state, s.before, s.total, s.pipeline, s.started = StreamRunning, before, total, p, t.now()
}

func (t *tracker) end(name string, state StreamState) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.stream(name)
	s.state, s.ended = state, t.now()
	if s.started.IsZero() {
		s.started = s.ended
	}
}

func (t *tracker) snapshot() []StreamProgress {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]StreamProgress, len(t.streams))
	for i, s := range t.streams {
		p := StreamProgress{Stream: s.name, State: s.state, Done: s.before, Total: s.total}
		switch {
		case s.started.IsZero():
		case s.ended.IsZero():
			p.Elapsed = t.now().Sub(s.started)
		default:
			p.Elapsed = s.ended.Sub(s.started)
		}
		if s.pipeline != nil {
			p.Stages = s.pipeline.Stats()
			if n := len(p.Stages); n > 0 {
				p.Read = p.Stages[0].ItemsOut
				p.Done += p.Stages[n-1].ItemsIn
			}
		}
		list[i] = p
	}
	return list
}
