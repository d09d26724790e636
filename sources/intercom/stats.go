package intercom

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// Stats is what a client has done so far.
type Stats struct {
	Requests  map[string]int64 // by endpoint, e.g. "GET /conversations/{id}"; retries count
	Total     int64
	Throttled int64 // 429 replies
	Retries   int64
	Waits     int64 // requests that had to wait for the budget
	Waited    time.Duration
	Bytes     int64 // of reply bodies, unpacked

	// The budget as the last replies told it; zero while there have been no rate headers.
	WindowLimit     int           // requests that all apps of the workspace may make in one window
	Window          time.Duration // its length
	WindowRemaining int
	PerMinute       int // the same limit per minute
	// Share of the advertised budget that our requests used: of the last whole window, and since
	// the first reply.
	WindowShare, Share float64
	OthersShare        float64 // of the last whole window, by other apps
}

type counters struct {
	mu        sync.Mutex
	requests  map[string]int64
	retries   int64
	bytes     int64
	successes int64
}

func (s *counters) count(endpoint string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.requests == nil {
		s.requests = make(map[string]int64)
	}
	s.requests[endpoint]++
}

func (s *counters) succeed(bytes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.successes++
	s.bytes += int64(bytes)
}

func (s *counters) succeeded() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.successes
}

func (s *counters) retry() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retries++
}

// Stats returns a copy of the client's figures.
func (c *Client) Stats() Stats {
	c.stats.mu.Lock()
	st := Stats{Requests: make(map[string]int64, len(c.stats.requests)), Retries: c.stats.retries, Bytes: c.stats.bytes}
	for name, n := range c.stats.requests {
		st.Requests[name] = n
		st.Total += n
	}
	c.stats.mu.Unlock()
	c.budget.report(&st)
	if !c.since.IsZero() {
		st.Throttled -= c.before.Throttled
		st.Waits -= c.before.Waits
		st.Waited -= c.before.Waited
		if minutes := c.opts.Clock.Now().Sub(c.since).Minutes(); minutes > 0 && st.PerMinute > 0 {
			st.Share = min(1, float64(st.Total)/(float64(st.PerMinute)*minutes))
		}
	}
	return st
}

// Endpoints lists the endpoints that were called, the busiest first.
func (s Stats) Endpoints() []string {
	names := make([]string, 0, len(s.Requests))
	for name := range s.Requests {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(s.Requests[b], s.Requests[a]), cmp.Compare(a, b))
	})
	return names
}

func (b *budget) report(st *Stats) {
	b.mu.Lock()
	defer b.mu.Unlock()
	st.Throttled, st.Waits, st.Waited = b.record.throttled, b.record.waits, b.record.waited
	if b.limit == 0 {
		return
	}
	st.WindowLimit, st.Window, st.WindowRemaining = b.limit, b.window, b.remaining
	st.PerMinute = int(float64(b.limit)/b.window.Minutes() + 0.5)
	if b.record.lastLimit > 0 {
		st.WindowShare = float64(b.record.lastSent) / float64(b.record.lastLimit)
		st.OthersShare = float64(b.record.lastOthers) / float64(b.record.lastLimit)
	}
	if minutes := b.clock.Now().Sub(b.record.first).Minutes(); minutes > 0 && !b.record.first.IsZero() {
		st.Share = min(1, float64(b.record.sent)/(float64(b.limit)/b.window.Minutes()*minutes))
	}
}
