package intercom

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// call is one request, to be made as often as it takes.
type call struct {
	op       string // for errors: "read conversation 123"
	endpoint string // for Stats: method and path with placeholders; method and path if empty
	method   string
	path     string
	query    url.Values
	body     any
	// once is set where a repeated request would skip data: what is answered twice is read once.
	// Then only what was certainly not carried out is tried again.
	once bool
	// single is set where one object is read: what fails may be the object, which the client finds out by
	// reading one that was well.
	single bool
}

// reply is a whole, valid JSON answer.
type reply struct {
	body []byte
	at   time.Time // when it had arrived, by our clock
}

// unreadableAttempts bounds the attempts at a reply that arrives but is no JSON: an object that cannot
// be read is to be rejected within seconds.
const unreadableAttempts = 4

// suspicious is after how many server errors in a row a single object may be at fault rather than the service: after
// seven seconds, where waiting to the end would hold a whole stream up for two minutes.
const suspicious = 4

// do makes a request until it is answered for good. The error is an *Error, or ctx's cause.
func (c *Client) do(ctx context.Context, k call) (reply, error) {
	if k.endpoint == "" {
		k.endpoint = k.method + " " + k.path
	}
	var body []byte
	if k.body != nil {
		var err error
		if body, err = json.Marshal(k.body); err != nil {
			return reply{}, fmt.Errorf("%s: %w", k.op, err)
		}
	}
	begun, before := c.opts.Clock.Now(), c.stats.succeeded()
	for attempt, failures := 1, 0; ; attempt++ {
		ticket, err := c.budget.acquire(ctx)
		if err != nil {
			return reply{}, fmt.Errorf("%s: %w", k.op, err)
		}
		c.stats.count(k.endpoint)
		r, o, failure := c.attempt(ctx, k, body)
		c.budget.release(ticket, o)
		if failure == nil {
			c.stats.succeed(len(r.body))
			if k.single {
				c.well.Store(k.endpoint, k)
			}
			return r, nil
		}
		if err := context.Cause(ctx); err != nil {
			return reply{}, fmt.Errorf("%s: %w", k.op, err)
		}
		failure.Op, failure.Method, failure.Path, failure.Attempts = k.op, k.method, k.path, attempt
		limited := failure.Status == http.StatusTooManyRequests
		if !limited {
			failures++
		}
		wait := c.backoff(failures, failure.retryAfter)
		spent := c.opts.Clock.Now().Sub(begun)
		if !c.again(k, failure, failures) || spent+wait > c.opts.MaxRetryTime {
			failure.Alone = c.stats.succeeded() > before
			return reply{}, failure
		}
		if k.single && failures >= suspicious && failure.Status >= 500 && c.isWell(ctx, k) {
			failure.Alone = true
			return reply{}, failure
		}
		c.stats.retry()
		c.opts.Log.DebugContext(ctx, "request is tried again", "op", k.op, "attempt", attempt, "status", failure.Status,
			"code", failure.Code, "cause", failure.err, "wait", wait)
		if limited {
			continue // the budget holds everybody back until the limit is over
		}
		if err := c.opts.Clock.Sleep(ctx, wait); err != nil {
			return reply{}, fmt.Errorf("%s: %w", k.op, err)
		}
	}
}

type endpointKey struct{}

// Endpoint is what a request asks for, as in Stats: method and path with placeholders, e.g. "GET /conversations/{id}". It is known of
// the requests that reach Options.Wrap, and "" of others.
func Endpoint(r *http.Request) string {
	endpoint, _ := r.Context().Value(endpointKey{}).(string)
	return endpoint
}

// isWell reads the object of the same kind that was read last, once, and reports whether it still can be read.
func (c *Client) isWell(ctx context.Context, k call) bool {
	known, ok := c.well.Load(k.endpoint)
	if !ok {
		return false
	}
	other := known.(call)
	ticket, err := c.budget.acquire(ctx)
	if err != nil {
		return false
	}
	c.stats.count(other.endpoint)
	r, o, failure := c.attempt(ctx, other, nil)
	c.budget.release(ticket, o)
	if failure != nil {
		return false
	}
	c.stats.succeed(len(r.body))
	return true
}

// again says whether a failed request is worth another attempt.
func (c *Client) again(k call, e *Error, failures int) bool {
	if failures >= c.opts.MaxAttempts {
		return false
	}
	if k.once {
		// Anything else may have been carried out before it failed.
		return e.Status == http.StatusTooManyRequests || e.Status == http.StatusServiceUnavailable && e.Code != ""
	}
	switch e.Class {
	case ClassTemporary:
		return true
	case ClassUnreadable:
		return failures < unreadableAttempts && !errors.Is(e.err, ErrTooLarge)
	}
	return false
}

