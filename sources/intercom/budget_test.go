package intercom

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// windowServer counts requests as Intercom documents it: in windows of ten seconds, by a clock of its
// own, with another app that takes its share. It is the oracle: it knows nothing of budget.
type windowServer struct {
	limit   int
	ahead   time.Duration // of its clock
	floor   bool          // windows begin at a fraction of a second, and Reset is rounded down
	others  float64       // requests/s
	bare    bool          // no rate headers
	noDate  bool
	mu      sync.Mutex
	start   time.Time
	used    int
	refused int
	windows []int // requests let through, all apps'
	ours    []int
}

func (s *windowServer) take() (int, http.Header) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now().Add(s.ahead)
	start := now.Truncate(10 * time.Second)
	if s.floor {
		start = now.Add(-700 * time.Millisecond).Truncate(10 * time.Second).Add(700 * time.Millisecond)
	}
	if !start.Equal(s.start) {
		s.start, s.used = start, 0
		s.windows, s.ours = append(s.windows, 0), append(s.ours, 0)
	}
	other := int(s.others * now.Sub(start).Seconds())
	status := 200
	if s.used+other >= s.limit {
		status = 429
		s.refused++
	} else {
		s.used++
	}
	last := len(s.windows) - 1
	s.windows[last], s.ours[last] = s.used+other, s.used
	h := http.Header{}
	if !s.noDate {
		h.Set("Date", now.UTC().Format(http.TimeFormat))
	}
	if !s.bare {
		h.Set("X-RateLimit-Limit", strconv.Itoa(s.limit))
		h.Set("X-RateLimit-Remaining", strconv.Itoa(max(0, s.limit-s.used-other)))
		h.Set("X-RateLimit-Reset", strconv.FormatInt(start.Add(10*time.Second).Unix(), 10))
	}
	return status, h
}

// hammer has workers send as fast as the budget lets them, for a time.
func hammer(t *testing.T, b *budget, s *windowServer, workers int, latency, jitter, length time.Duration) {
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(w), 1))
			half := func() time.Duration {
				if jitter == 0 {
					return latency / 2
				}
				return latency/2 + time.Duration(random.Int64N(int64(jitter)))/2
			}
			for {
				ticket, err := b.acquire(ctx)
				if err != nil {
					return
				}
				time.Sleep(half())
				status, header := s.take()
				time.Sleep(half())
				b.release(ticket, outcome{status: status, header: header})
			}
		})
	}
	wg.Wait()
}

func TestTheBudgetIsHeldWithoutOverrunning(t *testing.T) {
	for _, c := range []struct {
		name    string
		server  *windowServer
		workers int
		latency time.Duration
		jitter  time.Duration
		least   float64 // share of the limit that all apps together use
		refused int     // 429s that cannot be avoided
	}{
		{name: "10,000 a minute and 20 ms", server: &windowServer{limit: 1667}, workers: 64, latency: 20 * time.Millisecond, least: 0.97},
		{name: "1,000 a minute and 20 ms", server: &windowServer{limit: 167}, workers: 64, latency: 20 * time.Millisecond, least: 0.97},
		{name: "500 a minute", server: &windowServer{limit: 83}, workers: 8, latency: 20 * time.Millisecond, least: 0.95},
		{name: "replies out of order", server: &windowServer{limit: 1667}, workers: 128, latency: 50 * time.Millisecond, jitter: 400 * time.Millisecond, least: 0.96},
		{name: "few workers", server: &windowServer{limit: 167}, workers: 1, latency: 40 * time.Millisecond, least: 0.95},
		{name: "a server that is 3.3 s ahead", server: &windowServer{limit: 1667, ahead: 3300 * time.Millisecond}, workers: 64, latency: 20 * time.Millisecond, least: 0.97},
		{name: "a server that is an hour behind", server: &windowServer{limit: 1667, ahead: -time.Hour - 700*time.Millisecond}, workers: 64, latency: 20 * time.Millisecond, least: 0.97},
		{name: "another app that takes 30 %", server: &windowServer{limit: 1667, others: 50}, workers: 64, latency: 20 * time.Millisecond, least: 0.95},
		{name: "another app that takes 80 %", server: &windowServer{limit: 1667, others: 133}, workers: 64, latency: 20 * time.Millisecond, jitter: 100 * time.Millisecond, least: 0.95},
		{name: "windows that end at fractions of a second", server: &windowServer{limit: 1667, floor: true}, workers: 64, latency: 20 * time.Millisecond, least: 0.85, refused: 4},
		{name: "no Date header", server: &windowServer{limit: 1667, noDate: true}, workers: 64, latency: 20 * time.Millisecond, least: 0.97},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(3700 * time.Millisecond)
				s := c.server
				b := newBudget(systemClock{}, 0, 0, 128)
				hammer(t, b, s, c.workers, c.latency, c.jitter, 70*time.Second)
				t.Log("windows", s.windows, "ours", s.ours, "refused", s.refused)
				if s.refused > c.refused {
					t.Errorf("%d requests were refused, want at most %d", s.refused, c.refused)
				}
				// The first window is shared with the time before, the last one is cut short.
				for _, n := range s.windows[1 : len(s.windows)-1] {
					if share := float64(n) / float64(s.limit); share < c.least {
						t.Errorf("a window was used to %.3f, want at least %.2f", share, c.least)
					}
				}
			})
		})
	}
}

func TestTheBudgetIsSpreadOverTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &windowServer{limit: 1667}
		b := newBudget(systemClock{}, 0, 0, 128)
		var mu sync.Mutex
		perSecond := make(map[int64]int)
		ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
		defer cancel()
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() {
				for {
					ticket, err := b.acquire(ctx)
					if err != nil {
						return
					}
					mu.Lock()
					perSecond[time.Now().Unix()]++
					mu.Unlock()
					time.Sleep(20 * time.Millisecond)
					status, header := s.take()
					b.release(ticket, outcome{status: status, header: header})
				}
			})
		}
		wg.Wait()
		for second, n := range perSecond {
			if n > 200 { // 167 is even
				t.Errorf("%d requests in second %d", n, second%60)
			}
		}
	})
}

func TestACeilingBelowTheLimitIsKept(t *testing.T) {
	for _, bare := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := &windowServer{limit: 1667, bare: bare}
			b := newBudget(systemClock{}, 600, 0, 128)
			hammer(t, b, s, 32, 20*time.Millisecond, 0, 65*time.Second)
			total := 0
			for _, n := range s.ours {
				if total += n; n > 102 { // and what was in flight between two windows
					t.Errorf("windows %v: %d in one, the ceiling is 100", s.ours, n)
				}
			}
			if total < 570 {
				t.Errorf("windows %v: %d requests in 65 s, want close to 650", s.ours, total)
			}
		})
	}
}

func TestWithoutHeadersTheDocumentedLimitIsAssumed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &windowServer{limit: 1 << 30, bare: true}
		b := newBudget(systemClock{}, 0, 9_500, 128)
		hammer(t, b, s, 128, 20*time.Millisecond, 0, 60*time.Second)
		total := 0
		for _, n := range s.ours {
			total += n
		}
		if total > 10_000 || total < 9_000 {
			t.Errorf("%d requests in a minute, want up to 10,000", total)
		}
	})
}

func TestWithoutHeadersAndLimitNothingIsHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &windowServer{limit: 1 << 30, bare: true}
		b := newBudget(systemClock{}, 0, 0, 128)
		hammer(t, b, s, 64, 20*time.Millisecond, 0, 10*time.Second)
		if n := s.ours[0]; n < 64*50*10*9/10 {
			t.Errorf("%d requests in 10 s, 64 workers can do 32,000", n)
		}
	})
}

