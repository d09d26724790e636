package intercom

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// The rate limit counts requests in windows of ten seconds. Every authenticated reply names the window
// by its end (X-RateLimit-Reset) and says how many requests it has left for everybody
// (X-RateLimit-Remaining) of how many (X-RateLimit-Limit).
//
// Replies arrive out of order, so of one window the least figure counts and older windows are
// ignored. What is in flight may or may not be in that figure; it is taken to be not, which makes
// the budget a safe lower bound that becomes exact as replies come in. What may be used is spread
// over the rest of the window. When a window should be over by the clock, two requests go ahead,
// and the rest follows when a reply has confirmed the new window.
//
// Waiting needs no goroutines of its own: the first in the queue sleeps until its turn, and wakes the
// next one.

const (
	defaultWindow = 10 * time.Second
	// scouts is how many requests go into a window that no reply has confirmed yet.
	scouts = 2
	// guard is added to the computed end of a window, for what clocks and timers get wrong.
	guard    = 10 * time.Millisecond
	maxGuard = 2 * time.Second
	// jitter is by how much the end of one and the same window may vary between replies.
	jitter = 5 * time.Second
	// tight is a wait too short to be worth a timer.
	tight   = 300 * time.Microsecond
	forever = 24 * time.Hour
)

type budget struct {
	clock       Clock
	ceiling     int // our own requests per minute at most; 0 is no ceiling
	assumed     int // requests per minute while headers say nothing; 0 is no assumption
	maxInFlight int

	mu    sync.Mutex
	queue []*waiter
	skew  skew

	// The newest window a reply has told of; limit 0 before that.
	limit     int
	reset     time.Time // its end by the server's clock
	readAt    time.Time // when it was first told
	bare      int       // successful replies without headers since the last one with
	remaining int
	window    time.Duration
	guard     time.Duration

	unconfirmed bool // the clock says that a new window has begun, no reply has
	scouted     int  // requests sent since
	rolledAt    time.Time

	// Our own window, which follows the server's where there is one.
	begun    time.Time
	sent     int
	inFlight int
	lastSent time.Time

	// What other apps use: readings of this window since the first one.
	base   int
	baseAt time.Time
	others float64 // requests/s

	latency  time.Duration // moving average of a round trip
	blocked  time.Time     // after a 429, until when nobody may send
	refusals int           // 429s in a row
	scale    float64       // share of the budget we dare to use; shrinks with 429s, grows back

	// While there are no headers, requests in flight grow from few, like TCP's window.
	slow float64

	record budgetRecord
}

// budgetRecord is what Stats reports.
type budgetRecord struct {
	first      time.Time
	sent       int64
	throttled  int64
	waits      int64
	waited     time.Duration
	lastLimit  int
	lastSent   int
	lastOthers int
}

// ticket is the right to send one request; it must be given back with release.
type ticket struct {
	sentAt time.Time
	scout  bool
}

type waiter struct{ wake context.CancelFunc }

func newBudget(clock Clock, ceiling, assumed, maxInFlight int) *budget {
	return &budget{
		clock: clock, ceiling: ceiling, assumed: assumed, maxInFlight: maxInFlight,
		window: defaultWindow, guard: guard, scale: 1, slow: 4,
	}
}

// acquire waits for the right to send one request.
func (b *budget) acquire(ctx context.Context) (ticket, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := context.Cause(ctx); err != nil {
		return ticket{}, err
	}
	if len(b.queue) == 0 {
		if t, wait := b.try(b.clock.Now()); wait == 0 {
			return t, nil
		}
	}
	begun := b.clock.Now()
	w := &waiter{}
	b.queue = append(b.queue, w)
	b.record.waits++
	defer func() {
		b.record.waited += b.clock.Now().Sub(begun)
		b.leave(w)
	}()
	for {
		wait := forever
		if b.queue[0] == w {
			var t ticket
			if t, wait = b.try(b.clock.Now()); wait == 0 {
				return t, nil
			}
		}
		var nap context.Context
		nap, w.wake = context.WithCancel(ctx)
		b.mu.Unlock()
		_ = b.clock.Sleep(nap, wait)
		b.mu.Lock()
		w.wake()
		if err := context.Cause(ctx); err != nil {
			return ticket{}, err
		}
	}
}

// leave takes w out of the queue and lets the new first one look again.
func (b *budget) leave(w *waiter) {
	for i, q := range b.queue {
		if q == w {
			b.queue = append(b.queue[:i], b.queue[i+1:]...)
			break
		}
	}
	b.wakeFirst()
}