// backoff is the wait after the n-th failure: what the server says, else Backoff doubling up to a
// minute, give or take a fifth, so that many clients do not come back at once.
func (c *Client) backoff(n int, retryAfter time.Duration) time.Duration {
	if retryAfter > 0 {
		return retryAfter
	}
	wait := min(time.Minute, c.opts.Backoff<<min(max(n-1, 0), 10))
	return time.Duration(float64(wait) * (0.8 + 0.4*rand.Float64()))
}

// attempt makes a request once. The error is never nil together with a reply.
func (c *Client) attempt(ctx context.Context, k call, body []byte) (reply, outcome, *Error) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	if c.opts.Wrap != nil {
		ctx = context.WithValue(ctx, endpointKey{}, k.endpoint)
	}
	target := *c.base
	target.Path += k.path
	target.RawQuery = k.query.Encode()
	var content io.Reader
	if body != nil {
		content = bytes.NewReader(body)
	}
	request, err := http.NewRequestWithContext(ctx, k.method, target.String(), content)
	if err != nil {
		return reply{}, outcome{}, &Error{Class: ClassRequest, err: errors.New("the path cannot be requested")}
	}
	c.sign(request)
	request.Header.Set("Accept", "application/json")
	request.Header.Set("Intercom-Version", c.version)
	request.Header.Set("User-Agent", "haloingest")
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := c.http.Do(request)
	if err != nil {
		return reply{}, outcome{}, c.networkError(err, 0)
	}
	defer response.Body.Close()
	o := outcome{status: response.StatusCode, header: response.Header}
	now := c.opts.Clock.Now()
	o.retryAfter = retryAfter(response.Header, now)

	var buf bytes.Buffer
	if n := response.ContentLength; n > 0 && n <= c.opts.MaxBody {
		buf.Grow(int(n) + bytes.MinRead)
	}
	_, err = buf.ReadFrom(io.LimitReader(response.Body, c.opts.MaxBody+1))
	failed := response.StatusCode < 200 || response.StatusCode > 299
	switch {
	case failed: // a broken body of an error does not matter
		e := parseError(response.StatusCode, response.Header, buf.Bytes())
		e.Message = c.censor(e.Message)
		e.retryAfter = o.retryAfter
		return reply{}, o, e
	case int64(buf.Len()) > c.opts.MaxBody:
		return reply{}, o, &Error{Status: response.StatusCode, Class: ClassUnreadable,
			err: fmt.Errorf("%w of %d bytes", ErrTooLarge, c.opts.MaxBody)}
	case err != nil:
		return reply{}, o, c.networkError(err, response.StatusCode)
	case len(bytes.TrimSpace(buf.Bytes())) == 0:
		return reply{}, o, &Error{Status: response.StatusCode, Class: ClassUnreadable, err: ErrEmpty}
	case !json.Valid(buf.Bytes()):
		return reply{}, o, &Error{Status: response.StatusCode, Class: ClassUnreadable, err: ErrNotJSON}
	}
	return reply{body: buf.Bytes(), at: c.opts.Clock.Now().UTC()}, o, nil
}

// networkError is a connection that failed, before the reply (status 0) or within it.
func (c *Client) networkError(err error, status int) *Error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // the URL has the query in it
	}
	class := ClassTemporary
	if status != 0 && !isTimeout(err) {
		class = ClassUnreadable
	}
	if errors.Is(err, context.DeadlineExceeded) {
		// Not wrapped: the deadline was this attempt's, and the caller's context is not done.
		err = fmt.Errorf("no whole answer within %v", c.opts.Timeout)
	}
	return &Error{Status: status, Class: class, Hint: hintFor(ClassTemporary, 0, ""), err: censored{err, c.censor}}
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// censored keeps the token out of an error's text.
type censored struct {
	error
	censor func(string) string
}

func (e censored) Error() string { return plain(e.censor(e.error.Error()), maxMessage) }
func (e censored) Unwrap() error { return e.error }

// retryAfter reads the header in either form, 0 if there is none. More than an hour is not believed.
func retryAfter(h http.Header, now time.Time) time.Duration {
	value := strings.TrimSpace(h.Get("Retry-After"))
	if value == "" {
		return 0
	}
	wait := time.Duration(0)
	if seconds, err := strconv.Atoi(value); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		if date, err := http.ParseTime(h.Get("Date")); err == nil {
			now = date // both by the server's clock
		}
		wait = at.Sub(now)
	}
	if wait <= 0 {
		return 0
	}
	return min(wait, time.Hour)
}
