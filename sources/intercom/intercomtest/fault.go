package intercomtest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// FaultKind names a way for a request to go wrong.
type FaultKind string

// The kinds of fault.
const (
	Fault429            FaultKind = "429"             // see Fault.Headers
	FaultServerError    FaultKind = "5xx"             // Status, 500 if zero, with an error body
	FaultHTML           FaultKind = "html"            // Status, 504 if zero, with an HTML body
	FaultReset          FaultKind = "reset"           // the connection is reset before a reply
	FaultResetLate      FaultKind = "reset-late"      // the same in the middle of the body
	FaultStall          FaultKind = "stall"           // no reply for For (a minute if zero), then a reset
	FaultSlow           FaultKind = "slow"            // For (a second if zero) before the reply
	FaultSlowBody       FaultKind = "slow-body"       // Bytes per second (1000 if zero)
	FaultTruncated      FaultKind = "truncated"       // the body ends early and the connection is closed
	FaultShortLength    FaultKind = "short-length"    // Content-Length is smaller than the body was
	FaultBadGzip        FaultKind = "bad-gzip"        // Content-Encoding: gzip over something else
	FaultEmptyBody      FaultKind = "empty-body"      // 200 and no body
	FaultBadJSON        FaultKind = "bad-json"        // 200 and half a body, correctly framed
	FaultTokenRevoked   FaultKind = "token-revoked"   // 401
	FaultScopeLost      FaultKind = "scope-lost"      // Scope is missing
	FaultNotFound       FaultKind = "not-found"       // 404 for an object that a list has shown
	FaultRepeatedCursor FaultKind = "repeated-cursor" // the next cursor is the one just used
	FaultStaleCursor    FaultKind = "stale-cursor"    // 400 for a cursor
	FaultEmptyPage      FaultKind = "empty-page"      // no rows, but a next cursor that leads on
	FaultDuplicates     FaultKind = "duplicates"      // rows of this page and of the one before again
	FaultMovingRows     FaultKind = "moving-rows"     // some objects are touched before the page
	FaultDeletingRows   FaultKind = "deleting-rows"   // an object is deleted before the page
	FaultClockSkew      FaultKind = "clock-skew"      // Date and X-RateLimit-Reset are off by For
	FaultScrollFails    FaultKind = "scroll-fails"    // 500 in the middle of a scroll, which is lost
	FaultScrollHeld     FaultKind = "scroll-held"     // another tool has the scroll open

	// These befall requests for files only (Options.Files), as do those above that fit.
	FaultExpired   FaultKind = "expired"    // the signed address has run out: 403
	FaultRedirect  FaultKind = "redirect"   // Status (302 if zero) to Location
	FaultHuge      FaultKind = "huge"       // Bytes instead (1 GiB if zero); with HeadersNone the length is not told
	FaultStallLate FaultKind = "stall-late" // half the body, and nothing more for For (a minute if zero)
)

// FaultKinds lists all kinds.
func FaultKinds() []FaultKind {
	return []FaultKind{
		Fault429, FaultServerError, FaultHTML, FaultReset, FaultResetLate, FaultStall, FaultSlow, FaultSlowBody, FaultTruncated,
		FaultShortLength, FaultBadGzip, FaultEmptyBody, FaultBadJSON, FaultTokenRevoked, FaultScopeLost, FaultNotFound,
		FaultRepeatedCursor, FaultStaleCursor, FaultEmptyPage, FaultDuplicates, FaultMovingRows, FaultDeletingRows, FaultClockSkew,
		FaultScrollFails, FaultScrollHeld, FaultExpired, FaultRedirect, FaultHuge, FaultStallLate,
	}
}

// Headers says what a fault's 429 tells of its end.
type Headers string

// What a 429 may say.
const (
	HeadersReset      Headers = ""            // the X-RateLimit headers
	HeadersRetryAfter Headers = "retry-after" // Retry-After as well
	HeadersNone       Headers = "none"        // nothing
)

