package access_test

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"haloingest/cmd/haloingest/internal/service/access"
	"haloingest/cmd/haloingest/internal/service/frame"
	"haloingest/pipeline/record"
	"haloingest/sinks/postgres"
	"haloingest/sinks/postgres/localpg/pgtest"
)

var orgA, orgB = record.UUID{0xaa, 1}, record.UUID{0xbb, 2}

const password = "a long walk in the rain"

// house is a gate over a database of the test's own, with routes that say who asks.
type house struct {
	t    *testing.T
	db   *postgres.DB
	gate *access.Gate
	url  string
	log  *journal
}

// journal keeps what is logged.
type journal struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *journal) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *journal) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newDB(t *testing.T) *postgres.DB {
	t.Helper()
	db, err := postgres.Open(t.Context(), pgtest.New(t), postgres.Options{MaxConns: 8})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return db
}

// open starts a service with a gate. The options' database and log are set here.
func open(t *testing.T, o access.Options, more ...access.Route) *house {
	t.Helper()
	return openOn(t, newDB(t), o, more...)
}

func openOn(t *testing.T, db *postgres.DB, o access.Options, more ...access.Route) *house {
	t.Helper()
	h := &house{t: t, db: db, log: &journal{}}
	var mux http.Handler
	serve := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { mux.ServeHTTP(w, r) }))
	if o.Secure {
		serve.StartTLS()
	} else {
		serve.Start()
	}
	t.Cleanup(serve.Close)
	h.url = serve.URL
	o.DB, o.Log = h.db, slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if o.PublicURL == "" {
		o.PublicURL = h.url
	}
	var err error
	if h.gate, err = access.New(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	routes := append(h.gate.Routes(), whoami...)
	if mux, err = h.gate.Mux(append(routes, more...)); err != nil {
		t.Fatal(err)
	}
	return h
}

var sayWho = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	_, _ = io.WriteString(w, access.Of(r.Context()).Name)
})

// whoami are routes of all needs.
var whoami = []access.Route{
	{Method: "GET", Pattern: "/{$}", Policy: access.Policy{Need: access.Person}, Handler: sayWho},
	{Method: "GET", Pattern: frame.AssetsPath, Policy: access.Policy{Need: access.Anyone}, Handler: frame.Assets()},
	{Method: "GET", Pattern: "/api/me", Policy: access.Policy{Need: access.Person}, Handler: sayWho},
	{Method: "POST", Pattern: "/api/me", Policy: access.Policy{Need: access.Person}, Handler: sayWho},
	{Method: "GET", Pattern: "/integrations/intercom/{orgId}", Policy: access.Policy{Need: access.Member, Role: access.Viewer}, Handler: sayWho},
	{Method: "POST", Pattern: "/integrations/intercom/{orgId}/sync", Policy: access.Policy{Need: access.Member, Role: access.Operator}, Handler: sayWho},
	{Method: "DELETE", Pattern: "/integrations/intercom/{orgId}", Policy: access.Policy{Need: access.Member, Role: access.Admin}, Handler: sayWho},
	{Method: "GET", Pattern: "/api/integrations/intercom/{orgId}/status", Policy: access.Policy{Need: access.Member, Role: access.Viewer}, Handler: sayWho},
	{Method: "", Pattern: "/webhooks/intercom/{orgId}", Policy: access.Policy{Need: access.Signed}, Handler: sayWho},
	{Method: "GET", Pattern: "/metrics", Policy: access.Policy{Need: access.Scraper}, Handler: sayWho},
	{Method: "GET", Pattern: "/healthz", Policy: access.Policy{Need: access.Anyone}, Handler: sayWho},
}

// as is the context of who changes people.
func (h *house) as() context.Context {
	return access.With(h.t.Context(), access.Identity{Name: "test"})
}

// person adds somebody who has the password.
func (h *house) person(name string, overseer bool, roles map[record.UUID]access.Role) access.User {
	h.t.Helper()
	u, _, err := h.gate.Users().Add(h.as(), name, overseer, roles)
	if err == nil {
		err = h.gate.Users().SetPassword(h.as(), u.ID, password)
	}
	if err == nil {
		u, err = h.gate.Users().Get(h.as(), u.ID)
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return u
}

// visitor is a browser without a face.
type visitor struct {
	t      *testing.T
	client *http.Client
	base   string
}

func (h *house) visitor() *visitor { return h.visitorAt(h.url) }

func (h *house) visitorAt(base string) *visitor {
	h.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		h.t.Fatal(err)
	}
	return &visitor{h.t, &http.Client{Jar: jar, Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, base}
}

// reply is what a visitor got.
type reply struct {
	status   int
	header   http.Header
	location string
	body     string
}

func (v *visitor) do(req *http.Request) reply {
	v.t.Helper()
	res, err := v.client.Do(req)
	if err != nil {
		v.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return reply{res.StatusCode, res.Header, res.Header.Get("Location"), string(b)}
}

func (v *visitor) request(method, path string, form url.Values) *http.Request {
	v.t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	if !strings.HasPrefix(path, "http") {
		path = v.base + path
	}
	req, err := http.NewRequestWithContext(v.t.Context(), method, path, body)
	if err != nil {
		v.t.Fatal(err)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return req
}

func (v *visitor) get(path string) reply {
	v.t.Helper()
	return v.do(v.request("GET", path, nil))
}

func (v *visitor) post(path string, pairs ...string) reply {
	v.t.Helper()
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	return v.do(v.request("POST", path, form))
}

// tlsTransport trusts any certificate.
func tlsTransport() *http.Transport {
	return &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
}

// signIn must work.
func (v *visitor) signIn(name string) *visitor {
	v.t.Helper()
	if r := v.post("/login", "username", name, "password", password); r.status != http.StatusSeeOther {
		v.t.Fatalf("%s cannot sign in: %d %s", name, r.status, r.body)
	}
	return v
}

// is says who the service takes the visitor for; "" for nobody.
func (v *visitor) is() string {
	v.t.Helper()
	r := v.get("/api/me")
	if r.status == http.StatusUnauthorized {
		return ""
	}
	if r.status != http.StatusOK {
		v.t.Fatalf("who am I: %d %s", r.status, r.body)
	}
	return r.body
}
