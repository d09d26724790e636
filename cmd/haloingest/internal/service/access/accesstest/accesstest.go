// Package accesstest walks a table of routes as everybody who may come, over real HTTP, and compares what they get with what the routes say
// they need.
package accesstest

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"haloingest/cmd/haloingest/internal/service/access"
	"haloingest/pipeline/record"
)

// World is what is walked. The gate's database must be the test's own: people and organisations are added to it.
type World struct {
	Gate   *access.Gate
	Routes []access.Route // all that the service serves; those of the gate are added where they are missing
	// Scraper is the token of Need Scraper, which opens nothing else; "": nobody has one.
	Scraper string
	// Own and Other are organisations of which those who come are members, if the test has given them data; zero: made up.
	Own, Other record.UUID
	// Canary is a text that is in the data of Other alone, all over. It must be in no answer that a member of Own gets; "": not looked for.
	Canary string
}

// Password of everybody whom Walk adds.
const Password = "seven quiet lanterns drift"

// who comes.
type who struct {
	name   string
	client *http.Client
	roles  map[record.UUID]access.Role
	bearer string
	sign   bool // signed in
	over   bool
	scrape bool // shows the scraper's token
}

func (w who) role(org record.UUID) access.Role {
	if w.over {
		return access.Admin
	}
	return w.roles[org]
}

// reached marks an answer of a handler behind the gate.
const reached = "Haloingest-Test-Reached"

type walk struct {
	World
	t             testing.TB
	real, probed  *httptest.Server
	people        []who
	unknown       record.UUID
	asked, wanted int
}

// Walk asks for every route, with every method, as everybody: nobody, a stranger, viewers, operators and admins of two organisations, an overseer, and a
// script with a token; in their own organisation, another, one that is not there and one that cannot be. It fails t for a
// route without a policy, for whoever gets further than the policy says or not as far, for a form from another site that gets through, for a
// header that is missing, and where an organisation of others can be told from none.
func Walk(t testing.TB, w World) {
	t.Helper()
	x := &walk{World: w, t: t, unknown: newOrg()}
	if x.Own.IsZero() {
		x.Own = newOrg()
	}
	if x.Other.IsZero() {
		x.Other = newOrg()
	}
	has := map[string]bool{}
	for _, r := range x.Routes {
		has[r.Method+" "+r.Pattern] = true
	}
	for _, r := range w.Gate.Routes() {
		if !has[r.Method+" "+r.Pattern] {
			x.Routes = append(x.Routes, r)
		}
	}
	x.real, x.probed = x.serve(x.Routes), x.serve(x.probes())
	x.invite()
	for _, r := range x.Routes {
		x.route(r)
	}
	x.nothingElse()
	t.Logf("%d routes: %d requests, %d of them let through", len(x.Routes), x.asked, x.wanted)
}

func newOrg() (id record.UUID) {
	_, _ = rand.Read(id[:]) // never fails
	return id
}

// probes are the routes with handlers that only say that they were reached, and whether they know by whom and for which organisation.
func (x *walk) probes() []access.Route {
	var list []access.Route
	for _, r := range x.Routes {
		r.Handler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			w.Header().Set(reached, access.Of(req.Context()).Name)
			w.WriteHeader(http.StatusNoContent)
		})
		list = append(list, r)
	}
	return list
}

func (x *walk) serve(routes []access.Route) *httptest.Server {
	x.t.Helper()
	mux, err := x.Gate.Mux(routes)
	if err != nil {
		x.t.Fatalf("the routes cannot be served: %v", err)
	}
	start := httptest.NewServer
	if x.Gate.Secure() { // clients send its cookies by https only
		start = httptest.NewTLSServer
	}
	s := start(mux)
	x.t.Cleanup(s.Close)
	return s
}