// Fault is something that goes wrong, and when. With neither a schedule nor a
// Rate it befalls every request that fits Path.
//
// Rate and the schedule are two ways of choosing. Whether a Rate hits depends on
// the seed, on the request itself (method, URL and body) and on how often this
// very request was hit before, not on the order of arrival: concurrent clients
// meet the same faults in each run, and a retry has a fresh chance. The schedule
// (Nth, From, To, Every) counts the requests that fit Path as they arrive.
type Fault struct {
	Kind FaultKind `json:"kind"`
	// Path limits the fault: a pattern of path.Match over the path, with an
	// optional method before it ("GET /conversations/*"). Empty is every path.
	Path string `json:"path,omitempty"`
	// Rate is the share of requests that are hit, 0 to 1.
	Rate float64 `json:"rate,omitempty"`
	// Nth lists the requests to hit, the first being 1; From and To are a range
	// (To 0 is open); Every hits each so-many-th.
	Nth   []int `json:"nth,omitempty"`
	From  int   `json:"from,omitempty"`
	To    int   `json:"to,omitempty"`
	Every int   `json:"every,omitempty"`
	// Times ends the fault after so many hits; 0 is never.
	Times int `json:"times,omitempty"`

	Status  int           `json:"status,omitempty"`
	Headers Headers       `json:"headers,omitempty"`
	For     time.Duration `json:"for,omitempty"`
	Bytes   int           `json:"bytes,omitempty"`
	Scope   Scope         `json:"scope,omitempty"`
	// Location is where FaultRedirect leads to.
	Location string `json:"location,omitempty"`
}

// faultSet decides which requests are hit.
type faultSet struct {
	seed   uint64
	active atomic.Bool

	mu   sync.Mutex
	list []*armed
}

type armed struct {
	Fault
	seen, hits int
	again      map[uint64]int // how often a request was hit, by its hash
}

// SetFaults replaces all faults.
func (w *Workspace) SetFaults(faults ...Fault) error {
	list := make([]*armed, 0, len(faults))
	for _, f := range faults {
		if !slices.Contains(FaultKinds(), f.Kind) {
			return fmt.Errorf("fault %q is not known", f.Kind)
		}
		if _, err := path.Match(patternPath(f.Path), "/x"); err != nil {
			return fmt.Errorf("fault %s: path %q: %w", f.Kind, f.Path, err)
		}
		if f.Rate < 0 || f.Rate > 1 {
			return fmt.Errorf("fault %s: rate %v is not between 0 and 1", f.Kind, f.Rate)
		}
		if f.Kind == FaultScopeLost && f.Scope == 0 {
			return fmt.Errorf("fault %s: no scope is named", f.Kind)
		}
		list = append(list, &armed{Fault: f, again: map[uint64]int{}})
	}
	w.faults.mu.Lock()
	defer w.faults.mu.Unlock()
	w.faults.list = list
	w.faults.active.Store(len(list) > 0)
	return nil
}

// Faults lists the faults that are set.
func (w *Workspace) Faults() []Fault {
	w.faults.mu.Lock()
	defer w.faults.mu.Unlock()
	out := make([]Fault, 0, len(w.faults.list))
	for _, a := range w.faults.list {
		out = append(out, a.Fault)
	}
	return out
}

func patternPath(p string) string {
	if method, rest, ok := strings.Cut(p, " "); ok && !strings.HasPrefix(method, "/") {
		return rest
	}
	return p
}

func (f *Fault) fits(method, urlPath string) bool {
	p := f.Path
	if p == "" {
		return true
	}
	if m, rest, ok := strings.Cut(p, " "); ok && !strings.HasPrefix(m, "/") {
		if m != method {
			return false
		}
		p = rest
	}
	ok, _ := path.Match(p, urlPath) // the pattern was checked by SetFaults
	return ok
}

func (f *Fault) scheduled() bool { return len(f.Nth) > 0 || f.From > 0 || f.To > 0 || f.Every > 0 }

// faultHash must be the same in every process.
func faultHash(parts ...string) uint64 {
	h := uint64(14695981039346656037)
	for _, p := range parts {
		for i := range len(p) {
			h = (h ^ uint64(p[i])) * 1099511628211
		}
		h = (h ^ 0xff) * 1099511628211
	}
	return mix64(h)
}

