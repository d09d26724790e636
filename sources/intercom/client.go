package intercom

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// DefaultVersion is the Intercom-Version asked for. It is the newest one whose description we hold, and the
// first with the endpoints for deletions and merges (fact sheet, section 1).
const DefaultVersion = "2.16"

// Regions lists the regions that Intercom keeps workspaces in.
func Regions() []string { return []string{"us", "eu", "au"} }

func regionHost(region string) (string, bool) {
	switch strings.ToLower(region) {
	case "us":
		return "https://api.intercom.io", true
	case "eu":
		return "https://api.eu.intercom.io", true
	case "au":
		return "https://api.au.intercom.io", true
	}
	return "", false
}

// Options of a Client. The zero value is what a backfill of a real workspace wants.
type Options struct {
	// BaseURL replaces the region's host. Plain http is accepted for loopback addresses only. It is an
	// operator's setting: never take it from a request or a database.
	BaseURL string
	// Version is the Intercom-Version to ask for, DefaultVersion if empty.
	Version string
	// RequestsPerMinute bounds our own requests below what the rate headers allow; 0 is no such bound.
	RequestsPerMinute int
	// MaxInFlight bounds the requests under way at once, 128 if zero.
	MaxInFlight int
	// Timeout bounds one attempt, reply body included; 90 s if zero. Slow searches take 20 s.
	Timeout time.Duration
	// MaxAttempts and MaxRetryTime bound the attempts of one request and the time spent waiting
	// between them, whichever ends first; 8 and 5 minutes if zero. Waiting for a rate limit to pass
	// counts as time, not as an attempt.
	MaxAttempts  int
	MaxRetryTime time.Duration
	// Backoff is the wait after the first failure, which doubles up to a minute; 1 s if zero.
	Backoff time.Duration
	// MaxBody bounds the bytes of one reply, unpacked; 256 MiB if zero.
	MaxBody int64
	// SpoolDir is where a company scroll is kept while it is read, the system's place for temporary
	// files if empty.
	SpoolDir string
	// ScrollWait is the wait after which a company scroll in use is tried again, at least; 61 s if
	// zero. ScrollPatience is how long in all; 15 minutes if zero.
	ScrollWait, ScrollPatience time.Duration
	// Transport replaces the HTTP transport, mostly for tests.
	Transport http.RoundTripper
	// Wrap, if it is set, is given the transport and returns what is used in its place: something that counts, times or traces. It
	// finds what is asked for with Endpoint, since a path has ids in it. Client.Close reaches it as CloseIdleConnections.
	Wrap  func(http.RoundTripper) http.RoundTripper
	Clock Clock
	Log   *slog.Logger
}

// Client reads one workspace. It is safe for concurrent use; all requests of a token should go through
// one Client, since it holds the rate budget.
type Client struct {
	base    *url.URL
	region  string
	version string
	sign    func(*http.Request) // adds the token; a closure, so that no %+v can print it
	censor  func(string) string // removes the token from a server's text
	http    *http.Client
	budget  *budget
	opts    Options
	stats   counters
	well    sync.Map // the last call that read a single object, by endpoint
	before  Stats    // of the budget when Share made this client; zero: it is a client of its own
	since   time.Time
}

// Share returns a client with figures of its own that shares everything else with c: token, connections and budget. So requests of one run can
// be told from those of others that go on beside it or went before. It is closed with c.
func (c *Client) Share() *Client {
	out := &Client{
		base: c.base, region: c.region, version: c.version, sign: c.sign, censor: c.censor, http: c.http, budget: c.budget, opts: c.opts,
		since: c.opts.Clock.Now(),
	}
	c.budget.report(&out.before)
	return out
}

