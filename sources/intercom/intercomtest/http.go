package intercomtest

import (
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// call is one request on its way through the simulator.
type call struct {
	w        *Workspace
	r        *http.Request
	path     string
	query    url.Values
	body     []byte
	endpoint string // METHOD and path with placeholders, for statistics
	v        view
	hits     []*Fault // faults that befall this request

	out    encoder
	status int
	header map[string]string
}

// errReply writes an error body in the API's form.
func (c *call) fail(status int, code, message string) {
	c.out.b = c.out.b[:0]
	c.status = status
	c.out.open()
	c.out.raw("type", `"error.list"`)
	c.out.str("request_id", c.requestID())
	c.out.list("errors")
	c.out.open()
	c.out.str("code", code)
	c.out.str("message", message)
	c.out.close()
	c.out.closeList()
	c.out.close()
}

func (c *call) requestID() string {
	n := c.w.stats.total()
	return fmt.Sprintf("%08x-0000-4000-8000-%012x", uint32(mix64(uint64(n))), n)
}

func (c *call) notFound(message string) { c.fail(404, "not_found", message) }

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 32<<10); return &b }}

// maxRequestBody bounds what a search may send.
const maxRequestBody = 1 << 20

// ServeHTTP answers as api.intercom.io would, under /i/o/ as the store of its files
// does (Options.Files), and under /_sim/ what only the simulator can.
func (w *Workspace) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/_sim/") || r.URL.Path == "/_sim" {
		w.serveControl(rw, r)
		return
	}
	if w.opts.Files && strings.HasPrefix(r.URL.Path, filePrefix) {
		w.serveFile(rw, r)
		return
	}
	buf := buffers.Get().(*[]byte)
	defer func() { buffers.Put(buf) }()
	c := &call{w: w, r: r, path: strings.TrimSuffix(r.URL.Path, "/"), status: 200, out: encoder{b: (*buf)[:0]}}
	c.v = view{w: w, now: w.now()}
	if r.URL.RawQuery != "" {
		c.query = r.URL.Query()
	}
	if r.Method != http.MethodGet && r.Body != nil {
		body, err := io.ReadAll(io.LimitReader(r.Body, maxRequestBody))
		if err != nil {
			return // the client is gone
		}
		c.body = body
	}
	h := c.route()
	n := w.stats.count(c.endpoint)
	c.hits = w.faults.pick(c, n)

	if done := c.breakBefore(rw); done {
		w.stats.finish(c.endpoint, 0, 0)
		return
	}
	if c.status == 200 && c.admit() {
		h(c)
	}
	c.delay()
	c.write(rw)
	*buf = c.out.b
}

// admit does what comes before the endpoint: token, budget, version, Accept and
// scope, in this order, since a reply to a bad token says nothing of the budget.
func (c *call) admit() bool {
	w := c.w
	auth := c.r.Header.Get("Authorization")
	switch token, bearer := strings.CutPrefix(auth, "Bearer "); {
	case auth == "":
		c.fail(401, "missing_authorization", "Authorization header missing")
		return false
	case !bearer || token != w.opts.Token:
		c.fail(401, "unauthorized", "Access Token Invalid")
		return false
	}
	if f := c.hit(FaultTokenRevoked); f != nil {
		c.fail(401, "token_revoked", "Access Token Revoked")
		return false
	}
	if !c.spend() {
		return false
	}
	name := c.r.Header.Get("Intercom-Version")
	if name == "" {
		name = w.opts.DefaultVersion
	}
	v, ok := parseVersion(name)
	if !ok {
		c.fail(400, "intercom_version_invalid", "The requested version could not be found: "+name)
		return false
	}
	c.v.version = v
	if v < 2000 {
		c.fail(400, "intercom_version_invalid", "Requested resource is not available in current API version.")
		return false
	}
	if !accepts(c.r.Header.Get("Accept")) {
		c.fail(406, "not_acceptable", "The Accept header should send a media type of application/json")
		return false
	}
	c.v.tickets = c.can(ScopeTickets)
	c.v.plain = c.param("display_as") == "plaintext"
	c.v.mergeHistory = c.param("include_merge_history") == "true"
	if f := c.hit(Fault429); f != nil {
		c.tooMany(f)
		return false
	}
	return true
}

func accepts(accept string) bool {
	for _, a := range strings.Split(accept, ",") {
		t, _, err := mime.ParseMediaType(a)
		if err == nil && (t == "application/json" || t == "*/*" || t == "application/*") {
			return true
		}
	}
	return false
}

func (c *call) can(s Scope) bool {
	have := c.w.opts.Scopes
	for _, f := range c.hits {
		if f.Kind == FaultScopeLost {
			have &^= f.Scope
		}
	}
	return have&s == s
}

// need answers for a missing scope.
func (c *call) need(s Scope) bool {
	if c.can(s) {
		return true
	}
	c.hit(FaultScopeLost)
	c.fail(c.w.opts.ScopeStatus, c.w.opts.ScopeCode, "Token is not authorized for this resource")
	return false
}

func (c *call) param(k string) string {
	if c.query == nil {
		return ""
	}
	return c.query.Get(k)
}

// perPage reads a page size; beyond the maximum is an error, as the company list
// documents it.
func (c *call) perPage(given string, def, limit int) (int, bool) {
	if given == "" {
		return def, true
	}
	n, err := strconv.Atoi(given)
	if err != nil || n < 1 || n > limit {
		c.fail(400, "parameter_invalid", fmt.Sprintf("per_page must be between 1 and %d", limit))
		return 0, false
	}
	return n, true
}

func (c *call) delay() {
	o := c.w.opts
	d := o.Latency
	if o.Jitter > 0 {
		r := rng{s: uint64(c.w.stats.total())}
		d += time.Duration(r.n(int(o.Jitter/time.Microsecond)+1)) * time.Microsecond
	}
	if d > 0 {
		time.Sleep(d)
	}
}

var jsonType = []string{"application/json; charset=utf-8"}

func (c *call) write(rw http.ResponseWriter) {
	h := rw.Header()
	h["Content-Type"] = jsonType
	for k, v := range c.header {
		h[k] = []string{v}
	}
	if c.breakAfter(rw) {
		return
	}
	h["Content-Length"] = []string{strconv.Itoa(len(c.out.b))}
	rw.WriteHeader(c.status)
	n, _ := rw.Write(c.out.b)
	c.w.stats.finish(c.endpoint, c.status, n)
}

func (c *call) set(k, v string) {
	if c.header == nil {
		c.header = make(map[string]string, 6)
	}
	c.header[k] = v
}
