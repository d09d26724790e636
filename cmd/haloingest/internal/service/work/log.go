package work

import (
	"context"
	"log/slog"
	"sync/atomic"
)

// stats counts what this process has done.
type stats struct {
	done, failed, waited, panics, takenOver atomic.Int64
}

func (s *stats) count(verdict error) {
	switch {
	case verdict == nil:
		s.done.Add(1)
	case isSnooze(verdict):
		s.waited.Add(1)
	default:
		s.failed.Add(1)
	}
}

// Stats is what a process has done since it began to work.
type Stats struct {
	Running   int   // jobs that run now
	Done      int64 // attempts that ended well
	Failed    int64 // attempts that failed, for now or for good
	Waited    int64 // attempts that went back to the queue without having failed
	Panics    int64
	TakenOver int64 // jobs that this process has made available again after theirs had died
}

// Stats may be called at any time from any goroutine.
func (w *Worker) Stats() Stats {
	w.mu.Lock()
	n := len(w.tasks)
	w.mu.Unlock()
	return Stats{n, w.stats.done.Load(), w.stats.failed.Load(), w.stats.waited.Load(), w.stats.panics.Load(), w.stats.takenOver.Load()}
}

// riverLog is River's logger: what it says of single jobs is said by this package, with the organisation, so it speaks of warnings only.
func riverLog(log *slog.Logger) *slog.Logger {
	return slog.New(atLeast{log.Handler(), slog.LevelWarn})
}

// atLeast lets pass what is of a level or above.
type atLeast struct {
	slog.Handler
	level slog.Level
}

// Enabled is slog's.
func (h atLeast) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= h.level && h.Handler.Enabled(ctx, level)
}

// WithAttrs is slog's.
func (h atLeast) WithAttrs(attrs []slog.Attr) slog.Handler {
	return atLeast{h.Handler.WithAttrs(attrs), h.level}
}

// WithGroup is slog's.
func (h atLeast) WithGroup(name string) slog.Handler {
	return atLeast{h.Handler.WithGroup(name), h.level}
}