// New returns a client for the workspace in region ("us", "eu" or "au") that token belongs to.
func New(region, token string, o Options) (*Client, error) {
	host, ok := regionHost(region)
	if !ok {
		return nil, fmt.Errorf("region %q: want us, eu or au", region)
	}
	base, err := parseBase(cmp.Or(o.BaseURL, host))
	if err != nil {
		return nil, err
	}
	token = strings.TrimSpace(token)
	if token == "" {
		return nil, errors.New("the Intercom access token is empty")
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, ErrTokenForm
	}
	o.Version = cmp.Or(o.Version, DefaultVersion)
	if _, ok := versionOf(o.Version); !ok {
		return nil, fmt.Errorf("Intercom version %q: want a number such as %s", o.Version, DefaultVersion)
	}
	if o.RequestsPerMinute < 0 {
		return nil, fmt.Errorf("requests per minute: %d is negative", o.RequestsPerMinute)
	}
	o.MaxInFlight = cmp.Or(o.MaxInFlight, 128)
	o.Timeout = cmp.Or(o.Timeout, 90*time.Second)
	o.MaxAttempts = cmp.Or(o.MaxAttempts, 8)
	o.MaxRetryTime = cmp.Or(o.MaxRetryTime, 5*time.Minute)
	o.Backoff = cmp.Or(o.Backoff, time.Second)
	o.MaxBody = cmp.Or(o.MaxBody, 256<<20)
	o.ScrollWait = cmp.Or(o.ScrollWait, 61*time.Second)
	o.ScrollPatience = cmp.Or(o.ScrollPatience, 15*time.Minute)
	if o.Clock == nil {
		o.Clock = systemClock{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	transport := o.Transport
	if transport == nil {
		transport = newTransport(o.MaxInFlight)
	}
	if o.Wrap != nil {
		transport = o.Wrap(transport)
	}
	assumed := 0
	if o.BaseURL == "" {
		// Nearly the documented limit of a private app, for the day the headers are missing. Whoever
		// sets an address of their own has no limit but the one its headers tell.
		assumed = 9_500
	}
	return &Client{
		base:    base,
		region:  strings.ToLower(region),
		version: o.Version,
		sign:    func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) },
		censor:  func(s string) string { return strings.ReplaceAll(s, token, "[token]") },
		http:    &http.Client{Transport: transport, CheckRedirect: stayOnHost},
		budget:  newBudget(o.Clock, o.RequestsPerMinute, assumed, o.MaxInFlight),
		opts:    o,
	}, nil
}

// String names the host; the token is in none of the ways in which a Client can be printed.
func (c *Client) String() string   { return "Intercom at " + c.base.Host }
func (c *Client) GoString() string { return c.String() }

// Version is the Intercom-Version that the client asks for.
func (c *Client) Version() string { return c.version }

// Region is the configured region, in lower case.
func (c *Client) Region() string { return c.region }

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func newTransport(inFlight int) *http.Transport {
	dialer := &net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           dialer.DialContext,
		ForceAttemptHTTP2:     true,
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:   15 * time.Second,
		MaxIdleConns:          inFlight,
		MaxIdleConnsPerHost:   inFlight,
		IdleConnTimeout:       90 * time.Second,
		ExpectContinueTimeout: time.Second,
		ReadBufferSize:        32 << 10,
	}
}

// stayOnHost keeps the token from being sent anywhere else: what leads off the host is not followed
// and comes back as the 3xx that it is.
func stayOnHost(r *http.Request, via []*http.Request) error {
	first := via[0].URL
	if len(via) > 3 || r.URL.Scheme != first.Scheme || r.URL.Host != first.Host {
		return http.ErrUseLastResponse
	}
	return nil
}

func parseBase(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("Intercom address %q: want https://host", redactUser(raw, u))
	}
	switch u.Scheme {
	case "https":
	case "http":
		if !isLoopback(u.Hostname()) {
			return nil, fmt.Errorf("Intercom address %q: plain http is accepted for loopback addresses only", raw)
		}
	default:
		return nil, fmt.Errorf("Intercom address %q: want https://host", raw)
	}
	u.Path = strings.TrimRight(u.Path, "/")
	return u, nil
}

func redactUser(raw string, u *url.URL) string {
	if u == nil || u.User == nil {
		return raw
	}
	return u.Redacted()
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// versionOf makes a version comparable: 2.16 is 2016. "Preview" and its older names count as newest.
func versionOf(s string) (int, bool) {
	if strings.EqualFold(s, "preview") || strings.EqualFold(s, "unstable") {
		return 1 << 30, true
	}
	major, minor, ok := strings.Cut(s, ".")
	a, err1 := strconv.ParseUint(major, 10, 8)
	b, err2 := strconv.ParseUint(minor, 10, 8)
	if !ok || err1 != nil || err2 != nil {
		return 0, false
	}
	return int(a)*1000 + int(b), true
}

// atLeast reports whether the client asks for version s or a later one.
func (c *Client) atLeast(s string) bool {
	have, _ := versionOf(c.version)
	want, _ := versionOf(s)
	return have >= want
}

// ServerTime is the time by Intercom's clock, never ahead of it and at most about a second behind. It
// costs a request (GET /me) if there has been none before.
func (c *Client) ServerTime(ctx context.Context) (time.Time, error) {
	if now, ok := c.serverNow(); ok {
		return now, nil
	}
	if _, err := c.do(ctx, call{op: "read the server's time", method: http.MethodGet, path: "/me"}); err != nil {
		if class, ok := ClassOf(err); !ok || class != ClassScope {
			return time.Time{}, err
		}
	}
	if now, ok := c.serverNow(); ok {
		return now, nil
	}
	return c.opts.Clock.Now().UTC().Truncate(time.Second), nil // no Date header: ours must do
}

func (c *Client) serverNow() (time.Time, bool) {
	c.budget.mu.Lock()
	defer c.budget.mu.Unlock()
	if !c.budget.skew.known {
		return time.Time{}, false
	}
	return c.opts.Clock.Now().Add(c.budget.skew.low).UTC().Truncate(time.Second), true
}
