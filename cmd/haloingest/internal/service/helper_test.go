package service_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/cmd/haloingest/internal/service"
	"haloingest/cmd/haloingest/internal/service/access"
	"haloingest/cmd/haloingest/internal/service/work"
	"haloingest/pipeline/record"
	"haloingest/sinks/postgres"
	"haloingest/sinks/postgres/localpg/pgtest"
	"haloingest/sources/intercom"
	"haloingest/sources/intercom/intercomtest"
	"haloingest/sources/webhook"
)

var (
	org   = record.UUID{0xaa, 0xaa, 0xaa, 0xaa, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, 1}
	other = record.UUID{0xbb, 0xbb, 0xbb, 0xbb, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, 2}
)

const (
	hookSecret  = "canary-webhook-secret-0001"
	otherSecret = "canary-webhook-secret-0002"
	password    = "canary correct horse battery 17"
)

// place is a database with two connected organisations, and a simulated workspace that is that of both.
type place struct {
	tb     testing.TB
	sim    *intercomtest.Server
	url    string // of the database
	db     *postgres.DB
	store  *connection.Store
	master secret.MasterKey
	users  *access.Users
}

func newPlace(tb testing.TB, o intercomtest.Options) *place {
	tb.Helper()
	return placeAt(tb, o, pgtest.New(tb))
}

func placeAt(tb testing.TB, o intercomtest.Options, url string) *place {
	tb.Helper()
	ctx := context.Background()
	p := &place{tb: tb, sim: intercomtest.Start(tb, o), url: url, master: secret.MasterKey{DataDir: tb.TempDir()}}
	var err error
	if p.db, err = postgres.Open(ctx, url, postgres.Options{}); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(p.db.Close)
	if _, err := p.db.Migrate(ctx); err != nil {
		tb.Fatal(err)
	}
	p.store, p.users = connection.NewStore(p.db.Pool(), p.master), access.NewUsers(p.db.Pool())
	set := connection.Settings{Region: "us", UserIDField: "external_id", CompanyIDField: "company_id", ActivityRefresh: time.Hour}
	for id, hook := range map[record.UUID]string{org: hookSecret, other: otherSecret} {
		if err := p.store.Put(ctx, id, record.Workspace{ID: p.sim.Options().AppID, Name: "Acme", Region: "us"}, set, secret.NewText(p.sim.Token), secret.NewText(hook)); err != nil {
			tb.Fatal(err)
		}
	}
	return p
}

// backfilled says that both organisations have been, so that syncs and passes over the inbox have something to go on from.
func (p *place) exec(query string, args ...any) {
	p.tb.Helper()
	if _, err := p.db.Pool().Exec(context.Background(), query, args...); err != nil {
		p.tb.Fatalf("%s: %v", query, err)
	}
}

func scalar[T any](p *place, query string, args ...any) (v T) {
	p.tb.Helper()
	if err := p.db.Pool().QueryRow(context.Background(), query, args...).Scan(&v); err != nil {
		p.tb.Fatalf("%s: %v", query, err)
	}
	return v
}

// until waits for a query to give true.
func (p *place) until(query string, args ...any) {
	p.tb.Helper()
	p.wait(query, func() bool {
		var v bool
		err := p.db.Pool().QueryRow(context.Background(), query, args...).Scan(&v)
		return err == nil && v
	})
}

func (p *place) wait(what string, true func() bool) {
	p.tb.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !true(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.tb.Fatalf("it does not come true: %s", what)
		}
	}
}

// running is a service that serves.
type running struct {
	service.Started
	p     *place
	log   *lines
	soft  context.CancelFunc
	hard  context.CancelFunc
	ended chan struct{}
	err   error // once it has ended
}

// lines keeps what is logged.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (p *place) config() service.Config {
	return service.Config{
		Database: p.url, Master: p.master, Listen: "127.0.0.1:0",
		Intercom: intercom.Options{BaseURL: p.sim.URL, MaxAttempts: 2},
		Work:     work.Options{FirstRetry: 200 * time.Millisecond, LongestRetry: time.Second, Backfills: 1, Syncs: 1, Drains: 2},
	}
}

// serve starts a service, and ends it in order when the test ends.
func (p *place) serve(change ...func(*service.Config)) *running {
	p.tb.Helper()
	c := p.config()
	r := &running{p: p, log: &lines{}, ended: make(chan struct{})}
	c.Log = slog.New(slog.NewJSONHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	for _, f := range change {
		f(&c)
	}
	started := make(chan service.Started, 1)
	c.Started = func(s service.Started) error { started <- s; return nil }
	var hard, soft context.Context
	hard, r.hard = context.WithCancel(context.Background())
	soft, r.soft = context.WithCancel(hard)
	go func() {
		defer close(r.ended)
		r.err = service.Run(hard, soft, c)
	}()
	select {
	case r.Started = <-started:
	case <-r.ended:
		p.tb.Fatalf("it does not start: %v\n%s", r.err, r.log)
	}
	p.tb.Cleanup(func() {
		if err := r.end(); err != nil {
			p.tb.Errorf("it ended with %v", err)
		}
		for _, canary := range []string{hookSecret, otherSecret, password, p.sim.Token} {
			if strings.Contains(r.log.String(), canary) {
				p.tb.Errorf("the log shows %q", canary)
			}
		}
		if p.tb.Failed() && os.Getenv("HALOINGEST_TEST_LOG") != "" {
			p.tb.Log(r.log)
		}
	})
	return r
}

// end asks the service to end, waits for it, and returns what it ended with.
func (r *running) end() error {
	r.p.tb.Helper()
	r.soft()
	defer r.hard()
	select {
	case <-r.ended:
		return r.err
	case <-time.After(2 * time.Minute):
		r.p.tb.Fatalf("it does not end\n%s", r.log)
		return nil
	}
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// ask sends a request, and follows no redirect.
func (r *running) ask(method, path string, body io.Reader, header ...string) answer {
	r.p.tb.Helper()
	a, err := r.try(method, path, body, header...)
	if err != nil {
		r.p.tb.Fatal(err)
	}
	return a
}

func (r *running) try(method, path string, body io.Reader, header ...string) (answer, error) {
	req, err := http.NewRequest(method, r.Local+path, body)
	if err != nil {
		return answer{}, err
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := (&http.Transport{}).RoundTrip(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(b)}, err
}

func (r *running) get(path string, header ...string) answer {
	r.p.tb.Helper()
	return r.ask(http.MethodGet, path, nil, header...)
}

func event(id, topic, item string) []byte {
	return fmt.Appendf(nil, `{"type":"notification_event","id":%q,"topic":%q,"data":{"item":%s}}`, id, topic, item)
}

func sign(body []byte) string { return webhook.Sign([]byte(hookSecret), body) }

func hookPath(id record.UUID) string {
	return strings.Replace(webhook.Path, "{orgId}", id.String(), 1)
}

// hook sends a signed webhook to org and gives the status.
func (r *running) hook(body []byte) int {
	r.p.tb.Helper()
	return r.ask(http.MethodPost, hookPath(org), bytes.NewReader(body), webhook.SignatureHeader, sign(body)).status
}
