package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"haloingest/sources/intercom/intercomtest"
)

// What else must be nowhere, but where it was typed.
const (
	canaryPassword  = "canary sings nine times at dawn 41"
	canaryWrong     = "canary wrong password 58 of nobody"
	canaryMisplaced = "canary password in the field of the name 63"
	canaryBadToken  = "dG9rOmNhbmFyeS1iYWQtdG9rZW4tMTIzNDU2"
	canaryNewHook   = "canary-webhook-secret-of-the-page-888"
	canaryScraper   = "canary-metrics-token-1122"
)

// said keeps what a program writes while it runs.
type said struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// served is an aviary with a service in it.
type served struct {
	*aviary
	url            string
	client         *http.Client
	stdout, stderr said
	traces         said
	shown          said // what was answered: heads and bodies
}

// serve runs the service until the test ends, and everything that it says at the most talkative.
func (a *aviary) serve(t *testing.T) (s *served, end func()) {
	t.Helper()
	s = &served{aviary: a}
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(&s.traces, r.Body) }))
	t.Cleanup(collector.Close)
	ctx, stop := context.WithCancelCause(context.Background())
	ended := make(chan int, 1)
	go func() {
		ended <- run(context.Background(), ctx, []string{
			"serve", "--listen", "127.0.0.1:0", "--database-url", a.dbURL, "--data-dir", a.dir, "--intercom-url", a.url, "--master-key-file", filepath.Join(a.dir, "key"),
			"--log-level", "debug", "--log-format", "json", "--trace-endpoint", collector.URL, "--metrics-token-file", filepath.Join(a.dir, "scraper"),
		}, strings.NewReader(""), &s.stdout, &s.stderr)
	}()
	waitFor(t, "the service", func() bool {
		m := regexp.MustCompile(`Serving at (http\S+)`).FindStringSubmatch(s.stdout.String())
		if m != nil {
			s.url = m[1]
		}
		return m != nil && strings.Contains(s.stdout.String(), "/setup?")
	})
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	s.client = &http.Client{Jar: jar, Timeout: time.Minute, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		fmt.Fprintln(&s.shown, r.URL)
		return nil
	}}
	return s, func() {
		stop(errInterrupted)
		select {
		case code := <-ended:
			if code != exitDone {
				t.Errorf("serve ended with %d", code)
			}
		case <-time.After(2 * time.Minute):
			t.Error("serve does not end")
		}
	}
}

