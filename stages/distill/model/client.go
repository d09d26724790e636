package model

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Endpoint is an OpenAI-compatible service: hosted, or a local server.
type Endpoint struct {
	URL    string // up to and with the version, e.g. https://host/v1
	Key    string // sent as a bearer token; empty for none
	HTTP   *http.Client
	Budget Budget // nil: no limit
	// Timeout is for one request, 0: two minutes. Attempts are how often a request that failed for a passing reason is made, 0: three times.
	Timeout  time.Duration
	Attempts int
	// Pause is before the first repetition, 0: a second; then it doubles.
	Pause time.Duration
	// Rest is how long the service is left alone after it failed several conversations in a row, 0: a minute.
	Rest time.Duration
	// Now and Sleep stand for the clock, for tests.
	Now   func() time.Time
	Sleep func(context.Context, time.Duration) error
}

// Budget limits what is spent. It is safe for concurrent use.
type Budget interface {
	// Request counts a request and returns ErrBudget instead, if the day has none left.
	Request(ctx context.Context) error
	// Tokens counts what a request has cost.
	Tokens(ctx context.Context, n int64) error
}

var (
	// ErrBudget says that the day's requests or tokens are spent.
	ErrBudget = errors.New("the budget of the day is spent")
	// ErrEndpoint says that the service gave no answer. Its errors never hold the key.
	ErrEndpoint = errors.New("the model's endpoint gave no answer")
)

// NewHTTPClient returns a client that has at most so many requests under way, and follows no redirect: a key goes to the host it was meant
// for only.
func NewHTTPClient(atOnce int) *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxConnsPerHost, transport.MaxIdleConnsPerHost = atOnce, atOnce
	transport.ForceAttemptHTTP2 = false // one request a connection, so that the limit is one of requests
	transport.Protocols = new(http.Protocols)
	transport.Protocols.SetHTTP1(true)
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// CheckURL refuses an address of no service, or one to which conversations would go in clear.
func CheckURL(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return errors.New("want https://host/v1")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("want %s://%s%s alone, without a user, a query or a fragment", u.Scheme, u.Host, u.Path)
	case u.Scheme == "http" && !local(u.Hostname()):
		return fmt.Errorf("%s://%s would send conversations in clear; plain http is for this machine only (127.0.0.1, localhost), use https", u.Scheme, u.Host)
	}
	return nil
}

func local(host string) bool {
	addr, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && addr.IsLoopback()
}

// client speaks to an Endpoint. It is safe for concurrent use.
type client struct {
	Endpoint

	mu     sync.Mutex
	failed int       // conversations in a row
	until  time.Time // when the service may be asked again
}

const (
	maxAnswer   = 4 << 20
	maxPause    = 30 * time.Second
	maxFailures = 5 // in a row, before the service is left alone
)

func newClient(e Endpoint) *client {
	if e.HTTP == nil {
		e.HTTP = NewHTTPClient(4)
	}
	if e.Timeout <= 0 {
		e.Timeout = 2 * time.Minute
	}
	if e.Attempts <= 0 {
		e.Attempts = 3
	}
	if e.Pause <= 0 {
		e.Pause = time.Second
	}
	if e.Rest <= 0 {
		e.Rest = time.Minute
	}
	if e.Now == nil {
		e.Now = time.Now
	}
	if e.Sleep == nil {
		e.Sleep = sleep
	}
	e.URL = strings.TrimRight(e.URL, "/")
	return &client{Endpoint: e}
}

func sleep(ctx context.Context, d time.Duration) error {
	wait, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-wait.Done()
	return ctx.Err()
}

// statusError is an answer other than 200. Its text is the service's, cut short.
type statusError struct {
	status int
	text   string
	after  time.Duration
}

func (e *statusError) Error() string { return fmt.Sprintf("HTTP status %d: %s", e.status, e.text) }

func (e *statusError) passing() bool {
	return e.status == http.StatusTooManyRequests || e.status == http.StatusRequestTimeout || e.status >= 500
}

// post sends a request, again where it failed for a passing reason, and decodes the answer. An error is ErrBudget, ErrEndpoint, or ctx's.
func (c *client) post(ctx context.Context, path string, body, into any) error {
	if err := c.resting(); err != nil {
		return err
	}
	text, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("write the question: %w", err)
	}
	pause := c.Pause
	for attempt := 1; ; attempt++ {
		if c.Budget != nil {
			if err := c.Budget.Request(ctx); err != nil {
				return err
			}
		}
		err := c.once(ctx, path, text, into)
		if err == nil {
			c.answered(true)
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var status *statusError
		lasting := errors.As(err, &status) && !status.passing()
		if lasting || attempt == c.Attempts {
			if !lasting || status.status == http.StatusUnauthorized || status.status == http.StatusForbidden || status.status == http.StatusNotFound {
				c.answered(false)
			}
			return fmt.Errorf("%w: %w", ErrEndpoint, err)
		}
		wait := pause/2 + rand.N(pause)
		if status != nil && status.after > 0 {
			wait = min(status.after, maxPause)
		}
		if err := c.Sleep(ctx, wait); err != nil {
			return err
		}
		pause = min(2*pause, maxPause)
	}
}

// resting refuses while the service is left alone.
func (c *client) resting() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.Now(); now.Before(c.until) {
		return fmt.Errorf("%w: it failed %d times in a row and is left alone for %s", ErrEndpoint, c.failed, c.until.Sub(now).Round(time.Second))
	}
	return nil
}

func (c *client) answered(well bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if well {
		c.failed = 0
		return
	}
	if c.failed++; c.failed >= maxFailures {
		c.until = c.Now().Add(c.Rest)
	}
}

func (c *client) once(ctx context.Context, path string, body []byte, into any) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("make the request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	if c.Key != "" {
		req.Header.Set("Authorization", "Bearer "+c.Key)
	}
	res, err := c.HTTP.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case err != nil:
		return fmt.Errorf("read the answer: %w", err)
	case res.StatusCode != http.StatusOK:
		return &statusError{res.StatusCode, c.short(answer), retryAfter(res.Header.Get("Retry-After"))}
	case len(answer) > maxAnswer:
		return fmt.Errorf("the answer has more than %d bytes", maxAnswer)
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	return nil
}

// short is what an error may repeat of an answer: a line, without the key.
func (c *client) short(answer []byte) string {
	text := strings.Join(strings.Fields(strings.ToValidUTF8(string(answer[:min(len(answer), 300)]), "")), " ")
	if c.Key != "" {
		text = strings.ReplaceAll(text, c.Key, "…")
	}
	return text
}

func retryAfter(value string) time.Duration {
	seconds, err := strconv.Atoi(value)
	if err != nil || seconds < 0 {
		return 0
	}
	return time.Duration(seconds) * time.Second
}
