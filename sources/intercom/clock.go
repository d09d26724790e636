package intercom

import (
	"context"
	"time"
)

// Clock is the time as the client sees it. The zero Options use the machine's.
type Clock interface {
	Now() time.Time
	// Sleep waits for d, or less if ctx is done first; then it returns ctx's cause.
	Sleep(ctx context.Context, d time.Duration) error
}

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

func (systemClock) Sleep(ctx context.Context, d time.Duration) error {
	if d > 0 {
		wait, cancel := context.WithTimeout(ctx, d)
		defer cancel()
		<-wait.Done()
	}
	return context.Cause(ctx)
}

// skew bounds how far the server's clock is ahead of ours. A Date header has whole seconds, so one
// reply says only that at some time between sending and receiving the server's clock was in
// [Date, Date+1s); many replies together narrow it down to about one round trip.
type skew struct {
	low, high time.Duration
	known     bool
}

// observe takes in the Date header of a reply that was asked for at sent and arrived at received.
func (s *skew) observe(date, sent, received time.Time) {
	low, high := date.Sub(received), date.Add(time.Second).Sub(sent)
	if !s.known {
		s.low, s.high, s.known = low, high, true
		return
	}
	s.low, s.high = max(s.low, low), min(s.high, high)
	if s.low > s.high { // one of the clocks was set, or has drifted
		s.low, s.high = low, high
	}
}