func waitFor(t *testing.T, what string, true func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !true(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// send sends a request, keeps the answer, and returns it.
func (s *served) send(code int, r *http.Request) string {
	s.tb.Helper()
	res, err := s.client.Do(r)
	if err != nil {
		s.tb.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.tb.Fatal(err)
	}
	if res.StatusCode != code {
		s.tb.Errorf("%s %s: %d, want %d\n%.2000s", r.Method, r.URL, res.StatusCode, code, body)
	}
	fmt.Fprintf(&s.shown, "%v\n%s\n", res.Header, body)
	return string(body)
}

func (s *served) get(code int, path string) string {
	s.tb.Helper()
	r, err := http.NewRequest(http.MethodGet, s.url+path, nil)
	if err != nil {
		s.tb.Fatal(err)
	}
	return s.send(code, r)
}

// post sends a form; what it leads to is what is answered.
func (s *served) post(code int, path string, fields ...string) string {
	s.tb.Helper()
	form := url.Values{}
	for i := 0; i < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	r, err := http.NewRequest(http.MethodPost, s.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		s.tb.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", s.url)
	return s.send(code, r)
}

// hook delivers a notification as Intercom does.
func (s *served) hook(code int, secret, body string) {
	s.tb.Helper()
	mac := hmac.New(sha1.New, []byte(secret))
	mac.Write([]byte(body))
	r, err := http.NewRequest(http.MethodPost, s.url+"/api/integrations/intercom/webhook/"+testOrg, strings.NewReader(body))
	if err != nil {
		s.tb.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if secret != "" {
		r.Header.Set("X-Hub-Signature", "sha1="+hex.EncodeToString(mac.Sum(nil)))
	}
	s.send(code, r)
}

func TestCanariesAreNowhereAroundTheService(t *testing.T) {
	t.Parallel()
	a := newAviary(t)
	if err := os.WriteFile(filepath.Join(a.dir, "scraper"), []byte(canaryScraper), 0o600); err != nil {
		t.Fatal(err)
	}
	for text, what := range map[string]string{
		canaryPassword: "a password", canaryWrong: "a wrong password", canaryMisplaced: "what was typed as a name", canaryBadToken: "a token that was refused",
		canaryNewHook: "a webhook secret", canaryScraper: "the scraper's token",
	} {
		a.leaks[text], a.leaks[url.QueryEscape(text)], a.leaks[url.PathEscape(text)] = what, what, what
	}
	ids, err := a.shop.Apply(intercomtest.Change{Op: "create", Kind: intercomtest.Contacts, Fields: map[string]json.RawMessage{
		"email": json.RawMessage(`"` + canaryMail + `"`), "name": json.RawMessage(`"` + canaryName + `"`),
	}})
	if err != nil {
		t.Fatal(err)
	}
	talks, err := a.shop.Apply(intercomtest.Change{Op: "create", Kind: intercomtest.Conversations, Contact: ids[0], Text: canaryMessage})
	if err != nil {
		t.Fatal(err)
	}
	watched := a.watchSessions(t)
	s, end := a.serve(t)

	// The first person, and those that are none.
	link := regexp.MustCompile(`/setup\?token=(\S+)`).FindStringSubmatch(s.stdout.String())
	if link == nil {
		t.Fatalf("no link: %s", s.stdout.String())
	}
	a.leaks[link[1]] = "the first link's token"
	s.get(200, "/setup?token="+link[1])
	s.post(422, "/setup", "username", "boss", "password", canaryPassword, "password_again", canaryWrong)
	s.post(200, "/setup", "username", "boss", "password", canaryPassword, "password_again", canaryPassword)
	s.post(200, "/logout")
	s.post(422, "/login", "username", "boss", "password", canaryWrong)
	s.post(422, "/login", "username", canaryMisplaced, "password", "short")
	s.post(200, "/login", "username", "boss", "password", canaryPassword)
	for _, c := range s.client.Jar.Cookies(mustParse(t, s.url)) {
		a.leaks[c.Value] = "the cookie " + c.Name
	}

	// Connecting, with a bad token first, and in the wrong place.
	page := "/integrations/intercom/" + testOrg
	s.post(200, "/organisations", "org", testOrg)
	s.post(200, page+"/connect", "region", "us", "token", canaryBadToken)
	s.post(200, page+"/connect", "region", canaryBadToken, "token", canaryBadToken)
	s.post(200, page+"/connect", "region", "us", "token", canaryToken)
	s.get(200, page+"/connect/fields")
	s.post(200, page+"/connect/fields", "user_id_field", "external_id", "company_id_field", "company_id")
	s.post(200, page+"/webhook-secret", "webhook_secret", canaryHook)
	s.post(200, page+"/webhook-secret", "webhook_secret", canaryNewHook, "grace", "1h")
	defer func() {
		if t.Failed() {
			t.Logf("jobs: %s", scalar[string](a.bench, `SELECT coalesce(string_agg(kind || ' ' || state || ' ' || attempt || ' ' || metadata::text, '; '), '') FROM ingest.river_job`))
		}
	}()
	waitFor(t, "the backfill", func() bool {
		return scalar[int](a.bench, `SELECT count(*) FROM ingest.runs WHERE kind = 'backfill' AND state = 'complete'`) > 0
	})

	// Events, of people and of others; and a row that the database refuses with its values in its message, and one that is malformed.
	notice := func(n int, text string) string {
		return fmt.Sprintf(`{"type":"notification_event","id":"notif_%d","topic":"conversation.user.replied","app_id":"%s","created_at":1,"data":{"type":"notification_event_data",
			"item":{"type":"conversation","id":%q,"source":{"body":%q,"author":{"email":%q,"name":%q}}}}}`, n, a.shop.Options().AppID, talks[0], text, canaryMail, canaryName)
	}
	a.exec(`ALTER TABLE public.transcripts ADD CONSTRAINT not_that CHECK (messages::text NOT LIKE '%midnight, again%') NOT VALID`)
	if _, err := a.shop.Apply(intercomtest.Change{Op: "reply", Kind: intercomtest.Conversations, ID: talks[0], By: "user", Text: canaryMessage + ", again"}); err != nil {
		t.Fatal(err)
	}
	s.hook(401, "", notice(1, canaryMessage))
	s.hook(401, canaryToken, notice(1, canaryMessage))
	s.hook(401, canaryBadToken, canaryMessage)
	s.hook(200, canaryHook, canaryMessage)
	s.hook(200, canaryNewHook, strings.Repeat("[", 10_000)+canaryMessage)
	s.hook(413, canaryNewHook, strings.Repeat(canaryMessage, 30_000))
	s.hook(200, canaryNewHook, notice(1, canaryMessage))
	s.hook(200, canaryNewHook, notice(1, canaryMessage))
	s.hook(200, canaryHook, notice(2, canaryMessage))
	waitFor(t, "the refused row", func() bool {
		return scalar[int](a.bench, `SELECT count(*) FROM ingest.rejects WHERE resolved_at IS NULL`) > 0
	})
	list, err := intercomtest.ParseFaults("token-revoked")
	if err == nil {
		err = a.shop.SetFaults(list...)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.post(200, page+"/sync")
	waitFor(t, "the refused sync", func() bool {
		return scalar[int](a.bench, `SELECT count(*) FROM ingest.river_job WHERE metadata::text LIKE '%refuses the token%'`) > 0
	})

	// Keys are rotated under it.
	var out, errs bytes.Buffer
	for _, words := range [][]string{{"keys", "rotate", "--keep-old", "0s"}, {"keys", "rotate", "--json"}, {"keys", "ls"}, {"keys", "rotate", "--master"}} {
		words = append(words, "--log-level", "debug", "--database-url", a.dbURL, "--data-dir", a.dir, "--master-key-file", filepath.Join(a.dir, "key"))
		if code := run(context.Background(), context.Background(), words, strings.NewReader(""), &out, &errs); code != exitDone {
			t.Errorf("%v: code %d: %s", words[:3], code, errs.String())
		}
	}
	_, _ = s.stderr.Write(append(out.Bytes(), errs.Bytes()...)) // searched with the service's
	s.hook(200, canaryNewHook, notice(3, canaryMessage))
	s.hook(200, canaryHook, notice(4, canaryMessage))

	// Everything that is shown.
	for _, path := range []string{"", "/runs", "/rejects", "/checklist", "/settings", "/fields", "/disconnect", "/connect"} {
		s.get(200, page+path)
	}
	s.get(200, "/")
	s.get(200, "/api/integrations/intercom/"+testOrg+"/status")
	s.get(200, "/healthz")
	s.get(404, "/"+url.PathEscape(canaryMail))
	r, err := http.NewRequest(http.MethodGet, s.url+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+canaryScraper)
	metrics := s.send(200, r)
	a.searchTables(t)
	a.searchOwn(t)
	s.post(200, page+"/disconnect", "confirm", "yes")
	end()
	watched()
	a.searchTables(t)

	shown := s.shown.String()
	for text, what := range a.leaks {
		if strings.Contains(s.stderr.String(), text) {
			t.Errorf("the log shows %s: %s", what, around(s.stderr.String(), text))
		}
		if what != "the first link's token" && strings.Contains(s.stdout.String(), text) {
			t.Errorf("stdout shows %s", what)
		}
		// A cookie is answered with, and a name is shown again to whoever has typed it.
		if strings.Contains(shown, text) && !strings.HasPrefix(what, "the cookie") && what != "what was typed as a name" {
			t.Errorf("an answer shows %s: %s", what, around(shown, text))
		}
		for place, said := range map[string]string{"the metrics": metrics, "the traces": s.traces.String()} {
			if strings.Contains(said, text) {
				t.Errorf("%s show %s: %s", place, what, around(said, text))
			}
		}
	}
	for text, what := range a.people {
		for place, said := range map[string]string{"the log": s.stderr.String(), "the metrics": metrics, "the traces": s.traces.String()} {
			if strings.Contains(said, text) {
				t.Errorf("%s shows %s: %s", place, what, around(said, text))
			}
		}
	}
	if !strings.Contains(metrics, "haloingest_") || len(s.traces.String()) == 0 || !strings.Contains(s.stderr.String(), "401") {
		t.Errorf("nothing is measured, traced or logged: the test looks at nothing; %d bytes of traces, metrics: %.300s", len(s.traces.String()), metrics)
	}
}

// searchOwn looks for personal data where it has no business: in all tables of this program's but those that keep what Intercom has sent.
func (a *aviary) searchOwn(t *testing.T) {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, a.dbURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	tables, err := textRows(ctx, conn, `SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname = 'ingest' AND tablename NOT IN
		('webhook_inbox', 'rejects', 'before_images', 'search_documents', 'model_answers', 'identities', 'id_map')`)
	if err != nil || len(tables) < 10 {
		t.Fatalf("%d tables, %v", len(tables), err)
	}
	for _, table := range tables {
		rows, err := textRows(ctx, conn, `SELECT t::text FROM `+table+` t`)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			for text, what := range a.people {
				if strings.Contains(row, text) || strings.Contains(row, hex.EncodeToString([]byte(text))) {
					t.Errorf("%s holds %s: %s", table, what, around(row, text))
				}
			}
		}
	}
}

func mustParse(t *testing.T, address string) *url.URL {
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
