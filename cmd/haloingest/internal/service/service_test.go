package service_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/cmd/haloingest/internal/service"
	"haloingest/cmd/haloingest/internal/service/access"
	"haloingest/pipeline/record"
	"haloingest/sources/intercom/intercomtest"
)

// person adds somebody and returns the header of a script of theirs.
func (p *place) person(name string, overseer bool, roles map[record.UUID]access.Role) []string {
	p.tb.Helper()
	ctx := context.Background()
	x, _, err := p.users.Add(ctx, name, overseer, roles)
	if err != nil {
		p.tb.Fatal(err)
	}
	if err := p.users.SetPassword(ctx, x.ID, password); err != nil {
		p.tb.Fatal(err)
	}
	token, err := p.users.AddToken(ctx, x.ID, "test")
	if err != nil {
		p.tb.Fatal(err)
	}
	return []string{"Authorization", "Bearer " + token}
}

// signIn returns the header of somebody's session.
func (r *running) signIn(name string) []string {
	r.p.tb.Helper()
	a := r.ask(http.MethodPost, "/login", strings.NewReader(url.Values{"username": {name}, "password": {password}}.Encode()),
		"Content-Type", "application/x-www-form-urlencoded", "Origin", r.Local)
	if a.status != http.StatusSeeOther {
		r.p.tb.Fatalf("signing in: %d %s", a.status, a.body)
	}
	cookie, err := http.ParseSetCookie(a.header.Get("Set-Cookie"))
	if err != nil {
		r.p.tb.Fatal(err)
	}
	return []string{"Cookie", cookie.Name + "=" + cookie.Value}
}

func statusPath(id record.UUID) string {
	return strings.Replace(service.StatusPath, "{orgId}", id.String(), 1)
}

func pagePath(id record.UUID) string { return "/integrations/intercom/" + id.String() }