func TestA429StopsEverybodyUntilItIsOver(t *testing.T) {
	for _, c := range []struct {
		name       string
		header     http.Header
		retryAfter time.Duration
		least      time.Duration
		most       time.Duration
	}{
		{"with Retry-After", http.Header{}, 7 * time.Second, 7 * time.Second, 7500 * time.Millisecond},
		{"with the window's end", rateHeader(100, 0, 9), 0, 9 * time.Second, 9500 * time.Millisecond},
		{"with nothing", http.Header{}, 0, time.Second, 1500 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBudget(systemClock{}, 0, 0, 8)
				now := time.Now()
				first := must(b.acquire(t.Context()))(t)
				b.release(first, outcome{status: 200, header: rateHeader(100, 90, 9)})
				one, two := must(b.acquire(t.Context()))(t), must(b.acquire(t.Context()))(t)
				paced := time.Since(now)
				b.release(one, outcome{status: 429, header: c.header, retryAfter: c.retryAfter})
				b.release(two, outcome{status: 200, header: rateHeader(100, 88, 9)})
				must(b.acquire(t.Context()))(t)
				if waited := time.Since(now) - paced; waited < c.least-paced || waited > c.most {
					t.Errorf("the next request went after %v, want %v to %v", waited, c.least, c.most)
				}
			})
		})
	}
}

func TestAReplyOfAnOlderWindowDoesNotMoveTheBudgetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(systemClock{}, 0, 0, 8)
		first := must(b.acquire(t.Context()))(t)
		b.release(first, outcome{status: 200, header: rateHeader(100, 50, 9)})
		old, fresh := must(b.acquire(t.Context()))(t), must(b.acquire(t.Context()))(t)
		b.release(fresh, outcome{status: 200, header: rateHeader(100, 99, 19)})
		b.release(old, outcome{status: 200, header: rateHeader(100, 3, 9)})
		if b.remaining != 99 {
			t.Errorf("remaining is %d, want 99 as the newer window had it", b.remaining)
		}
	})
}

func TestAReplyWithMoreLeftIsOlderAndIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(systemClock{}, 0, 0, 8)
		first := must(b.acquire(t.Context()))(t)
		b.release(first, outcome{status: 200, header: rateHeader(100, 50, 9)})
		one, two := must(b.acquire(t.Context()))(t), must(b.acquire(t.Context()))(t)
		b.release(two, outcome{status: 200, header: rateHeader(100, 20, 9)})
		b.release(one, outcome{status: 200, header: rateHeader(100, 49, 9)})
		if b.remaining != 20 {
			t.Errorf("remaining is %d, want 20", b.remaining)
		}
	})
}

func TestAFalseResetDoesNotHoldTheBudgetForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(systemClock{}, 0, 0, 8)
		first := must(b.acquire(t.Context()))(t)
		b.release(first, outcome{status: 200, header: rateHeader(100, 50, 3600)})
		time.Sleep(time.Millisecond)
		next := must(b.acquire(t.Context()))(t)
		b.release(next, outcome{status: 200, header: rateHeader(100, 49, 9)})
		if left := b.end().Sub(time.Now()); left > 10*time.Second {
			t.Errorf("the window is thought to end in %v, want 9 s", left)
		}
	})
}

func TestACancelledWaitLeavesTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(systemClock{}, 0, 0, 1)
		held := must(b.acquire(t.Context()))(t)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := b.acquire(ctx); err != context.Canceled {
				t.Errorf("error %v, want that of the context", err)
			}
		})
		var after time.Duration
		wg.Go(func() {
			time.Sleep(time.Second)
			must(b.acquire(t.Context()))(t)
			after = time.Since(held.sentAt)
		})
		time.Sleep(2 * time.Second)
		cancel()
		time.Sleep(time.Second)
		b.release(held, outcome{})
		wg.Wait()
		if after != 3*time.Second {
			t.Errorf("the second in the queue went after %v, want when the first request was done, after 3s", after)
		}
	})
}

func rateHeader(limit, remaining int, reset int) http.Header {
	// synctest begins at midnight of 2000-01-01.
	at := time.Date(2000, 1, 1, 0, 0, reset, 0, time.UTC)
	h := http.Header{}
	h.Set("X-RateLimit-Limit", strconv.Itoa(limit))
	h.Set("X-RateLimit-Remaining", strconv.Itoa(remaining))
	h.Set("X-RateLimit-Reset", strconv.FormatInt(at.Unix(), 10))
	return h
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
