package intercomtest

import (
	"fmt"
	"strconv"
	"sync"
	"time"
)

// window is the length of a rate window; the budget of a minute is spread over
// six of them.
const window = 10 * time.Second

// limiter keeps the budget of the present window.
type limiter struct {
	limit int // per window, 0 is none
	share float64

	mu     sync.Mutex
	start  int64 // unix seconds
	used   int
	most   int
	ledger []WindowUse
}

// WindowUse is what one 10 second window saw.
type WindowUse struct {
	// Start is the beginning of the window in unix seconds.
	Start int64 `json:"start"`
	// Used counts the requests that were let through, Refused those that got a 429.
	Used    int `json:"used"`
	Refused int `json:"refused"`
}

func newLimiter(o Options) *limiter {
	return &limiter{limit: (o.RateLimit + 3) / 6, share: o.OtherAppShare}
}

// take spends one request at time now. It gives what is left and when the window
// ends.
func (l *limiter) take(now time.Time) (ok bool, left int, reset int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	start := now.Unix() / 10 * 10
	if start != l.start || len(l.ledger) == 0 {
		l.start, l.used = start, 0
		if len(l.ledger) >= 10_000 {
			l.ledger = append(l.ledger[:0], l.ledger[5_000:]...)
		}
		l.ledger = append(l.ledger, WindowUse{Start: start})
	}
	use := &l.ledger[len(l.ledger)-1]
	reset = start + 10
	if l.limit == 0 {
		l.used++
		use.Used++
		l.most = max(l.most, l.used)
		return true, 0, reset
	}
	// The other app spends its share evenly over the window.
	other := int(l.share * float64(l.limit) * now.Sub(time.Unix(start, 0)).Seconds() / window.Seconds())
	if l.used+other >= l.limit {
		use.Refused++
		return false, 0, reset
	}
	l.used++
	use.Used++
	l.most = max(l.most, l.used)
	return true, l.limit - l.used - other, reset
}

// spend takes the request from the budget, or answers 429.
func (c *call) spend() bool {
	l := c.w.limiter
	ok, left, reset := l.take(c.w.opts.Now())
	if l.limit > 0 {
		c.set("X-Ratelimit-Limit", strconv.Itoa(l.limit))
		c.set("X-Ratelimit-Remaining", strconv.Itoa(left))
		c.set("X-Ratelimit-Reset", strconv.FormatInt(reset, 10))
	}
	if !ok {
		c.w.stats.tooMany()
		c.fail(429, "rate_limit_exceeded", fmt.Sprintf("Exceeded rate limit of %d in 10_seconds", l.limit))
	}
	return ok
}

// tooMany is a 429 that a fault asked for: somebody else used up the budget.
func (c *call) tooMany(f *Fault) {
	c.w.stats.tooMany()
	limit := max(c.w.limiter.limit, 1)
	now := c.w.opts.Now()
	switch f.Headers {
	case HeadersNone:
		delete(c.header, "X-Ratelimit-Limit")
		delete(c.header, "X-Ratelimit-Remaining")
		delete(c.header, "X-Ratelimit-Reset")
	case HeadersRetryAfter:
		c.set("Retry-After", strconv.Itoa(max(1, int(f.For/time.Second))))
	default:
		reset := now.Unix()/10*10 + 10
		if f.For > 0 {
			reset = now.Add(f.For).Unix() + 1
		}
		c.set("X-Ratelimit-Limit", strconv.Itoa(limit))
		c.set("X-Ratelimit-Remaining", "0")
		c.set("X-Ratelimit-Reset", strconv.FormatInt(reset, 10))
	}
	c.fail(429, "rate_limit_exceeded", fmt.Sprintf("Exceeded rate limit of %d in 10_seconds", limit))
}