func TestTheStatusSaysWhatTheTablesHold(t *testing.T) {
	t.Parallel()
	p := newPlace(t, intercomtest.Options{Conversations: 12, Contacts: 9, Companies: 3, Tickets: 5, Oddities: -1})
	r := p.serve()
	viewer := p.person("viewer@example.com", false, map[record.UUID]access.Role{org: access.Viewer})
	overseer := p.person("overseer@example.com", true, nil)
	before := r.get(statusPath(org), viewer...)
	var s map[string]any
	if err := json.Unmarshal([]byte(before.body), &s); err != nil || before.status != 200 || before.header.Get("Content-Type") != "application/json; charset=utf-8" {
		t.Fatalf("%d %v: %s", before.status, err, before.body)
	}
	if v, there := s["last_synced_at"]; v != nil || !there || s["webhook_secret"] != "configured" || s["webhook_secret_configured"] != true || s["connected"] != true || s["ingest_enabled"] != true || s["org"] != org.String() {
		t.Errorf("before a backfill: %s", before.body)
	}
	p.exec(`UPDATE ingest.connections SET webhook_secret = NULL WHERE org_id = $1`, [16]byte(org))
	p.backfill(r, org)
	p.exec(`UPDATE public.transcripts SET deleted_at = now() WHERE id = (SELECT min(id::text)::uuid FROM public.transcripts WHERE org_id = $1)`, [16]byte(org))
	a := r.get(statusPath(org), viewer...)
	var got service.Status
	if err := json.Unmarshal([]byte(a.body), &got); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
	n := p.sim.Ledger().Counts()
	if diff := cmp.Diff(service.Totals{Contacts: int64(n.Contacts), Companies: int64(n.Companies), Conversations: 11, Tickets: int64(n.Tickets)}, got.Totals); diff != "" {
		t.Errorf("totals (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(service.Totals{Conversations: 1}, got.Deleted); diff != "" {
		t.Errorf("deleted (-want +got):\n%s", diff)
	}
	if got.LastSyncedAt == nil || time.Since(*got.LastSyncedAt) > time.Hour || got.WebhookSecret != "not configured" || got.WebhookSecretConfigured || got.Run == nil || got.Run.Kind != "backfill" {
		t.Errorf("after a backfill: %s", a.body)
	}
	stranger := p.person("stranger@example.com", false, map[record.UUID]access.Role{other: access.Admin})
	unknown := record.UUID{0xdd, 1}
	hidden, nowhere := r.get(statusPath(org), stranger...), r.get(statusPath(unknown), stranger...)
	if hidden.status != 404 || hidden.body != nowhere.body {
		t.Errorf("of another organisation: %d %s; of none: %d %s", hidden.status, hidden.body, nowhere.status, nowhere.body)
	}
	for name, tt := range map[string]struct {
		method, path string
		who          []string
		want         int
	}{
		"nobody":                            {"GET", statusPath(org), nil, 401},
		"a wrong token":                     {"GET", statusPath(org), []string{"Authorization", "Bearer hi_wrong"}, 401},
		"the overseer":                      {"GET", statusPath(org), overseer, 200},
		"the overseer, of no organisation":  {"GET", statusPath(unknown), overseer, 404},
		"the overseer, of what is no UUID":  {"GET", strings.Replace(service.StatusPath, "{orgId}", "x", 1), overseer, 404},
		"the head of it":                    {"HEAD", statusPath(org), viewer, 200},
		"nothing can be sent there":         {"POST", statusPath(org), viewer, 405},
		"nobody, about none":                {"GET", statusPath(unknown), nil, 401},
		"an organisation that was not sent": {"GET", strings.Replace(service.StatusPath, "{orgId}", "", 1), viewer, 404},
	} {
		if a := r.ask(tt.method, tt.path, nil, tt.who...); a.status != tt.want && (tt.want != 404 || a.status != 307) {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
}

// backfill queues one over the page and waits for its end.
func (p *place) backfill(r *running, id record.UUID) {
	p.tb.Helper()
	p.exec(`INSERT INTO ingest.river_job (state, args, kind, max_attempts, queue) SELECT 'available', jsonb_build_object('org', $1::text), 'backfill', 25, 'backfill'
		WHERE NOT EXISTS (SELECT FROM ingest.river_job WHERE kind = 'backfill' AND args->>'org' = $1 AND finalized_at IS NULL)`, id.String())
	p.until(`SELECT last_synced_at IS NOT NULL FROM ingest.connections WHERE org_id = $1`, [16]byte(id))
	p.until(`SELECT NOT EXISTS (SELECT FROM ingest.river_job WHERE kind = 'backfill' AND finalized_at IS NULL AND args->>'org' = $1)`, id.String())
}

func TestEveryAnswerHasStrictHeaders(t *testing.T) {
	t.Parallel()
	p := newPlace(t, intercomtest.Options{Conversations: 1})
	r := p.serve()
	for _, tt := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/healthz", 200}, {"GET", "/readyz", 200}, {"GET", "/login", 200}, {"GET", "/", 303}, {"GET", pagePath(org), 303}, {"GET", "/nowhere", 404},
		{"GET", "/assets/nothing.css", 404}, {"POST", "/healthz", 405}, {"DELETE", "/login", 405}, {"GET", "/api/nothing", 404}, {"GET", "/assets/../../etc/passwd", 404},
		{"GET", "/%2e%2e/%2e%2e/etc/passwd", 404}, {"TRACE", "/", 405}, {"GET", hookPath(org), 405}, {"POST", hookPath(org), 401}, {"GET", "/metrics", 200},
		{"GET", "/integrations/intercom/nobody", 303},
	} {
		a := r.ask(tt.method, tt.path, nil)
		if a.status != tt.status && a.status != 301 && a.status != 307 {
			t.Errorf("%s %s: %d, want %d", tt.method, tt.path, a.status, tt.status)
		}
		policy := a.header.Get("Content-Security-Policy")
		if !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") || a.header.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(policy, "frame-ancestors 'none'") {
			t.Errorf("%s %s: headers %v", tt.method, tt.path, a.header)
		}
	}
}

func TestFormsOfOtherSitesReachNothing(t *testing.T) {
	t.Parallel()
	p := newPlace(t, intercomtest.Options{Conversations: 1})
	r := p.serve()
	p.person("admin@example.com", true, nil)
	session := r.signIn("admin@example.com")
	if a := r.get(pagePath(org), session...); a.status != 200 {
		t.Fatalf("the page of who is signed in: %d %s", a.status, a.body)
	}
	form := url.Values{"confirm": {"yes"}, "sure": {"yes"}, "on": {"false"}, "state": {"off"}}.Encode()
	for _, path := range []string{"/disconnect", "/ingest", "/sync", "/backfill", "/webhook-secret", "/connect", "/fields"} {
		for name, header := range map[string][]string{
			"another site":        {"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"},
			"another site's host": {"Origin", "https://evil.example"},
			"a site beside":       {"Origin", "http://127.0.0.1:1", "Sec-Fetch-Site", "same-site"},
			"no origin":           {"Origin", "null", "Sec-Fetch-Site", "cross-site"},
		} {
			a := r.ask(http.MethodPost, pagePath(org)+path, strings.NewReader(form), append(append([]string{"Content-Type", "application/x-www-form-urlencoded"}, session...), header...)...)
			if a.status != 403 {
				t.Errorf("%s from %s: %d", path, name, a.status)
			}
		}
	}
	if n := scalar[int](p, `SELECT count(*) FROM ingest.connections WHERE token IS NOT NULL AND ingest_enabled AND webhook_secret IS NOT NULL`); n != 2 {
		t.Errorf("%d connections are as they were, want 2", n)
	}
	if n := scalar[int](p, `SELECT count(*) FROM ingest.river_job WHERE kind IN ('sync', 'backfill')`); n != 0 {
		t.Errorf("%d jobs were queued", n)
	}
}

func TestFiguresAreForWhoMaySeeThem(t *testing.T) {
	t.Parallel()
	p := newPlace(t, intercomtest.Options{Conversations: 1})
	bearer := []string{"Authorization", "Bearer canary-metrics-token"}
	token := func(c *service.Config) { c.MetricsToken = secret.NewText("canary-metrics-token") }
	has := func(a answer) bool { return a.status == 200 && strings.Contains(a.body, "haloingest_build_info") }
	open := p.serve()
	if !has(open.get("/metrics")) || open.MetricsURL != open.Local+"/metrics" {
		t.Error("on loopback they are not there for this machine")
	}
	req, _ := http.NewRequest(http.MethodGet, open.Local+"/metrics", nil)
	req.Host = "rebound.example"
	if resp, err := http.DefaultClient.Do(req); err != nil || resp.StatusCode != 404 {
		t.Errorf("for a page that calls this machine its own: %v, %v", resp, err)
	}
	shut := p.serve(token)
	if shut.get("/metrics").status != 401 || shut.get("/metrics", "Authorization", "Bearer wrong").status != 401 || !has(shut.get("/metrics", bearer...)) {
		t.Error("with a token they are not for who has it, alone")
	}
	if proxied := p.serve(func(c *service.Config) { c.PublicURL = "https://ingest.example.com" }); proxied.get("/metrics").status != 404 || proxied.MetricsURL != "" {
		t.Error("behind a proxy they are there for everybody")
	}
	apart := p.serve(func(c *service.Config) { c.MetricsListen = "127.0.0.1:0" })
	if a := apart.get("/metrics"); a.status != 404 {
		t.Errorf("with a listener of their own: %d on the other one", a.status)
	}
	own := *apart
	own.Local = strings.TrimSuffix(apart.MetricsURL, "/metrics")
	if !has(own.get("/metrics")) || own.get("/login").status != 404 {
		t.Error("their own listener does not serve them, or more than them")
	}
	both := p.serve(token, func(c *service.Config) { c.MetricsListen = "127.0.0.1:0" })
	own.Local = strings.TrimSuffix(both.MetricsURL, "/metrics")
	if own.get("/metrics").status != 401 || !has(own.get("/metrics", bearer...)) {
		t.Error("their own listener does not ask for the token")
	}
}

func TestItEndsInOrder(t *testing.T) {
	t.Parallel()
	p := newPlace(t, intercomtest.Options{Conversations: 1})
	r := p.serve(func(c *service.Config) { c.MetricsListen = "127.0.0.1:0" })
	p.person("admin@example.com", true, nil)
	session := r.signIn("admin@example.com")
	// A page that is watched, and a webhook on its way.
	watched := make(chan error, 1)
	req, _ := http.NewRequest(http.MethodGet, r.Local+pagePath(org)+"/events", nil)
	req.Header.Set(session[0], session[1])
	stream, err := http.DefaultClient.Do(req)
	if err != nil || stream.StatusCode != 200 || !strings.HasPrefix(stream.Header.Get("Content-Type"), "text/event-stream") {
		t.Fatalf("events: %v, %v", stream, err)
	}
	go func() {
		_, err := io.Copy(io.Discard, stream.Body)
		watched <- err
	}()
	body := event("n-1", "contact.created", `{"type":"contact","id":"abc"}`)
	c, err := net.Dial("tcp", strings.TrimPrefix(r.Local, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nX-Hub-Signature: %s\r\n\r\n%s", hookPath(org), len(body), sign(body), body[:10])
	figures := *r
	figures.Local = strings.TrimSuffix(r.MetricsURL, "/metrics")
	p.wait("the webhook is being read", func() bool {
		return strings.Contains(figures.get("/metrics").body, "haloingest_http_requests_in_flight 1\n")
	})
	r.soft()
	if err := <-watched; err != nil {
		t.Errorf("the watched page did not end in order: %v", err)
	}
	if a := figures.get("/readyz"); a.status != 503 || !strings.Contains(a.body, "stopping") {
		t.Errorf("while it ends it says: %d %q", a.status, a.body)
	}
	if _, err := r.try(http.MethodGet, "/healthz", nil); err == nil {
		t.Error("it accepts more while it ends")
	}
	fmt.Fprintf(c, "%s", body[10:])
	if said, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(said), "HTTP/1.1 200") {
		t.Errorf("what was on its way: %q, %v", said, err)
	}
	if err := r.end(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	if n := scalar[int](p, `SELECT count(*) FROM ingest.webhook_inbox WHERE notification_id = 'n-1'`); n != 1 {
		t.Error("what was accepted in the end is not there")
	}
	if n := scalar[int](p, `SELECT count(*) FROM ingest.processes`); n != 0 {
		t.Errorf("%d processes have not signed off", n)
	}
	if _, err := r.try(http.MethodGet, "/healthz", nil); err == nil {
		t.Error("it still answers")
	}
	again := p.serve()
	again.hard()
	<-again.ended
	if !errors.Is(again.err, service.ErrAborted) {
		t.Errorf("aborted with %v", again.err)
	}
	again.err = nil
}

func TestWhatKeepsItFromStartingIsNamed(t *testing.T) {
	t.Parallel()
	p := newPlace(t, intercomtest.Options{Conversations: 1})
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	ctx := t.Context()
	var address *service.ListenError
	c := p.config()
	c.Listen = taken.Addr().String()
	if err := service.Run(ctx, ctx, c); !errors.As(err, &address) {
		t.Errorf("an address that is taken: %v", err)
	}
	for flag, change := range map[string]func(*service.Config){
		"listen":         func(c *service.Config) { c.Listen = "8080" },
		"metrics-listen": func(c *service.Config) { c.MetricsListen = "nowhere" },
		"public-url":     func(c *service.Config) { c.PublicURL = "ingest.example.com" },
		"tls-cert":       func(c *service.Config) { c.CertFile = "cert.pem" },
	} {
		c := p.config()
		change(&c)
		var setting *service.SettingError
		if err := service.Run(ctx, ctx, c); !errors.As(err, &setting) || setting.Flag != flag {
			t.Errorf("%s: %v", flag, err)
		}
	}
	c = p.config()
	c.Database = "postgres://nobody@127.0.0.1:1/nothing?connect_timeout=2"
	if err := service.Run(ctx, ctx, c); err == nil {
		t.Error("it starts without a database")
	}
}

func TestAMasterKeyThatDoesNotFitKeepsItFromStarting(t *testing.T) {
	t.Parallel()
	p := newPlace(t, intercomtest.Options{Conversations: 1})
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
	defer stop()
	start := func(m secret.MasterKey) error {
		c := p.config()
		c.Master = m
		c.Started = func(service.Started) error { return errors.New("it has started") }
		return service.Run(ctx, ctx, c)
	}
	refused := func(what string, m secret.MasterKey, want string) {
		t.Helper()
		if err := start(m); !errors.Is(err, secret.ErrMasterKey) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	dir := t.TempDir()
	wrong, short := filepath.Join(dir, "wrong"), filepath.Join(dir, "short")
	for name, text := range map[string]string{wrong: strings.Repeat("ab", 32), short: "0123"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	refused("another key", secret.MasterKey{File: wrong}, "is not the one that sealed the secrets of this database")
	refused("no key", secret.MasterKey{File: short}, "want 32 bytes")
	refused("a kept key that is lost", secret.MasterKey{DataDir: dir}, "is missing, but there are secrets")
	for _, id := range []record.UUID{org, other} {
		if _, err := p.store.Disconnect(ctx, id); err != nil {
			t.Fatal(err)
		}
	}
	refused("no key, and nothing to open", secret.MasterKey{File: short}, "want 32 bytes")
	refused("a file that is not there, and nothing to open", secret.MasterKey{File: filepath.Join(dir, "nowhere")}, "no such file")
	for what, m := range map[string]secret.MasterKey{"a key with nothing to open": {File: wrong}, "a key that is still to be made": {DataDir: dir}} {
		if err := start(m); err == nil || errors.Is(err, secret.ErrMasterKey) || !strings.Contains(err.Error(), "it has started") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestAMasterKeyThatDoesNotFitAnyMoreIsSaidToWhoAsksWhetherItIsReady(t *testing.T) {
	t.Parallel()
	p := newPlace(t, intercomtest.Options{Conversations: 1})
	r := p.serve()
	sealed := scalar[[]byte](p, `SELECT sealed FROM ingest.keysets`)
	p.exec(`UPDATE ingest.keysets SET sealed = 'of another key'`)
	p.wait("it is not ready", func() bool { return r.get("/readyz").status == 503 })
	if a := r.get("/readyz"); !strings.HasPrefix(a.body, "not ready: the master key does not open the secrets of this database") || strings.Contains(a.body, p.master.DataDir) {
		t.Errorf("not ready because of %q", a.body)
	}
	p.exec(`UPDATE ingest.keysets SET sealed = $1`, sealed)
	p.wait("it is ready", func() bool { return r.get("/readyz").status == 200 })
}

func TestOnTheFirstStartThereIsALink(t *testing.T) {
	t.Parallel()
	p := newPlace(t, intercomtest.Options{Conversations: 1})
	r := p.serve()
	if !strings.HasPrefix(r.FirstLink, r.URL+"/") {
		t.Fatalf("the link is %q, the service at %s", r.FirstLink, r.URL)
	}
	if a := r.get(strings.TrimPrefix(r.FirstLink, r.Local)); a.status != 200 && a.status != 303 {
		t.Errorf("it leads to %d %s", a.status, a.body)
	}
	if token := r.FirstLink[strings.LastIndex(r.FirstLink, "=")+1:]; strings.Contains(r.log.String(), token) {
		t.Error("the log shows the link")
	}
	p.person("admin@example.com", true, nil)
	if again := p.serve(); again.FirstLink != "" {
		t.Error("there is a link, and somebody already")
	}
}

func TestByHTTPSCookiesAreForItAlone(t *testing.T) {
	t.Parallel()
	p := newPlace(t, intercomtest.Options{Conversations: 1})
	r := p.serve(func(c *service.Config) { c.PublicURL = "https://ingest.example.com/" })
	p.person("admin@example.com", true, nil)
	if r.URL != "https://ingest.example.com" || !strings.HasPrefix(r.Local, "http://127.0.0.1:") {
		t.Errorf("people reach it at %s, this machine at %s", r.URL, r.Local)
	}
	a := r.ask(http.MethodPost, "/login", strings.NewReader(url.Values{"username": {"admin@example.com"}, "password": {password}}.Encode()),
		"Content-Type", "application/x-www-form-urlencoded", "Origin", r.URL)
	cookie, err := http.ParseSetCookie(a.header.Get("Set-Cookie"))
	if err != nil || !strings.HasPrefix(cookie.Name, "__Host-") || !cookie.Secure || !cookie.HttpOnly || cookie.Domain != "" || cookie.Path != "/" {
		t.Errorf("%d, the cookie is %v (%v)", a.status, cookie, err)
	}
	if a.header.Get("Strict-Transport-Security") == "" {
		t.Error("browsers are not told to keep to https")
	}
}