// invite adds everybody and signs them in.
func (x *walk) invite() {
	x.t.Helper()
	own, other := x.Own, x.Other
	x.people = []who{{name: "nobody", client: x.client()}}
	defer func() { // last, as the first two have their parts
		if x.Scraper != "" {
			x.people = append(x.people, who{name: "scraper", client: x.client(), bearer: x.Scraper, scrape: true})
		}
	}()
	for _, p := range []who{
		{name: "overseer", over: true},
		{name: "stranger"},
		{name: "viewer", roles: map[record.UUID]access.Role{own: access.Viewer}},
		{name: "operator", roles: map[record.UUID]access.Role{own: access.Operator}},
		{name: "admin", roles: map[record.UUID]access.Role{own: access.Admin}},
		{name: "admin there, viewer here", roles: map[record.UUID]access.Role{own: access.Viewer, other: access.Admin}},
	} {
		p.client = x.client()
		ctx := access.With(x.t.Context(), access.Identity{Name: "test"})
		name := fmt.Sprintf("%s %x", p.name, newOrg()) // a table may be walked again
		u, _, err := x.Gate.Users().Add(ctx, name, p.over, p.roles)
		if err == nil {
			err = x.Gate.Users().SetPassword(ctx, u.ID, Password)
		}
		if err != nil {
			x.t.Fatal(err)
		}
		SignIn(x.t, p.client, x.real.URL, name, Password)
		p.sign = true
		x.people = append(x.people, p)
		if p.name == "operator" {
			token, err := x.Gate.Users().AddToken(ctx, u.ID, "walk")
			if err != nil {
				x.t.Fatal(err)
			}
			x.people = append(x.people, who{name: "script of the operator", client: x.client(), roles: p.roles, bearer: token})
		}
	}
}

// client keeps cookies and follows no redirect.
func (x *walk) client() *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		x.t.Fatal(err)
	}
	return &http.Client{Jar: jar, Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
}

// SignIn signs somebody in at a service, as the form of its page does, and fails tb if that does not work. The client needs a cookie jar.
func SignIn(tb testing.TB, client *http.Client, base, name, password string) {
	tb.Helper()
	res, err := client.PostForm(base+"/login", url.Values{"username": {name}, "password": {password}})
	if err != nil {
		tb.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		tb.Fatal(err)
	}
	u, err := url.Parse(base)
	if err != nil {
		tb.Fatal(err)
	}
	if len(client.Jar.Cookies(u)) == 0 || res.StatusCode >= 400 {
		tb.Fatalf("%s cannot sign in: %s", name, res.Status)
	}
}

// answer is what somebody got.
type answer struct {
	status   int
	header   http.Header
	body     string
	byWhom   string
	wasLetIn bool
}

func (x *walk) ask(s *httptest.Server, p who, method, path string, header map[string]string) answer {
	x.t.Helper()
	x.asked++
	ctx, cancel := context.WithTimeout(x.t.Context(), time.Minute)
	defer cancel()
	var body io.Reader
	if method != http.MethodGet && method != http.MethodHead {
		body = strings.NewReader("action=nothing")
	}
	req, err := http.NewRequestWithContext(ctx, method, s.URL+path, body)
	if err != nil {
		x.t.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if p.bearer != "" {
		req.Header.Set("Authorization", "Bearer "+p.bearer)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	// The two servers are one service: a cookie of one is for the other as well, since cookies know no port.
	res, err := p.client.Do(req)
	if err != nil {
		x.t.Fatalf("%s %s as %s: %v", method, path, p.name, err)
	}
	defer res.Body.Close()
	most := io.Reader(io.LimitReader(res.Body, 1<<20))
	if strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
		most = io.LimitReader(res.Body, 1) // it does not end
	}
	text, err := io.ReadAll(most)
	if err != nil {
		x.t.Fatalf("%s %s as %s: %v", method, path, p.name, err)
	}
	by, ok := res.Header[reached]
	a := answer{status: res.StatusCode, header: res.Header, body: string(text), wasLetIn: ok}
	if ok {
		a.byWhom = by[0]
	}
	return a
}

var wildcard = regexp.MustCompile(`\{([A-Za-z]+)\}`)

// fill makes a path of a pattern.
func fill(pattern, org string) string {
	return wildcard.ReplaceAllStringFunc(strings.TrimSuffix(pattern, "{$}"), func(v string) string {
		if v == "{orgId}" {
			return org
		}
		return "1"
	})
}