func (b *budget) wakeFirst() {
	if len(b.queue) > 0 && b.queue[0].wake != nil {
		b.queue[0].wake()
	}
}

// try takes a ticket, or says how long to wait before it is worth trying again; a release wakes
// earlier.
func (b *budget) try(now time.Time) (ticket, time.Duration) {
	if b.inFlight >= b.maxInFlight {
		return ticket{}, forever
	}
	if wait := b.blocked.Sub(now); wait > 0 {
		return ticket{}, wait
	}
	if !now.Before(b.end()) {
		b.roll(now)
	}
	left := b.end().Sub(now)
	switch {
	case b.unconfirmed && b.scouted >= scouts:
		return ticket{}, forever
	case b.limit == 0 && b.record.first.IsZero() && b.inFlight > 0:
		return ticket{}, forever // the first reply tells the limit
	case b.limit == 0 && b.inFlight >= int(b.slow):
		return ticket{}, forever
	}
	free, bounded := b.free(left)
	if bounded {
		if free <= 0 {
			// Replies may show that what is in flight had been counted already, and what is left to
			// other apps shrinks as time goes by.
			return ticket{}, max(tight, min(left, b.window/20))
		}
		if wait := b.pace(now, left, free); wait > tight {
			return ticket{}, wait
		}
	}
	t := ticket{sentAt: now, scout: b.unconfirmed}
	if b.unconfirmed {
		b.scouted++
	}
	b.inFlight++
	b.sent++
	b.record.sent++
	return t, 0
}

// end is when the current window is over for sure, by our clock.
func (b *budget) end() time.Time {
	if b.limit == 0 {
		return b.begun.Add(b.window)
	}
	if b.unconfirmed {
		return b.rolledAt.Add(b.window)
	}
	return b.reset.Add(b.guard - b.skew.low)
}

// roll begins a window that is known by the clock only.
func (b *budget) roll(now time.Time) {
	b.closeWindow()
	b.begun = now
	if b.limit == 0 {
		b.sent = 0
		return
	}
	b.unconfirmed, b.scouted, b.rolledAt = true, 0, now
	// What is in flight may be counted in either window.
	b.sent = b.inFlight
	b.remaining = b.limit
	b.base, b.baseAt = 0, now
}

// closeWindow keeps what is to be said of the window that ends.
func (b *budget) closeWindow() {
	if b.sent > 0 && b.limit > 0 {
		b.record.lastLimit = b.limit
		b.record.lastSent = b.sent
		b.record.lastOthers = max(0, b.limit-b.remaining-b.sent)
	}
}

// free is how many more requests of ours the rest of the window has room for, and whether anything
// bounds them.
func (b *budget) free(left time.Duration) (n int, bounded bool) {
	n = int(^uint(0) >> 1)
	if b.limit > 0 && !b.unconfirmed {
		reserve := min(max(1, b.limit/100), b.limit/2)
		coming := int(b.others * left.Seconds())
		n = b.remaining - b.inFlight - reserve - coming
		if b.scale < 1 {
			n = min(n, int(float64(b.limit)*b.scale)-b.sent)
		}
		bounded = true
	}
	own := b.ceiling
	if b.limit == 0 && b.assumed > 0 && (own == 0 || b.assumed < own) {
		own = b.assumed
	}
	if own > 0 {
		n = min(n, max(1, int(float64(own)*b.window.Minutes()))-b.sent)
		bounded = true
	}
	return n, bounded
}

// pace spreads the free requests over the window, but for a tail that keeps them from straying
// into the next one.
func (b *budget) pace(now time.Time, left time.Duration, free int) time.Duration {
	tail := max(b.window/50, min(2*b.latency, b.window/5))
	step := max(0, left-tail) / time.Duration(free)
	next := b.lastSent.Add(step)
	// A late sender may catch up a little, and no more: the step shrinks by itself.
	if floor := now.Add(-4 * step); next.Before(floor) {
		next = floor
	}
	wait := next.Sub(now)
	if wait <= tight {
		b.lastSent = next
	}
	return wait
}

// outcome is what a request came to, as far as the budget is concerned.
type outcome struct {
	status     int // 0 if no reply came
	header     http.Header
	retryAfter time.Duration // of the reply, 0 if it had none
}

