package replay

import (
	"sync"
	"time"

	"haloingest/cmd/haloingest/internal/ingest"
	"haloingest/sinks/parquet"
	"haloingest/sources/snapshot"
)

// progress adds up what was loaded, by the name of the stream over all runs. Safe for concurrent use.
type progress struct {
	mu      sync.Mutex
	started time.Time
	streams []*streamProgress
}

type streamProgress struct {
	ingest.StreamProgress
	since time.Time     // when it was last begun; zero: it is not running
	spent time.Duration // until then
}

// newProgress counts what there is to load.
func newProgress(runs []*snapshot.Run, streams func(*snapshot.Run) []snapshot.Stream) *progress {
	p := &progress{started: time.Now()}
	for _, run := range runs {
		for _, stream := range streams(run) {
			p.stream(stream.Name).Total += objects(stream.Segments)
		}
	}
	return p
}

// objects is how many changes and rejects are in segments.
func objects(segments []snapshot.Segment) (n int64) {
	for i := range segments {
		for _, f := range segments[i].Files {
			if f.Table != parquet.TableKnowledge {
				n += f.Rows
			}
		}
	}
	return n
}

func (p *progress) stream(name string) *streamProgress {
	for _, s := range p.streams {
		if s.Stream == name {
			return s
		}
	}
	s := &streamProgress{}
	s.Stream, s.State = name, ingest.StreamWaiting
	p.streams = append(p.streams, s)
	return s
}

// start says that the stream is the one that is loaded from now on.
func (p *progress) start(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pause()
	s := p.stream(name)
	s.State, s.since = ingest.StreamRunning, time.Now()
}

func (p *progress) pause() {
	for _, s := range p.streams {
		if !s.since.IsZero() {
			s.spent += time.Since(s.since)
			s.since = time.Time{}
			s.State = ingest.StreamWaiting
		}
		if s.Done >= s.Total && s.State == ingest.StreamWaiting {
			s.State = ingest.StreamComplete
		}
	}
}

func (p *progress) complete() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pause()
	for _, s := range p.streams {
		s.State = ingest.StreamComplete
	}
}

// skip counts what earlier attempts have loaded.
func (p *progress) skip(name string, all, left []snapshot.Segment) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stream(name).Done += objects(all) - objects(left)
}

func (p *progress) add(name string, n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stream(name)
	s.Read += n
	s.Done += n
}

func (p *progress) snapshot() ingest.Progress {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := ingest.Progress{Elapsed: time.Since(p.started)}
	for _, s := range p.streams {
		c := s.StreamProgress
		c.Elapsed = s.spent
		if !s.since.IsZero() {
			c.Elapsed += time.Since(s.since)
		}
		out.Streams = append(out.Streams, c)
	}
	return out
}

// ended sums up this attempt.
func (p *progress) ended() (elapsed time.Duration, read int64, speeds []ingest.Speed) {
	at := p.snapshot()
	for _, s := range at.Streams {
		speed := ingest.Speed{Stream: s.Stream, Objects: s.Read, Elapsed: s.Elapsed}
		if s.Elapsed > 0 {
			speed.PerSecond = float64(s.Read) / s.Elapsed.Seconds()
		}
		read += s.Read
		speeds = append(speeds, speed)
	}
	return at.Elapsed, read, speeds
}
