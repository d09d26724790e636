package intercomtest

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// Stats is what the simulated API has seen.
type Stats struct {
	// Requests counts all requests, Endpoints them by method and path with
	// placeholders ("GET /conversations/{id}").
	Requests  int64            `json:"requests"`
	Endpoints map[string]int64 `json:"endpoints"`
	// Statuses counts replies by HTTP status; 0 is a reply that never came.
	Statuses map[int]int64 `json:"statuses"`
	// Bytes is the size of all bodies sent.
	Bytes int64 `json:"bytes"`
	// TooMany counts the 429s, those of faults included.
	TooMany int64 `json:"too_many_requests"`
	// WindowLimit is the budget of a 10 second window (0 is none), MaxInWindow the
	// most that one window let through, Windows the history, newest last.
	WindowLimit int         `json:"window_limit"`
	MaxInWindow int         `json:"max_in_window"`
	Windows     []WindowUse `json:"windows"`
	// Violations are requests that would have changed the workspace, as METHOD PATH.
	Violations []string `json:"violations"`
	// Faults counts the faults that befell requests, by kind.
	Faults map[FaultKind]int64 `json:"faults"`
}

type stats struct {
	n, bytes, refused atomic.Int64

	mu         sync.Mutex
	endpoints  map[string]int64
	statuses   map[int]int64
	violations []string
	faults     map[FaultKind]int64
}

func (s *stats) init() {
	s.endpoints, s.statuses, s.faults = map[string]int64{}, map[int]int64{}, map[FaultKind]int64{}
}

func (s *stats) total() int64 { return s.n.Load() }

// count notes a request and gives its number, the first being 1.
func (s *stats) count(endpoint string) int64 {
	s.mu.Lock()
	s.endpoints[endpoint]++
	s.mu.Unlock()
	return s.n.Add(1)
}

func (s *stats) finish(_ string, status, bytes int) {
	s.bytes.Add(int64(bytes))
	s.mu.Lock()
	s.statuses[status]++
	s.mu.Unlock()
}

func (s *stats) tooMany() { s.refused.Add(1) }

func (s *stats) violation(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.violations) < 1000 {
		s.violations = append(s.violations, what)
	}
}

func (s *stats) fault(k FaultKind) {
	s.mu.Lock()
	s.faults[k]++
	s.mu.Unlock()
}

// Stats gives the figures so far.
func (w *Workspace) Stats() Stats {
	s, l := &w.stats, w.limiter
	s.mu.Lock()
	out := Stats{
		Requests: s.n.Load(), Endpoints: maps.Clone(s.endpoints), Statuses: maps.Clone(s.statuses), Bytes: s.bytes.Load(),
		TooMany: s.refused.Load(), Violations: slices.Clone(s.violations), Faults: maps.Clone(s.faults),
	}
	s.mu.Unlock()
	l.mu.Lock()
	out.WindowLimit, out.MaxInWindow, out.Windows = l.limit, l.most, slices.Clone(l.ledger)
	l.mu.Unlock()
	return out
}

// ResetStats sets all figures to zero, but not the present rate window.
func (w *Workspace) ResetStats() {
	s, l := &w.stats, w.limiter
	s.mu.Lock()
	s.init()
	s.violations = nil
	s.mu.Unlock()
	s.n.Store(0)
	s.bytes.Store(0)
	s.refused.Store(0)
	l.mu.Lock()
	l.most = l.used
	if n := len(l.ledger); n > 0 {
		l.ledger = slices.Clone(l.ledger[n-1:])
	}
	l.mu.Unlock()
}