// release gives a ticket back together with what the reply said.
func (b *budget) release(t ticket, o outcome) {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.wakeFirst()
	now := b.clock.Now()
	b.inFlight--
	if o.status != 0 {
		if date, err := http.ParseTime(o.header.Get("Date")); err == nil {
			b.skew.observe(date, t.sentAt, now)
		}
		if took := now.Sub(t.sentAt); b.latency == 0 {
			b.latency = took
		} else {
			b.latency += (took - b.latency) / 8
		}
	}
	limit, remaining, reset, ok := rateHeaders(o.header)
	if ok {
		b.observe(t, now, limit, remaining, reset)
	} else {
		if b.limit > 0 {
			b.remaining-- // it may have been counted all the same
		}
		if t.scout && b.unconfirmed {
			b.scouted--
		}
	}
	switch {
	case o.status == http.StatusTooManyRequests:
		b.refused(now, o.retryAfter, ok)
	case o.status >= 200 && o.status < 300:
		if b.refusals = 0; !ok {
			if b.bare++; b.bare == 3 && b.limit > 0 { // there are no headers any more
				b.limit, b.unconfirmed, b.begun = 0, false, now
			}
		}
		b.slow = min(b.slow+1, float64(b.maxInFlight))
		if b.record.first.IsZero() {
			b.record.first = now
			if b.begun.IsZero() {
				b.begun = now
			}
		}
	}
}

// observe takes in the rate headers of one reply.
func (b *budget) observe(t ticket, now time.Time, limit, remaining int, reset time.Time) {
	b.bare = 0
	step := reset.Sub(b.reset)
	switch {
	case b.limit == 0:
		// Who used what before our first reading is not known.
		b.base, b.baseAt = limit-remaining-b.sent, now
		b.begun = now
	case step == 0 && b.unconfirmed && t.scout:
		// Sent after the end that we computed, and yet in the old window.
		late := t.sentAt.Sub(b.reset.Add(-b.skew.low))
		b.guard = min(maxGuard, max(2*b.guard, late+250*time.Millisecond))
	case step == 0 && b.unconfirmed:
		return
	case step == 0:
		remaining = min(b.remaining, remaining)
	case step < 0 && !t.sentAt.After(b.readAt):
		return // of a window that is over
	case step < 0:
		// Sent when the later window had been seen: that one was a slip of the server's.
	case b.unconfirmed:
		b.scale = min(1, b.scale+0.05)
		b.base, b.baseAt = 0, now
	case step >= jitter:
		b.closeWindow()
		b.sent = b.inFlight + 1
		b.begun = now
		b.scale = min(1, b.scale+0.05)
		b.base, b.baseAt = 0, now
	}
	if step >= jitter && b.limit > 0 {
		b.window = min(b.window, step)
	}
	if reset != b.reset {
		b.readAt = now
	}
	b.limit, b.remaining, b.reset, b.unconfirmed = limit, remaining, reset, false
	if left := reset.Sub(now.Add(b.skew.low)); left > b.window+2*time.Second {
		b.window = min(time.Hour, left.Truncate(time.Minute)+time.Minute)
	}
	if seconds := now.Sub(b.baseAt).Seconds(); seconds > b.window.Seconds()/20 {
		b.others = float64(max(0, b.limit-b.remaining-b.sent-b.base)) / seconds
	}
}

// refused deals with a 429: nobody sends until it is over.
func (b *budget) refused(now time.Time, retryAfter time.Duration, headers bool) {
	b.record.throttled++
	b.slow = max(1, b.slow/2)
	b.refusals++
	wait := retryAfter
	if wait == 0 && headers {
		wait = b.reset.Add(b.guard - b.skew.low).Sub(now)
	}
	if wait <= 0 {
		wait = min(time.Minute, time.Second<<min(b.refusals-1, 6))
	}
	if headers && b.remaining > max(1, b.limit/100) {
		// There should have been room: a limit that the headers do not tell, such as the workspace's.
		b.scale = max(0.1, b.scale*0.8)
	}
	if headers && retryAfter == 0 {
		b.remaining = 0
	}
	if until := now.Add(wait); until.After(b.blocked) {
		b.blocked = until
	}
}

func rateHeaders(h http.Header) (limit, remaining int, reset time.Time, ok bool) {
	limit, err1 := strconv.Atoi(h.Get("X-RateLimit-Limit"))
	remaining, err2 := strconv.Atoi(h.Get("X-RateLimit-Remaining"))
	at, err3 := strconv.ParseInt(h.Get("X-RateLimit-Reset"), 10, 64)
	if err1 != nil || err2 != nil || err3 != nil || limit <= 0 || at <= 0 || at > 1<<40 {
		return 0, 0, time.Time{}, false
	}
	return limit, max(0, remaining), time.Unix(at, 0), true
}