// pick gives the faults that befall a request.
func (s *faultSet) pick(c *call, _ int64) []*Fault {
	if !s.active.Load() {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*Fault
	id := faultHash(c.r.Method, c.r.URL.RequestURI(), string(c.body))
	for i, a := range s.list {
		if !a.fits(c.r.Method, c.path) || a.Times > 0 && a.hits >= a.Times {
			continue
		}
		a.seen++
		hit := !a.scheduled() && a.Rate == 0
		if a.scheduled() {
			hit = slices.Contains(a.Nth, a.seen) || (a.From > 0 || a.To > 0) && a.seen >= a.From && (a.To == 0 || a.seen <= a.To) ||
				a.Every > 0 && a.seen%a.Every == 0
		} else if a.Rate > 0 {
			r := newRNG(s.seed^id, streamFault, i*1000+a.again[id])
			if hit = float64(r.next()>>11)/(1<<53) < a.Rate; hit {
				a.again[id]++
			}
		}
		if hit {
			a.hits++
			out = append(out, &a.Fault)
		}
	}
	return out
}

// hit gives the fault of a kind that befalls this request and counts it.
func (c *call) hit(k FaultKind) *Fault {
	for _, f := range c.hits {
		if f.Kind == k {
			c.w.stats.fault(k)
			return f
		}
	}
	return nil
}

// breakBefore applies the faults that come before the API does anything. True
// ends the request.
func (c *call) breakBefore(rw http.ResponseWriter) bool {
	if len(c.hits) == 0 {
		return false
	}
	if c.hit(FaultReset) != nil {
		reset(rw)
		return true
	}
	if f := c.hit(FaultStall); f != nil {
		c.wait(f.For, time.Minute)
		reset(rw)
		return true
	}
	if f := c.hit(FaultSlow); f != nil {
		c.wait(f.For, time.Second)
	}
	if f := c.hit(FaultServerError); f != nil {
		c.fail(orInt(f.Status, 500), "server_error", "Something went wrong")
	} else if f := c.hit(FaultHTML); f != nil {
		c.status = orInt(f.Status, 504)
		c.out.b = append(c.out.b[:0], "<html>\r\n<head><title>504 Gateway Time-out</title></head>\r\n<body><center><h1>504 Gateway Time-out</h1></center></body>\r\n</html>\r\n"...)
		c.set("Content-Type", "text/html")
	} else if c.hit(FaultNotFound) != nil {
		c.notFound("Resource Not Found")
	}
	return false
}

// wait waits, unless the client goes away.
func (c *call) wait(d, def time.Duration) {
	if d == 0 {
		d = def
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), d)
	defer cancel()
	<-ctx.Done()
}

func orInt(v, def int) int {
	if v == 0 {
		return def
	}
	return v
}

// reset ends the connection without a reply.
func reset(rw http.ResponseWriter) {
	conn, _, err := http.NewResponseController(rw).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // HTTP/2 or a test's recorder
	}
	if t, ok := conn.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // a reset rather than an orderly end
	}
	_ = conn.Close()
}

// breakAfter applies the faults that spoil a finished reply. True means that the
// reply was sent.
func (c *call) breakAfter(rw http.ResponseWriter) bool {
	if len(c.hits) == 0 {
		return false
	}
	h := rw.Header()
	if f := c.hit(FaultClockSkew); f != nil {
		skew := f.For
		h["Date"] = []string{c.w.opts.Now().Add(skew).UTC().Format(http.TimeFormat)}
		if c.w.limiter.limit > 0 && c.status != 401 {
			h["X-Ratelimit-Reset"] = []string{fmt.Sprint(c.w.opts.Now().Unix()/10*10 + 10 + int64(skew.Seconds()))}
		}
	}
	body := c.out.b
	length := func(n int) { h["Content-Length"] = []string{fmt.Sprint(n)} }
	sent := func(n int) bool {
		c.w.stats.finish(c.endpoint, c.status, n)
		return true
	}
	switch {
	case c.hit(FaultEmptyBody) != nil:
		length(0)
		rw.WriteHeader(200)
		return sent(0)
	case c.hit(FaultBadJSON) != nil:
		c.out.b = body[:len(body)/2]
	case c.hit(FaultShortLength) != nil:
		n := len(body) * 2 / 3
		length(n)
		rw.WriteHeader(c.status)
		_, _ = rw.Write(body[:n])
		return sent(n)
	case c.hit(FaultBadGzip) != nil:
		h["Content-Encoding"] = []string{"gzip"}
	case c.hit(FaultTruncated) != nil:
		length(len(body))
		rw.WriteHeader(c.status)
		n, _ := rw.Write(body[:len(body)/2])
		_ = http.NewResponseController(rw).Flush()
		sent(n)
		panic(http.ErrAbortHandler) // the library's way to close without the rest
	case c.hit(FaultResetLate) != nil:
		length(len(body))
		rw.WriteHeader(c.status)
		n, _ := rw.Write(body[:len(body)/2])
		_ = http.NewResponseController(rw).Flush()
		sent(n)
		reset(rw)
		return true
	}
	if f := c.hit(FaultSlowBody); f != nil {
		return sent(c.drip(rw, f))
	}
	return false
}

// drip sends the body slowly.
func (c *call) drip(rw http.ResponseWriter, f *Fault) int {
	body, rate := c.out.b, orInt(f.Bytes, 1000)
	rw.Header()["Content-Length"] = []string{fmt.Sprint(len(body))}
	rw.WriteHeader(c.status)
	step := max(1, rate/10)
	pause := max(time.Duration(float64(time.Second)*float64(step)/float64(rate)), time.Millisecond)
	for n := 0; n < len(body); n += step {
		if _, err := rw.Write(body[n:min(n+step, len(body))]); err != nil {
			return n
		}
		_ = http.NewResponseController(rw).Flush()
		if c.wait(pause, pause); c.r.Context().Err() != nil {
			return n
		}
	}
	return len(body)
}
